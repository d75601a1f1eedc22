"""What a shell is offered."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvs.errors import NoStoreError
from tests.cli.conftest import FakeRepo, Run
from tests.cli.test_options import info


def offered(jvs: Run, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What bash is offered for the last word of a command line."""
    words = line.split(" ")
    monkeypatch.setenv("_JVS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    done = jvs()
    assert done.status == 0
    return [answer.removeprefix("plain,") for answer in done.out.split()]


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("jvs f", ["fs"]),
        ("jvs fs l", ["ls", "label", "log"]),
        ("jvs fs log ", ["exp/1", "main"]),
        ("jvs fs push d --label m", ["main"]),
        ("jvs fs reset main e", ["exp/1"]),
    ],
)
def test_verbs_and_labels(
    line: str, answers: list[str], jvs: Run, repo: FakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.answers["list_labels"] = [info("exp/1"), info("main")]
    assert offered(jvs, monkeypatch, line) == answers


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("jvs fs push d", ["dir,d"]),
        ("jvs fs pull main d", ["dir,d"]),
        ("jvs fs diff main e", ["exp/1"]),
        ("jvs fs diff main ./e", ["dir,./e"]),
        ("jvs fs mount m", ["main"]),
        ("jvs fs mount main m", ["dir,m"]),
        ("jvs fs mount --session s m", ["dir,m"]),
        ("jvs fs mount --all m", ["dir,m"]),
        ("jvs fs unmount m", ["dir,m"]),
        ("jvs run --label main -- ./a", ["file,./a"]),
        ("jvs run --label main -- ./agent.py ./a", ["file,./a"]),
    ],
)
def test_directories_and_files_are_left_to_the_shell(
    line: str, answers: list[str], jvs: Run, repo: FakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.answers["list_labels"] = [info("exp/1"), info("main")]
    assert offered(jvs, monkeypatch, line) == answers


@pytest.mark.parametrize("verb", ["push --session", "mount --session", "unmount --session", "status", "drop"])
def test_sessions(verb: str, jvs: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JVS_STORE", str(tmp_path / "store"))
    assert jvs("fs", "init", str(tmp_path / "store")).status == 0
    for name in ("try-1", "work"):
        (tmp_path / "store" / "sessions" / name).mkdir(parents=True)
    assert offered(jvs, monkeypatch, f"jvs fs {verb} t") == ["try-1"]


def test_nothing_where_there_is_no_store(jvs: Run, repo: FakeRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.answers["list_labels"] = NoStoreError("no store")
    assert offered(jvs, monkeypatch, "jvs fs log ") == []
