"""A disk that fills up: a clear error, nothing damaged, and work goes on when there is space again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.backend import Table
from jvs.castore.digest import Digest
from jvs.castore.local.store import LocalStore
from jvs.errors import NoSpaceError
from tests.castore.local import driver
from tests.castore.local.checks import check_whole

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(where)], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount")
    yield where
    subprocess.run(["umount", str(where)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Take all space but `leave` bytes."""
    free = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(free.f_bavail * free.f_bsize - leave, 0)))
    return ballast


def push_until_full(store: LocalStore, done: dict[int, Digest]) -> None:
    """Push rounds from 1 on, noting those that are acknowledged."""
    for number in range(1, 1000):
        done[number] = driver.push(store, number, 20_000)


def write_until_full(store: LocalStore) -> None:
    """Write rows, each with a journal record, until that fails."""
    for number in range(10_000):
        with store.write() as txn:
            txn.put(Table("notes"), b"%d" % number, b"x" * 500)
            txn.journal("note", {"n": number, "text": "x" * 500})


@pytest.mark.parametrize("leave", [0, 4096, 8192, 16384, 40_000, 100_000])
def test_a_push_onto_a_full_disk(disk: Path, leave: int) -> None:
    """Whatever runs out first (pack, journal, index), the error is the same, in this process and for the next."""
    done: dict[int, Digest] = {}
    with LocalStore.create(disk / "store") as store:
        done[0] = driver.push(store, 0, 20_000)
        ballast = fill(disk, leave)
        with pytest.raises(NoSpaceError) as caught:
            push_until_full(store, done)
        number = len(done)
        assert (caught.value.code, caught.value.exit_status) == ("no-space", 1)
        check_whole(store, done, 20_000)
        ballast.unlink()
        done[number] = driver.push(store, number, 20_000)
        check_whole(store, done, 20_000)
    with LocalStore.open(disk / "store") as store:
        check_whole(store, done, 20_000)


def test_labels_on_a_full_disk(disk: Path) -> None:
    """The journal line is there before the commit fails; nobody ever reads it."""
    with LocalStore.create(disk / "store") as store:
        fill(disk, 100_000)
        with pytest.raises(NoSpaceError):
            write_until_full(store)
        count = len(list(store.journal_records()))
        assert count
        with store.read() as txn:
            txn.check_table(Table("notes"))
            assert txn.count(Table("notes")) == count
    with LocalStore.open(disk / "store") as store:
        assert len(list(store.journal_records())) == count


def test_what_a_failed_push_wrote_is_freed(disk: Path) -> None:
    with LocalStore.create(disk / "store") as store:
        driver.push(store, 0)
        before = os.statvfs(disk).f_bavail
        with pytest.raises(NoSpaceError):
            driver.push(store, 1, 8 << 20)
        assert before - os.statvfs(disk).f_bavail < 20
        driver.push(store, 2)


def test_a_store_is_not_half_made(disk: Path) -> None:
    ballast = fill(disk, 50_000)
    with pytest.raises(NoSpaceError):
        LocalStore.create(disk / "store")
    ballast.unlink()
    with LocalStore.create(disk / "store") as store:
        assert store.created
        check_whole(store, {0: driver.push(store, 0)})
