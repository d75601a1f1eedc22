"""What an overlay changed, by what was touched: no content is read, and no directory that nothing was done to."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import NamedTuple

from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, Entry
from jvs.castore.pages import descend, find, iter_entries
from jvs.overlay.nodes import Directory, FileNode, LinkNode, Node
from jvs.overlay.state import State

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


class Change(NamedTuple):
    """One path that was changed.

    status  `added`, `deleted`, `modified` (content), `mode` (permission bits alone), `type` (another kind of thing)
    kind    `file`, `directory` or `symlink`: what is there now, or what was deleted
    whole   a directory that stands for all that is below it, which is not listed
    A file that was written counts as modified, even if it was written as it had been.
    """

    path: bytes
    status: str
    kind: str
    whole: bool = False


def changes(state: State) -> Iterator[Change]:
    """Every path that was changed, a directory before what is below it. O(what was touched), but where a directory
    has taken the place of another one: O(entries of both)."""
    stack = [_level(state, state.root, b"", state.base)]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
        elif isinstance(step, Change):
            yield step
        else:
            stack.append(step)


_Steps = Iterator["Change | _Steps"]


def _level(state: State, directory: Directory, path: bytes, base: Digest | None) -> _Steps:
    """The changes in one directory, compared with the directory `base` of the base (None: there was none)."""
    names = set(directory.changes)
    if directory.base != base:
        for digest in (directory.base, base):
            if digest is not None:
                names.update(entry[0] for entry in iter_entries(state.objects.page, digest))
    for name in sorted(names):
        found = None if base is None else find(state.objects.page, base, name)
        before = None if found is None else found[1]
        node = state.lookup(directory, name)
        where = path + b"/" + name if path else name
        if node is None:
            if before is not None:
                yield Change(where, "deleted", _kind_of(before), before[1] == DIRECTORY)
            continue
        status = _status(node, before)
        if not isinstance(node, Directory):
            if status is not None:
                yield Change(where, status, _KINDS[node.kind])
            continue
        whole = status in ("added", "type") and node.base is not None and not node.changes
        if status is not None:
            yield Change(where, status, "directory", whole)
        below = None if before is None or before[1] != DIRECTORY else descend(state.objects.page, before)
        if not whole and (node.changes or node.base != below):
            yield _level(state, node, where, below)


def _status(node: Node, before: Entry | None) -> str | None:
    if before is None:
        return "added"
    if _KINDS[node.kind] != _kind_of(before):
        return "type"
    if isinstance(node, LinkNode):
        return "modified" if node.target != before[2] else None
    if isinstance(node, FileNode) and (
        node.content is not None or node.base is None or before[1] != FILE or node.base.file.digest != before[4]
    ):
        return "modified"
    return "mode" if node.mode != before[2] else None


def _kind_of(entry: Entry) -> str:
    return "file" if entry[1] == FILE else "directory" if entry[1] == DIRECTORY else "symlink"
