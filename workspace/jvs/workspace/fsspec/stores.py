"""The stores that this process has open for `jvs://`, and the snapshots of them that it reads.

One store is opened once, however many file systems are of it, and closed when the last of them is gone. After a fork
nothing of the parent's is used: whoever asks is given a store of its own.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jvs.castore.binding import Binding
from jvs.castore.gc.pins import pin_snapshot
from jvs.workspace.fsspec.locations import Location, locate
from jvs.workspace.overlays import RepoOverlay
from jvs.workspace.repo import Repo

VIEWS: Final = 4
"""Snapshots that are kept ready to be read; each holds as many chunks as an overlay does."""


class View:
    """A snapshot that is read. It is closed when it is not among the latest any more, and nobody holds it."""

    def __init__(self, repo: Repo, location: Location) -> None:
        self.overlay = RepoOverlay.create(repo.objects, location.ca_id, time_ns=location.time_ns)
        self.overlay.bind(repo, Binding(None, 0, location.ca_id), None)
        self._repo = repo
        self._pinned = repo.store.readonly
        self.holders = 0
        self.kept = True

    def pin(self) -> None:
        """Keep the snapshot from being collected until the view is closed. Raises CollectedError. The store's lock is
        held."""
        if not self._pinned:
            ca_id = self.overlay.base
            self.overlay.bind(self._repo, Binding(None, 0, ca_id), pin_snapshot(self._repo.store, ca_id, "fsspec"))
            self._pinned = True


class OpenStore:
    """An open store. Made by `open_store`; thread-safe."""

    def __init__(self, path: str, actor: str) -> None:
        self.repo = Repo.open(path, actor=actor)
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._views: OrderedDict[tuple[bytes, int], View] = OrderedDict()
        self.sessions: weakref.WeakValueDictionary[str, object] = weakref.WeakValueDictionary()
        """For `sessions.session_scope`."""
        self.sessions_lock = threading.Lock()
        # no bound method: it would keep the object alive
        self.close = weakref.finalize(self, _close, self.repo, self._views, self.pid)

    def locate(self, path: str) -> Location:
        """What a path means now."""
        with self.repo.store.read() as txn:
            return locate(txn, path)

    def hold(self, location: Location) -> View:
        """The view of a location's snapshot, to be given back with `give_back`."""
        key = (location.ca_id, location.time_ns)
        with self._lock:
            view = self._views.get(key)
            if view is None:
                view = self._views[key] = View(self.repo, location)
            self._views.move_to_end(key)
            view.holders += 1
            gone = []
            while len(self._views) > VIEWS:
                old = self._views.popitem(last=False)[1]
                old.kept = False
                if not old.holders:
                    gone.append(old)
        for old in gone:
            old.overlay.close()
        return view

    def pin(self, view: View) -> None:
        """It will be read at length: keep the snapshot from being collected. Raises CollectedError."""
        with self._lock:
            view.pin()

    def give_back(self, view: View) -> None:
        """Done with it."""
        with self._lock:
            view.holders -= 1
            close = not view.holders and not view.kept
        if close:
            view.overlay.close()

    @contextmanager
    def reading(self, location: Location) -> Iterator[RepoOverlay]:
        """The tree of a location's snapshot, for reading in short."""
        view = self.hold(location)
        try:
            yield view.overlay
        finally:
            self.give_back(view)


def _close(repo: Repo, views: OrderedDict[tuple[bytes, int], View], pid: int) -> None:
    if pid != os.getpid():
        return  # they are the parent's
    for view in views.values():
        view.overlay.close()
    views.clear()
    repo.close()


_lock = threading.Lock()
_stores: weakref.WeakValueDictionary[tuple[str, str], OpenStore] = weakref.WeakValueDictionary()


def open_store(path: str, actor: str) -> OpenStore:
    """The open store in the directory `path`. Raises what `Repo.open` does."""
    with _lock:
        found = _stores.get((path, actor))
        if found is None or not found.close.alive:
            found = _stores[path, actor] = OpenStore(path, actor)
        return found


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _stores.clear()


os.register_at_fork(after_in_child=_after_fork)
