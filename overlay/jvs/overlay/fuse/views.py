"""What a mount shows: trees of nodes, and what can be done with them. The seam between FUSE and everything else.

A `View` is one tree. A directory of it may lead into another view (`.jvs`, the labels of `--all`), as a mount point
does. Whoever serves a view keeps (view, node) pairs and never looks into a node.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

FOREVER = 365 * 86400.0
"""Seconds for which a kernel may believe what never changes, or changes only through itself."""


class Attributes(NamedTuple):
    """What `stat` shows. mode: with the type; times in ns."""

    ino: int
    mode: int
    links: int
    size: int
    atime: int
    mtime: int
    ctime: int


class Changed(NamedTuple):
    """What a `setattr` sets; None: as it is. Times in ns."""

    mode: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


class Opened(Protocol):
    """An open file."""

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` on; how many bytes there were."""

    def write(self, data: memoryview, offset: int) -> int:
        """Write all of it."""

    def truncate(self, size: int) -> None:
        """As ftruncate."""

    def flush(self) -> None:
        """Somebody closes it: what was written survives the death of this process."""

    def fsync(self) -> None:
        """What was written survives a power cut."""

    def close(self) -> None:
        """Nobody has it open any more."""


class Reader:
    """An open file of what cannot be written."""

    def __init__(self, read_into: Callable[[memoryview, int], int]) -> None:
        self.read_into = read_into

    def write(self, data: memoryview, offset: int) -> int:
        """Nobody may."""
        raise failure(errno.EROFS)

    def truncate(self, size: int) -> None:
        """Nobody may."""
        raise failure(errno.EROFS)

    def flush(self) -> None:
        """Nothing to do."""

    def fsync(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


Entry: TypeAlias = tuple[bytes, int, int]
"""(name, type bits, number) in a listing."""


def failure(number: int) -> OSError:
    """The OSError of an errno."""
    return OSError(number, os.strerror(number))


def _refuse() -> NoReturn:
    raise failure(errno.EROFS)


class View:
    """A tree that nobody writes; `OverlayView` is one that can be written.

    lasting  seconds for which names and attributes hold, unless the server is told otherwise
    direct   its files are made when they are opened: neither their size nor their bytes are to be kept
    lock     held by whoever goes from a number to a node, and does something with that: in between the view may become
             another tree
    """

    lock: AbstractContextManager[Any] = nullcontext()

    lasting = FOREVER
    direct = False

    @property
    def root(self) -> Any:
        """The node of its root."""
        raise NotImplementedError

    def lookup(self, directory: Any, name: bytes) -> tuple[View, Any] | None:
        """What a directory has under a name. Raises OSError."""
        raise NotImplementedError

    def attributes(self, node: Any) -> Attributes:
        """Its attributes now."""
        raise NotImplementedError

    def entries(self, directory: Any) -> Sequence[Entry]:
        """What a directory lists, in order."""
        raise NotImplementedError

    def readlink(self, node: Any) -> bytes:
        """The target of a link."""
        raise failure(errno.EINVAL)

    def read_into(self, node: Any, buffer: memoryview, offset: int) -> int:
        """Read a file that nobody has to open."""
        raise NotImplementedError

    def following(self, node: Any) -> Iterable[tuple[Any, bytes]]:
        """Files that the kernel knows and will ask for next, as it seems, with their bytes, which never change. node:
        the file that was just read from its beginning."""
        return ()

    def open(self, node: Any, flags: int) -> Opened:
        """Open a file, and empty it with O_TRUNC."""
        return Reader(partial(self.read_into, node))

    def statfs(self) -> os.statvfs_result:
        """How full the disk is on which this lies."""
        raise NotImplementedError

    def sync(self) -> None:
        """What was done survives a power cut."""

    def reclaim(self) -> bool:
        """The disk is full: give back what was removed and is still kept; whether that was anything."""
        return False

    def release(self) -> None:
        """Nobody looks at it any more."""

    def setattr(self, node: Any, changed: Changed, opened: Opened | None) -> None:
        """Change attributes. opened: the open file through which it is done."""
        _refuse()

    def create(self, directory: Any, name: bytes, mode: int, flags: int) -> tuple[Any, Opened]:
        """Make a file, and open it."""
        _refuse()

    def mkdir(self, directory: Any, name: bytes, mode: int) -> Any:
        """Make a directory."""
        _refuse()

    def symlink(self, directory: Any, name: bytes, target: bytes) -> Any:
        """Make a link."""
        _refuse()

    def unlink(self, directory: Any, name: bytes) -> None:
        """Remove what is not a directory."""
        _refuse()

    def rmdir(self, directory: Any, name: bytes) -> None:
        """Remove an empty directory."""
        _refuse()

    def rename(self, directory: Any, name: bytes, to: Any, new: bytes, *, replace: bool) -> None:
        """Move something within the view."""
        _refuse()
