"""The same over local stores, where the collector also gives packs back; and what happens without the rules of that."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.gc.histories import ALL, RUNNING, RUNNING_LONG
from tests.gc.local import LocalBench, RunBench
from tests.gc.local_mutations import MUTATIONS, REWRITTEN
from tests.gc.mutations import Mutation, mutated
from tests.gc.scenarios import Scenario
from tests.gc.scheduler import Story, sampled

SAMPLES = 2_000 if os.environ.get("JVS_TORTURE") == "1" else 8
SCHEDULES = 500
MEMORY = "/dev/shm"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[str]:
    """A place for thousands of stores, in memory where there is some."""
    if not os.access(MEMORY, os.W_OK):
        yield str(tmp_path)
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as made:
        yield made


@pytest.mark.parametrize("scenario", [*ALL, REWRITTEN], ids=lambda scenario: scenario.name)
def test_random_schedules(scenario: Scenario, directory: str) -> None:
    check(LocalBench(scenario, directory))


@pytest.mark.parametrize("scenario", [RUNNING, RUNNING_LONG], ids=lambda scenario: scenario.name)
def test_random_schedules_of_gc_run(scenario: Scenario, directory: str) -> None:
    check(RunBench(scenario, directory))


def check(bench: LocalBench) -> None:
    """Run it under many strategies. A failure says which script shows it."""
    scenario = bench.scenario
    for strategy in islice(sampled(6, 2 * scenario.steps), SAMPLES):
        result = bench.run(strategy)
        if result.problem is not None:
            raise AssertionError(f"{scenario.name}: {result.problem}; script: {result.script}") from result.problem


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule.replace(" ", "-"))
def test_without_a_rule_something_goes_wrong(mutation: Mutation, directory: str) -> None:
    bench = LocalBench(mutation.scenario, directory)
    if mutation.story is not None:
        result = bench.run(Story(mutation.story(None)))
        assert result.problem is None, f"with the rule, too: {result.script}"
        with mutated(mutation):
            assert bench.run(Story(mutation.story(None))).problem is not None
        return
    with mutated(mutation):
        runs = (bench.run(strategy) for strategy in islice(sampled(9, 2 * mutation.scenario.steps), SCHEDULES))
        assert any(result.problem is not None for result in runs)
