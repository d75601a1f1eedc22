"""Each rule of the protocol is necessary: taken out of the real code, some schedule goes wrong, and soon."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.gc.bench import MemoryBench
from tests.gc.mutations import MUTATIONS, Mutation, mutated
from tests.gc.scheduler import Story, sampled

SCHEDULES = 2_000


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule.replace(" ", "-"))
def test_without_a_rule_something_goes_wrong(mutation: Mutation) -> None:
    bench = MemoryBench(mutation.scenario)
    if mutation.story is not None:
        result = bench.run(Story(mutation.story(bench.store)))
        assert result.problem is None, f"with the rule, too: {result.script}"
        with mutated(mutation):
            assert bench.run(Story(mutation.story(bench.store))).problem is not None
        return
    with mutated(mutation):
        runs = (bench.run(strategy) for strategy in islice(sampled(9, mutation.scenario.steps), SCHEDULES))
        assert any(result.problem is not None for result in runs)
