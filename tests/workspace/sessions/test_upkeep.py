"""What collections and purges do to sessions: nothing that was written is lost, and nothing that was purged stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jvs.errors import LabelMovedError
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import (
    create_session,
    list_sessions,
    push_session,
    resume_session,
    session_info,
    session_status,
)
from jvs.workspace.sessions.upkeep import upkeep
from tests.workspace.sessions.conftest import Other
from tests.workspace.sessions.test_sessions import HOLD, SERVE

DAY = 86_400_000
SECRET = "the secret, which is long enough to be found anywhere"


def test_a_session_whose_time_is_over_goes_and_nothing_is_lost(repo: Repo, source: Path) -> None:
    base = repo.resolve("main").ca_id
    for name, ttl in (("clean", "1d"), ("changed", "1d"), ("longer", "3d"), ("always", None)):
        with create_session(repo, "main", name, ttl=ttl) as session:
            if name == "changed":
                session.write_text("new", "new")
    now = session_info(repo, "clean").until
    assert now is not None
    assert upkeep(repo, now - 1) == []
    with resume_session(repo, "clean"):
        assert upkeep(repo, now + DAY) == ["changed"]  # the other one is open
    assert upkeep(repo, now + DAY) == ["clean"]
    assert [info.name for info in list_sessions(repo)] == ["always", "longer"]
    saved = repo.resolve("autosave/session-changed")
    assert saved.entry is not None
    assert b"".join(repo.cat("autosave/session-changed:new")) == b"new"
    assert repo.labels.is_ancestor(repo.labels.require("main").entry_id, saved.entry.id)
    assert [one.pin.ca_id for one in repo.pins()] == [base, base]


@pytest.fixture
def secrets(repo: Repo, source: Path) -> Path:
    """The directory, with a secret that is pushed as well."""
    (source / "keys").mkdir()
    (source / "keys" / "secret").write_text(SECRET)
    repo.push(str(source))
    return source


def work(repo: Repo, name: str) -> None:
    """A session with changes, and with the secret in many places."""
    with create_session(repo, "main", name) as session:
        session.write_text("new", "new")
        session.write_text("copied", SECRET)
        session.copy("keys", "moved")
        session.rename("a", "c")
        session.write_text("keys/mine", "mine")


def holds(store: str, name: str, text: str) -> bool:
    """Whether any file of a session has that in it."""
    for folder, _, files in os.walk(os.path.join(store, "sessions", name)):
        for file in files:
            if file != "control" and text.encode() in Path(folder, file).read_bytes():
                return True
    return False


def check_cleared(repo: Repo, secrets: Path, store: str) -> None:
    """The session `work` has all that was done in it but for what was purged, and can be pushed."""
    assert not holds(store, "work", SECRET)
    session = session_status(repo, "work")
    paths = {change.path for change in session.changes if not change.whole}
    assert {b"new", b"c/one", b"a/one"} <= paths
    assert not paths & {b"copied", b"moved/secret", b"keys/secret"}
    assert push_session(repo, "work").push.status == "advanced"
    with resume_session(repo, "work") as opened:
        assert sorted(opened.listdir()) == ["c", "keys", "moved", "new", "top"]
        assert opened.read_text("c/b/two") == "a/b/two" * 100
        assert opened.listdir("moved") == []


def test_a_purge_clears_sessions(repo: Repo, secrets: Path, store: str) -> None:
    work(repo, "work")
    create_session(repo, "main", "clean").close()
    assert holds(store, "work", SECRET)
    done = repo.purge([b"keys/secret"], reason="it leaked")
    assert (done.done, done.left) == (True, ())
    with resume_session(repo, "work") as session:
        assert session.listdir("keys") == ["mine"]
        session.unlink("keys/mine")
    with resume_session(repo, "clean") as session:
        assert list(session.changes()) == []
        assert session.listdir("keys") == []
    check_cleared(repo, secrets, store)
    assert repo.verify().ok


def test_a_purge_clears_sessions_that_others_serve(repo: Repo, secrets: Path, store: str, other: Other) -> None:
    work(repo, "work")
    process = other(SERVE, "work")
    done = repo.purge([b"keys/secret"], reason="it leaked")
    assert (done.done, done.left) == (True, ())
    assert not holds(store, "work", SECRET)
    process.kill()
    process.wait()
    check_cleared(repo, secrets, store)


def test_a_purge_waits_for_a_session_that_it_cannot_clear(repo: Repo, secrets: Path, store: str, other: Other) -> None:
    work(repo, "work")
    process = other(HOLD, "work")
    done = repo.purge([b"keys/secret"], reason="it leaked")
    assert not done.done
    assert any("session work" in reason for reason in done.left)
    process.kill()
    process.wait()
    repo.gc_run()  # would take what is below it, had it not looked after it
    assert not holds(store, "work", SECRET)
    done = repo.purge([b"keys/secret"], reason="it leaked")
    assert (done.done, done.left) == (True, ())
    check_cleared(repo, secrets, store)


def test_a_session_above_a_snapshot_that_was_purged_as_a_whole(repo: Repo, secrets: Path) -> None:
    (secrets / "keys" / "secret").unlink()
    repo.push(str(secrets))
    with create_session(repo, "main@2", "work") as session:
        session.write_text("new", "new")
    repo.purge(snapshot="main@2", reason="it leaked")
    with resume_session(repo, "work") as session:
        assert session.read_text("new") == "new"
        assert session.read_text("top") == "top" * 100
        assert not session.exists("keys/secret")
    done = push_session(repo, "work")
    assert isinstance(done.push.error, LabelMovedError)
    assert push_session(repo, "work", label="saved").push.status == "advanced"
