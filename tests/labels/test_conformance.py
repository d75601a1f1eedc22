"""The label store against the shipped conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.local.store import LocalStore
from jvs.labels.conformance import Bench, LabelStoreContract
from tests.labels.support import make_bench

pytestmark = pytest.mark.conformance


class TestLabelsInMemory(LabelStoreContract):
    @pytest.fixture
    def bench(self) -> Bench:
        return make_bench()


class TestLabelsInALocalStore(LabelStoreContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        with LocalStore.create(tmp_path / "store") as store:
            yield make_bench(store)
