"""Every verb of `jvs fs` against its contract: operands, options, JSON fields, exit statuses, as the issue has them."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import click
import pytest

from jvs.cli.lazy import LazyGroup
from jvs.cli.main import cli
from jvs.cli.verb import Verb
from tests.blackbox.conftest import Jvs

ID = re.compile(r"[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def is_id(text: object) -> bool:
    return isinstance(text, str) and ID.fullmatch(text) is not None


def documented(*words: str) -> dict[str, str]:
    """The JSON fields that the verb's documentation promises."""
    command: click.Command | None = cli
    for word in words:
        assert isinstance(command, LazyGroup)
        command = command.get_command(click.Context(command), word)
    assert isinstance(command, Verb)
    return dict(command.fields)


def undocumented(value: Any, fields: dict[str, str], path: str = "") -> list[str]:
    """Fields of a JSON value that are not documented."""
    if path in fields:
        return []
    if isinstance(value, dict):
        below = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
        return [name for key, item in below for name in undocumented(item, fields, key)]
    if isinstance(value, list):
        return sorted({name for item in value for name in undocumented(item, fields, path + "[]")})
    return [path]


# init


def test_init_makes_a_store_here(jvs: Jvs) -> None:
    value = jvs.json("fs", "init")
    assert value == {"store": str(jvs.where / ".jvs"), "format_version": 1, "created": True}
    assert (jvs.where / ".jvs" / "format_version").is_file()


def test_init_on_a_store_changes_nothing(jvs: Jvs) -> None:
    jvs("fs", "init", "--zstd-level", "5").ok()
    before = {path: path.read_bytes() for path in (jvs.where / ".jvs").rglob("*") if path.name == "format_version"}
    assert jvs.json("fs", "init")["created"] is False
    assert all(path.read_bytes() == content for path, content in before.items())


def test_init_refuses_a_directory_that_holds_something_else(jvs: Jvs) -> None:
    (jvs.where / "full").mkdir()
    (jvs.where / "full" / "f").write_text("mine")
    assert jvs("fs", "init", "full").status == 1
    assert [path.name for path in (jvs.where / "full").iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("words", "env", "where"),
    [
        (["one"], {"JVS_STORE": "three"}, "one"),
        (["--store", "two"], {"JVS_STORE": "three"}, "two"),
        (["one", "--store", "two"], {}, "one"),
        ([], {"JVS_STORE": "three"}, "three"),
    ],
)
def test_init_chooses_operand_option_environment_here(
    words: list[str], env: dict[str, str], where: str, jvs: Jvs
) -> None:
    jvs("fs", "init", *words, env=env).ok()
    assert [path.name for path in jvs.where.iterdir()] == [where]


@pytest.mark.parametrize("options", [["--chunk", "64K:128K:1M"], ["--inline", "0"], ["--zstd-level", "19"]])
def test_settings_never_change_ids(options: list[str], store: Jvs) -> None:
    first = store.json("fs", "push", "d", "--detach")["ca_id"]
    store("fs", "init", "other", *options).ok()
    assert store.json("--store", "other", "fs", "push", "d", "--detach")["ca_id"] == first


@pytest.mark.parametrize(
    "options", [["--chunk", "1M:2M"], ["--chunk", "4M:1M:2M"], ["--inline", "-1"], ["--zstd-level", "99"]]
)
def test_nonsense_settings_are_refused(options: list[str], jvs: Jvs) -> None:
    assert jvs("fs", "init", *options).status == 2
    assert not (jvs.where / ".jvs").exists()


# push


def test_push_creates_a_label(store: Jvs) -> None:
    value = store.json("fs", "push", "d", "--label", "main", "-m", "as it came")
    assert value["status"] == "advanced"
    assert value["label"] == "main"
    assert value["generation"] == 1
    assert is_id(value["ca_id"])
    assert is_id(value["entry_id"])
    assert value["current"] == value["ca_id"]
    assert value["current_generation"] == 1
    assert value["stats"]["files"] == 4
    assert value["stats"]["bytes"] == 8 + 11 + 10
    assert value["stats"]["new_bytes"] > 0
    assert value["stats"]["stored_bytes"] > 0
    assert undocumented(value, documented("fs", "push")) == []


