"""Verification: every byte of a snapshot, or of everything a backend holds (DESIGN 4.3, 12).

A snapshot is verified as a reader would meet it: page by page, every file cut out of its part or put together from its
chunks and compared with its digest. Everything is verified object by object, each read and decompressed once, with the
closure of the index: whatever an object names must be there (`everything`). Damage is a value; one damaged object
never hides the next. Collectors may remove things meanwhile: only a snapshot must be pinned by whoever verifies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from blake3 import blake3

from jvs.castore import pages
from jvs.castore.backend import Kind, Ref, object_name
from jvs.castore.codec import decode
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, Directory, File, small_files
from jvs.castore.objects import ObjectStore, check_object, object_children
from jvs.errors import IntegrityError, MissingObjectError

Tick = Callable[[int, int], None]
"""Called with (bytes read, objects checked) since the last call."""


class Fault(NamedTuple):
    """A damaged or missing object: its name, the path in the snapshot when one is known, and what is wrong."""

    ref: Ref
    path: tuple[bytes, ...] | None
    reason: str


class Checked(NamedTuple):
    """What was verified: objects, plain bytes read, and the faults."""

    objects: int
    bytes: int
    faults: list[Fault]


class Sample(NamedTuple):
    """Which objects to verify: of all names, those whose digest with `seed` falls into the first `percent` of all."""

    percent: float
    seed: str

    def takes(self, name: bytes) -> bool:
        """Whether the object of that name is one of them."""
        drawn = int.from_bytes(blake3(self.seed.encode() + b"\0" + name).digest()[:8], "big")
        return drawn < self.percent / 100 * (1 << 64)


def no_tick(_bytes: int, _objects: int) -> None:
    """Nobody watches."""


class Tally:
    """Counts of one verification; `fault` keeps each fault once.

    listed  what is verified was listed, and a collector may have removed it since: that something is not there is no
            fault then, but that something names it is (`verify_children`)
    """

    def __init__(self, tick: Tick, *, listed: bool = False) -> None:
        self._tick = tick
        self._listed = listed
        self.objects = 0
        self.bytes = 0
        self._faults: dict[tuple[Ref, tuple[bytes, ...] | None], Fault] = {}

    def add(self, size: int, objects: int = 1) -> None:
        """So much more was read."""
        self.objects += objects
        self.bytes += size
        self._tick(size, objects)

    def fault(self, ref: Ref, path: tuple[bytes, ...] | None, error: IntegrityError) -> None:
        """Something is wrong: with the object that the error names, else with `ref`."""
        if self._listed and isinstance(error, MissingObjectError):
            return
        ref = ref_of_error(error, ref)
        self._faults.setdefault((ref, path), Fault(ref, path, error.message))

    def merge(self, checked: Checked) -> None:
        """Something else was verified, and whoever watches was told of it."""
        self.objects += checked.objects
        self.bytes += checked.bytes
        for fault in checked.faults:
            self._faults.setdefault((fault.ref, fault.path), fault)

    def result(self) -> Checked:
        """What it came to."""
        return Checked(self.objects, self.bytes, list(self._faults.values()))


def ref_of_error(error: IntegrityError, otherwise: Ref) -> Ref:
    """The object an error names, or the one that was being read."""
    kind, digest = error.details.get("kind"), error.details.get("digest")
    if isinstance(kind, str) and isinstance(digest, str) and kind.upper() in Kind.__members__:
        return Ref(Kind[kind.upper()], bytes.fromhex(digest))
    return otherwise


def verify_snapshot(objects: ObjectStore, root: Digest, tick: Tick = no_tick) -> Checked:
    """Read every byte of the snapshot `root` and compare it with its digest; each page and large file once."""
    tally = Tally(tick)
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
                        verify_totals(objects, entry, (*path, entry.name), tally)
        except IntegrityError as error:
            tally.fault(Ref(Kind.PAGE, directory), path, error)
    return tally.result()


def verify_totals(objects: ObjectStore, entry: Directory, path: tuple[bytes, ...] | None, tally: Tally) -> None:
    """Whether a directory holds what its entry says."""
    try:
        pages.descend(objects.page, entry)
    except IntegrityError as error:
        tally.fault(Ref(Kind.PAGE, entry.digest), path, error)


def _verify_files(
    objects: ObjectStore,
    page: Digest,
    files: Sequence[File],
    path: tuple[bytes, ...],
    large: set[Digest],
    tally: Tally,
) -> None:
    """Every file of one page; those with chunks of their own (in `large`) once a verification."""
    parts: set[Digest] = set()
    for file in files:
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
            tally.fault(Ref(Kind.LAYOUT, page), (*path, file.name), error)


def check_stored(objects: ObjectStore, ref: Ref) -> bytes:
    """The plain bytes of an object, compared with its name as far as it alone allows. Raises IntegrityError."""
    if ref.kind in (Kind.PAGE, Kind.CHUNK):
        # their names are digests of all they hold; the checksum is for saying what is wrong, and where
        stored = objects.backend.get(*ref, check=False)
        with suppress(IntegrityError):
            plain = decode(ref.kind, stored)
            check_object(ref.kind, ref.key, plain)
            return plain
    plain = decode(ref.kind, objects.backend.get(*ref))
    check_object(ref.kind, ref.key, plain)
    return plain


def verify_children(objects: ObjectStore, ref: Ref, children: Iterable[Ref], tally: Tally) -> None:
    """Whether everything directly below an object that was listed, and named `children` then, is in the index.

    A collector may have removed it meanwhile, and then what is below it; another layout may have taken its place. So
    when something is not there, the object is read again before that is said.
    """
    known = set(children)
    while gone := _missing(objects, known):
        try:
            now = set(object_children(*ref, check_stored(objects, ref)))
        except IntegrityError as error:
            tally.fault(ref, None, error)
            return
        if now == known:
            for kind, key in sorted(gone & _missing(objects, gone)):
                what = f"the {kind.name.lower()} {key.hex()} is named by a {ref.kind.name.lower()}"
                tally.fault(Ref(kind, key), None, IntegrityError(f"{what} and is not in the store"))
            return
        known = now


def verify_closure(objects: ObjectStore, named: Sequence[tuple[Ref, Iterable[Ref]]], tally: Tally) -> None:
    """`verify_children` of many objects, looked up at once."""
    gone = _missing(objects, {child for _, children in named for child in children})
    for ref, children in named if gone else ():
        if not gone.isdisjoint(children):
            verify_children(objects, ref, children, tally)


def _missing(objects: ObjectStore, refs: Iterable[Ref]) -> set[Ref]:
    """Those that are not in the index."""
    by_kind: dict[Kind, list[Digest]] = {}
    for kind, key in refs:
        by_kind.setdefault(kind, []).append(key)
    return {Ref(kind, key) for kind, keys in by_kind.items() for key in objects.backend.missing(kind, keys)}


def verify_sample(objects: ObjectStore, sample: Sample, tick: Tick = no_tick) -> Checked:
    """Read the objects of a sample, each alone, and compare them with their names; look up what they name."""
    tally = Tally(tick, listed=True)
    for kind in Kind:
        for key in objects.backend.keys(kind):
            if not sample.takes(object_name(kind, key)):
                continue
            ref = Ref(kind, key)
            try:
                plain = check_stored(objects, ref)
                verify_children(objects, ref, object_children(kind, key, plain), tally)
                tally.add(len(plain))
            except IntegrityError as error:
                tally.fault(ref, None, error)
                tally.add(0)
    return tally.result()
