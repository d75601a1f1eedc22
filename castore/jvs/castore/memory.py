"""A store in memory: the reference for what the contracts of `backend` mean. For tests, and for trees never kept."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from jvs.castore import records
from jvs.castore.backend import (
    JournalRecord,
    Kind,
    Locks,
    ObjectInfo,
    Ref,
    Stored,
    Table,
    WriteTxn,
    missing_object,
    object_name,
    ref_of,
)
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import Marks
from jvs.castore.gc.rescue import transact
from jvs.castore.publish import Pending, PublishQueue
from jvs.castore.settings import StoreSettings
from jvs.errors import CollectedError, IntegrityError

T = TypeVar("T")


class _Object(NamedTuple):
    stored: Stored
    height: int
    seq: int


class _State(NamedTuple):
    """One version of everything; never changed once it is the store's."""

    tables: dict[str, dict[bytes, bytes]]
    objects: dict[bytes, _Object]
    journal: tuple[bytes, ...]
    head: records.Head


class _MemoryReadTxn:
    def __init__(self, state: _State) -> None:
        self._state = state

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._state.tables.get(table.name, {}).get(key)

    def scan(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        rows = dict(self._state.tables.get(table.name, {}))
        keys = sorted(rows)
        keys = keys[bisect_left(keys, start) : None if stop is None else bisect_left(keys, stop)]
        for key in reversed(keys) if reverse else keys:
            yield key, rows[key]

    def count(self, table: Table) -> int:
        return len(self._state.tables.get(table.name, {}))

    def check_table(self, table: Table) -> None:
        """Nothing vanishes from memory."""

    def info(self, kind: Kind, key: Digest) -> ObjectInfo | None:
        held = self._state.objects.get(object_name(kind, key))
        if held is None:
            return None
        return ObjectInfo(kind, key, held.stored.size, len(held.stored.data), held.height)

    def layout_seq(self, page: Digest) -> int | None:
        held = self._state.objects.get(object_name(Kind.LAYOUT, page))
        return None if held is None else held.seq


class _MemoryWriteTxn(_MemoryReadTxn):
    """Works on copies, made as they are needed; the store swaps them in at commit."""

    def __init__(self, state: _State) -> None:
        super().__init__(state._replace(tables=dict(state.tables), objects=dict(state.objects)))
        self._own: set[str] = set()
        self._marks: Marks | None = None
        self._batch = records.Batch(state.head)

    def _rows(self, table: Table) -> dict[bytes, bytes]:
        tables = self._state.tables
        if table.name not in self._own:
            tables[table.name] = dict(tables.get(table.name, {}))
            self._own.add(table.name)
        return tables[table.name]

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._rows(table)[key] = value

    def delete(self, table: Table, key: bytes) -> bool:
        return self._rows(table).pop(key, None) is not None

    @property
    def marks(self) -> Marks:
        if self._marks is None:
            self._marks = Marks(self)
        return self._marks

    def require(self, root: Digest) -> None:
        name = object_name(Kind.PAGE, root)
        height = self.height_of(name)
        if height is None:
            raise CollectedError(f"snapshot {root.hex()} is no longer in the store")
        self.marks.require(name, height)

    def journal(self, op: str, skeleton: Mapping[str, Any], body: Mapping[str, Any] | None = None) -> None:
        self._batch.add(op, skeleton, body)

    def height_of(self, name: bytes) -> int | None:
        held = self._state.objects.get(name)
        return None if held is None else held.height

    def insert(self, item: Pending[Stored], height: int) -> None:
        self._state.objects[item.name] = _Object(item.place, height, item.replaces + 1)
        if item.replaces:
            self.marks.replaced()
        else:
            self.marks.inserted(item.name, height)

    def remove(self, name: bytes) -> bool:
        held = self._state.objects.pop(name, None)
        if held is not None:
            self.marks.removed(name, held.height)
        return held is not None

    def committed(self) -> _State:
        """What the store is after this transaction."""
        return self._state._replace(
            journal=(*self._state.journal, *self._batch.records), head=self._batch.head
        )


class _MemoryWriter:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._queue: PublishQueue[Stored] = PublishQueue(store)

    def put(self, kind: Kind, key: Digest, stored: Stored, children: Sequence[Ref] = ()) -> None:
        if self._queue.first(kind, key):
            self._queue.add(kind, key, stored.codec, stored.size, len(stored.data), children, stored)

    def replace_layout(self, page: Digest, seq: int, stored: Stored, children: Sequence[Ref]) -> None:
        self._queue.add_layout(page, seq, stored.codec, stored.size, len(stored.data), children, stored)

    def read_back(self, look: Callable[[Kind, Digest, Stored], None]) -> None:
        for item in self._queue.pending():
            look(*ref_of(item.name), item.place)

    def publish(self, then: Callable[[WriteTxn], T] | None = None) -> T | None:
        return self._queue.publish(self._store.write, then)

    def close(self) -> None:
        self._queue.release()
        self._queue = PublishQueue(self._store)

    def __enter__(self) -> _MemoryWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _MemoryLock:
    def __init__(self, held: dict[str, _MemoryLock], name: str) -> None:
        self.name = name
        self._held = held

    def release(self) -> None:
        if self._held.get(self.name) is self:
            del self._held[self.name]


class _MemoryLocks:
    def __init__(self) -> None:
        self._held: dict[str, _MemoryLock] = {}

    def hold(self) -> _MemoryLock:
        return self._take(os.urandom(16).hex())

    def take(self, name: str) -> _MemoryLock | None:
        return None if name in self._held else self._take(name)

    def _take(self, name: str) -> _MemoryLock:
        return self._held.setdefault(name, _MemoryLock(self._held, name))


class MemoryStore:
    """`Store` in memory (see `backend.Store` for what each method promises)."""

    def __init__(self, settings: StoreSettings | None = None) -> None:
        self.settings = settings or StoreSettings()
        self._state = _State({}, {}, (), records.EMPTY)
        self._lock = threading.Lock()
        self.locks: Locks = _MemoryLocks()

    @contextmanager
    def read(self) -> Iterator[_MemoryReadTxn]:
        yield _MemoryReadTxn(self._state)

    @contextmanager
    def write(self) -> Iterator[_MemoryWriteTxn]:
        with self._lock:
            txn = _MemoryWriteTxn(self._state)
            yield txn
            self._state = txn.committed()

    def transact(self, work: Callable[[WriteTxn], T]) -> T:
        return transact(self, work)

    def journal_records(self, start: int = 0) -> Iterator[JournalRecord]:
        prev = None
        for raw in self._state.journal[start:]:
            record = records.decode(raw)
            if prev is not None and record.prev != prev:
                raise IntegrityError("the journal's chain is broken", code="journal-damaged")
            prev = record.digest
            yield record

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> Stored:
        held = self._state.objects.get(object_name(kind, key))
        if held is None:
            raise missing_object(kind, key)
        return held.stored

    def missing(self, kind: Kind, keys: Iterable[Digest]) -> set[Digest]:
        objects = self._state.objects
        return {key for key in keys if object_name(kind, key) not in objects}

    def infos(self, kind: Kind, keys: Sequence[Digest]) -> list[ObjectInfo | None]:
        with self.read() as txn:
            return [txn.info(kind, key) for key in keys]

    def list(self, kind: Kind) -> Iterator[ObjectInfo]:
        for name, held in sorted(self._state.objects.items()):
            if name[0] == kind:
                yield ObjectInfo(kind, name[1:], held.stored.size, len(held.stored.data), held.height)

    def keys(self, kind: Kind) -> Iterator[Digest]:
        return (info.key for info in self.list(kind))

    def writer(self) -> _MemoryWriter:
        return _MemoryWriter(self)

    def delete(self, kind: Kind, keys: Iterable[Digest]) -> int:
        with self.write() as txn:
            return sum(txn.remove(object_name(kind, key)) for key in keys)

    def flush(self) -> None:
        """What is published is as durable as it gets."""

    def close(self) -> None:
        """Nothing to release."""
