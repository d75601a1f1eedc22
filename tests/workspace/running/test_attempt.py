"""One run: what becomes of what the command did, in a mount and in a checked-out copy alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jvs.errors import JvsError, StateError, UnknownError, UsageError
from jvs.workspace.repo import Repo
from jvs.workspace.running import Interrupts, RunOptions, Surroundings, run
from jvs.workspace.running.places import CheckedOut
from jvs.workspace.sessions import drop_session, list_sessions, push_session, session_status
from tests.workspace.running.conftest import Runner

IN_A_COPY = pytest.mark.parametrize("runner", ["checked out"], indirect=True)
"""For what is the same wherever the command runs: a copy is made sooner."""

WRITE = "open('new', 'w').write('new')"


def names(repo: Repo) -> list[str]:
    return [info.name for info in list_sessions(repo)]


def test_what_the_command_did_is_pushed(runner: Runner) -> None:
    done = runner(f"{WRITE}; import os; os.remove('a/one'); os.rename('a/b', 'c')", message="why")
    assert (done.status, done.exit_status, done.generation, done.session) == ("pushed", 0, 2, None)
    assert done.diff is not None
    assert [change.path for change in done.diff.added] == [b"new"]
    assert [change.path for change in done.diff.removed] == [b"a/one"]
    assert {(change.old_path, change.path) for change in done.diff.renamed} >= {(b"a/b/two", b"c/two")}
    head = next(runner.repo.log("main", 1))
    assert (head.to, head.message) == (done.ca_id, "why")
    assert names(runner.repo) == []


def test_both_places_give_the_same_tree(repo: Repo, runner: Runner, tmp_path: Path) -> None:
    code = (
        "import os, shutil; os.mkdir('d', 0o700); os.mkdir('d/e'); os.symlink('../top', 'd/l'); os.chmod('a', 0o750);"
        "shutil.rmtree('a/b'); open('a/b', 'w').write('now a file'); os.remove('top'); os.mkdir('top');"
        "open('top/below', 'w').write('x'); open('a/one', 'a').write('more'); os.chmod('a/one', 0o600)"
    )
    done = runner(code)
    model = tmp_path / "model"
    repo.pull("main@1", str(model))
    subprocess.run([sys.executable, "-c", code], cwd=model, check=True)
    assert done.ca_id == repo.push(str(model), detach=True).ca_id


def test_nothing_was_changed(runner: Runner) -> None:
    done = runner("pass")
    assert (done.status, done.exit_status, done.session) == ("unchanged", 0, None)
    assert runner.repo.labels.require("main").generation == 1
    assert names(runner.repo) == []


@pytest.mark.parametrize("code", ["pass", "open('top', 'w').write('top')"])
def test_nothing_was_changed_and_the_label_moved(code: str, runner: Runner, tmp_path: Path) -> None:
    done = runner(_moving(runner.repo, tmp_path, "elsewhere") + code)
    assert (done.status, done.exit_status, done.ca_id) == ("unchanged", 0, done.base)
    assert done.diff is not None
    assert done.diff.empty
    assert names(runner.repo) == []


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_failure_is_kept_with_all_that_was_written(code: str, status: int, runner: Runner) -> None:
    done = runner(f"{WRITE}; open('new').close(); {code}")
    assert (done.status, done.exit_status) == ("kept", status)
    assert done.session is not None
    assert session_status(runner.repo, done.session).counts == {"added": 1}
    assert runner.repo.labels.require("main").generation == 1
    assert push_session(runner.repo, done.session).push.ca_id == done.ca_id
    assert runner.text("main:new") == "new"


def test_a_failure_is_dropped(runner: Runner) -> None:
    done = runner(f"{WRITE}; raise SystemExit(3)", on_failure="drop")
    assert (done.status, done.exit_status, done.session) == ("dropped", 3, None)
    assert names(runner.repo) == []


@IN_A_COPY
def test_a_success_is_kept(runner: Runner) -> None:
    done = runner(WRITE, on_success="keep", name="mine", ttl="2d")
    assert (done.status, done.exit_status, done.session) == ("kept", 0, "mine")
    (info,) = list_sessions(runner.repo)
    assert (info.state, info.label, info.generation) == ("idle", "main", 1)
    assert info.until is not None
    with pytest.raises(StateError, match="there is a session mine already"):
        runner(WRITE, name="mine")


def _moving(repo: Repo, tmp_path: Path, name: str) -> str:
    """Code that pushes another change to main while the command runs."""
    other = tmp_path / "other"
    repo.pull("main", str(other))
    (other / name).write_text("theirs")
    repo.push(str(other), detach=True)
    go, gone = tmp_path / "go", tmp_path / "gone"

    def push() -> None:
        while not go.exists():
            time.sleep(0.01)
        repo.push(str(other))
        gone.touch()

    threading.Thread(target=push).start()
    return (
        f"import os, time; open({str(go)!r}, 'w').close()\nwhile not os.path.exists({str(gone)!r}): time.sleep(0.01)\n"
    )


def test_the_label_moved(runner: Runner, tmp_path: Path) -> None:
    done = runner(_moving(runner.repo, tmp_path, "theirs") + WRITE)
    assert (done.status, done.exit_status) == ("rejected", 6)
    assert done.error is not None
    assert done.error.next == f"jvs fs push --session {done.session} --merge (or --force, to replace what is there)"
    assert done.session is not None
    assert push_session(runner.repo, done.session, merge=True).push.status == "advanced"
    assert (runner.text("main:new"), runner.text("main:theirs")) == ("new", "theirs")


def test_the_label_moved_and_it_is_merged(runner: Runner, tmp_path: Path) -> None:
    done = runner(_moving(runner.repo, tmp_path, "theirs") + WRITE, on_success="merge")
    assert (done.status, done.exit_status, done.generation, done.session) == ("merged", 0, 3, None)
    assert done.diff is not None
    assert [change.path for change in done.diff.added] == [b"new"]  # what the label's move changed
    assert (runner.text("main:new"), runner.text("main:theirs")) == ("new", "theirs")


def test_the_label_moved_and_there_is_a_conflict(runner: Runner, tmp_path: Path) -> None:
    done = runner(_moving(runner.repo, tmp_path, "new") + WRITE, on_success="merge")
    assert (done.status, done.exit_status) == ("conflict", 7)
    assert done.error is not None
    assert (done.error.details["paths"], done.error.details["count"]) == (["new"], 1)
    assert done.session is not None
    assert session_status(runner.repo, done.session).counts == {"added": 1}
    assert runner.text("main:new") == "theirs"


@IN_A_COPY
def test_from_another_revision(runner: Runner) -> None:
    runner(WRITE)
    done = runner("open('other', 'w').write('x')", revision="main@1", label="exp")
    assert (done.status, done.label, done.generation) == ("pushed", "exp", 1)
    with pytest.raises(UnknownError):
        runner.text("exp:new")
    back = runner("open('back', 'w').write('x')", revision="main@1")  # replaces what main is
    assert (back.status, back.label, back.generation) == ("pushed", "main", 3)
    merged = runner("open('third', 'w').write('x')", revision="exp", on_success="merge")
    assert (merged.status, merged.generation) == ("merged", 4)
    assert [runner.text(f"main:{name}") for name in ("back", "other", "third")] == ["x", "x", "x"]


@IN_A_COPY
def test_an_unknown_label_is_no_empty_tree(runner: Runner) -> None:
    with pytest.raises(UnknownError, match="nowhere"):
        runner(WRITE, label="nowhere")
    assert names(runner.repo) == []


@pytest.mark.parametrize(("words", "status"), [(("jvs-no-such-program",), 127), (("./top",), 126), (("x\0y",), 126)])
def test_what_cannot_be_run(words: tuple[str, ...], status: int, runner: Runner) -> None:
    done = runner("", command=words)
    assert (done.status, done.exit_status, done.session) == ("dropped", status, None)
    assert names(runner.repo) == []


def test_the_command_knows_where_it_is(runner: Runner) -> None:
    done = runner(
        "import json, os; json.dump([os.getcwd(), os.environ.get('PWD'), sorted(k for k in os.environ if 'JVS' in k),"
        "os.environ['JVS_SESSION'], os.environ['JVS_LABEL'], os.environ['JVS_STORE']], open('seen', 'w'))"
    )
    assert done.status == "pushed"
    where, pwd, given, session, label, store = json.loads(runner.text("main:seen"))
    assert where == pwd
    assert where.startswith(os.path.realpath(runner.around.scratch))
    assert given == ["JVS_LABEL", "JVS_SESSION", "JVS_STORE"]
    assert (session, label, store) == ("main-1", "main", runner.repo.store.path)


def test_a_timeout_keeps_the_session(runner: Runner) -> None:
    done = runner(f"import time; {WRITE}; time.sleep(60)", timeout=1.0)
    assert (done.status, done.exit_status) == ("kept", 124)
    assert done.session is not None
    assert session_status(runner.repo, done.session).counts == {"added": 1}


def test_a_signal_is_forwarded_and_the_session_kept_whatever_the_command_says(runner: Runner, tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def forward() -> None:
        while not ready.exists():
            time.sleep(0.01)
        assert runner.around.interrupts.forward(signal.SIGTERM)

    thread = threading.Thread(target=forward)
    thread.start()
    done = runner(
        f"import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {WRITE};"
        f"open({str(ready)!r}, 'w').close(); time.sleep(60)",
        on_failure="drop",
    )
    thread.join()
    assert (done.status, done.exit_status) == ("kept", 128 + signal.SIGTERM)
    assert done.session is not None
    assert session_status(runner.repo, done.session).total == 1


@IN_A_COPY
def test_a_signal_before_the_command_begins(runner: Runner) -> None:
    with runner.around.interrupts.noted():
        assert runner.around.interrupts.forward(signal.SIGINT)
        assert not runner.around.interrupts.forward(signal.SIGINT)  # the second one is the caller's own affair
    with pytest.raises(JvsError, match="interrupted"):
        runner(WRITE)
    assert names(runner.repo) == []
    assert not Interrupts().forward(signal.SIGINT)


def test_what_the_command_left_running_is_ended(runner: Runner, said: list[str]) -> None:
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "open('pid', 'w').write(str(child.pid))"
    )
    assert runner(code).status == "pushed"
    assert "ended what the command had left running" in said
    with pytest.raises(ProcessLookupError):
        _gone(int(runner.text("main:pid")))


def _gone(pid: int) -> None:
    """Raises ProcessLookupError once it is gone, or nobody has had a look at it since it ended."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "Z":
                raise ProcessLookupError
        time.sleep(0.02)


