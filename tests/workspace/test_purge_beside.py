"""Purges beside others, and purges that are killed: the same command goes on, and nothing else is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jvs.castore.local.store import LocalStore
from jvs.castore.local.writer import LocalWriter
from jvs.castore.treewriter import TreeWriter
from jvs.errors import JvsError, PurgedContentError
from jvs.workspace import purge as purging
from jvs.workspace.reading import pinned
from jvs.workspace.repo import Repo
from tests.conftest import TORTURE
from tests.workspace.test_purge import MARK, Ground, contents, ground, history, purge, traces

__all__ = ["ground"]

SECRET = random.Random(7).randbytes(60)
SAMPLE = 8
"""At how many steps a purge is killed; at all of them in the long form."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for others."""
    monkeypatch.setattr(purging, "PAUSE", 0.01)


def test_a_reader_of_an_old_snapshot_goes_on(ground: Ground, impatient: None) -> None:
    snapshots = history(ground)
    before = contents(ground.repo, snapshots[1])
    with pinned(ground.repo, snapshots[1], what="pull"):
        result = purge(ground, "keys/*")
        assert (result.done, result.snapshots) == (False, 5)
        assert "running" in result.left[0]
        assert contents(ground.repo, snapshots[1]) == before
        assert ground.repo.resolve("main@2").ca_id != snapshots[1]
    again = purge(ground, "keys/*")
    assert (again.done, again.purge_id) == (True, result.purge_id)
    assert traces(ground.store, MARK) == []
    ground.check()


@pytest.mark.parametrize("size", [len(MARK), 30_000])
@pytest.mark.parametrize("known", [True, False], ids=["same directory", "another directory"])
def test_a_push_that_is_under_way_is_refused(
    ground: Ground, impatient: None, monkeypatch: pytest.MonkeyPatch, size: int, known: bool
) -> None:
    """It has compared everything with the list before anything was on it."""
    ground.write({"secret": MARK.ljust(size, b"."), "a": b"1"})
    ground.push()
    label = "main" if known else "fresh"  # of which nothing is known: nothing that goes is built on
    ground.source = ground.source if known else ground.where / "another"
    ground.write({"secret": MARK.ljust(size, b"."), "b": b"2"})
    publish = TreeWriter.publish
    purged: list[bool] = []

    def after_a_purge(self: TreeWriter, then: Any = None) -> Any:
        if not purged:
            purged.append(True)
            with Repo.open(str(ground.store), actor="other") as other:
                other.purge([b"secret"], reason="leaked")
        return publish(self, then)

    monkeypatch.setattr(TreeWriter, "publish", after_a_purge)
    with pytest.raises(PurgedContentError, match="secret"):
        ground.repo.push(str(ground.source), label=label, force=True)
    ground.write({"secret": None})
    assert ground.repo.push(str(ground.source), label=label, force=True).status == "advanced"
    purge_again(ground)
    assert traces(ground.store, MARK) == []
    ground.check()


def purge_again(ground: Ground) -> None:
    try:
        purge(ground, "secret")
    except JvsError as error:
        assert error.code == "unknown-path"  # noqa: PT017  # it was done the first time


def test_a_pack_that_is_being_written_to_is_waited_for(ground: Ground, impatient: None) -> None:
    ground.write({"secret": MARK, "a": b"1"})
    ground.push()
    with Repo.open(str(ground.store), actor="other") as other, TreeWriter(other.objects) as writer:
        directory = writer.directory()
        directory.finish()
        writer.flush()  # now the pack with the secret in it is held
        result = purge(ground, "secret")
        assert not result.done
        assert "packs are being written to" in result.left[0]
    assert purge(ground, "secret").done
    assert traces(ground.store, MARK) == []
    ground.check()


def test_what_a_killed_push_left_at_the_end_of_a_pack_goes(ground: Ground) -> None:
    ground.write({"secret": MARK, "a": b"1"})
    ground.push()

    def die() -> None:
        with Repo.open(str(ground.store), actor="other") as other:
            writer = other.store.writer()
            writer.copy(b"no record at all " + MARK)
            writer._flush(writer._pack)  # type: ignore[arg-type]
            os._exit(0)

    in_child(die)
    assert any(path.read_bytes().endswith(MARK) for path in (ground.store / "packs").iterdir())
    assert purge(ground, "secret").done
    assert traces(ground.store, MARK) == []
    ground.check()


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process that opens its own store; its exit status."""
    pid = os.fork()
    if not pid:
        status = 70
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Counter:
    """Counts the steps of a process that others could see, and ends it at one of them."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self._last = last

    def before(self, function: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **kwargs: object) -> object:
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1
            return function(*args, **kwargs)

        return counted

    def install(self) -> None:
        """Before every commit, every write and sync of a pack, and every removal of a file."""
        LocalStore.commit = self.before(LocalStore.commit)  # type: ignore[method-assign, assignment]
        LocalWriter._flush = self.before(LocalWriter._flush)  # type: ignore[method-assign, assignment]
        LocalWriter._sync = self.before(LocalWriter._sync)  # type: ignore[method-assign, assignment]
        os.unlink = self.before(os.unlink)  # type: ignore[assignment]
        shutil.rmtree = self.before(shutil.rmtree)  # type: ignore[assignment]


