"""The checker itself, on models small enough to count by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.models.checker import Broken, explore


@dataclass(frozen=True)
class Counter:
    """Counts up by one or by two to `top`; `bad` is a bad number, `trap` one on which a step breaks."""

    top: int
    bad: int = -1
    trap: int = -1

    def initial(self) -> Iterator[int]:
        yield 0

    def steps(self, state: int) -> Iterator[tuple[str, int]]:
        if state == self.trap:
            raise Broken("trapped")
        if state + 1 <= self.top:
            yield "one", state + 1
        if state + 2 <= self.top:
            yield "two", state + 2

    def problem(self, state: int) -> str | None:
        return "bad" if state == self.bad else None


def test_everything_is_visited_once() -> None:
    result = explore(Counter(10))
    assert (result.states, result.safe) == (11, True)


def test_a_shortest_story_is_told() -> None:
    result = explore(Counter(10, bad=5))
    assert result.problem == "bad"
    assert len(result.trace) == 3
    assert sum({"one": 1, "two": 2}[step] for step in result.trace) == 5
    assert explore(Counter(10, bad=0)).trace == ()


def test_a_step_may_break() -> None:
    result = explore(Counter(10, trap=2))
    assert (result.problem, result.trace, result.safe) == ("trapped", ("two", "trapped"), False)


def test_a_limit_is_not_safety() -> None:
    result = explore(Counter(1_000), limit=10)
    assert result.problem is None
    assert not result.safe


def test_what_is_stuck_is_found() -> None:
    assert explore(Counter(10), keep=("",)).stuck(lambda state: state == 10) is None
    assert explore(Counter(10), keep=("two",)).stuck(lambda state: state == 10) == 1
    assert explore(Counter(10), keep=("",)).stuck(lambda state: state == 9) == 10
