"""Opening files to write: in what goes together with others, or in an overlay of their own, pushed at the end."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from jvs.castore.names import display, shorten, to_bytes
from jvs.overlay.handles import OverlayFile
from jvs.workspace.fsspec.failures import as_os_errors, with_addresses
from jvs.workspace.fsspec.files import UpdateFile, WriteFile
from jvs.workspace.fsspec.locations import Location
from jvs.workspace.fsspec.stores import OpenStore
from jvs.workspace.fsspec.work import Scope, land, make_parents, overlay_of
from jvs.workspace.overlays import RepoOverlay

if TYPE_CHECKING:
    from jvs.workspace.fsspec.base import Base

_FLAGS: Final = {
    "r": 0,
    "w": os.O_CREAT | os.O_TRUNC,
    "x": os.O_CREAT | os.O_EXCL,
    "a": os.O_CREAT | os.O_APPEND,
}


def open_to_write(
    fs: Base,
    opened: OpenStore,
    scope: Scope | None,
    location: Location,
    path: str,
    mode: str,
    buffer: int,
) -> WriteFile | UpdateFile:
    """Open a file of a label: `wb`, `xb`, `ab`, and with `+`, and `r+b`. scope: what it goes together with."""
    kind = mode.replace("b", "").replace("+", "")
    update = "+" in mode
    if kind not in _FLAGS or set(mode) - set("rwxab+"):
        raise ValueError(f"invalid mode: {mode!r}")
    inner = location.inner or "/"
    # pinned: what it builds on stays, however long it is open
    overlay = scope.writing(location) if scope is not None else overlay_of(opened, location, pin=True)
    try:
        if kind != "r":
            make_parents(overlay, inner)
        handle = overlay.open_handle(inner, _FLAGS[kind] | (os.O_RDWR if update else os.O_WRONLY))
        raw = OverlayFile(handle, path, mode)
        if kind == "a":
            raw.seek(0, os.SEEK_END)
        file = UpdateFile(raw, buffer) if update else WriteFile(raw, buffer)
        if scope is not None:
            scope.opened_file(file)
            file.settle(fs, path, _Together(scope))
        else:
            file.settle(fs, path, _Alone(opened, location, overlay, kind))
    except BaseException:
        if scope is None:
            overlay.close()
        raise
    return file


class _Together:
    """The end of a file that is pushed with others: nothing happens yet."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def done(self, file: Any) -> None:
        """See `files.End`."""
        self._scope.closed_file(file)

    dropped = done


class _Alone:
    """The end of a file in an overlay of its own."""

    def __init__(self, opened: OpenStore, location: Location, overlay: RepoOverlay, kind: str) -> None:
        self._opened = opened
        self._location = location
        self._overlay = overlay
        self._kind = kind
        self._pid = os.getpid()

    def done(self, _file: Any) -> None:
        """Push. A file that was made from what was there is merged with what is there by now; one that was written
        from its beginning takes its place."""
        if self._pid != os.getpid():
            return  # it is the parent's
        message = shorten(display(to_bytes(f"write {self._location.inner}")))
        with closing(self._overlay), as_os_errors(self._location.name(self._location.inner)):
            done = self._overlay.push(message=message, merge=self._kind in "ra").push
            if done.status == "rejected":
                if self._kind in "ra":
                    assert done.error is not None
                    raise done.error
                changes = list(self._overlay.changes())
                with with_addresses(self._location):
                    land(self._opened, self._location, done.ca_id, changes, message, new=self._kind == "x")

    def dropped(self, _file: Any) -> None:
        """Forget it."""
        if self._pid == os.getpid():
            self._overlay.close()
