"""Client: a repository for programs, with the calls that the library of the first JVS had, in Python's habits.

Each call is one use-case of `jvs.workspace.repository`, the same that the command of its name stands on. Nothing here
prints, prompts, or reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jvs.errors import NoStoreError, StateError, UnknownError, UsageError
from jvs.workspace.client_results import CleanupPlan, Restored, SavePoint, cleanup_plan, save_point
from jvs.workspace.repository.intents import any_there
from jvs.workspace.repository.layout import MAIN, Layout, find_layout
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.savepoints import HEAD, id_range
from jvs.workspace.watch import Tell, Watch, watch

if TYPE_CHECKING:
    import threading

    from jvs.workspace.repo import Repo
    from jvs.workspace.repository import savepoints


class Client:
    """An open repository. Use as a context manager, or `close` it.

    Safe for any number of threads, and beside any number of other processes, also for calls that change something: at
    one workspace they wait for one another. After a fork the child opens its own.

    `workspace` is the name of a worktree. `save`, `restore` and other calls that may take long have in common:

    progress  called from time to time with (bytes done, bytes in all or None, files or objects done), on the calling
              thread; whatever it raises stops the work and comes out of the call
    cancel    an event that, once it is set, stops the work
    deadline  when to stop, as `time.monotonic()` counts

    Work that was stopped raises JvsError (code interrupted), and nothing has changed: no save point was made, no file
    of the workspace was touched, or (a restore that was writing) each is as it was. What has been done when the event
    is set, stays done.

    All of them raise `jvs.errors.JvsError`, whose `code` says what happened and whose `next` what to do about it:
    UnknownError (unknown-worktree), StateError, LockedError when another one is at work for longer than `wait`
    seconds, LeaseError when the workspace's lock is somebody else's, StoreError, IntegrityError.
    """

    def __init__(self, repository: Repository, *, wait: float | None = None) -> None:
        """Made by `init`, `open` and `open_or_init`."""
        self._repository = repository
        self._wait = wait

    @classmethod
    def init(
        cls,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        engine: str | None = None,
        adopt: bool = False,
        store: str | os.PathLike[str] | None = None,
        actor: str | None = None,
        nonce: str | None = None,
        wait: float | None = None,
    ) -> Client:
        """Make a repository at `path`, an empty or new directory, and open it.

        name    what it is called in the record of its making (letters, digits, . _ -); None: as the directory
        engine  how workspaces are cloned; None: the best one that works there
        adopt   `path` is a directory with something in it, which becomes the main workspace where it is
        store   a directory for its store, elsewhere; None: in the repository
        actor, nonce, wait  see `open`

        Raises StateError (already-exists; engine-unusable), UsageError (bad-name; bad-path), UnknownError
        (unknown-engine), StoreError.
        """
        from jvs.workspace.repository.initialising import init

        who = _anybody() if actor is None else actor
        where = None if store is None else os.fspath(store)
        made = init(os.fspath(path), store=where, adopt=adopt, engine=engine, actor=who, name=name)
        return cls._opened(Layout(made.root, made.adopted), who, nonce, wait)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        actor: str | None = None,
        nonce: str | None = None,
        wait: float | None = None,
    ) -> Client:
        """Open the repository at or above `path`.

        actor  who does what is done through this object, for the history and the audit; None: `uidN@host`
        nonce  of the lock that the caller holds (`jvs lock acquire`)
        wait   seconds to wait for others; None: what is configured (`jvs config get wait`)

        Raises NoStoreError (no-repository), StoreError, IntegrityError.
        """
        layout = find_layout(None, os.fspath(path))
        return cls._opened(layout, _anybody() if actor is None else actor, nonce, wait)

    @classmethod
    def open_or_init(
        cls,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        engine: str | None = None,
        adopt: bool = False,
        store: str | os.PathLike[str] | None = None,
        actor: str | None = None,
        nonce: str | None = None,
        wait: float | None = None,
    ) -> Client:
        """Open the repository at or above `path`, or make one at `path` when there is none; several may try at once.
        For the operands see `init`, which alone looks at the first four."""
        try:
            return cls.open(path, actor=actor, nonce=nonce, wait=wait)
        except NoStoreError as error:
            if error.code != "no-repository":
                raise
        try:
            return cls.init(
                path, name=name, engine=engine, adopt=adopt, store=store, actor=actor, nonce=nonce, wait=wait
            )
        except StateError as refusal:
            try:
                return cls.open(path, actor=actor, nonce=nonce, wait=wait)  # another one was faster
            except NoStoreError:
                raise refusal from None

    @classmethod
    def _opened(cls, layout: Layout, actor: str, nonce: str | None, wait: float | None) -> Client:
        return cls(Repository.open(layout, actor=actor, nonce=nonce), wait=wait)

    def close(self) -> None:
        """Release the repository; idempotent."""
        self._repository.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def repo_root(self) -> Path:
        """Absolute path of the repository, without symbolic links."""
        return Path(self._repository.root)

    @property
    def repo_id(self) -> str:
        """Its name among all repositories; copies have the same."""
        return self._repository.repo_id

    @property
    def engine_type(self) -> str:
        """How workspaces are cloned: `juicefs-clone`, `reflink-copy`, `copy`, or another's."""
        return self._repository.engine

    @property
    def repo(self) -> Repo:
        """Its store, for all that is about labels: merges, sessions, tags, retention. It is closed with this object."""
        return self._repository.repo

    def workspace_path(self, workspace: str = MAIN) -> Path:
        """The directory of a workspace. Raises UnknownError (unknown-worktree)."""
        return Path(self._repository.path(workspace))

    # -- saving and restoring ----------------------------------------------------------------------------------------

    def save(
        self,
        message: str = "",
        *,
        workspace: str = MAIN,
        tags: Sequence[str] = (),
        progress: Tell | None = None,
        cancel: threading.Event | None = None,
        deadline: float | None = None,
    ) -> SavePoint:
        """Save what is in a workspace, also when nothing has changed. It is durable, and was read back, when this
        returns. FIFOs, sockets, devices and what `.jvsignore` says are left out.

        Raises StateError (detached), LabelMovedError when the workspace is behind its label, UsageError (bad-message;
        bad-tag), JvsError (unreadable; interrupted).
        """
        from jvs.workspace.repository.snapshot import SnapshotOptions, snapshot

        if isinstance(tags, str):  # would be a tag for each letter
            raise UsageError(f"tags is a list: [{tags!r}]", code="bad-tag")
        options = SnapshotOptions(message, tuple(tags), wait=self._wait)
        made = snapshot(self._settled(), workspace, options, watch(progress, cancel, deadline))
        return save_point(made.save_point)

    def restore(
        self,
        target: str,
        *,
        workspace: str = MAIN,
        force: bool = False,
        progress: Tell | None = None,
        cancel: threading.Event | None = None,
        deadline: float | None = None,
    ) -> Restored:
        """Make a workspace what it was at a save point. The directory itself is never replaced; whatever in it is not
        saved is saved first (`Restored.autosave`).

        target  the id of a save point, or the beginning of one, of 4 characters or more, that no other id has
        force   also replace what is in the way and cannot be saved: ignored files, FIFOs ...

        Raises UnknownError (unknown-snapshot), AmbiguousError with the `matches`, CollectedError, UnsavedChangesError
        for what is in the way and cannot be saved, IntegrityError with nothing touched, JvsError (interrupted).
        """
        found = self._find(target, workspace)
        return self._restore(found.save_point_id, workspace, force, watch(progress, cancel, deadline))

    def restore_latest(
        self,
        workspace: str = MAIN,
        *,
        force: bool = False,
        progress: Tell | None = None,
        cancel: threading.Event | None = None,
        deadline: float | None = None,
    ) -> Restored | None:
        """Make a workspace what it was when it was saved last, as `restore` does; it is then not detached. Without a
        save point there is nothing to do: None."""
        stop = watch(progress, cancel, deadline)
        return self._restore(HEAD, workspace, force, stop) if self.has_save_points(workspace) else None

    def _restore(self, target: str, workspace: str, force: bool, progress: Watch | None) -> Restored:
        from jvs.workspace.repository.restore import RestoreOptions, restore

        done = restore(self._settled(), workspace, target, RestoreOptions(force=force, wait=self._wait), progress)
        assert done.save_point is not None  # there is none after an undo alone
        return Restored(save_point(done.save_point), done.detached, done.autosaved)

    # -- looking -----------------------------------------------------------------------------------------------------

    def history(self, workspace: str = MAIN, limit: int = 0) -> list[SavePoint]:
        """The save points of a workspace, the newest first: at most `limit`, or (0 or less) all of them."""
        from jvs.workspace.repository.history import history

        shown = history(self._repository, workspace, limit=limit if limit > 0 else None)
        return [save_point(one.save_point) for one in shown]

    def latest_save_point(self, workspace: str = MAIN) -> SavePoint | None:
        """The newest save point of a workspace, wherever it stands; None when nothing was saved yet."""
        latest = self._repository.latest(workspace)
        return None if latest is None else save_point(latest)

    def has_save_points(self, workspace: str = MAIN) -> bool:
        """Whether anything was saved in a workspace yet."""
        return self._repository.latest(workspace) is not None

    # -- checking and cleaning up ------------------------------------------------------------------------------------

    def verify(
        self,
        save_point_id: str,
        *,
        progress: Tell | None = None,
        cancel: threading.Event | None = None,
        deadline: float | None = None,
    ) -> None:
        """Check a save point: the entry that describes it, and every byte of what it holds.

        Raises IntegrityError when it is not what was saved, UnknownError (unknown-snapshot), AmbiguousError,
        CollectedError when it was cleaned up, JvsError (interrupted).
        """
        from jvs.workspace.repository.verify import verify

        stop = watch(progress, cancel, deadline)
        found = verify(self._repository, self._find(save_point_id, MAIN), stop)
        if found.error is not None:
            raise found.error

    def preview_cleanup(
        self,
        *,
        min_age: timedelta = timedelta(days=1),
        progress: Tell | None = None,
        cancel: threading.Event | None = None,
        deadline: float | None = None,
    ) -> CleanupPlan:
        """Say which save points a cleanup would remove, and keep that as a plan; nothing goes. What no retention policy
        lets go stays, and what is younger than `min_age`.

        Raises StateError (clock-jump), IntegrityError when something cannot be read, JvsError (interrupted).
        """
        from jvs.workspace.repository import cleanup

        stop = watch(progress, cancel, deadline)
        return cleanup_plan(
            cleanup.plan(self._settled(), min_age_ms=min_age // timedelta(milliseconds=1), progress=stop)
        )

    def run_cleanup(
        self,
        plan_id: str,
        *,
        progress: Tell | None = None,
        cancel: threading.Event | None = None,
        deadline: float | None = None,
    ) -> None:
        """Remove what a plan listed, and give the space back; safe beside anything else. One that was stopped is gone
        on with by calling this again.

        Raises StateError (gc-plan-stale) with nothing removed, UnknownError (unknown-plan), IntegrityError, JvsError
        (interrupted).
        """
        from jvs.workspace.repository import cleanup

        cleanup.run(self._settled(), plan_id, watch(progress, cancel, deadline))

    # ----------------------------------------------------------------------------------------------------------------

    def _settled(self) -> Repository:
        """The repository, with what processes left half-done that were killed since it was opened seen to."""
        if any_there(self._repository.layout):
            from jvs.workspace.repository.recovery import recover  # hardly ever needed

            recover(self._repository)
        return self._repository

    def _find(self, target: str, workspace: str) -> savepoints.SavePoint:
        """The save point whose id is or begins with `target`; nothing else means one here: what a program passes on
        must not become a note or a label by accident."""
        found = self._repository.find(target, workspace) if id_range(target) is not None else None
        if found is None or not found.save_point_id.startswith(target.lower()):
            raise UnknownError(f"save point not found: no id begins with {target!r}", code="unknown-snapshot")
        return found


def _anybody() -> str:
    """Who does something, when nobody said; without looking at the environment or asking any directory service."""
    return f"uid{os.getuid()}@{os.uname().nodename}"