@pytest.mark.parametrize("runner", ["mounted"], indirect=True)  # nothing says who uses a copy
def test_a_daemon_that_keeps_the_mount_busy_loses_nothing(runner: Runner, said: list[str], tmp_path: Path) -> None:
    go, gone = tmp_path / "go", tmp_path / "gone"
    daemon = (
        "import os, time\nfile = open('late', 'w')\nfile.write('early'); file.flush();"
        f"open({str(tmp_path / 'up')!r}, 'w')"
        f"\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        f"file.write(' and late'); file.close(); os.chdir('/'); open({str(gone)!r}, 'w')"
    )
    done = runner(
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {daemon!r}], start_new_session=True)\n"
        f"while not os.path.exists({str(tmp_path / 'up')!r}): time.sleep(0.01)"
    )
    assert (done.status, done.exit_status) == ("pushed", 0)
    assert any("processes still work in" in line for line in said)
    assert done.session is not None
    assert runner.text("main:late") == "early"
    go.touch()
    deadline = time.monotonic() + 20
    while list_sessions(runner.repo)[0].state != "idle" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone.exists()
    push_session(runner.repo, done.session)
    assert runner.text("main:late") == "early and late"


@pytest.mark.parametrize("runner", ["mounted"], indirect=True)
@pytest.mark.parametrize("wrote", [True, False])
def test_a_mount_that_dies_under_the_command(wrote: bool, runner: Runner, tmp_path: Path) -> None:
    up, dead = tmp_path / "up", tmp_path / "dead"

    def kill() -> None:
        while not up.exists():
            time.sleep(0.01)
        (info,) = list_sessions(runner.repo)
        assert info.pid is not None
        os.kill(info.pid, signal.SIGKILL)
        dead.touch()

    thread = threading.Thread(target=kill)
    thread.start()
    done = runner(
        f"import os, time\nif {wrote}:\n with open('new', 'w') as f: f.write('new'); f.flush(); os.fsync(f.fileno())\n"
        "os.stat('.')\n"
        f"open({str(up)!r}, 'w').close()\nwhile not os.path.exists({str(dead)!r}): time.sleep(0.01)\n"
        "time.sleep(0.1); raise SystemExit(0)"  # it writes no more, so it does not notice
    )
    thread.join()
    assert (done.status, done.exit_status, done.where) == ("failed", 1, None)
    assert done.session is not None
    assert runner.repo.labels.require("main").generation == 1
    assert session_status(runner.repo, done.session).counts == ({"added": 1} if wrote else {})


