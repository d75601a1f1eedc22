"""Repairs of a local store that need to understand no object: rows of packs, headers, the journal, `committed`.

Each takes what is damaged to the quarantine first, is safe beside everybody, and may be done again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore import records
from jvs.castore.backend import JournalRecord, Kind
from jvs.castore.digest import Digest
from jvs.castore.local.descriptors import Descriptor, sync_data
from jvs.castore.local.failures import os_error
from jvs.castore.local.journal import FRAME, MAGIC, open_frame
from jvs.castore.local.pack import PACK_HEADER, pack_header, pack_path, record_length
from jvs.castore.local.quarantine import keep, read_range
from jvs.castore.local.tables import PackRow
from jvs.castore.local.txn import LocalReadTxn
from jvs.errors import IntegrityError

if TYPE_CHECKING:
    from jvs.castore.local.store import LocalStore

_TRIES: Final = 10
_MAX_FRAME: Final = records.MAX_RECORD + 1024


# -- packs


class _Used(NamedTuple):
    """What the objects of the index take of a pack: bytes of their records, and where the last one ends."""

    live: int = 0
    end: int = 0


def repair_packs(store: LocalStore) -> list[str]:
    """Make rows of packs agree with the objects of the index and with the files; write damaged pack headers anew; let
    go of files that are gone. What objects lie in lost bytes is for whoever knows objects to settle first. Returns what
    was wrong, a line each."""
    wrong = _wrong_packs(store)
    for pack in wrong:
        for _ in range(_TRIES):  # somebody may be writing to the pack
            if _settle(store, pack):
                break
    return [f"pack {pack.hex()}" for pack in wrong]


def _wrong_packs(store: LocalStore) -> list[bytes]:
    with store.read() as txn:
        rows, used = dict(txn.packs()), _used(txn)
    wrong = []
    for pack in rows.keys() | used.keys():
        row, size = rows.get(pack), _size(store, pack)
        agree = row is not None and row.live_bytes == used.get(pack, _Used()).live
        whole = row is not None and size is not None and size >= row.committed_end
        if not (agree and whole and (not size or _header(store, pack) == pack_header(pack))):
            wrong.append(pack)
    return wrong


def _settle(store: LocalStore, pack: bytes) -> bool:
    """Whether it is settled, or nothing can be done now."""
    path = pack_path(store.packs_path, pack)
    try:
        file = Descriptor(path, os.O_RDWR)
    except FileNotFoundError:
        file = None
    except OSError as exc:
        raise os_error(exc, f"opening pack {pack.hex()}") from exc
    try:
        if file is not None and not file.lock(wait=False):
            return True  # somebody writes to it; the next repair finds it
        with store.read() as txn:
            before, used = txn.pack_row(pack), _used(txn).get(pack, _Used())
        size = 0 if file is None else os.fstat(file.fd).st_size
        state, end, live = PackRow.SEALED, size, used.live
        if before is not None:
            state, end = before.state, before.committed_end
        if size < end and used.end <= size:
            state, end = PackRow.SEALED, size
        with store.write() as txn:
            now = txn.pack_row(pack)
            if (now is None) != (before is None) or (now and before and now.encode() != before.encode()):
                return False
            if file is not None or live:
                txn.add_pack(pack, PackRow(state, end, live))
            else:
                txn.add_pack(pack, PackRow(PackRow.DROPPED, end, 0))
        if file is None and not live:
            with store.write() as txn:
                txn.forget_pack(pack)
        elif file is not None and end:
            _mend_header(store, pack, file)
        return True
    finally:
        if file is not None:
            file.close()


def _mend_header(store: LocalStore, pack: bytes, file: Descriptor) -> None:
    head = os.pread(file.fd, PACK_HEADER, 0)
    if head != pack_header(pack):
        keep(store, f"pack-{pack.hex()}-header", head)
        try:
            os.pwrite(file.fd, pack_header(pack), 0)
            sync_data(file.fd)
        except OSError as exc:
            raise os_error(exc, f"writing the header of pack {pack.hex()}") from exc


def _used(txn: LocalReadTxn) -> dict[bytes, _Used]:
    used: dict[bytes, _Used] = {}
    for kind in Kind:
        for _, row in txn.objects(kind):
            live, end = used.get(row.pack, _Used())
            length = record_length(row.stored)
            used[row.pack] = _Used(live + length, max(end, row.offset + length))
    return used


def _size(store: LocalStore, pack: bytes) -> int | None:
    try:
        return os.stat(pack_path(store.packs_path, pack)).st_size
    except FileNotFoundError:
        return None


def _header(store: LocalStore, pack: bytes) -> bytes:
    return read_range(pack_path(store.packs_path, pack), 0, PACK_HEADER)


# -- the journal


class _Hole(NamedTuple):
    """Bytes of the journal that are no sound records: after the record `last`, before one that follows `prev`."""

    start: int
    stop: int
    last: JournalRecord | None
    prev: Digest


def repair_journal(store: LocalStore, others: Sequence[str]) -> list[str]:
    """Put damaged records of the journal back, where they can be had: from the journals of `others` (store
    directories: copies of this one share its beginning), or by turning back a single bit. What comes of it is believed
    only where it fits the chain on both sides. Returns what was put back, a line each."""
    done = []
    with store.read() as txn:
        head, tail = txn.journal_head(), txn.journal_tail()
    after = records.decode(open_frame(tail[0])[1]).prev if tail else head.end.digest
    path = os.path.join(store.path, "journal")
    for hole in list(_holes(path, head.length - sum(map(len, tail)), after)):
        raw = read_range(path, hole.start, hole.stop - hole.start)
        found = next((new for new in _candidates(raw, hole, others) if _fills(hole, new)), None)
        if found is None:
            continue
        keep(store, f"journal-{hole.start}", raw)
        try:
            file = Descriptor(path, os.O_WRONLY)
            try:
                os.pwrite(file.fd, found, hole.start)
                sync_data(file.fd)
            finally:
                file.close()
        except OSError as exc:
            raise os_error(exc, "writing the journal") from exc
        done.append(f"journal, bytes {hole.start} to {hole.stop}")
    return done


def _candidates(raw: bytes, hole: _Hole, others: Sequence[str]) -> Iterator[bytes]:
    for other in others:
        yield read_range(os.path.join(other, "journal"), hole.start, len(raw))
    if len(raw) <= _MAX_FRAME:
        turned = bytearray(raw)
        for bit in range(8 * len(raw)):
            turned[bit // 8] ^= 1 << bit % 8
            if _opens(turned):
                yield bytes(turned)
            turned[bit // 8] ^= 1 << bit % 8


def _opens(raw: bytes | bytearray) -> bool:
    try:
        open_frame(bytes(raw))
    except IntegrityError:
        return False
    return True


def _fills(hole: _Hole, raw: bytes) -> bool:
    """Whether these bytes are records that go on where the hole begins, and end where it ends."""
    if len(raw) != hole.stop - hole.start:
        return False
    last, at = hole.last, 0
    while at < len(raw):
        record = _record_at(raw, at)
        if record is None or not _follows(record[0], last):
            return False
        last, at = record[0], at + record[1]
    return last is not None and last.digest == hole.prev


def _holes(path: str, end: int, after: Digest) -> Iterator[_Hole]:
    """The damaged stretches of the first `end` bytes. after: what the record behind those follows."""
    data = read_range(path, 0, end)  # a decision is some hundred bytes
    last: JournalRecord | None = None
    start, at = None, 0
    while at < len(data):
        record = _record_at(data, at)
        if record is None or (start is None and not _follows(record[0], last)):
            start = at if start is None else start
            found = data.find(MAGIC, at + 1)
            at = found if found >= 0 else len(data)
            continue
        if start is not None:
            yield _Hole(start, at, last, record[0].prev)
            start = None
        last, at = record[0], at + record[1]
    if start is not None:
        yield _Hole(start, end, last, after)


def _follows(record: JournalRecord, last: JournalRecord | None) -> bool:
    if last is None:
        return record.seq == 0 and record.prev == records.EMPTY.digest
    return record.seq == last.seq + 1 and record.prev == last.digest


def _record_at(data: bytes, at: int) -> tuple[JournalRecord, int] | None:
    """The sound record whose frame begins at `at`, and the frame's length."""
    if data[at : at + len(MAGIC)] != MAGIC or len(data) - at < FRAME.size:
        return None
    length = FRAME.size + FRAME.unpack_from(data, at)[1]
    if length > _MAX_FRAME or at + length > len(data):
        return None
    try:
        return records.decode(open_frame(data[at : at + length])[1]), length
    except IntegrityError:
        return None
