"""File descriptors that die with the process that opened them, not with a forked copy of it.

A lock taken with flock belongs to the open file, which a forked child shares: were the child to unlock it, or to keep
it open after the parent's death, the lock would lie. So every lock and pack is opened here, locks are released by
closing only, and a forked child closes them all, by number, before it runs anything else.
"""

from __future__ import annotations

import fcntl
import os
import sys
import weakref

_open: dict[int, weakref.ref[Descriptor]] = {}


class Descriptor:
    """Owns a file descriptor of this process; closed by `close` or when nothing refers to it any more.

    In a forked child it is closed and `fd` is -1, so that a use of it meets an error and never another file.
    """

    __slots__ = ("__weakref__", "fd")

    def __init__(self, path: str, flags: int, mode: int = 0o666) -> None:
        """Opens `path`, never following a symbolic link; raises OSError."""
        self.fd = -1
        self.fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        _open[self.fd] = weakref.ref(self)

    def lock(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Take (or change) the flock on it; False when somebody holds it and `wait` is off."""
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(self.fd, how)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close it; idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            del _open[fd]
            os.close(fd)

    def __del__(self) -> None:
        self.close()


if sys.platform == "darwin":

    def sync_data(fd: int) -> None:
        """Make a file's bytes and length durable; raises OSError. (fsync alone stops at the drive's cache here.)"""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def sync_data(fd: int) -> None:
        """Make a file's bytes and length durable; raises OSError."""
        os.fdatasync(fd)


def sync_directory(path: str) -> None:
    """Make the entries of a directory durable; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_filesystem(fd: int) -> None:
    """Make everything written so far to the file system that `fd` lies in durable: of many files it takes a tenth of
    the time of syncing each. Raises OSError; where `sync_tells`, also for what could not be written since `fd` was
    opened or last given here."""
    if sys.platform == "linux":
        import ctypes  # some milliseconds

        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    else:
        os.sync()
        sync_data(fd)


def sync_tells() -> bool:
    """Whether `sync_filesystem` tells of files that could not be written: since Linux 5.8."""
    if sys.platform != "linux":
        return False
    major, minor, *_ = os.uname().release.replace("-", ".").split(".")
    return (int(major), int(minor)) >= (5, 8)


def _close_in_child() -> None:
    for fd, reference in _open.items():
        os.close(fd)
        owner = reference()
        if owner is not None:
            owner.fd = -1
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)
