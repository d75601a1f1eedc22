"""Two commands in one worktree: the second one waits, and says so when it has waited long enough."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.blackbox.workspace.conftest import Repository


@contextmanager
def at_work_in(directory: Path) -> Iterator[int]:
    """As another command that works in a worktree."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("seconds", ["0", "0.3"])
def test_whoever_waited_long_enough_is_told(repository: Repository, seconds: str) -> None:
    repository.write("f", "x")
    with at_work_in(repository.main):
        started = time.monotonic()
        done = repository("snapshot", "x", "--wait", seconds, "--json")
        assert time.monotonic() - started >= float(seconds)
        assert done.status == 11
        assert done.value["error"]["error_code"] == "E_REPO_BUSY"
        assert repository("status").status == 0, "looking waits for nobody"
    repository("snapshot", "x").ok()


def test_it_waits_without_being_told_to(repository: Repository) -> None:
    repository.write("f", "x")
    with at_work_in(repository.main) as fd:
        ends = threading.Timer(2.5, fcntl.flock, (fd, fcntl.LOCK_UN))  # longer than a push waits
        ends.start()
        assert repository("snapshot", "x").status == 0
        ends.join()


def test_what_is_configured_is_waited(repository: Repository) -> None:
    repository("config", "set", "wait", "0").ok()
    with at_work_in(repository.main):
        assert repository("snapshot", "x").status == 11
