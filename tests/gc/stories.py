"""How it shows that a rule is missing: small scenarios, each with the story that it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jvs.castore.gc.marks import FLIPPED, SWEEPING
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


PINNED: Final = Scenario(
    "the pin of somebody who died",
    (Pusher("A", NOVEL), Collector("gc1"), Collector("gc2"), Collector("gc3")),
    {"old": OVERLAP},
    lookups=2,
    steps=120,
)


def removed_while_read(store: ScheduledMemory) -> Sequence[Act]:
    """A dies when gc1 has looked for dead pins; gc1 sweeps what A has published, and dies. gc2 is just removing A's pin
    when gc3 reads the roots."""
    return (
        Act("A", lambda: len(store.state.objects) > 7),
        Act("gc1", lambda: store.phase(1) is not None),
        Act("A", 0, crash=True),
        Act("gc1", lambda: len(store.state.objects) == 6, crash=True),
        Act("gc2", "write"),
        Act("gc3"),
        Act("gc2"),
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
