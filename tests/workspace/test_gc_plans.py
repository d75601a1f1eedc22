"""Plans: when one is stale, and that a run removes nothing that its plan did not list."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from jvs.castore.local.store import LocalStore
from jvs.errors import AmbiguousError, JvsError, StateError, UnknownError, UsageError
from jvs.labels.store import wall_clock
from jvs.workspace import gc_plan
from jvs.workspace.repo import Repo
from tests.workspace.gc_support import DAY, Ground, ground

__all__ = ["ground"]


def made(ground: Ground) -> str:
    plan_id = ground.repo.gc_plan().plan_id
    assert plan_id is not None
    return plan_id


def put_pipe(path: Path) -> None:
    """In place of a file."""
    path.unlink()
    os.mkfifo(path)


def assert_stale(ground: Ground, plan_id: str, why: str) -> None:
    """It is refused, and nothing has changed."""
    before = ground.objects(), [entry.dropped for entry in ground.repo.log("main", None)]
    for dry_run in (True, False):
        with pytest.raises(StateError) as caught:
            ground.repo.gc_run(plan_id, dry_run=dry_run)
        assert (caught.value.code, caught.value.exit_status) == ("gc-plan-stale", 1)
        assert why in caught.value.message
    assert (ground.objects(), [entry.dropped for entry in ground.repo.log("main", None)]) == before


def test_a_candidate_that_is_in_use_again(ground: Ground) -> None:
    old, head = ground.history(2)
    ground.repo.set_retention(["keep-last", "0"])
    plan_id = made(ground)
    ground.repo.set_label("back", old.hex())
    assert_stale(ground, plan_id, "in use again")
    ground.check(old, head)


def test_one_file_of_a_candidate_that_is_in_use_again(ground: Ground) -> None:
    """By a push of the same content somewhere else."""
    ground.history(1)
    content = (ground.source / "big").read_bytes()
    ground.history(1)
    ground.repo.set_retention(["keep-last", "0"])
    plan_id = made(ground)
    (ground.source / "elsewhere").write_bytes(content)
    head = ground.push()
    assert_stale(ground, plan_id, "the chunk")
    ground.check(head)


def test_a_policy_that_changed(ground: Ground) -> None:
    kept = ground.history(3)
    ground.repo.set_retention(["keep-last", "0"])
    plan_id = made(ground)
    ground.repo.set_retention(["keep-all"], "main")
    assert_stale(ground, plan_id, "policies were changed")
    ground.check(*kept)


def test_one_that_was_carried_out(ground: Ground) -> None:
    ground.history(3)
    ground.repo.set_retention(["keep-last", "0"])
    plan_id = made(ground)
    assert ground.repo.gc_run(plan_id[:8]).plan_id == plan_id
    assert_stale(ground, plan_id, "carried out")


def test_one_whose_candidates_another_run_has_removed_does_what_is_left(ground: Ground) -> None:
    ground.history(3)
    ground.repo.set_retention(["keep-last", "0"])
    plan_id = made(ground)
    assert ground.repo.gc_run().objects > 0
    assert ground.repo.gc_run(plan_id).objects == 0


def test_a_push_that_touches_no_candidate(ground: Ground) -> None:
    *_, before = ground.history(3)
    ground.repo.set_retention(["keep-last", "0"])
    plan = ground.repo.gc_plan()
    between, after = ground.history(2)
    run = ground.repo.gc_run(plan.plan_id)
    assert run.objects == plan.candidates
    # what left its window since then is not part of the plan
    ground.check(before, between, after)
    ground.repo.gc_run()
    ground.check(after)
    assert not ground.repo.has_snapshot(before)
    assert not ground.repo.has_snapshot(between)


def test_what_came_after_the_plan_keeps_the_candidates_below_it(ground: Ground) -> None:
    """A snapshot was made of candidates and dropped again: it is no root, but was not in the plan either."""
    ground.history(1)
    content = (ground.source / "big").read_bytes()
    *_, head = ground.history(2)
    ground.repo.set_retention(["keep-last", "0", "keep-deleted", "0"])
    plan = ground.repo.gc_plan()
    (ground.source / "deep").mkdir()
    (ground.source / "deep" / "copy").write_bytes(content)
    late = ground.push("late")
    ground.repo.delete_label("late")
    (ground.source / "deep" / "copy").unlink()
    assert_stale(ground, str(plan.plan_id), "in use again")  # nobody was told that the label cannot come back
    assert list(ground.repo.labels.expire(wall_clock()))  # a run without a plan that ended there
    run = ground.repo.gc_run(plan.plan_id)
    assert 0 < run.objects < plan.candidates
    ground.check(head, late)
    assert ground.repo.gc_run().objects > 0
    assert not ground.repo.has_snapshot(late)
    ground.check(head)


def test_what_a_push_left_unpublished_candidates_for_is_not_planned(ground: Ground) -> None:
    """A plan made while somebody pushes lists nothing of theirs."""
    ground.history(2)
    ground.repo.set_retention(["keep-last", "0"])
    plans: list[int] = []
    for number in range(8):
        ground.edit("big")
        with Repo.open(str(ground.where / "store"), actor="other") as other:

            class Pushing:
                def __init__(self, left: int, other: Repo) -> None:
                    self.left, self.other = left, other

                def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
                    if self.left == 0:
                        self.other.push(str(ground.source), label="main", force=True)
                    self.left -= 1

            plan = ground.repo.gc_plan(progress=Pushing(number, other))
        plans.append(plan.candidates)
        ground.repo.gc_run()
        ground.check(ground.push())
    assert any(plans)


def test_a_dry_run_does_nothing(ground: Ground) -> None:
    kept = ground.history(3)
    ground.repo.set_retention(["keep-last", "0"])
    plan = ground.repo.gc_plan()
    files = sorted(os.listdir(ground.where / "store" / "gc"))
    for plan_id in (None, plan.plan_id):
        run = ground.repo.gc_run(plan_id, dry_run=True)
        assert (run.dry_run, run.objects) == (True, plan.candidates)
        assert run.bytes == plan.examined_bytes - plan.live_bytes
    assert sorted(os.listdir(ground.where / "store" / "gc")) == files
    ground.check(*kept)
    assert ground.repo.gc_run(plan.plan_id).objects == plan.candidates


def test_ids_that_name_no_plan(ground: Ground) -> None:
    ground.history(1)
    for text in ("", "x", "1234567", "1" * 33, "ABCDEF0123", "../../etc/passwd"):
        with pytest.raises(UsageError) as malformed:
            ground.repo.gc_run(text)
        assert malformed.value.code == "bad-id"
    with pytest.raises(UnknownError) as unknown:
        ground.repo.gc_run("12345678")
    assert (unknown.value.code, unknown.value.exit_status) == ("unknown-plan", 5)


def test_a_prefix_that_two_plans_share(ground: Ground) -> None:
    ground.history(1)
    plan_id = made(ground)
    folder = ground.where / "store" / "gc"
    (folder / f"{plan_id[:8]}{'0' * 24}.json").write_text("{}")
    with pytest.raises(AmbiguousError):
        ground.repo.gc_run(plan_id[:8])


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.with_suffix(".names").unlink(),
        lambda path: path.with_suffix(".names").write_bytes(b"x" * 36),
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("{}"),
        lambda path: path.write_bytes(b"\xff"),
        lambda path: path.write_text(path.read_text().replace('"candidates": ', '"candidates": "1', 1)),
        lambda path: path.write_text(path.read_text().replace('"at_ms": 1', '"at_ms": 9', 1)),
        _to_fifo,
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        lambda path: _to_fifo(path.with_suffix(".names")),
    ],
)
def test_a_damaged_plan_is_stale(ground: Ground, spoil: object) -> None:
    kept = ground.history(2)
    ground.repo.set_retention(["keep-last", "0"])
    plan_id = made(ground)
    assert callable(spoil)
    spoil(ground.where / "store" / "gc" / f"{plan_id}.json")
    assert_stale(ground, plan_id, "")
    ground.check(*kept)


def test_a_plan_of_a_clock_that_was_ahead_is_stale(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made while the clock was wrong, though not so wrong that gc refused; everything looked old then."""
    kept = ground.history(2)
    pin = ground.repo.pin("main@1", "2d").pin
    ground.repo.set_retention(["keep-within", "1d"])
    true = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: true() + 5 * DAY * 1_000_000)
    plan_id = made(ground)
    monkeypatch.setattr(time, "time_ns", true)
    assert_stale(ground, plan_id, "in use again")
    assert [one.pin for one in ground.repo.pins()] == [pin]
    ground.check(*kept)


