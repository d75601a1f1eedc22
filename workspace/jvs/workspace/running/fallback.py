"""A run without a mount: a checked-out copy, and what was done in it taken into the session.

What the copy has become is stored as a push of a directory does it, so files that were not touched are not read; what
differs is put into the session by reference. The session then is what it would be had it been mounted, but for what a
push of a directory leaves out (`.jvsignore`, sockets and the like).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from jvs.castore import binding as bindings
from jvs.castore.diff import Difference, diff_trees
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY
from jvs.castore.names import display
from jvs.errors import CollectedError, StoreError, UnknownError

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo
    from jvs.workspace.sessions import Session


def check_out(repo: Repo, session: Session, directory: str) -> None:
    """Make an empty directory be what a session was opened from. It is bound to the label, so that what is left in it
    should this process be killed can be pushed as any directory. Raises JvsError, OSError."""
    origin = session.origin
    if origin.label is not None:
        with suppress(UnknownError, CollectedError):  # the entry is gone, the snapshot is not: the session keeps it
            entry = repo.resolve(f"{origin.label}@{origin.generation}")
            if repo.snapshot_of(entry) == session.base:
                repo.pull(f"{origin.label}@{origin.generation}", directory)
                return
    repo.pull(session.base.hex(), directory)


def take_in(repo: Repo, session: Session, directory: str) -> tuple[str, ...]:
    """Make a session that nothing was done to be what the directory is now; the paths that cannot be pushed, and why.
    Raises JvsError, OSError; the directory is left as it is."""
    if os.path.islink(directory) or not os.path.isdir(directory):  # a link would have us push what is not of the copy
        raise StoreError(f"the command removed the directory that it worked in, {directory}", path=directory)
    before = session.base
    pushed = repo.push(directory, detach=True)
    after = pushed.ca_id
    if after != before:
        _apply(session, after, diff_trees(repo.objects.page, before, after))
        session.replant()  # keeps what the push keeps for a day only
    return tuple(f"{display(one.path)} ({one.reason})" for one in pushed.skipped)


def _apply(session: Session, after: Digest, differences: Iterable[Difference]) -> None:
    """Make a session that is at the snapshot before the differences be the one after them, by reference."""
    covered: tuple[bytes, ...] | None = None  # what is below came or went with it
    for path, old, new in differences:
        if covered is not None and path[: len(covered)] == covered:
            continue
        name = b"/" + b"/".join(path)
        if old is not None and new is not None and old[1] == new[1] == DIRECTORY:
            session.chmod(name, new[2])
            continue
        if old is not None and old[1] == DIRECTORY:
            session.rmtree(name)
        elif old is not None:
            session.unlink(name)
        if new is not None:
            session.graft(after, name, name)
        covered = path


def remove(repo: Repo, directory: str, folder: str) -> None:
    """Remove a copy, whatever modes its directories have, and what is remembered of it. Raises OSError."""
    with suppress(OSError):
        os.unlink(bindings.record_file(repo.cache_dir, directory))
    for above, names, _ in os.walk(folder):
        for name in names:
            path = os.path.join(above, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(folder)
