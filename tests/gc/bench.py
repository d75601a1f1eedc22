"""Running a scenario, once or a hundred thousand times, and judging what came of it."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

from jvs.castore import publish
from jvs.castore.gc import collection, pins, rescue
from jvs.castore.gc.collection import Limits
from jvs.castore.gc.marks import COLLECTORS, CONDEMNED, PINS, TOLD
from jvs.castore.objects import ObjectStore
from jvs.errors import NoSpaceError
from tests.castore.models import TINY, read_tree
from tests.gc.scenarios import (
    CLOCK,
    UNLIMITED,
    Actor,
    Scenario,
    World,
    collect,
    digest_of,
    every_root,
    heads,
    labels_of,
    write_and_move,
)
from tests.gc.scheduler import Broken, Process, Scheduler, Strategy
from tests.gc.stores import ScheduledMemory, Watch, numbered_randomness


class Bench(abc.ABC):
    """Runs one scenario any number of times, each time from the same beginning. Use `MemoryBench` or another one."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.watch = Watch()

    def _make(self, store: Any) -> None:
        """Make the history."""
        scenario = self.scenario
        for label, model in (*scenario.earlier.items(), *scenario.labels.items()):
            write_and_move(store, label, model)
        for model in scenario.garbage:
            write_and_move(store, "garbage", model)
            labels_of(store).delete("garbage")
        if scenario.expires:
            labels_of(store).set_retention("*", ["keep-last", "0", "keep-deleted", "0"])
        if scenario.marked:
            self._collect(store)

    @abc.abstractmethod
    def _open(self) -> Mapping[str, Any]:
        """The store as it was made, for each process by its name, and for a bystander."""

    @abc.abstractmethod
    def _close(self, stores: Mapping[str, Any]) -> None:
        """A run is over."""

    @abc.abstractmethod
    def _free(self, lock: Any) -> None:
        """Let go of the lock of somebody who was killed."""

    @abc.abstractmethod
    def _bury(self, process: Process) -> None:
        """Let go of whatever else somebody held who was killed."""

    def _patches(self) -> Iterator[tuple[Any, str, Any]]:
        clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: None)
        yield publish, "MAX_LOOKUPS", self.scenario.lookups
        yield publish, "perf_counter", lambda: 0.0
        yield collection, "BATCH", self.scenario.batch
        yield collection, "time", clock
        yield pins, "_BATCH", self.scenario.batch
        yield rescue, "BATCH", self.scenario.batch

    @contextmanager
    def small(self, first: int) -> Iterator[None]:
        """Small transactions, no clock, no chance."""
        with ExitStack() as stack:
            for patch in self._patches():
                stack.enter_context(mock.patch.object(*patch))
            stack.enter_context(numbered_randomness(first))
            yield

    def run(self, strategy: Strategy) -> Result:
        """Run the processes once, then the collector twice, alone; judge."""
        with self.small(1 << 20):
            stores = self._open()
            try:
                return self._run(strategy, stores)
            finally:
                self._close(stores)

    def _run(self, strategy: Strategy, stores: Mapping[str, Any]) -> Result:
        world = World(stores, self.watch, self._collect, dict(self.scenario.labels))
        actors = {actor.name: actor for actor in self.scenario.actors}

        def killed(process: Process) -> None:
            self.watch.killed(process, self._free)
            self._bury(process)
            actors[process.name].died(world)

        def work(actor: Actor) -> None:
            try:
                actor.work(world)
            except NoSpaceError:
                actor.died(world)
                if self.watch.current is not None:
                    self.watch.published.pop(self.watch.current, None)

        self.watch.scheduler = scheduler = Scheduler(strategy, killed)
        processes = [
            Process(actor.name, lambda actor=actor: work(actor), crashable=actor.crashable)  # type: ignore[misc]
            for actor in self.scenario.actors
        ]
        try:
            scheduler.run(processes)
        finally:
            self.watch.scheduler = None
        self.watch.full = False
        problem = _problem(scheduler, processes)
        if problem is None:
            problem = _judged(lambda: self._judge(world))
        return Result(scheduler.script, scheduler.steps, problem)

    def _collect(self, store: Any, limits: Limits = UNLIMITED) -> None:
        if not self.scenario.expires:
            collect(store, heads, limits)
            return
        for _ in labels_of(store).expire(CLOCK):
            pass
        collect(store, every_root, limits)

    def _judge(self, world: World) -> None:
        """Everything acknowledged reads back; what nobody needs goes."""
        store = world.store
        self.watch.check(store.view())
        self._read_back(world)
        self._collect(store)
        self._collect(store)
        view = store.view()
        self.watch.check(view)
        self._read_back(world)
        left = view.objects.keys() - view.reachable(self.watch.roots(view))
        if left:
            raise Broken(f"{len(left)} object(s) that nothing needs are still there after two collections")
        tables = (COLLECTORS, CONDEMNED, TOLD, PINS)
        behind = [table.name for table in tables if any(True for _ in view.txn.scan(table))]
        if behind:
            raise Broken(f"there are rows left in {', '.join(behind)}")

    def _read_back(self, world: World) -> None:
        labels, objects = labels_of(world.store), ObjectStore(world.store, TINY)
        there = {info.name: info.ca_id for info in labels.list()}
        for name, model in world.labels.items():
            if name not in there:
                raise Broken(f"the label {name} is gone")
            if read_tree(objects, there.pop(name)) != model:
                raise Broken(f"the label {name} holds something else")
        for model in world.pinned:
            if read_tree(objects, digest_of(model)) != model:
                raise Broken("what was pinned is something else")
        for name, models in world.unsure.items():
            held = read_tree(objects, there.pop(name)) if name in there else None
            if held not in models:
                raise Broken(f"the label {name}, which was being moved, holds something else")
        if there:
            raise Broken(f"nobody made {', '.join(there)}")


class MemoryBench(Bench):
    """Over a store in memory."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.store = ScheduledMemory(TINY, self.watch)
        with self.small(1):
            self._make(self.store)
        self._begin = self.store.state

    def _open(self) -> Mapping[str, Any]:
        self.store.begin(self._begin)
        return dict.fromkeys(["", *self.scenario.names], self.store)

    def _close(self, stores: Mapping[str, Any]) -> None:
        pass

    def _free(self, lock: Any) -> None:
        lock.release()

    def _bury(self, process: Process) -> None:
        pass


@dataclass(frozen=True)
class Result:
    """How one schedule went. problem: None when all was well; script: what ran, for `Replay`."""

    script: str
    steps: int
    problem: BaseException | None


def _problem(scheduler: Scheduler, processes: Sequence[Process]) -> BaseException | None:
    if scheduler.failure is not None:
        return scheduler.failure
    for process in processes:
        if process.error is not None:
            return process.error
    return None


def _judged(judge: Callable[[], None]) -> BaseException | None:
    try:
        judge()
    except Exception as error:
        return error
    return None