def test_push_again_needs_no_label_and_stores_nothing_when_nothing_changed(store: Jvs) -> None:
    first = store.json("fs", "push", "d", "--label", "main")
    again = store.json("fs", "push", "d")
    assert again["status"] == "unchanged"
    assert again["ca_id"] == first["ca_id"]
    assert again["generation"] == 1
    assert again["entry_id"] in (None, first["entry_id"])
    assert again["stats"]["new_bytes"] == 0
    assert len(store.json("fs", "log", "main")["log"]) == 1


def test_push_always_writes_an_entry(store: Jvs) -> None:
    store("fs", "push", "d", "--label", "main").ok()
    value = store.json("fs", "push", "d", "--always", "-m", "a mark")
    assert value["status"] == "advanced"
    assert value["generation"] == 2


def test_push_without_a_label_of_a_directory_that_has_none(store: Jvs) -> None:
    done = store("fs", "push", "d", "--json")
    assert done.status == 2
    assert "--label" in done.value["error"]["message"] + done.value["error"]["next"]
    assert "--detach" in done.value["error"]["message"] + done.value["error"]["next"]


def test_push_detached(store: Jvs) -> None:
    value = store.json("fs", "push", "d", "--detach")
    assert value["status"] == "detached"
    assert value["label"] is None
    assert value["generation"] is None
    assert store.json("fs", "ls")["labels"] == []
    assert store("fs", "cat", f"{value['ca_id']}:settings.toml").ok().out == "rate = 0.1\n"


def test_push_of_a_directory_bound_nowhere_onto_a_label_is_rejected(pushed: Jvs) -> None:
    head = pushed.json("fs", "pull", "main")
    other = pushed.where / "other"
    other.mkdir()
    (other / "f").write_text("other")
    done = pushed("fs", "push", "other", "--label", "main", "--json")
    assert done.status == 6
    value = done.value
    assert value["status"] == "rejected"
    assert is_id(value["ca_id"])
    assert value["ca_id"] != head["ca_id"]
    assert value["current"] == head["ca_id"]
    assert value["current_generation"] == head["generation"]
    assert value["error"]["code"] == "label-moved"
    assert "--expected main" in value["error"]["next"]
    assert "--force" in value["error"]["next"]
    assert undocumented(value, documented("fs", "push")) == []
    assert pushed.json("fs", "pull", "main") == head
    # what was rejected is stored all the same
    assert pushed("fs", "cat", f"{value['ca_id']}:f").ok().out == "other"


def test_a_rejection_for_people_names_the_head_and_the_next_command(pushed: Jvs) -> None:
    other = pushed.where / "other"
    other.mkdir()
    done = pushed("fs", "push", "other", "--label", "main")
    assert done.status == 6
    assert done.out.startswith("rejected main")
    assert "main@2" in done.out
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("next: jvs fs ")


def test_push_after_the_label_moved_is_rejected(pushed: Jvs) -> None:
    pushed("fs", "pull", "main", "copy").ok()
    (pushed.where / "copy" / "new").write_text("x")
    pushed("fs", "push", "copy").ok()
    (pushed.where / "d" / "mine").write_text("y")
    done = pushed("fs", "push", "d", "--json")
    assert done.status == 6
    value = done.value
    assert value["current_generation"] == 3
    assert value["error"]["next"].startswith(f"jvs fs merge main {value['ca_id'][:12]}")


@pytest.mark.parametrize(
    ("expected", "status"),
    [("2", 0), ("main", 0), ("main@2", 0), ("tag:v2", 0), ("1", 6), ("main@1", 6), ("0", 6), ("nowhere", 5), ("@", 2)],
)
def test_what_is_expected_may_be_said_in_many_ways(expected: str, status: int, pushed: Jvs) -> None:
    (pushed.where / "d" / "new").write_text("x")
    assert pushed("fs", "push", "d", "--expected", expected).status == status


def test_expecting_a_snapshot_or_an_entry(pushed: Jvs) -> None:
    log = pushed.json("fs", "log", "main")["log"]
    (pushed.where / "d" / "new").write_text("x")
    assert pushed("fs", "push", "d", "--expected", log[0]["to"]).status == 6
    assert pushed("fs", "push", "d", "--expected", log[0]["entry_id"]).status == 6
    assert pushed("fs", "push", "d", "--expected", log[1]["entry_id"]).status == 0


def test_expecting_zero_creates(store: Jvs) -> None:
    assert store.json("fs", "push", "d", "--label", "main", "--expected", "0")["generation"] == 1


