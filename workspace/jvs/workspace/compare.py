"""What differs: between two snapshots, a snapshot and a directory on disk, or before and after a label's move."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jvs.castore.diff import Difference, diff_trees, match_renames
from jvs.castore.digest import Digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.manifest import DIRECTORY
from jvs.castore.pages import PageReader
from jvs.errors import CollectedError, UsageError
from jvs.workspace.directories import look
from jvs.workspace.results import Change, DiffResult

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo


def diff(repo: Repo, a: str, b: str | None, *, renames: bool) -> DiffResult:
    """`fs diff A [B]`. An operand that is an existing directory is one (compared as a push would see it, without
    storing anything); without B: what the move that made A changed."""
    if b is None:
        resolved = repo.resolve(a)
        if resolved.entry is None or resolved.path:
            raise UsageError(
                f"{a} is not a move of a label: say what to compare it with",
                code="bad-revision",
                next=f"jvs fs diff {a} REV",
            )
        from_ = resolved.entry.from_
        before, after = None if from_ is None else repo.standing(from_) or from_, resolved.ca_id
        if before is not None and not repo.has_snapshot(before):
            raise CollectedError(f"what {a} moved from has left the retention window: its snapshot was collected")
        return difference(repo.objects.page, before, after, renames=renames)
    base = repo.snapshot_of(repo.resolve(a))
    if os.path.isdir(b):
        hasher = TreeHasher(repo.objects)
        found = look(repo, b, hasher)
        return difference(hasher.page, base, found, renames=renames)._replace(directory=b)
    return difference(repo.objects.page, base, repo.snapshot_of(repo.resolve(b)), renames=renames)


def difference(read: PageReader, before: Digest | None, after: Digest | None, *, renames: bool = True) -> DiffResult:
    """The changes between two trees whose pages `read` gives (None: the empty tree), in path order.

    Directories are listed when they are empty, change their mode, or change into or from something else; what is in
    an added or removed one is listed itself.
    """
    found = [item for item in diff_trees(read, before, after) if not _implied(item)]
    left, pairs = match_renames(found) if renames else (found, [])
    groups: dict[str, list[Change]] = {"added": [], "removed": [], "modified": []}
    for item in left:
        group = "added" if item.before is None else "removed" if item.after is None else "modified"
        groups[group].append(Change(b"/".join(item.path), item.before, item.after))
    renamed = [
        Change(b"/".join(pair.after.path), pair.before.before, pair.after.after, b"/".join(pair.before.path))
        for pair in pairs
    ]
    return DiffResult(
        before, after, tuple(groups["added"]), tuple(groups["removed"]), tuple(groups["modified"]), tuple(renamed)
    )


def _implied(item: Difference) -> bool:
    """A directory that came or went with something in it: its files say so."""
    one = item.after if item.before is None else item.before if item.after is None else None
    return one is not None and one[1] == DIRECTORY and one[4] > 0
