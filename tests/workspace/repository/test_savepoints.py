"""Ids of save points, and which entries are save points at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore.local.store import LocalStore
from jvs.castore.treewriter import TreeWriter
from jvs.errors import AmbiguousError, UnknownError
from jvs.labels.model import Entry
from jvs.labels.store import Labels
from jvs.workspace.repo import Repo
from jvs.workspace.repository import savepoints
from jvs.workspace.repository.savepoints import (
    ALPHABET,
    ID_LENGTH,
    MIN_TYPED,
    SavePoints,
    id_range,
    snapshot_id,
)

times = st.integers(0, (1 << 48) - 1)
digests = st.binary(min_size=32, max_size=32)


@given(times, digests, times, digests)
def test_ids_sort_as_times_do(at: int, entry: bytes, other_at: int, other: bytes) -> None:
    one, two = snapshot_id(at, entry), snapshot_id(other_at, other)
    assert len(one) == ID_LENGTH
    assert not one.strip(ALPHABET)
    assert (one < two) == ((at, entry[:10]) < (other_at, other[:10]))


@given(times, digests, st.integers(MIN_TYPED, ID_LENGTH), times, digests)
def test_a_prefix_is_a_range(at: int, entry: bytes, length: int, other_at: int, other: bytes) -> None:
    typed = snapshot_id(at, entry)[:length]
    found = id_range(typed)
    assert found is not None
    assert found.holds(at, entry)
    assert found.holds(other_at, other) == snapshot_id(other_at, other).startswith(typed)
    close = entry[:9] + bytes([entry[9] ^ 1]) + entry[10:]
    assert found.holds(at, close) == snapshot_id(at, close).startswith(typed)


@pytest.mark.parametrize("text", ["", "abc", "ilou", "a" * 27, "zzzz zzzz", "8" * 26, "éééé"])
def test_what_is_no_prefix(text: str) -> None:
    assert id_range(text) is None


class Clock:
    """Ticks by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


class Bench:
    """A store whose labels move by hand."""

    def __init__(self, path: Path) -> None:
        self.repo = Repo(LocalStore.create(str(path)), "ada")
        self.clock = Clock()
        self.repo.labels = Labels(self.repo.store, "ada", self.clock)
        self.roots: list[bytes] = []
        for number in range(4):
            with TreeWriter(self.repo.objects) as writer:
                directory = writer.directory()
                from jvs.castore.digest import file_digest
                from jvs.castore.manifest import FILE, File

                data = b"x" * (number + 1)
                directory.add(File(b"f", FILE, 0o644, len(data), file_digest(data)), data)
                tree = directory.finish()
                writer.publish()
                self.roots.append(tree.digest)
            self.repo.labels.record_detached(tree.digest)

    def push(self, label: str, root: int, message: str = "", *, after: int = 1, **more: object) -> Entry:
        """Move a label; the clock has gone on by so many ms."""
        self.clock.now += after
        head = self.repo.labels.get(label)
        expect = None if head is None else head.generation
        return self.repo.labels.compare_and_set(label, expect, self.roots[root], message=message, **more)  # type: ignore[arg-type]

    @property
    def save_points(self) -> SavePoints:
        return SavePoints(self.repo)

    def ids(self, label: str) -> list[str]:
        """Of its history."""
        return [one.save_point_id for one in self.save_points.history(label)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "store")
    yield made
    made.repo.close()


def id_of(entry: Entry) -> str:
    return snapshot_id(entry.at_ms, entry.id)


