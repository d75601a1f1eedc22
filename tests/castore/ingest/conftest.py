"""Fixtures of the tests of ingest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.castore.ingest.support import Ground, settled_clock


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """An empty directory to push, with an empty store."""
    return Ground(tmp_path)


@pytest.fixture
def settled() -> Iterator[None]:
    """See `settled_clock`."""
    with settled_clock():
        yield
