"""The stat index: what a directory looked like when it was last known to be a certain tree (DESIGN 4.4).

One file per store and directory, in the store's `cache/`. It is derived and never trusted further than its checksum:
anything doubtful about it means "no index", and files are read again. For each directory it keeps the *packed rows*
of its last scan as one string of bytes, so that an unchanged directory is recognised by one comparison, and the tree
it had, so that an unchanged subtree costs nothing more.

File: magic, records, footer (msgpack), length of the footer (4 bytes), checksum over all of it (32 bytes). Records
stand children first and refer to them by distance, so the records of a subtree are one stretch of the file that can be
copied into a new index as it is. Little-endian throughout.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgpack
from blake3 import blake3

from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.castore.ingest.walk import FILE_FLAGS, Row
from jvs.castore.manifest import Tree

_MAGIC: Final = b"jvsstat1"
_CONTEXT: Final = "jvs 2026-11 stat index v1"
_RECORD: Final = struct.Struct("<QQQ32s16sIIIB")
"""Bytes of the subtree's records before this one, entries, bytes, digest, rules, children, notes, ignored, flags."""
_CHILD: Final = struct.Struct("<QQ")
"""Distance from the child's record to this one and length of the child's record; zeros: not entered."""
_TAIL: Final = struct.Struct("<I")
_MAX_FOOTER: Final = 4096
_BLOCK: Final = 1 << 20

IN_MEMORY: Final = 64 << 20
"""An index of up to this size is kept in memory while it is used; a larger one is read record by record."""
SPILL: Final = 16 << 20
"""A new index keeps this many bytes in memory; the rest goes to its temporary file at once."""

NO_RULES: Final = bytes(16)
"""`rules` of a directory in which no ignore rules hold: neither its own nor from above."""
UNKNOWN_RULES: Final = b"\xff" * 16
"""`rules` that match nothing: the directory is looked through name by name at the next push."""

OWN_RULES: Final = 1
"""Flag: the directory has an ignore file of its own."""


class Slot(NamedTuple):
    """Where a record lies in an index file."""

    at: int
    length: int


class Record(NamedTuple):
    """What the index knows of one directory.

    slot, start   where the record lies, and where the records of everything below it begin
    tree          the directory's root page and totals at that time
    rows          its packed rows (see `pack_rows`)
    children      for each directory among the rows, in order: its record, or None when it was not entered
    rules         digest of the ignore rules that hold in it, those of its own file among them
    flags         OWN_RULES
    ignored       how many of its names were ignored and are not in the tree
    notes         (name, reason) of what was left out and must be told again at every push; an empty reason: the name
                  is in the tree as it was before it became ignored, whatever its row says
    """

    slot: Slot
    start: int
    tree: Tree
    rows: bytes
    children: Sequence[Slot | None]
    rules: bytes
    flags: int
    ignored: int
    notes: Sequence[tuple[str, str]]


_packer = msgpack.Packer(unicode_errors="surrogateescape")


def pack_rows(rows: Sequence[Row]) -> bytes:
    """The rows of one directory as one string of bytes; equal exactly when the rows are."""
    packed: bytes = _packer.pack(rows)
    return packed


def unpack_rows(packed: bytes) -> tuple[Row, ...]:
    """The inverse of `pack_rows`."""
    rows: tuple[Row, ...] = msgpack.unpackb(packed, use_list=False, unicode_errors="surrogateescape")
    return rows


