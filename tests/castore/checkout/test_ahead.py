"""Pulls that look ahead with two processes do what pulls do that do not, and list less."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from jvs.castore.checkout import CheckoutResult, Unsaved, plan
from jvs.castore.digest import Digest
from jvs.castore.ingest import scout, walk
from jvs.castore.objects import ObjectStore
from jvs.errors import UnsavedChangesError
from tests.castore.checkout.trees import Worktree, describe, snapshot

GROUPS, PARTS, FILES = 5, 4, 3


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are believed however young they are, and small trees are looked ahead at."""
    monkeypatch.setattr(walk, "RACY_NS", -(10**12))
    monkeypatch.setattr(scout, "UNITS", 8)


def make(root: Path) -> None:
    for group in range(GROUPS):
        for part in range(PARTS):
            folder = root / f"group{group}" / f"part{part}"
            folder.mkdir(parents=True)
            for file in range(FILES):
                (folder / f"file{file}").write_text(f"{group} {part} {file}")
    (root / "top").write_text("top")


def edit(root: Path, rng: random.Random) -> None:
    """A few changes of every kind."""
    for _ in range(rng.randrange(1, 5)):
        folder = root / f"group{rng.randrange(GROUPS)}" / f"part{rng.randrange(PARTS)}"
        what = rng.randrange(6)
        if what == 0 and folder.is_dir():
            shutil.rmtree(folder)
        elif what == 1:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"new{rng.random()}").write_text("new")
        elif what == 2 and (folder / "file1").exists():
            (folder / "file1").write_text(f"changed {rng.random()}")
        elif what == 3 and (folder / "file0").exists():
            (folder / "file0").chmod(rng.choice([0o600, 0o755]))
        elif what == 4 and folder.is_dir():
            folder.chmod(0o700)
        elif what == 5 and (folder / "file2").exists():
            (folder / "file2").unlink()


def pulled(
    objects: ObjectStore, where: Path, steps: list[Digest], least: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[CheckoutResult], int]:
    """What pulls of one directory, one after another, came to, and how many directories this process listed."""
    monkeypatch.setattr(scout, "MIN_ENTRIES", least)
    listed = 0
    plain = walk.list_directory

    def counted(fd: int) -> walk.Listing:
        nonlocal listed
        listed += 1
        return plain(fd)

    monkeypatch.setattr(plan, "list_directory", counted)
    where.mkdir()
    worktree = Worktree(objects, where / "tree", where / "cache")
    results = [worktree.pull(step) for step in steps]
    monkeypatch.setattr(plan, "list_directory", plain)
    return results, listed


@pytest.mark.parametrize("seed", range(6))
def test_it_makes_no_difference(
    objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    make(tmp_path / "a")
    first = snapshot(objects, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    edit(tmp_path / "b", rng)
    second = snapshot(objects, tmp_path / "b")
    steps = [first, second, first, first, second]
    plain, many = pulled(objects, tmp_path / "plain", steps, 10**9, monkeypatch)
    ahead, few = pulled(objects, tmp_path / "ahead", steps, 1, monkeypatch)
    assert ahead == plain
    assert few < many / 2
    assert describe(tmp_path / "ahead" / "tree") == describe(tmp_path / "b")


def test_what_is_unsaved_is_found(objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a")
    first = snapshot(objects, tmp_path / "a")
    (tmp_path / "a" / "group1" / "part1" / "file1").write_text("second")
    second = snapshot(objects, tmp_path / "a")
    monkeypatch.setattr(scout, "MIN_ENTRIES", 1)
    worktree = Worktree(objects, tmp_path / "tree", tmp_path / "cache")
    worktree.pull(first)
    worktree.pull(first)
    for name in ("group1/part1/file0", "group1/part1/file1", "group4/part0/file2", "group3/new", "top"):
        path = worktree.path / name
        old = path.read_bytes() if path.exists() else None
        path.write_bytes(b"mine")
        before = describe(worktree.path)
        with pytest.raises(UnsavedChangesError) as refused:
            worktree.pull(second)
        assert refused.value.details["paths"] == [name]
        assert describe(worktree.path) == before
        if old is None:
            os.unlink(path)
        else:
            path.write_bytes(old)
    worktree.pull(second, Unsaved.DISCARD)
    assert describe(worktree.path) == describe(tmp_path / "a")
