"""Verification of everything a backend holds, in one pass over the bytes and in bounded memory.

Pages come first, each with its layout: they say which bytes of which part must give which file. Large files are put
together from their recipes, which reads their chunks; then come the chunks that no recipe named, and the parts, which
are cut into files as they are read. So every object is read and decompressed once (a chunk once for each large file
that has it), although parts and files, chunks and files are checked each by a digest of their own.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from blake3 import blake3

from jvs.castore import pages
from jvs.castore.backend import Kind, Ref, object_name
from jvs.castore.batches import batched
from jvs.castore.codec import decode
from jvs.castore.digest import Digest, recipe_digest
from jvs.castore.gc.nameset import Budget, NameSet
from jvs.castore.layout import Layout, Place
from jvs.castore.manifest import DIRECTORY, File, Page, small_files
from jvs.castore.objects import ObjectStore, object_children, page_children
from jvs.castore.recipe import CHUNKS, Piece, decode_recipe
from jvs.castore.verify import Checked, Tally, Tick, check_stored, no_tick, verify_children, verify_totals
from jvs.errors import IntegrityError

T = TypeVar("T")
R = TypeVar("R")

WORKERS: Final = 2
AHEAD: Final = 8
"""Chunks, or batches of smaller objects, that are read before they are asked for."""
BATCH: Final = 4
"""Parts, or chunks of small files, handed to a worker at once."""
LIMIT: Final = 400_000
"""Records held in memory at once; the rest is spilled."""

_SLICE: Final = struct.Struct(">32sIQ32s")
"""Bytes of a part that must give a file: the part, offset, size, the file's digest."""
_SIZE: Final = struct.Struct(">33sQ")
"""An object that a file is kept under, and the file's size."""


class _Part(NamedTuple):
    """A part, and what must be found in it (records of _SLICE)."""

    key: Digest
    slices: list[bytes]


class _Read(NamedTuple):
    """What came of reading an object."""

    ref: Ref
    size: int
    error: IntegrityError | None


def verify_all(
    objects: ObjectStore, tick: Tick = no_tick, *, content: bool = True, directory: str | None = None
) -> Checked:
    """Read every object, compare it with its name, and look up everything it names; compare every file of every page
    with its digest, and the pages below a page with what it says of them.

    content    False: only pages, layouts and recipes are read; of parts and chunks it is seen that they are there
    directory  where what does not fit in memory is spilled (None: where the system has temporary files)
    Paths are not known here: `affected` finds them for the faults.
    """
    return _Everything(objects, tick, Budget(directory, LIMIT)).verify(content=content)


