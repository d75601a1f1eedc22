"""One attempt: a fresh session, a command in it, and what becomes of what the command did."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.digest import Digest
from jvs.castore.hasher import TreeHasher
from jvs.errors import JvsError, StoreError
from jvs.workspace.compare import difference
from jvs.workspace.running.command import run_command
from jvs.workspace.running.options import RunOptions, Surroundings
from jvs.workspace.running.places import Place, enter
from jvs.workspace.running.results import Ended, RunResult
from jvs.workspace.running.terminal import Terminal
from jvs.workspace.sessions import create_session, drop_session, push_session, resume_session, session_info

if TYPE_CHECKING:
    from jvs.workspace.overlays import OverlayPush
    from jvs.workspace.repo import Repo
    from jvs.workspace.results import DiffResult


class Start(NamedTuple):
    """Where attempts begin, looked up once. revision: names the same snapshot for ever; expected: what the label must
    be when a result is pushed, in words of `fs push --expected`; None: what the session was opened from."""

    revision: str
    expected: str | None


class Attempt(NamedTuple):
    """A command that ended, and the session that has what it did, with which nothing was done yet.

    base     the snapshot that it began from
    place    where it ran, while processes still use that; None: they do not
    error    why what it did could not be taken into the session; where: the copy that still has it
    """

    session: str
    base: Digest
    ended: Ended
    place: Place | None = None
    error: JvsError | None = None
    where: str | None = None
    skipped: tuple[str, ...] = ()
    number: int | None = None
    score: float | None = None


def look_up(repo: Repo, options: RunOptions) -> Start:
    """Raises UnknownError (unknown-label, ...): a run on nothing is a mistake, never an empty tree."""
    if options.revision is None:
        assert options.label is not None
        return Start(f"{options.label}@{repo.labels.require(options.label).generation}", None)
    resolved = repo.resolve(options.revision)
    revision = repo.snapshot_of(resolved).hex()
    if resolved.label is not None and resolved.generation is not None and not resolved.path:
        revision = f"{resolved.label}@{resolved.generation}"
    if options.label is None or options.on_success != "push":
        return Start(revision, None)
    head = repo.labels.get(options.label)
    return Start(revision, "0" if head is None else str(head.generation))


def run_attempt(
    repo: Repo,
    options: RunOptions,
    start: Start,
    around: Surroundings,
    *,
    number: int | None = None,
    score: tuple[str, ...] | None = None,
) -> Attempt:
    """Run the command in a session of its own. number, score: of one of several. Raises JvsError, OSError before the
    command began: then nothing is left behind."""
    name = options.name if options.name is None or number is None else f"{options.name}-{number}"
    session = create_session(repo, start.revision, name, ttl=options.ttl)
    name, base = session.name, session.base
    try:
        with around.interrupts.noted():  # a mount is made, or it is not
            place = enter(repo, session, around.scratch, copy=options.checkout, tell=around.tell)
    except BaseException:
        _forget(repo, name)
        raise
    environment = _environment(repo, options, around, name, place.path, number)
    try:
        ended = run_command(
            options.command,
            place.path,
            environment,
            around.interrupts,
            timeout=options.timeout,
            stdin=around.stdin,
            stdout=around.stdout,
            terminal=Terminal.ours() if around.stdin is None and number is None else None,
        )
    except JvsError:  # interrupted before it began
        with suppress(JvsError, OSError):
            place.leave()
        _forget(repo, name)
        raise
    except BaseException:  # whatever it is: what the command did is not lost
        with suppress(JvsError, OSError):
            place.leave()
        around.tell(f"the session {name} is kept")
        raise
    try:
        return _leave(options, around, Attempt(name, base, ended, number=number), place, environment, score)
    except BaseException:
        around.tell(f"the session {name} is kept")
        raise


def _leave(
    options: RunOptions,
    around: Surroundings,
    made: Attempt,
    place: Place,
    environment: dict[str, str],
    score: tuple[str, ...] | None,
) -> Attempt:
    """After the command: what it did is scored, and goes over to the session."""
    from jvs.workspace.running.scoring import score_of  # only some runs have several attempts

    ended = made.ended
    if ended.left:
        around.tell("ended what the command had left running")
    if score is not None and ended.how == "exited" and ended.status == 0:
        made = made._replace(score=score_of(score, place.path, environment, around, options.timeout, made.number))
    try:
        unused = place.leave()
    except Exception as error:  # whatever it is, what the command did must be found
        there = place.copy and os.path.isdir(place.path) and not os.path.islink(place.path)
        return made._replace(error=_in_terms(error), where=place.path if there else None)
    if not unused:
        around.tell(f"processes still work in {place.path}: what they write from now on stays in {made.session}")
    return made._replace(place=None if unused else place, skipped=place.skipped())


def _forget(repo: Repo, name: str) -> None:
    """Remove a session in which no command began."""
    with suppress(JvsError, OSError):
        drop_session(repo, name, force=True)


def _environment(
    repo: Repo, options: RunOptions, around: Surroundings, session: str, path: str, number: int | None
) -> dict[str, str]:
    """What the command finds: jvs works in it on the same store, and it knows where it is."""
    environment = {name: value for name, value in around.environment.items() if name not in _OURS}
    environment |= {"JVS_STORE": os.path.abspath(repo.store.path), "JVS_SESSION": session, "PWD": path}
    if options.label is not None:
        environment["JVS_LABEL"] = options.label
    if number is not None:
        environment["JVS_ATTEMPT"] = str(number)
    return environment


_OURS = frozenset(("JVS_STORE", "JVS_SESSION", "JVS_LABEL", "JVS_ATTEMPT", "PWD", "OLDPWD"))


def conclude(repo: Repo, options: RunOptions, start: Start, attempt: Attempt, *, chosen: bool = True) -> RunResult:
    """Do with what a command did what the options say. chosen: whether it is the attempt that is to be pushed; others
    that were successful are kept. Raises nothing but what the caller is interrupted by: a failure is in the result, and
    the session is kept then."""
    ended = attempt.ended
    result = RunResult(
        "kept",
        ended,
        label=options.label,
        session=attempt.session,
        base=attempt.base,
        skipped=attempt.skipped,
        where=attempt.where,
        attempt=attempt.number,
        score=attempt.score,
    )
    if attempt.error is not None:
        return result._replace(status="failed", error=attempt.error)
    policy: str = options.on_failure if ended.status else options.on_success if chosen else "keep"
    if ended.how == "interrupted":
        policy = "keep"
    elif ended.how == "not-runnable":
        policy = "drop"
    try:
        if policy in ("push", "merge"):
            return _push(repo, options, start, attempt, result)
        changed = _look(repo, attempt)
        if changed is not None:
            result = result._replace(ca_id=changed.to, diff=changed)
        if policy == "drop":
            drop_session(repo, attempt.session, force=True)
            return result._replace(status="dropped", session=None)
        return result
    except (JvsError, OSError) as error:
        return result._replace(status="failed", error=_in_terms(error))
    finally:
        if attempt.place is not None:
            with suppress(JvsError, OSError):
                attempt.place.let_go()


def _look(repo: Repo, attempt: Attempt) -> DiffResult | None:
    """What was changed, and as what it would be pushed; None: processes still change it."""
    if attempt.place is not None:
        return None
    with resume_session(repo, attempt.session) as session:
        hasher = TreeHasher(repo.objects)
        now = session.fold(hasher).tree.digest
        return difference(hasher.page, attempt.base, now)


def _push(repo: Repo, options: RunOptions, start: Start, attempt: Attempt, result: RunResult) -> RunResult:
    name = attempt.session
    ours = start.expected is None and session_info(repo, name).label == options.label
    if ours and attempt.place is None and _untouched(repo, name):
        return _unchanged(repo, attempt, result)
    done = push_session(
        repo,
        name,
        label=options.label,
        expected=start.expected,
        message=options.message,
        merge=options.on_success == "merge",
    )
    push = done.push
    if ours and attempt.place is None and push.status == "rejected" and push.ca_id == attempt.base:
        return _unchanged(repo, attempt, result)  # it was written anew as it was
    result = result._replace(ca_id=push.ca_id, generation=push.generation)
    if push.error is not None:
        conflict = done.merge is not None and done.merge.error is not None
        if done.merge is not None and conflict:
            clashing = done.merge.conflicts
            paths = [b"/".join(one.conflict.path).decode("utf-8", "surrogateescape") for one in clashing]
            push.error.details = {**push.error.details, "paths": paths, "count": done.merge.total_conflicts}
        return result._replace(
            status="conflict" if conflict else "rejected",
            error=push.error,
            diff=difference(repo.objects.page, attempt.base, push.ca_id),
        )
    result = result._replace(status=_word(done), diff=_diff(repo, attempt, done))
    if attempt.place is None:
        drop_session(repo, name, force=True)
        result = result._replace(session=None)
    return result


def _untouched(repo: Repo, name: str) -> bool:
    with resume_session(repo, name) as session:
        return next(session.changes(), None) is None


def _unchanged(repo: Repo, attempt: Attempt, result: RunResult) -> RunResult:
    """There is nothing to be applied, wherever the label is by now."""
    drop_session(repo, attempt.session, force=True)
    same = difference(repo.objects.page, attempt.base, attempt.base)
    return result._replace(status="unchanged", session=None, ca_id=attempt.base, diff=same)


def _word(done: OverlayPush) -> str:
    if done.merge is not None:
        return "merged"
    return "unchanged" if done.push.status == "unchanged" else "pushed"


def _diff(repo: Repo, attempt: Attempt, done: OverlayPush) -> DiffResult:
    """What was pushed: of what was merged, what the label's move changed."""
    if done.merge is not None:
        return repo.diff(f"{done.push.label}@{done.push.generation}")
    return difference(repo.objects.page, attempt.base, done.push.ca_id)


def _in_terms(error: Exception) -> JvsError:
    if isinstance(error, JvsError):
        return error
    return StoreError(str(error)) if isinstance(error, OSError) else JvsError(f"{type(error).__name__}: {error}")
