"""How deep a tree is: a rename takes what is below a directory down with it, and nobody pulls or merges a snapshot that
is more than `MAX_DEPTH` directories deep."""

from __future__ import annotations

from jvs.castore import pages
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY
from jvs.castore.names import MAX_DEPTH, display
from jvs.castore.objects import ObjectStore
from jvs.errors import UsageError
from jvs.overlay.nodes import Directory
from jvs.overlay.state import State


def check_depth(state: State) -> None:
    """Raise UsageError (bad-path) when the tree is too deep for a snapshot. Looks at what was changed, and into what
    was moved only as far as there is enough below to be that deep."""
    at: list[tuple[Directory, int, bool]] = [(state.root, 0, False)]
    for directory, depth, moved in at:
        room = MAX_DEPTH - depth - 1  # levels that there may be below a directory in this one
        if moved and directory.base is not None:  # with what nobody touched in it
            for entry in pages.iter_entries(state.objects.page, directory.base):
                if entry[1] == DIRECTORY and entry[0] not in directory.changes:
                    _check(state.objects, directory, entry[0], entry.digest, room)
        for name, child in directory.changes.items():
            if not isinstance(child, Directory):
                continue
            own = None if moved else state.base_entry(directory, name)
            in_place = own is not None and own[1][1] == DIRECTORY and own[1][3] == child.base
            if child.dirty:
                _check(state.objects, directory, name, None, room)
                at.append((child, depth + 1, not in_place))
            elif not in_place:
                _check(state.objects, directory, name, child.base, room)


def _check(objects: ObjectStore, above: Directory, name: bytes, base: Digest | None, room: int) -> None:
    if room < 0 or (base is not None and _reaches(objects, base, room)):
        path = above.path()
        path = path + b"/" + name if path else name
        raise UsageError(
            f"a snapshot is no more than {MAX_DEPTH:,} directories deep: {display(path[-60:])}",
            code="bad-path",
            next="move it further up",
        )


def _reaches(objects: ObjectStore, root: Digest, room: int) -> bool:
    """Whether there are directories more than so many levels below one of the store."""
    at = [(root, room)]
    while at:
        digest, left = at.pop()
        here, below, _ = pages.read_root(objects.page, digest).totals
        if below <= left or (below == here and left):  # too few, or no directory with anything in it
            continue
        for entry in pages.iter_entries(objects.page, digest):
            if entry[1] == DIRECTORY:
                if not left:
                    return True
                if entry.entries >= left:
                    at.append((entry.digest, left - 1))
    return False
