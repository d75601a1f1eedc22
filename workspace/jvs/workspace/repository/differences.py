"""`jvs diff` and `jvs status`: what differs between save points, and from what is in a worktree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.hasher import TreeHasher
from jvs.errors import CollectedError, UsageError
from jvs.workspace.compare import difference
from jvs.workspace.directories import base_of, look
from jvs.workspace.repository.savepoints import SavePoint
from jvs.workspace.results import DiffResult, Json

if TYPE_CHECKING:
    from jvs.castore.digest import Digest
    from jvs.workspace.repository.position import Standing
    from jvs.workspace.repository.repository import Repository

SHOWN = 1000
"""Paths of each kind that the JSON of `jvs status` lists at most; the totals count all."""


class Differences(NamedTuple):
    """`jvs diff`. before, after: save points; before None: nothing was saved yet; after None: the directory."""

    before: SavePoint | None
    after: SavePoint | None
    result: DiffResult

    def as_json(self) -> Json:
        """{from_snapshot_id, to_snapshot_id, from_time, to_time, added, removed, modified, total_added, total_removed,
        total_modified}; to_* are null for a directory. Every path is listed."""
        value = self.result.as_json()
        lists = ("added", "removed", "modified")
        return {
            "from_snapshot_id": None if self.before is None else self.before.save_point_id,
            "to_snapshot_id": None if self.after is None else self.after.save_point_id,
            "from_time": None if self.before is None else self.before.created_at,
            "to_time": None if self.after is None else self.after.created_at,
            **{name: value[name] for name in lists},
            **{f"total_{name}": value[f"total_{name}"] for name in lists},
        }


class Status(NamedTuple):
    """`jvs status`.

    head, latest   where the worktree stands, and the newest save point of its label; None: there is none
    unsaved        what a snapshot would change; None: the directory of the worktree is gone
    interrupted    a restore was killed in the middle of it
    """

    worktree: str
    path: str
    standing: Standing
    head: SavePoint | None
    latest: SavePoint | None
    unsaved: DiffResult | None
    interrupted: bool

    @property
    def clean(self) -> bool:
        """Whether nothing is unsaved."""
        return self.unsaved is not None and self.unsaved.empty and not self.interrupted

    def next_steps(self) -> list[str]:
        """Commands that make sense now, the likeliest first."""
        standing, name = self.standing, self.worktree
        if self.unsaved is None:
            return [f"mkdir {self.path}", f"jvs restore HEAD -w {name}"]
        if self.interrupted:
            return ["jvs restore HEAD"]
        if standing.detached:
            return ["jvs worktree fork NAME", "jvs undo" if self.latest is None else "jvs restore HEAD"]
        if standing.behind:
            return ["jvs restore HEAD", f"jvs fs log {standing.label}"]
        if not self.clean or self.head is None:
            return ['jvs snapshot "what was done"', *(["jvs diff"] if self.head is not None else [])]
        return []

    def as_json(self) -> Json:
        """{worktree_name, path, label, state, detached, behind, head_snapshot_id, latest_snapshot_id, clean, added,
        removed, modified, total_added, total_removed, total_modified, next}; the lists hold at most SHOWN paths."""
        unsaved = None if self.unsaved is None else self.unsaved.as_json()
        lists = ("added", "removed", "modified")
        return {
            "worktree_name": self.worktree,
            "path": self.path,
            "label": self.standing.label,
            "state": "DETACHED" if self.standing.detached else "HEAD",
            "detached": self.standing.detached,
            "behind": self.standing.behind,
            "head_snapshot_id": None if self.head is None else self.head.save_point_id,
            "latest_snapshot_id": None if self.latest is None else self.latest.save_point_id,
            "clean": self.clean,
            **{name: [] if unsaved is None else unsaved[name][:SHOWN] for name in lists},
            **{f"total_{name}": 0 if unsaved is None else unsaved[f"total_{name}"] for name in lists},
            "next": self.next_steps(),
        }


def diff(repository: Repository, name: str, from_: str | None = None, to: str | None = None) -> Differences:
    """What differs from one save point to another, or to the directory of the worktree (`to` None); `from_` None: what
    the worktree stands at. See `SavePoints.find` for what they may be. Raises CollectedError."""
    after = None if to is None else repository.find(to, name)
    before = repository.head(name) if from_ is None else repository.find(from_, name)
    old = None if before is None else root_of(repository, before)
    if after is not None:
        found = difference(repository.repo.objects.page, old, root_of(repository, after), renames=False)
        return Differences(before, after, found)
    return Differences(before, None, unsaved(repository, name, old))


def unsaved(repository: Repository, name: str, base: Digest | None) -> DiffResult:
    """What differs from `base` (None: nothing) to the directory of the worktree, as a snapshot of it would see it."""
    directory = repository.directory(name)
    hasher = TreeHasher(repository.repo.objects)
    found = look(repository.repo, directory, hasher)
    return difference(hasher.page, base, found, renames=False)._replace(directory=directory)


def status(repository: Repository, name: str) -> Status:
    """How a worktree is."""
    standing = repository.standing(name)
    binding = standing.binding
    head = None if binding is None or binding.entry_id is None else repository.savepoints.at(binding.entry_id)
    base = base_of(repository.repo, binding, None)
    path = repository.path(name)
    try:
        changes = unsaved(repository, name, base)
    except UsageError as error:
        if error.code != "not-a-directory":
            raise
        changes = None
    interrupted = binding is not None and binding.pending is not None
    latest = repository.savepoints.latest(standing.label)
    return Status(name, path, standing, head, latest, changes, interrupted)


def root_of(repository: Repository, save_point: SavePoint) -> Digest:
    """The snapshot that a save point is. Raises CollectedError when it is no longer in the store."""
    root = bytes.fromhex(save_point.payload_root_hash)
    if not repository.repo.has_snapshot(root):
        raise CollectedError(
            f"the snapshot {save_point.short_id} has left the retention window: its content was collected",
            next="jvs history",
        )
    return root
