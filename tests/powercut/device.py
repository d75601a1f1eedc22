"""A disk that remembers everything it was told: a file system's writes and flushes in the order they reached it.

    device.py IMAGE NODE LOG       show the file IMAGE at NODE (a file to be mounted over), logging to LOG; needs root

It serves FUSE's kernel protocol (linux/fuse.h) for a mount that is one file: with the root of the mount a regular
file there are no names to look up, and eight requests are all there is. A loop device on NODE turns each write
request of a file system above it into a FUSE write, and each flush (also the one that the block layer makes of a
write with FUA, which loop devices do not offer) into a FUSE fsync. The file is opened for direct I/O whoever opens
it, so no page cache between the two delays a write. One thread answers one request at a time: what stands before a
flush in the log had been completed before the flush was.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from typing import Final

GETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT = 3, 14, 15, 16, 18, 20, 25, 26
SILENT: Final = (2, 36, 42)
"""Requests without an answer: forget, interrupt, batch forget."""

ENTRY: Final = struct.Struct(">cQI")
"""A log entry: WROTE or FLUSHED, place, length; the bytes written follow."""
WROTE: Final = b"W"
FLUSHED: Final = b"F"

_REQUEST: Final = struct.Struct("=IIQQIIIHH")
_ANSWER: Final = struct.Struct("=IiQ")
_MAX_WRITE: Final = 128 << 10  # 32 pages, what a kernel sends when nothing else was agreed upon
_BIG_WRITES: Final = 1 << 5
_DIRECT_IO: Final = 1
_MODE: Final = 0o100600
_NEVER: Final = (0,) * 6
"""Three times, each in seconds and (of another width, which does not matter for zeros) nanoseconds."""


class Device:
    """Answers the requests of one mount until it is taken away."""

    def __init__(self, image: str, node: str, log: str) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._fuse = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._fuse},rootmode={_MODE:o},user_id=0,group_id=0"
        command = ["mount", "-i", "-t", "fuse", "-o", options, "powercut", node]
        subprocess.run(command, pass_fds=[self._fuse], check=True)

    def serve(self) -> None:
        """Until the mount is gone."""
        while True:
            try:
                raw = os.read(self._fuse, _MAX_WRITE + 4096)
            except OSError as exc:
                if exc.errno == errno.ENODEV:
                    return
                if exc.errno in (errno.EINTR, errno.ENOENT):  # the request was taken back
                    continue
                raise
            _, code, unique, *_ = _REQUEST.unpack_from(raw)
            if code in SILENT:
                continue
            try:
                body, error = self._answer(code, memoryview(raw)[_REQUEST.size :]), 0
            except OSError as exc:
                body, error = b"", exc.errno or errno.EIO
            os.writev(self._fuse, [_ANSWER.pack(_ANSWER.size + len(body), -error, unique), body])

    def _answer(self, code: int, body: memoryview) -> bytes:
        """The answer to one request. Raises OSError."""
        if code == WRITE:
            _, place, size = struct.unpack_from("=QQI", body)
            data = body[40 : 40 + size]
            os.writev(self._log, [ENTRY.pack(WROTE, place, size), data])
            os.pwrite(self._image, data, place)
            return struct.pack("=II", size, 0)
        if code == READ:
            _, place, size = struct.unpack_from("=QQI", body)
            return os.pread(self._image, size, place)
        if code == FSYNC:
            os.write(self._log, ENTRY.pack(FLUSHED, 0, 0))
            return b""
        if code == GETATTR:
            size = os.fstat(self._image).st_size
            owner = (0,) * 3
            return struct.pack("=QII6Q10I", 3600, 0, 0, 1, size, size >> 9, *_NEVER, _MODE, 1, *owner, 4096, 0)
        if code == OPEN:
            return struct.pack("=QIi", 0, _DIRECT_IO, 0)
        if code == INIT:
            return struct.pack("=IIIIHHIIHHII6I", 7, 31, 0, _BIG_WRITES, 16, 12, _MAX_WRITE, 1, 0, 0, 0, 0, *(0,) * 6)
        if code in (FLUSH, RELEASE):  # somebody closed a descriptor: nothing that a disk hears of
            return b""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def main() -> None:
    device = Device(*sys.argv[1:])
    print("ready", flush=True)
    device.serve()


if __name__ == "__main__":
    main()
