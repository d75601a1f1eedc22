"""The label store against the shipped conformance kit."""

from __future__ import annotations

import pytest

from jvs.labels.conformance import Bench, LabelStoreContract
from tests.labels.support import make_bench

pytestmark = pytest.mark.conformance


class TestLabelsInMemory(LabelStoreContract):
    @pytest.fixture
    def bench(self) -> Bench:
        return make_bench()
