"""The look ahead by two processes: what it calls clean is as the index has it, and without it all is the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from jvs.castore.ingest import scout
from jvs.castore.ingest.scout import Clean, look_ahead
from jvs.castore.ingest.walk import open_root
from tests.castore.ingest.support import Ground, on_disk

pytestmark = pytest.mark.usefixtures("settled")


@pytest.fixture
def wide(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """30 directories in 6 groups, pushed; small enough a tree is looked ahead at."""
    monkeypatch.setattr(scout, "MIN_ENTRIES", 1)
    monkeypatch.setattr(scout, "UNITS", 12)
    for number in range(60):
        ground.write(f"group{number % 6}/part{number % 5}/file{number}", str(number).encode())
    ground.write("top", b"1")
    ground.push()
    return ground


def found(ground: Ground) -> list[Clean]:
    """What a look ahead finds clean now."""
    fd = open_root(ground.directory)
    try:
        with ground.index() as index:
            return list(look_ahead(index, fd).values())
    finally:
        os.close(fd)


def test_everything_is_clean(wide: Ground) -> None:
    clean = found(wide)
    assert len(clean) >= 12
    # the groups that were cut up are themselves no unit
    assert 30 <= sum(unit.directories for unit in clean) <= 36
    result = wide.push()
    assert (result.directories, result.files) == (36, 61)
    assert not wide.saved


def edit(ground: Ground) -> None:
    ground.write("group3/part3/file3", b"changed")


def add(ground: Ground) -> None:
    ground.write("group3/part3/new/file", b"1")


def remove(ground: Ground) -> None:
    os.unlink(ground.path("group2/part2/file32"))


def chmod(ground: Ground) -> None:
    os.chmod(ground.path("group1/part1"), 0o700)


def move(ground: Ground) -> None:
    os.rename(ground.path("group0"), ground.path("elsewhere"))


def swap(ground: Ground) -> None:
    os.rename(ground.path("group4"), ground.path("kept"))
    os.symlink("kept", ground.path("group4"))


def rules(ground: Ground) -> None:
    ground.write(".jvsignore", b"file1*\n")
    ground.write("group0/part1/file100", b"ignored")


@pytest.mark.parametrize("change", [edit, add, remove, chmod, move, swap, rules])
def test_a_change_is_seen(wide: Ground, change: Callable[[Ground], None]) -> None:
    change(wide)
    result = wide.push()
    content = on_disk(wide.directory)
    content.pop(b"group0/part1/file100", None)
    assert wide.content(result.tree) == content
    again = wide.push()
    assert again[:3] == result[:3]
    assert again.ignored == result.ignored
    assert not wide.saved


def test_what_must_be_told_is_looked_at_again(wide: Ground) -> None:
    os.mkfifo(wide.path("group3/part3/fifo"))
    for _ in range(3):
        assert wide.push().skipped == [(b"group3/part3/fifo", "a FIFO")]


def test_the_second_process_may_die(wide: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    look = scout._look
    parent = os.getpid()

    def dying(*args: object) -> Clean | None:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return look(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(scout, "_look", dying)
    tree = wide.push().tree
    wide.write("group5/part0/file5", b"changed")
    assert wide.push().tree == wide.fresh() != tree


def test_the_first_process_may_fail(wide: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left behind: no process, no descriptor."""
    parent = os.getpid()

    def failing(*_: object) -> Clean | None:
        if os.getpid() == parent:
            raise MemoryError
        signal.pause()
        return None

    before = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
    monkeypatch.setattr(scout, "_look", failing)
    with pytest.raises(MemoryError):
        wide.push()
    assert not before or len(os.listdir("/proc/self/fd")) == len(before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_beside_other_threads_nothing_is_forked(wide: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fork() -> int:
        raise AssertionError("forked beside a thread")

    monkeypatch.setattr(os, "fork", no_fork)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert len(found(wide)) >= 12
    finally:
        stop.set()
        thread.join()


def test_a_small_tree_is_not_worth_it(wide: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scout, "MIN_ENTRIES", 1000)
    assert found(wide) == []
