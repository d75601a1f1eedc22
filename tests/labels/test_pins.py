"""Pins that people make, beyond what every label store promises (`conformance`)."""

from __future__ import annotations

import pytest

from jvs.castore.digest import page_digest
from jvs.errors import CollectedError, JvsError, UnknownError, UsageError
from jvs.labels.model import MAX_ACTOR, MAX_MESSAGE
from jvs.labels.moves import Note
from jvs.labels.pins import pin, unpin
from jvs.labels.records import MAX_LISTED
from jvs.labels.store import Labels
from tests.labels.support import Desk


def records(desk: Desk) -> int:
    return len(list(desk.store.journal_records()))


def test_a_pin_says_who_when_and_why() -> None:
    desk = Desk()
    a, now = desk.snapshot("a"), desk.clock.now_ms
    made = desk.labels.pin(a, now + 5, message="a paper cites it")
    assert made[1:] == (a, now, now + 5, "tester", "a paper cites it")
    assert desk.labels.pins() == [made]
    assert [made.protects(at) for at in (now, now + 4, now + 5)] == [True, True, False]
    record = list(desk.store.journal_records())[-1]
    assert (record.op, record.skeleton["ca_id"], record.body) == (
        "pin",
        a,
        {"actor": "tester", "message": "a paper cites it"},
    )


def test_a_directory_inside_a_snapshot_can_be_pinned() -> None:
    """A pin takes any page; labels never look inside, so a page that is no label's is the same thing."""
    desk = Desk()
    inner = desk.snapshot("inner")
    assert desk.labels.pin(inner).ca_id == inner


def test_a_pin_that_is_refused_leaves_nothing() -> None:
    desk = Desk()
    a, now = desk.snapshot("a"), desk.clock.now_ms
    attempts = [
        (CollectedError, "collected", page_digest(b"gone"), None, "", "x"),
        (UsageError, "bad-id", b"short", None, "", "x"),
        (UsageError, "usage", a, now, "", "x"),
        (UsageError, "usage", a, 0, "", "x"),
        (UsageError, "usage", a, 1 << 63, "", "x"),
        (UsageError, "bad-message", a, None, "m" * (MAX_MESSAGE + 1), "x"),
        (UsageError, "bad-message", a, None, "\udc80", "x"),
        (UsageError, "usage", a, None, "", "w" * (MAX_ACTOR + 1)),
    ]
    for error, code, target, until, message, actor in attempts:
        with pytest.raises(JvsError) as caught, desk.store.write() as txn:
            pin(txn, Note(now, actor, message), target, until)
        assert isinstance(caught.value, error)
        assert caught.value.code == code
    assert desk.labels.pins() == []
    assert records(desk) == 0


def test_unpinning_takes_one_pin_or_all_of_a_snapshot() -> None:
    desk = Desk()
    labels, a, b = desk.labels, desk.snapshot("a"), desk.snapshot("b")
    first, second, third = labels.pin(a), labels.pin(a), labels.pin(b)
    assert first.id != second.id
    assert labels.unpin(first.id) == [first]
    assert labels.unpin(b) == [third]
    for target in (first.id, b):
        with pytest.raises(UnknownError) as caught:
            labels.unpin(target)
        assert caught.value.code == "unknown-pin"
    with pytest.raises(UsageError):
        labels.unpin(b"x" * 31)
    assert labels.pins() == [second]


def test_very_many_pins_of_one_snapshot_are_removed_at_once() -> None:
    desk = Desk()
    a, count = desk.snapshot("a"), 2 * MAX_LISTED + 1
    with desk.store.write() as txn:
        for _number in range(count):
            pin(txn, Note(0), a)
    with desk.store.write() as txn:
        assert len(unpin(txn, Note(0), a)) == count
    assert desk.labels.pins() == []
    assert [record.op for record in desk.store.journal_records()].count("unpin") == 3


def test_pins_are_listed_oldest_first() -> None:
    desk = Desk()
    a = desk.snapshot("a")
    made = []
    for _day in range(20):
        desk.clock.now_ms += 1
        made.append(desk.labels.pin(a))
    assert Labels(desk.store).pins() == made
