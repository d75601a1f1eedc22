"""`jvs restore`: what is brought back, what is saved first, and where the worktree then stands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.blackbox.workspace.conftest import Repository


def look(root: Path) -> dict[str, str]:
    """Every file below `root` but what is in `.jvs`, with its content."""
    found = (path for path in sorted(root.rglob("*")) if ".jvs" not in path.relative_to(root).parts)
    return {str(path.relative_to(root)): path.read_text() for path in found if path.is_file()}


@pytest.fixture
def two(repository: Repository) -> tuple[str, str]:
    """Ids of two snapshots: `a` with the tag old and the note `the first`, then `a` and `d/b`."""
    repository.write("a", "1")
    first = repository.save("the first", "--tag", "old")
    repository.write("a", "2")
    repository.write("d/b", "2")
    return first, repository.save("the second")


FIRST = {"a": "1"}
SECOND = {"a": "2", "d/b": "2"}


def test_restoring_an_older_snapshot_detaches(repository: Repository, two: tuple[str, str]) -> None:
    done = repository("restore", two[0]).ok()
    assert "Restored" in done.out
    assert "DETACHED" in done.out
    assert "jvs worktree fork" in done.out
    assert "jvs restore HEAD" in done.out
    assert look(repository.main) == FIRST
    status = repository.json("status")
    assert (status["state"], status["head_snapshot_id"], status["latest_snapshot_id"]) == ("DETACHED", *two)
    assert repository("snapshot", "x").status == 1


def test_the_json_of_a_restore(repository: Repository, two: tuple[str, str]) -> None:
    value = repository.json("restore", two[0])
    assert (value["status"], value["snapshot_id"], value["detached"]) == ("restored", two[0], True)
    assert value["autosaved"] is None
    value = repository.json("restore", two[1])
    assert (value["status"], value["snapshot_id"], value["detached"]) == ("restored", two[1], False)


def test_head_is_the_newest_also_where_it_is_detached(repository: Repository, two: tuple[str, str]) -> None:
    repository("restore", two[0]).ok()
    done = repository("restore", "HEAD").ok()
    assert "HEAD state" in done.out
    assert "DETACHED" not in done.out
    assert look(repository.main) == SECOND
    assert repository.json("status")["state"] == "HEAD"
    repository("snapshot", "goes on").ok()


@pytest.mark.parametrize("target", ["old", "the first", "the fi", "main@1", "tag:old"])
def test_what_names_a_snapshot(repository: Repository, two: tuple[str, str], target: str) -> None:
    assert repository.json("restore", target)["snapshot_id"] == two[0]
    assert look(repository.main) == FIRST


@pytest.mark.parametrize("length", [12, 16, 26])
def test_the_beginning_of_an_id(repository: Repository, two: tuple[str, str], length: int) -> None:
    assert repository.json("restore", two[0][:length])["snapshot_id"] == two[0]


def test_several_matches_are_listed(repository: Repository, two: tuple[str, str]) -> None:
    done = repository("restore", "the", "--json")
    assert done.status == 2
    assert {match["id"] for match in done.value["error"]["details"]["matches"]} == set(two)
    assert look(repository.main) == SECOND
    nothing = repository("restore", "no such thing", "--json")
    assert nothing.status == 5
    assert "not found" in nothing.value["error"]["message"]
    assert repository("restore").status == 2


def test_it_asks_among_several(repository: Repository, two: tuple[str, str]) -> None:
    listed = repository("restore", "the", "-i", "--json", stdin=b"x\n")
    assert listed.status == 2
    order = [line.split()[1] for line in listed.err.splitlines() if line.strip()[:1].isdigit()]
    assert sorted(order) == [one[:12] for one in two]
    number = order.index(two[0][:12]) + 1
    done = repository("restore", "the", "-i", "--json", stdin=f"{number}\n".encode()).ok()
    assert done.value["snapshot_id"] == two[0]
    assert repository("restore", "-i", "--json", stdin=b"1\n").ok().value["snapshot_id"] == two[1]
    assert repository("restore", "old", "-i", "--json").ok().value["snapshot_id"] == two[0], "nothing to ask"


def test_unsaved_work_is_saved_first_and_comes_back(repository: Repository, two: tuple[str, str]) -> None:
    """The first JVS destroyed it."""
    repository.write("a", "unsaved")
    repository.write("new", "unsaved")
    (repository.main / "d" / "b").unlink()
    done = repository("restore", two[0]).ok()
    assert "jvs restore autosave/main" in done.err
    assert look(repository.main) == FIRST
    assert [one["note"] for one in repository.json("history")] == ["the second", "the first"]
    value = repository.json("restore", "autosave/main")
    assert look(repository.main) == {"a": "unsaved", "new": "unsaved"}
    assert value["detached"] is False, "it was unsaved work at the newest snapshot, and is again"
    status = repository.json("status")
    assert (status["total_added"], status["total_modified"], status["state"]) == (1, 1, "HEAD")
    repository("snapshot", "kept").ok()


def test_unsaved_work_of_a_detached_worktree_comes_back_there(repository: Repository, two: tuple[str, str]) -> None:
    repository("restore", two[0]).ok()
    repository.write("a", "tried")
    assert repository.json("restore", "HEAD")["autosaved"] == "autosave/main@1"
    assert repository.json("restore", "autosave/main@1")["detached"]
    assert look(repository.main) == {"a": "tried"}
    assert repository.json("status")["head_snapshot_id"] == two[0]


def test_what_was_never_saved_at_all(repository: Repository) -> None:
    assert repository("restore", "HEAD").status == 5
    repository.write("f", "x")
    assert repository("restore", "HEAD").status == 5
    assert look(repository.main) == {"f": "x"}


def test_the_directory_itself_stays(repository: Repository, two: tuple[str, str]) -> None:
    """The first JVS left the shell that ran it in a directory that was deleted."""
    inode = repository.main.stat().st_ino
    shell = subprocess.Popen(["/bin/sh"], cwd=repository.main, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for target in two:
        repository("restore", target).ok()
    out, _ = shell.communicate("pwd\ncat a\n")
    assert out.splitlines()[0] == str(repository.main)
    assert repository.main.stat().st_ino == inode


def test_newer_snapshots_survive_a_collection_while_detached(repository: Repository, two: tuple[str, str]) -> None:
    """The first JVS destroyed them."""
    repository("restore", two[0]).ok()
    repository("fs", "gc", "run", "--json").ok()
    assert [one["snapshot_id"] for one in repository.json("history")] == [two[1], two[0]]
    repository("restore", "HEAD").ok()
    assert look(repository.main) == SECOND


def test_some_paths_alone(repository: Repository, two: tuple[str, str]) -> None:
    repository.write("d/b", "3")
    repository.write("other", "unsaved")
    value = repository.json("restore", "old", "--path", "a")
    assert value["autosaved"] is None, "nothing unsaved is lost"
    assert look(repository.main) == {"a": "1", "d/b": "3", "other": "unsaved"}
    status = repository.json("status")
    assert (status["head_snapshot_id"], status["state"]) == (two[1], "HEAD")
    repository("snapshot", "mixed").ok()


def test_unsaved_work_at_the_paths_is_saved_first(repository: Repository, two: tuple[str, str]) -> None:
    repository.write("d/b", "unsaved")
    value = repository.json("restore", "HEAD", "--path", "d")
    assert value["autosaved"] == "autosave/main@1"
    assert look(repository.main) == SECOND
    repository("restore", "autosave/main", "--path", "d/b").ok()
    assert look(repository.main) == {"a": "2", "d/b": "unsaved"}


def test_an_unsaved_file_where_a_path_needs_a_directory_is_saved_first(
    repository: Repository, two: tuple[str, str]
) -> None:
    (repository.main / "d" / "b").unlink()
    (repository.main / "d").rmdir()
    repository.write("d", "unsaved")
    assert "jvs restore autosave/main" in repository("restore", "HEAD", "--path", "d/b").ok().err
    assert look(repository.main) == SECOND
    repository("restore", "autosave/main").ok()
    assert look(repository.main) == {"a": "2", "d": "unsaved"}


def test_paths_whose_directory_is_gone(repository: Repository, two: tuple[str, str]) -> None:
    repository.write("x/y/z/f", "deep")
    repository.write("x/y/g", "not this")
    (repository.main / "x" / "y").chmod(0o700)
    repository.save("deep")
    for name in ("x/y/z/f", "x/y/g"):
        (repository.main / name).unlink()
    os.removedirs(repository.main / "x" / "y" / "z")
    repository("snapshot", "gone").ok()
    repository("restore", "deep", "--path", "x/y/z/f", "--path", "a").ok()
    assert look(repository.main) == SECOND | {"x/y/z/f": "deep"}
    assert (repository.main / "x" / "y").stat().st_mode & 0o777 == 0o700


def test_paths_are_those_where_you_stand(repository: Repository, two: tuple[str, str]) -> None:
    repository.write("d/b", "3")
    repository("restore", "HEAD", "--path", "b", cwd=repository.main / "d").ok()
    assert look(repository.main) == SECOND
    assert repository("restore", "HEAD", "--path", "nowhere").status == 5
    assert repository("restore", "HEAD", "--path", "../..").status == 2


def test_a_dry_run_does_nothing(repository: Repository, two: tuple[str, str]) -> None:
    repository.write("a", "unsaved")
    value = repository.json("restore", "old", "--dry-run")
    assert (value["status"], value["detached"], value["written"], value["removed"]) == ("would-restore", True, 1, 2)
    assert value["unsaved"] is True
    assert "would be saved first" in repository("restore", "old", "--dry-run").ok().out
    assert look(repository.main) == SECOND | {"a": "unsaved"}
    assert repository.json("status")["state"] == "HEAD"
    value = repository.json("restore", "old", "--dry-run", "--path", "a")
    assert (value["written"], value["unsaved"]) == (1, True)
    other = next(name for name in SECOND if name != "a")
    assert repository.json("restore", "HEAD", "--dry-run", "--path", other)["unsaved"] is False
    assert repository.json("status")["clean"] is False
    done = repository("restore", "old", "--dry-run", "--path", "a").ok()
    assert done.out.startswith(f"Would restore 1 path of main to {two[0][:12]} ")
    assert look(repository.main) == SECOND | {"a": "unsaved"}
    assert not list((repository.control / "intents").iterdir())


def test_a_new_worktree_instead(repository: Repository, two: tuple[str, str]) -> None:
    done = repository("restore", "old", "--new-worktree", "exp").ok()
    assert "Created worktree exp" in done.out
    assert look(repository.root / "worktrees" / "exp") == FIRST
    assert look(repository.main) == SECOND
    assert repository("restore", "old", "--new-worktree", "x", "--path", "a").status == 2


def test_what_cannot_be_saved_is_in_the_way(repository: Repository) -> None:
    repository.write("data", "1")
    repository.save("has data")
    (repository.main / "data").unlink()
    repository.write(".jvsignore", "data\n")
    repository.save("ignores data")
    repository.write("data", "never saved")
    done = repository("restore", "has data")
    assert done.status == 1
    assert "--force" in done.err
    assert (repository.main / "data").read_text() == "never saved"
    assert repository.json("status")["state"] == "HEAD"
    assert not list((repository.control / "intents").iterdir())
    repository("restore", "has data", "--inplace", "--force", "--reason", "on purpose").ok()
    assert look(repository.main) == {"data": "1"}
    assert any(one["reason"] == "on purpose" for one in repository.json("audit") if one["operation"] == "restore")


def test_a_restore_is_audited_and_moves_no_label(repository: Repository, two: tuple[str, str]) -> None:
    before = repository.json("log")["log"]
    repository("restore", "old", "--reason", "because").ok()
    assert repository.json("log")["log"] == before
    newest = repository.json("audit")[-1]
    assert (newest["operation"], newest["target"], newest["reason"]) == ("restore", "main", "because")
    repository("audit", "--verify").ok()


def test_whoever_has_the_lock_alone_restores(repository: Repository, two: tuple[str, str]) -> None:
    repository("lock", "acquire").ok()
    repository("restore", "old").ok()
    (repository.control / "worktrees" / "main" / "session").unlink()
    done = repository("restore", "HEAD", "--json")
    assert done.status == 11
    assert done.value["error"]["error_code"] == "E_LOCK_CONFLICT"
    assert look(repository.main) == FIRST


def test_a_worktree_that_is_behind_comes_to_the_newest(repository: Repository, two: tuple[str, str]) -> None:
    repository("fs", "reset", "main", "main@1").ok()
    assert repository.json("status")["behind"] == 1
    refused = repository("snapshot", "x")
    assert refused.status == 6
    assert "jvs restore HEAD" in refused.err
    value = repository.json("restore", "HEAD")
    assert value["detached"] is False
    assert look(repository.main) == FIRST
    repository("snapshot", "x").ok()


def test_an_adopted_folder(repository: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "f").write_text("1")
    repository("init", "--adopt", "data", cwd=tmp_path).ok()
    repository("snapshot", "one", cwd=folder).ok()
    (folder / "f").write_text("2")
    repository("snapshot", "two", cwd=folder).ok()
    repository("worktree", "fork", "exp", cwd=folder).ok()
    repository("restore", "one", cwd=folder).ok()
    assert look(folder) == {"f": "1", ".jvs-worktrees/exp/f": "2"}
    repository("restore", "one", cwd=folder / ".jvs-worktrees" / "exp").ok()
    assert look(folder / ".jvs-worktrees" / "exp") == {"f": "1"}


def test_200_cycles_of_save_and_roll_back(repository: Repository, two: tuple[str, str]) -> None:
    rounds = 200 if os.environ.get("JVS_TORTURE") else 8
    for number in range(rounds):
        repository.write("a", f"round {number}")
        repository.write(f"d/made{number}", "x")
        saved = repository.save(f"round {number}")
        repository.write("a", "spoilt")
        assert repository.json("restore", saved)["autosaved"]
        assert (repository.main / "a").read_text() == f"round {number}"
    assert len(repository.json("history")) == rounds + 2


def test_a_way_on_from_a_restore_where_nothing_was_saved_yet(repository: Repository, two: tuple[str, str]) -> None:
    repository("worktree", "create", "empty").ok()
    repository("restore", "old", "-w", "empty").ok()
    assert "next: jvs undo" in repository("restore", "HEAD", "-w", "empty").err
    assert "jvs restore HEAD" not in repository("status", "-w", "empty").ok().out
    repository("undo", "-w", "empty").ok()
    assert look(repository.root / "worktrees" / "empty") == {}
    repository("snapshot", "x", "-w", "empty").ok()
