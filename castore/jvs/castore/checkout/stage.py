"""Writing new content under temporary names, before anything visible is touched.

Two threads take directories and large files off one stack; each decodes, verifies and writes what it took. The kernel
does most of the work (creating a file costs more than its bytes), and both threads are in it at the same time. Every
file is verified by its digest as it is written, so when all is staged every object is known to be present and sound.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from blake3 import blake3

from jvs.castore import pages
from jvs.castore.backend import Kind
from jvs.castore.binding import UnappliedMode
from jvs.castore.checkout import disk
from jvs.castore.codec import decode
from jvs.castore.digest import Digest
from jvs.castore.ingest.statindex import pack_rows
from jvs.castore.ingest.walk import Row, row_of
from jvs.castore.manifest import DIRECTORY, FILE, Directory, Entry, File, Symlink, Tree
from jvs.castore.names import display
from jvs.castore.objects import ObjectStore
from jvs.castore.recipe import Piece
from jvs.errors import IntegrityError, StateError

THREADS = 2
AHEAD = 4
"""Chunks of one large file that are being decoded before it is their turn."""
_TICK = 0.1
_HOLE_MIN = 4096
_ZERO_HEAD = bytes(64)


class Progress(NamedTuple):
    """How far a checkout has come: files and bytes written."""

    files: int
    bytes: int


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


class Made(NamedTuple):
    """A directory that was written. tree: what it is; check: `rows_check` of its entries but large files."""

    tree: Tree
    check: bytes


class NewFile(NamedTuple):
    """A file to be written as `temp` in a directory that exists. path: where it goes; page: where its bytes lie."""

    temp: bytes
    path: bytes
    page: Digest
    entry: File


class DirectoryMode(NamedTuple):
    """A directory whose final permission bits would have been in the way. path: where it will be."""

    path: bytes
    mode: int


class _Tree(NamedTuple):
    temp: bytes
    path: bytes
    digest: Digest
    mode: int | None


class _Files(NamedTuple):
    directory: bytes
    files: Sequence[NewFile]


class _Large(NamedTuple):
    directory: bytes
    file: NewFile


_Task = _Tree | _Files | _Large


class Stager:
    """Collects what is to be written (`add_*`), writes it (`run`), and tells what came of it.

    rows        path -> row of each file given to `add_files`, and of each large one
    made        path -> what is known of each directory written
    late_modes  directories that must keep u+rwx until everything is in place
    unapplied   path -> permission bits that were not applied, by rule or by the file system
    """

    def __init__(self, objects: ObjectStore, root: int, rule: ModeRule) -> None:
        self._objects = objects
        self._root = root
        self._rule = rule
        self._ready = threading.Condition()
        self._tasks: list[_Task] = []
        self._busy = 0
        self._error: BaseException | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._files = self._bytes = 0
        self.rows: dict[bytes, Row] = {}
        self.made: dict[bytes, Made] = {}
        self.late_modes: list[DirectoryMode] = []
        self.unapplied: dict[bytes, UnappliedMode] = {}

    @property
    def progress(self) -> Progress:
        """What was written so far."""
        return Progress(self._files, self._bytes)

    def add_tree(self, temp: bytes, path: bytes, digest: Digest, mode: int | None) -> None:
        """Write the directory `digest` as `temp`, an existing empty directory. mode: its permission bits in the
        snapshot, None for the root, which has none there."""
        self._tasks.append(_Tree(temp, path, digest, mode))

    def add_files(self, directory: bytes, files: Sequence[NewFile]) -> None:
        """Write files into an existing directory."""
        self._tasks.append(_Files(directory, files))

    def run(self, progress: Callable[[Progress], None] | None = None) -> None:
        """Do it all; raises the first failure, when both threads have stopped. progress is called in this thread."""
        if not self._tasks:
            return
        threads = [threading.Thread(target=self._work, name=f"jvs-checkout-{n}", daemon=True) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            with self._ready:
                while (self._tasks or self._busy) and self._error is None:
                    self._ready.wait(_TICK)
                    if progress is not None:
                        progress(self.progress)
        except BaseException as error:  # a KeyboardInterrupt, or the progress callback's own failure
            self._stop(error)
        finally:
            for thread in threads:
                thread.join()
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
        if self._error is not None:
            raise self._error
        if progress is not None:
            progress(self.progress)

    # -- the two threads -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with disk.Directories(self._root) as directories:
            while (task := self._take()) is not None:
                try:
                    self._do(task, directories)
                except BaseException as error:
                    self._stop(error)
                with self._ready:
                    self._busy -= 1
                    if not self._busy:
                        self._ready.notify_all()

    def _take(self) -> _Task | None:
        """The task added last (so that a deep tree needs few at a time), or None when all is done or has failed."""
        with self._ready:
            while self._error is None:
                if self._tasks:
                    self._busy += 1
                    return self._tasks.pop()
                if not self._busy:
                    break
                self._ready.wait()
            return None

    def _push(self, tasks: Sequence[_Task]) -> None:
        with self._ready:
            self._tasks.extend(tasks)
            self._ready.notify_all()

    def _stop(self, error: BaseException) -> None:
        with self._ready:
            if self._error is None:
                self._error = error
            self._tasks.clear()
            self._ready.notify_all()

    def _do(self, task: _Task, directories: disk.Directories) -> None:
        if isinstance(task, _Tree):
            with disk.reporting("cannot make the directory", task.path):
                self._tree(task, directories)
        elif isinstance(task, _Files):
            with disk.reporting("cannot write into", task.directory or b"."):
                rows = self._write_files(task.directory, directories.fd(task.directory), task.files)
                by_name = {row[0]: row for row in rows}
                for file in task.files:
                    if (row := by_name.get(os.fsdecode(disk.split(file.path)[1]))) is not None:
                        self.rows[file.path] = row
        else:
            with disk.reporting("cannot write", task.file.path):
                self._large(directories.fd(task.directory), task.file)

    # -- directories -----------------------------------------------------------------------------------------------

    def _tree(self, task: _Tree, directories: disk.Directories) -> None:
        fd = directories.fd(task.temp)
        if task.mode is not None:
            self._directory_mode(fd, task.path, task.mode)
        rows: list[Row] = []
        links: list[Symlink] = []
        below: list[_Task] = []
        for page, decoded in pages.iter_pages(self._objects.page, task.digest):
            files: list[NewFile] = []
            for entry in decoded.entries:
                path = disk.join(task.path, entry[0])
                if entry[1] == FILE:
                    files.append(NewFile(entry[0], path, page, entry))
                elif entry[1] == DIRECTORY:
                    self._make_directory(fd, entry, task)
                    digest = self._objects.descend(entry)
                    below.append(_Tree(disk.join(task.temp, entry[0]), path, digest, entry[2]))
                else:
                    links.append(entry)
            rows += self._write_files(task.temp, fd, files)
        for link in links:
            rows.append(self._make_link(fd, link, task))
        self.made[task.path] = Made(self._objects.tree(task.digest), rows_check(rows))
        below.reverse()
        self._push(below)

    def _directory_mode(self, fd: int, path: bytes, mode: int) -> None:
        """Give a new directory its permission bits, but for u+rwx, which it keeps as long as it is written into."""
        wanted = mode & self._rule.directory
        bits = disk.settle_mode(fd, os.fstat(fd), wanted | 0o700).st_mode & 0o7777
        if wanted & 0o700 != 0o700:
            self.late_modes.append(DirectoryMode(path, wanted))
            bits &= wanted | ~0o700
        if bits != mode:
            self.unapplied[path] = UnappliedMode(bits, mode)

    def _make_directory(self, fd: int, entry: Directory, task: _Tree) -> None:
        try:
            os.mkdir(entry.name, entry.mode & 0o777 | 0o700, dir_fd=fd)
        except FileExistsError:
            raise collision(task.path, entry.name) from None

    def _make_link(self, fd: int, entry: Symlink, task: _Tree) -> Row:
        try:
            os.symlink(entry.target, entry.name, dir_fd=fd)
        except FileExistsError:
            raise collision(task.path, entry.name) from None
        return row_of(os.fsdecode(entry.name), os.stat(entry.name, dir_fd=fd, follow_symlinks=False))

    # -- files -----------------------------------------------------------------------------------------------------

    def _write_files(self, directory: bytes, fd: int, files: Sequence[NewFile]) -> list[Row]:
        """Write files whose bytes lie in parts or single chunks, whose rows are returned; those with a recipe become
        tasks of their own."""
        rows: list[Row] = []
        large: list[_Task] = []
        objects = self._objects
        held: Digest | None = None
        part = b""
        for file in files:
            if self._error is not None:
                break
            entry = file.entry
            data = b""
            if entry.size:
                place = objects.place(file.page, entry)
                if place.kind == Kind.RECIPE:
                    large.append(_Large(directory, file))
                    continue
                if place.kind == Kind.CHUNK:
                    data = objects.chunk(Piece(entry.digest, entry.size))
                else:
                    if place.key != held:
                        held, part = place.key, objects.part(place.key)
                    data = part[place.offset : place.offset + entry.size]
                    if len(data) != entry.size or blake3(data).digest() != entry.digest:
                        data = objects.small_file(file.page, entry)  # reads the layout anew, or says what is damaged
            new = self._create(fd, file)
            try:
                if data:
                    disk.write_all(new, data)
                rows.append(self._done(new, file))
            finally:
                os.close(new)
        if large:
            self._push(large)
        return rows

    def _large(self, parent: int, file: NewFile) -> None:
        """Write a file that has a recipe: chunks are decoded by a pool and written in order, runs of zeros as holes.

        The file's own digest covers what its chunks' digests would, so those are looked at only when it is wrong.
        """
        hasher = blake3()
        size = 0
        hole = False
        new = self._create(parent, file)
        try:
            waiting: list[Future[bytes]] = []
            chunks = self._objects.chunks(file.entry.digest)
            pool = self._chunk_pool()
            while self._error is None:
                while len(waiting) < AHEAD and (piece := next(chunks, None)) is not None:
                    waiting.append(pool.submit(self._chunk, piece))
                if not waiting:
                    break
                data = waiting.pop(0).result()
                hasher.update(data)
                size += len(data)
                if size > file.entry.size:
                    break
                hole = is_zero(data)
                if hole:
                    os.lseek(new, len(data), os.SEEK_CUR)
                else:
                    disk.write_all(new, data)
            if self._error is not None:
                return
            if hole:
                os.ftruncate(new, size)
            if size != file.entry.size or hasher.digest() != file.entry.digest:
                raise self._damage(file.entry)
            self.rows[file.path] = self._done(new, file)
        finally:
            os.close(new)

    def _chunk(self, piece: Piece) -> bytes:
        data = decode(Kind.CHUNK, self._objects.backend.get(Kind.CHUNK, piece.digest))
        if len(data) != piece.length:
            raise self._damage_of(piece)
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

    def _damage_of(self, piece: Piece) -> IntegrityError:
        digest = piece.digest.hex()
        return IntegrityError(f"the chunk {digest} is damaged: it has another length", kind="chunk", digest=digest)

    def _chunk_pool(self) -> ThreadPoolExecutor:
        with self._ready:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, "jvs-chunk")
            return self._pool

    def _create(self, fd: int, file: NewFile) -> int:
        try:
            return disk.open_new(file.temp, fd, file.entry.mode & 0o777)
        except FileExistsError:
            raise collision(*disk.split(file.path)) from None

    def _done(self, fd: int, file: NewFile) -> Row:
        """Give a file that was written its permission bits; its row under its final name."""
        mode = file.entry.mode
        info = disk.settle_mode(fd, os.fstat(fd), mode & self._rule.file)
        if info.st_mode & 0o7777 != mode:
            self.unapplied[file.path] = UnappliedMode(info.st_mode & 0o7777, mode)
        self._files += 1
        self._bytes += file.entry.size
        return row_of(os.fsdecode(disk.split(file.path)[1]), info)


def rows_check(rows: Iterable[Row]) -> bytes:
    """A digest of the rows of what is no directory, in any order and without ctimes, which change at a rename."""
    kept = sorted((*row[:4], 0, row[5]) if len(row) == 6 else row for row in rows if len(row) != 2)
    return blake3(pack_rows(kept)).digest(16)


def is_zero(data: bytes) -> bool:
    """Whether a chunk is nothing but zeros, and worth a hole."""
    return len(data) >= _HOLE_MIN and data.startswith(_ZERO_HEAD) and data == bytes(len(data))


def collision(directory: bytes, name: bytes) -> StateError:
    """The failure for a name that the target's file system takes for another one's."""
    return StateError(
        f"the file system of the target does not tell {display(disk.join(directory, name))} from another name",
        code="name-collision",
        path=display(disk.join(directory, name)),
        errno=errno.errorcode[errno.EEXIST],
    )
