"""Verifying everything with a second process finds what one process finds, whatever becomes of the second one."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore.backend import Kind, Ref, object_name
from jvs.castore.everything import assist, verify
from jvs.castore.everything.assist import Assistant, decode_found, decode_task, encode_found, encode_task
from jvs.castore.everything.tasks import Chunks, Found, LargeFiles, Pages, Parts
from jvs.castore.everything.verify import verify_all
from jvs.castore.ingest.ingest import ingest
from jvs.castore.local.pack import HEADER, pack_path
from jvs.castore.local.store import LocalStore
from jvs.castore.local.tables import ObjectRow
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from jvs.castore.verify import Checked, Fault

SETTINGS = StoreSettings(chunk_min=256, chunk_avg=1024, chunk_max=4096, inline_limit=512)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """Small files in many directories, files of one chunk, files of many chunks; and every task is small."""
    monkeypatch.setattr(assist, "LARGE", 1)
    monkeypatch.setattr(assist, "_LOOK", 1)
    monkeypatch.setattr(verify, "BATCH", 3)
    monkeypatch.setattr(verify, "BATCH_BYTES", 20_000)
    source = tmp_path / "source"
    draw = random.Random(4)
    for number in range(30):
        place = source / f"d{number % 5}" / f"e{number}"
        place.mkdir(parents=True)
        for name in range(5):
            (place / f"f{name}").write_bytes(b"%d %d " % (number, name) * draw.randrange(60))
        (place / "chunk").write_bytes(draw.randbytes(600 + number))
        if number % 3 == 0:
            (place / "large").write_bytes(draw.randbytes(30_000 + number))
    store = LocalStore.create(tmp_path / "store", SETTINGS)
    with TreeWriter(ObjectStore(store, store.settings)) as writer:
        ingest(writer, source)
        writer.publish()
    return store


def damage(store: LocalStore, each: int) -> set[Ref]:
    """Change a byte in `each` objects of every kind."""
    draw = random.Random(5)
    damaged = set()
    for kind in Kind:
        keys = sorted(store.keys(kind))
        for key in draw.sample(keys, min(each, len(keys))):
            with store.read() as txn:
                value = txn.object_value(object_name(kind, key))
            assert value is not None
            row = ObjectRow(value)
            with open(pack_path(store.packs_path, row.pack), "r+b") as file:
                file.seek(row.offset + HEADER + draw.randrange(row.stored))
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes((byte[0] ^ 0x20,)))
            damaged.add(Ref(kind, key))
    return damaged


def alone(store: LocalStore) -> Checked:
    return verify_all(ObjectStore(store, store.settings))


def assisted(store: LocalStore, trouble: Callable[[Assistant], None] = lambda _: None) -> tuple[Checked, int]:
    """What an assisted verification finds; how many tasks the assistant did."""
    done = 0
    ticked = [0, 0]

    def tick(size: int, count: int) -> None:
        ticked[0] += size
        ticked[1] += count

    with Assistant(store.path) as assistant:
        take_back = assistant.take_back

        def counting() -> Found | None:
            nonlocal done
            found = take_back()
            done += found is not None
            trouble(assistant)
            return found

        assistant.take_back = counting  # type: ignore[method-assign]
        checked = verify_all(ObjectStore(store, store.settings), tick, assistant=assistant)
    assert ticked == [checked.bytes, checked.objects]
    return checked, done


def same(one: Checked, other: Checked) -> None:
    assert one[:2] == other[:2]
    assert sorted(one.faults) == sorted(other.faults)


def test_a_sound_store(store: LocalStore) -> None:
    checked, done = assisted(store)
    same(checked, alone(store))
    assert not checked.faults
    assert checked.objects == sum(1 for kind in Kind for _ in store.keys(kind))
    assert done > 2


def test_all_damage_is_found(store: LocalStore) -> None:
    damaged = damage(store, 4)
    checked, done = assisted(store)
    same(checked, alone(store))
    assert damaged <= {fault.ref for fault in checked.faults}
    assert done > 2


def test_all_damage_is_found_when_the_assistant_dies(store: LocalStore) -> None:
    damaged = damage(store, 4)

    def kill(assistant: Assistant) -> None:
        if assistant._process is not None:
            os.kill(assistant._process.pid, signal.SIGKILL)

    checked, done = assisted(store, kill)
    same(checked, alone(store))
    assert damaged <= {fault.ref for fault in checked.faults}
    assert done >= 1


def test_an_assistant_that_never_was(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assist, "spawn", lambda *_: (_ for _ in ()).throw(OSError("no process")))
    checked, done = assisted(store)
    same(checked, alone(store))
    assert done == 0


def test_nobody_assists_in_a_small_store(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assist, "LARGE", 1 << 30)
    with Assistant(store.path) as assistant:
        assert assistant._process is None


def test_messages() -> None:
    keys = [bytes((number,)) * 32 for number in range(3)]
    for task in (Pages(keys), LargeFiles(keys), Parts(keys, [b"s" * 76]), Chunks([])):
        again = decode_task(encode_task(task))
        assert type(again) is type(task)
        assert [list(field) for field in again] == [list(field) for field in task]
    faults = [Fault(Ref(Kind.PART, keys[0]), None, "no \udcff good"), Fault(Ref(Kind.PAGE, keys[1]), (b"a",), "x")]
    found = decode_found(encode_found(Found(Checked(3, 1 << 40, faults), [b"a"], [b"b"], [], [b"c"], [b"d", b"e"])))
    assert found.checked == Checked(3, 1 << 40, faults)
    assert [list(field) for field in found[1:]] == [[b"a"], [b"b"], [], [b"c"], [b"d", b"e"]]
