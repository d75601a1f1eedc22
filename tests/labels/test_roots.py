"""The roots of the pointer plane, each with its reason, and the clock that ages are judged by."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore.backend import Kind, Table
from jvs.castore.digest import Digest
from jvs.castore.local.store import LocalStore
from jvs.errors import CollectedError, IndexDamagedError, StateError
from jvs.labels import ANYTHING, Labels
from jvs.labels.records import write_trusted
from jvs.labels.roots import CLOCK_JUMP_MS, REASONS, Root, gc_time, roots, store_clock
from jvs.labels.tables import ALL_TABLES, ENTRIES, Span, entry_key, pack_row
from tests.conftest import TORTURE
from tests.labels.support import DAY_MS, Desk, put_snapshot

HOUR_MS = 3_600_000


def found(desk: Desk, now_ms: int | None = None) -> list[Root]:
    with desk.store.read() as txn:
        return list(roots(txn, desk.clock.now_ms if now_ms is None else now_ms))


def staying(desk: Desk) -> set[Digest]:
    return {root.ca_id for root in found(desk) if not root.leaving}


def expire(desk: Desk) -> dict[str, int]:
    done: dict[str, int] = {}
    for step in desk.labels.expire(desk.clock.now_ms):
        done[step.what] = done.get(step.what, 0) + step.done
    return done


def test_an_empty_store_has_no_roots() -> None:
    assert found(Desk()) == []


def test_a_head_and_its_entries_are_roots_with_their_rules() -> None:
    desk = Desk()
    labels, a, b = desk.labels, desk.snapshot("a"), desk.snapshot("b")
    labels.compare_and_set("main", None, a)
    labels.compare_and_set("main", 1, b)
    assert found(desk) == [
        Root(b, "head", "main"),
        Root(b, "reflog", "main", "keep-all"),
        Root(a, "reflog", "main", "keep-all"),
    ]
    labels.set_retention("main", ["keep-last 1 keep-daily 3"])
    assert found(desk) == [
        Root(b, "head", "main"),
        Root(b, "reflog", "main", "keep-last 1, keep-daily 3"),
        Root(a, "reflog", "main", "", leaving=True),
    ]
    assert expire(desk) == {"truncated": 1}
    assert found(desk) == [
        Root(b, "head", "main"),
        Root(b, "reflog", "main", "keep-last 1, keep-daily 3"),
        Root(b, "reflog", "main", "checkpoint"),
    ]


def test_every_reason_there_is() -> None:
    desk = Desk()
    labels = desk.labels
    first = labels.compare_and_set("main", None, desk.snapshot("base"))
    labels.compare_and_set("work", None, desk.snapshot("work"), parents=[first.id])
    labels.compare_and_set("main", 1, desk.snapshot("head"), tags=["v1"])
    labels.autosave("main", desk.snapshot("autosave"))
    labels.compare_and_set("gone", None, desk.snapshot("gone"))
    labels.delete("gone")
    pin = labels.pin(desk.snapshot("pinned"))
    labels.create_ref("v1.0", desk.snapshot("named"))
    labels.record_detached(desk.snapshot("detached"))
    labels.stand("0a", [desk.snapshot("stood")], [Span(first.uid, 1, 1)])
    by_reason: dict[str, set[tuple[Digest, str | None, str]]] = {}
    for root in found(desk):
        assert not root.leaving
        by_reason.setdefault(root.reason, set()).add((root.ca_id, root.label, root.detail))
    assert set(by_reason) == set(REASONS)
    assert by_reason["base"] == {(desk.snapshot("base"), "work", "")}
    assert by_reason["tag"] == {(desk.snapshot("head"), None, "v1")}
    assert by_reason["autosave"] == {
        (desk.snapshot("autosave"), "autosave/main", ""),
        (desk.snapshot("autosave"), "autosave/main", "keep-within 30d"),
    }
    assert by_reason["deleted"] == {(desk.snapshot("gone"), "gone", "keep-deleted 14d")}
    assert by_reason["pin"] == {(desk.snapshot("pinned"), None, pin.id.hex())}
    assert by_reason["ref"] == {(desk.snapshot("named"), None, "v1.0")}
    assert by_reason["detached"] == {(desk.snapshot("detached"), None, "")}
    assert by_reason["worktree"] == {(desk.snapshot("stood"), "main", "0a")}


def test_a_tag_keeps_its_entry_until_it_is_deleted() -> None:
    desk = Desk()
    labels, a, b = desk.labels, desk.snapshot("a"), desk.snapshot("b")
    labels.compare_and_set("main", None, a, tags=["v1"], message="tagged")
    labels.compare_and_set("main", 1, b)
    labels.set_retention("*", ["keep-last 0"])
    assert staying(desk) == {a, b}
    assert expire(desk) == {"truncated": 1}
    assert labels.tag("v1").message == "tagged"
    labels.delete_tag("v1")
    assert staying(desk) == {b}
    assert expire(desk) == {"truncated": 2}  # and the checkpoint before
    assert {root.ca_id for root in found(desk)} == {b}


def test_a_tag_that_was_deleted_and_given_again_keeps_only_what_has_it_now() -> None:
    desk = Desk()
    labels, names = desk.labels, ("main", "other")
    for label in names:
        for number in range(3):
            labels.compare_and_set(label, ANYTHING, desk.snapshot(f"{label}{number}"), tags=["t"])
    labels.delete_tag("t")
    for label in names:
        for number in range(3, 6):
            tags = ["t"] if number != 4 else []
            labels.compare_and_set(label, ANYTHING, desk.snapshot(f"{label}{number}"), tags=tags)
    labels.set_retention("*", ["keep-last 0"])
    kept = {desk.snapshot(f"{label}{number}") for label in names for number in (3, 5)}
    assert staying(desk) == kept
    expire(desk)
    assert {root.ca_id for root in found(desk)} == kept
    assert labels.tag("t").to == desk.snapshot("other5")


def test_a_pin_and_a_detached_record_end_when_their_time_has_passed() -> None:
    desk = Desk()
    labels, a, b, c = desk.labels, *map(desk.snapshot, "abc")
    labels.pin(a, desk.clock.now_ms + HOUR_MS)
    labels.pin(b)
    labels.record_detached(c)
    assert staying(desk) == {a, b, c}
    desk.clock.now_ms += HOUR_MS
    assert staying(desk) == {b, c}
    assert len(labels.pins()) == 2
    assert expire(desk) == {"unpinned": 1}
    assert [pin.ca_id for pin in labels.pins()] == [b]
    desk.clock.now_ms += DAY_MS - HOUR_MS
    assert staying(desk) == {b, c}
    desk.clock.now_ms += 1
    assert staying(desk) == {b}
    assert {root.ca_id for root in found(desk)} == {b, c}  # still protected, until gc says otherwise
    assert expire(desk) == {"detached": 1}
    assert {root.ca_id for root in found(desk)} == {b}


def test_a_deleted_label_can_come_back_until_it_is_forgotten() -> None:
    desk = Desk()
    labels, a, b = desk.labels, desk.snapshot("a"), desk.snapshot("b")
    labels.compare_and_set("main", None, a)
    labels.compare_and_set("main", 1, b)
    labels.set_retention("*", ["keep-last 0"])  # of no concern to deleted labels
    labels.delete("main")
    desk.clock.now_ms += 14 * DAY_MS
    assert staying(desk) == {a, b}
    assert expire(desk) == {}
    labels.undelete("main")
    labels.delete("main")
    desk.clock.now_ms += 14 * DAY_MS + 1
    assert staying(desk) == set()
    assert {root.ca_id for root in found(desk)} == {a, b}
    assert expire(desk) == {"forgotten": 1, "truncated": 5}
    assert found(desk) == []
    with pytest.raises(CollectedError) as caught:
        labels.undelete("main")
    assert "main" in caught.value.message
    assert labels.verify() == 0
    again = labels.compare_and_set("main", None, a)
    assert again.generation == 6
    assert expire(desk) == {"truncated": 1}


def test_keep_deleted_0_forgets_at_the_next_run_whatever_the_clock_says() -> None:
    desk = Desk()
    desk.labels.set_retention("tmp*", ["keep-deleted 0"])
    for name in ("tmp1", "other"):
        desk.labels.compare_and_set(name, None, desk.snapshot(name))
        desk.labels.delete(name)
    desk.clock.now_ms -= 400 * DAY_MS
    assert expire(desk) == {"forgotten": 1, "truncated": 2}
    assert staying(desk) == {desk.snapshot("other")}


def test_a_deleted_label_whose_reflog_was_truncated_keeps_what_it_comes_back_with() -> None:
    desk = Desk()
    a = desk.snapshot("a")
    desk.labels.set_retention("*", ["keep-last 0"])
    desk.labels.compare_and_set("main", None, a)
    assert expire(desk) == {"truncated": 1}
    desk.labels.delete("main")
    assert staying(desk) == {a}
    assert desk.labels.undelete("main").to == a


def test_the_common_ancestor_with_the_upstream_stays() -> None:
    desk = Desk()
    labels = desk.labels
    labels.set_retention("*", ["keep-last 1"])
    start = labels.compare_and_set("main", None, desk.snapshot("start"))
    labels.compare_and_set("work", None, desk.snapshot("work1"), parents=[start.id])
    for number in range(3):
        labels.compare_and_set("main", ANYTHING, desk.snapshot(f"main{number}"))
        labels.compare_and_set("work", ANYTHING, desk.snapshot(f"work{number}"))
    expire(desk)
    heads = {desk.snapshot("main2"), desk.snapshot("work2")}
    assert staying(desk) == {*heads, desk.snapshot("start")}
    main, work = labels.require("main"), labels.require("work")
    labels.compare_and_set(
        "work", ANYTHING, desk.snapshot("merged"), op="merge", parents=[work.entry_id, main.entry_id]
    )
    labels.compare_and_set("main", ANYTHING, desk.snapshot("main3"))
    expire(desk)
    assert staying(desk) == {desk.snapshot("merged"), desk.snapshot("main3"), desk.snapshot("main2")}
    labels.delete("main")  # it may come back, and be merged with again
    assert desk.snapshot("main2") in {root.ca_id for root in found(desk) if root.reason == "base"}
    desk.clock.now_ms += 15 * DAY_MS
    expire(desk)
    assert staying(desk) == {desk.snapshot("merged")}


def test_a_plan_knows_that_nobody_merges_with_a_label_that_is_leaving() -> None:
    desk = Desk()
    labels = desk.labels
    first = labels.compare_and_set("main", None, desk.snapshot("base"))
    labels.compare_and_set("work", None, desk.snapshot("work"), parents=[first.id])
    labels.delete("main")
    assert desk.snapshot("base") in staying(desk)
    labels.set_retention("main", ["keep-deleted 0"])
    assert staying(desk) == {desk.snapshot("work")}
    expire(desk)
    assert {root.ca_id for root in found(desk)} == {desk.snapshot("work")}


def test_what_a_detached_snapshot_came_from_stays_as_long_as_it() -> None:
    desk = Desk()
    labels = desk.labels
    labels.set_retention("*", ["keep-last 1"])
    seen = labels.compare_and_set("main", None, desk.snapshot("seen"))
    labels.compare_and_set("main", 1, desk.snapshot("faster"))
    labels.record_detached(desk.snapshot("late"), [seen.id])
    expire(desk)
    kept = {desk.snapshot(name) for name in ("seen", "faster", "late")}
    assert {root.ca_id for root in found(desk)} == kept
    desk.clock.now_ms += DAY_MS + 1
    assert staying(desk) == {desk.snapshot("faster")}
    expire(desk)
    assert {root.ca_id for root in found(desk)} == {desk.snapshot("faster")}


def test_a_base_that_was_collected_is_no_root_but_for_a_rebuild() -> None:
    desk = Desk()
    labels = desk.labels
    start = labels.compare_and_set("main", None, desk.snapshot("start"))
    labels.compare_and_set("main", 1, desk.snapshot("next"))
    labels.set_retention("*", ["keep-last 1"])
    expire(desk)
    desk.store.delete(Kind.PAGE, [desk.snapshot("start")])
    late = labels.compare_and_set("late", None, desk.snapshot("late"), parents=[start.id])
    assert labels.merge_bases(late.id, labels.require("main").entry_id) == [start.id]
    desk.store.delete(Kind.PAGE, [start.to or b""])
    assert staying(desk) == {desk.snapshot("next"), desk.snapshot("late")}
    desk.store.delete(Kind.PAGE, [start.to or b""])
    with desk.store.read() as txn:
        every = {root.ca_id for root in roots(txn, 0, every_base=True)}
    assert start.to in every


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_a_row_that_vanished_is_damage_and_never_a_root_less(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.labels.compare_and_set("main", None, desk.snapshot("a"))

    def check_table(self: object, checked: Table) -> None:
        if checked == table:
            raise IndexDamagedError(f"the index is damaged: a row of {table.name} is gone")

    monkeypatch.setattr("jvs.castore.memory._MemoryReadTxn.check_table", check_table)
    with pytest.raises(IndexDamagedError):
        found(desk)


def write_something(desk: Desk, what: str) -> None:
    acts: dict[str, Callable[[], object]] = {
        "move": lambda: desk.labels.compare_and_set("main", ANYTHING, desk.snapshot("a")),
        "delete": lambda: desk.labels.delete("old"),
        "pin": lambda: desk.labels.pin(desk.snapshot("a")),
        "detached": lambda: desk.labels.record_detached(desk.snapshot("a")),
        "policy": lambda: desk.labels.set_retention("*", ["keep-all"]),
    }
    acts[what]()


@pytest.mark.parametrize("what", ["move", "delete", "pin", "detached", "policy"])
def test_the_stores_clock_is_the_largest_time_of_anything_recorded(what: str) -> None:
    desk = Desk()
    with desk.store.read() as txn:
        assert store_clock(txn) is None
        assert gc_time(txn, 1 << 50) == 1 << 50
    desk.labels.compare_and_set("old", None, desk.snapshot("a"))
    desk.clock.now_ms += 5 * DAY_MS
    write_something(desk, what)
    recorded = desk.clock.now_ms
    desk.clock.now_ms -= 100 * DAY_MS
    if what != "delete":
        write_something(desk, what)
    with desk.store.read() as txn:
        recorded = recorded + 1 if what == "move" else recorded  # the second move was made a ms after the first
        assert store_clock(txn) == recorded
        assert gc_time(txn, recorded + CLOCK_JUMP_MS) == recorded + CLOCK_JUMP_MS
        assert gc_time(txn, 5) == 5
        with pytest.raises(StateError) as caught:
            gc_time(txn, recorded + CLOCK_JUMP_MS + 1)
        assert caught.value.code == "clock-jump"
        assert caught.value.next is not None
        assert "--trust-clock" in caught.value.next
        assert gc_time(txn, recorded + CLOCK_JUMP_MS + 1, trust=True) == recorded + CLOCK_JUMP_MS + 1


YEAR_MS = 365 * DAY_MS


def refused(desk: Desk, wall_ms: int) -> bool:
    with desk.store.read() as txn:
        try:
            return gc_time(txn, wall_ms) != wall_ms
        except StateError:
            return True


def test_a_clock_that_was_wrong_when_something_was_recorded_is_not_believed() -> None:
    desk = Desk()
    labels, right = desk.labels, desk.clock.now_ms
    labels.set_retention("*", ["keep-within 30d"])
    for label in ("main", "other"):
        for number in range(3):
            desk.clock.now_ms += DAY_MS
            labels.compare_and_set(label, ANYTHING, desk.snapshot(f"{label}{number}"))
    right = desk.clock.now_ms
    desk.clock.now_ms += 10 * YEAR_MS
    labels.compare_and_set("main", ANYTHING, desk.snapshot("later"))
    labels.compare_and_set("new", None, desk.snapshot("new"))
    assert refused(desk, desk.clock.now_ms)
    assert not refused(desk, right + CLOCK_JUMP_MS)  # the clock was set right again
    assert refused(desk, right + CLOCK_JUMP_MS + 1)
    with desk.store.read() as txn:
        assert store_clock(txn) == right
        trusted = gc_time(txn, desk.clock.now_ms, trust=True)
    assert sum(step.done for step in labels.expire(trusted)) == 6  # it was right, after all
    assert not refused(desk, desk.clock.now_ms + CLOCK_JUMP_MS)
    desk.clock.now_ms += 10 * YEAR_MS
    labels.pin(desk.snapshot("pinned"))
    assert refused(desk, desk.clock.now_ms)


def test_what_is_recorded_after_the_clock_was_trusted_is_believed() -> None:
    desk = Desk()
    for days in (0, 1000, 10, 10):
        desk.clock.now_ms += days * DAY_MS
        desk.labels.compare_and_set("main", ANYTHING, desk.snapshot(str(days)))
    newest = desk.clock.now_ms
    with desk.store.read() as txn:
        assert store_clock(txn) == newest - 1020 * DAY_MS
    with desk.store.write() as writing:
        write_trusted(writing, newest - 15 * DAY_MS, "")
    with desk.store.read() as txn:
        assert store_clock(txn) == newest


def test_a_clock_that_is_trusted_is_believed_for_a_while() -> None:
    desk = Desk()
    desk.labels.compare_and_set("main", None, desk.snapshot("a"))
    later = desk.clock.now_ms + 100 * DAY_MS
    assert refused(desk, later)
    assert list(desk.labels.expire(later)) == []
    assert not refused(desk, later + CLOCK_JUMP_MS)
    assert refused(desk, later + CLOCK_JUMP_MS + 1)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 800)), min_size=1, max_size=25),
    st.integers(0, 3000),
)
def test_the_clock_that_is_believed_is_the_one_before_the_last_gap(acts: list[tuple[str, int]], trusted: int) -> None:
    desk = Desk()
    started, times = desk.clock.now_ms, []
    for label, days in acts:
        desk.clock.now_ms += days * DAY_MS
        times.append(desk.clock.now_ms)
        desk.labels.compare_and_set(label, ANYTHING, desk.snapshot("a"))
    if trusted % 2:
        with desk.store.write() as txn:
            write_trusted(txn, started + trusted * DAY_MS, "")
    believed_until = started + trusted * DAY_MS if trusted % 2 else 0
    newest = max(times)
    older = [at_ms for at_ms in times if at_ms <= newest - YEAR_MS]
    later = [at_ms for at_ms in times if at_ms > newest - YEAR_MS]
    jumped = bool(older) and min(later) - max(older) > YEAR_MS and min(later) > believed_until
    with desk.store.read() as txn:
        assert store_clock(txn) == max(max(older) if jumped else newest, believed_until)


def test_a_long_reflog_is_walked_in_little_memory(tmp_path: Path) -> None:
    """Rows are put as moves would; the ids do not matter to a walk."""
    count = 1_000_000 if TORTURE else 20_000
    with LocalStore.create(tmp_path / "store") as store:
        labels = Labels(store)
        entry = labels.compare_and_set("main", None, put_snapshot(store, "a"), message="m" * 500)
        with store.read() as txn:
            raw = txn.get(ENTRIES, entry_key(entry.uid, 1))
        assert raw is not None
        labels.set_retention("*", ["keep-last 1"])
        for start in range(2, count + 1, 10_000):
            with store.write() as writing:
                for generation in range(start, min(start + 10_000, count + 1)):
                    writing.put(ENTRIES, entry_key(entry.uid, generation), raw)
                head = (entry.uid, entry.to, min(start + 9_999, count), entry.id, entry.at_ms, 1, None)
                writing.put(Table("labels"), b"main", pack_row(head))
        tracemalloc.start()
        try:
            with store.read() as txn:
                walked = sum(1 for root in roots(txn, entry.at_ms) if root.reason == "reflog")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert walked == count
    assert peak < 2 << 20
