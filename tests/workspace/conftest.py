"""What tests of the use-cases share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.settings import StoreSettings
from jvs.workspace.repo import Repo


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repo]:
    """A new store in `tmp_path / "store"`, opened."""
    Repo.init(str(tmp_path / "store"), StoreSettings())
    with Repo.open(str(tmp_path / "store"), actor="tester") as opened:
        yield opened
