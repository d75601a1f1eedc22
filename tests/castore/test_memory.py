"""The memory store against the conformance kit."""

from __future__ import annotations

import pytest

from jvs.castore.conformance import StoreContract
from jvs.castore.memory import MemoryStore

pytestmark = pytest.mark.conformance


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
