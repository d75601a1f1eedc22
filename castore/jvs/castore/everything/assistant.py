"""The assistant's side of `assist`: `main` runs in the second process of a large verification."""

from __future__ import annotations

import gc
import os
import queue
import socket
import sys
import threading

from jvs.castore.children import receive, send
from jvs.castore.everything.assist import decode_task, encode_found
from jvs.castore.everything.tasks import Task, do
from jvs.castore.local.store import LocalStore
from jvs.castore.objects import ObjectStore
from jvs.castore.verify import no_tick


def main() -> None:
    """Do the tasks that come in on the socket named in `sys.argv`, with the store named there, until it closes."""
    gc.disable()  # what is made here is rows and pages, without cycles
    with socket.socket(fileno=int(sys.argv[1])) as sock, LocalStore.open(sys.argv[2]) as store:
        objects = ObjectStore(store, store.settings)
        tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(sock, tasks), daemon=True).start()
        while True:
            send(sock, encode_found(do(objects, tasks.get(), no_tick)))


def _listen(sock: socket.socket, tasks: queue.SimpleQueue[Task]) -> None:
    """Take in tasks, so that the other side never waits for room to send. When it is gone, so is this process."""
    try:
        while (data := receive(sock)) is not None:
            tasks.put(decode_task(data))
    finally:
        os._exit(1)
