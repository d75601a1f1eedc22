"""The engine `reflink-copy`: a copy shares the blocks of its original until one of them is written to.

btrfs, XFS (with reflink=1, the default of today), bcachefs, and whatever else answers the ioctl FICLONE. Linux only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import threading
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final

from jvs.castore.checkout import disk
from jvs.workspace.engines.engine import CloneResult, Refused
from jvs.workspace.engines.tree import Advance, TreeCloner

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress

_CLONE: Final = 0x40049409  # FICLONE, _IOW(0x94, 9, int); in the module fcntl from Python 3.12 on
_GET_FLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS
_SET_FLAGS: Final = 0x40086602
_NO_COW: Final = 0x00800000
_REFUSED: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.ETXTBSY, errno.EPERM}
)
_SAMPLE: Final = b"jvs " * 4096


class ReflinkEngine:
    """Shares contents."""

    name = "reflink-copy"

    def probe(self, path: str) -> str | None:
        """Two files are made, nameless where the file system has such, and the one becomes a clone of the other."""
        if sys.platform != "linux":
            return "it needs Linux"
        try:
            directory = disk.open_root(path)
            try:
                with _temporary(directory) as one, _temporary(directory) as other:
                    disk.write_all(one, _SAMPLE)
                    fcntl.ioctl(other, _CLONE, one)
                    if os.pread(other, len(_SAMPLE), 0) != _SAMPLE:
                        return "a clone made there differs from its original"
            finally:
                os.close(directory)
        except OSError as error:
            return f"trying it in {path} failed: {_why(error)}"
        return None

    def clone_tree(
        self,
        src: str,
        dst: str,
        *,
        skip: Collection[bytes],
        progress: Progress | None,
        cancel: threading.Event | None,
    ) -> CloneResult:
        """See `Engine`."""
        if sys.platform != "linux":
            raise Refused("it needs Linux")
        return TreeCloner(_share_contents, skip, progress, cancel).run(src, dst)


def _share_contents(source: int, target: int, info: os.stat_result, advance: Advance) -> None:
    try:
        try:
            fcntl.ioctl(target, _CLONE, source)
        except OSError as error:
            if error.errno != errno.EINVAL or not _without_copy_on_write(source, target):
                raise
            fcntl.ioctl(target, _CLONE, source)
    except OSError as error:
        if error.errno in _REFUSED:
            raise Refused(f"its blocks cannot be shared: {_why(error)}") from error
        raise
    advance(info.st_size)


def _without_copy_on_write(source: int, target: int) -> bool:
    """Give the empty file `target` the attribute of `source` that btrfs wants both to have or neither (chattr +C:
    databases, images of disks); whether that was worth a try."""
    flags = _flags(source)
    if not flags & _NO_COW or _flags(target) & _NO_COW:
        return False
    fcntl.ioctl(target, _SET_FLAGS, struct.pack("@l", _flags(target) | _NO_COW))
    return True


def _flags(fd: int) -> int:
    buffer = bytearray(struct.calcsize("@l"))  # the kernel writes an int, whatever the ioctl's number says
    fcntl.ioctl(fd, _GET_FLAGS, buffer)
    return int.from_bytes(buffer[:4], sys.byteorder)


@contextlib.contextmanager
def _temporary(directory: int) -> Iterator[int]:
    """An empty file in the directory, gone afterwards."""
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
        name = f".jvs-tmp-{os.urandom(8).hex()}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        os.unlink(name, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _why(error: OSError) -> str:
    if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY):
        return "its file system has no reflinks"
    if error.errno == errno.EXDEV:
        return "the original is on another file system"
    return error.strerror or str(error)
