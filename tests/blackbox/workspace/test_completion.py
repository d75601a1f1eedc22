"""What a shell is offered where the verbs of a repository take worktrees, snapshots, tags, refs and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blackbox.workspace.conftest import Repository


def offered(repository: Repository, line: str, cwd: Path | None = None) -> list[str]:
    """What bash is offered for the last word of a command line."""
    words = line.split(" ")
    env = {"_JVS_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = repository(cwd=cwd, env=env).ok()
    return [answer.removeprefix("plain,") for answer in done.out.split()]


@pytest.fixture
def saved(repository: Repository) -> list[str]:
    """Ids of two snapshots; the first is tagged `best`. There are the worktree `exp` and the ref `v1`, too."""
    ids = []
    for text, words in (("1", ["--tag", "best"]), ("2", [])):
        repository.write("f", text)
        ids.append(repository.save(text, *words))
    repository("worktree", "create", "exp").ok()
    repository("ref", "create", "v1", "best").ok()
    return ids


def test_names(repository: Repository, saved: list[str]) -> None:
    for line, answers in (
        ("jvs worktree remove ", ["main", "exp"]),
        ("jvs wt rename e", ["exp"]),
        ("jvs worktree path m", ["main"]),
        ("jvs status -w e", ["exp"]),
        ("jvs restore b", ["best"]),
        ("jvs restore H", ["HEAD"]),
        ("jvs worktree create x --from b", ["best"]),
        ("jvs worktree fork b", ["best"]),
        ("jvs ref create x b", ["best"]),
        ("jvs pin add b", ["best"]),
        ("jvs history --tag ", ["best"]),
        ("jvs ref delete ", ["v1"]),
        ("jvs config set w", ["wait"]),
        ("jvs restore HEAD --path f", ["file,f"]),
        ("jvs snapshot -F f", ["file,f"]),
        ("jvs repo clone d", ["dir,d"]),
    ):
        assert offered(repository, line) == answers, line


def test_snapshots(repository: Repository, saved: list[str]) -> None:
    first, second = saved
    for verb in ("restore", "diff", "diff HEAD", "verify"):
        assert offered(repository, f"jvs {verb} ") == ["HEAD", "best", second[:12], first[:12]]
        assert offered(repository, f"jvs {verb} {first[:14]}") == [first]
        assert offered(repository, f"jvs {verb} zz") == []


def test_snapshots_of_the_worktree_that_is_meant(repository: Repository, saved: list[str]) -> None:
    assert offered(repository, "jvs restore -w exp 0") == []
    assert len(offered(repository, "jvs restore -w main 0", cwd=repository.root)) == 2
    assert len(offered(repository, f"jvs restore --repo {repository.root} 0", cwd=repository.root.parent)) == 2


def test_unsaved_work_that_was_saved(repository: Repository, saved: list[str]) -> None:
    assert offered(repository, "jvs restore a") == []
    repository.write("f", "not saved")
    repository("restore", "HEAD").ok()
    assert offered(repository, "jvs restore a") == ["autosave/main"]


def test_nothing_where_there_is_no_repository(repository: Repository) -> None:
    for line in ("restore ", "worktree remove ", "history --tag ", "ref delete "):
        assert offered(repository, f"jvs {line}", cwd=repository.root.parent) == []
