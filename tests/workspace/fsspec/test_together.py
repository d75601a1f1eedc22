"""What goes together: transactions, sessions, threads, and processes that were forked or started."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import pytest

from jvs.errors import JvsError, StoreError
from jvs.workspace.fsspec.filesystem import JvsFileSystem
from jvs.workspace.overlays import open_overlay
from jvs.workspace.repo import Repo
from jvs.workspace.sessions.actions import push_session
from jvs.workspace.sessions.session import create_session, resume_session


def generation(repo: Repo) -> int:
    return repo.labels.require("main").generation


def elsewhere(repo: Repo, path: str, data: bytes) -> None:
    with open_overlay(repo, "main") as overlay:
        overlay.write_bytes(path, data)
        overlay.push()


# -- transactions


def test_a_transaction_is_one_push(fs: JvsFileSystem, repo: Repo) -> None:
    with fs.transaction(message="all of it") as transaction:
        fs.pipe_file("main/x", b"x")
        with fs.open("main/y", "wb") as file:
            file.write(b"y")
        fs.mv("main/a/one", "main/two")
        fs.copy("main/a", "main/b", recursive=True)
        assert fs.find("main") == ["main/two", "main/x", "main/y"]
        assert fs.info("main/x")["digest"] is None
        assert fs.ukey("main/x") != fs.ukey("main/y")
        assert fs.info("main/x")["ETag"]
        assert (generation(repo), transaction.pushed) == (1, None)
    assert (transaction.pushed.status, generation(repo)) == ("advanced", 2)
    assert repo.labels.require("main").message == "all of it"
    with fs.transaction as transaction:
        assert fs.cat_file("main/x") == b"x"
    assert (transaction.pushed, generation(repo)) == (None, 2)
    fs.start_transaction()
    fs.pipe_file("main/z", b"z")
    fs.end_transaction()
    assert generation(repo) == 3


def test_an_exception_drops_all_of_it(fs: JvsFileSystem, repo: Repo) -> None:
    with pytest.raises(ZeroDivisionError), fs.transaction(message="no"):  # noqa: PT012  # all of it is meant
        fs.pipe_file("main/x", b"x")
        file = fs.open("main/y", "wb")
        file.write(b"y")
        raise ZeroDivisionError
    assert file.closed
    assert (fs.find("main"), generation(repo)) == (["main/a/one"], 1)
    fs.pipe_file("main/x", b"x")
    assert generation(repo) == 2


def test_a_transaction_sees_the_labels_as_they_were(fs: JvsFileSystem, repo: Repo) -> None:
    with fs.transaction():
        assert fs.cat_file("main/a/one") == b"one"
        elsewhere(repo, "a/one", b"other")
        elsewhere(repo, "new", b"new")
        assert fs.cat_file("main/a/one") == b"one"
        fs.pipe_file("main/x", b"x")
        assert fs.cat_file("main/a/one") == b"one"
        assert not fs.exists("main/new")
    assert [fs.cat_file(f"main/{name}") for name in ("a/one", "new", "x")] == [b"other", b"new", b"x"]
    assert generation(repo) == 4


def test_a_conflict_moves_nothing_and_loses_nothing(fs: JvsFileSystem, repo: Repo) -> None:
    with pytest.raises(JvsError) as caught, fs.transaction():  # noqa: PT012  # all of it is meant
        fs.pipe_file("main/a/one", b"mine")
        elsewhere(repo, "a/one", b"theirs")
    assert caught.value.code == "merge-conflict"
    assert (fs.cat_file("main/a/one"), generation(repo)) == (b"theirs", 2)
    assert fs.transaction.scope is None
    fs.pipe_file("main/a/one", b"mine")
    assert generation(repo) == 3


def test_a_transaction_is_of_one_label(fs: JvsFileSystem, repo: Repo) -> None:
    repo.set_label("other", "main")
    with pytest.raises(OSError, match="one label"), fs.transaction():  # noqa: PT012  # all of it is meant
        fs.cp_file("other/a/one", "main/copy")
        fs.pipe_file("other/x", b"x")
    with fs.transaction():
        fs.cp_file("other/a/one", "main/copy")
        with pytest.raises(ValueError, match="already"):
            fs.start_transaction()
    assert fs.find("main") == ["main/a/one", "main/copy"]
    assert fs.find("other") == ["other/a/one"]


def test_files_that_are_open_at_the_end_are_closed(fs: JvsFileSystem) -> None:
    with fs.transaction():
        file = fs.open("main/x", "wb")
        file.write(b"x")
        reader = fs.open("main/x")
    assert file.closed
    assert reader.closed
    assert fs.cat_file("main/x") == b"x"


# -- threads


def test_a_transaction_is_of_one_object(fs: JvsFileSystem, store: str) -> None:
    other = JvsFileSystem(store=store, skip_instance_cache=True)
    with fs.transaction():
        fs.pipe_file("main/x", b"x")
        assert not other.exists("main/x")
        with ThreadPoolExecutor(1) as pool:
            # an object of that thread's own, as libraries make it that are given a URL
            assert not pool.submit(lambda: fsspec.filesystem("jvs", store=store).exists("main/x")).result()
            assert pool.submit(fs.exists, "main/x").result()  # who is given the object is in it
        other.pipe_file("main/y", b"y")
    assert fs.find("main") == other.find("main") == ["main/a/one", "main/x", "main/y"]


def test_threads_write_beside_one_another(fs: JvsFileSystem, repo: Repo) -> None:
    def work(number: int) -> None:
        fs.pipe({f"main/{number}/{name}": b"x" for name in "ab"})
        with fs.open(f"main/{number}/c", "wb") as file:
            file.write(b"%d" % number)
        assert fs.cat(f"main/{number}/*").keys() == {f"main/{number}/{name}" for name in "abc"}

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))
    assert len(fs.find("main")) == 16
    assert generation(repo) == 11


def test_many_at_once_in_one_call_is_of_that_thread(fs: JvsFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call of many parts has written so far is for its own thread to see."""
    half, seen = threading.Event(), threading.Event()
    pipe_file = JvsFileSystem.pipe_file

    def slow(self: JvsFileSystem, path: str, value: bytes, **options: Any) -> None:
        pipe_file(self, path, value, **options)
        half.set()
        assert seen.wait(60)

    monkeypatch.setattr(JvsFileSystem, "pipe_file", slow)
    thread = threading.Thread(target=fs.pipe, args=({"main/x": b"x", "main/y": b"y"},))
    thread.start()
    assert half.wait(60)
    there = fs.exists("main/x")
    seen.set()
    thread.join()
    assert not there
    assert fs.exists("main/x")


