"""`jvs undo` and `jvs log`: the newest thing that was done in a worktree is reverted, and nothing is lost by it."""

from __future__ import annotations

import pytest

from tests.blackbox.workspace.conftest import Repository
from tests.blackbox.workspace.test_restore import look


@pytest.fixture
def two(repository: Repository) -> tuple[str, str]:
    """Ids of two snapshots: `a` is 1, then 2."""
    repository.write("a", "1")
    first = repository.save("one")
    repository.write("a", "2")
    return first, repository.save("two")


def test_a_snapshot_that_is_undone_is_unsaved_work_again(repository: Repository, two: tuple[str, str]) -> None:
    assert repository.json("undo")["undid"] == "move"
    assert look(repository.main) == {"a": "2"}
    status = repository.json("status")
    assert (status["total_modified"], status["behind"], status["state"]) == (1, 0, "HEAD")
    repository("undo").ok()
    assert repository.json("status")["clean"], "the undo is undone"
    repository("undo").ok()
    repository("snapshot", "other").ok()
    assert repository.json("history", "-n", "1")[0]["note"] == "other"


def test_the_first_snapshot_undone(repository: Repository) -> None:
    repository.write("a", "1")
    repository.save("one")
    repository("undo").ok()
    assert look(repository.main) == {"a": "1"}
    assert repository.json("history") == []
    assert not repository.json("status")["clean"]
    repository("snapshot", "again").ok()
    assert [one["note"] for one in repository.json("history")] == ["again"]


def test_a_restore_that_is_undone(repository: Repository, two: tuple[str, str]) -> None:
    repository.write("a", "unsaved")
    repository.write("new", "unsaved")
    before = repository.json("log")["log"]
    repository("restore", two[0]).ok()
    value = repository.json("undo")
    assert (value["undid"], value["detached"]) == ("restore", False)
    assert look(repository.main) == {"a": "unsaved", "new": "unsaved"}
    assert repository.json("status")["total_modified"] == 1
    repository("undo").ok()
    assert look(repository.main) == {"a": "1"}
    assert repository.json("status")["state"] == "DETACHED"
    repository("undo").ok()
    assert look(repository.main) == {"a": "unsaved", "new": "unsaved"}
    assert repository.json("log")["log"] == before, "no label has moved"


def test_what_came_last_is_undone_first(repository: Repository, two: tuple[str, str]) -> None:
    repository("restore", two[0]).ok()
    repository("restore", "HEAD").ok()
    repository.write("a", "3")
    repository.save("three")
    assert repository.json("undo")["undid"] == "move"
    assert look(repository.main) == {"a": "3"}


def test_paths_that_were_restored(repository: Repository, two: tuple[str, str]) -> None:
    repository.write("b", "unsaved")
    repository("restore", two[0], "--path", "a").ok()
    assert look(repository.main) == {"a": "1", "b": "unsaved"}
    repository("undo").ok()
    assert look(repository.main) == {"a": "2", "b": "unsaved"}


def test_somebody_elses_move_undone(repository: Repository, two: tuple[str, str]) -> None:
    repository("fs", "reset", "main", "main@1").ok()
    assert repository.json("status")["behind"] == 1
    repository("undo").ok()
    assert repository.json("status")["behind"] == 0
    repository("snapshot", "goes on").ok()


def test_nothing_to_undo(repository: Repository, two: tuple[str, str]) -> None:
    repository("worktree", "fork", "exp").ok()
    done = repository("undo", "--json", cwd=repository.root / "worktrees" / "exp")
    assert done.status == 1
    assert done.value["error"]["code"] == "nothing-to-undo"
    repository("worktree", "create", "empty").ok()
    assert repository("undo", "-w", "empty").status == 1


def test_a_rename_undone(repository: Repository, two: tuple[str, str]) -> None:
    repository("worktree", "fork", "exp").ok()
    repository("worktree", "rename", "exp", "best").ok()
    value = repository.json("undo", "-w", "best")
    assert (value["undid"], value["worktree_name"]) == ("rename", "exp")
    assert look(repository.root / "worktrees" / "exp") == {"a": "2"}


def test_the_lock_keeps_others_from_it(repository: Repository, two: tuple[str, str]) -> None:
    repository("lock", "acquire").ok()
    (repository.control / "worktrees" / "main" / "session").unlink()
    assert repository("undo").status == 11


def test_the_log(repository: Repository, two: tuple[str, str]) -> None:
    repository("undo").ok()
    assert [one["op"] for one in repository.json("log")["log"]] == ["create", "push", "reset"]
    assert len(repository.json("log", "-n", "1")["log"]) == 1
    assert "reset" in repository("log").ok().out
    assert repository("log", cwd=repository.root).status == 2
