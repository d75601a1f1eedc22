"""`jvs run`: a command in a session of its own, and what becomes of what it did (docs/run.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jvs.workspace.running.attempt import conclude, look_up, run_attempt
from jvs.workspace.running.command import Interrupts
from jvs.workspace.running.options import ParallelOptions, RunOptions, Surroundings, parse_timeout
from jvs.workspace.running.results import Ended, ParallelResult, RunResult

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

__all__ = [
    "Ended",
    "Interrupts",
    "ParallelOptions",
    "ParallelResult",
    "RunOptions",
    "RunResult",
    "Surroundings",
    "parse_timeout",
    "run",
    "run_parallel",
]


def run(repo: Repo, options: RunOptions, around: Surroundings) -> RunResult:
    """Run a command in a fresh session, and do with what it did what the options say. Raises JvsError, OSError: the
    command did not begin, and nothing is left behind."""
    options.check()
    start = look_up(repo, options)
    attempt = run_attempt(repo, options, start, around)
    try:
        return conclude(repo, options, start, attempt)
    except BaseException:
        around.tell(f"the session {attempt.session} is kept")
        raise


def run_parallel(repo: Repo, options: RunOptions, many: ParallelOptions, around: Surroundings) -> ParallelResult:
    """Several attempts, of which the best is pushed; see `parallel.run_parallel`."""
    from jvs.workspace.running import parallel  # threads and their pool, which a single run has no use for

    return parallel.run_parallel(repo, options, many, around)