def test_force_moves_whatever_there_is_and_is_recorded_as_such(pushed: Jvs) -> None:
    other = pushed.where / "other"
    other.mkdir()
    assert pushed.json("fs", "push", "other", "--label", "main", "--force")["status"] == "advanced"
    assert pushed.json("fs", "log", "main")["log"][-1]["op"] == "force"


@pytest.mark.parametrize("words", [["--force", "--expected", "1"], ["--detach", "--label", "main"]])
def test_options_that_exclude_each_other(words: list[str], shared: Jvs) -> None:
    assert shared("fs", "push", "d", *words).status == 2


def test_push_of_a_revision_and_of_a_directory_named_like_a_label(pushed: Jvs) -> None:
    head = pushed.json("fs", "pull", "main")["ca_id"]
    (pushed.where / "main").mkdir()
    assert pushed.json("fs", "push", "main", "--detach")["ca_id"] != head
    assert pushed.json("fs", "push", "--rev", "main", "--label", "stable")["ca_id"] == head
    os.rmdir(pushed.where / "main")
    assert pushed.json("fs", "push", "main@{1}", "--label", "older")["status"] == "advanced"


def test_push_of_what_is_not_a_directory(store: Jvs) -> None:
    (store.where / "file").write_text("x")
    assert store("fs", "push", "file", "--label", "main").status == 2
    assert store("fs", "push", "nothing", "--label", "main").status == 5


def test_push_lists_what_it_skips(store: Jvs) -> None:
    os.mkfifo(store.where / "d" / "pipe")
    done = store("fs", "push", "d", "--label", "main", "--json")
    assert done.status == 3
    assert done.value["status"] == "advanced"
    assert [item["path"] for item in done.value["skipped"]] == ["pipe"]
    people = store("fs", "push", "d", "--always")
    assert people.status == 3
    assert "skipped: pipe" in people.err


def test_push_tags_the_entry(shared: Jvs) -> None:
    assert shared.json("fs", "pull", "tag:v2")["ca_id"] == shared.json("fs", "pull", "main")["ca_id"]


def test_push_for_people_is_one_line(store: Jvs) -> None:
    out = store("fs", "push", "d", "--label", "main").ok().out
    assert re.fullmatch(r"advanced main@1 [0-9a-f]{12}: 4 files, 29 B, \d+ B new, [\d.]+ m?s\n", out)
    out = store("fs", "push", "d").ok().out
    assert re.fullmatch(r"unchanged main@1 [0-9a-f]{12}: 4 files, 29 B, 0 B new, [\d.]+ m?s\n", out)


# pull


def test_pull_without_a_directory_says_what_a_revision_is(shared: Jvs) -> None:
    value = shared.json("fs", "pull", "main")
    assert set(value) == {"label", "ca_id", "generation"}
    assert value["label"] == "main"
    assert value["generation"] == 2
    assert shared("fs", "pull", "main").out == f"main@2 {value['ca_id']}\n"
    assert shared("fs", "pull", "main", "-q").out == value["ca_id"] + "\n"
    assert shared.json("fs", "pull", value["ca_id"][:10])["ca_id"] == value["ca_id"]


def test_pull_makes_the_directory_be_the_tree(pushed: Jvs) -> None:
    value = pushed.json("fs", "pull", "main@1", "copy")
    assert value["directory"] == "copy"
    assert value["generation"] == 1
    assert value["written"] > 0
    assert value["removed"] == 0
    assert value["autosaved"] is None
    assert value["dry_run"] is False
    assert undocumented(value, documented("fs", "pull")) == []
    copy = pushed.where / "copy"
    assert (copy / "settings.toml").read_text() == "rate = 0.1\n"
    assert (copy / "run.sh").stat().st_mode & 0o777 == 0o755
    assert os.readlink(copy / "link") == "settings.toml"
    assert (copy / "empty").is_dir()
    again = pushed.json("fs", "pull", "main@1", "copy")
    assert (again["written"], again["removed"]) == (0, 0)


def test_pull_dry_run_writes_nothing(pushed: Jvs) -> None:
    value = pushed.json("fs", "pull", "main", "copy", "--dry-run")
    assert value["dry_run"] is True
    assert value["written"] > 0
    assert not (pushed.where / "copy").exists()


