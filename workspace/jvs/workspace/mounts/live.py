"""A mount that threads of this process serve, from attaching it until it is gone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from jvs.castore.gc.pins import Pin, pin_snapshot
from jvs.castore.names import CONFLICTS_FILE
from jvs.errors import JvsError, StateError, UsageError
from jvs.labels.store import wall_clock
from jvs.overlay.basefile import BaseFiles
from jvs.overlay.fuse import mounting
from jvs.overlay.fuse.following import Following
from jvs.overlay.fuse.server import Server
from jvs.overlay.fuse.trees import OverlayView, SnapshotView
from jvs.overlay.fuse.views import View
from jvs.workspace.mounts.registry import Entry, MountInfo, MountRequest
from jvs.workspace.mounts.views import LabelsView, fixed_texts, session_texts
from jvs.workspace.overlays import origin_of
from jvs.workspace.sessions import Control, Session, resume_session

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

THREADS: Final = 4
_PATIENCE: Final = 5.0
"""Seconds in which the threads of a mount that was aborted must have ended."""
_READ_AHEAD_KB: Final = 1024
_REMOVING: Final = {"push": CONFLICTS_FILE, "clear": None}
"""What is asked of a session that removes files by itself: of what name, or None: any."""


class LiveMount:
    """A mount that this process serves, for others: this process must not use it. Wherever Python keeps its lock while
    the kernel waits for an answer (a page of a mapping, a child that is started in a directory of the mount), it would
    wait for itself; `starting.mount` serves in a process of its own.

    session  an open session to be mounted; closed with the mount. None: the one the request names is opened
    """

    def __init__(self, repo: Repo, request: MountRequest, session: Session | None = None) -> None:
        """Mount it; it answers when this returns. Raises JvsError."""
        if request.revision is not None and request.session is not None:
            raise UsageError("a mount shows a revision or a session, not both")
        mounting.check_possible()
        self.mountpoint = mounting.check_mountpoint(request.mountpoint)
        self._repo = repo
        self._session = session
        self._pin: Pin | None = None
        self._entry: Entry | None = None
        self._server: Server | None = None
        self._following: Following | None = None
        self._closed = False
        try:
            view, self.info = self._view(request)
            with suppress(OSError):  # a store that cannot be written can be read all the same
                self._entry = Entry(repo.store.path, self.info)
            self._attach(view)
            if self._session is not None:
                self._serve_session(self._session)
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        if self._server is not None:
            with suppress(JvsError):
                mounting.detach(self.mountpoint, lazy=True)
        self.close()

    def _view(self, request: MountRequest) -> tuple[View, MountInfo]:
        """What is to be shown, and what is said of it."""
        repo, store = self._repo, self._repo.store.path
        info = MountInfo(self.mountpoint, "all labels", None, None, None, None, True, os.getpid(), wall_clock())
        tree: OverlayView | SnapshotView
        if request.session is not None:
            if self._session is None:
                self._session = resume_session(repo, request.session)
            session, origin = self._session, self._session.origin
            base = session.base
            tree = OverlayView(session, session.directory)
            tree.control = session_texts(store, session)
            info = info._replace(what=session.name, session=session.name, readonly=request.readonly)
        elif request.revision is not None:
            origin, time_ns = origin_of(repo, request.revision)
            assert origin.ca_id is not None
            base = origin.ca_id
            if not repo.store.readonly:
                self._pin = pin_snapshot(repo.store, base, "mount")
            tree = SnapshotView(BaseFiles(repo.objects), repo.objects, base, time_ns, store)
            tree.control = fixed_texts(store, origin.label, origin.generation, base)
            info = info._replace(what=request.revision)
        else:
            return LabelsView(repo), info
        generation = None if origin.label is None else origin.generation
        return tree, info._replace(label=origin.label, generation=generation, ca_id=base.hex())

    def _attach(self, view: View) -> None:
        device = mounting.attach(self.mountpoint, os.path.realpath(self._repo.store.path), readonly=self.info.readonly)
        self._server = Server(device, view, fixed=self._session is None, complain=self._complain)
        self._server.start()
        self._server.serve(THREADS)
        _read_ahead(self.mountpoint)
        if isinstance(view, OverlayView):
            self._following = Following(self._server, view)

    def _serve_session(self, session: Session) -> None:
        session.announce(self.mountpoint)
        Control(session, before=self._before, after=self._after)

    def _before(self, verb: str) -> None:
        """Pages of shared mappings are on their way in the kernel until it is asked to write them."""
        if self._following is None:
            return
        mounting.write_back(self.mountpoint, self._following.open_files())
        if verb in _REMOVING:
            self._following.begin(_REMOVING[verb])

    def _after(self, verb: str) -> None:
        """What was done to the session beside the kernel, that is told."""
        if self._following is not None:
            self._following.tell()

    def _complain(self, text: str) -> None:
        if self._entry is not None:
            self._entry.complain(text)

    def wait(self) -> None:
        """Until it is unmounted, by whomever. A signal's handler may raise out of it."""
        if self._server is not None:
            self._server.wait()

    def close(self) -> None:
        """After it was unmounted: everything written is made durable, and the session is left to others. Idempotent."""
        self._closed = True
        if self._following is not None:
            self._following.close()
        try:
            session, self._session = self._session, None
            if session is not None:
                if session.control is not None:
                    session.control.close()
                if self._server is not None:
                    self._server.close()
                try:
                    session.sync()
                finally:
                    session.close()
            elif self._server is not None:
                self._server.close()
        finally:
            if self._pin is not None:
                self._pin.release()
                self._pin = None
            if self._entry is not None:
                self._entry.close()
                self._entry = None

    def __enter__(self) -> LiveMount:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def end(self) -> None:
        """Unmount, whoever uses it; what they have written is kept. Idempotent."""
        if self._closed:
            return
        if self._server is not None and self._server.serving:  # else something else may be mounted there by now
            mounted = mounting.find(self.mountpoint)
            try:
                mounting.detach(self.mountpoint)
            except StateError:
                mounting.detach(self.mountpoint, lazy=True)
                if mounted is not None:
                    mounting.abort(mounted.device)
                self._server.wait(_PATIENCE)
            else:
                self.wait()
        self.close()


def _read_ahead(mountpoint: str) -> None:
    """Have the kernel read ahead as far as a request reaches; root only."""
    mounted = mounting.find(mountpoint)
    if mounted is not None:
        with suppress(OSError), open(f"/sys/class/bdi/{mounted.device}/read_ahead_kb", "w") as file:
            file.write(str(_READ_AHEAD_KB))
