"""Walking a tree and making it anew, file by file: what engines have in common that clone contents one by one.

Everything is reached by descriptor, name by name, and never through a symlink, in the source as in the copy. Files are
done in batches, by one thread or several. What a later step would undo comes last: hard links when all files are
there, the permission bits and times of directories when nothing more is made in them.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from jvs.castore.checkout import disk
from jvs.castore.ingest.stable import open_file
from jvs.castore.names import MAX_DEPTH, display
from jvs.workspace.engines.attributes import link, settle, settle_symlink
from jvs.workspace.engines.engine import CloneResult, Refused, stopped
from jvs.workspace.engines.pool import Pool

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress

Advance: TypeAlias = Callable[[int], None]
"""Told of bytes that are done; raises when the work is to stop."""

CopyContents: TypeAlias = Callable[[int, int, os.stat_result, Advance], None]
"""(source, target, info, advance): give `target`, open for writing and empty, the content of `source`, whose fstat gave
`info` and which is not empty. Called on several threads. Raises OSError, and Refused."""

BATCH: Final = 64
"""Files of one task: few enough for two threads to end at about the same time."""


class _Task(NamedTuple):
    """A directory to be listed (files None), or files of one to be copied."""

    path: bytes
    files: Sequence[str] | None = None


class _Made(NamedTuple):
    """A directory of the copy, and the stat of the original."""

    path: bytes
    info: os.stat_result


class TreeCloner:
    """Clones one tree, once."""

    def __init__(
        self,
        copy: CopyContents,
        skip: Collection[bytes],
        progress: Progress | None,
        cancel: threading.Event | None,
        *,
        threads: int = 1,
    ) -> None:
        """threads: how many do the work; the rest as in `Engine.clone_tree`."""
        self._threads = threads
        self.copy = copy
        self._skip = skip
        self._progress = progress
        self._cancel = cancel
        self._pool: Pool[_Task] = Pool()
        self._lock = threading.Lock()
        self._inodes: dict[tuple[int, int], bytes] = {}
        self._links: list[tuple[bytes, bytes]] = []
        self._made: list[_Made] = []
        self._workers: list[_Worker] = []

    def run(self, src: str, dst: str) -> CloneResult:
        """Make the new directory `dst` a copy of `src`."""
        with disk.reporting("cannot read the directory", os.fsencode(src)):
            source = disk.open_root(src)
        try:
            with disk.reporting("cannot make the directory", os.fsencode(dst)):
                os.mkdir(dst, 0o700)
                target = os.open(dst, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                return self._run(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _run(self, source: int, target: int) -> CloneResult:
        self._workers = [_Worker(self, source, target) for _ in range(self._threads)]
        try:
            self._pool.run(_Task(b""), [worker.work for worker in self._workers], self._tick)
        finally:
            for worker in self._workers:
                worker.close()
        with disk.Directories(target) as those, disk.Directories(target) as these:
            for first, other in self._links:
                self.check()
                with disk.reporting("cannot link", other):
                    link(first, those, other, these)
            for made in reversed(self._made):  # what is in a directory comes after it
                with disk.reporting("cannot set the mode of", made.path or b"."):
                    settle(these.fd(made.path), made.info)
        self._tick()
        workers = self._workers
        return CloneResult(
            files=sum(worker.files for worker in workers),
            directories=len(self._made) - 1,
            symlinks=sum(worker.symlinks for worker in workers),
            size=sum(worker.bytes for worker in workers),
            skipped=tuple(sorted(path for worker in workers for path in worker.skipped)),
            changed=tuple(sorted(path for worker in workers for path in worker.changed)),
        )

    def check(self) -> None:
        """Raise when the work is to stop. Asked from any thread."""
        if self._pool.failed or (self._cancel is not None and self._cancel.is_set()):
            raise stopped()

    def skips(self, path: bytes, name: str) -> bool:
        """Whether an entry of the directory `path` is to be left out."""
        return not path and os.fsencode(name) in self._skip

    def claim(self, info: os.stat_result, path: bytes) -> bool:
        """Whether whoever asks is to make the file `path`; otherwise it will be linked to the one of another name."""
        if info.st_nlink < 2:
            return True
        with self._lock:
            first = self._inodes.setdefault((info.st_dev, info.st_ino), path)
            if first == path:
                return True
            self._links.append((first, path))
            return False

    def note(self, made: _Made) -> None:
        """A directory was made, and is to be finished."""
        self._made.append(made)

    def _tick(self) -> None:
        self.check()
        if self._progress is not None:
            done = sum(worker.bytes for worker in self._workers)
            items = sum(worker.files + worker.symlinks for worker in self._workers)
            self._progress.update(done, None, items)


class _Worker:
    """One thread's part: its open directories, and its counts."""

    def __init__(self, cloner: TreeCloner, source: int, target: int) -> None:
        self._cloner = cloner
        self._sources = disk.Directories(source)
        self._targets = disk.Directories(target)
        self.files = self.symlinks = self.bytes = 0
        self.skipped: list[bytes] = []
        self.changed: list[bytes] = []

    def close(self) -> None:
        """Close what is open."""
        self._sources.close()
        self._targets.close()

    def work(self, task: _Task) -> Sequence[_Task]:
        """Do a task; the tasks that are left of it."""
        try:
            source = self._source(task.path)
        except FileNotFoundError:  # gone since it was listed
            if task.files is None:
                self._forget(task.path)
            return ()
        with disk.reporting("cannot open the copy of", task.path or b"."):
            target = self._targets.fd(task.path)
        if task.files is None:
            return self._list(task.path, source, target)
        for name in task.files:
            self._cloner.check()
            path = disk.join(task.path, os.fsencode(name))
            try:
                self._file(name, path, source, target)
            except OSError as error:
                raise disk.disk_error(error, f"cannot copy {display(path)}") from error
            except Refused as refusal:
                raise Refused(f"{display(path)}: {refusal}") from refusal
        return ()

    def _source(self, path: bytes) -> int:
        """The directory `path` of the original; raises FileNotFoundError when it is gone."""
        try:
            return self._sources.fd(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise disk.disk_error(error, f"cannot read the directory {display(path)}") from error

    def _forget(self, path: bytes) -> None:
        """Take the copy of a directory away that is gone."""
        above, name = disk.split(path)
        with disk.reporting("cannot remove", path):
            os.rmdir(name, dir_fd=self._targets.fd(above))

    def _list(self, path: bytes, source: int, target: int) -> Sequence[_Task]:
        """Make the directories and symlinks of a directory that was made; the rest of it is returned as tasks."""
        cloner = self._cloner
        cloner.note(_Made(path, os.fstat(source)))
        below: list[_Task] = []
        files: list[str] = []
        with disk.reporting("cannot copy the directory", path or b"."), os.scandir(source) as entries:
            for entry in entries:
                name = entry.name
                if cloner.skips(path, name):
                    continue
                if entry.is_file(follow_symlinks=False):
                    files.append(name)
                    continue
                whole = disk.join(path, os.fsencode(name))
                if entry.is_dir(follow_symlinks=False):
                    if disk.depth(whole) > MAX_DEPTH:
                        raise OSError(errno.ENAMETOOLONG, f"it lies more than {MAX_DEPTH:,} levels deep")
                    os.mkdir(name, 0o700, dir_fd=target)
                    below.append(_Task(whole))
                elif entry.is_symlink():
                    self._symlink(name, whole, source, target)
                elif disk.exists(os.fsencode(name), source):  # else it is gone since it was listed
                    self.skipped.append(whole)
        below += [_Task(path, files[at : at + BATCH]) for at in range(0, len(files), BATCH)]
        return below

    def _file(self, name: str, path: bytes, source: int, target: int) -> None:
        try:
            fd = open_file(name, source)
        except FileNotFoundError:  # gone since the directory was listed
            return
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EBUSY, "it became something else meanwhile")
            if self._cloner.claim(info, path):
                self._contents(fd, name, path, info, target)
            self.files += 1
        finally:
            os.close(fd)

    def _contents(self, fd: int, name: str, path: bytes, info: os.stat_result, target: int) -> None:
        new = disk.open_new(os.fsencode(name), target, stat.S_IMODE(info.st_mode) & 0o777)
        try:
            if info.st_size:
                self._cloner.copy(fd, new, info, self._advance)
            settle(new, info)
        finally:
            os.close(new)
        now = os.fstat(fd)
        if (now.st_size, now.st_mtime_ns) != (info.st_size, info.st_mtime_ns):
            self.changed.append(path)

    def _advance(self, size: int) -> None:
        self.bytes += size
        self._cloner.check()

    def _symlink(self, name: str, path: bytes, source: int, target: int) -> None:
        try:
            info = os.stat(name, dir_fd=source, follow_symlinks=False)
            leads_to = os.readlink(name, dir_fd=source)
        except FileNotFoundError:  # gone since the directory was listed
            return
        self.symlinks += 1
        if not self._cloner.claim(info, path):
            return
        os.symlink(leads_to, name, dir_fd=target)
        settle_symlink(name, target, info)
