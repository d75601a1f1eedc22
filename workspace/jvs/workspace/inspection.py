"""Reading snapshots: listings, file contents, verification, figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from jvs.castore import pages
from jvs.castore.backend import Kind, ObjectInfo, Ref
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, Entry, small_files
from jvs.castore.names import display, split_path
from jvs.castore.objects import ObjectStore
from jvs.errors import MissingObjectError, UnknownError, UsageError
from jvs.workspace.reading import pinned, unless_collected
from jvs.workspace.results import StatsResult, StatsRow, TreeItem, TreeResult

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

T = TypeVar("T")


def tree(repo: Repo, revision: str, depth: int | None) -> TreeResult:
    """The listing of `REV[:PATH]`: a directory, recursively to `depth` levels (None: all), or one file or symlink."""
    resolved = repo.resolve(revision)
    path = split_path(resolved.path or b"")
    with unless_collected(repo, resolved.ca_id):
        return _tree(repo, resolved.ca_id, path, depth)


def _tree(repo: Repo, ca_id: Digest, path: tuple[bytes, ...], depth: int | None) -> TreeResult:
    objects = repo.objects
    if path:
        entry = objects.resolve(ca_id, path).entry
        if entry[1] != DIRECTORY:
            item = TreeItem(b"/".join(path), 0, entry)
            size = entry[3] if entry[1] == FILE else 0
            return TreeResult(ca_id, b"/".join(path), 1, size, iter((item,)))
    root = objects.subtree(ca_id, path)
    totals = objects.tree(root)
    listing = _unless_collected(repo, ca_id, _listing(objects, root, path, depth))
    return TreeResult(ca_id, b"/".join(path), totals.entries, totals.bytes, listing)


def _unless_collected(repo: Repo, root: Digest, items: Iterator[T]) -> Iterator[T]:
    with unless_collected(repo, root):
        yield from items


def _listing(objects: ObjectStore, root: Digest, path: tuple[bytes, ...], depth: int | None) -> Iterator[TreeItem]:
    stack: list[tuple[tuple[bytes, ...], Iterator[Entry]]] = [(path, pages.iter_entries(objects.page, root))]
    while stack:
        above, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        level = len(stack) - 1
        yield TreeItem(b"/".join((*above, entry[0])), level, entry)
        if entry[1] == DIRECTORY and (depth is None or level + 1 < depth):
            below = pages.iter_entries(objects.page, objects.descend(entry))
            stack.append(((*above, entry[0]), below))


def cat(repo: Repo, revision: str, byte_range: tuple[int | None, int | None] | None) -> Iterator[bytes]:
    """The bytes of `REV:PATH`, streamed. byte_range: (first, last), inclusive as in HTTP; (None, n) is the last n
    bytes, (n, None) all from n on. Raises UnknownError for a path that is no file, UsageError for a nonsense range."""
    resolved = repo.resolve(revision)
    if not resolved.path:
        raise UsageError(f"{revision} names a snapshot, not a file", code="bad-path", next="jvs fs cat REV:PATH")
    path = split_path(resolved.path)
    with unless_collected(repo, resolved.ca_id):
        page, entry = repo.objects.resolve(resolved.ca_id, path)
    if entry[1] != FILE:
        what = "a directory" if entry[1] == DIRECTORY else "a symbolic link"
        raise UnknownError(
            f"{display(resolved.path)} is {what}, not a file", code="unknown-path", next=f"jvs fs tree {revision}"
        )
    if byte_range is None:
        return _pinned(repo, resolved.ca_id, entry.size, repo.objects.read(page, entry))
    first, last = byte_range
    if first is None:
        first, last = max(0, entry.size - (last or 0)), entry.size - 1
    last = entry.size - 1 if last is None else last
    if first < 0 or (first > max(last, 0) and entry.size):
        raise UsageError(f"the range {first}-{last} is empty", code="usage", next="jvs fs cat --help")
    size = last - first + 1
    return _pinned(repo, resolved.ca_id, size, repo.objects.read_range(page, entry, first, size))


def _pinned(repo: Repo, root: Digest, size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """`pieces`, with their snapshot pinned when they are more than are read at once."""
    if size <= repo.store.settings.chunk_max:
        return _unless_collected(repo, root, pieces)
    return _while_pinned(repo, root, pieces)


def _while_pinned(repo: Repo, root: Digest, pieces: Iterator[bytes]) -> Iterator[bytes]:
    with pinned(repo, root, what="cat"):
        yield from pieces


def stats(repo: Repo, by: str | None) -> StatsResult:
    """Logical and stored bytes of the store; grouped `by` label (heads) or snapshot (every one in a reflog).

    Reads every index row, and with snapshots every page once: O(objects).
    """
    snapshots = repo.snapshots()
    counts: dict[str, int] = {}
    unique = stored = 0
    for kind in Kind:
        number = 0
        for info in repo.store.list(kind):
            number += 1
            unique += info.size
            stored += info.stored
        counts[kind.name.lower()] = number
    labels = list(repo.list_labels(None))
    logical = 0
    for ca_id, _at in snapshots:
        logical += repo.objects.tree(ca_id).bytes
    rows: list[StatsRow] = []
    if by is not None:
        weigh = _Weigher(repo.objects)
        listed = (
            [(info.name, info.ca_id, info.at_ms) for info in sorted(labels, key=lambda info: info.at_ms)]
            if by == "label"
            else [(ca_id.hex()[:12], ca_id, at_ms) for ca_id, at_ms in snapshots]
        )
        for name, ca_id, at_ms in listed:
            added, added_stored = weigh.add(ca_id)
            totals = repo.objects.tree(ca_id)
            rows.append(StatsRow(name, ca_id, at_ms, totals.entries, totals.bytes, added, added_stored))
    return StatsResult(len(labels), len(snapshots), counts, logical, unique, stored, repo.disk_usage(), by, tuple(rows))


class _Weigher:
    """What each snapshot adds to those weighed before it: plain and stored bytes of objects not seen yet."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._seen: set[Ref] = set()

    def add(self, root: Digest) -> tuple[int, int]:
        """(plain bytes, stored bytes) that only this snapshot needs so far."""
        plain = stored = 0
        stack = [Ref(Kind.PAGE, root)]
        while stack:
            ref = stack.pop()
            if ref in self._seen:
                continue
            self._seen.add(ref)
            info = self._info(ref)
            plain += info.size
            stored += info.stored
            stack.extend(self._children(ref))
        return plain, stored

    def _info(self, ref: Ref) -> ObjectInfo:
        info = self._objects.backend.infos(ref.kind, (ref.key,))[0]
        if info is None:
            raise MissingObjectError(
                f"the {ref.kind.name.lower()} {ref.key.hex()} is not in the store",
                kind=ref.kind.name.lower(),
                digest=ref.key.hex(),
            )
        return info

    def _children(self, ref: Ref) -> list[Ref]:
        if ref.kind == Kind.PAGE:
            page = self._objects.page(ref.key)
            refs = [Ref(Kind.PAGE, child.digest) for child in page.children]
            refs += [Ref(Kind.PAGE, entry[3]) for entry in page.entries if entry[1] == DIRECTORY]
            return [*refs, Ref(Kind.LAYOUT, ref.key)] if small_files(page.entries) else refs
        if ref.kind == Kind.LAYOUT:
            return self._objects.layout(ref.key).children()
        if ref.kind == Kind.RECIPE:
            return self._objects.recipe_children(ref.key)
        return []
