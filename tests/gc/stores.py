"""Stores whose every operation is a step of a scheduler."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from jvs.castore.backend import Kind, Lock, Locks, ObjectInfo, ReadTxn, Stored, object_name
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
from jvs.castore.memory import MemoryStore, _MemoryLocks, _MemoryReadTxn, _MemoryWriteTxn, _State
from jvs.castore.objects import object_children
from jvs.castore.settings import StoreSettings
from jvs.errors import NoSpaceError
from jvs.labels.tables import LABELS, pin_rows, unpack_head
from tests.gc.scheduler import Broken, Process, Scheduler

_PIN_SIZE: Final = 16


class ScheduledLock:
    """A lock, and whose it is. made: by whoever holds it, not taken from somebody who had died."""

    def __init__(self, watch: Watch, inner: Any, *, made: bool) -> None:
        self.name = inner.name
        self.made = made
        self.inner = inner
        self._watch = watch

    def release(self) -> None:
        self._watch.step("lock")
        self._watch.held.pop(self, None)
        self.inner.release()


class ScheduledLocks:
    """Locks, every operation of which is a step."""

    def __init__(self, inner: Locks, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    def hold(self) -> ScheduledLock:
        self._watch.step("lock")
        return self._own(self._inner.hold(), made=True)

    def take(self, name: str) -> ScheduledLock | None:
        self._watch.step("lock")
        lock = self._inner.take(name)
        return None if lock is None else self._own(lock, made=False)

    def _own(self, lock: Lock, *, made: bool) -> ScheduledLock:
        own = ScheduledLock(self._watch, lock, made=made)
        self._watch.held[own] = self._watch.current
        return own


class View:
    """A store at one moment. objects: what lies directly below each."""

    def __init__(self, objects: Mapping[bytes, tuple[bytes, ...]], txn: ReadTxn) -> None:
        self.objects = objects
        self.txn = txn

    def condemned(self) -> set[bytes]:
        """What is condemned by anybody."""
        flipped = {one.id for one in collectors(self.txn) if one.state != MARKING}
        if not flipped:
            return set()
        return {name_in(key) for key, _ in self.txn.scan(CONDEMNED) if key[:ID_SIZE] in flipped}

    def about_to_be_saved(self) -> set[bytes]:
        """What a replaced layout names may be condemned until the drain comes to it."""
        flipped = {one.id for one in collectors(self.txn) if one.state == FLIPPED}
        told = {key[ID_SIZE:] for key, _ in self.txn.scan(TOLD) if key[:ID_SIZE] in flipped}
        return {name for name in told if name[0] == Kind.PART}

    def reachable(self, names: Iterable[bytes]) -> set[bytes]:
        """All that lies below these names, and they."""
        found: set[bytes] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left.extend(self.objects[name])
        return found


class Watch:
    """What is known of the processes of a store, and what must hold after each of their commits.

    held       every lock, and who holds it
    published  what the push that a process is making has inserted so far
    registered ids of the collectors, in the order in which they came
    full       the disk is: nothing can be committed
    """

    def __init__(self) -> None:
        self.scheduler: Scheduler | None = None
        self.held: dict[ScheduledLock, Process | None] = {}
        self.published: dict[Process, set[bytes]] = {}
        self.registered: list[bytes] = []
        self.full = False
        self._names: set[bytes] = set()

    def begin(self, view: View) -> None:
        """All there is, before processes begin."""
        self.held.clear()
        self.published.clear()
        self.registered.clear()
        self.full = False
        self._names = set(view.objects)

    @property
    def current(self) -> Process | None:
        """Who runs."""
        return None if self.scheduler is None else self.scheduler.current

    def step(self, what: str) -> None:
        """See `Scheduler.step`."""
        if self.scheduler is not None:
            self.scheduler.step(what)

    def need_space(self) -> None:
        """Before each commit. Raises NoSpaceError."""
        if self.full:
            raise NoSpaceError("no space left")

    def killed(self, process: Process, free: Callable[[Any], None]) -> None:
        """A process is gone; `free` is called with each of its locks."""
        self.published.pop(process, None)
        for lock in [lock for lock, holder in self.held.items() if holder is process]:
            del self.held[lock]
            free(lock.inner)

    def committed(self, process: Process, view: View) -> None:
        """After each commit. Raises Broken."""
        known = [key for key, _ in view.txn.scan(COLLECTORS)]
        self.registered += [one for one in known if one not in self.registered]
        if process in self.published:
            self.published[process].update(view.objects.keys() - self._names)
        self._names = set(view.objects)
        self.check(view)

    def roots(self, view: View) -> dict[bytes, str]:
        """What must be there now, and why: heads, pins of people, the tops of live pins, what live pushes have
        published."""
        found = {
            object_name(Kind.PAGE, _head(raw)): f"the head of {key.decode()}" for key, raw in view.txn.scan(LABELS)
        }
        for _, pin in pin_rows(view.txn):
            found[object_name(Kind.PAGE, pin.ca_id)] = "pinned"
        living = {lock.name for lock in self.held if lock.made}  # else somebody is removing the pin
        for key, _ in view.txn.scan(PINS):
            if len(key) > _PIN_SIZE and key[:_PIN_SIZE].hex() in living:
                found[key[_PIN_SIZE:]] = "the root of a pin"
        for process, names in self.published.items():
            found.update(dict.fromkeys(names, f"published by {process.name}"))
        return found

    def check(self, view: View) -> None:
        """Raises Broken unless every root is there, whatever is there has everything below it there, and nothing
        uncondemned has something condemned below it."""
        objects = view.objects
        for name, why in self.roots(view).items():
            if name not in objects:
                raise Broken(f"{show(name)} is missing: {why}")
        condemned = view.condemned()
        saved = view.about_to_be_saved() if condemned else set()
        for name, below in objects.items():
            for child in below:
                if child not in objects:
                    raise Broken(f"{show(child)} is missing: it is below {show(name)}")
                if child in condemned and name not in condemned and child not in saved:
                    raise Broken(f"{show(child)} is condemned, and {show(name)} above it is not")


class ScheduledMemory(MemoryStore):
    """A memory store of many processes, every operation of which is a step. Without a scheduler it is an ordinary one.

    Every commit is checked: see `Watch.check`.
    """

    def __init__(self, settings: StoreSettings, watch: Watch) -> None:
        super().__init__(settings)
        self.watch = watch
        self.locks = ScheduledLocks(self.locks, watch)

    @property
    def state(self) -> _State:
        """All there is, never changed in place."""
        return self._state

    def begin(self, state: _State) -> None:
        """Be in that state again."""
        self._state = state
        self.locks = ScheduledLocks(_MemoryLocks(), self.watch)
        self.watch.begin(self.view())

    def view(self) -> View:
        """The store as it is."""
        below = {name: children(name, held.stored) for name, held in self._state.objects.items()}
        return View(below, _MemoryReadTxn(self._state))

    @contextmanager
    def read(self) -> Iterator[_MemoryReadTxn]:
        self.watch.step("read")
        yield _MemoryReadTxn(self._state)

    @contextmanager
    def write(self) -> Iterator[_MemoryWriteTxn]:
        self.watch.step("write")
        process = self.watch.current
        if process is None:
            with super().write() as txn:
                yield txn
            return
        process.atomic = True
        try:
            with super().write() as txn:
                yield txn
                self.watch.need_space()
        finally:
            process.atomic = False
        self.watch.committed(process, self.view())

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> Stored:
        self.watch.step("get")
        return super().get(kind, key)

    def missing(self, kind: Kind, keys: Iterable[Digest]) -> set[Digest]:
        self.watch.step("missing")
        return super().missing(kind, keys)

    def list(self, kind: Kind) -> Iterator[ObjectInfo]:
        """One by one: what is published or removed meanwhile is seen or not."""
        after = b""
        while True:
            self.watch.step("list")
            names = [name for name in self._state.objects if name[0] == kind and name > after]
            if not names:
                return
            after = min(names)
            held = self._state.objects[after]
            yield ObjectInfo(kind, after[1:], held.stored.size, len(held.stored.data), held.height)

    # -- how far the collectors are, for stories

    def phase(self, number: int) -> int | None:
        """The state of the collector that registered as the first, the second, ...; None before and after."""
        row = self._state.tables.get(COLLECTORS.name, {}).get(self._id(number))
        return None if row is None else row[0]

    def listed(self, number: int) -> set[bytes]:
        """Its candidates, or what it has condemned."""
        me = self._id(number)
        return {name_in(key) for key in self._state.tables.get(CONDEMNED.name, {}) if key[:ID_SIZE] == me}

    def _id(self, number: int) -> bytes:
        return self.watch.registered[number - 1] if number <= len(self.watch.registered) else b""


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
