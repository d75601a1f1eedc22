"""`jvs run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from jvs.cli.errors import as_jvs_error, error_json
from jvs.cli.text import command, count, short
from jvs.cli.ui import Json, Ui, to_json
from jvs.cli.verb import Verb, files, labels
from jvs.errors import JvsError, UsageError

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo
    from jvs.workspace.results import DiffResult
    from jvs.workspace.running import Interrupts, ParallelResult, RunOptions, RunResult, Surroundings

EXAMPLES = """
jvs run --label main -m "new figures" -- make figures
jvs run --label main --on-success merge --timeout 10min -- ./agent.py   # others push meanwhile
jvs run --label main --on-success keep --as try-1 -- bash               # look around, push later
jvs run --label main --parallel 4 --score './score.py' -- ./agent.py    # push the best of four
"""

_RUN_FIELDS = {
    "status": "`pushed`, `merged`, `unchanged` (the command changed nothing), `kept`, `dropped`; `rejected` (the label "
    "moved), `conflict`, `failed` (see `error`): the session is kept",
    "exit": "the exit status",
    "ended": "how the command ended: `exited`, `signalled`, `timed-out`, `interrupted`, `not-runnable`; null: it never "
    "began",
    "ca_id": "id of the tree as the command left it, or as it was merged; or null",
    "label": "the label",
    "generation": "its generation after the push, or null",
    "session": "the session that has the result now, or null",
    "base": "id of the snapshot that the command began from",
    "diff": "what it changed, as in `fs diff`; at most 1,000 paths of a kind are listed; or null",
    "where": "a checked-out copy that could not be taken into the session, or null",
    "skipped": "paths of a checked-out copy that cannot be pushed, with the reason",
}
_FIELDS = {
    **_RUN_FIELDS,
    "best": "with --parallel: the attempt that was chosen, or null",
    "attempts[]": "with --parallel: the fields above of each attempt, with `attempt` and `score`",
    "error": "when it could not be applied, or did not begin: code, message, next, details",
}
_EXITS = {
    0: "the command ended with 0, and what it did was applied",
    6: "it ended with 0, but the label had moved: the session is kept",
    7: "it ended with 0, but merging met a conflict: the session is kept",
    124: "the command took too long",
    125: "jvs failed before the command began, whatever the reason",
    126: "the command cannot be run",
    127: "the command was not found",
    128: "and more: 128 + the number of the signal that ended the command; else its own exit status",
}
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SHOWN = 20


class NotBegunError(JvsError):
    """A failure before the command began: exit status 125, so that none is taken for the command's own."""

    def __init__(self, error: JvsError) -> None:
        super().__init__(error.message, next=error.next, code=error.code, **error.details)

    @property
    def exit_status(self) -> int:
        """125."""
        from jvs.workspace.running.results import NOT_STARTED

        return NOT_STARTED


class RunVerb(Verb):
    """Words after the first that is no option are the command's own, and every failure is a NotBegunError."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click does."""
        try:
            return super().make_context(info_name, args, parent, allow_interspersed_args=False, **extra)
        except click.UsageError as error:
            ui = parent.find_object(Ui) if parent is not None else None
            if ui is not None:
                ui.json = ui.json_wanted  # what else was typed could not be understood
            raise NotBegunError(as_jvs_error(error)) from error


