"""What lies about in a repository and belongs to nobody: temporary files, and notes of acts whose process is gone.

Found under `.jvs` (but for what is not jvs's own there: the files of sessions, the quarantine) and at the root. Nothing
of a living process is taken: who needs a temporary file for longer than a moment holds a lock on it, an intent is
locked as long as the act runs, and what it makes aside is named after the intent. What is replaced in a moment
(`replace_file`) is written again if it was taken away.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from jvs.castore.binding import lock as directory_lock
from jvs.errors import JvsError
from jvs.workspace.repository import intents, position
from jvs.workspace.repository.creating import TEMPORARY, remove_directory
from jvs.workspace.repository.layout import MAIN, Layout, Place

if TYPE_CHECKING:
    from jvs.workspace.repository.repository import Repository

SUFFIX: Final = ".tmp"
_FOREIGN: Final = frozenset({"sessions", "quarantine"})
"""Folders of the store in which a name says nothing: what people wrote is there."""


def temporaries(layout: Layout) -> Iterator[str]:
    """The paths of temporary files and directories whose process is gone; changes nothing."""
    for path in _named_so(layout):
        with _claimed(layout, path) as ours:
            if ours:
                yield path


def remove_temporaries(layout: Layout) -> None:
    """Remove them; what cannot be removed stays, and so does a directory at the root that is only named so and has
    something in it."""
    for path in _named_so(layout):
        with suppress(OSError, JvsError), _claimed(layout, path) as ours:
            if ours:
                _remove(layout, path)


def stale_intents(layout: Layout) -> list[str]:
    """The paths of intents that nobody holds; changes nothing."""
    folder = os.path.join(layout.control, intents.FOLDER)
    found = []
    for name in _listed(folder):
        path = os.path.join(folder, name)
        if not _is_temporary(name):
            with _locked(path) as ours:
                if ours:
                    found.append(path)
    return found


def settle_intents(repository: Repository) -> None:
    """Finish, or take back, what they say was begun, and remove those that say nothing this jvs could do. What cannot
    be finished now stays."""
    from jvs.workspace.repository.recovery import can_resume, recover

    repository.recovered += recover(repository)
    for path in stale_intents(repository.layout):
        with suppress(OSError), _locked(path) as ours:
            if ours and not can_resume(path):
                os.unlink(path)


def _named_so(layout: Layout) -> Iterator[str]:
    for name in _listed(layout.root):
        if name.startswith(TEMPORARY) or (name.endswith(SUFFIX) and not layout.adopted):  # else it is content
            yield os.path.join(layout.root, name)
    for name in _listed(layout.worktrees):
        if name.startswith(TEMPORARY):  # a worktree may be called x.tmp
            yield os.path.join(layout.worktrees, name)
    for above, folders, files in os.walk(layout.control):
        for name in [*folders, *files]:
            if _is_temporary(name) and not _is_worktree(layout, above, name):
                yield os.path.join(above, name)
        own = above != layout.control
        folders[:] = [name for name in folders if not _is_temporary(name) and (own or name not in _FOREIGN)]


def _is_worktree(layout: Layout, above: str, name: str) -> bool:
    """Whether it is the record of a worktree that is called so."""
    return layout.record(name) == os.path.join(above, name)


def _is_temporary(name: str) -> bool:
    return name.endswith(SUFFIX) or name.startswith(TEMPORARY)


@contextmanager
def _claimed(layout: Layout, path: str) -> Iterator[bool]:
    """Whether a temporary thing is nobody's, which it stays while the context lasts."""
    above, name = os.path.split(path)
    acts = (known for known in _listed(os.path.join(layout.control, intents.FOLDER)) if known.endswith(intents.SUFFIX))
    with ExitStack() as stack:
        if any(known.removesuffix(intents.SUFFIX) in name for known in acts):
            ours = False  # it goes when that act is finished, or taken back
        elif above == layout.root and layout.adopted:
            ours = _nobody_pulls(layout, stack)
        elif os.path.isdir(path) and not os.path.islink(path):
            ours = True
        else:
            ours = stack.enter_context(_locked(path))
        yield ours


def _nobody_pulls(layout: Layout, stack: ExitStack) -> bool:
    """Whether no command is at work in an adopted folder (none can begin as long as the stack stands), or was
    interrupted there and is to be finished."""
    binding = position.load(Place(layout, MAIN))
    if binding is not None and binding.pending is not None:
        return False
    try:
        stack.enter_context(directory_lock(layout.root, 0))
    except JvsError:
        return False
    return True


@contextmanager
def _locked(path: str) -> Iterator[bool]:
    """Whether a file is locked by nobody; by this process while the context lasts. What is no file cannot be."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield os.path.lexists(path)  # a link, a socket, or not to be read
        return
    try:
        yield _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return os.fstat(fd).st_nlink > 0


def _remove(layout: Layout, path: str) -> None:
    above, name = os.path.split(path)
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
    elif above == layout.root and not name.startswith(TEMPORARY):
        os.rmdir(path)
    else:
        remove_directory(path)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
