"""A named session as what all calls of a file system go together in."""

from __future__ import annotations

import os
import weakref

from jvs.workspace.fsspec.failures import read_only
from jvs.workspace.fsspec.locations import Location
from jvs.workspace.fsspec.stores import OpenStore
from jvs.workspace.fsspec.work import Closable, Scope
from jvs.workspace.overlays import RepoOverlay
from jvs.workspace.sessions.control import Control
from jvs.workspace.sessions.session import Session, resume_session


class SessionScope(Scope):
    """What the session's label is, is the session; everything else is what it is, and fixed. Made by
    `session_scope`."""

    def __init__(self, opened: OpenStore, name: str) -> None:
        super().__init__(opened)
        self._users = 0
        self.session = resume_session(opened.repo, name)
        try:
            Control(self.session)  # so that others can look at it, and push it, meanwhile
        except BaseException:
            self.session.close()
            raise
        self.closed = weakref.finalize(self, _close, self.session, os.getpid())

    def locate(self, path: str) -> Location:
        """What a path means now."""
        return self._opened.locate(path)

    def written(self, location: Location) -> RepoOverlay | None:
        """The session, if that is meant: by its label, or by its snapshot where it was opened from none."""
        origin = self.session.origin
        if origin.label is not None:
            return self.session if location.label == origin.label else None
        return self.session if location.prefix.startswith("@") and location.ca_id == origin.ca_id else None

    def writing(self, location: Location) -> RepoOverlay:
        """The session. Raises PermissionError for anything else."""
        overlay = self.written(location)
        if overlay is None:
            origin = self.session.origin
            what = origin.label if origin.label is not None else f"@{(origin.ca_id or b'').hex()}"
            raise read_only(location.prefix, f"the session {self.session.name} is of {what}; the rest is fixed in it")
        return overlay

    def opened_file(self, file: Closable) -> None:
        """Nothing waits for a session's files."""

    def closed_file(self, file: Closable) -> None:
        """Nothing waits for a session's files."""

    def release(self) -> None:
        """One who asked for it needs it no more; the last one closes it, whatever is open in it."""
        if self.pid != os.getpid():
            return
        with self._opened.sessions_lock:
            self._users -= 1
            if not self._users:
                self.closed()


def session_scope(opened: OpenStore, name: str) -> SessionScope:
    """The session of that name, opened once in this process; to be released. Raises what `resume_session` does."""
    with opened.sessions_lock:
        found = opened.sessions.get(name)
        if not isinstance(found, SessionScope) or not found.closed.alive:
            found = opened.sessions[name] = SessionScope(opened, name)
        found._users += 1
        return found


def _close(session: Session, pid: int) -> None:
    if pid == os.getpid():
        session.close()