@click.command("run", cls=RunVerb, examples=EXAMPLES, fields=_FIELDS, exits=_EXITS)
@click.argument("words", metavar="[--] CMD...", nargs=-1, type=click.UNPROCESSED, shell_complete=files)
@click.option("--label", metavar="LABEL", shell_complete=labels, help="The label to work on.")
@click.option(
    "--from", "revision", metavar="REV", shell_complete=labels, help="Where to begin [default: the label's head]."
)
@click.option(
    "--as",
    "name",
    metavar="NAME",
    help="What to call the session (with --parallel: NAME-1, ...) [default: the label and a number].",
)
@click.option(
    "--on-success",
    type=click.Choice(["push", "merge", "keep"]),
    default="push",
    show_default=True,
    help="When CMD ends with 0: push (the label must not have moved), merge (with what moved it), or keep the session.",
)
@click.option(
    "--on-failure",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="When it ends otherwise: keep the session, or drop it.",
)
@click.option("--timeout", metavar="T", help="End CMD after that time (90 seconds, 10min): SIGTERM, 5 s later SIGKILL.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--ttl", metavar="T", help="gc may remove a kept session after that time [default with --parallel: 7d].")
@click.option("--checkout", is_flag=True, help="Run in a checked-out copy, also where there are mounts.")
@click.option("--result", metavar="FILE", shell_complete=files, help="Write the JSON result there.")
@click.option("--parallel", type=int, metavar="N", help="Run CMD N times at once, JVS_ATTEMPT being 1 to N.")
@click.option("--jobs", type=int, metavar="J", help="With --parallel: at most J at a time.")
@click.option(
    "--score",
    metavar="CMD",
    help="With --parallel: run this in each attempt that ended with 0; the last line of its output is a number, and "
    "the highest wins. Split into words as a shell does; no shell runs it.",
)
@click.pass_obj
def run(
    ui: Ui,
    words: tuple[str, ...],
    label: str | None,
    revision: str | None,
    name: str | None,
    on_success: Any,
    on_failure: Any,
    timeout: str | None,
    message: str,
    ttl: str | None,
    checkout: bool,
    result: str | None,
    parallel: int | None,
    jobs: int | None,
    score: str | None,
) -> int:
    """Run CMD in a fresh session of LABEL, mounted (or checked out where there is no FUSE), and push what it did.

    CMD is a program and its arguments, run in the root of the tree; no shell is used unless you name one. JVS_STORE,
    JVS_SESSION and JVS_LABEL are set. stdout and stderr are CMD's; what jvs says goes to stderr, or nowhere with -q.
    With --json the result goes to stdout, and CMD's stdout to stderr.
    """
    done: RunResult | ParallelResult | None = None
    with _begun(result) as file:
        try:
            from jvs.workspace.running import RunOptions, parse_timeout

            seconds = None if timeout is None else parse_timeout(timeout)
            options = RunOptions(words, label, revision, name, on_success, on_failure, seconds, message, ttl, checkout)
            score_words = None if score is None else _split(score)
            with ui.open_repo() as repo, _forwarding() as interrupts:
                around = _surroundings(ui, interrupts)
                done = _run(repo, options, around, parallel, jobs, score_words)
        except (Exception, KeyboardInterrupt) as error:
            failure = as_jvs_error(error)
            if done is None and failure.code != "interrupted":
                failure = NotBegunError(failure)
            _write(file, _failure(failure, done))
            raise failure from error
        value = _value(done)
        if ui.json:
            ui.emit(value)
        else:
            _show(ui, done)
        _write(file, value)
    return done.exit_status


def _run(
    repo: Repo,
    options: RunOptions,
    around: Surroundings,
    parallel: int | None,
    jobs: int | None,
    score: tuple[str, ...] | None,
) -> RunResult | ParallelResult:
    from jvs.workspace import running

    if parallel is not None:
        return running.run_parallel(repo, options, running.ParallelOptions(parallel, jobs, score), around)
    if jobs is not None or score is not None:
        raise UsageError("--jobs and --score are for several attempts", next="jvs run --label main --parallel 4 -- CMD")
    return running.run(repo, options, around)


def _split(text: str) -> tuple[str, ...]:
    import shlex

    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--score {text[:80]!a}: {error}", next="jvs run --help") from None


def _surroundings(ui: Ui, interrupts: Interrupts) -> Surroundings:
    import subprocess
    import tempfile

    from jvs.workspace.running import Surroundings

    ui.flush_data()
    return Surroundings(
        os.environ,
        tempfile.gettempdir(),
        interrupts,
        lambda line: _tell(ui, line),
        stdin=subprocess.DEVNULL if sys.stdin is None else None,  # its number is some other file's by now
        stdout=2 if ui.json else None,  # our stdout is for one value
    )


def _tell(ui: Ui, line: str) -> None:
    ui.talk(f"jvs: {ui.name(line)}")
    sys.stderr.flush()


