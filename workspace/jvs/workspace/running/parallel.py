"""Many attempts at one thing, of which the best is pushed."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from jvs.errors import JvsError, StateError, StoreError
from jvs.workspace.running.attempt import Attempt, Start, conclude, look_up, run_attempt
from jvs.workspace.running.options import ATTEMPT_TTL, ParallelOptions, RunOptions, Surroundings
from jvs.workspace.running.results import ParallelResult, RunResult

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo


class _NotBegun(NamedTuple):
    """An attempt that came to nothing before its command began."""

    number: int
    error: JvsError


def run_parallel(repo: Repo, options: RunOptions, many: ParallelOptions, around: Surroundings) -> ParallelResult:
    """Run the command in several sessions that begin at one snapshot, choose the best of those that ended with status
    0, and do with it as a single run does; the others are kept for a time. An attempt that fails, or that has no score,
    is never the best. After a signal all are kept, and none is chosen. Raises JvsError: no attempt could begin."""
    options.check()
    many.check()
    options = options._replace(ttl=options.ttl or ATTEMPT_TTL)
    start = look_up(repo, options)
    quiet = around._replace(stdin=subprocess.DEVNULL)  # several readers of one stdin would each get a part
    lock = threading.Lock()

    def tell(line: str) -> None:
        with lock:
            around.tell(line)

    quiet = quiet._replace(tell=tell)

    def one(number: int) -> Attempt | _NotBegun:
        try:
            return run_attempt(repo, options, start, quiet, number=number, score=many.score)
        except (JvsError, OSError) as error:
            failure = error if isinstance(error, JvsError) else StoreError(str(error))
            if failure.code != "interrupted":
                tell(f"attempt {number} could not begin: {failure.message}")
            return _NotBegun(number, failure)

    numbers = range(1, many.attempts + 1)
    with around.interrupts.noted(), ThreadPoolExecutor(many.jobs or many.attempts, "jvs run") as pool:
        made = list(pool.map(one, numbers))
    begun = [attempt for attempt in made if isinstance(attempt, Attempt)]
    if not begun:
        raise next(attempt.error for attempt in made if isinstance(attempt, _NotBegun))
    best = None if around.interrupts.number is not None else choose(begun, scored=many.score is not None)
    return _conclude(repo, options, start, made, best)._replace(interrupted=around.interrupts.number)


def choose(attempts: Sequence[Attempt], *, scored: bool) -> Attempt | None:
    """The best: of those that ended with status 0 the one with the highest score, of equal ones the first; None: there
    is none."""
    able = [one for one in attempts if one.ended.how == "exited" and one.ended.status == 0 and one.error is None]
    if scored:
        able = [one for one in able if one.score is not None]
    return max(able, key=lambda attempt: (attempt.score or 0.0, -(attempt.number or 0)), default=None)


def _conclude(
    repo: Repo, options: RunOptions, start: Start, made: Sequence[Attempt | _NotBegun], best: Attempt | None
) -> ParallelResult:
    """Others first: should this be interrupted, what is to be kept is kept in any case."""
    results: dict[int, RunResult] = {}
    for attempt in sorted(made, key=lambda one: one is best):
        number = attempt.number
        assert number is not None
        if isinstance(attempt, _NotBegun):
            results[number] = RunResult("failed", None, error=attempt.error, attempt=number)
        else:
            results[number] = conclude(repo, options, start, attempt, chosen=attempt is best)
    ordered = tuple(results[number] for number in sorted(results))
    if best is not None:
        assert best.number is not None
        return ParallelResult(results[best.number], ordered)
    error = None
    if not any(result.exit_status for result in ordered):
        error = StateError("no attempt has a score, so none was chosen", code="no-score")
    return ParallelResult(None, ordered, error)
