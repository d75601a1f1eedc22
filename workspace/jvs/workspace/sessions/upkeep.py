"""What a collection does for sessions before it begins: what crashes left behind goes, and sessions whose time is over.

A session that may go was given a time by whoever opened it, but nothing that was written in it is lost by that: what
was not pushed is saved first, under the label `autosave/session-NAME`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from jvs.errors import JvsError, UnknownError
from jvs.overlay.journal import Journal
from jvs.overlay.upper import JOURNAL
from jvs.workspace.results import Finding
from jvs.workspace.sessions.clear import clear_replaced
from jvs.workspace.sessions.info import list_sessions, session_info
from jvs.workspace.sessions.places import FOLDER, Places, is_open
from jvs.workspace.sessions.record import decode, parse_pin
from jvs.workspace.sessions.session import resume_session

if TYPE_CHECKING:
    from jvs.labels.pins import Pin
    from jvs.workspace.repo import Repo


def upkeep(repo: Repo, now_ms: int) -> list[str]:
    """Do it; the names of the sessions that were removed. What fails for one session leaves that one as it is."""
    places = Places(repo.store.path)
    tidy(repo, places)
    removed = []
    for name in places.names():
        if is_open(places.path(name)):
            continue
        with suppress(JvsError, OSError):
            clear_replaced(repo, name)
            until = session_info(repo, name).until
            if until is not None and until <= now_ms:
                _save_and_remove(repo, places, name)
                removed.append(name)
    return removed


def tidy(repo: Repo, places: Places) -> int:
    """Remove what was left by processes that were killed while they made or dropped a session; how many things."""
    if not os.path.isdir(places.folder):
        return 0
    with places.alone():
        left = places.leftovers()
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        pins = stale_pins(repo, places)
        for pin in pins:
            with suppress(UnknownError):
                repo.labels.unpin(pin.id)
    return len(left) + len(pins)


def faults(repo: Repo) -> Iterator[Finding]:
    """What a doctor finds of sessions: those that cannot be gone on with, and what was left behind."""
    places = Places(repo.store.path)
    for info in list_sessions(repo):
        path = os.path.join(FOLDER, info.name)
        if info.ca_id is None:
            yield Finding("sessions", f"{info.name} cannot be read", "error", "damaged", path)
        elif not repo.has_snapshot(info.ca_id):
            again = f"{info.name} was opened from something that is gone: jvs fs drop {info.name} --force"
            yield Finding("sessions", again, "warning", "collected", path)
    if os.path.isdir(places.folder):
        with places.alone():
            left = len(places.leftovers()) + len(stale_pins(repo, places))
        if left:
            yield Finding("sessions", f"of processes that are gone: {left}; the next gc removes them", "info")


def stale_pins(repo: Repo, places: Places) -> list[Pin]:
    """The pins of sessions that are gone; certain inside `alone`. Those of a session that is there are its own to see
    to."""
    found = []
    for pin in repo.labels.pins():
        text = parse_pin(pin.message)
        if text is not None and not _has(places, text.name, text.uid):
            found.append(pin)
    return found


def _has(places: Places, name: str, uid: str) -> bool:
    """Whether there is that session, or something that cannot be read and may be it."""
    try:
        header = Journal.header(os.path.join(places.path(name), JOURNAL))
        return decode(header.get("info", {}))[0].uid == uid
    except FileNotFoundError:
        return False
    except (JvsError, OSError):
        return True


def _save_and_remove(repo: Repo, places: Places, name: str) -> None:
    with resume_session(repo, name) as session:
        if next(session.changes(), None) is not None:
            session.autosave()
        session.destroy(places)
