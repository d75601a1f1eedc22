"""The conformance kit: what every label store must do, as one pytest class.

Subclass `LabelStoreContract`, provide a fixture `bench` that yields a `Bench` around an empty store, and run pytest.
Each test checks one obligation of `LabelStore`. Needs nothing beyond pytest; not imported by anything at run time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from jvs.castore.digest import Digest, page_digest
from jvs.errors import CollectedError, JvsError, LabelMovedError, LeaseError, StateError, UnknownError, UsageError
from jvs.labels.durations import UNITS
from jvs.labels.model import ANYTHING, MAX_MESSAGE, Entry, Expect
from jvs.labels.protocol import LabelStore

DAY_MS = UNITS["d"]


class SettableClock:
    """A clock that stands still until told otherwise."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        """Unix time in ms."""
        return self.now_ms


class Bench(NamedTuple):
    """What the contract is checked with.

    labels   the store under test, which must use `clock`
    snapshot makes a snapshot of that name present in the store; its CA id
    clock    what the store takes for the time
    """

    labels: LabelStore
    snapshot: Callable[[str], Digest]
    clock: SettableClock


def _caught(error: type[JvsError], code: str, call: Callable[..., object], *args: Any, **kwargs: Any) -> JvsError:
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def _log(labels: LabelStore, name: str) -> Sequence[Entry]:
    return list(labels.log(name, newest_first=False))


class LabelStoreContract:
    """Every promise of `LabelStore`."""

    def test_a_created_label_can_be_read_back(self, bench: Bench) -> None:
        snapshot = bench.snapshot("a")
        entry = bench.labels.compare_and_set("main", None, snapshot, message="first", tags=["v1"], meta={"k": [1]})
        assert entry == bench.labels.entry(entry.id)
        assert (entry.label, entry.generation, entry.op, entry.from_, entry.to) == ("main", 1, "create", None, snapshot)
        assert (entry.message, entry.tags, entry.meta) == ("first", ("v1",), {"k": [1]})
        assert (entry.prev, entry.parents, entry.depth, entry.dropped) == (None, (), 1, False)
        info = bench.labels.get("main")
        assert info is not None
        assert (info.name, info.uid, info.ca_id, info.generation) == ("main", entry.uid, snapshot, 1)
        assert (info.entry_id, info.at_ms, info.message, info.upstream) == (entry.id, entry.at_ms, "first", None)

    def test_an_absent_label_is_none(self, bench: Bench) -> None:
        assert bench.labels.get("main") is None
        assert list(bench.labels.list()) == []

    @pytest.mark.parametrize("met", ["generation", "entry", "content", "anything"])
    def test_a_met_expectation_moves(self, bench: Bench, met: str) -> None:
        labels, new = bench.labels, bench.snapshot("b")
        first = labels.compare_and_set("main", 0, bench.snapshot("a"))
        expects: dict[str, Expect] = {
            "generation": 1,
            "entry": first.id,
            "content": bench.snapshot("a"),
            "anything": ANYTHING,
        }
        second = labels.compare_and_set("main", expects[met], new)
        assert (second.op, second.generation, second.from_, second.to) == ("push", 2, first.to, new)
        assert (second.prev, second.parents, second.depth) == (first.id, (first.id,), 2)
        assert _log(labels, "main") == [first, second]

    def test_a_failed_expectation_tells_the_head_and_changes_nothing(self, bench: Bench) -> None:
        labels, new = bench.labels, bench.snapshot("c")
        labels.compare_and_set("main", None, bench.snapshot("a"))
        head = labels.compare_and_set("main", 1, bench.snapshot("b"))
        for expect in (None, 0, 1, 3, bench.snapshot("a"), page_digest(b"some entry")):
            error = _caught(LabelMovedError, "label-moved", labels.compare_and_set, "main", expect, new)
            assert error.details["label"] == "main"
            assert error.details["current"] == bench.snapshot("b").hex()
            assert error.details["current_generation"] == 2
            assert error.details["expected"] == (expect.hex() if isinstance(expect, bytes) else expect)
        assert [entry.id for entry in _log(labels, "main")][-1] == head.id

    def test_expecting_something_of_an_absent_label_is_a_lost_race(self, bench: Bench) -> None:
        new = bench.snapshot("a")
        for expect in (1, new):
            error = _caught(LabelMovedError, "label-moved", bench.labels.compare_and_set, "main", expect, new)
            assert (error.details["current"], error.details["current_generation"]) == (None, None)
        assert bench.labels.get("main") is None

    def test_a_b_a_is_caught_by_generation_and_entry_but_not_by_content(self, bench: Bench) -> None:
        labels, a, b = bench.labels, bench.snapshot("a"), bench.snapshot("b")
        seen = labels.compare_and_set("main", None, a)
        labels.compare_and_set("main", 1, b)
        labels.compare_and_set("main", 2, a)
        _caught(LabelMovedError, "label-moved", labels.compare_and_set, "main", seen.generation, b)
        _caught(LabelMovedError, "label-moved", labels.compare_and_set, "main", seen.id, b)
        assert labels.compare_and_set("main", a, b).generation == 4

    def test_a_snapshot_that_is_not_there_never_becomes_a_head(self, bench: Bench) -> None:
        labels, absent = bench.labels, page_digest(b"never published")
        labels.compare_and_set("main", None, bench.snapshot("a"))
        _caught(CollectedError, "collected", labels.compare_and_set, "main", 1, absent)
        _caught(CollectedError, "collected", labels.compare_and_set, "new", None, absent)
        _caught(CollectedError, "collected", labels.force, "main", absent)
        _caught(CollectedError, "collected", labels.record_detached, absent)
        assert [entry.generation for entry in labels.log("main")] == [1]
        assert labels.get("new") is None

    def test_times_rise_along_a_label_where_the_clock_goes_back(self, bench: Bench) -> None:
        labels, clock = bench.labels, bench.clock
        start = clock.now_ms
        for name, now_ms in (("a", start), ("b", start - 10_000), ("c", start + 5), ("d", 0)):
            clock.now_ms = now_ms
            labels.compare_and_set("main", ANYTHING, bench.snapshot(name))
        assert [entry.at_ms for entry in _log(labels, "main")] == [start, start + 1, start + 5, start + 6]

    def test_force_is_recorded_as_force(self, bench: Bench) -> None:
        labels = bench.labels
        labels.compare_and_set("main", None, bench.snapshot("a"))
        entry = labels.force("main", bench.snapshot("b"), message="I know")
        assert (entry.op, entry.parents, entry.depth) == ("force", (), 1)
        assert labels.force("new", bench.snapshot("b")).op == "create"

    @pytest.mark.parametrize("op", ["push", "create", "repoint", "merge"])
    def test_the_op_says_whether_the_label_was_new(self, bench: Bench, op: str) -> None:
        labels = bench.labels
        first = labels.compare_and_set("main", None, bench.snapshot("a"), op=op)
        second = labels.compare_and_set("main", 1, bench.snapshot("b"), op=op)
        assert first.op == ("merge" if op == "merge" else "create")
        assert second.op == ("repoint" if op == "create" else op)

    def test_reset_stays_in_the_reflog_unless_allowed(self, bench: Bench) -> None:
        labels, a, b, c = bench.labels, bench.snapshot("a"), bench.snapshot("b"), bench.snapshot("c")
        first = labels.compare_and_set("main", None, a)
        labels.compare_and_set("main", 1, b)
        other = labels.compare_and_set("other", None, c)
        back = labels.reset("main", a)
        assert (back.op, back.to, back.parents, back.depth) == ("reset", a, (first.id,), 2)
        assert labels.reset("main", first.id).parents == (first.id,)
        _caught(StateError, "not-in-reflog", labels.reset, "main", c)
        _caught(StateError, "not-in-reflog", labels.reset, "main", other.id)
        assert labels.reset("main", other.id, allow_unlogged=True).parents == (other.id,)
        assert labels.reset("main", c).to == c  # now it is in the reflog
        bare = bench.snapshot("d")
        assert labels.reset("main", bare, allow_unlogged=True).parents == ()
        _caught(LabelMovedError, "label-moved", labels.reset, "main", a, expect=1)
        _caught(UnknownError, "unknown-label", labels.reset, "mian", a)

    def test_a_deleted_label_comes_back_with_its_reflog(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        first = labels.compare_and_set("main", None, a)
        gone = labels.delete("main", message="bye")
        assert (gone.op, gone.generation, gone.from_, gone.to) == ("delete", 2, a, None)
        assert labels.get("main") is None
        _caught(UnknownError, "unknown-label", labels.delete, "main")
        _caught(UnknownError, "unknown-label", labels.log, "main")
        back = labels.undelete("main")
        assert (back.op, back.generation, back.from_, back.to) == ("undelete", 3, None, a)
        assert (back.uid, back.prev, back.parents) == (first.uid, gone.id, (first.id,))
        assert _log(labels, "main") == [first, gone, back]

    def test_generations_of_a_name_never_repeat(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        labels.compare_and_set("main", None, a)
        labels.delete("main")
        second = labels.compare_and_set("main", None, a)
        assert (second.generation, second.prev) == (3, None)
        assert labels.delete("main").generation == 4
        back = labels.undelete("main")
        assert (back.uid, back.generation) == (second.uid, 5)
        labels.rename("main", "old")
        first = labels.undelete("main")
        assert first.uid != second.uid
        assert first.generation == 6

    def test_undelete_never_replaces_a_label(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        labels.compare_and_set("main", None, a)
        _caught(StateError, "already-exists", labels.undelete, "main")
        labels.delete("main")
        labels.compare_and_set("main", None, a)
        _caught(StateError, "already-exists", labels.undelete, "main")
        _caught(UnknownError, "unknown-label", labels.undelete, "never")

    def test_rename_takes_the_reflog_along(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        first = labels.compare_and_set("old", None, a)
        labels.compare_and_set("taken", None, a)
        _caught(StateError, "already-exists", labels.rename, "old", "taken")
        _caught(StateError, "already-exists", labels.rename, "old", "old")
        entry = labels.rename("old", "new")
        assert (entry.op, entry.label, entry.uid, entry.prev) == ("rename", "new", first.uid, first.id)
        assert (entry.from_, entry.to, entry.generation) == (a, a, 2)
        assert labels.get("old") is None
        assert [found.label for found in labels.log("new")] == ["new", "new"]
        assert labels.compare_and_set("old", None, a).generation == 2  # goes on from the tombstone
        for generation in range(2, 6):
            labels.compare_and_set("old", generation, a)
        labels.rename("old", "older")
        assert labels.rename("new", "old").generation == 7

    def test_no_label_is_a_path_prefix_of_another(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        labels.compare_and_set("agent/1", None, a)
        for name in ("agent", "agent/1/x"):
            _caught(UsageError, "bad-label-name", labels.compare_and_set, name, None, a)
        labels.delete("agent/1")  # a deleted label may come back, so it still counts
        for name in ("agent", "agent/1/x"):
            _caught(UsageError, "bad-label-name", labels.compare_and_set, name, None, a)
        labels.undelete("agent/1")
        labels.compare_and_set("agent/10", None, a)
        labels.compare_and_set("agent-1/x", None, a)
        assert labels.rename("agent/1", "agent/1/x").label == "agent/1/x"  # its own name is no obstacle
        assert [info.name for info in labels.list()] == ["agent-1/x", "agent/1/x", "agent/10"]
        assert labels.rename("agent/1/x", "agent/1").label == "agent/1"

    def test_undo_reverts_each_kind_of_move_and_itself(self, bench: Bench) -> None:
        labels, a, b = bench.labels, bench.snapshot("a"), bench.snapshot("b")
        labels.compare_and_set("main", None, a)
        assert labels.undo("main").op == "delete"  # of a create
        assert labels.undo("main").op == "undelete"
        assert labels.undo("main").op == "delete"  # of an undelete
        labels.undo("main")
        before = labels.compare_and_set("main", a, b)
        undone = labels.undo("main")
        assert (undone.op, undone.from_, undone.to) == ("reset", b, a)
        redone = labels.undo("main")
        assert (redone.from_, redone.to, redone.prev) == (a, b, undone.id)
        labels.reset("main", a)
        assert labels.undo("main").to == b
        labels.rename("main", "trunk")
        assert labels.undo("trunk").label == "main"
        assert labels.undo("main").label == "trunk"
        labels.delete("trunk")
        assert labels.undo("trunk").to == b
        assert before.id in {entry.id for entry in labels.log("trunk")}
        _caught(UnknownError, "unknown-label", labels.undo, "never")
        _caught(LabelMovedError, "label-moved", labels.undo, "trunk", expect=1)

    def test_autosaves_have_labels_of_their_own(self, bench: Bench) -> None:
        labels, a, b = bench.labels, bench.snapshot("a"), bench.snapshot("b")
        base = labels.compare_and_set("main", None, a)
        entry = labels.autosave("main", b, parents=[base.id])
        assert (entry.label, entry.op, entry.parents) == ("autosave/main", "autosave", (base.id,))
        assert labels.autosave("main", a, parents=[base.id]).generation == 2
        info = labels.get("main")
        assert info is not None
        assert info.generation == 1
        for name in ("autosave", "autosave/main", "autosave/x"):
            _caught(UsageError, "bad-label-name", labels.compare_and_set, name, ANYTHING, a)
        _caught(UsageError, "usage", labels.compare_and_set, "main", ANYTHING, b, op="autosave")

    def test_the_upstream_is_the_label_created_from_or_merged_with(self, bench: Bench) -> None:
        labels, a, b = bench.labels, bench.snapshot("a"), bench.snapshot("b")
        main = labels.compare_and_set("main", None, a)
        work = labels.compare_and_set("work", None, a, parents=[main.id])
        side = labels.compare_and_set("side", None, a, parents=[work.id])
        merged = labels.compare_and_set("work", 1, b, op="merge", parents=[work.id, side.id])
        assert (merged.op, merged.depth) == ("merge", 4)
        upstreams = {info.name: info.upstream for info in labels.list()}
        assert upstreams == {"main": None, "work": "side", "side": "work"}
        labels.compare_and_set("main", 1, b, op="merge", parents=[main.id, side.id, merged.id])
        assert {info.name: info.upstream for info in labels.list()}["main"] == "work"
        labels.reset("main", main.id)  # no merge: the upstream stays
        assert {info.name: info.upstream for info in labels.list()}["main"] == "work"
        labels.delete("main")
        labels.rename("work", "job")
        labels.delete("side")
        assert {info.name: info.upstream for info in labels.list()} == {"job": None}

    def test_parents_must_be_entries_with_content(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        first = labels.compare_and_set("main", None, a)
        gone = labels.delete("main")
        for parent in (gone.id, a, page_digest(b"no entry")):
            _caught(UnknownError, "unknown-revision", labels.compare_and_set, "x", None, a, parents=[parent])
        _caught(UsageError, "usage", labels.compare_and_set, "x", None, a, parents=[first.id, first.id])

    def test_the_log_streams_the_newest_in_either_order(self, bench: Bench) -> None:
        labels, snapshots = bench.labels, [bench.snapshot("a"), bench.snapshot("b")]
        for generation in range(600):
            labels.compare_and_set("main", generation, snapshots[generation % 2])
        assert [entry.generation for entry in labels.log("main")] == list(range(600, 0, -1))
        assert [entry.generation for entry in labels.log("main", newest_first=False)] == list(range(1, 601))
        assert [entry.generation for entry in labels.log("main", 3)] == [600, 599, 598]
        assert [entry.generation for entry in labels.log("main", 3, newest_first=False)] == [598, 599, 600]
        assert [entry.generation for entry in labels.log("main", 599, newest_first=False)][:2] == [2, 3]
        assert list(labels.log("main", 0)) == []
        assert len(list(labels.log("main", 10_000))) == 600
        stream = labels.log("main", newest_first=False)
        next(stream)
        labels.compare_and_set("main", 600, snapshots[0])
        assert sum(1 for _ in stream) == 599  # what is added meanwhile is not seen

    def test_lists_are_ordered_and_cut(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        names = ["a/b", "a/c", "a-d", "b", "z", "\u00e9", "\U00020000"]
        for name in names:
            labels.compare_and_set(name, None, a)
        everything = [info.name for info in labels.list()]
        assert everything == sorted(names, key=str.encode)
        assert [info.name for info in labels.list("a/")] == ["a/b", "a/c"]
        assert [info.name for info in labels.list("\u00e9")] == ["\u00e9"]
        assert [info.name for info in labels.list(after="b", limit=2)] == ["z", "\u00e9"]
        assert [info.name for info in labels.list("a/", after="a/b")] == ["a/c"]
        assert [info.name for info in labels.list("a/", after="zzz")] == []
        assert list(labels.list(limit=0)) == []

    def test_a_tag_is_the_newest_entry_that_has_it_until_deleted(self, bench: Bench) -> None:
        labels, a, b = bench.labels, bench.snapshot("a"), bench.snapshot("b")
        labels.compare_and_set("main", None, a, tags=["v1", "best", "v1"])
        newer = labels.compare_and_set("other", None, b, tags=["best"])
        assert labels.tag("v1").to == a
        assert labels.tag("best").id == newer.id
        assert list(labels.tags()) == ["best", "v1"]
        labels.delete_tag("best")
        _caught(UnknownError, "unknown-tag", labels.tag, "best")
        _caught(UnknownError, "unknown-tag", labels.delete_tag, "best")
        assert list(labels.tags()) == ["v1"]
        again = labels.compare_and_set("main", 1, b, tags=["best"])
        assert labels.tag("best").id == again.id
        labels.delete("main")
        assert labels.tag("v1").to == a  # a tag outlives its label

    def test_a_pin_stays_until_it_is_removed_or_its_time_has_passed(self, bench: Bench) -> None:
        labels, clock, a, b = bench.labels, bench.clock, bench.snapshot("a"), bench.snapshot("b")
        first = labels.pin(a, message="why")
        clock.now_ms += 1
        second = labels.pin(b, clock.now_ms + 10)
        assert (first.ca_id, first.until_ms, first.message) == (a, None, "why")
        assert list(labels.pins()) == [first, second]
        _caught(CollectedError, "collected", labels.pin, page_digest(b"never published"))
        _caught(UsageError, "usage", labels.pin, a, clock.now_ms)
        list(labels.expire(clock.now_ms + 9))
        assert list(labels.pins()) == [first, second]
        list(labels.expire(clock.now_ms + 10))
        assert list(labels.pins()) == [first]
        third = labels.pin(a)
        assert list(labels.unpin(third.id)) == [third]
        assert list(labels.unpin(a)) == [first]
        _caught(UnknownError, "unknown-pin", labels.unpin, a)
        _caught(UsageError, "bad-id", labels.unpin, b"short")

    def test_a_lock_keeps_everybody_else_from_moving_its_label(self, bench: Bench) -> None:
        labels, clock, a = bench.labels, bench.clock, bench.snapshot("a")
        labels.compare_and_set("main", None, a)
        held = labels.acquire_lock("main", 1000, "why", "me")
        assert labels.lock("main") == held.lock
        assert list(labels.locks()) == [held.lock]
        for call in (labels.delete, labels.undo):
            _caught(LeaseError, "lock-conflict", call, "main")
        _caught(LeaseError, "lock-conflict", labels.force, "main", a)
        _caught(LeaseError, "lock-conflict", labels.reset, "main", a)
        _caught(LeaseError, "lock-conflict", labels.rename, "main", "other")
        _caught(LeaseError, "lock-conflict", labels.acquire_lock, "main")
        _caught(LeaseError, "lock-conflict", labels.steal_lock, "main")
        _caught(LeaseError, "lock-not-held", labels.renew_lock, "main", "nonsense")
        _caught(LeaseError, "lock-not-held", labels.release_lock, "main", "nonsense")
        clock.now_ms += 999
        assert labels.renew_lock("main", held.nonce, 1000).expires_ms == clock.now_ms + 1000
        clock.now_ms += 1000
        _caught(LeaseError, "lock-expired", labels.renew_lock, "main", held.nonce)
        labels.force("main", a)

    def test_fencing_tokens_only_grow(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        assert labels.lock("main") is None
        held = labels.acquire_lock("main")
        labels.release_lock("main", held.nonce)
        _caught(LeaseError, "lock-not-held", labels.steal_lock, "main")
        labels.compare_and_set("main", None, a)
        labels.delete("main")
        assert labels.acquire_lock("main", 1000).lock.token == 2
        stolen = labels.steal_lock("main", 1000, force=True, message="why")
        assert stolen.lock.token == 3
        bench.clock.now_ms += 1000
        assert labels.acquire_lock("main").lock.token == 4
        _caught(LeaseError, "lock-not-held", labels.release_lock, "main", stolen.nonce)
        assert list(labels.list()) == []

    def test_a_ref_keeps_what_it_names_until_it_is_deleted(self, bench: Bench) -> None:
        labels, a, b = bench.labels, bench.snapshot("a"), bench.snapshot("b")
        entry = labels.compare_and_set("main", None, a, message="m")
        labels.compare_and_set("main", 1, b)
        made = labels.create_ref("v1", entry.id, message="why")
        assert (made.name, made.entry_id, made.ca_id, made.description) == ("v1", entry.id, a, "why")
        bare = labels.create_ref("bare", b)
        assert list(labels.refs()) == [bare, made]
        assert labels.ref("v1") == made
        _caught(StateError, "already-exists", labels.create_ref, "v1", b)
        _caught(UsageError, "bad-name", labels.create_ref, "HEAD", b)
        _caught(CollectedError, "collected", labels.create_ref, "x", page_digest(b"never published"))
        labels.set_retention("main", ["keep-last", "1"])
        list(labels.expire(bench.clock.now_ms))
        assert labels.entry(entry.id).message == "m"
        assert labels.delete_ref("v1") == made
        _caught(UnknownError, "unknown-ref", labels.ref, "v1")
        _caught(UnknownError, "unknown-ref", labels.delete_ref, "v1")
        list(labels.expire(bench.clock.now_ms))
        assert labels.entry(entry.id).dropped

    def test_a_policy_replaces_the_one_of_its_pattern(self, bench: Bench) -> None:
        labels = bench.labels
        built_in = {"*": "keep-all", "autosave/*": "keep-within 30d"}
        assert {one.pattern: str(one.policy) for one in labels.retention()} == built_in
        labels.set_retention("a*", ["keep-last", "3"])
        assert str(labels.set_retention("a*", ["keep-daily 7", "keep-last 1"])) == "keep-last 1 keep-daily 7"
        labels.set_retention("*", ["keep-within", "30d"])
        wanted = {**built_in, "*": "keep-within 30d", "a*": "keep-last 1 keep-daily 7"}
        assert {one.pattern: str(one.policy) for one in labels.retention()} == wanted
        for rules in ([], ["keep-last"], ["keep-last", "-1"], ["keep-all", "keep-last", "1"]):
            _caught(UsageError, "bad-policy", labels.set_retention, "*", rules)
        _caught(UsageError, "bad-duration", labels.set_retention, "*", ["keep-within", "30"])
        _caught(UsageError, "bad-policy", labels.set_retention, "a b", ["keep-all"])
        labels.unset_retention("a*")
        labels.unset_retention("*")
        _caught(UnknownError, "unknown-policy", labels.unset_retention, "*")
        assert {one.pattern: str(one.policy) for one in labels.retention()} == built_in

    def test_entries_that_left_the_window_lose_their_bodies_and_nothing_else(self, bench: Bench) -> None:
        labels, clock = bench.labels, bench.clock
        for generation in range(6):
            tags = ["v1"] if generation == 1 else []
            labels.compare_and_set("main", generation, bench.snapshot(str(generation)), message="m", tags=tags)
            clock.now_ms += 1000
        before = _log(labels, "main")
        labels.set_retention("main", ["keep-last", "2"])
        assert _log(labels, "main") == before
        list(labels.expire(clock.now_ms))
        *after, checkpoint = _log(labels, "main")
        assert [(entry.id, entry.to) for entry in after] == [(entry.id, entry.to) for entry in before]
        assert [entry.message for entry in after] == ["", "m", "", "", "m", "m"]
        assert [entry.dropped for entry in after] == [True, False, True, True, False, False]
        assert (checkpoint.op, checkpoint.to, checkpoint.prev) == ("checkpoint", before[-1].to, before[-1].id)
        assert checkpoint.meta["removed"] == {"generation": 4, "id": before[3].id.hex()}
        assert list(labels.expire(clock.now_ms)) == []
        assert labels.tag("v1").to == before[1].to
        # the collector's entry loses nobody a race
        assert labels.compare_and_set("main", 6, bench.snapshot("x")).prev == checkpoint.id

    def test_a_deleted_label_is_forgotten_when_its_time_has_passed(self, bench: Bench) -> None:
        labels, clock, a = bench.labels, bench.clock, bench.snapshot("a")
        labels.set_retention("gone", ["keep-deleted", "1d"])
        labels.compare_and_set("gone", None, a)
        labels.delete("gone")
        list(labels.expire(clock.now_ms + DAY_MS))
        assert labels.undelete("gone").to == a
        labels.delete("gone")
        list(labels.expire(clock.now_ms + DAY_MS + 1))
        _caught(CollectedError, "collected", labels.undelete, "gone")
        assert labels.compare_and_set("gone", None, a).generation == 5  # goes on from the tombstone

    def test_malformed_operands_change_nothing(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        for name in ("", "/", "a//b", "-x", ".x", "HEAD", "a/log", "deadbeef", "e\u0301", "a b", "tag", "x" * 256):
            _caught(UsageError, "bad-label-name", labels.compare_and_set, name, None, a)
            _caught(UsageError, "bad-label-name", labels.get, name)
        for message in ("x" * (MAX_MESSAGE + 1), "\u00e9" * (MAX_MESSAGE // 2 + 1), "\udc80"):
            _caught(UsageError, "bad-message", labels.compare_and_set, "main", None, a, message=message)
        for tag in ("", "a/b", "-v", "a b", "a:b", "t" * 129):
            _caught(UsageError, "bad-tag", labels.compare_and_set, "main", None, a, tags=[tag])
        _caught(UsageError, "usage", labels.compare_and_set, "main", None, a, meta={"k": "x" * 8192})
        _caught(UsageError, "usage", labels.compare_and_set, "main", None, a, meta={"k": object()})
        _caught(UsageError, "usage", labels.compare_and_set, "main", None, a, op="rename")
        _caught(UsageError, "bad-id", labels.compare_and_set, "main", None, b"short")
        _caught(UsageError, "bad-id", labels.compare_and_set, "main", b"short", a)
        assert labels.get("main") is None
        entry = labels.compare_and_set("main", None, a, message="x" * MAX_MESSAGE, meta={"k": "x" * 8000})
        assert labels.entry(entry.id) == entry

    def test_an_unknown_label_error_names_the_nearest(self, bench: Bench) -> None:
        labels, a = bench.labels, bench.snapshot("a")
        for name in ("main", "agent/1", "agent/2"):
            labels.compare_and_set(name, None, a)
        error = _caught(UnknownError, "unknown-label", labels.delete, "mian")
        assert error.details["nearest"] == ["main"]
        assert "main" in error.message
        labels.rename("agent/1", "worker")
        assert _caught(UnknownError, "unknown-label", labels.delete, "agent/1").details["renamed_to"] == "worker"

    def test_threads_lose_no_update(self, bench: Bench) -> None:
        labels, snapshots = bench.labels, [bench.snapshot("a"), bench.snapshot("b")]
        labels.compare_and_set("main", None, snapshots[0])
        threads, moves_each = 4, 10

        def work(number: int) -> None:
            for _move in range(moves_each):
                while True:
                    info = labels.get("main")
                    assert info is not None
                    try:
                        labels.compare_and_set("main", info.generation, snapshots[number % 2], message=str(number))
                        break
                    except LabelMovedError:
                        continue

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        log = _log(labels, "main")
        assert [entry.generation for entry in log] == list(range(1, threads * moves_each + 2))
        assert all(later.prev == earlier.id for earlier, later in pairwise(log))
        assert all(sum(entry.message == str(n) for entry in log) == moves_each for n in range(threads))
