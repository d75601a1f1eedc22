"""`jvs repo clone`: another repository with all of this one's history, while others go on working in this one.

What is copied is the journal up to one moment, and packs that hold all that it names; index and labels are made anew
from these, which reads and checks every one of them. Everything that is kept at that moment is pinned first, so that no
collection takes it before its pack was copied. What is not saved in a worktree stays behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import Kind, WriteTxn, object_name
from jvs.castore.binding import Binding, replace_file
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import lost
from jvs.castore.gc.pins import Pin
from jvs.castore.local.descriptors import sync_data, sync_directory
from jvs.castore.local.failures import os_error
from jvs.castore.local.pack import pack_of
from jvs.castore.local.rebuild import RebuildReport, make_index
from jvs.castore.objects import object_children
from jvs.errors import IntegrityError, JvsError, StateError, UnknownError
from jvs.labels.replay import replay
from jvs.labels.roots import roots
from jvs.workspace.engines.copying import copy_contents
from jvs.workspace.engines.tree import Advance
from jvs.workspace.repository import descriptors, position, settings
from jvs.workspace.repository.creating import remove_directory
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import MAIN, REPO_ID, Layout, Place
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.worktrees import Worktree
from jvs.workspace.results import Json
from jvs.workspace.sessions.places import Places
from jvs.workspace.sessions.upkeep import tidy

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress

OPERATION: Final = "clone"
_TRIES: Final = 20
_BATCH: Final = 1000


class Cloned(NamedTuple):
    """A repository that was cloned. root: of the new one; source: of the old one; worktrees: their names; bytes: of
    packs that were copied."""

    root: str
    repo_id: str
    source: str
    worktrees: tuple[str, ...]
    snapshots: int
    bytes: int

    def as_json(self) -> Json:
        """{repo_root, repo_id, source_repo_root, worktrees, total_snapshots, bytes}."""
        return {
            "repo_root": self.root,
            "repo_id": self.repo_id,
            "source_repo_root": self.source,
            "worktrees": list(self.worktrees),
            "total_snapshots": self.snapshots,
            "bytes": self.bytes,
        }


def clone(repository: Repository, path: str, *, checkout: bool = True, progress: Progress | None = None) -> Cloned:
    """Make a repository in `path` (an empty or new directory) that has all labels, histories, tags, refs, pins,
    policies and worktrees of this one, and an id of its own.

    checkout: also make the directories of its worktrees what these stand at; else they are empty, and
    `jvs restore HEAD` fills them.

    Raises StateError (already-exists), UsageError (bad-path), NoSpaceError and the like, IntegrityError when something
    is missing in this one. Killed before the end it leaves nothing that is a repository, or one whose worktrees are
    still to be filled.
    """
    source = repository.repo
    copier = _Copier(repository, progress)
    root, there = os.path.realpath(path), os.path.lexists(path)
    try:
        made = init(path, settings=source.store.settings, fill=copier.fill, actor=source.actor)
    except BaseException:
        _take_back(Layout(root, False), there=there)
        raise
    with Repository.open(Layout(made.root, False), actor=source.actor) as new:
        _start_afresh(new, repository, copier)
        for one in repository.registry.all():
            # where it stands now may be newer than what was copied, never older
            stood = position.settled(source, repository.place(one.name)) if checkout else None
            _make_worktree(new, one, None if stood is None else _known(new, stood), progress)
        with suppress(OSError):
            descriptors.rebuild(new)
        count = sum(1 for _ in new.all_save_points())
        names = tuple(new.registry.names())
    return Cloned(made.root, made.repo_id, repository.root, names, count, copier.copied)


class _Copier:
    """Copies a store, while others work in it. copied: bytes of packs so far."""

    def __init__(self, repository: Repository, progress: Progress | None) -> None:
        self._store = repository.repo.store
        self._control = repository.layout.control
        self._progress = progress
        self.copied = 0
        self.report: RebuildReport | None = None

    def fill(self, control: str) -> None:
        """Fill a store that is being made (see `make_marked`). Raises StoreError, IntegrityError, StateError."""
        with ExitStack() as stack:
            pin = None if self._store.readonly else stack.enter_context(Pin(self._store, OPERATION))
            journal = self._pinned_journal(pin)
            try:
                _write(os.path.join(control, "journal"), journal)
                self._copy_packs(os.path.join(control, "packs"))
                with suppress(FileNotFoundError), open(os.path.join(self._control, settings.FILE), "rb") as file:
                    replace_file(os.path.join(control, settings.FILE), file.read())
            except OSError as error:
                raise os_error(error, f"copying {self._store.path}") from error
        self.report = make_index(control, replay, object_children)
        # the base of a merge to come may have been collected before it became one: that is no loss
        lost_roots = self.report.lost_roots
        gone = len(lost_roots) - len(self._store.missing(Kind.PAGE, lost_roots)) + self.report.lost - len(lost_roots)
        with self._store.read() as txn:
            known = sum(1 for _ in lost(txn))
        if gone > known:
            raise IntegrityError(
                f"{gone:,} objects cannot be read in {self._store.path}", next="jvs doctor --repair (here), then again"
            )

    def _pinned_journal(self, pin: Pin | None) -> bytes:
        """The journal as of a moment whose every root is pinned (None: nobody collects there)."""
        held: set[Digest] = set()
        for _ in range(_TRIES):
            with self._store.read() as txn:
                length, tail = txn.journal_head().length, b"".join(txn.journal_tail())
                wanted = {root.ca_id for root in roots(txn, 0)}
            if pin is None or self._pin(pin, wanted - held):
                with open(os.path.join(self._store.path, "journal"), "rb") as file:
                    start = file.read(length - len(tail))
                if len(start) + len(tail) != length:
                    raise IntegrityError("the journal is shorter than the index says", code="journal-damaged")
                return start + tail
            held |= wanted
        raise StateError("collections took away again and again what was to be copied", code="gc-busy")

    def _pin(self, pin: Pin, wanted: Iterable[Digest]) -> bool:
        """Pin these snapshots; whether all of them were still there."""
        left, whole = iter(wanted), True
        while batch := list(islice(left, _BATCH)):

            def protect(txn: WriteTxn, batch: list[Digest] = batch) -> bool:
                there = [one for one in batch if txn.info(Kind.PAGE, one) is not None]
                for one in there:
                    txn.require(one)
                names = [object_name(Kind.PAGE, one) for one in there]
                pin.change(txn, names, ())  # type: ignore[arg-type]  # the store's own
                return len(there) == len(batch)

            whole = self._store.transact(protect) and whole
        return whole

    def _copy_packs(self, target: str) -> None:
        """Copy every pack. What one that vanished held is in another by then, so all are looked at once more."""
        sizes: dict[str, int] = {}
        total = sum(self._size(name) for name in self._names())
        for _ in range(_TRIES):
            vanished = False
            for name in self._names():
                try:
                    sizes[name] = self._copy(name, target, sizes.get(name, 0), total)
                except FileNotFoundError:
                    vanished = True
            if not vanished:
                sync_directory(target)
                return
        raise StateError("collections rewrote the packs again and again while they were copied", code="gc-busy")

    def _names(self) -> list[str]:
        return [name for name in os.listdir(self._store.packs_path) if pack_of(name) is not None]

    def _size(self, name: str) -> int:
        with suppress(FileNotFoundError):
            return os.stat(os.path.join(self._store.packs_path, name)).st_size
        return 0

    def _copy(self, name: str, target: str, known: int, total: int) -> int:
        """Copy a pack, unless that was done and it has not grown since; its size."""
        with open(os.path.join(self._store.packs_path, name), "rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            if known == info.st_size:
                return known
            with open(os.path.join(target, name), "wb", buffering=0) as copy:
                copy_contents(file.fileno(), copy.fileno(), info, self._advance(total))
                sync_data(copy.fileno())
            return info.st_size

    def _advance(self, total: int) -> Advance:
        def advance(size: int) -> None:
            self.copied += size
            if self._progress is not None:
                self._progress.update(self.copied, max(total, self.copied), 0)

        return advance


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        sync_data(file.fileno())


def _take_back(layout: Layout, *, there: bool) -> None:
    """Remove what was begun, if it did not become a repository. there: its directory was there before."""
    with suppress(OSError, JvsError):
        if os.path.isdir(layout.control) and not os.path.exists(os.path.join(layout.control, "format_version")):
            remove_directory(layout.control)
            for path in (layout.path(MAIN), layout.worktrees, *(() if there else (layout.root,))):
                os.rmdir(path)


def _start_afresh(new: Repository, old: Repository, copier: _Copier) -> None:
    """What belongs to the old repository alone ends in the new one: locks, sessions, where worktrees stand."""
    labels = new.repo.labels
    labels.leave([known.mark for known in labels.positions()])
    for lock in labels.locks():
        held = labels.steal_lock(lock.label, force=True, message="a lock of the repository that was cloned")
        labels.release_lock(lock.label, held.nonce)
    tidy(new.repo, Places(new.repo.store.path))
    details = {REPO_ID: new.repo_id, "source_id": old.repo_id}
    labels.record_act(OPERATION, new.root, reason=f"of {old.root}", details=details)


def _make_worktree(new: Repository, one: Worktree, stood: Binding | None, progress: Progress | None) -> None:
    """Register a worktree, and make its directory be what it stood at."""
    new.registry.put(one._replace(engine=new.registry.get(MAIN).engine))
    directory, place = new.layout.path(one.name), Place(new.layout, one.name)
    os.makedirs(directory, exist_ok=True)
    if stood is None or stood.ca_id is None:
        return
    new.repo.pull(stood.ca_id.hex(), directory, progress=progress)
    done = position.load(place)
    unapplied = {} if done is None else done.unapplied
    position.save(new.repo, place, replace(stood, pending=None, unapplied=unapplied))


def _known(new: Repository, stood: Binding) -> Binding | None:
    """Where a worktree of the new repository stands that stood there in the old one: at the newest of its label where
    the other was saved since, or was collected; None: nowhere."""
    content = None if stood.ca_id is None else new.repo.standing(stood.ca_id)
    with suppress(UnknownError):
        if stood.entry_id is not None:
            new.repo.labels.entry(stood.entry_id)
        if content is not None and new.repo.has_snapshot(content):
            return replace(stood, ca_id=content)
    head = None if stood.label is None else new.repo.labels.get(stood.label)
    return None if head is None else Binding(head.name, head.generation, head.ca_id, head.entry_id)
