"""The journal file: every decision a person made, one record after another, in a file that is only ever appended to.

A frame is `magic, length, transaction, checksum, record` (docs/format.md); the records chain (`jvs.castore.records`).
Frames are written inside the write transaction just before it commits and are not synced there: the transaction keeps
the same frames in the table JOURNAL_TAIL until somebody has synced the file. LMDB says where the journal ends; what
lies beyond never committed (and is cut off by the next writer), what is missing is refilled from the table.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final, NamedTuple

from jvs.castore import records
from jvs.castore.backend import JournalRecord
from jvs.castore.digest import check_digest
from jvs.castore.local.committed import CommittedFile
from jvs.castore.local.descriptors import Descriptor, sync_data
from jvs.castore.local.failures import os_error
from jvs.errors import IntegrityError

MAGIC: Final = b"jvsJ"
FRAME: Final = struct.Struct(">4sIQ8s")
SYNC_SECONDS: Final = 1.0
"""How late the journal file may be synced, by a commit that comes after."""
_MAX_FRAME: Final = records.MAX_RECORD + 1024
_SEARCH: Final = 1 << 20
_HEAD: Final = struct.Struct(">QQQ32s")


class JournalHead(NamedTuple):
    """Where the journal ends, as LMDB records it: bytes of the file, and the end of the chain."""

    length: int
    end: records.Head

    def encode(self) -> bytes:
        """The value of the row in the index."""
        return _HEAD.pack(self.length, *self.end)

    @classmethod
    def decode(cls, value: bytes | None) -> JournalHead:
        """The head in a row; that of an empty journal when there is none."""
        if value is None:
            return EMPTY_HEAD
        length, *end = _HEAD.unpack(value)
        return cls(length, records.Head(*end))


EMPTY_HEAD: Final = JournalHead(0, records.EMPTY)


def frame(record: bytes, txn_id: int) -> bytes:
    """A record as it lies in the file."""
    check = check_digest(struct.pack(">IQ", len(record), txn_id) + record)[:8]
    return FRAME.pack(MAGIC, len(record), txn_id, check) + record


def open_frame(raw: bytes) -> tuple[int, bytes]:
    """The transaction and the record in one frame. Raises IntegrityError (journal-damaged)."""
    if len(raw) >= FRAME.size:
        magic, length, txn_id, check = FRAME.unpack_from(raw)
        record = raw[FRAME.size :]
        if (
            magic == MAGIC
            and length == len(record)
            and check == check_digest(struct.pack(">IQ", length, txn_id) + record)[:8]
        ):
            return txn_id, record
    raise IntegrityError("a record of the journal fails its checksum", code="journal-damaged")


class JournalFile:
    """The file, open for appending. `on_failure` is told when a sync fails, which is final for the handle."""

    def __init__(
        self, path: str, committed: CommittedFile, *, readonly: bool, on_failure: Callable[[str], None]
    ) -> None:
        self._file = Descriptor(path, os.O_RDONLY if readonly else os.O_RDWR | os.O_APPEND)
        self._committed = committed
        self._on_failure = on_failure
        self._unsynced = 0
        self._unsynced_since = 0.0
        self._syncing = threading.Lock()

    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file.fd).st_size

    def append(self, frames: bytes, at: int) -> None:
        """Append frames with one write to a file of `at` bytes; what a failed one wrote is cut off. Raises JvsError."""
        try:
            written = os.write(self._file.fd, frames)
            while written < len(frames):  # the device is all but full: the next write says so
                written += os.write(self._file.fd, frames[written:])
        except OSError as exc:
            with suppress(OSError):  # what is left is cut off by the next writer
                os.ftruncate(self._file.fd, at)
            raise os_error(exc, "writing the journal") from exc

    def appended(self, seq: int) -> None:
        """Records below `seq` are committed. Syncs the file when the oldest of them waits for a second already.

        Nothing depends on when that is (until then the index has the same records), so no thread watches the clock.
        """
        now = monotonic()
        if not self._unsynced:
            self._unsynced_since = now
        self._unsynced = seq
        if now - self._unsynced_since >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Sync what was appended by this handle, and note it so that somebody trims the tail."""
        with self._syncing:
            seq = self._unsynced
            if not seq:
                return
            try:
                sync_data(self._file.fd)
                self._committed.note_synced(seq)
            except OSError as exc:
                self._unsynced = 0
                self._on_failure(f"syncing the journal: {exc.strerror}")
                return
            self._unsynced_since = monotonic()
            if self._unsynced == seq:
                self._unsynced = 0

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()

    def cut(self, length: int) -> None:
        """Cut the file to `length` bytes. Raises JvsError."""
        try:
            os.ftruncate(self._file.fd, length)
        except OSError as exc:
            raise os_error(exc, "cutting the journal back") from exc

    def beyond(self, length: int) -> bytes:
        """What lies beyond `length`, up to a little more than one transaction may write."""
        return os.pread(self._file.fd, records.MAX_TRANSACTION + 1, length)

    def ends_with(self, end: int, tail: Sequence[bytes]) -> bool:
        """Whether the file's bytes up to `end` end with these frames."""
        wanted = b"".join(tail)
        return os.pread(self._file.fd, len(wanted), end - len(wanted)) == wanted

    def frames(self, end: int) -> Iterator[bytes]:
        """The frames of the first `end` bytes. Raises IntegrityError (journal-damaged) where they are not whole."""
        at = 0
        while at < end:
            header = os.pread(self._file.fd, FRAME.size, at)
            length = FRAME.unpack(header)[1] if len(header) == FRAME.size else end
            if header[:4] != MAGIC or length > _MAX_FRAME or at + FRAME.size + length > end:
                raise IntegrityError(f"the journal is damaged at byte {at}", code="journal-damaged")
            yield header + os.pread(self._file.fd, length, at + FRAME.size)
            at += FRAME.size + length


