"""What `jvs run` is asked to do, and what it needs from whoever asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from jvs.errors import UsageError
from jvs.labels.durations import parse_duration
from jvs.labels.model import MAX_MESSAGE, check_text
from jvs.labels.names import check_label_name

if TYPE_CHECKING:
    from jvs.workspace.running.command import Interrupts

OnSuccess = Literal["push", "merge", "keep"]
OnFailure = Literal["keep", "drop"]

MAX_ATTEMPTS: Final = 1000
ATTEMPT_TTL: Final = "7d"
"""How long attempts that were not chosen are kept."""

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?", re.ASCII)


class RunOptions(NamedTuple):
    """One run.

    command     the program and its arguments; no shell has a look at them
    label       what a result is pushed to; None: it can only be kept
    revision    where it starts; None: at the label
    name        of the session; None: after the label, with a number
    on_success  what becomes of the result of a command that ends with status 0: `push` (the label must not have moved),
                `merge` (with what moved it) or `keep` (the session)
    on_failure  of any other: `keep` or `drop`
    timeout     seconds after which the command is ended; None: never
    message     of the push
    ttl         how long a session that is kept is kept at least (`7d`); None: until it is dropped
    checkout    run in a checked-out copy, also where there are mounts
    """

    command: tuple[str, ...]
    label: str | None = None
    revision: str | None = None
    name: str | None = None
    on_success: OnSuccess = "push"
    on_failure: OnFailure = "keep"
    timeout: float | None = None
    message: str = ""
    ttl: str | None = None
    checkout: bool = False

    def check(self) -> None:
        """Raise UsageError for what cannot be meant."""
        if not self.command or not self.command[0]:
            raise UsageError("there is no command to run", next="jvs run --label main -- CMD...")
        check_text(self.message, MAX_MESSAGE, "the message", "bad-message")
        if self.label is not None:
            check_label_name(self.label)
        elif self.revision is None:
            raise UsageError("what is the command to run on?", next="jvs run --label main -- CMD...")
        elif self.on_success != "keep":
            raise UsageError(
                "without a label there is nothing to push to", next="add --label LABEL, or --on-success keep"
            )


class ParallelOptions(NamedTuple):
    """Many attempts. attempts: how many; jobs: how many at once (None: all); score: words of the command that says how
    good an attempt is, run in each that ended with status 0; None: the first of those is the best."""

    attempts: int
    jobs: int | None = None
    score: tuple[str, ...] | None = None

    def check(self) -> None:
        """Raise UsageError."""
        if not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise UsageError(f"there can be 1 to {MAX_ATTEMPTS} attempts", next="jvs run --help")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError("at least one attempt runs at a time", next="jvs run --help")
        if self.score is not None and (not self.score or not self.score[0]):
            raise UsageError("the command that scores attempts is empty", next="jvs run --help")


class Surroundings(NamedTuple):
    """What a run needs from its caller, which the library looks up nowhere itself.

    environment  of the command, to which is added what says where it is
    scratch      the directory in which mount points and checked-out copies are made
    interrupts   what a signal's handler forwards signals by
    tell         called with a line about what happens, not from the caller's thread only
    stdin        a descriptor, or None: the caller's own; of parallel attempts it is always empty
    stdout       the same
    """

    environment: Mapping[str, str]
    scratch: str
    interrupts: Interrupts
    tell: Callable[[str], None]
    stdin: int | None = None
    stdout: int | None = None


def parse_timeout(text: str) -> float | None:
    """Seconds: a number of them (`90`, `1.5`), or a duration (`10min`); 0 is None, for ever. Raises UsageError
    (bad-duration)."""
    seconds = float(text) if _SECONDS.fullmatch(text) else parse_duration(text) / 1000
    return seconds or None
