"""Directories as pages: cutting them, editing them, and walking two of them at once (DESIGN 4.2).

Up to 256 entries are one page. Above, leaf pages are cut after every entry whose name hashes to a boundary (one in 128
on average; a run without one is cut every 4,096), and index pages list them, cut by the same rule on rarer boundaries
with at least 32 rows to a cut. The cut depends on the set of names alone: content edits never move it, and the same
names always give the same pages, whatever the history.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from heapq import merge as heap_merge
from operator import ge
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
    return (_number_of(name) >> (_BITS * level)) & ((1 << _BITS) - 1) == 0


@lru_cache(1 << 14)  # versions of a page have the same names, and a diff or a merge checks several of them
def _number_of(name: bytes) -> int:
    return int.from_bytes(blake3(name).digest(8), "little")


def new_page(tag: int, entries: Sequence[Entry]) -> NewPage:
    """Encode a single or leaf page; raises ValueError when the entries are not in name order (nobody could read it)."""
    names = [entry[0] for entry in entries]
    if any(map(ge, names, names[1:])):
        raise ValueError("entries are added in name order, each name once")
    data = encode_entries(tag, entries)
    below = dict.fromkeys(entry[3] for entry in entries if entry[1] == DIRECTORY)
    return NewPage(page_digest(data), data, entries, tuple(below))


class PageCutter:
    """Turns a directory's entries, added in name order, into pages handed to `emit`, children before parents.

    `emit` sees every page exactly once, as soon as it is complete; memory is bounded by one page (plus one row per
    page of the directory). large: whether it is known already that there will be more than 256 entries.
    """

    def __init__(self, emit: Callable[[NewPage], None], *, large: bool = False) -> None:
        self._emit = emit
        self._pending: list[Entry] = []
        self._large = large
        self._rows: list[Child] = []
        self._own = 0

    @property
    def own(self) -> int:
        """Entries of the directory so far."""
        return self._own + len(self._pending)

    @property
    def at_cut(self) -> bool:
        """Whether the next entry begins a page."""
        return not self._pending

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

    def keep(self, row: Child) -> None:
        """A whole leaf as it was, in place of its entries; only where a page begins."""
        self._row(row, row.last)

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
        self._row(Child(entries[-1][0], page.digest, len(entries), *totals(entries)), entries[0][0])
        self._emit(page)

    def _row(self, row: Child, first: bytes) -> None:
        if self._rows and first <= self._rows[-1].last:
            raise ValueError("entries are added in name order, each name once")
        self._rows.append(row)
        self._own += row.own


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


def read_root(read: PageReader, digest: Digest) -> Page:
    """The root page of a directory; raises ManifestError when it can only stand in the middle of one."""
    page = read(digest)
    if page.tag == LEAF or (page.tag == INDEX and page.totals[0] <= MAX_SINGLE):
        raise ManifestError(f"the page {digest.hex()} is not the root of a directory")
    if len(page.children) > MAX_SINGLE and _cut_inside([row.last for row in page.children], page.level):
        raise ManifestError(f"the root page {digest.hex()} of a directory is not cut where the rule puts it")
    return page


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
    ended = len(names) == MAX_RUN or (len(names) >= _shortest(below) and is_boundary(names[-1], below))
    if _cut_inside(names, below) or not (ended or is_last):
        raise ManifestError(f"a page under an index is not cut where the rule puts it, at {row.last!r}")


def _shortest(level: int) -> int:
    """Fewest rows of a page of `level` that are cut at a boundary."""
    return MIN_INDEX if level else 1


def _cut_inside(names: Sequence[bytes], level: int) -> bool:
    """Whether the rule cuts a page of `level` with these (last) names before its end."""
    return any(is_boundary(name, level) for name in names[_shortest(level) - 1 : -1])


def leaf_rows(read: PageReader, root: Page) -> Iterator[tuple[bytes, Child]]:
    """(previous last name, row) of every leaf below an index page that is a root, in order; every index page is
    checked on the way, and that there is no more than one level of them without need."""
    if root.level > 1 and len(root.children) <= MAX_SINGLE // MIN_INDEX + 1:
        below = sum(len(read(row.digest).children) for row in root.children)
        if len(root.children) == 1 or below <= MAX_SINGLE:
            raise ManifestError("a directory has more levels of pages than it needs")
    yield from _leaf_rows(read, root, b"", True)


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
    root = read_root(read, digest)
    if root.tag != INDEX:
        yield digest, root
        return
    for previous, row in leaf_rows(read, root):
        leaf = read(row.digest)
        check_child(previous, row, leaf, 1, is_last=row.last == root.last)
        yield row.digest, leaf


def iter_entries(read: PageReader, digest: Digest) -> Iterator[Entry]:
    """Every entry of one directory (not below), in name order."""
    for _, page in iter_pages(read, digest):
        yield from page.entries


def descend(read: PageReader, entry: Directory) -> Digest:
    """The root page of a directory entry, its totals compared with what the entry claims (ManifestError)."""
    if read_root(read, entry.digest).totals[1:] != (entry.entries, entry.bytes):
        raise ManifestError(f"the directory {display(entry.name)} does not have the totals its entry claims")
    return entry.digest


def find(read: PageReader, digest: Digest, name: bytes) -> tuple[Digest, Entry] | None:
    """(digest of the page it lies in, entry) of `name` in one directory, or None. O(levels) pages."""
    page = read_root(read, digest)
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
    root = read_root(read, base)
    names = sorted(changes)
    if root.tag != INDEX:
        cutter = PageCutter(emit)
        for entry in _apply(root.entries, names, changes):
            cutter.add(entry)
        return cutter.finish()

    held: list[NewPage] = []  # leaves, until it is certain that the directory does not shrink to one page

    def hold(page: NewPage) -> None:
        held.append(page)
        if cutter.own > MAX_SINGLE:
            for leaf in held:
                emit(leaf)
            held.clear()

    cutter = PageCutter(hold, large=True)
    at = 0  # names[:at] are done
    for previous, row in leaf_rows(read, root):
        is_last = row.last == root.last
        upto = len(names) if is_last else bisect_right(names, row.last, at)
        if upto == at and cutter.at_cut:
            cutter.keep(row)
            continue
        leaf = read(row.digest)
        check_child(previous, row, leaf, 1, is_last=is_last)
        for entry in _apply(leaf.entries, names[at:upto], changes):
            cutter.add(entry)
        at = upto
    if cutter.own <= MAX_SINGLE:  # as many names were removed as are read again here
        cutter = PageCutter(emit)
        for entry in _apply(iter_entries(read, base), names, changes):
            cutter.add(entry)
    return cutter.finish()


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
    that differ in ten cost a few dozen pages. Memory: one row per leaf that only one side has.
    """
    if a == b:
        return
    left, right = (_entries(read, items) for items in _differing(read, a, b))
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] < two[0]):
            assert one is not None
            yield one[0], one, None
            one = next(left, None)
        elif one is None or two[0] < one[0]:
            yield two[0], None, two
            two = next(right, None)
        else:
            if one != two:
                yield one[0], one, two
            one, two = next(left, None), next(right, None)


