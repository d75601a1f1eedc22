"""`jvs worktree remove`: a worktree goes, its work does not.

What is not saved is an obstacle; told to remove it nevertheless, it is saved on `autosave/LABEL` first. The label is
deleted as any label is: its snapshots keep their ids, and `jvs fs label --undelete` brings it back, for as long as
deleted labels are kept.

The directory is first moved out of sight and looked at once more there, where no program that knows its path writes
any more. Then one transaction deletes the label and records the act; after it the next command finishes what a killed
process has left, before it the directory comes back.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import WriteTxn
from jvs.castore.binding import Binding
from jvs.castore.checkout import disk
from jvs.castore.digest import Digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.local.descriptors import sync_directory
from jvs.castore.manifest import EMPTY_TREE
from jvs.castore.names import display, is_control_name, is_left_alone
from jvs.errors import StateError, UnsavedChangesError
from jvs.workspace import directories, pull
from jvs.workspace.compare import difference
from jvs.workspace.repository import intents, position
from jvs.workspace.repository.creating import TEMPORARY, remove_directory
from jvs.workspace.repository.intents import Intent
from jvs.workspace.repository.layout import MAIN
from jvs.workspace.results import Json

if TYPE_CHECKING:
    from jvs.workspace.repository.repository import Repository

OPERATION: Final = "worktree.remove"
_SHOWN: Final = 20


class Removed(NamedTuple):
    """A worktree that is gone. label: that was deleted, if there was one; autosaved: the revision that has what was not
    saved, or None."""

    name: str
    path: str
    label: str | None
    autosaved: str | None

    def as_json(self) -> Json:
        """{status: "removed", name, path, label, autosaved}."""
        return {"status": "removed", **self._asdict()}


def remove(
    repository: Repository,
    name: str,
    *,
    here: str,
    force: bool = False,
    reason: str = "",
    wait: float | None = None,
) -> Removed:
    """Remove a worktree. here: where the caller stands; force: also when something in it is not saved.

    Raises UnknownError (unknown-worktree), UsageError (bad-name), StateError (main; the caller stands in it; it has a
    store in it), UnsavedChangesError, LeaseError, LockedError, and what a push raises.
    """
    registry, layout, repo = repository.registry, repository.layout, repository.repo
    registry.get(name)
    if name == MAIN:
        raise StateError(f"{MAIN} cannot be removed", code="worktree-in-use", next="jvs worktree list")
    if layout.around(here) == name:
        raise StateError(
            f"you stand in the worktree {name}, which would be removed under your feet",
            code="worktree-in-use",
            next=f"cd {layout.root} && jvs worktree remove {name}",
        )
    seconds = repository.settings.wait if wait is None else wait
    path = layout.path(name)
    autosaved = None
    seen: Digest | None = None
    if os.path.isdir(path):
        with registry.worktree_lock(name, seconds):
            seen, autosaved = _saved(repository, name, force)
    with registry.lock(seconds):
        place = repository.place(name)
        label = position.label_of(place, position.settled(repo, place))
        repo.labels.check_lock(label)
        shared = any(_label_of(repository, other) == label for other in registry.names() if other != name)
        fields = {"label": None if shared else label}
        with intents.begun(layout, OPERATION, name, **fields) as intent:
            try:
                if seen is not None:
                    with registry.worktree_lock(name, seconds):
                        _hide(repository, name, intent, seen)
                deleted = repo.store.transact(lambda txn: _commit(repository, txn, intent, autosaved, reason))
            except BaseException:
                if not intents.was_done(repo, intent):  # else it was interrupted just after, and is to be finished
                    _show_again(repository, intent)
                    intents.forget(layout, intent)
                raise
            remove_directory(layout.record(name))
            remove_directory(_hidden(repository, intent))
    return Removed(name, path, deleted, autosaved)


def resume(repository: Repository, intent: Intent) -> str | None:
    """Finish a removal whose process was killed, or bring the directory back; a sentence for people."""
    with repository.registry.lock(repository.settings.wait):
        if not intents.was_done(repository.repo, intent):
            _show_again(repository, intent)
            return None
        if not os.path.lexists(repository.layout.path(intent.worktree)):  # else there is another one of that name
            remove_directory(repository.layout.record(intent.worktree))
    remove_directory(_hidden(repository, intent))
    return f"the removal of {intent.worktree}, which was interrupted, was finished"


def _saved(repository: Repository, name: str, force: bool) -> tuple[Digest, str | None]:
    """What the directory is, all of which is in the store, and the revision of the autosave that was made for that.
    Raises UnsavedChangesError when there is something to be saved, and nobody has asked for it."""
    repo, path = repository.repo, repository.layout.path(name)
    binding = position.settled(repo, repository.place(name))
    base = directories.base_of(repo, binding, None)
    merging = _look_through(path)
    if not force:
        hasher = TreeHasher(repo.objects)
        found = directories.look(repo, path, hasher)
        if found == (base or EMPTY_TREE.digest) and not merging and (binding is None or binding.pending is None):
            return found, None
        changes = difference(hasher.page, base, found, renames=False)
        paths = [display(one.path) for one in (*changes.added, *changes.removed, *changes.modified)] + merging
        raise UnsavedChangesError(
            f"there are unsaved changes in the worktree {name}; nothing was removed",
            next=f"jvs snapshot -w {name}, or: jvs worktree remove {name} --force (saves them on autosave/{name})",
            paths=paths[:_SHOWN],
            count=len(paths),
        )
    bound = binding or Binding(position.label_of(repository.place(name), None), 0, None)
    ca_id, autosaved = pull.autosave(repo, path, bound, base, None, rehash=True, before="the removal of")
    return ca_id or EMPTY_TREE.digest, autosaved


def _look_through(path: str) -> list[str]:
    """Conflicted merges in a directory. Raises StateError for a store in it: whose work that is nobody can say here."""
    merging: list[str] = []
    for above, folders, files in os.walk(os.fsencode(path)):
        for name in filter(is_left_alone, (*folders, *files)):
            shown = display(os.path.relpath(os.path.join(above, name), os.fsencode(path)))
            if is_control_name(name):
                raise StateError(
                    f"there is a store in the worktree, which would be lost: {shown}",
                    code="unsaved-changes",
                    next=f"mv {os.path.join(path, shown)} ELSEWHERE",
                )
            merging.append(shown)
    return merging


def _hide(repository: Repository, name: str, intent: Intent, seen: Digest) -> None:
    """Move the directory out of sight. Raises UnsavedChangesError when it is not any more what was seen, or something
    in it cannot be read, JvsError (unreadable)."""
    path, hidden = repository.layout.path(name), _hidden(repository, intent)
    with disk.reporting("cannot move", os.fsencode(path)):
        os.rename(path, hidden)
    repo = repository.repo
    binding = position.load(repository.place(name))
    binding = None if binding is None else replace(binding, pending=None)
    with directories.stat_index(repo, hidden, path) as index:
        found = directories.scan(
            repo,
            hidden,
            TreeHasher(repo.objects),
            binding=binding,
            base=directories.base_of(repo, binding, None),
            index=index,
        )
        if found.new_index is not None:
            found.new_index.close()
    if found.kept:  # what a push takes from the snapshot instead, as nobody knows what it is now
        shown = [display(one.path) for one in found.kept]
        raise UnsavedChangesError(
            f"{shown[0]} in the worktree {name} cannot be read, so it may not be saved; nothing was removed",
            next=f"make {shown[0]} readable, or remove it",
            paths=shown[:_SHOWN],
            count=len(shown),
        )
    if found.tree.digest != seen:
        raise UnsavedChangesError(
            f"somebody writes in the worktree {name}; nothing was removed",
            next="run the same command again when nobody does",
            paths=[],
            count=0,
        )
    sync_directory(repository.layout.worktrees)


def _show_again(repository: Repository, intent: Intent) -> None:
    hidden, path = _hidden(repository, intent), repository.layout.path(intent.worktree)
    if os.path.isdir(hidden) and not os.path.lexists(path):
        with disk.reporting("cannot bring back", os.fsencode(path)):
            os.rename(hidden, path)


def _commit(repository: Repository, txn: WriteTxn, intent: Intent, autosaved: str | None, reason: str) -> str | None:
    labels, label = repository.repo.labels, intent.fields["label"]
    deleted = None
    if label is not None and labels.get_in(txn, label) is not None:
        labels.delete_in(txn, label, message=reason or f"the worktree {intent.worktree} was removed")
        deleted = label
    labels.leave_in(txn, [position.mark_of(repository.place(intent.worktree))])
    details = {"label": deleted, "autosaved": autosaved, **intent.mark}
    details = {key: value for key, value in details.items() if value is not None}
    labels.record_act_in(txn, OPERATION, intent.worktree, reason=reason, details=details)
    return deleted


def _hidden(repository: Repository, intent: Intent) -> str:
    return os.path.join(repository.layout.worktrees, TEMPORARY + intent.id)


def _label_of(repository: Repository, name: str) -> str:
    place = repository.place(name)
    return position.label_of(place, position.load(place))
