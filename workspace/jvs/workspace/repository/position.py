"""At which save point a worktree stands: {label, generation, detached}, which is its binding, kept in the registry.

It is *attached* when it stands at the newest save point of its label, or did when nobody else had moved that yet (the
worktree is then *behind*); *detached* when a restore put it at another one on purpose. Nothing here moves a label.

A save moves the label first and the position a moment later. Whoever finds the position behind an entry that bears
this worktree's mark knows that a process was killed between the two, and moves it on: under the lock of a worktree
nobody but itself makes such entries.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore import binding as bindings
from jvs.castore.binding import Binding, UnappliedMode
from jvs.castore.digest import Digest, entry_digest, keyed
from jvs.errors import UnknownError
from jvs.labels.model import Entry, decode_body, decode_skeleton, glance
from jvs.labels.tables import entries_between, entry_by_id, head_of
from jvs.workspace.repository.layout import Place
from jvs.workspace.repository.savepoints import NO_SAVE, standing_for

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

MARK: Final = "in"
"""Key of an entry's meta: the worktree that it was saved from."""
_mark = keyed("jvs 2026-11 worktree mark v1")


class Standing(NamedTuple):
    """Where a worktree stands.

    label     what its save points move
    binding   the position; None: nothing was ever saved or restored here
    behind    how many save points the label has that are newer
    """

    label: str
    binding: Binding | None
    behind: int

    @property
    def detached(self) -> bool:
        """Whether a restore put it at a save point that is not the newest."""
        return self.binding is not None and self.binding.detached


def load(place: Place) -> Binding | None:
    """The position as it was recorded last; `settled` is what it means."""
    return bindings.read(place.layout.binding(place.name))


def save(place: Place, binding: Binding) -> None:
    """Record the position of a worktree; durable. Raises OSError."""
    os.makedirs(place.layout.record(place.name), exist_ok=True)
    bindings.write(place.layout.binding(place.name), place.layout.path(place.name), binding, durable=True)


def label_of(place: Place, binding: Binding | None) -> str:
    """The label of a worktree: the one its position says, else the registry. Raises UnknownError, IntegrityError."""
    if binding is not None and binding.label is not None:
        return binding.label
    from jvs.workspace.repository.worktrees import Registry  # known already in all but new worktrees

    return Registry(place.layout).get(place.name).label


def mark_of(place: Place) -> str:
    """What entries bear that were saved from this very directory; a copy of the repository has another mark."""
    return _mark(b"%s\0%s" % (place.layout.repo_id.encode(), os.fsencode(place.layout.path(place.name)))).hex()[:16]


def settled(repo: Repo, place: Place) -> Binding | None:
    """The position of a worktree, moved on past what is no move of anybody's: a save of its own whose end was cut off,
    a rename of the label, entries of the collector. The caller holds the worktree's lock, or only looks."""
    binding = load(place)
    if binding is not None and binding.detached:
        return binding
    if binding is not None:
        binding = _follow_rename(repo, binding)
    label = label_of(place, binding)
    with repo.store.read() as txn:
        head = head_of(txn, label)
        if head is None or (binding is not None and head.generation == binding.generation):
            return binding
        mark = mark_of(place)
        others = 0
        first = 0 if binding is None else binding.generation + 1
        for generation, skeleton, body in entries_between(txn, head.uid, first, head.generation):
            if glance(skeleton).op in NO_SAVE:
                continue
            others += 1
            if body is not None and mark.encode() in body and decode_body(body).meta.get(MARK) == mark:
                made = decode_skeleton(skeleton)
                unapplied = {} if binding is None else binding.unapplied
                binding = Binding(label, generation, made.to, entry_digest(skeleton), unapplied=unapplied)
                others = 0
    if binding is not None and not others:
        return replace(binding, generation=head.generation)
    return binding


def standing(repo: Repo, place: Place) -> Standing:
    """Where a worktree stands now."""
    from jvs.workspace.repository.savepoints import SavePoints

    binding = settled(repo, place)
    label = label_of(place, binding)
    generation = 0 if binding is None or binding.detached else binding.generation
    behind = 0 if binding is not None and binding.detached else SavePoints(repo).newer(label, generation)
    return Standing(label, binding, behind)


def at(repo: Repo, label: str, entry: Entry | None, ca_id: Digest, unapplied: Mapping[bytes, UnappliedMode]) -> Binding:
    """The position of a worktree of `label` that was made the snapshot `ca_id`, which `entry` names (None: no entry
    does): attached if that is the newest save point of the label, else detached."""
    with repo.store.read() as txn:
        head = head_of(txn, label)
        newest = None if head is None else entry_by_id(txn, head.entry_id)
        wanted = None if entry is None else standing_for(txn, entry)
        stands = None if newest is None else standing_for(txn, newest)
    if head is not None and wanted is not None and stands is not None and wanted.id == stands.id:
        return Binding(label, head.generation, ca_id, head.entry_id, unapplied=unapplied)
    ours = entry is not None and head is not None and entry.uid == head.uid
    generation = entry.generation if entry is not None and ours else 0
    return Binding(label, generation, ca_id, None if entry is None else entry.id, unapplied=unapplied, detached=True)


def _follow_rename(repo: Repo, binding: Binding) -> Binding:
    if binding.entry_id is None:
        return binding
    try:
        entry = repo.labels.entry(binding.entry_id)
    except UnknownError:
        return binding  # the store was made anew, or the entry collected
    return binding if entry.label == binding.label else replace(binding, label=entry.label)
