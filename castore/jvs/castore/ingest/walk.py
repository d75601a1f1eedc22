"""Listing directories by descriptor: what a scan sees of each entry, and by which clock that is old (DESIGN 4.4).

Everything below the root is reached relative to an open directory and never through a symbolic link, so neither the
length of a path nor a directory that is swapped for a link while a scan runs can lead anywhere else. Names are `str`
as Python shows them (`os.fsencode` gives the bytes). Other file systems mounted below the root are walked as well.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import Final, NamedTuple, TypeAlias

from jvs.castore.local.mounts import network_filesystem

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: a FIFO that takes a file's place between the scan and the open must not hang the push."""

Row: TypeAlias = tuple[str, int, int, int, int, int] | tuple[str, int, int] | tuple[str, int] | tuple[str]
"""What a scan knows of one entry.

(name, st_mode, size, mtime_ns, ctime_ns, inode)  anything but a directory
(name, st_mode)                                   a directory: what is in it is found by listing it
(name, 0, 0)                                      there is something, and it could not be looked at
(name,)                                           in a stat index only: not to be believed later, for its youth or
                                                  because it could not be read; equal to no row of a listing
"""

RACY_NS: Final = 2_000_000_000
"""Times younger than this by the file system's own clock prove nothing: a later change may leave them as they are."""

KEEP_OPEN: Final = 64
"""How many directories of one path a `Trail` keeps open."""

_TYPE: Final = 0o170000
_DIRECTORY: Final = stat.S_IFDIR


class Listing(NamedTuple):
    """One directory as a scan saw it.

    rows         one per entry, in the order the file system gives them (stable while the directory is unchanged)
    directories  the names of the rows that are directories, in that order
    failed       entries that are there but could not be looked at (see `Row`)
    """

    rows: list[Row]
    directories: list[str]
    failed: dict[str, OSError]


def open_root(directory: str | bytes | os.PathLike[str]) -> int:
    """A descriptor of the directory itself, which may be reached through symlinks: the user named it."""
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_directory(name: str, parent: int) -> int:
    """A descriptor of the directory `name` in the open directory `parent`; OSError when it is none (any more)."""
    return os.open(name, DIRECTORY_FLAGS, dir_fd=parent)


def row_of(name: str, info: os.stat_result) -> Row:
    """The row of an entry, from its lstat."""
    mode = info.st_mode
    if mode & _TYPE == _DIRECTORY:
        return (name, mode)
    return (name, mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)


def list_directory(fd: int) -> Listing:
    """List an open directory and look at every entry; raises OSError when the directory cannot be listed.

    An entry that vanishes meanwhile is not in the result. This loop is most of the time of a push without changes:
    scandir and one stat relative to the descriptor, nothing else per entry.
    """
    rows: list[Row] = []
    directories: list[str] = []
    failed: dict[str, OSError] = {}
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                failed[entry.name] = error
                rows.append((entry.name, 0, 0))
                continue
            mode = info.st_mode
            if mode & _TYPE == _DIRECTORY:
                directories.append(entry.name)
                rows.append((entry.name, mode))
            else:
                rows.append((entry.name, mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino))
    return Listing(rows, directories, failed)


class Trail:
    """The directories from the root to where a depth-first walk stands, of which at most `KEEP_OPEN` are open.

    Closes every descriptor it opened or was given but the root's.
    """

    def __init__(self, root: int) -> None:
        """root: an open directory; stays the caller's and open."""
        self._root = root
        self._steps: list[tuple[str, int]] = []  # name, descriptor (-1: closed meanwhile)

    def __len__(self) -> int:
        """How many levels below the root the walk stands."""
        return len(self._steps)

    def push(self, name: str, fd: int) -> None:
        """Go down into the directory `name` of the current one, already opened as `fd`."""
        steps = self._steps
        steps.append((name, fd))
        if len(steps) > KEEP_OPEN:
            above, old = steps[-1 - KEEP_OPEN]
            if old >= 0:
                os.close(old)
                steps[-1 - KEEP_OPEN] = (above, -1)

    def pop(self) -> None:
        """Go up again."""
        _, fd = self._steps.pop()
        if fd >= 0:
            os.close(fd)

    def fd(self) -> int:
        """A descriptor of the current directory, good until the next `pop`; opened again by its path from the root
        where it was closed meanwhile, which raises OSError when something else is there now."""
        steps = self._steps
        if not steps:
            return self._root
        if steps[-1][1] < 0:
            names = [name for name, _ in steps]  # on the way up, so nothing that is open lies above
            self._steps = []
            for name in names:
                try:
                    self.push(name, open_directory(name, self.fd()))
                except OSError:
                    self._steps += [(rest, -1) for rest in names[len(self._steps) :]]
                    raise
        return self._steps[-1][1]

    def open_at(self, level: int) -> int:
        """The descriptor of the directory `level` steps below the root, -1 when it was closed meanwhile."""
        return self._root if level == 0 else self._steps[level - 1][1]

    def path(self) -> list[str]:
        """The names from the root down to the current directory."""
        return [name for name, _ in self._steps]

    def close(self) -> None:
        """Close what is open."""
        while self._steps:
            self.pop()


