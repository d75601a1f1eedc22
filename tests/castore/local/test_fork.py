"""A store is not usable in a forked child, and a child never frees what its parent has locked."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore.backend import Kind
from jvs.castore.local.descriptors import Descriptor
from jvs.castore.local.store import LocalStore
from jvs.errors import StoreError
from tests.castore.local import driver
from tests.castore.local.checks import check_whole


def in_child(job: Callable[[], None]) -> None:
    """Run `job` in a forked child; it must not raise."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            job()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(StoreError) as caught:
        call()
    assert caught.value.code == "forked"


def test_every_use_is_refused(tmp_path: Path) -> None:
    with LocalStore.create(tmp_path / "store") as store:
        root = driver.push(store, 1)
        kind, key, stored, _ = driver.tree(2)[0]
        with store.writer() as writer:
            writer.put(kind, key, stored)

            def child() -> None:
                refused(store.read)
                refused(store.write)
                refused(store.writer)
                refused(lambda: store.get(kind, key))
                refused(lambda: store.missing(kind, [key]))
                refused(lambda: next(store.list(kind)))
                refused(lambda: next(store.journal_records()))
                refused(lambda: store.delete(kind, [key]))
                refused(lambda: writer.put(Kind.PART, key, stored))
                refused(writer.publish)
                writer.close()
                store.close()

            in_child(child)
            writer.publish()
        assert store.get(kind, key) == stored
        check_whole(store, {1: root})


def test_a_child_opens_the_store_itself(tmp_path: Path) -> None:
    with LocalStore.create(tmp_path / "store") as store:
        driver.push(store, 1)

        def child() -> None:
            with LocalStore.open(tmp_path / "store") as mine:
                driver.push(mine, 2)

        in_child(child)
        assert len(list(store.journal_records())) == 2
        driver.push(store, 3)
        check_whole(store, {})


def test_a_child_of_a_busy_parent_does_not(tmp_path: Path) -> None:
    """Closing the copied environment would end the transaction that the parent is in the middle of."""
    with LocalStore.create(tmp_path / "store") as store:
        driver.push(store, 1)
        with store.read() as txn:
            in_child(lambda: refused(lambda: LocalStore.open(tmp_path / "store")))
            assert txn.journal_head().end.seq == 1


def test_locks_stay_with_the_parent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    mine = Descriptor(str(tmp_path / "file"), os.O_RDWR)
    number = mine.fd
    assert mine.lock(wait=False)

    def child() -> None:
        with pytest.raises(OSError):
            os.fstat(number)
        reused = os.dup2(os.open(tmp_path / "file", os.O_RDWR), number)
        mine.close()
        os.fstat(reused)
        other = Descriptor(str(tmp_path / "file"), os.O_RDWR)
        assert not other.lock(wait=False)

    in_child(child)
    other = Descriptor(str(tmp_path / "file"), os.O_RDWR)
    assert not other.lock(wait=False)
    mine.close()
    assert other.lock(wait=False)


def test_a_lock_does_not_outlive_its_process_in_a_child(tmp_path: Path) -> None:
    """The grandchild lives on; the pack that the dead child held is free."""
    with LocalStore.create(tmp_path / "store") as store:
        driver.push(store, 1)
        (name,) = os.listdir(store.packs_path)
        asked, answer = os.pipe()
        waiting, ready = os.pipe()

        def child() -> None:
            with LocalStore.open(tmp_path / "store") as mine:
                writer = mine.writer()
                writer.put(*driver.tree(2)[0][:3])
                if os.fork() == 0:
                    os.close(answer)
                    os.write(ready, b"!")
                    os.read(asked, 1)
                os._exit(0)

        in_child(child)
        os.close(asked)
        assert os.read(waiting, 1) == b"!"
        free = Descriptor(os.path.join(store.packs_path, name), os.O_RDWR)
        assert free.lock(wait=False)
        free.close()
        for number in (answer, waiting, ready):
            os.close(number)
        driver.push(store, 3)
        assert os.listdir(store.packs_path) == [name]