# -- processes


def in_child(work: Callable[[], object], *, forked: bool = True) -> Any:
    """What `work` returns in a process of its own."""
    return started(work, forked=forked)()


def started(work: Callable[[], object], *, forked: bool = True) -> Callable[[], Any]:
    """Start that process; what gives its answer."""
    context = multiprocessing.get_context("fork") if forked else multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, work))
    process.start()
    theirs.close()

    def answer() -> Any:
        found = ours.recv()
        process.join()
        assert process.exitcode == 0
        return found

    return answer


def _send(pipe: Any, work: Callable[[], object]) -> None:
    try:
        pipe.send(work())
    except Exception as error:
        pipe.send(repr(error))


def test_a_forked_child_opens_the_store_anew(fs: JvsFileSystem, repo: Repo) -> None:
    fs.pipe_file("main/big", bytes(3_000_000))
    with fs.open("main/big") as file:

        def child() -> Any:
            fs.pipe_file("main/child", b"child")
            return fs.find("main"), fs.cat_file("main/big", 0, 1), pickle.loads(pickle.dumps(fs)).ls("main")  # noqa: S301

        found = in_child(child)
        assert file.read() == bytes(3_000_000)
    assert found[0] == ["main/a/one", "main/big", "main/child"]
    assert fs.cat_file("main/child") == b"child"
    assert generation(repo) == 3


def test_processes_write_beside_one_another(fs: JvsFileSystem, repo: Repo) -> None:
    def child(number: int) -> Callable[[], object]:
        def work() -> str:
            for step in range(5):
                fs.pipe_file(f"main/{number}/{step}", b"%d" % step)
            return "done"

        return work

    assert [answer() for answer in [started(child(number)) for number in range(3)]] == ["done"] * 3
    assert len(fs.find("main")) == generation(repo) == 16


def test_a_transaction_is_not_the_childs(fs: JvsFileSystem, repo: Repo) -> None:
    with fs.transaction():
        fs.pipe_file("main/x", b"x")
        assert "forked" in in_child(lambda: _code_of(lambda: fs.pipe_file("main/y", b"y")))
        assert fs.cat_file("main/x") == b"x"
    assert fs.find("main") == ["main/a/one", "main/x"]


def _code_of(call: Callable[[], object]) -> str:
    try:
        call()
    except JvsError as error:
        return error.code
    return "none"