class StatIndex:
    """The stat index of one directory: what the last one says (if it can be believed), and the place for a new one.

    root is the tree it describes, None when there is nothing to believe. The caller checks that the store still has
    that tree before using it.
    """

    def __init__(self, path: str, store: bytes, identity: tuple[int, int]) -> None:
        """path: of the index file, which need not exist. store: the store's uuid. identity: (st_dev, st_ino) of the
        directory it is about. Never raises for what is in the file, or is not."""
        self.path = path
        self.store = store
        self.identity = identity
        self.root: Digest | None = None
        self._fd = -1
        self._data: bytes | None = None
        self._top: Slot | None = None
        try:
            self._load()
        except (OSError, ValueError, TypeError, KeyError, struct.error, msgpack.UnpackException):
            self.forget()

    def _load(self) -> None:
        self._fd = os.open(self.path, FILE_FLAGS)
        info = os.fstat(self._fd)
        size = info.st_size if stat.S_ISREG(info.st_mode) else 0
        tail = _TAIL.size + DIGEST_SIZE
        if size < len(_MAGIC) + tail:
            raise ValueError("too short")
        hasher = blake3(derive_key_context=_CONTEXT)
        blocks: list[bytes] = []
        for block in _blocks(self._fd, size - DIGEST_SIZE):
            hasher.update(block)
            if size <= IN_MEMORY:
                blocks.append(block)
        if os.pread(self._fd, DIGEST_SIZE, size - DIGEST_SIZE) != hasher.digest():
            raise ValueError("fails its checksum")
        if size <= IN_MEMORY:
            self._data = b"".join(blocks)
        if self._read(0, len(_MAGIC)) != _MAGIC:
            raise ValueError("another version")
        (length,) = _TAIL.unpack(self._read(size - tail, _TAIL.size))
        if not 0 < length <= min(_MAX_FOOTER, size - tail - len(_MAGIC)):
            raise ValueError("no footer")
        store, root, identity, encoding, top = msgpack.unpackb(self._read(size - tail - length, length), use_list=False)
        if (store, identity, encoding) != (self.store, self.identity, sys.getfilesystemencoding()):
            raise ValueError("about something else")
        self._top = Slot(*top)
        self.root = root

    def _read(self, at: int, length: int) -> bytes:
        if self._data is not None:
            return self._data[at : at + length]
        return os.pread(self._fd, length, at)

    @property
    def top(self) -> Record:
        """The record of the directory itself; only while `root` is not None."""
        if self._top is None:
            raise ValueError("there is no index")
        return self.record(self._top)

    def record(self, slot: Slot) -> Record:
        """The record that lies at `slot`."""
        at, length = slot
        data = self._read(at, length)
        below, entries, size, digest, rules, count, noted, ignored, flags = _RECORD.unpack_from(data)
        children: list[Slot | None] = []
        place = _RECORD.size
        for _ in range(count):
            distance, child_length = _CHILD.unpack_from(data, place)
            children.append(Slot(at - distance, child_length) if distance else None)
            place += _CHILD.size
        notes = unpack_rows(data[place : place + noted]) if noted else ()
        return Record(
            slot,
            at - below,
            Tree(digest, entries, size),
            data[place + noted :],
            children,
            rules,
            flags,
            ignored,
            notes,  # type: ignore[arg-type]  # pairs of strings, packed as rows are
        )

    def stretch(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`, in blocks."""
        while start < end:
            block = self._read(start, min(_BLOCK, end - start))
            if not block:
                raise OSError("the stat index became shorter")
            yield block
            start += len(block)

    def builder(self) -> IndexBuilder:
        """What writes the next index of this directory."""
        return IndexBuilder(self)

    def forget(self) -> None:
        """Believe nothing of it any more."""
        self.root = self._top = None
        self.close()

    def close(self) -> None:
        """Release the file; `record` and builders that copy from it may not be used afterwards. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._data = None

    def __enter__(self) -> StatIndex:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class IndexBuilder:
    """Builds a new index, children before parents, the records of a directory's children directly before its own.

    A checkout uses it too: for each directory it has finished it adds the rows of a fresh listing. A row may only be
    given as it is when the entry's content is *known* to be the tree's, by having been read or written while its stat
    was that row, and when its times were settled then (`walk.trusted_row`); otherwise it is given as `(name,)`.
    """

    def __init__(self, old: StatIndex) -> None:
        self._old = old
        self._chunks: list[bytes | tuple[int, int]] = [_MAGIC]
        self._end = len(_MAGIC)
        self._in_memory = 0
        self._fd = -1
        self._temp = ""
        self._broken = False
        self._root: tuple[Digest, Slot] | None = None
        self.unchanged = False
        """Whether the old index already says everything; `save` then writes nothing."""

    def mark(self) -> int:
        """Where the next record will lie; before the first record of a directory's children, for `keep`."""
        return self._end

    def keep(self, record: Record, mark: int) -> Slot:
        """A directory that is wholly as the old index says: drop what was added since `mark` and copy the stretch of
        the old index that describes it and everything below it. Returns its place for the parent's record."""
        self._rewind(mark)
        end = record.slot.at + record.slot.length
        self._append((record.start, end), end - record.start)
        return Slot(mark + record.slot.at - record.start, record.slot.length)

    def add(
        self,
        mark: int,
        rows: Sequence[Row] | bytes,
        tree: Tree,
        children: Sequence[Slot | None] = (),
        *,
        rules: bytes = NO_RULES,
        flags: int = 0,
        ignored: int = 0,
        notes: Sequence[tuple[str, str]] = (),
    ) -> Slot:
        """Add the record of a directory; see `Record`. mark: from `mark()`, before the first of its children was added.

        children: one for each directory among `rows`, in order (None: not entered). Returns its place for the parent.
        """
        at = self._end
        packed = rows if isinstance(rows, bytes) else pack_rows(rows)
        noted = pack_rows(notes) if notes else b""  # type: ignore[arg-type]  # pairs of strings pack alike
        head = _RECORD.pack(
            at - mark, tree.entries, tree.bytes, tree.digest, rules, len(children), len(noted), ignored, flags
        )
        below = [_CHILD.pack(at - child.at, child.length) if child else _CHILD.pack(0, 0) for child in children]
        data = b"".join((head, *below, noted, packed))
        self._append(data, len(data))
        return Slot(at, len(data))

    def contents(self) -> bytes:
        """Every record added so far, for `adopt` of another builder; their places count from the first. Raises OSError
        when they could not be kept."""
        if self._broken:
            raise OSError("there was no place for the new stat index")
        if self._fd >= 0:
            self._flush()
            return b"".join(_blocks(self._fd, self._end))[len(_MAGIC) :]
        return b"".join(chunk for chunk in self._chunks if isinstance(chunk, bytes))[len(_MAGIC) :]

    def adopt(self, records: bytes, top: Slot) -> Slot:
        """Add what another builder gave as `contents`. top: the place of a record there; returns its place here."""
        at = self._end - len(_MAGIC)
        self._append(records, len(records))
        return Slot(at + top.at, top.length)

    def finish(self, root: Digest, top: Slot, *, unchanged: bool = False) -> None:
        """root: the tree that all of it describes; top: the place of its own record."""
        self._root = (root, top)
        self.unchanged = unchanged

    def save(self) -> bool:
        """Replace the index file, by temporary file and rename (not synced: it is derived, and has a checksum).

        To be called once the tree is published. Returns whether a new file was written: False when nothing changed,
        or when it cannot be written, as an index is never worth failing a push for.
        """
        if self._root is None or self._broken or self.unchanged:
            self.close()
            return False
        root, top = self._root
        footer = msgpack.packb((self._old.store, root, self._old.identity, sys.getfilesystemencoding(), top))
        try:
            self._append(footer + _TAIL.pack(len(footer)), len(footer) + _TAIL.size)
            self._flush()
            hasher = blake3(derive_key_context=_CONTEXT)
            for block in _blocks(self._fd, self._end):
                hasher.update(block)
            _write(self._fd, hasher.digest())
            os.replace(self._temp, self._old.path)
            self._temp = ""
        except (OSError, ValueError):
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Drop everything; idempotent."""
        self._root = None
        self._chunks = []
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temp:
            with contextlib.suppress(OSError):
                os.unlink(self._temp)
            self._temp = ""

    def _append(self, chunk: bytes | tuple[int, int], length: int) -> None:
        if self._broken:
            self._end += length
            return
        self._chunks.append(chunk)
        self._end += length
        if isinstance(chunk, bytes):
            self._in_memory += length
            if self._in_memory > SPILL:
                try:
                    self._flush()
                except (OSError, ValueError):
                    self._broken = True  # no place for it: the push goes on, and the old index stays
                    self._chunks = []

    def _rewind(self, mark: int) -> None:
        while self._end > mark and self._chunks:
            chunk = self._chunks.pop()
            if isinstance(chunk, bytes):
                self._in_memory -= len(chunk)
                self._end -= len(chunk)
            else:
                self._end -= chunk[1] - chunk[0]
        if self._end > mark:
            if not self._broken:
                os.ftruncate(self._fd, mark)
                os.lseek(self._fd, mark, os.SEEK_SET)
            self._end = mark

    def _flush(self) -> None:
        if self._fd < 0:
            os.makedirs(os.path.dirname(self._old.path), exist_ok=True)
            self._temp = f"{self._old.path}.{os.urandom(8).hex()}.tmp"
            self._fd = os.open(self._temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with contextlib.suppress(OSError):  # so that nobody who tidies up takes it for a leftover
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pieces: list[bytes] = []
        for chunk in self._chunks:
            if isinstance(chunk, bytes):
                pieces.append(chunk)
                continue
            _write(self._fd, b"".join(pieces))
            pieces = []
            for block in self._old.stretch(*chunk):
                _write(self._fd, block)
        _write(self._fd, b"".join(pieces))
        self._chunks = []
        self._in_memory = 0


def _blocks(fd: int, size: int) -> Iterator[bytes]:
    """The first `size` bytes of an open file."""
    at = 0
    while at < size:
        block = os.pread(fd, min(_BLOCK, size - at), at)
        if not block:
            raise ValueError("the stat index became shorter")
        yield block
        at += len(block)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
