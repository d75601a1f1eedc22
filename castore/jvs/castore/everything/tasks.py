"""What verifying everything is cut into, so that two processes can share it: pages, large files, parts, lone chunks.

A task needs nothing but the objects it names, and what it finds is plain data; nobody else is told of it before the
whole task is done. What must hold between objects of different tasks comes back as records of fixed width, which
whoever has them all compares.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from jvs.castore import pages
from jvs.castore.backend import Kind, Ref, object_name
from jvs.castore.codec import decode
from jvs.castore.digest import Digest
from jvs.castore.layout import Layout
from jvs.castore.manifest import DIRECTORY, SINGLE, Page, small_files
from jvs.castore.objects import ObjectStore, check_object, page_children
from jvs.castore.verify import Checked, Tally, Tick, check_stored, verify_closure
from jvs.errors import IntegrityError

SLICE: Final = struct.Struct(">32sIQ32s")
"""Bytes of a part that must give a file: the part, offset, size, the file's digest."""
SIZE: Final = struct.Struct(">33sQ")
"""An object that a file is kept under, and the file's size."""
TOTALS: Final = struct.Struct(">32sQQ")
"""The root page of a directory, entries and bytes below it."""


class Pages(NamedTuple):
    """Read these pages and their layouts, and look up what they name."""

    keys: Sequence[Digest]


class LargeFiles(NamedTuple):
    """Put the files of these recipes together, and compare them with their digests."""

    roots: Sequence[Digest]


class Parts(NamedTuple):
    """Read these parts, and the files in them. slices: records of SLICE that lead to them, in order as the keys are."""

    keys: Sequence[Digest]
    slices: Sequence[bytes]


class Chunks(NamedTuple):
    """Read these chunks."""

    keys: Sequence[Digest]


Task = Pages | LargeFiles | Parts | Chunks


class Found(NamedTuple):
    """What came of a task.

    slices  records of SLICE: where files must be found
    said    records of SIZE: what pages say of the files that are not in parts
    claims  records of TOTALS: what pages say of the directories below them
    roots   records of TOTALS: what directories hold
    wrong   records of SLICE that a sound part does not bear out
    """

    checked: Checked
    slices: Sequence[bytes] = ()
    said: Sequence[bytes] = ()
    claims: Sequence[bytes] = ()
    roots: Sequence[bytes] = ()
    wrong: Sequence[bytes] = ()


def do(objects: ObjectStore, task: Task, tick: Tick) -> Found:
    """Do one task. tick: told of what was read as it is read."""
    tally = Tally(tick, listed=True)
    if isinstance(task, Pages):
        return _pages(objects, task.keys, tally)
    if isinstance(task, Parts):
        wrong = _parts(objects, task, tally)
        return Found(tally.result(), wrong=wrong)
    if isinstance(task, LargeFiles):
        for root in task.roots:
            _large_file(objects, root, tally)
    else:
        for key in task.keys:
            _chunk(objects, key, tally)
    return Found(tally.result())


# -- pages and layouts


def _pages(objects: ObjectStore, keys: Sequence[Digest], tally: Tally) -> Found:
    sound: dict[Digest, Page] = {}
    claims: list[bytes] = []
    roots: list[bytes] = []
    for key, info in zip(keys, objects.backend.infos(Kind.PAGE, keys), strict=True):
        tally.add(0 if info is None else info.size)
        try:
            page = sound[key] = objects.page(key)
        except IntegrityError as error:
            tally.fault(Ref(Kind.PAGE, key), None, error)
            continue
        _rows(objects, key, page, tally)
        claims += [TOTALS.pack(entry[3], entry[4], entry[5]) for entry in page.entries if entry[1] == DIRECTORY]
        if _is_root(key, page):
            roots.append(TOTALS.pack(key, *page.totals[1:]))
    verify_closure(objects, [(Ref(Kind.PAGE, key), page_children(key, page)) for key, page in sound.items()], tally)
    slices: list[bytes] = []
    said: list[bytes] = []
    for key, layout in read_layouts(objects, keys, tally):
        if key in sound:
            try:
                _note(sound[key], layout, slices, said)
            except IntegrityError as error:
                tally.fault(Ref(Kind.LAYOUT, key), None, error)
    return Found(tally.result(), slices, said, claims, roots)


def _note(page: Page, layout: Layout, slices: list[bytes], said: list[bytes]) -> None:
    """What must be found where, once content is read. Raises IntegrityError when the layout is not the page's."""
    files = small_files(page.entries)
    part = Kind.PART
    for file, (kind, where, offset) in zip(files, layout.places(files), strict=True):
        if kind is part:
            slices.append(SLICE.pack(where, offset, file[3], file[4]))
        else:
            said.append(SIZE.pack(object_name(kind, file[4]), file[3]))


