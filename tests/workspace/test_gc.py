"""Collections: what goes, what stays and why, and that every way to stop one half-way loses nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jvs.castore.backend import Kind
from jvs.castore.local import reserve
from jvs.castore.local.pack import pack_path, record_length
from jvs.errors import CollectedError, IntegrityError, JvsError, StateError, UnknownError
from jvs.workspace.gc_results import GcRun
from jvs.workspace.reading import pinned
from jvs.workspace.repo import Repo
from tests.workspace.gc_support import DAY, At, Ground, ground

__all__ = ["ground"]


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How far the clock is off, in ms."""
    off, true = [0], time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: true() + off[0] * 1_000_000)
    return off


def reasons(ground: Ground) -> dict[str, int]:
    return {group.reason: group.snapshots for group in ground.repo.gc_plan().protected}


# what goes


def test_without_a_policy_nothing_goes(ground: Ground) -> None:
    kept = ground.history()
    plan = ground.repo.gc_plan()
    assert (plan.candidates, plan.snapshots, plan.reclaimable_bytes) == (0, 0, 0)
    assert plan.examined_bytes == plan.live_bytes > 4 * 100_000
    assert reasons(ground) == {"head": 1, "reflog": 4}
    run = ground.repo.gc_run()
    assert (run.done, run.objects, run.truncated) == (True, 0, 0)
    ground.check(*kept)


def test_what_leaves_its_window_goes_and_its_space_comes_back(ground: Ground) -> None:
    *gone, kept = ground.history(12)
    ground.repo.set_retention(["keep-last", "1"])
    plan = ground.repo.gc_plan()
    assert plan.snapshots == 11
    assert plan.reclaimable_bytes > 11 * 100_000
    before = ground.pack_bytes()
    assert plan.plan_id is not None
    run = ground.repo.gc_run(plan.plan_id)
    assert (run.objects, run.done, run.truncated) == (plan.candidates, True, 11)
    assert run.bytes == plan.examined_bytes - plan.live_bytes
    assert run.freed_bytes == plan.freed_bytes > 11 * 100_000
    assert abs(before - ground.pack_bytes() - run.freed_bytes) < 1000, "the header of a new pack"
    assert (run.packs_dropped, run.packs_rewritten) == (plan.packs_dropped, plan.packs_rewritten)
    ground.check(kept)
    assert not any(ground.repo.has_snapshot(snapshot) for snapshot in gone)
    assert ground.repo.stats().snapshots == 1
    with pytest.raises(CollectedError):
        ground.repo.resolve("main@1")
    with pytest.raises(CollectedError):
        ground.repo.diff("main@12", None)


def test_the_chain_of_a_truncated_history_still_verifies(ground: Ground) -> None:
    ground.history(5)
    before = [entry.id for entry in ground.repo.log("main", None)]
    ground.repo.set_retention(["keep-last", "2"])
    ground.repo.gc_run()
    checkpoint, *entries = ground.repo.log("main", None)
    assert checkpoint.op == "checkpoint"
    assert [entry.id for entry in entries] == before
    assert [entry.dropped for entry in entries] == [False, False, True, True, True]
    assert checkpoint.meta["removed"] == {"generation": 3, "id": entries[2].id.hex()}
    assert ground.repo.labels.verify() == 6


def test_a_run_is_recorded_in_the_journal(ground: Ground) -> None:
    ground.history(2)
    ground.repo.set_retention(["keep-last", "0"])
    run = ground.repo.gc_run()
    *_, last = ground.repo.store.journal_records()
    assert (last.op, last.skeleton["objects"], last.body) == ("gc", run.objects, {"actor": "tester"})


def test_pins_tags_and_detached_snapshots_stay(ground: Ground, wall: list[int]) -> None:
    ground.repo.set_retention(["keep-last", "0"])
    ground.edit()
    tagged = ground.push(tags=("v1",))
    ground.edit()
    pinned_snapshot = ground.push()
    pin = ground.repo.pin("main", message="mine")
    ground.edit()
    short = ground.push()
    ground.repo.pin(short.hex(), "2d")
    ground.edit()
    detached = ground.repo.push(str(ground.source), detach=True).ca_id
    ground.edit()
    head = ground.push()
    assert reasons(ground) == {"head": 1, "reflog": 1, "tag": 1, "pin": 2, "detached": 1, "base": 1}
    ground.repo.gc_run()
    ground.check(tagged, pinned_snapshot, short, detached, head)
    wall[0] = 3 * DAY
    ground.repo.gc_run()
    ground.check(tagged, pinned_snapshot, head)
    assert not ground.repo.has_snapshot(short)
    assert not ground.repo.has_snapshot(detached)
    ground.repo.unpin(pin.pin.id.hex())
    ground.repo.delete_tag("v1")
    ground.repo.gc_run()
    ground.check(head)
    assert not ground.repo.has_snapshot(tagged)
    assert not ground.repo.has_snapshot(pinned_snapshot)


