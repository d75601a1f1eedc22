"""The assistant's side of `assist`: `main` runs in the second process of a large first push."""

from __future__ import annotations

import gc
import os
import socket
import sys
from typing import Any

import msgpack

from jvs.castore.children import LENGTH, exactly, send
from jvs.castore.ingest.assist import TAKE, Taken
from jvs.castore.ingest.ingest import walk_directory
from jvs.castore.ingest.state import Run
from jvs.castore.ingest.statindex import StatIndex
from jvs.castore.ingest.walk import Trail
from jvs.castore.local.store import LocalStore
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter


def main() -> None:
    """Serve the socket named in `sys.argv` for the store named there, until it closes. After these come the level of
    compression and `verify`, each or both of them empty."""
    gc.disable()  # what is made here is trees without cycles, and the process is short
    sock = socket.socket(fileno=int(sys.argv[1]))
    level = int(sys.argv[3]) if sys.argv[3] else None
    with (
        sock,
        LocalStore.open(sys.argv[2]) as store,
        TreeWriter(ObjectStore(store, store.settings), level=level, verify=bool(sys.argv[4])) as writer,
    ):
        writer.work_alone()
        while True:
            request, fd = _next(sock)
            if request is None:
                return
            operation, token = request
            if operation == TAKE:
                try:
                    send(sock, take(writer, store, fd, token).encode())
                finally:
                    os.close(fd)
            else:
                writer.publish()
                send(sock, msgpack.packb(writer.stats))
                # What is published stays pinned until the push that uses it is over: then the socket closes.


def _next(sock: socket.socket) -> tuple[Any, int]:
    """The next request, and the descriptor that came with it (-1: none)."""
    head, fds, _flags, _address = socket.recv_fds(sock, LENGTH.size, 1)
    if len(head) < LENGTH.size:
        return None, -1
    message = exactly(sock, LENGTH.unpack(head)[0])
    if message is None:
        return None, -1
    return msgpack.unpackb(message, use_list=False), fds[0] if fds else -1


def take(writer: TreeWriter, store: LocalStore, fd: int, leftovers_token: str | None) -> Taken:
    """Read the open directory `fd` into the store; what became of it."""
    info = os.fstat(fd)
    path = os.path.join(store.path, "cache", "directories", f"assistant-{os.getpid()}.index")
    index = StatIndex(path, bytes.fromhex(store.uuid), (info.st_dev, info.st_ino))
    trail = Trail(fd)
    builder = index.builder()
    try:
        run = Run(
            writer,
            trail,
            builder,
            rehash=False,
            leftovers_token=leftovers_token,
            unapplied={},
            progress=None,
            cancel=None,
        )
        done = walk_directory(run, None, None)
        assert done.slot is not None
        return Taken(
            done.tree,
            run.directories,
            run.ignored,
            run.skipped,
            run.left_out,
            run.unreadable,
            builder.contents(),
            done.slot,
        )
    finally:
        trail.close()
        builder.close()
