"""Looking a tree over before something else clones all of it, and putting right what that does differently."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Collection
from typing import NamedTuple

from jvs.castore.checkout import disk
from jvs.castore.names import MAX_DEPTH, display
from jvs.workspace.engines.attributes import link, settle
from jvs.workspace.engines.engine import Refused


class Survey(NamedTuple):
    """What is in a tree.

    files, directories, symlinks, size  as in `CloneResult`
    links    the names of each file that has several in this tree
    special  FIFOs, sockets and devices
    """

    files: int
    directories: int
    symlinks: int
    size: int
    links: tuple[tuple[bytes, ...], ...]
    special: tuple[bytes, ...]


def survey(src: str, skip: Collection[bytes], check: Callable[[], None]) -> Survey:
    """Look at every entry of the directory `src`, but for those names in its root. check: called for each directory;
    may raise. Raises StoreError, and Refused for a tree that spans several file systems."""
    with disk.reporting("cannot read the directory", os.fsencode(src)):
        root = disk.open_root(src)
    try:
        with disk.Directories(root) as directories:
            return _survey(directories, os.fstat(root).st_dev, skip, check)
    finally:
        os.close(root)


def _survey(directories: disk.Directories, device: int, skip: Collection[bytes], check: Callable[[], None]) -> Survey:
    files = symlinks = size = count = 0
    names: dict[int, list[bytes]] = {}
    special: list[bytes] = []
    stack = [b""]
    while stack:
        check()
        path = stack.pop()
        with disk.reporting("cannot read the directory", path or b"."):
            rows = _rows(path, directories)
        for name, info in rows:
            if not path and name in skip:
                continue
            whole = disk.join(path, name)
            if stat.S_ISDIR(info.st_mode):
                if info.st_dev != device:
                    raise Refused(f"{display(whole)} is another file system")
                if disk.depth(whole) > MAX_DEPTH:
                    raise disk.disk_error(OSError(errno.ENAMETOOLONG, "too deep"), f"cannot copy {display(whole)}")
                count += 1
                stack.append(whole)
                continue
            if not (stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)):
                special.append(whole)
                continue
            others = names.setdefault(info.st_ino, []) if info.st_nlink > 1 else []
            if stat.S_ISREG(info.st_mode):
                files += 1
                size += 0 if others else info.st_size
            else:
                symlinks += 1
            others.append(whole)
    links = tuple(tuple(group) for group in names.values() if len(group) > 1)
    return Survey(files, count, symlinks, size, links, tuple(sorted(special)))


def _rows(path: bytes, directories: disk.Directories) -> list[tuple[bytes, os.stat_result]]:
    """The entries of a directory, but for what goes away while they are looked at. Raises OSError."""
    rows: list[tuple[bytes, os.stat_result]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directories.fd(path)) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                rows.append((os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
    return rows


def mend(dst: str, found: Survey, check: Callable[[], None]) -> None:
    """Take special files out of a clone of what was surveyed, and make one file of the clones of one file. Directories
    keep their times. What changed since the survey stays as it was cloned. Raises StoreError."""
    with disk.reporting("cannot open the copy", os.fsencode(dst)):
        root = os.open(dst, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with disk.Directories(root) as those, disk.Directories(root) as these:
            touched: dict[bytes, os.stat_result] = {}
            for path in found.special:
                check()
                with disk.reporting("cannot remove", path):
                    _remove(path, these, touched)
            for group in found.links:
                check()
                for other in group[1:]:
                    with disk.reporting("cannot link", other):
                        _merge(group[0], other, those, these, touched)
            for path, info in touched.items():
                with disk.reporting("cannot set the times of", path or b"."):
                    settle(these.fd(path), info)
    finally:
        os.close(root)


def _remove(path: bytes, these: disk.Directories, touched: dict[bytes, os.stat_result]) -> None:
    directory, name = disk.split(path)
    fd = these.fd(directory)
    info = disk.lstat(name, fd)
    if info is None or stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode):
        return
    _touch(directory, fd, touched)
    os.unlink(name, dir_fd=fd)


def _merge(
    first: bytes, other: bytes, those: disk.Directories, these: disk.Directories, touched: dict[bytes, os.stat_result]
) -> None:
    """Make `other` a name of `first`, if they are still like one another."""
    above, name = disk.split(first)
    directory, other_name = disk.split(other)
    one = disk.lstat(name, those.fd(above))
    fd = these.fd(directory)
    two = disk.lstat(other_name, fd)
    if one is None or two is None or _look(one) != _look(two):
        return
    _touch(directory, fd, touched)
    os.unlink(other_name, dir_fd=fd)
    link(first, those, other, these)


def _look(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_mode, info.st_size, info.st_mtime_ns


def _touch(directory: bytes, fd: int, touched: dict[bytes, os.stat_result]) -> None:
    """Remember what a directory was, and see that this user may change it."""
    if directory not in touched:
        info = touched[directory] = os.fstat(fd)
        disk.settle_mode(fd, info, stat.S_IMODE(info.st_mode) | 0o300)
