"""Nothing that is in no snapshot is ever lost: every kind of unsaved change is refused, with nothing written."""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore.checkout import Unsaved
from jvs.castore.digest import Digest
from jvs.castore.objects import ObjectStore
from jvs.errors import UnsavedChangesError
from tests.castore.checkout.trees import Worktree, describe, run_as_nobody, snapshot


def fill(root: Path, generation: int) -> None:
    """A tree of which some paths differ between generations and some do not."""
    root.mkdir()
    for name in ("same", "gone", "changed"):
        (root / name).mkdir()
    (root / "same" / "file").write_bytes(b"same")
    (root / "same" / "link").symlink_to("target")
    (root / "same" / "large").write_bytes(b"large" * 10_000)
    (root / "changed" / "file").write_bytes(b"changed %d" % generation)
    (root / "changed" / "link").symlink_to(f"target{generation}")
    (root / "changed" / "large").write_bytes(b"large%d" % generation * 10_000)
    if generation == 1:
        (root / "gone" / "file").write_bytes(b"gone")
        (root / "gone" / "link").symlink_to("gone")
        (root / "gone" / "deep").mkdir()
        (root / "gone" / "deep" / "file").write_bytes(b"gone too")
    else:
        (root / "gone").rmdir()
        (root / "came").mkdir()
        (root / "came" / "file").write_bytes(b"came")


