"""Positions: what worktrees stand at is never taken from under them, whatever the retention window says."""

from __future__ import annotations

import pytest

from jvs.castore.digest import Digest, page_digest
from jvs.errors import UsageError
from jvs.labels.model import Entry
from jvs.labels.positions import Position
from jvs.labels.roots import roots
from jvs.labels.tables import MAX_SPANS, Span
from tests.labels.support import DAY_MS, Desk

MARK = "00ff"


def moved(desk: Desk, times: int, label: str = "main", **options: object) -> list[Entry]:
    """A label that was moved so often, to `label1`, `label2` ..."""
    made = []
    for number in range(1, times + 1):
        desk.clock.now_ms += 1000
        made.append(desk.labels.force(label, desk.snapshot(f"{label}{number}"), **options))  # type: ignore[arg-type]
    return made


def expire(desk: Desk) -> None:
    """Let time do all it can."""
    list(desk.labels.expire(desk.clock.now_ms))


def kept(desk: Desk, label: str = "main") -> list[int]:
    """The generations of a label that still have their bodies, oldest first, without the collector's own entries."""
    entries = desk.labels.log(label, newest_first=False)
    return [entry.generation for entry in entries if not entry.dropped and entry.op != "checkpoint"]


def protected(desk: Desk) -> set[Digest]:
    with desk.store.read() as txn:
        return {root.ca_id for root in roots(txn, desk.clock.now_ms) if not root.leaving}


def test_a_position_keeps_its_entry() -> None:
    desk = Desk()
    entries = moved(desk, 6)
    desk.labels.set_retention("*", ["keep-last 1"])
    assert desk.labels.stand(MARK, [desk.snapshot("main2")], [Span(entries[1].uid, 2, 2)])
    assert protected(desk) == {desk.snapshot("main2"), desk.snapshot("main6")}
    expire(desk)
    assert kept(desk) == [2, 6]
    assert protected(desk) == {desk.snapshot("main2"), desk.snapshot("main6")}
    desk.labels.verify()
    assert desk.labels.leave([MARK]) == 1
    assert desk.labels.leave([MARK]) == 0
    expire(desk)
    assert kept(desk) == [6]


def test_gc_keeps_what_is_newer_than_a_detached_position() -> None:
    desk = Desk()
    entries = moved(desk, 6)
    desk.labels.stand(MARK, [desk.snapshot("main3")], [Span(entries[2].uid, 3, None)])
    desk.labels.set_retention("*", ["keep-last 0"])
    moved(desk, 1)
    expire(desk)
    assert kept(desk) == [3, 4, 5, 6, 7]
    assert {desk.snapshot(f"main{number}") for number in range(3, 7)} <= protected(desk)
    assert desk.snapshot("main2") not in protected(desk)


def test_checkpoints_above_a_detached_position_take_one_another_s_place() -> None:
    desk = Desk()
    entries = moved(desk, 4)
    desk.labels.stand(MARK, [desk.snapshot("main4")], [Span(entries[0].uid, 4, None)])
    desk.labels.set_retention("*", ["keep-last 0"])
    for first in (3, 2):
        desk.labels.stand("01", [], [Span(entries[0].uid, first, 3)])
        expire(desk)
    desk.labels.leave(["01"])
    expire(desk)
    assert kept(desk) == [4]
    there = [entry for entry in desk.labels.log("main") if entry.op == "checkpoint" and not entry.dropped]
    assert len(there) == 1


def test_a_position_that_is_taken_during_the_truncation_counts() -> None:
    """The walk had decided already that these entries go."""
    desk = Desk()
    entries = moved(desk, 5)
    desk.labels.set_retention("*", ["keep-last 1"])
    transact = desk.store.transact
    stood = False

    def standing_first(work):  # type: ignore[no-untyped-def]
        nonlocal stood
        if not stood:
            stood = True
            desk.labels.stand(MARK, [desk.snapshot("main2")], [Span(entries[0].uid, 2, None)])
        return transact(work)

    desk.store.transact = standing_first  # type: ignore[method-assign]
    expire(desk)
    assert stood
    assert kept(desk) == [2, 3, 4, 5]


def test_who_saves_a_worktree_stands_there() -> None:
    desk = Desk()
    first = desk.labels.compare_and_set("main", None, desk.snapshot("a"), meta={"in": MARK})
    assert desk.labels.positions() == [Position(MARK, (desk.snapshot("a"),), (Span(first.uid, 1, 1),))]
    assert not desk.labels.stand(MARK, [desk.snapshot("a")], [Span(first.uid, 1, 1)]), "that is known"
    moved(desk, 3)  # by somebody else
    desk.labels.set_retention("*", ["keep-last 1"])
    expire(desk)
    assert kept(desk) == [1, 4]
    desk.labels.compare_and_set("main", desk.labels.require("main").generation, desk.snapshot("b"), meta={"in": MARK})
    expire(desk)
    assert kept(desk) == [6]


@pytest.mark.parametrize("mark", ["", "0" * 65, "x", "0/1", "AB", 7, None])
def test_what_is_no_mark_stands_nowhere(mark: object) -> None:
    desk = Desk()
    desk.labels.compare_and_set("main", None, desk.snapshot("a"), meta={"in": mark})
    assert desk.labels.positions() == []
    if isinstance(mark, str):
        with pytest.raises(UsageError):
            desk.labels.stand(mark, [], [])


def test_an_autosave_moves_no_worktree() -> None:
    desk = Desk()
    desk.labels.compare_and_set("main", None, desk.snapshot("a"), meta={"in": MARK})
    before = desk.labels.positions()
    desk.labels.compare_and_set("autosave/main", None, desk.snapshot("b"), op="autosave", meta={"in": MARK})
    assert desk.labels.positions() == before


def test_a_snapshot_that_is_gone_is_kept_no_more() -> None:
    """A root that is not there would stop every collection."""
    desk = Desk()
    assert desk.labels.stand(MARK, [page_digest(b"nowhere"), desk.snapshot("a")], [])
    assert [position.snapshots for position in desk.labels.positions()] == [(desk.snapshot("a"),)]


def test_a_deleted_label_in_which_a_worktree_stands_can_come_back() -> None:
    desk = Desk()
    entries = moved(desk, 3)
    desk.labels.set_retention("*", ["keep-all", "keep-deleted 0"])
    desk.labels.stand(MARK, [desk.snapshot("main1")], [Span(entries[0].uid, 1, None)])
    desk.labels.delete("main")
    desk.clock.now_ms += 100 * DAY_MS
    expire(desk)
    assert protected(desk) == {desk.snapshot(f"main{number}") for number in (1, 2, 3)}
    desk.labels.undelete("main")
    assert kept(desk) == [1, 2, 3, 4, 5]
    desk.labels.delete("main")
    desk.labels.leave([MARK])
    expire(desk)
    assert protected(desk) == set()
    desk.labels.verify()


def test_positions_that_cannot_be() -> None:
    desk = Desk()
    uid = moved(desk, 1)[0].uid
    for snapshots, spans in (
        ([b"short"], []),
        ([], [Span(b"short", 1, None)]),
        ([], [Span(uid, 0, None)]),
        ([], [Span(uid, number, number) for number in range(1, MAX_SPANS + 2)]),
    ):
        with pytest.raises(UsageError):
            desk.labels.stand(MARK, snapshots, spans)
    assert desk.labels.positions() == []
