"""What must hold after the power came back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.blackbox.session import Died, Session
from tests.powercut.disks import Recording, mounted
from tests.powercut.log import Cut, Log, Replay
from tests.powercut.workload import Oracle, Span, State, snapshots, state_of, store_on, tree_of

NO_STORE: Final = ("no-store", "not-a-store")
MINE: Final = "after"
"""The label that is pushed to after each cut."""


class Lane(NamedTuple):
    """Steps carried out one after another, beside those of other lanes, on labels that no other lane has."""

    oracle: Oracle
    spans: list[Span]


class Reached(NamedTuple):
    """How far a lane had come: steps acknowledged, and steps begun (at most one more)."""

    oracle: Oracle
    done: int
    begun: int


class Verdict(NamedTuple):
    """What is wrong after a cut."""

    cut: Cut
    wrong: str

    def __str__(self) -> str:
        return f"{self.cut}: {self.wrong}"


class Judge:
    """Looks at what a recorded disk may hold after cuts.

    session       runs commands in a directory of its own with a directory `d` in it
    made          when the store was made
    system, log   of the disk
    acknowledged  the entries of the log after which the making and the steps of all lanes were
    """

    def __init__(self, session: Session, made: Span, lanes: Sequence[Lane], recording: Recording) -> None:
        self._session = session
        self._made = made
        self._lanes = lanes
        self._recording = recording
        self.system = recording.system
        self.log = Log(recording.log)
        spans = [made, *(span for lane in lanes for span in lane.spans)]
        self.acknowledged = sorted(self.log.index(span.acknowledged) for span in spans)

    def replay(self, image: Path) -> Replay:
        """Makes what the disk may hold; `image` is a file for its use."""
        return Replay(self.log, self._recording.base, image, self.system.sector, self.system.whole)

    def examine(self, cuts: Sequence[Cut]) -> list[Verdict]:
        """Everything that is wrong after these cuts, each by itself."""
        ram = self._recording.base.parent
        disk = ram / "cut"
        replay = self.replay(ram / "durable")
        wrong = []
        for cut in sorted(cuts):
            replay.make(cut, disk)
            try:
                with mounted(self.system, disk, ram / "after"):
                    self._look(store_on(ram / "after"), cut.at)
            except (AssertionError, Died) as exc:
                wrong.append(Verdict(cut, str(exc)))
        replay.close()
        return wrong

    def _look(self, store: Path, at: int) -> None:
        if at < self.log.index(self._made.acknowledged):
            opened = self._session("--store", store, "fs", "ls", "--json")
            if opened.status and opened.value["error"]["code"] in NO_STORE:
                self._session("--store", store, "fs", "init").ok()
        inspect(self._session, store, [self._reached(lane, at) for lane in self._lanes])

    def _reached(self, lane: Lane, at: int) -> Reached:
        done = sum(self.log.index(span.acknowledged) <= at for span in lane.spans)
        return Reached(lane.oracle, done, sum(self.log.index(span.began) <= at for span in lane.spans))


def inspect(session: Session, store: Path, lanes: Sequence[Reached]) -> None:
    """All that was acknowledged is there, what had begun is there or not, nothing is damaged, and life goes on.

    Raises AssertionError, Died.
    """
    known = set[str]().union(*(lane.oracle.names() for lane in lanes))
    state = state_of(session, store, known)
    assert state.keys() <= known, state.keys()
    for lane in lanes:
        found = {name: log for name, log in state.items() if name in lane.oracle.names()}
        allowed = lane.oracle.states[lane.done : lane.begun + 1]
        assert found in allowed, f"{lane.done} steps acknowledged; {_difference(found, allowed[0])}"
    check_sound(session, store)
    trees = {ca_id: tree for lane in lanes for ca_id, tree in lane.oracle.trees.items()}
    for ca_id in sorted(snapshots(state)):
        assert tree_of(session, store, ca_id) == trees[ca_id], f"{ca_id} has another content"
    session("--store", store, "fs", "push", "d", "--label", MINE).ok()
    left = state_of(session, store, known)
    assert len(left.pop(MINE)) == 1
    assert left == state, f"after a push to another label: {_difference(left, state)}"
    check_sound(session, store)


def _difference(found: State, wanted: State) -> str:
    names = sorted(found.keys() | wanted.keys())
    different = [name for name in names if found.get(name) != wanted.get(name)]
    return "; ".join(f"{name} is {found.get(name)}, not {wanted.get(name)}" for name in different)


def check_sound(session: Session, store: Path) -> None:
    """Nothing is wrong with the store."""
    verified = session("--store", store, "fs", "verify", "--all", "--json")
    assert verified.status == 0, verified.out
    examined = session("--store", store, "doctor", "--json")
    assert examined.status == 0, examined.out
