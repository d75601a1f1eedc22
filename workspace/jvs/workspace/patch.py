"""Unified diffs of what differs, by lines or by words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Entry
from jvs.castore.names import display
from jvs.merge.lines import unified, word_diff
from jvs.workspace.reading import pinned
from jvs.workspace.results import Change, DiffResult

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

MAX_PATCH_FILE = 16 << 20
"""Larger files are summed up in one line of a patch."""

_WORD_MARKS = {"=": (b"", b""), "-": (b"[-", b"-]"), "+": (b"{+", b"+}")}


def patch(repo: Repo, result: DiffResult, *, words: bool = False) -> Iterator[str]:
    """Unified diff text, line by line, of every change. The snapshots are pinned meanwhile.

    words: changed lines are shown once, with what went between `[-` and `-]` and what came between `{+` and `+}`, as
    `git diff --word-diff` shows them.
    """
    with pinned(repo, result.from_, None if result.directory else result.to, what="diff"):
        changes = (*result.added, *result.removed, *result.modified, *result.renamed)
        for change in sorted(changes, key=lambda one: one.path):
            yield from _of_change(repo, result, change, words)


def _of_change(repo: Repo, result: DiffResult, change: Change, words: bool) -> Iterator[str]:
    old = display(change.old_path or change.path)
    new = display(change.path)
    before = _content(repo, result.from_, change.old_path or change.path, change.before, None)
    after = _content(repo, result.to, change.path, change.after, result.directory)
    yield f"diff --jvs a/{old} b/{new}"
    yield from _header(change)
    if before is not None and before == after:
        return
    if before is None or after is None or b"\0" in before or b"\0" in after:
        yield f"Binary or large files a/{old} and b/{new} differ"
        return
    yield "--- /dev/null" if change.before is None else f"--- a/{old}"
    yield "+++ /dev/null" if change.after is None else f"+++ b/{new}"
    lines = unified(before, after)
    for line in _by_words(lines) if words else lines:
        yield line.removesuffix(b"\n").decode("utf-8", "replace")


def _by_words(lines: Iterable[bytes]) -> Iterator[bytes]:
    """A unified diff with each run of changed lines shown once, word by word."""
    gone: list[bytes] = []
    come: list[bytes] = []
    for line in lines:
        if line[:1] == b"-":
            gone.append(line[1:])
        elif line[:1] == b"+":
            come.append(line[1:])
        elif line[:1] != b"\\":  # a missing last newline is no word
            yield from _words(gone, come)
            gone, come = [], []
            yield line if line[:1] == b"@" else line[1:]
    yield from _words(gone, come)


def _words(gone: list[bytes], come: list[bytes]) -> Iterator[bytes]:
    text = b""
    for mark, run in word_diff(b"".join(gone), b"".join(come)):
        before, after = _WORD_MARKS[mark]
        # a mark never spans lines, so that each line can be read by itself
        pieces = run.split(b"\n")
        text += b"\n".join(before + piece + after if piece else b"" for piece in pieces)
    yield from text.splitlines(keepends=True)


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
