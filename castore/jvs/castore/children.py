"""Child processes that run Python, and the messages between them and their parent.

A child imports exactly what this process would, and is spawned, never forked. A message is its length (8 bytes,
little-endian) and that many bytes.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket  # some milliseconds that only those spend who talk to a child
    import subprocess

LENGTH: Final = struct.Struct("<Q")
MAX_MESSAGE: Final = 1 << 32


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs `main()` of `module` with `arguments` in `sys.argv[1:]`, however the path of this
    process came to be."""
    start = f"import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import main; main()"
    return [sys.executable, "-c", start, json.dumps(sys.path), *arguments]


def spawn(
    module: str, *arguments: str, descriptors: Sequence[int] = ()
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start a child that runs `module` with `arguments`, before which it gets the number of its end of a socket; this
    end, and the process. descriptors: what else it keeps open. Raises OSError."""
    import socket
    import subprocess

    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                python_command(module, str(theirs.fileno()), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *descriptors],
            )
        except OSError:
            ours.close()
            raise
    return ours, process


def send(sock: socket.socket, data: bytes) -> None:
    """One message. Raises OSError."""
    sock.sendall(LENGTH.pack(len(data)) + data)


def receive(sock: socket.socket) -> bytes | None:
    """The next message, None at the end. Raises OSError, ValueError (a length no message has)."""
    head = exactly(sock, LENGTH.size)
    if head is None:
        return None
    (length,) = LENGTH.unpack(head)
    if length > MAX_MESSAGE:
        raise ValueError("a message between processes is too long")
    return exactly(sock, length)


def exactly(sock: socket.socket, length: int) -> bytes | None:
    """The next `length` bytes, None at the end."""
    data = bytearray()
    while len(data) < length:
        block = sock.recv(min(length - len(data), 1 << 20))
        if not block:
            return None
        data += block
    return bytes(data)
