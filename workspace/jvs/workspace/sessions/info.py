"""What is known of sessions without opening them, and what a status says of one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.castore.names import json_fields
from jvs.errors import IntegrityError, UnknownError
from jvs.overlay.changes import Change
from jvs.overlay.journal import Journal
from jvs.overlay.upper import JOURNAL
from jvs.workspace.results import Json, iso_time, optional_hex
from jvs.workspace.sessions.places import Places, is_open, read_holder
from jvs.workspace.sessions.record import decode

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

MAX_LISTED: Final = 10_000
"""Changed paths that a status lists; their bytes are at most ..."""
MAX_LISTED_BYTES: Final = 2 << 20


class SessionInfo(NamedTuple):
    """A session, as its files tell.

    ca_id              the snapshot below it; None: it is damaged
    label, generation  where it was opened from, or what it was last pushed as; label None: a snapshot without one
    opened_at          when it was made, in ms; opened_by: who made it
    until              from when on gc may remove it, in ms; None: it stays until it is dropped
    state              `idle`, `open` (in some process), `mounted`, or `damaged` (only in a list: then little is known)
    pid, host, mountpoint   of the process that has it open, where that said so
    """

    name: str
    ca_id: Digest | None
    label: str | None
    generation: int | None
    opened_at: int
    opened_by: str
    until: int | None
    state: str
    pid: int | None = None
    host: str | None = None
    mountpoint: str | None = None

    def as_json(self) -> Json:
        """{name, ca_id, label, generation, opened_at, opened_by, until, state, pid, host, mountpoint}."""
        return {
            **self._asdict(),
            "ca_id": optional_hex(self.ca_id),
            "opened_at": iso_time(self.opened_at),
            "until": None if self.until is None else iso_time(self.until),
        }


class SessionStatus(NamedTuple):
    """A session, and what was changed in it. changes: the first of them, in path order; counts: how many of each
    status (`added`, `deleted`, `modified`, `mode`, `type`)."""

    info: SessionInfo
    changes: tuple[Change, ...]
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """How many changes there are."""
        return sum(self.counts.values())

    def as_json(self) -> Json:
        """The fields of SessionInfo, and {changes: [{path, status, kind, whole}], counts, total}."""
        return {
            **self.info.as_json(),
            "changes": [change_json(change) for change in self.changes],
            "counts": self.counts,
            "total": self.total,
        }


def change_json(change: Change) -> Json:
    """{path, status, kind, whole}."""
    return {**json_fields(change.path), "status": change.status, "kind": change.kind, "whole": change.whole}


def status_of(info: SessionInfo, changes: Iterable[Change]) -> SessionStatus:
    """The status that these changes are, as much of it as one answer holds."""
    counts: Counter[str] = Counter()
    listed: list[Change] = []
    room = MAX_LISTED_BYTES
    for change in changes:
        counts[change.status] += 1
        room -= len(change.path) + 64
        if room > 0 and len(listed) < MAX_LISTED:
            listed.append(change)
    return SessionStatus(info, tuple(listed), dict(sorted(counts.items())))


def list_sessions(repo: Repo) -> list[SessionInfo]:
    """Every session, in order of their names."""
    places = Places(repo.store.path)
    found = []
    for name in places.names():
        with suppress(UnknownError, FileNotFoundError):  # dropped meanwhile
            try:
                found.append(session_info(repo, name))
            except IntegrityError:
                made = os.stat(places.path(name)).st_mtime_ns // 1_000_000
                found.append(SessionInfo(name, None, None, None, made, "", None, "damaged"))
    return found


def session_info(repo: Repo, name: str) -> SessionInfo:
    """One session. Raises UnknownError (unknown-session), UsageError, IntegrityError."""
    path = Places(repo.store.path).existing(name)
    try:
        header = Journal.header(os.path.join(path, JOURNAL))
    except FileNotFoundError:
        raise UnknownError(f"there is no session {name}", code="unknown-session", session=name) from None
    base = header.get("base")
    if not (isinstance(base, bytes) and len(base) == DIGEST_SIZE):
        raise IntegrityError(f"the journal of the session {name} has a header of an unknown shape")
    record, origin = decode(header.get("info", {}))
    holder = read_holder(path)
    state = "idle"
    if holder is not None or is_open(path):
        state = "open" if holder is None or holder.mountpoint is None else "mounted"
    return SessionInfo(
        name,
        base,
        origin.label,
        None if origin.label is None else origin.generation,
        record.opened_at,
        record.opened_by,
        record.until,
        state,
        None if holder is None else holder.pid,
        None if holder is None else holder.host,
        None if holder is None else holder.mountpoint,
    )
