"""A second process for a large pull: it writes whole new directories, and large files, into the same temporary names.

It opens the store itself and is given the target directory as an open descriptor. Nothing it does is visible to
anyone before the first process puts it in place. If it fails in any way, for whatever reason, the first process takes
away what it made of its tasks and does them itself; if the first process dies, it ends at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgpack

from jvs.castore.binding import UnappliedMode
from jvs.castore.checkout.content import LargeFile, Made, ModeRule, Written
from jvs.castore.checkout.work import KEEP_ROWS, NewFiles, NewTree, Task
from jvs.castore.children import receive, send, spawn
from jvs.castore.manifest import FILE, File, Tree

if TYPE_CHECKING:
    import socket
    import subprocess

WHOLE: Final = 1_000
"""A directory of up to this many entries is written with all that is below it; of a larger one only what is directly in
it, and its subdirectories come back as tasks, so that the work stays divided."""


class AssistantFailedError(Exception):
    """The assistant died, or gave up."""


class Assistant:
    """The first process's side. One thread gives and takes back; another may `kill`."""

    def __init__(self, store: str, root: int, rule: ModeRule) -> None:
        """Start it. store: path of the store; root: the target directory, open. Never fails: `give` does."""
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        arguments = [str(root), store, str(rule.file), str(rule.directory)]
        with suppress(OSError):
            self._sock, self._process = spawn("jvs.castore.checkout.assistant", *arguments, descriptors=[root])

    def give(self, task: Task) -> None:
        """Have it do a task. Raises AssistantFailedError."""
        if self._sock is None:
            raise AssistantFailedError
        try:
            send(self._sock, encode_task(task))
        except OSError as error:
            raise AssistantFailedError from error

    def take_back(self, written: Written) -> Sequence[Task]:
        """Wait for the task it was given first; what came of it is added to `written`, what is left of it returned.
        Raises AssistantFailedError."""
        if self._sock is None:
            raise AssistantFailedError
        try:
            data = receive(self._sock)
            if data is None:
                raise AssistantFailedError
            return decode_result(data, written)
        except (OSError, ValueError, TypeError, msgpack.UnpackException) as error:
            raise AssistantFailedError from error

    def kill(self) -> None:
        """Have it end at once, whatever it is at."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End it, and return when it has ended. Idempotent."""
        self.kill()
        if self._process is not None:
            self._process.wait()
        if self._sock is not None:
            self._sock.close()


# ------------------------------------------------------------------------------------------------------- what is said


def _pack(value: object) -> bytes:
    data: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return data


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(
        data,
        use_list=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
        max_bin_len=len(data),
        max_str_len=len(data),
        max_array_len=len(data),
        max_map_len=len(data),
    )


def encode_task(task: Task) -> bytes:
    """A task as a message."""
    if isinstance(task, NewTree):
        return _pack((0, task))
    return _pack((1 if isinstance(task, NewFiles) else 2, task))


def decode_task(data: bytes) -> Task:
    """The inverse of `encode_task`."""
    kind, fields = _unpack(data)
    return _task(kind, fields)


def _task(kind: int, fields: Any) -> Task:
    if kind == 0:
        temp, path, tree, mode = fields
        return NewTree(temp, path, Tree(*tree), mode)
    if kind == 1:
        directory, page, files, temps = fields
        return NewFiles(directory, page, [_file(file) for file in files], temps)
    directory, temp, path, file = fields
    return LargeFile(directory, temp, path, _file(file))


def _file(fields: Any) -> File:
    name, _, mode, size, digest = fields
    return File(name, FILE, mode, size, digest)


def encode_result(written: Written, left: Sequence[Task]) -> bytes:
    """What came of a task as a message."""
    tasks = [(0 if isinstance(task, NewTree) else 1 if isinstance(task, NewFiles) else 2, task) for task in left]
    return _pack(
        (written.files, written.bytes, written.rows, written.made, written.late_modes, written.unapplied, tasks)
    )


def decode_result(data: bytes, written: Written) -> Sequence[Task]:
    """The inverse of `encode_result`, added to `written`; the tasks that are left."""
    files, size, rows, made, late_modes, unapplied, tasks = _unpack(data)
    for path, (tree, *fields) in made.items():
        directory = Made(Tree(*tree), *fields)
        if written.kept >= KEEP_ROWS:
            directory = directory._replace(rows=b"")
        written.kept += len(directory.rows)
        written.made[path] = directory
    written.rows.update(rows)
    written.late_modes.update(late_modes)
    written.unapplied.update((path, UnappliedMode(*modes)) for path, modes in unapplied.items())
    written.files += files
    written.bytes += size
    return [_task(kind, fields) for kind, fields in tasks]
