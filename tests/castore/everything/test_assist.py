"""Verifying everything with a second process finds what one process finds, whatever becomes of the second one."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore.backend import Codec, Kind, Ref, Stored, object_name
from jvs.castore.digest import file_digest, page_digest
from jvs.castore.everything import assist, verify
from jvs.castore.everything.assist import Assistant, decode_found, decode_task, encode_found, encode_task
from jvs.castore.everything.tasks import Chunks, Found, LargeFiles, Pages, Parts
from jvs.castore.everything.verify import verify_all
from jvs.castore.ingest.ingest import ingest
from jvs.castore.layout import encode_layout
from jvs.castore.local.pack import HEADER, pack_path
from jvs.castore.local.store import LocalStore
from jvs.castore.local.tables import ObjectRow
from jvs.castore.manifest import DIRECTORY, SINGLE, Directory, Entry, File, encode_entries, small_files
from jvs.castore.objects import ObjectStore, page_children
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


def pages_of(store: LocalStore, kind: Kind) -> list[bytes]:
    """The pages that have a directory (PAGE), or a file that is kept under such an object."""
    objects = ObjectStore(store, store.settings)
    found = []
    for key in store.keys(Kind.PAGE):
        below = set(page_children(key, objects.page(key)))
        below |= {ref for name, of in below if name == Kind.LAYOUT for ref in objects.layout(of).children()}
        if any(ref.kind == kind for ref in below):
            found.append(key)
    return sorted(found)


def lie(store: LocalStore, page: bytes, change: Callable[[Entry], Entry]) -> bytes:
    """Put another page into the store, and the layout it needs; each is sound in itself. Its digest."""
    objects = ObjectStore(store, store.settings)
    old = objects.page(page)
    entries = [change(entry) for entry in old.entries]
    raw = encode_entries(SINGLE, entries)
    digest = page_digest(raw)
    with store.writer() as writer:
        below = [Ref(Kind.PAGE, entry[3]) for entry in entries if entry[1] == DIRECTORY]
        if files := small_files(entries):
            places = objects.layout(page).places(small_files(old.entries))
            places = [
                place if place.kind == Kind.PART else place._replace(key=file.digest)
                for file, place in zip(files, places, strict=True)
            ]
            layout = encode_layout(digest, files, places)
            named = list(dict.fromkeys(Ref(place.kind, place.key) for place in places))
            writer.put(Kind.LAYOUT, digest, Stored(Codec.RAW, len(layout), layout), named)
            below.append(Ref(Kind.LAYOUT, digest))
        writer.put(Kind.PAGE, digest, Stored(Codec.RAW, len(raw), raw), below)
        writer.publish()
    return digest


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


def false_totals(store: LocalStore) -> Ref:
    """A directory that is said to hold a byte more than it does."""
    page = pages_of(store, Kind.PAGE)[0]
    objects = ObjectStore(store, store.settings)
    below = next(entry for entry in objects.page(page).entries if isinstance(entry, Directory))

    def change(entry: Entry) -> Entry:
        return entry._replace(bytes=entry.bytes + 1) if isinstance(entry, Directory) and entry == below else entry

    lie(store, page, change)
    return Ref(Kind.PAGE, below.digest)


def false_size(kind: Kind) -> Callable[[LocalStore], Ref]:
    """A file that is kept under a chunk, or recipe, and is said to have a byte more than that gives."""

    def plant(store: LocalStore) -> Ref:
        page = pages_of(store, kind)[0]
        objects = ObjectStore(store, store.settings)
        victim = next(place.key for place in objects.places(page).values() if place.kind == kind)

        def change(entry: Entry) -> Entry:
            if isinstance(entry, File) and entry.digest == victim:
                return entry._replace(size=entry.size + 1)
            return entry

        lie(store, page, change)
        return Ref(kind, victim)

    return plant


def false_content(store: LocalStore) -> Ref:
    """A file that is said to have another digest than its bytes in a part give."""
    page = pages_of(store, Kind.PART)[0]
    objects = ObjectStore(store, store.settings)
    victim = next(digest for digest, place in objects.places(page).items() if place.kind == Kind.PART)

    def change(entry: Entry) -> Entry:
        if isinstance(entry, File) and entry.digest == victim:
            return entry._replace(digest=file_digest(b"other"))
        return entry

    return Ref(Kind.LAYOUT, lie(store, page, change))


@pytest.mark.parametrize(
    "plant", [false_totals, false_size(Kind.CHUNK), false_size(Kind.RECIPE), false_content], ids=range(4)
)
def test_what_each_object_hides_is_seen_between_them(store: LocalStore, plant: Callable[[LocalStore], Ref]) -> None:
    """Objects that are sound each for itself, and do not agree: whoever did the tasks."""
    wrong = plant(store)
    checked, done = assisted(store)
    same(checked, alone(store))
    assert [fault.ref for fault in checked.faults] == [wrong]
    assert done > 2
