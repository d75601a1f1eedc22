"""Every kind of damage in a small store: found, put back where the bytes still are, given up where they are not."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jvs.castore.backend import Codec, Kind, Ref, Stored, object_name
from jvs.castore.gc.marks import COLLECTORS, LOST, lost
from jvs.castore.gc.pins import PUSH, Pin
from jvs.castore.local import env
from jvs.castore.local.pack import HEADER, pack_path
from jvs.castore.local.tables import OBJECTS, PACKS, ObjectRow, PackRow
from jvs.castore.manifest import small_files
from jvs.castore.settings import StoreSettings
from jvs.errors import CollectedError, IntegrityError
from jvs.workspace.doctor import doctor
from jvs.workspace.repo import Repo
from jvs.workspace.results import DoctorResult
from tests.castore.local.flipper import examine

SETTINGS = StoreSettings(chunk_min=256, chunk_avg=1024, chunk_max=4096, inline_limit=512)


class Ground:
    """A store with two labels and a history; `damage` and repair it. `source`: the directory that was pushed."""

    def __init__(self, where: Path, golden: Golden) -> None:
        self.where = where
        self.path = str(where / "store")
        self.copy = str(golden.copy)
        self.source = where / "source"
        self.wanted = golden.contents
        shutil.copytree(golden.copy, self.path, ignore=shutil.ignore_patterns("lock.mdb"))

    def open(self) -> Repo:
        return Repo.open(self.path, actor="tester")

    def repair(self, *sources: str) -> DoctorResult:
        return doctor(self.path, repair=True, sources=sources)

    def bind(self) -> None:
        """Let there be a directory that is bound to main, with what main has."""
        with self.open() as repo:
            repo.pull("main", str(self.source))

    def contents(self) -> dict[str, bytes | None]:
        """What every file of every snapshot reads as; None when it cannot be read."""
        with self.open() as repo:
            return {place: _read(repo, place) for place in self.wanted}

    def lost(self) -> set[bytes]:
        with self.open() as repo, repo.store.read() as txn:
            return {name for name, _ in lost(txn)}


class Golden(NamedTuple):
    copy: Path
    contents: dict[str, bytes | None]


def _read(repo: Repo, place: str) -> bytes | None:
    try:
        return b"".join(repo.cat(place))
    except (IntegrityError, CollectedError):  # a root that is gone, and nobody recorded it, looks like a collected one
        return None


@pytest.fixture(autouse=True)
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk the index here: a child for each look would take most of the time."""
    monkeypatch.setattr(env, "probe", examine)


@pytest.fixture(scope="module")
def golden() -> Iterator[Golden]:
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        tree = Path(name, "tree")
        noise = random.Random(7)
        for folder in ("", "a", "a/deep", "b"):
            (tree / folder).mkdir(exist_ok=True)
            for number in range(6):
                (tree / folder / f"small{number}").write_bytes(noise.randbytes(100 + 60 * number).hex()[:500].encode())
        (tree / "a" / "chunk").write_bytes(noise.randbytes(700))
        (tree / "b" / "large").write_bytes(noise.randbytes(30_000))
        (tree / "twin").write_bytes((tree / "b" / "small3").read_bytes())
        store = Path(name, "store")
        Repo.init(str(store), SETTINGS)
        contents: dict[str, bytes | None] = {}
        with Repo.open(str(store), actor="tester") as repo:
            for generation in (1, 2):
                (tree / "a" / "small1").write_bytes(b"generation %d" % generation)
                repo.push(str(tree), label="main")
                contents |= {
                    f"main@{generation}:{path.relative_to(tree)}": path.read_bytes()
                    for path in tree.rglob("*")
                    if path.is_file()
                }
            repo.set_label("side", "main:a")
        shutil.rmtree(store / "cache")
        yield Golden(store, contents)


@pytest.fixture
def ground(golden: Golden) -> Iterator[Ground]:
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Ground(Path(name), golden)


# -- planting


def rows_of(repo: Repo, kind: Kind) -> list[tuple[Ref, ObjectRow]]:
    with repo.store.read() as txn:
        return [(Ref(kind, key), row) for key, row in txn.objects(kind)]


def write_at(repo: Repo, row: ObjectRow, at: int, data: bytes) -> None:
    with open(pack_path(repo.store.packs_path, row.pack), "r+b") as file:
        file.seek(row.offset + at)
        file.write(data)


