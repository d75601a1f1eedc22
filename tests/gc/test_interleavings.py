"""Pushes, moves, deletions, readers and collectors in every order of their steps that there is time for: nothing that
is reachable is ever missing, and what nobody needs goes. README.md says how."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable

import pytest

from tests.gc.bench import MemoryBench
from tests.gc.histories import ALL, SMALL
from tests.gc.scenarios import Scenario
from tests.gc.scheduler import Replay, Strategy, bounded, sampled

TORTURE = os.environ.get("JVS_TORTURE") == "1"
SAMPLES = 15_000 if TORTURE else 120
PREEMPTIONS = 2 if TORTURE else 1


def check(scenario: Scenario, strategies: Iterable[Strategy]) -> None:
    """Run a scenario under each strategy. A failure says which script shows it."""
    bench = MemoryBench(scenario)
    for strategy in strategies:
        result = bench.run(strategy)
        if result.problem is not None:
            raise AssertionError(f"{scenario.name}: {result.problem}; script: {result.script}") from result.problem


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_random_schedules(scenario: Scenario) -> None:
    check(scenario, itertools.islice(sampled(4, scenario.steps), SAMPLES))


def test_every_schedule_with_few_preemptions_or_crashes() -> None:
    for preemptions in range(PREEMPTIONS + 1):
        check(SMALL, bounded(SMALL.names, SMALL.mortal, SMALL.steps, preemptions))


def test_a_script_repeats_its_schedule() -> None:
    scenario = ALL[0]
    bench = MemoryBench(scenario)
    for strategy in itertools.islice(sampled(5, scenario.steps), 10):
        first = bench.run(strategy)
        assert bench.run(Replay(first.script)) == first
