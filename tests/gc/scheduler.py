"""A deterministic scheduler for real code: processes are threads of which exactly one runs, from one storage step to
the next, and a strategy says which.

A process calls `Scheduler.step` before each storage operation (the stores in `stores` do); there the strategy may let
another process run, or kill one. A killed process never touches the store again: each later operation of its thread
raises `Killed`, and whoever gave it locks is told to free them. What ran is kept as a script of a few words, which
`Replay` runs again.

The idea of bounding preemptions is CHESS's (Musuvathi and Qadeer 2007); that of random priorities with a few change
points is PCT's (Burckhardt et al. 2010).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import permutations
from typing import Final, NamedTuple, Protocol, TypeVar

R = TypeVar("R")

MAX_STEPS: Final = 20_000
"""Steps after which a schedule is taken to run for ever."""


class Killed(BaseException):
    """Raised in the thread of a process that was killed."""


class Broken(AssertionError):
    """An invariant does not hold."""


class Choice(NamedTuple):
    """Who runs next, or (`crash`) is killed."""

    name: str
    crash: bool = False

    def __str__(self) -> str:
        return f"!{self.name}" if self.crash else self.name


class Process:
    """One process: `body` is run in a thread of its own.

    crashable  whether strategies may kill it
    """

    def __init__(self, name: str, body: Callable[[], None], *, crashable: bool = False) -> None:
        self.name = name
        self.body = body
        self.crashable = crashable
        self.killed = False
        self.finished = False
        self.atomic = False
        """Inside a write transaction, which nobody sees anything of before it ends."""
        self.error: BaseException | None = None
        self.next = "begin"
        """What it is about to do."""
        self.gate = threading.Lock()
        self.gate.acquire()
        self.unwound: threading.Lock | None = None
        """Held until its thread is done, when another process's thread killed it."""


class Strategy(Protocol):
    """Decides who runs."""

    def choose(self, alive: Sequence[Process], current: Process | None, step: int) -> Choice:
        """alive: those that have not ended, in the order they were given; current: who runs now, None when that one
        has just ended; step: how many choices were made before. A killed process is chosen no more, and the strategy
        is asked again."""


class _Worker(threading.Thread):
    """A thread that runs one process after the other: starting threads would take longer than most schedules."""

    def __init__(self) -> None:
        super().__init__(name="process", daemon=True)
        self.gate = threading.Lock()
        self.gate.acquire()
        self.task: Callable[[], None] | None = None
        self.start()

    def run(self) -> None:
        while True:
            self.gate.acquire()
            task, self.task = self.task, None
            assert task is not None
            task()


_idle: list[_Worker] = []


