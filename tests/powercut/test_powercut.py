"""The power goes: what was acknowledged is there, what was not is there or not, nothing is damaged (DESIGN 12).

A real file system on a disk that logs each write and flush (`device`), jvs on it, and then every disk that could have
been left behind (`log`) is mounted and looked at (`judge`). The last tests take a flush away and must find that out.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.blackbox.session import Died, Session
from tests.conftest import TORTURE
from tests.powercut import mutants
from tests.powercut.conftest import Places
from tests.powercut.disks import FILE_SYSTEMS, FileSystem, make, mounted, recorded, shut_down, why_not
from tests.powercut.judge import Judge, Lane, Reached, Verdict, inspect
from tests.powercut.log import Cut
from tests.powercut.workload import (
    LONG,
    SHORT,
    SHORTEST,
    Oracle,
    Span,
    begin,
    carry_out,
    foretell,
    perform,
    pusher,
    store_on,
)

pytestmark = pytest.mark.timeout(14_400)

STEPS = LONG if TORTURE else SHORT
PUSHERS, PUSHES = (4, 12) if TORTURE else (2, 4)
FATES = ((1.0, 0.0), (0.0, 0.0), (0.5, 0.0), (0.9, 0.5), (0.5, 1.0))
"""Of the writes that were not flushed: chance to be there, chance of those to be torn."""


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a file system that this machine does not have."""
    reason = why_not(name)
    return pytest.mark.skipif(reason is not None, reason=reason or "")


def systems(*names: str) -> pytest.MarkDecorator:
    """A test for each of these file systems."""
    return pytest.mark.parametrize(
        "system", [pytest.param(FILE_SYSTEMS[name], id=name, marks=needs(name)) for name in names]
    )


@pytest.fixture(scope="module")
def oracle(places: Places) -> Oracle:
    """What the steps come to."""
    return foretell(places.session("oracle"), STEPS)


@pytest.fixture
def witness(places: Places) -> Session:
    """Looks at what is left; has something to push of its own."""
    session = places.session("witness")
    (session.where / "d").mkdir()
    (session.where / "d" / "file").write_text("life goes on\n")
    return session


def some_cuts(judge: Judge, count: int, first: int = 0) -> list[Cut]:
    """After each acknowledgement with nothing there but what was flushed; and so many others (in the long form 80
    times as many) among all that differ: after any write or flush, with each of FATES for what was not flushed.
    """
    last = judge.acknowledged[-1]
    others = [
        Cut(at, *fate, seed=seed)
        for at in range(first, last + 1)
        for fate in (FATES if judge.log.pending(at) else FATES[:1])
        for seed in range(3 if 0 < fate[0] < 1 else 1)
    ]
    chosen = random.Random(judge.system.name).sample(others, min(count * (80 if TORTURE else 1), len(others)))
    return [*(Cut(at, 0.0) for at in judge.acknowledged), *chosen]


def report(judge: Judge, cuts: Sequence[Cut], wrong: Sequence[Verdict]) -> None:
    """Print what was done."""
    pending = Counter(min(len(judge.log.pending(cut.at)), 8) for cut in cuts)
    flushes = sum(event.data is None for event in judge.log.events)
    print(f"{len(judge.log.events)} entries, {flushes} flushes, {len(cuts)} cuts, {len(wrong)} wrong")
    print("cuts by number of writes not flushed (8: or more):", sorted(pending.items()))


def check(judge: Judge, cuts: Sequence[Cut]) -> None:
    """Nothing is wrong after any of the cuts."""
    wrong = judge.examine(cuts)
    report(judge, cuts, wrong)
    assert not wrong, "\n".join(map(str, wrong[:20]))


@systems("ext4", "xfs", "btrfs")
def test_the_power_goes(system: FileSystem, ram: Path, places: Places, witness: Session, oracle: Oracle) -> None:
    """At any moment of a life with pushes and label moves."""
    runner = places.processes("runner") if TORTURE else places.session("runner-0")
    with recorded(system, ram) as recording:
        made = begin(runner, recording)
        lane = Lane(oracle, perform(runner, STEPS, recording))
    judge = Judge(witness, made, [lane], recording)
    check(judge, some_cuts(judge, 9))


@systems("ext4", *(["xfs", "btrfs"] if TORTURE else []))
def test_the_power_goes_again(system: FileSystem, ram: Path, places: Places, witness: Session, oracle: Oracle) -> None:
    """While a store is used, and what a first cut left undone is done, after that cut."""
    runner = places.session("runner-0")
    with recorded(system, ram) as recording:
        made = begin(runner, recording)
        spans = perform(runner, SHORT, recording)
    first = Judge(witness, made, [Lane(oracle, spans)], recording)
    for done in range(1, len(SHORT)) if TORTURE else [4]:
        again = ram / f"again-{done}"
        again.mkdir()
        replay = first.replay(again / "durable")
        replay.make(Cut(first.acknowledged[done], 0.0), again / "base")
        replay.close()
        runner = places.session("runner-0")
        redo_edits(runner.where / "d", done)
        with recorded(system, again) as second:
            spans = perform(runner, SHORT[done:], second)
        rest = Lane(Oracle(oracle.states[done:], oracle.trees), spans)
        judge = Judge(witness, Span(0, 0), [rest], second)
        check(judge, some_cuts(judge, 3))


