"""`jvs run` as a process: whose the streams are, exit statuses, signals, and what is there when it was killed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.conftest import Jvs

PATIENCE = 60.0
IN_A_COPY = pytest.mark.parametrize("place", ["checked out"], indirect=True)
"""For what is the same wherever the command runs: a copy is made sooner."""


def mounts_possible() -> bool:
    """Whether FUSE is there."""
    return sys.platform == "linux" and os.path.exists("/dev/fuse") and shutil.which("fusermount3") is not None


@pytest.fixture(params=["mounted", "checked out"])
def place(request: pytest.FixtureRequest, pushed: Jvs) -> Iterator[list[str]]:
    """The options that have commands run in a mount, or in a copy; the scratch directory is empty afterwards."""
    if request.param == "mounted" and not mounts_possible():
        pytest.skip("needs FUSE: /dev/fuse and fusermount3")
    scratch = pushed.where / "scratch"
    scratch.mkdir()
    pushed.environment["TMPDIR"] = str(scratch)
    yield [] if request.param == "mounted" else ["--checkout"]
    assert os.listdir(scratch) == []


def started(jvs: Jvs, *words: str, **given: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", jvs.code, "run", "--label", "main", *words],
        cwd=jvs.where,
        env=jvs.environment,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given},
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run(jvs: Jvs, *words: str) -> tuple[int, str, str]:
    done = jvs("run", "--label", "main", *words)
    return done.status, done.out, done.err


def sessions(jvs: Jvs) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = jvs.json("fs", "sessions")["sessions"]
    return found


def test_the_streams_are_the_commands(pushed: Jvs, place: list[str]) -> None:
    process = started(pushed, *place, "--", "sh", "-c", "cat; echo err >&2; rm settings.toml", stdin=subprocess.PIPE)
    out, err = process.communicate(b"through", timeout=PATIENCE)
    assert process.returncode == 0
    assert out == b"through"
    lines = err.decode().splitlines()
    assert "err" in lines
    assert any(line.startswith("pushed main@3 ") and "1 removed" in line for line in lines)
    assert "D  settings.toml" in lines
    assert lines[-1] == "undo: jvs fs undo main"
    pushed("fs", "undo", "main").ok()
    assert pushed("fs", "cat", "main:settings.toml").ok().out == "rate = 0.25\n"


@IN_A_COPY
def test_quiet_says_nothing(pushed: Jvs, place: list[str]) -> None:
    assert run(pushed, *place, "-q", "--", "touch", "new") == (0, "", "")


@IN_A_COPY
def test_the_words_after_the_command_are_its_own(pushed: Jvs, place: list[str]) -> None:
    for dashes in (["--"], []):
        done = run(pushed, *place, *dashes, "printf", "%s\n", "--json", "-q", "--", "-m")
        assert done[:2] == (0, "--json\n-q\n--\n-m\n")


def test_a_failure_is_the_commands_and_the_session_goes_on(pushed: Jvs, place: list[str]) -> None:
    status, out, err = run(pushed, *place, "--as", "mine", "--", "sh", "-c", "echo x > new; exit 3")
    assert (status, out) == (3, "")
    assert "kept mine" in err
    assert "exit status 3" in err
    assert "jvs fs push --session mine" in err
    (info,) = sessions(pushed)
    assert (info["name"], info["state"], info["label"]) == ("mine", "idle", "main")
    assert pushed.json("fs", "status", "mine")["counts"] == {"added": 1}
    pushed("fs", "push", "--session", "mine").ok()
    assert pushed("fs", "cat", "main:new").ok().out == "x\n"


def test_jvs_works_inside(pushed: Jvs, place: list[str]) -> None:
    status, out, _ = run(pushed, *place, "--", sys.executable, "-c", pushed.code, "fs", "log", "main", "-q")
    assert status == 0
    assert out == pushed("fs", "log", "main", "-q").ok().out


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--", "sh", "-c", "kill -TERM $$"], 143),
        (["--timeout", "0.3", "--", "sleep", "60"], 124),
        (["--", "no-such-program"], 127),
        (["--", "./settings.toml"], 126),
        (["--", "sh", "-c", "exit 125"], 125),
    ],
)
def test_exit_statuses(words: list[str], status: int, pushed: Jvs) -> None:
    assert run(pushed, "--checkout", "--on-failure", "drop", *words)[0] == status
    assert sessions(pushed) == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--label", "nowhere", "--", "true"], "unknown-label", "nowhere"),
        (["--label", "main"], "usage", "no command"),
        (["--", "true"], "usage", "what is the command to run on"),
        (["--label", "main", "--on-success", "drop", "--", "true"], "usage", "drop"),
        (["--label", "main", "--bogus", "--", "true"], "usage", "--bogus"),
        (["--label", "main", "--timeout", "5m", "--", "true"], "bad-duration", "5m"),
        (["--label", "main", "--as", "a/b", "--", "true"], "bad-name", "a/b"),
        (["--label", "main", "--ttl", "soon", "--", "true"], "bad-duration", "soon"),
        (["--label", "main", "--jobs", "2", "--", "true"], "usage", "--jobs"),
        (["--label", "main", "--parallel", "0", "--", "true"], "usage", "attempts"),
        (["--label", "main", "--parallel", "2", "--score", "'", "--", "true"], "usage", "--score"),
        (["--label", "main", "--store", "/nowhere", "--", "true"], "no-store", "/nowhere"),
    ],
)
def test_jvs_failed_before_the_command_began(words: list[str], code: str, says: str, shared: Jvs) -> None:
    people = shared("run", *words)
    assert (people.status, people.out) == (125, "")
    lines = people.err.splitlines()
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert lines[-1].startswith("next: ")
    program = shared("run", "--json", *words)
    assert program.status == 125
    assert program.value["error"]["code"] == code


def test_no_session_is_left_by_what_did_not_begin(pushed: Jvs) -> None:
    assert run(pushed, "--ttl", "soon", "--", "true")[0] == 125
    assert run(pushed, "--store", "/nowhere", "--", "true")[0] == 125
    assert sessions(pushed) == []


@IN_A_COPY
def test_the_result_as_json(pushed: Jvs, place: list[str]) -> None:
    done = pushed("run", "--json", "--label", "main", *place, "--", "sh", "-c", "echo theirs; echo x > new")
    assert done.status == 0
    value = done.value  # nothing but that on stdout
    assert "theirs" in done.err
    assert {name: value[name] for name in ("status", "exit", "ended", "label", "generation", "session")} == {
        "status": "pushed",
        "exit": 0,
        "ended": "exited",
        "label": "main",
        "generation": 3,
        "session": None,
    }
    assert value["ca_id"] == pushed.json("fs", "log", "main")["log"][-1]["to"]
    assert [change["path"] for change in value["diff"]["added"]] == ["new"]
    assert value["diff"]["total_added"] == 1


@IN_A_COPY
def test_the_result_in_a_file(pushed: Jvs, place: list[str]) -> None:
    file = pushed.where / "result.json"
    assert run(pushed, *place, "--result", "result.json", "--", "sh", "-c", "exit 4")[0] == 4
    value = json.loads(file.read_text())
    assert (value["status"], value["exit"], value["session"], value["diff"]["total_added"]) == ("kept", 4, "main-1", 0)
    assert pushed("run", "--label", "nowhere", "--result", "result.json", "--", "true").status == 125
    value = json.loads(file.read_text())
    assert (value["status"], value["exit"], value["ended"]) == ("failed", 125, None)
    assert value["error"]["code"] == "unknown-label"
    assert run(pushed, *place, "--result", "no/such/place", "--", "touch", "never")[0] == 125
    assert pushed.json("fs", "ls")["labels"][0]["generation"] == 2


@IN_A_COPY
def test_the_label_moved(pushed: Jvs, place: list[str]) -> None:
    process = started(
        pushed, *place, "--", "sh", "-c", "echo > ../../up; while ! test -e ../../go; do sleep 0.02; done; echo > new"
    )
    # the scratch directory is two levels above the root of the tree
    scratch = Path(pushed.environment["TMPDIR"])
    wait_for((scratch / "up").exists)
    (pushed.where / "d" / "theirs").write_text("theirs")
    pushed("fs", "push", "d").ok()
    (scratch / "go").touch()
    _, err = process.communicate(timeout=PATIENCE)
    (scratch / "up").unlink()
    (scratch / "go").unlink()
    assert process.returncode == 6
    assert b"rejected (session main-1)" in err
    assert b"next: jvs fs push --session main-1 --merge" in err
    pushed("fs", "push", "--session", "main-1", "--merge").ok()
    assert {item["path"] for item in pushed.json("fs", "tree", "main")["entries"]} >= {"new", "theirs"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_goes_to_the_command_and_the_session_is_kept(number: int, pushed: Jvs, place: list[str]) -> None:
    up = pushed.where / "up"
    process = started(
        pushed, *place, "--on-failure", "drop", "--", "sh", "-c", f"echo > new; echo > {up}; sleep 60 & wait"
    )
    wait_for(up.exists)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert b"kept main-1" in err
    assert pushed.json("fs", "status", "main-1")["counts"] == {"added": 1}


def test_killed_in_a_copy(pushed: Jvs) -> None:
    scratch = pushed.where / "scratch"
    scratch.mkdir()
    pushed.environment["TMPDIR"] = str(scratch)
    up = pushed.where / "up"
    process = started(pushed, "--checkout", "--", "sh", "-c", f"echo x > new; echo $$ > {up}; sleep 60")
    wait_for(lambda: up.exists() and up.read_text().strip())
    process.kill()
    os.killpg(int(up.read_text()), signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    (where,) = scratch.glob("jvs-*/main-1")
    assert str(where) in err.decode()  # it was told when it began
    (info,) = sessions(pushed)
    assert (info["name"], info["state"]) == ("main-1", "idle")
    pushed("fs", "push", str(where)).ok()  # it knows its label
    assert pushed("fs", "cat", "main:new").ok().out == "x\n"
    pushed("fs", "drop", "main-1").ok()


def test_killed_with_a_mount(pushed: Jvs) -> None:
    if not mounts_possible():
        pytest.skip("needs FUSE: /dev/fuse and fusermount3")
    up, go = pushed.where / "up", pushed.where / "go"
    script = f"echo x > new; echo > {up}; while ! test -e {go}; do sleep 0.02; done; echo y >> new; echo > {up}2"
    process = started(pushed, "--", "sh", "-c", script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(up.exists)
    process.kill()
    process.wait()
    (info,) = sessions(pushed)
    assert (info["name"], info["state"]) == ("main-1", "mounted")
    try:
        go.touch()  # the command goes on
        wait_for(Path(f"{up}2").exists)
    finally:
        wait_for(lambda: pushed("fs", "unmount", info["mountpoint"]).status == 0)
    shutil.rmtree(Path(info["mountpoint"]).parent)
    pushed("fs", "push", "--session", "main-1").ok()
    assert pushed("fs", "cat", "main:new").ok().out == "x\ny\n"
    pushed("fs", "drop", "main-1").ok()


def test_the_best_of_several(pushed: Jvs, place: list[str]) -> None:
    script = "test $JVS_ATTEMPT != 3 || exit 9; echo $JVS_ATTEMPT > n"
    words = ["--parallel", "3", "--score", "sh -c 'cat n'", "--result", "r.json", *place, "--", "sh", "-c", script]
    status, _, err = run(pushed, *words)
    assert status == 0, err
    assert "attempt 2: exit status 0, score 2, the best" in err
    assert pushed("fs", "cat", "main:n").ok().out == "2\n"
    value = json.loads((pushed.where / "r.json").read_text())
    assert (value["best"], value["status"], value["exit"]) == (2, "pushed", 0)
    assert [one["exit"] for one in value["attempts"]] == [0, 0, 9]
    assert sorted(info["name"] for info in sessions(pushed)) == sorted(
        one["session"] for one in value["attempts"] if one["session"]
    )


def test_on_a_terminal_the_command_reads_from_it_and_ctrl_c_is_its_own(pushed: Jvs) -> None:
    """Whoever is in no group that has the terminal would be stopped for ever by reading from it."""
    script = "read line; echo got $line; trap 'echo caught; exit 0' INT; echo ready; while :; do sleep 0.05; done"
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover  # another program in no time
        os.chdir(pushed.where)
        words = ["run", "--label", "main", "--checkout", "--", "sh", "-c", script]
        os.execve(sys.executable, [sys.executable, "-c", pushed.code, *words], pushed.environment)
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + PATIENCE
        while text not in seen:
            assert time.monotonic() < deadline, seen
            with contextlib.suppress(OSError):  # it ended
                seen += os.read(terminal, 1000)

    os.write(terminal, b"hello\n")
    until(b"got hello")
    until(b"ready")
    os.write(terminal, b"\x03")
    until(b"caught")
    until(b"unchanged")  # it said 0, so this is a success like any other
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
