"""ObjectStore: typed, verified reading of what a backend keeps (DESIGN 4.2, 4.3).

Every read is verified before it is believed: pages by their digest, layouts by their checksum, chunks by their digest,
small files by digest and size after they were cut out of their part. Thread-safe; caches are bounded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from blake3 import blake3

from jvs.castore import pages
from jvs.castore.backend import Backend, Kind, Ref
from jvs.castore.codec import decode
from jvs.castore.digest import Digest, file_digest, page_digest, part_digest, recipe_digest
from jvs.castore.layout import Layout, Place, decode_layout
from jvs.castore.manifest import DIRECTORY, FILE, Directory, Entry, File, Page, Tree, decode_page, small_files
from jvs.castore.names import MAX_DEPTH, display
from jvs.castore.recipe import CHUNKS, Piece, Recipe, decode_recipe
from jvs.castore.settings import StoreSettings
from jvs.errors import IntegrityError, ManifestError, MissingObjectError, UnknownError, UsageError

_K = TypeVar("_K")
_V = TypeVar("_V")

PAGE_CACHE_ENTRIES = 65_536
PART_CACHE = 8


class LruCache(Generic[_K, _V]):
    """A thread-safe least-recently-used map bounded by the sum of its items' weights."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._weight = 0
        self._items: OrderedDict[_K, tuple[_V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: _K) -> _V | None:
        """The value, now the most recently used one, or None."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                return None
            self._items.move_to_end(key)
            return item[0]

    def put(self, key: _K, value: _V, weight: int = 1) -> None:
        """Insert; drops the least recently used ones past the capacity."""
        with self._lock:
            if key in self._items:
                return
            self._items[key] = (value, weight)
            self._weight += weight
            while self._weight > self._capacity and len(self._items) > 1:
                self._weight -= self._items.popitem(last=False)[1][1]

    def discard(self, key: _K) -> None:
        """Forget one key."""
        with self._lock:
            item = self._items.pop(key, None)
            if item is not None:
                self._weight -= item[1]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._items.clear()
            self._weight = 0


class Located(NamedTuple):
    """An entry of a snapshot and the page it lies in (how a file's bytes are addressed)."""

    page: Digest
    entry: Entry


class ObjectStore:
    """Reads pages, files and trees out of a backend."""

    def __init__(self, backend: Backend, settings: StoreSettings) -> None:
        self.backend = backend
        self.settings = settings
        self._pages: LruCache[Digest, Page] = LruCache(PAGE_CACHE_ENTRIES)
        self._places: LruCache[Digest, dict[Digest, Place]] = LruCache(PAGE_CACHE_ENTRIES)
        self._parts: LruCache[Digest, bytes] = LruCache(PART_CACHE)

    def forget(self) -> None:
        """Drop the caches: what they hold was in the store once, and may have been collected since."""
        for cache in (self._pages, self._places, self._parts):
            cache.clear()

    # -- objects ---------------------------------------------------------------------------------------------------

    def page(self, digest: Digest) -> Page:
        """The decoded page; raises MissingObjectError, IntegrityError, ManifestError."""
        page = self._pages.get(digest)
        if page is None:
            page = decode_page(self._named(Kind.PAGE, digest, lambda data: page_digest(data) == digest))
            self._pages.put(digest, page, 1 + len(page.entries) + len(page.children))
        return page

    def layout(self, page: Digest) -> Layout:
        """The layout record of a page that has a non-empty file."""
        return decode_layout(page, self._plain(Kind.LAYOUT, page))

    def places(self, page: Digest) -> dict[Digest, Place]:
        """Where each non-empty file of a page lies, by the file's digest."""
        places = self._places.get(page)
        if places is None:
            files = small_files(self.page(page).entries)
            listed = self.layout(page).places(files) if files else []
            places = {file.digest: place for file, place in zip(files, listed, strict=True)}
            self._places.put(page, places, 1 + len(places))
        return places

    def part(self, digest: Digest) -> bytes:
        """The plain bytes of a part. Not compared with its digest: what is cut out of it is checked, file by file."""
        data = self._parts.get(digest)
        if data is None:
            data = self._named(Kind.PART, digest, lambda _: True)
            self._parts.put(digest, data)
        return data

    def chunk(self, piece: Piece) -> bytes:
        """The bytes of one chunk, verified."""
        return self._named(
            Kind.CHUNK,
            piece.digest,
            lambda data: len(data) == piece.length and file_digest(data) == piece.digest,
        )

    def recipe(self, digest: Digest) -> Recipe:
        """The recipe kept under a file's digest."""
        return decode_recipe(self._plain(Kind.RECIPE, digest))

    def chunks(self, digest: Digest) -> Iterator[Piece]:
        """The chunks of the file that has a recipe, in order, leaves expanded as they are reached."""
        for _, piece in self.pieces(self.recipe(digest)):
            yield piece

    def pieces(self, root: Recipe, start: int = 0) -> Iterator[tuple[int, Piece]]:
        """(offset in the file, chunk) of each chunk that ends after `start`; leaves that end before are not read."""
        at = 0
        for piece in root.pieces:
            if at + piece.length <= start:
                pass
            elif root.tag == CHUNKS:
                yield at, piece
            else:
                for offset, chunk in self.pieces(self._leaf(piece), start - at):
                    yield at + offset, chunk
            at += piece.length

    def _leaf(self, leaf: Piece) -> Recipe:
        data = self._plain(Kind.RECIPE, leaf.digest)
        recipe = decode_recipe(data)
        if recipe_digest(data) != leaf.digest or recipe.tag != CHUNKS or recipe.size != leaf.length:
            raise _damaged(Kind.RECIPE, leaf.digest)
        return recipe

    def recipe_children(self, digest: Digest) -> list[Ref]:
        """The chunks, or leaves, directly below the recipe kept under a file's digest."""
        return object_children(Kind.RECIPE, digest, self._plain(Kind.RECIPE, digest))

    def _named(self, kind: Kind, key: Digest, is_it: Callable[[bytes], bool]) -> bytes:
        """The plain bytes of an object that `is_it` knows. Their checksum is looked at only when it does not: comparing
        every byte twice costs."""
        stored = self.backend.get(kind, key, check=False)
        with suppress(IntegrityError):  # said better below: with the place
            data = decode(kind, stored)
            if is_it(data):
                return data
        data = self._plain(kind, key)
        if not is_it(data):
            raise _damaged(kind, key)
        return data

    def _plain(self, kind: Kind, key: Digest) -> bytes:
        return decode(kind, self.backend.get(kind, key))

    # -- files -----------------------------------------------------------------------------------------------------

    def place(self, page: Digest, file: File) -> Place:
        """Where a non-empty file of `page` lies."""
        place = self.places(page).get(file.digest)
        if place is None:
            raise IntegrityError(f"the page {page.hex()[:16]} has no file {display(file.name)}")
        return place

    def read(self, page: Digest, file: File) -> Iterator[bytes]:
        """A whole file as pieces of at most a chunk, verified: a damaged one raises IntegrityError before its last
        piece is yielded. Memory: one chunk."""
        if not file.size:
            return
        place = self.place(page, file)
        if place.kind == Kind.PART:
            yield self.small_file(page, file)
        elif place.kind == Kind.CHUNK:
            yield self.chunk(Piece(file.digest, file.size))
        else:
            yield from self._recipe_file(file)

    def small_file(self, page: Digest, file: File) -> bytes:
        """The bytes of a file that lies in a part, verified by digest and size.

        A miss reads the layout again as long as it says something else than before: layouts may be replaced.
        """
        last: Place | None = None
        while True:
            place = self.place(page, file)
            try:
                data = self.part(place.key)[place.offset : place.offset + file.size]
            except MissingObjectError:
                if place == last:
                    raise
            else:
                if len(data) == file.size and file_digest(data) == file.digest:
                    return data
                self._parts.discard(place.key)
                if place == last:
                    self._plain(Kind.PART, place.key)  # if it is the part that is damaged, this says where
                    break
            last = place
            self._places.discard(page)
        raise IntegrityError(
            f"the file {display(file.name)} of page {page.hex()[:16]} is damaged: its bytes in part "
            f"{place.key.hex()[:16]} do not give its digest",
            kind="part",
            digest=place.key.hex(),
        )

    def _recipe_file(self, file: File) -> Iterator[bytes]:
        hasher = blake3()
        left = file.size
        for piece in self.chunks(file.digest):
            data = self.chunk(piece)
            hasher.update(data)
            left -= len(data)
            if left <= 0 and (left < 0 or hasher.digest() != file.digest):
                break
            yield data
        if left:
            raise _wrong_size(file)
        if hasher.digest() != file.digest:
            raise _damaged(Kind.RECIPE, file.digest)

    def read_range(self, page: Digest, file: File, start: int, length: int) -> Iterator[bytes]:
        """Bytes [start, start + length) of a file, clipped to its end (neither number negative). Only the chunks
        touched are read, and verified; that there are as many bytes as the file has is checked, not its digest."""
        if start < 0 or length < 0:
            raise UsageError("a range begins at 0 or later and is no shorter than 0 bytes")
        end = min(start + length, file.size)
        if start >= end:
            return
        place = self.place(page, file)
        if place.kind != Kind.RECIPE:
            whole = b"".join(self.read(page, file))
            yield whole[start:end]
            return
        recipe = self.recipe(file.digest)
        if recipe.size != file.size:
            raise _wrong_size(file)
        for at, piece in self.pieces(recipe, start):
            if at >= end:
                return
            yield self.chunk(piece)[max(0, start - at) : end - at]

    # -- trees -----------------------------------------------------------------------------------------------------

    def tree(self, root: Digest) -> Tree:
        """The totals of the directory whose root page is `root`."""
        _, entries, size = pages.read_root(self.page, root).totals
        return Tree(root, entries, size)

    def descend(self, entry: Directory) -> Digest:
        """The root page of a directory entry, its totals compared with what the entry claims."""
        return pages.descend(self.page, entry)

    def find(self, root: Digest, path: tuple[bytes, ...]) -> Located | None:
        """The entry at `path` (at least one component) below `root`, or None when there is none."""
        digest = root
        for depth, name in enumerate(path, 1):
            found = pages.find(self.page, digest, name)
            if found is None:
                return None
            if depth == len(path):
                return Located(*found)
            if found[1][1] != DIRECTORY:
                return None
            digest = self.descend(found[1])
        raise UsageError("the root of a snapshot has no entry of its own", code="bad-path")

    def resolve(self, root: Digest, path: tuple[bytes, ...]) -> Located:
        """As `find`; raises UnknownError (unknown-path)."""
        found = self.find(root, path)
        if found is None:
            raise UnknownError(f"no such path in the snapshot: {display(b'/'.join(path))}", code="unknown-path")
        return found

    def subtree(self, root: Digest, path: tuple[bytes, ...]) -> Digest:
        """The root page of the directory at `path` (() is the root itself); UnknownError when it is no directory."""
        if not path:
            return root
        entry = self.resolve(root, path).entry
        if entry[1] != DIRECTORY:
            raise UnknownError(f"not a directory: {display(b'/'.join(path))}", code="unknown-path")
        return self.descend(entry)

    def walk(self, root: Digest) -> Iterator[tuple[tuple[bytes, ...], Digest, tuple[Entry, ...]]]:
        """(path of a directory, page, the page's entries) for every page below `root`, depth first, parents first.

        Iterative; raises ManifestError for a tree deeper than MAX_DEPTH.
        """
        stack: list[tuple[tuple[bytes, ...], Directory | None]] = [((), None)]
        while stack:
            path, directory = stack.pop()
            if len(path) > MAX_DEPTH:
                raise ManifestError(f"a snapshot is more than {MAX_DEPTH} directories deep")
            digest = root if directory is None else self.descend(directory)
            below: list[tuple[tuple[bytes, ...], Directory | None]] = []
            for page, decoded in pages.iter_pages(self.page, digest):
                yield path, page, decoded.entries
                below.extend(((*path, entry[0]), entry) for entry in decoded.entries if entry[1] == DIRECTORY)
            stack.extend(reversed(below))


def object_children(kind: Kind, key: Digest, plain: bytes) -> list[Ref]:
    """Everything directly below an object in the closed index (DESIGN 6), from its plain bytes."""
    if kind == Kind.PAGE:
        return page_children(key, decode_page(plain))
    if kind == Kind.LAYOUT:
        return decode_layout(key, plain).children()
    if kind == Kind.RECIPE:
        recipe = decode_recipe(plain)
        below = Kind.CHUNK if recipe.tag == CHUNKS else Kind.RECIPE
        return [Ref(below, digest) for digest in dict.fromkeys(piece.digest for piece in recipe.pieces)]
    return []


def page_children(digest: Digest, page: Page) -> list[Ref]:
    """Everything directly below a page: child pages, directories, its layout."""
    refs = [Ref(Kind.PAGE, child.digest) for child in page.children]
    refs += [Ref(Kind.PAGE, entry[3]) for entry in page.entries if entry[1] == DIRECTORY]
    if any(entry[1] == FILE and entry[3] for entry in page.entries):
        refs.append(Ref(Kind.LAYOUT, digest))
    return refs


def checked_children(kind: Kind, key: Digest, plain: bytes) -> list[Ref]:
    """`object_children` of an object whose bytes are compared with its name first (see `check_object`)."""
    if kind == Kind.PAGE and page_digest(plain) != key:
        raise _damaged(kind, key)
    return object_children(kind, key, plain)


def check_object(kind: Kind, key: Digest, plain: bytes) -> None:
    """Compare an object's plain bytes with its name as far as the object alone allows; raises IntegrityError.

    A recipe root is named by its file's digest and so is only decoded; reading the whole file proves it.
    """
    if kind == Kind.PAGE:
        good = page_digest(plain) == key
        decode_page(plain)
    elif kind == Kind.CHUNK:
        good = file_digest(plain) == key
    elif kind == Kind.PART:
        good = part_digest(plain) == key
    elif kind == Kind.RECIPE:
        decode_recipe(plain)
        good = True
    else:
        decode_layout(key, plain)
        good = True
    if not good:
        raise _damaged(kind, key)


def _wrong_size(file: File) -> IntegrityError:
    return IntegrityError(
        f"the chunks of {display(file.name)} do not give its size", kind="recipe", digest=file.digest.hex()
    )


def _damaged(kind: Kind, key: Digest) -> IntegrityError:
    return IntegrityError(
        f"the {kind.name.lower()} {key.hex()} is damaged: its bytes do not give its digest",
        kind=kind.name.lower(),
        digest=key.hex(),
    )