@contextmanager
def _forwarding() -> Iterator[Interrupts]:
    """While this lasts, signals go to the command; as long as none runs, they interrupt us."""
    from jvs.workspace.running import Interrupts

    interrupts = Interrupts()

    def forward(number: int, _frame: object) -> None:
        if not interrupts.forward(number):
            raise KeyboardInterrupt

    before = {
        number: signal.signal(number, forward)
        for number in _FORWARDED
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup, or the background of a script
    }
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _begun(path: str | None) -> Iterator[IO[str] | None]:
    """The file for the result, opened before anything is done: what cannot be written is found out in time. It stays
    empty while the command runs."""
    if path is None:
        yield None
        return
    try:
        file = open(path, "w", encoding="utf-8")  # noqa: SIM115  # closed below
    except OSError as error:
        raise NotBegunError(as_jvs_error(error)) from error
    with file:
        yield file


def _write(file: IO[str] | None, value: Json) -> None:
    if file is not None:
        file.write(to_json(value) + "\n")
        file.flush()


def _value(done: RunResult | ParallelResult) -> Json:
    error = done.error
    chosen = getattr(done, "best", None)
    if error is None and chosen is not None:
        error = chosen.error
    return done.as_json() | ({} if error is None else {"error": error_json(error)})


def _failure(error: JvsError, done: RunResult | ParallelResult | None) -> Json:
    from jvs.workspace.running.results import RunResult

    result = (done or RunResult("failed", None)).as_json()
    return result | {"exit": error.exit_status, "error": error_json(error)}


def _show(ui: Ui, done: RunResult | ParallelResult) -> None:
    """What became of it, for people: on stderr, since stdout is the command's."""
    from jvs.workspace.running.results import RunResult

    if isinstance(done, RunResult):
        _show_one(ui, done)
        return
    for attempt in done.attempts:
        if attempt.ended is None:  # it was told when it could not begin
            continue
        score = "" if attempt.score is None else f", score {attempt.score:g}"
        best = ", the best" if done.best is not None and attempt.attempt == done.best.attempt else ""
        kept = "" if attempt.session is None else f", session {attempt.session}"
        ui.talk(f"attempt {attempt.attempt}: {ui.name(attempt.ended.in_words)}{score}{best}{kept}")
    if done.best is not None:
        _show_one(ui, done.best)
    elif done.error is not None:
        ui.complain(done.error)


def _show_one(ui: Ui, done: RunResult) -> None:
    where = "" if done.generation is None else f" {done.label}@{done.generation}"
    if done.session is not None and done.status in ("kept", "rejected", "conflict", "failed"):
        where += f" (session {done.session})" if done.status != "kept" else f" {done.session}"
    made = "" if done.ca_id is None else f" {short(done.ca_id)}"
    changed = "" if done.diff is None else f": {_totals(done.diff)}"
    how = "" if done.ended is None or done.ended.status == 0 else f", {ui.name(done.ended.in_words)}"
    ui.talk(f"{done.status}{where}{made}{changed}{how}")
    for line in [] if done.diff is None else _changes(ui, done.diff):
        ui.talk(line)
    for line in done.skipped[:_SHOWN]:
        ui.talk(f"skipped: {line}")
    if done.status in ("pushed", "merged"):
        ui.talk(f"undo: {command('jvs', 'fs', 'undo', str(done.label))}")
    if done.error is not None:
        ui.complain(done.error)
    if done.where is not None:
        ui.talk(f"what it did is in {ui.name(done.where)}; push it: {command('jvs', 'fs', 'push', done.where)}")
    elif done.session is not None:
        push = f"; {command('jvs', 'fs', 'push', '--session', done.session)}"
        refused = done.status in ("rejected", "conflict")  # then the error has said how it can be pushed
        ui.talk(f"go on: {command('jvs', 'fs', 'status', done.session)}{'' if refused else push}")
        ui.talk(f"work in it: {command('jvs', 'fs', 'mount', '--session', done.session)} DIR")
        ui.talk(f"drop it: {command('jvs', 'fs', 'drop', done.session, '--force')}")


def _totals(diff: DiffResult) -> str:
    counts = {name: len(getattr(diff, name)) for name in ("added", "removed", "modified", "renamed")}
    return ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "nothing was changed"


def _changes(ui: Ui, diff: DiffResult) -> list[str]:
    kinds = {"A": diff.added, "D": diff.removed, "M": diff.modified, "R": diff.renamed}
    found = sorted((change.path, letter) for letter, changes in kinds.items() for change in changes)
    lines = [f"{letter}  {ui.name(path)}" for path, letter in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"... and {count(len(found) - _SHOWN, 'path')} more")
    return lines