class Scheduler:
    """Runs processes once, in the order a strategy says.

    on_kill  called with each process that is killed, before its thread is unwound: to free what it holds
    """

    def __init__(self, strategy: Strategy, on_kill: Callable[[Process], None] = lambda process: None) -> None:
        self._strategy = strategy
        self._on_kill = on_kill
        self._alive: list[Process] = []
        self._current: Process | None = None
        self._main = threading.Lock()
        self._main.acquire()
        self._choices: list[tuple[Choice, int]] = []
        self.steps = 0
        self.failure: BaseException | None = None
        """What `step`'s caller or a check said was wrong: the schedule was given up there."""

    @property
    def current(self) -> Process | None:
        """Who runs (None outside `run`)."""
        return self._current

    @property
    def script(self) -> str:
        """What was chosen so far, for `Replay`."""
        return " ".join(str(choice) if count == 1 else f"{choice}*{count}" for choice, count in self._choices)

    def run(self, processes: Sequence[Process]) -> None:
        """Run all of them to their ends. `failure` is set when the schedule was given up."""
        self._alive = list(processes)
        workers: list[_Worker] = []
        for process in processes:
            worker = _idle.pop() if _idle else _Worker()
            worker.task = self._task(process)
            workers.append(worker)
            worker.gate.release()
        self._hand_over(None)
        self._main.acquire()
        self._current = None
        _idle.extend(workers)

    def _task(self, process: Process) -> Callable[[], None]:
        def task() -> None:
            process.gate.acquire()
            try:
                if not process.killed:
                    process.body()
            except Killed:
                pass
            except Broken as error:
                self.failure = self.failure or error
            except BaseException as error:
                process.error = error
            process.finished = not process.killed
            if process.unwound is not None:
                process.unwound.release()
                return
            if not process.killed:
                self._alive.remove(process)
            self._hand_over(None)

        return task

    def step(self, what: str) -> None:
        """To be called by the running process before it touches the store. what: how it is about to."""
        me = self._current
        if me is None or me.atomic:
            return
        if me.killed:
            raise Killed
        me.next = what
        self._hand_over(me)

    def fail(self, error: BaseException) -> None:
        """Give the schedule up at the next step."""
        self.failure = self.failure or error

    def _hand_over(self, me: Process | None) -> None:
        """Let whoever is chosen run; returns when `me` is. Raises Killed when that is not to be."""
        while self._alive:
            choice = self._next(me)
            process = next(one for one in self._alive if one.name == choice.name)
            if choice.crash:
                self._alive.remove(process)
                self._kill(process, me)
                continue
            self._current = process
            if process is me:
                return
            process.gate.release()
            break
        else:
            self._main.release()
        if me is not None:
            me.gate.acquire()
            if me.killed:
                raise Killed

    def _next(self, me: Process | None) -> Choice:
        if self.failure is None and self.steps >= MAX_STEPS:
            self.failure = Broken("this runs for ever")
        if self.failure is not None:
            return Choice(self._alive[0].name, crash=True)
        choice = self._strategy.choose(self._alive, me, self.steps)
        self._note(choice)
        return choice

    def _kill(self, process: Process, me: Process | None) -> None:
        process.killed = True
        self._on_kill(process)
        if process is me:
            raise Killed
        process.unwound = threading.Lock()
        process.unwound.acquire()
        self._current = process
        process.gate.release()
        process.unwound.acquire()

    def _note(self, choice: Choice) -> None:
        self.steps += 1
        if self._choices and self._choices[-1][0] == choice and not choice.crash:
            self._choices[-1] = (choice, self._choices[-1][1] + 1)
        else:
            self._choices.append((choice, 1))


# -- strategies


class Replay:
    """Carries out a script. What it says of a process that has ended is passed over; at its end each process runs on
    until it ends."""

    def __init__(self, script: str) -> None:
        self._choices = list(_parse(script))

    def choose(self, alive: Sequence[Process], current: Process | None, step: int) -> Choice:
        names = {process.name for process in alive}
        while self._choices:
            choice, count = self._choices.pop()
            if choice.name in names:
                if count > 1:
                    self._choices.append((choice, count - 1))
                return choice
        return Choice((current or alive[0]).name)


def _parse(script: str) -> Iterator[tuple[Choice, int]]:
    for word in reversed(script.split()):
        name, _, count = word.partition("*")
        yield Choice(name.lstrip("!"), name.startswith("!")), int(count or 1)


class Switch(NamedTuple):
    """At this step another process is let run, or the running one is killed."""

    step: int
    to: str
    crash: bool = False


class Bounded:
    """Processes run one after the other in an order, but for a few switches (preemptions).

    seen  (step, who ran, who was alive), wherever somebody might have been preempted
    """

    def __init__(self, order: Sequence[str], switches: Sequence[Switch]) -> None:
        self.order = order
        self.switches = switches
        self.seen: list[tuple[int, str, list[str]]] = []
        self._at = {switch.step: switch for switch in switches}

    def choose(self, alive: Sequence[Process], current: Process | None, step: int) -> Choice:
        names = [process.name for process in alive]
        if current is not None:
            self.seen.append((step, current.name, names))
        switch = self._at.get(step)
        if switch is not None:
            return Choice(switch.to, switch.crash)
        if current is not None:
            return Choice(current.name)
        return Choice(next(name for name in self.order if name in names))


