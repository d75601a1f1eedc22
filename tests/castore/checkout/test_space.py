"""A full disk: a clear error, the directory as it was, and it works once there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.objects import ObjectStore
from jvs.errors import NoSpaceError
from tests.castore.checkout.trees import Worktree, describe, snapshot

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux (to mount a small tmpfs)"
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB and 64 inodes."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def source(root: Path, generation: int, *, files: int = 8, size: int = 50_000) -> Path:
    """A tree of `files` files of `size` random bytes, half of them new in each generation."""
    (root / "below").mkdir(parents=True)
    for number in range(files):
        seed = number if number % 2 else generation * 100 + number
        data = (b"%d " % seed) * (size // 3)
        (root / ("below" if number % 3 else ".") / f"file{number}").write_bytes(data[:size])
    return root


@pytest.mark.parametrize("ballast", ["bytes", "inodes"])
def test_an_update_on_a_full_disk(objects: ObjectStore, small: Path, tmp_path: Path, ballast: str) -> None:
    first = snapshot(objects, source(tmp_path / "one", 1))
    second = snapshot(objects, source(tmp_path / "two", 2, files=16))
    tree = Worktree(objects, small / "tree", tmp_path / "cache")
    tree.pull(first)
    before = describe(tree.path)
    heap = small / "ballast"
    heap.mkdir()
    if ballast == "bytes":
        (heap / "file").write_bytes(bytes(490_000))
    else:
        for number in range(44):
            (heap / str(number)).touch()
    with pytest.raises(NoSpaceError) as caught:
        tree.pull(second)
    assert caught.value.exit_status == 1
    assert describe(tree.path) == before
    for path in heap.iterdir():
        path.unlink()
    tree.pull(second)
    assert describe(tree.path) == describe(tmp_path / "two")


def test_a_full_pull_on_a_full_disk(objects: ObjectStore, small: Path, tmp_path: Path) -> None:
    large = snapshot(objects, source(tmp_path / "large", 1, files=40))
    little = snapshot(objects, source(tmp_path / "little", 1))
    tree = Worktree(objects, small / "tree", tmp_path / "cache")
    with pytest.raises(NoSpaceError):
        tree.pull(large)
    assert not tree.path.exists() or not list(tree.path.iterdir())
    tree.pull(little)
    assert describe(tree.path) == describe(tmp_path / "little")
