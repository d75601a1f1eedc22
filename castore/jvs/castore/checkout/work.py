"""The units of work of a checkout: a directory, files of a directory, a large file. Whoever does one needs no other."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from jvs.castore import pages
from jvs.castore.binding import UnappliedMode
from jvs.castore.checkout import disk
from jvs.castore.checkout.content import ContentWriter, LargeFile, Made, ModeRule, Written, collision
from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import IGNORE_FILE
from jvs.castore.ingest.statindex import pack_rows
from jvs.castore.ingest.walk import Row, row_of
from jvs.castore.manifest import Directory, File, Symlink, Tree
from jvs.castore.objects import ObjectStore

KEEP_ROWS = 64 << 20
"""Most bytes of packed rows that are kept for the stat index; what is more is read again by the next push."""


class NewTree(NamedTuple):
    """A directory to be written as `temp`, which is there and empty. path: where it will be; mode: its permission bits
    in the snapshot, None for the root, which has none there."""

    temp: bytes
    path: bytes
    tree: Tree
    mode: int | None


class NewFiles(NamedTuple):
    """Files of one page to be written into an existing directory under temporary names."""

    directory: bytes
    page: Digest
    files: Sequence[File]
    temps: Mapping[bytes, bytes]


Task: TypeAlias = NewTree | NewFiles | LargeFile


class Worker:
    """Does tasks; several threads may share one."""

    def __init__(self, objects: ObjectStore, rule: ModeRule, alone: Callable[[], bool] | None = None) -> None:
        """alone: whether the thread that asks is the only one at work (by default it is never said to be)."""
        self._objects = objects
        self._rule = rule
        self.written = Written()
        self._content = ContentWriter(objects, rule, self.written, alone)

    def stop(self) -> None:
        """Have what is being done end soon, unfinished."""
        self._content.stop()

    def close(self) -> None:
        """Release what it holds."""
        self._content.close()

    def do(self, task: Task, directories: disk.Directories) -> Sequence[Task]:
        """Do one task; the tasks that are left of it. directories: of this thread, below the root."""
        if isinstance(task, NewTree):
            with disk.reporting("cannot write the directory", task.path):
                return self._tree(task, directories)
        if isinstance(task, NewFiles):
            with disk.reporting("cannot write into", task.directory or b"."):
                return self._files(task, directories.fd(task.directory))
        with disk.reporting("cannot write", task.path):
            self._content.large(directories.fd(task.directory), task)
        return ()

    def _files(self, task: NewFiles, fd: int) -> Sequence[Task]:
        where = (task.directory, task.directory)
        rows, large = self._content.small(fd, where, task.page, task.files, task.temps)
        for row in rows:
            self.written.rows[disk.join(task.directory, os.fsencode(row[0]))] = row
        return large

    def _tree(self, task: NewTree, directories: disk.Directories) -> Sequence[Task]:
        disk.check_depth(task.path)
        fd = directories.fd(task.temp)
        if task.mode is not None:
            self._directory_mode(fd, task.path, task.mode)
        rows: list[Row] = []
        links: list[Symlink] = []
        below: list[Task] = []
        later: list[Task] = []
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
            later += large
        for link in links:
            rows.append(self._make_link(fd, link, task.path))
        self._keep(task, rows, fd, complete=not later)
        below.reverse()  # the last one is taken first
        return later + below

    def _keep(self, task: NewTree, rows: list[Row], fd: int, *, complete: bool) -> None:
        """Note the rows of a directory, in the order in which it will be listed if they are all of them."""
        by_name = {row[0]: row for row in rows}
        if complete:
            ordered = [by_name[name] for name in os.listdir(fd) if name in by_name]
            complete = len(ordered) == len(rows)
            rows = ordered if complete else rows
        written = self.written
        packed = b""
        if written.kept < KEEP_ROWS:
            packed = pack_rows(rows)
            written.kept += len(packed)
        below = tuple(row[0] for row in rows if len(row) == 2)
        newest = max((row[4] for row in rows if len(row) == 6), default=0)  # just written: no mtime is newer
        written.made[task.path] = Made(task.tree, below, packed, complete, newest, IGNORE_FILE in by_name)

    def _directory_mode(self, fd: int, path: bytes, mode: int) -> None:
        """Give a new directory its permission bits, but for u+rwx, which it keeps as long as it is written into."""
        wanted = mode & self._rule.directory
        bits = disk.settle_mode(fd, os.fstat(fd), wanted | 0o700).st_mode & 0o7777
        if wanted & 0o700 != 0o700:
            self.written.late_modes[path] = wanted
            bits &= wanted | ~0o700
        if bits != mode:
            self.written.unapplied[path] = UnappliedMode(bits, mode)

    def _make_directory(self, fd: int, entry: Directory, where: tuple[bytes, bytes]) -> NewTree:
        try:
            os.mkdir(entry.name, entry.mode & 0o777 | 0o700, dir_fd=fd)
        except FileExistsError:
            raise collision(where[1], entry.name) from None
        tree = Tree(self._objects.descend(entry), entry.entries, entry.bytes)
        return NewTree(disk.join(where[0], entry.name), disk.join(where[1], entry.name), tree, entry.mode)

    def _make_link(self, fd: int, entry: Symlink, directory: bytes) -> Row:
        try:
            os.symlink(entry.target, entry.name, dir_fd=fd)
        except FileExistsError:
            raise collision(directory, entry.name) from None
        return row_of(os.fsdecode(entry.name), os.stat(entry.name, dir_fd=fd, follow_symlinks=False))


def undo(task: Task, directories: disk.Directories) -> None:
    """Take away what somebody else made of a task, so that it can be done anew."""
    if isinstance(task, NewTree):
        above, name = disk.split(task.temp)
        parent = directories.fd(above)
        disk.remove_tree(name, parent)
        os.mkdir(name, 0o700, dir_fd=parent)
    elif isinstance(task, NewFiles):
        parent = directories.fd(task.directory)
        for file in task.files:
            disk.remove_tree(task.temps[file.name], parent)
    else:
        disk.remove_tree(task.temp, directories.fd(task.directory))
