"""Writing to labels: one call, several calls that go together, and what is done when the label moves meanwhile.

A call is done to an overlay of the label's head, which is then pushed; when the label has moved, it is done again to
the new head. What came from a stream is not written twice: the rejected push has stored it, and it is put on the new
head by reference. A transaction, and a file that was opened to be changed, was made from what it has read: that is
merged.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from jvs.castore.binding import Binding
from jvs.castore.digest import Digest
from jvs.castore.gc.pins import pin_snapshot
from jvs.errors import CollectedError, LabelMovedError, MissingObjectError, StoreError
from jvs.overlay.changes import Change
from jvs.overlay.resolve import fail
from jvs.workspace.fsspec.locations import Location
from jvs.workspace.fsspec.stores import OpenStore
from jvs.workspace.overlays import RETRIES, RepoOverlay
from jvs.workspace.results import PushResult

T = TypeVar("T")


class Closable(Protocol):
    """An open file of a scope."""

    def close(self) -> None:
        """Write out what it holds."""


def overlay_of(opened: OpenStore, location: Location, *, pin: bool = False) -> RepoOverlay:
    """An overlay of a label at what `location` says its head is. pin: keep that from being collected; without it, who
    meets CollectedError or MissingObjectError begins again."""
    repo = opened.repo
    origin = Binding(location.label, location.generation or 0, location.ca_id, location.entry_id)
    held = pin_snapshot(repo.store, location.ca_id, "fsspec") if pin else None
    try:
        overlay = RepoOverlay.create(repo.objects, location.ca_id, time_ns=location.time_ns)
    except BaseException:
        if held is not None:
            held.release()
        raise
    return overlay.bind(repo, origin, held)


def change(opened: OpenStore, location: Location, work: Callable[[RepoOverlay], T], message: str) -> T:
    """Do `work` to a label, and push it: as often as somebody else moves the label meanwhile. What it raises leaves
    the label alone."""
    for _ in range(RETRIES):
        try:
            with overlay_of(opened, location) as overlay:
                result = work(overlay)
                if overlay.push(message=message).push.status != "rejected":
                    return result
        except (CollectedError, MissingObjectError):
            if opened.locate(location.prefix).ca_id == location.ca_id:
                raise  # not because of being late
        location = opened.locate(location.prefix)
    raise LabelMovedError(
        f"{location.label} has moved {RETRIES} times while this was being written to it", label=location.label
    )


def land(
    opened: OpenStore, location: Location, snapshot: Digest, changes: Sequence[Change], message: str, *, new: bool
) -> None:
    """Make these changes, whose content `snapshot` has, on the label's head. new: raise FileExistsError when one of the
    files is there by now."""

    def put(overlay: RepoOverlay) -> None:
        for path, status, kind, _whole in changes:
            if status == "deleted":
                if overlay.lexists(path):
                    remove(overlay, path)
            elif kind == "directory":
                overlay.makedirs(path, exist_ok=True)
            else:
                if new and overlay.lexists(path):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(path))
                make_parents(overlay, path)
                overlay.graft(snapshot, path, path)

    change(opened, location, put, message)


def remove(overlay: RepoOverlay, path: str | bytes) -> None:
    """Remove whatever is there."""
    if overlay.is_dir(path) and not overlay.is_symlink(path):
        overlay.rmtree(path)
    else:
        overlay.unlink(path)


def make_parents(overlay: RepoOverlay, path: str | bytes) -> None:
    """The directories above a path, where they are missing. Raises NotADirectoryError."""
    above = os.path.dirname(path.rstrip(b"/" if isinstance(path, bytes) else "/"))  # type: ignore[arg-type]
    if above and not overlay.is_dir(above):
        try:
            overlay.makedirs(above, exist_ok=True)
        except FileExistsError as error:
            raise fail(errno.ENOTDIR, path) from error


class Scope:
    """Calls that go together: all of them see the labels as the first one found them, and what was written since.

    What is written goes to one label. Thread-safe; not to be used after a fork.
    """

    def __init__(self, opened: OpenStore, message: str = "") -> None:
        self.message = message
        self._opened = opened
        self.pid = os.getpid()
        self._lock = threading.RLock()
        self._seen: dict[str, Location] = {}
        self._overlay: RepoOverlay | None = None
        self._at: Location | None = None
        self._files: dict[int, Closable] = {}

    def check(self) -> None:
        """Raises StoreError in a forked child."""
        if self.pid != os.getpid():
            raise StoreError("this transaction was begun by the parent of this process", code="forked")

    def locate(self, path: str) -> Location:
        """What a path means for all that goes together."""
        self.check()
        location = self._opened.locate(path)
        with self._lock:
            return self._seen.setdefault(location.prefix, location)._replace(inner=location.inner)

    def written(self, location: Location) -> RepoOverlay | None:
        """The overlay that was written to, if it is of this label."""
        at = self._at
        return self._overlay if at is not None and location.label == at.label else None

    def writing(self, location: Location) -> RepoOverlay:
        """The overlay of a label, to be written to. Raises OSError (EXDEV) for a second label."""
        self.check()
        with self._lock:
            if self._overlay is None:
                self._overlay = overlay_of(self._opened, location, pin=True)
                self._at = location
            elif self._at is not None and location.label != self._at.label:
                raise OSError(
                    errno.EXDEV,
                    f"what goes together is written to one label, and this is {self._at.label}",
                    location.inner or "/",
                )
            return self._overlay

    def opened_file(self, file: Closable) -> None:
        """A file is open in the overlay."""
        with self._lock:
            self._files[id(file)] = file

    def closed_file(self, file: Closable) -> None:
        """It is no more."""
        with self._lock:
            self._files.pop(id(file), None)

    def push(self, *, merge: bool) -> PushResult | None:
        """Push what was written; None when nothing was. A rejected push is in the result, and what was written is
        there still. Files that are open are closed."""
        self.check()
        self._close_files()
        with self._lock:
            return None if self._overlay is None else self._overlay.push(message=self.message, merge=merge).push

    def land(self, snapshot: Digest) -> None:
        """After a push that was rejected: put all that was written on the label's head."""
        assert self._overlay is not None
        assert self._at is not None
        land(self._opened, self._at, snapshot, list(self._overlay.changes()), self.message, new=False)

    def close(self) -> None:
        """Forget what was not pushed; idempotent."""
        if self.pid != os.getpid():
            return
        try:
            self._close_files()
        finally:
            with self._lock:
                overlay, self._overlay, self._at = self._overlay, None, None
            if overlay is not None:
                overlay.close()

    def _close_files(self) -> None:
        while True:
            with self._lock:
                if not self._files:
                    return
                file = self._files.popitem()[1]
            file.close()
