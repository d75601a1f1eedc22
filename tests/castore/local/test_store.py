"""The local store against the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.conformance import StoreContract
from jvs.castore.local.store import LocalStore

pytestmark = pytest.mark.conformance


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[LocalStore]:
        with LocalStore.create(tmp_path / "store") as store:
            yield store