def redo_edits(tree: Path, count: int) -> None:
    """Make the directory what it was after so many of the SHORT steps."""
    tree.mkdir()
    for step in SHORT[:count]:
        if step.edit is not None:
            step.edit(tree)


@pytest.fixture(scope="module")
def lanes(places: Places) -> list[Oracle]:
    """What the steps of several pushers come to."""
    return [foretell(places.session("oracle"), pusher(number, PUSHES)) for number in range(PUSHERS)]


@systems("xfs", *(["ext4", "btrfs"] if TORTURE else []))
def test_the_power_goes_under_several(
    system: FileSystem, ram: Path, places: Places, witness: Session, lanes: list[Oracle]
) -> None:
    """Pushers beside one another: each one's own acknowledgements hold, whatever the others are at."""
    runners = [places.session(f"runner-{number}") for number in range(PUSHERS)]
    spans: list[list[Span]] = [[] for _ in runners]
    with recorded(system, ram) as recording:
        made = begin(runners[0], recording)

        def work(number: int) -> None:
            spans[number] += perform(runners[number], pusher(number, PUSHES), recording)

        all_at_once(work)
    assert [len(lane) for lane in spans] == [PUSHES] * PUSHERS, "a pusher failed"
    judge = Judge(witness, made, list(map(Lane, lanes, spans)), recording)
    check(judge, some_cuts(judge, 8, first=judge.acknowledged[0]))


def all_at_once(work: Callable[[int], None], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Have a thread for each pusher do this; returns when all have ended."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(PUSHERS)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()


# -- the file system's own way to lose what it has not written ---------------------------------------------------------


@systems("ext4", "xfs")
def test_a_file_system_is_shut_down(
    system: FileSystem, ram: Path, places: Places, witness: Session, lanes: list[Oracle]
) -> None:
    """Under several pushers, at any moment: what the kernel had not written is lost, what was acknowledged is not."""
    runners = [places.session(f"runner-{number}") for number in range(PUSHERS)]
    for seed in range(60 if TORTURE else 1):
        make(system, ram / "disk")
        with mounted(system, ram / "disk", ram / "there"):
            done, begun = push_and_shut_down(runners, ram / "there", random.Random(seed))
        print("acknowledged", done, "of", begun)
        with mounted(system, ram / "disk", ram / "there"):
            inspect(witness, store_on(ram / "there"), list(map(Reached, lanes, done, begun)))


def push_and_shut_down(runners: Sequence[Session], disk: Path, chance: random.Random) -> tuple[list[int], list[int]]:
    """Push in all of them, shut the file system down meanwhile; how many steps each one had done, and begun."""
    store = store_on(disk)
    runners[0]("--store", store, "fs", "init").ok()
    done, begun = [0] * PUSHERS, [0] * PUSHERS
    first, wanted, enough = chance.randrange(PUSHERS), chance.randint(1, PUSHES - 1), threading.Event()

    def work(number: int) -> None:
        with runners[number] as runner:  # its process ends, and with it what it has mapped
            for count, step in enumerate(pusher(number, PUSHES), start=1):
                begun[number] = count
                try:
                    carry_out(runner, step, store)
                except (AssertionError, Died):
                    return
                done[number] = count
                if number == first and count == wanted:
                    enough.set()

    def shut() -> None:
        assert enough.wait(60)
        time.sleep(chance.uniform(0, 0.05))
        shut_down(disk)

    all_at_once(work, shut)
    return done, begun


# -- mutations: a test that cannot fail is not one ---------------------------------------------------------------------


CAUGHT = [
    (mutants.nothing_synced, "ext4"),
    (mutants.files_not_synced, "ext4"),
    (mutants.index_not_synced, "ext4"),
    # ext4 and xfs make a new file's name durable along with the file
    (mutants.directories_not_synced, "btrfs"),
]


@pytest.mark.parametrize(
    ("mutant", "name"),
    [pytest.param(mutant, name, id=f"{mutant.__name__}-{name}", marks=needs(name)) for mutant, name in CAUGHT],
)
def test_a_missing_flush_is_found(
    mutant: Callable[[], None],
    name: str,
    ram: Path,
    places: Places,
    witness: Session,
    oracle: Oracle,
) -> None:
    """In a store that was made as it should be, pushes by a jvs that leaves one out are lost.

    Looked for without any chance: after each flush of the first push and each acknowledgement, everything written
    being there.
    """
    runner = places.processes("runner")
    runner.code = mutants.code_of(mutant)
    with recorded(FILE_SYSTEMS[name], ram) as recording:
        made = begin(places.session("runner-0"), recording)
        lane = Lane(oracle, perform(runner, SHORTEST, recording))
    judge = Judge(witness, made, [lane], recording)
    made_at, first, *_ = judge.acknowledged
    flushed = [at for at in range(made_at + 1, first) if judge.log.durable(at) == at]
    cuts = [Cut(at) for at in (*flushed, *judge.acknowledged[1:])]
    wrong = judge.examine(cuts)
    report(judge, cuts, wrong)
    print(*wrong, sep="\n")
    assert wrong
