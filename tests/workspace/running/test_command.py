"""A command in a process group of its own: how it ends, and what of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from jvs.errors import JvsError, UsageError
from jvs.workspace.running import command
from jvs.workspace.running.command import Interrupts, run_command
from jvs.workspace.running.options import parse_timeout
from jvs.workspace.running.results import Ended
from jvs.workspace.running.scoring import last_number

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def sh(text: str, where: Path, timeout: float | None = None, interrupts: Interrupts | None = None) -> Ended:
    return run_command(["sh", "-c", text], str(where), ENVIRONMENT, interrupts or Interrupts(), timeout=timeout)


@pytest.mark.parametrize(
    ("text", "how", "status"),
    [("exit 0", "exited", 0), ("exit 7", "exited", 7), ("kill -9 $$", "signalled", 137), ("exit 255", "exited", 255)],
)
def test_how_it_ends(text: str, how: str, status: int, tmp_path: Path) -> None:
    assert sh(text, tmp_path)[:2] == (how, status)


def test_the_program_is_looked_up_in_the_path_it_is_given(tmp_path: Path) -> None:
    program = tmp_path / "prog"
    program.write_text("#!/bin/sh\nexit 5\n")
    found = {"PATH": str(tmp_path)}
    assert run_command(["prog"], "/", found, Interrupts()).status == 126
    program.chmod(0o755)
    assert run_command(["prog"], "/", found, Interrupts()).status == 5
    assert run_command(["./prog"], str(tmp_path), {}, Interrupts()).status == 5  # below where it runs
    assert run_command(["prog"], "/", {"PATH": "/nowhere"}, Interrupts()).status == 127
    program.write_text("no interpreter\n")
    assert run_command(["prog"], "/", found, Interrupts()).status == 126


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (Ended("exited", 3), "exit status 3"),
        (Ended("signalled", 137), "ended by SIGKILL"),
        (Ended("signalled", 128 + 40), "ended by signal 40"),  # of real time: it has no name
        (Ended("timed-out", 124), "timed out"),
        (
            Ended("not-runnable", 127, "nosuch: No such file or directory"),
            "cannot run nosuch: No such file or directory",
        ),
    ],
)
def test_how_it_ended_in_words(ended: Ended, says: str) -> None:
    assert ended.in_words == says


def test_what_cannot_be_run_is_named(tmp_path: Path) -> None:
    assert run_command(["./nosuch"], str(tmp_path), {}, Interrupts()).reason == "./nosuch: No such file or directory"


def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = sh("trap 'echo bye > bye' TERM; sleep 60 & wait; exit 0", tmp_path, timeout=0.2)
    assert ended[:2] == ("timed-out", 124)
    assert (tmp_path / "bye").read_text() == "bye\n"  # it had the time to tidy up
    assert time.monotonic() - began < 30


def test_what_ignores_to_be_told_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "GRACE", 0.2)
    ended = sh("trap '' TERM; sleep 60; sleep 60", tmp_path, timeout=0.2)
    assert ended[:2] == ("timed-out", 124)


def test_what_is_stopped_is_ended_too(tmp_path: Path) -> None:
    assert sh("kill -STOP $$; exit 0", tmp_path, timeout=0.2)[:2] == ("timed-out", 124)


def test_what_is_left_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sh("sleep 60 & exit 3", tmp_path) == Ended("exited", 3, left=True)
    monkeypatch.setattr(command, "GRACE", 0.2)
    assert sh("(trap '' TERM; echo > up; sleep 60; sleep 60) & while ! test -e up; do sleep 0.01; done", tmp_path).left
    assert not sh("true", tmp_path).left


def test_a_signal_is_forwarded_to_the_group_and_later_commands_are_not_started(tmp_path: Path) -> None:
    interrupts = Interrupts()

    def forward() -> None:
        while not (tmp_path / "up").exists():
            time.sleep(0.01)
        assert interrupts.forward(signal.SIGHUP)

    thread = threading.Thread(target=forward)
    thread.start()
    ended = sh("sleep 60 & echo > up; wait", tmp_path, interrupts=interrupts)
    thread.join()
    assert ended[:2] == ("interrupted", 128 + signal.SIGHUP)
    with pytest.raises(JvsError, match="interrupted"):
        sh("echo > started", tmp_path, interrupts=interrupts)
    assert not (tmp_path / "started").exists()


def test_a_signal_while_it_is_being_started_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupts = Interrupts()
    real = subprocess.Popen

    def start(*words: object, **given: object) -> object:
        process = real(*words, **given)  # type: ignore[call-overload]
        interrupts.forward(signal.SIGTERM)  # as a handler that runs now
        return process

    monkeypatch.setattr(subprocess, "Popen", start)
    ended = sh("sleep 60", tmp_path, interrupts=interrupts)
    assert ended[:2] == ("interrupted", 128 + signal.SIGTERM)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5", 1.5), ("10min", 600.0), ("1h30min", 5400.0), ("0", None), ("0.0", None)]
)
def test_timeouts(text: str, seconds: float | None) -> None:
    assert parse_timeout(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5m", "-1", "1e3", "nan", "inf", "1 s", "9" * 30])
def test_malformed_timeouts(text: str) -> None:
    with pytest.raises(UsageError):
        parse_timeout(text)


@pytest.mark.parametrize(
    ("output", "number"),
    [
        (b"0.5\n", 0.5),
        (b"noise\n1\n-2e3\n", -2000.0),
        (b" +7. \r\n\n", 7.0),
        (b".5", 0.5),
        (b"", None),
        (b"nan\n", None),
        (b"inf", None),
        (b"1e999", None),
        (b"1_0", None),
        (b"0x10", None),
        (b"score: 3\n", None),
        (b"3\nok\n", None),
        (b"\xff\xfe", None),
        ("\u0663".encode(), None),
    ],
)
def test_the_last_line_is_the_score(output: bytes, number: float | None) -> None:
    assert last_number(output) == number
