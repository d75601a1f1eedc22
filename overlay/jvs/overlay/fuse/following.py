"""Keeping a live mount right when its overlay is changed beside it: above all by a push that merged, after which it is
another snapshot.

The kernel knows nodes by numbers. What is the same in both trees keeps its number, inode and times (as long as the
kernel knows it: the new tree has its own), and its open files go on being that file; of what differs the kernel is told
to forget name and content. An open file that the merge changed stays what it was, as if removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from jvs.castore.diff import diff_trees
from jvs.castore.digest import Digest
from jvs.castore.hasher import TreeHasher
from jvs.overlay.fuse.server import Server
from jvs.overlay.fuse.trees import OverlayView
from jvs.overlay.handles import Handle
from jvs.overlay.nodes import Directory, FileNode, Node


class Following:
    """Follows what is done to a view's overlay, not through the mount, between `begin` and `tell`. Neither is called
    with the overlay's lock held."""

    def __init__(self, server: Server, view: OverlayView) -> None:
        self._server = server
        self._view = view
        self._lock = Lock()
        self._changed: list[int] = []
        self._renamed: list[tuple[int, bytes]] = []
        self._watched: list[tuple[Node, Node, bytes]] = []
        view.overlay.follower = self._follow

    def close(self) -> None:
        """Follow no more."""
        self._view.overlay.follower = None

    def open_files(self) -> set[bytes]:
        """The paths of all files that somebody has open: only they can have pages that were not written yet."""
        view = self._view
        with view.overlay._lock:
            nodes = {one.node for one in self._server.handles() if isinstance(one, Handle)}
            return {node.path() for node in nodes if node.parent is not None}

    def begin(self, name: bytes | None = None) -> None:
        """Something may be removed now (name: only what is called that)."""
        view = self._view
        with view.overlay._lock:
            watched = [
                (one.node, one.node.parent, one.node.name)
                for _, one in self._server.numbers.all()
                if one.view is view and one.node.parent is not None and name in (None, one.node.name)
            ]
        with self._lock:
            self._watched += watched

    def tell(self) -> None:
        """Tell the kernel what it must forget. Never from a thread that answers it."""
        with self._lock:
            for node, parent, name in self._watched:
                above = self._server.numbers.find(self._view, parent)
                if node.parent is None and above is not None:
                    self._renamed.append((above, name))
                    self._changed.append(above)
            self._watched = []
            renamed, self._renamed = self._renamed, []
            changed, self._changed = self._changed, []
        self._server.renamed(renamed)
        self._server.changed(changed)

    def _follow(self, base: Digest, now: Digest | None) -> Callable[[], None]:
        """The overlay, which is the snapshot `now` (None: it is not known), is about to be `base`; what is returned is
        called when it is. The overlay's lock is held."""
        view, numbers = self._view, self._server.numbers
        state = view.state
        if now is None:
            now = view.overlay.fold(TreeHasher(state.objects)).tree.digest
        differing = [b"/".join(one.path) for one in diff_trees(state.objects.page, now, base)]
        differs = set(differing)
        root = state.root
        known: list[tuple[int, Node, bytes]] = [
            (number, one.node, one.node.path())
            for number, one in numbers.all()
            if one.view is view and (one.node is root or one.node.parent is not None)
        ]

        def after() -> None:
            by_path: dict[bytes, int] = {}
            moved: dict[int, FileNode] = {}
            for number, node, path in known:
                new = view.state.at(path)
                same = path not in differs or isinstance(node, Directory)
                if new is None or new.kind != node.kind or not same:
                    numbers.rename(number, None)
                    continue
                new._ino = node.ino
                new.atime, new.mtime, new.ctime = node.atime, node.mtime, node.ctime
                numbers.rename(number, new)
                by_path[path] = number
                if isinstance(node, FileNode) and isinstance(new, FileNode):
                    moved[id(node)] = new
            for handle in self._server.handles():
                new = moved.get(id(handle.node)) if isinstance(handle, Handle) else None
                if new is not None:
                    handle.move(new)
            view.renumbered = True
            stale: set[int] = set()
            renamed: list[tuple[int, bytes]] = []
            for path in differing:
                above, _, name = path.rpartition(b"/")
                if path in by_path:  # a directory whose mode differs, or what is there is one
                    stale.add(by_path[path])
                elif above in by_path:
                    renamed.append((by_path[above], name))
                if above in by_path:
                    stale.add(by_path[above])
            at = time.time_ns()
            for number in stale:
                directory = numbers[number].node
                directory.mtime = directory.ctime = at
            with self._lock:
                self._changed += stale
                self._renamed += renamed

        return after
