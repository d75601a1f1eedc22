"""`.jvs/intents/`: what is being done at this moment, so that whoever comes after a killed process finishes it, or
takes it back.

One file of JSON for each act that runs, `ID.json`: {"id", "operation", "worktree", "started_at", ...}, the rest being
the operation's own. It is locked (`flock`) as long as whoever acts is alive, and gets its name with the lock already
held: so an intent that nobody holds is one of the dead. The journal of the store says whether it got past the
transaction that decides: the act's record there has the intent's id.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jvs.castore.local.descriptors import sync_data, sync_directory
from jvs.castore.local.failures import os_error
from jvs.labels.acts import ACT_OP
from jvs.labels.store import wall_clock
from jvs.workspace.repository.layout import Layout
from jvs.workspace.results import Json, iso_time

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

FOLDER: Final = "intents"
SUFFIX: Final = ".json"
_MAX_INTENT: Final = 1 << 20
_KEY: Final = "intent"
"""In the details of the act's record: the id of its intent."""


class Intent(NamedTuple):
    """An act that was begun. fields: what its operation needs to be finished, or taken back."""

    id: str
    operation: str
    worktree: str
    fields: Json

    @property
    def mark(self) -> Json:
        """What the record of the act has in its details."""
        return {_KEY: self.id}


@contextmanager
def begun(layout: Layout, operation: str, worktree: str, **fields: Any) -> Iterator[Intent]:
    """Note that the act begins; durable. The note is gone when the context ends without an error, and stays otherwise:
    whoever fails half-way forgets it (`forget`) when there is nothing left to be done. Raises StoreError."""
    intent = Intent(os.urandom(8).hex(), operation, worktree, fields)
    path = _path(layout, intent.id)
    try:
        fd = _write(path, intent)
    except OSError as error:
        raise os_error(error, f"noting what is done in {os.path.dirname(path)}") from error
    try:
        yield intent
        forget(layout, intent)
    finally:
        os.close(fd)


def forget(layout: Layout, intent: Intent) -> None:
    """The act is finished, or taken back. Not synced: one that comes back after a power cut is looked at once more."""
    with suppress(FileNotFoundError):
        os.unlink(_path(layout, intent.id))


@contextmanager
def abandoned(layout: Layout) -> Iterator[list[Intent]]:
    """Those whose process is gone, the oldest first; nobody else gets them while the context lasts. What cannot be read
    is left to `jvs doctor`."""
    folder = os.path.join(layout.control, FOLDER)
    held: list[int] = []
    found: list[tuple[str, Intent]] = []
    try:
        for name in _names(folder):
            fd = _claim(os.path.join(folder, name))
            if fd is None:
                continue
            held.append(fd)
            intent = _read(fd, name)
            if intent is not None:
                found.append(intent)
        yield [intent for _, intent in sorted(found)]
    finally:
        for fd in held:
            os.close(fd)


def any_there(layout: Layout) -> bool:
    """Whether there is any, of the living or the dead."""
    return bool(_names(os.path.join(layout.control, FOLDER)))


def was_done(repo: Repo, intent: Intent) -> bool:
    """Whether the act is in the journal. Reads all of it."""
    for record in repo.store.journal_records():
        if record.op.startswith(ACT_OP):
            details = record.skeleton.get("details")
            if isinstance(details, dict) and details.get(_KEY) == intent.id:
                return True
    return False


def read_intent(path: str) -> Intent | None:
    """The intent in a file; None for what is none, or one that only a newer version can read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = _read(fd, os.path.basename(path))
    finally:
        os.close(fd)
    return None if found is None else found[1]


def _path(layout: Layout, intent_id: str) -> str:
    return os.path.join(layout.control, FOLDER, intent_id + SUFFIX)


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []


def _write(path: str, intent: Intent) -> int:
    """The descriptor that holds the lock."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    value = {
        "id": intent.id,
        "operation": intent.operation,
        "worktree": intent.worktree,
        "started_at": iso_time(wall_clock()),
        **intent.fields,
    }
    temp = f"{path}.tmp"
    fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, json.dumps(value, indent=2).encode() + b"\n")
        sync_data(fd)
        os.rename(temp, path)
    except BaseException:
        os.close(fd)
        with suppress(FileNotFoundError):
            os.unlink(temp)
        raise
    sync_directory(os.path.dirname(path))
    return fd


def _claim(path: str) -> int | None:
    """Lock an intent; None when somebody has it, or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _read(fd: int, name: str) -> tuple[str, Intent] | None:
    """(when it began, the intent); None for what is none, or one that only a newer version can read."""
    try:
        value: Any = json.loads(os.pread(fd, _MAX_INTENT, 0))
    except (ValueError, RecursionError, OSError):
        return None
    if not isinstance(value, dict):
        return None
    words = [value.pop(key, None) for key in ("started_at", "id", "operation", "worktree")]
    if not all(isinstance(word, str) for word in words) or words[1] + SUFFIX != name:
        return None
    return words[0], Intent(words[1], words[2], words[3], value)