def test_what_left_its_window_since_the_plan_waits_for_the_next(ground: Ground) -> None:
    """Pushed out by newer entries, or under another policy by another name."""
    ground.repo.set_retention(["keep-last", "0"], "tmp/*")
    moved, there = ground.history(2, "kept")
    ground.repo.set_retention(["keep-last", "2"], "main")
    ground.history(4)
    plan_id = made(ground)
    ground.repo.rename_label("kept", "tmp/kept")
    ground.edit()
    ground.push()
    assert ground.repo.gc_run(plan_id).truncated == 2
    kept = [entry.generation for entry in ground.repo.log("main", None) if not entry.dropped and entry.to]
    assert {3, 4, 5} <= set(kept)
    assert not {1, 2} & set(kept)
    ground.repo.rename_label("tmp/kept", "kept")
    ground.repo.gc_run()
    ground.check(moved, there)


def test_wrong_names_in_a_plan_remove_nothing_that_is_reached(ground: Ground) -> None:
    """The list of candidates is only compared with what the run finds itself."""
    *_, head = ground.history(3)
    ground.repo.set_retention(["keep-last", "0"])
    plan_id = made(ground)
    path = ground.where / "store" / "gc" / f"{plan_id}.names"
    names = bytearray(path.read_bytes())
    for at in range(20, len(names), 36):
        names[at] ^= 0x55
    path.write_bytes(names)
    assert ground.repo.gc_run(plan_id).objects == 0
    ground.check(head)


