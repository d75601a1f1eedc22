"""The assistant's side of `assist`: `main` runs in the second process of a large pull."""

from __future__ import annotations

import gc
import os
import queue
import socket
import sys
import threading

from jvs.castore.checkout import disk
from jvs.castore.checkout.assist import WHOLE, decode_task, encode_result
from jvs.castore.checkout.content import ModeRule
from jvs.castore.checkout.work import NewTree, Task, Worker
from jvs.castore.children import receive, send
from jvs.castore.local.store import LocalStore
from jvs.castore.objects import ObjectStore


def main() -> None:
    """Do the tasks that come in on the socket named in `sys.argv`, until it closes."""
    gc.disable()  # what is made here is trees without cycles, and the process is short
    sock, root, store, file_mode, directory_mode = sys.argv[1:]
    rule = ModeRule(int(file_mode), int(directory_mode))
    with (
        socket.socket(fileno=int(sock)) as talk,
        LocalStore.open(store) as backend,
        disk.Directories(int(root)) as directories,
    ):
        objects = ObjectStore(backend, backend.settings)
        tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(talk, tasks), daemon=True).start()
        while True:
            send(talk, do(objects, rule, tasks.get(), directories))


def _listen(talk: socket.socket, tasks: queue.SimpleQueue[Task]) -> None:
    """Take in tasks. When the other side is gone, so is this process, at once: whoever comes next clears away what is
    written here, and nothing may come after that."""
    try:
        while (data := receive(talk)) is not None:
            tasks.put(decode_task(data))
    finally:
        os._exit(1)


def do(objects: ObjectStore, rule: ModeRule, task: Task, directories: disk.Directories) -> bytes:
    """Do one task, with all that is left of it if that is not too much; what to answer."""
    worker = Worker(objects, rule)
    try:
        left = list(worker.do(task, directories))
        if isinstance(task, NewTree) and task.tree.entries <= WHOLE:
            while left:
                left += worker.do(left.pop(), directories)
        return encode_result(worker.written, left)
    finally:
        worker.close()