def test_without_fuse_it_runs_in_a_copy_and_says_why(
    repo: Repo, around: Surroundings, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jvs.overlay.fuse import mounting

    monkeypatch.setattr(mounting, "_HELPER", "no-such-helper")
    done = run(repo, RunOptions(("touch", "new"), "main"), around)
    assert done.status == "pushed"
    (line,) = said
    assert line.startswith("running in a checked-out copy, ")
    assert "no-such-helper" in line


def test_a_copy_that_cannot_be_taken_in_stays_where_it_is(
    repo: Repo, around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: CheckedOut) -> bool:
        self._session.close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CheckedOut, "leave", full)
    done = run(repo, RunOptions(("touch", "new"), "main", checkout=True), around)
    assert (done.status, done.exit_status) == ("failed", 1)
    assert done.where is not None
    assert os.path.exists(os.path.join(done.where, "new"))
    assert repo.push(done.where).generation == 2  # it remembers its label
    assert done.session is not None
    drop_session(repo, done.session)


@pytest.mark.parametrize("then", ["", "mkdir $p.elsewhere; ln -s $p.elsewhere $p", "echo x > $p"])
def test_a_copy_that_the_command_removed_is_not_pushed(then: str, repo: Repo, around: Surroundings) -> None:
    code = f"p=$PWD; cd /; rm -r $p; {then}"
    done = run(repo, RunOptions(("sh", "-c", code), "main", checkout=True), around)
    assert (done.status, done.exit_status, done.where) == ("failed", 1, None)
    assert repo.labels.require("main").generation == 1
    assert done.session is not None
    drop_session(repo, done.session)  # nothing was changed in it


