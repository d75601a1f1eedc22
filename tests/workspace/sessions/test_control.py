"""The socket of a session that is open."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from jvs.castore.settings import StoreSettings
from jvs.errors import JvsError, LabelMovedError, NoSpaceError, StateError, UnknownError, UsageError
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import Control, create_session, push_session, resume_session, session_status
from jvs.workspace.sessions.control import SOCKET, NobodyServesError, ask
from jvs.workspace.sessions.wire import MAX_REQUEST, error_of, error_value


def raw(directory: str, data: bytes) -> bytes:
    """What is answered to some bytes."""
    with socket.socket(socket.AF_UNIX) as connection:
        here = os.open(".", os.O_RDONLY)
        os.chdir(directory)
        try:
            connection.connect(SOCKET)
        finally:
            os.fchdir(here)
            os.close(here)
        answer = bytearray()
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                answer += piece
        except OSError:  # it had enough
            pass
        return bytes(answer)


def test_a_store_with_a_long_path(tmp_path: Path) -> None:
    """The address of a socket has room for about 100 bytes."""
    store = tmp_path / ("x" * 120) / ("y" * 120)
    store.parent.mkdir()
    (tmp_path / "tree").mkdir()
    Repo.init(str(store), StoreSettings())
    with Repo.open(str(store), actor="tester") as repo:
        repo.push(str(tmp_path / "tree"), label="main")
        with create_session(repo, "main", "n" * 100) as session:
            Control(session)
            session.write_text("new", "new")
            assert session_status(repo, "n" * 100).total == 1
            assert push_session(repo, "n" * 100).push.status == "advanced"


def test_hooks(repo: Repo, source: Path) -> None:
    told: list[str] = []
    with create_session(repo, "main", "work") as session:

        def fail(request: object) -> dict[str, object]:
            raise StateError("not now", next="later", busy=True)

        hooks = {"unmount": lambda request: {"said": request["word"]}, "fail": fail}
        with Control(session, hooks, before=told.append, after=told.append):
            assert ask(session.directory, {"do": "unmount", "word": "please"}) == {"said": "please"}
            with pytest.raises(StateError, match="not now") as caught:
                ask(session.directory, {"do": "fail"})
            assert (caught.value.next, caught.value.details) == ("later", {"busy": True})
            told.clear()
            ask(session.directory, {"do": "push"})
            assert told == ["push", "push"]
            with pytest.raises(UsageError):
                ask(session.directory, {"do": "nothing"})
        with pytest.raises(NobodyServesError):
            ask(session.directory, {"do": "status"})


def test_a_hook_may_close_the_session(repo: Repo, source: Path) -> None:
    session = create_session(repo, "main", "work")
    done = threading.Event()

    def close() -> None:
        session.close()
        done.set()

    def leave(request: object) -> dict[str, object]:
        threading.Thread(target=close).start()
        return {"leaving": True}

    Control(session, {"unmount": leave})
    assert ask(session.directory, {"do": "unmount"}) == {"leaving": True}
    assert done.wait(10)
    resume_session(repo, "work").close()


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 10_000, b'{"do": "push", "x": "' + bytes(MAX_REQUEST) + b'"}'],
)
def test_what_is_no_request_is_not_answered(repo: Repo, source: Path, data: bytes) -> None:
    with create_session(repo, "main", "work") as session, Control(session):
        assert raw(session.directory, data) == b""
        assert session_status(repo, "work").total == 0


@pytest.mark.parametrize(
    "request_",
    [
        {"do": 1},
        {"do": ["push"]},
        {"do": "push", "label": 7},
        {"do": "push", "merge": "yes"},
        {"do": "push", "retries": True},
        {"do": "push", "self": "x"},
        {"do": "push", "label": "../x"},
        {"do": "clear"},
        {"do": "clear", "globs": "x"},
        {"do": "clear", "globs": [1]},
    ],
)
def test_malformed_requests_change_nothing(repo: Repo, source: Path, request_: dict[str, object]) -> None:
    with create_session(repo, "main", "work") as session, Control(session):
        session.write_text("new", "new")
        with pytest.raises(JvsError):
            ask(session.directory, request_)
        assert session_status(repo, "work").total == 1
    assert repo.labels.require("main").generation == 1


def test_a_socket_of_a_process_that_is_gone(repo: Repo, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_session(repo, "main", "work").close()
    directory = os.path.join(repo.store.path, "sessions", "work")
    monkeypatch.chdir(directory)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(SOCKET)
    with pytest.raises(NobodyServesError):
        ask(directory, {"do": "status"})
    assert session_status(repo, "work").total == 0
    with resume_session(repo, "work") as session, Control(session):
        assert session_status(repo, "work").info.state == "open"


def test_failures_keep_their_meaning() -> None:
    for error in (
        UsageError("a", code="bad-name"),
        UnknownError("b", code="unknown-session", session="x"),
        LabelMovedError("c", label="main", current_generation=3),
        NoSpaceError("d"),
        StateError("e", next="do"),
    ):
        again = error_of(error_value(error))
        assert type(again) is type(error)
        assert (again.code, again.message, again.next, again.details) == (
            error.code,
            error.message,
            error.next,
            error.details,
        )
    assert error_of({"code": "no such code", "message": 1}).code == "internal"
    assert type(error_of(error_value(OSError(errno.ENOSPC, "full")))) is NoSpaceError
    assert error_of(error_value(ValueError("x"))).message == "ValueError: x"
