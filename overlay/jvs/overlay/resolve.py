"""From a path to what it names, by the rules of POSIX, and never out of the tree.

`..` of the root is the root. A symbolic link that leads out of the tree (an absolute one, or one with too many `..`)
leads nowhere: following it is ENOENT, as for any link without a target.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from jvs.castore.names import MAX_NAME, WORKTREES_FOLDER, is_control_name
from jvs.overlay.nodes import Directory, LinkNode, Node
from jvs.overlay.state import State

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
MAX_PATH: Final = 4095
MAX_LINKS: Final = 40


class Spot(NamedTuple):
    """Where a path leads. directory, name: the entry it names, whether there is one or not; node: what is there.

    slash  the path ends in a slash, so it means a directory
    dots   its last component is `.` or `..`, or it is the root: it cannot be made, removed or moved
    """

    directory: Directory
    name: bytes
    node: Node | None
    slash: bool = False
    dots: bytes = b""

    def path(self) -> bytes:
        """The canonical path of the entry."""
        above = self.directory.path()
        return above + b"/" + self.name if above else self.name


def fail(number: int, path: object) -> OSError:
    """The OSError of an errno (of the right subclass: OSError sees to that)."""
    return OSError(number, os.strerror(number), path)


class Inside(bytes):
    """The path of a node, `a/b`, for who has got there step by step, as a kernel does: it may be of any length."""


def raw_path(path: AnyPath) -> bytes:
    """A path as bytes. Raises TypeError, ValueError (NUL, as `os` does), FileNotFoundError (empty) and OSError."""
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise ValueError("embedded null byte")
    if not raw:
        raise fail(errno.ENOENT, path)
    if len(raw) > MAX_PATH and not isinstance(path, Inside):
        raise fail(errno.ENAMETOOLONG, path)
    return raw


def resolve(state: State, path: AnyPath, *, follow: bool, any_length: bool = False) -> Spot:
    """Where `path` leads. follow: a link at its end as well (one before its end, or before a slash, always is).
    any_length: do not look at the length of the last name (`check_length` does).

    Raises OSError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG.
    """
    raw = raw_path(path)
    above, _, name = raw.rpartition(b"/")
    cached = state.cached(above.lstrip(b"/"))
    if cached is not None and name not in (b"", b".", b"..") and len(name) <= MAX_NAME:
        node = state.lookup(cached, name)
        if not (follow and isinstance(node, LinkNode)):
            return Spot(cached, name, node)
    spot = _walk(state, raw, path, follow)
    if not any_length:
        check_length(spot, path)
    return spot


def _walk(state: State, raw: bytes, path: AnyPath, follow: bool) -> Spot:
    todo = [name for name in raw.split(b"/") if name]
    slash = raw.endswith(b"/")
    todo.reverse()
    here = state.root
    links = 0
    given = len(todo)  # components of the path itself that are left: above them lie those of links
    while todo:
        from_link = len(todo) > given
        name = todo.pop()
        given = min(given, len(todo))
        if name == b"." or name == b"..":
            if name == b"..":
                if here.parent is None and from_link:
                    raise fail(errno.ENOENT, path)
                here = here.parent or here
            if not todo:
                return Spot(here.parent or here, here.name, here, slash, name)
            continue
        if len(name) > MAX_NAME:
            if todo:
                raise fail(errno.ENAMETOOLONG, path)
            return Spot(here, name, None, slash)
        node = state.lookup(here, name)
        if isinstance(node, LinkNode) and (todo or follow or slash):
            links += 1
            if links > MAX_LINKS:
                raise fail(errno.ELOOP, path)
            if node.target.startswith(b"/"):
                raise fail(errno.ENOENT, path)
            slash = slash or (not todo and node.target.endswith(b"/"))
            todo.extend(reversed([part for part in node.target.split(b"/") if part]))
            continue
        if not todo:
            if not links and isinstance(node, Directory):
                state.remember(node.path(), node)
            return Spot(here, name, node, slash)
        if node is None:
            raise fail(errno.ENOENT, path)
        if not isinstance(node, Directory):
            raise fail(errno.ENOTDIR, path)
        here = node
        if len(todo) == 1 and not links:
            state.remember(here.path(), here)
    return Spot(here, b"", here, slash, b"/")


def entry_at(state: State, path: AnyPath, *, any_length: bool = False) -> Spot:
    """As `resolve` without following, also where the path ends in a slash: for what removes or moves an entry."""
    raw = raw_path(path)
    bare = raw.rstrip(b"/")
    spot = resolve(state, path if bare == raw else bare or raw, follow=False, any_length=any_length)
    return spot._replace(slash=len(bare) < len(raw))


def check_length(spot: Spot, path: AnyPath) -> None:
    """Raise ENAMETOOLONG for a name that no directory can have."""
    if len(spot.name) > MAX_NAME:
        raise fail(errno.ENAMETOOLONG, path)


def check_new(spot: Spot, path: AnyPath) -> None:
    """Raise PermissionError for a name that no snapshot may hold (`.jvs` in any letter case), or that no push takes."""
    if is_control_name(spot.name) or spot.name == WORKTREES_FOLDER:
        raise fail(errno.EPERM, path)
