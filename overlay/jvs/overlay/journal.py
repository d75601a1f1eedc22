"""The journal of an upper layer: what was done to it, in order, so that it can be opened again after a crash.

A file that begins with MAGIC and goes on with records: length (big-endian, 4 bytes), checksum (8 bytes), msgpack. The
checksum covers the record's number too, so that none can be left out or moved. Record 0 is the header. A record that is
cut off or fails its checksum ends the journal: what follows was never acknowledged by `sync`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgpack

from jvs.castore.digest import keyed
from jvs.castore.local.descriptors import sync_data, sync_directory
from jvs.errors import IntegrityError

MAGIC: Final = b"jvs overlay 1\n"
MAX_RECORD: Final = 1 << 20
"""Bytes of a record, at most."""
_HEAD: Final = 12
_CHECK: Final = 8

Record = tuple[Any, ...]
"""The name of an operation, then its operands (`state` says which)."""

_check = keyed("jvs 2026-11 overlay journal v1")


class Opened(NamedTuple):
    """A journal that was read. torn: bytes of an unfinished tail, which were cut off."""

    journal: Journal
    header: dict[str, Any]
    records: list[Record]
    torn: int


class Journal:
    """An open journal. Not thread-safe: the overlay's lock is held."""

    def __init__(self, fd: int, end: int, count: int, *, durable: bool = True) -> None:
        self._fd = fd
        self._end = self._last = end
        self._count = count
        self._synced = not durable
        self._durable = durable

    @classmethod
    def create(
        cls, path: str, header: dict[str, Any], records: Iterable[Record] = (), *, durable: bool = True
    ) -> Journal:
        """A new journal in place of the one at `path`, if any. durable: a power cut leaves one of the two, and `sync`
        does what it says. Raises OSError."""
        temp = f"{path}.tmp"
        data = bytearray(MAGIC)
        count = 0
        for count, item in enumerate((header, *records), 1):
            data += _encode(count - 1, item)
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, data, 0)
            if durable:
                sync_data(fd)
            os.rename(temp, path)
            if durable:
                sync_directory(os.path.dirname(path))
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, len(data), count, durable=durable)

    @staticmethod
    def header(path: str) -> dict[str, Any]:
        """The header of the journal at `path`, which others may have open. Raises OSError, IntegrityError."""
        with open(path, "rb") as file:
            data = file.read(len(MAGIC) + _HEAD + MAX_RECORD)
        return _header_of(path, next(_decode(data), (None, 0))[0])

    @classmethod
    def open(cls, path: str) -> Opened:
        """Read the journal at `path` to its last good record, and cut off what follows. Raises OSError, and
        IntegrityError when it does not even have a header."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            with open(fd, "rb", closefd=False) as file:
                data = file.read()
            items: list[Any] = []
            end = len(MAGIC)
            for item, upto in _decode(data):
                items.append(item)
                end = upto
            header = _header_of(path, items[0] if items else None)
            if end < len(data):
                os.ftruncate(fd, end)
        except BaseException:
            os.close(fd)
            raise
        return Opened(cls(fd, end, len(items)), header, items[1:], len(data) - end)

    def append(self, record: Record) -> None:
        """Write one record: it survives the process from here on, and a power cut after the next `sync`. Raises
        OSError, and then nothing was written."""
        data = _encode(self._count, record)
        try:
            _write(self._fd, data, self._end)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._last = self._end
        self._end += len(data)
        self._count += 1
        self._synced = not self._durable

    def withdraw(self) -> None:
        """Take back the record that was appended last, once. Raises OSError."""
        os.ftruncate(self._fd, self._last)
        self._end = self._last
        self._count -= 1

    def sync(self) -> None:
        """Make everything appended durable."""
        if not self._synced:
            sync_data(self._fd)
            self._synced = True

    def close(self) -> None:
        """Release the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _header_of(path: str, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise IntegrityError(f"{path} is not the journal of an overlay")
    return item


def _encode(number: int, item: object) -> bytes:
    body: bytes = msgpack.packb(item)
    if len(body) > MAX_RECORD:
        raise ValueError("a journal record is too long")
    number_bytes = number.to_bytes(8, "big")
    return len(body).to_bytes(_HEAD - _CHECK, "big") + _check(number_bytes + body)[:_CHECK] + body


def _decode(data: bytes) -> Iterator[tuple[Any, int]]:
    """(item, where it ends) of every good record from the beginning on."""
    if not data.startswith(MAGIC):
        return
    at = len(MAGIC)
    number = 0
    while at + _HEAD <= len(data):
        length = int.from_bytes(data[at : at + _HEAD - _CHECK], "big")
        body = data[at + _HEAD : at + _HEAD + length]
        check = data[at + _HEAD - _CHECK : at + _HEAD]
        if len(body) != length or length > MAX_RECORD or _check(number.to_bytes(8, "big") + body)[:_CHECK] != check:
            return
        at += _HEAD + length
        number += 1
        try:
            item = msgpack.unpackb(body, use_list=False, max_array_len=length + 1, max_map_len=length + 1)
        except ValueError:
            return
        yield item, at


def _write(fd: int, data: bytes | bytearray, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view = view[done:]
        at += done