def test_a_deleted_label_can_come_back_for_its_time(ground: Ground, wall: list[int]) -> None:
    kept = ground.history(2, "work")
    ground.repo.delete_label("work")
    wall[0] = 7 * DAY - 60_000
    ground.repo.gc_run()
    ground.repo.undelete_label("work")
    ground.check(*kept)
    ground.repo.delete_label("work")
    ground.repo.set_retention(["keep-deleted", "0"])
    run = ground.repo.gc_run()
    assert (run.forgotten, ground.objects()) == (1, 0)
    with pytest.raises(JvsError):
        ground.repo.undelete_label("work")


def test_a_long_read_keeps_its_snapshot(ground: Ground) -> None:
    old, _ = ground.history(2)
    ground.repo.set_retention(["keep-last", "0"])
    with pinned(ground.repo, old, what="export"):
        plan = ground.repo.gc_plan()
        (running,) = (group for group in plan.protected if group.reason == "running")
        assert (running.snapshots, running.examples[0].detail) == (1, "export")
        ground.repo.gc_run()
        ground.check(old)
    ground.repo.gc_run()
    assert not ground.repo.has_snapshot(old)


def test_a_large_cat_is_not_disturbed(ground: Ground) -> None:
    ground.edit("big", 9 << 20)
    ground.push()
    content = (ground.source / "big").read_bytes()
    old = ground.repo.labels.require("main").ca_id
    ground.edit("big", 1000)
    ground.push()
    ground.repo.set_retention(["keep-last", "0"])
    pieces = ground.repo.cat(f"{old.hex()}:big")
    first = next(pieces)
    ground.repo.gc_run()
    assert first + b"".join(pieces) == content
    ground.repo.gc_run()
    with pytest.raises(JvsError):
        b"".join(ground.repo.cat(f"{old.hex()}:big"))


@pytest.mark.parametrize("read", ["pull", "verify", "patch"])
def test_long_reads_are_not_disturbed(ground: Ground, read: str) -> None:
    """A collection begins and ends in the middle of each."""
    ground.history(2)
    for number in range(20):
        ground.edit(f"{number}/f", 1000)
    old = ground.push()
    for number in range(20):
        ground.edit(f"{number}/f", 1000)
    head = ground.push()
    ground.repo.set_retention(["keep-last", "0"])
    collected: list[int] = []

    def collect() -> None:
        collected.append(ground.repo.gc_run().objects)

    if read == "pull":
        done = ground.repo.pull(old.hex(), str(ground.where / "there"), progress=At(0, collect))
        assert done.written == 24 + 21, "files and directories"
    elif read == "verify":
        assert ground.repo.verify(old.hex(), progress=At(5, collect)).damaged == ()
    else:
        lines = ground.repo.patch(ground.repo.diff(old.hex(), head.hex()))
        next(lines)
        collect()
        assert len([line for line in lines if line.startswith("Binary")]) == 20
    assert collected[0] > 0, "what nobody reads"
    ground.check(head)
    ground.repo.gc_run()
    assert not ground.repo.has_snapshot(old)


