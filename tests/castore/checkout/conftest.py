"""A directory that is pulled into again and again, with its binding kept as a repository keeps it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.objects import ObjectStore
from tests.castore.checkout.trees import Worktree, new_store


@pytest.fixture
def objects() -> ObjectStore:
    """An empty store in memory, with small chunks."""
    return new_store()


@pytest.fixture
def common_tmp() -> Iterator[Path]:
    """A temporary directory that an ordinary user can reach too (pytest closes its own to others now and then)."""
    path = Path(tempfile.mkdtemp(prefix="jvs-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def tree(objects: ObjectStore, tmp_path: Path) -> Worktree:
    """A directory `tree` that does not exist yet."""
    return Worktree(objects, tmp_path / "tree", tmp_path / "cache")
