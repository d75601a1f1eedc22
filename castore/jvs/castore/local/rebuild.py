"""Making the index anew from the packs and the journal (`jvs doctor --rebuild-index`).

The packs say which objects exist, the journal says what is to be kept: only what a root of the journal reaches enters
the new index; nothing that was swept or purged comes back. What is reached and is nowhere is recorded as lost, and
costs only what needs it. The old index is put aside, never deleted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from jvs.castore import codec, records
from jvs.castore.backend import LEAVES, WITH_HEIGHT, Codec, JournalRecord, Kind, Ref, WriteTxn, object_name, ref_of
from jvs.castore.digest import Digest
from jvs.castore.local import env
from jvs.castore.local.committed import SIZE as COMMITTED_SIZE
from jvs.castore.local.descriptors import sync_data, sync_directory
from jvs.castore.local.failures import os_error
from jvs.castore.local.journal import EMPTY_HEAD, JournalHead, sound_frames, verified
from jvs.castore.local.making import check_version
from jvs.castore.local.pack import SEAL_AT, PackReader, pack_of
from jvs.castore.local.scan import scan_pack
from jvs.castore.local.tables import PackRow
from jvs.castore.local.txn import LocalWriteTxn, Place
from jvs.castore.publish import Pending
from jvs.errors import JvsError

Replay = Callable[[WriteTxn, Iterable[JournalRecord]], Iterable[Digest]]
"""Applies the records to the empty tables of the transaction; the root pages they name."""
Children = Callable[[Kind, Digest, bytes], list[Ref]]
"""Everything directly below an object, from its plain bytes; raises JvsError when they are not such an object's."""

_BATCH: Final = 10_000
UNKNOWN_HEIGHT: Final = 1 << 15
"""Of a page that is missing: more than any page has whose height is known."""


class RebuildReport(NamedTuple):
    """What a rebuild did.

    objects        objects in the new index
    left_out       sound records that no root reaches, or that others took the place of
    lost_roots     root pages of the journal that are not there
    lost           objects that something in the new index or a label names, and that are not there
    irregular      packs (file names) with bytes that are no sound record
    set_aside      where the old index is now
    """

    objects: int
    left_out: int
    lost_roots: tuple[Digest, ...]
    lost: int
    irregular: tuple[str, ...]
    set_aside: str


def rebuild_index(path: str, replay: Replay, children: Children) -> RebuildReport:
    """Make the index of the store in `path` anew, alone. The old one stays in use until the new one is whole.

    Raises LockedError when the store is in use, IntegrityError (journal-damaged) when the journal is damaged before
    its end, and what `replay` raises.
    """
    path = os.path.abspath(path)
    check_version(path)
    index, fresh = os.path.join(path, "index"), os.path.join(path, "index.new")
    try:
        os.makedirs(index, exist_ok=True)
        with env.alone(index):
            _remove(fresh)
            os.mkdir(fresh)
            env.initialise(fresh)
            report = _fill(path, fresh, replay, children)
            set_aside = _swap(path, index, fresh)
            return report._replace(set_aside=set_aside)
    except OSError as exc:
        raise os_error(exc, "rebuilding the index") from exc


def make_index(path: str, replay: Replay, children: Children) -> RebuildReport:
    """As `rebuild_index`, of a store that is still being made: in place of the empty index it has. Nothing is put
    aside."""
    index, fresh = os.path.join(path, "index"), os.path.join(path, "index.new")
    try:
        _remove(fresh)
        os.mkdir(fresh)
        env.initialise(fresh)
        report = _fill(path, fresh, replay, children)
        _remove(index)
        os.rename(fresh, index)
        sync_directory(path)
        return report
    except OSError as exc:
        raise os_error(exc, "making the index") from exc


