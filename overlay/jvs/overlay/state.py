"""The state of an overlay: the tree of nodes over the base, and the operations on it that the journal records.

Whatever changes the state is a record, written to the journal and then applied by the very code that replays it. Paths
in records are canonical (no links, no dots), and who makes a record has checked that it can be applied.

| record | meaning |
|---|---|
| create, path, mode, data, ns | a new file whose bytes are a data file |
| mkdir, path, mode, ns | |
| symlink, path, target, ns | |
| remove, path, ns | a file, a link, or a directory |
| rename, from, to, ns | what was there before is removed |
| copy, from, to, ns | by reference; what was there before is removed |
| graft, snapshot, from, to, ns | by reference, out of a snapshot; what was there before is removed |
| chmod, path, mode, ns | |
| utime, path, atime, mtime, ns | |
| data, path, data, ns | the file's bytes are this data file from now on |
| cow, path, data, ns | a data file is laid over the bytes of the base |
| unshare, path, data | the same bytes, in a data file of its own |
| wrote, path, size, (start, end, start, end, ...) | ranges of a file that is laid over the base |
| cut, path, size, ns | the new size of such a file |
| discard, path, ns | as it is in the base |
| node, path, number, mode, atime, mtime, ctime | only in a journal that was written anew |
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Final
from weakref import WeakValueDictionary

from jvs.castore import pages
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, Entry
from jvs.castore.names import is_left_alone
from jvs.castore.objects import ObjectStore
from jvs.errors import IntegrityError
from jvs.overlay.datafiles import DataFiles
from jvs.overlay.extents import Extents
from jvs.overlay.journal import Record
from jvs.overlay.nodes import ROOT_INO, Content, Directory, FileNode, LinkNode, Node, Where

CACHED_DIRECTORIES: Final = 4096
_name_of = itemgetter(0)
_HIGHEST: Final = b"\xff" * 256  # above every name


class State:
    """The tree. Not thread-safe: the overlay's lock is held."""

    def __init__(self, objects: ObjectStore, base: Digest, files: DataFiles, time_ns: int) -> None:
        self.objects = objects
        self.files = files
        self.time_ns = time_ns
        self._held: WeakValueDictionary[tuple[int, bytes], Node] = WeakValueDictionary()
        self._directories: dict[bytes, Directory] = {}
        self.next_ino = ROOT_INO + 1
        self.base = base
        self.root = Directory(None, b"", 0o755, time_ns, ROOT_INO, base)

    # -- looking ---------------------------------------------------------------------------------------------------

    def base_of(self, directory: Directory) -> Digest | None:
        """The root page of what shows through a directory. When it is first asked for, which is before anybody looks
        into it, the directory's totals are compared with what its entry claims: to be named by a listing costs it
        nothing. Raises JvsError."""
        claim = directory.claim
        if claim is not None:
            self.objects.descend(claim)
            directory.claim = None
        return directory.base

    def base_entry(self, directory: Directory, name: bytes) -> tuple[Digest, Entry] | None:
        """(page, entry) that shows through under `name`, whether or not something covers it."""
        span = directory.span
        if span is None or not span[0] <= name <= span[1]:
            base = self.base_of(directory)
            if base is None:
                return None
            if span is None and (page := pages.read_root(self.objects.page, base)).entries:
                directory.span = span = (b"", _HIGHEST, base, page.entries)
            else:
                found = pages.find(self.objects.page, base, name)
                if found is not None:
                    entries = self.objects.page(found[0]).entries
                    directory.span = (entries[0][0], entries[-1][0], found[0], entries)
                return found
        entries = span[3]
        position = bisect_left(entries, name, key=_name_of)
        if position < len(entries) and entries[position][0] == name:
            return span[2], entries[position]
        return None

    def lookup(self, directory: Directory, name: bytes) -> Node | None:
        """What `directory` has under `name` now."""
        if name in directory.changes:
            return directory.changes[name]
        if directory.base is None:
            return None
        found = self.base_entry(directory, name)
        return None if found is None else self._node_of(directory, *found)

    def held(self, directory: Directory, name: bytes) -> Node | None:
        """The transient node of an entry of the base, if anybody holds it."""
        return self._held.get((id(directory), name))

    def _node_of(self, directory: Directory, page: Digest, entry: Entry) -> Node:
        """The transient node of an entry of the base: the one that somebody holds already, if so."""
        key = (id(directory), entry[0])
        node = self._held.get(key)
        if node is None:
            node = self._held[key] = self._made(directory, page, entry, self.time_ns, 0)
        return node

    def _made(self, directory: Directory, page: Digest, entry: Entry, ns: int, ino: int) -> Node:
        """A node that shows an entry of the store."""
        if entry[1] == FILE:
            return FileNode(directory, entry[0], entry[2], ns, ino, Where(page, entry))
        if entry[1] == DIRECTORY:
            made = Directory(directory, entry[0], entry[2], ns, ino, entry[3])
            made.claim = entry
            return made
        return LinkNode(directory, entry[0], entry[2], ns, ino)

    def cached(self, path: bytes) -> Directory | None:
        """The directory at a canonical path, when it was looked at lately."""
        return self._directories.get(path) if path else self.root

    def remember(self, path: bytes, directory: Directory) -> None:
        """Let `cached` find it."""
        if len(self._directories) >= CACHED_DIRECTORIES:
            self._directories.clear()
        self._directories[path] = directory

    def forget_directories(self) -> None:
        """A directory was moved or removed: no path means what it did."""
        self._directories.clear()

    def at(self, path: bytes) -> Node | None:
        """The node at a canonical path."""
        if not path:
            return self.root
        above, _, name = path.rpartition(b"/")
        directory = self.directory(above)
        return None if directory is None else self.lookup(directory, name)

    def directory(self, path: bytes) -> Directory | None:
        """The directory at a canonical path."""
        cached = self.cached(path)
        if cached is not None:
            return cached
        directory = self.root
        for name in path.split(b"/"):
            node = self.lookup(directory, name)
            if not isinstance(node, Directory):
                return None
            directory = node
        self.remember(path, directory)
        return directory

    def count(self, directory: Directory) -> int:
        """How many entries a directory has."""
        base = self.base_of(directory)
        return directory.delta + (0 if base is None else pages.read_root(self.objects.page, base).totals[0])

    def entries(self, directory: Directory) -> Iterator[tuple[bytes, Node | Entry]]:
        """(name, node, or entry of the base that nothing touched) of all that a directory has, in no order. Memory:
        what `changes` has. The directory is not changed meanwhile."""
        changes = directory.changes
        base = self.base_of(directory)
        if base is not None:
            for entry in pages.iter_entries(self.objects.page, base):
                if entry[0] not in changes:
                    yield entry[0], entry
        for name, node in changes.items():
            if node is not None:
                yield name, node

    def touched(self) -> Iterator[Node]:
        """Every node that is in its parent's `changes`, and the root, parents first."""
        below: list[Node] = [self.root]
        for node in below:
            yield node
            if isinstance(node, Directory):
                below.extend(child for child in node.changes.values() if child is not None)

    # -- changing --------------------------------------------------------------------------------------------------

    def keep(self, node: Node) -> None:
        """A node is about to be changed: make it part of the upper layer, and so the directories above it."""
        if isinstance(node, Directory):
            node.dirty = True
        while node.parent is not None:
            parent = node.parent
            if parent.changes.get(node.name) is not node:
                parent.changes[node.name] = node
                self._held.pop((id(parent), node.name), None)
            elif parent.dirty:
                return
            parent.dirty = True
            node = parent

    def _ino(self) -> int:
        self.next_ino += 1
        return self.next_ino - 1

    def _place(self, path: bytes) -> tuple[Directory, bytes]:
        """(directory to be changed, name) of a path in a record."""
        above, _, name = path.rpartition(b"/")
        directory = self.directory(above)
        if directory is None:
            raise IntegrityError("the journal of an overlay names a directory that is not there")
        self.keep(directory)
        return directory, name

    def _there(self, path: bytes) -> Node:
        node = self.at(path)
        if node is None:
            raise IntegrityError("the journal of an overlay names a path that is not there")
        self.keep(node)
        return node

    def _file(self, path: bytes) -> FileNode:
        node = self._there(path)
        if not isinstance(node, FileNode):
            raise IntegrityError("the journal of an overlay takes something for a file that is none")
        return node

    def _insert(self, directory: Directory, name: bytes, node: Node, ns: int) -> None:
        node.parent, node.name = directory, name
        directory.changes[name] = node
        self._held.pop((id(directory), name), None)
        directory.delta += 1
        directory.mtime = directory.ctime = ns

    def _take(self, directory: Directory, name: bytes, ns: int) -> Node:
        """Take what is there out of a directory."""
        node = self.lookup(directory, name)
        if node is None:
            raise IntegrityError("the journal of an overlay removes what is not there")
        _ = node.ino  # it stays the same, wherever the node goes
        if self.base_entry(directory, name) is None:
            del directory.changes[name]
        else:
            directory.changes[name] = None
            self._held.pop((id(directory), name), None)
        directory.delta -= 1
        directory.mtime = directory.ctime = ns
        node.parent = None
        if isinstance(node, Directory):
            self.forget_directories()
        return node

    def _gone(self, node: Node) -> None:
        """A node that was taken out is not put in anywhere."""
        if isinstance(node, Directory) and node is not self.root and not self.count(node):
            node.parent = None  # as `rmdir` takes them out: there is nothing below to look for
            return
        below: list[Node] = [node]
        gone: set[int] = set()
        for one in below:
            _leave(one)
            if isinstance(one, FileNode) and not one.handles:
                self.release(one)
            elif isinstance(one, Directory):
                gone.add(id(one))
                below.extend(child for child in one.changes.values() if child is not None)
        if not gone:
            return
        # so is what somebody holds below them; all of it is found before any of it loses the directory above it
        lost = [(key, held) for key, held in self._held.items() if _is_below(held, gone)]
        for key, held in lost:
            del self._held[key]
            _leave(held)

    def release(self, node: FileNode) -> None:
        """The node needs its content no more."""
        content, node.content = node.content, None
        if content is not None:
            content.refs -= 1
            if not content.refs:
                self.files.drop(content.data)

    def apply(self, record: Record) -> None:
        """Do what a record says. Raises IntegrityError for one that no overlay has written."""
        operation = _OPERATIONS.get(record[0])
        if operation is None:
            raise IntegrityError("the journal of an overlay has a record of an unknown kind")
        operation(self, *record[1:])

    def create(self, path: bytes, mode: int, data: int, ns: int) -> None:
        directory, name = self._place(path)
        node = FileNode(directory, name, mode, ns, self._ino())
        node.content = Content(data, 0)
        self._insert(directory, name, node, ns)

    def mkdir(self, path: bytes, mode: int, ns: int) -> None:
        directory, name = self._place(path)
        self._insert(directory, name, Directory(directory, name, mode, ns, self._ino()), ns)

    def symlink(self, path: bytes, target: bytes, ns: int) -> None:
        directory, name = self._place(path)
        self._insert(directory, name, LinkNode(directory, name, target, ns, self._ino()), ns)

    def remove(self, path: bytes, ns: int) -> None:
        directory, name = self._place(path)
        node = self._take(directory, name, ns)
        node.ctime = ns
        self._gone(node)

    def rename(self, source: bytes, target: bytes, ns: int) -> None:
        from_directory, from_name = self._place(source)
        to_directory, to_name = self._place(target)
        node = self._take(from_directory, from_name, ns)
        if self.lookup(to_directory, to_name) is not None:
            self._gone(self._take(to_directory, to_name, ns))
        node.ctime = ns
        self._insert(to_directory, to_name, node, ns)

    def copy(self, source: bytes, target: bytes, ns: int) -> None:
        node = self.at(source)
        if node is None:
            raise IntegrityError("the journal of an overlay copies what is not there")
        directory, name = self._place(target)
        if self.lookup(directory, name) is not None:
            self._gone(self._take(directory, name, ns))
        self._insert(directory, name, self._clone(node, directory, name, ns), ns)

    def graft(self, root: Digest, source: bytes, target: bytes, ns: int) -> None:
        found = self.objects.find(root, tuple(source.split(b"/")))
        if found is None:
            raise IntegrityError("the journal of an overlay takes from a snapshot what it does not have")
        directory, name = self._place(target)
        if self.lookup(directory, name) is not None:
            self._gone(self._take(directory, name, ns))
        self._insert(directory, name, self._made(directory, *found, ns, self._ino()), ns)

    def _clone(self, node: Node, parent: Directory, name: bytes, ns: int) -> Node:
        """A copy of a node that shares all content: what was touched below it is copied, what was not is shared."""
        first = self._clone_one(node, parent, name, ns)
        stack = [(node, first)]
        while stack:
            old, new = stack.pop()
            if isinstance(old, Directory) and isinstance(new, Directory):
                for below, child in old.changes.items():
                    copy = None if child is None else self._clone_one(child, new, below, ns)
                    new.changes[below] = copy
                    if child is not None and copy is not None:
                        stack.append((child, copy))
        return first

    def _clone_one(self, node: Node, parent: Directory, name: bytes, ns: int) -> Node:
        if isinstance(node, Directory):
            directory = Directory(parent, name, node.mode, ns, self._ino(), node.base)
            directory.delta, directory.dirty, directory.claim = node.delta, node.dirty, node.claim
            return directory
        if isinstance(node, LinkNode):
            return LinkNode(parent, name, node.target, ns, self._ino())
        file = FileNode(parent, name, node.mode, ns, self._ino(), node.base)
        file.content = node.content
        if file.content is not None:
            file.content.refs += 1
        return file

    def chmod(self, path: bytes, mode: int, ns: int) -> None:
        node = self._there(path)
        node.mode = mode
        node.ctime = ns

    def utime(self, path: bytes, atime: int, mtime: int, ns: int) -> None:
        node = self._there(path)
        node.atime, node.mtime, node.ctime = atime, mtime, ns
        if isinstance(node, FileNode):
            node.timed = True

    def data(self, path: bytes, data: int, ns: int) -> None:
        self.set_data(self._file(path), data, 0, ns)

    def set_data(self, node: FileNode, data: int, size: int, ns: int) -> None:
        """As the record `data`, of a node that may have been removed."""
        self.release(node)
        node.content = Content(data, size)
        _modified(node, ns)

    def cow(self, path: bytes, data: int, ns: int) -> None:
        self.set_cow(self._file(path), data, ns)

    def set_cow(self, node: FileNode, data: int, ns: int) -> None:
        """As the record `cow`."""
        assert node.base is not None
        node.content = Content(data, node.base.file.size, node.base)
        _modified(node, ns)

    def unshare(self, path: bytes, data: int) -> None:
        self.set_unshared(self._file(path), data)

    def set_unshared(self, node: FileNode, data: int) -> None:
        """As the record `unshare`."""
        assert node.content is not None
        content = node.content.copy_as(data)
        self.release(node)
        node.content = content

    def wrote(self, path: bytes, size: int, ranges: tuple[int, ...]) -> None:
        """Only when a journal is replayed: the writer has done it by itself."""
        content = self._file(path).content
        assert content is not None
        assert content.extents is not None
        for start, end in zip(ranges[::2], ranges[1::2], strict=True):
            content.extents.add(start, end)
        content.size = size

    def cut(self, path: bytes, size: int, ns: int) -> None:
        self.set_size(self._file(path), size, ns)

    def set_size(self, node: FileNode, size: int, ns: int) -> None:
        """As the record `cut`."""
        content = node.content
        assert content is not None
        assert content.extents is not None
        content.extents.clip(size)
        content.limit = min(content.limit, size)
        content.size = size
        _modified(node, ns)

    def discard(self, path: bytes, ns: int) -> None:
        """What is at the path goes, and what the base has there comes back."""
        directory, name = self._place(path)
        if self.lookup(directory, name) is not None:
            self._gone(self._take(directory, name, ns))
        found = self.objects.find(self.base, tuple(path.split(b"/")))
        if found is None:
            return
        own = self.base_entry(directory, name)
        if own is not None and own[1] == found.entry:  # it only has to be uncovered
            directory.changes.pop(name, None)
            directory.delta += 1
        else:
            node = self._node_of(directory, *found)
            node._ino = node._ino or self._ino()
            self._insert(directory, name, node, ns)

    def node(self, path: bytes, ino: int, mode: int, atime: int, mtime: int, ctime: int) -> None:
        node = self._there(path)
        node._ino = ino
        node.mode, node.atime, node.mtime, node.ctime = mode, atime, mtime, ctime
        if isinstance(node, FileNode):
            node.timed = True

    # -- opening and folding ---------------------------------------------------------------------------------------

    def replayed(self) -> set[int]:
        """After the last record: find out the sizes and times of the data files; the numbers of those in use."""
        used: set[int] = set()
        for node in self.touched():
            if isinstance(node, FileNode) and node.content is not None:
                content = node.content
                used.add(content.data)
                try:
                    info = os.stat(self.files.path(content.data))
                except FileNotFoundError:
                    raise IntegrityError(f"the upper layer has lost the bytes of {os.fsdecode(node.path())}") from None
                if content.extents is None:
                    content.size = info.st_size
                if not node.timed:
                    node.mtime = node.ctime = max(node.mtime, info.st_mtime_ns)
        return used

    def settle(self, base: Digest, folded: dict[Directory, Digest], made: dict[FileNode, Entry]) -> list[Record]:
        """The tree was stored as `base`, its touched directories and files as said: make them what shows through, and
        keep only what is not versioned. What a snapshot leaves out goes: it is of a merge, which is done. Returns the
        records that lead here from `base` alone."""
        self.base = base
        records: list[Record] = []
        for node in list(self.touched()):
            if is_left_alone(node.name) and node.parent is not None:
                del node.parent.changes[node.name]
                self._gone(node)
        for node in list(self.touched()):
            path = node.path()
            if isinstance(node, Directory):
                if node in folded:
                    node.base, node.span, node.claim = folded[node], None, None
                    node.changes = {name: child for name, child in node.changes.items() if child is not None}
                    node.delta = 0
                node.dirty = False
            elif isinstance(node, FileNode) and node in made:
                entry = made[node]
                assert entry[1] == FILE
                assert node.parent is not None
                assert node.parent.base is not None
                self.release(node)
                node.base = Where(node.parent.base, entry, True)
            records.append(("node", path, node.ino, node.mode, node.atime, node.mtime, node.ctime))
        for held in self._held.values():  # the pages that they were found in may be collected now
            if isinstance(held, FileNode) and held.parent is not None and held.parent.base is not None:
                assert held.base is not None
                held.base = Where(held.parent.base, held.base.file, True)
        return records

    def reset(self, base: Digest) -> None:
        """Forget everything that was done: the tree is `base`. What is open stays readable, as if removed."""
        self._gone(self.root)
        self._held.clear()
        self.forget_directories()
        self.base = base
        self.root = Directory(None, b"", 0o755, self.time_ns, ROOT_INO, base)


def _leave(node: Node) -> None:
    """A node is in no directory any more."""
    if node.parent is not None:
        _ = node.ino  # by which who has it open still knows it
        node.parent = None


def _is_below(node: Node, directories: set[int]) -> bool:
    """Whether one of these (by identity) is above a node."""
    at = node.parent
    while at is not None:
        if id(at) in directories:
            return True
        at = at.parent
    return False


def where_of(objects: ObjectStore, where: Where) -> Where:
    """The same file, with the very page that it lies in."""
    if not where.in_directory:
        return where
    found = pages.find(objects.page, where.page, where.file.name)
    if found is None or found[1] != where.file:
        raise IntegrityError("a directory that was just stored lacks one of its files")
    return Where(found[0], where.file)


def _modified(node: FileNode, ns: int) -> None:
    node.mtime = node.ctime = ns
    node.timed = False


_OPERATIONS: Final[dict[str, Callable[..., None]]] = {
    name: getattr(State, name)
    for name in (
        "create mkdir symlink remove rename copy graft chmod utime data cow unshare wrote cut discard node".split()
    )
}

__all__ = ["CACHED_DIRECTORIES", "Extents", "State", "where_of"]
