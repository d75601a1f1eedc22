"""What the `.jvsattributes` files of the merged trees say of a path: each as it would be merged itself.

The file of a directory is the one that both sides have, or the one of the side that changed it; when both changed it
differently, the base's. So swapping the sides changes nothing.
"""

from __future__ import annotations

from jvs.castore.digest import Digest
from jvs.castore.manifest import FILE, File
from jvs.castore.objects import ObjectStore
from jvs.merge.drivers.attributes import (
    ATTRIBUTES_FILE,
    MAX_ATTRIBUTES_FILE,
    NO_SETTINGS,
    Attributes,
    Settings,
)
from jvs.merge.model import BASE, OURS, THEIRS, Path
from jvs.merge.reading import Trees, Version


class TreeAttributes:
    """Looks up the attributes of paths in a merge. Not thread-safe."""

    def __init__(self, objects: ObjectStore, base: Digest | None, ours: Digest, theirs: Digest) -> None:
        self._trees = Trees(objects, (base, ours, theirs))
        self._known: dict[Path, Attributes | None] = {}

    def of(self, path: bytes) -> Settings:
        """The attributes of the file at `path`."""
        *above, name = path.split(b"/")
        attributes = self._in(tuple(above))
        return NO_SETTINGS if attributes is None else attributes.of(above, name)

    def _in(self, directory: Path) -> Attributes | None:
        """What holds in a directory: found from the nearest one that is known down, so that none is too deep."""
        at = len(directory)
        while at and directory[:at] not in self._known:
            at -= 1
        found = self._known.get(directory[:at])
        for depth in range(at, len(directory) + 1):
            if directory[:depth] not in self._known:
                self._known[directory[:depth]] = self._below(found, directory[:depth])
            found = self._known[directory[:depth]]
        return found

    def _below(self, parent: Attributes | None, directory: Path) -> Attributes | None:
        """The attributes of a directory, whose parent has these."""
        base, ours, theirs = (self._find(side, directory) for side in (BASE, OURS, THEIRS))
        chosen = base
        if _same(ours, theirs) or _same(base, theirs):
            chosen = ours
        elif _same(base, ours):
            chosen = theirs
        return parent if chosen is None else Attributes(parent, len(directory), self._trees.content(chosen))

    def _find(self, side: int, directory: Path) -> Version | None:
        path = (*directory, ATTRIBUTES_FILE.encode())
        entry = self._trees.entry(side, path)
        if entry is None or entry[1] != FILE or entry.size > MAX_ATTRIBUTES_FILE:
            return None
        return Version(side, path, entry)


def _same(one: Version | None, other: Version | None) -> bool:
    if one is None or other is None:
        return one is other
    assert isinstance(one.entry, File)
    assert isinstance(other.entry, File)
    return one.entry.digest == other.entry.digest