def _fill(path: str, fresh: str, replay: Replay, children: Children) -> RebuildReport:
    opened = env.acquire(fresh, readonly=False)
    reader = PackReader(os.path.join(path, "packs"))
    try:
        found, rows = _scan(os.path.join(path, "packs"))
        with _transaction(opened) as txn:
            head, roots = _replay(txn, os.path.join(path, "journal"), replay)
            txn.set_journal_head(head)
            for pack, row in rows.items():
                txn.add_pack(pack, row)
        closure = _Closure(found, reader, children)
        lost = tuple(root for root in roots if not closure.add(object_name(Kind.PAGE, root)))
        for start in range(0, len(closure.order), _BATCH):
            with _transaction(opened) as txn:
                for item, height in closure.order[start : start + _BATCH]:
                    txn.insert(item, height)
        missing = sorted(closure.missing() | {object_name(Kind.PAGE, root) for root in lost})
        for start in range(0, len(missing), _BATCH):
            with _transaction(opened) as txn:
                for name in missing[start : start + _BATCH]:
                    txn.marks.lost(name, head.end.at_ms)
        count = sum(len(places) for places in found.values())
        irregular = tuple(pack.hex() + ".pack" for pack, row in rows.items() if row.state == PackRow.SEALED)
        return RebuildReport(len(closure.order), count - len(closure.order), lost, len(missing), irregular, "")
    finally:
        reader.close()
        opened.release()


@contextmanager
def _transaction(opened: env.Environment) -> Iterator[LocalWriteTxn]:
    txn = LocalWriteTxn(opened.begin(write=True), opened)
    try:
        yield txn
        txn.seal(lambda: 0)
        txn.commit()
    finally:
        txn.abort()


def _replay(txn: LocalWriteTxn, path: str, replay: Replay) -> tuple[JournalHead, list[Digest]]:
    """Apply the journal, and cut off what is torn at its end; where it ends, and its roots, each once."""
    length, head = 0, EMPTY_HEAD

    def frames(fd: int) -> Iterator[bytes]:
        nonlocal length
        for raw in sound_frames(fd):
            length += len(raw)
            yield raw

    def chain(fd: int) -> Iterator[JournalRecord]:
        nonlocal head
        for record in verified(frames(fd), 0):
            head = JournalHead(length, records.Head(record.seq + 1, record.at_ms, record.digest))
            yield record

    with open(path, "r+b", buffering=0) as file:
        roots = list(dict.fromkeys(replay(txn, chain(file.fileno()))))
        file.truncate(head.length)
        sync_data(file.fileno())
    return head, roots


def _scan(directory: str) -> tuple[dict[bytes, list[_Copy]], dict[bytes, PackRow]]:
    """Every sound record by the name of its object, and a row for every pack. Raises OSError."""
    found: dict[bytes, list[_Copy]] = {}
    rows: dict[bytes, PackRow] = {}
    for name in sorted(os.listdir(directory)):
        pack = pack_of(name)
        if pack is None:
            continue
        with open(os.path.join(directory, name), "rb", buffering=0) as file:
            sound, regular = scan_pack(file.fileno(), pack)
            size = os.fstat(file.fileno()).st_size
        # What is not sound may be all that is left of something published: nobody is to cut it off or write there.
        rows[pack] = PackRow(PackRow.OPEN if regular and size < SEAL_AT else PackRow.SEALED, size)
        for offset, record in sound:
            copy = _Copy(Place(pack, offset), record.seq, record.codec, record.size, record.stored)
            found.setdefault(bytes((record.kind,)) + record.key, []).append(copy)
    return found, rows


class _Copy(NamedTuple):
    """One sound record of an object."""

    place: Place
    seq: int
    codec: int
    size: int
    stored: int