def test_an_object_is_pickled_by_its_options(store: str) -> None:
    here = fsspec.filesystem("jvs", store=store)
    assert in_child(_Ukey(here), forked=False) == here.ukey("main/a/one")
    JvsFileSystem.clear_instance_cache()


class _Ukey:
    def __init__(self, fs: JvsFileSystem) -> None:
        self._fs = fs

    def __call__(self) -> str:
        return str(self._fs.ukey("main/a/one"))


def test_the_store_is_closed_with_its_last_user(store: str) -> None:
    first = JvsFileSystem(store=store, skip_instance_cache=True)
    second = JvsFileSystem(store=store, skip_instance_cache=True)
    opened = first._store()
    assert second._store() is opened
    repo = opened.repo
    del opened
    with first.open("main/a/one") as file:
        first.close()
        second.close()
        assert file.read() == b"one"
    first.ls("main")
    first.close()
    with pytest.raises(StoreError):
        repo.list_label("main")


def test_nothing_is_imported_that_is_not_needed() -> None:
    code = (
        "import jvs.workspace.repo, jvs.workspace.overlays, jvs.workspace.fsspec, sys; print('fsspec' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_a_missing_fsspec_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.spec", None)
    for name in [name for name in sys.modules if name.startswith("jvs.workspace.fsspec.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(StoreError) as caught:
        __import__("jvs.workspace.fsspec.filesystem")
    assert (caught.value.code, caught.value.next) == ("missing-extra", "pip install 'jvs-fs[fsspec]'")


# -- sessions


@pytest.fixture
def session(store: str, repo: Repo) -> Iterator[JvsFileSystem]:
    create_session(repo, "main", "work").close()
    made = JvsFileSystem(store=store, session="work", skip_instance_cache=True)
    yield made
    made.close()


def test_a_session_is_written_and_not_pushed(session: JvsFileSystem, fs: JvsFileSystem, repo: Repo) -> None:
    session.pipe_file("main/x", b"x")
    with session.open("main/a/one", "ab") as file:
        file.write(b" and more")
    session.copy("main@{0}/a", "main/pristine", recursive=True)
    session.mv("main/x", "main/y")
    assert session.cat_file("main/a/one") == b"one and more"
    assert session.cat_file("main@1/a/one") == session.cat_file("main/pristine/one") == b"one"
    assert (fs.find("main"), generation(repo)) == (["main/a/one"], 1)
    done = push_session(repo, "work", message="all")  # while it is open here
    assert done.push.generation == 2
    assert fs.find("main") == session.find("main") == ["main/a/one", "main/pristine/one", "main/y"]
    session.rm("main/pristine", recursive=True)
    session.close()
    with resume_session(repo, "work") as resumed:
        assert resumed.listdir() == ["a", "y"]
        assert resumed.read_bytes("a/one") == b"one and more"


def test_the_rest_is_fixed_in_a_session(session: JvsFileSystem, repo: Repo) -> None:
    repo.set_label("other", "main")
    assert session.cat_file("other/a/one") == b"one"
    for path in ("other/x", "main@1/x"):
        with pytest.raises(PermissionError):
            session.pipe_file(path, b"")
        with pytest.raises(PermissionError):
            session.open(path, "wb")
    with pytest.raises(StoreError, match="no transactions"), session.transaction():
        pass


def test_a_session_of_no_label(store: str, repo: Repo) -> None:
    ca_id = repo.labels.require("main").ca_id.hex()
    create_session(repo, ca_id, "free").close()
    fs = JvsFileSystem(store=store, session="free", skip_instance_cache=True)
    fs.pipe_file(f"@{ca_id}/x", b"x")
    assert fs.find(f"@{ca_id}") == [f"@{ca_id}/a/one", f"@{ca_id}/x"]
    with pytest.raises(PermissionError):
        fs.pipe_file("main/x", b"x")
    fs.close()


def test_sessions_that_cannot_be_had(store: str, session: JvsFileSystem) -> None:
    with pytest.raises(FileNotFoundError, match="nosuch"):
        JvsFileSystem(store=store, session="nosuch", skip_instance_cache=True)
    second = JvsFileSystem(store=store, session="work", skip_instance_cache=True)
    second.pipe_file("main/x", b"x")  # the same one in this process
    assert session.cat_file("main/x") == b"x"
    second.close()
    assert "LockedError" in in_child(lambda: session.ls("main"))
    assert session.cat_file("main/x") == b"x"
