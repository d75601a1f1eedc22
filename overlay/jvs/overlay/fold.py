"""Folding an overlay into a tree: what was touched is made anew, children first, everything else is referred to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from jvs.castore.chunking import Chunker
from jvs.castore.digest import Digest, file_digest
from jvs.castore.manifest import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Entry,
    File,
    Symlink,
    Tree,
)
from jvs.castore.manifest import (
    Directory as DirectoryEntry,
)
from jvs.castore.names import is_left_alone
from jvs.castore.recipe import Piece
from jvs.castore.treesink import TreeSink
from jvs.errors import IntegrityError
from jvs.overlay.nodes import Directory, FileNode, LinkNode, Node
from jvs.overlay.state import where_of
from jvs.overlay.upper import Upper

HELD = 8 << 20
"""Bytes of small files of one directory that are kept between being named and being stored; what is more is read
twice."""


class Folded(NamedTuple):
    """A tree that was given to a sink. directories, files: what each node became that may have changed (without what a
    snapshot leaves out)."""

    tree: Tree
    directories: dict[Directory, Digest]
    files: dict[FileNode, Entry]


def fold(upper: Upper, sink: TreeSink) -> Folded:
    """The tree of an overlay as pages given to `sink`, whose store is the overlay's."""
    folding = _Folding(upper, sink)
    root = upper.state.root
    order = [root]
    for directory in order:
        order.extend(node for node in directory.changes.values() if isinstance(node, Directory) and node.dirty)
    for directory in reversed(order):
        folding.directory(directory)
    return Folded(folding.trees[root], {node: tree.digest for node, tree in folding.trees.items()}, folding.files)


class _Folding:
    def __init__(self, upper: Upper, sink: TreeSink) -> None:
        self._upper = upper
        self._sink = sink
        self._inline = upper.objects.settings.inline_limit
        self._chunker: Chunker | None = None
        self.trees: dict[Directory, Tree] = {}
        self.files: dict[FileNode, Entry] = {}

    def directory(self, node: Directory) -> None:
        """Fold one directory whose subdirectories are folded."""
        if node.base is None:
            self.trees[node] = self._new(node)
            return
        changes: dict[bytes, Entry | None] = {}
        contents = _Contents(self._upper)
        sources: dict[Digest, None] = {}
        for name, child in sorted(node.changes.items()):
            if is_left_alone(name):
                continue
            found = self._upper.state.base_entry(node, name)
            own = None if found is None else found[1]
            if isinstance(child, Directory) and not child.dirty and _is_base(child, own):
                continue  # without a look at it
            entry = None if child is None else self._entry(child, contents)
            if entry == own:
                continue
            changes[name] = entry
            if (source := self._source(child)) is not None:
                sources[source] = None
        if changes:
            self.trees[node] = self._sink.edit(node.base, changes, contents, tuple(sources))
        else:
            self.trees[node] = self._upper.objects.tree(node.base)

    def _new(self, node: Directory) -> Tree:
        builder = self._sink.directory()
        for name, child in sorted(node.changes.items()):
            if child is None or is_left_alone(name):
                continue
            contents = _Contents(self._upper)
            entry = self._entry(child, contents)
            builder.add(entry, contents.take(entry), self._source(child))
        return builder.finish()

    def _source(self, child: Node | None) -> Digest | None:
        """The page of the store in which the file lies that `child` shows, if it does."""
        if isinstance(child, FileNode) and child.content is None and child.base is not None:
            return where_of(self._upper.objects, child.base).page
        return None

    def _entry(self, child: Node, contents: _Contents) -> Entry:
        if isinstance(child, LinkNode):
            return Symlink(child.name, SYMLINK, child.target)
        if isinstance(child, Directory):
            return DirectoryEntry(child.name, DIRECTORY, child.mode, *self._tree(child))
        if child.content is None:
            assert child.base is not None
            size, digest = child.base.file.size, child.base.file.digest
        elif child.content.size <= self._inline:
            size = child.content.size
            digest = contents.add(child)
        else:
            digest, size = self._large(child)
        entry = File(child.name, FILE, child.mode, size, digest)
        self.files[child] = entry
        return entry

    def _tree(self, child: Directory) -> Tree:
        if child in self.trees:
            return self.trees[child]
        assert child.base is not None
        return self._upper.objects.tree(child.base)

    # -- large files -----------------------------------------------------------------------------------------------

    def _large(self, node: FileNode) -> tuple[Digest, int]:
        content = node.content
        assert content is not None
        if content.extents is None:
            return self._sink.stream(_Reader(self._upper, node, 0))
        return self._sink.splice(self._cuts(node))

    def _cuts(self, node: FileNode) -> Iterator[tuple[bytes, Piece | None]]:
        """The chunks of a file that was written over the base, each with its name where it is one of the base's.

        A cut depends on the bytes since the cut before alone. So a chunk of the base that begins at a cut and lies in
        what was not written is a chunk of the new file; where something was written, the file is cut anew from the
        chunk's beginning on, until a cut falls on one of the base's again.
        """
        content = node.content
        assert content is not None
        assert content.extents is not None
        assert content.base is not None
        files = self._upper.base_files
        # where the base no longer shows through, it has no cuts that could be met again
        written = content.extents.copy()
        written.add(content.limit, max(content.size, content.base.file.size))
        at = 0
        while at < content.size:
            fresh_from = at
            for start, piece in files.pieces(content.base, at):
                if start != at or any(upper for _, _, upper in written.split(start, start + piece.length)):
                    break
                # the last chunk of the base was cut by the end of the file, which may be another one now
                if start + piece.length == content.base.file.size and content.size != content.base.file.size:
                    break
                yield files.chunk(piece), piece
                at = fresh_from = start + piece.length
            if at < content.size:
                for chunk in self._cutter().cut(_Reader(self._upper, node, fresh_from)):
                    yield chunk, None
                    at += len(chunk)
                    if self._is_cut(node, at) and not next(iter(written.split(at, at + 1)))[2]:
                        break

    def _is_cut(self, node: FileNode, at: int) -> bool:
        """Whether a chunk of the base begins at `at`."""
        content = node.content
        assert content is not None
        assert content.base is not None
        if at >= content.base.file.size:
            return False
        return next(self._upper.base_files.pieces(content.base, at))[0] == at

    def _cutter(self) -> Chunker:
        if self._chunker is None:
            settings = self._upper.objects.settings
            self._chunker = Chunker(settings.chunk_min, settings.chunk_avg, settings.chunk_max)
        return self._chunker


