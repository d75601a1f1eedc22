"""Stores whose every operation is a step of a scheduler."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from jvs.castore.backend import Kind, Lock, Locks, ObjectInfo, Stored, object_name
from jvs.castore.codec import decode
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import (
    COLLECTORS,
    CONDEMNED,
    FLIPPED,
    ID_SIZE,
    MARKING,
    PINS,
    TOLD,
    collectors,
    name_in,
)
from jvs.castore.memory import MemoryStore, _MemoryReadTxn, _MemoryWriteTxn, _State
from jvs.castore.objects import object_children
from jvs.castore.settings import StoreSettings
from jvs.labels.tables import LABELS, pin_rows, unpack_head
from tests.gc.scheduler import Broken, Process, Scheduler

_PIN_SIZE: Final = 16


class ScheduledLock:
    """A lock. made: by whoever holds it, not taken from somebody who had died."""

    def __init__(self, locks: ScheduledLocks, inner: Lock, *, made: bool) -> None:
        self.name = inner.name
        self.made = made
        self.inner = inner
        self._locks = locks

    def release(self) -> None:
        self._locks.step()
        self._locks.held.pop(self, None)
        self.inner.release()


class ScheduledLocks:
    """Locks, every operation of which is a step; they know their holders."""

    def __init__(self, inner: Locks, scheduler: Callable[[], Scheduler | None]) -> None:
        self._inner = inner
        self._scheduler = scheduler
        self.held: dict[ScheduledLock, Process | None] = {}

    def step(self) -> None:
        scheduler = self._scheduler()
        if scheduler is not None:
            scheduler.step("lock")

    def hold(self) -> ScheduledLock:
        self.step()
        return self._own(self._inner.hold(), made=True)

    def take(self, name: str) -> ScheduledLock | None:
        self.step()
        lock = self._inner.take(name)
        return None if lock is None else self._own(lock, made=False)

    def _own(self, lock: Lock, *, made: bool) -> ScheduledLock:
        scheduler = self._scheduler()
        own = ScheduledLock(self, lock, made=made)
        self.held[own] = None if scheduler is None else scheduler.current
        return own

    def of(self, process: Process) -> list[ScheduledLock]:
        """What a process holds."""
        return [lock for lock, holder in self.held.items() if holder is process]


class ScheduledMemory(MemoryStore):
    """A memory store of many processes. Without a scheduler it is an ordinary one.

    Every commit is checked: see `check`.
    """

    def __init__(self, settings: StoreSettings) -> None:
        super().__init__(settings)
        self.scheduler: Scheduler | None = None
        self.holders = ScheduledLocks(self.locks, lambda: self.scheduler)
        self.locks = self.holders
        self._registered: list[bytes] = []
        self.published: dict[Process, set[bytes]] = {}
        """What the push that a process is making has inserted so far."""

    @property
    def state(self) -> _State:
        """All there is, never changed in place."""
        return self._state

    def step(self, what: str) -> None:
        if self.scheduler is not None:
            self.scheduler.step(what)

    def killed(self, process: Process) -> None:
        """A process is gone, and its locks with it."""
        self.published.pop(process, None)
        for lock in self.holders.of(process):
            del self.holders.held[lock]
            lock.inner.release()

    @contextmanager
    def read(self) -> Iterator[_MemoryReadTxn]:
        self.step("read")
        yield _MemoryReadTxn(self._state)

    @contextmanager
    def write(self) -> Iterator[_MemoryWriteTxn]:
        self.step("write")
        process = None if self.scheduler is None else self.scheduler.current
        if process is None:
            with super().write() as txn:
                yield txn
            return
        before = self._state
        process.atomic = True
        try:
            with super().write() as txn:
                yield txn
        finally:
            process.atomic = False
        self._registered += sorted(
            self._state.tables.get(COLLECTORS.name, {}).keys() - before.tables.get(COLLECTORS.name, {}).keys()
        )
        if process in self.published:
            self.published[process].update(self._state.objects.keys() - before.objects.keys())
        self.check()

    def get(self, kind: Kind, key: Digest) -> Stored:
        self.step("get")
        return super().get(kind, key)

    def missing(self, kind: Kind, keys: Iterable[Digest]) -> set[Digest]:
        self.step("missing")
        return super().missing(kind, keys)

    def list(self, kind: Kind) -> Iterator[ObjectInfo]:
        """One by one: what is published or removed meanwhile is seen or not."""
        after = b""
        while True:
            self.step("list")
            names = [name for name in self._state.objects if name[0] == kind and name > after]
            if not names:
                return
            after = min(names)
            held = self._state.objects[after]
            yield ObjectInfo(kind, after[1:], held.stored.size, len(held.stored.data), held.height)

    # -- how far the collectors are, for stories

    def begin(self, state: _State) -> None:
        """All there is, before processes begin."""
        self._state = state
        self.holders.held.clear()
        self.published.clear()
        self._registered = []

    def phase(self, number: int) -> int | None:
        """The state of the collector that registered as the first, the second, ...; None before and after."""
        row = self._state.tables.get(COLLECTORS.name, {}).get(self._id(number))
        return None if row is None else row[0]

    def listed(self, number: int) -> set[bytes]:
        """Its candidates, or what it has condemned."""
        me = self._id(number)
        return {name_in(key) for key in self._state.tables.get(CONDEMNED.name, {}) if key[:ID_SIZE] == me}

    def _id(self, number: int) -> bytes:
        return self._registered[number - 1] if number <= len(self._registered) else b""

    # -- what must hold after every commit

    def roots(self) -> dict[bytes, str]:
        """What must be there now, and why: heads, the tops of live pins, what live pushes have published."""
        found = {
            object_name(Kind.PAGE, _head(raw)): f"the head of {key.decode()}"
            for key, raw in self._state.tables.get(LABELS.name, {}).items()
        }
        for _, pin in pin_rows(_MemoryReadTxn(self._state)):
            found[object_name(Kind.PAGE, pin.ca_id)] = "pinned"
        living = {lock.name for lock in self.holders.held}
        for key in self._state.tables.get(PINS.name, {}):
            if len(key) > _PIN_SIZE and key[:_PIN_SIZE].hex() in living:
                found[key[_PIN_SIZE:]] = "the root of a pin"
        for process, names in self.published.items():
            found.update(dict.fromkeys(names, f"published by {process.name}"))
        return found

    def check(self) -> None:
        """Raises Broken unless every root is there, whatever is there has everything below it there, and nothing
        uncondemned has something condemned below it."""
        objects = self._state.objects
        for name, why in self.roots().items():
            if name not in objects:
                raise Broken(f"{show(name)} is missing: {why}")
        condemned = self.condemned()
        saved = self._about_to_be_saved() if condemned else set()
        for name, held in objects.items():
            for child in children(name, held.stored):
                if child not in objects:
                    raise Broken(f"{show(child)} is missing: it is below {show(name)}")
                if child in condemned and name not in condemned and child not in saved:
                    raise Broken(f"{show(child)} is condemned, and {show(name)} above it is not")

    def _about_to_be_saved(self) -> set[bytes]:
        """What a replaced layout names may be condemned until the drain comes to it."""
        flipped = {one.id for one in collectors(_MemoryReadTxn(self._state)) if one.state == FLIPPED}
        told = {key[ID_SIZE:] for key in self._state.tables.get(TOLD.name, {}) if key[:ID_SIZE] in flipped}
        return {name for name in told if name[0] == Kind.PART}

    def condemned(self) -> set[bytes]:
        """What is condemned by anybody."""
        rows = self._state.tables.get(CONDEMNED.name)
        if not rows or not self._state.tables.get(COLLECTORS.name):
            return set()
        flipped = {one.id for one in collectors(_MemoryReadTxn(self._state)) if one.state != MARKING}
        return {name_in(key) for key in rows if key[:4] in flipped}

    def reachable(self, names: Iterable[bytes]) -> set[bytes]:
        """All that lies below these names, and they."""
        found: set[bytes] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left.extend(children(name, self._state.objects[name].stored))
        return found


_children: dict[tuple[bytes, bytes], tuple[bytes, ...]] = {}
_heads: dict[bytes, Digest] = {}


def children(name: bytes, stored: Stored) -> tuple[bytes, ...]:
    """The names directly below an object."""
    found = _children.get((name, stored.data))
    if found is None:
        kind, key = Kind(name[0]), name[1:]
        refs = object_children(kind, key, decode(kind, stored))
        found = _children[name, stored.data] = tuple(object_name(*ref) for ref in refs)
    return found


def _head(raw: bytes) -> Digest:
    found = _heads.get(raw)
    if found is None:
        found = _heads[raw] = unpack_head(raw).ca_id
    return found


def show(name: bytes) -> str:
    """An object's name, for people."""
    return f"{Kind(name[0]).name.lower()} {name[1:5].hex()}"


@contextmanager
def numbered_randomness(first: int) -> Iterator[None]:
    """Names that the code makes up are the same in every run; `first` keeps those of several runs apart."""
    numbers = itertools.count(first)
    real: Any = os.urandom
    os.urandom = lambda size: next(numbers).to_bytes(size, "big")
    try:
        yield
    finally:
        os.urandom = real
