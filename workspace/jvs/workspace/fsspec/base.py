"""What every call of `jvs://` stands on: the store, what goes together, and the tree that a path is in."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, TypeVar

from jvs.castore.names import display, shorten, to_bytes
from jvs.errors import CollectedError, LabelMovedError, StoreError
from jvs.overlay.overlay import Overlay
from jvs.workspace.fsspec.environment import store_meant, who
from jvs.workspace.fsspec.failures import as_os_errors, read_only, with_addresses
from jvs.workspace.fsspec.library import AbstractFileSystem, apply_config, stringify_path
from jvs.workspace.fsspec.locations import Location
from jvs.workspace.fsspec.sessions import SessionScope, session_scope
from jvs.workspace.fsspec.stores import OpenStore, open_store
from jvs.workspace.fsspec.transaction import JvsTransaction
from jvs.workspace.fsspec.work import Scope, change
from jvs.workspace.overlays import RETRIES, RepoOverlay
from jvs.workspace.reading import unless_collected

T = TypeVar("T")


class _Resolved(type(AbstractFileSystem)):  # type: ignore[misc]  # fsspec has no types
    """Says which store is meant before fsspec looks for an instance: two directories may mean two stores, and whoever
    unpickles an instance elsewhere means the same one."""

    def __call__(cls, store: str | None = None, session: str | None = None, **options: Any) -> Any:
        options = apply_config(cls, {**options, **_given(store=store, session=session)})
        options["store"] = store_meant(options.get("store"))
        return super().__call__(**options)


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


class Base(AbstractFileSystem, metaclass=_Resolved):  # type: ignore[misc]  # fsspec has no types
    """A store, as `JvsFileSystem` has it."""

    protocol = "jvs"
    root_marker = ""
    transaction_type = JvsTransaction
    _transaction: JvsTransaction | None

    def __init__(self, store: str, session: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.store = store
        self.session = session
        self._opened: OpenStore | None = None
        self._session: SessionScope | None = None
        self._of_thread = threading.local()
        with as_os_errors(store):
            self._store()
            self._session_scope()

    # -- the store -------------------------------------------------------------------------------------------------

    def _store(self) -> OpenStore:
        opened = self._opened
        if opened is None or opened.pid != os.getpid():
            opened = self._opened = open_store(self.store, who())
        return opened

    def close(self) -> None:
        """Let go of the store, and of the session; whatever is used next opens them again."""
        session, self._session, self._opened = self._session, None, None
        if session is not None:
            session.release()

    def _session_scope(self) -> SessionScope | None:
        if self.session is None:
            return None
        found = self._session
        if found is None or found.pid != os.getpid():
            found = self._session = session_scope(self._store(), self.session)
        return found

    @property
    def fsid(self) -> str:
        """The same for every file system of the same store."""
        return f"jvs_{self._store().repo.store.uuid}"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """`jvs://main//a/` as `main/a`."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text: str = stringify_path(path)
        for mark in ("jvs://", "jvs::"):
            text = text.removeprefix(mark)
        return "/".join(part for part in text.split("/") if part)

    # -- what goes together ----------------------------------------------------------------------------------------

    def _scope(self) -> Scope | None:
        """What the call goes together with: others of this thread, the transaction, the session."""
        scope: Scope | None = getattr(self._of_thread, "scope", None)
        if scope is None and self._transaction is not None:
            scope = self._transaction.scope
        return scope or self._session_scope()

    @contextmanager
    def _together(self, message: str = "") -> Iterator[Scope]:
        """All that this thread reads in it, it reads of the same snapshots."""
        scope = self._scope()
        if scope is not None:
            yield scope
            return
        with closing(Scope(self._store(), message)) as scope:
            self._of_thread.scope = scope
            try:
                yield scope
            finally:
                self._of_thread.scope = None

    def _at_once(self, message: str, work: Callable[[], T], *, again: bool = True) -> T:
        """A call that is many: one push of all of them. again: when the label has moved, do them again; else put what
        they wrote on its head."""
        if self._scope() is not None:
            return work()
        for _ in range(RETRIES):
            with self._together(_note(message)) as scope:
                result = work()
                done = scope.push(merge=False)
                if done is None or done.status != "rejected":
                    return result
                if not again:
                    scope.land(done.ca_id)
                    return result
        raise LabelMovedError(f"the label has moved {RETRIES} times during one call")

    def new_transaction(self, message: str) -> Scope:
        """For `JvsTransaction`."""
        if self.session is not None:
            raise StoreError(
                f"the session {self.session} is written as it is, and pushed as a whole: it has no transactions",
                code="usage",
                next=f"jvs fs push --session {self.session}",
            )
        return Scope(self._store(), message)

    def transaction_ended(self) -> None:
        """For `JvsTransaction`."""
        self._intrans = False
        self._transaction = None

    def start_transaction(self) -> Any:
        """As `transaction`, without `with`; `end_transaction` pushes."""
        transaction = self.transaction
        transaction.start()
        return transaction

    def end_transaction(self) -> None:
        """Push what was written since `start_transaction`."""
        self.transaction.complete()

    # -- one path --------------------------------------------------------------------------------------------------

    @contextmanager
    def _tree(self, path: str) -> Iterator[tuple[RepoOverlay, Location]]:
        """The tree that `path` is in, to be read, and what the path means."""
        opened = self._store()
        scope = self._scope()
        location = opened.locate(path) if scope is None else scope.locate(path)
        written = None if scope is None else scope.written(location)
        if written is not None:
            yield written, location
            return
        with unless_collected(opened.repo, location.ca_id), opened.reading(location) as overlay:
            yield overlay, location

    def _look(self, path: str, work: Callable[[Overlay, Location], T]) -> T:
        """What `work` finds out about a path."""
        path = self._strip_protocol(path)
        with as_os_errors(path):
            try:
                return self._look_once(path, work)
            except CollectedError:  # the label has moved since, perhaps
                return self._look_once(path, work)

    def _look_once(self, path: str, work: Callable[[Overlay, Location], T]) -> T:
        with self._tree(path) as (overlay, location), with_addresses(location):
            return work(overlay, location)

    def _writable(self, path: str) -> Location:
        scope = self._scope()
        location = self._store().locate(path) if scope is None else scope.locate(path)
        if location.label is None and (scope is None or scope.written(location) is None):
            raise read_only(path, f"{location.prefix} is fixed; only labels are written to")
        return location

    def _change(self, path: str, message: str, work: Callable[[RepoOverlay, str], T]) -> T:
        """Do `work` where `path` is, and push it."""
        path = self._strip_protocol(path)
        with as_os_errors(path):
            location = self._writable(path)
            scope = self._scope()
            with with_addresses(location):
                if scope is not None:
                    return work(scope.writing(location), location.inner or "/")
                do = partial(_done_to, work, location.inner or "/")
                return change(self._store(), location, do, _note(f"{message} {location.inner}"))


def _done_to(work: Callable[[RepoOverlay, str], T], inner: str, overlay: RepoOverlay) -> T:
    return work(overlay, inner)


def _note(message: str) -> str:
    """A message of a push."""
    return shorten(display(to_bytes(message)))