def test_a_fork_stands_at_what_it_was_made_from(bench: Bench) -> None:
    one, two = bench.push("main", 0, "one"), bench.push("main", 1, "two")
    bench.push("main", 2, "three")
    fork = bench.push("exp", 1, op="repoint", parents=(two.id,))
    assert fork.op == "create"
    latest = bench.save_points.latest("exp")
    assert latest is not None
    assert latest.save_point_id == id_of(two)
    assert bench.ids("exp") == [id_of(two), id_of(one)]
    first = bench.push("exp", 3, "own")
    assert bench.ids("exp") == [id_of(first), id_of(two), id_of(one)]
    made = bench.save_points.of(first)
    assert (made.parent_id, made.workspace_name) == (id_of(two), "exp")
    again = bench.push("deep", 3, op="repoint", parents=(first.id,))
    assert bench.save_points.of(again).save_point_id == id_of(first)
    assert bench.ids("deep") == bench.ids("exp")
    assert bench.save_points.newer("exp", fork.generation) == 1


def test_a_label_made_with_other_content_is_no_fork(bench: Bench) -> None:
    one = bench.push("main", 0, "one")
    own = bench.push("exp", 1, "other content", parents=(one.id,))
    assert bench.ids("exp") == [id_of(own)]
    assert bench.save_points.of(own).parent_id == id_of(one)


def test_renames_deletions_and_checkpoints_are_no_save_points(bench: Bench) -> None:
    one = bench.push("main", 0, "one")
    labels = bench.repo.labels
    labels.rename("main", "other")
    labels.delete("other")
    labels.undelete("other")
    assert bench.ids("other") == [id_of(one)]
    latest = bench.save_points.latest("other")
    assert latest is not None
    assert latest.entry.id == one.id
    assert bench.save_points.newer("other", one.generation) == 0
    two = bench.push("other", 1, "two")
    assert bench.save_points.of(two).parent_id == id_of(one)
    reset = labels.reset("other", one.id)
    assert bench.ids("other") == [id_of(reset), id_of(two), id_of(one)]
    assert bench.save_points.newer("other", one.generation) == 2


def test_every_prefix_finds_its_save_point(bench: Bench) -> None:
    entries = [bench.push("main", number % 4, f"note {number}", after=number * 37 % 5) for number in range(60)]
    ids = [id_of(entry) for entry in entries]
    for entry, whole in zip(entries, ids, strict=True):
        for length in range(MIN_TYPED, ID_LENGTH + 1):
            typed = whole[:length]
            alike = [one for one in ids if one.startswith(typed)]
            if len(alike) == 1:
                assert bench.save_points.find(typed, "main").entry.id == entry.id
                assert bench.save_points.find(typed).entry.id == entry.id
            else:
                with pytest.raises(AmbiguousError) as raised:
                    bench.save_points.find(typed, "main")
                listed = {one["id"] for one in raised.value.details["matches"]}
                assert listed <= set(alike)
                assert len(listed) == min(len(alike), 20)


def test_what_is_near_is_found_before_what_is_far(bench: Bench) -> None:
    far = bench.push("other", 0, "the note", tags=["t"])
    near = bench.push("main", 1, "the note", tags=["t"])
    for target in ("the note", "the", "t", "tag:t"):
        assert bench.save_points.find(target, "main").entry.id == near.id
    for target in ("the note", "the", "t"):
        assert bench.save_points.find(target, "other").entry.id == far.id
        with pytest.raises(AmbiguousError):
            bench.save_points.find(target)
    assert bench.save_points.find(id_of(far), "main").entry.id == far.id
    assert bench.save_points.find("other", "main").entry.id == far.id
    with pytest.raises(UnknownError):
        bench.save_points.find("nothing", "main")


def test_a_save_point_of_a_deleted_label_is_found_by_its_id(bench: Bench) -> None:
    gone = bench.push("gone", 0, "gone")
    bench.push("main", 1, "here", after=100_000)
    bench.repo.labels.delete("gone")
    assert bench.save_points.find(id_of(gone), "main").entry.id == gone.id
    assert bench.save_points.find(id_of(gone)[:14], "main").entry.id == gone.id


def test_a_long_history_is_streamed_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(savepoints, "_PAGE", 3)
    entries = [bench.push("main", number % 4) for number in range(11)]
    assert bench.ids("main") == [id_of(entry) for entry in reversed(entries)]
