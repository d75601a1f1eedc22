"""`jvs restore`: a worktree becomes what it was at a save point, and never at the price of unsaved work.

The directory itself is never replaced. Whatever in it is not saved is saved first, on `autosave/LABEL`. No label moves:
what changes is where the worktree stands, which is detached unless that is the newest save point of its label.

An autosave is brought back as what it was: unsaved work on top of the save point at which it was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.binding import Binding, Pending
from jvs.castore.checkout import CheckoutResult, Unsaved, checkout
from jvs.castore.digest import Digest
from jvs.castore.manifest import EMPTY_TREE
from jvs.errors import UnknownError, UnsavedChangesError
from jvs.workspace import directories, pull
from jvs.workspace.reading import pinned
from jvs.workspace.repository import intents, position, returning
from jvs.workspace.repository.differences import root_of
from jvs.workspace.repository.intents import Intent
from jvs.workspace.repository.savepoints import HEAD, SavePoint
from jvs.workspace.results import Json

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repository.repository import Repository

OPERATION: Final = "restore"
BEFORE: Final = "a restore of"
"""What the note of an autosave says it was made before."""
_MOST_PATHS: Final = 20
"""Of restored paths the audit names at most so many."""


class RestoreOptions(NamedTuple):
    """What `jvs restore` was asked to do.

    paths    names from the worktree down to what is restored; empty: all of it
    force    also replace what is in the way and cannot be saved: ignored files, FIFOs ...
    reason   for the audit
    wait     seconds to wait for another command; None: what is configured
    """

    paths: Sequence[tuple[bytes, ...]] = ()
    force: bool = False
    reason: str = ""
    dry_run: bool = False
    wait: float | None = None


class Restored(NamedTuple):
    """What a restore did.

    save_point  what was restored; None: an undo went back to where there was none
    detached    whether the worktree is detached now
    autosaved   the revision that has the unsaved work that was there, or None
    paths       what was restored, where that was not all
    unsaved     of a dry run: whether there is unsaved work that would be saved first
    """

    worktree: str
    save_point: SavePoint | None
    detached: bool
    autosaved: str | None
    done: CheckoutResult
    paths: tuple[tuple[bytes, ...], ...] = ()
    dry_run: bool = False
    unsaved: bool = False

    def as_json(self) -> Json:
        """{status, snapshot_id, detached, worktree_name, autosaved, written, removed, modes_changed, bytes_written,
        warnings}; status `restored`, or `would-restore`, which has `unsaved`, too."""
        told = {
            "status": "would-restore" if self.dry_run else "restored",
            "snapshot_id": None if self.save_point is None else self.save_point.save_point_id,
            "detached": self.detached,
            "worktree_name": self.worktree,
            "autosaved": self.autosaved,
            "written": self.done.written,
            "removed": self.done.removed,
            "modes_changed": self.done.chmodded,
            "bytes_written": self.done.size,
            "warnings": list(self.done.warnings),
        }
        return told | ({"unsaved": self.unsaved} if self.dry_run else {})


def restore(
    repository: Repository, name: str, target: str, options: RestoreOptions, progress: Progress | None = None
) -> Restored:
    """Make a worktree, or some paths of it, be what they were at a save point.

    target: see `SavePoints.find`; HEAD is the newest of the worktree's label.

    Raises UnknownError (unknown-snapshot, unknown-path), AmbiguousError, CollectedError, LeaseError when somebody else
    has the lock, LockedError, UnsavedChangesError for what is in the way and cannot be saved, and what a pull raises.
    """
    directory = repository.directory(name)
    directories.check_apart(repository.repo, directory)
    wait = repository.settings.wait if options.wait is None else options.wait
    with repository.registry.worktree_lock(name, wait, progress):
        binding = _settled(repository, name)
        one = find(repository, name, target)
        assert binding.label is not None
        repository.repo.labels.check_lock(binding.label)
        root = root_of(repository, one)
        if options.paths:
            from jvs.workspace.repository.grafting import restore_paths  # hardly ever asked for

            return restore_paths(repository, name, binding, one, root, options, progress)
        bound = _position_of(repository, binding.label, one, root)
        work = Work(repository, name, binding, options.force, progress)
        if options.dry_run:
            unsaved = work.would_save(root)
            return Restored(name, one, bound.detached, None, work.rehearse(root), dry_run=True, unsaved=unsaved)
        done, autosaved = work.journaled(root, bound, one, reason=options.reason)
        return Restored(name, one, bound.detached, autosaved, done)


def find(repository: Repository, name: str, target: str) -> SavePoint:
    """The save point that `target` means for a restore. Raises as `SavePoints.find`."""
    if target != HEAD:
        return repository.find(target, name)
    latest = repository.latest(name)
    if latest is None:
        detached = repository.standing(name).detached  # at a snapshot of another label: nothing can be saved
        step = "jvs undo (as it was), or: jvs worktree fork NAME" if detached else 'jvs snapshot "as it came"'
        raise UnknownError("there is no snapshot yet", code="unknown-snapshot", next=step)
    return latest


def resume(repository: Repository, intent: Intent) -> str | None:
    """Finish a restore whose process was killed; a sentence for people, None when there was nothing to be done. Raises
    JvsError when it cannot be finished now: the worktree then stays between the two, and nothing is saved from it."""
    name = intent.worktree
    with repository.registry.worktree_lock(name, 0):
        binding = _settled(repository, name)
        plan = returning.plan_of(intent.fields)
        if plan is None:
            return None
        if binding.pending is None:
            known = returning.remembered(repository.layout, name)
            finished = known is not None and known.intent == intent.id and returning.same(binding, plan.after)
            if finished and not intents.was_done(repository.repo, intent):
                _record(repository, intent, intent.fields)
            return None
        if binding.pending.target != plan.target:
            return None  # somebody has restored something else since
        work = Work(repository, name, binding, force=False, progress=None)
        with pinned(repository.repo, plan.target, what="restore"):
            # when it began to write it noted what the directory was, unsaved work included
            work.finish(plan._replace(before=binding.ca_id or EMPTY_TREE.digest), intent)
    return f"a restore of {name} that was interrupted was finished"


class Work:
    """Making the directory of one worktree something else. The caller holds its lock."""

    def __init__(
        self, repository: Repository, name: str, binding: Binding, force: bool, progress: Progress | None
    ) -> None:
        self._repository = repository
        self._repo = repository.repo
        self._name = name
        self._binding = binding
        self._force = force
        self._progress = progress
        self._directory = repository.directory(name)

    def journaled(
        self,
        target: Digest,
        after: Binding,
        one: SavePoint | None,
        *,
        reason: str = "",
        before: Digest | None = None,
        paths: Sequence[str] = (),
    ) -> tuple[CheckoutResult, str | None]:
        """Make it be `target` and stand at `after`, noted in intents and audit; what was done, and the revision of the
        autosave if one was made.

        before  what the directory is now, where that is in the store; None: what it stands at
        paths   what alone is restored, for the audit
        """
        repository = self._repository
        base = directories.base_of(self._repo, self._binding, None) if before is None else before
        named = None if one is None else one.save_point_id
        plan = returning.Plan(target, after, base or EMPTY_TREE.digest, self._binding, named)
        fields = plan.as_fields() | {"reason": reason, "paths": list(paths[:_MOST_PATHS])}
        if target == EMPTY_TREE.digest:
            from jvs.workspace.repository.grafting import store_empty  # hardly ever needed

            store_empty(self._repo)
        with (
            pinned(self._repo, target, what="restore", if_there=pull.old_trees(self._repo, self._directory)),
            intents.begun(repository.layout, OPERATION, self._name, **fields) as intent,
        ):
            try:
                return self.finish(plan, intent, base)
            except BaseException:
                standing = position.load(repository.place(self._name))
                if standing is None or standing.pending is None:
                    intents.forget(repository.layout, intent)  # as if nothing had been begun
                raise

    def finish(
        self, plan: returning.Plan, intent: Intent, base: Digest | None = None
    ) -> tuple[CheckoutResult, str | None]:
        """Do what is planned, or the rest of it. base: what the directory is known to be."""
        base = base or directories.base_of(self._repo, self._binding, None)
        done, saved = self._bring(plan.target, base)
        place = self._repository.place(self._name)
        autosaved = None
        if saved is not None:
            ca_id, autosaved = saved
            plan = plan._replace(before=ca_id)
        label = plan.after.label
        head = None if label is None else self._repo.labels.get(label)
        generation = 0 if head is None else head.generation
        returning.remember(self._repository.layout, self._name, plan, intent.id, generation)
        position.save(self._repo, place, replace(plan.after, unapplied=done.unapplied, pending=None))
        _record(self._repository, intent, intent.fields | {"autosaved": autosaved})
        return done, autosaved

    def rehearse(self, target: Digest, before: Digest | None = None) -> CheckoutResult:
        """What bringing it there would do. before: as for `journaled`."""
        base = before or directories.base_of(self._repo, self._binding, None)
        return self._checkout(target, base, Unsaved.DISCARD, dry_run=True)

    def would_save(self, target: Digest) -> bool:
        """Whether something in the directory would be saved before it is made `target`, or stands in the way."""
        try:
            self._checkout(target, directories.base_of(self._repo, self._binding, None), dry_run=True)
        except UnsavedChangesError:
            return True
        return False

    def _bring(self, target: Digest, base: Digest | None) -> tuple[CheckoutResult, tuple[Digest, str] | None]:
        """Make the directory be `target`; what was done, and what was saved first: as what snapshot and revision."""
        try:
            return self._checkout(target, base), None
        except UnsavedChangesError:
            base, first = self._save(base, rehash=False)
        saved = first
        try:
            return self._checkout(target, base), _saved(base, saved)
        except UnsavedChangesError:
            # what was written through a memory map may show in no time stamp: only reading every file finds it
            base, second = self._save(base, rehash=True)
            saved = second or first
        try:
            return self._checkout(target, base), _saved(base, saved)
        except UnsavedChangesError as error:
            if not self._force:
                error.next = "move these away (they are ignored, or nothing a snapshot can hold), or add --force"
                raise
        return self._checkout(target, base, Unsaved.DISCARD), _saved(base, saved)

    def _save(self, base: Digest | None, *, rehash: bool) -> tuple[Digest | None, str | None]:
        base, saved = pull.autosave(
            self._repo,
            self._directory,
            self._binding,
            base,
            None,
            rehash=rehash,
            before=BEFORE,
            progress=self._progress,
        )
        # a process that is killed from here on leaves a worktree of which this is known to be saved
        self._binding = replace(self._binding, pending=None)
        return base, saved

    def _checkout(
        self, target: Digest, base: Digest | None, policy: Unsaved = Unsaved.REFUSE, *, dry_run: bool = False
    ) -> CheckoutResult:
        repo, directory, binding = self._repo, self._directory, self._binding

        place = self._repository.place(self._name)

        def begin(pending: Pending) -> None:
            position.save(repo, place, replace(binding, ca_id=base, pending=pending))

        with directories.stat_index(repo, directory) as index:
            return checkout(
                repo.objects,
                target,
                directory,
                base=base,
                pending=pull.known_pending(repo, binding),
                policy=policy,
                unapplied=binding.unapplied,
                index=index,
                begin=begin,
                undone=lambda: position.save(repo, place, binding),
                progress=pull.reporter(repo, target, self._progress),
                dry_run=dry_run,
                store=repo.store.path,
            )


def _saved(ca_id: Digest | None, revision: str | None) -> tuple[Digest, str] | None:
    return None if ca_id is None or revision is None else (ca_id, revision)


def _settled(repository: Repository, name: str) -> Binding:
    """Where a worktree stands; of one that never was anything, its label."""
    place = repository.place(name)
    binding = position.settled(repository.repo, place)
    if binding is None:
        return Binding(position.label_of(place, None), 0, None)
    return binding if binding.label is not None else replace(binding, label=position.label_of(place, binding))


def _position_of(repository: Repository, label: str, one: SavePoint, root: Digest) -> Binding:
    """Where a worktree of `label` stands after the restore of a save point."""
    repo = repository.repo
    if not one.autosave:
        return position.at(repo, label, one.entry, root, {})
    if not one.entry.parents:  # it was made where nothing was saved yet
        if repo.labels.get(label) is None:
            return Binding(label, 0, None)
        return position.at(repo, label, one.entry, root, {})
    try:
        under = repo.labels.entry(one.entry.parents[0])
    except UnknownError:
        return position.at(repo, label, one.entry, root, {})
    if under.to is None:
        return position.at(repo, label, one.entry, root, {})
    return position.at(repo, label, under, under.to, {})


def _record(repository: Repository, intent: Intent, fields: Json) -> None:
    """Write the act into the journal. The lock of the label was asked for when it began."""
    details = {key: fields.get(key) for key in ("snapshot_id", "detached", "autosaved", "paths")}
    details = {key: value for key, value in details.items() if value not in (None, [])}
    repository.repo.labels.record_act(
        OPERATION, intent.worktree, reason=fields.get("reason", ""), details=details | intent.mark
    )
