"""The stat index file: what comes back, what is not believed, and what two builds have in common."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore.ingest import statindex
from jvs.castore.ingest.statindex import (
    NO_RULES,
    OWN_RULES,
    UNKNOWN_RULES,
    IndexBuilder,
    Slot,
    StatIndex,
    pack_rows,
    unpack_rows,
)
from jvs.castore.ingest.walk import Row, row_of
from jvs.castore.manifest import Tree
from tests.castore.ingest.support import STORE, Ground, on_disk

IDENTITY = (7, 11)

numbers = st.integers(0, 2**63 - 1)
names = st.binary(min_size=1, max_size=40).map(os.fsdecode)
rows: st.SearchStrategy[list[Row]] = st.lists(
    st.one_of(
        st.tuples(names, numbers, numbers, st.integers(-(2**62), 2**63 - 1), numbers, st.integers(0, 2**64 - 1)),
        st.tuples(names, numbers),
        st.tuples(names, st.just(0), st.just(0)),
        st.tuples(names),
    ),
    max_size=8,
)


@given(rows)
def test_rows_come_back(listed: list[Row]) -> None:
    assert list(unpack_rows(pack_rows(listed))) == listed


@given(rows, rows)
def test_packed_rows_are_equal_exactly_when_the_rows_are(one: list[Row], two: list[Row]) -> None:
    assert (pack_rows(one) == pack_rows(two)) == (one == two)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where an index goes; its directory is made when it is needed."""
    return os.fspath(tmp_path / "cache" / "index")


def made(number: int) -> Tree:
    """Some tree."""
    return Tree(bytes([number]) * 32, number, number * 1000)


def rows_of(number: int, directories: int = 0) -> list[Row]:
    """Some rows, of which the last ones are directories."""
    files: list[Row] = [(f"f{at}", 0o100644, number, 1, 2, at) for at in range(number % 5)]
    return files + [(f"d{at}", 0o40755) for at in range(directories)]


def build(builder: IndexBuilder) -> tuple[Slot, Slot, Slot]:
    """root / (d0 / (d0, d1), d1); the places of the root, root/d0 and root/d1."""
    top = builder.mark()
    first = builder.mark()
    leaves = [builder.add(builder.mark(), rows_of(number), made(number)) for number in (1, 2)]
    d0 = builder.add(first, rows_of(3, 2), made(3), leaves, ignored=4, notes=[("fifo", "a FIFO"), ("\udcff", "")])
    d1 = builder.add(builder.mark(), rows_of(4, 1), made(4), [None], rules=b"r" * 16, flags=OWN_RULES)
    root = builder.add(top, rows_of(5, 2), made(5), [d0, d1])
    builder.finish(made(5).digest, root)
    return root, d0, d1


def test_what_was_built_is_read(path: str) -> None:
    builder = StatIndex(path, STORE, IDENTITY).builder()
    build(builder)
    assert builder.save()
    with StatIndex(path, STORE, IDENTITY) as index:
        assert index.root == made(5).digest
        top = index.top
        assert (top.tree, top.rows, top.rules, top.flags) == (made(5), pack_rows(rows_of(5, 2)), NO_RULES, 0)
        first, second = top.children
        assert first is not None
        assert second is not None
        d0 = index.record(first)
        assert (d0.tree, d0.ignored, list(d0.notes)) == (made(3), 4, [("fifo", "a FIFO"), ("\udcff", "")])
        assert unpack_rows(d0.rows) == tuple(rows_of(3, 2))
        below = [index.record(slot) for slot in d0.children if slot is not None]
        assert [record.tree for record in below] == [made(1), made(2)]
        d1 = index.record(second)
        assert (d1.rules, d1.flags, list(d1.children)) == (b"r" * 16, OWN_RULES, [None])


def test_kept_subtrees_are_copied(path: str) -> None:
    build(builder := StatIndex(path, STORE, IDENTITY).builder())
    assert builder.save()
    with StatIndex(path, STORE, IDENTITY) as index:
        d0, d1 = (index.record(slot) for slot in index.top.children if slot is not None)
        builder = index.builder()
        top = builder.mark()
        new = builder.add(builder.mark(), rows_of(9), made(9))
        mark = builder.mark()
        builder.add(builder.mark(), rows_of(1), made(1))  # dropped again by the next line
        kept = builder.keep(d0, mark)
        kept1 = builder.keep(d1, builder.mark())
        root = builder.add(top, rows_of(6, 3), made(6), [new, kept, kept1])
        builder.finish(made(6).digest, root)
        assert builder.save()
    with StatIndex(path, STORE, IDENTITY) as index:
        records = [index.record(slot) for slot in index.top.children if slot is not None]
        assert [record.tree for record in records] == [made(9), made(3), made(4)]
        assert [index.record(slot).tree for slot in records[1].children if slot] == [made(1), made(2)]
        assert records[1].start == records[0].slot.at + records[0].slot.length