def _is_base(child: Directory, own: Entry | None) -> bool:
    """Whether an unchanged directory is what the base has in its place."""
    return own is not None and own[1] == DIRECTORY and own[2:4] == (child.mode, child.base)


class _Reader:
    """Reads a node from an offset on, as `chunking.Reader`."""

    def __init__(self, upper: Upper, node: FileNode, at: int) -> None:
        self._upper = upper
        self._node = node
        self._at = at

    def __call__(self, buffer: memoryview) -> int:
        got = self._upper.read_into(self._node, buffer, self._at)
        self._at += got
        return got


class _Contents(Mapping[Digest, bytes]):
    """The bytes of the small files of one directory, by digest. What is beyond HELD bytes is read again."""

    def __init__(self, upper: Upper) -> None:
        self._upper = upper
        self._nodes: dict[Digest, FileNode] = {}
        self._held: dict[Digest, bytes] = {}
        self._weight = 0

    def add(self, node: FileNode) -> Digest:
        """Take a file in; its digest."""
        data = self._read(node)
        digest = file_digest(data)
        self._nodes[digest] = node
        if self._weight + len(data) <= HELD:
            self._held[digest] = data
            self._weight += len(data)
        return digest

    def take(self, entry: Entry) -> bytes | None:
        """The bytes of a file that was taken in; None for anything else."""
        return self[entry[4]] if entry[1] == FILE and entry[4] in self._nodes else None

    def _read(self, node: FileNode) -> bytes:
        buffer = bytearray(node.size)
        got = self._upper.read_into(node, memoryview(buffer), 0)
        if got != len(buffer):
            raise IntegrityError(f"a file of the upper layer is shorter than it was: {os.fsdecode(node.path())}")
        return bytes(buffer)

    def __getitem__(self, digest: Digest) -> bytes:
        data = self._held.get(digest)
        if data is None:
            data = self._read(self._nodes[digest])
            if file_digest(data) != digest:
                raise IntegrityError("a file of the upper layer was changed by somebody else")
        return data

    def __contains__(self, digest: object) -> bool:
        return digest in self._nodes

    def __iter__(self) -> Iterator[Digest]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)
