"""The process that serves one mount: `python -m jvs.workspace.mounts.daemon PIPE STORE ACTOR REQUEST`.

It is started by `starting.mount`, tells it through the pipe how it went, and then belongs to nobody: it has a session
of its own, no terminal, and none of the streams of whoever started it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from jvs.workspace.mounts.live import LiveMount
from jvs.workspace.mounts.registry import MountRequest
from jvs.workspace.repo import Repo
from jvs.workspace.sessions.wire import error_value

_COLLECT = (500_000, 20, 20)
"""After how many new objects Python looks for cycles: a decoded directory is thousands of objects that are none, and
looking through them again and again took a third of the time of a first listing."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ended(Exception):
    """A signal says that it is enough."""


def main() -> None:
    """Serve a mount until it is gone."""
    pipe, store, actor, request = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if os.fork():  # whoever started us waits for this one only, and need not know of the other
        os._exit(0)
    os.setsid()
    os.chdir("/")
    gc.set_threshold(*_COLLECT)
    _run(pipe, store, actor, MountRequest(**request))


def _run(pipe: int, store: str, actor: str, request: MountRequest) -> None:
    for number in _SIGNALS:
        signal.signal(number, _end)
    answer = Answer(pipe)
    try:
        with Repo.open(store, actor=actor) as repo, LiveMount(repo, request) as mount:
            answer.give({"ok": mount.info._asdict()})
            mount.wait()
    except Ended:
        pass
    except Exception as error:
        answer.give({"error": error_value(error)})
        raise


def _end(number: int, frame: Any) -> None:
    for each in _SIGNALS:  # a second one must not interrupt what the first one brings about
        signal.signal(each, signal.SIG_IGN)
    raise Ended


class Answer:
    """What whoever started us is told, once."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def give(self, value: Any) -> None:
        """Tell it, and close the pipe; nothing the second time, when the number means another file."""
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            with suppress(BrokenPipeError):  # whoever asked was killed
                os.write(pipe, json.dumps(value).encode())
            os.close(pipe)


if __name__ == "__main__":
    main()
