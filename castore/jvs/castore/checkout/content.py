"""Writing the bytes of files, verified as they are written.

Small files are cut out of their decoded part, hashed, and written with one call each. Large ones come chunk by chunk,
in order: decoded, hashed and written by one thread while the chunk is in its core's cache (2 GiB in 8 files: 0.8 s,
with a pool that decodes 1.05 s), unless nothing else is left to be done; then a pool decodes ahead. A chunk of nothing
but zeros becomes a hole.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from blake3 import blake3

from jvs.castore.backend import Kind
from jvs.castore.binding import UnappliedMode
from jvs.castore.checkout import disk
from jvs.castore.codec import decode
from jvs.castore.digest import Digest
from jvs.castore.ingest.walk import Row, row_of
from jvs.castore.manifest import DIRECTORY, FILE, Entry, File, Tree
from jvs.castore.names import display
from jvs.castore.objects import ObjectStore
from jvs.castore.recipe import Piece
from jvs.errors import IntegrityError, MissingObjectError, StateError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

DECODERS = 2
_Path: TypeAlias = bytes
AHEAD = 4
"""Chunks of one large file that are decoded before it is their turn."""
_HOLE_MIN = 4096
_ZERO_HEAD = bytes(64)


class ModeRule(NamedTuple):
    """Which permission bits a checkout applies: those of `file` and `directory`."""

    file: int
    directory: int

    def of(self, entry: Entry) -> int:
        """The bits an entry gets on disk."""
        if entry[1] == FILE:
            return entry[2] & self.file
        return entry[2] & self.directory if entry[1] == DIRECTORY else 0


ORDINARY = ModeRule(0o777, 0o3777)
SPECIAL = ModeRule(0o7777, 0o7777)


class LargeFile(NamedTuple):
    """A file with a recipe. directory: where it is written, as `temp`; path: where it goes."""

    directory: bytes
    temp: bytes
    path: bytes
    entry: File


class Made(NamedTuple):
    """A directory that was written.

    tree       what it is
    below      names of its subdirectories
    rows       packed rows of all that is in it but large files (`b""`: not kept); those of subdirectories as they will
               be when their permission bits are set
    ordered    whether these are all its rows, in listing order; `below` is in that order then too
    newest     the newest time in them
    own_rules  whether there is an ignore file
    """

    tree: Tree
    below: tuple[str, ...]
    rows: bytes
    ordered: bool
    newest: int
    own_rules: bool


@dataclass
class Written:
    """What came of writing: by path, as it will be when everything is in place.

    rows        of each file of an existing directory, and of each large one
    made        directories written; kept: bytes of packed rows in them
    late_modes  permission bits of directories that must keep u+rwx until everything is in place
    unapplied   permission bits that were not applied, by rule or by the file system
    """

    files: int = 0
    bytes: int = 0
    kept: int = 0
    rows: dict[_Path, Row] = field(default_factory=dict)
    made: dict[_Path, Made] = field(default_factory=dict)
    late_modes: dict[_Path, int] = field(default_factory=dict)
    unapplied: dict[_Path, UnappliedMode] = field(default_factory=dict)


class ContentWriter:
    """Writes files into open directories; used by several threads."""

    def __init__(
        self, objects: ObjectStore, rule: ModeRule, written: Written, alone: Callable[[], bool] | None = None
    ) -> None:
        """written: where what was written is noted. alone: whether whoever asks is the only one at work."""
        self._objects = objects
        self._rule = rule
        self._written = written
        self._alone = alone or (lambda: False)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = False

    def stop(self) -> None:
        """Have everything that is being written end soon, unfinished."""
        self._stopped = True

    def close(self) -> None:
        """Stop the decoders."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def small(
        self,
        fd: int,
        where: tuple[bytes, bytes],
        page: Digest,
        files: Sequence[File],
        temps: Mapping[bytes, bytes] | None = None,
    ) -> tuple[list[Row], list[LargeFile]]:
        """Write files of one page into the directory open as `fd`.

        where: (path it is written at, path it will be at). temps: temporary names by name, None for the names proper.
        Returns the rows of the files written, and the files with a recipe, which are not.
        """
        objects = self._objects
        places = objects.places(page) if any(entry[3] for entry in files) else {}
        rows: list[Row] = []
        large: list[LargeFile] = []
        held = b""
        part = b""
        size_written = 0
        for entry in files:
            if self._stopped:
                break
            name, _, mode, size, digest = entry
            temp = name if temps is None else temps[name]
            data = b""
            if size:
                place = places.get(digest)
                if place is None:
                    raise IntegrityError(f"the page {page.hex()[:16]} has no file {display(name)}")
                kind, key, offset = place
                if kind == Kind.PART:
                    if key != held:
                        held, part = key, self._part(key)
                    data = part[offset : offset + size]
                    if len(data) != size or blake3(data).digest() != digest:
                        data = objects.small_file(page, entry)  # reads the layout anew, or says what is damaged
                elif kind == Kind.CHUNK:
                    data = objects.chunk(Piece(digest, size))
                else:
                    large.append(LargeFile(where[0], temp, disk.join(where[1], name), entry))
                    continue
            new = _create(temp, fd, mode, where[1], name)
            try:
                if data:
                    disk.write_all(new, data)
                info = os.fstat(new)
                if info.st_mode & 0o7777 != mode:
                    info = self._settle(new, info, disk.join(where[1], name), mode)
            finally:
                os.close(new)
            rows.append(row_of(os.fsdecode(name), info))
            size_written += size
        self._count(len(rows), size_written)
        return rows, large

    def large(self, fd: int, file: LargeFile) -> None:
        """Write a file that has a recipe into the directory open as `fd`; its row is noted.

        The file's own digest covers what its chunks' digests would, so those are looked at only when it is wrong.
        """
        entry = file.entry
        new = _create(file.temp, fd, entry.mode, *disk.split(file.path))
        try:
            self._write_chunks(new, entry)
            if self._stopped:
                return
            info = os.fstat(new)
            if info.st_mode & 0o7777 != entry.mode:
                info = self._settle(new, info, file.path, entry.mode)
        finally:
            os.close(new)
        self._written.rows[file.path] = row_of(os.fsdecode(entry.name), info)
        self._count(1, entry.size)

    def _write_chunks(self, new: int, entry: File) -> None:
        hasher = blake3()
        size = 0
        hole = False
        waiting: deque[Future[bytes]] = deque()
        chunks = self._objects.chunks(entry.digest)
        while not self._stopped:
            if self._alone():
                while len(waiting) < AHEAD and (piece := next(chunks, None)) is not None:
                    waiting.append(self._decoders().submit(self._chunk, piece))
            if waiting:
                data = waiting.popleft().result()
            elif (piece := next(chunks, None)) is not None:
                data = self._chunk(piece)
            else:
                break
            hasher.update(data)
            size += len(data)
            if size > entry.size:
                break
            hole = is_zero(data)
            if hole:
                os.lseek(new, len(data), os.SEEK_CUR)
            else:
                disk.write_all(new, data)
        if self._stopped:
            return
        if size != entry.size or hasher.digest() != entry.digest:
            raise self._damage(entry)
        if hole:
            os.ftruncate(new, size)

    def _chunk(self, piece: Piece) -> bytes:
        data = decode(Kind.CHUNK, self._objects.backend.get(Kind.CHUNK, piece.digest))
        if len(data) != piece.length:
            digest = piece.digest.hex()
            raise IntegrityError(f"the chunk {digest} is damaged: it has another length", kind="chunk", digest=digest)
        return data

    def _damage(self, entry: File) -> IntegrityError:
        """What is wrong with a file whose bytes do not give its digest: a chunk, if one is damaged, else its recipe."""
        for piece in self._objects.chunks(entry.digest):
            try:
                self._objects.chunk(piece)
            except IntegrityError as error:
                return error
        return IntegrityError(
            f"the recipe {entry.digest.hex()} is damaged: its chunks do not give the file {display(entry.name)}",
            kind="recipe",
            digest=entry.digest.hex(),
        )

    def _decoders(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor  # brings logging with it

                self._pool = ThreadPoolExecutor(DECODERS, "jvs-chunk")
            return self._pool

    def _part(self, key: Digest) -> bytes:
        """A part; nothing when it is gone: the layout was replaced, and is read anew for each file."""
        try:
            return self._objects.part(key)
        except MissingObjectError:
            return b""

    def _settle(self, fd: int, info: os.stat_result, path: bytes, mode: int) -> os.stat_result:
        """Give a file that was written its permission bits, as far as rule and file system let it."""
        info = disk.settle_mode(fd, info, mode & self._rule.file)
        if info.st_mode & 0o7777 != mode:
            self._written.unapplied[path] = UnappliedMode(info.st_mode & 0o7777, mode)
        return info

    def _count(self, files: int, size: int) -> None:
        with self._lock:
            self._written.files += files
            self._written.bytes += size


def _create(temp: bytes, fd: int, mode: int, directory: bytes, name: bytes) -> int:
    try:
        return disk.open_new(temp, fd, mode & 0o777)
    except FileExistsError:
        raise collision(directory, name) from None


def is_zero(data: bytes) -> bool:
    """Whether a chunk is nothing but zeros, and worth a hole."""
    return len(data) >= _HOLE_MIN and data.startswith(_ZERO_HEAD) and data == bytes(len(data))


def collision(directory: bytes, name: bytes) -> StateError:
    """The failure for a name that the target's file system takes for another one's."""
    path = display(disk.join(directory, name))
    return StateError(
        f"the file system of the target does not tell {path} from another name",
        code="name-collision",
        path=path,
        errno=errno.errorcode[errno.EEXIST],
    )
