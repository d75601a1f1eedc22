"""Bad input: a one-line error that says what to do next, the right exit status, and the same as a JSON object."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.blackbox.conftest import Jvs
from tests.blackbox.session import Session


def refused(jvs: Jvs | Session, *words: str | Path, status: int, code: str, says: str, step: str) -> None:
    """Assert that a command is refused, in words and as JSON; `says` and `step` are in the error and the next step."""
    people = jvs(*words)
    assert people.status == status, people
    assert people.out == ""
    lines = people.err.splitlines()
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert lines[-1].startswith("next: ")
    assert step in lines[-1]
    assert all(line.startswith("  ") for line in lines[1:-1])  # the list of matches or paths, when there is one
    program = jvs(*words, "--json")
    assert program.status == status
    assert program.err == ""
    assert list(program.value) == ["error"]
    error = program.value["error"]
    assert [key for key in error if key != "error_code"] == ["code", "message", "next", "details"]
    assert error["code"] == code
    assert says in error["message"]
    assert step in error["next"]


# no store


def test_no_store(jvs: Jvs) -> None:
    refused(jvs, "fs", "ls", status=10, code="no-store", says="no .jvs here or above", step="jvs fs init")


@pytest.mark.parametrize("words", [["--store", "there"], []])
def test_a_directory_that_is_not_a_store(words: list[str], jvs: Jvs) -> None:
    (jvs.where / "there").mkdir()
    if not words:
        jvs.environment["JVS_STORE"] = "there"
    refused(jvs, "fs", "ls", *words, status=10, code="not-a-store", says="there is not a store", step="jvs fs init")


def test_a_store_that_is_not_there(jvs: Jvs) -> None:
    refused(
        jvs, "fs", "ls", "--store", "nowhere", status=10, code="no-store", says="nowhere", step="jvs fs init"
    )  # fmt: skip


def test_a_dot_jvs_that_is_not_a_store_is_passed_by(store: Jvs) -> None:
    below = store.where / "d" / "below"
    (below / ".jvs").mkdir(parents=True)
    assert store("fs", "ls", cwd=below).status == 0


def test_a_store_of_another_user_found_by_searching(store: Jvs) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: gives a directory to another user")
    os.chown(store.where / ".jvs", 12345, 12345)
    refused(store, "fs", "ls", status=10, code="foreign-store", says="belongs to another user", step="--store")
    store("fs", "ls", "--store", ".jvs").ok()


def test_a_store_in_the_network_is_not_opened(jvs: Jvs) -> None:
    done = jvs("fs", "ls", "--store", "https://host/store")
    assert done.status == 2
    assert "local directories only" in done.err


def test_a_store_of_a_later_format(store: Jvs) -> None:
    marker = store.where / ".jvs" / "format_version"
    marker.chmod(0o600)
    marker.write_text("999\n")
    refused(store, "fs", "ls", status=1, code="format-unsupported", says="format", step="upgrade jvs")


# labels and revisions


def test_an_unknown_label_names_the_nearest(pushed: Jvs) -> None:
    pushed("fs", "label", "mainline", "main").ok()
    refused(pushed, "fs", "log", "mian", status=5, code="unknown-label", says="main", step="jvs fs ls")
    refused(pushed, "fs", "pull", "mainlin", status=5, code="unknown-label", says="mainline", step="jvs fs ls")
    assert "mainline" in pushed("fs", "pull", "mainlin", "--json").value["error"]["details"]["nearest"]


@pytest.mark.parametrize(
    "words",
    [["tree", "nowhere"], ["cat", "nowhere:f"], ["diff", "nowhere"], ["diff", "main", "nowhere"], ["rm", "nowhere:f"],
     ["label", "new", "nowhere"], ["label", "--delete", "nowhere"], ["log", "nowhere"], ["reset", "nowhere", "main"],
     ["reset", "main", "nowhere"], ["undo", "nowhere"], ["verify", "nowhere"], ["pull", "nowhere"],
     ["pull", "nowhere", "dir"], ["push", "d", "--expected", "nowhere"]],
)  # fmt: skip
def test_an_unknown_label_everywhere(words: list[str], shared: Jvs) -> None:
    refused(shared, "fs", *words, status=5, code="unknown-label", says="nowhere", step="jvs fs ls")


@pytest.mark.parametrize(
    ("revision", "status", "code"),
    [
        ("main@9", 5, "unknown-revision"),
        ("main@0", 5, "unknown-revision"),
        ("main@{9}", 5, "unknown-revision"),
        ("main@{1999-01-01}", 5, "unknown-revision"),
        ("tag:nothing", 5, "unknown-tag"),
        ("0" * 64, 5, "unknown-revision"),
        ("deadbeef", 5, "unknown-revision"),
        ("main@{", 2, "bad-revision"),
        ("main@{soon}", 2, "bad-revision"),
        ("main@x", 2, "bad-revision"),
        ("tag:", 2, None),
        ("", 2, None),
        ("0" * 65, 2, "bad-id"),
    ],
)
def test_revisions_that_name_nothing(revision: str, status: int, code: str | None, shared: Jvs) -> None:
    done = shared("fs", "pull", revision, "--json")
    assert done.status == status, done
    if code is not None:
        assert done.value["error"]["code"] == code
    assert done.value["error"]["next"]


@pytest.mark.parametrize(
    "name",
    ["", "-x", "a//b", "/a", "a/", ".hidden", "a/.b", "HEAD", "a/HEAD", "log", "a/log", "deadbeef", "0123456789abcdef",
     "tag:x", "a b", "a\nb", "a:b", "a@b", "a{b", "tag", "a\\b", "a*", "x" * 256, "e\u0301", "a\x00b"[:1] + "\x01"],
)  # fmt: skip
def test_label_names_of_every_bad_kind(name: str, shared: Jvs) -> None:
    for words in (["label", "--", name, "main"], ["push", "d", f"--label={name}"]):
        json_first = shared("--json", "fs", *words)
        assert json_first.status == 2, json_first
        assert json_first.value["error"]["code"] == "bad-label-name"
        people = shared("fs", *words)
        assert people.status == 2
        assert len(people.err.splitlines()) == 2
        assert people.err.isascii() or name == "e\u0301"
        assert "next: choose a name such as main" in people.err


@pytest.mark.parametrize("name", ["autosave", "autosave/x"])
def test_label_names_kept_for_autosaves(name: str, shared: Jvs) -> None:
    assert shared("fs", "label", name, "main").status == 2


def test_a_label_name_that_is_not_utf8(shared: Jvs) -> None:
    done = shared("fs", "label", b"caf\xe9", "main", "--json")
    assert done.status == 2
    assert done.value["error"]["code"] == "bad-label-name"


def test_a_label_below_a_label(shared: Jvs) -> None:
    refused(
        shared, "fs", "label", "main/new", "main",
        status=2, code="bad-label-name", says="label main", step="choose a name",
    )  # fmt: skip


# messages, tags, paths


@pytest.mark.parametrize("verb", [["push", "d", "--always"], ["reset", "main", "main@1"], ["label", "new", "main"]])
def test_a_message_over_4096_bytes(verb: list[str], pushed: Jvs) -> None:
    refused(
        pushed, "fs", *verb, "-m", "é" * 2049, status=2, code="bad-message", says="4,096", step="shorten the message"
    )  # fmt: skip
    pushed("fs", *verb, "-m", "é" * 2048).ok()


def test_a_tag_that_cannot_be_one(shared: Jvs) -> None:
    refused(shared, "fs", "push", "d", "--tag", "a b", status=2, code="bad-tag", says="cannot be a tag", step="v1.2")


def test_a_source_that_is_a_file(store: Jvs) -> None:
    (store.where / "file").write_text("x")
    refused(
        store, "fs", "push", "file", "--label", "main",
        status=2, code="not-a-directory", says="file is not a directory", step="jvs fs push",
    )  # fmt: skip


def test_a_source_that_is_nothing(store: Jvs) -> None:
    refused(
        store, "fs", "push", "nothing", "--label", "main",
        status=5, code="unknown-source", says="nothing is neither a directory nor a revision", step="jvs fs",
    )  # fmt: skip


def test_a_path_that_is_not_in_the_snapshot(shared: Jvs) -> None:
    refused(shared, "fs", "cat", "main:no/such", status=5, code="unknown-path", says="no/such", step="jvs fs tree")
    refused(shared, "fs", "tree", "main:nothing", status=5, code="unknown-path", says="nothing", step="jvs fs tree")


@pytest.mark.parametrize("path", ["..", "data/../x", ".", ".jvs/x", "data/.JVS"])
def test_a_path_that_cannot_be_in_any_snapshot(path: str, shared: Jvs) -> None:
    done = shared("fs", "cat", f"main:{path}", "--json")
    assert done.status == 2
    assert done.value["error"]["code"] == "bad-path"


def test_a_directory_to_pull_into_that_is_a_file(pushed: Jvs) -> None:
    (pushed.where / "file").write_text("x")
    done = pushed("fs", "pull", "main", "file", "--json")
    assert done.status == 2
    assert done.value["error"]["code"] == "not-a-directory"


# unreadable files


@pytest.fixture
def as_somebody(pushed: Jvs) -> Jvs:
    """The command as somebody whom a file's mode can keep from reading."""
    pushed.ordinary = True
    return pushed


def test_a_mode_does_not_keep_root_from_reading(pushed: Jvs) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: reads what has mode 0")
    (pushed.where / "d" / "settings.toml").chmod(0)
    assert pushed("fs", "push", "d", "--rehash", "--json").ok().value["status"] == "advanced"


def test_an_unreadable_new_file_is_refused_unless_skipped(as_somebody: Jvs) -> None:
    secret = as_somebody.where / "d" / "secret"
    secret.write_text("x")
    secret.chmod(0)
    refused(as_somebody, "fs", "push", "d", status=1, code="unreadable", says="secret", step="--skip-unreadable")
    done = as_somebody("fs", "push", "d", "--skip-unreadable", "--json")
    assert done.status == 3
    assert [item["path"] for item in done.value["skipped"]] == ["secret"]


def test_an_unreadable_known_file_stays_as_it_was(as_somebody: Jvs) -> None:
    known = as_somebody.where / "d" / "settings.toml"
    known.chmod(0)
    done = as_somebody("fs", "push", "d", "--rehash", "--json")
    assert done.status == 3
    assert as_somebody("fs", "cat", "main:settings.toml").ok().out == "rate = 0.25\n"
