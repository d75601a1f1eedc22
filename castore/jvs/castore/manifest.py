"""Manifests: the entries of a directory, and the canonical encoding of the pages that hold them (DESIGN 4.1, 4.2).

A page is the msgpack array `[tag, rows]` (tags 0 and 1) or `[2, level, rows]`; its digest is BLAKE3 of exactly these
bytes under a context of its own. The in-memory entries are named tuples whose fields *are* the encoded rows, so that
encoding is one call. `decode_page` is the only decoder: it checks every field, name and order, and refuses anything
that does not encode to the very same bytes again.

Directory entries and index rows carry totals (entries and bytes below, recursively): `du`, progress and quotas need
one page. A total is a function of the content, so identical trees still have identical ids on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgpack

from jvs.castore.digest import DIGEST_SIZE, EMPTY_DIGEST, Digest, page_digest
from jvs.castore.names import MAX_TARGET, is_valid_name
from jvs.errors import ManifestError

FILE: Final = 0
DIRECTORY: Final = 1
SYMLINK: Final = 2

SINGLE: Final = 0
LEAF: Final = 1
INDEX: Final = 2

MAX_SINGLE: Final = 256
"""A directory of up to this many entries is one page; so is a level of up to this many index rows."""
MAX_RUN: Final = 4096
"""A leaf or index page is cut after this many rows when no boundary came."""
MAX_LEVEL: Final = 8
_MAX_NUMBER: Final = 2**63 - 1


class File(NamedTuple):
    """A regular file. mode: permission bits & 0o7777; size in bytes; digest: BLAKE3 of its bytes."""

    name: bytes
    kind: Literal[0]
    mode: int
    size: int
    digest: Digest


class Directory(NamedTuple):
    """A directory. digest: of its root page; entries and bytes: everything below it, recursively."""

    name: bytes
    kind: Literal[1]
    mode: int
    digest: Digest
    entries: int
    bytes: int


class Symlink(NamedTuple):
    """A symbolic link. target: 1 to 4,095 bytes without NUL, never followed by anything in this package."""

    name: bytes
    kind: Literal[2]
    target: bytes


Entry: TypeAlias = File | Directory | Symlink


class Child(NamedTuple):
    """A row of an index page: a child page whose names lie in (last name of the previous row, `last`].

    own: entries of the directory itself in it; entries, bytes: totals as in `Directory`.
    """

    last: bytes
    digest: Digest
    own: int
    entries: int
    bytes: int


class Tree(NamedTuple):
    """A whole directory: digest of its root page (for a snapshot's root: the CA id) and its recursive totals."""

    digest: Digest
    entries: int
    bytes: int


class Page(NamedTuple):
    """A decoded page. A single or leaf page has `entries`, an index page has `children` (and level >= 1)."""

    tag: int
    level: int
    entries: tuple[Entry, ...]
    children: tuple[Child, ...]

    @property
    def totals(self) -> tuple[int, int, int]:
        """(own entries of the directory, entries below recursively, bytes below)."""
        if self.tag == INDEX:
            return (
                sum(c.own for c in self.children),
                sum(c.entries for c in self.children),
                sum(c.bytes for c in self.children),
            )
        return (len(self.entries), *totals(self.entries))

    @property
    def last(self) -> bytes:
        """Its last name (b"" for an empty directory)."""
        if self.tag == INDEX:
            return self.children[-1].last
        return self.entries[-1].name if self.entries else b""


EMPTY_PAGE: Final = msgpack.packb([SINGLE, []])
EMPTY_TREE: Final = Tree(page_digest(EMPTY_PAGE), 0, 0)
"""The empty directory."""


def totals(entries: Sequence[Entry]) -> tuple[int, int]:
    """(entries below, bytes below) of a run of entries."""
    count = len(entries)
    size = 0
    for entry in entries:
        if entry[1] == FILE:
            size += entry[3]
        elif entry[1] == DIRECTORY:
            count += entry[4]
            size += entry[5]
    return count, size


def small_files(entries: Sequence[Entry]) -> list[File]:
    """The non-empty regular files of a page in order: those a layout says where they lie."""
    return [entry for entry in entries if entry[1] == FILE and entry[3]]


def encode_entries(tag: int, entries: Sequence[Entry]) -> bytes:
    """Bytes of a single or leaf page; `entries` sorted by name."""
    data: bytes = msgpack.packb((tag, entries))
    return data


def encode_index(level: int, children: Sequence[Child]) -> bytes:
    """Bytes of an index page of `level` (1 is directly above the leaves)."""
    data: bytes = msgpack.packb((INDEX, level, children))
    return data


def decode_page(data: bytes) -> Page:
    """Decode and check one page; raises ManifestError for anything that is not canonical.

    Limits stand before allocation. msgpack makes room for an array as soon as it sees its length, and arrays nest
    1,024 deep: with rows bounded by the format that is 32 MiB at worst, whatever the bytes say.
    """
    try:
        raw = msgpack.unpackb(data, raw=True, use_list=False, max_array_len=MAX_RUN, max_map_len=0, max_ext_len=0)
    except Exception as error:  # msgpack raises a family without a useful common base
        raise ManifestError(f"a manifest page is not msgpack: {error}") from error
    if type(raw) is tuple and len(raw) == 2 and raw[0] in (SINGLE, LEAF) and type(raw[0]) is int:
        page = Page(raw[0], 0, _entries(raw[1]), ())
        limit = MAX_SINGLE if raw[0] == SINGLE else MAX_RUN
        if len(page.entries) > limit or (raw[0] == LEAF and not page.entries):
            raise ManifestError(f"a manifest page of tag {raw[0]} may not hold {len(page.entries)} entries")
        again = encode_entries(page.tag, page.entries)
    elif type(raw) is tuple and len(raw) == 3 and raw[0] == INDEX and type(raw[0]) is int:
        if type(raw[1]) is not int or not 1 <= raw[1] <= MAX_LEVEL:
            raise ManifestError("an index page's level is out of range")
        page = Page(INDEX, raw[1], (), _children(raw[2]))
        again = encode_index(page.level, page.children)
    else:
        raise ManifestError("a manifest page has an unknown shape")
    if again != data:
        raise ManifestError("a manifest page is not in its canonical encoding")
    if max(page.totals) > _MAX_NUMBER:
        raise ManifestError("a manifest page's totals are out of range")
    return page


def _number(value: object, limit: int = _MAX_NUMBER) -> bool:
    return type(value) is int and 0 <= value <= limit


def _digest(value: object) -> bool:
    return type(value) is bytes and len(value) == DIGEST_SIZE


def _entries(rows: object) -> tuple[Entry, ...]:
    if type(rows) is not tuple:
        raise ManifestError("a manifest page's rows are not an array")
    out: list[Entry] = []
    previous = b""
    for row in rows:
        if type(row) is not tuple or len(row) < 3:
            raise ManifestError("a manifest entry is not an array of three or more")
        name, kind = row[0], row[1]
        if type(name) is not bytes or not is_valid_name(name):
            raise ManifestError(f"a manifest may not hold the name {name!r:.300}")
        if name <= previous:
            raise ManifestError(f"manifest names are not in order at {name!r}")
        previous = name
        if type(kind) is not int:
            raise ManifestError(f"the entry {name!r} has no kind")
        if (  # nearly all rows are files: what is asked of them is asked without further calls
            kind == FILE
            and len(row) == 5
            and type(mode := row[2]) is int
            and 0 <= mode <= 0o7777
            and type(size := row[3]) is int
            and 0 <= size <= _MAX_NUMBER
            and type(digest := row[4]) is bytes
            and len(digest) == DIGEST_SIZE
            and (size or digest == EMPTY_DIGEST)  # nobody would ever read the bytes that show this lie
        ):
            out.append(tuple.__new__(File, row))
        elif (
            kind == DIRECTORY
            and len(row) == 6
            and _number(row[2], 0o7777)
            and _digest(row[3])
            and _number(row[4])
            and _number(row[5])
        ):
            out.append(tuple.__new__(Directory, row))
        elif (
            kind == SYMLINK
            and len(row) == 3
            and type(row[2]) is bytes
            and 0 < len(row[2]) <= MAX_TARGET
            and b"\0" not in row[2]
        ):
            out.append(tuple.__new__(Symlink, row))
        else:
            raise ManifestError(f"the entry {name!r} is neither a file, nor a directory, nor a symlink")
    return tuple(out)


def _children(rows: object) -> tuple[Child, ...]:
    if type(rows) is not tuple or not 1 <= len(rows) <= MAX_RUN:
        raise ManifestError("an index page has too few or too many rows")
    out: list[Child] = []
    previous = b""
    for row in rows:
        if type(row) is not tuple or len(row) != 5:
            raise ManifestError("an index row is not an array of five")
        last, digest, count, entries, size = row
        if type(last) is not bytes or not is_valid_name(last) or last <= previous:
            raise ManifestError("index rows are not in order")
        if not (_digest(digest) and _number(entries) and _number(count, entries) and count and _number(size)):
            raise ManifestError("an index row has a malformed digest or total")
        previous = last
        out.append(tuple.__new__(Child, row))
    return tuple(out)
