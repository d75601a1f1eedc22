"""Random access to the files of a snapshot: only the chunks that a read needs, the last few of them kept."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.objects import LruCache, ObjectStore
from jvs.castore.recipe import CHUNKS, LEAVES, Piece, Recipe
from jvs.errors import IntegrityError
from jvs.overlay.nodes import Where
from jvs.overlay.state import where_of

CHUNK_CACHE: Final = 32 << 20
"""Bytes of chunks that are kept."""
_RECIPE_CACHE: Final = 1 << 18
"""Rows of recipes that are kept."""


class _Table(NamedTuple):
    """A recipe, or a leaf of one, with the offset at which each piece begins."""

    starts: list[int]
    recipe: Recipe


class BaseFiles:
    """Reads files of the base. Thread-safe."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._chunks: LruCache[Digest, bytes] = LruCache(CHUNK_CACHE)
        self._tables: LruCache[Digest, _Table] = LruCache(_RECIPE_CACHE)

    def is_chunked(self, where: Where) -> bool:
        """Whether the file is more than one chunk: whether it pays to leave it where it is, and write beside it."""
        where = where_of(self._objects, where)
        return bool(where.file.size) and self._objects.place(where.page, where.file).kind == Kind.RECIPE

    def whole(self, where: Where) -> bytes:
        """A file that is not chunked."""
        where = where_of(self._objects, where)
        if not where.file.size:
            return b""
        if self._objects.place(where.page, where.file).kind == Kind.PART:
            return self._objects.small_file(where.page, where.file)
        return self.chunk(Piece(where.file.digest, where.file.size))

    def chunk(self, piece: Piece) -> bytes:
        """The bytes of a chunk, verified when they were read."""
        data = self._chunks.get(piece.digest)
        if data is None or len(data) != piece.length:
            data = self._objects.chunk(piece)
            self._chunks.put(piece.digest, data, piece.length)
        return data

    def read_into(self, where: Where, buffer: memoryview, start: int) -> int:
        """Fill `buffer` with the bytes from `start` on; how many there were."""
        size = min(len(buffer), max(0, where.file.size - start))
        if not size:
            return 0
        if not self.is_chunked(where):
            buffer[:size] = self.whole(where)[start : start + size]
            return size
        done = 0
        for at, piece in self.pieces(where, start):
            data = self.chunk(piece)
            skip = start + done - at
            step = min(len(data) - skip, size - done)
            buffer[done : done + step] = data if step == len(data) else memoryview(data)[skip : skip + step]
            done += step
            if done == size:
                return size
        raise IntegrityError("a recipe covers less than its file")

    def pieces(self, where: Where, start: int = 0) -> Iterator[tuple[int, Piece]]:
        """(offset, chunk) of each chunk of a chunked file that ends after `start`, in order. Looking for the first
        takes a few steps, however large the file."""
        root = self._table(where.file.digest, None)
        for number in range(max(0, bisect_right(root.starts, start) - 1), len(root.starts)):
            at, piece = root.starts[number], root.recipe.pieces[number]
            if root.recipe.tag == CHUNKS:
                yield at, piece
                continue
            leaf = self._table(piece.digest, piece)
            first = max(0, bisect_right(leaf.starts, start - at) - 1)
            for below in range(first, len(leaf.starts)):
                yield at + leaf.starts[below], leaf.recipe.pieces[below]

    def _table(self, digest: Digest, leaf: Piece | None) -> _Table:
        table = self._tables.get(digest)
        if table is None:
            if leaf is None:
                recipe = self._objects.recipe(digest)
            else:
                chunks = self._objects.pieces(Recipe(LEAVES, (leaf,)))
                recipe = Recipe(CHUNKS, tuple(piece for _, piece in chunks))
            starts = []
            at = 0
            for piece in recipe.pieces:
                starts.append(at)
                at += piece.length
            table = _Table(starts, recipe)
            self._tables.put(digest, table, len(starts))
        return table