class FileClock:
    """Says how old a time stamp must be to be believed, by the clock of the file system it was taken on.

    That clock is read from an unnamed temporary file (Linux: O_TMPFILE, nothing is ever visible in the user's
    directory). Where there is none the system's own clock serves, as it stamps the files of every local file system;
    on a network file system the newest stamp seen there so far does, which its server's clock has certainly reached.
    """

    def __init__(self) -> None:
        self._samples: dict[int, _Sample | None] = {}
        self._newest: dict[int, int] = {}

    def settled_before(self, fd: int, rows: list[Row]) -> int:
        """A time (ns): stamps in `rows` at or before it are old enough to tell any later change.

        fd: the open directory that was just listed.
        """
        device = os.fstat(fd).st_dev
        now = self._now(fd, device)
        if now is None:
            newest = max((row[4] for row in rows if len(row) == 6), default=0)
            now = self._newest[device] = max(newest, self._newest.get(device, 0))
        return now - RACY_NS

    def now(self, fd: int) -> int | None:
        """The clock (ns) of the file system that the open directory lies on; None when nobody can say."""
        return self._now(fd, os.fstat(fd).st_dev)

    def _now(self, fd: int, device: int) -> int | None:
        if device not in self._samples:
            self._samples[device] = _sample(fd)
        sample = self._samples[device]
        return None if sample is None else sample.now()


def stamped_before(fd: int, patience: float = 0.1) -> int | None:
    """A time (ns) by the clock of the file system that the open directory lies on: whatever is changed there from now
    on is stamped later. Waits for that clock to tick, which takes some milliseconds. None where there is no telling in
    `patience` seconds: there only `FileClock.settled_before` helps."""
    first = _temporary_stamp(fd)
    deadline = time.monotonic() + patience
    while first is not None and time.monotonic() < deadline:
        stamp = _temporary_stamp(fd)
        if stamp is None or stamp > first:
            return first if stamp is not None else None
        time.sleep(0.001)
    return None


def trusted_row(row: Row, settled: int) -> Row:
    """`row` as it may be kept in a stat index, where times after `settled` are not to be believed."""
    if len(row) == 3 or (len(row) == 6 and (row[3] > settled or row[4] > settled)):
        return (row[0],)
    return row


class _Sample(NamedTuple):
    """One reading of a file system's clock, and the two clocks of the system at that moment."""

    stamp: int
    monotonic: int
    wall: int

    def now(self) -> int:
        """The clock now; never too late when the system's clock is set back or forth meanwhile."""
        return self.stamp + min(time.monotonic_ns() - self.monotonic, time.time_ns() - self.wall)


def _sample(fd: int) -> _Sample | None:
    stamp = _temporary_stamp(fd)
    wall = time.time_ns()
    if stamp is None:
        if sys.platform == "linux" and network_filesystem(f"/proc/self/fd/{fd}") is not None:
            return None
        stamp = wall
    return _Sample(stamp, time.monotonic_ns(), wall)


def _temporary_stamp(fd: int) -> int | None:
    """The ctime of an unnamed file made just now in the directory, or None where that cannot be had."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        temporary = os.open(".", flag | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=fd)
    except OSError:
        return None
    try:
        return os.fstat(temporary).st_ctime_ns
    finally:
        os.close(temporary)
