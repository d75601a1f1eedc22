"""Reading the three trees of a merge: where a file lies, its bytes, its chunks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, INDEX, Child, Entry, File, Symlink
from jvs.castore.objects import ObjectStore
from jvs.castore.pages import PageReader
from jvs.errors import UnknownError
from jvs.merge.model import Path, Side


class Version(NamedTuple):
    """A file or symlink of one side.

    side, path   where it lies
    data         its bytes when this merge made them; `side` and `path` then only say whose it is
    stands_for   what the side has itself, when this version already has something of the other side in it
    """

    side: int
    path: Path
    entry: File | Symlink
    data: bytes | None = None
    stands_for: Side | None = None

    @property
    def shown(self) -> Side:
        """What the side has, for people and for conflicts."""
        return self.stands_for or Side(self.path, self.entry)


def leaf_of(read: PageReader, directory: Digest, name: bytes) -> Digest:
    """The page of `directory` that holds the entry `name`, which is known to be there. Reads index pages only."""
    page = read(directory)
    digest = directory
    while page.tag == INDEX:
        row = bisect_left(page.children, name, key=_last_of)
        if row == len(page.children):
            raise UnknownError("a name that was found is not there any more", code="unknown-path")
        digest = page.children[row].digest
        if page.level == 1:
            break
        page = read(digest)
    return digest


def entry_of(read: PageReader, directory: Digest, name: bytes) -> Entry | None:
    """The entry `name` of a directory, or None."""
    page = read(directory)
    while page.tag == INDEX:
        row = bisect_left(page.children, name, key=_last_of)
        if row == len(page.children):
            return None
        page = read(page.children[row].digest)
    at = bisect_left(page.entries, name, key=_name_of)
    return page.entries[at] if at < len(page.entries) and page.entries[at].name == name else None


def _last_of(row: Child) -> bytes:
    return row.last


def _name_of(entry: Entry) -> bytes:
    return entry[0]


class Trees:
    """The base, ours and theirs (a root may be None: the empty tree)."""

    def __init__(self, objects: ObjectStore, roots: Sequence[Digest | None]) -> None:
        self.objects = objects
        self.roots = tuple(roots)
        self._directories: list[dict[Path, Digest | None]] = [{(): root} for root in roots]

    def directory(self, side: int, path: Path) -> Digest | None:
        """The root page of the directory `path` of a side, or None when there is no directory."""
        known = self._directories[side]
        at = len(path)
        while path[:at] not in known:
            at -= 1
        digest = known[path[:at]]
        for depth in range(at, len(path)):
            if digest is not None:
                entry = entry_of(self.objects.page, digest, path[depth])
                digest = entry[3] if entry is not None and entry[1] == DIRECTORY else None
            known[path[: depth + 1]] = digest
        return digest

    def entry(self, side: int, path: Path) -> Entry | None:
        """The entry at `path` (not the root) of a side, or None."""
        directory = self.directory(side, path[:-1])
        return None if directory is None else entry_of(self.objects.page, directory, path[-1])

    def page(self, version: Version) -> Digest:
        """The page in which a version lies."""
        directory = self.directory(version.side, version.path[:-1])
        assert directory is not None
        return leaf_of(self.objects.page, directory, version.path[-1])

    def content(self, version: Version) -> bytes:
        """The whole bytes of a file; the caller has looked at its size."""
        if version.data is not None:
            return version.data
        assert version.entry[1] == FILE
        return b"".join(self.objects.read(self.page(version), version.entry)) if version.entry.size else b""

    def chunks(self, version: Version) -> dict[Digest, int]:
        """The bytes that each chunk of a file holds of it, by the chunk's digest."""
        entry = version.entry
        assert entry[1] == FILE
        place = self.objects.place(self.page(version), entry)
        if place.kind != Kind.RECIPE:
            return {entry.digest: entry.size}
        found: dict[Digest, int] = {}
        for piece in self.objects.chunks(entry.digest):
            found[piece.digest] = found.get(piece.digest, 0) + piece.length
        return found
