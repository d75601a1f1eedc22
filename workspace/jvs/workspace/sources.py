"""Where the bytes of a damaged object may still be: other stores, other places of this one, directories on disk.

Nothing that comes from here is believed: whoever asks compares it with the digest it is to have.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Final, Protocol

from jvs.castore.backend import Codec, Kind, Ref, Stored
from jvs.castore.codec import decode
from jvs.castore.digest import Digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.ingest.ingest import ingest
from jvs.castore.local.pack import HEADER, data_is_sound, decode_header, pack_of, pack_path
from jvs.castore.local.quarantine import read_range
from jvs.castore.local.scan import scan_pack
from jvs.castore.manifest import DIRECTORY, File, Page, decode_page, small_files
from jvs.castore.objects import ObjectStore
from jvs.errors import IntegrityError, JvsError
from jvs.workspace.directories import bound
from jvs.workspace.repo import Repo

_BLOCK: Final = 1 << 20


class Source(Protocol):
    """A place to look in."""

    name: str

    def look_for(self, files: Collection[Digest]) -> None:
        """Find out where these files are, before any is asked for."""

    def object(self, ref: Ref) -> bytes | None:
        """The plain bytes of an object."""

    def read(self, file: Digest, size: int, start: int, length: int) -> bytes | None:
        """Bytes [start, start + length) of a file of that digest and size."""


class StoreSource:
    """A store, and all files in it.

    bad  objects that are not to be looked at (of the very store that is being repaired)
    """

    def __init__(self, name: str, objects: ObjectStore, bad: Collection[Ref] = ()) -> None:
        self.name = name
        self._objects = objects
        self._bad = bad
        self._files: dict[Digest, list[tuple[Digest, File]]] = {}

    def look_for(self, files: Collection[Digest]) -> None:
        """See `Source`. Reads every page, and the layouts of those that have one of the files."""
        if not files:
            return
        for key in self._objects.backend.keys(Kind.PAGE):
            try:
                found = [file for file in small_files(self._objects.page(key).entries) if file.digest in files]
                places = self._objects.places(key) if found else {}
            except IntegrityError:
                continue
            for file in found:
                place = places[file.digest]
                if Ref(place.kind, place.key) not in self._bad:
                    self._files.setdefault(file.digest, []).append((key, file))

    def object(self, ref: Ref) -> bytes | None:
        """See `Source`. Layouts name other objects in every store."""
        if ref.kind == Kind.LAYOUT or ref in self._bad:
            return None
        try:
            return decode(ref.kind, self._objects.backend.get(*ref))
        except IntegrityError:
            return None

    def read(self, file: Digest, size: int, start: int, length: int) -> bytes | None:
        """See `Source`."""
        for page, entry in self._files.get(file, ()):
            if entry.size == size:
                try:
                    return b"".join(self._objects.read_range(page, entry, start, length))
                except IntegrityError:
                    continue
        return None


class DirectorySource:
    """A directory on disk, by the paths that a snapshot gives its files; of its pages only those it still has."""

    def __init__(self, path: bytes, root: Digest, objects: ObjectStore) -> None:
        self.name = os.fsdecode(path)
        self._path = path
        self._root = root
        self._objects = objects
        self._paths: dict[Digest, list[bytes]] = {}
        self._made: TreeHasher | None = None

    def look_for(self, files: Collection[Digest]) -> None:
        """See `Source`. Reads the pages of the snapshot, as far as they can be read or made anew."""
        for path, page in self._walk() if files else ():
            for file in small_files(page.entries):
                if file.digest in files:
                    self._paths.setdefault(file.digest, []).append(b"/".join((*path, file.name)))

    def object(self, ref: Ref) -> bytes | None:
        """See `Source`. Pages are made anew from the whole directory, the first time one is asked for."""
        if ref.kind != Kind.PAGE:
            return None
        if self._made is None:
            self._made = TreeHasher(self._objects)
            with suppress(JvsError, OSError):  # what was made until then may do
                ingest(self._made, self._path, skip_unreadable=True)
        return self._made.made(ref.key)

    def read(self, file: Digest, size: int, start: int, length: int) -> bytes | None:
        """See `Source`."""
        for path in self._paths.get(file, ()):
            data = _read_file(os.path.join(self._path, path), size, start, length)
            if data is not None:
                return data
        return None

    def _walk(self) -> Iterator[tuple[tuple[bytes, ...], Page]]:
        """(path of a directory, page) of every page of the snapshot, past what cannot be read."""
        stack: list[tuple[tuple[bytes, ...], Digest]] = [((), self._root)]
        seen: set[tuple[tuple[bytes, ...], Digest]] = set()
        while stack:
            path, digest = item = stack.pop()
            page = None if item in seen else self._page(digest)
            seen.add(item)
            if page is not None:
                yield path, page
                stack.extend((path, row.digest) for row in page.children)
                stack.extend(((*path, entry.name), entry.digest) for entry in page.entries if entry[1] == DIRECTORY)

    def _page(self, digest: Digest) -> Page | None:
        try:
            return self._objects.page(digest)
        except IntegrityError:
            data = self.object(Ref(Kind.PAGE, digest))
            return None if data is None else decode_page(data)


def _read_file(path: bytes, size: int, start: int, length: int) -> bytes | None:
    """Bytes of a regular file of that size, never through a symbolic link at its end."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return None
        parts = []
        while length and (part := os.pread(fd, min(length, _BLOCK), start)):
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return None if length else b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(fd)


class PackSource:
    """Sound records in the packs of a store, whether or not the index leads to them: what was rewritten, what lost its
    row, what another row points to."""

    name = "another record in a pack"

    def __init__(self, packs_path: str, wanted: Collection[Ref]) -> None:
        """wanted: the objects that will be asked for. Reads every pack from end to end."""
        self._packs_path = packs_path
        by_name = {(int(ref.kind), ref.key): ref for ref in wanted}
        self._places: dict[Ref, list[tuple[bytes, int, int, int]]] = {}
        for name in sorted(os.listdir(packs_path)) if wanted else ():
            pack = pack_of(name)
            if pack is None:
                continue
            try:
                with open(os.path.join(packs_path, name), "rb", buffering=0) as file:
                    found, _ = scan_pack(file.fileno(), pack)
            except OSError:
                continue  # gone meanwhile, or nothing that the disk gives
            for offset, record in found:
                ref = by_name.get((record.kind, record.key))
                if ref is not None:
                    self._places.setdefault(ref, []).append((pack, offset, record.stored, record.seq))

    def look_for(self, files: Collection[Digest]) -> None:
        """See `Source`. Records say nothing of files."""

    def object(self, ref: Ref) -> bytes | None:
        """See `Source`. Of several layouts the newest."""
        for pack, offset, stored, _ in sorted(self._places.get(ref, ()), key=lambda place: -place[3]):
            raw = read_range(pack_path(self._packs_path, pack), offset, HEADER + stored)
            record = decode_header(raw[:HEADER])
            if record is not None and data_is_sound(record, raw[HEADER:]):
                try:
                    return decode(ref.kind, Stored(Codec(record.codec), record.size, raw[HEADER:]))
                except IntegrityError:
                    continue
        return None

    def read(self, file: Digest, size: int, start: int, length: int) -> bytes | None:
        """See `Source`."""
        return None


def directories(repo: Repo) -> list[DirectorySource]:
    """The directories that are bound to labels of this store and still there."""
    found = []
    for path, binding in bound(repo):
        root = binding.ca_id if binding.pending is None else binding.pending.target
        if root is not None:
            found.append(DirectorySource(path, root, repo.objects))
    return found
