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
from jvs.castore.gc.marks import CONDEMNED, FLIPPED, FRESH, SWEEPING, Marks, name_in, sweep_key
from jvs.castore.gc.pins import Pin
from jvs.castore.objects import ObjectStore
from jvs.castore.publish import PublishQueue
from jvs.errors import MissingObjectError
from tests.gc import histories, scenarios, stores
from tests.gc.scenarios import (
    NOVEL,
    OLD,
    OVERLAP,
    RELAID,
    SUB,
    Collector,
    Deleter,
    Mover,
    Pusher,
    Reader,
    Replacer,
    Scenario,
)
from tests.gc.scheduler import Act
from tests.gc.stores import ScheduledMemory

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


# -- small scenarios, and the stories they are for

WANTED: Final = Scenario(
    "garbage that one wants", (Mover("M", OLD), Collector("gc1"), Collector("gc2")), garbage=(OLD,), steps=90
)
NEW: Final = Scenario("a new tree", (Pusher("A", NOVEL), Collector("gc")), lookups=1, steps=50)
PUSHED: Final = Scenario(
    "garbage that is pushed",
    (Pusher("A", OVERLAP), Collector("gc1"), Collector("gc2")),
    garbage=(OVERLAP,),
    batch=1,
    steps=90,
)
RELAID_MEANWHILE: Final = Scenario(
    "another layout of the same page",
    (Pusher("A", RELAID), Collector("gc1"), Collector("gc2"), Deleter("del", "old")),
    {"old": {b"sub": SUB}},
    steps=90,
)
DELETED: Final = Scenario(
    "a label deleted while it is marked",
    (Pusher("A", OLD), Collector("gc1"), Collector("gc2"), Deleter("del", "old")),
    {"old": OLD},
    steps=90,
)
WANTED_TWICE: Final = Scenario(
    "garbage that two want",
    (Mover("M", OLD), Mover("N", OLD), Collector("gc1"), Collector("gc2", 2)),
    garbage=(OLD,),
    steps=130,
)
LEFT: Final = Scenario(
    "saved, and given up",
    (Mover("M", OLD), Collector("gc"), Deleter("del", "old")),
    {"old": OLD, "other": OVERLAP},
    marked=True,
    steps=60,
)
MARKED: Final = Scenario(
    "marks of what is new",
    (Mover("M", OLD), Collector("gc1"), Collector("gc2"), Deleter("del", "old")),
    {"old": OLD, "other": OVERLAP},
    marked=True,
    steps=90,
)
REPLACED: Final = Scenario(
    "a layout replaced by two",
    (Replacer("L", SUB), Replacer("K", SUB), Collector("gc")),
    {"old": {b"sub": SUB}},
    steps=60,
)
REPLACED_SHARED: Final = Scenario(
    "a layout replaced by two, and one that shares its part",
    (Replacer("L", SUB), Replacer("K", SUB), Collector("gc")),
    {"old": OLD},
    marked=True,
    steps=60,
)
READ_REPLACED: Final = Scenario(
    "a reader while layouts are replaced",
    (Reader("R", "old", {b"sub": SUB}), Replacer("L", SUB), Replacer("K", SUB), Collector("gc1"), Collector("gc2")),
    {"old": {b"sub": SUB}},
    steps=100,
)
UNDONE: Final = Scenario(
    "a label made and deleted",
    (Pusher("A", NOVEL), Deleter("del", "A"), Collector("gc")),
    {"old": OLD},
    marked=True,
    steps=60,
)


def flipped_between(store: ScheduledMemory) -> Sequence[Act]:
    """M has saved some of what gc1 condemned when gc2 condemns all of it."""
    return (
        Act("gc1", lambda: store.phase(1) == SWEEPING),
        Act("M", lambda: len(store.listed(1)) < 5),
        Act("gc2", lambda: store.phase(2) == SWEEPING),
        Act("M"),
        Act("gc2"),
    )


def listed_swept_inserted(store: ScheduledMemory) -> Sequence[Act]:
    """gc2 has listed what gc1 sweeps; it condemns the names, A inserts the objects anew."""
    return (
        Act("gc2", lambda: len(store.listed(1)) >= len(store.state.objects)),
        Act("gc1"),
        Act("gc2", lambda: store.phase(1) == FLIPPED),
        Act("A"),
        Act("gc2"),
    )


