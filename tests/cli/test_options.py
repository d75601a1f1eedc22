"""Global options anywhere, help, version, and where data and talk go."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.cli.lazy import LazyGroup
from jvs.cli.main import cli
from jvs.cli.ui import Ui
from jvs.cli.version import VERSION
from jvs.errors import IntegrityError
from jvs.labels.model import Entry, LabelInfo
from tests.cli.conftest import FakeRepo, Run

ROOT = Path(__file__).resolve().parents[2]
DIGEST = bytes(range(32))


def info(name: str) -> LabelInfo:
    return LabelInfo(name, b"u" * 16, DIGEST, 3, DIGEST, 1_800_000_000_000, "why", None)


def entry(generation: int) -> Entry:
    return Entry(
        "main", b"u" * 16, generation, 1_800_000_000_000, None, DIGEST, "push", f"m{generation}", "ada@host", ("v1",),
        (), 1, {}, None, DIGEST, False,
    )  # fmt: skip


def test_the_version_is_that_of_the_distribution(jvs: Run) -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert jvs("--version").out == f"jvs {VERSION}\n"
    assert jvs("--version", "--json").value == {"version": VERSION}


@pytest.mark.parametrize("words", [["--json", "fs", "ls"], ["fs", "--json", "ls"], ["fs", "ls", "--json"]])
def test_json_is_accepted_before_and_after_the_verb(words: list[str], jvs: Run, repo: FakeRepo) -> None:
    repo.answers["list_labels"] = [info("main")]
    assert jvs(*words).value["labels"][0]["name"] == "main"


@pytest.mark.parametrize("words", [["-q", "fs", "ls"], ["fs", "-q", "ls"], ["fs", "ls", "--quiet"]])
def test_quiet_is_accepted_before_and_after_the_verb(words: list[str], jvs: Run, repo: FakeRepo) -> None:
    repo.answers["list_labels"] = [info("main"), info("other")]
    assert jvs(*words).out == "main\nother\n"


def test_json_has_two_spaces_and_a_list_is_streamed_in_the_same_shape(jvs: Run, repo: FakeRepo) -> None:
    import json

    repo.answers["list_labels"] = [info("main"), info("other")]
    out = jvs("fs", "ls", "--json").out
    assert out == json.dumps(json.loads(out), indent=2, ensure_ascii=False) + "\n"
    repo.answers["list_labels"] = []
    assert jvs("fs", "ls", "--json").out == '{\n  "labels": []\n}\n'
    repo.answers["log_oldest_first"] = iter([entry(1), entry(2)])
    out = jvs("fs", "log", "main", "--json").out
    assert out == json.dumps(json.loads(out), indent=2, ensure_ascii=False) + "\n"


def test_a_list_that_breaks_off_is_still_one_value_with_the_error_in_it(jvs: Run, repo: FakeRepo) -> None:
    def entries() -> Iterator[Entry]:
        yield entry(1)
        raise IntegrityError("entry 2 is damaged")

    repo.answers["log_oldest_first"] = entries()
    done = jvs("fs", "log", "main", "--json")
    assert done.status == 8
    assert [item["generation"] for item in done.value["log"]] == [1]
    assert done.error["message"] == "entry 2 is damaged"


def test_an_interrupt_in_a_list_completes_the_value(jvs: Run, repo: FakeRepo) -> None:
    def entries() -> Iterator[Entry]:
        yield entry(1)
        raise KeyboardInterrupt

    repo.answers["log_oldest_first"] = entries()
    done = jvs("fs", "log", "main", "--json")
    assert done.status == 130
    assert done.error["code"] == "interrupted"
    assert len(done.value["log"]) == 1


def test_a_failure_after_the_answer_adds_no_second_value(
    jvs: Run, repo: FakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*exc: object) -> None:
        raise IntegrityError("it does not close")

    monkeypatch.setattr(type(repo), "__exit__", leave)
    repo.answers["list_labels"] = [info("main")]
    done = jvs("fs", "ls", "--json")
    assert done.status == 8
    assert list(done.value) == ["labels"]
    assert done.err.startswith("error: it does not close")


def test_a_list_that_fails_at_once_is_an_error_object_alone(jvs: Run, repo: FakeRepo) -> None:
    def damaged(number: int) -> Entry:
        raise IntegrityError(f"entry {number} is damaged")

    repo.answers["log_oldest_first"] = map(damaged, [1])
    done = jvs("fs", "log", "main", "--json")
    assert done.status == 8
    assert set(done.value) == {"error"}


def all_verbs(group: LazyGroup, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command, groups included."""
    import click

    found = [words]
    for name in group.verbs:
        command = group.get_command(click.Context(group), name)
        below = (*words, name)
        found += all_verbs(command, below) if isinstance(command, LazyGroup) else [below]
    return found


@pytest.mark.parametrize("words", all_verbs(cli))
def test_every_command_has_help_with_examples(words: tuple[str, ...], jvs: Run) -> None:
    done = jvs(*words, "--help")
    assert done.status == 0
    assert done.err == ""
    assert done.out.startswith(f"Usage: {' '.join(('jvs', *words))}")
    assert "\nExamples:\n  " in done.out
    assert jvs(*words, "-h").out == done.out
    value = jvs(*words, "--help", "--json").value
    assert value["help"].split() == done.out.split()


def test_the_line_of_a_lazy_verb_names_a_command_that_exists() -> None:
    for words in all_verbs(cli):
        assert len(words) <= 3


@pytest.mark.parametrize("words", [[], ["fs"]])
def test_no_verb_is_help_on_stderr_and_a_usage_error(words: list[str], jvs: Run) -> None:
    done = jvs(*words)
    assert done.status == 2
    assert done.out == ""
    assert "Verbs:" in done.err
    assert jvs(*words, "--json").error["message"] == "missing command"


@pytest.mark.parametrize(
    ("environment", "who"),
    [
        ({"JVS_ACTOR": "agent-7", "USER": "ada"}, "agent-7"),
        ({"USER": "ada", "LOGNAME": "bob"}, "ada@"),
        ({"LOGNAME": "bob"}, "bob@"),
        ({}, "uid"),
    ],
)
def test_the_actor(environment: dict[str, str], who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JVS_ACTOR", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Ui.actor().startswith(who)


@pytest.mark.parametrize(
    ("environment", "options", "coloured"),
    [
        ({}, {}, True),
        ({"NO_COLOR": "1"}, {}, False),
        ({"NO_COLOR": ""}, {}, True),
        ({"TERM": "dumb"}, {}, False),
        ({}, {"no_color": True}, False),
    ],
)
def test_colours(
    environment: dict[str, str], options: dict[str, bool], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ui = Ui()
    for name, chosen in options.items():
        setattr(ui, name, chosen)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert (ui.paint("x", "red") == "\x1b[31mx\x1b[0m") is coloured
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert ui.paint("x", "red") == "x"


def test_the_screen_is_that_of_the_environment_or_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "nonsense")
    columns, lines = Ui.screen()
    assert columns == 120
    assert lines > 0


def test_help_ends_no_line_with_spaces(jvs: Run) -> None:
    shown = jvs("--help").out
    assert "jvs init" in shown
    assert [line for line in shown.splitlines() if line != line.rstrip()] == []
