"""docs/gc-model.md says what the models say: every rule, its shortest losing story, the numbers of states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.models import locks, packs, test_collect, test_locks, test_packs, world
from tests.models.checker import Result, outcome

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gc-model.md"


def _story(rule: str, says: str, result: Result[Any]) -> str:
    assert result.problem is not None
    told = [step for step in result.trace if step != result.problem]
    return f"| {rule} | {says} | {'; '.join(told)}: **{result.problem}** |"


def rows() -> Iterator[str]:
    """The lines of the page that are computed."""
    for name, store in test_collect.SAFE.items():
        yield f"| {name} | {outcome(store).states:,} |"
    for rule, model in test_collect.LOSES.items():
        losing = replace(model, losses=True).dropping(rule)
        yield _story(rule, world.RULES[rule], outcome(losing))
    for name, model_of_packs in test_packs.SAFE.items():
        yield f"| {name} | {outcome(model_of_packs).states:,} |"
    for rule, model_of_packs in test_packs.LOSES.items():
        yield _story(rule, packs.RULES[rule], outcome(model_of_packs.dropping(rule)))
    for pair, model_of_packs in test_packs.BOTH_LOSE.items():
        says = "; ".join(packs.RULES[rule] for rule in pair)
        yield _story(" + ".join(pair), says, outcome(model_of_packs.dropping(*pair)))
    for rule in locks.RULES:
        yield _story(rule, locks.RULES[rule], outcome(test_locks.EVERYBODY.dropping(rule)))


def test_the_page_is_up_to_date() -> None:
    """A rule that was added, or a story that became another, is in the page."""
    lines = set(PAGE.read_text().splitlines())
    stale = [row for row in rows() if row not in lines]
    assert not stale, "docs/gc-model.md lacks:\n" + "\n".join(stale)
