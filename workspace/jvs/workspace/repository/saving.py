"""What a push does differently where the directory is a worktree: then it is a save point, whoever makes it.

It is refused where the worktree is detached; what was written is read back before the label moves; the entry says which
engine the worktree has, and bears the worktree's mark (see `position`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from jvs.errors import LabelMovedError, StateError
from jvs.labels.store import wall_clock
from jvs.workspace.repository.descriptors import export_softly
from jvs.workspace.repository.layout import Place
from jvs.workspace.repository.position import MARK, label_of, mark_of
from jvs.workspace.repository.savepoints import ENGINE, VERIFIED, SavePoints
from jvs.workspace.repository.worktrees import Registry

if TYPE_CHECKING:
    from jvs.castore.binding import Binding
    from jvs.workspace.push import PushOptions
    from jvs.workspace.repo import Repo
    from jvs.workspace.results import PushResult


def as_save_point(repo: Repo, place: Place, binding: Binding | None, options: PushOptions) -> PushOptions:
    """The options of a push of that worktree. One as another label is left as it is. Raises StateError (detached),
    LeaseError when somebody else has the lock, UnknownError and IntegrityError for a worktree that is not registered.
    """
    own = label_of(place, binding)
    label = options.label
    if label is None and not options.detach:
        label = own
    if label != own:
        return options
    if binding is not None and binding.detached and options.merged is None:  # a merge was put here to be settled
        raise StateError(
            f"the worktree {place.name} is DETACHED: it stands at a snapshot that is not the newest of {own}",
            code="detached",
            label=own,
            worktree=place.name,
        )
    repo.labels.check_lock(own)  # before long work; the move looks again
    _let_time_pass(repo, own)
    meta = {ENGINE: Registry(place.layout).get(place.name).engine, VERIFIED: True, MARK: mark_of(place)}
    return options._replace(label=label, verify=True, meta={**meta, **(options.meta or {})})


def _let_time_pass(repo: Repo, label: str) -> None:
    """Wait until the ms of the newest save point is over: ids of one label sort by time. (Not for one that was made in
    the future of this clock.)"""
    head = repo.labels.get(label)
    while head is not None and head.at_ms == wall_clock():
        time.sleep(0.0002)


def finished(repo: Repo, place: Place, options: PushOptions, result: PushResult) -> PushResult:
    """The result of a push of that worktree: with the next steps that a worktree has when its label was moved by
    somebody else. A save point is exported (see `descriptors`)."""
    error = result.error
    if result.entry_id is not None and result.status == "advanced" and MARK in (options.meta or {}):
        made = SavePoints(repo).at(result.entry_id)
        if made is not None:
            export_softly(place.layout, made)
    if isinstance(error, LabelMovedError) and result.current is not None:
        short = result.ca_id.hex()[:12]
        error.next = (
            f"jvs restore HEAD (what is here is saved first), "
            f"or: jvs fs merge {result.label} {short} --into {result.label}, then jvs restore HEAD"
        )
    return result
