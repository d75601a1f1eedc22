"""Directories as pages: cutting them, editing them, and walking two of them at once (DESIGN 4.2).

Up to 256 entries are one page. Above, leaf pages are cut after every entry whose name hashes to a boundary (one in 128
on average; a run without one is cut every 4,096), and index pages list them, cut by the same rule on rarer boundaries
with at least 32 rows to a cut. The cut depends on the set of names alone: content edits never move it, and the same
names always give the same pages, whatever the history.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge as heap_merge
from typing import NamedTuple

from blake3 import blake3

from jvs.castore.digest import Digest, page_digest
from jvs.castore.manifest import (
    DIRECTORY,
    INDEX,
    LEAF,
    MAX_LEVEL,
    MAX_RUN,
    MAX_SINGLE,
    SINGLE,
    Child,
    Directory,
    Entry,
    Page,
    Tree,
    encode_entries,
    encode_index,
    totals,
)
from jvs.castore.names import display
from jvs.errors import ManifestError

MIN_INDEX = 32
_BITS = 7  # a boundary at one name in 2**7 on every level

PageReader = Callable[[Digest], Page]
"""Returns the decoded, verified page of that digest."""


class NewPage(NamedTuple):
    """A page that was just made. children: digests of the pages directly below it (index rows, or subdirectories)."""

    digest: Digest
    data: bytes
    entries: Sequence[Entry]
    children: Sequence[Digest]


def is_boundary(name: bytes, level: int = 0) -> bool:
    """Whether a page of `level` (0: leaf) ends after `name`."""
    value = int.from_bytes(blake3(name).digest(8), "little")
    return (value >> (_BITS * level)) & ((1 << _BITS) - 1) == 0


def new_page(tag: int, entries: Sequence[Entry]) -> NewPage:
    """Encode a single or leaf page."""
    data = encode_entries(tag, entries)
    below = dict.fromkeys(entry[3] for entry in entries if entry[1] == DIRECTORY)
    return NewPage(page_digest(data), data, entries, tuple(below))


class PageCutter:
    """Turns a directory's entries, added in name order, into pages handed to `emit`, children before parents.

    `emit` sees every page exactly once, as soon as it is complete; memory is bounded by one page (plus one row per
    page of the directory).
    """

    def __init__(self, emit: Callable[[NewPage], None]) -> None:
        self._emit = emit
        self._pending: list[Entry] = []
        self._large = False
        self._rows: list[Child] = []

    def add(self, entry: Entry) -> None:
        """The next entry in name order."""
        pending = self._pending
        pending.append(entry)
        if self._large:
            if len(pending) >= MAX_RUN or is_boundary(entry[0]):
                self._leaf()
        elif len(pending) > MAX_SINGLE:
            self._large = True
            self._pending = []
            for early in pending:
                self.add(early)

    def finish(self) -> Tree:
        """Emit what is left and the index above it; the finished directory."""
        if not self._large:
            page = new_page(SINGLE, self._pending)
            self._emit(page)
            return Tree(page.digest, *totals(self._pending))
        if self._pending:
            self._leaf()
        return build_index(self._rows, self._emit)

    def _leaf(self) -> None:
        entries, self._pending = self._pending, []
        page = new_page(LEAF, entries)
        self._emit(page)
        self._rows.append(Child(entries[-1][0], page.digest, len(entries), *totals(entries)))


def build_index(rows: Sequence[Child], emit: Callable[[NewPage], None]) -> Tree:
    """Emit the index pages above the leaves listed in `rows` (at least one); the finished directory."""
    level = 1
    while len(rows) > 1 or level == 1:
        if level > MAX_LEVEL:
            raise ManifestError("a directory has more levels of pages than the format allows")
        above: list[Child] = []
        for run in _index_runs(rows, level):
            data = encode_index(level, run)
            digest = page_digest(data)
            emit(NewPage(digest, data, (), tuple(dict.fromkeys(row.digest for row in run))))
            count, entries, size = Page(INDEX, level, (), tuple(run)).totals
            above.append(Child(run[-1].last, digest, count, entries, size))
        rows = above
        level += 1
    return Tree(rows[0].digest, rows[0].entries, rows[0].bytes)


def _index_runs(rows: Sequence[Child], level: int) -> Iterator[Sequence[Child]]:
    if len(rows) <= MAX_SINGLE:
        yield rows
        return
    start = 0
    for position, row in enumerate(rows, 1):
        length = position - start
        if length >= MAX_RUN or (length >= MIN_INDEX and is_boundary(row.last, level)):
            yield rows[start:position]
            start = position
    if start < len(rows):
        yield rows[start:]


# ---------------------------------------------------------------------------------------------------------- reading


def check_child(previous_last: bytes, row: Child, page: Page, level: int, *, is_last: bool) -> None:
    """Accept a child page read through an index row, or raise ManifestError.

    level: the parent's; is_last: whether no row of the whole directory follows. Checked: its names lie in
    (previous_last, row.last] and end there, its totals match, and its cut is where the rule puts it.
    """
    if level == 1:
        good = page.tag == LEAF and page.entries[0].name > previous_last
        names = [entry.name for entry in page.entries]
    else:
        good = page.tag == INDEX and page.level == level - 1 and page.children[0].last > previous_last
        names = [child.last for child in page.children]
    if not good or page.last != row.last or page.totals != (row.own, row.entries, row.bytes):
        raise ManifestError(f"a page under an index does not match its row {row.last!r}")
    below = level - 1
    minimum = MIN_INDEX if below else 1
    inner = any(is_boundary(name, below) for name in names[minimum - 1 : -1])
    ended = len(names) == MAX_RUN or (len(names) >= minimum and is_boundary(names[-1], below))
    if inner or not (ended or is_last):
        raise ManifestError(f"a page under an index is not cut where the rule puts it, at {row.last!r}")


def leaf_rows(read: PageReader, page: Page) -> Iterator[tuple[bytes, Child]]:
    """(previous last name, row) of every leaf below an index page, in order; index pages are checked on the way."""
    yield from _leaf_rows(read, page, b"", True)


def _leaf_rows(read: PageReader, page: Page, previous: bytes, is_last: bool) -> Iterator[tuple[bytes, Child]]:
    for number, row in enumerate(page.children, 1):
        if page.level == 1:
            yield previous, row
        else:
            child_last = is_last and number == len(page.children)
            child = read(row.digest)
            check_child(previous, row, child, page.level, is_last=child_last)
            yield from _leaf_rows(read, child, previous, child_last)
        previous = row.last


def iter_pages(read: PageReader, digest: Digest) -> Iterator[tuple[Digest, Page]]:
    """(digest, page) of every page with entries of one directory, in name order; the empty directory gives one."""
    root = read(digest)
    if root.tag != INDEX:
        if root.tag != SINGLE:
            raise ManifestError("a directory's root page is a leaf")
        yield digest, root
        return
    final = root.last
    for previous, row in leaf_rows(read, root):
        leaf = read(row.digest)
        check_child(previous, row, leaf, 1, is_last=row.last == final)
        yield row.digest, leaf


def iter_entries(read: PageReader, digest: Digest) -> Iterator[Entry]:
    """Every entry of one directory (not below), in name order."""
    for _, page in iter_pages(read, digest):
        yield from page.entries


def descend(read: PageReader, entry: Directory) -> Digest:
    """The root page of a directory entry, its totals compared with what the entry claims (ManifestError)."""
    if read(entry.digest).totals[1:] != (entry.entries, entry.bytes):
        raise ManifestError(f"the directory {display(entry.name)} does not have the totals its entry claims")
    return entry.digest


def find(read: PageReader, digest: Digest, name: bytes) -> tuple[Digest, Entry] | None:
    """(digest of the page it lies in, entry) of `name` in one directory, or None. O(levels) pages."""
    page = read(digest)
    previous = b""
    is_last = True
    while page.tag == INDEX:
        position = bisect_left(page.children, name, key=_last_of)
        if position == len(page.children):
            return None
        row = page.children[position]
        previous = page.children[position - 1].last if position else previous
        is_last = is_last and position == len(page.children) - 1
        digest = row.digest
        child = read(digest)
        check_child(previous, row, child, page.level, is_last=is_last)
        page = child
    position = bisect_left(page.entries, name, key=_name_of)
    if position < len(page.entries) and page.entries[position].name == name:
        return digest, page.entries[position]
    return None


def _last_of(row: Child) -> bytes:
    return row.last


def _name_of(entry: Entry) -> bytes:
    return entry[0]


# ---------------------------------------------------------------------------------------------------------- editing


def edit(
    read: PageReader, base: Digest, changes: Mapping[bytes, Entry | None], emit: Callable[[NewPage], None]
) -> Tree:
    """The directory `base` with `changes` (None removes a name; absent ones are ignored) as pages handed to `emit`.

    The result is the very directory that `PageCutter` makes of the same entries. Only leaves that hold a changed name
    (and those a moved cut runs into) are read and made; index pages are read and made anew, which is one row per 128
    entries, and come out identical where nothing changed.
    """
    root = read(base)
    names = sorted(changes)
    if root.tag != INDEX:
        cutter = PageCutter(emit)
        for entry in _apply(root.entries, names, changes):
            cutter.add(entry)
        return cutter.finish()

    rows: list[Child] = []
    pending: list[Entry] = []
    own = 0  # entries of the new directory
    at = 0  # names[:at] are done
    pages: list[NewPage] = []

    def cut() -> None:
        nonlocal pending
        page = new_page(LEAF, pending)
        pages.append(page)
        rows.append(Child(pending[-1][0], page.digest, len(pending), *totals(pending)))
        pending = []

    final = root.last
    for previous, row in leaf_rows(read, root):
        is_last = row.last == final
        upto = len(names) if is_last else bisect_left(names, row.last + b"\0", at)
        if upto == at and not pending:
            rows.append(row)
            own += row.own
            continue
        leaf = read(row.digest)
        check_child(previous, row, leaf, 1, is_last=is_last)
        for entry in _apply(leaf.entries, names[at:upto], changes):
            pending.append(entry)
            own += 1
            if len(pending) >= MAX_RUN or is_boundary(entry[0]):
                cut()
        at = upto
    if own <= MAX_SINGLE:
        # shrunk to one page: at most 256 leaves are left to be read again
        made = {page.digest: page.entries for page in pages}
        cutter = PageCutter(emit)
        for row in rows:
            for entry in made.get(row.digest) or read(row.digest).entries:
                cutter.add(entry)
        for entry in pending:
            cutter.add(entry)
        return cutter.finish()
    if pending:
        cut()
    for page in pages:
        emit(page)
    return build_index(rows, emit)


def _apply(entries: Iterable[Entry], names: Sequence[bytes], changes: Mapping[bytes, Entry | None]) -> Iterator[Entry]:
    """`entries` with the changes named by the sorted `names`."""
    touched = set(names)
    fresh = [entry for name in names if (entry := changes[name]) is not None]
    return heap_merge((entry for entry in entries if entry[0] not in touched), fresh, key=_name_of)


# ---------------------------------------------------------------------------------------------------------- comparing


def diff_entries(
    read: PageReader, a: Digest | None, b: Digest | None
) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
    """(name, entry in a, entry in b) for every name that differs between two directories (None: absent), in order.

    Pages that both sides have are cancelled level by level without being read: two directories of 1,000,000 entries
    that differ in ten cost a few dozen pages.
    """
    if a == b:
        return
    if a is None or b is None:  # nothing to cancel: streamed, as it may be a million entries
        for entry in iter_entries(read, a or b or b""):
            yield (entry[0], None, entry) if a is None else (entry[0], entry, None)
        return
    left, right = _differing(read, a, b)
    mine = {entry[0]: entry for entry in left}
    theirs = {entry[0]: entry for entry in right}
    for name in sorted(mine.keys() | theirs.keys()):
        one, two = mine.get(name), theirs.get(name)
        if one != two:
            yield name, one, two


def _differing(read: PageReader, a: Digest, b: Digest) -> tuple[list[Entry], list[Entry]]:
    """The entries on each side that lie in pages only that side has."""
    sides = [[(_level(read(digest)), digest)] for digest in (a, b)]
    while top := max((level for side in sides for level, _ in side), default=0):
        for number, side in enumerate(sides):
            expanded: list[tuple[int, Digest]] = []
            for level, digest in side:
                if level == top:
                    expanded.extend((level - 1, row.digest) for row in read(digest).children)
                else:
                    expanded.append((level, digest))
            sides[number] = expanded
        common = set(sides[0]) & set(sides[1])
        sides = [[item for item in side if item not in common] for side in sides]
    left, right = ([entry for _, digest in side for entry in read(digest).entries] for side in sides)
    return left, right


def _level(page: Page) -> int:
    return page.level if page.tag == INDEX else 0
