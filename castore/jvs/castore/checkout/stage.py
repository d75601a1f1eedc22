"""Writing new content under temporary names, before anything visible is touched.

Two threads take directories and large files off one stack. The kernel does most of the work (creating a file costs
more than its bytes), and both threads are in it at the same time. Every file is verified as it is written, so when all
is staged every object is known to be present and sound.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from jvs.castore import pages
from jvs.castore.binding import UnappliedMode
from jvs.castore.checkout import disk
from jvs.castore.checkout.content import ContentWriter, LargeFile, ModeRule, collision
from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import IGNORE_FILE
from jvs.castore.ingest.statindex import pack_rows
from jvs.castore.ingest.walk import Row, row_of
from jvs.castore.manifest import Directory, File, Symlink, Tree
from jvs.castore.objects import ObjectStore

THREADS = 2
KEEP_ROWS = 64 << 20
"""Most bytes of packed rows that are kept for the stat index; what is more is read again by the next push."""
_TICK = 0.1


class Progress(NamedTuple):
    """How far a checkout has come: files and bytes written."""

    files: int
    bytes: int


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


class DirectoryMode(NamedTuple):
    """A directory whose final permission bits would have been in the way. path: where it will be."""

    path: bytes
    mode: int


class _Tree(NamedTuple):
    temp: bytes
    path: bytes
    tree: Tree
    mode: int | None


class _Files(NamedTuple):
    directory: bytes
    page: Digest
    files: Sequence[File]
    temps: Mapping[bytes, bytes]


_Task = _Tree | _Files | LargeFile


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
        self._content = ContentWriter(objects, rule)
        self._ready = threading.Condition()
        self._tasks: list[_Task] = []
        self._busy = 0
        self._error: BaseException | None = None
        self._kept = 0
        self.made: dict[bytes, Made] = {}
        self.late_modes: list[DirectoryMode] = []

    @property
    def rows(self) -> dict[bytes, Row]:
        """See the class."""
        return self._content.rows

    @property
    def unapplied(self) -> dict[bytes, UnappliedMode]:
        """See the class."""
        return self._content.unapplied

    @property
    def progress(self) -> Progress:
        """What was written so far."""
        return Progress(self._content.files, self._content.bytes)

    def add_tree(self, temp: bytes, path: bytes, tree: Tree, mode: int | None) -> None:
        """Write a directory as `temp`, which is there and empty. mode: its permission bits in the snapshot, None for
        the root, which has none there."""
        self._tasks.append(_Tree(temp, path, tree, mode))

    def add_files(self, directory: bytes, page: Digest, files: Sequence[File], temps: Mapping[bytes, bytes]) -> None:
        """Write files of one page into an existing directory. temps: their temporary names."""
        self._tasks.append(_Files(directory, page, files, temps))

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
            self._content.close()
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
        if tasks:
            with self._ready:
                self._tasks.extend(tasks)
                self._ready.notify_all()

    def _stop(self, error: BaseException) -> None:
        self._content.stop()
        with self._ready:
            if self._error is None:
                self._error = error
            self._tasks.clear()
            self._ready.notify_all()

    def _do(self, task: _Task, directories: disk.Directories) -> None:
        if isinstance(task, _Tree):
            with disk.reporting("cannot write the directory", task.path):
                self._tree(task, directories)
        elif isinstance(task, _Files):
            with disk.reporting("cannot write into", task.directory or b"."):
                self._files(task, directories.fd(task.directory))
        else:
            with disk.reporting("cannot write", task.path):
                self._content.large(directories.fd(task.directory), task)

    def _files(self, task: _Files, fd: int) -> None:
        rows, large = self._content.small(fd, (task.directory, task.directory), task.page, task.files, task.temps)
        for row in rows:
            self.rows[disk.join(task.directory, os.fsencode(row[0]))] = row
        self._push(large)

    def _tree(self, task: _Tree, directories: disk.Directories) -> None:
        disk.check_depth(task.path)
        fd = directories.fd(task.temp)
        if task.mode is not None:
            self._directory_mode(fd, task.path, task.mode)
        rows: list[Row] = []
        complete = True
        links: list[Symlink] = []
        below: list[_Task] = []
        where = (task.temp, task.path)
        for page, decoded in pages.iter_pages(self._objects.page, task.tree.digest):
            files: list[File] = []
            for entry in decoded.entries:
                if isinstance(entry, File):
                    files.append(entry)
                elif isinstance(entry, Directory):
                    below.append(self._make_directory(fd, entry, where))
                    rows.append((os.fsdecode(entry.name), stat.S_IFDIR | self._rule.of(entry)))
                else:
                    links.append(entry)
            written, large = self._content.small(fd, where, page, files)
            rows += written
            complete = complete and not large
            self._push(large)
        for link in links:
            rows.append(self._make_link(fd, link, task.path))
        self._keep(task, rows, fd, complete=complete)
        below.reverse()
        self._push(below)

    def _keep(self, task: _Tree, rows: list[Row], fd: int, *, complete: bool) -> None:
        """Remember the rows of a directory, in the order in which it will be listed if they are all of them."""
        by_name = {row[0]: row for row in rows}
        if complete:
            ordered = [by_name[name] for name in os.listdir(fd) if name in by_name]
            complete = len(ordered) == len(rows)
            rows = ordered if complete else rows
        packed = b""
        if self._kept < KEEP_ROWS:
            packed = pack_rows(rows)
            self._kept += len(packed)
        below = tuple(row[0] for row in rows if len(row) == 2)
        newest = max((row[4] for row in rows if len(row) == 6), default=0)  # just written: no mtime is newer
        self.made[task.path] = Made(task.tree, below, packed, complete, newest, IGNORE_FILE in by_name)

    def _directory_mode(self, fd: int, path: bytes, mode: int) -> None:
        """Give a new directory its permission bits, but for u+rwx, which it keeps as long as it is written into."""
        wanted = mode & self._rule.directory
        bits = disk.settle_mode(fd, os.fstat(fd), wanted | 0o700).st_mode & 0o7777
        if wanted & 0o700 != 0o700:
            self.late_modes.append(DirectoryMode(path, wanted))
            bits &= wanted | ~0o700
        if bits != mode:
            self.unapplied[path] = UnappliedMode(bits, mode)

    def _make_directory(self, fd: int, entry: Directory, where: tuple[bytes, bytes]) -> _Tree:
        try:
            os.mkdir(entry.name, entry.mode & 0o777 | 0o700, dir_fd=fd)
        except FileExistsError:
            raise collision(where[1], entry.name) from None
        tree = Tree(self._objects.descend(entry), entry.entries, entry.bytes)
        return _Tree(disk.join(where[0], entry.name), disk.join(where[1], entry.name), tree, entry.mode)

    def _make_link(self, fd: int, entry: Symlink, directory: bytes) -> Row:
        try:
            os.symlink(entry.target, entry.name, dir_fd=fd)
        except FileExistsError:
            raise collision(directory, entry.name) from None
        return row_of(os.fsdecode(entry.name), os.stat(entry.name, dir_fd=fd, follow_symlinks=False))
