"""Named sessions: made, left, gone on with, pushed and dropped."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.errors import (
    CollectedError,
    JvsError,
    LockedError,
    StateError,
    UnknownError,
    UnsavedChangesError,
    UsageError,
)
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
from tests.workspace.sessions.conftest import Other

HOLD = """
session = resume_session(repo, sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""
SERVE = HOLD.replace("print(", "Control(session); print(")


def collect(repo: Repo, source: Path, *, moves: int = 1) -> None:
    """Move the label on, keep nothing but its head, and collect."""
    repo.set_retention(["keep-last", "1"])
    for number in range(moves):
        for name in ("top", "a/one"):
            (source / name).write_text(f"other {number}")
        repo.push(str(source), label="main", force=True)
    repo.gc_run()


def test_a_session_goes_on_where_it_was_left(repo: Repo, source: Path) -> None:
    with create_session(repo, "main", "work") as session:
        session.write_text("a/new", "new")
        session.unlink("top")
    [info] = list_sessions(repo)
    assert (info.name, info.label, info.generation, info.state, info.opened_by) == ("work", "main", 1, "idle", "tester")
    status = session_status(repo, "work")
    assert status.counts == {"added": 1, "deleted": 1}
    assert [change.path for change in status.changes] == [b"a/new", b"top"]
    with resume_session(repo, "work") as session:
        assert session.read_text("a/new") == "new"
        assert session.push(message="work").push.generation == 2
        session.write_text("more", "more")
    assert session_info(repo, "work").generation == 2
    done = push_session(repo, "work")
    assert (done.push.status, done.push.generation) == ("advanced", 3)
    assert push_session(repo, "work").push.status == "unchanged"
    drop_session(repo, "work")
    assert list_sessions(repo) == []
    assert repo.pins() == []


def test_names(repo: Repo, source: Path) -> None:
    names = []
    for _ in range(3):
        with create_session(repo, "main") as session:
            names.append(session.name)
    assert names == ["main-1", "main-2", "main-3"]
    repo.set_label("exp/try", "main")
    with create_session(repo, "exp/try") as session:
        assert session.name == "exp-try-1"
    with create_session(repo, "main:a") as session:
        assert (session.name, session_info(repo, "session-1").label) == ("session-1", None)
    for bad in ("", ".", "..", "-x", "a/b", "a b", "x" * 101, ".hidden", "é", "a\0b", "a\nb"):
        with pytest.raises(UsageError) as caught:
            create_session(repo, "main", bad)
        assert caught.value.code == "bad-name"
        with pytest.raises(UsageError):
            resume_session(repo, bad)
    with pytest.raises(StateError) as taken:
        create_session(repo, "main", "main-1")
    assert taken.value.code == "already-exists"
    for verb in (resume_session, session_info, session_status, push_session, drop_session):
        with pytest.raises(UnknownError) as unknown:
            verb(repo, "nothing")
        assert unknown.value.code == "unknown-session"


def test_nothing_is_left_of_a_session_that_was_not_made(repo: Repo, source: Path) -> None:
    before = repo.pins()
    for revision, options in (("nothing", {}), ("main@9", {}), ("main", {"ttl": "0"}), ("main", {"ttl": "soon"})):
        with pytest.raises(JvsError):
            create_session(repo, revision, "work", **options)
    assert repo.pins() == before
    assert list_sessions(repo) == []


def test_one_process_at_a_time(repo: Repo, source: Path, other: Other) -> None:
    create_session(repo, "main", "work").close()
    process = other(HOLD, "work")
    info = session_info(repo, "work")
    assert (info.state, info.pid, info.host) == ("open", process.pid, os.uname().nodename)
    for verb in (resume_session, push_session, session_status, drop_session):
        with pytest.raises(LockedError) as caught:
            verb(repo, "work")
        assert caught.value.exit_status == 11
        assert caught.value.details["pid"] == process.pid
    process.kill()
    process.wait()
    assert session_info(repo, "work").state == "idle"
    resume_session(repo, "work").close()


def test_where_it_is_mounted_is_said(repo: Repo, source: Path) -> None:
    with create_session(repo, "main", "work") as session:
        session.announce("/mnt/work")
        assert session_info(repo, "work")[7:] == ("mounted", os.getpid(), os.uname().nodename, "/mnt/work")
        with pytest.raises(LockedError) as caught:
            drop_session(repo, "work", force=True)
        assert caught.value.next == "jvs fs unmount /mnt/work"


def test_others_push_and_ask_while_it_is_open(repo: Repo, source: Path, other: Other) -> None:
    create_session(repo, "main", "work").close()
    code = SERVE.replace("print(", 'session.write_text("mine", "mine"); print(')
    process = other(code, "work")
    status = session_status(repo, "work")
    assert (status.info.state, status.counts) == ("open", {"added": 1})
    (source / "top").write_text("theirs")
    repo.push(str(source))
    rejected = push_session(repo, "work")
    assert (rejected.push.status, rejected.merge) == ("rejected", None)
    assert rejected.push.error is not None
    assert rejected.push.error.exit_status == 6
    assert rejected.push.error.next == "jvs fs push --session work --merge (or --force, to replace what is there)"
    merged = push_session(repo, "work", merge=True, message="both")
    assert (merged.push.status, merged.push.generation) == ("advanced", 3)
    assert merged.merge is not None
    assert merged.merge.ca_id == merged.push.ca_id
    assert session_status(repo, "work").total == 0
    with pytest.raises(UsageError) as caught:
        push_session(repo, "work", detach=True, force=True)
    assert caught.value.exit_status == 2
    assert process.poll() is None
    process.kill()
    process.wait()
    with resume_session(repo, "work") as session:
        assert session.read_text("mine") == "mine"
        assert session.read_text("top") == "theirs"


def test_conflicts_are_told_by_whoever_has_it_open(repo: Repo, source: Path, other: Other) -> None:
    create_session(repo, "main", "work").close()
    other(SERVE.replace("print(", 'session.write_text("top", "mine"); print('), "work")
    (source / "top").write_text("theirs")
    repo.push(str(source))
    done = push_session(repo, "work", merge=True)
    assert done.push.status == "rejected"
    assert done.push.error is not None
    assert done.push.error.exit_status == 7
    assert done.merge is not None
    assert [one.conflict.path for one in done.merge.conflicts] == [(b"top",)]


def test_the_base_is_kept_until_the_session_is_dropped(repo: Repo, source: Path) -> None:
    base = repo.resolve("main").ca_id
    create_session(repo, "main", "work").close()
    collect(repo, source)
    assert repo.has_snapshot(base)
    with resume_session(repo, "work") as session:
        assert session.read_text("top") == "top" * 100
    drop_session(repo, "work")
    repo.gc_run()
    assert not repo.has_snapshot(base)


def test_the_base_moves_with_a_push(repo: Repo, source: Path) -> None:
    base = repo.resolve("main").ca_id
    with create_session(repo, "main", "work") as session:
        session.write_text("top", "mine")
        pushed = session.push().push.ca_id
    collect(repo, source)
    assert not repo.has_snapshot(base)
    assert repo.has_snapshot(pushed)
    [pin] = repo.pins()
    assert pin.pin.ca_id == pushed


def test_changes_are_not_dropped_unasked(repo: Repo, source: Path) -> None:
    with create_session(repo, "main", "work") as session:
        session.write_text("new", "new")
    with pytest.raises(UnsavedChangesError) as caught:
        drop_session(repo, "work")
    assert caught.value.details["paths"] == ["new"]
    assert session_info(repo, "work").state == "idle"
    drop_session(repo, "work", force=True)
    assert list_sessions(repo) == []


def test_a_base_that_is_gone_is_an_error_and_can_be_dropped(repo: Repo, source: Path) -> None:
    create_session(repo, "main", "work").close()
    unpin(repo)
    collect(repo, source)
    for verb in (resume_session, push_session, session_status, drop_session):
        with pytest.raises(CollectedError) as caught:
            verb(repo, "work")
        assert caught.value.next == "jvs fs drop work --force"
    drop_session(repo, "work", force=True)
    assert list_sessions(repo) == []


def unpin(repo: Repo) -> None:
    """Take its pin from the one session that there is, as no verb does."""
    [one] = repo.pins()
    repo.labels.unpin(one.pin.id)


def test_the_pin_of_a_session_goes_with_the_session_only(repo: Repo, source: Path) -> None:
    create_session(repo, "main", "work").close()
    [session] = repo.pins()
    for target in (session.pin.id.hex(), "main"):
        with pytest.raises(StateError) as caught:
            repo.unpin(target)
        assert (caught.value.code, caught.value.next) == ("snapshot-in-use", "jvs fs drop work")
    other = repo.pin("main")
    assert [one.pin for one in repo.unpin("main")] == [other.pin]
    assert repo.pins() == [session]


def test_who_goes_on_with_a_session_pins_it_again(repo: Repo, source: Path) -> None:
    base = repo.resolve("main").ca_id
    create_session(repo, "main", "work").close()
    unpin(repo)
    resume_session(repo, "work").close()
    collect(repo, source)
    assert repo.has_snapshot(base)


def test_another_label_has_a_base_of_its_own_in_a_merge(repo: Repo, source: Path) -> None:
    """What was stored without main, in between, is not taken for what main removed."""
    with create_session(repo, "main", "work") as session:
        session.write_text("first", "first")
        assert session.push(detach=True).push.status == "detached"
        assert session_status_of(session) == [b"first"]
        assert session.push("side").push.status == "advanced"
        session.write_text("second", "second")
        (source / "theirs").write_text("theirs")
        repo.push(str(source))
        assert session.push("main", merge=True).push.status == "advanced"
        assert session.listdir() == ["a", "first", "second", "theirs", "top"]


def session_status_of(session: object) -> list[bytes]:
    """The changed paths."""
    return [change.path for change in session.changes()]  # type: ignore[attr-defined]


def test_a_killed_writer_loses_nothing_that_was_synced(repo: Repo, source: Path, other: Other) -> None:
    create_session(repo, "main", "work").close()
    process = other(
        """
session = resume_session(repo, sys.argv[2])
with session.open("a/one", "r+b", 0) as file:
    file.write(b"synced"); file.raw.sync() if hasattr(file, "raw") else file.sync()
    print("ready", flush=True)
    while True:
        session.write_text("a/other", "x" * 1000)
        session.rename("a/other", "a/again")
""",
        "work",
    )
    process.kill()
    process.wait()
    with resume_session(repo, "work") as session:
        assert session.read_bytes("a/one").startswith(b"synced")
        assert session.push().push.status == "advanced"


@pytest.fixture
def disk(store: str) -> Iterator[Path]:
    """A small file system for the sessions of the store."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("needs root, to mount a file system that is full")
    folder = Path(store) / "sessions"
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Take all that is left of it; the file that does."""
    filler = disk / ".filler"
    with contextlib.suppress(OSError), filler.open("wb", 0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_is_the_writers_failure_alone(repo: Repo, source: Path, disk: Path) -> None:
    with create_session(repo, "main", "work") as session:
        session.write_text("small", "small")
        session.write_bytes("large", bytes(1 << 20))
        with pytest.raises(OSError, match="No space left"):
            session.write_bytes("more", bytes(1 << 20))
        assert session.read_text("small") == "small"
        session.unlink("large")
        session.unlink("more")
        session.sync()
        session.write_bytes("again", bytes(1 << 20))
    with resume_session(repo, "work") as session:
        assert (session.read_text("small"), session.stat("again").st_size) == ("small", 1 << 20)
        assert session.push().push.status == "advanced"
    drop_session(repo, "work")


def test_no_session_is_made_on_a_full_disk(repo: Repo, source: Path, disk: Path) -> None:
    create_session(repo, "main", "work").close()
    filler = fill(disk)
    with pytest.raises(OSError, match="No space left"):
        create_session(repo, "main", "more")
    assert [info.name for info in list_sessions(repo)] == ["work"]
    assert len(repo.pins()) == 1
    filler.unlink()
    create_session(repo, "main", "more").close()


@pytest.mark.parametrize("left", [False, True], ids=["goes-on", "resumed"])
def test_a_push_above_a_full_disk(repo: Repo, source: Path, disk: Path, left: bool) -> None:
    """The label moves, and then the session cannot write that down: it says so, and goes on once it can."""
    session = create_session(repo, "main", "work")
    session.write_text("new", "new")
    filler = fill(disk)
    with pytest.raises(OSError, match="No space left"):
        session.push()
    assert session.read_text("new") == "new"
    with pytest.raises(OSError, match="No space left"):
        session.write_text("later", "later")
    if left:
        with contextlib.suppress(OSError):
            session.close()
        filler.unlink()
        session = resume_session(repo, "work")
    else:
        filler.unlink()
    with session:
        session.write_text("later", "later")
        assert [change.path for change in session.changes()] == [b"later"]
        done = session.push()
        assert (done.push.status, done.push.generation) == ("advanced", 3)
        assert (session.read_text("new"), session.read_text("later")) == ("new", "later")
    assert len(repo.pins()) == 1
