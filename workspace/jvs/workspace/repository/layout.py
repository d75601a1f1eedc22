"""Where the things of a repository lie, and how one is found.

    ROOT/.jvs/                 the store, or the file `store` that names it; and beside it
         repo_id, worktrees/, snapshots/, descriptors/, refs/, intents/, audit/, gc/
         settings.json         what `jvs config set` was told
         adopted               an adopted folder: ROOT itself is the main worktree
    ROOT/main/                 the main worktree
    ROOT/worktrees/NAME/       the others; of an adopted folder ROOT/.jvs-worktrees/NAME/, which no push or pull touches

`ROOT/.jvs` comes to be with all of that in it, or not at all (`making.make_marked`). Nothing in it is an absolute path
but the file `store`, so a repository may be moved, and copied while no process has it open.

This module is imported by every push: it knows paths, and opens nothing.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from jvs.castore.names import WORKTREES_FOLDER, display, is_control_name, shorten, to_bytes
from jvs.errors import NoStoreError, UsageError
from jvs.labels.names import is_autosave_name, label_name_fault, shown
from jvs.workspace.locate import CONTROL, find_control, is_store, store_of

MAIN: Final = "main"
"""The name of the worktree that every repository has."""
WORKTREES: Final = "worktrees"
REPO_ID: Final = "repo_id"
ADOPTED: Final = "adopted"
BINDING: Final = "binding"
SESSION: Final = "session"
FOLDERS: Final = (WORKTREES, "snapshots", "descriptors", "refs", "intents", "audit", "gc")
"""Directories that `.jvs` has beside the store's own."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_ADOPTED_WORKTREES: Final = WORKTREES_FOLDER.decode()
_MAX_ID: Final = 128


class Layout(NamedTuple):
    """The paths of one repository. root: absolute, without symbolic links; adopted: root is the main worktree."""

    root: str
    adopted: bool

    @property
    def control(self) -> str:
        """`ROOT/.jvs`."""
        return os.path.join(self.root, CONTROL)

    @property
    def repo_id(self) -> str:
        """The repository's name among all repositories; copies have the same."""
        with open(os.path.join(self.control, REPO_ID), encoding="ascii", errors="replace") as file:
            return file.read(_MAX_ID).strip()

    def store(self) -> str:
        """The directory of its store. Raises NoStoreError when `.jvs/store` names one that is not there."""
        found = store_of(self.control)
        if found is None:
            raise NoStoreError(f"{_show(self.control)} is not a store", code="not-a-store", next="jvs doctor")
        return found

    def path(self, name: str) -> str:
        """The directory of the worktree `name`, whether or not there is one."""
        if name == MAIN:
            return self.root if self.adopted else os.path.join(self.root, MAIN)
        return os.path.join(self.worktrees, name)

    @property
    def worktrees(self) -> str:
        """The directory above all worktrees but main."""
        return os.path.join(self.root, _ADOPTED_WORKTREES if self.adopted else WORKTREES)

    def record(self, name: str) -> str:
        """The directory that holds what is known of the worktree `name`."""
        return os.path.join(self.control, WORKTREES, name)

    def binding(self, name: str) -> str:
        """The file with the position of the worktree `name` (see `castore.binding`)."""
        return os.path.join(self.record(name), BINDING)

    def session(self, name: str) -> str:
        """The file with the nonce of the lock that the user of the worktree `name` holds (mode 0600)."""
        return os.path.join(self.record(name), SESSION)

    def session_nonce(self, name: str) -> str | None:
        """That nonce; None when none is noted, or for a name that no worktree has."""
        if not _NAME.fullmatch(name):
            return None
        try:
            with open(self.session(name), encoding="utf-8", errors="replace") as file:
                return file.read(_MAX_ID).strip() or None
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None

    def around(self, path: str) -> str | None:
        """The name of the worktree that `path` is in; None: at the root, or among the control data."""
        parts = _below(self.root, os.path.realpath(path))
        if parts is None or (parts and parts[0] == CONTROL):
            return None
        folder = os.path.basename(self.worktrees)
        if parts and parts[0] == folder:
            return parts[1] if len(parts) > 1 else None
        return MAIN if self.adopted or parts[:1] == [MAIN] else None


