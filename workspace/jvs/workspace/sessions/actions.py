"""What is done to a session by its name, whoever has it open: status, push, drop."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from jvs.errors import JvsError, LockedError, UnknownError, UnsavedChangesError
from jvs.overlay.journal import Journal
from jvs.overlay.upper import JOURNAL
from jvs.workspace.overlays import RETRIES, OverlayPush
from jvs.workspace.results import Json
from jvs.workspace.sessions.control import NobodyServesError, ask
from jvs.workspace.sessions.info import SessionStatus, session_info, status_of
from jvs.workspace.sessions.places import Places, hold, in_use
from jvs.workspace.sessions.record import decode, new_uid
from jvs.workspace.sessions.session import Session, resume_session, unpin
from jvs.workspace.sessions.wire import BrokenOffError, change_of, push_of

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

T = TypeVar("T")

_ATTEMPTS: Final = 2
"""How often whoever has a session open may end while it is asked."""
_SHOWN: Final = 20


def session_status(repo: Repo, name: str) -> SessionStatus:
    """A session and its changes, also while another process has it open. Raises UnknownError (unknown-session),
    LockedError when that process answers no questions, CollectedError."""

    def mine(session: Session) -> SessionStatus:
        changes = list(session.changes())
        session.close()  # so that it is told as it is without us
        return status_of(session_info(repo, name), changes)

    def theirs(answer: Json) -> SessionStatus:
        changes = tuple(change_of(one) for one in answer["changes"])
        counts = {str(status): int(number) for status, number in answer["counts"].items()}
        return SessionStatus(session_info(repo, name), changes, counts)

    return _either(repo, name, mine, {"do": "status"}, theirs)


def push_session(
    repo: Repo,
    name: str,
    *,
    label: str | None = None,
    expected: str | None = None,
    message: str = "",
    merge: bool = False,
    force: bool = False,
    detach: bool = False,
    allow_purged: bool = False,
    retries: int = RETRIES,
) -> OverlayPush:
    """Push a session, also while another process has it open: see `RepoOverlay.push`. Of conflicts that were found by
    another process no more than path, kind and detail is told. Raises as `session_status`, and as a push does."""
    options: Json = {
        "label": label,
        "expected": expected,
        "message": message,
        "merge": merge,
        "force": force,
        "detach": detach,
        "allow_purged": allow_purged,
        "retries": retries,
    }
    done = _either(repo, name, lambda session: session.push(**options), {"do": "push", **options}, push_of)
    push = done.push
    if push.status == "rejected" and push.error is not None and push.current is not None and done.merge is None:
        to = "" if label in (None, session_info(repo, name).label) else f" --label {label}"
        push.error.next = f"jvs fs push --session {name}{to} --merge (or --force, to replace what is there)"
    return done


def _either(repo: Repo, name: str, mine: Callable[[Session], T], request: Json, theirs: Callable[[Json], T]) -> T:
    """What `mine` returns of the session, opened here; or the answer of the process that has it open."""
    path = Places(repo.store.path).existing(name)
    for attempt in range(1, _ATTEMPTS + 1):
        # who serves it may end before it answers: whoever opens the session next finds out about a push that it began
        with suppress(NobodyServesError, BrokenOffError):
            return theirs(ask(path, request))
        try:
            session = resume_session(repo, name)
        except LockedError:
            if attempt == _ATTEMPTS:
                raise
        else:
            with session:
                return mine(session)
    raise AssertionError("the last attempt returns or raises")


def drop_session(repo: Repo, name: str, *, force: bool = False) -> None:
    """Remove a session and what was written in it. Raises LockedError while it is open somewhere, UnsavedChangesError
    when it was changed since it was opened or last pushed (force: never), UnknownError (unknown-session)."""
    repo.store.check_usable(writing=True)
    places = Places(repo.store.path)
    path = places.existing(name)
    if not force:
        with resume_session(repo, name) as session:
            _check_saved(session)
            session.destroy(places)
        return
    with places.alone():
        try:
            lock = hold(path)
        except FileNotFoundError:
            raise UnknownError(f"there is no session {name}", code="unknown-session", session=name) from None
        if lock is None:
            raise in_use(name, path)
        try:
            uid = _uid(path)
            places.remove(path, uid or new_uid())
            unpin(repo, name, uid)
        finally:
            lock.close()


def _uid(path: str) -> str | None:
    """The uid in the journal of a session; None when it cannot be read."""
    try:
        return decode(Journal.header(os.path.join(path, JOURNAL)).get("info", {}))[0].uid
    except (OSError, JvsError):
        return None


def _check_saved(session: Session) -> None:
    status = status_of(session_info(session.repo, session.name), session.changes())
    if status.total:
        raise UnsavedChangesError(
            f"the session {session.name} has changes that were not pushed",
            next=f"jvs fs push --session {session.name} (or drop them too: jvs fs drop {session.name} --force)",
            paths=[change.path.decode("utf-8", "replace") for change in status.changes[:_SHOWN]],
            count=status.total,
            session=session.name,
        )
