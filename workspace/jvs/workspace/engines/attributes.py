"""What a copy gets besides its content: owner, permission bits, times, and further names."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

from jvs.castore.checkout import disk

_NOT_OURS_TO_GIVE: Final = frozenset({errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})
"""EINVAL: a user namespace has no such user."""


def settle(fd: int, info: os.stat_result) -> None:
    """Give a copy, open as `fd`, the owner, permission bits and times of the original, whose stat is `info`.

    Owner and group as far as this user may give them away. Setuid and setgid bits only along with the owner or group
    that they are about: root's copy of somebody's setuid program must not become a setuid program of root's.
    """
    new = os.fstat(fd)
    if (new.st_uid, new.st_gid) != (info.st_uid, info.st_gid):
        _give(new, info, lambda uid, gid: os.fchown(fd, uid, gid))
        new = os.fstat(fd)
    mode = stat.S_IMODE(info.st_mode)
    if new.st_uid != info.st_uid:
        mode &= ~stat.S_ISUID
    if new.st_gid != info.st_gid:
        mode &= ~stat.S_ISGID
    disk.settle_mode(fd, new, mode)
    os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))


def settle_symlink(name: str, directory: int, info: os.stat_result) -> None:
    """The same for a symlink, which has no permission bits."""
    new = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if (new.st_uid, new.st_gid) != (info.st_uid, info.st_gid):
        _give(new, info, lambda uid, gid: os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False))
    os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=directory, follow_symlinks=False)


def _give(new: os.stat_result, info: os.stat_result, chown: Callable[[int, int], None]) -> None:
    """Try both, then the group alone, which a user may give to those he is in."""
    for uid in (info.st_uid, -1) if new.st_uid != info.st_uid else (-1,):
        try:
            chown(uid, info.st_gid)
            return
        except OSError as error:
            if error.errno not in _NOT_OURS_TO_GIVE:
                raise


def link(first: bytes, those: disk.Directories, other: bytes, these: disk.Directories) -> None:
    """Give the file `first` below `those` the further name `other` below `these` (of the same root; two objects, as
    each keeps a directory open only until the next is asked for). Raises OSError."""
    (from_directory, from_name), (directory, name) = disk.split(first), disk.split(other)
    source = those.fd(from_directory)
    os.link(from_name, name, src_dir_fd=source, dst_dir_fd=these.fd(directory), follow_symlinks=False)