class _Item(NamedTuple):
    """A page of one side that is not cancelled yet, and all that `check_child` wants to know (row: None for a root)."""

    level: int
    digest: Digest
    previous: bytes
    row: Child | None
    is_last: bool


def _differing(read: PageReader, a: Digest | None, b: Digest | None) -> list[list[_Item]]:
    """The leaves that only one of the two sides has."""
    sides = [
        [] if digest is None else [_Item(read_root(read, digest).level, digest, b"", None, True)] for digest in (a, b)
    ]
    while top := max((item.level for side in sides for item in side), default=0):
        sides = [[below for item in side for below in _expand(read, item, top)] for side in sides]
        common = set.intersection(*({item[:2] for item in side} for side in sides))
        sides = [[item for item in side if item[:2] not in common] for side in sides]
    return sides


def _expand(read: PageReader, item: _Item, level: int) -> Iterator[_Item]:
    """The children of a page of `level`; a page below it is itself."""
    if item.level < level:
        yield item
        return
    previous = item.previous
    page = _open(read, item)
    for number, row in enumerate(page.children, 1):
        yield _Item(level - 1, row.digest, previous, row, item.is_last and number == len(page.children))
        previous = row.last


def _entries(read: PageReader, items: Sequence[_Item]) -> Iterator[Entry]:
    for item in items:
        yield from _open(read, item).entries


def _open(read: PageReader, item: _Item) -> Page:
    if item.row is None:
        return read_root(read, item.digest)
    page = read(item.digest)
    check_child(item.previous, item.row, page, item.level + 1, is_last=item.is_last)
    return page
