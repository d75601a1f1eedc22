"""Many sessions of one label, in many processes, each pushed with a merge: all land, and nothing is lost."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

from jvs.workspace.repo import Repo
from jvs.workspace.sessions import create_session, list_sessions
from tests.workspace.sessions.conftest import START

SESSIONS = 100
PROCESSES = 8
WORK = """
first, all, step = map(int, sys.argv[2:])
for number in range(first, all, step):
    with create_session(repo, "main", f"s{number}") as session:
        session.write_text(f"files/{number}", f"session {number}")
        done = session.push(merge=True, message=str(number))
        assert done.push.status == "advanced", done
        assert session.read_text(f"files/{number}") == f"session {number}"
    drop_session(repo, f"s{number}")
"""


def test_all_sessions_land(repo: Repo, store: str, tmp_path: Path) -> None:
    files = tmp_path / "tree" / "files"
    files.mkdir(parents=True)
    for number in range(SESSIONS):
        (files / str(number)).write_text("as it was")
    repo.push(str(tmp_path / "tree"), label="main")
    command = [sys.executable, "-c", START + WORK, store]
    started = [subprocess.Popen([*command, *map(str, (one, SESSIONS, PROCESSES))]) for one in range(PROCESSES)]
    assert [process.wait() for process in started] == [0] * PROCESSES
    assert repo.labels.require("main").generation == SESSIONS + 1
    with create_session(repo, "main") as session:
        for number in range(SESSIONS):
            assert session.read_text(f"files/{number}") == f"session {number}"
        assert len(session.listdir("files")) == SESSIONS
    entries = list(repo.log("main", None))
    assert [entry.generation for entry in entries] == list(range(SESSIONS + 1, 0, -1))
    assert sorted(entry.message for entry in entries[:-1]) == sorted(map(str, range(SESSIONS)))
    for newer, older in itertools.pairwise(entries):  # each is made from the one before
        assert newer.prev == older.id
        assert newer.from_ == older.to
        assert repo.labels.is_ancestor(older.id, newer.id)
    assert repo.labels.verify_chain("main") == SESSIONS + 1
    assert [info.name for info in list_sessions(repo)] == ["main-1"]
    assert len(repo.pins()) == 1
