"""What differs between two trees: descends only where digests differ (DESIGN 4.2, 8).

Pages that both sides have are cancelled unread, so the cost follows the changes, never the trees. Renames of files are
found by digest among what was added and removed; a moved directory is one rename when its digest did not change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from jvs.castore import pages
from jvs.castore.digest import EMPTY_DIGEST, Digest
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Entry
from jvs.castore.pages import PageReader

_Content = tuple[int, bytes]


class Difference(NamedTuple):
    """One path that differs. before, after: the entries (None: not there). A directory of which only the content
    differs is not listed, what differs below it is; one that was added or removed is, followed by all below it.
    """

    path: tuple[bytes, ...]
    before: Entry | None
    after: Entry | None


def diff_trees(read: PageReader, before: Digest | None, after: Digest | None) -> Iterator[Difference]:
    """Every path that differs between two snapshots (None: the empty tree), in path order, as it is found.

    A path that changes between directory and not is given as the change itself, then what was below the directory.
    """
    stack: list[Iterator[tuple[tuple[bytes, ...], Entry | None, Entry | None]]] = [_level(read, (), before, after)]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            continue
        path, one, two = step
        left = pages.descend(read, one) if one is not None and one[1] == DIRECTORY else None
        right = pages.descend(read, two) if two is not None and two[1] == DIRECTORY else None
        if left is None or right is None or one[2] != two[2]:  # type: ignore[index]
            yield Difference(path, one, two)
        if left != right:
            stack.append(_level(read, path, left, right))


def _level(
    read: PageReader, path: tuple[bytes, ...], before: Digest | None, after: Digest | None
) -> Iterator[tuple[tuple[bytes, ...], Entry | None, Entry | None]]:
    for name, one, two in pages.diff_entries(read, before, after):
        yield (*path, name), one, two


class Rename(NamedTuple):
    """A removed path and an added one with the same content."""

    before: Difference
    after: Difference


def match_renames(differences: list[Difference]) -> tuple[list[Difference], list[Rename]]:
    """(what is left, the renames) by identical content: files and symlinks, not empty ones, paired in path order,
    a pair with the same last name first. Modes may differ. Whole directories show as the renames of their files."""
    removed: dict[_Content, list[Difference]] = defaultdict(list)
    by_name: dict[tuple[_Content, bytes], list[Difference]] = defaultdict(list)
    for difference in reversed(differences):  # the lists are taken from their ends
        if difference.after is None and (key := _content(difference.before)) is not None:
            removed[key].append(difference)
            by_name[key, difference.path[-1]].append(difference)
    renames: list[Rename] = []
    gone: set[tuple[bytes, ...]] = set()
    for difference in differences:
        key = _content(difference.after) if difference.before is None else None
        if key is None:
            continue
        for candidates in (by_name.get((key, difference.path[-1]), []), removed.get(key, [])):
            while candidates and candidates[-1].path in gone:
                candidates.pop()
            if candidates:
                source = candidates.pop()
                renames.append(Rename(source, difference))
                gone.update((source.path, difference.path))
                break
    return [difference for difference in differences if difference.path not in gone], renames


def _content(entry: Entry | None) -> _Content | None:
    if entry is None:
        return None
    if entry[1] == FILE and entry[4] != EMPTY_DIGEST:
        return FILE, entry[4]
    if entry[1] == SYMLINK:
        return SYMLINK, entry[2]
    return None