class _Everything:
    def __init__(self, objects: ObjectStore, tick: Tick, budget: Budget) -> None:
        self._objects = objects
        self._tally = Tally(tick, listed=True)
        self._slices: NameSet = budget.set(_SLICE.size)
        self._said: NameSet = budget.set(_SIZE.size)
        self._found: NameSet = budget.set(_SIZE.size)
        self._covered: NameSet = budget.set()
        """Chunks that were read as parts of large files."""

    def verify(self, *, content: bool) -> Checked:
        for info in self._objects.backend.list(Kind.PAGE):
            self._page(info.key, info.size)
        self._lone_layouts()
        with ThreadPoolExecutor(WORKERS, "jvs-verify") as pool:
            roots = self._recipes()
            if content:
                self._large_files(pool, roots)
                self._chunks(pool)
                self._sizes()
                self._parts(pool)
            else:
                deque(roots, maxlen=0)
        return self._tally.result()

    # -- pages and layouts

    def _page(self, digest: Digest, size: int) -> None:
        ref = Ref(Kind.PAGE, digest)
        self._tally.add(size)
        try:
            page = self._objects.page(digest)
        except IntegrityError as error:
            self._tally.fault(ref, None, error)
            self._layout(digest)
            return
        verify_children(self._objects, ref, page_children(digest, page), self._tally)
        self._below(ref, page)
        files = small_files(page.entries)
        layout = self._layout(digest) if files else None
        if layout is not None:
            try:
                self._note(files, layout.places(files))
            except IntegrityError as error:
                self._tally.fault(Ref(Kind.LAYOUT, digest), None, error)

    def _below(self, ref: Ref, page: Page) -> None:
        """Whether the pages that a page names are what it says of them. What depends on the pages above it, whether its
        first names come after those of the page before it, is seen by verifying a snapshot."""
        for entry in page.entries:
            if entry[1] == DIRECTORY:
                verify_totals(self._objects, entry, None, self._tally)
        previous = b""
        for number, row in enumerate(page.children, 1):
            try:
                child = self._objects.page(row.digest)
                pages.check_child(previous, row, child, page.level, is_last=number == len(page.children))
            except IntegrityError as error:
                self._tally.fault(ref, None, error)
            previous = row.last

    def _layout(self, page: Digest) -> Layout | None:
        """The layout of a page, what it names looked up; None when it is not there or damaged."""
        ref = Ref(Kind.LAYOUT, page)
        info = self._objects.backend.infos(Kind.LAYOUT, [page])[0]
        if info is None:
            return None  # found above: the page names it
        self._tally.add(info.size)
        try:
            layout = self._objects.layout(page)
        except IntegrityError as error:
            self._tally.fault(ref, None, error)
            return None
        verify_children(self._objects, ref, layout.children(), self._tally)
        return layout

    def _lone_layouts(self) -> None:
        """Those whose pages are lost."""
        keys = self._objects.backend.keys(Kind.LAYOUT)
        for batch in batched(keys, 4096):
            for key in sorted(self._objects.backend.missing(Kind.PAGE, batch)):
                self._layout(key)

    def _note(self, files: list[File], places: list[Place]) -> None:
        """What must be found where, once content is read."""
        slices, said = [], []
        for file, place in zip(files, places, strict=True):
            if place.kind == Kind.PART:
                slices.append(_SLICE.pack(place.key, place.offset, file.size, file.digest))
            else:
                said.append(_SIZE.pack(object_name(place.kind, file.digest), file.size))
        self._slices.update(slices)
        self._said.update(said)

    # -- large files

    def _recipes(self) -> Iterator[Digest]:
        """Check every recipe; those kept under the digests of files."""
        for info in self._objects.backend.list(Kind.RECIPE):
            ref = Ref(Kind.RECIPE, info.key)
            self._tally.add(info.size)
            try:
                plain = check_stored(self._objects, ref)
            except IntegrityError as error:
                self._tally.fault(ref, None, error)
                continue
            verify_children(self._objects, ref, object_children(*ref, plain), self._tally)
            size = _file_size(info.key, plain)
            if size is not None:
                self._found.update((_SIZE.pack(object_name(*ref), size),))
                yield info.key

    def _large_files(self, pool: ThreadPoolExecutor, roots: Iterable[Digest]) -> None:
        """Put every large file together, and compare it with its digest."""
        hasher, sound = blake3(), True
        for (root, piece), read in _ahead(pool, self._read_piece, self._pieces(roots)):
            data, error = read.result()
            if error is not None:
                ref = Ref(Kind.CHUNK, piece.digest) if isinstance(piece, Piece) else Ref(Kind.RECIPE, root)
                self._tally.fault(ref, None, error)
                sound = False
            elif piece is not None:
                assert data is not None
                hasher.update(data)
                self._tally.add(len(data), 0)
            else:
                if sound and hasher.digest() != root:
                    wrong = IntegrityError(f"the recipe {root.hex()} is damaged: its chunks do not give its digest")
                    self._tally.fault(Ref(Kind.RECIPE, root), None, wrong)
                hasher, sound = blake3(), True

    def _pieces(self, roots: Iterable[Digest]) -> Iterator[tuple[Digest, Piece | IntegrityError | None]]:
        """(file, each of its chunks), then (file, None); an error where its chunks cannot be known."""
        for root in roots:
            try:
                for piece in self._objects.chunks(root):
                    self._covered.update((piece.digest,))
                    yield root, piece
            except IntegrityError as error:
                yield root, error
            yield root, None

    def _read_piece(
        self, item: tuple[Digest, Piece | IntegrityError | None]
    ) -> tuple[bytes | None, IntegrityError | None]:
        piece = item[1]
        if not isinstance(piece, Piece):
            return None, piece
        try:
            return self._objects.chunk(piece), None
        except IntegrityError as error:
            return None, error

    def _chunks(self, pool: ThreadPoolExecutor) -> None:
        """Read the chunks that no recipe named."""
        number = 0

        def listed() -> Iterator[Digest]:
            nonlocal number
            for info in self._objects.backend.list(Kind.CHUNK):
                number += 1
                self._found.update((_SIZE.pack(object_name(Kind.CHUNK, info.key), info.size),))
                yield info.key

        others = 0
        for _, read in _ahead(pool, self._read_chunks, batched(self._covered.without(listed()), BATCH)):
            others += self._take(read.result())
        self._tally.add(0, number - others)

    def _read_chunks(self, keys: list[Digest]) -> list[_Read]:
        return [self._read(Ref(Kind.CHUNK, key)) for key in keys]

    def _read(self, ref: Ref) -> _Read:
        try:
            return _Read(ref, len(check_stored(self._objects, ref)), None)
        except IntegrityError as error:
            return _Read(ref, 0, error)

    def _take(self, reads: list[_Read]) -> int:
        for ref, size, error in reads:
            self._tally.add(size)
            if error is not None:
                self._tally.fault(ref, None, error)
        return len(reads)

    def _sizes(self) -> None:
        """Whether what a file is kept under has its size."""
        for record in self._found.without(self._said):
            name, size = _SIZE.unpack(record)
            ref = Ref(Kind(name[0]), name[1:])
            if self._size_now(ref) not in (None, size):
                reason = f"a page says that the file {ref.key.hex()} has {size} bytes"
                self._tally.fault(ref, None, IntegrityError(reason))

    def _size_now(self, ref: Ref) -> int | None:
        """The size of the file kept under that name, which may have come back since all were listed. None when it is
        not there, or damaged: that was found above. -1 when what is there is no file's."""
        try:
            plain = check_stored(self._objects, ref)
        except IntegrityError:
            return None
        if ref.kind == Kind.CHUNK:
            return len(plain)
        size = _file_size(ref.key, plain)
        return -1 if size is None else size

    # -- small files

    def _parts(self, pool: ThreadPoolExecutor) -> None:
        """Read every part, and the files in it."""
        wrong: set[bytes] = set()
        for parts, read in _ahead(pool, self._read_parts, batched(self._with_slices(), BATCH)):
            reads = read.result()
            for part, (plain, error) in zip(parts, reads, strict=True):
                self._tally.add(len(plain))
                if error is not None:
                    self._tally.fault(Ref(Kind.PART, part.key), None, error)
                else:
                    wrong.update(_false_slices(part.slices, plain))
        if wrong:
            self._blame(wrong)

    def _with_slices(self) -> Iterator[_Part]:
        slices = iter(self._slices)
        ahead = next(slices, None)
        for key in self._objects.backend.keys(Kind.PART):
            part = _Part(key, [])
            while ahead is not None and ahead[: len(key)] <= key:
                if ahead.startswith(key):
                    part.slices.append(ahead)
                ahead = next(slices, None)
            yield part

    def _read_parts(self, parts: list[_Part]) -> list[tuple[bytes, IntegrityError | None]]:
        # Not the files in them too: what takes long here needs no interpreter, and small files would keep taking it.
        reads: list[tuple[bytes, IntegrityError | None]] = []
        for part in parts:
            ref = Ref(Kind.PART, part.key)
            try:
                stored = self._objects.backend.get(*ref)
                # Where the digests of files cover all of it, another digest of the same bytes shows nothing more.
                covered = _covers(part.slices, stored.size)
                reads.append((decode(Kind.PART, stored) if covered else check_stored(self._objects, ref), None))
            except IntegrityError as error:
                reads.append((b"", error))
        return reads

    def _blame(self, wrong: set[bytes]) -> None:
        """Find the layouts that lead to other bytes than those of their files: the parts are sound."""
        for key in self._objects.backend.keys(Kind.PAGE):
            try:
                files = small_files(self._objects.page(key).entries)
                places = self._objects.layout(key).places(files) if files else []
            except IntegrityError:
                continue  # found above
            for file, place in zip(files, places, strict=True):
                record = _SLICE.pack(place.key, place.offset, file.size, file.digest)
                if place.kind == Kind.PART and record in wrong:
                    reason = f"the layout {key.hex()} is damaged: it leads to other bytes than those of a file"
                    self._tally.fault(Ref(Kind.LAYOUT, key), None, IntegrityError(reason))


def _covers(slices: list[bytes], size: int) -> bool:
    """Whether records of _SLICE of one part, in order, leave no byte of it out."""
    at = 0
    for record in slices:
        _, offset, length, _ = _SLICE.unpack(record)
        if offset > at:
            return False
        at = max(at, offset + length)
    return at >= size


def _file_size(key: Digest, plain: bytes) -> int | None:
    """The size of the file that a sound recipe gives; None for one that is only a part of another's."""
    recipe = decode_recipe(plain)
    return None if recipe.tag == CHUNKS and recipe_digest(plain) == key else recipe.size


def _false_slices(slices: Iterable[bytes], plain: bytes) -> Iterator[bytes]:
    """The records of _SLICE that a sound part does not bear out."""
    for record in slices:
        _, offset, size, digest = _SLICE.unpack(record)
        data = plain[offset : offset + size]
        if len(data) != size or blake3(data).digest() != digest:
            yield record


def _ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, Future[R]]]:
    """Each item with `work` on it, in order, begun a few items ahead."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting
