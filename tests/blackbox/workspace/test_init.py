"""`jvs init`, and which repository and worktree a command means."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.blackbox.session import Session
from tests.blackbox.workspace.conftest import Repository


def files(root: Path) -> dict[str, bytes | None]:
    """Every path below `root`, with its content, but what is in `.jvs`."""
    found = (path for path in root.rglob("*") if ".jvs" not in path.relative_to(root).parts)
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in found}


def test_init_makes_a_repository(session: Session) -> None:
    done = session("init", "name").ok()
    root = session.where / "name"
    assert f"Initialized JVS repository in {root}" in done.out
    assert (root / "main").is_dir()
    assert (root / "worktrees").is_dir()
    for name in "format_version repo_id worktrees snapshots descriptors refs intents audit gc".split():
        assert (root / ".jvs" / name).exists(), name


def test_the_json_of_init(session: Session) -> None:
    value = session.json("init", "name")
    assert list(value) == ["format_version", "repo_id", "repo_root"]
    assert value["repo_root"] == str(session.where / "name")
    assert value["repo_id"] == (session.where / "name" / ".jvs" / "repo_id").read_text().strip()
    assert value["format_version"] == 1


def test_parents_are_made_and_ids_differ(session: Session) -> None:
    one = session.json("init", "a/b/c")
    other = session.json("init", "d")
    assert one["repo_id"] != other["repo_id"]


def test_an_existing_repository_is_left_alone(repository: Repository) -> None:
    repository.write("f", "x")
    repository.save("one")
    again = repository("init", "r", cwd=repository.root.parent)
    assert again.status == 1
    assert "already exists" in again.err
    assert len(repository.json("history")) == 1


def test_a_directory_with_something_in_it_is_left_alone(session: Session) -> None:
    (session.where / "full").mkdir()
    (session.where / "full" / "f").write_text("x")
    done = session("init", "full")
    assert done.status == 1
    assert "--adopt" in done.err
    assert sorted(path.name for path in (session.where / "full").iterdir()) == ["f"]


def test_a_file_is_no_place_for_a_repository(session: Session) -> None:
    (session.where / "f").write_text("x")
    assert session("init", "f").status == 2


def test_a_bare_store_is_no_repository(session: Session) -> None:
    session("fs", "init").ok()
    for verb in ("snapshot", "history", "status", "diff", "info"):
        done = session(verb)
        assert done.status == 10, verb
        assert "jvs fs" in done.err
    assert session("init", ".").status == 1
    assert session("status", "--json").value["error"]["error_code"] == "E_NOT_REPO"


def test_without_a_repository(session: Session) -> None:
    done = session("status")
    assert done.status == 10
    assert "jvs init" in done.err


def test_adopting_keeps_every_file_where_it_is(session: Session) -> None:
    folder = session.where / "data"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "f").write_text("x")
    (folder / "main").write_text("a file that is called main")
    (folder / "worktrees").mkdir()
    before = files(folder)
    session("init", "--adopt", "data").ok()
    assert files(folder) == before
    made = json.loads(session("snapshot", "as it came", "--json", cwd=folder).ok().out)
    assert made["worktree_name"] == "main"
    tree = session("fs", "tree", "main", cwd=folder).ok().out
    assert ".jvs" not in tree
    for name in before:
        assert Path(name).name in tree
    assert session("status", "--json", cwd=folder / "deep").value["clean"]
    assert files(folder) == before


def test_adopting_twice_is_refused(session: Session) -> None:
    (session.where / "data").mkdir()
    session("init", "--adopt", "data").ok()
    assert session("init", "--adopt", "data").status == 1
    assert session("init", "data").status == 1


def test_adopting_what_is_not_there(session: Session) -> None:
    assert session("init", "--adopt", "nowhere").status == 2
    assert not (session.where / "nowhere").exists()
    assert session("init").status == 2
    assert session("init", "a", "--adopt", "b").status == 2


def test_a_worktree_is_not_adopted(repository: Repository) -> None:
    assert repository("init", "--adopt", ".").status == 1
    assert not (repository.main / ".jvs").exists()


def test_nothing_is_made_in_a_control_directory(repository: Repository) -> None:
    assert repository("init", ".jvs/x", cwd=repository.root).status == 2


def test_a_store_that_lies_elsewhere(session: Session) -> None:
    session("init", "r", "--store", "elsewhere").ok()
    root = session.where / "r"
    assert (root / ".jvs" / "store").read_text().strip() == str(session.where / "elsewhere")
    assert (root / ".jvs" / "format_version").exists()
    assert not (root / ".jvs" / "packs").exists()
    (root / "main" / "f").write_text("x")
    session("snapshot", "one", cwd=root / "main").ok()
    assert len(session("history", "--json", cwd=root / "main").value) == 1
    assert "one" in session("fs", "log", "main", cwd=root / "main").ok().out
    assert "one" in session("fs", "log", "main", "--store", "elsewhere").ok().out
    shutil.move(session.where / "elsewhere", session.where / "away")
    lost = session("history", cwd=root / "main")
    assert lost.status == 10
    assert "elsewhere" in lost.err


def test_a_store_is_not_put_where_it_would_be_content(session: Session) -> None:
    assert session("init", "r", "--store", "r/main/store").status == 2
    assert not (session.where / "r" / "main").exists()


@pytest.mark.parametrize("where", ["", ".jvs", "worktrees"])
def test_at_the_root_it_is_asked_which_worktree(repository: Repository, where: str) -> None:
    for words in (["status"], ["history"], ["snapshot", "x"], ["diff"]):
        done = repository(*words, cwd=repository.root / where)
        assert done.status == 2
        assert "cd " in done.err
        assert "-w main" in done.err
    assert repository("status", "-w", "main", cwd=repository.root / where).status == 0
    assert repository("status", "--worktree", "main", cwd=repository.root / where).status == 0


def test_a_repository_is_named_by_its_root(repository: Repository, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    assert repository("status", "-w", "main", "--repo", repository.root, cwd=away).status == 0
    assert repository("status", "-w", "main", "--repo", repository.control, cwd=away).status == 0
    assert repository("status", "-w", "main", "--repo", away, cwd=away).status == 10
    assert repository("status", "--repo", repository.root, cwd=away).status == 2


def test_workspace_verbs_ignore_the_store_of_the_environment(repository: Repository) -> None:
    (repository.root.parent / "other").mkdir()
    repository("fs", "init", "other").ok()
    env = {"JVS_STORE": str(repository.root.parent / "other")}
    assert repository("info", "--json", env=env).value["repo_root"] == str(repository.root)
    assert repository("info", "--store", "x").status == 2


def test_a_worktree_that_is_not_there(repository: Repository) -> None:
    done = repository("status", "-w", "nowhere", "--json")
    assert done.status == 5
    assert "not found" in done.value["error"]["message"]


@pytest.mark.parametrize("name", [".", "..", "HEAD", "-x", "a/b", "a b", "", "é", ".jvs", "../main"])
def test_names_that_no_worktree_has(repository: Repository, name: str) -> None:
    done = repository("status", f"--worktree={name}", "--json")
    assert done.status == 2
    assert done.value["error"]["error_code"] == "E_NAME_INVALID"


def test_a_worktree_reached_through_a_symlink(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repository.main)
    repository.write("f", "x")
    assert repository("snapshot", "x", cwd=tmp_path / "link").status == 0


def test_info(repository: Repository) -> None:
    repository.write("f", "x")
    repository.save("one")
    value = repository.json("info")
    assert list(value) == "repo_root repo_id format_version snapshot_engine total_worktrees total_snapshots".split()
    assert (value["total_worktrees"], value["total_snapshots"]) == (1, 1)
    assert value["snapshot_engine"] in ("juicefs-clone", "reflink-copy", "copy")
    assert repository("info").ok().out.startswith("Repository")


def test_config(repository: Repository) -> None:
    assert repository.json("config", "show") == {
        "compress": "default",
        "default_tags": "",
        "engine": "auto",
        "wait": "10",
    }
    repository("config", "set", "default_tags", "nightly, lab").ok()
    assert repository.json("config", "get", "default_tags") == {"key": "default_tags", "value": "nightly, lab"}
    assert repository.json("snapshot", "x", "--tag", "own")["tags"] == ["own", "nightly", "lab"]
    for key, value in (("nothing", "x"), ("compress", "much"), ("wait", "-1"), ("default_tags", "a b")):
        assert repository("config", "set", key, value).status == 2, key
    assert repository("config", "set", "engine", "nonsense").status == 5
    assert repository("config", "get", "nothing").status == 2


def test_a_forced_engine_that_cannot_work_is_an_error(session: Session) -> None:
    assert session("init", "r", "--engine", "nonsense").status == 5
    assert not (session.where / "r").exists()
    assert session("init", "r", env={"JVS_ENGINE": "juicefs-clone"}).status != 0
    session("init", "r", env={"JVS_ENGINE": "copy"}).ok()
    assert session("info", "--json", cwd=session.where / "r").value["snapshot_engine"] == "copy"


def test_a_copy_of_a_repository_is_one(repository: Repository) -> None:
    repository.write("f", "x")
    repository.save("one")
    repository.write("f", "y")
    copy = repository.root.parent / "copy"
    shutil.copytree(repository.root, copy)
    status = repository.json("status", cwd=copy / "main")
    assert (status["total_modified"], status["behind"], status["state"]) == (1, 0, "HEAD")
    repository("snapshot", "two", cwd=copy / "main").ok()
    assert len(repository.json("history", cwd=copy / "main")) == 2
    assert len(repository.json("history")) == 1
    moved = repository.root.parent / "moved"
    repository.root.rename(moved)
    assert repository.json("status", cwd=moved / "main")["total_modified"] == 1
