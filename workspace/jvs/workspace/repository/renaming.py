"""`jvs worktree rename`: the directory, the record, the label and the label of its autosaves get another name.

The directory is renamed first, as it alone can refuse (something is mounted on it, say), and gets its old name back if
nothing comes of it. Then one transaction renames the labels and records the act; what is left is finished by the next
command (`resume`) if the process is killed. The directory keeps its inode, so a shell standing in it goes on working.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from jvs.castore import binding as bindings
from jvs.castore.backend import WriteTxn
from jvs.castore.binding import replace_file
from jvs.castore.checkout import disk
from jvs.castore.local.descriptors import sync_directory
from jvs.errors import JvsError, StateError
from jvs.labels.names import AUTOSAVE
from jvs.workspace import directories
from jvs.workspace.repository import intents, position
from jvs.workspace.repository.creating import WorktreeInfo, info, remove_directory
from jvs.workspace.repository.intents import Intent
from jvs.workspace.repository.layout import MAIN, check_worktree_name, label_for
from jvs.workspace.repository.worktrees import CONFIG

if TYPE_CHECKING:
    from jvs.workspace.repository.repository import Repository

OPERATION: Final = "worktree.rename"
_NONCE_MODE: Final = 0o600


def rename(repository: Repository, old: str, new: str, *, reason: str = "", wait: float | None = None) -> WorktreeInfo:
    """Give a worktree another name. Raises UnknownError (unknown-worktree), UsageError (bad-name), StateError
    (already-exists; main is always called so), LeaseError, LockedError."""
    registry, repo = repository.registry, repository.repo
    worktree = registry.get(old)
    check_worktree_name(new)
    if old == MAIN:
        raise StateError(f"{MAIN} cannot be renamed", code="worktree-in-use", next="jvs worktree fork NAME")
    seconds = repository.settings.wait if wait is None else wait
    repository.directory(old)
    with registry.lock(seconds), registry.worktree_lock(old, seconds):
        if registry.has(new) or os.path.lexists(repository.layout.path(new)):
            raise StateError(f"{new} already exists", next="jvs worktree list")
        place = repository.place(old)
        binding = position.settled(repo, place)
        label = position.label_of(place, binding)
        if binding is not None:
            position.save(repo, place, binding)  # what it stands for may not be seen any more under the new name
        # a worktree that was made to follow another label stays with that
        renamed = label_for(new) if label == worktree.label else label
        with intents.begun(repository.layout, OPERATION, old, to=new, label=label, renamed=renamed) as intent:
            try:
                _move(repository.layout.path(old), repository.layout.path(new))
                repo.store.transact(lambda txn: _commit(repository, txn, intent, reason))
            except BaseException:
                if not intents.was_done(repo, intent):  # else it was interrupted just after, and is to be finished
                    _move(repository.layout.path(new), repository.layout.path(old))
                    intents.forget(repository.layout, intent)
                raise
            _finish(repository, intent)
    return info(repository, new)


def resume(repository: Repository, intent: Intent) -> str | None:
    """Finish a rename whose process was killed; a sentence for people, None when it had not come that far, and was
    taken back."""
    layout, registry = repository.layout, repository.registry
    with registry.lock(repository.settings.wait):
        if not intents.was_done(repository.repo, intent):
            if not registry.has(intent.fields["to"]):  # else there is another one of that name
                _move(layout.path(intent.fields["to"]), layout.path(intent.worktree))
            return None
        _finish(repository, intent)
    return f"the rename of {intent.worktree} to {intent.fields['to']}, which was interrupted, was finished"


def _commit(repository: Repository, txn: WriteTxn, intent: Intent, reason: str) -> None:
    labels, old, new = repository.repo.labels, intent.fields["label"], intent.fields["renamed"]
    if old != new and labels.get_in(txn, old) is not None:
        labels.rename_in(txn, old, new, message=reason, meta={"worktree": intent.worktree})
        saved, wanted = f"{AUTOSAVE}/{old}", f"{AUTOSAVE}/{new}"
        if labels.get_in(txn, saved) is not None and labels.get_in(txn, wanted) is None:
            labels.rename_in(txn, saved, wanted, message=reason, autosaves=True)
    details = {"to": intent.fields["to"], "label": new, **intent.mark}
    labels.record_act_in(txn, OPERATION, intent.worktree, reason=reason, details=details)


def _move(before: str, after: str) -> None:
    """Give a directory its name, unless it has it. Raises StoreError."""
    if os.path.isdir(before) and not os.path.lexists(after):
        with disk.reporting("cannot rename", os.fsencode(before)):
            os.rename(before, after)
            sync_directory(os.path.dirname(after))


def _finish(repository: Repository, intent: Intent) -> None:
    """What comes after the transaction. May be done again, from wherever it was left."""
    layout, registry = repository.layout, repository.registry
    old, new, label = intent.worktree, intent.fields["to"], intent.fields["renamed"]
    before, after = layout.path(old), layout.path(new)
    _move(before, after)
    _take_index_along(repository, before, after)
    if registry.has(old):
        os.makedirs(layout.record(new), exist_ok=True)
        place = repository.place(new)
        binding = position.load(repository.place(old))
        if binding is not None:
            position.save(repository.repo, place, replace(binding, label=label))
        nonce = layout.session_nonce(old)
        if nonce is not None:
            replace_file(layout.session(new), nonce.encode() + b"\n", mode=_NONCE_MODE)
        registry.put(registry.get(old)._replace(name=new, label=label))
        os.unlink(os.path.join(layout.record(old), CONFIG))
    remove_directory(layout.record(old))
    position.leave(repository.repo, repository.place(old))


def _take_index_along(repository: Repository, before: str, after: str) -> None:
    """The stat index of a directory is known by its path: without this the next snapshot would read everything."""
    with suppress(OSError, JvsError):
        known = os.stat(after)
        names = [
            directories.index_file(repository.repo, bindings.key_at(os.fsencode(path), known))
            for path in (before, after)
        ]
        os.rename(*names)
