"""Verification of everything a backend holds, in one pass over the bytes and in bounded memory.

Pages come first, each with its layout: they say which bytes of which part must give which file. Large files are put
together from their recipes, which reads their chunks; then come the parts, which are cut into files as they are read,
and the chunks that no recipe named. So every object is read and decompressed once (a chunk once for each large file
that has it), although parts and files, chunks and files are checked each by a digest of their own. All of it is cut
into `tasks`, so that a second process can do half of them (`assist`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from jvs.castore import pages
from jvs.castore.backend import Kind, Ref, object_name
from jvs.castore.batches import batched
from jvs.castore.digest import Digest, recipe_digest
from jvs.castore.everything.assist import Assistant, Crew
from jvs.castore.everything.tasks import (
    SIZE,
    SLICE,
    TOTALS,
    Chunks,
    Found,
    LargeFiles,
    Pages,
    Parts,
    Task,
    read_layouts,
)
from jvs.castore.gc.nameset import Budget, NameSet
from jvs.castore.manifest import small_files
from jvs.castore.objects import ObjectStore, object_children
from jvs.castore.recipe import CHUNKS, decode_recipe
from jvs.castore.verify import Checked, Tally, Tick, check_stored, no_tick, verify_children
from jvs.errors import IntegrityError

BATCH: Final = 32
"""Pages, or parts, of one task: some milliseconds of work."""
BATCH_BYTES: Final = 32 << 20
"""Bytes of the large files of one task, at least one."""
LONE: Final = 8
"""Chunks that no recipe named of one task."""
LIMIT: Final = 400_000
"""Records held in memory at once; the rest is spilled."""


def verify_all(
    objects: ObjectStore,
    tick: Tick = no_tick,
    *,
    content: bool = True,
    directory: str | None = None,
    assistant: Assistant | None = None,
) -> Checked:
    """Read every object, compare it with its name, and look up everything it names; compare every file of every page
    with its digest, and the pages below a page with what it says of them.

    content    False: only pages, layouts and recipes are read; of parts and chunks it is seen that they are there
    directory  where what does not fit in memory is spilled (None: where the system has temporary files)
    assistant  does a share of it, if there is one
    Paths are not known here: `affected` finds them for the faults.
    """
    return _Everything(objects, tick, Budget(directory, LIMIT), assistant).verify(content=content)


class _Everything:
    def __init__(self, objects: ObjectStore, tick: Tick, budget: Budget, assistant: Assistant | None) -> None:
        self._objects = objects
        self._tally = Tally(tick, listed=True)
        self._crew = Crew(objects, assistant, tick, self._absorb)
        self._slices: NameSet = budget.set(SLICE.size)
        self._said: NameSet = budget.set(SIZE.size)
        self._found: NameSet = budget.set(SIZE.size)
        self._claims: NameSet = budget.set(TOTALS.size)
        self._roots: NameSet = budget.set(TOTALS.size)
        self._covered: NameSet = budget.set()
        """Chunks that were read as parts of large files."""
        self._wrong: set[bytes] = set()

    def verify(self, *, content: bool) -> Checked:
        recipes = self._recipes()
        if content:
            self._crew.run(self._first(recipes))
        else:
            deque(recipes, maxlen=0)
            self._crew.run(self._pages())
        self._lone_layouts()
        self._totals()
        if content:
            self._crew.run(self._second())
            self._sizes()
            self._blame()
        return self._tally.result()

    def _absorb(self, found: Found) -> None:
        """Keep what a task found."""
        self._tally.merge(found.checked)
        self._slices.update(found.slices)
        self._said.update(found.said)
        self._claims.update(found.claims)
        self._roots.update(found.roots)
        self._wrong.update(found.wrong)

    # -- tasks

    def _first(self, recipes: Iterable[tuple[Digest, int]]) -> Iterator[Task]:
        # the long tasks come first: who is done early has short ones left to do
        for roots in _by_size(recipes):
            for root in roots:
                with suppress(IntegrityError):  # whoever does the task meets it too
                    self._covered.update(piece.digest for piece in self._objects.chunks(root))
            yield LargeFiles(roots)
        yield from self._pages()

    def _pages(self) -> Iterator[Task]:
        for keys in batched(self._objects.backend.keys(Kind.PAGE), BATCH):
            yield Pages(keys)

    def _second(self) -> Iterator[Task]:
        yield from self._parts()
        yield from self._chunks()

    def _parts(self) -> Iterator[Task]:
        """Parts, and the records of SLICE that lead to them."""
        slices = iter(self._slices)
        ahead = next(slices, None)
        for keys in batched(self._objects.backend.keys(Kind.PART), BATCH):
            end = keys[-1] + b"\xff" * (SLICE.size - len(keys[-1]))
            mine: list[bytes] = []
            while ahead is not None and ahead <= end:
                mine.append(ahead)
                ahead = next(slices, None)
            yield Parts(keys, mine)

    def _chunks(self) -> Iterator[Task]:
        """The chunks that no recipe named."""
        number = 0

        def listed() -> Iterator[Digest]:
            nonlocal number
            for info in self._objects.backend.list(Kind.CHUNK):
                number += 1
                self._found.update((SIZE.pack(object_name(Kind.CHUNK, info.key), info.size),))
                yield info.key

        lone = 0
        for keys in batched(self._covered.without(listed()), LONE):
            lone += len(keys)
            yield Chunks(keys)
        self._tally.add(0, number - lone)

    # -- what is done here

    def _lone_layouts(self) -> None:
        """Those whose pages are lost."""
        keys = self._objects.backend.keys(Kind.LAYOUT)
        for batch in batched(keys, 4096):
            read_layouts(self._objects, sorted(self._objects.backend.missing(Kind.PAGE, batch)), self._tally)

    def _recipes(self) -> Iterator[tuple[Digest, int]]:
        """Check every recipe; those kept under the digests of files, and the files' sizes."""
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
                self._found.update((SIZE.pack(object_name(*ref), size),))
                yield info.key, size

    def _totals(self) -> None:
        """Whether directories hold what the entries that name them say."""
        for record in self._roots.without(self._claims):
            digest, entries, size = TOTALS.unpack(record)
            try:  # it may have come, gone or come back since all were listed
                holds = pages.read_root(self._objects.page, digest).totals[1:]
                if holds != (entries, size):
                    reason = f"the directory {digest.hex()} does not have the totals that an entry claims"
                    raise IntegrityError(reason)
            except IntegrityError as error:
                self._tally.fault(Ref(Kind.PAGE, digest), None, error)

    def _sizes(self) -> None:
        """Whether what a file is kept under has its size."""
        for record in self._found.without(self._said):
            name, size = SIZE.unpack(record)
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

    def _blame(self) -> None:
        """Find the layouts that lead to other bytes than those of their files: the parts are sound."""
        for key in self._objects.backend.keys(Kind.PAGE) if self._wrong else ():
            try:
                files = small_files(self._objects.page(key).entries)
                places = self._objects.layout(key).places(files) if files else []
            except IntegrityError:
                continue  # found above
            for file, place in zip(files, places, strict=True):
                record = SLICE.pack(place.key, place.offset, file.size, file.digest)
                if place.kind == Kind.PART and record in self._wrong:
                    reason = f"the layout {key.hex()} is damaged: it leads to other bytes than those of a file"
                    self._tally.fault(Ref(Kind.LAYOUT, key), None, IntegrityError(reason))


def _by_size(files: Iterable[tuple[Digest, int]]) -> Iterator[list[Digest]]:
    """The keys of (key, bytes), cut where BATCH_BYTES are reached."""
    keys: list[Digest] = []
    total = 0
    for key, size in files:
        keys.append(key)
        total += size
        if total >= BATCH_BYTES:
            yield keys
            keys, total = [], 0
    if keys:
        yield keys


def _file_size(key: Digest, plain: bytes) -> int | None:
    """The size of the file that a sound recipe gives; None for one that is only a part of another's."""
    recipe = decode_recipe(plain)
    return None if recipe.tag == CHUNKS and recipe_digest(plain) == key else recipe.size
