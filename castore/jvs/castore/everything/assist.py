"""A second process that does a share of the tasks of a verification.

Cutting parts into small files and hashing them is Python work, so threads only take turns at it, and pass each other
the interpreter a thousand times a second. The assistant opens the store itself; tasks go out, and what was found comes
back. It is given two at a time, so that it never waits. If it dies, what it was given is done here: damage that ends a
process then ends this one too, as it would without an assistant.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgpack

from jvs.castore.backend import Kind, Ref
from jvs.castore.children import receive, send, spawn
from jvs.castore.everything.tasks import Chunks, Found, LargeFiles, Pages, Parts, Task, do
from jvs.castore.objects import ObjectStore
from jvs.castore.verify import Checked, Fault, Tick

if TYPE_CHECKING:
    import socket
    import subprocess

LARGE: Final = 32 << 20
"""Bytes of packs from which on a second process pays: it takes 0.05 s to start."""
_LOOK: Final = 8 << 20
"""After so many bytes of one task here it is seen whether the assistant waits for another."""
_TASKS: Final = (Pages, LargeFiles, Parts, Chunks)


class Assistant:
    """The first process's side. Use as a context manager."""

    def __init__(self, store: str) -> None:
        """Start it, if the store at that path is large enough and there is a processor for it. Never fails."""
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            if os.cpu_count() != 1 and _packs_size(store) >= LARGE:
                self._sock, self._process = spawn("jvs.castore.everything.assistant", store)

    def give(self, task: Task) -> bool:
        """Have it do a task; False when there is no assistant."""
        if self._sock is not None:
            try:
                send(self._sock, encode_task(task))
                return True
            except OSError:
                self.close()
        return False

    def ready(self) -> bool:
        """Whether `take_back` would return at once."""
        if self._sock is None:
            return True
        import select

        return bool(select.select([self._sock], [], [], 0)[0])

    def take_back(self) -> Found | None:
        """Wait for what came of the task it was given first; None when it gave up, and the caller does it."""
        try:
            data = None if self._sock is None else receive(self._sock)
            if data is not None:
                return decode_found(data)
        except (OSError, ValueError, TypeError, msgpack.UnpackException):
            pass  # it is done for, and so is what it sent
        self.close()
        return None

    def close(self) -> None:
        """End it, whatever it is at: it only reads. Idempotent."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Assistant:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Crew:
    """Does tasks: here, and with the help of an assistant if there is one."""

    def __init__(
        self, objects: ObjectStore, assistant: Assistant | None, tick: Tick, absorb: Callable[[Found], None]
    ) -> None:
        """absorb: called with what came of each task, once."""
        self._objects = objects
        self._assistant = assistant
        self._tick = tick
        self._absorb = absorb
        self._lent: deque[Task] = deque()
        self._unseen = 0

    def run(self, tasks: Iterator[Task]) -> None:
        """Do them all, in any order. `tasks` is asked for more while others are being done."""

        def tick(size: int, count: int) -> None:
            self._tick(size, count)
            self._unseen += size
            if self._unseen >= _LOOK:
                self._unseen = 0
                self._serve(tasks)

        while True:
            self._serve(tasks)
            task = next(tasks, None)
            if task is None:
                break
            self._absorb(do(self._objects, task, tick))
        while self._lent:
            self._take_back()

    def _serve(self, tasks: Iterator[Task]) -> None:
        """Take back what the assistant has done, and see that it has something to do."""
        if self._assistant is None:
            return
        while self._lent and self._assistant.ready():
            self._take_back()
        while len(self._lent) < 2 and self._assistant is not None:
            task = next(tasks, None)
            if task is None:
                return
            self._lent.append(task)
            if not self._assistant.give(task):
                self._assistant = None

    def _take_back(self) -> None:
        task = self._lent.popleft()
        found = None if self._assistant is None else self._assistant.take_back()
        if found is None:
            self._assistant = None
            found = do(self._objects, task, self._tick)
        else:
            self._tick(found.checked.bytes, found.checked.objects)
        self._absorb(found)


def _packs_size(store: str) -> int:
    """Bytes of the packs of a store. Raises OSError."""
    with os.scandir(os.path.join(store, "packs")) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)


# ------------------------------------------------------------------------------------------------------- what is said


def encode_task(task: Task) -> bytes:
    """A task as a message."""
    data: bytes = msgpack.packb((_TASKS.index(type(task)), task))
    return data


def decode_task(data: bytes) -> Task:
    """The inverse of `encode_task`."""
    number, fields = _unpack(data)
    task: Task = _TASKS[number](*fields)
    return task


def encode_found(found: Found) -> bytes:
    """What came of a task as a message."""
    data: bytes = msgpack.packb(found, unicode_errors="surrogateescape")
    return data


def decode_found(data: bytes) -> Found:
    """The inverse of `encode_found`. Raises ValueError or TypeError for anything else."""
    (objects, size, faults), *records = _unpack(data)
    read = [Fault(Ref(Kind(kind), key), path, reason) for (kind, key), path, reason in faults]
    return Found(Checked(objects, size, read), *records)


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, use_list=False, unicode_errors="surrogateescape")
