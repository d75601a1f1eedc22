"""The stat index a pull leaves: the push after it finds everything unchanged, and never more than that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore.digest import Digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.ingest import walk
from jvs.castore.ingest.ingest import IngestResult, ingest
from jvs.castore.objects import ObjectStore
from tests.castore.checkout.test_interrupted import make_one, make_two
from tests.castore.checkout.test_roundtrip import make_hostile
from tests.castore.checkout.trees import Worktree, snapshot


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All times are old enough to be believed, as they are two seconds after a pull."""
    monkeypatch.setattr(walk, "RACY_NS", -1_000_000_000)


def push(tree: Worktree) -> tuple[IngestResult, list[str]]:
    """What a push would make of the directory, and the files it has to read for that."""
    opened: list[str] = []
    real = os.open

    def watching(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_NONBLOCK and isinstance(path, str):
            opened.append(path)
        return real(path, flags, *args, **kwargs)

    bound = tree.binding
    assert bound is not None
    with tree.index() as index:
        os.open = watching  # type: ignore[assignment]
        try:
            result = ingest(
                TreeHasher(tree.objects), str(tree.path), base=bound.ca_id, index=index, unapplied=bound.unapplied
            )
        finally:
            os.open = real
        assert result.new_index is not None
        result.new_index.close()
    return result, [name for name in opened if name not in (".jvsignore", str(tree.cache / "index"))]


@pytest.fixture
def both(objects: ObjectStore, tmp_path: Path) -> tuple[Digest, Digest]:
    """Two snapshots with every kind of difference."""
    make_one(tmp_path / "one")
    make_two(tmp_path / "two")
    for name in ("one", "two"):
        (tmp_path / name / "stays" / ".jvsignore").write_bytes(b"*.tmp\n")
    return snapshot(objects, tmp_path / "one"), snapshot(objects, tmp_path / "two")


@pytest.mark.usefixtures("settled")
def test_nothing_is_read_after_a_pull(tree: Worktree, both: tuple[Digest, Digest], objects: ObjectStore) -> None:
    for target in (*both, *both, both[1]):
        tree.pull(target)
        result, read = push(tree)
        assert result.tree.digest == target
        # of what only got other permission bits nobody can say that its bytes are still the same
        assert set(read) <= {"chmodded"}


@pytest.mark.usefixtures("settled")
def test_a_full_pull_leaves_an_index_that_says_everything(tree: Worktree, objects: ObjectStore, tmp_path: Path) -> None:
    make_hostile(tmp_path / "source")
    target = snapshot(objects, tmp_path / "source")
    tree.pull(target)
    result, read = push(tree)
    assert (result.tree.digest, read) == (target, [])
    assert result.new_index is not None
    assert result.new_index.unchanged


def test_files_written_just_now_are_read_again(tree: Worktree, both: tuple[Digest, Digest]) -> None:
    tree.pull(both[0])
    result, read = push(tree)
    assert result.tree.digest == both[0]
    assert {"replaced", "same", "large"} <= set(read)


def edit(root: Path) -> None:
    """Same size, other bytes."""
    (root / "stays" / "same").write_bytes(b"SAME")


def replace(root: Path) -> None:
    """Same size and mtime, another inode."""
    path = root / "stays" / "same"
    info = path.stat()
    shutil.copy2(path, root / "copy")
    (root / "copy").write_bytes(b"SAME")
    os.utime(root / "copy", ns=(info.st_atime_ns, info.st_mtime_ns))
    os.replace(root / "copy", path)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [edit, replace])
def test_a_change_after_the_pull_is_seen(
    tree: Worktree, both: tuple[Digest, Digest], change: Callable[[Path], None]
) -> None:
    for target in both:
        tree.pull(target)
        change(tree.path)
        result, read = push(tree)
        assert result.tree.digest != target
        assert "same" in read
        (tree.path / "stays" / "same").write_bytes(b"same")


@pytest.mark.usefixtures("settled")
def test_ignored_and_special_names_beside_it(tree: Worktree, both: tuple[Digest, Digest]) -> None:
    tree.pull(both[0])
    (tree.path / "stays" / "x.tmp").write_bytes(b"ignored")
    os.mkfifo(tree.path / "stays" / "sub" / "fifo")
    (tree.path / "stays" / ".jvs").mkdir()
    for target in (both[1], both[0]):
        tree.pull(target)
        result, read = push(tree)
        assert result.tree.digest == target
        assert set(read) <= {"chmodded"}
        assert [skipped.path for skipped in result.skipped] == [b"stays/sub/fifo"]


@pytest.mark.usefixtures("settled")
def test_permission_bits_that_were_not_applied_are_no_change(
    tree: Worktree, objects: ObjectStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "below" / "deep").mkdir(parents=True)
    (source / "below" / "setuid").write_bytes(b"x")
    (source / "below" / "setuid").chmod(0o4755)
    (source / "below" / "deep").chmod(0o4700)
    (source / "large").write_bytes(b"large" * 20_000)
    (source / "large").chmod(0o6555)
    target = snapshot(objects, source)
    result = tree.pull(target)
    assert result.unapplied == {
        b"below/setuid": (0o755, 0o4755), b"below/deep": (0o700, 0o4700), b"large": (0o555, 0o6555)
    }  # fmt: skip
    assert (tree.path / "below" / "setuid").stat().st_mode & 0o7777 == 0o755
    found, read = push(tree)
    assert (found.tree.digest, read) == (target, [])
    (tree.cache / "index").unlink()
    found, _ = push(tree)
    assert found.tree.digest == target
    again = tree.pull(target)
    assert (again.written, again.chmodded) == (0, 0)
    assert again.unapplied == result.unapplied
    special = tree.pull(target, special_modes=True)
    assert special.chmodded == 3
    assert not special.unapplied
    assert (tree.path / "below" / "setuid").stat().st_mode & 0o7777 == 0o4755
    assert (tree.path / "below" / "deep").stat().st_mode & 0o7777 == 0o4700
