"""Packs, repack and short readers: safe in every order of steps, and which rules are necessary (docs/gc-model.md)."""

from __future__ import annotations

import pytest

from tests.models.checker import explore, outcome
from tests.models.packs import DONE, RULES, Janitor, Packs, Pusher, Reader, Repacker, State, Sweeper

A, B = Pusher("A"), Pusher("B")
GC, GC2 = Repacker("gc"), Repacker("gc2")
DELETER = Sweeper("del", crashes=False)
READER = Reader("reader", crashes=False)
JANITOR = Janitor("janitor")

SAFE = {
    "a push, repack, a reader": Packs((A, GC, DELETER, READER)),
    "two repacks and a reader": Packs((GC, GC2, READER)),
    "a push, repack, a janitor": Packs((A, GC, JANITOR, DELETER)),
    "two pushes": Packs((A, B, DELETER)),
    "two pushes and repack": Packs((A, B, GC, DELETER), packs=5),
}
LONG_FORMS = {
    "two pushes, two repacks": Packs((A, B, GC, GC2, DELETER), packs=4),
    "a push, two repacks, a reader": Packs((A, GC, GC2, DELETER, READER), packs=5),
    "everybody": Packs((A, GC, GC2, DELETER, JANITOR), packs=5),
}

LOSES = {
    "writer's lock": Packs((A, GC)),
    "still empty": Packs((A, GC, DELETER)),
    "drop before unlink": Packs((GC,)),
    "same place": Packs((GC, DELETER)),
    "janitor's lock": Packs((A, JANITOR)),
    "janitor looks again": Packs((A, JANITOR)),
    "creator looks": Packs((A, JANITOR)),
    "readers go on": Packs((GC, GC2, READER)),
}
# Each of two defends where the other does not; without both something is lost.
BOTH_LOSE = {
    ("dropper's lock", "refuse dropped"): Packs((GC, GC2)),
    ("look after lock", "refuse dropped"): Packs((A, GC, DELETER)),
}


@pytest.mark.parametrize("name", SAFE)
def test_safe(name: str) -> None:
    """What the index says is so, nobody takes x for lost."""
    result = outcome(SAFE[name])
    assert result.safe, result.show()


@pytest.mark.torture
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", LONG_FORMS)
def test_safe_long(name: str) -> None:
    """The same with more processes."""
    result = explore(LONG_FORMS[name], limit=30_000_000)
    assert result.safe, result.show()


def test_every_rule_is_looked_at() -> None:
    """A rule that nobody needs would not be here."""
    assert {*LOSES, *(rule for pair in BOTH_LOSE for rule in pair)} == RULES.keys()


@pytest.mark.parametrize("rule", LOSES)
def test_without_a_rule_something_is_lost(rule: str) -> None:
    """With all rules the story ends well; without this one it does not."""
    model = LOSES[rule]
    assert outcome(model).safe
    result = outcome(model.dropping(rule))
    assert result.problem is not None, f"nothing is lost without {rule!r} in {result.states} states"


@pytest.mark.parametrize("pair", BOTH_LOSE)
def test_one_defence_is_enough_and_none_is_not(pair: tuple[str, str]) -> None:
    """Both are kept: each costs one look, and the second finds what goes wrong with the first."""
    model = BOTH_LOSE[pair]
    for rule in pair:
        result = outcome(model.dropping(rule))
        assert result.safe, result.show()
    result = outcome(model.dropping(*pair))
    assert result.problem is not None


def test_everybody_can_finish() -> None:
    """From every state a pusher and a repacker can come to their end."""
    result = explore(Packs((A, GC, JANITOR, DELETER)), keep=("",))

    def ended(state: State) -> bool:
        return state[4][0] == DONE and state[4][1] in (DONE, (0, 0, 0))

    assert result.stuck(ended) is None