class RandomPriorities:
    """The process of the highest priority runs; at a few steps, chosen beforehand, it gets the lowest one, or dies."""

    def __init__(self, rng: random.Random, changes: int, length: int, crash: float) -> None:
        """length: about how many steps there will be; crash: how likely it is that one process is killed."""
        self._rng = rng
        self._changes = {rng.randrange(length) for _ in range(changes)}
        self._crash_at = rng.randrange(length) if rng.random() < crash else -1
        self._priorities: dict[str, float] = {}
        self._lowest = 0.0

    def choose(self, alive: Sequence[Process], current: Process | None, step: int) -> Choice:
        for process in alive:
            if process.name not in self._priorities:
                self._priorities[process.name] = self._rng.random()
        if 0 <= self._crash_at <= step:
            self._crash_at = -1
            crashable = [process for process in alive if process.crashable]
            if crashable:
                return Choice(self._rng.choice(crashable).name, crash=True)
        if current is not None and step in self._changes:
            self._lowest -= 1
            self._priorities[current.name] = self._lowest
        return Choice(max(alive, key=lambda process: self._priorities[process.name]).name)


class RandomWalk:
    """At each step somebody else runs with some probability."""

    def __init__(self, rng: random.Random, switch: float, crash: float) -> None:
        """crash: the probability that somebody dies, at each step."""
        self._rng = rng
        self._switch = switch
        self._crash = crash

    def choose(self, alive: Sequence[Process], current: Process | None, step: int) -> Choice:
        if self._crash and self._rng.random() < self._crash:
            crashable = [process for process in alive if process.crashable]
            if crashable:
                self._crash /= 4
                return Choice(self._rng.choice(crashable).name, crash=True)
        if current is not None and self._rng.random() >= self._switch:
            return Choice(current.name)
        return Choice(self._rng.choice(alive).name)


class Act(NamedTuple):
    """A part of a story: a process runs until something is so, or it ends.

    until  a number: so many steps; a text: it is about to do that; a function: what it says of the store
    crash  it dies then
    """

    name: str
    until: int | str | Callable[[], bool] | None = None
    crash: bool = False


class Story:
    """Carries out acts one after the other; in the end each process runs on until it ends. Unlike a script it does not
    count steps, so it tells the same story when the code takes other steps."""

    def __init__(self, acts: Iterable[Act]) -> None:
        self._acts = list(acts)
        self._taken = 0

    def choose(self, alive: Sequence[Process], current: Process | None, step: int) -> Choice:
        names = {process.name: process for process in alive}
        while self._acts:
            act = self._acts[0]
            process = names.get(act.name)
            if process is not None and not self._met(act.until, process):
                self._taken += 1
                return Choice(act.name)
            del self._acts[0]
            self._taken = 0
            if act.crash and process is not None:
                return Choice(act.name, crash=True)
        return Choice((current or alive[0]).name)

    def _met(self, until: int | str | Callable[[], bool] | None, process: Process) -> bool:
        if until is None:
            return False
        if isinstance(until, int):
            return self._taken >= until
        if isinstance(until, str):
            return process.next == until
        return until()


def sampled(seed: int, length: int, *, crash: float = 0.3) -> Iterator[Strategy]:
    """Random strategies without end, the same ones for the same seed."""
    for number in range(1 << 62):
        rng = random.Random((seed << 40) + number)
        if number % 4:
            yield RandomPriorities(rng, rng.choice((1, 2, 3, 3, 4, 6)), length, crash)
        else:
            yield RandomWalk(rng, rng.choice((0.05, 0.1, 0.3, 0.6)), crash / length)


def bounded(
    names: Sequence[str], crashable: Sequence[str], preemptions: int, run: Callable[[Strategy], R]
) -> Iterator[R]:
    """What every schedule with at most so many preemptions or crashes gives, each run once."""
    todo = [Bounded(order, ()) for order in permutations(names)]
    while todo:
        strategy = todo.pop()
        yield run(strategy)
        order, switches = strategy.order, strategy.switches
        if len(switches) == preemptions:
            continue
        after = switches[-1].step if switches else -1
        for step, current, alive in strategy.seen:
            if step > after:
                others = [Switch(step, name) for name in alive if name != current]
                others += [Switch(step, name, crash=True) for name in alive if name in crashable]
                todo.extend(Bounded(order, (*switches, switch)) for switch in others)
