"""The data files of an upper layer: one per file that was written, in a directory of their own."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from jvs.castore.local.descriptors import sync_data, sync_directory, sync_filesystem, sync_tells

MAX_OPEN: Final = 256
"""Descriptors kept open at most."""
_FANOUT: Final = 1024
GARBAGE: Final = 64 << 20
"""Bytes of files that nothing needs any more, but that the journal may still name after a power cut, before the journal
is synced in order to remove them."""
_BLOCK: Final = 1 << 20
_MANY: Final = 256
"""Files that are synced one by one. More are synced with all else that is on their file system: a new file by itself
takes up to a millisecond, and whoever else writes there makes that wait longer."""


class DataFiles:
    """Makes, opens and removes data files. Not thread-safe: the overlay's lock is held."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._open: OrderedDict[int, int] = OrderedDict()
        self._next = 1
        self._garbage: list[int] = []
        self.garbage_bytes = 0
        self._unsynced: dict[int, None] = {}
        self._new_directories: set[str] = set()
        os.makedirs(directory, mode=0o700, exist_ok=True)
        # open before anything is written: so it is told of all that could not be
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def path(self, number: int) -> str:
        """Where a data file lies."""
        return os.path.join(self._directory, f"{number // _FANOUT:x}", f"{number % _FANOUT:x}")

    def renamed(self, directory: str) -> None:
        """The directory they are in is at this path now; to be called before there is any."""
        assert self._next == 1
        self._directory = directory

    def new(self) -> int:
        """The number of a new, empty data file, already open."""
        number = self._next
        path = self.path(number)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            self._new_directories.add(self._directory)
            fd = os.open(path, flags, 0o600)
        self._next = number + 1
        self._new_directories.add(os.path.dirname(path))
        self._unsynced[number] = None
        self._keep(number, fd)
        return number

    def fd(self, number: int) -> int:
        """An open descriptor of a data file, good until the next call of `fd` or `new`."""
        fd = self._open.get(number)
        if fd is None:
            fd = os.open(self.path(number), os.O_RDWR | os.O_CLOEXEC)
            self._keep(number, fd)
        else:
            self._open.move_to_end(number)
        return fd

    def written(self, number: int) -> int:
        """As `fd`, for one who is about to write: what he writes is made durable by the next `sync`."""
        self._unsynced[number] = None
        return self.fd(number)

    def _keep(self, number: int, fd: int) -> None:
        self._open[number] = fd
        while len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])

    def copy(self, number: int) -> int:
        """The number of a new data file with the bytes of this one; its holes stay holes."""
        source = os.dup(self.fd(number))
        other = 0
        try:
            other = self.new()
            _copy_data(source, self.fd(other))
        except OSError:
            if other:
                self.drop(other)
            raise
        finally:
            os.close(source)
        return other

    def drop(self, number: int) -> None:
        """Nothing needs this file any more. It goes once the journal that says so is durable (`sweep`)."""
        fd = self._open.pop(number, None)
        if fd is not None:
            os.close(fd)
        with suppress(FileNotFoundError):  # when a journal is read again after the file went
            self.garbage_bytes += os.stat(self.path(number)).st_blocks * 512
        self._unsynced.pop(number, None)
        self._garbage.append(number)

    def sync(self) -> None:
        """Make the data of every file that is new or was written since the last time durable, and their names: a
        journal that names them, and says what was written where, may be synced afterwards."""
        if len(self._unsynced) > _MANY and sync_tells():
            sync_filesystem(self._fd)
            self._new_directories.clear()
        else:
            for number in self._unsynced:
                sync_data(self.fd(number))
        self._unsynced.clear()
        for path in self._new_directories:
            sync_directory(path)
        self._new_directories.clear()

    def sweep(self) -> None:
        """Remove what was dropped: the journal is durable."""
        for number in self._garbage:
            os.unlink(self.path(number))
        self._garbage.clear()
        self.garbage_bytes = 0

    def adopt(self, used: set[int], highest: int) -> None:
        """After a journal was read, and is durable: remove every data file that is not `used`. highest: number of any
        that the journal ever named, so that no other file is taken for it. Whether the others were synced nobody knows:
        the next `sync` does it."""
        self._next = highest + 1
        self._unsynced = dict.fromkeys(used)
        self._new_directories = {self._directory, *(os.path.dirname(self.path(number)) for number in used)}
        self._garbage.clear()
        self.garbage_bytes = 0
        for folder, _, names in os.walk(self._directory):
            for name in names:
                path = os.path.join(folder, name)
                number = int(os.path.basename(folder), 16) * _FANOUT + int(name, 16)
                if number not in used:
                    os.unlink(path)

    def close(self) -> None:
        """Close every descriptor; idempotent."""
        while self._open:
            os.close(self._open.popitem()[1])
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _copy_data(source: int, target: int) -> None:
    """Copy a file's bytes to an empty one, but for its holes."""
    size = os.fstat(source).st_size
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # nothing but a hole follows
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end:
            data = os.pread(source, min(_BLOCK, end - at), at)
            write_all(target, memoryview(data), at)
            at += len(data)
    os.ftruncate(target, size)


def write_all(fd: int, view: memoryview, at: int) -> None:
    """Write all of `view` at an offset. Raises OSError."""
    while view:
        done = os.pwrite(fd, view, at)
        view = view[done:]
        at += done
