"""What is done to the store whose disk loses power: a list of command lines, to be made longer.

To add a verb, add a `Step`; nothing else has to know of it. What must be there afterwards is not written down but
found out: the same steps are carried out on an ordinary directory first, and what that store says is what the one
on the recorded disk must say too.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from devtools.demo import Tree, fingerprint
from tests.blackbox.conftest import Jvs
from tests.blackbox.session import Session
from tests.powercut.disks import Recording

Runner = Jvs | Session
State = dict[str, Any]
"""Name of every label there ever was -> its entries, oldest first, or how it went."""


class Step(NamedTuple):
    """A command; before it, a change of the directory `d` that is pushed."""

    words: tuple[str, ...]
    edit: Callable[[Path], object] | None = None


def _step(line: str, edit: Callable[[Path], object] | None = None) -> Step:
    return Step(tuple(line.split()), edit)


def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _first_tree(tree: Path) -> None:
    (tree / "data").mkdir(parents=True)
    (tree / "data" / "points.csv").write_text("1,2\n3,4\n")
    (tree / "settings.toml").write_text("rate = 0.1\n")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "empty").mkdir()
    (tree / "link").symlink_to("settings.toml")


def _smallest_edit(tree: Path) -> None:
    (tree / "data" / "points.csv").write_text("5,6\n")


def _small_edit(tree: Path) -> None:
    (tree / "settings.toml").write_text("rate = 0.5\n")
    (tree / "run.sh").unlink()


def _larger_edit(tree: Path) -> None:
    """One file of several chunks, and enough small ones for a page to be cut."""
    (tree / "data" / "large.bin").write_bytes(_noise(1, 300_000))
    for number in range(40):
        (tree / "data" / f"{number}.bin").write_bytes(_noise(number, 3_000))


def _many_directories(tree: Path) -> None:
    """Enough to read that a second process takes some of them, and its own pack."""
    for number in range(10):
        folder = tree / f"new{number}" / "below"
        folder.mkdir(parents=True)
        for file in range(30):
            (folder / f"{file}.bin").write_bytes(_noise(number * 100 + file, 40_000))


def _again(seed: int) -> Callable[[Path], object]:
    return lambda tree: (tree / "again").write_bytes(_noise(seed, 2_000))


def _fewer_directories(tree: Path) -> None:
    for number in range(5):
        shutil.rmtree(tree / f"new{number}")


SHORTEST: Final = (
    _step("fs push d --label main -m first", _first_tree),
    _step("fs label exp/1 main"),
    _step("fs push d --label main --expected main", _small_edit),
)
SHORT: Final = (
    *SHORTEST,
    _step("fs push d --label main --expected main --tag v1", _larger_edit),
    _step("fs label --rename exp/1 exp/first"),
    _step("fs reset main main@1"),
    _step("fs undo main"),
    _step("fs label --delete exp/first"),
    # what went by then is swept, and the pack it shares with the rest is rewritten
    _step("fs retention set keep-last 1 --label main"),
    _step("fs push d --label main --expected main -m last", _smallest_edit),
    _step("fs gc run"),
)
LONG: Final = (
    *SHORT,
    _step("fs label --undelete exp/first"),
    _step("fs tag --delete v1"),
    _step("fs label stable main@2 -m passed"),
    *(_step("fs push d --label main --expected main", _again(number)) for number in range(4)),
    _step("doctor --strict"),
    _step("doctor --rebuild-index"),
    _step("fs rm main:data"),
    _step("fs push d --label main --expected main", _many_directories),
    _step("fs push d --label main --expected main", _fewer_directories),
    _step("fs gc run"),
    _step("fs push d --label main --expected main", _again(9)),
)


def pusher(number: int, pushes: int) -> list[Step]:
    """Steps that move one label only, so that several of these can be carried out beside one another."""
    return [_step(f"fs push d --label lane/{number}", _again(100 * number + push)) for push in range(pushes)]


class Oracle(NamedTuple):
    """states: of a new store, and after each step; trees: what every snapshot in them holds."""

    states: list[State]
    trees: dict[str, Tree]

    def names(self) -> set[str]:
        """Every label there ever is."""
        return set().union(*self.states)


class Span(NamedTuple):
    """Where in the log a step began, and where it said that it was done."""

    began: int
    acknowledged: int


def carry_out(runner: Runner, step: Step, store: Path) -> None:
    """Change the directory `d`, and run the command, which must succeed."""
    tree = runner.where / "d"
    tree.mkdir(exist_ok=True)
    if step.edit is not None:
        step.edit(tree)
    runner("--store", store, *step.words).ok()


def foretell(runner: Runner, steps: Sequence[Step]) -> Oracle:
    """Carry out the steps on a store in the runner's own directory."""
    store = runner.where / "store"
    runner("--store", store, "fs", "init").ok()
    states: list[State] = [{}]
    trees: dict[str, Tree] = {}
    for step in steps:
        carry_out(runner, step, store)
        state = state_of(runner, store, set().union(*states))
        states.append(state)
        for ca_id in snapshots(state) - trees.keys():
            pushed = step.words[:2] == ("fs", "push")
            trees[ca_id] = fingerprint(runner.where / "d") if pushed else tree_of(runner, store, ca_id)
    return Oracle(states, trees)


def begin(runner: Runner, recording: Recording) -> Span:
    """Make a store on the recorded disk."""
    began = recording.position()
    runner("--store", store_on(recording.where), "fs", "init").ok()
    return Span(began, recording.position())


def perform(runner: Runner, steps: Sequence[Step], recording: Recording) -> list[Span]:
    """Carry out the steps on the store on the recorded disk."""
    spans = []
    for step in steps:
        began = recording.position()
        carry_out(runner, step, store_on(recording.where))
        spans.append(Span(began, recording.position()))
    return spans


def store_on(disk: Path) -> Path:
    """Where the store is on a disk: two levels down, so that directories above it are made too."""
    return disk / "srv" / "store"


def state_of(runner: Runner, store: Path, known: Iterable[str]) -> State:
    """What the store says of every label that it has, and of every known one, which it may never have had."""
    listed = runner.json("--store", store, "fs", "ls")["labels"]
    state: State = {}
    for name in sorted({label["name"] for label in listed}.union(known)):
        done = runner("--store", store, "fs", "log", name, "--json")
        if done.status == 0:
            state[name] = [
                [entry[key] for key in ("generation", "op", "from", "to", "message", "tags", "dropped")]
                for entry in done.value["log"]
            ]
        elif (details := done.value["error"]["details"])["deleted"] or details["renamed_to"]:
            state[name] = f"deleted: {details['deleted']}, renamed to: {details['renamed_to']}"
    return state


def snapshots(state: State) -> set[str]:
    """The ids of all snapshots that a state leads to."""
    entries = [entry for log in state.values() if isinstance(log, list) for entry in log]
    return {to for *_, to, _message, _tags, dropped in entries if to is not None and not dropped}


def tree_of(runner: Runner, store: Path, ca_id: str) -> Tree:
    """What comes back of a snapshot."""
    into = runner.where / "read-back"
    shutil.rmtree(into, ignore_errors=True)
    runner("--store", store, "fs", "pull", ca_id, into.name).ok()
    return fingerprint(into)
