"""The index made anew from packs and journal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from jvs.castore.backend import Codec, JournalRecord, Kind, Ref, Stored, WriteTxn, object_name
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import lost
from jvs.castore.local.rebuild import RebuildReport, rebuild_index
from jvs.castore.local.store import LocalStore
from jvs.castore.local.tables import PackRow
from jvs.castore.local.verify import verify_store
from jvs.errors import IntegrityError, LockedError, NoStoreError
from tests.castore.local import driver
from tests.castore.local.checks import check_whole, labels_of

BELOW = {
    (kind, stored.data): children for number in range(60) for kind, _, stored, children in driver.tree(number)
}


def children(kind: Kind, key: Digest, plain: bytes) -> list[Ref]:
    return BELOW[kind, plain]


def replay(txn: WriteTxn, records: Iterable[JournalRecord]) -> Iterator[Digest]:
    for record in records:
        txn.put(driver.LABELS, record.skeleton["label"], record.skeleton["to"])
        yield record.skeleton["to"]


def rebuild(where: Path) -> RebuildReport:
    return rebuild_index(str(where), replay, children)


@pytest.fixture
def where(tmp_path: Path) -> Path:
    with LocalStore.create(tmp_path / "store") as store:
        for number in range(5):
            driver.push(store, number)
    return tmp_path / "store"


ROOTS = {number: driver.tree(number)[-1][1] for number in range(60)}
FIVE = {number: ROOTS[number] for number in range(5)}


def only_pack(where: Path) -> Path:
    (pack,) = (where / "packs").iterdir()
    return pack


@pytest.mark.parametrize("left", ["sound", "garbage", "nothing", "no directory"])
def test_whatever_is_left_of_the_index(where: Path, left: str) -> None:
    with LocalStore.open(where) as store:
        before = {kind: list(store.list(kind)) for kind in Kind}
    if left == "garbage":
        (where / "index" / "data.mdb").write_bytes(os.urandom(20_000))
    elif left == "nothing":
        (where / "index" / "data.mdb").unlink()
    elif left == "no directory":
        shutil.rmtree(where / "index")
    report = rebuild(where)
    assert report[:4] == (25, 0, (), 0)
    assert os.path.isdir(report.set_aside)
    with LocalStore.open(where) as store:
        assert {kind: list(store.list(kind)) for kind in Kind} == before
        check_whole(store, FIVE)
        driver.push(store, 5)
        check_whole(store, FIVE)
    assert len(list((where / "packs").iterdir())) == 1


def test_only_what_a_root_reaches_comes_back(where: Path) -> None:
    with LocalStore.open(where) as store, store.writer() as writer:
        for kind, key, stored, below in driver.tree(40):
            writer.put(kind, key, stored, below)
        writer.publish()
    assert rebuild(where)[:4] == (25, 5, (), 0)
    with LocalStore.open(where) as store:
        check_whole(store, FIVE)
        assert all(store.missing(kind, [key]) for kind, key, _, _ in driver.tree(40))


@pytest.mark.parametrize("place", range(5))
def test_what_is_nowhere_costs_only_itself(where: Path, place: int) -> None:
    """One object of round 2 is damaged: it is recorded as lost, everything else that a root reaches comes back."""
    gone, gone_key, stored, _ = driver.tree(2)[place]
    raw = bytearray(only_pack(where).read_bytes())
    raw[raw.index(stored.data)] ^= 1
    only_pack(where).write_bytes(raw)
    report = rebuild(where)
    is_root = gone_key == ROOTS[2]
    assert report.lost_roots == ((ROOTS[2],) if is_root else ())
    assert report.lost == 1
    assert report.irregular == (only_pack(where).name,)
    with LocalStore.open(where) as store:
        for number in (0, 1, 3, 4):
            for kind, key, stored, _ in driver.tree(number):
                assert store.get(kind, key) == stored
        assert store.missing(gone, [gone_key])
        with store.read() as txn:
            assert [name for name, _ in lost(txn)] == [object_name(gone, gone_key)]
        above = [name for name in driver.tree(2)[place + 1 :] if not is_root]
        assert all(store.get(kind, key) == stored for kind, key, stored, _ in above)
        assert labels_of(store)[b"r2"] == ROOTS[2], (
            "a decision is never forgotten, even where its content is lost"
        )
        with store.read() as txn:
            row = txn.pack_row(bytes.fromhex(only_pack(where).stem))
        assert row is not None
        assert row.state == PackRow.SEALED
        driver.push(store, 2)
        back = [name for name in driver.tree(2) if gone != Kind.LAYOUT or name[0] != gone]
        assert all(store.get(kind, key) == stored for kind, key, stored, _ in back)
        assert list(verify_store(store)) == []
        with store.read() as txn:
            assert bool(list(lost(txn))) == (gone == Kind.LAYOUT), "a page that is there keeps its layout: see doctor"


def test_a_damaged_header_is_stepped_over(where: Path) -> None:
    _, key, _, _ = driver.tree(1)[0]
    raw = bytearray(only_pack(where).read_bytes())
    raw[raw.index(key)] ^= 0x40
    only_pack(where).write_bytes(raw)
    assert rebuild(where)[:4] == (24, 0, (), 1)


def test_the_layout_whose_parts_are_sound_is_taken(where: Path) -> None:
    """Two pushes of one page each stored a layout; the newest one that is whole is used."""
    objects = driver.tree(1)
    with LocalStore.open(where) as store:
        for name in objects[2:]:
            store.delete(name[0], [name[1]])
        store.delete(Kind.CHUNK, [objects[0][1]])
        driver.push(store, 1)
    raw = bytearray(only_pack(where).read_bytes())
    first = raw.index(objects[0][2].data)
    raw[first] ^= 1
    assert raw.index(objects[0][2].data) > first, "stored twice"
    only_pack(where).write_bytes(raw)
    assert rebuild(where).lost_roots == ()
    with LocalStore.open(where) as store:
        for kind, key, stored, _ in objects:
            assert store.get(kind, key) == stored


def test_an_object_below_itself_is_not_whole(where: Path) -> None:
    recipe = (Kind.RECIPE, bytes(32), Stored(Codec.RAW, 4, b"self"))
    with LocalStore.open(where) as store:
        with store.writer() as writer:
            writer.put(*recipe)
            writer.publish()
        root = driver.tree(50)[-1]
        with store.writer() as writer:
            writer.put(*root[:3], [Ref(Kind.RECIPE, bytes(32))])
            writer.publish(lambda txn: txn.journal("move", {"label": b"r50", "to": root[1]}))

    def below(kind: Kind, key: Digest, plain: bytes) -> list[Ref]:
        if plain == b"self":
            return [Ref(Kind.RECIPE, bytes(32)), Ref(Kind.RECIPE, bytes(32))]
        return [Ref(Kind.RECIPE, bytes(32))] if key == root[1] else children(kind, key, plain)

    assert rebuild_index(str(where), replay, below)[:4] == (26, 1, (), 1)


def test_a_torn_end_of_the_journal(where: Path) -> None:
    whole = (where / "journal").read_bytes()
    (where / "journal").write_bytes(whole + whole[:50])
    rebuild(where)
    assert (where / "journal").read_bytes() == whole
    with LocalStore.open(where) as store:
        check_whole(store, FIVE)


def test_a_damaged_journal_is_not_cut(where: Path) -> None:
    whole = bytearray((where / "journal").read_bytes())
    whole[60] ^= 1
    (where / "journal").write_bytes(whole)
    with pytest.raises(IntegrityError) as caught:
        rebuild(where)
    assert caught.value.code == "journal-damaged"
    assert (where / "journal").read_bytes() == whole
    assert "index.old" not in " ".join(os.listdir(where)), "the old index stays in use"


def test_a_store_in_use_is_left_alone(where: Path) -> None:
    with LocalStore.open(where) as store:
        with pytest.raises(LockedError):
            rebuild(where)
        check_whole(store, FIVE)
    with pytest.raises(NoStoreError):
        rebuild(where / "packs")


def test_an_index_that_went_back_is_mended(where: Path) -> None:
    with LocalStore.open(where) as store:
        store._committed.note(1 << 40)
    with pytest.raises(IntegrityError) as caught:
        LocalStore.open(where)
    assert caught.value.code == "index-rolled-back"
    rebuild(where)
    with LocalStore.open(where) as store:
        check_whole(store, FIVE)
