"""What a shell is offered."""

from __future__ import annotations

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


def test_nothing_where_there_is_no_store(jvs: Run, repo: FakeRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.answers["list_labels"] = NoStoreError("no store")
    assert offered(jvs, monkeypatch, "jvs fs log ") == []
