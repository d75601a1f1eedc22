"""Snapshots and overlays as views: thin, since an overlay's nodes are what a kernel calls inodes."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Sequence
from threading import RLock
from typing import cast

from jvs.castore import pages
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK
from jvs.castore.names import MAX_NAME, is_control_name
from jvs.castore.objects import ObjectStore
from jvs.overlay.basefile import BaseFiles
from jvs.overlay.datafiles import DataFiles
from jvs.overlay.fuse.ahead import Ahead
from jvs.overlay.fuse.views import Attributes, Changed, Entry, Opened, View, failure
from jvs.overlay.handles import Handle
from jvs.overlay.nodes import Directory, FileNode, LinkNode, Node, derived_ino, derived_inos, kept_time
from jvs.overlay.overlay import Overlay
from jvs.overlay.resolve import MAX_PATH, Inside
from jvs.overlay.state import State

CONTROL = b".jvs"
_KINDS = {FILE: stat.S_IFREG, DIRECTORY: stat.S_IFDIR, SYMLINK: stat.S_IFLNK}


class TreeView(View):
    """What snapshots and overlays have in common. control: what the root has as `.jvs`, which no listing shows;
    renumbered: whether nodes of the base may have other inode numbers than those that follow from their names."""

    control: View | None = None
    renumbered = False

    def __init__(self, lock: RLock) -> None:
        self.lock = lock

    @property
    def state(self) -> State:
        """The tree itself."""
        raise NotImplementedError

    @property
    def root(self) -> Directory:
        """The node of its root."""
        return self.state.root

    def lookup(self, directory: Directory, name: bytes) -> tuple[View, Node] | None:
        """As `View.lookup`."""
        if len(name) > MAX_NAME:
            raise failure(errno.ENAMETOOLONG)
        with self.lock:
            state = self.state
            if name == CONTROL and directory is state.root:
                return None if self.control is None else (self.control, self.control.root)
            node = state.lookup(directory, name)
            return None if node is None else (self, node)

    def attributes(self, node: Node) -> Attributes:
        """As `View.attributes`. A directory has one link, which says that they are not counted."""
        with self.lock:
            _check_held(node)
            size = node.size if isinstance(node, FileNode) else len(node.target) if isinstance(node, LinkNode) else 4096
            links = 1 if node.parent is not None or node is self.state.root else 0
            return Attributes(node.ino, node.kind | node.mode, links, size, node.atime, node.mtime, node.ctime)

    def entries(self, directory: Directory) -> Sequence[Entry]:
        """As `View.entries`."""
        with self.lock:
            state = self.state
            if directory.parent is None and directory is not state.root:
                return []
            base = state.base_of(directory)
            if base is not None and not directory.changes and not self.renumbered:
                rows = list(pages.iter_entries(state.objects.page, base))
                names = [row[0] for row in rows]
                return list(
                    zip(names, [_KINDS[row[1]] for row in rows], derived_inos(directory.ino, names), strict=True)
                )
            found: list[Entry] = []
            for name, item in state.entries(directory):
                if self.renumbered:  # what is in somebody's hands may have a number of before
                    item = state.lookup(directory, name) or item
                if isinstance(item, tuple):
                    found.append((name, _KINDS[item[1]], derived_ino(directory.ino, name)))
                else:
                    found.append((name, item.kind, item.ino))
        found.sort()
        return found

    def readlink(self, node: Node) -> bytes:
        """As `View.readlink`."""
        if not isinstance(node, LinkNode):
            raise failure(errno.EINVAL)
        return node.target


class SnapshotView(TreeView):
    """A snapshot, which never changes."""

    def __init__(self, files: BaseFiles, objects: ObjectStore, root: Digest, time_ns: int, where: str) -> None:
        """files: reads its files, shared by all views of a store; time_ns: the times of all it has; where: a path on
        the disk that it is on. The caller keeps the snapshot from being collected."""
        super().__init__(RLock())
        objects.tree(root)
        self._files = files
        self._where = where
        # nothing is ever written, so there are no data files
        self._state = State(objects, root, cast(DataFiles, None), time_ns)
        self._ahead = Ahead(self._state)

    @property
    def state(self) -> State:
        """As `TreeView.state`."""
        return self._state

    def read_into(self, node: FileNode, buffer: memoryview, offset: int) -> int:
        """As `View.read_into`."""
        assert node.base is not None
        return self._files.read_into(node.base, buffer, offset)

    def following(self, node: FileNode) -> Iterable[tuple[FileNode, bytes]]:
        """As `View.following`."""
        return self._ahead.following(node)

    def statfs(self) -> os.statvfs_result:
        """As `View.statfs`."""
        return os.statvfs(self._where)


class OverlayView(TreeView):
    """An overlay. The kernel has checked permissions, and applied the caller's umask."""

    def __init__(self, overlay: Overlay, where: str) -> None:
        """where: a path on the disk on which the upper layer lies."""
        super().__init__(overlay._lock)
        self.overlay = overlay
        self._upper = overlay._upper
        self._where = where
        overlay._umask = 0

    @property
    def state(self) -> State:
        """As `TreeView.state`."""
        return self._upper.state

    def open(self, node: FileNode, flags: int) -> Opened:
        """As `View.open`. For reading and writing whatever was asked for: the kernel lets nobody do what he may not,
        and writes pages of a mapping through any open file it finds. Where the end is when appending, it knows too."""
        with self.lock:
            _check_held(node)
            if flags & os.O_TRUNC:
                self._upper.resize(node, 0)
            return Handle(self.overlay._lock, self._upper, node, os.O_RDWR)

    def statfs(self) -> os.statvfs_result:
        """As `View.statfs`."""
        return os.statvfs(self._where)

    def sync(self) -> None:
        """As `View.sync`."""
        self.overlay.sync()

    def reclaim(self) -> bool:
        """As `View.reclaim`: the bytes of removed files go when the journal that does without them is durable."""
        with self.lock:
            if not self._upper.files.garbage_bytes:
                return False
            self.overlay.sync()
            return True

    def _below(self, directory: Directory, name: bytes) -> Inside:
        """The path of an entry of a directory. Raises OSError: FileNotFoundError when the directory was removed."""
        state = self.state
        if directory.parent is None and directory is not state.root:
            raise failure(errno.ENOENT)
        if len(name) > MAX_NAME:
            raise failure(errno.ENAMETOOLONG)
        if is_control_name(name):
            raise failure(errno.EPERM)
        above = directory.path()
        return Inside(above + b"/" + name if above else name)

    def _new(self, directory: Directory, name: bytes) -> Inside:
        """The path of what is to be made, of a length that everybody can name. What is there already, further down than
        that, can be read, written, removed and moved away."""
        path = self._below(directory, name)
        if len(path) > MAX_PATH:
            raise failure(errno.ENAMETOOLONG)
        return path

    def _made(self, directory: Directory, name: bytes) -> Node:
        node = self.state.lookup(directory, name)
        assert node is not None
        return node

    def setattr(self, node: Node, changed: Changed, opened: Opened | None) -> None:
        """As `View.setattr`; also of what was removed and is still open."""
        with self.lock:
            _check_held(node)
            now = time.time_ns()
            there = node.parent is not None or node is self.state.root
            if changed.size is not None:
                if not isinstance(node, FileNode):
                    raise failure(errno.EINVAL)
                if opened is not None:
                    opened.truncate(changed.size)
                else:
                    self._upper.resize(node, changed.size)
            if changed.mode is not None:
                if isinstance(node, LinkNode):
                    raise failure(errno.EOPNOTSUPP)
                if there:
                    self._upper.do("chmod", node.path(), changed.mode & 0o7777, now)
                else:
                    node.mode, node.ctime = changed.mode & 0o7777, now
            if changed.atime is not None or changed.mtime is not None:
                atime = node.atime if changed.atime is None else kept_time(changed.atime)
                mtime = node.mtime if changed.mtime is None else kept_time(changed.mtime)
                if there:
                    self._upper.do("utime", node.path(), atime, mtime, now)
                else:
                    node.atime, node.mtime, node.ctime = atime, mtime, now

    def create(self, directory: Directory, name: bytes, mode: int, flags: int) -> tuple[Node, Opened]:
        """As `View.create`."""
        with self.lock:
            how = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (flags & (os.O_EXCL | os.O_TRUNC))
            handle = self.overlay.open_handle(self._new(directory, name), how, mode)
            return handle.node, handle

    def mkdir(self, directory: Directory, name: bytes, mode: int) -> Node:
        """As `View.mkdir`."""
        with self.lock:
            self.overlay.mkdir(self._new(directory, name), mode)
            return self._made(directory, name)

    def symlink(self, directory: Directory, name: bytes, target: bytes) -> Node:
        """As `View.symlink`."""
        with self.lock:
            self.overlay.symlink(target, self._new(directory, name))
            return self._made(directory, name)

    def unlink(self, directory: Directory, name: bytes) -> None:
        """As `View.unlink`."""
        with self.lock:
            self.overlay.unlink(self._below(directory, name))

    def rmdir(self, directory: Directory, name: bytes) -> None:
        """As `View.rmdir`."""
        with self.lock:
            self.overlay.rmdir(self._below(directory, name))

    def rename(self, directory: Directory, name: bytes, to: Directory, new: bytes, *, replace: bool) -> None:
        """As `View.rename`."""
        with self.lock:
            self.overlay.rename(self._below(directory, name), self._new(to, new), replace=replace)


def _check_held(node: Node) -> None:
    """Raise ESTALE for a file that was removed, and that nobody has open: its bytes are gone. The kernel then looks its
    name up once more for whoever had found it just before."""
    if isinstance(node, FileNode) and node.parent is None and not node.handles:
        raise failure(errno.ESTALE)
