"""Making a repository, and making one of a folder that is there.

`.jvs` is made with all that belongs in it, or not at all: `format_version` gets its name last (`making.make_marked`).
Whoever is killed before leaves a `.jvs` that only says it is being made, and empty directories beside it: the next
`init` of the same place makes all of it anew.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from jvs.castore.binding import replace_file
from jvs.castore.local.descriptors import sync_directory
from jvs.castore.local.making import CREATING, FORMAT_VERSION, make_marked
from jvs.castore.local.store import LocalStore
from jvs.castore.names import display, is_control_name, shorten, to_bytes
from jvs.castore.settings import StoreSettings
from jvs.errors import StateError, StoreError, UsageError
from jvs.labels.store import wall_clock
from jvs.workspace.engines import detect_engine, validate_engine
from jvs.workspace.locate import CONTROL, POINTER, init_path
from jvs.workspace.repository.layout import (
    ADOPTED,
    FOLDERS,
    MAIN,
    REPO_ID,
    WORKTREES,
    Layout,
    check_worktree_name,
    place_of,
)
from jvs.workspace.repository.worktrees import Registry, new_worktree
from jvs.workspace.results import Json

_OWN: Final = frozenset({CONTROL, MAIN, WORKTREES})
"""What an `init` that was interrupted leaves."""


class Initialised(NamedTuple):
    """`jvs init`: the repository that was made. root: its absolute path."""

    root: str
    repo_id: str
    format_version: int
    engine: str
    adopted: bool

    def as_json(self) -> Json:
        """{format_version, repo_id, repo_root}."""
        return {"format_version": self.format_version, "repo_id": self.repo_id, "repo_root": self.root}


def init(
    path: str,
    *,
    store: str | None = None,
    adopt: bool = False,
    engine: str | None = None,
    actor: str = "",
    name: str | None = None,
    settings: StoreSettings | None = None,
    fill: Callable[[str], None] | None = None,
) -> Initialised:
    """Make a repository in `path` (parents too), an empty or new directory. With `adopt` `path` is a folder that
    becomes the main worktree where it is: nothing in it is touched.

    store   a directory for its store, made if need be; None: in the repository
    engine  how worktrees are cloned; None: the best one that works there
    name    what it is called in the record of its making, a name as worktrees have; None: as the directory is
    settings  of its store
    fill      puts something into the store's directory before that becomes a store

    Raises StateError (already-exists; engine-unusable), UsageError (bad-path; bad-name; not-a-directory), UnknownError
    (unknown-engine), StoreError (network-filesystem and what else a store raises).
    """
    if name is not None:
        check_worktree_name(name)
    root = os.path.realpath(path)
    _check(path, root, adopt)
    made = not os.path.lexists(root)
    try:
        os.makedirs(root, exist_ok=True)
        chosen = _engine(root, engine)
        done = _make(root, store, adopt, chosen, settings, fill)
    except BaseException:
        if made:
            with suppress(OSError):
                os.rmdir(os.path.join(root, CONTROL))
            with suppress(OSError):
                os.rmdir(root)
        raise
    _record(done, actor, name)
    return done


def _check(path: str, root: str, adopt: bool) -> None:
    """Refuse what cannot become a repository."""
    if any(is_control_name(os.fsencode(part)) for part in root.split(os.sep)):
        raise UsageError(f"{_show(path)} lies in a {CONTROL}: that is for jvs alone", code="bad-path")
    if os.path.lexists(root) and not os.path.isdir(root):
        raise UsageError(f"{_show(path)} is not a directory", code="not-a-directory", next="jvs init --help")
    if adopt and not os.path.isdir(root):
        raise UsageError(
            f"there is no directory {_show(path)} to adopt", code="not-a-directory", next=f"jvs init {_show(path)}"
        )
    control = os.path.join(root, CONTROL)
    if os.path.isfile(os.path.join(control, REPO_ID)) and _is_complete(control):
        raise StateError(f"{_show(path)} is a jvs repository: it already exists", next=f"cd {_show(path)} && jvs info")
    if _is_complete(control):
        raise StateError(
            f"{_show(control)} already exists: it is a store without worktrees",
            next=f"jvs init NAME --store {_show(control)}",
        )
    inside = place_of(root)
    if inside is not None:
        raise StateError(f"{_show(path)} is a worktree already, of {_show(inside.layout.root)}", next="jvs status")
    if not adopt and os.path.isdir(root):
        found = set(os.listdir(root))
        begun = not found or (CONTROL in found and _was_begun(control) and _are_empty(root, found))
        if not begun:
            raise StateError(
                f"{_show(path)} already exists, and is not empty", next=f"jvs init --adopt {_show(path)} (keeps it all)"
            )
    elif adopt and os.path.lexists(control) and not _was_begun(control):
        raise StateError(
            f"{_show(control)} already exists, and is nothing of jvs", next=f"mv {_show(control)} ELSEWHERE"
        )


def _is_complete(control: str) -> bool:
    return os.path.isfile(os.path.join(control, "format_version"))


def _was_begun(control: str) -> bool:
    """Whether a `.jvs` is what an interrupted `init` left: empty, or said to be in the making."""
    try:
        found = os.listdir(control)
    except NotADirectoryError:
        return False
    return not found or CREATING in found


def _are_empty(root: str, found: set[str]) -> bool:
    """Whether there is nothing but what an interrupted `init` makes."""
    return found <= _OWN and not any(os.listdir(os.path.join(root, name)) for name in found - {CONTROL})


def _engine(root: str, engine: str | None) -> str:
    if engine is None:
        return detect_engine(root)
    validate_engine(root, engine)
    return engine


def _make(
    root: str,
    store: str | None,
    adopt: bool,
    engine: str,
    settings: StoreSettings | None,
    fill: Callable[[str], None] | None,
) -> Initialised:
    layout = Layout(root, adopt)
    repo_id = str(uuid.UUID(bytes=os.urandom(16), version=4))
    where = None if store is None else _store_path(root, store)

    def lay_out(control: str) -> None:
        for left in (ADOPTED, POINTER):  # by an init of another kind that was interrupted
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(control, left))
        for folder in FOLDERS:
            os.makedirs(os.path.join(control, folder), exist_ok=True)
        replace_file(os.path.join(control, REPO_ID), repo_id.encode() + b"\n")
        if adopt:
            replace_file(os.path.join(control, ADOPTED), b"")
        else:
            os.makedirs(layout.path(MAIN), exist_ok=True)
            os.makedirs(layout.worktrees, exist_ok=True)
            sync_directory(root)
        if where is not None:
            replace_file(os.path.join(control, POINTER), os.fsencode(where) + b"\n")
        Registry(layout).put(new_worktree(MAIN, at_ms=wall_clock(), base=None, engine=engine))
        if fill is not None:
            fill(control)

    try:
        if where is None:
            with LocalStore.create(layout.control, settings, also=lay_out) as made:
                created = made.created
        else:
            LocalStore.create(where).close()
            created = make_marked(layout.control, lay_out)
    except StoreError as error:
        if error.code == "network-filesystem":
            where_to = f"--adopt {_show(root)}" if adopt else _show(root)
            error.next = f"jvs init {where_to} --store DIR (DIR on a local disk)"
        raise
    if not created:  # somebody else was faster
        raise StateError(f"{_show(root)} is a jvs repository: it already exists", next=f"cd {_show(root)} && jvs info")
    return Initialised(root, repo_id, int(FORMAT_VERSION), engine, adopt)


def _store_path(root: str, store: str) -> str:
    """The absolute path of a store that lies elsewhere."""
    where = os.path.realpath(init_path(store, None, None, ""))
    if where == root or where.startswith(os.path.join(root, "")):
        raise UsageError(
            f"{_show(store)} lies in the repository itself, where its files would be content",
            code="bad-path",
            next=f"jvs init {_show(root)} (without --store: the store is in {CONTROL})",
        )
    return where


def _record(done: Initialised, actor: str, name: str | None) -> None:
    """Write the act into the journal."""
    from jvs.workspace.repo import Repo

    layout = Layout(done.root, done.adopted)
    with Repo.open(layout.store(), actor=actor) as repo:
        details = {"repo_id": done.repo_id, "engine": done.engine, "name": name or os.path.basename(done.root)}
        repo.labels.record_act("init", done.root, details=details)


def _show(path: str) -> str:
    return shorten(display(to_bytes(path)))
