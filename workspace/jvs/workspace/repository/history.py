"""`jvs history`: the save points of a worktree, newest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from jvs.errors import UnknownError
from jvs.labels.names import AUTOSAVE
from jvs.workspace.repository.savepoints import SavePoint
from jvs.workspace.results import Json

if TYPE_CHECKING:
    from jvs.workspace.repository.repository import Repository


class Shown(NamedTuple):
    """A save point as `jvs history` lists it.

    head    the worktree stands at it
    newer   the worktree is detached at an older one
    """

    save_point: SavePoint
    head: bool
    newer: bool

    def as_json(self) -> Json:
        """The save point, with `autosave`, `newer` where they are true."""
        marks = {"autosave": self.save_point.autosave, "newer": self.newer}
        return self.save_point.as_json() | {name: True for name, holds in marks.items() if holds}


def history(
    repository: Repository,
    name: str,
    *,
    limit: int | None = None,
    grep: str | None = None,
    tag: str | None = None,
    autosaves: bool = False,
) -> Iterator[Shown]:
    """The save points of a worktree, newest first, streamed.

    limit      the newest so many of those that are asked for
    grep       only those whose note has this text in it, in any letter case
    tag        only those with this tag
    autosaves  those of the worktree's unsaved work, too
    """
    standing = repository.standing(name)
    savepoints = repository.savepoints
    binding = standing.binding
    head = None if binding is None or binding.entry_id is None else savepoints.at(binding.entry_id)
    found = savepoints.history(standing.label)
    if autosaves:
        found = heapq.merge(
            found, _autosaves(repository, standing.label), key=lambda one: one.save_point_id, reverse=True
        )
    wanted = (one for one in found if _matches(one, grep, tag))
    above = standing.detached and head is not None
    for one in wanted if limit is None else islice(wanted, limit):
        at_head = head is not None and one.save_point_id == head.save_point_id
        yield Shown(one, at_head, above and head is not None and _is_newer(one, head))


def _autosaves(repository: Repository, label: str) -> Iterator[SavePoint]:
    try:
        entries = repository.repo.labels.log(f"{AUTOSAVE}/{label}")
    except UnknownError:
        return
    for entry in entries:
        if entry.op == AUTOSAVE and not entry.dropped:
            yield repository.savepoints.of(entry)


def _is_newer(one: SavePoint, head: SavePoint) -> bool:
    if one.autosave:
        return False
    if one.entry.uid == head.entry.uid:
        return one.entry.generation > head.entry.generation
    return one.entry.at_ms > head.entry.at_ms


def _matches(one: SavePoint, grep: str | None, tag: str | None) -> bool:
    return (grep is None or grep.casefold() in one.message.casefold()) and (tag is None or tag in one.tags)
