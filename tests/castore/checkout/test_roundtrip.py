"""What was pushed comes back exactly, whatever its names, sizes, kinds and permission bits."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from jvs.castore.checkout import Unsaved
from jvs.castore.objects import ObjectStore
from jvs.errors import UnsavedChangesError, UsageError
from tests.castore.checkout.trees import Worktree, describe, run_as_nobody, snapshot

AWKWARD_NAMES = [b"-x", b"--", b"a\nb", b"q'u\"o", b"\xff\xfe", b" ", b"\\", b"caf\xc3\xa9", b"~", b"x" * 255, b"*"]


def make_hostile(root: Path) -> None:
    """A tree of everything a file system lets be."""
    rng = random.Random(7)
    root.mkdir()
    top = os.fsencode(root)
    for number, name in enumerate(AWKWARD_NAMES):
        Path(os.fsdecode(top + b"/" + name)).write_bytes(b"%d" % number)
        os.mkdir(top + b"/d" + name[:200])
        Path(os.fsdecode(top + b"/d" + name[:200] + b"/" + name)).write_bytes(name)
    for mode in range(0o400, 0o1000, 0o7):
        path = root / f"m{mode:o}"
        path.write_bytes(b"mode")
        path.chmod(mode)
    for size in (0, 1, 2047, 2048, 2049, 4095, 4096, 16383, 16384, 16385, 70000, 200_000):
        (root / f"s{size}").write_bytes(rng.randbytes(size))
    for mode in (0o700, 0o555, 0o2755, 0o1777, 0o511, 0o400, 0o2555):
        path = root / f"dir{mode:o}"
        path.mkdir()
        (path / "inside").write_bytes(b"inside")
        (path / "below").mkdir()
        path.chmod(mode)
    (root / "empty").mkdir()
    os.symlink(b"nowhere", top + b"/dangling")
    os.symlink(b"/etc/passwd", top + b"/absolute")
    os.symlink(b"..", top + b"/up")
    os.symlink(b"t" * 4000, top + b"/long")
    deep = root
    for level in range(60):
        deep = deep / f"level{level}"
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"deep")


def test_a_hostile_tree_comes_back(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    make_hostile(tmp_path / "source")
    target = snapshot(objects, tmp_path / "source")
    result = tree.pull(target)
    assert describe(tree.path) == describe(tmp_path / "source")
    assert snapshot(objects, tree.path) == target
    assert not result.unapplied
    assert not result.warnings
    again = tree.pull(target)
    assert (again.written, again.removed, again.chmodded) == (0, 0, 0)


def test_every_way_between_two_hostile_trees(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    make_hostile(tmp_path / "one")
    make_hostile(tmp_path / "two")
    two = tmp_path / "two"
    (two / "s2048").write_bytes(b"changed")
    (two / "s70000").write_bytes(b"smaller")
    (two / "s1").chmod(0o600)
    (two / "dir555").chmod(0o755)
    (two / "dir555" / "inside").write_bytes(b"other")
    (two / "dir555").chmod(0o555)
    (two / "dir700").chmod(0o500)
    (two / "s0").unlink()
    (two / "s0").mkdir()
    (two / "s0" / "file").write_bytes(b"was a file")
    (two / "empty").rmdir()
    (two / "empty").write_bytes(b"was a directory")
    (two / "up").unlink()
    (two / "up").mkdir()
    (two / "long").unlink()
    os.symlink("short", two / "long")
    (two / "s4096").unlink()
    os.symlink("elsewhere", two / "s4096")
    (two / "dangling").unlink()
    (two / "dangling").write_bytes(b"was a symlink")
    (two / "level0" / "new").mkdir()
    (two / "level0" / "new" / "file").write_bytes(b"new")
    os.rename(two / "level0" / "level1", two / "moved")
    first, second = snapshot(objects, tmp_path / "one"), snapshot(objects, two)
    for target, source in ((first, "one"), (second, "two"), (first, "one"), (second, "two")):
        tree.pull(target)
        assert describe(tree.path) == describe(tmp_path / source)
    assert not leftovers(tree.path)


def leftovers(root: Path) -> list[str]:
    """Temporary names that are still there."""
    return [str(path) for path in root.rglob(".jvs-tmp-*")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root (to become an ordinary user)")
def test_as_an_ordinary_user(objects: ObjectStore, common_tmp: Path) -> None:
    """Whom permission bits do hold back: read-only directories in read-only directories, come and gone."""
    make_hostile(common_tmp / "one")
    (common_tmp / "two" / "dir700").mkdir(parents=True)
    for name in ("one", "two"):
        (common_tmp / name / "dir700" / "closed" / "too").mkdir(parents=True)
        for path in ("closed/too/file", "closed/file", "file"):
            (common_tmp / name / "dir700" / path).write_bytes(name.encode())
        for path in ("closed/too", "closed", "."):
            (common_tmp / name / "dir700" / path).chmod(0o555)
    first, second = snapshot(objects, common_tmp / "one"), snapshot(objects, common_tmp / "two")
    looks = {first: describe(common_tmp / "one"), second: describe(common_tmp / "two")}
    (common_tmp / "place").mkdir()
    tree = Worktree(objects, common_tmp / "place" / "tree", common_tmp / "place" / "cache")

    def pull_both() -> None:
        tree.pull(first)
        closed = (tree.path / "dir400").stat().st_mode
        assert closed & 0o7777 == 0o400
        (tree.path / "dir400").chmod(0o700)  # else nobody could compare, nor look for what is unsaved
        look = describe(tree.path)
        (tree.path / "dir400").chmod(0o400)
        assert {**look, b"dir400": ("directory", "0o400")} == looks[first]
        with pytest.raises(UnsavedChangesError):  # what cannot be read counts as unsaved
            tree.pull(second)
        (tree.path / "dir400").chmod(0o700)
        (tree.path / "dir400" / "inside").unlink()
        (tree.path / "dir400" / "below").rmdir()
        (tree.path / "dir400").rmdir()
        tree.pull(second, Unsaved.DISCARD)
        assert describe(tree.path) == looks[second]
        tree.pull(second)

    run_as_nobody(common_tmp, pull_both)


def test_parents_are_made(objects: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x")
    deep = Worktree(objects, tmp_path / "a" / "b" / "c", tmp_path / "cache")
    deep.pull(snapshot(objects, tmp_path / "source"))
    assert (deep.path / "file").read_bytes() == b"x"


def test_a_file_in_the_place_of_the_directory(objects: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "source").mkdir()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError) as caught:
            Worktree(objects, path, tmp_path / "cache").pull(snapshot(objects, tmp_path / "source"))
        assert caught.value.code == "not-a-directory"


def test_the_mode_of_the_root_is_left(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir(mode=0o700)
    (tmp_path / "source" / "file").write_bytes(b"x")
    tree.path.mkdir()
    tree.path.chmod(0o2751)
    tree.pull(snapshot(objects, tmp_path / "source"))
    assert tree.path.stat().st_mode & 0o7777 == 0o2751


def test_the_umask_does_not_matter(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    make_hostile(tmp_path / "source")
    before = os.umask(0o077)
    try:
        tree.pull(snapshot(objects, tmp_path / "source"))
    finally:
        os.umask(before)
    assert describe(tree.path) == describe(tmp_path / "source")


def test_sparse_files_stay_sparse(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with open(tmp_path / "source" / "sparse", "wb") as file:
        file.write(b"head")
        file.truncate(64 << 20)
    tree.pull(snapshot(objects, tmp_path / "source"))
    assert describe(tree.path) == describe(tmp_path / "source")
    assert (tree.path / "sparse").stat().st_blocks * 512 < 4 << 20


@pytest.mark.parametrize("age", [0.0, 2.5])
def test_what_is_left_alone_is_counted_alike(age: float, objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    """Files older than two seconds are believed by the stat index and take a short cut; the count must not tell."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("kept", "also kept"):
        (source / name).write_text(name)
    smaller = snapshot(objects, source)
    (source / "added").write_text("added")
    larger = snapshot(objects, source)
    tree.pull(smaller)
    time.sleep(age)
    tree.pull(smaller)
    result = tree.pull(larger)
    assert (result.written, result.unchanged) == (1, 2)