def test_pull_refuses_to_lose_what_was_never_saved(pushed: Jvs) -> None:
    (pushed.where / "d" / "settings.toml").write_text("precious")
    done = pushed("fs", "pull", "main@1", "d", "--json")
    assert done.status == 1
    error = done.value["error"]
    assert error["code"] == "unsaved-changes"
    assert error["details"]["count"] == 1
    assert "settings.toml" in str(error["details"]["paths"])
    assert "--autosave" in error["next"]
    assert (pushed.where / "d" / "settings.toml").read_text() == "precious"
    people = pushed("fs", "pull", "main@1", "d")
    assert people.status == 1
    assert any("settings.toml" in line for line in people.err.splitlines()[1:-1])


def test_pull_saves_first_when_asked_to(pushed: Jvs) -> None:
    (pushed.where / "d" / "settings.toml").write_text("precious")
    value = pushed.json("fs", "pull", "main@1", "d", "--autosave")
    assert value["autosaved"].startswith("autosave/main")
    assert pushed("fs", "cat", f"{value['autosaved']}:settings.toml").ok().out == "precious"
    assert (pushed.where / "d" / "settings.toml").read_text() == "rate = 0.1\n"


def test_pull_drops_it_when_told_to(pushed: Jvs) -> None:
    (pushed.where / "d" / "settings.toml").write_text("worthless")
    pushed("fs", "pull", "main@1", "d", "--discard").ok()
    assert (pushed.where / "d" / "settings.toml").read_text() == "rate = 0.1\n"


def test_pull_onto_a_file(pushed: Jvs) -> None:
    (pushed.where / "file").write_text("x")
    assert pushed("fs", "pull", "main", "file").status == 2
    assert (pushed.where / "file").read_text() == "x"


# ls, tree, cat


def test_ls(pushed: Jvs) -> None:
    pushed("fs", "label", "exp/1", "main@1").ok()
    value = pushed.json("fs", "ls")
    assert list(value) == ["labels"]
    assert [item["name"] for item in value["labels"]] == ["exp/1", "main"]
    main = value["labels"][1]
    assert {"name", "ca_id", "generation", "at", "message"} <= set(main)
    assert is_id(main["ca_id"])
    assert main["generation"] == 2
    assert main["message"] == "a higher rate"
    assert TIME.fullmatch(main["at"])
    assert undocumented(value, documented("fs", "ls")) == []
    assert [item["name"] for item in pushed.json("fs", "ls", "exp/*")["labels"]] == ["exp/1"]
    assert pushed.json("fs", "ls", "nothing*")["labels"] == []
    assert pushed("fs", "ls", "-q").out == "exp/1\nmain\n"


def test_ls_for_people(shared: Jvs) -> None:
    line = shared("fs", "ls").ok().out
    assert re.fullmatch(r"main  @2  [0-9a-f]{12}  (just now|\d+ (second|minute)s? ago)  a higher rate\n", line)


def test_tree(shared: Jvs) -> None:
    value = shared.json("fs", "tree", "main")
    assert {"ca_id", "path", "entries"} <= set(value)
    assert value["path"] == ""
    assert undocumented(value, documented("fs", "tree")) == []
    by_path = {item["path"]: item for item in value["entries"]}
    assert list(by_path) == ["data", "data/points.csv", "empty", "link", "run.sh", "settings.toml"]
    assert all(set(item) == {"path", "kind", "mode", "size", "digest", "target"} for item in by_path.values())
    assert by_path["data"]["kind"] == "directory"
    assert by_path["run.sh"] | {"digest": None} == {
        "path": "run.sh", "kind": "file", "mode": "0755", "size": 10, "digest": None, "target": None,
    }  # fmt: skip
    assert by_path["link"] == {
        "path": "link", "kind": "symlink", "mode": None, "size": None, "digest": None, "target": "settings.toml",
    }  # fmt: skip
    assert by_path["settings.toml"]["size"] == 12


def test_tree_of_a_directory_and_its_depth(shared: Jvs) -> None:
    value = shared.json("fs", "tree", "main", "--depth", "1")
    assert [item["path"] for item in value["entries"]] == ["data", "empty", "link", "run.sh", "settings.toml"]
    below = shared.json("fs", "tree", "main:data")
    assert below["path"] == "data"
    assert [item["path"] for item in below["entries"]] == ["data/points.csv"]
    assert below["ca_id"] == value["ca_id"]
    assert shared("fs", "pull", "main:data", "-q").out.strip() == value["entries"][0]["digest"]


def test_a_directory_is_itself_a_snapshot(pushed: Jvs) -> None:
    assert pushed.json("fs", "push", "main:data", "--label", "points")["status"] == "advanced"
    assert pushed("fs", "cat", "points:points.csv").ok().out == "1,2\n3,4\n"


