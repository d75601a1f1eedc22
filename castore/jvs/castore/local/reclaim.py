"""Giving space back: packs in which nothing lies are dropped, packs that are mostly dead are rewritten (DESIGN 6).

A pack is dropped by the transaction that finds nothing in it, under its lock, and only then unlinked; its row goes
last. A rewritten object keeps its record byte for byte; the index moves to the copy only where it still says the old
place, so a sweep, a push or another collector may do what they like meanwhile. Readers look an object up again when
its pack is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import Kind, object_name
from jvs.castore.digest import Digest
from jvs.castore.gc.collection import Limits
from jvs.castore.gc.mark import Step
from jvs.castore.local.descriptors import Descriptor
from jvs.castore.local.failures import os_error
from jvs.castore.local.pack import (
    HEADER,
    PACK_HEADER,
    SEAL_AT,
    Record,
    data_is_sound,
    decode_header,
    pack_of,
    pack_path,
)
from jvs.castore.local.scan import next_magic
from jvs.castore.local.tables import PackRow
from jvs.castore.local.txn import Place
from jvs.errors import NoSpaceError

if TYPE_CHECKING:
    from jvs.castore.local.store import LocalStore
    from jvs.castore.local.writer import LocalWriter

_SMALL: Final = SEAL_AT // 2
"""A sealed pack below this size is put together with others."""
_AT_ONCE: Final = 8
"""Packs that are copied before the copies are made durable."""
_MARGIN: Final = 4 << 20
"""Bytes a rewrite leaves free beside the copies; on a small disk half of what is free will do."""
_BATCH: Final = 1024
_KINDS: Final = frozenset(Kind)


class Reclaimed(NamedTuple):
    """What became of the packs. bytes: of the files. no_room: packs that were not rewritten for want of free space."""

    dropped: int = 0
    freed: int = 0
    rewritten: int = 0
    copied: int = 0
    no_room: int = 0

    def plus(self, other: Reclaimed) -> Reclaimed:
        """Both together."""
        return Reclaimed(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def reclaim(store: LocalStore, limits: Limits, step: Step) -> Reclaimed:
    """Drop the packs in which nothing lies, rewrite those that are mostly dead or sealed and small, drop these too.

    A pack that somebody writes to is left alone. Raises OSError's JvsErrors, but not NoSpaceError: what cannot be
    rewritten for want of space is counted.
    """
    total = _drop_empty(store)
    waiting = victims(store)
    with store.writer() as writer:
        while waiting and not limits.reached(total.freed):
            batch = waiting[:_AT_ONCE]
            free = _free_space(store)
            room = max(free - _MARGIN, free // 2)
            while batch and sum(live for _, live in batch) > room:
                batch.pop()
            if not batch:  # nor is there for any of the others, in which more lives
                total = total.plus(Reclaimed(no_room=len(waiting)))
                break
            waiting = waiting[len(batch) :]
            try:
                total = total.plus(_rewrite(store, writer, [pack for pack, _ in batch], step))
            except NoSpaceError:
                total = total.plus(Reclaimed(no_room=len(batch) + len(waiting)))
                break
    return total


class Rewritten(NamedTuple):
    """What became of packs that were to be rewritten. held: those that somebody writes to; unsound: those in which
    something lies that the index needs and that cannot be read."""

    reclaimed: Reclaimed
    held: tuple[bytes, ...]
    unsound: tuple[bytes, ...]


def rewrite(store: LocalStore, packs: Sequence[bytes], step: Step) -> Rewritten:
    """Rewrite these packs, or drop them, however much lives in them, and also if they may still be appended to.

    Raises OSError's JvsErrors, also NoSpaceError.
    """
    held = [pack for pack in packs if not _seal(store, pack)]
    free = [pack for pack in packs if pack not in held]
    total = Reclaimed()
    with store.writer() as writer:
        while free:
            batch, free = free[:_AT_ONCE], free[_AT_ONCE:]
            total = total.plus(_rewrite(store, writer, batch, step))
    there = _rows(store).keys()
    left = [pack for pack in packs if pack in there and pack not in held]
    return Rewritten(total, tuple(held), tuple(left))


def _seal(store: LocalStore, pack: bytes) -> bool:
    """See to it that nobody appends to a pack any more; False when somebody does. The writer of the copies would else
    take the very pack that is to be emptied."""
    try:
        file = Descriptor(pack_path(store.packs_path, pack), os.O_RDONLY)
    except FileNotFoundError:
        return True
    except OSError as exc:
        raise os_error(exc, f"opening pack {pack.hex()}") from exc
    try:
        if not file.lock(wait=False):
            return False
        with store.write() as txn:
            row = txn.pack_row(pack)
            if row is not None and row.state == PackRow.OPEN:
                txn.set_pack(pack, state=PackRow.SEALED, committed_end=row.committed_end)
        return True
    finally:
        file.close()


Suspect = Callable[[Kind, Digest], bool]
"""Whether a record of that object, where it is dead, must not stay."""


def tainted(store: LocalStore, suspect: Suspect, step: Step) -> list[bytes]:
    """The packs in which there is a dead record that must not stay, or something that is no record at all, or was
    never published. Their headers are read, not their data."""
    found: list[bytes] = []
    for pack, row in _rows(store).items():
        try:
            file = Descriptor(pack_path(store.packs_path, pack), os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise os_error(exc, f"opening pack {pack.hex()}") from exc
        try:
            # what somebody is writing just now he answers for: it is published, or cut off
            end = os.fstat(file.fd).st_size if file.lock(wait=False) else row.committed_end
            whole = end == row.committed_end and row.live_bytes == max(row.committed_end - PACK_HEADER, 0)
            if not whole and (end != row.committed_end or _has_suspect(store, pack, file.fd, end, suspect)):
                found.append(pack)
        finally:
            file.close()
        step(len(found))
    return found


def _has_suspect(store: LocalStore, pack: bytes, fd: int, size: int, suspect: Suspect) -> bool:
    at = PACK_HEADER
    headers = _headers(fd, size)
    while batch := list(islice(headers, _BATCH)):
        with store.read() as txn:
            rows = [txn.object_row(object_name(Kind(record.kind), record.key)) for _, record in batch]
        for (offset, record), row in zip(batch, rows, strict=True):
            live = row is not None and (row.pack, row.offset) == (pack, offset)
            if offset != at or (not live and suspect(Kind(record.kind), record.key)):
                return True
            at = offset + HEADER + record.stored
    return at != size


def victims(store: LocalStore) -> list[tuple[bytes, int]]:
    """The packs that would be rewritten, and the bytes that live in each; those with the fewest first."""
    return _victims(_rows(store), {})


def _victims(rows: Mapping[bytes, PackRow], dying: Mapping[bytes, int]) -> list[tuple[bytes, int]]:
    """`victims`, once `dying` bytes of some packs have gone."""
    live = {pack: row.live_bytes - dying.get(pack, 0) for pack, row in rows.items() if row.state != PackRow.DROPPED}
    left = [pack for pack, alive in live.items() if alive > 0]
    chosen = {pack for pack in left if 2 * live[pack] < rows[pack].committed_end - PACK_HEADER}
    small = [pack for pack in left if rows[pack].state == PackRow.SEALED and rows[pack].committed_end < _SMALL]
    chosen.update(small if len(small) > 1 else ())
    return sorted(((pack, live[pack]) for pack in chosen), key=lambda item: item[1])


class Foreseen(NamedTuple):
    """What `reclaim` would do. stored: bytes of the records that the index points to now; dead: bytes of packs that
    go, to which it points no more; dropped, rewritten: packs; freed: bytes of files, less those of copies."""

    stored: int
    dead: int
    dropped: int
    rewritten: int
    freed: int


def foresee(store: LocalStore, dying: Mapping[bytes, int]) -> Foreseen:
    """What `reclaim` would do once objects that take `dying[pack]` bytes of a pack are no longer in the index."""
    rows = _rows(store)
    rewritten = _victims(rows, dying)
    dropped = [pack for pack, row in rows.items() if row.live_bytes <= dying.get(pack, 0)]
    going = [rows[pack] for pack in (*dropped, *(pack for pack, _ in rewritten))]
    return Foreseen(
        sum(row.live_bytes for row in rows.values()),
        sum(max(row.committed_end - PACK_HEADER - row.live_bytes, 0) for row in going),
        len(dropped),
        len(rewritten),
        sum(row.committed_end for row in going) - sum(live for _, live in rewritten),
    )


def _rows(store: LocalStore) -> dict[bytes, PackRow]:
    with store.read() as txn:
        return dict(txn.packs())


def _free_space(store: LocalStore) -> int:
    status = os.statvfs(store.packs_path)
    return status.f_bavail * status.f_frsize


# -- dropping


def _drop_empty(store: LocalStore) -> Reclaimed:
    """Drop what is empty, finish what was dropped, remove files that no row names."""
    with store.read() as txn:
        rows = dict(txn.packs())
    names = [pack for name in os.listdir(store.packs_path) if (pack := pack_of(name)) is not None]
    stray = [pack for pack in names if pack not in rows]
    total = Reclaimed()
    for pack in [*stray, *(pack for pack, row in rows.items() if not row.live_bytes)]:
        try:
            file = Descriptor(pack_path(store.packs_path, pack), os.O_RDONLY)
        except FileNotFoundError:
            if pack in rows and rows[pack].state == PackRow.DROPPED:
                with store.write() as txn:
                    txn.forget_pack(pack)
            continue
        except OSError as exc:
            raise os_error(exc, f"opening pack {pack.hex()}") from exc
        try:
            if file.lock(wait=False):
                total = total.plus(_drop(store, pack, file))
        finally:
            file.close()
    return total


def _drop(store: LocalStore, pack: bytes, file: Descriptor) -> Reclaimed:
    """Drop a pack whose lock is held, if nothing lies in it."""
    with store.write() as txn:
        if txn.pack_row(pack) is not None and not txn.drop_pack(pack):
            return Reclaimed()
    status = os.fstat(file.fd)
    if not status.st_nlink:
        return Reclaimed()
    os.unlink(pack_path(store.packs_path, pack))
    # The row goes when the file is gone for good: a file that a power cut brings back without one is a stray.
    with store.write() as txn:
        txn.forget_pack(pack)
    store.forget_pack(pack)
    return Reclaimed(dropped=1, freed=status.st_size)


# -- rewriting


def _rewrite(store: LocalStore, writer: LocalWriter, packs: list[bytes], step: Step) -> Reclaimed:
    """Copy what lives in these packs, move the index to the copies, drop the packs."""
    held: list[tuple[bytes, Descriptor]] = []
    try:
        moves: list[tuple[bytes, Place, Place]] = []
        copied = 0
        for pack in packs:
            try:
                file = Descriptor(pack_path(store.packs_path, pack), os.O_RDONLY)
            except FileNotFoundError:
                continue  # another collector was faster
            if not file.lock(wait=False):
                file.close()
                continue
            held.append((pack, file))
            for name, offset, raw in _live_records(store, pack, file):
                moves.append((name, Place(pack, offset), writer.copy(raw)))
                copied += len(raw)
            step(len(moves))
        writer.move(moves)
        total = Reclaimed(copied=copied)
        for pack, file in held:
            done = _drop(store, pack, file)
            total = total.plus(done._replace(rewritten=done.dropped, dropped=0))
        return total
    except OSError as exc:
        raise os_error(exc, "rewriting a pack") from exc
    finally:
        for _, file in held:
            file.close()


def _live_records(store: LocalStore, pack: bytes, file: Descriptor) -> Iterator[tuple[bytes, int, bytes]]:
    """(name, offset, whole record) of every sound record that the index points to. What is not sound stays where it is,
    for verify to report."""
    headers = _headers(file.fd, os.fstat(file.fd).st_size)
    while batch := list(islice(headers, _BATCH)):
        with store.read() as txn:
            rows = [txn.object_row(object_name(Kind(record.kind), record.key)) for _, record in batch]
        for (offset, record), row in zip(batch, rows, strict=True):
            if row is None or (row.pack, row.offset) != (pack, offset):
                continue
            raw = os.pread(file.fd, HEADER + record.stored, offset)
            if data_is_sound(record, raw[HEADER:]):
                yield object_name(Kind(record.kind), record.key), offset, raw


def _headers(fd: int, size: int) -> Iterator[tuple[int, Record]]:
    """Where each record of a pack begins, and its header; their data is not read."""
    at = PACK_HEADER
    while at < size:
        record = decode_header(os.pread(fd, HEADER, at))
        if record is not None and record.kind in _KINDS:
            yield at, record
            at += HEADER + record.stored
        else:
            at = next_magic(fd, at + 1, size)
