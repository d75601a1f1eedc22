"""A small explicit-state model checker: every reachable state, breadth first, so that a trace found is a shortest one.

A model says where it starts, what can happen next, and what is wrong with a state. Steps are atomic; a process that is
paused or cannot go on is one that is not scheduled, so every pause is covered by exploring every order of steps.
States must be hashable and canonical: two states that behave alike should be equal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Broken(Exception):
    """Raised by a step that does what must never happen (a reader misses an object, say)."""


class Model(Protocol[S]):
    """What `explore` needs to know."""

    def initial(self) -> Iterable[S]:
        """Where it may start."""

    def steps(self, state: S) -> Iterable[tuple[str, S]]:
        """Everything that can happen next: what is done, and the state after it. May raise Broken."""

    def problem(self, state: S) -> str | None:
        """What is wrong with this state, or None."""


@dataclass(frozen=True)
class Result(Generic[S]):
    """What an exploration found.

    states    how many different states were reached
    problem   what is wrong with the first bad one, or None
    trace     what was done to get there, a shortest way
    complete  False when the limit was reached before everything was seen
    reached   every state, in the order of discovery; edges: from which numbers each was reached (only those kept)
    """

    states: int
    problem: str | None
    trace: tuple[str, ...]
    complete: bool
    reached: tuple[S, ...] = ()
    edges: tuple[tuple[int, ...], ...] = ()

    @property
    def safe(self) -> bool:
        """Everything was seen and nothing was wrong."""
        return self.complete and self.problem is None

    def show(self) -> str:
        """One line for people."""
        if self.problem is None:
            return f"{self.states:,} states, {'safe' if self.complete else 'limit reached'}"
        return f"{self.states:,} states, {self.problem}: " + " > ".join(self.trace)

    def stuck(self, goal: Callable[[S], bool]) -> S | None:
        """A state from which no state with `goal` can be reached by the steps that were kept, or None."""
        good = [number for number, state in enumerate(self.reached) if goal(state)]
        seen = bytearray(len(self.reached))
        for number in good:
            seen[number] = 1
        while good:
            for before in self.edges[good.pop()]:
                if not seen[before]:
                    seen[before] = 1
                    good.append(before)
        return next((state for number, state in enumerate(self.reached) if not seen[number]), None)


def explore(model: Model[S], *, limit: int = 5_000_000, keep: tuple[str, ...] | None = None) -> Result[S]:
    """Visit every reachable state of `model`, at most `limit`; stop at the first bad one.

    keep  also keep, for `Result.stuck`, the states and those steps between them that begin with one of these
    """
    number: dict[S, int] = {}
    parents: list[int] = []
    actions: list[str] = []
    edges: list[list[int]] = []
    queue: deque[S] = deque()

    def trace(at: int) -> tuple[str, ...]:
        path = []
        while at >= 0:
            path.append(actions[at])
            at = parents[at]
        return tuple(reversed(path[:-1]))

    def arrive(state: S, parent: int, action: str) -> str | None:
        at = number.get(state)
        if at is None:
            at = number[state] = len(parents)
            parents.append(parent)
            actions.append(action)
            queue.append(state)
            if keep is not None:
                edges.append([])
            problem = model.problem(state)
            if problem is not None:
                return problem
        if keep is not None and parent >= 0 and action.startswith(keep):
            edges[at].append(parent)
        return None

    for start in model.initial():
        if problem := arrive(start, -1, ""):
            return Result(len(parents), problem, (), True)
    while queue:
        if len(parents) > limit:
            return Result(len(parents), None, (), False)
        state = queue.popleft()
        here = number[state]
        try:
            for action, after in model.steps(state):
                if problem := arrive(after, here, action):
                    return Result(len(parents), problem, trace(len(parents) - 1), True)
        except Broken as exc:
            return Result(len(parents), str(exc), (*trace(here), str(exc)), True)
    if keep is None:
        return Result(len(parents), None, (), True)
    return Result(len(parents), None, (), True, tuple(number), tuple(map(tuple, edges)))


@cache
def outcome(model: Model[Any]) -> Result[Any]:
    """`explore` for a model of the suite's short form: at most 400,000 states, computed once."""
    return explore(model, limit=400_000)