def test_tree_for_people(shared: Jvs) -> None:
    lines = shared("fs", "tree", "main").ok().out.splitlines()
    assert lines[1:] == [
        "0644        8 B    points.csv",
        lines[2],
        "link             link -> settings.toml",
        "0755       10 B  run.sh",
        "0644       12 B  settings.toml",
        "           30 B  in 6 entries",
    ]


def test_names_that_are_not_text(store: Jvs) -> None:
    raw = b"caf\xe9\n.txt"
    Path(os.fsdecode(os.fsencode(store.where / "d") + b"/" + raw)).write_text("x")
    store("fs", "push", "d", "--label", "main").ok()
    item = store.json("fs", "tree", "main")["entries"][0]
    assert item["path"] == "caf\ufffd\n.txt"
    assert base64.b64decode(item["path_b64"]) == raw
    assert "caf\ufffd\\n.txt" in store("fs", "tree", "main").ok().out
    assert store("fs", "cat", b"main:" + raw).ok().out == "x"


def test_cat(shared: Jvs) -> None:
    assert shared("fs", "cat", "main:settings.toml").ok().out == "rate = 0.25\n"
    assert shared("fs", "cat", "main@1:settings.toml").ok().out == "rate = 0.1\n"
    value = shared.json("fs", "cat", "main:settings.toml")
    assert value == {"path": "main:settings.toml", "encoding": "utf-8", "content": "rate = 0.25\n"}


@pytest.mark.parametrize(
    ("text", "status", "out"),
    [("0-3", 0, "rate"), ("7-", 0, "0.25\n"), ("-5", 0, "0.25\n"), ("5-5", 0, "="), ("0-999", 0, "rate = 0.25\n"),
     ("-999", 0, "rate = 0.25\n"), ("9-3", 2, ""), ("x", 2, "")],
)  # fmt: skip
def test_cat_of_a_range(text: str, status: int, out: str, shared: Jvs) -> None:
    done = shared("fs", "cat", "main:settings.toml", "--range", text)
    assert (done.status, done.out) == (status, out)


def test_cat_of_bytes_that_are_not_text(store: Jvs) -> None:
    content = os.urandom(3_000_001)
    (store.where / "d" / "blob").write_bytes(b"\xff")
    (store.where / "d" / "big").write_bytes(content)
    store("fs", "push", "d", "--label", "main").ok()
    value = store.json("fs", "cat", "main:blob")
    assert (value["encoding"], base64.b64decode(value["content"])) == ("base64", b"\xff")
    value = store.json("fs", "cat", "main:big")
    assert (value["encoding"], base64.b64decode(value["content"])) == ("base64", content)


@pytest.mark.parametrize(("path", "status"), [("main:nothing", 5), ("main:data", 5), ("main", 2), ("main:../x", 2)])
def test_cat_of_what_is_not_a_file(path: str, status: int, shared: Jvs) -> None:
    assert shared("fs", "cat", path).status == status


# diff


def test_diff_of_a_move(shared: Jvs) -> None:
    value = shared.json("fs", "diff", "main")
    log = shared.json("fs", "log", "main")["log"]
    assert (value["from"], value["to"]) == (log[0]["to"], log[1]["to"])
    assert [item["path"] for item in value["modified"]] == ["settings.toml"]
    assert (value["added"], value["removed"], value["renamed"]) == ([], [], [])
    totals = {f"total_{name}" for name in ("added", "removed", "modified", "renamed")}
    assert {name: value[name] for name in totals} == dict.fromkeys(totals, 0) | {"total_modified": 1}
    change = value["modified"][0]
    assert (change["before"]["size"], change["after"]["size"]) == (11, 12)
    assert undocumented(value, documented("fs", "diff")) == []


def test_diff_of_the_move_that_made_a_label(shared: Jvs) -> None:
    value = shared.json("fs", "diff", "main@1")
    assert value["from"] is None
    assert value["total_added"] == 5


