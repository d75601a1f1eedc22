"""The collector's protocol: safe in every order of steps, and each rule necessary (docs/gc-model.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.models.checker import explore, outcome
from tests.models.processes import Collector, Deleter, LongPusher, Pusher, Reader, Replacer, Rooter, Store
from tests.models.world import CHAIN, DEAD, DONE, FORK, LAID, NONE, RULES, SHARED, START, TWO, VOUCHED, State

A, B, C = Pusher("A"), Pusher("B"), Pusher("C")
LONG = LongPusher("A", crashes=True)
GC, GC2, MORTAL = Collector("gc"), Collector("gc2"), Collector("gc1", crashes=True)
DELETER = Deleter("del")
UNDELETE = Rooter("undelete")
READER = Reader("reader", crashes=True)
RELAY = Replacer("relay")
TO_P = Pusher("A", root="P")
BY_VOUCHER = Pusher("A", root="Q", vouches=("P", "d"))

SAFE = {
    "two pushes": Store(CHAIN, (A, B, GC, DELETER), ("", "c", "cP", "cPR")),
    "one step at a time": Store(CHAIN, (A, B, GC, DELETER), ("c", "cPR"), fine=True),
    "two collectors, one may die": Store(CHAIN, (A, MORTAL, GC, DELETER), ("cP", "cPR")),
    "two collectors, one step at a time": Store(CHAIN, (A, MORTAL, GC, DELETER), ("cPR",), "R", fine=True),
    "a push of several transactions": Store(CHAIN, (LONG, B, GC, DELETER), ("", "cPR")),
    "several tops": Store(FORK, (LONG, GC), ("", "c", "cdPQ")),
    "undelete, and a long reader": Store(CHAIN, (READER, UNDELETE, GC, DELETER), ("cPR",), "R"),
    "a long reader, two collectors": Store(CHAIN, (READER, MORTAL, GC, DELETER), ("cPR",), "R"),
    "two snapshots that share": Store(SHARED, (A, Pusher("B", root="S"), GC, Deleter("del", times=2)), ("cP", "cPS")),
    "a push brings back what damage took": Store(CHAIN, (A, MORTAL, GC), ("cR", "R"), "R", damaged="P"),
    "a layout replaced": Store(LAID, (TO_P, RELAY, GC, DELETER), ("", "clP", "cdlP")),
    "a layout replaced, two collectors": Store(LAID, (RELAY, MORTAL, GC, DELETER), ("clP",), "P"),
    "two who replace": Store(LAID, (Replacer("relay", version=2), Replacer("purge", purges=True), GC), ("clP",), "P"),
    "a base page that vouches": Store(VOUCHED, (BY_VOUCHER, RELAY, GC, DELETER), ("cdlP",), "P"),
}

LONG_FORMS = {
    "two roots, two collectors": Store(TWO, (UNDELETE, Rooter("pin", root="S"), GC, GC2, DELETER), ("RS",)),
    "a layout replaced, a walk and two flips": Store(LAID, (TO_P, RELAY, GC, GC2), ("clP",), fine=True),
    "a layout replaced, one step at a time": Store(LAID, (TO_P, RELAY, MORTAL, GC, DELETER), ("clP",), fine=True),
    "both collectors may die": Store(CHAIN, (A, MORTAL, Collector("gc2", crashes=True), GC, DELETER), ("cPR",), "R"),
    "a base page that vouches, two collectors": Store(
        VOUCHED, (BY_VOUCHER, RELAY, MORTAL, GC, DELETER), ("cdlP",), "P"
    ),
    "two pushes, two collectors": Store(CHAIN, (A, B, MORTAL, GC, DELETER), ("cP", "cPR")),
    "three pushes": Store(CHAIN, (A, B, C, GC, DELETER), ("cP",), fine=True),
    "undelete, reader, two collectors": Store(CHAIN, (READER, UNDELETE, MORTAL, GC, DELETER), ("cPR",), "R"),
    "two collectors, one step at a time": Store(CHAIN, (A, B, MORTAL, GC, DELETER), ("cPR",), "R", fine=True),
    "a push of several transactions, two collectors": Store(CHAIN, (LONG, MORTAL, GC), ("cP",)),
    "several transactions and one, two collectors": Store(CHAIN, (LONG, B, MORTAL, GC), ("cP",)),
    "several tops, two collectors": Store(FORK, (LONG, MORTAL, GC, DELETER), ("", "cP")),
    "two snapshots that share": Store(
        SHARED, (A, Pusher("B", root="S"), MORTAL, GC, Deleter("del", times=2)), ("cP", "cPS")
    ),
    "a layout replaced, two pushes": Store(
        LAID, (TO_P, Pusher("B", root="P", version=1), RELAY, MORTAL, GC, DELETER), ("clP",)
    ),
}

# Which story shows that a rule is necessary: without it something reachable is lost.
LOSES = {
    "look-up": Store(CHAIN, (A, GC), ("c", "cP")),
    "un-condemn children": Store(CHAIN, (A, GC), ("c", "cP")),
    "un-condemn root": Store(CHAIN, (A, GC), ("cPR",)),
    "root present": Store(CHAIN, (A, GC), ("cPR",)),
    "tell": Store(CHAIN, (A, GC), ("cPR",)),
    "register first": Store(CHAIN, (A, GC), ("cPR",)),
    "drain": Store(CHAIN, (A, GC), ("cPR",)),
    "add born": Store(CHAIN, (A, GC), ("c", "cPR")),
    "born beat marks": Store(LAID, (Pusher("A", root="P", version=1), GC, GC2, DELETER), ("clP",), "P"),
    "insert clears": Store(CHAIN, (A, GC, GC2), ("cPR",)),
    "gone passed over": Store(TWO, (UNDELETE, Rooter("pin", root="S"), GC, GC2, DELETER), ("RS",)),
    "parents first": Store(CHAIN, (A, GC), ("cPR",)),
    "re-read mark": Store(CHAIN, (A, GC), ("cPR",)),
    "children first": Store(CHAIN, (A, B, GC), ("cPR",)),
    "generation": Store(CHAIN, (A, GC, GC2), ("cPR",)),
    "generation noted first": Store(LAID, (TO_P, RELAY, GC, GC2), ("clP",), fine=True),
    "every set": Store(CHAIN, (A, GC, GC2), ("cPR",)),
    "take-over drains": Store(CHAIN, (A, MORTAL, GC), ("cPR",)),
    "tops pinned": Store(FORK, (LONG, GC)),
    "tops told": Store(FORK, (LONG, GC)),
    "all tops told": Store(CHAIN, (A, GC), ("cR",), "R", damaged="P"),
    "tops covered only": Store(FORK, (LONG, GC)),
    "pin until move": Store(FORK, (LONG, GC)),
    "reader pins": Store(CHAIN, (READER, GC, DELETER), ("cPR",), "R"),
    "new parts un-condemned": Store(LAID, (TO_P, RELAY, GC), ("cdlP",)),
    "new parts told": Store(LAID, (RELAY, GC), ("clP",), "P"),
    "sequence number": Store(LAID, (Replacer("relay", version=2), Replacer("purge", purges=True)), ("clP",), "P"),
    "voucher is current": Store(VOUCHED, (BY_VOUCHER, RELAY, GC), ("cdlP",), "P"),
}


@pytest.mark.parametrize("name", SAFE)
def test_safe(name: str) -> None:
    """Nothing reachable is ever missing, the index is closed, a pinned reader misses nothing."""
    result = outcome(SAFE[name])
    assert result.safe, result.show()


@pytest.mark.torture
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", LONG_FORMS)
def test_safe_long(name: str) -> None:
    """The same with more processes."""
    result = explore(LONG_FORMS[name], limit=30_000_000)
    assert result.safe, result.show()


def test_every_rule_is_shown_necessary() -> None:
    """A rule that nobody needs would not be here."""
    assert LOSES.keys() == RULES.keys()


@pytest.mark.parametrize("rule", LOSES)
def test_without_a_rule_something_is_lost(rule: str) -> None:
    """With all rules the story ends well; without this one it does not."""
    told = replace(LOSES[rule], losses=True)
    if LOSES[rule] not in LONG_FORMS.values():  # safe with all rules: told in the long form
        assert outcome(told).safe
    result = outcome(told.dropping(rule))
    assert result.problem is not None, f"nothing is lost without {rule!r} in {result.states} states"
    assert result.trace


def test_an_uncondemn_transaction_need_not_find_its_names() -> None:
    """The last transaction looks its root and children up anyway: the check only saves work."""
    result = outcome(SAFE["two collectors, one may die"].dropping("still present"))
    assert result.safe, result.show()


ENDING = {
    "a push, two collectors": Store(CHAIN, (A, MORTAL, GC, DELETER), ("cP",)),
    "two pushes": Store(CHAIN, (A, B, GC, DELETER), ("cP",)),
    "a push of several transactions": Store(CHAIN, (LONG, GC, DELETER), ("cP",)),
    "a layout replaced": Store(LAID, (TO_P, RELAY, GC, DELETER), ("clP",)),
}


@pytest.mark.parametrize("name", ENDING)
def test_everybody_can_finish_and_garbage_goes(name: str) -> None:
    """From every state each process can come to its end, and nothing but what is reachable is left.

    Collectors go on for ever; a deleter or replacer that has not begun may have nothing to do.
    """
    model = ENDING[name]
    result = explore(model, keep=("",))
    assert result.safe, result.show()

    def clean(state: State) -> bool:
        ended = all(
            proc[0] in (DONE[0], DEAD[0])
            or isinstance(who, Collector)
            or (proc == START and isinstance(who, Deleter | Replacer))
            for who, proc in zip(model.processes, state[4], strict=True)
        )
        return ended and only_live(model, state) and all(record[0] == NONE for record in state[3])

    stuck = result.stuck(clean)
    assert stuck is None, stuck


@pytest.mark.parametrize("name", ENDING)
def test_nobody_waits_for_anybody(name: str) -> None:
    """From every state, all others stopped where they are: a push ends, and a collector leaves what is reachable."""
    model = ENDING[name]
    alone = explore(model, keep=("A: ",))
    stuck = alone.stuck(lambda state: state[4][0] in (DONE, DEAD))
    assert stuck is None, stuck
    alone = explore(model, keep=("gc: ",))
    stuck = alone.stuck(lambda state: only_live(model, state))
    assert stuck is None, stuck


def only_live(model: Store, state: State) -> bool:
    """Whether nothing but what labels and pins need is left."""
    index, version, labels, _, procs = state
    pins = 0
    for proc in procs:
        pins |= proc[6]
    return index == model.tree.closure(labels | pins, version)
