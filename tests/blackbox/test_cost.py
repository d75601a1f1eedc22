"""What a push adds to the store follows from what changed, not from how much there is.

Measured three ways: what the push itself says, by how much the pack files grew, and which records they grew by, read
here as docs/format.md describes them.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.blackbox import trees
from tests.blackbox.conftest import Jvs

KIB, MIB = 1 << 10, 1 << 20
HEADER = struct.Struct(">4sBBHIII32s16s8s")
KINDS = {1: "chunk", 2: "recipe", 3: "page", 4: "layout", 5: "part"}
PACK_HEADER = 32


class Record(NamedTuple):
    """One record of a pack: its kind, its plain length, and its length on disk, header included."""

    kind: str
    plain: int
    stored: int


class Packs:
    """The pack files of a store, to be asked what was appended since they were looked at."""

    def __init__(self, store: Path) -> None:
        self._folder = store / "packs"
        self._before = self._sizes()

    def _sizes(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in self._folder.iterdir()}

    def grown(self) -> int:
        """Bytes by which all packs together are longer, but for what a new one begins with."""
        now = self._sizes()
        return sum(size - self._before.get(path, PACK_HEADER) for path, size in now.items())

    def appended(self) -> list[Record]:
        """The records that were added."""
        records: list[Record] = []
        for path in self._sizes():
            records += _records(path, self._before.get(path, PACK_HEADER))
        return records


def _records(path: Path, start: int) -> Iterator[Record]:
    with open(path, "rb") as file:
        file.seek(start)
        while header := file.read(HEADER.size):
            magic, kind, _, _, plain, stored, *_ = HEADER.unpack(header)
            assert magic == b"jvsR"
            yield Record(KINDS[kind], plain, HEADER.size + stored)
            file.seek(stored, os.SEEK_CUR)


def push_and_measure(jvs: Jvs, *words: str) -> tuple[dict[str, Any], list[Record]]:
    """(stats of a push, records it appended); asserts that what it says is what is on disk."""
    packs = Packs(jvs.where / ".jvs")
    stats = jvs.json("fs", "push", *words)["stats"]
    records = packs.appended()
    assert stats["objects"] == len(records)
    assert packs.grown() == sum(record.stored for record in records)
    assert 0 <= packs.grown() - stats["stored_bytes"] <= HEADER.size * len(records)
    return stats, records


@pytest.mark.parametrize(
    "count", [1_000, 100_000, pytest.param(1_000_000, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])]
)
def test_one_byte_in_one_of_many_small_files_of_one_directory(count: int, jvs: Jvs) -> None:
    """Less than 1 MiB; and of metadata one leaf page, its layout and the index pages above it, whatever the count."""
    jvs.patience = 1800.0
    with trees.room(jvs.where, count * 8 * KIB / (1 << 30)) as where:
        jvs.where = where
        trees.make_many(where / "d", count, b"the content of file number %d\n")
        jvs("fs", "init").ok()
        first, _ = push_and_measure(jvs, "d", "--label", "main")
        assert first["files"] == count
        for name in (f"file{count // 2:07}", "file0000000", f"file{count - 1:07}"):
            with open(where / "d" / name, "r+b") as file:
                file.write(b"T")
            stats, records = push_and_measure(jvs, "d")
            check_one_edit(stats, records)
        ca_id = jvs.json("fs", "pull", "main")["ca_id"]
        jvs("fs", "init", "fresh").ok()
        assert jvs.json("--store", "fresh", "fs", "push", "d", "--detach")["ca_id"] == ca_id


def check_one_edit(stats: dict[str, Any], records: list[Record]) -> None:
    """Assert that a push stored what one edit of a small file costs."""
    assert sum(record.stored for record in records) < MIB
    kinds = Counter(record.kind for record in records)
    pages = [record for record in records if record.kind == "page"]
    assert 1 <= len(pages) <= 4  # a leaf and at most three levels of index: 32 ** 3 * 128 names
    assert kinds["layout"] == 1
    assert kinds["part"] + kinds["chunk"] == 1
    assert kinds["recipe"] == 0
    # 128 entries of a leaf on average, and 160 rows of an index; those of the names edited here are no outliers.
    assert sum(record.plain for record in records if record.kind in ("page", "layout")) < 64 * KIB
    assert stats["new_bytes"] < 64 * KIB


def test_1_kib_inserted_at_the_front_of_a_file_of_256_mib(jvs: Jvs) -> None:
    """Stores less than 8 MiB; so does the same in the middle, and the file still comes back."""
    with trees.room(jvs.where, 1) as where:
        jvs.where = where
        path = where / "d" / "large"
        path.parent.mkdir()
        rng = random.Random(256)
        with open(path, "wb") as file:
            for _ in range(256):
                file.write(rng.randbytes(MIB))
        jvs("fs", "init").ok()
        first, _ = push_and_measure(jvs, "d", "--label", "main")
        assert first["stored_bytes"] > 250 * MIB  # there is nothing to gain by compressing it
        for offset in (0, 128 * MIB + 77):
            insert(path, offset, rng.randbytes(KIB))
            stats, records = push_and_measure(jvs, "d")
            assert stats["bytes"] == path.stat().st_size
            assert sum(record.stored for record in records) < 8 * MIB
            assert stats["stored_bytes"] < 8 * MIB
        jvs("fs", "pull", "main", "back").ok()
        assert trees.differences(trees.look(where / "d"), trees.look(where / "back")) == []


def insert(path: Path, offset: int, data: bytes) -> None:
    """Insert bytes into a file, by a copy."""
    copy = path.with_name("copy")
    with open(path, "rb") as old, open(copy, "wb") as new:
        new.write(old.read(offset) + data)
        shutil.copyfileobj(old, new, MIB)
    copy.rename(path)


@pytest.mark.parametrize("target", ["renamed", "elsewhere/below"])
def test_renaming_a_directory_of_10_000_files(target: str, jvs: Jvs) -> None:
    """Less than 100 KiB, wherever it goes: its pages, layouts and content are those the store has."""
    with trees.room(jvs.where, 0.2) as where:
        jvs.where = where
        (where / "d" / "elsewhere").mkdir(parents=True)
        trees.make_many(where / "d" / "many", 10_000, b"the content of file number %d\n")
        jvs("fs", "init").ok()
        push_and_measure(jvs, "d", "--label", "main")
        (where / "d" / "many").rename(where / "d" / target)
        stats, records = push_and_measure(jvs, "d")
        assert sum(record.stored for record in records) < 100 * KIB
        assert stats["stored_bytes"] < 100 * KIB
        assert {record.kind for record in records} == {"page"}
        assert len(records) <= 2  # the directories it left and came to; not its own pages
        renamed = jvs.json("fs", "diff", "main@1", "main")
        assert renamed["total_renamed"] >= 1 or renamed["total_added"] == renamed["total_removed"]


def test_nothing_changed_stores_nothing(jvs: Jvs) -> None:
    """Nor does it with every file touched, or all that is derived gone, or a copy of the whole tree beside it."""
    with trees.room(jvs.where, 0.2) as where:
        jvs.where = where
        (where / "d").mkdir()
        trees.make_many(where / "d" / "many", 5_000)
        trees.write(where / "d" / "large", random.Random(1).randbytes(3 * MIB))
        jvs("fs", "init").ok()
        push_and_measure(jvs, "d", "--label", "main")
        _, records = push_and_measure(jvs, "d")
        assert records == []
        for path in (where / "d" / "many").iterdir():
            path.touch()
        _, records = push_and_measure(jvs, "d", "--rehash")
        assert records == []
        trees.remove(where / ".jvs" / "cache")
        _, records = push_and_measure(jvs, "d", "--label", "main", "--expected", "main")
        assert records == []
        (where / "e").mkdir()
        trees.make_many(where / "e" / "many", 5_000)
        _, records = push_and_measure(jvs, "e", "--detach")
        assert [record.kind for record in records] == ["page"]