def test_diff_of_two_revisions_and_of_a_directory(pushed: Jvs) -> None:
    assert pushed.json("fs", "diff", "main@1", "main")["total_modified"] == 1
    tree = pushed.where / "d"
    (tree / "data" / "points.csv").rename(tree / "data" / "moved.csv")
    (tree / "new").write_text("x")
    (tree / "run.sh").unlink()
    value = pushed.json("fs", "diff", "main", "d")
    assert [item["path"] for item in value["added"]] == ["new"]
    assert [item["path"] for item in value["removed"]] == ["run.sh"]
    assert [(item["old_path"], item["path"]) for item in value["renamed"]] == [("data/points.csv", "data/moved.csv")]
    assert undocumented(value, documented("fs", "diff")) == []
    assert pushed.json("fs", "push", "d")["ca_id"] == value["to"]


def test_diff_exit_code(shared: Jvs) -> None:
    assert shared("fs", "diff", "main", "main", "--exit-code").status == 0
    assert shared("fs", "diff", "main@1", "main", "--exit-code").status == 1
    assert shared("fs", "diff", "main@1", "main", "--exit-code", "--json").value["total_modified"] == 1
    assert shared("fs", "diff", "main@1", "main").status == 0


def test_diff_for_people(shared: Jvs) -> None:
    lines = shared("fs", "diff", "main").ok().out.splitlines()
    assert lines[0] == "M  settings.toml  +1 B"
    assert re.fullmatch(r"[0-9a-f]{12} -> [0-9a-f]{12}: 1 modified, \+1 B", lines[1])
    assert shared("fs", "diff", "main", "-q").out == "settings.toml\n"
    stat = shared("fs", "diff", "main", "--stat").ok().out.splitlines()[0]
    assert re.fullmatch(r"M  settings.toml +2 \+-", stat)


def test_diff_patch(shared: Jvs) -> None:
    patch = shared("fs", "diff", "main", "--patch").ok().out
    assert "--- a/settings.toml\n+++ b/settings.toml\n" in patch
    assert "-rate = 0.1\n+rate = 0.25\n" in patch
    assert shared.json("fs", "diff", "main", "--patch")["patch"] == patch


# rm, label, tag


def test_rm(pushed: Jvs) -> None:
    assert pushed.json("fs", "rm", "main:data", "--dry-run")["dry_run"] is True
    assert pushed.json("fs", "pull", "main")["generation"] == 2
    value = pushed.json("fs", "rm", "main:data", "-m", "not needed")
    assert value["status"] == "advanced"
    assert value["generation"] == 3
    assert undocumented(value, documented("fs", "rm")) == []
    assert "data" not in [item["path"] for item in pushed.json("fs", "tree", "main")["entries"]]
    assert pushed.json("fs", "log", "main")["log"][-1]["message"] == "not needed"


@pytest.mark.parametrize(
    ("location", "status"), [("main:nothing", 5), ("nowhere:x", 5), ("main", 2), ("main:", 2), ("main@1:data", 2)]
)
def test_rm_of_what_cannot_be_removed(location: str, status: int, shared: Jvs) -> None:
    assert shared("fs", "rm", location).status == status


def test_label_creates_and_repoints(pushed: Jvs) -> None:
    value = pushed.json("fs", "label", "stable", "main@1", "-m", "passed")
    assert value["label"] == "stable"
    assert is_id(value["ca_id"])
    assert undocumented(value, documented("fs", "label")) == []
    again = pushed.json("fs", "label", "stable", "main")
    assert again["ca_id"] == pushed.json("fs", "pull", "main")["ca_id"]
    assert [item["op"] for item in pushed.json("fs", "log", "stable")["log"]] == ["create", "repoint"]


def test_label_delete_undelete_rename(pushed: Jvs) -> None:
    head = pushed.json("fs", "pull", "main")["ca_id"]
    rehearsed = pushed.json("fs", "label", "--delete", "main", "--dry-run")
    assert rehearsed["dry_run"] is True
    assert pushed.json("fs", "pull", "main")["generation"] == 2
    assert pushed.json("fs", "label", "--delete", "main")["ca_id"] is None
    assert pushed("fs", "pull", "main").status == 5
    assert pushed.json("fs", "label", "--undelete", "main")["ca_id"] == head
    value = pushed.json("fs", "label", "--rename", "main", "trunk")
    assert (value["label"], value["ca_id"]) == ("trunk", head)
    assert pushed("fs", "pull", "main").status == 5
    assert [item["op"] for item in pushed.json("fs", "log", "trunk")["log"]] == [
        "create", "push", "delete", "undelete", "rename",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--delete", "nowhere"], 5),
        (["--undelete", "nowhere"], 5),
        (["--undelete", "main"], 1),
        (["--rename", "nowhere", "x"], 5),
        (["--rename", "main", "stable"], 1),
        (["main/below", "main"], 2),
        (["new", "nowhere"], 5),
    ],
)
def test_labels_that_cannot_be_moved_so(words: list[str], status: int, pushed: Jvs) -> None:
    pushed("fs", "label", "stable", "main").ok()
    assert pushed("fs", "label", *words).status == status