def test_what_a_plan_writes_down(ground: Ground) -> None:
    old, head = ground.history(2)
    ground.repo.set_retention(["keep-last", "0"])
    pinned = ground.repo.pin("main@1").pin
    ground.edit()
    newest = ground.push()
    plan_id = made(ground)
    folder = ground.where / "store" / "gc"
    saved = json.loads((folder / f"{plan_id}.json").read_text())
    assert (saved["plan_id"], saved["status"]) == (plan_id, "planned")
    raw = (folder / f"{plan_id}.snapshots").read_bytes()
    found = {(raw[at : at + 32], raw[at + 32]) for at in range(0, len(raw), 33)}
    number = gc_plan.GROUPS.index
    leaving = gc_plan.LEAVING + number("reflog")
    assert found == {
        (newest, number("head")),
        (newest, leaving),
        (head, leaving),
        (old, leaving),
        (pinned.ca_id, number("pin")),
    }
    assert len((folder / f"{plan_id}.names").read_bytes()) == saved["candidates"] * gc_plan.RECORD


def test_old_plans_are_forgotten(ground: Ground) -> None:
    ground.history(1)
    ids = [made(ground) for _ in range(gc_plan.KEPT_PLANS + 2)]
    names = os.listdir(ground.where / "store" / "gc")
    assert {name.partition(".")[0] for name in names} == set(ids[2:])


def test_what_is_no_plan_stays(ground: Ground) -> None:
    """However many plans are made, and however old it is."""
    ground.history(1)
    folder = ground.where / "store" / "gc"
    folder.mkdir()
    others = {folder / name for name in ("README.json", "README.names", ".names", f"{'A' * 32}.json")}
    for path in others:
        path.write_text("{}")
        os.utime(path, (0, 0))
    for _ in range(gc_plan.KEPT_PLANS + 1):
        made(ground)
    assert others <= set(folder.iterdir())


def test_a_read_only_store_is_not_collected(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.history(1)
    monkeypatch.setattr(ground.repo.store, "readonly", True)
    for attempt in (ground.repo.gc_plan, ground.repo.gc_run, lambda: ground.repo.gc_run(dry_run=True)):
        with pytest.raises(JvsError) as caught:
            attempt()
        assert (caught.value.code, caught.value.exit_status) == ("read-only", 1)
    assert not (ground.where / "store" / "gc").exists()


def test_the_figures_of_a_plan_are_those_of_the_packs(ground: Ground) -> None:
    ground.history(4)
    ground.repo.set_retention(["keep-last", "2"])
    plan = ground.repo.gc_plan()
    with LocalStore.open(ground.where / "store") as store, store.read() as txn:
        live = sum(row.live_bytes for _, row in txn.packs())
    assert plan.examined_bytes == live
    assert sum(plan.kinds.values()) == plan.candidates
    ground.repo.gc_run()
    with LocalStore.open(ground.where / "store") as store, store.read() as txn:
        assert sum(row.live_bytes for _, row in txn.packs()) == plan.live_bytes


def test_nothing_changed_costs_nothing(ground: Ground) -> None:
    """A plan after a complete run reads only what came since."""
    for number in range(40):
        ground.edit(f"{number}/f", 100)
    ground.push()
    ground.repo.gc_run()
    reads: list[int] = []

    class Counting:
        def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
            reads.append(done_items)

    assert ground.repo.gc_plan(progress=Counting()).candidates == 0
    assert max(reads) == 0
    ground.edit("7/f", 100)
    ground.push()
    reads.clear()
    ground.repo.gc_plan(progress=Counting())
    assert 0 < max(reads) <= 4, "two pages and their layouts"


def test_the_files_belong_to_nobody_else(ground: Ground) -> None:
    ground.history(1)
    made(ground)
    folder = ground.where / "store" / "gc"
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in Path(folder).iterdir())


def test_what_an_unfinished_plan_left_goes(ground: Ground) -> None:
    """The files of a plan whose maker is gone are removed, those of one that is just being made are not."""
    ground.history(2)
    files = gc_plan.PlanFiles(ground.repo.store)
    making = ground.repo.store.locks.hold()
    gone = ground.repo.store.locks.hold()
    for lock in (making, gone):
        files.write(lock.name, "names", [bytes(36)])
        files.write(lock.name, "snapshots", [bytes(33)])
    gone.release()
    for collect in (ground.repo.gc_run, ground.repo.gc_plan):
        collect()
        left = {name.partition(".")[0] for name in os.listdir(files.directory)}
        assert making.name in left
        assert gone.name not in left
    making.release()
    ground.repo.gc_run()
    assert making.name not in {name.partition(".")[0] for name in os.listdir(files.directory)}