def transactions_in(raw: bytes) -> set[int]:
    """The transactions of the whole, sound frames at the start of `raw`."""
    found, at = set(), 0
    while (opened := _sound_at(raw, at)) is not None:
        found.add(opened[0])
        at += FRAME.size + len(opened[1])
    return found


def sound_frames(fd: int) -> Iterator[bytes]:
    """The frames of a journal whose end nobody knows: up to the last sound one.

    Raises IntegrityError (journal-damaged) when sound ones follow after one that is not: that is no torn end.
    """
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        raw = os.pread(fd, FRAME.size + _MAX_FRAME, at)
        opened = _sound_at(raw, 0)
        if opened is None:
            break
        length = FRAME.size + len(opened[1])
        yield raw[:length]
        at += length
    while at < size:
        raw = os.pread(fd, _SEARCH, at)
        place = raw.find(MAGIC)
        while place >= 0:
            if _sound_at(os.pread(fd, FRAME.size + _MAX_FRAME, at + place), 0) is not None:
                raise IntegrityError("the journal is damaged before its end", code="journal-damaged")
            place = raw.find(MAGIC, place + 1)
        at += max(len(raw) - len(MAGIC) + 1, 1)


def _sound_at(raw: bytes, at: int) -> tuple[int, bytes] | None:
    """Transaction and record of the frame at `at`; None when it is not whole and sound."""
    if len(raw) - at < FRAME.size:
        return None
    length = FRAME.unpack_from(raw, at)[1]
    try:
        return open_frame(raw[at : at + FRAME.size + length])
    except IntegrityError:
        return None


def verified(frames: Iterator[bytes], start: int) -> Iterator[JournalRecord]:
    """The records of consecutive frames from number `start` on, checksums, digests and chain verified."""
    last: JournalRecord | None = None
    for number, raw in enumerate(frames):
        if number < start:
            continue
        record = records.decode(open_frame(raw)[1])
        prev = last.digest if last else records.EMPTY.digest if number == 0 else record.prev
        if record.seq != number or record.prev != prev:
            raise IntegrityError(f"the journal's chain is broken at record {number}", code="journal-damaged")
        last = record
        yield record
