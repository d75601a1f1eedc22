"""Working on while a collector truncates the label's reflog."""

from __future__ import annotations

from pathlib import Path

from jvs.castore.backend import Kind
from jvs.labels.store import wall_clock
from jvs.workspace.checkup import label_faults, lost_snapshots
from jvs.workspace.repo import Repo


def edit(source: Path, text: str) -> str:
    source.mkdir(exist_ok=True)
    (source / "file").write_text(text)
    return str(source)


def truncate(repo: Repo) -> int:
    repo.labels.set_retention("main", ["keep-last 1"])
    return sum(step.done for step in repo.labels.expire(wall_clock()))


def test_a_push_after_a_truncation_loses_no_race(repo: Repo, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for text in ("one", "two"):
        repo.push(edit(source, text), label="main")
    assert truncate(repo) == 1
    pushed = repo.push(edit(source, "three"), label="main")
    assert (pushed.status, pushed.generation) == ("advanced", 4)
    assert truncate(repo) == 2
    unchanged = repo.push(str(source), label="main")
    assert unchanged.status == "unchanged"
    assert repo.push(edit(source, "four"), label="main").status == "advanced"
    ops = [entry.op for entry in repo.labels.log("main", newest_first=False)]
    assert ops == ["create", "push", "checkpoint", "push", "checkpoint", "push"]
    assert repo.labels.verify() == 6


def test_a_truncation_between_a_pull_and_a_push_loses_no_race(repo: Repo, tmp_path: Path) -> None:
    for text in ("one", "two"):
        repo.push(edit(tmp_path / "source", text), label="main")
    repo.pull("main", str(tmp_path / "copy"))
    truncate(repo)
    assert repo.push(edit(tmp_path / "copy", "three"), label="main").status == "advanced"
    rejected = repo.push(edit(tmp_path / "source", "four"), label="main")
    assert rejected.status == "rejected"  # somebody really was faster


def test_a_removal_that_expects_what_was_before_a_truncation(repo: Repo, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for text in ("one", "two"):
        repo.push(edit(source, text), label="main")
    truncate(repo)
    assert repo.remove("main:file", expected="2").status == "advanced"


def test_a_directory_of_a_label_that_was_forgotten_is_pushed_on(repo: Repo, tmp_path: Path) -> None:
    source = tmp_path / "source"
    repo.push(edit(source, "one"), label="gone")
    repo.labels.delete("gone")
    repo.labels.set_retention("*", ["keep-deleted 0"])
    list(repo.labels.expire(wall_clock()))
    (source / "file").write_text("more than one")
    (source / "other").write_text("x")
    saved = repo.push(str(source), label="main")
    assert (saved.status, saved.generation) == ("advanced", 1)
    assert repo.labels.resolve("main").parents
    repo.labels.delete("main")
    list(repo.labels.expire(wall_clock()))
    repo.push(edit(tmp_path / "another", "two"), label="another")
    repo.pull("another", str(source), autosave=True)
    assert repo.labels.require("another").generation == 1


def test_what_truncation_let_go_is_not_missed(repo: Repo, tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        repo.push(edit(tmp_path / "source", text), label="main")
    first = repo.labels.resolve("main@1").ca_id
    truncate(repo)
    assert repo.store.delete(Kind.PAGE, [first]) == 1
    assert list(lost_snapshots(repo)) == []
    assert list(label_faults(repo)) == []
