"""Where the command of a run works: in a mount of its session, or in a checked-out copy of it."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from jvs.errors import JvsError, StateError, StoreError, UnknownError
from jvs.workspace.sessions import resume_session

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo
    from jvs.workspace.sessions import Session

PATIENCE: Final = 2.0
"""Seconds in which whoever still uses a mount may let go of it."""
_POLL: Final = 0.05


class Place(Protocol):
    """Where a command runs. path: of the directory; copy: whether it is a checked-out copy."""

    path: str
    copy: bool

    def leave(self) -> bool:
        """The command ended: all that it wrote is in the session, which is left to others. False: processes still use
        it, so the session stays open. Raises JvsError, OSError: then `path` still has what it wrote."""

    def let_go(self) -> None:
        """After a `leave` that was False: no new user can come."""

    def skipped(self) -> tuple[str, ...]:
        """Paths that could not be taken into the session, and why."""


def enter(repo: Repo, session: Session, scratch: str, *, copy: bool, tell: Callable[[str], None]) -> Place:
    """A place for a session that was opened just now, which goes over to it. Raises JvsError, OSError: then there is
    no place, and the session is closed."""
    name = session.name
    with session:
        pass  # whoever serves it opens it
    if not copy:
        try:
            return Mounted(repo, name, scratch)
        except (JvsError, OSError) as error:
            why = error.message if isinstance(error, JvsError) else str(error)
    place = CheckedOut(repo, name, scratch)
    tell(f"running in a checked-out copy, {place.path}" + ("" if copy else f": {why}"))
    return place


class Mounted:
    """A session that is mounted by a process of its own, which goes on should this one be killed."""

    copy = False

    def __init__(self, repo: Repo, session: str, scratch: str) -> None:
        from jvs.workspace.mounts import MountRequest, mount

        self._session = session
        self._folder, self.path = _folder(scratch, session)
        try:
            mount(repo.store.path, MountRequest(self.path, session=session), actor=repo.actor)
        except BaseException:
            self._remove()
            raise

    def leave(self) -> bool:
        """As `Place.leave`. A command that had its tree taken away may not have noticed: that is a failure."""
        from jvs.workspace.mounts import unmount

        died = self._is_dead()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                unmount(self.path)
            except UnknownError:  # the command itself did
                break
            except StateError as error:
                if error.code != "locked":
                    raise
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL)
            else:
                break
        self._remove()
        if died:
            raise StoreError(
                f"the process that served the mount of {self._session} died while the command ran",
                next=f"jvs fs status {self._session} (what was written until then is there)",
            )
        return True

    def _is_dead(self) -> bool:
        try:
            os.statvfs(self.path)  # which the kernel has to ask for: what `stat` says it may know by itself
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False

    def let_go(self) -> None:
        """As `Place.let_go`: the mount is served on until the last process that uses it has let go."""
        from jvs.workspace.mounts import unmount

        with suppress(UnknownError):
            unmount(self.path, force=True)
        self._remove()

    def skipped(self) -> tuple[str, ...]:
        """As `Place.skipped`."""
        return ()

    def _remove(self) -> None:
        with suppress(OSError):  # something is there that is not ours
            os.rmdir(self.path)
            os.rmdir(self._folder)


class CheckedOut:
    """A copy of a session on disk. The session is held open, so that nobody else uses it meanwhile."""

    copy = True

    def __init__(self, repo: Repo, session: str, scratch: str) -> None:
        from jvs.workspace.running.fallback import check_out, remove

        self._repo = repo
        self._skipped: tuple[str, ...] = ()
        self._session = resume_session(repo, session)
        try:
            self._folder, self.path = _folder(scratch, session)
            try:
                check_out(repo, self._session, self.path)
            except BaseException:
                remove(repo, self.path, self._folder)
                raise
        except BaseException:
            self._session.close()
            raise

    def leave(self) -> bool:
        """As `Place.leave`. The copy is removed."""
        from jvs.workspace.running.fallback import remove, take_in

        with self._session:
            self._skipped = take_in(self._repo, self._session, self.path)
        with suppress(OSError):  # all that it has is in the session
            remove(self._repo, self.path, self._folder)
        return True

    def let_go(self) -> None:
        """As `Place.let_go`; never needed."""

    def skipped(self) -> tuple[str, ...]:
        """As `Place.skipped`."""
        return self._skipped


def _folder(scratch: str, session: str) -> tuple[str, str]:
    """(a new directory that only we may enter, one in it that is named after the session)."""
    folder = tempfile.mkdtemp(prefix="jvs-", dir=scratch)
    path = os.path.join(os.path.realpath(folder), session)
    os.mkdir(path)
    return folder, path
