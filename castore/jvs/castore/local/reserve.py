"""Space set aside, so that a collector can work where nothing else can: on a full disk (DESIGN 6).

A run of gc removes the file `reserve` before it does anything and makes it again at its end. Nothing is kept in it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

SIZE: Final = 16 << 20
"""Bytes; less where that would be more than 1/16 of what is free."""
_SMALLEST: Final = 256 << 10
_BLOCK: Final = 1 << 20


def make(store_path: str) -> None:
    """Set space aside if it is not there yet and the disk has it; never raises for want of it."""
    path = _path(store_path)
    with contextlib.suppress(OSError):
        status = os.statvfs(store_path)
        size = min(SIZE, status.f_bavail * status.f_frsize // 16)
        if size < _SMALLEST or os.path.exists(path):
            return
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError:  # another collector was first
            return
        try:
            _allocate(fd, size)
        except OSError:
            os.unlink(path)
        finally:
            os.close(fd)


def release(store_path: str) -> None:
    """Give the space to whoever needs it now."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(store_path))


def _path(store_path: str) -> str:
    return os.path.join(store_path, "reserve")


if sys.platform == "linux":

    def _allocate(fd: int, size: int) -> None:
        os.posix_fallocate(fd, 0, size)

else:

    def _allocate(fd: int, size: int) -> None:
        for start in range(0, size, _BLOCK):
            os.write(fd, bytes(min(_BLOCK, size - start)))
