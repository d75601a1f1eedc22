"""Verification: every byte of a snapshot, or of everything a backend holds (DESIGN 4.3, 12).

A snapshot is verified as a reader would meet it: page by page, every file cut out of its part or put together from its
chunks and compared with its digest. Everything is verified object by object, with the closure of the index: whatever
an object names must be there. Damage is a value; one damaged object never hides the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from jvs.castore import pages
from jvs.castore.backend import Kind, ObjectInfo, Ref
from jvs.castore.codec import decode
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, Directory, File, Page, small_files
from jvs.castore.objects import ObjectStore, check_object, object_children
from jvs.errors import IntegrityError

WORKERS = 2
BATCH = 64
"""Objects handed to a worker at once."""

Tick = Callable[[int, int], None]
"""Called with (bytes read, objects checked) since the last call."""


class Fault(NamedTuple):
    """A damaged object: its name, the path in the snapshot when one is known, and what is wrong."""

    ref: Ref
    path: tuple[bytes, ...] | None
    reason: str


class Checked(NamedTuple):
    """What was verified: objects, plain bytes read, and the faults."""

    objects: int
    bytes: int
    faults: list[Fault]


def _no_tick(_bytes: int, _objects: int) -> None:
    pass


class _Tally:
    """Counts of one verification; `fault` keeps each fault once."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self.objects = 0
        self.bytes = 0
        self.faults: dict[tuple[Ref, tuple[bytes, ...] | None], Fault] = {}

    def add(self, size: int, objects: int = 1) -> None:
        self.objects += objects
        self.bytes += size
        self._tick(size, objects)

    def fault(self, ref: Ref, path: tuple[bytes, ...] | None, error: IntegrityError) -> None:
        self.faults.setdefault((ref, path), Fault(ref, path, error.message))

    def result(self) -> Checked:
        return Checked(self.objects, self.bytes, list(self.faults.values()))


def verify_snapshot(objects: ObjectStore, root: Digest, tick: Tick = _no_tick) -> Checked:
    """Read every byte of the snapshot `root` and compare it with its digest; each page and large file once."""
    tally = _Tally(tick)
    seen: set[Digest] = set()
    large: set[Digest] = set()
    stack: list[tuple[tuple[bytes, ...], Digest]] = [((), root)]
    while stack:
        path, directory = stack.pop()
        try:
            for digest, page in pages.iter_pages(objects.page, directory):
                if digest in seen:
                    continue
                seen.add(digest)
                tally.add(0, 1 + bool(small_files(page.entries)))  # the page, and its layout
                _verify_files(objects, digest, small_files(page.entries), path, large, tally)
                for entry in page.entries:
                    if entry[1] == DIRECTORY:
                        stack.append(((*path, entry.name), entry[3]))
                        _verify_totals(objects, entry, (*path, entry.name), tally)
        except IntegrityError as error:
            tally.fault(_ref_of(error, Ref(Kind.PAGE, directory)), path, error)
    return tally.result()


def _verify_totals(objects: ObjectStore, entry: Directory, path: tuple[bytes, ...] | None, tally: _Tally) -> None:
    try:
        pages.descend(objects.page, entry)
    except IntegrityError as error:
        tally.fault(_ref_of(error, Ref(Kind.PAGE, entry.digest)), path, error)


def _verify_files(
    objects: ObjectStore,
    page: Digest,
    files: Sequence[File],
    path: tuple[bytes, ...] | None,
    large: set[Digest],
    tally: _Tally,
) -> None:
    """Every file of one page; those with chunks of their own (in `large`) once a verification."""
    parts: set[Digest] = set()
    for file in files:
        where = None if path is None else (*path, file.name)
        try:
            place = objects.place(page, file)
            if place.kind == Kind.PART:
                tally.add(len(objects.small_file(page, file)), int(place.key not in parts))
                parts.add(place.key)
            elif file.digest not in large:
                large.add(file.digest)
                for piece in objects.read(page, file):
                    tally.add(len(piece))
        except IntegrityError as error:
            tally.fault(_ref_of(error, Ref(Kind.LAYOUT, page)), where, error)


def _ref_of(error: IntegrityError, otherwise: Ref) -> Ref:
    """The object an error names, or the one that was being read."""
    kind, digest = error.details.get("kind"), error.details.get("digest")
    if isinstance(kind, str) and isinstance(digest, str) and kind.upper() in Kind.__members__:
        return Ref(Kind[kind.upper()], bytes.fromhex(digest))
    return otherwise


