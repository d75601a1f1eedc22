"""The rules of the protocol, each with a way to take it out of the real code, and schedules that then go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Collection as Names
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple
from unittest import mock

from jvs.castore import memory
from jvs.castore.backend import Kind, object_name, ref_of
from jvs.castore.gc import collection, marks, pins, rescue
from jvs.castore.gc.collection import Collection, Limits, Removed
from jvs.castore.gc.marks import CONDEMNED, FRESH, SWEEPING, Marks, name_in, sweep_key
from jvs.castore.gc.pins import Pin
from jvs.castore.objects import ObjectStore
from jvs.castore.publish import PublishQueue
from jvs.errors import MissingObjectError
from tests.gc import histories, scenarios, stores
from tests.gc.scenarios import (
    Scenario,
)
from tests.gc.scheduler import Act
from tests.gc.stories import (
    DELETED,
    LEFT,
    MARKED,
    NEW,
    PINNED,
    PUSHED,
    READ_REPLACED,
    RELAID_MEANWHILE,
    REPLACED,
    REPLACED_SHARED,
    UNDONE,
    WANTED,
    WANTED_TWICE,
    deleted_while_read,
    died_before_the_drain,
    flipped_between,
    gone,
    gone_and_back,
    listed_swept_inserted,
    marked_between_transactions,
    marked_swept_inserted,
    removed_while_read,
    replaced_after_the_mark,
    replaced_twice,
    replaced_while_read,
    saved_and_left,
    saved_twice,
    swept_between_transactions,
    told_the_other,
    undone,
)

Patch = tuple[Any, str, Any]


class Mutation(NamedTuple):
    """A rule that is not kept.

    rule      what the rule says
    patches   (object, attribute, value) that take it out of the code
    scenario  where that shows
    story     how it shows; without one, random schedules show it soon
    """

    rule: str
    patches: Sequence[Patch]
    scenario: Scenario
    story: Callable[[Any], Sequence[Act]] | None = None


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """The code without the rule."""
    with ExitStack() as stack:
        for patch in mutation.patches:
            stack.enter_context(mock.patch.object(*patch))
        yield


def _never(*_: Any) -> bool:
    return False


def _nothing(*_: Any, **__: Any) -> None:
    return None


# -- publishing and moving


def _publish_blindly(
    self: PublishQueue[Any], txn: Any, item: Any, missing: dict[bytes, None], condemned: dict[bytes, None]
) -> int:
    return _look_up(self, txn, item, {}, condemned)


_look_up = PublishQueue._look_up


def _build_on_condemned(
    self: PublishQueue[Any], txn: Any, item: Any, missing: dict[bytes, None], condemned: dict[bytes, None]
) -> int:
    return _look_up(self, txn, item, missing, {})


def _require_condemned(self: Marks, name: bytes, height: int) -> None:
    self.required.add(name)
    self.tell((name,))


def _require_unseen(self: Any, root: bytes) -> None:
    name = object_name(Kind.PAGE, root)
    self.marks.require(name, self.height_of(name) or 0)


def _require_quietly(self: Marks, name: bytes, height: int) -> None:
    if self.condemned(name, height):
        raise marks.CondemnedError((name,))
    self.required.add(name)


# -- what transactions owe the collectors


def _insert_no_candidate(self: Marks, name: bytes, height: int) -> None:
    for collector in self._condemning:
        self._txn.delete(CONDEMNED, sweep_key(collector, name, height))
    self._note(name)


def _insert_condemned(self: Marks, name: bytes, height: int) -> None:
    for collector in self._marking:
        self._txn.put(CONDEMNED, sweep_key(collector, name, height), b"")
    self._note(name)


def _uncondemn_one_set(self: Marks, name: bytes, height: int) -> None:
    for collector in self._condemning[:1]:
        self._txn.delete(CONDEMNED, sweep_key(collector, name, height))
    self._note(name)


def _uncondemn_unnoted(self: Marks, name: bytes, height: int) -> None:
    for collector in self._condemning:
        self._txn.delete(CONDEMNED, sweep_key(collector, name, height))


def _uncondemn_always_noted(self: Marks, name: bytes, height: int) -> None:
    _uncondemn_unnoted(self, name, height)
    self._note(name)


def _insert_unnoted(self: Marks, name: bytes, height: int) -> None:
    _insert_no_candidate(self, name, height)
    for collector in self._marking:
        self._txn.put(CONDEMNED, sweep_key(collector, name, height), b"")
    if self._recording:
        self._txn.delete(FRESH, name)


_condemn = Collection.condemn


def _condemn_but_marked(self: Collection, names: Iterable[tuple[bytes, int]]) -> bool:
    """What was marked is no candidate, also when it was inserted anew."""
    assert self._mark is not None
    reached = {bytes((kind,)) + key for kind, _, found in self._mark.reached for key in found}
    listed = list(names)
    with self._store.write() as txn:
        for key in [key for key, _ in txn.scan(CONDEMNED, self._me.id, self._me.end)]:
            if name_in(key) in reached:
                txn.delete(CONDEMNED, key)
    return _condemn(self, listed)


# -- un-condemning

_walk = rescue._walk


def _walk_parents_first(store: Any, names: Sequence[bytes]) -> Any:
    walk = _walk(store, names)
    return walk._replace(order=walk.order[::-1])


def _no_flips(txn: Any) -> int:
    return 0


# -- collectors

_init = Collection.__init__


def _read_roots_before_registering(self: Collection, store: Any, budget: Any) -> None:
    with store.read() as txn:
        early = {object_name(Kind.PAGE, root) for root in scenarios.heads(txn)}
        early.update(name for _, name in pins.live_pins(txn, store.locks))
    vars(self)["early"] = early
    _init(self, store, budget)


def _early_roots(self: Collection, txn: Any, roots: Any) -> Any:
    found = self._budget.set(33)
    found.update(vars(self)["early"])
    return found


def _no_drain(store: Any, collector: Any) -> Any:
    with store.write() as txn:
        collector = collector._replace(state=SWEEPING)
        collector.store(txn)
    return collector


def _drain_own_only(store: Any, collector: Any) -> Any:
    """Whoever takes over a dead collector does not drain."""
    holder = next(lock for lock in store.watch.held if lock.name == collector.lock)
    return (_drain if holder.made else _no_drain)(store, collector)


_drain = collection.drain


def _sweep_a_list(store: Any, collector: Any, limits: Limits, step: Any) -> Removed:
    with store.read() as txn:
        names = [name_in(key) for key, _ in txn.scan(CONDEMNED, collector.id, collector.end)]
    for name in names:
        with store.write() as txn:
            txn.remove(name)
    return _sweep(store, collector, limits, step)


_sweep = collection.sweep


def _sweep_children_first(store: Any, collector: Any, limits: Limits, step: Any) -> Removed:
    while True:
        with store.write() as txn:
            keys = [key for key, _ in islice(txn.scan(CONDEMNED, collector.id, collector.end, reverse=True), 2)]
            for key in keys:
                if txn.info(*ref_of(name_in(key))) is not None:
                    txn.remove(name_in(key))
                txn.delete(CONDEMNED, key)
        if not keys:
            return Removed()


def _mark_once(self: Collection, roots: Any, step: Any) -> Any:
    self._roots = found = self._read_roots(roots)
    try:
        self._mark = self._mark_from(found, step)
    except MissingObjectError as error:
        raise collection._stopped(error) from error
    return self._mark


def _give_up(self: Collection, error: Any, roots: Any, found: Any) -> bool:
    return next(self._read_roots(roots).without(found), None) is None


_mark_from = Collection._mark_from


def _mark_incrementally(self: Collection, roots: Any, step: Any) -> Any:
    """Also beside other collectors."""
    self._alone = True
    return _mark_from(self, roots, step)


_finish = Collection._finish


def _finish_beside_others(self: Collection) -> None:
    """A mark counts as complete also when somebody else was there when it began."""
    self._alone = True
    _finish(self)


def _take_from_the_living(self: Any, name: str) -> Any:
    self._watch.step("lock")
    lock = self._inner.take(name)
    if lock is None:
        lock = next(held.inner for held in self._watch.held if held.name == name)
    return self._own(lock, made=False)


# -- pins


def _pin_nothing(self: Pin, txn: Any, add: Names[bytes], drop: Iterable[bytes]) -> None:
    txn.marks.tell(add)


_change = Pin.change


def _pin_quietly(self: Pin, txn: Any, add: Names[bytes], drop: Iterable[bytes]) -> None:
    with mock.patch.object(Marks, "tell", _nothing):
        _change(self, txn, add, drop)


def _pin_the_last(self: Pin, txn: Any, add: Names[bytes], drop: Iterable[bytes]) -> None:
    _change(self, txn, add, set(self._names))


def _unpinned(store: Any, root: bytes, what: str) -> Pin:
    return Pin(store, what)


# -- layouts


_replace = PublishQueue._replace


def _replace_quietly(self: PublishQueue[Any], txn: Any, *args: Any) -> int:
    with mock.patch.object(Marks, "tell", _nothing):
        return _replace(self, txn, *args)


def _small_file_twice(self: ObjectStore, page: bytes, file: Any) -> bytes:
    """Reads the layout once more, and no more."""
    for again in (False, True):
        place = self.place(page, file)
        try:
            return self.part(place.key)[place.offset : place.offset + file.size]
        except MissingObjectError:
            if again:
                raise
        self._places.discard(page)
    raise AssertionError


class _Believing:
    """A transaction that says of every object that it is there."""

    def __init__(self, txn: Any) -> None:
        self.scan = txn.scan

    def info(self, *ref: object) -> object:
        return ref


def _all_pinned(txn: Any, locks: Any) -> Any:
    return pins.live_pins(_Believing(txn), locks)  # type: ignore[arg-type]


MUTATIONS: Final = (
    Mutation(
        "a publish looks up every child in the transaction that inserts its parent",
        [(PublishQueue, "_look_up", _publish_blindly)],
        histories.TWO_PUSHERS,
    ),
    Mutation(
        "a publish un-condemns the children it finds condemned",
        [(PublishQueue, "_look_up", _build_on_condemned)],
        histories.TWO_PUSHERS,
    ),
    Mutation("a move un-condemns its root", [(Marks, "require", _require_condemned)], WANTED),
    Mutation(
        "un-condemn at commit: whoever builds on something, or makes it a root, looks whether it is condemned",
        [(Marks, "condemned", _never)],
        histories.TWO_PUSHERS,
    ),
    Mutation(
        "a move looks its root up in its own transaction",
        [(memory._MemoryWriteTxn, "require", _require_unseen)],
        WANTED,
    ),
    Mutation(
        "a move tells its root to every collector that is marking", [(Marks, "require", _require_quietly)], WANTED
    ),
    Mutation("whoever makes a root tells", [(Marks, "tell", _nothing)], histories.TWO_PUSHERS),
    Mutation(
        "a collector registers before it reads the roots",
        [(Collection, "__init__", _read_roots_before_registering), (Collection, "_roots_in", _early_roots)],
        WANTED,
    ),
    Mutation("a collector drains before it sweeps", [(collection, "drain", _no_drain)], histories.TWO_PUSHERS),
    Mutation(
        "whoever takes over a dead collector's set drains it first",
        [(collection, "drain", _drain_own_only)],
        WANTED,
        died_before_the_drain,
    ),
    Mutation(
        "what is inserted while somebody marks is a candidate of his",
        [(Marks, "inserted", _insert_no_candidate)],
        histories.TWO_PUSHERS,
    ),
    Mutation(
        "... even if he has marked it",
        [(Collection, "condemn", _condemn_but_marked)],
        RELAID_MEANWHILE,
        marked_swept_inserted,
    ),
    Mutation(
        "an insertion takes the name out of every condemned set",
        [(Marks, "inserted", _insert_condemned)],
        PUSHED,
        listed_swept_inserted,
    ),
    Mutation("the sweep looks at the marks again", [(collection, "sweep", _sweep_a_list)], histories.TWO_PUSHERS),
    Mutation(
        "the sweep removes parents before children",
        [(collection, "sweep", _sweep_children_first)],
        histories.TWO_PUSHERS,
    ),
    Mutation("un-condemning goes children first", [(rescue, "_walk", _walk_parents_first)], WANTED),
    Mutation(
        "an un-condemn walk starts again when another set was condemned",
        [(rescue, "flips", _no_flips)],
        WANTED,
        flipped_between,
    ),
    Mutation(
        "un-condemning takes the name out of every condemned set",
        [(Marks, "uncondemn", _uncondemn_one_set)],
        WANTED,
    ),
    Mutation("a mark starts again when a root went away", [(Collection, "mark", _mark_once)], DELETED, gone),
    Mutation("... also when it came back", [(Collection, "_is_lost", _give_up)], DELETED, gone_and_back),
    Mutation("only the dead are taken over", [(stores.ScheduledLocks, "take", _take_from_the_living)], WANTED),
    Mutation(
        "a mark is incremental only when the collector is alone",
        [(Collection, "_mark_from", _mark_incrementally)],
        MARKED,
        told_the_other,
    ),
    Mutation("what is inserted is fresh", [(Marks, "inserted", _insert_unnoted)], UNDONE, undone),
    Mutation("what is un-condemned is fresh", [(Marks, "uncondemn", _uncondemn_unnoted)], LEFT, saved_and_left),
    Mutation(
        "... but not what somebody else has saved before",
        [(Marks, "uncondemn", _uncondemn_always_noted)],
        WANTED_TWICE,
        saved_twice,
    ),
    Mutation(
        "a pin that names what is gone is none",
        [(collection, "live_pins", _all_pinned)],
        PINNED,
        removed_while_read,
    ),
    Mutation(
        "a push of several transactions pins its tops", [(Pin, "change", _pin_nothing)], NEW, swept_between_transactions
    ),
    Mutation(
        "... and tells them to every collector that is marking",
        [(Pin, "change", _pin_quietly)],
        NEW,
        marked_between_transactions,
    ),
    Mutation(
        "... and lets go of those only that are covered",
        [(Pin, "change", _pin_the_last)],
        NEW,
        swept_between_transactions,
    ),
    Mutation("a long reader pins", [(scenarios, "pin_snapshot", _unpinned)], histories.READING, deleted_while_read),
    Mutation(
        "a reader reads the layout again as long as it changes",
        [(ObjectStore, "small_file", _small_file_twice)],
        READ_REPLACED,
        replaced_while_read,
    ),
    Mutation(
        "a layout's replacement tells the parts it names",
        [(PublishQueue, "_replace", _replace_quietly)],
        REPLACED,
        replaced_after_the_mark,
    ),
    Mutation(
        "a replaced layout makes the next mark a whole one",
        [(Marks, "replaced", _nothing)],
        REPLACED_SHARED,
        replaced_twice,
    ),
    Mutation(
        "a mark is complete only if the collector was alone from its registration on",
        [(Collection, "_finish", _finish_beside_others)],
        histories.REPLACING,
    ),
)