def _is_root(key: Digest, page: Page) -> bool:
    """Whether a page can be the first of a directory, and not only stand in the middle of one."""
    if page.tag == SINGLE:
        return True
    try:
        pages.read_root(lambda _: page, key)
    except IntegrityError:
        return False
    return True


def _rows(objects: ObjectStore, key: Digest, page: Page, tally: Tally) -> None:
    """Whether the pages below an index page are what it says of them. What depends on the pages above it, whether its
    first names come after those of the page before it, is seen by verifying a snapshot."""
    previous = b""
    for number, row in enumerate(page.children, 1):
        try:
            child = objects.page(row.digest)
            pages.check_child(previous, row, child, page.level, is_last=number == len(page.children))
        except IntegrityError as error:
            tally.fault(Ref(Kind.PAGE, key), None, error)
        previous = row.last


def read_layouts(objects: ObjectStore, keys: Sequence[Digest], tally: Tally) -> list[tuple[Digest, Layout]]:
    """The sound ones of the layouts of these pages, what they name looked up. One that is not there is no fault here:
    the page names it, if it must be."""
    sound: list[tuple[Digest, Layout]] = []
    for key, info in zip(keys, objects.backend.infos(Kind.LAYOUT, keys), strict=True):
        if info is not None:
            tally.add(info.size)
            try:
                sound.append((key, objects.layout(key)))
            except IntegrityError as error:
                tally.fault(Ref(Kind.LAYOUT, key), None, error)
    verify_closure(objects, [(Ref(Kind.LAYOUT, key), layout.children()) for key, layout in sound], tally)
    return sound


# -- content


def _large_file(objects: ObjectStore, root: Digest, tally: Tally) -> None:
    hasher, sound = blake3(), True
    try:
        for piece in objects.chunks(root):
            try:
                data = objects.chunk(piece)
            except IntegrityError as error:
                tally.fault(Ref(Kind.CHUNK, piece.digest), None, error)
                sound = False
                continue
            hasher.update(data)
            tally.add(len(data), 0)
    except IntegrityError as error:
        tally.fault(Ref(Kind.RECIPE, root), None, error)
        return
    if sound and hasher.digest() != root:
        wrong = IntegrityError(f"the recipe {root.hex()} is damaged: its chunks do not give its digest")
        tally.fault(Ref(Kind.RECIPE, root), None, wrong)


def _chunk(objects: ObjectStore, key: Digest, tally: Tally) -> None:
    ref = Ref(Kind.CHUNK, key)
    try:
        tally.add(len(check_stored(objects, ref)))
    except IntegrityError as error:
        tally.fault(ref, None, error)
        tally.add(0)


def _parts(objects: ObjectStore, task: Parts, tally: Tally) -> list[bytes]:
    """Read parts; the records of SLICE that sound ones do not bear out."""
    wrong: list[bytes] = []
    slices = iter(SLICE.iter_unpack(b"".join(task.slices)))
    ahead = next(slices, None)
    for key in task.keys:
        mine = []
        while ahead is not None and ahead[0] <= key:
            if ahead[0] == key:
                mine.append(ahead)
            ahead = next(slices, None)
        ref = Ref(Kind.PART, key)
        try:
            plain = decode(Kind.PART, objects.backend.get(*ref))
            # Where the digests of files cover all of it, another digest of the same bytes shows nothing more.
            if not _covers(mine, len(plain)):
                check_object(*ref, plain)
            false = list(_false(mine, plain))
            if false:
                check_object(*ref, plain)
        except IntegrityError as error:
            tally.fault(ref, None, error)
            tally.add(0)
        else:
            wrong += false
            tally.add(len(plain))
    return wrong


def _covers(slices: Iterable[tuple[bytes, int, int, bytes]], size: int) -> bool:
    """Whether the fields of SLICE of one part, in order, leave no byte of it out."""
    at = 0
    for _, offset, length, _ in slices:
        if offset > at:
            return False
        at = max(at, offset + length)
    return at >= size


def _false(slices: Iterable[tuple[bytes, int, int, bytes]], plain: bytes) -> Iterator[bytes]:
    """The records of SLICE that the plain bytes of a part do not bear out."""
    view = memoryview(plain)
    end = len(plain)
    for fields in slices:
        _, offset, size, digest = fields
        if offset + size > end or blake3(view[offset : offset + size]).digest() != digest:
            yield SLICE.pack(*fields)
