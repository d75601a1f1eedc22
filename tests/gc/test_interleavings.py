"""Pushes, moves, deletions, readers and collectors in every order of their steps that there is time for: nothing that
is reachable is ever missing, and what nobody needs goes. README.md says how."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.gc.bench import MemoryBench, Result
from tests.gc.histories import ALL, SMALL
from tests.gc.scenarios import Scenario
from tests.gc.scheduler import Replay, bounded, sampled

TORTURE = os.environ.get("JVS_TORTURE") == "1"
SAMPLES = 15_000 if TORTURE else 120
PREEMPTIONS = 2 if TORTURE else 1


def assert_well(scenario: Scenario, result: Result) -> None:
    """A failure says which script shows it."""
    if result.problem is not None:
        raise AssertionError(f"{scenario.name}: {result.problem}; script: {result.script}") from result.problem


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_random_schedules(scenario: Scenario) -> None:
    bench = MemoryBench(scenario)
    for strategy in itertools.islice(sampled(4, scenario.steps), SAMPLES):
        assert_well(scenario, bench.run(strategy))


def test_every_schedule_with_few_preemptions_or_crashes() -> None:
    for result in bounded(SMALL.names, SMALL.mortal, PREEMPTIONS, MemoryBench(SMALL).run):
        assert_well(SMALL, result)


def test_a_script_repeats_its_schedule() -> None:
    scenario = ALL[0]
    bench = MemoryBench(scenario)
    for strategy in itertools.islice(sampled(5, scenario.steps), 10):
        first = bench.run(strategy)
        assert bench.run(Replay(first.script)) == first
