"""The scenarios: what the schedules are about."""

from __future__ import annotations

from typing import Final

from jvs.castore.gc.collection import Limits
from tests.gc.scenarios import (
    NOVEL,
    OLD,
    OVERLAP,
    RELAID,
    SUB,
    Collector,
    Deleter,
    Editor,
    Filler,
    Mover,
    Pinner,
    Pusher,
    Reader,
    Replacer,
    Resetter,
    Scenario,
    Undeleter,
)

EVERYBODY: Final = (
    Pusher("A", OLD),
    Pusher("B", OVERLAP),
    Collector("gc1"),
    Collector("gc2"),
    Deleter("del", "old"),
)

TWO_PUSHERS: Final = Scenario("two pushers", EVERYBODY, {"old": OLD}, steps=110)
SEVERAL_TRANSACTIONS: Final = Scenario(
    "pushes of several transactions",
    (Pusher("A", NOVEL), Pusher("B", OVERLAP), Collector("gc1"), Collector("gc2"), Deleter("del", "old")),
    {"old": OVERLAP},
    lookups=1,
    steps=120,
)
GARBAGE: Final = Scenario(
    "garbage that is wanted again",
    (Pusher("A", OLD), Mover("M", OLD), Collector("gc1", 2), Collector("gc2")),
    garbage=(OLD,),
    lookups=4,
    steps=130,
)
RELAYING: Final = Scenario(
    "the same page with two layouts",
    (Pusher("A", OLD), Pusher("B", RELAID), Collector("gc1"), Collector("gc2"), Deleter("del", "old")),
    {"old": OLD},
    steps=130,
)
BY_REFERENCE: Final = Scenario(
    "an edit that keeps most of its base",
    (Editor("E", "old", OLD), Pusher("B", OVERLAP), Collector("gc1"), Collector("gc2"), Deleter("del", "old")),
    {"old": OLD},
    lookups=3,
    steps=120,
)
READING: Final = Scenario(
    "a long reader",
    (Reader("R", "old", OLD), Mover("M", OLD), Collector("gc1"), Collector("gc2"), Deleter("del", "old")),
    {"old": OLD},
    batch=1,
    steps=110,
)
INCREMENTAL: Final = Scenario(
    "marks of what is new",
    (Pusher("A", OLD), Mover("M", OLD), Collector("gc1", 2), Collector("gc2"), Deleter("del", "old")),
    {"old": OLD, "other": OVERLAP},
    marked=True,
    steps=130,
)
REPLACING: Final = Scenario(
    "a layout replaced",
    (Pusher("B", OVERLAP), Replacer("L", SUB), Collector("gc1"), Collector("gc2"), Deleter("del", "old")),
    {"old": {b"sub": SUB}},
    steps=100,
)
REPLACING_MARKED: Final = Scenario(
    "a layout replaced, marks of what is new",
    (Pusher("B", OVERLAP), Replacer("L", SUB), Replacer("K", SUB), Collector("gc", 2), Deleter("del", "old")),
    {"old": {b"sub": SUB}},
    marked=True,
    steps=100,
)
EXPIRING: Final = Scenario(
    "labels deleted, undeleted, forgotten",
    (
        Undeleter("U", "old", OVERLAP),
        Pinner("P", OVERLAP),
        Collector("gc1"),
        Collector("gc2"),
        Deleter("del", "old"),
    ),
    {"old": OVERLAP},
    expires=True,
    steps=130,
)
GOING_BACK: Final = Scenario(
    "a label reset, its history expired",
    (Resetter("S", "main", OLD), Pusher("B", RELAID), Collector("gc1", 2), Collector("gc2"), Deleter("del", "other")),
    {"main": OVERLAP, "other": OVERLAP},
    earlier={"main": OLD},
    expires=True,
    steps=150,
)
STOPPING: Final = Scenario(
    "collectors that stop early",
    (
        Pusher("A", OLD),
        Mover("M", OLD),
        Collector("gc1", 3, Limits(max_bytes=1)),
        Collector("gc2", 2, Limits(max_bytes=200)),
        Deleter("del", "old"),
    ),
    {"old": OLD, "other": OVERLAP},
    marked=True,
    batch=1,
    steps=180,
)
OVER_AND_OVER: Final = Scenario(
    "marks of what is new, over and over",
    (
        Pusher("A", NOVEL),
        Mover("M", OLD),
        Mover("N", OLD),
        Collector("gc1", 3),
        Collector("gc2", 2),
        Deleter("del", "old"),
        Replacer("L", SUB),
    ),
    {"old": OLD, "other": OVERLAP},
    marked=True,
    lookups=2,
    steps=260,
)
EDITING_REPLACED: Final = Scenario(
    "an edit, and a reader, while layouts are replaced",
    (
        Editor("E", "old", OLD),
        Reader("R", "old", OLD),
        Replacer("L", SUB),
        Replacer("K", SUB),
        Collector("gc1", 2),
        Collector("gc2"),
    ),
    {"old": OLD},
    lookups=3,
    steps=170,
)
FULL: Final = Scenario(
    "a full disk",
    (
        Pusher("A", NOVEL),
        Mover("M", OLD),
        Collector("gc1", 2),
        Collector("gc2", 2),
        Deleter("del", "old"),
        Filler("disk"),
    ),
    {"old": OLD, "other": OVERLAP},
    marked=True,
    lookups=2,
    steps=150,
)
ALL: Final = (
    TWO_PUSHERS,
    SEVERAL_TRANSACTIONS,
    GARBAGE,
    RELAYING,
    BY_REFERENCE,
    READING,
    INCREMENTAL,
    REPLACING,
    REPLACING_MARKED,
    EXPIRING,
    GOING_BACK,
    STOPPING,
    OVER_AND_OVER,
    EDITING_REPLACED,
    FULL,
)

RUNNING: Final = Scenario(
    "runs and plans beside everybody",
    (Pusher("A", OLD), Undeleter("U", "old", OLD), Collector("gc"), Collector("plan"), Deleter("del", "old")),
    {"old": OLD},
    garbage=(NOVEL,),
    expires=True,
    steps=200,
)
RUNNING_LONG: Final = Scenario(
    "runs and plans, pushes of several transactions, a reader",
    (
        Pusher("A", NOVEL),
        Pusher("B", OVERLAP),
        Reader("R", "old", OLD),
        Collector("gc", 2),
        Collector("plan"),
        Deleter("del", "old"),
    ),
    {"old": OLD},
    lookups=2,
    marked=True,
    expires=True,
    steps=350,
)

SMALL: Final = Scenario(
    "one of each",
    (Pusher("A", OVERLAP), Collector("gc"), Deleter("del", "old")),
    {"old": OVERLAP},
    steps=60,
)
