"""Layouts: where the files of one page lie (DESIGN 4.2).

A record keyed by the page's digest: for each non-empty file, in order, "in part P at offset O", "is a chunk", or "has
a recipe". The layout, never the size, says how a file is stored. It is a hint: what it leads to is believed only when
the file's digest and size match, and it is the only replaceable kind in a store. Its own checksum covers the page's
digest too, so that two layouts cannot be swapped unnoticed.

Encoding: a checksum of 16 bytes, then msgpack `[parts joined, chunk digests joined, recipe digests joined, runs]`.
`runs` is a byte string of three big-endian 32-bit numbers per run of consecutive files: how many files, where (0 chunk,
1 recipe, 2 + n part n), and the offset of the first (0 unless in a part). Files of one run in a part follow each other
without gaps, so their offsets follow from the page's sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import iter_unpack, pack
from typing import Final, NamedTuple

import msgpack

from jvs.castore.backend import Kind, Ref
from jvs.castore.digest import DIGEST_SIZE, Digest, layout_checksum
from jvs.castore.manifest import File
from jvs.errors import ManifestError

_CHUNK: Final = 0
_RECIPE: Final = 1
_PART: Final = 2
_CHECKSUM: Final = 16
_RUN: Final = ">3I"
_RUN_SIZE: Final = 12


class Place(NamedTuple):
    """Where one file lies: in `part` at `offset` (kind PART), else under its own digest (kind CHUNK or RECIPE)."""

    kind: Kind
    key: Digest
    offset: int


def encode_layout(page: Digest, files: Sequence[File], places: Sequence[Place]) -> bytes:
    """The layout record of `page`. files: its non-empty files in order; places: one for each."""
    parts: dict[Digest, int] = {}
    chunks: list[Digest] = []
    recipes: list[Digest] = []
    runs: list[tuple[int, int, int]] = []  # (files, where, offset)
    next_where, next_offset = -1, 0
    for file, place in zip(files, places, strict=True):
        if place.kind == Kind.PART:
            where = _PART + parts.setdefault(place.key, len(parts))
        elif place.kind == Kind.CHUNK:
            where = _CHUNK
            chunks.append(place.key)
        else:
            where = _RECIPE
            recipes.append(place.key)
        if where == next_where and (where < _PART or place.offset == next_offset):
            runs[-1] = (runs[-1][0] + 1, *runs[-1][1:])
        else:
            runs.append((1, where, place.offset))
        next_where, next_offset = where, place.offset + file.size
    packed = b"".join([pack(_RUN, *run) for run in runs])
    body: bytes = msgpack.packb((b"".join(parts), b"".join(chunks), b"".join(recipes), packed))
    return layout_checksum(page + body)[:_CHECKSUM] + body


class Layout(NamedTuple):
    """A checked layout record whose runs are not yet laid along its page's files."""

    parts: tuple[Digest, ...]
    chunks: tuple[Digest, ...]
    recipes: tuple[Digest, ...]
    runs: tuple[tuple[int, int, int], ...]

    def children(self) -> list[Ref]:
        """Everything directly below the layout in the closed index."""
        refs = [Ref(Kind.PART, key) for key in self.parts]
        refs += [Ref(Kind.CHUNK, key) for key in dict.fromkeys(self.chunks)]
        refs += [Ref(Kind.RECIPE, key) for key in dict.fromkeys(self.recipes)]
        return refs

    def places(self, files: Sequence[File]) -> list[Place]:
        """The place of each of the page's non-empty files, in order; raises ManifestError when they do not fit."""
        out: list[Place] = []
        chunks, recipes = iter(self.chunks), iter(self.recipes)
        kind_of_parts = Kind.PART
        for count, where, offset in self.runs:
            run = files[len(out) : len(out) + count]
            if len(run) != count:
                raise ManifestError("a layout names more files than its page has")
            if where >= _PART:
                part = self.parts[where - _PART]
                for file in run:
                    out.append(tuple.__new__(Place, (kind_of_parts, part, offset)))
                    offset += file[3]
                continue
            kind, keys = (Kind.CHUNK, chunks) if where == _CHUNK else (Kind.RECIPE, recipes)
            for file in run:
                if next(keys, None) != file.digest:
                    raise ManifestError("a layout names another file than its page")
                out.append(Place(kind, file.digest, 0))
        if len(out) != len(files) or next(chunks, None) is not None or next(recipes, None) is not None:
            raise ManifestError("a layout does not fit its page")
        return out


def decode_layout(page: Digest, data: bytes) -> Layout:
    """Decode and check the layout record of `page`; raises ManifestError when it is damaged or not one of it."""
    body = data[_CHECKSUM:]
    if data[:_CHECKSUM] != layout_checksum(page + body)[:_CHECKSUM]:
        raise ManifestError("a layout fails its checksum")
    try:
        raw = msgpack.unpackb(body, raw=True, use_list=False, max_array_len=4, max_map_len=0, max_ext_len=0)
    except Exception as error:  # msgpack raises a family without a useful common base
        raise ManifestError(f"a layout is not msgpack: {error}") from error
    if type(raw) is not tuple or len(raw) != 4:
        raise ManifestError("a layout has an unknown shape")
    parts, chunks, recipes = (_digests(joined) for joined in raw[:3])
    if type(raw[3]) is not bytes or len(raw[3]) % _RUN_SIZE:
        raise ManifestError("a layout's runs are malformed")
    runs = tuple(iter_unpack(_RUN, raw[3]))
    if any(not count or where >= _PART + len(parts) for count, where, _ in runs):
        raise ManifestError("a layout's runs are malformed")
    return Layout(parts, chunks, recipes, runs)


def _digests(joined: object) -> tuple[Digest, ...]:
    if type(joined) is not bytes or len(joined) % DIGEST_SIZE:
        raise ManifestError("a layout's digests are malformed")
    return tuple(joined[at : at + DIGEST_SIZE] for at in range(0, len(joined), DIGEST_SIZE))
