"""`fs rm`: one path less, everything else as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvs.errors import UnknownError, UsageError
from jvs.workspace.repo import Repo


@pytest.fixture
def source(repo: Repo, tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "a" / "b").mkdir(parents=True)
    for name in ("top", "a/one", "a/b/two", "a/b/three"):
        (root / name).write_text(name * 100)
    repo.push(str(root), label="main")
    return root


def paths(repo: Repo, revision: str) -> set[bytes]:
    return {item.path for item in repo.tree(revision).entries}


@pytest.mark.parametrize("path", ["top", "a/b/two", "a/b", "a"])
def test_the_result_is_the_tree_without_the_path(repo: Repo, source: Path, tmp_path: Path, path: str) -> None:
    removed = repo.remove(f"main:{path}")
    assert (removed.status, removed.generation) == ("advanced", 2)
    target = source / path
    if target.is_dir():
        for below in sorted(target.rglob("*"), reverse=True):
            below.rmdir() if below.is_dir() else below.unlink()
        target.rmdir()
    else:
        target.unlink()
    assert repo.push(str(source), detach=True).ca_id == removed.ca_id
    gone = path.encode()
    assert paths(repo, "main") == {p for p in paths(repo, "main@1") if p != gone and not p.startswith(gone + b"/")}


def test_undo_brings_it_back(repo: Repo, source: Path) -> None:
    before = repo.labels.require("main").ca_id
    repo.remove("main:a/b")
    assert repo.undo("main").ca_id == before


def test_what_is_not_there_is_not_removed(repo: Repo, source: Path) -> None:
    for path in ("a/nothing", "nothing/at/all", "top/below"):
        with pytest.raises(UnknownError) as caught:
            repo.remove(f"main:{path}")
        assert caught.value.code == "unknown-path"
    for location in ("main", "main:", "main@1:top"):
        with pytest.raises(UsageError):
            repo.remove(location)
    assert repo.labels.require("main").generation == 1


def test_a_head_that_moved_is_not_edited(repo: Repo, source: Path) -> None:
    repo.remove("main:top")
    result = repo.remove("main:a", expected="1")
    assert (result.status, result.current_generation) == ("rejected", 2)
    assert result.error is not None
    assert result.error.exit_status == 6
