"""Processes that are killed while they make, push or drop a session: whoever comes next goes on, or clears up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jvs.errors import IntegrityError
from jvs.workspace.doctor import doctor
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import (
    create_session,
    drop_session,
    list_sessions,
    push_session,
    resume_session,
    session_info,
    session_status,
)
from tests.workspace.sessions.conftest import START

DIE = """
from jvs.labels.store import Labels
from jvs.workspace.sessions.places import Places
from jvs.workspace.sessions.session import Session
def die(*given, **named): os._exit(9)
"""


def run(store: str, code: str) -> None:
    """Run some code that kills itself."""
    done = subprocess.run([sys.executable, "-c", START + DIE + code, store], check=False)
    assert done.returncode == 9


def session_files(store: str) -> list[str]:
    """What there is of sessions, but for the lock of all."""
    return sorted(name for name in os.listdir(os.path.join(store, "sessions")) if name != ".lock")


@pytest.mark.parametrize(
    "where", ["Session.create = die", "Places.settle = die", "Session.begin = die"], ids=["pinned", "made", "named"]
)
@pytest.mark.parametrize("clear_up", ["gc", "doctor"])
def test_killed_while_a_session_is_made(repo: Repo, source: Path, store: str, where: str, clear_up: str) -> None:
    run(store, f"{where}; create_session(repo, 'main', 'work')")
    assert len(repo.pins()) == 1
    if where.startswith("Session.begin"):
        resume_session(repo, "work").close()
        drop_session(repo, "work")
    assert list_sessions(repo) == []
    if clear_up == "gc":
        repo.gc_run()
    elif repo.pins():
        assert [one.severity for one in doctor(store).findings if one.category == "sessions"] == ["info"]
        assert doctor(store, repair=True).healthy
    assert (repo.pins(), session_files(store)) == ([], [])


@pytest.mark.parametrize("where", ["pin = Labels.unpin; Labels.unpin = die", "import shutil; shutil.rmtree = die"])
def test_killed_while_a_session_is_dropped(repo: Repo, source: Path, store: str, where: str) -> None:
    create_session(repo, "main", "work").close()
    run(store, f"{where}; drop_session(repo, 'work')")
    assert list_sessions(repo) == []
    create_session(repo, "main", "work").close()
    repo.gc_run()
    assert session_files(store) == ["work"]
    assert len(repo.pins()) == 1
    resume_session(repo, "work").close()


PUSH = """
session = resume_session(repo, "work")
session.write_text("top", "mine")
session.mkdir("empty")
session.push(merge=True)
"""


@pytest.mark.parametrize("merge", [False, True], ids=["push", "merge"])
@pytest.mark.parametrize("where", ["Session._follow = die", "Session._let_go = die"], ids=["moved", "written"])
def test_killed_while_a_session_is_pushed(repo: Repo, source: Path, store: str, where: str, merge: bool) -> None:
    create_session(repo, "main", "work").close()
    if merge:
        (source / "theirs").write_text("theirs")
        repo.push(str(source))
    run(store, f"{where}\n{PUSH}")
    head = repo.labels.require("main")
    assert head.generation == 2 + merge
    repo.gc_run()
    status = session_status(repo, "work")
    assert (status.total, status.info.generation, status.info.ca_id) == (0, head.generation, head.ca_id)
    assert len(repo.pins()) == 1
    assert push_session(repo, "work").push.status == "unchanged"
    with resume_session(repo, "work") as session:
        assert session.exists("theirs") == merge
        session.write_text("top", "mine, and more")  # a push that took its own for somebody else's would conflict
        assert session.push().push.status == "advanced"


def test_what_was_done_after_a_push_that_was_not_written_down_is_kept(repo: Repo, source: Path, store: str) -> None:
    create_session(repo, "main", "work").close()
    run(store, f"Session._follow = die\n{PUSH}")
    with resume_session(repo, "work") as session:
        session.write_text("later", "later")
        assert [change.path for change in session.changes()] == [b"later"]
        assert session.push().push.generation == 3


def test_a_pin_of_a_person_that_looks_like_one_of_a_session_stays(repo: Repo, source: Path) -> None:
    repo.pin("main", message="session work")
    create_session(repo, "main", "work").close()
    drop_session(repo, "work")
    repo.gc_run()
    assert [one.pin.message for one in repo.pins()] == ["session work"]


def test_a_damaged_journal_is_an_error_and_can_be_dropped(repo: Repo, source: Path, store: str) -> None:
    create_session(repo, "main", "work").close()
    with open(os.path.join(store, "sessions", "work", "journal"), "r+b") as file:
        file.seek(40)
        file.write(b"damage")
    with pytest.raises(IntegrityError):
        resume_session(repo, "work")
    with pytest.raises(IntegrityError):
        session_info(repo, "work")
    assert [info.state for info in list_sessions(repo)] == ["damaged"]
    assert [(one.category, one.severity) for one in doctor(store).findings] == [("sessions", "error")]
    repo.gc_run()
    assert len(repo.pins()) == 1  # it may be needed to save what can be saved
    drop_session(repo, "work", force=True)
    assert (repo.pins(), list_sessions(repo)) == ([], [])
