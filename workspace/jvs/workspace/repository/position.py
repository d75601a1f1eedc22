"""At which save point a worktree stands: {label, generation, detached}, which is its binding, kept in the registry.

It is *attached* when it stands at the newest save point of its label, or did when nobody else had moved that yet (the
worktree is then *behind*); *detached* when a restore put it at another one on purpose. Nothing here moves a label.

The store is told where each worktree stands (`jvs.labels.positions`), so that no collection takes that away, nor what
is newer than a detached one.

A save moves the label first and the position a moment later. Whoever finds the position behind an entry that bears
this worktree's mark knows that a process was killed between the two, and moves it on: under the lock of a worktree
nobody but itself makes such entries.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore import binding as bindings
from jvs.castore.backend import ReadTxn
from jvs.castore.binding import Binding, UnappliedMode
from jvs.castore.digest import Digest, entry_digest, keyed
from jvs.errors import IntegrityError, LockedError, UnknownError
from jvs.labels.model import WORKTREE, Entry, decode_body, decode_skeleton, glance
from jvs.labels.tables import MAX_SPANS, Span, entries_between, entry_by_id, head_of
from jvs.workspace.locate import CONTROL
from jvs.workspace.repository.layout import MAIN, Layout, Place, layout_at
from jvs.workspace.repository.savepoints import NO_SAVE, lineage, standing_for

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

MARK: Final = WORKTREE
"""Key of an entry's meta: the worktree that it was saved from."""
_mark = keyed("jvs 2026-11 worktree mark v1")
_REPOSITORY_DIGITS: Final = 8
_PLACE_DIGITS: Final = 16
"""Of a mark: so many are those of the repository, then so many of the directory."""


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


def save(repo: Repo, place: Place, binding: Binding, *, durable: bool = True) -> None:
    """Record the position of a worktree. Raises OSError, and what a transaction raises.

    durable: it is on the disk when this returns; else the worktree may stand nowhere after a power cut.
    """
    if binding.pending is None:  # while a restore runs, what it needs is pinned
        tell(repo, place, binding)
    os.makedirs(place.layout.record(place.name), exist_ok=True)
    bindings.write(place.layout.binding(place.name), place.layout.path(place.name), binding, durable=durable)


def label_of(place: Place, binding: Binding | None) -> str:
    """The label of a worktree: the one its position says, else the registry. Raises UnknownError, IntegrityError."""
    if binding is not None and binding.label is not None:
        return binding.label
    from jvs.workspace.repository.worktrees import Registry  # known already in all but new worktrees

    return Registry(place.layout).get(place.name).label


def mark_of(place: Place) -> str:
    """What entries bear that were saved from this very directory; a copy of the repository has another mark."""
    path = _mark(b"%s\0%s" % (place.layout.repo_id.encode(), os.fsencode(place.layout.path(place.name)))).hex()
    return _mark_of_repository(place.layout) + path[:_PLACE_DIGITS]


def _mark_of_repository(layout: Layout) -> str:
    """What the marks of all worktrees of a repository begin with, wherever it is."""
    return _mark(layout.repo_id.encode()).hex()[:_REPOSITORY_DIGITS]


def tell(repo: Repo, place: Place, binding: Binding) -> bool:
    """Tell the store where a worktree stands; whether that was new to it. After a save nothing is: its entry says so.
    Raises what a transaction raises."""
    if repo.store.readonly:
        return False
    target = () if binding.pending is None else (binding.pending.target,)
    snapshots = [one for one in (binding.ca_id, *target) if one is not None]
    with repo.store.read() as txn:
        spans = _spans(txn, label_of(place, binding), binding)
    if not snapshots and not spans:
        return bool(repo.labels.leave([mark_of(place)]))
    return repo.labels.stand(mark_of(place), snapshots, spans)


def _spans(txn: ReadTxn, label: str, binding: Binding) -> list[Span]:
    """The entries that a collection must leave to a worktree: the one it stands at; if it is detached, also those in
    the history of its label that are newer, or, where it stands outside that history, all of the label's own."""
    entry = None if binding.entry_id is None else entry_by_id(txn, binding.entry_id)
    one = None if entry is None else standing_for(txn, entry)  # the entry may be the collector's, or make a fork
    where = None if one is None else (one.uid, one.generation)
    here = [] if where is None else [Span(*where, where[1])]
    if not binding.detached:
        return here
    newer: list[Span] = []
    for stretch in lineage(txn, label)[: MAX_SPANS - 1]:
        last = stretch.last if newer else None
        if where is not None and stretch.uid == where[0] and where[1] <= stretch.last:
            return [*newer, Span(stretch.uid, where[1], last)]
        newer.append(Span(stretch.uid, 1, last))
    return newer[:1] + here


def leave(repo: Repo, place: Place) -> None:
    """Tell the store that there is no such worktree any more."""
    repo.labels.leave([mark_of(place)])


def tell_all(repo: Repo, layout: Layout | None = None) -> None:
    """Before a collection: see that the store knows where all worktrees of a repository stand (they do not tell where a
    repository was moved, say), and knows none of those that are gone.

    layout: of the repository; None: of the one that the store lies in, if it does
    """
    own = layout_of(repo)
    layout = layout or own
    if layout is None or repo.store.readonly:
        return
    from jvs.workspace.repository.worktrees import Registry

    # who renames or removes a worktree has this lock, so that none is taken for gone that is just being renamed
    with suppress(LockedError), Registry(layout).lock(0):
        marks = set()
        for name in sorted(os.listdir(os.path.dirname(layout.record(MAIN)))):
            place = Place(layout, name)
            binding = load(place)
            marks.add(mark_of(place))
            if binding is not None:
                with suppress(UnknownError, IntegrityError):  # its record is damaged: see `jvs doctor`
                    tell(repo, place, binding)
        if layout == own:  # a store that lies elsewhere may be that of several copies of the repository
            mine = _mark_of_repository(layout)
            known = (position.mark for position in repo.labels.positions())
            repo.labels.leave([mark for mark in known if mark.startswith(mine) and mark not in marks])


def layout_of(repo: Repo) -> Layout | None:
    """The repository that a store lies in, if it does."""
    root, name = os.path.split(os.path.realpath(repo.store.path))
    return layout_at(root) if name == CONTROL else None


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
