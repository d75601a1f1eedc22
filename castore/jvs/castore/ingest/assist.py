"""A second process for a first push: it takes whole new directories off the scanning process's hands.

Reading and hashing many small files is Python work, so threads only take turns at it; with two cores two processes
need two thirds of the time. The assistant is an ordinary pusher: it opens the store itself, writes packs of its own,
and publishes what it made before the push that uses it is published. All that comes back is where to find it: trees,
and the records of the stat index. If it dies, the push does the work itself.

Directories are handed over as open descriptors, so that both processes mean the same ones whatever happens to paths.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from jvs.castore.children import LENGTH, receive, send, spawn
from jvs.castore.ingest.state import Skipped
from jvs.castore.ingest.statindex import Slot
from jvs.castore.manifest import Tree
from jvs.castore.treewriter import Stats
from jvs.errors import MissingChildrenError

if TYPE_CHECKING:
    import socket
    import subprocess

TAKE: Final = 1
FINISH: Final = 2


class Taken(NamedTuple):
    """What the assistant made of one directory; paths are relative to it.

    stretch, top   records for the stat index, and the place of the directory's own among them
    directories    below it
    """

    tree: Tree
    directories: int
    ignored: int
    skipped: list[Skipped]
    left_out: list[Skipped]
    unreadable: list[Skipped]
    stretch: bytes
    top: Slot

    def encode(self) -> bytes:
        """The message."""
        data: bytes = msgpack.packb(self)
        return data

    @classmethod
    def decode(cls, data: bytes) -> Taken:
        """The inverse of `encode`. Raises ValueError or TypeError for anything else."""
        raw: Any = msgpack.unpackb(data, use_list=False, max_bin_len=len(data), max_array_len=len(data))
        tree, directories, ignored, *lists, stretch, top = raw
        skipped, left_out, unreadable = ([Skipped(*item) for item in items] for items in lists)
        return cls(Tree(*tree), directories, ignored, skipped, left_out, unreadable, stretch, Slot(*top))


class Assistant:
    """The scanning process's side. Use as a context manager; nothing is started before the first `give`."""

    def __init__(self, store: str, *, level: int | None = None, verify: bool = False) -> None:
        """store: path of the store that the push writes to; level, verify: as for the push's `TreeWriter`."""
        self._store = store
        self._how = ("" if level is None else str(level), "verify" if verify else "")
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._dead = os.cpu_count() == 1
        self._delivered = 0
        self._publishing = False
        self._lent = 0

    @property
    def free(self) -> bool:
        """Whether it can be given a directory: it has one in work and one waiting, so as never to be idle."""
        return self._lent < 2 and not self._dead

    def give(self, fd: int, leftovers_token: str | None) -> bool:
        """Hand over an open directory (the descriptor stays the caller's); False when there is no assistant."""
        import socket  # 5 ms that only a large push spends

        try:
            if self._sock is None:
                self._start()
            assert self._sock is not None
            message = msgpack.packb((TAKE, leftovers_token))
            socket.send_fds(self._sock, [LENGTH.pack(len(message)) + message], [fd])
        except OSError:
            self._end()
            return False
        self._lent += 1
        return True

    def ready(self) -> bool:
        """Whether `take_back` would return at once."""
        if self._sock is None or not self._lent:
            return self._lent > 0
        import select

        return bool(select.select([self._sock], [], [], 0)[0])

    def take_back(self) -> Taken | None:
        """Wait for the directory it was given first; None when it gave up, and the caller does it."""
        self._lent -= 1
        try:
            data = None if self._sock is None else receive(self._sock)
            if data:
                taken = Taken.decode(data)
                self._delivered += 1
                return taken
        except (OSError, ValueError, TypeError, msgpack.UnpackException):
            pass  # it is done for, and so is what it sent
        self._end()
        return None

    def begin_publish(self) -> None:
        """Let it begin to publish what it made, while the caller does something else; `publish` waits for it."""
        if self._sock is not None and self._delivered and not self._publishing:
            self._publishing = True
            with contextlib.suppress(OSError):  # `publish` meets it again
                send(self._sock, msgpack.packb((FINISH, None)))

    def publish(self) -> Stats:
        """Have it publish what it made; what that added. Raises MissingChildrenError when it cannot be known to have:
        the push starts again."""
        if not self._delivered:
            return Stats(0, 0, 0)
        self.begin_publish()
        try:
            data = None if self._sock is None else receive(self._sock)
            if data:
                self._delivered = 0
                return Stats(*msgpack.unpackb(data))
        except (OSError, ValueError, TypeError, msgpack.UnpackException):
            pass  # as when it died: nobody can say what it published
        self._end()
        raise MissingChildrenError(())

    def close(self) -> None:
        """End it; what it did not publish is forgotten. Idempotent."""
        self._end()

    def __enter__(self) -> Assistant:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self) -> None:
        self._sock, self._process = spawn("jvs.castore.ingest.assistant", self._store, *self._how)

    def _end(self) -> None:
        self._dead = True
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._process is not None:
            import subprocess

            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
