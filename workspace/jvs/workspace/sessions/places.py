"""Where sessions live: `STORE/sessions/NAME`, and who has one open.

NAME/lock, journal, data/   the upper layer (`jvs.overlay.upper`); who holds the lock has the session open
NAME/holder                 who that is, for people; believed only while the lock is held
NAME/control                a socket to them (`control`)
.lock                       held while sessions are made and dropped, and while what was left behind is removed
.new-UID, .old-UID          sessions that are being made and dropped
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from jvs.castore.local.descriptors import Descriptor, sync_directory
from jvs.errors import LockedError, UnknownError
from jvs.overlay.upper import JOURNAL, LOCK
from jvs.workspace.sessions.record import MAX_NAME, check_session_name

FOLDER: Final = "sessions"
PATIENCE: Final = 1.0
"""Seconds to wait for a session that is open: by a command, perhaps, which soon ends."""
_PAUSE: Final = 0.02
_HOLDER: Final = "holder"
_MAX_HOLDER: Final = 64 << 10


class Holder(NamedTuple):
    """Who has a session open. since: in ms; mountpoint: where it is mounted, or None."""

    pid: int
    host: str
    since: int
    mountpoint: str | None = None


class Places:
    """The sessions of one store, as files."""

    def __init__(self, store: str) -> None:
        self.folder = os.path.join(store, FOLDER)

    def path(self, name: str) -> str:
        """The directory of a session, which need not be there. Raises UsageError (bad-name)."""
        return os.path.join(self.folder, check_session_name(name))

    def existing(self, name: str) -> str:
        """The directory of a session. Raises UnknownError (unknown-session)."""
        path = self.path(name)
        if not os.path.exists(os.path.join(path, JOURNAL)):
            raise UnknownError(f"there is no session {name}", code="unknown-session", session=name)
        return path

    def names(self) -> list[str]:
        """Of every session, in order."""
        return sorted(name for name in self._listed() if not name.startswith("."))

    def free_name(self, stem: str) -> str:
        """A name that no session has: `STEM-1`, `STEM-2`, ..."""
        stem = "".join(char if char.isascii() and (char.isalnum() or char in "._") else "-" for char in stem)
        stem = stem.strip("-.")[: MAX_NAME - 20] or "session"
        taken = {int(rest) for name in self._listed() if (rest := name.removeprefix(f"{stem}-")).isdecimal()}
        return f"{stem}-{max(taken, default=0) + 1}"

    def aside(self, uid: str) -> str:
        """Where a session is made before it has its name."""
        return os.path.join(self.folder, f".new-{uid}")

    def _listed(self) -> list[str]:
        try:
            return os.listdir(self.folder)
        except FileNotFoundError:
            return []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else makes or drops a session meanwhile."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        lock = Descriptor(os.path.join(self.folder, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock.lock()
            yield
        finally:
            lock.close()

    def settle(self, source: str, target: str) -> None:
        """Rename a session's directory, durably. Raises OSError."""
        os.rename(source, target)
        sync_directory(self.folder)

    def remove(self, path: str, uid: str) -> None:
        """Remove a session's directory: at once as far as anybody sees, then its files."""
        gone = os.path.join(self.folder, f".old-{uid}")
        self.settle(path, gone)
        shutil.rmtree(gone)

    def leftovers(self) -> list[str]:
        """Directories that were being made or removed by someone who holds `.lock`; call it inside `alone`."""
        return [os.path.join(self.folder, name) for name in self._listed() if name.startswith((".new-", ".old-"))]


def is_open(path: str) -> bool:
    """Whether a process has the session in this directory open. Changes nothing."""
    try:
        lock = Descriptor(os.path.join(path, LOCK), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not lock.lock(shared=True, wait=False)
    finally:
        lock.close()


def tries() -> Iterator[bool]:
    """How often to try to have a session, with pauses; whether it is the last time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        yield False
        time.sleep(_PAUSE)
    yield True


def hold(path: str) -> Descriptor | None:
    """The lock of the session in this directory, or None while somebody else has it. Raises FileNotFoundError."""
    lock = Descriptor(os.path.join(path, LOCK), os.O_RDWR)
    if any(lock.lock(wait=False) for _ in tries()):
        return lock
    lock.close()
    return None


def write_holder(path: str, holder: Holder) -> None:
    """Tell who has the session open. Raises OSError."""
    temp = os.path.join(path, f"{_HOLDER}.tmp")
    with open(temp, "w", encoding="utf-8") as file:
        json.dump(holder._asdict(), file)
    os.replace(temp, os.path.join(path, _HOLDER))


def remove_holder(path: str) -> None:
    """Nobody has it open any more; what cannot be removed is not believed anyway."""
    with suppress(OSError):
        os.unlink(os.path.join(path, _HOLDER))


def read_holder(path: str) -> Holder | None:
    """Who has the session in this directory open; None when nobody has, or nobody said."""
    if not is_open(path):
        return None
    try:
        with open(os.path.join(path, _HOLDER), encoding="utf-8") as file:
            holder = Holder(**json.loads(file.read(_MAX_HOLDER)))
    except (OSError, ValueError, TypeError):
        return None
    good = type(holder.pid) is type(holder.since) is int and isinstance(holder.host, str)
    return holder if good and isinstance(holder.mountpoint, str | None) else None


def in_use(name: str, path: str) -> LockedError:
    """The failure of whoever needs a session that somebody else has open."""
    holder = read_holder(path)
    if holder is None:
        return LockedError(f"another process has the session {name} open", session=name)
    who = f"process {holder.pid} on {holder.host}"
    if holder.mountpoint is None:
        return LockedError(f"{who} has the session {name} open", session=name, **holder._asdict())
    return LockedError(
        f"the session {name} is mounted at {holder.mountpoint} ({who})",
        next=f"jvs fs unmount {holder.mountpoint}",
        session=name,
        **holder._asdict(),
    )
