"""The last pass: writes the directories that were made anew, deepest first, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jvs.castore import pages
from jvs.castore.chunking import Reader
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, EMPTY_TREE, INDEX, Directory, Entry, Page, Tree, small_files
from jvs.castore.objects import ObjectStore
from jvs.castore.pages import NewPage
from jvs.castore.treesink import TreeSink
from jvs.merge.resolve import Resolver
from jvs.merge.walk import Change, Node


def build(sink: TreeSink, objects: ObjectStore, nodes: Sequence[Node], resolver: Resolver) -> Tree:
    """The merged tree. nodes: parents before children, the root first."""
    made: dict[int, Tree] = {}
    for node in reversed(nodes):
        changes = dict(node.changes)
        for name, child in node.below.items():
            tree = made.pop(id(child))
            if child.exists():
                changes[name] = Change(Directory(name, DIRECTORY, resolver.mode_of(child), *tree))
            else:
                changes.setdefault(name, None)
        made[id(node)] = apply(sink, objects, node.start, changes)
    return made[id(nodes[0])]


def apply(sink: TreeSink, objects: ObjectStore, start: Tree, changes: Mapping[bytes, Change | None]) -> Tree:
    """The directory `start` with `changes`, written to `sink`; only the pages they touch are read and made.

    Unlike `TreeSink.edit` it knows for each file which page of the store has it, so that bringing in many files from
    many pages stays linear.
    """
    if not changes and start.digest != EMPTY_TREE.digest:  # nobody may have stored the page of an empty directory yet
        return start
    limit = objects.settings.inline_limit
    for change in changes.values():
        if change is not None and change.data is not None and len(change.data) > limit:
            sink.stream(stream_reader((change.data,)))
    if start.digest == EMPTY_TREE.digest:
        directory = sink.directory()
        for name in sorted(changes):
            change = changes[name]
            if change is not None:
                small = None if change.data is None or len(change.data) > limit else change.data
                directory.add(change.entry, small, change.page)
        return directory.finish()
    read: list[Digest] = []

    def reader(digest: Digest) -> Page:
        page = objects.page(digest)
        if page.tag != INDEX:
            read.append(digest)
        return page

    def emit(page: NewPage) -> None:
        contents: dict[Digest, bytes] = {}
        sources: dict[Digest, None] = {}
        for file in small_files(page.entries):
            change = changes.get(file.name)
            if change is None:
                continue
            if change.page is not None:
                sources[change.page] = None
            elif change.data is not None and len(change.data) <= limit:
                contents[file.digest] = change.data
        sink.put_page(page, contents, (*sources, *read))

    entries: dict[bytes, Entry | None] = {
        name: None if change is None else change.entry for name, change in changes.items()
    }
    return pages.edit(reader, start.digest, entries, emit)


def stream_reader(pieces: Iterable[bytes]) -> Reader:
    """Gives the pieces of a file to whoever reads it as a stream."""
    rest = iter(pieces)
    piece = b""
    at = 0

    def read(view: memoryview) -> int:
        nonlocal piece, at
        while at == len(piece):
            following = next(rest, None)
            if following is None:
                return 0
            piece, at = following, 0
        got = piece[at : at + len(view)]
        view[: len(got)] = got
        at += len(got)
        return len(got)

    return read