class _Closure:
    """Decides which record stands for each object; `order` holds those, children first. One with everything below it
    goes before one without, a newer layout before an older one."""

    def __init__(self, found: dict[bytes, list[_Copy]], reader: PackReader, children: Children) -> None:
        self._found = found
        self._reader = reader
        self._children = children
        self._heights: dict[bytes, int | None] = {}
        """Of every object decided on; None for those that are not there."""
        self._lacking: dict[bytes, set[bytes]] = {}
        """What is missing directly below an object that is there; those that are not whole, and only those."""
        self._opened: set[bytes] = set()
        self.order: list[tuple[Pending[Place], int]] = []

    def add(self, name: bytes) -> bool:
        """Whether this object is there; if so it is in `order`, after everything below it that is."""
        path: list[tuple[bytes, list[tuple[_Copy, tuple[bytes, ...]]]]] = [(name, self._copies(name))]
        while path:
            name, copies = path[-1]
            waiting = [] if name in self._heights else self._unknown(copies)
            if waiting and name not in self._opened:
                self._opened.add(name)
                path.extend((child, self._copies(child)) for child in waiting)
                continue
            path.pop()
            if name not in self._heights:
                self._settle(name, copies)
        return self._heights[name] is not None

    def _copies(self, name: bytes) -> list[tuple[_Copy, tuple[bytes, ...]]]:
        """The readable copies of an object, the newest first, each with the names below it."""
        kind, key = ref_of(name)
        readable = []
        for copy in sorted(self._found.get(name, ()), key=lambda one: one.seq, reverse=True):
            below: tuple[bytes, ...] = ()
            if kind not in LEAVES:
                try:
                    stored = self._reader.read(kind, key, copy.place.pack, copy.place.offset, copy.stored)
                    below = tuple(object_name(*ref) for ref in self._children(kind, key, codec.decode(kind, stored)))
                except JvsError:
                    continue
            readable.append((copy, below))
        return readable

    def _unknown(self, copies: list[tuple[_Copy, tuple[bytes, ...]]]) -> list[bytes]:
        return [child for _, below in copies for child in below if child not in self._heights]

    def _settle(self, name: bytes, copies: list[tuple[_Copy, tuple[bytes, ...]]]) -> None:
        # Everything below is decided on by now, but what has this very object below itself.
        copies = [one for one in copies if all(child != name and child in self._heights for child in one[1])]
        self._heights[name] = None
        if not copies:
            return
        copy, below = next((one for one in copies if self._is_whole(one[1])), copies[0])
        heights = [self._height_of(child) for child in below]
        height = 1 + max(heights, default=0) if name[0] in WITH_HEIGHT else 0
        self._heights[name] = height
        if not self._is_whole(below):
            self._lacking[name] = {child for child in below if self._heights.get(child) is None}
        self.order.append((Pending(name, Codec(copy.codec), copy.size, copy.stored, below, copy.place), height))

    def _height_of(self, name: bytes) -> int:
        """What lies above must be higher than what comes back one day; of a recipe only leaves can be missing."""
        height = self._heights[name]
        if height is not None:
            return height
        return UNKNOWN_HEIGHT if name[0] == Kind.PAGE else int(name[0] == Kind.RECIPE)

    def _is_whole(self, below: Iterable[bytes]) -> bool:
        """Whether all of these are there, with everything below them."""
        return all(self._heights.get(child) is not None and child not in self._lacking for child in below)

    def missing(self) -> set[bytes]:
        """What something in `order` names, and is not there."""
        return {child for lacking in self._lacking.values() for child in lacking if self._heights.get(child) is None}


def _swap(path: str, index: str, fresh: str) -> str:
    """Put the new index in the place of the old one, durably; where the old one is now."""
    # An index beside an empty `committed` opens; one beside a `committed` that is ahead of it does not.
    notes = os.path.join(path, "committed.new")
    with open(notes, "wb", buffering=0) as file:
        file.write(bytes(COMMITTED_SIZE))
        sync_data(file.fileno())
    os.rename(notes, os.path.join(path, "committed"))
    sync_directory(path)
    aside = f"{index}.old-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(2).hex()}"
    os.rename(index, aside)
    os.rename(fresh, index)
    sync_directory(path)
    return aside


def _remove(path: str) -> None:
    """Remove what an interrupted rebuild left."""
    if os.path.isdir(path):
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