def turn(repo: Repo, row: ObjectRow, at: int) -> None:
    with open(pack_path(repo.store.packs_path, row.pack), "r+b") as file:
        file.seek(row.offset + at)
        byte = file.read(1)[0]
        file.seek(row.offset + at)
        file.write(bytes((byte ^ 16,)))


def in_data(kind: Kind) -> Callable[[Repo], Ref]:
    """A bit of the data of one object."""

    def plant(repo: Repo) -> Ref:
        ref, row = rows_of(repo, kind)[0]
        turn(repo, row, HEADER + row.stored // 2)
        return ref

    plant.__name__ = f"data-{kind.name.lower()}"
    return plant


def in_header(repo: Repo) -> Ref:
    ref, row = rows_of(repo, Kind.PART)[0]
    turn(repo, row, 5)
    return ref


def every_data(repo: Repo) -> Ref:
    """A bit of every single object."""
    for kind in Kind:
        for _, row in rows_of(repo, kind):
            turn(repo, row, HEADER + row.stored // 2)
    return rows_of(repo, Kind.CHUNK)[0][0]


def zeroed(repo: Repo) -> Ref:
    """A block of zeros, over several records."""
    ref, row = rows_of(repo, Kind.PART)[0]
    write_at(repo, row, 0, bytes(4096))
    return ref


def swapped(repo: Repo) -> Ref:
    """Two rows of the index lead to each other's objects."""
    (one, first), (other, second) = rows_of(repo, Kind.CHUNK)[:2]
    with repo.store.write() as txn:
        for ref, row in ((one, second), (other, first)):
            value = (row.pack, row.offset, row.stored, row.size, row.codec, row.height, row.seq)
            txn.put(OBJECTS, object_name(*ref), ObjectRow.FORMAT.pack(*value))
    return one


def truncated(repo: Repo) -> Ref:
    """The pack ends in the middle of the record of a page."""
    ref, row = max(rows_of(repo, Kind.PART), key=lambda item: item[1].offset)
    os.truncate(pack_path(repo.store.packs_path, row.pack), row.offset + 40)
    return ref


def removed(repo: Repo) -> Ref:
    """The pack is gone."""
    ref, row = rows_of(repo, Kind.PAGE)[0]
    os.unlink(pack_path(repo.store.packs_path, row.pack))
    return ref


def row_gone(kind: Kind) -> Callable[[Repo], Ref]:
    """The index has lost a row, as if it had never been there."""

    def plant(repo: Repo) -> Ref:
        ref = rows_of(repo, kind)[0][0]
        assert repo.store.delete(kind, [ref.key])
        return ref

    plant.__name__ = f"row-{kind.name.lower()}"
    return plant


def false_layout(repo: Repo) -> Ref:
    """A layout, sound in itself, that leads to other bytes."""
    from jvs.castore.layout import encode_layout

    for ref, row in rows_of(repo, Kind.LAYOUT):
        files = small_files(repo.objects.page(ref.key).entries)
        places = repo.objects.layout(ref.key).places(files)
        if len([place for place in places if place.kind == Kind.PART]) > 2:
            places = [place._replace(offset=place.offset + 1) if place.kind == Kind.PART else place for place in places]
            data = encode_layout(ref.key, files, places)
            with repo.store.writer() as writer:
                below = list(dict.fromkeys(Ref(place.kind, place.key) for place in places))
                writer.replace_layout(ref.key, row.seq, Stored(Codec.RAW, len(data), data), below)
                writer.publish()
            return ref
    raise AssertionError


PLANTS = [
    *map(in_data, Kind),
    in_header,
    every_data,
    zeroed,
    swapped,
    truncated,
    removed,
    *map(row_gone, Kind),
    false_layout,
]
ALONE = {"in_header", "swapped", "row-chunk", "row-recipe", "row-page", "row-layout", "row-part"}
"""What can be put back without anything but the store itself."""


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_put_back_from_another_store(ground: Ground, plant: Callable[[Repo], Ref]) -> None:
    """Found by verify and by doctor; with a copy at hand nothing is left of it."""
    with ground.open() as repo:
        ref = plant(repo)
    with ground.open() as repo:
        assert ref.key in {damage.digest for damage in repo.verify().damaged}
    found = doctor(ground.path, strict=True)
    assert not found.healthy
    assert found.snapshots
    assert found.affected
    mended = ground.repair(ground.copy)
    assert mended.healthy, mended.findings
    assert any(finding.repaired and finding.category == "objects" for finding in mended.findings)
    assert ground.contents() == ground.wanted
    assert ground.lost() == set()
    with ground.open() as repo:
        assert repo.verify().ok
        assert any(record.op == "repair" for record in repo.store.journal_records())
        assert repo.gc_run().done
        assert repo.verify().ok
    assert ground.contents() == ground.wanted


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_put_back_from_nowhere(ground: Ground, plant: Callable[[Repo], Ref]) -> None:
    """Nothing that could be read before is lost, what cannot be read is named, and gc goes on beside it."""
    with ground.open() as repo:
        plant(repo)
    before = ground.contents()
    given_up = ground.repair()
    after = ground.contents()
    for place, content in before.items():
        assert after[place] in (ground.wanted[place], content)
        assert content is None or after[place] == content, place
    assert given_up.healthy == (None not in after.values() and not given_up.snapshots)
    if plant.__name__ in ALONE:
        assert given_up.healthy, given_up.findings
    unreadable = {place for place, content in after.items() if content is None}
    assert len(given_up.affected) >= bool(unreadable)
    again = ground.repair()
    assert again.healthy == given_up.healthy
    assert again.affected == given_up.affected
    with ground.open() as repo:
        assert repo.gc_run().done
    assert ground.contents() == after
    healed = ground.repair(ground.copy)
    assert healed.healthy, healed.findings
    assert ground.contents() == ground.wanted
    assert ground.lost() == set()


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_put_back_from_a_directory(ground: Ground, plant: Callable[[Repo], Ref]) -> None:
    """What a directory that was pulled has is put back; main is whole again."""
    ground.bind()
    with ground.open() as repo:
        plant(repo)
    if plant is removed:  # its pages are known by their digests only, but the directory gives them all
        pass
    ground.repair()
    after = ground.contents()
    assert {place for place, content in after.items() if content is None and place.startswith("main@2:")} == set()
    with ground.open() as repo:
        assert repo.verify("main").ok


def test_a_directory_is_not_trusted(ground: Ground) -> None:
    ground.bind()
    with ground.open() as repo:
        every_data(repo)
    for path in ground.source.rglob("*"):
        if path.is_file() and not path.name.startswith("small0"):
            path.write_bytes(bytes(path.stat().st_size))
    ground.repair()
    for place, content in ground.contents().items():
        assert content in (None, ground.wanted[place])


def test_quarantine_keeps_the_bytes(ground: Ground) -> None:
    with ground.open() as repo:
        ref, row = rows_of(repo, Kind.RECIPE)[0]
        turn(repo, row, HEADER + 3)
        with open(pack_path(repo.store.packs_path, row.pack), "rb") as file:
            file.seek(row.offset)
            raw = file.read(HEADER + row.stored)
    done = ground.repair()
    assert not done.healthy
    kept = Path(ground.path, "quarantine", f"recipe-{ref.key.hex()}")
    assert kept.read_bytes() == raw
    assert kept.stat().st_mode & 0o777 == 0o600
    assert ground.lost() == {object_name(*ref)}
    assert {place.partition(":")[2] for place in done.affected} == {"b/large"}


def test_a_push_brings_back_what_was_lost(ground: Ground) -> None:
    with ground.open() as repo:
        every_data(repo)
    assert not ground.repair().healthy
    assert ground.lost()
    tree = ground.where / "again"
    for place, content in ground.wanted.items():
        if place.startswith("main@2:"):
            path = tree / place.partition(":")[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content or b"")
    with ground.open() as repo:
        assert repo.push(str(tree), label="again", rehash=True).status == "advanced"
    ground.repair()
    with ground.open() as repo:
        assert repo.verify("again").ok
        assert repo.verify("main").ok


def test_what_nothing_needs_is_forgotten(ground: Ground) -> None:
    """Once no history leads to what was lost, the store is healthy again."""
    with ground.open() as repo:
        in_data(Kind.RECIPE)(repo)
    assert not ground.repair().healthy
    with ground.open() as repo:
        side = repo.resolve("side").ca_id
        repo.delete_label("main")
        repo.set_retention(["keep-deleted 0"])
        assert repo.gc_run().done
        assert repo.verify(side.hex()).ok
    assert ground.repair().healthy
    assert ground.lost() == set()


# -- what is no object


def test_pack_rows(ground: Ground) -> None:
    """Numbers that do not agree with the objects, a header, a pack that nothing needs and that is gone."""
    with ground.open() as repo:
        with repo.store.read() as txn:
            ((pack, row),) = txn.packs()
        with repo.store.write() as txn:
            txn.put(PACKS, pack, PackRow(row.state, row.committed_end, row.live_bytes + 7).encode())
            txn.put(PACKS, bytes(16), PackRow(PackRow.SEALED, 500, 0).encode())
        with open(pack_path(repo.store.packs_path, pack), "r+b") as file:
            file.write(b"x")
    found = [finding for finding in doctor(ground.path).findings if finding.category == "pack"]
    assert len(found) == 3
    assert all(finding.severity == "error" for finding in found)
    done = ground.repair()
    assert done.healthy, done.findings
    assert sum(finding.repaired for finding in done.findings) == 3
    with ground.open() as repo:
        told = [record.skeleton for record in repo.store.journal_records() if record.op == "repair"]
    assert [record["did"] for record in told] == ["store"]
    assert len(told[0]["what"]) == 2
    assert ground.contents() == ground.wanted


def test_committed(ground: Ground) -> None:
    with open(os.path.join(ground.path, "committed"), "r+b") as file:
        file.seek(16 * 3_000)
        file.write(b"never written   ")
    assert not doctor(ground.path).healthy
    assert ground.repair().healthy
    assert doctor(ground.path).healthy


@pytest.mark.parametrize("how", ["a bit", "a record", "from a copy"])
def test_journal(ground: Ground, how: str) -> None:
    """One bit is turned back; more comes from a copy's journal, or stays damaged and is said."""
    journal = Path(ground.path, "journal")
    for _ in range(2):  # the first ones leave the index once they are known to be on disk
        with ground.open() as repo:
            for number in range(40):
                repo.set_label("moving", f"main@{1 + number % 2}")
    whole = journal.read_bytes()
    broken = bytearray(whole)
    if how == "a bit":
        broken[100] ^= 2
    else:
        broken[60:160] = bytes(100)
    journal.write_bytes(broken)
    assert [finding.category for finding in doctor(ground.path).findings] == ["journal"]
    done = ground.repair(*[ground.copy] * (how == "from a copy"))
    assert done.healthy == (how != "a record"), done.findings
    if done.healthy:
        assert journal.read_bytes().startswith(whole)
        assert (Path(ground.path, "quarantine", "journal-0")).exists()
        assert doctor(ground.path).healthy
    assert ground.contents() == ground.wanted


def test_the_index_is_rebuilt(ground: Ground) -> None:
    """As long as the index is damaged nothing else is looked at; then everything is."""
    with ground.open() as repo:
        in_data(Kind.CHUNK)(repo)
    data = Path(ground.path, "index", "data.mdb")
    data.write_bytes(random.Random(1).randbytes(data.stat().st_size))
    found = doctor(ground.path, strict=True)
    assert [finding.category for finding in found.findings] == ["index"]
    done = ground.repair(ground.copy)
    assert done.healthy, done.findings
    assert ground.contents() == ground.wanted


def test_an_index_rebuilt_over_damage_keeps_the_rest(ground: Ground) -> None:
    """One chunk that is lost costs the files that have it, not the snapshots."""
    with ground.open() as repo:
        in_data(Kind.CHUNK)(repo)
        before = {place: _read(repo, place) for place in ground.wanted}
    assert None in before.values()
    shutil.rmtree(os.path.join(ground.path, "index"))
    assert not ground.repair().healthy
    assert ground.contents() == before
    with ground.open() as repo:
        assert repo.gc_run().done
    assert ground.contents() == before
    assert ground.repair(ground.copy).healthy


def test_remains_of_the_dead(ground: Ground) -> None:
    """Pins and locks of processes that are gone go; those of the living stay; strays are named."""
    with ground.open() as repo:
        names = [object_name(*rows_of(repo, Kind.PAGE)[0][0])]
        live, dead = Pin(repo.store, "pull"), Pin(repo.store, PUSH)
        for pin in (live, dead):
            with repo.store.write() as txn:
                pin.change(txn, names, ())
        dead._lock._file.close()  # type: ignore[attr-defined]  # as when its process dies
        with repo.store.write() as txn:
            txn.put(COLLECTORS, b"\0\0\0\1", b"\2" + b"0" * 32)
        Path(ground.path, "packs", "ab" * 16 + ".pack").write_bytes(b"stray")
        Path(ground.path, "packs", "notes.txt").write_text("hello")
        found = {finding.category: finding for finding in doctor(ground.path).findings}
        assert set(found) == {"pins", "locks", "collectors", "stray", "leftover"}
        assert all(finding.severity in ("warning", "info") for finding in found.values())
        done = ground.repair()
        assert done.healthy
        assert {finding.category for finding in done.findings if finding.repaired} == {"pins", "locks"}
        assert {finding.category for finding in done.findings if not finding.repaired} == {
            "collectors",
            "stray",
            "leftover",
        }
        live.release()
        assert repo.gc_run().done
    assert {finding.category for finding in doctor(ground.path).findings} == {"leftover"}


def test_looking_changes_nothing(ground: Ground) -> None:
    with ground.open() as repo:
        pin = Pin(repo.store, "pull")
        with repo.store.write() as txn:
            pin.change(txn, [object_name(*rows_of(repo, Kind.PAGE)[0][0])], ())
        pin._lock._file.close()  # type: ignore[attr-defined]  # as when its process dies
        in_data(Kind.CHUNK)(repo)

    def state() -> dict[str, bytes]:
        with ground.open() as repo, repo.store.read() as txn:
            last = txn.id
        files = {str(path): path.read_bytes() for path in Path(ground.path).rglob("*") if path.is_file()}
        return {"last": b"%d" % last} | {path: data for path, data in files.items() if "index/" not in path}

    before = state()
    assert not doctor(ground.path, strict=True).healthy
    assert state() == before


def test_a_repair_of_nothing(ground: Ground) -> None:
    before = doctor(ground.path)
    assert before == DoctorResult(())
    assert ground.repair() == DoctorResult(())
    with ground.open() as repo:
        assert all(record.op != "repair" for record in repo.store.journal_records())


def test_marks_stop_at_what_nobody_recorded(ground: Ground) -> None:
    """gc passes over what a repair recorded, and over nothing else."""
    with ground.open() as repo:
        ref = rows_of(repo, Kind.RECIPE)[0][0]
        repo.store.delete(Kind.RECIPE, [ref.key])
        with pytest.raises(IntegrityError, match="gc stopped"):
            repo.gc_run()
        with repo.store.write() as txn:
            txn.put(LOST, object_name(*ref), bytes(8))
        assert repo.gc_run().done
    assert len([c for c in ground.contents().values() if c is None]) == 2


def test_the_layout_of_a_lost_page_stays(ground: Ground) -> None:
    """What is known to be below a lost page is not swept: it comes back with the page."""
    with ground.open() as repo:
        page = repo.objects.subtree(repo.resolve("main").ca_id, (b"b",))
        rows = dict(rows_of(repo, Kind.PAGE))
        turn(repo, rows[Ref(Kind.PAGE, page)], HEADER + 9)
    assert not ground.repair().healthy
    with ground.open() as repo:
        assert repo.store.infos(Kind.PAGE, [page]) == [None]
        assert repo.gc_run().done
        assert repo.store.infos(Kind.LAYOUT, [page]) != [None]
    assert ground.repair(ground.copy).healthy
    assert ground.contents() == ground.wanted


def test_what_comes_back_below_a_rebuilt_page_is_marked(ground: Ground) -> None:
    """Collectors go by falling heights: a page that was put into the index while one below it was lost must be higher
    than that one, once it is back."""
    with ground.open() as repo:
        below = repo.objects.subtree(repo.resolve("main@1").ca_id, (b"a",))
        turn(repo, dict(rows_of(repo, Kind.PAGE))[Ref(Kind.PAGE, below)], HEADER + 9)
    shutil.rmtree(os.path.join(ground.path, "index"))
    assert not ground.repair().healthy
    assert ground.repair(ground.copy).healthy
    with ground.open() as repo:
        above, inner = repo.store.infos(Kind.PAGE, [repo.resolve("main@1").ca_id, below])
        assert above is not None
        assert inner is not None
        assert above.height > inner.height
        assert repo.gc_run().done
    assert ground.contents() == ground.wanted
