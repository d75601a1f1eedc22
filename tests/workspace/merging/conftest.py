"""What the tests of merging stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workspace.merging.support import Ground, made


@pytest.fixture
def ground() -> Iterator[Ground]:
    """A new store."""
    with made() as ground:
        yield ground
