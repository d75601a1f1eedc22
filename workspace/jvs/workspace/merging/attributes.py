"""What the `.jvsattributes` files of the merged trees say of a path: each as it would be merged itself.

The file of a directory is the one that both sides have, or the one of the side that changed it; when both changed it
differently, the base's. So swapping the sides changes nothing.
"""

from __future__ import annotations

from functools import lru_cache

from jvs.castore.digest import Digest
from jvs.castore.manifest import FILE, File
from jvs.castore.objects import Located, ObjectStore
from jvs.merge.drivers.attributes import (
    ATTRIBUTES_FILE,
    MAX_ATTRIBUTES_FILE,
    NO_SETTINGS,
    Attributes,
    Settings,
)


class TreeAttributes:
    """Looks up the attributes of paths in a merge. Not thread-safe."""

    def __init__(self, objects: ObjectStore, base: Digest | None, ours: Digest, theirs: Digest) -> None:
        self._objects = objects
        self._roots = (base, ours, theirs)
        self._in = lru_cache(maxsize=4096)(self._in_directory)

    def of(self, path: bytes) -> Settings:
        """The attributes of the file at `path`."""
        *above, name = path.split(b"/")
        attributes = None
        for depth in range(len(above) + 1):  # from the root down, so that no tree is too deep to recurse into
            attributes = self._in(tuple(above[:depth]))
        return NO_SETTINGS if attributes is None else attributes.of(above, name)

    def _in_directory(self, directory: tuple[bytes, ...]) -> Attributes | None:
        parent = self._in(directory[:-1]) if directory else None
        base, ours, theirs = (self._find(root, directory) for root in self._roots)
        chosen = base
        if _same(ours, theirs) or _same(base, theirs):
            chosen = ours
        elif _same(base, ours):
            chosen = theirs
        if chosen is None:
            return parent
        return Attributes(parent, len(directory), b"".join(self._objects.read(chosen.page, _file(chosen))))

    def _find(self, root: Digest | None, directory: tuple[bytes, ...]) -> Located | None:
        found = None if root is None else self._objects.find(root, (*directory, ATTRIBUTES_FILE.encode()))
        if found is None or found.entry[1] != FILE or _file(found).size > MAX_ATTRIBUTES_FILE:
            return None
        return found


def _file(located: Located) -> File:
    assert isinstance(located.entry, File)
    return located.entry


def _same(one: Located | None, other: Located | None) -> bool:
    if one is None or other is None:
        return one is other
    return _file(one).digest == _file(other).digest