@pytest.fixture
def two(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> tuple[Digest, Digest]:
    """Two snapshots; `tree` is at the first."""
    fill(tmp_path / "one", 1)
    fill(tmp_path / "two", 2)
    first, second = snapshot(objects, tmp_path / "one"), snapshot(objects, tmp_path / "two")
    tree.pull(first)
    return first, second


def write(path: str, content: bytes) -> Callable[[Path], None]:
    """An edit."""
    return lambda root: void((root / path).write_bytes(content))


def void(_: object) -> None:
    """Drop a result."""


def replace(path: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Remove a file and make something else there."""

    def edit(root: Path) -> None:
        (root / path).unlink()
        make(root / path)

    return edit


def make_socket(path: Path) -> None:
    """A socket at `path`."""
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            sock.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def make_in_came(root: Path) -> None:
    """Make a file at a path that the second tree has, with other content."""
    (root / "came").mkdir()
    (root / "came" / "file").write_bytes(b"mine")


def same_times(path: str, content: bytes) -> Callable[[Path], None]:
    """Change content and put size and mtime back."""

    def edit(root: Path) -> None:
        info = (root / path).stat()
        (root / path).write_bytes(content)
        os.utime(root / path, ns=(info.st_atime_ns, info.st_mtime_ns))

    return edit


EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "edited, same in both": (write("same/file", b"edited"), "same/file"),
    "edited, same length": (write("same/file", b"emas"), "same/file"),
    "edited, to be replaced": (write("changed/file", b"edited"), "changed/file"),
    "edited, same length and mtime": (same_times("changed/file", b"CHANGED 1"), "changed/file"),
    "large edited": (write("changed/large", b"large1" * 9_999 + b"LARGE1"), "changed/large"),
    "edited, to be removed": (write("gone/deep/file", b"edited"), "gone/deep/file"),
    "deleted, same in both": (lambda root: (root / "same/file").unlink(), "same/file"),
    "deleted, to be replaced": (lambda root: (root / "changed/file").unlink(), "changed/file"),
    "symlink changed": (replace("same/link", lambda path: path.symlink_to("other")), "same/link"),
    "symlink changed, to be replaced": (replace("changed/link", lambda path: path.symlink_to("mine")), "changed/link"),
    "symlink changed, to be removed": (replace("gone/link", lambda path: path.symlink_to("mine")), "gone/link"),
    "file became a symlink": (replace("same/file", lambda path: path.symlink_to("same")), "same/file"),
    "file became a directory": (replace("changed/file", lambda path: path.mkdir()), "changed/file"),
    "symlink became a file": (replace("changed/link", lambda path: path.write_bytes(b"x")), "changed/link"),
    "mode changed": (lambda root: (root / "same/file").chmod(0o600), "same/file"),
    "mode changed, to be removed": (lambda root: (root / "gone/file").chmod(0o600), "gone/file"),
    "mode of a directory changed": (lambda root: (root / "same").chmod(0o700), "same"),
    "new file": (write("same/new", b"new"), "same/new"),
    "new empty file": (write("same/new", b""), "same/new"),
    "new file in what goes": (write("gone/new", b"new"), "gone/new"),
    "new file at the root": (write("new", b"new"), "new"),
    "new symlink": (lambda root: (root / "new").symlink_to("x"), "new"),
    "new empty directory": (lambda root: (root / "new").mkdir(), "new"),
    "new file where one comes": (make_in_came, "came/file"),
    "FIFO where a directory comes": (lambda root: os.mkfifo(root / "came"), "came"),
    "FIFO in what goes": (lambda root: os.mkfifo(root / "gone" / "fifo"), "gone/fifo"),
    "FIFO in place of a file": (replace("changed/file", os.mkfifo), "changed/file"),
    "socket in place of a file": (replace("changed/file", make_socket), "changed/file"),
}  # fmt: skip


@pytest.mark.parametrize("indexed", [True, False], ids=["index", "no index"])
@pytest.mark.parametrize("name", EDITS)
def test_refused_with_nothing_written(
    tree: Worktree, two: tuple[Digest, Digest], tmp_path: Path, name: str, indexed: bool
) -> None:
    edit, path = EDITS[name]
    edit(tree.path)
    before = describe(tree.path)
    with pytest.raises(UnsavedChangesError) as caught:
        tree.pull(two[1], indexed=indexed)
    assert describe(tree.path) == before
    assert caught.value.details["paths"] == [path]
    assert caught.value.details["count"] == 1
    bound = tree.binding
    assert bound is not None
    assert (bound.ca_id, bound.pending) == (two[0], None)


@pytest.mark.parametrize("name", EDITS)
def test_discarded_on_demand(tree: Worktree, two: tuple[Digest, Digest], tmp_path: Path, name: str) -> None:
    EDITS[name][0](tree.path)
    tree.pull(two[1], Unsaved.DISCARD)
    assert describe(tree.path) == describe(tmp_path / "two")


def test_many_are_counted_and_the_first_listed(tree: Worktree, two: tuple[Digest, Digest]) -> None:
    for number in range(50):
        (tree.path / f"new{number:02d}").write_bytes(b"x")
    with pytest.raises(UnsavedChangesError) as caught:
        tree.pull(two[1])
    assert caught.value.details["count"] == 50
    assert caught.value.details["paths"] == [f"new{number:02d}" for number in range(20)]


def test_what_nothing_touches_may_be_special(tree: Worktree, two: tuple[Digest, Digest], tmp_path: Path) -> None:
    os.mkfifo(tree.path / "same" / "fifo")
    tree.pull(two[1])
    assert (tree.path / "same" / "fifo").is_fifo()
    (tree.path / "same" / "fifo").unlink()
    assert describe(tree.path) == describe(tmp_path / "two")


def test_a_change_that_is_the_target_already(tree: Worktree, two: tuple[Digest, Digest], tmp_path: Path) -> None:
    (tree.path / "changed" / "file").write_bytes(b"changed 2")
    (tree.path / "came").mkdir()
    (tree.path / "came" / "file").write_bytes(b"came")
    tree.pull(two[1])
    assert describe(tree.path) == describe(tmp_path / "two")


def test_an_unbound_directory_has_nothing_saved(
    objects: ObjectStore, two: tuple[Digest, Digest], tree: Worktree, tmp_path: Path
) -> None:
    """One that differs is refused path by path; one that is the target already is taken as it is."""
    tree.cache.joinpath("directories").rename(tmp_path / "elsewhere")
    before = describe(tree.path)
    with pytest.raises(UnsavedChangesError) as caught:
        tree.pull(two[1])
    assert caught.value.details["paths"] == [
        "changed/file", "changed/large", "changed/link", "gone/deep/file", "gone/file", "gone/link",
    ]  # fmt: skip
    assert describe(tree.path) == before
    result = tree.pull(two[0])
    assert (result.written, result.removed, result.chmodded) == (0, 0, 0)


def test_part_of_the_target_in_an_unbound_directory(tree: Worktree, objects: ObjectStore, tmp_path: Path) -> None:
    fill(tmp_path / "one", 1)
    (tree.path / "same").mkdir(parents=True)
    (tree.path / "same" / "file").write_bytes(b"same")
    tree.pull(snapshot(objects, tmp_path / "one"))
    assert describe(tree.path) == describe(tmp_path / "one")


def test_a_directory_emptied_by_hand_is_filled_again(
    tree: Worktree, two: tuple[Digest, Digest], tmp_path: Path
) -> None:
    os.rename(tree.path / "same", tmp_path / "same")
    for path in sorted(tree.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    tree.pull(two[1])
    assert describe(tree.path) == describe(tmp_path / "two")


@pytest.mark.parametrize("path", ["changed/file", "gone/file", "changed/large"])
@pytest.mark.parametrize("settled", [True, False])
def test_written_through_a_map_without_new_times(
    tree: Worktree, two: tuple[Digest, Digest], path: str, settled: bool
) -> None:
    """A page that is dirty already is written through mmap without any time changing; `utime` of another file cannot
    make such a state, so the times are compared here."""
    full = tree.path / path
    with open(full, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[0] = view[0]  # dirty from here on
        if settled:
            age(tree, two[0])
        times = full.stat()
        view[0] ^= 0xFF
        assert (times.st_mtime_ns, times.st_ctime_ns) == (full.stat().st_mtime_ns, full.stat().st_ctime_ns)
        before = describe(tree.path)
        with pytest.raises(UnsavedChangesError) as caught:
            tree.pull(two[1])
    assert caught.value.details["paths"] == [path]
    assert describe(tree.path) == before


def age(tree: Worktree, at: Digest) -> None:
    """Have the stat index believe every file: as if the last pull had been long ago."""
    import jvs.castore.ingest.walk as walk

    racy, walk.RACY_NS = walk.RACY_NS, -1_000_000_000  # type: ignore[misc]
    try:
        tree.pull(at)
    finally:
        walk.RACY_NS = racy  # type: ignore[misc]


def test_ignored_files_stay(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    for name, content in (("one", b"1"), ("two", b"2")):
        root = tmp_path / name
        root.mkdir()
        (root / ".jvsignore").write_bytes(b"*.tmp\nbuild/\n")
        (root / "file").write_bytes(content)
    (tmp_path / "one" / "gone").mkdir()
    (tmp_path / "one" / "gone" / "file").write_bytes(b"gone")
    first, second = snapshot(objects, tmp_path / "one"), snapshot(objects, tmp_path / "two")
    tree.pull(first)
    (tree.path / "x.tmp").write_bytes(b"ignored")
    (tree.path / "build").mkdir()
    (tree.path / "build" / "out").write_bytes(b"ignored")
    (tree.path / "gone" / "y.tmp").write_bytes(b"ignored")
    for policy in Unsaved:
        result = tree.pull(second, policy)
        assert (tree.path / "x.tmp").read_bytes() == b"ignored"
        assert (tree.path / "build" / "out").read_bytes() == b"ignored"
        assert (tree.path / "gone" / "y.tmp").read_bytes() == b"ignored"
        assert not (tree.path / "gone" / "file").exists()
        assert (tree.path / "file").read_bytes() == b"2"
        assert any("gone" in warning for warning in result.warnings)
        tree.pull(first, policy)


def test_an_ignored_file_whose_path_is_needed(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / ".jvsignore").write_bytes(b"*.tmp\nbuild/\n")
    first = snapshot(objects, tmp_path / "one")
    (tmp_path / "one" / "x.tmp").write_bytes(b"tracked")
    (tmp_path / "one" / "build").write_bytes(b"a file")
    second = snapshot(objects, tmp_path / "one")
    tree.pull(first)
    (tree.path / "x.tmp").write_bytes(b"ignored")
    with pytest.raises(UnsavedChangesError) as caught:
        tree.pull(second)
    assert caught.value.details["paths"] == ["x.tmp"]
    (tree.path / "x.tmp").unlink()
    (tree.path / "build").mkdir()
    (tree.path / "build" / "out").write_bytes(b"ignored")
    for policy in Unsaved:
        with pytest.raises(UnsavedChangesError):
            tree.pull(second, policy)
        assert (tree.path / "build" / "out").read_bytes() == b"ignored"
        assert not (tree.path / "x.tmp").exists()


@pytest.mark.parametrize("name", [".jvs", ".JVS", ".Jvs"])
def test_a_store_in_the_tree_is_never_touched(
    tree: Worktree, two: tuple[Digest, Digest], tmp_path: Path, name: str
) -> None:
    for directory in (tree.path, tree.path / "gone"):
        (directory / name).mkdir()
        (directory / name / "format_version").write_bytes(b"1")
    for target in (two[1], two[0], two[1]):
        tree.pull(target, Unsaved.DISCARD)
        for directory in (tree.path, tree.path / "gone"):
            assert (directory / name / "format_version").read_bytes() == b"1"


def test_a_store_in_an_otherwise_empty_directory(tree: Worktree, objects: ObjectStore, tmp_path: Path) -> None:
    fill(tmp_path / "one", 1)
    (tree.path / ".jvs").mkdir(parents=True)
    tree.pull(snapshot(objects, tmp_path / "one"))
    (tree.path / ".jvs").rmdir()
    assert describe(tree.path) == describe(tmp_path / "one")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_nobody_can_read_are_unsaved(objects: ObjectStore, common_tmp: Path) -> None:
    fill(common_tmp / "one", 1)
    fill(common_tmp / "two", 2)
    second = snapshot(objects, common_tmp / "two")
    tree = Worktree(objects, common_tmp / "tree", common_tmp / "cache")
    tree.pull(snapshot(objects, common_tmp / "one"))

    def attempt() -> None:
        for path in ("changed/file", "gone"):
            mode = (tree.path / path).stat().st_mode
            os.chmod(tree.path / path, 0)
            before = os.lstat(tree.path / path)
            try:
                with pytest.raises(UnsavedChangesError) as caught:
                    tree.pull(second)
                if path == "gone":  # what nobody can look into is not discarded either
                    with pytest.raises(UnsavedChangesError):
                        tree.pull(second, Unsaved.DISCARD)
                assert path in caught.value.details["paths"]
                assert os.lstat(tree.path / path) == before
            finally:
                os.chmod(tree.path / path, mode)

    run_as_nobody(common_tmp, attempt)


def test_a_file_with_several_links_is_replaced_not_changed(
    objects: ObjectStore, tree: Worktree, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"content")
    first = snapshot(objects, tmp_path / "source")
    (tmp_path / "source" / "file").chmod(0o755)
    second = snapshot(objects, tmp_path / "source")
    tree.pull(first)
    mode = (tree.path / "file").stat().st_mode
    os.link(tree.path / "file", tmp_path / "outside")
    tree.pull(second)
    assert (tree.path / "file").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "outside").stat().st_mode == mode
    assert (tmp_path / "outside").read_bytes() == (tree.path / "file").read_bytes() == b"content"
