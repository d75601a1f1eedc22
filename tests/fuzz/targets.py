"""What is fuzzed: decoders of untrusted bytes. Each takes any bytes and fails on what may not happen.

A target raises AssertionError (or anything that the decoder under test may not raise) when it has found something.
Seeds are inputs that are near to what the decoder accepts; they are made here, not stored.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import zstandard

from jvs.castore import codec, layout, manifest, names, recipe
from jvs.castore.backend import Codec, Kind, Stored
from jvs.castore.digest import DIGEST_SIZE, file_digest, layout_checksum
from jvs.castore.layout import Place
from jvs.castore.manifest import Child, Directory, Entry, File, Symlink
from jvs.castore.recipe import Piece
from jvs.errors import IntegrityError, ManifestError, UsageError

PAGE = file_digest(b"a page")
_CHECKSUM = 16
_SIZES = 4


class Target(NamedTuple):
    """One decoder: `run` gives it an input; `seeds` are inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def run_page(data: bytes) -> None:
    """An accepted page is the one encoding of what it says."""
    try:
        page = manifest.decode_page(data)
    except ManifestError:
        return
    if page.tag == manifest.INDEX:
        again = manifest.encode_index(page.level, page.children)
    else:
        again = manifest.encode_entries(page.tag, page.entries)
    listed = [child.last for child in page.children] or [entry.name for entry in page.entries]
    assert again == data
    assert listed == sorted(set(listed))
    assert all(map(names.is_valid_name, listed))
    assert max(page.totals) < 2**63


def seed_pages() -> list[bytes]:
    digest = file_digest(b"x")
    entries: list[Entry] = [
        File(b"a", 0, 0o644, 5, digest),
        Directory(b"b", 1, 0o2755, digest, 3, 70_000),
        Symlink(b"c", 2, b"../a"),
        File("\xe9".encode(), 0, 0o400, 0, file_digest(b"")),
    ]
    rows = [Child(b"%02d" % number, digest, 128, 300, 2**40) for number in range(40)]
    return [
        manifest.EMPTY_PAGE,
        manifest.encode_entries(manifest.SINGLE, entries),
        manifest.encode_entries(manifest.LEAF, entries),
        manifest.encode_index(1, rows),
        manifest.encode_index(8, rows[:1]),
    ]


def run_layout(data: bytes) -> None:
    """The first bytes say how many files the page has; the rest is the record, once as it is and once with a right
    checksum, which a fuzzer would never find."""
    if not data:
        return
    sizes = data[1 : 1 + data[0] % 32]
    files = [File(b"%03d" % at, 0, 0o644, size or 1, file_digest(bytes([at]))) for at, size in enumerate(sizes)]
    record = data[1 + len(sizes) :]
    body = record[_CHECKSUM:]
    for sealed in (record, layout_checksum(PAGE + body)[:_CHECKSUM] + body):
        try:
            decoded = layout.decode_layout(PAGE, sealed)
            places = decoded.places(files)
        except ManifestError:
            continue
        assert len(places) == len(files)
        assert {(place.kind, place.key) for place in places} <= set(decoded.children())
        for place, file in zip(places, files, strict=True):
            assert place.kind == Kind.PART or place == Place(place.kind, file.digest, 0)
        # one record may hold runs in several ways, but what it says is kept
        again = layout.decode_layout(PAGE, layout.encode_layout(PAGE, files, places))
        assert again.places(files) == places


def seed_layouts() -> list[bytes]:
    sizes = bytes([5, 6, 7, 8])
    files = [File(b"%03d" % at, 0, 0o644, size, file_digest(bytes([at]))) for at, size in enumerate(sizes)]
    part = file_digest(b"part")
    cases = [
        [Place(Kind.PART, part, 5 * at) for at in range(4)],
        [Place(Kind.PART, part, 0), Place(Kind.PART, part, 5), Place(Kind.PART, PAGE, 9), Place(Kind.PART, part, 1)],
        [Place(kind, file.digest, 0) for kind, file in zip([Kind.CHUNK, Kind.RECIPE] * 2, files, strict=True)],
    ]
    head = bytes([len(sizes)]) + sizes
    return [head + layout.encode_layout(PAGE, files, places) for places in cases]


def run_recipe(data: bytes) -> None:
    """An accepted recipe is the one encoding of what it says."""
    try:
        decoded = recipe.decode_recipe(data)
    except ManifestError:
        return
    assert recipe.encode_recipe(*decoded) == data
    assert 0 < decoded.size < 2**63
    assert all(len(piece.digest) == DIGEST_SIZE and piece.length > 0 for piece in decoded.pieces)


def seed_recipes() -> list[bytes]:
    pieces = [Piece(file_digest(b"%d" % number), 1 + number * 100_000) for number in range(20)]
    return [recipe.encode_recipe(tag, pieces[:count]) for tag in (0, 1) for count in (1, 2, 20)]


def run_codec(data: bytes) -> None:
    """The first bytes are the size the index announces, the rest is the object; what comes out has that size. Once
    more with the size that the frame announces, which a fuzzer would seldom find."""
    size, body = int.from_bytes(data[:_SIZES], "little"), data[_SIZES:]
    sizes = {size}
    with suppress(zstandard.ZstdError):
        sizes.add(zstandard.frame_content_size(body))
    for announced in sizes:
        for method in Codec:
            try:
                plain = codec.decode(Kind.PART, Stored(method, announced, body))
            except IntegrityError:
                continue
            assert len(plain) == announced <= codec.MAX_SIZE[Kind.PART]


def seed_frames() -> list[bytes]:
    plains = [b"", b"abc", b"again and " * 500, bytes(100_000), bytes(range(256)) * 300]
    stored = [codec.encode(plain, level) for plain in plains for level in (1, 19)]
    return [item.size.to_bytes(_SIZES, "little") + item.data for item in stored]


def run_path(data: bytes) -> None:
    """A path is split into names a manifest may hold, or refused; shown to people it moves no cursor."""
    text = names.to_text(data)
    assert names.to_bytes(text) == data
    assert not set(names.display(data)) & set("\n\r\t\x1b\x7f\x85\u2028\u2029\u202e")
    try:
        parts = names.split_path(data)
    except UsageError:
        return
    assert names.split_path(text) == parts
    assert all(map(names.is_valid_name, parts))
    assert names.split_path(b"/".join(parts)) == parts


def seed_paths() -> list[bytes]:
    return [
        b"", b"/", b"a/b", b"//a//", b"..", b"a/../b", b".jvs/x", b".JVS", b"\xff\xfe/x", b"\x1b[31m",
        ".jv\u017f".encode(), "\u202e\u2028".encode(), b"x" * 256, b"a\0b", b"a/" * 2050,
    ]  # fmt: skip


TARGETS = {
    "page": Target(run_page, seed_pages),
    "layout": Target(run_layout, seed_layouts),
    "recipe": Target(run_recipe, seed_recipes),
    "codec": Target(run_codec, seed_frames),
    "path": Target(run_path, seed_paths),
}
