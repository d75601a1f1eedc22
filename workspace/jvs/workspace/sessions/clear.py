"""What a purge does to sessions: what was purged leaves their upper layers, and their bases.

A snapshot that was purged is replaced by one without what was named, and then collected. A session that has it below
it is made a snapshot of what it is now without that, which becomes its base, while the old one is still there to be
read; where it comes from stays, so that pushing it, or merging it, says what it changed. (A label's own entry of a
purge is no move that a push could be late for.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from jvs.castore import purged
from jvs.castore.diff import diff_trees
from jvs.castore.digest import Digest
from jvs.castore.gc.select import Selection
from jvs.castore.hasher import TreeHasher
from jvs.castore.manifest import DIRECTORY, FILE, Entry
from jvs.castore.pages import PageReader, descend, find
from jvs.errors import JvsError, LockedError, UnknownError
from jvs.workspace.sessions.control import NobodyServesError, ask
from jvs.workspace.sessions.info import session_info
from jvs.workspace.sessions.places import Places
from jvs.workspace.sessions.session import Session, resume_session
from jvs.workspace.sessions.wire import BrokenOffError, bytes_text

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

Path = tuple[bytes, ...]


def clear_sessions(repo: Repo, globs: Sequence[bytes]) -> list[str]:
    """Clear every session of what these patterns name and of what is on the list of what was purged, also those that
    another process has open; why it could not be done, for people."""
    left = []
    for name in Places(repo.store.path).names():
        try:
            _clear_named(repo, name, globs)
        except UnknownError:  # dropped meanwhile
            continue
        except (NobodyServesError, BrokenOffError):
            left.append(f"the session {name} is open; close it, then run the same command again")
        except (JvsError, OSError) as error:
            left.append(f"the session {name}: {error}; drop it, or push it: jvs fs push --session {name}")
    return left


def _clear_named(repo: Repo, name: str, globs: Sequence[bytes]) -> None:
    try:
        session = resume_session(repo, name)
    except LockedError:
        ask(Places(repo.store.path).path(name), {"do": "clear", "globs": [bytes_text(glob) for glob in globs]})
    else:
        with session:
            clear(session, globs)


def clear_replaced(repo: Repo, name: str) -> None:
    """Clear a session that nobody has open, if the snapshot below it was replaced. Raises LockedError, JvsError."""
    base = session_info(repo, name).ca_id
    if base is not None and repo.standing(base) != base:
        with resume_session(repo, name) as session:
            clear(session, ())


def clear(session: Session, globs: Sequence[bytes]) -> int:
    """Clear a session that is open here; how many paths went. The bytes of files that are open go when they are closed.
    Raises JvsError."""
    repo, base = session.repo, session.base
    with session.alone():
        stands = repo.standing(base)
        gone = sorted(_named(session, Selection(globs), stands), key=lambda item: (-len(item[0]), item))
        for path, kind in gone:
            name = b"/".join(path)
            if kind == DIRECTORY:
                with suppress(OSError):  # something else was put into it
                    session.rmdir(name)
            else:
                session.unlink(name)
        if stands != base:
            session.replant()
        elif gone:
            session.sync()
    return len(gone)


def _named(session: Session, selection: Selection, stands: Digest | None) -> set[tuple[Path, int]]:
    """(path, kind) of what has to go from a session, over whose base `stands` stands now (None: nothing)."""
    repo, base = session.repo, session.base
    hasher = TreeHasher(repo.objects)
    now = session.fold(hasher).tree.digest
    found: set[tuple[Path, int]] = set()
    with repo.store.read() as txn:
        if stands is not None and stands != base:
            for one in diff_trees(repo.objects.page, base, stands):
                if one.before is not None and one.after is None and _entry(hasher.page, now, one.path) == one.before:
                    found.add((one.path, one.before[1]))
        # of a snapshot that is gone as a whole, all that nothing else has is on the list
        for path, entry in _there(hasher.page, base if stands is not None else None, now):
            if entry[1] == DIRECTORY:
                continue
            if selection.names(path) or (entry[1] == FILE and purged.is_purged(txn, entry[4])):
                found.add((path, entry[1]))
    return found


def _there(read: PageReader, before: Digest | None, now: Digest) -> Iterator[tuple[Path, Entry]]:
    for one in diff_trees(read, before, now):
        if one.after is not None:
            yield one.path, one.after


def _entry(read: PageReader, root: Digest, path: Path) -> Entry | None:
    """What a tree has at a path."""
    at = root
    for depth, name in enumerate(path, 1):
        found = find(read, at, name)
        if found is None or depth == len(path):
            return None if found is None else found[1]
        if found[1][1] != DIRECTORY:
            return None
        at = descend(read, found[1])
    return None
