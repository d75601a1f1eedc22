"""Truncation: what leaves the window loses its body and its protection, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jvs.castore.backend import Kind, ReadTxn, WriteTxn
from jvs.castore.digest import Digest
from jvs.castore.memory import MemoryStore
from jvs.errors import CollectedError, IntegrityError, LabelMovedError, StateError, UnknownError
from jvs.labels import ANYTHING, Entry, Labels, moves, truncation
from jvs.labels.moves import Note
from jvs.labels.records import MAX_LISTED, write_retention
from jvs.labels.replay import replay
from jvs.labels.retention import parse_policy
from jvs.labels.roots import roots
from jvs.labels.tables import (
    ALL_TABLES,
    ENTRIES,
    FLOORS,
    NEEDED,
    Head,
    entries_between,
    entry_bytes,
    entry_key,
    floor_of,
    head_of,
    number,
    pack_row,
)
from tests.labels.support import DAY_MS, Desk


def expire(desk: Desk) -> dict[str, int]:
    done: dict[str, int] = {}
    for step in desk.labels.expire(desk.clock.now_ms):
        done[step.what] = done.get(step.what, 0) + step.done
    return done


def desk_with(count: int, policy: str, *, contents: int = 3) -> Desk:
    """`main` with `count` entries, one a day."""
    desk = Desk()
    for number_ in range(count):
        desk.clock.now_ms += DAY_MS
        message = f"day {number_}"
        desk.labels.compare_and_set("main", ANYTHING, desk.snapshot(str(number_ % contents)), message=message)
    desk.labels.set_retention("main", [policy])
    return desk


def log(desk: Desk, name: str = "main") -> list[Entry]:
    return list(desk.labels.log(name))


def protected(desk: Desk) -> set[Digest]:
    with desk.store.read() as txn:
        return {root.ca_id for root in roots(txn, desk.clock.now_ms)}


def planned(desk: Desk) -> set[Digest]:
    with desk.store.read() as txn:
        return {root.ca_id for root in roots(txn, desk.clock.now_ms) if not root.leaving}


def same_after_replay(desk: Desk) -> None:
    again = MemoryStore()
    with again.write() as txn:
        list(replay(txn, desk.store.journal_records()))
    with again.read() as left, desk.store.read() as right:
        for table in ALL_TABLES:
            assert list(left.scan(table)) == list(right.scan(table))


def test_entries_that_left_lose_their_bodies_and_keep_their_ids() -> None:
    desk = desk_with(5, "keep-last 2")
    before = log(desk)
    assert expire(desk) == {"truncated": 3}
    after = log(desk)
    assert [(entry.id, entry.prev, entry.to) for entry in after[1:]] == [(e.id, e.prev, e.to) for e in before]
    assert [entry.dropped for entry in after] == [False, False, False, True, True, True]
    assert [entry.message for entry in after] == ["", "day 4", "day 3", "", "", ""]
    assert after[1:3] == before[:2]
    assert desk.labels.verify() == desk.labels.verify_chain("main") == 6
    same_after_replay(desk)


def test_the_checkpoint_names_the_newest_entry_removed_the_policy_and_the_actor() -> None:
    desk = desk_with(5, "keep-last 2 keep-weekly 2")
    before = log(desk)
    expire(desk)
    checkpoint = log(desk)[0]
    assert (checkpoint.op, checkpoint.generation, checkpoint.actor) == ("checkpoint", 6, "tester")
    assert checkpoint.from_ == checkpoint.to == before[0].to
    assert checkpoint.parents == (before[0].id,)
    newest = next(entry for entry in log(desk) if entry.dropped)
    assert checkpoint.meta == {
        "removed": {"generation": newest.generation, "id": newest.id.hex()},
        "policy": "keep-last 2 keep-weekly 2",
        "pattern": "main",
    }
    assert newest.generation == 3


def test_a_second_run_does_nothing() -> None:
    desk = desk_with(40, "keep-last 2 keep-daily 5 keep-monthly 2")
    kept = planned(desk)
    first = expire(desk)
    assert first["truncated"] > 30
    assert planned(desk) == protected(desk) == kept
    records = len(list(desk.store.journal_records()))
    assert expire(desk) == {}
    assert len(list(desk.store.journal_records())) == records
    desk.labels.compare_and_set("main", ANYTHING, desk.snapshot("x"))
    assert expire(desk).get("truncated", 0) <= 4


def test_keep_all_labels_are_left_alone() -> None:
    desk = desk_with(5, "keep-all")
    before = log(desk)
    desk.clock.now_ms += 10_000 * DAY_MS
    assert expire(desk) == {}
    assert log(desk) == before


def test_keep_last_0_keeps_nothing_but_the_head() -> None:
    desk = desk_with(3, "keep-last 0")
    head = log(desk)[0].to
    assert expire(desk) == {"truncated": 3}
    assert protected(desk) == planned(desk) == {head}
    assert expire(desk) == {}
    info = desk.labels.require("main")
    assert (info.ca_id, info.message) == (head, "")
    desk.labels.compare_and_set("main", ANYTHING, desk.snapshot("new"), message="new")
    assert planned(desk) == {desk.snapshot("new")}
    assert expire(desk) == {"truncated": 2}
    assert protected(desk) == {desk.snapshot("new")}


def test_a_checkpoint_is_no_move_of_anybodys() -> None:
    desk = desk_with(5, "keep-last 2")
    labels, before = desk.labels, log(desk)
    info, at_2 = labels.require("main"), labels.resolve("main@{1}")
    desk.clock.now_ms += DAY_MS
    expire(desk)
    shown = labels.require("main")
    assert (shown.message, shown.at_ms, shown.ca_id) == (info.message, info.at_ms, info.ca_id)
    assert shown.generation == info.generation + 1
    assert labels.resolve("main@{1}") == at_2
    assert labels.resolve("main@{0}").generation == 5
    assert [entry.generation for entry in labels.log("main", 2)] == [6, 5]
    assert labels.resolve("main@5").entry == before[0]
    # whoever saw the label before the checkpoint loses no race because of it
    for expect in (5, before[0].id, before[0].to):
        with desk.store.write() as txn:
            moves.compare(txn, Note(0), "main", _head(desk), expect)
    for stale in (4, before[1].id, 7):
        with pytest.raises(LabelMovedError), desk.store.write() as txn:
            moves.compare(txn, Note(0), "main", _head(desk), stale)
    moved = labels.compare_and_set("main", 5, desk.snapshot("x"), parents=[before[0].id])
    assert (moved.generation, moved.prev) == (7, shown.entry_id)
    with pytest.raises(LabelMovedError):
        labels.compare_and_set("main", 5, desk.snapshot("y"))
    with pytest.raises(LabelMovedError):
        labels.compare_and_set("main", 6, desk.snapshot("y"))
    assert labels.undo("main").to == before[0].to
    assert labels.merge_bases(moved.id, shown.entry_id) == [before[0].id]
    assert labels.is_ancestor(before[-1].id, moved.id)
    assert labels.verify() == 8


def _head(desk: Desk) -> Head | None:
    with desk.store.read() as txn:
        return head_of(txn, "main")


def test_undo_after_a_truncation_reverts_the_newest_move() -> None:
    desk = desk_with(3, "keep-last 2")
    expire(desk)
    assert desk.labels.undo("main").to == desk.snapshot("1")
    desk = desk_with(3, "keep-last 1")
    expire(desk)
    desk.store.delete(Kind.PAGE, [desk.snapshot("1")])
    with pytest.raises(CollectedError):
        desk.labels.undo("main")


def test_a_revision_past_the_window_is_collected_once_its_content_is() -> None:
    desk = desk_with(4, "keep-last 1", contents=4)
    old = log(desk)[2]
    when = f"main@{{@{old.at_ms // 1000}}}"
    expire(desk)
    texts = ("main@{2}", "main@2", when, old.id.hex(), old.id.hex()[:12])
    assert old.to is not None
    for text in texts:
        assert desk.labels.resolve(text).ca_id == old.to  # not swept yet: whoever reads it asks again
    desk.store.delete(Kind.PAGE, [old.to])
    for text in texts:
        with pytest.raises(CollectedError) as caught:
            desk.labels.resolve(text)
        assert caught.value.code == "collected"
        assert "main@2" in caught.value.message
        assert caught.value.next == "jvs fs log main"
    with pytest.raises(CollectedError):
        desk.labels.reset("main", old.id)
    with pytest.raises(CollectedError):
        desk.labels.reset("main", old.to)


def test_going_back_to_an_entry_that_left_makes_a_root_of_what_is_still_there() -> None:
    desk = desk_with(4, "keep-last 1", contents=4)
    old = log(desk)[2]
    expire(desk)
    assert old.to not in protected(desk)
    assert desk.labels.reset("main", old.id).to == old.to
    assert old.to in protected(desk)


def test_a_longer_policy_brings_nothing_back_and_keeps_what_is_there() -> None:
    desk = desk_with(6, "keep-last 2", contents=6)
    expire(desk)
    desk.labels.set_retention("main", ["keep-last 5"])
    assert len(planned(desk)) == 2
    for number_ in range(4):
        desk.labels.compare_and_set("main", ANYTHING, desk.snapshot(f"new{number_}"))
    kept = {desk.snapshot(name) for name in ("new3", "new2", "new1", "new0", "5")}
    assert planned(desk) == kept
    expire(desk)
    assert protected(desk) == kept


def test_a_policy_made_longer_between_two_transactions_is_obeyed_from_then_on() -> None:
    count = 3 * MAX_LISTED
    desk = desk_with(count, "keep-last 1")
    run = desk.labels.expire(desk.clock.now_ms)
    assert next(run).done == MAX_LISTED
    desk.labels.set_retention("main", ["keep-all"])
    assert list(run) == []
    dropped = [entry.generation for entry in log(desk) if entry.dropped]
    assert dropped == list(range(count - 1, count - 1 - MAX_LISTED, -1))
    assert desk.labels.verify() == count + 1
    same_after_replay(desk)


@pytest.mark.parametrize("what", ["delete", "rename", "replace"])
def test_a_label_that_is_no_longer_the_same_is_not_truncated_on(what: str) -> None:
    desk = desk_with(2 * MAX_LISTED, "keep-last 1")
    labels = desk.labels
    run = labels.expire(desk.clock.now_ms)
    next(run)
    if what == "delete":
        labels.delete("main")
    else:
        labels.rename("main", "elsewhere")  # where another policy holds
    if what == "replace":
        labels.compare_and_set("main", None, desk.snapshot("x"))
    assert list(run) == []
    if what == "delete":
        labels.undelete("main")
    name = "main" if what == "delete" else "elsewhere"
    assert sum(entry.dropped for entry in log(desk, name)) == MAX_LISTED
    labels.verify()


def test_no_transaction_is_large() -> None:
    desk = desk_with(3 * MAX_LISTED + 10, "keep-last 1")
    steps = list(desk.labels.expire(desk.clock.now_ms))
    assert [step.done for step in steps] == [MAX_LISTED, MAX_LISTED, MAX_LISTED, 9]
    assert {(step.what, step.label) for step in steps} == {("truncated", "main")}
    assert [entry.op for entry in log(desk)].count("checkpoint") == 1
    assert expire(desk) == {}


def test_an_interrupted_run_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truncation, "PAGE", 7)
    monkeypatch.setattr(truncation, "MAX_LISTED", 3)
    desk = desk_with(40, "keep-last 1 keep-monthly 2", contents=40)
    kept = planned(desk)
    for _interrupted in range(5):
        assert list(islice(desk.labels.expire(desk.clock.now_ms), 2))
        assert kept <= protected(desk)
        assert planned(desk) == kept
        desk.labels.verify()
    expire(desk)
    assert planned(desk) == protected(desk) == kept
    same_after_replay(desk)
    alive = [entry for entry in log(desk) if not entry.dropped]
    # the newest, the newest of another month, and one checkpoint: the others went with what came after them
    assert [entry.op for entry in alive] == ["checkpoint", "push", "push"]


def test_two_collectors_at_once_do_it_once() -> None:
    desk = desk_with(2 * MAX_LISTED, "keep-last 3")
    runs = [desk.labels.expire(desk.clock.now_ms) for _ in range(2)]
    done = 0
    while runs:
        for run in list(runs):
            step = next(run, None)
            if step is None:
                runs.remove(run)
            else:
                done += step.done
    dropped = [entry for entry in log(desk) if entry.dropped]
    assert sum(entry.op != "checkpoint" for entry in dropped) == 2 * MAX_LISTED - 3
    assert done == len(dropped)
    desk.labels.verify()
    same_after_replay(desk)


def test_nobody_looks_again_below_the_oldest_entry_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desk_with(1000, "keep-last 5")
    uid = desk.labels.require("main").uid
    expire(desk)
    with desk.store.read() as txn:
        assert floor_of(txn, uid) == 995
    looked: list[int] = []

    def counted(txn: ReadTxn, uid: bytes, first: int, last: int, *, reverse: bool) -> object:
        looked.append(last - first + 1)
        return entries_between(txn, uid, first, last, reverse=reverse)

    monkeypatch.setattr(truncation, "entries_between", counted)
    assert expire(desk) == {}
    assert sum(looked) < 10


def test_a_forgotten_label_keeps_what_others_descend_from_its_tags_and_its_tombstone() -> None:
    desk = Desk()
    labels, a = desk.labels, desk.snapshot("a")
    first = labels.compare_and_set("gone", None, a, message="m", tags=["kept"])
    labels.compare_and_set("gone", 1, desk.snapshot("b"))
    child = labels.compare_and_set("main", None, a, parents=[first.id])
    labels.delete("gone")
    desk.clock.now_ms += 15 * DAY_MS
    assert expire(desk) == {"forgotten": 1, "truncated": 2}
    assert expire(desk) == {}
    assert labels.tag("kept").message == "m"
    assert labels.is_ancestor(first.id, child.id)
    assert labels.require("main").upstream is None
    assert [info.name for info in labels.list()] == ["main"]
    labels.compare_and_set("gone/inside", None, a)  # the name no longer stands in the way
    labels.delete("gone/inside")
    assert labels.verify() == 6
    same_after_replay(desk)
    labels.delete_tag("kept")
    assert expire(desk) == {"truncated": 1}
    assert expire(desk) == {}
    assert labels.is_ancestor(first.id, child.id)
    assert labels.verify() == 6
    same_after_replay(desk)


def test_nothing_is_left_of_a_forgotten_label_that_nobody_needs_but_its_tombstone() -> None:
    desk = Desk()
    labels, count = desk.labels, 2 * MAX_LISTED + 9
    for number_ in range(count):
        labels.compare_and_set("gone", ANYTHING, desk.snapshot(str(number_ % 3)), tags=["t"])
    labels.delete_tag("t")
    labels.delete("gone")
    labels.set_retention("*", ["keep-deleted 0"])
    steps = [(step.what, step.done) for step in labels.expire(desk.clock.now_ms)]
    whole, rest = [("truncated", MAX_LISTED)] * 2, [("truncated", 10)]
    assert steps == [("forgotten", 1), *whole, *rest, *[("forgotten", 0)] * 3]
    with desk.store.read() as txn:
        left = {table.name for table in ALL_TABLES if txn.count(table)}
    assert left == {"names", "retention", "tags", "tagged"}
    assert labels.verify() == 0
    same_after_replay(desk)
    with pytest.raises(CollectedError):
        labels.undelete("gone")
    with pytest.raises(UnknownError):
        labels.resolve("gone@1")
    assert labels.compare_and_set("gone", None, desk.snapshot("x")).generation == count + 2


def test_nothing_may_descend_from_a_label_whose_entries_are_going() -> None:
    desk = Desk()
    labels, a = desk.labels, desk.snapshot("a")
    for _number in range(MAX_LISTED + 2):
        newest = labels.compare_and_set("gone", ANYTHING, a)
    labels.delete("gone")
    labels.set_retention("*", ["keep-deleted 0"])
    run = labels.expire(desk.clock.now_ms)
    while next(run) != ("forgotten", 0, None):
        pass
    assert labels.entry(newest.id).dropped  # the oldest went first
    assert labels.verify() == 3
    with desk.store.read() as txn:
        assert labels.kept_in(txn, [newest.id]) == ()
    with pytest.raises(UnknownError):
        labels.compare_and_set("main", None, a, parents=[newest.id])
    same_after_replay(desk)
    expire(desk)
    assert labels.verify() == 0
    same_after_replay(desk)


def test_a_window_made_longer_just_before_a_label_is_forgotten_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.labels.compare_and_set("gone", None, desk.snapshot("a"))
    desk.labels.delete("gone")
    desk.labels.set_retention("*", ["keep-deleted 0"])
    real, said = desk.store.transact, [False]

    def transact(work: Callable[[WriteTxn], object]) -> object:
        if not said[0]:
            said[0] = True
            desk.labels.set_retention("*", ["keep-deleted 1d"])
        return real(work)

    monkeypatch.setattr(desk.store, "transact", transact)
    assert expire(desk) == {}
    assert said == [True]
    assert desk.labels.undelete("gone").to == desk.snapshot("a")


def test_what_comes_to_descend_from_a_forgotten_label_keeps_it() -> None:
    desk = Desk()
    labels, a = desk.labels, desk.snapshot("a")
    first = labels.compare_and_set("gone", None, a)
    labels.delete("gone")
    labels.set_retention("*", ["keep-deleted 0"])
    run = labels.expire(desk.clock.now_ms)
    assert next(run).what == "forgotten"
    child = labels.compare_and_set("main", None, a, parents=[first.id])
    assert [step.what for step in run] == ["truncated"]
    assert labels.is_ancestor(first.id, child.id)
    assert labels.verify() == 3
    with desk.store.write() as txn:
        txn.delete(NEEDED, first.uid)
    with pytest.raises(IntegrityError):
        labels.verify()


def test_a_body_below_the_floor_is_damage() -> None:
    desk = desk_with(5, "keep-last 1")
    first = log(desk)[-1]
    with desk.store.read() as txn:
        whole = entry_bytes(txn, first.uid, 1)
    assert whole is not None
    expire(desk)
    desk.labels.verify()
    with desk.store.write() as writing:
        writing.put(ENTRIES, entry_key(first.uid, 1), pack_row(whole))
    with pytest.raises(IntegrityError):
        desk.labels.verify()
    with desk.store.write() as writing:
        writing.put(FLOORS, first.uid, number(0))
    desk.labels.verify()


@pytest.mark.parametrize(
    "removed",
    [
        {"generation": 1, "id": "00" * 32},
        {"generation": 9, "id": "00" * 32},
        {"generation": 1, "id": "x"},
        {"generation": 2},
        {"generation": -1, "id": "00"},
    ],
)
def test_a_checkpoint_of_an_entry_that_is_not_there_is_damage(removed: dict[str, object]) -> None:
    desk = desk_with(2, "keep-all")
    with desk.store.write() as txn:
        moves.checkpoint(txn, Note(desk.clock.now_ms, meta={"removed": removed}), "main")
    with pytest.raises(IntegrityError):
        desk.labels.verify()


POLICIES = ["keep-all", "keep-last 0", "keep-last 1", "keep-last 3", "keep-within 3d", "keep-daily 2 keep-weekly 2"]
POLICIES += ["keep-last 1 keep-deleted 0", "keep-deleted 1d"]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("tag"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("branch"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("merge"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("untag"), st.just(""), st.just(0)),
        st.tuples(st.just("delete"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("undelete"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("undo"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("policy"), st.sampled_from("abc*"), st.sampled_from(range(len(POLICIES)))),
        st.tuples(st.just("time"), st.just(""), st.integers(0, 20)),
        st.tuples(st.just("expire"), st.just(""), st.integers(1, 4)),
    ),
    max_size=40,
)


def act(desk: Desk, what: str, name: str, value: int) -> None:
    labels = desk.labels
    try:
        if what in ("move", "tag"):
            tags = ["t"] if what == "tag" else []
            labels.compare_and_set(name, ANYTHING, desk.snapshot(str(value)), tags=tags, message="m")
        elif what in ("branch", "merge"):
            other = "abc"[("abc".index(name) + 1) % 3]
            parents = [labels.require(label).entry_id for label in ((other,) if what == "branch" else (name, other))]
            expect, op = (None, "push") if what == "branch" else (ANYTHING, "merge")
            labels.compare_and_set(name, expect, desk.snapshot(str(value)), parents=parents, op=op)
        elif what == "untag":
            labels.delete_tag("t")
        elif what in ("delete", "undelete", "undo"):
            getattr(labels, what)(name)
        elif what == "policy":
            labels.set_retention(name, [POLICIES[value]])
        elif what == "time":
            desk.clock.now_ms += value * DAY_MS // 4
        else:
            list(islice(labels.expire(desk.clock.now_ms), value))
    except (UnknownError, StateError):  # there is nothing to do that to
        pass


@given(steps, st.sampled_from([2, 5]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_histories(steps: list[tuple[str, str, int]], page: int) -> None:
    """Whatever happens: everything verifies, a plan says what a run leaves, and what was collected is never a root."""
    desk = Desk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truncation, "PAGE", page)
        patch.setattr(truncation, "MAX_LISTED", 2)
        for what, name, value in steps:
            gone = {desk.snapshot(str(n)) for n in range(10)} - protected(desk)
            act(desk, what, name, value)
            desk.labels.verify()
            if what in ("policy", "time", "untag", "delete", "expire"):
                # nothing but an act that names a snapshot, or comes back to one, makes a root
                assert not gone & protected(desk)
        plan = planned(desk)
        expire(desk)
        assert planned(desk) == protected(desk) == plan
        assert expire(desk) == {}
    assert {info.ca_id for info in desk.labels.list()} <= plan
    same_after_replay(desk)


def test_a_policy_of_a_newer_version_stops_the_run_before_it_does_anything() -> None:
    desk = desk_with(3, "keep-last 1")
    strange = parse_policy(["keep-last 1"]).encode().replace(b"last", b"lust")
    with desk.store.write() as txn:
        write_retention(txn, "x*", strange, 0, "")
    with pytest.raises(IntegrityError):
        expire(desk)
    assert not [entry for entry in log(desk) if entry.dropped]
    assert Labels(desk.store).get("main") is not None
