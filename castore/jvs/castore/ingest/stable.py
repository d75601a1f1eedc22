"""Reading one entry so that what is stored is what was there: a torn read is never taken for a file (DESIGN 4.4).

A file's bytes are believed when its stat was the same before and after they were read, and when its ctime was at least
one tick of the clock old before: a change within the very tick of the previous one would leave no trace in the stat.
(A writer through mmap leaves none either until its pages are written back; no reader can see that.)
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from jvs.castore.chunking import Reader
from jvs.castore.digest import Digest, file_digest
from jvs.castore.ingest.walk import FILE_FLAGS, FileClock, Row, row_of
from jvs.castore.names import MAX_TARGET
from jvs.castore.treesink import TreeSink

TICK_NS: Final = 20_000_000
"""No clock that stamps files on a local file system ticks more slowly."""
PAUSES: Final = (0.0, 0.03, 0.1, 0.3)
"""Seconds before each attempt at a file that does not hold still."""

_READ: Final = 1 << 20
_QUIET_FLAGS: Final = FILE_FLAGS | getattr(os, "O_NOATIME", 0)
_ZEROS: Final = bytes(_READ)
_FATAL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Found(NamedTuple):
    """One entry that is no directory, as it was read.

    row      its stat, the same before and after
    digest   of a regular file's bytes
    content  the bytes of a file that was not streamed
    target   of a symbolic link
    A FIFO, socket or device has neither of the three.
    """

    row: Row
    digest: Digest | None = None
    content: bytes | None = None
    target: bytes | None = None


def is_fatal(error: OSError) -> bool:
    """Whether this says that the process, not the file, is in trouble."""
    return error.errno in _FATAL


def open_file(name: str, parent: int) -> int:
    """Open a regular file for reading, leaving its access time alone where that is allowed: a push then writes nothing
    at all to the directory's file system, which is also a tenth faster."""
    try:
        return os.open(name, _QUIET_FLAGS, dir_fd=parent)
    except PermissionError as error:
        if error.errno != errno.EPERM or _QUIET_FLAGS == FILE_FLAGS:
            raise
    return os.open(name, FILE_FLAGS, dir_fd=parent)  # somebody else's file


def read_small(name: str, parent: int, row: Row) -> bytes | None:
    """All bytes of a regular file whose lstat gave `row`, read in one call; None when it changed meanwhile.

    Four system calls: this is most of what a first push spends on a small file.
    """
    fd = open_file(name, parent)
    try:
        data = os.read(fd, row[2] + 1)  # type: ignore[misc]  # the row of a regular file has all six fields
        info = os.fstat(fd)
    finally:
        os.close(fd)
    if len(data) == row[2] and row_of(name, info) == row:  # type: ignore[misc]
        return data
    return None


def read_large(sink: TreeSink, name: str, parent: int, row: Row, advance: Callable[[int], None]) -> Digest | None:
    """Stream a regular file whose lstat gave `row` into `sink`; its digest, or None when it changed meanwhile.

    advance: told the bytes after each read; may raise to stop.
    """
    fd = open_file(name, parent)
    try:
        info = os.fstat(fd)
        if row_of(name, info) != row:
            return None
        sparse = info.st_blocks * 512 < info.st_size and hasattr(os, "SEEK_DATA")
        digest, size = sink.stream(_reader(fd, info.st_size, sparse, advance))
        return digest if size == info.st_size and row_of(name, os.fstat(fd)) == row else None
    finally:
        os.close(fd)


def settle(
    sink: TreeSink, name: str, parent: int, limit: int, clock: FileClock, advance: Callable[[int], None]
) -> Found:
    """Read what is at `name` now, again and again until it holds still.

    limit: files of more bytes are streamed. Raises FileNotFoundError when it vanished, OSError (EBUSY) when it never
    held still, IsADirectoryError when it is a directory by now.
    """
    for pause in PAUSES:
        time.sleep(pause)
        row = row_of(name, os.stat(name, dir_fd=parent, follow_symlinks=False))
        begun = clock.now(parent)
        found = attempt(sink, name, parent, row, limit, advance)
        if found is not None and not (begun is not None and begun - TICK_NS < row[4] <= begun):  # type: ignore[misc]
            return found
    raise OSError(errno.EBUSY, "it changed every time it was read")


def attempt(
    sink: TreeSink, name: str, parent: int, row: Row, limit: int, advance: Callable[[int], None]
) -> Found | None:
    """Read once what an lstat gave `row` for; None when it changed meanwhile. Raises as `settle`."""
    if len(row) != 6:
        raise IsADirectoryError(errno.EISDIR, "it became a directory while it was read")
    kind = stat.S_IFMT(row[1])
    if kind == stat.S_IFLNK:
        try:
            target = read_target(name, parent)
        except OSError as error:
            if error.errno == errno.EINVAL:  # no link any more
                return None
            raise
        return Found(row, target=target)
    if kind != stat.S_IFREG:
        return Found(row)
    try:
        if row[2] <= limit:
            data = read_small(name, parent, row)
            return None if data is None else Found(row, file_digest(data), data)
        digest = read_large(sink, name, parent, row, advance)
        return None if digest is None else Found(row, digest)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):  # something else took its place
            return None
        raise


def read_target(name: str, parent: int) -> bytes:
    """The target of a symbolic link. Raises OSError (ENAMETOOLONG) when no manifest could hold it."""
    target = os.fsencode(os.readlink(name, dir_fd=parent))
    if not 0 < len(target) <= MAX_TARGET:
        raise OSError(errno.ENAMETOOLONG, f"a link's target may have 1 to {MAX_TARGET:,} bytes")
    return target


def _reader(fd: int, size: int, sparse: bool, advance: Callable[[int], None]) -> Reader:
    """Reads the first `size` bytes of an open file; the holes of a sparse one are not read but filled in.

    A file that grows faster than it is read still ends; that it grew is found out afterwards.
    """
    at = 0
    end = 0 if sparse else size  # of the extent that `at` lies in
    hole = False

    def read(view: memoryview) -> int:
        nonlocal at, end, hole
        if at >= end and at < size:
            end, hole = _extent(fd, at, size)
        wanted = min(len(view), end - at, _READ)
        if wanted <= 0:
            return 0
        if hole:
            view[:wanted] = _ZEROS[:wanted]
            got = wanted
        else:
            got = os.readv(fd, [view[:wanted]])
        at += got
        advance(got)
        return got

    return read


def _extent(fd: int, at: int, size: int) -> tuple[int, bool]:
    """(end, whether it is a hole) of the extent that begins at `at`; leaves the file positioned at `at`."""
    try:
        data = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole up to the end
            return size, True
        return size, False  # this file system cannot tell
    if data > at:
        return min(data, size), True
    end = min(os.lseek(fd, at, os.SEEK_HOLE), size)
    os.lseek(fd, at, os.SEEK_SET)
    return end, False
