"""The process that serves one mount: `python -m jvs.workspace.mounts.daemon PIPE STORE ACTOR REQUEST`.

It is started by `starting.mount`, tells it through the pipe how it went, and then belongs to nobody: it has a session
of its own, no terminal, and none of the streams of whoever started it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from jvs.workspace.mounts.live import LiveMount, MountRequest
from jvs.workspace.repo import Repo
from jvs.workspace.sessions.wire import error_value


class Ended(Exception):
    """A signal says that it is enough."""


def main() -> None:
    """Serve a mount until it is gone."""
    pipe, store, actor, request = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    if os.fork():  # whoever started us waits for this one only, and need not know of the other
        os._exit(0)
    os.setsid()
    os.chdir("/")
    _run(pipe, store, actor, MountRequest(**request))


def _run(pipe: int, store: str, actor: str, request: MountRequest) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        with Repo.open(store, actor=actor) as repo:
            mount = LiveMount(repo, request)
            _answer(pipe, {"ok": mount.info._asdict()})
            with mount:
                mount.wait()
                mount.close()
    except Ended:
        pass
    except Exception as error:
        _answer(pipe, {"error": error_value(error)})


def _end(number: int, frame: Any) -> None:
    raise Ended


def _answer(pipe: int, value: Any) -> None:
    """Tell whoever started us, once; nobody listens afterwards."""
    try:
        os.write(pipe, json.dumps(value).encode())
        os.close(pipe)
    except OSError:
        pass


if __name__ == "__main__":
    main()
