"""`jvs worktree`: making, listing, renaming and removing worktrees, and that nothing is lost by it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.blackbox.session import Session
from tests.blackbox.workspace.conftest import Repository
from tests.blackbox.workspace.test_restore import look


@pytest.fixture
def saved(repository: Repository) -> str:
    """The id of the one snapshot there is: `a`, and `d/b` which may be run."""
    repository.write("a", "1")
    repository.write("d/b", "1").chmod(0o755)
    return repository.save("one", "--tag", "v1")


def at(repository: Repository, name: str) -> Path:
    return repository.root / "worktrees" / name


def clean(repository: Repository) -> None:
    """There is nothing temporary, and nothing half-done."""
    for folder in ("worktrees", ".jvs/worktrees", ".jvs/intents"):
        assert not [name for name in os.listdir(repository.root / folder) if "tmp" in name or name.endswith(".json")]


def test_a_fork_is_what_was_saved(repository: Repository, saved: str) -> None:
    repository.write("a", "unsaved")
    repository.write("new", "unsaved")
    (repository.main / "d" / "b").chmod(0o600)
    done = repository("worktree", "fork", "exp").ok()
    assert "Created worktree exp" in done.out
    assert look(at(repository, "exp")) == {"a": "1", "d/b": "1"}
    assert (at(repository, "exp") / "d" / "b").stat().st_mode & 0o777 == 0o755
    assert repository.json("status", cwd=at(repository, "exp"))["clean"]
    assert look(repository.main)["a"] == "unsaved"
    assert repository.json("status")["total_modified"] == 2
    clean(repository)


def test_a_fork_of_what_is_ignored_has_none_of_it(repository: Repository, saved: str) -> None:
    repository.write(".jvsignore", "cache/\n*.tmp\n")
    repository.save("ignores")
    repository.write("cache/x", "x")
    repository.write("d/y.tmp", "x")
    for number in range(2):
        repository("worktree", "fork", f"exp{number}").ok()
        assert set(look(at(repository, f"exp{number}"))) == {"a", "d/b", ".jvsignore"}
        for index in (repository.control / "cache" / "directories").glob("*.index"):
            index.unlink()


def test_the_json_of_worktrees(repository: Repository, saved: str) -> None:
    value = repository.json("worktree", "fork", "exp")
    fields = ["name", "base_snapshot_id", "head_snapshot_id", "latest_snapshot_id", "created_at"]
    assert list(value)[:5] == fields
    assert [value[field] for field in fields[:4]] == ["exp", saved, saved, saved]
    assert repository.json("worktree", "list")[1] == value
    assert [one["name"] for one in repository.json("wt", "list")] == ["main", "exp"]
    assert repository("worktree", "path", "exp").ok().out.strip() == str(at(repository, "exp"))
    assert repository("worktree", "path").ok().out.strip() == str(repository.main)
    assert repository.json("info")["total_worktrees"] == 2
    assert repository("worktree", "path", "nowhere").status == 5


@pytest.mark.parametrize("engine", ["copy", None])
def test_a_fork_keeps_times_links_and_holes(repository: Repository, engine: str | None) -> None:
    os.link(repository.write("a", "linked"), repository.main / "b")
    with open(repository.main / "sparse", "wb") as file:
        file.truncate(64 << 20)
    os.utime(repository.main / "a", ns=(1, 1_234_567_890_123_456_789))
    os.symlink("a", repository.main / "link")
    repository.save("one")
    repository("worktree", "fork", "exp", env={} if engine is None else {"JVS_ENGINE": engine}).ok()
    fork = at(repository, "exp")
    assert (fork / "a").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (fork / "a").stat().st_ino == (fork / "b").stat().st_ino
    assert (fork / "sparse").stat().st_size == 64 << 20
    assert (fork / "sparse").stat().st_blocks < 1024
    assert os.readlink(fork / "link") == "a"
    assert repository.json("status", cwd=fork)["clean"]


def test_a_forced_engine_that_cannot_work(repository: Repository, saved: str) -> None:
    for engine in ("juicefs-clone", "nonsense"):
        assert repository("worktree", "fork", "exp", env={"JVS_ENGINE": engine}).status in (1, 5)
        assert not at(repository, "exp").exists()
    made = repository("worktree", "fork", "exp", "--json", env={"JVS_ENGINE": "copy"}).ok().value
    assert made["engine"] == "copy"
    clean(repository)


def test_a_fork_of_an_older_snapshot(repository: Repository, saved: str) -> None:
    repository.write("a", "2")
    repository.save("two")
    for name, target in (("x", saved), ("y", "v1"), ("z", "one")):
        made = repository.json("worktree", "fork", target, name)
        assert made["base_snapshot_id"] == saved
        assert look(at(repository, name)) == {"a": "1", "d/b": "1"}
    assert repository("worktree", "fork", "nothing", "w").status == 5
    assert repository("worktree", "fork", "a", "b", "c").status == 2


def test_forks_go_their_own_ways(repository: Repository, saved: str) -> None:
    """Detached, forked, saved, merged back."""
    repository.write("a", "2")
    repository.save("two")
    repository("restore", saved).ok()
    repository("worktree", "fork", "exp").ok()
    (at(repository, "exp") / "c").write_text("in exp")
    made = repository.json("snapshot", "in exp", cwd=at(repository, "exp"))
    assert made["parent_id"] == saved
    assert [one["note"] for one in repository.json("history", cwd=at(repository, "exp"))] == ["in exp", "one"]
    assert repository.json("info")["total_snapshots"] == 3
    repository("restore", "HEAD").ok()
    repository("fs", "merge", "main", "exp", "--into", "main").ok()
    repository("restore", "HEAD").ok()
    assert look(repository.main) == {"a": "2", "d/b": "1", "c": "in exp"}


def test_an_empty_worktree(repository: Repository, saved: str) -> None:
    made = repository.json("worktree", "create", "exp")
    assert (made["base_snapshot_id"], made["head_snapshot_id"], made["latest_snapshot_id"]) == (None, None, None)
    assert look(at(repository, "exp")) == {}
    (at(repository, "exp") / "f").write_text("x")
    repository("snapshot", "first", cwd=at(repository, "exp")).ok()
    assert len(repository.json("history", cwd=at(repository, "exp"))) == 1
    made = repository.json("worktree", "create", "other", "--from", "exp")
    assert look(at(repository, "other")) == {"f": "x"}
    assert repository("worktree", "create", "none", "--from", "nothing").status == 5


def test_a_worktree_of_a_label_that_is_there(repository: Repository, saved: str) -> None:
    repository("fs", "label", "side", "main").ok()
    assert repository.json("worktree", "create", "side")["head_snapshot_id"] == saved
    (at(repository, "side") / "a").write_text("2")
    repository("snapshot", "two", cwd=at(repository, "side")).ok()
    repository("fs", "label", "else", "side").ok()
    assert repository("worktree", "fork", saved, "else").status == 1, "that would move the label back"


def test_worktrees_at_the_root(repository: Repository, saved: str) -> None:
    root = repository.root
    assert repository("worktree", "fork", "exp", cwd=root).status == 2, "of which?"
    repository("worktree", "fork", "v1", "exp", cwd=root).ok()
    repository("worktree", "fork", "other", "-w", "exp", cwd=root).ok()
    assert repository("worktree", "list", "-q", cwd=root).ok().out.split() == ["main", "exp", "other"]


@pytest.mark.parametrize("verb", ["create", "remove", "fork", "rename"])
def test_names_that_no_worktree_has(repository: Repository, saved: str, verb: str) -> None:
    """The first JVS took `.`, and removing that deleted every worktree."""
    repository("worktree", "create", "exp").ok()
    for name in (".", "..", "a/b", "/tmp/x", "", "HEAD", "-x", "a b", "é", ".jvs", "../main"):
        done = repository("worktree", verb, "--json", "--", *(["exp"] if verb == "rename" else []), name)
        assert done.status == 2, name
        assert done.value["error"]["error_code"] == "E_NAME_INVALID", name
    assert repository("worktree", verb, *(["exp"] if verb == "rename" else []), "main").status == 1
    assert sorted(os.listdir(repository.root / "worktrees")) == ["exp"]
    assert look(repository.main) == {"a": "1", "d/b": "1"}


def test_one_name_twice(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp").ok()
    done = repository("worktree", "create", "exp")
    assert done.status == 1
    assert "already exists" in done.err
    at(repository, "mine").mkdir()
    (at(repository, "mine") / "f").write_text("mine")
    assert repository("worktree", "fork", "mine").status == 1
    assert look(at(repository, "mine")) == {"f": "mine"}
    clean(repository)


def test_removing_loses_nothing(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp").ok()
    (at(repository, "exp") / "c").write_text("saved")
    made = repository.json("snapshot", "in exp", cwd=at(repository, "exp"))["snapshot_id"]
    done = repository("worktree", "remove", "exp").ok()
    assert "Removed" in done.out
    assert not at(repository, "exp").exists()
    assert repository("status", "-w", "exp").status == 5
    clean(repository)
    assert repository.json("worktree", "fork", made, "again")["base_snapshot_id"] == made
    assert look(at(repository, "again"))["c"] == "saved"
    repository("fs", "label", "--undelete", "exp").ok()
    repository("worktree", "create", "exp").ok()
    assert repository.json("history", cwd=at(repository, "exp"))[0]["snapshot_id"] == made


def test_unsaved_work_is_an_obstacle_and_saved_even_then(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp").ok()
    (at(repository, "exp") / "a").write_text("unsaved")
    done = repository("worktree", "remove", "exp", "--json")
    assert done.status == 1
    assert done.value["error"]["details"]["paths"] == ["a"]
    assert look(at(repository, "exp"))["a"] == "unsaved"
    value = repository.json("worktree", "remove", "exp", "--force")
    assert value["autosaved"] == "autosave/exp@1"
    repository("worktree", "create", "exp", "--from", "autosave/exp@1").ok()
    assert look(at(repository, "exp"))["a"] == "unsaved"


def test_what_was_never_saved_is_unsaved(repository: Repository) -> None:
    repository("worktree", "create", "exp").ok()
    (at(repository, "exp") / "f").write_text("unsaved")
    assert repository("worktree", "remove", "exp").status == 1
    assert repository.json("worktree", "remove", "exp", "--force")["autosaved"] == "autosave/exp@1"
    repository("worktree", "create", "exp").ok()
    assert repository.json("worktree", "remove", "exp")["autosaved"] is None, "it is empty"


def test_a_store_in_a_worktree_is_no_less_an_obstacle(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp").ok()
    repository("fs", "init", cwd=at(repository, "exp") / "d").ok()
    for words in ([], ["--force"]):
        done = repository("worktree", "remove", "exp", *words)
        assert done.status == 1
        assert "d/.jvs" in done.err
        assert (at(repository, "exp") / "d" / ".jvs" / "format_version").exists()


def test_main_stays(repository: Repository, saved: str) -> None:
    for words in (["remove", "main"], ["remove", "main", "--force"], ["rename", "main", "other"]):
        assert repository("worktree", *words, cwd=repository.root).status == 1
    assert look(repository.main) == {"a": "1", "d/b": "1"}


def test_nobody_saws_off_the_branch_he_sits_on(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp").ok()
    for where in (at(repository, "exp"), at(repository, "exp") / "d"):
        done = repository("worktree", "remove", "exp", "--force", cwd=where)
        assert done.status == 1
        assert f"cd {repository.root}" in done.err
    assert look(at(repository, "exp")) == {"a": "1", "d/b": "1"}


def test_renaming(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp").ok()
    (at(repository, "exp") / "a").write_text("2")
    repository("snapshot", "two", cwd=at(repository, "exp")).ok()
    (at(repository, "exp") / "a").write_text("unsaved")
    repository("restore", "one", cwd=at(repository, "exp")).ok()
    shell = subprocess.Popen(["/bin/sh"], cwd=at(repository, "exp"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    done = repository("worktree", "rename", "exp", "best").ok()
    assert "Renamed" in done.out
    assert shell.communicate(b"cat a\n")[0] == b"1"
    assert [one["name"] for one in repository.json("worktree", "list")] == ["main", "best"]
    assert not at(repository, "exp").exists()
    status = repository.json("status", cwd=at(repository, "best"))
    assert (status["state"], status["label"], status["clean"]) == ("DETACHED", "best", True)
    repository("restore", "autosave/best", cwd=at(repository, "best")).ok()
    assert look(at(repository, "best"))["a"] == "unsaved"
    repository("snapshot", "three", cwd=at(repository, "best")).ok()
    notes = [one["note"] for one in repository.json("history", cwd=at(repository, "best"))]
    assert notes == ["three", "two", "one"]
    repository("worktree", "fork", "exp").ok()
    assert repository("worktree", "rename", "exp", "best").status == 1
    assert repository("worktree", "rename", "nowhere", "x").status == 5
    clean(repository)


def test_a_renamed_worktree_keeps_its_lock(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp").ok()
    repository("lock", "acquire", "-w", "exp").ok()
    assert repository("worktree", "rename", "exp", "best", "-w", "main").status == 11, "it is not main's lock"
    repository("worktree", "rename", "exp", "best", "-w", "exp").ok()
    assert repository.json("lock", "status", "-w", "best")["state"] == "held"
    repository("snapshot", "x", cwd=at(repository, "best")).ok()
    refused = repository("worktree", "remove", "best")
    assert refused.status == 11
    assert "next: jvs lock status -w best" in refused.err
    repository("lock", "release", "-w", "best").ok()
    repository("worktree", "remove", "best").ok()


def test_a_rename_costs_no_reading(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp").ok()
    repository("status", "-w", "exp").ok()
    indexes = set(os.listdir(repository.control / "cache" / "directories"))
    repository("worktree", "rename", "exp", "best").ok()
    now = set(os.listdir(repository.control / "cache" / "directories"))
    assert len(now - indexes) == len(indexes - now) == 1


def test_everything_is_audited(repository: Repository, saved: str) -> None:
    repository("worktree", "fork", "exp", "--reason", "to try").ok()
    repository("worktree", "rename", "exp", "best", "--reason", "it was").ok()
    repository("worktree", "remove", "best", "--reason", "done").ok()
    events = [one for one in repository.json("audit") if one["operation"].startswith("worktree.")]
    assert [(one["operation"], one["target"], one["reason"]) for one in events] == [
        ("worktree.create", "exp", "to try"),
        ("worktree.rename", "exp", "it was"),
        ("worktree.remove", "best", "done"),
    ]
    repository("audit", "--verify").ok()


def test_worktrees_of_a_store_that_lies_elsewhere(session: Session) -> None:
    session("init", "r", "--store", "elsewhere").ok()
    main = session.where / "r" / "main"
    (main / "f").write_text("1")
    session("snapshot", "one", cwd=main).ok()
    session("worktree", "fork", "exp", cwd=main).ok()
    assert look(session.where / "r" / "worktrees" / "exp") == {"f": "1"}
    (main / "f").write_text("2")
    session("restore", "one", cwd=main).ok()
    assert look(main) == {"f": "1"}
    session("worktree", "remove", "exp", cwd=main).ok()


@pytest.mark.parametrize("name", ["log", ".x", "deadbeef", "autosave"])
def test_names_that_no_label_has(repository: Repository, saved: str, name: str) -> None:
    repository("worktree", "fork", name).ok()
    (at(repository, name) / "a").write_text("2")
    repository("restore", "HEAD", cwd=at(repository, name)).ok()
    repository("restore", f"autosave/worktree-{name}", cwd=at(repository, name)).ok()
    repository("snapshot", "two", cwd=at(repository, name)).ok()
    repository("worktree", "rename", name, "plain").ok()
    assert repository.json("status", "-w", "plain")["label"] == "plain"
    repository("worktree", "remove", "plain").ok()