def verify_all(objects: ObjectStore, tick: Tick = _no_tick) -> Checked:
    """Read every object, compare it with its name, and look up everything it names; then every file of every page, and
    whether the pages below it are what it says of them.

    Paths are not known here: `affected_paths` finds them for the faults.
    """
    tally = _Tally(tick)
    large: set[Digest] = set()

    def check(batch: list[ObjectInfo]) -> list[tuple[Ref, int, IntegrityError | None]]:
        return [_check_one(objects, info) for info in batch]

    with ThreadPoolExecutor(WORKERS, "jvs-verify") as pool:
        for kind in Kind:
            for results in _map_batches(pool, check, objects.backend.list(kind)):
                for ref, size, error in results:
                    tally.add(size)
                    if error is not None:
                        tally.fault(ref, None, error)
    again = _Tally(_no_tick)  # every byte was counted above
    for info in objects.backend.list(Kind.PAGE):
        try:
            page = objects.page(info.key)
        except IntegrityError:
            continue  # found above already
        _verify_below(objects, info.key, page, again)
        _verify_files(objects, info.key, small_files(page.entries), None, large, again)
    tally.faults |= again.faults
    return tally.result()


def _verify_below(objects: ObjectStore, digest: Digest, page: Page, tally: _Tally) -> None:
    """Whether the pages that a page names are what it says of them. What depends on the pages above it, whether its
    first names come after those of the page before it, is seen by verifying a snapshot."""
    for entry in page.entries:
        if entry[1] == DIRECTORY:
            _verify_totals(objects, entry, None, tally)
    previous = b""
    for number, row in enumerate(page.children, 1):
        try:
            pages.check_child(previous, row, objects.page(row.digest), page.level, is_last=number == len(page.children))
        except IntegrityError as error:
            tally.fault(_ref_of(error, Ref(Kind.PAGE, digest)), None, error)
        previous = row.last


def _check_one(objects: ObjectStore, info: ObjectInfo) -> tuple[Ref, int, IntegrityError | None]:
    """(object, its plain bytes, what is wrong with it)."""
    ref = Ref(info.kind, info.key)
    try:
        plain = decode(info.kind, objects.backend.get(info.kind, info.key))
        check_object(info.kind, info.key, plain)
        for child in object_children(info.kind, info.key, plain):
            if objects.backend.missing(child.kind, (child.key,)):
                return (
                    child,
                    len(plain),
                    IntegrityError(
                        f"the {child.kind.name.lower()} {child.key.hex()} is named by a {info.kind.name.lower()} "
                        "and is not in the store"
                    ),
                )
        return ref, len(plain), None
    except IntegrityError as error:
        return ref, 0, error


def _map_batches(
    pool: ThreadPoolExecutor,
    work: Callable[[list[ObjectInfo]], list[tuple[Ref, int, IntegrityError | None]]],
    infos: Iterable[ObjectInfo],
) -> Iterator[list[tuple[Ref, int, IntegrityError | None]]]:
    """`work` over batches of `infos`, a few batches ahead, in order."""
    waiting = []
    for batch in _batches(infos):
        waiting.append(pool.submit(work, batch))
        if len(waiting) > 2 * WORKERS:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _batches(infos: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    batch: list[ObjectInfo] = []
    for info in infos:
        batch.append(info)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def affected_paths(objects: ObjectStore, root: Digest, faults: Iterable[Fault]) -> Iterator[Fault]:
    """The faults that the snapshot `root` meets, each with the first path that meets it."""
    wanted = {fault.ref: fault for fault in faults}
    stack: list[tuple[tuple[bytes, ...], Digest]] = [((), root)]
    seen: set[Digest] = set()

    def hit(ref: Ref, path: tuple[bytes, ...]) -> Iterator[Fault]:
        fault = wanted.pop(ref, None)
        if fault is not None:
            yield fault._replace(path=path)

    while stack and wanted:
        path, directory = stack.pop()
        yield from hit(Ref(Kind.PAGE, directory), path)
        try:
            for digest, page in pages.iter_pages(objects.page, directory):
                if digest in seen:
                    continue
                seen.add(digest)
                yield from hit(Ref(Kind.PAGE, digest), path)
                stack.extend(((*path, e.name), e[3]) for e in page.entries if e[1] == DIRECTORY)
                files = small_files(page.entries)
                if files:
                    yield from hit(Ref(Kind.LAYOUT, digest), path)
                for file in files:
                    for ref in _file_refs(objects, digest, file):
                        yield from hit(ref, (*path, file.name))
        except IntegrityError:
            continue  # a damaged page is a fault of its own, reported at its path above


def _file_refs(objects: ObjectStore, page: Digest, file: File) -> Iterator[Ref]:
    """The objects one file's bytes lie in, as far as they can be read."""
    try:
        place = objects.place(page, file)
        yield Ref(place.kind, place.key)
        if place.kind == Kind.RECIPE:
            for piece in objects.chunks(file.digest):
                yield Ref(Kind.CHUNK, piece.digest)
    except IntegrityError:
        return
