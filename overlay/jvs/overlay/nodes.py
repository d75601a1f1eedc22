"""The nodes of an overlay: directories, files and links that were looked at or touched.

A directory is a page of the base and what differs from it. A node that is only looked at is *transient*: nothing holds
it but its users (and a weak table, so that two users meet the same one). The first change of a node, or below it, puts
it and the directories above it into the `changes` of their parents, where it stays.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from jvs.castore.digest import Digest
from jvs.castore.manifest import Directory as Claim
from jvs.castore.manifest import Entry, File
from jvs.overlay.extents import Extents

ROOT_INO: Final = 1
_DERIVED: Final = 1 << 62
_PRIME: Final = 3087995703307494649
_BASE: Final = 1530057880452111676
_FIRST_TIME: Final = -(2**63)
_LAST_TIME: Final = 2**64 - 1


class Where(NamedTuple):
    """A file of the base. page: the page it lies in, or (`in_directory`) the root page of the directory that has it,
    which leads there."""

    page: Digest
    file: File
    in_directory: bool = False


class Content:
    """The bytes of a file that was written: a data file, over the bytes of the base for a large one.

    data      number of the data file
    size      bytes of the file
    base      what shows through where nothing was written, below `limit`; None: the data file is all there is
    extents   what was written (None like `base`)
    fresh     ranges written since the journal was last told
    refs      nodes that share this (copies by reference); who writes takes a copy of its own first
    """

    __slots__ = ("base", "data", "extents", "fresh", "limit", "refs", "size")

    def __init__(self, data: int, size: int, base: Where | None = None, extents: Extents | None = None) -> None:
        self.data = data
        self.size = size
        self.base = base
        self.limit = 0 if base is None else min(size, base.file.size)
        self.extents = extents if extents is not None or base is None else Extents()
        self.fresh: list[int] = []
        self.refs = 1

    def copy_as(self, data: int) -> Content:
        """The same, with the bytes in another data file."""
        other = Content(data, self.size, self.base, None if self.extents is None else self.extents.copy())
        other.limit = self.limit
        return other


class _Common:
    """What every node has. parent: None for the root, and for what was removed. Times in ns."""

    __slots__ = ("__weakref__", "_ino", "atime", "ctime", "mode", "mtime", "name", "parent")
    kind = 0

    def __init__(self, parent: Directory | None, name: bytes, mode: int, time_ns: int, ino: int) -> None:
        self.parent = parent
        self.name = name
        self.mode = mode
        self.mtime = self.atime = self.ctime = time_ns
        self._ino = ino

    @property
    def ino(self) -> int:
        """Its number. Of what comes from the base it follows from the directory's and the name, and stays with the
        node when it is moved."""
        if not self._ino:
            assert self.parent is not None
            self._ino = derived_ino(self.parent.ino, self.name)
        return self._ino

    def path(self) -> bytes:
        """Where it is, from the root: `a/b`, without a slash at either end."""
        names = []
        node: _Common = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return b"/".join(reversed(names))


class FileNode(_Common):
    """A regular file. base: its bytes as long as it was not written; content: afterwards. handles: how often it is
    open. timed: whether its times were set by somebody, rather than by writing."""

    __slots__ = ("base", "content", "handles", "timed")
    kind = stat.S_IFREG

    def __init__(
        self, parent: Directory | None, name: bytes, mode: int, time_ns: int, ino: int = 0, base: Where | None = None
    ) -> None:
        super().__init__(parent, name, mode, time_ns, ino)
        self.base = base
        self.content: Content | None = None
        self.handles = 0
        self.timed = False

    @property
    def size(self) -> int:
        """Bytes of the file."""
        if self.content is not None:
            return self.content.size
        assert self.base is not None
        return self.base.file.size


class LinkNode(_Common):
    """A symbolic link."""

    __slots__ = ("target",)
    kind = stat.S_IFLNK

    def __init__(self, parent: Directory | None, name: bytes, target: bytes, time_ns: int, ino: int = 0) -> None:
        super().__init__(parent, name, 0o777, time_ns, ino)
        self.target = target


class Directory(_Common):
    """A directory. base: root page of what shows through (None: nothing does); changes: nodes in place of its
    entries, None for one that was removed; delta: entries more than the base has; span: the last page that was looked
    into, with its first and last name; dirty: whether anything here or below was changed since the tree was stored;
    claim: the entry that led to `base`, until what it says was compared with what is there (`State.base_of`)."""

    __slots__ = ("base", "changes", "claim", "delta", "dirty", "span")
    kind = stat.S_IFDIR

    def __init__(
        self, parent: Directory | None, name: bytes, mode: int, time_ns: int, ino: int = 0, base: Digest | None = None
    ) -> None:
        if not ino:  # now, since asking a deep chain of parents later would recurse
            assert parent is not None
            ino = derived_ino(parent.ino, name)
        super().__init__(parent, name, mode, time_ns, ino)
        self.base = base
        self.changes: dict[bytes, Node | None] = {}
        self.delta = 0
        self.dirty = base is None
        self.span: tuple[bytes, bytes, Digest, tuple[Entry, ...]] | None = None
        self.claim: Claim | None = None


Node: TypeAlias = Directory | FileNode | LinkNode


def kept_time(ns: int) -> int:
    """The nearest time that a journal can hold (of the years 1677 to 2554), as a disk keeps what its inodes can."""
    return max(_FIRST_TIME, min(ns, _LAST_TIME))


def derived_ino(parent: int, name: bytes) -> int:
    """The number of an entry of the base: it follows from its directory's and the name."""
    return _DERIVED | (parent * _BASE + int.from_bytes(name, "big")) % _PRIME


def derived_inos(parent: int, names: Iterable[bytes]) -> list[int]:
    """As `derived_ino`, of many names in one directory. A listing gives a number with every name, so this is arithmetic
    in a random base modulo a random prime, a quarter of the time of a cryptographic hash; who makes two names meet on
    purpose gains nothing, for there are no hard links that a program could see in it."""
    above = parent * _BASE
    number = int.from_bytes
    return [_DERIVED | (above + number(name, "big")) % _PRIME for name in names]
