"""A pack's life: who may write where, and what becomes of packs that are not as they should be."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from jvs.castore.backend import Codec, Kind, Stored
from jvs.castore.digest import file_digest
from jvs.castore.local import writer as writing
from jvs.castore.local.descriptors import Descriptor
from jvs.castore.local.pack import HEADER, PACK_HEADER, pack_path
from jvs.castore.local.store import LocalStore
from jvs.castore.local.tables import OPEN_PACKS, PackRow
from jvs.castore.local.verify import verify_store
from jvs.errors import IndexDamagedError, StoreError
from tests.castore.local import driver
from tests.castore.local.checks import check_whole

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.create(tmp_path / "store") as store:
        yield store


def packs(store: LocalStore) -> list[str]:
    return sorted(os.listdir(store.packs_path))


def rows(store: LocalStore) -> dict[str, PackRow]:
    with store.read() as txn:
        found = {}
        for name in packs(store):
            row = txn.pack_row(bytes.fromhex(name.removesuffix(".pack")))
            if row is not None:
                found[name] = row
        return found


def chunk(data: bytes) -> tuple[Kind, bytes, Stored]:
    return Kind.CHUNK, file_digest(data), Stored(Codec.RAW, len(data), data)


def test_sessions_one_after_another_share_a_pack(store: LocalStore) -> None:
    done = {number: driver.push(store, number) for number in range(10)}
    assert len(packs(store)) == 1
    (row,) = rows(store).values()
    assert row.state == PackRow.OPEN
    assert (
        row.committed_end == os.stat(pack_path(store.packs_path, bytes.fromhex(packs(store)[0][:-5]))).st_size
    )
    assert row.live_bytes == row.committed_end - PACK_HEADER
    check_whole(store, done)


def test_writers_at_once_have_a_pack_each(store: LocalStore) -> None:
    for _ in range(3):
        writers = [store.writer() for _ in range(16)]
        for number, one in enumerate(writers):
            one.put(*chunk(b"%d" % number))
        for one in writers:
            one.publish()
            one.close()
    assert len(packs(store)) == 16
    assert list(verify_store(store)) == []


def pushes(path: str, first: int, count: int) -> None:
    with LocalStore.open(path) as store:
        for number in range(first, first + count):
            driver.push(store, number, 5_000)


def test_processes_publish_at_once(store: LocalStore) -> None:
    """Four processes, forty pushes, half of them of the same trees: all there, packs as many as writers at most."""
    first = (0, 0, 10, 10)
    running = [SPAWN.Process(target=pushes, args=(store.path, number, 10)) for number in first]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    assert list(verify_store(store)) == []
    assert 1 <= len(packs(store)) <= 4
    for number in range(20):
        for kind, key, stored, _ in driver.tree(number, 5_000):
            assert store.get(kind, key) == stored
    assert len(list(store.journal_records())) == 40


def test_a_full_pack_is_sealed(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SEAL_AT", 100_000)
    noise = random.Random(5)
    objects = [chunk(noise.randbytes(30_000)) for _ in range(20)]
    with store.writer() as one:
        for item in objects[:10]:
            one.put(*item)
        one.publish()
        for item in objects[10:]:
            one.put(*item)
        one.publish()
    states = sorted(row.state for row in rows(store).values())
    assert states == [PackRow.OPEN, *[PackRow.SEALED] * 4]
    with store.read() as txn:
        assert txn.count(OPEN_PACKS) == 1
    assert list(verify_store(store)) == []
    for kind, key, stored in objects:
        assert store.get(kind, key) == stored
    with store.writer() as one:
        one.put(*chunk(b"next"))
        one.publish()
    assert len(packs(store)) == 5


def test_large_objects_and_many_small_ones(store: LocalStore) -> None:
    """Buffers are written in one call, whatever their number and size."""
    noise = random.Random(6)
    objects = [chunk(noise.randbytes(size)) for size in (0, 1, 3 << 20, 5, (1 << 20) - 72, 1 << 20, 17)]
    objects += [chunk(b"small %d" % number) for number in range(3000)]
    with store.writer() as one:
        for item in objects:
            one.put(*item)
        one.publish()
    for kind, key, stored in objects:
        assert store.get(kind, key) == stored


def test_what_was_not_published_is_freed(store: LocalStore) -> None:
    driver.push(store, 1)
    (name,) = packs(store)
    size = os.stat(os.path.join(store.packs_path, name)).st_size
    with store.writer() as one:
        one.put(*chunk(bytes(3 << 20)))
        assert os.stat(os.path.join(store.packs_path, name)).st_size > size
    assert os.stat(os.path.join(store.packs_path, name)).st_size == size


def test_leavings_of_a_dead_writer_are_cut_off(store: LocalStore) -> None:
    root = driver.push(store, 1)
    (name,) = packs(store)
    with open(os.path.join(store.packs_path, name), "ab") as file:
        file.write(b"never published" * 1000)
    second = driver.push(store, 2)
    check_whole(store, {1: root, 2: second})
    assert packs(store) == [name]
    assert os.stat(os.path.join(store.packs_path, name)).st_size == rows(store)[name].committed_end


def test_a_commit_that_readers_do_not_see_yet(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """LMDB's readers may lag behind the commit of a process that was killed in its last moment: what is appended to
    and cut back is decided by what a writer sees. (Found by `test_race`: a whole push was overwritten.)"""
    driver.push(store, 1)
    with store.read() as before:
        driver.push(store, 2)
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "read", lambda self: nullcontext(before))
            driver.push(store, 3)
    check_whole(store, {})


def test_nothing_is_cut_when_the_index_went_back(store: LocalStore) -> None:
    """Bytes beyond what the index knows may be acknowledged ones then."""
    driver.push(store, 1)
    (name,) = packs(store)
    with open(os.path.join(store.packs_path, name), "ab") as file:
        file.write(b"maybe published")
    size = os.stat(os.path.join(store.packs_path, name)).st_size
    store._committed.note(10_000)
    with store.writer() as one, pytest.raises(IndexDamagedError) as caught:
        one.put(*chunk(b"x"))
    assert caught.value.code == "index-rolled-back"
    assert os.stat(os.path.join(store.packs_path, name)).st_size == size


def test_a_pack_cut_short_is_sealed_and_reported(store: LocalStore) -> None:
    driver.push(store, 1)
    (name,) = packs(store)
    os.truncate(os.path.join(store.packs_path, name), PACK_HEADER + HEADER + 10)
    driver.push(store, 2)
    assert len(packs(store)) == 2
    assert rows(store)[name].state == PackRow.SEALED
    assert os.stat(os.path.join(store.packs_path, name)).st_size == PACK_HEADER + HEADER + 10
    assert f"packs/{name}" in {finding.path for finding in verify_store(store)}


def test_a_lost_pack_is_passed_over(store: LocalStore) -> None:
    driver.push(store, 1)
    (name,) = packs(store)
    os.unlink(os.path.join(store.packs_path, name))
    driver.push(store, 2)
    assert [finding.path for finding in verify_store(store, objects=False)] == [f"packs/{name}"]


def test_a_dropped_pack_takes_no_publish(store: LocalStore) -> None:
    driver.push(store, 1)
    with store.writer() as one:
        one.put(*chunk(b"late"))
        with store.write() as txn:
            txn.set_pack(bytes.fromhex(packs(store)[0][:-5]), state=PackRow.DROPPED, committed_end=0)
        with pytest.raises(StoreError) as caught:
            one.publish()
        assert caught.value.code == "handle-failed"
    assert store.missing(Kind.CHUNK, [file_digest(b"late")])


def test_a_locked_pack_is_left_alone(store: LocalStore) -> None:
    driver.push(store, 1)
    (name,) = packs(store)
    held = Descriptor(os.path.join(store.packs_path, name), os.O_RDWR)
    assert held.lock(wait=False)
    driver.push(store, 2)
    assert len(packs(store)) == 2
    held.close()
    driver.push(store, 3)
    assert len(packs(store)) == 2


def test_a_bounded_number_of_packs_is_open(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writers = [store.writer() for _ in range(12)]
    for number, one in enumerate(writers):
        one.put(*chunk(b"%d" % number))
        one.publish()
    for one in writers:
        one.close()
    monkeypatch.setattr(type(store._packs), "MAX_OPEN", 3)
    for _ in range(2):
        for number in range(12):
            store.get(Kind.CHUNK, file_digest(b"%d" % number))
            assert len(store._packs._files) <= 3


def test_a_writer_that_is_closed_says_so(store: LocalStore) -> None:
    one = store.writer()
    one.close()
    one.close()
    with pytest.raises(StoreError, match="closed"):
        one.put(*chunk(b"x"))
    with pytest.raises(StoreError, match="closed"):
        one.publish()