def marked_swept_inserted(store: ScheduledMemory) -> Sequence[Act]:
    """gc1 has marked what gc2 sweeps; A inserts it anew, with another layout."""
    return (
        Act("gc1", "list"),
        Act("del"),
        Act("gc2"),
        Act("A"),
        Act("gc1"),
    )


def gone_and_back(store: ScheduledMemory) -> Sequence[Act]:
    """The root that gc1 is about to read goes, gc2 sweeps it, gc1 misses it, A pushes it again."""
    return (Act("gc1", "get"), Act("del"), Act("gc2"), Act("gc1", 1), Act("A"), Act("gc1"))


def gone(store: ScheduledMemory) -> Sequence[Act]:
    """The root that gc1 is about to read goes, gc2 sweeps it."""
    return (Act("gc1", "get"), Act("del"), Act("gc2"), Act("gc1"))


def saved_and_left(store: ScheduledMemory) -> Sequence[Act]:
    """M saves what gc has condemned, but dies before it makes a label of it."""
    return (
        Act("del"),
        Act("gc", lambda: store.phase(1) == SWEEPING),
        Act("M", lambda: not store.listed(1), crash=True),
        Act("gc"),
    )


def told_the_other(store: ScheduledMemory) -> Sequence[Act]:
    """gc1 is told of a root; gc2 comes when that is condemned, and saved by nobody yet."""
    return (
        Act("del"),
        Act("gc1", lambda: len(store.listed(1)) > 3),
        Act("M"),
        Act("gc1", lambda: store.phase(1) == FLIPPED),
        Act("gc2"),
        Act("gc1"),
    )


def saved_twice(store: ScheduledMemory) -> Sequence[Act]:
    """N is about to save what M has saved by then, and gc2 has marked."""
    return (
        Act("gc1", lambda: store.phase(1) == FLIPPED, crash=True),
        Act("N", "write"),
        Act("N", 1),
        Act("N", "write"),
        Act("M"),
        Act("gc2", "list"),
        Act("N", 1),
        Act("gc2"),
    )


def died_before_the_drain(store: ScheduledMemory) -> Sequence[Act]:
    """gc1 was told of a root; it condemns it and dies."""
    return (
        Act("gc1", lambda: len(store.listed(1)) > 3),
        Act("M"),
        Act("gc1", lambda: store.phase(1) == FLIPPED, crash=True),
        Act("gc2"),
    )


def swept_between_transactions(store: ScheduledMemory) -> Sequence[Act]:
    """gc runs while A has published half of its tree."""
    return (Act("A", lambda: len(store.state.objects) > 3), Act("gc"), Act("A"))


def marked_between_transactions(store: ScheduledMemory) -> Sequence[Act]:
    """A publishes half of its tree while gc marks."""
    return (
        Act("gc", "list"),
        Act("A", lambda: len(store.state.objects) > 3),
        Act("gc"),
        Act("A"),
    )


def replaced_after_the_mark(store: ScheduledMemory) -> Sequence[Act]:
    """L replaces a layout, gc visits the new one, K goes back to the part of the old one."""
    return (Act("L"), Act("gc", "list"), Act("K"), Act("gc"))


def replaced_twice(store: ScheduledMemory) -> Sequence[Act]:
    """gc has seen L's part when K goes back to one that is there for another page's sake."""
    return (Act("L"), Act("gc"), Act("K"))


def undone(store: ScheduledMemory) -> Sequence[Act]:
    """What A pushes is gone again before the collector comes."""
    return (Act("A"), Act("del"), Act("gc"))


def deleted_while_read(store: ScheduledMemory) -> Sequence[Act]:
    """The label goes while R reads, and the collector comes."""
    return (Act("R", "get"), Act("del"), Act("gc1"), Act("R"))


def replaced_while_read(store: ScheduledMemory) -> Sequence[Act]:
    """R has read a layout when L replaces it, and the next one when K does; each time the old part is collected."""
    to_the_part = (Act("R", "get"), Act("R", 1)) * 3
    again = (Act("R", "get"), Act("R", 1)) * 2
    return (*to_the_part, Act("L"), Act("gc1"), *again, Act("K"), Act("gc2"), Act("R"))


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