def run_purge(store: Path, last: int, note: Path) -> None:
    counter = Counter(last)
    counter.install()
    with Repo.open(str(store), actor="tester") as repo:
        repo.purge([b"keys/one", b"keys/big"], reason="leaked")
    note.write_text(str(counter.count))


@pytest.mark.timeout(7_200)
def test_killed_at_any_step(ground: Ground, impatient: None) -> None:
    snapshots = history(ground)
    before = [contents(ground.repo, snapshot) for snapshot in snapshots]
    wanted = [{k: v for k, v in files.items() if k not in (b"keys/one", b"keys/big")} for files in before]
    ground.repo.close()
    kept, note = ground.where / "kept", ground.where / "note"
    shutil.copytree(ground.store, kept)
    assert in_child(lambda: run_purge(ground.store, -1, note)) == 0
    steps = list(range(int(note.read_text())))
    assert len(steps) > 20
    for step in steps if TORTURE else random.Random(3).sample(steps, SAMPLE):
        shutil.rmtree(ground.store)
        shutil.copytree(kept, ground.store)
        assert in_child(lambda step=step: run_purge(ground.store, step, note)) == -signal.SIGKILL  # type: ignore[misc]
        repo = ground.reopen()
        for number, (old, new) in enumerate(zip(before, wanted, strict=True), start=1):
            assert contents(repo, repo.resolve(f"main@{number}").ca_id) in (old, new)
        assert repo.gc_run().done, "another collector, before the command is run again"
        ground.check()
        try:
            assert purge(ground, "keys/one", "keys/big").done
        except JvsError as error:
            assert error.code == "unknown-path", "it was killed when it had just ended"  # noqa: PT017
        assert traces(ground.store, MARK) == []
        assert [contents(repo, repo.resolve(f"main@{number}").ca_id) for number in range(1, 6)] == wanted
        assert sum(entry.op == "purge" for entry in repo.log("main", None)) == 1
        ground.check()
        repo.close()


def push_for_a_while(store: Path, where: Path, number: int, until: float) -> None:
    """Push to a label of its own, at first with the secret; remember what was acknowledged."""
    noise = random.Random(number)
    source, acknowledged = where / f"source{number}", where / f"acknowledged{number}"
    (source / "d").mkdir(parents=True)
    secret = source / "d" / "secret"
    secret.write_bytes(SECRET)
    turn = 0
    with Repo.open(str(store), actor=f"pusher {number}") as repo, acknowledged.open("w") as out:
        while time.monotonic() < until or secret.exists():
            turn += 1
            (source / "d" / f"{turn % 5}").write_bytes(noise.randbytes(300))
            (source / f"{turn % 3}").write_bytes(noise.randbytes(6000))
            try:
                done = repo.push(str(source), label=f"label{number}", force=True)
                out.write(f"{done.ca_id.hex()}\n")
            except PurgedContentError:
                secret.unlink()
            time.sleep(0.01)


@pytest.mark.timeout(600)
def test_beside_pushers(ground: Ground) -> None:
    snapshots = history(ground)
    until = time.monotonic() + (20 if TORTURE else 2.5)
    ground.repo.close()
    pids = []
    for number in range(2):
        pid = os.fork()
        if not pid:
            try:
                push_for_a_while(ground.store, ground.where, number, until)
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        pids.append(pid)
    time.sleep(0.7)
    repo = ground.reopen()
    result = purge(ground, "**/secret")
    assert result.snapshots >= 2
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    if not result.done:
        assert purge(ground, "**/secret").done
    assert traces(ground.store, SECRET) == []
    for number in range(2):
        lines = (ground.where / f"acknowledged{number}").read_text().split()
        assert len(lines) > 3
        for line in lines:
            files = contents(repo, repo.resolve(line).ca_id)
            assert b"d/secret" not in files
            assert b"d/" in files
    assert contents(repo, repo.resolve("main@2").ca_id) == contents(repo, snapshots[1])
    ground.check()
