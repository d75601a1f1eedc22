"""One collector: registers, marks, condemns, drains, sweeps (DESIGN 6; the protocol is in docs/gc-protocol.md).

Safe beside pushes, readers and other collectors, with no clock and no lock that anybody waits for. Killed anywhere,
the next collector finishes what it had condemned (`take_over`) and forgets what it had not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from jvs.castore.backend import WITH_HEIGHT, Kind, Lock, ReadTxn, Table, object_name, ref_of
from jvs.castore.batches import batched
from jvs.castore.digest import Digest
from jvs.castore.gc.mark import SWEEP_ORDER, Mark, Ranked, Step
from jvs.castore.gc.marks import (
    COLLECTORS,
    CONDEMNED,
    FLIPPED,
    FRESH,
    ID_SIZE,
    MARKING,
    STATE,
    SWEEPING,
    TOLD,
    CollectedStore,
    Collector,
    collectors,
    flips,
    name_in,
    sweep_key,
    told,
)
from jvs.castore.gc.nameset import Budget, NameSet
from jvs.castore.gc.pins import live_pins, remove_dead_pins
from jvs.castore.gc.rescue import uncondemn
from jvs.errors import IntegrityError, JvsError, MissingObjectError, NoSpaceError, StateError

Roots = Callable[[ReadTxn], Iterable[Digest]]
"""The root pages that are to be kept, as of a transaction. Live pins are added by the collector."""

ROOTS: Final = Table("gc.roots")
"""Names of the roots of the last complete mark."""

BATCH: Final = 256
"""Names that one transaction lists, removes or forgets ..."""
MAX_SECONDS: Final = 0.005
"""... or as many as it gets done in this time."""
RESTARTS: Final = 20
_NAME_SIZE: Final = 33


class Limits(NamedTuple):
    """When to stop early: at `stop_at` of `time.monotonic`, or once `max_bytes` of objects were removed."""

    stop_at: float | None = None
    max_bytes: int | None = None

    def reached(self, removed: int) -> bool:
        """Whether to stop now."""
        late = self.stop_at is not None and time.monotonic() >= self.stop_at
        return late or (self.max_bytes is not None and removed >= self.max_bytes)


class Removed(NamedTuple):
    """What a sweep took out of the index. done: nothing condemned is left."""

    objects: int = 0
    bytes: int = 0
    done: bool = True

    def plus(self, other: Removed) -> Removed:
        """Both together."""
        return Removed(self.objects + other.objects, self.bytes + other.bytes, self.done and other.done)


class Collection:
    """A registered collector, which a lock says lives. Use as a context manager: `mark`, then look at `unreached`, or
    go on with `condemn` and `sweep`."""

    def __init__(self, store: CollectedStore, budget: Budget) -> None:
        """Register, before any root is read. Raises ReadOnlyError, NoSpaceError."""
        self._store = store
        self._budget = budget
        self._lock: Lock = store.locks.hold()
        self._mark: Mark | None = None
        self._roots: NameSet | None = None
        self._incremental = False
        self._whole = True
        self._partial = False
        try:
            with store.write() as txn:
                self._alone = not collectors(txn)
                serial = int.from_bytes(txn.get(STATE, b"serial") or b"", "big") + 1
                self._me = Collector(serial.to_bytes(ID_SIZE, "big"), MARKING, self._lock.name)
                txn.put(STATE, b"serial", self._me.id)
                self._me.store(txn)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *exc: object) -> None:
        """Withdraw what was not condemned; what was, and is not yet swept, is left to the next collector."""
        try:
            # what the store says counts: an interrupt may have come between the flip and our noting it
            with self._store.read() as txn:
                marking = any(one.id == self._me.id and one.state == MARKING for one in collectors(txn))
            if marking:
                _forget(self._store, self._me)
        except JvsError:
            pass  # the next collector does it
        finally:
            self._lock.release()

    # -- marking

    def mark(self, roots: Roots, step: Step) -> Mark:
        """Read the roots and mark what they reach.

        Raises IntegrityError naming the object that cannot be read, unless a root went away meanwhile: then another
        collector may have swept what was below it, and the mark starts again. StateError (gc-busy) when it goes on so.
        """
        for _ in range(RESTARTS):
            self._roots = found = self._read_roots(roots)
            try:
                self._mark = self._mark_from(found, step)
            except MissingObjectError as error:
                if self._is_lost(error, roots, found):
                    raise _stopped(error) from error
            except IntegrityError as error:
                raise _stopped(error) from error
            else:
                return self._mark
        raise StateError("roots went away again and again while gc was marking; nothing was removed", code="gc-busy")

    def _read_roots(self, roots: Roots) -> NameSet:
        """Names of all roots, as of now: in a transaction begun after the registration."""
        with self._store.read() as txn:
            return self._roots_in(txn, roots)

    def _roots_in(self, txn: ReadTxn, roots: Roots) -> NameSet:
        found = self._budget.set(_NAME_SIZE)
        found.update(object_name(Kind.PAGE, root) for root in roots(txn))
        found.update(name for _, name in live_pins(txn, self._store.locks))
        return found

    def _is_lost(self, error: MissingObjectError, roots: Roots, found: NameSet) -> bool:
        """Whether what the mark missed is missing still, although every root it began with is one still: one that went
        away and came back has brought back what was swept meanwhile."""
        kind, key = Kind[error.details["kind"].upper()], bytes.fromhex(error.details["digest"])
        with self._store.read() as txn:
            return txn.info(kind, key) is None and next(self._roots_in(txn, roots).without(found), None) is None

    def has_other_roots(self, roots: Roots) -> bool:
        """Whether there are roots now that were none when they were read for the mark, and that nobody told of: they
        were written down before, and counted as leaving."""
        assert self._roots is not None
        others = set(self._roots.without(self._read_roots(roots)))
        with self._store.read() as txn:
            return not others.issubset(told(txn, self._me))

    def _mark_from(self, roots: NameSet, step: Step) -> Mark:
        with self._store.read() as txn:
            # Everything that is not fresh is reached by the roots of the last complete mark, or condemned. What is
            # condemned may be a root all the same, known to nobody but the collector that was told of it before this
            # one registered: beside others every root is marked.
            known = self._alone and txn.get(STATE, b"complete") is not None
            self._incremental = known and next(roots.without(key for key, _ in txn.scan(ROOTS)), None) is None
            mark = Mark(self._store, self._budget, self._fresh if self._incremental else None)
        mark.add(roots)
        mark.run(step)
        return mark

    def _fresh(self, kind: Kind, keys: list[Digest]) -> list[Digest]:
        with self._store.read() as txn:
            return [key for key in keys if txn.get(FRESH, object_name(kind, key)) is not None]

    # -- what was not reached

    def unreached(self, step: Step) -> Iterator[tuple[bytes, int]]:
        """(name, height) of every object that was in the index at the registration and that the mark did not reach,
        parents before children; and of all that other collectors have condemned and not yet swept."""
        assert self._mark is not None
        listed = Ranked(self._budget)
        if self._incremental:
            self._list_fresh(listed)
        else:
            for kind in WITH_HEIGHT:
                for number, info in enumerate(self._store.list(kind)):
                    listed.of(kind, info.height).update((info.key,))
                    if not number % 4096:
                        step(self._mark.read)
        for kind in SWEEP_ORDER:
            whole = not self._incremental and kind not in WITH_HEIGHT
            for height in (0,) if whole else listed.heights(kind):
                keys = self._store.keys(kind) if whole else listed.of(kind, height)
                for key in self._mark.reached.of(kind, height).without(keys):
                    yield object_name(kind, key), height

    def _list_fresh(self, listed: Ranked) -> None:
        """Everything inserted since the last complete mark, and what is condemned."""
        for names in batched(self._fresh_and_condemned(), BATCH):
            with self._store.read() as txn:
                for name in names:
                    ref = ref_of(name)
                    info = txn.info(*ref)
                    if info is not None:
                        listed.of(ref.kind, info.height).update((ref.key,))

    def _fresh_and_condemned(self) -> Iterator[bytes]:
        with self._store.read() as txn:
            for key, _ in txn.scan(FRESH):
                yield key
            for other in collectors(txn):
                if other.state != MARKING:
                    for key, _ in txn.scan(CONDEMNED, other.id, other.end):
                        yield name_in(key)

    def older(self, names: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
        """Those of `names` that were not inserted since the registration: whoever inserts something may yet make it
        part of a root."""
        for batch in batched(names, BATCH):
            with self._store.read() as txn:
                keys = [sweep_key(self._me.id, name, height) for name, height in batch]
                inserted = [txn.get(CONDEMNED, key) is not None for key in keys]
            yield from (name for name, new in zip(batch, inserted, strict=True) if not new)

    # -- condemning

    def condemn(self, names: Iterable[tuple[bytes, int]], *, partial: bool = False) -> bool:
        """Condemn `names`, parents first, together with all that was inserted since the registration; then save what
        was made a root meanwhile. From here on what is not swept is swept by the next collector.

        partial: they are not all that was not reached (nor is any of them below one that is left out).

        False when the disk was full before the last name was listed: no object is condemned before those above it,
        so what was listed may go, and the rest in a collection of its own.
        """
        self._partial = partial
        try:
            for batch in batched(names, BATCH):
                with self._store.write() as txn:
                    for name, height in batch:
                        txn.put(CONDEMNED, sweep_key(self._me.id, name, height), b"")
        except NoSpaceError:
            self._whole = False
        flipped = self._me._replace(state=FLIPPED)
        with self._store.write() as txn:
            flipped.store(txn)
            txn.put(STATE, b"flips", (flips(txn) + 1).to_bytes(8, "big"))
        self._me = flipped
        self._me = drain(self._store, flipped)
        return self._whole

    def sweep(self, limits: Limits, step: Step) -> Removed:
        """Remove what is still condemned; note the mark as complete when everything is."""
        removed = sweep(self._store, self._me, limits, step)
        if removed.done:
            self._finish()
        return removed._replace(done=removed.done and self._whole)

    def _finish(self) -> None:
        """Note that everything in the index that is not fresh is reached by these roots; then sign off.

        Only a collector that was alone from beginning to end and left nothing out can know that; beside another one,
        the next mark is a whole one: what the other un-condemns becomes fresh, and what is above it need not.
        """
        store, me, roots = self._store, self._me, self._roots
        assert roots is not None

        def alone(txn: ReadTxn) -> bool:
            undisturbed = self._alone and len(collectors(txn)) == 1 and txn.get(STATE, b"serial") == me.id
            return self._whole and not self._partial and undisturbed

        with store.write() as txn:
            if not alone(txn):
                txn.delete(COLLECTORS, me.id)
                return
            txn.delete(STATE, b"complete")
        with store.read() as view:
            gone = list(roots.without(key for key, _ in view.scan(ROOTS)))
        for batch in batched(gone, BATCH):
            with store.write() as txn:
                for name in batch:
                    txn.delete(ROOTS, name)
        for batch in batched(roots, BATCH):
            with store.write() as txn:
                for name in batch:
                    if txn.get(ROOTS, name) is None:
                        txn.put(ROOTS, name, b"")
        after = b""
        while True:
            with store.write() as txn:
                rows = list(islice(txn.scan(FRESH, after), BATCH))
                for name, serial in rows:
                    if serial < me.id:
                        txn.delete(FRESH, name)
                if len(rows) < BATCH:
                    if alone(txn):
                        txn.put(STATE, b"complete", me.id)
                    txn.delete(COLLECTORS, me.id)
                    return
                after = rows[-1][0] + b"\0"


def drain(store: CollectedStore, collector: Collector) -> Collector:
    """Un-condemn every root that was made while a collector that has flipped was marking; the collector after it."""
    with store.read() as txn:
        names = list(told(txn, collector))
    for batch in batched(names, BATCH):
        uncondemn(store, batch)
        with store.write() as txn:
            for name in batch:
                txn.delete(TOLD, collector.id + name)
    with store.write() as txn:
        collector = collector._replace(state=SWEEPING)
        collector.store(txn)
    return collector


def sweep(store: CollectedStore, collector: Collector, limits: Limits, step: Step) -> Removed:
    """Remove what a drained collector has condemned, parents before children, in small transactions that look at the
    marks again."""
    objects = size = 0
    while True:
        if limits.reached(size):
            return Removed(objects, size, done=False)
        with store.write() as txn:
            began = time.monotonic()
            keys = [key for key, _ in islice(txn.scan(CONDEMNED, collector.id, collector.end), BATCH)]
            for key in keys:
                name = name_in(key)
                info = txn.info(*ref_of(name))
                if info is not None and txn.remove(name):
                    objects += 1
                    size += info.stored
                txn.delete(CONDEMNED, key)
                if time.monotonic() - began > MAX_SECONDS:
                    break
        if not keys:
            return Removed(objects, size)
        step(objects)
        # whoever waits for the next transaction gets it
        time.sleep(min(time.monotonic() - began, MAX_SECONDS))


def take_over(store: CollectedStore, limits: Limits, step: Step) -> Removed:
    """Finish what dead collectors have condemned, forget what they had not, and forget the pins of dead operations."""
    remove_dead_pins(store)
    with store.read() as txn:
        known = collectors(txn)
    total = Removed()
    for collector in known:
        lock = store.locks.take(collector.lock)
        if lock is None:
            continue
        try:
            with store.read() as txn:
                current = next((one for one in collectors(txn) if one.id == collector.id), None)
            if current is None:
                continue
            if current.state == FLIPPED:
                current = drain(store, current)
            if current.state == SWEEPING:
                total = total.plus(sweep(store, current, limits, step))
                if not total.done:
                    return total
            _forget(store, current)
        finally:
            lock.release()
    return total


def _forget(store: CollectedStore, collector: Collector) -> None:
    """Remove every row of a collector that has condemned nothing (any more)."""
    left = 1
    while left:
        with store.write() as txn:
            left = 0
            for table in (CONDEMNED, TOLD):
                rows = list(islice(txn.scan(table, collector.id, collector.end), BATCH))
                for key, _ in rows:
                    txn.delete(table, key)
                left += len(rows)
            if not left:
                txn.delete(COLLECTORS, collector.id)


def _stopped(error: IntegrityError) -> IntegrityError:
    """Marking met damage: what is reachable cannot be known, so nothing may be removed."""
    return type(error)(
        f"gc stopped and removed nothing: {error.message}", next="jvs doctor --repair", code=error.code, **error.details
    )
