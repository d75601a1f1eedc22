"""What differs: between two snapshots, a snapshot and a directory on disk, or before and after a label's move."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jvs.castore.diff import Difference, diff_trees, match_renames
from jvs.castore.digest import Digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Entry
from jvs.castore.names import display
from jvs.castore.pages import PageReader
from jvs.errors import CollectedError, UsageError
from jvs.workspace.directories import look
from jvs.workspace.reading import pinned
from jvs.workspace.results import Change, DiffResult

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

MAX_PATCH_FILE = 1 << 20
"""Larger files are summed up in one line of a patch: comparing their lines would take too long."""


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
        before, after = resolved.entry.from_, resolved.entry.to
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


def patch(repo: Repo, result: DiffResult) -> Iterator[str]:
    """Unified diff text, line by line, of every change. The snapshots are pinned meanwhile."""
    with pinned(repo, result.from_, None if result.directory else result.to, what="diff"):
        yield from _patch(repo, result)


def _patch(repo: Repo, result: DiffResult) -> Iterator[str]:
    import difflib  # only `--patch` needs it

    changes = sorted(
        (*result.added, *result.removed, *result.modified, *result.renamed), key=lambda change: change.path
    )
    for change in changes:
        old = display(change.old_path or change.path)
        new = display(change.path)
        before = _content(repo, result.from_, change.old_path or change.path, change.before, None)
        after = _content(repo, result.to, change.path, change.after, result.directory)
        yield f"diff --jvs a/{old} b/{new}"
        yield from _header(change)
        if before is not None and before == after:
            continue
        one, two = _lines(before), _lines(after)
        if one is None or two is None:
            yield f"Binary or large files a/{old} and b/{new} differ"
            continue
        names = (
            "/dev/null" if change.before is None else f"a/{old}",
            "/dev/null" if change.after is None else f"b/{new}",
        )
        for line in difflib.unified_diff(one, two, *names, lineterm=""):
            yield line.removesuffix(_NO_NEWLINE)
            if line.endswith(_NO_NEWLINE):
                yield "\\ No newline at end of file"


_NO_NEWLINE = "\0"  # no line of a text has it: content with NUL bytes is binary


def _header(change: Change) -> Iterator[str]:
    before, after = change.before, change.after
    if change.old_path is not None:
        yield f"rename from {display(change.old_path)}"
        yield f"rename to {display(change.path)}"
    if before is None and after is not None:
        yield f"new {_kind(after)}"
    elif after is None and before is not None:
        yield f"deleted {_kind(before)}"
    elif before is not None and after is not None and _kind(before) != _kind(after):
        yield f"old {_kind(before)}"
        yield f"new {_kind(after)}"


def _kind(entry: Entry) -> str:
    if entry[1] == SYMLINK:
        return "symlink"
    return f"{'directory' if entry[1] == DIRECTORY else 'file'} mode {entry[2]:04o}"


def _content(repo: Repo, root: Digest | None, path: bytes, entry: Entry | None, directory: str | None) -> bytes | None:
    """The bytes to compare: a file's, a symlink's target; b"" for what has none; None when too large."""
    if entry is None or entry[1] == DIRECTORY:
        return b""
    if entry[1] == SYMLINK:
        return entry[2]
    if entry[1] == FILE and entry[3] > MAX_PATCH_FILE:
        return None
    if directory is not None:
        with open(os.path.join(os.fsencode(directory), path), "rb", opener=_no_follow) as file:
            return file.read(MAX_PATCH_FILE)
    assert root is not None
    page, found = repo.objects.resolve(root, tuple(path.split(b"/")))
    return b"".join(repo.objects.read(page, found)) if found[1] == FILE else b""


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _lines(data: bytes | None) -> list[str] | None:
    """Lines without their ends (a last one without a newline is marked), or None for binary or absent content."""
    if data is None or b"\0" in data:
        return None
    lines = data.decode("utf-8", "replace").split("\n")
    last = lines.pop()
    return [*lines, last + _NO_NEWLINE] if last else lines
