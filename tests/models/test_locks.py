"""Records that live while their lock is held: safe in every order of steps, each rule necessary."""

from __future__ import annotations

import pytest

from tests.models.checker import outcome
from tests.models.locks import RULES, Locks

EVERYBODY = Locks(("maker", "resumer", "resumer", "reaper", "reaper"))


def test_safe() -> None:
    """Who was told that it has a record has it."""
    result = outcome(EVERYBODY)
    assert result.safe, result.show()


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_a_record_is_lost(rule: str) -> None:
    """Each rule is necessary."""
    result = outcome(EVERYBODY.dropping(rule))
    assert result.problem is not None, f"nothing is lost without {rule!r} in {result.states} states"