def test_tag_delete(pushed: Jvs) -> None:
    assert pushed.json("fs", "tag", "--delete", "v2", "--dry-run") == {"tag": "v2", "deleted": False, "dry_run": True}
    assert pushed("fs", "pull", "tag:v2").status == 0
    assert pushed.json("fs", "tag", "--delete", "v2") == {"tag": "v2", "deleted": True, "dry_run": False}
    assert pushed("fs", "pull", "tag:v2").status == 5
    assert pushed("fs", "tag", "--delete", "v2").status == 5
    assert pushed.json("fs", "pull", "main")["generation"] == 2


# log, reset, undo


def test_log(shared: Jvs) -> None:
    value = shared.json("fs", "log", "main")
    assert value["label"] == "main"
    first, second = value["log"]
    assert {"at", "from", "to", "op", "message"} <= set(first)
    assert first["from"] is None
    assert first["to"] == second["from"]
    assert first["op"] == "create"
    assert second["op"] == "push"
    assert (first["message"], second["message"]) == ("as it came", "a higher rate")
    assert second["tags"] == ["v2"]
    assert second["actor"] == "ada@host"
    assert second["prev"] == first["entry_id"]
    assert second["parents"] == [first["entry_id"]]
    assert TIME.fullmatch(second["at"])
    assert undocumented(value, documented("fs", "log")) == []


def test_log_limit_keeps_the_newest(shared: Jvs) -> None:
    assert [item["generation"] for item in shared.json("fs", "log", "main", "--limit", "1")["log"]] == [2]
    lines = shared("fs", "log", "main", "--limit", "1").ok().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("main@2  ")


def test_log_for_people_is_newest_first_and_a_screenful(pushed: Jvs) -> None:
    lines = pushed("fs", "log", "main").ok().out.splitlines()
    assert [line.split()[0] for line in lines] == ["main@2", "main@1"]
    assert re.search(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  .*  push    [0-9a-f]{12}  a higher rate  \[v2\]  \(ada@host\)$", lines[0]
    )
    for _ in range(12):
        pushed("fs", "push", "d", "--always").ok()
    done = pushed("fs", "log", "main", env={"LINES": "13"})
    assert len(done.out.splitlines()) == 10
    assert done.err == "there is more: jvs fs log main --limit 0\n"
    assert len(pushed("fs", "log", "main", "--limit", "0").out.splitlines()) == 14


def test_reset(pushed: Jvs) -> None:
    first = pushed.json("fs", "pull", "main@1")["ca_id"]
    rehearsed = pushed.json("fs", "reset", "main", "main@{1}", "--dry-run")
    assert (rehearsed["ca_id"], rehearsed["dry_run"]) == (first, True)
    assert pushed.json("fs", "pull", "main")["generation"] == 2
    value = pushed.json("fs", "reset", "main", "main@{1}", "-m", "back")
    assert value["label"] == "main"
    assert value["ca_id"] == first
    assert undocumented(value, documented("fs", "reset")) == []
    log = pushed.json("fs", "log", "main")["log"]
    assert (log[-1]["op"], log[-1]["message"], log[-1]["to"]) == ("reset", "back", first)


def test_reset_only_to_where_the_label_was(pushed: Jvs) -> None:
    detached = pushed.json("fs", "push", "main:data", "--detach")["ca_id"]
    done = pushed("fs", "reset", "main", detached, "--json")
    assert done.status == 1
    assert done.value["error"]["code"] == "not-in-reflog"
    assert "--allow-unlogged" in done.value["error"]["next"]
    assert pushed.json("fs", "reset", "main", detached, "--allow-unlogged")["ca_id"] == detached


def test_undo_and_undo_of_the_undo(pushed: Jvs) -> None:
    first, second = (pushed.json("fs", "pull", f"main@{number}")["ca_id"] for number in (1, 2))
    assert pushed.json("fs", "undo", "main", "--dry-run")["ca_id"] == first
    value = pushed.json("fs", "undo", "main")
    assert (value["label"], value["ca_id"]) == ("main", first)
    assert undocumented(value, documented("fs", "undo")) == []
    assert pushed.json("fs", "undo", "main")["ca_id"] == second


