"""Pages laid out anew without what is dead in their parts, and packs rewritten whatever lives in them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from jvs.castore.backend import Kind, Ref
from jvs.castore.digest import Digest, file_digest
from jvs.castore.gc import relayout as relaying
from jvs.castore.gc.relayout import relayout, riddled
from jvs.castore.local.pack import pack_path
from jvs.castore.local.reclaim import rewrite, tainted
from jvs.castore.local.store import LocalStore
from jvs.castore.local.verify import verify_store
from jvs.castore.manifest import FILE, File
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter

NOISE = random.Random(8)
FILES = {b"%02d" % number: NOISE.randbytes(400 + number) for number in range(40)}


def quiet(_: int) -> None:
    """Watch nothing."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.create(tmp_path / "store", StoreSettings()) as made:
        yield made


def objects_of(store: LocalStore) -> ObjectStore:
    return ObjectStore(store, store.settings)


def put(store: LocalStore, files: Mapping[bytes, bytes]) -> Digest:
    """The page of a directory with these files."""
    with TreeWriter(objects_of(store)) as writer:
        directory = writer.directory()
        for name, data in sorted(files.items()):
            directory.add(File(name, FILE, 0o644, len(data), file_digest(data)), data)
        tree = directory.finish()
        writer.publish()
    return tree.digest


def without(store: LocalStore, page: Digest, *names: bytes) -> Digest:
    """The page of the directory without some files; the others stay where they are."""
    with TreeWriter(objects_of(store)) as writer:
        tree = writer.edit(page, dict.fromkeys(names))
        writer.publish()
    return tree.digest


def drop(store: LocalStore, page: Digest) -> None:
    """What a collector does to a page that nothing needs, and to its layout."""
    store.delete(Kind.PAGE, (page,))
    store.delete(Kind.LAYOUT, (page,))


def read(store: LocalStore, page: Digest) -> dict[bytes, bytes]:
    objects = objects_of(store)
    return {file.name: b"".join(objects.read(page, file)) for file in objects.page(page).entries if file[1] == FILE}


def parts_of(store: LocalStore, page: Digest) -> set[Digest]:
    return set(objects_of(store).layout(page).parts)


def seq(store: LocalStore, page: Digest) -> int:
    with store.read() as txn:
        found = txn.layout_seq(page)
    assert found is not None
    return found


def sound(store: LocalStore) -> bool:
    return list(verify_store(store)) == []


def test_a_part_is_riddled_when_something_in_it_is_nobodys(store: LocalStore) -> None:
    first = put(store, FILES)
    second = without(store, first, b"07", b"39")
    objects = objects_of(store)
    assert riddled(objects, (first, second), quiet) == set()
    assert riddled(objects, (second,), quiet) == parts_of(store, first)
    assert riddled(objects, (bytes(32), first), quiet) == set(), "a page that is gone is passed over"


def test_pages_are_laid_out_over_parts_that_hold_nothing_else(store: LocalStore) -> None:
    first = put(store, FILES)
    pages = [without(store, first, b"07"), without(store, first, b"07", b"08")]
    old = parts_of(store, first)
    reader = objects_of(store)
    assert reader.places(pages[0])  # it has read where things lie, before they are moved
    drop(store, first)
    assert relayout(objects_of(store), pages, old, 1, quiet) == 2
    assert [seq(store, page) for page in pages] == [2, 2]
    new = set.union(*(parts_of(store, page) for page in pages))
    assert old.isdisjoint(new)
    assert len(new) == 1, "what both have was moved once"
    assert riddled(objects_of(store), pages, quiet) == set()
    store.delete(Kind.PART, old)
    for number, page in enumerate(pages):
        gone = (b"07", b"08")[: number + 1]
        assert read(store, page) == {name: data for name, data in FILES.items() if name not in gone}
    entry = next(entry for entry in reader.page(pages[0]).entries if entry[0] == b"20")
    assert isinstance(entry, File)
    assert reader.small_file(pages[0], entry) == FILES[b"20"]
    assert relayout(objects_of(store), pages, old, 1, quiet) == 0
    assert sound(store)


def test_who_is_beaten_reads_again(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(store, FILES)
    page = without(store, first, b"07")
    old = parts_of(store, first)
    beaten: list[int] = []
    look = relaying._layout_seq

    def late(backend: LocalStore, wanted: Digest) -> int | None:
        found = look(backend, wanted)
        if not beaten:
            beaten.append(1)
            assert relayout(objects_of(store), [page], {*old}, 1, quiet) == 1
        return found

    monkeypatch.setattr(relaying, "_layout_seq", late)
    assert relayout(objects_of(store), [page], old, 3, quiet) == 1
    assert seq(store, page) == 2, "the other one's layout stays"
    assert old.isdisjoint(parts_of(store, page))
    assert read(store, page) == {name: data for name, data in FILES.items() if name != b"07"}


def packs(store: LocalStore) -> list[bytes]:
    return [bytes.fromhex(name.removesuffix(".pack")) for name in os.listdir(store.packs_path)]


def test_a_pack_with_hardly_anything_dead_is_rewritten(store: LocalStore) -> None:
    page, other = put(store, FILES), put(store, {b"x": b"dead"})
    assert tainted(store, lambda *_: True, quiet) == []
    (part,) = parts_of(store, other)
    drop(store, other)
    store.delete(Kind.PART, (part,))
    assert tainted(store, lambda *_: False, quiet) == []
    assert tainted(store, lambda kind, key: Ref(kind, key) == Ref(Kind.PART, part), quiet) == packs(store)
    old = packs(store)
    done = rewrite(store, old, quiet)
    assert (done.held, done.unsound, done.reclaimed.rewritten) == ((), (), 1)
    assert len(packs(store)) == 1
    assert packs(store) != old
    assert tainted(store, lambda *_: True, quiet) == []
    assert read(store, page) == FILES
    assert sound(store)


def test_a_pack_that_is_held_is_left_and_named(store: LocalStore) -> None:
    put(store, FILES)
    drop(store, put(store, {b"x": b"dead"}))
    with LocalStore.open(store.path) as other, other.writer() as writer:
        writer.copy(b"takes the pack")
        waiting = tainted(store, lambda *_: True, quiet)
        assert waiting == packs(store)
        assert rewrite(store, waiting, quiet).held == tuple(waiting)
    assert rewrite(store, waiting, quiet).held == ()
    assert tainted(store, lambda *_: True, quiet) == []
    assert sound(store)


def test_what_is_not_sound_stays_and_is_named(store: LocalStore) -> None:
    page = put(store, FILES)
    drop(store, put(store, {b"x": b"dead"}))
    (pack,) = packs(store)
    with store.read() as txn:
        row = txn.object_row(bytes((Kind.PAGE,)) + page)
    assert row is not None
    with open(pack_path(store.packs_path, pack), "r+b") as file:
        file.seek(row.offset + 90)
        file.write(b"\0\1\2\3")
    assert rewrite(store, [pack], quiet).unsound == (pack,)
    assert pack in packs(store)
    found = list(verify_store(store))
    assert [finding.digest for finding in found] == [page]


def test_bytes_that_are_no_record_taint_a_pack(store: LocalStore) -> None:
    page = put(store, FILES)
    (pack,) = packs(store)
    with open(pack_path(store.packs_path, pack), "ab") as file:
        file.write(b"left by somebody who was killed")
    assert tainted(store, lambda *_: False, quiet) == [pack]
    assert rewrite(store, [pack], quiet).reclaimed.rewritten == 1
    assert read(store, page) == FILES
    assert tainted(store, lambda *_: True, quiet) == []
