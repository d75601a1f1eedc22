"""Verbs of sessions killed at their system calls: all that was written in a session is in it, or has been pushed."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.blackbox.aftermath import check_journal, log_of
from tests.blackbox.conftest import Jvs
from tests.blackbox.session import Session
from tests.blackbox.test_durability import calls, needs_strace, traced
from tests.blackbox.test_sessions import work

SAMPLE = 4
"""At how many calls each verb is killed; at all of them in the long form."""
VERBS = {
    "open": ["fs", "open", "main", "--name", "more"],
    "push": ["fs", "push", "--session", "try", "-m", "done"],
    "merge": ["fs", "push", "--session", "try", "-m", "done", "--merge"],
    "drop": ["fs", "drop", "try", "--force"],
}


@pytest.fixture
def session(jvs: Jvs) -> Iterator[Session]:
    """Commands without a process each."""
    with Session(jvs) as session:
        yield session


@needs_strace
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_killed_at_any_write(pushed: Jvs, session: Session, verb: str) -> None:
    pushed("fs", "open", "main", "--name", "try").ok()
    work(pushed, "try")
    if verb == "merge":
        (pushed.where / "d" / "data" / "points.csv").write_text("5,6\n")
        pushed("fs", "push", "d").ok()
    before = len(log_of(pushed))
    store, kept = pushed.where / ".jvs", pushed.where / "kept"
    shutil.copytree(store, kept)
    outcomes = []
    for call, number in calls(pushed, VERBS[verb], SAMPLE):
        shutil.rmtree(store)
        shutil.copytree(kept, store)
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        done = traced(pushed, pushed.where / "trace", inject, *VERBS[verb])
        check_after(session, verb, done.status == 0, before)
        outcomes.append((call, number, done.status))
    print(*outcomes, sep="\n")
    assert all(status in (-signal.SIGKILL, 128 + signal.SIGKILL, 0) for _, _, status in outcomes)


def check_after(jvs: Session, verb: str, said_so: bool, before: int) -> None:
    """What must hold once a verb ended in any way at all."""
    names = [one["name"] for one in jvs.json("fs", "sessions")["sessions"]]
    if verb == "open":
        assert "more" in names or not said_so
    if verb == "drop":
        assert "try" not in names or not said_so
    if "try" in names:
        check_content(jvs, said_so and verb in ("push", "merge"), before)
    else:
        assert verb == "drop"
    if "more" in names:
        assert jvs.json("fs", "status", "more")["total"] == 0
    jvs("fs", "gc", "run").ok()
    assert len(jvs.json("fs", "pins")["pins"]) == len(names)
    folder = jvs.where / ".jvs" / "sessions"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", *names]
    check_journal(jvs.where)
    assert jvs.json("doctor")["healthy"]
    assert jvs.json("fs", "verify", "--all")["ok"]
    for name in names:
        jvs("fs", "drop", name).ok()
    assert jvs.json("fs", "pins")["pins"] == []


def check_content(jvs: Session, said_so: bool, before: int) -> None:
    """The session `try` has its changes, or they were pushed; and they can be pushed now, or need not be."""
    moved = len(log_of(jvs)) > before
    assert moved or not said_so
    assert jvs.json("fs", "status", "try")["total"] == (0 if moved else 2)
    again = jvs.json("fs", "push", "--session", "try", "--merge")
    assert again["status"] == ("unchanged" if moved else "advanced")
    assert len(log_of(jvs)) == before + 1
    assert jvs("fs", "cat", "main:settings.toml").ok().out == "rate = 0.5\n"
    assert jvs("fs", "cat", "main:new").ok().out == "new\n"
