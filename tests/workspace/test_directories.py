"""What the use-cases keep about directories on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jvs.workspace import directories
from jvs.workspace.repo import Repo


def indexes(repo: Repo) -> set[str]:
    return {name for name in os.listdir(os.path.join(repo.cache_dir, "directories")) if name.endswith(".index")}


def test_the_oldest_indexes_are_pruned_and_bindings_stay(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "MAX_INDEXES", 4)
    sources = []
    for number in range(8):
        source = tmp_path / f"source{number}"
        source.mkdir()
        (source / "file").write_text(str(number))
        sources.append(source)
        repo.push(str(source), label=f"label{number}")
        assert len(indexes(repo)) <= 5
    for number, source in enumerate(sources):
        (source / "file").write_text(f"again {number}")
        result = repo.push(str(source))
        assert (result.status, result.label, result.generation) == ("advanced", f"label{number}", 2)


def test_a_cache_that_was_deleted_is_no_obstacle(repo: Repo, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("one")
    first = repo.push(str(source), label="main")
    for name in os.listdir(os.path.join(repo.cache_dir, "directories")):
        os.unlink(os.path.join(repo.cache_dir, "directories", name))
    (source / "file").write_text("two")
    rejected = repo.push(str(source), label="main")
    assert rejected.status == "rejected"
    assert rejected.current == first.ca_id
    accepted = repo.push(str(source), label="main", expected="main")
    assert (accepted.status, accepted.generation) == ("advanced", 2)