@pytest.mark.parametrize("small", [True, False])
def test_a_large_index_goes_through_its_temporary_file(path: str, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    """The same bytes whether it was kept in memory or not, also with subtrees kept after some of it was written."""
    files = []
    for spill, in_memory in ((1 << 30, 1 << 30), (100 if small else 1, 0)):
        monkeypatch.setattr(statindex, "SPILL", spill)
        monkeypatch.setattr(statindex, "IN_MEMORY", in_memory)
        Path(path).unlink(missing_ok=True)
        build(builder := StatIndex(path, STORE, IDENTITY).builder())
        assert builder.save()
        with StatIndex(path, STORE, IDENTITY) as index:
            d0 = index.record(index.top.children[0])  # type: ignore[arg-type]
            builder = index.builder()
            top = mark = builder.mark()
            for number in range(20):
                builder.add(builder.mark(), rows_of(number), made(number))
            kept = builder.keep(d0, mark)
            builder.finish(made(6).digest, builder.add(top, rows_of(6, 1), made(6), [kept]))
            assert builder.save()
        files.append(Path(path).read_bytes())
    assert files[0] == files[1]
    assert os.listdir(os.path.dirname(path)) == ["index"]


def test_nothing_to_say_writes_nothing(path: str) -> None:
    builder = StatIndex(path, STORE, IDENTITY).builder()
    assert not builder.save()
    root = builder.add(builder.mark(), [], made(1))
    builder.finish(made(1).digest, root, unchanged=True)
    assert not builder.save()
    assert not os.path.exists(path)


def test_no_place_for_it_is_no_failure(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.path.dirname(path), "w"):  # a file stands where the cache should be
        pass
    for spill in (1 << 30, 1):
        monkeypatch.setattr(statindex, "SPILL", spill)
        build(builder := StatIndex(path, STORE, IDENTITY).builder())
        assert not builder.save()


def test_of_another_store_or_directory(path: str) -> None:
    build(builder := StatIndex(path, STORE, IDENTITY).builder())
    assert builder.save()
    assert StatIndex(path, bytes(16), IDENTITY).root is None
    assert StatIndex(path, STORE, (7, 12)).root is None
    assert StatIndex(path, STORE, IDENTITY).root is not None


def damages(data: bytes) -> Iterator[bytes]:
    """The file cut, lengthened, emptied, and with bits flipped."""
    for size in {0, 1, 8, 40, 41, len(data) // 2, len(data) - 33, len(data) - 1}:
        yield data[:size]
    yield data + b"\0"
    yield bytes(len(data))
    yield b"\xff" * len(data)
    positions = (
        range(len(data)) if os.environ.get("JVS_TORTURE") == "1" else random.Random(1).sample(range(len(data)), 60)
    )
    for at in [*positions, *range(8), *range(len(data) - 36, len(data))]:
        yield data[:at] + bytes([data[at] ^ (1 << (at % 8))]) + data[at + 1 :]


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_damage_of_any_kind_is_never_believed(path: str, monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(statindex, "IN_MEMORY", in_memory)
    build(builder := StatIndex(path, STORE, IDENTITY).builder())
    assert builder.save()
    data = Path(path).read_bytes()
    for damaged in damages(data):
        Path(path).write_bytes(damaged)
        with StatIndex(path, STORE, IDENTITY) as index:
            assert index.root is None
            with pytest.raises(ValueError):
                _ = index.top
    Path(path).write_bytes(data)
    assert StatIndex(path, STORE, IDENTITY).root is not None


@pytest.mark.usefixtures("settled")
def test_a_push_with_a_damaged_index_reads_everything(ground: Ground) -> None:
    for number in range(20):
        ground.write(f"d{number % 3}/file{number}", str(number).encode())
    tree = ground.push().tree
    data = ground.index_path.read_bytes()
    ground.write("d1/file1", b"changed")
    changed = ground.fresh()
    for damaged in list(damages(data))[:30]:
        ground.base = tree.digest
        ground.index_path.write_bytes(damaged)
        assert ground.push().tree == changed
    assert ground.content(changed) == on_disk(ground.directory)


@pytest.mark.usefixtures("settled")
def test_an_index_that_is_wrong_about_a_kind(ground: Ground) -> None:
    """Its row is that of a file, which its tree has as a link."""
    os.symlink("elsewhere", ground.path("name"))
    tree = ground.push().tree
    os.unlink(ground.path("name"))
    ground.write("name", b"a file")
    with ground.index() as index:
        listed = [row_of("name", os.lstat(ground.path("name")))]
        builder = index.builder()
        builder.finish(tree.digest, builder.add(builder.mark(), listed, tree, rules=UNKNOWN_RULES))
        assert builder.save()
    assert ground.content(ground.push().tree)[b"name"][2] == b"a file"


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_something_else_at_its_path(ground: Ground, kind: str) -> None:
    ground.write("file", b"1")
    ground.index_path.parent.mkdir()
    if kind == "directory":
        ground.index_path.mkdir()
    elif kind == "link":
        ground.index_path.symlink_to("/dev/zero")
    else:
        os.mkfifo(ground.index_path)
    ground.push()
    assert ground.saved is (kind != "directory")
    assert ground.push().files == 1