def test_undo_of_a_create_deletes_and_of_a_delete_brings_back(pushed: Jvs) -> None:
    pushed("fs", "label", "new", "main").ok()
    assert pushed.json("fs", "undo", "new")["ca_id"] is None
    assert pushed("fs", "pull", "new").status == 5
    pushed("fs", "label", "--delete", "main").ok()
    assert pushed.json("fs", "undo", "main")["ca_id"] is not None
    assert pushed("fs", "pull", "main").status == 0


# verify, stats, doctor


@pytest.mark.parametrize("words", [["main"], ["--all"], []])
def test_verify(words: list[str], shared: Jvs) -> None:
    value = shared.json("fs", "verify", *words)
    assert value["ok"] is True
    assert value["checked"] > 0
    assert value["bytes"] > 0
    assert value["damaged"] == []
    assert undocumented(value, documented("fs", "verify")) == []
    assert shared("fs", "verify", *words).out.startswith("ok: ")


def test_verify_finds_damage(pushed: Jvs) -> None:
    packs = [path for path in (pushed.where / ".jvs" / "packs").rglob("*") if path.is_file() and path.stat().st_size]
    pack = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    done = pushed("fs", "verify", "--all", "--json")
    assert done.status == 8
    assert done.value["ok"] is False
    assert done.value["damaged"]
    assert set(done.value["damaged"][0]) >= {"path", "digest", "reason"}
    assert done.value["error"]["code"] == "damaged"
    assert undocumented(done.value, documented("fs", "verify")) == []
    people = pushed("fs", "verify", "--all")
    assert people.status == 8
    assert people.out.startswith("damaged")
    assert people.err.splitlines()[0].startswith("error: ")


@pytest.mark.parametrize("words", [[], ["--by", "label"], ["--by", "snapshot"]])
def test_stats(words: list[str], shared: Jvs) -> None:
    value = shared.json("fs", "stats", *words)
    assert value["labels"] == 1
    assert value["snapshots"] == 2
    assert value["logical_bytes"] >= 29 + 30
    assert value["stored_bytes"] > 0
    assert value["dedup_ratio"] > 0
    assert undocumented(value, documented("fs", "stats")) == []
    if words:
        assert [row["added_stored"] > 0 for row in value["rows"]] == [True] * (1 if "label" in words else 2)
    people = shared("fs", "stats", *words).ok().out
    assert "stored" in people
    assert ("█" in people) is bool(words)


def test_doctor(shared: Jvs) -> None:
    value = shared.json("doctor")
    assert value["healthy"] is True
    assert undocumented(value, documented("doctor")) == []
    assert "healthy" in shared("doctor", "--strict").ok().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, jvs: Jvs) -> None:
    assert "_JVS_COMPLETE" in jvs("completion", shell).ok().out
    assert jvs.json("completion", shell)["shell"] == shell


# streams


def test_a_reader_that_goes_away_is_no_error(pushed: Jvs) -> None:
    import subprocess
    import sys

    from tests.blackbox.conftest import CODE

    (pushed.where / "d" / "big").write_bytes(b"x" * (8 << 20))
    pushed("fs", "push", "d").ok()
    for words in (["fs", "cat", "main:big"], ["fs", "cat", "main:big", "--json"]):
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *words],
            cwd=pushed.where,
            env=pushed.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 141


def test_closed_streams_do_no_harm(pushed: Jvs) -> None:
    import subprocess
    import sys

    from tests.blackbox.conftest import CODE

    (pushed.where / "d" / "new").write_text("x")
    for words in (["fs", "push", "d"], ["fs", "log", "main"], ["fs", "log", "nowhere"]):
        line = 'exec "$0" -c "$@" <&- >&- 2>&-'
        command = ["sh", "-c", line, sys.executable, CODE, *words]
        done = subprocess.run(command, cwd=pushed.where, env=pushed.environment, check=False)
        assert done.returncode == (5 if "nowhere" in words else 0)
    assert pushed.json("fs", "verify")["ok"] is True
    assert pushed.json("fs", "pull", "main")["generation"] == 3


def test_a_full_disk_under_stdout_is_an_error(shared: Jvs) -> None:
    import subprocess
    import sys

    from tests.blackbox.conftest import CODE

    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", CODE, "fs", "ls"],
            cwd=shared.where,
            env=shared.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: No space left on device")
