"""What a run came to."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any, Final, NamedTuple

from jvs.castore.digest import Digest
from jvs.errors import JvsError
from jvs.workspace.results import DiffResult, Json, optional_hex

TIMED_OUT: Final = 124
NOT_STARTED: Final = 125
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
"""Exit statuses that say that there is none of the command, as those of `timeout` and `env`."""

MAX_LISTED: Final = 1000
"""Paths of each kind that the JSON of a result has; the totals count all."""


class Ended(NamedTuple):
    """How a command ended.

    how     `exited`, `signalled`, `timed-out`, `interrupted` (a signal was forwarded to it, however it ended then), or
            `not-runnable`
    status  as a shell has it: its exit status, 128 + the number of the signal, 124, 126, 127
    reason  which program is not runnable, and why
    left    whether processes of its group had to be ended after it
    """

    how: str
    status: int
    reason: str = ""
    left: bool = False

    @property
    def in_words(self) -> str:
        """`exit status 3`, `ended by SIGKILL`, `timed out`, `interrupted`, `cannot run nosuch: ...`."""
        if self.how == "exited":
            return f"exit status {self.status}"
        if self.how == "not-runnable":
            return f"cannot run {self.reason}"
        if self.how == "signalled":
            with suppress(ValueError):
                return f"ended by {signal.Signals(self.status - 128).name}"
            return f"ended by signal {self.status - 128}"
        return self.how.replace("-", " ")


class RunResult(NamedTuple):
    """A run, or one of several attempts.

    status  `pushed`, `merged`, `unchanged` (the command changed nothing), `kept`, `dropped`; `rejected` (the label had
            moved), `conflict`, `failed` (it could not be applied): `error` says why, and the session is kept
    ended   how the command ended; None: it never began
    ca_id   id of the tree as the command left it, or as it was merged; None: not known
    label, generation   where it was pushed
    session the session that is there now, or None
    base    what it began from
    diff    what a push of this changes, or would change
    skipped paths of a checked-out copy that no push can take
    where   a checked-out copy that could not be taken into the session, or None
    attempt, score   of one of several
    """

    status: str
    ended: Ended | None
    ca_id: Digest | None = None
    label: str | None = None
    generation: int | None = None
    session: str | None = None
    base: Digest | None = None
    diff: DiffResult | None = None
    error: JvsError | None = None
    skipped: tuple[str, ...] = ()
    where: str | None = None
    attempt: int | None = None
    score: float | None = None

    @property
    def exit_status(self) -> int:
        """The command's; where that is 0 and the result could not be applied, that of the failure."""
        if self.ended is None:
            return NOT_STARTED
        if self.ended.status == 0 and self.error is not None:
            return self.error.exit_status
        return self.ended.status

    def as_json(self) -> Json:
        """{status, exit, ended, ca_id, label, generation, session, base, diff, where, skipped, attempt?, score?}."""
        out: Json = {
            "status": self.status,
            "exit": self.exit_status,
            "ended": None if self.ended is None else self.ended.how,
            "ca_id": optional_hex(self.ca_id),
            "label": self.label,
            "generation": self.generation,
            "session": self.session,
            "base": optional_hex(self.base),
            "diff": None if self.diff is None else diff_json(self.diff),
            "where": self.where,
            "skipped": list(self.skipped),
        }
        if self.attempt is not None:
            out |= {"attempt": self.attempt, "score": self.score}
        return out


class ParallelResult(NamedTuple):
    """Several attempts. best: the one that was chosen, as it was applied; None: there was none to choose.
    attempts: all of them, in order; error: why none was chosen; interrupted: by that signal."""

    best: RunResult | None
    attempts: tuple[RunResult, ...]
    error: JvsError | None = None
    interrupted: int | None = None

    @property
    def exit_status(self) -> int:
        """That of the best attempt. When none was chosen: of the first that failed, else of the failure to choose."""
        if self.best is not None:
            return self.best.exit_status
        if self.interrupted is not None:
            return 128 + self.interrupted
        failed = [attempt.exit_status for attempt in self.attempts if attempt.exit_status]
        return failed[0] if failed else 1 if self.error is None else self.error.exit_status

    def as_json(self) -> Json:
        """The fields of the best attempt (or of none), and {best, attempts}."""
        chosen = self.best or RunResult("failed", None)
        out = chosen.as_json() | {"exit": self.exit_status}
        for name in ("attempt", "score"):
            out.pop(name, None)
        return out | {"best": chosen.attempt, "attempts": [attempt.as_json() for attempt in self.attempts]}


def diff_json(diff: DiffResult) -> Json:
    """As `fs diff` has it, with at most MAX_LISTED paths of a kind."""
    short: dict[str, Any] = {
        name: getattr(diff, name)[:MAX_LISTED] for name in ("added", "removed", "modified", "renamed")
    }
    totals = {f"total_{name}": len(getattr(diff, name)) for name in short}
    return diff._replace(**short).as_json() | totals
