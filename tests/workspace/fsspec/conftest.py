"""A store with the label `main`, and file systems of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.settings import StoreSettings
from jvs.workspace.fsspec.filesystem import JvsFileSystem
from jvs.workspace.repo import Repo


def new_store(top: Path) -> str:
    """The path of a new store whose label `main` has a file `a/one`."""
    path = str(top / "store")
    Repo.init(path, StoreSettings())
    (top / "source" / "a").mkdir(parents=True)
    (top / "source" / "a" / "one").write_text("one")
    with Repo.open(path, actor="tester") as repo:
        repo.push(str(top / "source"), label="main")
    return path


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A new store, not where fsspec's own tests look for local files."""
    return new_store(tmp_path_factory.mktemp("top"))


@pytest.fixture(scope="module")
def module_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for all tests of a module that clean up behind themselves."""
    return new_store(tmp_path_factory.mktemp("module"))


@pytest.fixture
def fs(store: str) -> Iterator[JvsFileSystem]:
    """A file system of its own of the store."""
    made = JvsFileSystem(store=store, skip_instance_cache=True)
    yield made
    made.close()
    JvsFileSystem.clear_instance_cache()


@pytest.fixture
def repo(store: str) -> Iterator[Repo]:
    """The store, opened once more."""
    with Repo.open(store, actor="somebody") as opened:
        yield opened
