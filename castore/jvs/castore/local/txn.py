"""Transactions of the local store: checked rows, sums, the journal, and the object index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import lmdb

from jvs.castore import records
from jvs.castore.backend import Kind, ObjectInfo, Stored, Table, object_name
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import Marks, is_lost
from jvs.castore.local.env import Environment
from jvs.castore.local.failures import lmdb_error
from jvs.castore.local.journal import JournalHead, frame
from jvs.castore.local.pack import record_length
from jvs.castore.local.tables import (
    CHECK,
    JOURNAL,
    JOURNAL_TAIL,
    OBJECT_PREFIX,
    OBJECTS,
    OPEN_PACKS,
    PACKS,
    SUM,
    SUMS,
    ObjectRow,
    PackRow,
    checksum,
    prefix_of,
    unseal,
)
from jvs.castore.publish import Pending
from jvs.errors import CollectedError, IndexDamagedError, MissingObjectError, StoreError

_HEAD_KEY: Final = prefix_of(JOURNAL) + b"head"
_TRIM_EVERY: Final = 32
"""Records from one look at how much of the journal is synced to the next."""


class Place(NamedTuple):
    """Where a record lies."""

    pack: bytes
    offset: int


class LocalReadTxn:
    """A `backend.ReadTxn`, and the index of objects. Made by `LocalStore.read`, which also ends it.

    id  number of the transaction whose commit it sees (a write transaction: of its own commit)
    """

    def __init__(self, txn: lmdb.Transaction[bytes], env: Environment) -> None:
        self._txn = txn
        self._env = env

        self.id = int(txn.id())

    def abort(self) -> None:
        """End the transaction, if it has not ended."""
        self._txn.abort()
        self._env.active.discard(self._txn)

    # -- tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `backend.ReadTxn`."""
        return self._row(prefix_of(table) + key)

    def _row(self, key: bytes) -> bytes | None:
        try:
            raw = self._txn.get(key)
        except lmdb.Error as exc:
            raise lmdb_error(exc) from exc
        return None if raw is None else unseal(key, raw)

    def scan(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `backend.ReadTxn`."""
        prefix = prefix_of(table)
        for key, raw in self._raw_rows(table, start, stop, reverse=reverse):
            yield key[len(prefix) :], unseal(key, raw)

    def _raw_rows(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Whole keys and values as they are."""
        prefix = prefix_of(table)
        low = prefix + start
        high = prefix[:-1] + b"\1" if stop is None else prefix + stop
        try:
            cursor = self._txn.cursor()
            if not reverse:
                if cursor.set_range(low):
                    for key, raw in cursor.iternext():
                        if key >= high:
                            return
                        yield key, raw
                return
            if cursor.prev() if cursor.set_range(high) else cursor.last():
                for key, raw in cursor.iterprev():
                    if key < low:
                        return
                    yield key, raw
        except lmdb.Error as exc:
            raise lmdb_error(exc) from exc

    def count(self, table: Table) -> int:
        """See `backend.ReadTxn`."""
        return self.sums(table.name)[0]

    def sums(self, name: str) -> tuple[int, int]:
        """How many rows a table must have, and the XOR of their checksums."""
        raw = self._row(prefix_of(SUMS) + name.encode())
        if raw is None:
            return 0, 0
        count, mixed = SUM.unpack(raw)
        return count, mixed

    def check_table(self, table: Table) -> None:
        """See `backend.ReadTxn`."""
        if table.name not in self._env.verified:
            self.compare_sums(table)
            self._env.verified.add(table.name)

    def compare_sums(self, table: Table) -> None:
        """Walk the table, whatever was verified before. Raises IndexDamagedError."""
        count = mixed = 0
        for key, raw in self._raw_rows(table):
            unseal(key, raw)
            count += 1
            mixed ^= int.from_bytes(raw[:CHECK], "big")
        if (count, mixed) != self.sums(table.name):
            raise IndexDamagedError(
                f"the index is damaged: table {table.name} has {count} row(s) where {self.count(table)} were written",
                table=table.name,
            )

    # -- objects

    def info(self, kind: Kind, key: Digest) -> ObjectInfo | None:
        """See `backend.ReadTxn`."""
        row = self.object_row(object_name(kind, key))
        return None if row is None else ObjectInfo(kind, key, row.size, row.stored, row.height)

    def layout_seq(self, page: Digest) -> int | None:
        """See `backend.ReadTxn`."""
        row = self.object_row(object_name(Kind.LAYOUT, page))
        return None if row is None else row.seq

    def object_row(self, name: bytes) -> ObjectRow | None:
        """The index row of an object."""
        value = self.object_value(name)
        return None if value is None else ObjectRow(value)

    def object_value(self, name: bytes) -> bytes | None:
        """The index value of an object."""
        return self._row(OBJECT_PREFIX + name)

    def object_keys(self, kind: Kind, after: Digest | None = None) -> Iterator[Digest]:
        """Keys of a kind in order, those above `after`; the rows are not looked at."""
        prefix = OBJECT_PREFIX + bytes((kind,))
        skip, end = len(prefix), OBJECT_PREFIX + bytes((kind + 1,))
        try:
            cursor = self._txn.cursor()
            if cursor.set_range(prefix if after is None else prefix + after + b"\0"):
                for key in cursor.iternext(keys=True, values=False):
                    if key >= end:
                        return
                    yield key[skip:]
        except lmdb.Error as exc:
            raise lmdb_error(exc) from exc

    def objects(self, kind: Kind, after: Digest | None = None) -> Iterator[tuple[Digest, ObjectRow]]:
        """Index rows of a kind in key order, those above `after`."""
        start = bytes((kind,)) + (b"" if after is None else after + b"\0")
        stop = bytes((kind + 1,))
        for key, value in self.scan(OBJECTS, start, stop):
            yield key[1:], ObjectRow(value)

    def pack_row(self, pack: bytes) -> PackRow | None:
        """The row of a pack."""
        value = self.get(PACKS, pack)
        return None if value is None else PackRow.decode(value)

    def packs(self) -> Iterator[tuple[bytes, PackRow]]:
        """Every pack and its row."""
        for pack, value in self.scan(PACKS):
            yield pack, PackRow.decode(value)

    # -- journal

    def journal_head(self) -> JournalHead:
        """Where the journal ends."""
        return JournalHead.decode(self._row(_HEAD_KEY))

    def journal_tail(self) -> list[bytes]:
        """The frames at the journal's end that nobody is known to have synced, in order.

        Raises IndexDamagedError unless they are the last ones, without a gap: the table has no sums.
        """
        rows = list(self.scan(JOURNAL_TAIL))
        end = self.journal_head().end.seq
        if [int.from_bytes(key, "big") for key, _ in rows] != list(range(end - len(rows), end)):
            raise IndexDamagedError("the index is damaged: it has lost some of the journal's end")
        return [raw for _, raw in rows]


class LocalWriteTxn(LocalReadTxn):
    """A `backend.WriteTxn`, and `publish.IndexTxn`. Made by `LocalStore.write`, which also ends it."""

    def __init__(self, txn: lmdb.Transaction[bytes], env: Environment) -> None:
        super().__init__(txn, env)
        self.dirty = False
        self.head = self.journal_head()
        self._batch: records.Batch | None = None
        self._sums: dict[str, tuple[int, int]] = {}
        self._packs: dict[bytes, PackRow] = {}
        self._marks: Marks | None = None

    @property
    def marks(self) -> Marks:
        """See `gc.marks.MarkedTxn`."""
        if self._marks is None:
            self._marks = Marks(self)
        return self._marks

    def sums(self, name: str) -> tuple[int, int]:
        """See `LocalReadTxn.sums`; as of this transaction."""
        held = self._sums.get(name)
        return super().sums(name) if held is None else held

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """See `backend.WriteTxn`."""
        full = prefix_of(table) + key
        check = checksum(full, value)
        count, mixed = self.sums(table.name)
        try:
            old = self._txn.replace(full, check + value)
        except lmdb.Error as exc:
            raise lmdb_error(exc) from exc
        if old is None:
            count += 1
        else:
            mixed ^= int.from_bytes(old[:CHECK], "big")
        self._sums[table.name] = count, mixed ^ int.from_bytes(check, "big")
        self.dirty = True

    def delete(self, table: Table, key: bytes) -> bool:
        """See `backend.WriteTxn`."""
        full = prefix_of(table) + key
        try:
            old = self._txn.pop(full)
        except lmdb.Error as exc:
            raise lmdb_error(exc) from exc
        if old is None:
            return False
        count, mixed = self.sums(table.name)
        self._sums[table.name] = count - 1, mixed ^ int.from_bytes(old[:CHECK], "big")
        self.dirty = True
        return True

    def require(self, root: Digest) -> None:
        """See `backend.WriteTxn`."""
        name = object_name(Kind.PAGE, root)
        height = self.height_of(name)
        if height is None and is_lost(self, name):
            raise MissingObjectError(f"snapshot {root.hex()} is lost", kind="page", digest=root.hex())
        if height is None:
            raise CollectedError(f"snapshot {root.hex()} is no longer in the store")
        self.marks.require(name, height)

    def journal(self, op: str, skeleton: Mapping[str, Any], body: Mapping[str, Any] | None = None) -> None:
        """See `backend.WriteTxn`."""
        if self._batch is None:
            self._batch = records.Batch(self.head.end)
        self._batch.add(op, skeleton, body)

    # -- publish.IndexTxn

    def height_of(self, name: bytes) -> int | None:
        """See `publish.IndexTxn`."""
        row = self.object_row(name)
        return None if row is None else row.height

    def insert(self, item: Pending[Place], height: int) -> None:
        """See `publish.IndexTxn`. Refuses when the pack was dropped meanwhile (StoreError, handle-failed)."""
        self._account(item.place.pack, record_length(item.stored))
        seq = item.replaces + 1 if item.name[0] == Kind.LAYOUT else 0
        value = ObjectRow.FORMAT.pack(*item.place, item.stored, item.size, item.codec, height, seq)
        if item.replaces:
            old = self.object_row(item.name)
            assert old is not None
            self._account(old.pack, -record_length(old.stored))
            self.marks.replaced()
        else:
            if seq:
                self.remove(item.name)  # one that lost its page
            self.marks.inserted(item.name, height)
        self.put(OBJECTS, item.name, value)

    def remove(self, name: bytes) -> bool:
        """Take an object out of the index; whether it was there."""
        row = self.object_row(name)
        if row is None:
            return False
        self._account(row.pack, -record_length(row.stored))
        self.marks.removed(name, row.height)
        return self.delete(OBJECTS, name)

    def move_object(self, name: bytes, old: Place, new: Place, anew: Stored | None = None) -> bool:
        """Let an object lie at `new` if it still lies at `old`; whether it did. anew: it was encoded anew for that."""
        row = self.object_row(name)
        if row is None or Place(row.pack, row.offset) != old:
            return False
        size, stored, codec = row.size, row.stored, row.codec
        if anew is not None:
            size, stored, codec = anew.size, len(anew.data), anew.codec
        self._account(old.pack, -record_length(row.stored))
        self._account(new.pack, record_length(stored))
        value = ObjectRow.FORMAT.pack(*new, stored, size, codec, row.height, row.seq)
        self.put(OBJECTS, name, value)
        return True

    def _account(self, pack: bytes, live: int) -> None:
        row = self._packs.get(pack) or self.pack_row(pack)
        if row is None or row.state == PackRow.DROPPED:
            raise StoreError(f"pack {pack.hex()} is no longer part of the store", code="handle-failed")
        row.live_bytes += live
        self._packs[pack] = row

    def set_pack(self, pack: bytes, *, state: int, committed_end: int) -> None:
        """Record how far a pack is durable and whether it may still be appended to."""
        self._account(pack, 0)
        row = self._packs[pack]
        row.state, row.committed_end = state, committed_end

    def drop_pack(self, pack: bytes) -> bool:
        """Note that a pack nothing lies in is about to go; whether nothing does. The caller holds its lock."""
        row = self._packs.get(pack) or self.pack_row(pack)
        if row is None or row.live_bytes:
            return False
        row.state = PackRow.DROPPED
        self._packs[pack] = row
        return True

    def forget_pack(self, pack: bytes) -> None:
        """Remove the row of a dropped pack whose file is gone."""
        self.delete(PACKS, pack)
        self.delete(OPEN_PACKS, pack)

    def add_pack(self, pack: bytes, row: PackRow) -> None:
        """Register a pack that exists."""
        self._packs[pack] = row

    # -- commit

    def seal(self, synced: Callable[[], int]) -> bytes:
        """Write what the transaction owes the index; returns the journal frames to append before the commit.

        synced  says below which number records are on disk, so that they may leave the tail
        """
        for pack, row in self._packs.items():
            self.put(PACKS, pack, row.encode())
            if row.state == PackRow.OPEN:
                self.put(OPEN_PACKS, pack, b"")
            else:
                self.delete(OPEN_PACKS, pack)
        frames = self._seal_journal(synced) if self._batch is not None else b""
        for name, sums in self._sums.items():
            self._write(prefix_of(SUMS) + name.encode(), SUM.pack(*sums))
        return frames

    def _seal_journal(self, synced: Callable[[], int]) -> bytes:
        assert self._batch is not None
        first, end = self.head.end.seq, self._batch.head.seq
        prefix = prefix_of(JOURNAL_TAIL)
        if first // _TRIM_EVERY != end // _TRIM_EVERY:
            for key, _ in list(self.scan(JOURNAL_TAIL, stop=synced().to_bytes(8, "big"))):
                self._txn.delete(prefix + key)
        frames = [frame(record, self.id) for record in self._batch.records]
        for seq, raw in enumerate(frames, first):
            self._write(prefix + seq.to_bytes(8, "big"), raw)
        written = b"".join(frames)
        self.head = JournalHead(self.head.length + len(written), self._batch.head)
        self.set_journal_head(self.head)
        return written

    def set_journal_head(self, head: JournalHead) -> None:
        """Record where the journal ends."""
        self._write(_HEAD_KEY, head.encode())

    def _write(self, key: bytes, value: bytes) -> None:
        """Write a row of a table that has no sums, given its whole key."""
        try:
            self._txn.put(key, checksum(key, value) + value)
        except lmdb.Error as exc:
            raise lmdb_error(exc) from exc
        self.dirty = True

    def commit(self) -> None:
        """Commit. Raises JvsError, in which case nothing of the transaction is in the index."""
        try:
            self._txn.commit()
        except lmdb.Error as exc:
            raise lmdb_error(exc) from exc
