"""`jvs worktree create` and `fork`: a directory of its own for a label of its own.

It is made under a temporary name, which nobody knows, then one transaction makes the label and records the act, then
the directory gets its name and the registry its record. A process that is killed before the transaction leaves what is
removed, one that is killed after it what is finished (`resume`), by the next command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import WriteTxn
from jvs.castore.binding import Binding, UnappliedMode
from jvs.castore.checkout import Unsaved, checkout, disk, make_directory
from jvs.castore.digest import Digest
from jvs.castore.names import is_left_alone
from jvs.errors import JvsError, StateError, UnknownError
from jvs.labels.moves import MoveRequest
from jvs.labels.store import wall_clock
from jvs.workspace import directories, pull
from jvs.workspace.engines import BUILT_IN, clone_tree, detect_engine, validate_engine
from jvs.workspace.reading import pinned
from jvs.workspace.repository import clones, intents, position
from jvs.workspace.repository.differences import root_of
from jvs.workspace.repository.intents import Intent
from jvs.workspace.repository.layout import Place, check_worktree_name, label_for
from jvs.workspace.repository.savepoints import ENGINE, SavePoint
from jvs.workspace.repository.worktrees import Worktree, new_worktree
from jvs.workspace.results import Json

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repository.repository import Repository

OPERATION: Final = "worktree.create"
TEMPORARY: Final = ".jvs-tmp-"
"""Beginning of the names of directories that are not, or no longer, worktrees."""


class WorktreeInfo(NamedTuple):
    """A worktree for people. path: its directory; head: where it stands; latest: the newest of its label."""

    worktree: Worktree
    path: str
    label: str
    head: SavePoint | None
    latest: SavePoint | None
    detached: bool

    def as_json(self) -> Json:
        """{name, base_snapshot_id, head_snapshot_id, latest_snapshot_id, created_at, path, label, engine, detached}."""
        return {
            "name": self.worktree.name,
            "base_snapshot_id": self.worktree.base_snapshot_id,
            "head_snapshot_id": None if self.head is None else self.head.save_point_id,
            "latest_snapshot_id": None if self.latest is None else self.latest.save_point_id,
            "created_at": self.worktree.created_at,
            "path": self.path,
            "label": self.label,
            "engine": self.worktree.engine,
            "detached": self.detached,
        }


def info(repository: Repository, name: str) -> WorktreeInfo:
    """The facts of a worktree. Raises UnknownError (unknown-worktree)."""
    worktree = repository.worktree(name)
    standing = repository.standing(name)
    binding, savepoints = standing.binding, repository.savepoints
    head = None if binding is None or binding.entry_id is None else savepoints.at(binding.entry_id)
    latest = savepoints.latest(standing.label)
    return WorktreeInfo(worktree, repository.path(name), standing.label, head, latest, standing.detached)


def infos(repository: Repository) -> list[WorktreeInfo]:
    """The facts of every worktree, main first."""
    found = []
    for name in repository.registry.names():
        with suppress(UnknownError):  # removed or renamed since it was listed
            found.append(info(repository, name))
    return found


class CreateOptions(NamedTuple):
    """How a worktree is made.

    engine   that must be used; None: what is configured, else the best that works there
    near     a worktree to be cloned rather than others
    reason   for the audit
    wait     seconds to wait for another command; None: what is configured
    """

    engine: str | None = None
    near: str | None = None
    reason: str = ""
    wait: float | None = None


def create(
    repository: Repository,
    name: str,
    one: SavePoint | None,
    options: CreateOptions | None = None,
    progress: Progress | None = None,
) -> WorktreeInfo:
    """Make the worktree `name` at a save point (None: at the newest of the label of that name, if there is such a label
    that no worktree has; else an empty one). Unsaved work of other worktrees is not in it.

    Raises UsageError (bad-name), StateError (already-exists; engine-unusable), UnknownError (unknown-engine),
    CollectedError, LockedError, and what a pull raises. Nothing is left of it then.
    """
    options = options or CreateOptions()
    label = _check_free(repository, name)
    latest = repository.savepoints.latest(label)
    if one is None:
        one = latest
    elif latest is not None and latest.entry.id != one.entry.id:
        raise StateError(
            f"there is a label {label} already, which is not at {one.short_id}",
            next=f"jvs worktree create {name} (at the newest of the label), or choose another name",
            label=label,
        )
    folder = repository.layout.worktrees
    os.makedirs(folder, exist_ok=True)
    forced = options.engine or repository.settings.engine
    if forced is not None:
        validate_engine(folder, forced)
    engine = forced or detect_engine(folder)
    root = None if one is None else root_of(repository, one)
    made = new_worktree(name, at_ms=wall_clock(), base=None if one is None else one.save_point_id, engine=engine)
    fields = {**made._asdict(), "root": None if root is None else root.hex()}
    with intents.begun(repository.layout, OPERATION, name, **fields) as intent:
        try:
            # before there is much to be written: each sync of a file waits for all that the journal of the disk holds
            repository.registry.prepare(made, intent.id)
            temp = _temporary(repository, intent)
            unapplied: Mapping[bytes, UnappliedMode] = {}
            if root is None:
                make_directory(temp)
            else:
                maker = _Maker(repository, temp, repository.layout.path(name), root, progress)
                with pinned(repository.repo, root, what="fork"):
                    used = maker.make(engine, options.near, forced=forced is not None)
                unapplied = maker.unapplied
                if used != engine:
                    made = made._replace(engine=used)
                    repository.registry.prepare(made, intent.id)
            with repository.registry.lock(repository.settings.wait if options.wait is None else options.wait):
                _check_free(repository, name)
                bound = _commit(repository, made, one, root, intent, options.reason)
                _finish(repository, made, intent, None if bound is None else replace(bound, unapplied=unapplied))
        except BaseException:
            with suppress(JvsError, OSError):
                resume(repository, intent)
                intents.forget(repository.layout, intent)
            raise
    return info(repository, name)


def resume(repository: Repository, intent: Intent) -> str | None:
    """Finish, or take back, what a process that was killed has begun; a sentence for people."""
    worktree = _worktree_of(intent)
    if worktree is None:
        return None
    if not intents.was_done(repository.repo, intent):
        remove_directory(_temporary(repository, intent))
        repository.registry.drop_prepared(worktree.name, intent.id)
        return None
    with repository.registry.lock(repository.settings.wait):
        if repository.registry.has(worktree.name):
            return None
        _finish(repository, worktree, intent, _created(repository, worktree))
    return f"the worktree {worktree.name}, whose making was interrupted, was finished"


def _check_free(repository: Repository, name: str) -> str:
    """The label that a worktree of that name will have. Raises UsageError (bad-name), StateError."""
    check_worktree_name(name)
    label = label_for(name)
    if repository.registry.has(name) or os.path.lexists(repository.layout.path(name)):
        raise StateError(
            f"a worktree {name} already exists"
            if repository.registry.has(name)
            else f"{repository.layout.path(name)} already exists, and is no worktree",
            next="jvs worktree list",
        )
    for other in repository.registry.names():
        if position.label_of(repository.place(other), position.load(repository.place(other))) == label:
            raise StateError(f"the label {label} already exists, and is that of the worktree {other}", label=label)
    return label


def _commit(
    repository: Repository, made: Worktree, one: SavePoint | None, root: Digest | None, intent: Intent, reason: str
) -> Binding | None:
    """The transaction that decides: the label, and the record of the act; where the worktree stands then."""
    repo = repository.repo
    details = {"label": made.label, "snapshot_id": made.base_snapshot_id, "engine": made.engine, **intent.mark}
    details = {key: value for key, value in details.items() if value is not None}

    def commit(txn: WriteTxn) -> Binding | None:
        bound = None
        head = repo.labels.get_in(txn, made.label)
        if head is not None and root is not None:
            bound = Binding(made.label, head.generation, root, head.entry_id)
        elif root is not None and one is not None:
            parents = repo.labels.kept_in(txn, (one.entry.id,))
            request = MoveRequest(made.label, root, None, "create", parents, meta={ENGINE: made.engine})
            entry = repo.labels.move_in(txn, request)
            bound = Binding(made.label, entry.generation, root, entry.id)
        repo.labels.record_act_in(txn, OPERATION, made.name, reason=reason, details=details)
        return bound

    return repo.store.transact(commit)


def _finish(repository: Repository, made: Worktree, intent: Intent, bound: Binding | None) -> None:
    """Let what was made be the worktree: its directory, its position, its record, in this order. May be done again.

    Nothing is synced, as nothing in the directory is: a power cut may leave the worktree standing nowhere, with half of
    its files, which `jvs restore HEAD` puts right; all of it is in the store.
    """
    path, temp = repository.layout.path(made.name), _temporary(repository, intent)
    if os.path.isdir(temp) and not os.path.lexists(path):
        os.rename(temp, path)
    if bound is not None:
        position.save(repository.repo, Place(repository.layout, made.name), bound, durable=False)
    repository.registry.put_prepared(made, intent.id)


def _created(repository: Repository, worktree: Worktree) -> Binding | None:
    """Where a worktree stands whose label was made, and nothing moved since."""
    with suppress(UnknownError):
        for entry in repository.repo.labels.log(worktree.label, newest_first=False):
            if entry.op == "create":
                return Binding(worktree.label, entry.generation, entry.to, entry.id)
    head = repository.repo.labels.get(worktree.label)
    return None if head is None else Binding(worktree.label, head.generation, head.ca_id, head.entry_id)


def _worktree_of(intent: Intent) -> Worktree | None:
    fields = intent.fields
    try:
        return Worktree(*(fields[field] for field in Worktree._fields))
    except KeyError:
        return None


def _temporary(repository: Repository, intent: Intent) -> str:
    return os.path.join(repository.layout.worktrees, TEMPORARY + intent.id)


def remove_directory(path: str) -> None:
    """Remove a directory and all that is in it, whatever its permission bits. Raises StoreError."""
    above, name = os.path.split(path)
    with disk.reporting("cannot remove", os.fsencode(path)):
        try:
            parent = disk.open_root(above)
        except FileNotFoundError:
            return
        try:
            disk.remove_tree(os.fsencode(name), parent)
        finally:
            os.close(parent)


class _Maker:
    """Makes a directory be a snapshot, by cloning a worktree that is it or nearly so, else from the store."""

    def __init__(self, repository: Repository, temp: str, path: str, root: Digest, progress: Progress | None) -> None:
        """path: what the directory `temp` will be called."""
        self._repository = repository
        self._repo = repository.repo
        self._temp = temp
        self._path = path
        self._root = root
        self._progress = progress
        self.unapplied: Mapping[bytes, UnappliedMode] = {}

    def make(self, engine: str, near: str | None, *, forced: bool) -> str:
        """Make it; the engine that was used in the end."""
        source = self._source(near)
        if source is None:
            self._checkout(None)
            return engine
        name, binding = source
        original = self._repository.layout.path(name)
        with directories.stat_index(self._repo, original) as known:
            engine = self._clone(original, engine, forced=forced)
            with (
                directories.stat_index(self._repo, self._temp, self._path) as index,
                disk.reporting("cannot look through the copy", os.fsencode(self._temp)),
            ):
                sure = clones.settle(self._repo.objects, self._root, original, known, self._temp, index)
        self.unapplied = binding.unapplied
        if not sure:
            self._checkout(self._root)
        return engine

    def _clone(self, original: str, engine: str, *, forced: bool) -> str:
        skip = [name for name in os.listdir(os.fsencode(original)) if is_left_alone(name)]
        try:
            clone_tree(original, self._temp, engine=engine, skip=skip, progress=self._progress)
        except StateError as error:
            if forced or error.code != "engine-unusable" or engine == BUILT_IN[-1]:
                raise
            remove_directory(self._temp)  # what works in the one directory need not in the other
            engine = BUILT_IN[-1]
            clone_tree(original, self._temp, engine=engine, skip=skip, progress=self._progress)
        return engine

    def _source(self, near: str | None) -> tuple[str, Binding] | None:
        """A worktree on disk that stands at the snapshot."""
        layout = self._repository.layout
        names = self._repository.registry.names()
        for name in sorted(names, key=lambda name: name != near):
            binding = position.load(Place(layout, name))
            if binding is None or binding.ca_id != self._root or binding.pending is not None:
                continue
            if os.path.isdir(layout.path(name)):
                return name, binding
        return None

    def _checkout(self, base: Digest | None) -> None:
        """Make it the snapshot, whatever is in it now."""
        make_directory(self._temp)
        with directories.stat_index(self._repo, self._temp, self._path) as index:
            done = checkout(
                self._repo.objects,
                self._root,
                self._temp,
                base=base,
                policy=Unsaved.DISCARD,
                unapplied=self.unapplied,
                index=index,
                progress=pull.reporter(self._repo, self._root, self._progress),
                store=self._repo.store.path,
            )
        self.unapplied = done.unapplied
