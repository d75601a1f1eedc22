"""The socket at which the process that has a session open answers others: `Control` serves it, `ask` asks.

One request and one answer per connection (`wire`). The socket lies in the session's directory, which only its owner can
enter, so whoever can connect may. Whether somebody serves it is not the socket's to say: it may be that of a process
that is gone, which whoever opens the session next replaces.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from jvs.errors import JvsError, UsageError
from jvs.workspace.results import Json
from jvs.workspace.sessions.info import session_info, status_of
from jvs.workspace.sessions.wire import (
    MAX_ANSWER,
    MAX_REQUEST,
    BrokenOffError,
    change_value,
    error_of,
    error_value,
    push_value,
    receive,
    send,
    text_bytes,
)

if TYPE_CHECKING:
    from jvs.workspace.sessions.session import Session

Hook = Callable[[Json], Json]
"""Answers a request; both are plain JSON objects."""

SOCKET: Final = "control"
PATIENCE: Final = 10.0
"""Seconds in which a request must have come, and an answer must be taken."""
_MOST: Final = 16
"""Connections that are served at once; the others wait."""
_PUSH: Final = {
    "label": (str, type(None)),
    "expected": (str, type(None)),
    "message": (str,),
    "merge": (bool,),
    "force": (bool,),
    "detach": (bool,),
    "allow_purged": (bool,),
    "retries": (int,),
}


class Control:
    """Serves a session that this process has open, in threads of its own, until `close` (which the session's `close`
    calls).

    hooks    more that can be asked for, by name: `unmount`, say. Called in a thread; what they raise is answered
    before   called with the name of a request before a `push`, `status` or `clear` is carried out: to write back what
             is still on its way to the session
    after    called with the name of a request once it was carried out, before it is answered
    """

    def __init__(
        self,
        session: Session,
        hooks: Mapping[str, Hook] | None = None,
        *,
        before: Callable[[str], None] | None = None,
        after: Callable[[str], None] | None = None,
    ) -> None:
        """Begin. Raises OSError."""
        self._session = session
        self._before = before
        self._after = after
        self._verbs: dict[str, Hook] = {
            "push": self._push,
            "status": self._status,
            "clear": self._clear,
            **(hooks or {}),
        }
        self._path = os.path.join(session.directory, SOCKET)
        with suppress(FileNotFoundError):
            os.unlink(self._path)  # of a process that is gone: we have the session open
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake, self._woken = socket.socketpair()
        self._slots = threading.BoundedSemaphore(_MOST)
        self._workers: set[threading.Thread] = set()
        self._closed = False
        try:
            with _address(session.directory) as address:
                self._listener.bind(address)
            self._listener.listen(_MOST)
            self._thread = threading.Thread(target=self._serve, name="jvs session control", daemon=True)
            self._thread.start()
        except BaseException:
            for one in (self._listener, self._wake, self._woken):
                one.close()
            raise
        session.control = self

    def close(self) -> None:
        """Serve no more, once what was asked for is answered; idempotent. A hook that is running is not waited for
        when it is the one that calls this."""
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):
            os.unlink(self._path)
        self._wake.close()
        if self._thread is not threading.current_thread():
            self._thread.join()
        for worker in list(self._workers):
            if worker is not threading.current_thread():
                worker.join()
        for one in (self._listener, self._woken):
            one.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while self._woken not in (key.fileobj for key, _ in selector.select()):
                self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # they went away, or there are too many descriptors
            return
        self._slots.acquire()
        worker = threading.Thread(target=self._answer, args=(connection,), name="jvs session answer", daemon=True)
        self._workers.add(worker)
        worker.start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(BrokenOffError, OSError):
                connection.settimeout(PATIENCE)
                request = receive(connection, MAX_REQUEST)
                try:
                    answer = {"ok": self._do(request)}
                except Exception as error:  # whatever it is, whoever asked is told
                    answer = {"error": error_value(error)}
                connection.settimeout(PATIENCE)
                send(connection, answer)
        finally:
            self._workers.discard(threading.current_thread())
            self._slots.release()

    def _do(self, request: Json) -> Json:
        verb = request.get("do")
        found = self._verbs.get(verb) if isinstance(verb, str) else None
        if found is None:
            raise UsageError(f"the process that has this session open knows nothing of {str(verb)[:80]!a}")
        try:
            return found(request)
        finally:
            if self._after is not None:
                self._after(str(verb))

    def _push(self, request: Json) -> Json:
        given = {name: value for name, value in request.items() if name != "do"}
        for name, value in given.items():
            if name not in _PUSH or type(value) not in _PUSH[name]:
                raise UsageError(f"malformed request: {name[:80]!a}")
        if self._before is not None:
            self._before("push")
        return push_value(self._session.push(**given))

    def _status(self, _request: Json) -> Json:
        if self._before is not None:
            self._before("status")
        session = self._session
        status = status_of(session_info(session.repo, session.name), session.changes())
        return {"changes": [change_value(change) for change in status.changes], "counts": status.counts}

    def _clear(self, request: Json) -> Json:
        from jvs.workspace.sessions.clear import clear  # which asks others

        globs = request.get("globs")
        if not isinstance(globs, list):
            raise UsageError("malformed request: globs")
        if self._before is not None:
            self._before("clear")
        return {"removed": clear(self._session, [text_bytes(str(glob)) for glob in globs])}


class NobodyServesError(Exception):
    """There is no socket, or nobody behind it."""


def ask(directory: str, request: Json) -> Json:
    """Ask the process that has the session in this directory open. Raises NobodyServesError; BrokenOffError when it
    ended, or closed the session, before it had answered; what the request failed with."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        try:
            with _address(directory) as address:
                connection.connect(address)
        except OSError as error:
            raise NobodyServesError from error
        try:
            send(connection, request)
            answer = receive(connection, MAX_ANSWER)
        except OSError as error:
            raise BrokenOffError from error
    if "error" in answer:
        raise error_of(answer["error"])
    ok = answer.get("ok")
    if not isinstance(ok, dict):
        raise JvsError("the process that has this session open gave a malformed answer")
    return ok


@contextmanager
def _address(directory: str) -> Iterator[str]:
    """A short name of the socket in a directory: a socket's address has room for about 100 bytes."""
    if sys.platform == "linux":
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{fd}/{SOCKET}"
        finally:
            os.close(fd)
    else:
        with tempfile.TemporaryDirectory(prefix="jvs-") as short:
            link = os.path.join(short, "s")
            os.symlink(directory, link)
            yield os.path.join(link, SOCKET)