class Place(NamedTuple):
    """A directory that is a worktree: of which repository, and its name there."""

    layout: Layout
    name: str


def check_worktree_name(name: str) -> str:
    """Return `name`; raises UsageError (bad-name) when no worktree may be called that: it is made of A-Z a-z 0-9 . _
    and -, does not start with -, and is not `.`, `..`, `HEAD` or `.jvs`."""
    fault = None
    if not _NAME.fullmatch(name):
        fault = "it is empty" if not name else "it is made of A-Z a-z 0-9 . _ and -"
    elif name.startswith("-"):
        fault = "it starts with -"
    elif name in (".", "..", "HEAD") or is_control_name(name.encode()):
        fault = "that means something else"
    else:
        fault = label_name_fault(label_for(name))
    if fault is not None:
        raise UsageError(f"{shown(name)} cannot be the name of a worktree: {fault}", code="bad-name")
    return name


def label_for(name: str) -> str:
    """The label of a worktree of that name: the name itself, where that may be one, else `worktree-NAME` (for `log`,
    `.x`, `deadbeef`)."""
    fit = label_name_fault(name) is None and not is_autosave_name(name)
    return name if fit else f"worktree-{name}"


def layout_at(root: str) -> Layout | None:
    """The repository whose root is `root`, or None; one that is still being made is none."""
    control = os.path.join(root, CONTROL)
    if not (os.path.isfile(os.path.join(control, REPO_ID)) and is_store(control)):
        return None
    return Layout(os.path.realpath(root), os.path.exists(os.path.join(control, ADOPTED)))


def near_layout(start: str) -> Layout | None:
    """The repository at or above `start`, if its `.jvs` is the nearest; None when none may be used."""
    try:
        near = find_control(os.path.realpath(start))
    except NoStoreError:
        return None
    return None if near is None else layout_at(os.path.dirname(near))


def find_layout(explicit: str | None, start: str) -> Layout:
    """The repository meant: `--repo PATH` (its root, or `.jvs` in it), else the nearest one at or above `start`.

    Raises NoStoreError (no-repository; foreign-store).
    """
    if explicit is not None:
        path = os.path.abspath(explicit)
        found = layout_at(path)
        if found is None and os.path.basename(path) == CONTROL:
            found = layout_at(os.path.dirname(path))
        control = os.path.join(path, CONTROL)
        if found is not None:
            return found
    else:
        near = find_control(os.path.realpath(start))
        if near is None:
            raise NoStoreError(
                f"no repository: there is no {CONTROL} here or above {_show(os.path.abspath(start))}",
                code="no-repository",
                path=start,
            )
        found, control = layout_at(os.path.dirname(near)), near
        if found is not None:
            return found
    if store_of(control) is None and (explicit is None or store_of(explicit) is None):
        raise NoStoreError(f"there is no repository at {_show(os.path.dirname(control))}", code="no-repository")
    raise NoStoreError(
        f"{_show(control)} is a store without worktrees; this is a verb for repositories",
        code="no-repository",
        next="jvs fs --help (push, pull, log, diff ... work on any store), or: jvs init NAME",
        path=control,
    )


def place_of(directory: str) -> Place | None:
    """The worktree that the existing directory `directory` is, or None when it is none: what is inside one is not. A
    worktree whose place is taken by a symbolic link is what that leads to, for those who come through the link."""
    above, name = os.path.split(os.path.abspath(directory))
    named = os.path.join(os.path.realpath(above), name)
    for path in dict.fromkeys((named, os.path.realpath(directory))):
        above, name = os.path.split(path)
        for root, called in ((path, MAIN), (above, name), (os.path.dirname(above), name)):
            layout = layout_at(root)
            if layout is not None and layout.path(called) == path:
                if _NAME.fullmatch(called) and os.path.isdir(layout.record(called)):
                    return Place(layout, called)
                return None
    return None


def _below(root: str, path: str) -> list[str] | None:
    """The names from `root` down to `path`; None when it is not in it."""
    if path == root:
        return []
    prefix = os.path.join(root, "")
    return path[len(prefix) :].split(os.sep) if path.startswith(prefix) else None


def _show(path: str) -> str:
    return shorten(display(to_bytes(path)))
