"""The memory map of the index: as large as can be, and followed when another process has outgrown it."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from jvs.castore.backend import Table
from jvs.castore.local import env
from jvs.castore.local.store import LocalStore
from jvs.errors import NoSpaceError, StoreError
from tests.castore.local import driver
from tests.castore.local.checks import check_whole

NOTES = Table("notes")


def write(store: LocalStore, count: int) -> None:
    with store.write() as txn:
        for number in range(count):
            txn.put(NOTES, b"%d" % number, b"x" * 1000)


def elsewhere(where: Path, count: int) -> None:
    """`write` in another process, whose map has the usual size."""
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from jvs.castore.local.store import LocalStore
from tests.castore.local.test_map import write
with LocalStore.open({str(where)!r}) as store:
    write(store, {count})
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_map_that_others_outgrew_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "MAP_SIZE", 1 << 20)
    with LocalStore.create(tmp_path / "store") as store:
        root = driver.push(store, 1)
        with store.read() as txn:
            elsewhere(tmp_path / "store", 3000)
            with pytest.raises(StoreError, match="has grown"), store.read():
                pass
            assert txn.count(NOTES) == 0, "what is being read stays as it was"
        with store.read() as txn:
            assert txn.count(NOTES) == 3000
            txn.check_table(NOTES)
        with store.write() as write_txn:
            assert write_txn.count(NOTES) == 3000
            write_txn.put(NOTES, b"one", b"more")
        check_whole(store, {1: root})


def test_a_full_map_is_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "MAP_SIZE", 1 << 20)
    with LocalStore.create(tmp_path / "store") as store:
        root = driver.push(store, 1)
        with pytest.raises(NoSpaceError):
            write(store, 3000)
        check_whole(store, {1: root})
        second = driver.push(store, 2)
    monkeypatch.undo()
    with LocalStore.open(tmp_path / "store") as store:
        write(store, 3000)
        check_whole(store, {1: root, 2: second})


def test_little_address_space(tmp_path: Path) -> None:
    """Under `ulimit -v` the largest map that fits is taken."""
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from tests.castore.local import driver
from jvs.castore.local.store import LocalStore
with LocalStore.create({str(tmp_path / "store")!r}) as store:
    driver.push(store, 1)
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))

    subprocess.run([sys.executable, "-c", program], check=True, preexec_fn=limit)
    with LocalStore.open(tmp_path / "store") as store:
        check_whole(store, {1: driver.tree(1)[-1][1]})
