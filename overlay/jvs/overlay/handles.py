"""Open files of an overlay: `Handle`, which reads and writes at offsets, and `OverlayFile`, what `io` builds upon."""

from __future__ import annotations

import errno
import io
import os
from threading import RLock
from typing import TYPE_CHECKING

from jvs.overlay.nodes import FileNode
from jvs.overlay.upper import Upper

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class Handle:
    """An open file. It goes on meaning the same file after that was renamed or removed. Thread-safe."""

    def __init__(self, lock: RLock, upper: Upper, node: FileNode, flags: int) -> None:
        """flags: those of `os.open`; what they ask for was done, but for O_APPEND."""
        self._lock = lock
        self._upper = upper
        self.node = node
        access = flags & os.O_ACCMODE
        self.readable = access != os.O_WRONLY
        self.writable = access != os.O_RDONLY
        self._append = bool(flags & os.O_APPEND)
        self._wrote = False
        self._closed = False
        node.handles += 1

    def _check(self, allowed: bool) -> None:
        if self._closed or not allowed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    @property
    def size(self) -> int:
        """Bytes of the file now."""
        return self.node.size

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` (of bytes) from `offset` on; how many bytes there were."""
        self._check(self.readable)
        with self._lock:
            node = self.node
            content = node.content
            if content is not None:
                return self._upper.read_into(node, buffer, offset)
            base = node.base
        assert base is not None
        # what lies in the base does not change: decoding a chunk keeps nobody waiting
        return self._upper.base_files.read_into(base, buffer, offset)

    def read(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset` on."""
        size = max(0, min(size, self.node.size - offset))
        buffer = bytearray(size)
        got = self.read_into(memoryview(buffer), offset)
        return bytes(memoryview(buffer)[:got])

    def write(self, data: memoryview, offset: int) -> int:
        """Write all of `data` (bytes) at `offset`, or at the end when the file was opened to append; where the
        written bytes end."""
        self._check(self.writable)
        with self._lock:
            self._wrote = True
            return self._upper.write(self.node, data, -1 if self._append else offset)

    def truncate(self, size: int) -> None:
        """As ftruncate."""
        self._check(self.writable)
        with self._lock:
            self._wrote = True
            self._upper.resize(self.node, size)

    def flush(self) -> None:
        """What was written survives the death of this process from here on."""
        self._check(True)
        if self._wrote:
            with self._lock:
                self._upper.tell()

    def fsync(self) -> None:
        """What was written survives a crash from here on."""
        self._check(True)
        with self._lock:
            self._upper.sync()

    def move(self, node: FileNode) -> None:
        """From now on it means another file, which has the same bytes."""
        with self._lock:
            if not self._closed:
                self._upper.closed(self.node, wrote=False)
                self.node = node
                node.handles += 1

    def close(self) -> None:
        """Done; idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._upper.closed(self.node, wrote=self._wrote)


class OverlayFile(io.RawIOBase):
    """An unbuffered stream over a handle: what `io.BufferedReader` and the others take."""

    def __init__(self, handle: Handle, name: str | bytes, mode: str) -> None:
        super().__init__()
        self.handle = handle
        self.name = name
        self.mode = mode
        self._at = 0

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        self._check()
        return self.handle.readable

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        self._check()
        return self.handle.writable

    def seekable(self) -> bool:
        """It is."""
        self._check()
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read at the position."""
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        with memoryview(buffer).cast("B") as view:
            got = self.handle.read_into(view, self._at)
        self._at += got
        return got

    def readall(self) -> bytes:
        """All that is left, in one piece."""
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        data = self.handle.read(self.handle.size, self._at)
        self._at += len(data)
        return data

    def write(self, data: ReadableBuffer) -> int:
        """Write at the position, all of it."""
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        with memoryview(data).cast("B") as view:
            if view:
                self._at = self.handle.write(view, self._at)
            return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; raises OSError (EINVAL) for one before the beginning."""
        self._check()
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        at = offset + (self.handle.size if start is None else start)
        if at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = at
        return at

    def tell(self) -> int:
        """The position."""
        self._check()
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Make the file that long (None: up to the position)."""
        if not self.writable():
            raise io.UnsupportedOperation("truncate")
        size = self._at if size is None else size
        self.handle.truncate(size)
        return size

    def sync(self) -> None:
        """fsync; what a buffer above still holds is to be flushed before."""
        self._check()
        self.handle.fsync()

    def close(self) -> None:
        """Close; idempotent."""
        if not self.closed:
            try:
                super().close()
            finally:
                self.handle.close()
