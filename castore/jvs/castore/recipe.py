"""Recipes: the chunk list of a file that is more than one chunk (DESIGN 4.2).

Kept under the *file's* digest, so that the same file in two places has one recipe. Above 4,096 chunks the root lists
leaves (each keyed by its own digest under the recipe context), cut where a chunk's digest says so, 1,024 chunks on
average: an edit of a huge file writes one leaf and the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from struct import pack, unpack
from typing import Final, NamedTuple

import msgpack

from jvs.castore.digest import DIGEST_SIZE, Digest, recipe_digest
from jvs.errors import ManifestError

CHUNKS: Final = 0
LEAVES: Final = 1
MAX_CHUNKS: Final = 4096
MAX_LEAVES: Final = 65536
_LEAF_MASK: Final = 1023
_LENGTH_SIZE: Final = 8
_MAX_FILE: Final = 2**63 - 1


class Piece(NamedTuple):
    """A chunk of a file, or a leaf of its recipe: digest and length in bytes of the file it covers."""

    digest: Digest
    length: int


class Recipe(NamedTuple):
    """A decoded recipe page. tag: CHUNKS (pieces are chunks) or LEAVES (pieces are recipe leaves)."""

    tag: int
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes of the file that the pieces cover."""
        return sum(piece.length for piece in self.pieces)


def encode_recipe(tag: int, pieces: Sequence[Piece]) -> bytes:
    """`[tag, all digests joined, all lengths joined]` in msgpack, a length being a big-endian 64-bit number."""
    lengths = pack(f">{len(pieces)}Q", *[piece.length for piece in pieces])
    data: bytes = msgpack.packb((tag, b"".join([piece.digest for piece in pieces]), lengths))
    return data


def decode_recipe(data: bytes) -> Recipe:
    """Decode and check a recipe; raises ManifestError for anything that is not canonical."""
    try:
        raw = msgpack.unpackb(data, raw=True, use_list=False, max_array_len=3, max_map_len=0, max_ext_len=0)
    except Exception as error:  # msgpack raises a family without a useful common base
        raise ManifestError(f"a recipe is not msgpack: {error}") from error
    if type(raw) is not tuple or len(raw) != 3 or type(raw[0]) is not int or raw[0] not in (CHUNKS, LEAVES):
        raise ManifestError("a recipe has an unknown shape")
    tag, digests, joined = raw
    if type(digests) is not bytes or type(joined) is not bytes:
        raise ManifestError("a recipe has an unknown shape")
    count = len(joined) // _LENGTH_SIZE
    if not 1 <= count <= (MAX_CHUNKS if tag == CHUNKS else MAX_LEAVES):
        raise ManifestError("a recipe has too few or too many pieces")
    if len(joined) != _LENGTH_SIZE * count or len(digests) != DIGEST_SIZE * count:
        raise ManifestError("a recipe's digests and lengths do not match")
    lengths = unpack(f">{count}Q", joined)
    if not all(lengths) or sum(lengths) > _MAX_FILE:
        raise ManifestError("a recipe's lengths are out of range")
    pieces = tuple(
        Piece(digests[at * DIGEST_SIZE : (at + 1) * DIGEST_SIZE], length) for at, length in enumerate(lengths)
    )
    if encode_recipe(tag, pieces) != data:
        raise ManifestError("a recipe is not in its canonical encoding")
    return Recipe(tag, pieces)


def build_recipe(
    chunks: Sequence[Piece], emit_leaf: Callable[[Digest, bytes, Sequence[Piece]], None]
) -> tuple[bytes, Recipe]:
    """(encoded root, decoded root) for a file of these chunks; leaves, where needed, go to `emit_leaf` first.

    emit_leaf(digest, encoded leaf, its chunks).
    """
    if len(chunks) <= MAX_CHUNKS:
        return encode_recipe(CHUNKS, chunks), Recipe(CHUNKS, tuple(chunks))
    leaves: list[Piece] = []
    for run in _runs(chunks):
        data = encode_recipe(CHUNKS, run)
        digest = recipe_digest(data)
        emit_leaf(digest, data, run)
        leaves.append(Piece(digest, sum(piece.length for piece in run)))
    if len(leaves) > MAX_LEAVES:
        raise ManifestError("a file has more chunks than the format allows; use larger chunks")
    return encode_recipe(LEAVES, leaves), Recipe(LEAVES, tuple(leaves))


def _runs(chunks: Sequence[Piece]) -> Iterator[Sequence[Piece]]:
    start = 0
    for position, piece in enumerate(chunks, 1):
        boundary = int.from_bytes(piece.digest[:4], "little") & _LEAF_MASK == 0
        if boundary or position - start >= MAX_CHUNKS:
            yield chunks[start:position]
            start = position
    if start < len(chunks):
        yield chunks[start:]
