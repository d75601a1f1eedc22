"""How failures reach people, programs and the shell: one line, one object, one exit status."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jvs.errors import CODES, AmbiguousError, JvsError, LabelMovedError, UnknownError, UnsavedChangesError
from tests.cli.conftest import FakeRepo, Run


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_its_exit_status_on_both_surfaces(code: str, jvs: Run, repo: FakeRepo) -> None:
    repo.answers["undo"] = JvsError("it went wrong", code=code)
    people = jvs("fs", "undo", "main")
    assert people.status == CODES[code].exit
    assert people.out == ""
    named = CODES[code].error_code
    assert people.err.splitlines()[0] == "error: it went wrong" + (f" ({named})" if named else "")
    program = jvs("fs", "undo", "main", "--json")
    assert program.status == CODES[code].exit
    assert program.err == ""
    assert program.error["code"] == code
    assert program.error["message"] == "it went wrong"
    assert program.error.get("error_code") == named
    assert set(program.error) - {"error_code"} == {"code", "message", "next", "details"}


def test_the_names_of_the_first_jvs_are_all_there() -> None:
    names = (
        "NAME_INVALID PATH_ESCAPE DESCRIPTOR_CORRUPT PAYLOAD_HASH_MISMATCH LINEAGE_BROKEN PARTIAL_SNAPSHOT "
        "GC_PLAN_MISMATCH FORMAT_UNSUPPORTED AUDIT_CHAIN_BROKEN NOT_REPO REPO_BUSY "
        "LOCK_CONFLICT LOCK_NOT_HELD LOCK_EXPIRED FENCING_MISMATCH"
    )
    known = {info.error_code for info in CODES.values()}
    assert {f"E_{name}" for name in names.split()} <= known


def test_the_next_step_follows_and_names_the_label(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["undo"] = LabelMovedError("main moved", label="main", current=None, current_generation=3)
    assert jvs("fs", "undo", "main").err == "error: main moved\nnext: jvs fs log main\n"
    error = jvs("fs", "undo", "main", "--json").error
    assert error["next"] == "jvs fs log main"
    assert error["details"] == {"label": "main", "current": None, "current_generation": 3}


def test_a_step_that_the_failure_gives_itself_is_left_as_it_is(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["undo"] = UnknownError("no LABEL", next="ask LABEL", label="main")
    assert jvs("fs", "undo", "main").err == "error: no LABEL\nnext: ask LABEL\n"


def test_the_paths_of_a_refusal_are_listed_and_escaped(jvs: Run, repo: FakeRepo) -> None:
    paths = [f"f{number}" for number in range(19)] + ["bad\nname"]
    repo.answers["pull"] = UnsavedChangesError("unsaved changes in d", paths=paths, count=25)
    lines = jvs("fs", "pull", "main@{1}", "a dir").err.splitlines()
    assert lines[0] == "error: unsaved changes in d"
    assert lines[1] == "  f0"
    assert lines[20:] == [
        "  bad\\nname",
        "  ... and 5 more",
        "next: jvs fs pull 'main@{1}' 'a dir' --autosave (or --discard)",
    ]


def test_what_matches_an_ambiguous_operand_is_listed(jvs: Run, repo: FakeRepo) -> None:
    matches = [
        {"kind": "entry", "id": "1234567890ab", "label": "main", "generation": 3},
        {"kind": "snapshot", "id": "12345678cdef", "label": None, "generation": None},
    ]
    repo.answers["pull"] = AmbiguousError("12345678 is ambiguous", matches=matches)
    done = jvs("fs", "pull", "12345678")
    assert done.status == 2
    lines = ["error: 12345678 is ambiguous", "  entry 1234567890ab  main@3", "  snapshot 12345678cdef"]
    assert done.err.splitlines() == [*lines, "next: type more digits of the id"]


def test_a_failure_without_a_next_step_leads_to_the_help_of_its_verb(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["rename_label"] = JvsError("that name is in use", code="already-exists")
    assert jvs("fs", "label", "--rename", "a", "b").err.endswith("next: jvs fs label --help\n")


def test_a_message_with_control_characters_is_one_harmless_line(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["undo"] = UnknownError("no such label: a\nb\x1b[2J")
    assert jvs("fs", "undo", "x").err.splitlines()[0] == "error: no such label: a\\nb\\x1b[2J"


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no-space", 1),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no-space", 1),
        (OSError(errno.EROFS, "Read-only file system"), "read-only", 1),
        (PermissionError(errno.EACCES, "Permission denied", "/d/f"), "io-error", 1),
        (KeyboardInterrupt(), "interrupted", 130),
        (ZeroDivisionError("division by zero"), "internal", 1),
        (MemoryError(), "internal", 1),
    ],
)
def test_foreign_failures_are_reported_in_our_terms(
    raised: BaseException, code: str, status: int, jvs: Run, repo: FakeRepo
) -> None:
    repo.answers["undo"] = raised
    done = jvs("fs", "undo", "main", "--json")
    assert done.status == status
    assert done.error["code"] == code
    people = jvs("fs", "undo", "main")
    assert people.status == status
    assert people.err.startswith("error: ")
    assert "Traceback" not in people.err


def test_a_system_error_names_the_file(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["undo"] = PermissionError(errno.EACCES, "Permission denied", "/d/f")
    assert jvs("fs", "undo", "main").err.splitlines()[0] == "error: /d/f: Permission denied"


def test_debug_shows_where_it_came_from_and_keeps_stdout_clean(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["undo"] = ZeroDivisionError("division by zero")
    done = jvs("fs", "undo", "main", "--json", "--debug")
    assert "Traceback" in done.err
    assert done.error["message"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("words", "message", "step"),
    [
        (["fs", "pull"], "missing argument 'REV'", "jvs fs pull --help"),
        (["fs", "push", "d", "--labl", "x"], "no such option '--labl'", "jvs fs push --help"),
        (["fs", "pusj"], "no such command 'pusj'. Did you mean 'push'?", "jvs fs --help"),
        (["fss"], "no such command 'fss'. Did you mean 'fs'?", "jvs --help"),
        (["fs", "log", "main", "-n", "many"], "invalid value for '-n' / '--limit'", "jvs fs log --help"),
        (["fs", "log", "main", "-n", "-1"], "invalid value for '-n' / '--limit'", "jvs fs log --help"),
        (["fs", "ls", "a", "b"], "got unexpected extra argument (b)", "jvs fs ls --help"),
        (["fs", "push"], "a push takes one SOURCE, or --rev REV", "jvs fs push --help"),
        (["fs", "push", "d", "--rev", "main"], "a push takes one SOURCE, or --rev REV", "jvs fs push --help"),
        (["fs", "pull", "m", "d", "--autosave", "--discard"], "--autosave and --discard exclude", "jvs fs pull --help"),
        (["fs", "diff", "a", "--stat", "--patch"], "--stat and --patch exclude", "jvs fs diff --help"),
        (["fs", "label"], "give NAME REV, or one of", "jvs fs label --help"),
        (["fs", "label", "x"], "give NAME REV, or one of", "jvs fs label --help"),
        (["fs", "label", "x", "y", "--delete", "z"], "give NAME REV, or one of", "jvs fs label --help"),
        (["fs", "label", "x", "y", "--dry-run"], "--dry-run goes with --delete", "jvs fs label --help"),
        (["fs", "verify", "main", "--all"], "give REV or --all", "jvs fs verify --help"),
        (["fs", "tag"], "missing option '--delete'", "jvs fs tag --help"),
        (["fs", "cat", "m:f", "--range", "9-3"], "not a range of bytes: 9-3", "write 0-99"),
        (["fs", "cat", "m:f", "--range", "-"], "not a range of bytes: -", "write 0-99"),
        (["fs", "cat", "m:f", "--range", "5"], "not a range of bytes: 5", "write 0-99"),
        (["fs", "cat", "m:f", "--range", "0x1-2"], "not a range of bytes: 0x1-2", "write 0-99"),
        (["fs", "init", "--chunk", "1:2"], "not MIN:AVG:MAX: 1:2", "write for instance"),
        (["fs", "init", "--chunk", "1K:x:4K"], "not MIN:AVG:MAX: 1K:x:4K", "write for instance"),
        (["fs", "stats", "--by", "size"], "invalid value for '--by'", "jvs fs stats --help"),
    ],
)
def test_usage_errors(words: list[str], message: str, step: str, jvs: Run) -> None:
    people = jvs(*words)
    assert people.status == 2
    assert people.out == ""
    lines = people.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"error: {message}")
    assert lines[1].startswith(f"next: {step}")
    program = jvs("--json", *words)
    assert program.status == 2
    assert program.error["message"].startswith(message)
    assert program.err == ""
    assert jvs(*words, "--json") == program


def test_a_command_line_that_cannot_be_read_at_all_is_still_answered_in_json(jvs: Run) -> None:
    done = jvs("fs", "push", "--bogus", "--json")
    assert done.status == 2
    assert done.error["code"] == "usage"


def test_json_after_two_dashes_is_an_operand(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["undo"] = UnknownError("no such label: --json")
    assert jvs("fs", "undo", "--", "--json").err.startswith("error: no such label: --json")


def test_json_as_a_message_is_a_message(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["undo"] = UnknownError("no such label")
    assert jvs("fs", "undo", "x", "-m", "--json").err.startswith("error: no such label")
    assert repo.calls == [("undo", ("x", "--json"), {})]


def test_a_directory_that_is_gone_is_named(jvs: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    os.rmdir(gone)
    done = jvs("fs", "ls")
    assert done.status == 1
    assert done.err == "error: the current directory no longer exists\nnext: cd to one that does\n"
