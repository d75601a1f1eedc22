"""Sessions as the command line has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.blackbox.conftest import Jvs

WORK = """
import sys
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import *
with Repo.open(".jvs", actor="other") as repo, resume_session(repo, sys.argv[1]) as session:
    session.write_text("settings.toml", "rate = 0.5\\n")
    session.write_text("new", "new\\n")
    {more}
"""
SERVE = 'Control(session); print("ready", flush=True); sys.stdin.read()'
HOLD = 'print("ready", flush=True); sys.stdin.read()'


def work(jvs: Jvs, session: str) -> None:
    """Change something in a session."""
    done = subprocess.run(
        [sys.executable, "-c", WORK.format(more=""), session], cwd=jvs.where, env=jvs.environment, check=False
    )
    assert done.returncode == 0


def serve(jvs: Jvs, session: str, more: str = SERVE) -> subprocess.Popen[bytes]:
    """A process that has changed something in a session, and has it open."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK.format(more=more), session],
        cwd=jvs.where,
        env=jvs.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it."""
    process.kill()
    process.communicate()


def test_a_session_from_open_to_drop(pushed: Jvs) -> None:
    made = pushed.json("fs", "open", "main", "--name", "try", "--ttl", "7d")
    assert (made["name"], made["label"], made["generation"], made["state"]) == ("try", "main", 2, "idle")
    assert (made["opened_by"], made["pid"], made["mountpoint"]) == ("ada@host", None, None)
    assert made["until"] > made["opened_at"]
    assert pushed("fs", "open", "main", "-q").ok().out == "main-1\n"
    assert [one["name"] for one in pushed.json("fs", "sessions")["sessions"]] == ["main-1", "try"]
    work(pushed, "try")
    status = pushed.json("fs", "status", "try")
    assert (status["total"], status["counts"]) == (2, {"added": 1, "modified": 1})
    assert [(one["path"], one["status"], one["kind"]) for one in status["changes"]] == [
        ("new", "added", "file"),
        ("settings.toml", "modified", "file"),
    ]
    refused = pushed("fs", "drop", "try", "--json")
    assert (refused.status, refused.value["error"]["code"]) == (1, "unsaved-changes")
    done = pushed.json("fs", "push", "--session", "try", "-m", "faster")
    assert (done["status"], done["label"], done["generation"], done["merge"]) == ("advanced", "main", 3, None)
    assert pushed("fs", "cat", "main:settings.toml").ok().out == "rate = 0.5\n"
    assert pushed.json("fs", "log", "main")["log"][-1]["message"] == "faster"
    assert pushed.json("fs", "drop", "try") == {"name": "try", "dropped": True}
    pushed("fs", "drop", "main-1").ok()
    assert pushed.json("fs", "sessions") == {"sessions": []}
    assert pushed.json("fs", "pins") == {"pins": []}


def test_a_label_that_moved(pushed: Jvs) -> None:
    pushed("fs", "open", "main", "--name", "try").ok()
    work(pushed, "try")
    (pushed.where / "d" / "data" / "points.csv").write_text("5,6\n")
    pushed("fs", "push", "d").ok()
    rejected = pushed("fs", "push", "--session", "try", "--json")
    assert (rejected.status, rejected.value["status"], rejected.value["current_generation"]) == (6, "rejected", 3)
    assert rejected.value["error"]["next"].startswith("jvs fs push --session try --merge (")
    assert pushed("fs", "push", "--session", "try", "--label", "other").ok().out.startswith("advanced other@1")
    elsewhere = pushed("fs", "push", "--session", "try", "--label", "main")
    assert "next: jvs fs push --session try --label main --merge (" in elsewhere.err
    merged = pushed.json("fs", "push", "--session", "try", "--label", "main", "--merge")
    assert (merged["status"], merged["generation"], merged["merge"]["status"]) == ("advanced", 4, "merged")
    assert pushed("fs", "cat", "main:data/points.csv").ok().out == "5,6\n"
    assert pushed("fs", "cat", "main:new").ok().out == "new\n"


@pytest.mark.parametrize("served", [False, True])
def test_a_conflict_moves_nothing(pushed: Jvs, served: bool) -> None:
    pushed("fs", "open", "main", "--name", "try").ok()
    process = serve(pushed, "try") if served else None
    if not served:
        work(pushed, "try")
    (pushed.where / "d" / "settings.toml").write_text("rate = 7\n")
    pushed("fs", "push", "d").ok()
    conflict = pushed("fs", "push", "--session", "try", "--merge", "--json")
    assert (conflict.status, conflict.value["status"], conflict.value["error"]["code"]) == (
        7,
        "rejected",
        "merge-conflict",
    )
    merge = conflict.value["merge"]
    assert (merge["status"], merge["total_conflicts"]) == ("conflict", 1)
    # what was typed is a whole id; 12 digits of it are as good, and can be read
    words = conflict.value["error"]["next"].split()
    assert [len(word) for word in words if word == conflict.value["ca_id"][: len(word)]] == [12]
    assert merge["conflicts"] == [{"path": "settings.toml", "kind": "content", "detail": ""}]
    assert pushed.json("fs", "ls")["labels"][0]["generation"] == 3
    assert pushed.json("fs", "status", "try")["total"] == 2
    if process is not None:
        end(process)


def test_a_session_that_is_open_elsewhere(pushed: Jvs) -> None:
    pushed("fs", "open", "main", "--name", "try").ok()
    process = serve(pushed, "try", HOLD)
    for verb in (("status", "try"), ("drop", "try"), ("drop", "try", "--force"), ("push", "--session", "try")):
        locked = pushed("fs", *verb, "--json")
        assert (locked.status, locked.value["error"]["code"]) == (11, "locked")
        assert locked.value["error"]["details"]["pid"] == process.pid
    end(process)
    process = serve(pushed, "try")
    [info] = pushed.json("fs", "sessions")["sessions"]
    assert (info["state"], info["pid"]) == ("open", process.pid)
    assert pushed.json("fs", "status", "try")["total"] == 2
    assert pushed.json("fs", "push", "--session", "try")["generation"] == 3
    assert pushed("fs", "drop", "try").status == 11
    end(process)
    pushed("fs", "drop", "try").ok()


def test_bad_operands(pushed: Jvs) -> None:
    for words, status, code in (
        (("open", "nothing"), 5, "unknown-label"),
        (("open", "main", "--name", "../x"), 2, "bad-name"),
        (("open", "main", "--name", ".jvs"), 2, "bad-name"),
        (("open", "main", "--ttl", "soon"), 2, "bad-duration"),
        (("status", "nothing"), 5, "unknown-session"),
        (("drop", "nothing"), 5, "unknown-session"),
        (("push", "--session", "nothing"), 5, "unknown-session"),
        (("push", "--session", "a/b"), 2, "bad-name"),
        (("push", "d", "--session", "try"), 2, "usage"),
        (("push", "d", "--merge"), 2, "usage"),
        (("push", "--session", "try", "--tag", "v1"), 2, "usage"),
    ):
        done = pushed("fs", *words, "--json")
        assert (done.status, done.value["error"]["code"]) == (status, code), words
    pushed("fs", "open", "main", "--name", "try").ok()
    assert pushed("fs", "open", "main", "--name", "try", "--json").value["error"]["code"] == "already-exists"
    assert pushed.json("fs", "sessions")["sessions"][0]["name"] == "try"
    assert not Path(pushed.where / "x").exists()