def test_a_copy_leaves_out_what_a_push_does(repo: Repo, around: Surroundings) -> None:
    code = "mkfifo pipe; printf 'ignored\\n' > .jvsignore; echo x > ignored; mkdir -p ro/d; chmod 500 ro"
    done = run(repo, RunOptions(("sh", "-c", code), "main", checkout=True), around)
    assert done.status == "pushed"
    assert [line.partition(" ")[0] for line in done.skipped] == ["pipe"]
    assert {item.path for item in repo.tree("main").entries} == {
        *(b".jvsignore", b"a", b"a/b", b"a/b/three", b"a/b/two", b"a/one", b"ro", b"ro/d", b"top")
    }
    assert os.listdir(around.scratch) == []


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(()),
        RunOptions(("true",)),
        RunOptions(("true",), revision="main"),
        RunOptions(("true",), "main", message="x" * 5000),
        RunOptions(("true",), "../main"),
    ],
)
def test_what_cannot_be_meant(options: RunOptions, repo: Repo, around: Surroundings) -> None:
    with pytest.raises(UsageError):
        run(repo, options, around)
    assert names(repo) == []


@IN_A_COPY
def test_a_snapshot_without_a_label_can_be_kept(runner: Runner) -> None:
    done = runner(WRITE, label=None, revision="main", on_success="keep")
    assert (done.status, done.exit_status, done.session) == ("kept", 0, "main-1")