def test_a_small_cat_takes_no_pin(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.edit("f", 1000)
    ground.push()
    before = [record.seq for record in ground.repo.store.journal_records()]
    with ground.repo.store.read() as txn:
        transaction = txn.id
    assert len(b"".join(ground.repo.cat("main:f"))) == 1000
    with ground.repo.store.read() as txn:
        assert txn.id == transaction
    assert [record.seq for record in ground.repo.store.journal_records()] == before


# stopping


def test_interrupted_anywhere_the_next_run_goes_on(ground: Ground) -> None:
    ground.repo.set_retention(["keep-last", "0"])
    for number in range(1000):
        gone, kept = ground.history(2)

        def interrupt() -> None:
            raise KeyboardInterrupt

        stop = At(number, interrupt)
        with suppress(KeyboardInterrupt):
            ground.repo.gc_run(progress=stop)
        ground.check(kept)
        ground.repo.gc_run()
        assert not ground.repo.has_snapshot(gone)
        assert ground.objects() == 8, "two pages, their layouts, three parts, a chunk"
        if not stop.called:
            break
    assert number > 4


def test_an_interrupted_plan_is_continued_under_its_id(ground: Ground) -> None:
    *gone, kept = ground.history(5)
    ground.repo.set_retention(["keep-last", "0"])
    plan = ground.repo.gc_plan()
    stopped = ground.repo.gc_run(plan.plan_id, max_bytes=1)
    assert (stopped.done, stopped.objects > 0) == (False, True)
    run = ground.repo.gc_run(plan.plan_id)
    assert (run.done, run.objects + stopped.objects) == (True, plan.candidates)
    assert run.resumed == run.objects
    ground.check(kept)
    assert not any(ground.repo.has_snapshot(snapshot) for snapshot in gone)


def test_limits_stop_a_run_and_the_next_one_goes_on(ground: Ground) -> None:
    ground.history(30)
    ground.repo.set_retention(["keep-last", "0"])
    assert not ground.repo.gc_run(max_seconds=0.000_001).done
    ground.check()
    runs: list[GcRun] = []
    while not runs or not runs[-1].done:
        runs.append(ground.repo.gc_run(max_bytes=200_000))
        ground.check()
    assert len(runs) > 1
    assert ground.repo.gc_plan().reclaimable_bytes == 0


def test_two_runs_at_once(ground: Ground) -> None:
    """One begins and ends at each step of another."""
    ground.repo.set_retention(["keep-last", "0"])
    for number in range(1000):
        gone, kept = ground.history(2)
        with Repo.open(str(ground.where / "store"), actor="other") as other:
            between = At(number, lambda other=other: other.gc_run() and None)  # type: ignore[misc]
            ground.repo.gc_run(progress=between)
        ground.repo.gc_run()
        ground.check(kept)
        assert not ground.repo.has_snapshot(gone)
        if not between.called:
            break
    assert number > 4


def test_a_push_at_each_step_is_safe(ground: Ground) -> None:
    """It brings back what is being collected."""
    for number in range(1000):
        ground.edit("big")
        old = ground.push()
        ground.edit("big")
        head = ground.push()
        ground.repo.set_retention(["keep-last", "0"])
        back: list[str] = []

        def bring_back(old: bytes = old, name: str = f"back/{number}", back: list[str] = back) -> None:
            with suppress(CollectedError, UnknownError):
                ground.repo.set_label(name, old.hex())
                back.append(name)

        between = At(number, bring_back)
        ground.repo.gc_run(progress=between)
        ground.check(head, *([old] if back else []))
        if not between.called:
            break
    assert number > 4


# what must not be removed


def test_a_page_that_cannot_be_read_stops_it(ground: Ground) -> None:
    ground.history(4)
    ground.repo.set_retention(["keep-last", "0"])
    below = ground.repo.snapshot_of(ground.repo.resolve("main:small"))
    with ground.repo.store.read() as txn:
        row = txn.object_row(bytes((Kind.PAGE,)) + below)
    assert row is not None
    with open(pack_path(ground.repo.store.packs_path, row.pack), "r+b") as file:
        file.seek(row.offset + record_length(row.stored) - 1)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes((byte[0] ^ 1,)))
    before = ground.objects()
    for attempt in (ground.repo.gc_plan, ground.repo.gc_run):
        with pytest.raises(IntegrityError) as caught:
            attempt()
        assert caught.value.exit_status == 8
        assert below.hex() in caught.value.message
        assert "removed nothing" in caught.value.message
    assert ground.objects() == before
    assert not any(entry.dropped for entry in ground.repo.log("main", None))
    assert os.listdir(ground.where / "store" / "gc") == []


@pytest.mark.parametrize("years", [10, -10])
def test_a_clock_that_jumps_loses_nothing(ground: Ground, wall: list[int], years: int) -> None:
    kept = ground.history(3)
    ground.repo.set_retention(["keep-within", "30d"])
    plan = ground.repo.gc_plan()
    assert plan.plan_id is not None
    wall[0] = years * 365 * DAY
    if years > 0:
        for attempt in (ground.repo.gc_plan, ground.repo.gc_run):
            with pytest.raises(StateError) as caught:
                attempt()
            assert caught.value.code == "clock-jump"
    else:
        assert ground.repo.gc_run().objects == 0
    assert ground.repo.gc_run(plan.plan_id).objects == 0
    ground.check(*kept)
    if years > 0:
        assert ground.repo.gc_run(trust_clock=True).objects > 0
        ground.check(kept[-1])


def test_a_clock_that_jumps_while_it_runs_is_not_looked_at(ground: Ground, wall: list[int]) -> None:
    kept = ground.history(3)
    ground.repo.set_retention(["keep-within", "30d"])
    ground.repo.gc_run(progress=At(0, lambda: wall.__setitem__(0, 3650 * DAY)))
    ground.check(*kept)


# a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "none", str(where)], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield where
    subprocess.run(["umount", str(where)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_full_disk_is_collected(small_disk: Path) -> None:
    ground = Ground(small_disk)
    with ground.repo:
        for _ in range(5):
            ground.edit("big", 4 << 20)
            ground.push()
        ground.edit("big", 100_000)
        head = ground.push()
        ground.repo.set_retention(["keep-last", "0"])
        free = os.statvfs(small_disk)
        (small_disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize))
        assert (small_disk / "store" / "reserve").stat().st_blocks
        with pytest.raises(JvsError) as caught:
            ground.repo.gc_plan()
        assert (caught.value.code, caught.value.next) == ("no-space", "jvs fs gc run")
        run = ground.repo.gc_run()
        assert (run.done, run.packs_left, run.packs_rewritten) == (True, 0, 1)
        assert run.freed_bytes > 20 << 20
        ground.check(head)
        assert (small_disk / "store" / "reserve").exists()


def test_the_reserve_is_made_where_there_is_room(tmp_path: Path) -> None:
    reserve.make(str(tmp_path))
    status = (tmp_path / "reserve").stat()
    assert 0 < status.st_size <= reserve.SIZE
    assert status.st_blocks * 512 >= status.st_size
    reserve.make(str(tmp_path))
    reserve.release(str(tmp_path))
    reserve.release(str(tmp_path))
    assert os.listdir(tmp_path) == []
