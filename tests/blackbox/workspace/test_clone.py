"""`jvs repo clone`, and copies of repositories that nobody has open."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jvs.workspace.repo import Repo
from jvs.workspace.repository.cloning import clone
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import find_layout
from jvs.workspace.repository.repository import Repository as Opened
from jvs.workspace.repository.snapshot import SnapshotOptions, snapshot
from tests.blackbox.workspace.conftest import Repository


@pytest.fixture
def saved(repository: Repository) -> Repository:
    """A history, a fork with unsaved work, a detached worktree, a tag, a ref, a pin, a policy."""
    repository.write("f", "one")
    one = repository.save("one", "--tag", "t")
    repository.write("d/g", "two")
    repository.save("two")
    repository("worktree", "fork", "exp").ok()
    exp = repository.root / "worktrees" / "exp"
    (exp / "f").write_text("mine")
    repository("snapshot", "mine", cwd=exp).ok()
    (exp / "unsaved").write_text("stays behind")
    repository("worktree", "create", "old").ok()
    repository("worktree", "create", "back", "--from", one).ok()
    repository("ref", "create", "first", one).ok()
    repository("pin", "add", one, "--reason", "why").ok()
    repository("fs", "retention", "set", "keep-last", "9").ok()
    repository("config", "set", "default_tags", "always").ok()
    return repository


def cloned(repository: Repository, *words: str) -> Repository:
    """The clone."""
    root = repository.root.parent / "clone"
    repository("repo", "clone", str(root), *words).ok()
    return Repository(repository.session, root)


def test_a_clone_has_it_all(saved: Repository) -> None:
    value = saved.json("repo", "clone", str(saved.root.parent / "clone"))
    fields = ["repo_root", "repo_id", "source_repo_root", "worktrees", "total_snapshots", "bytes"]
    assert list(value) == fields
    new = Repository(saved.session, Path(value["repo_root"]))
    assert new.json("info")["repo_id"] == value["repo_id"] != saved.json("info")["repo_id"]
    for words in (["history"], ["ref", "list"], ["pin", "list"], ["fs", "retention", "show"], ["config", "show"]):
        assert new.json(*words) == saved.json(*words), words
    trees = (new.json("worktree", "list"), saved.json("worktree", "list"))
    kept = ("name", "head_snapshot_id", "latest_snapshot_id", "base_snapshot_id", "created_at", "detached")
    assert [[one[key] for key in kept] for one in trees[0]] == [[one[key] for key in kept] for one in trees[1]]
    assert (new.main / "d" / "g").read_text() == "two"
    assert (new.root / "worktrees" / "exp" / "f").read_text() == "mine"
    assert not (new.root / "worktrees" / "exp" / "unsaved").exists()
    for name in value["worktrees"]:
        assert new("status", "-w", name).ok()
        assert "Nothing unsaved" in new("status", "-w", name).ok().out
    assert new("doctor", "--strict").ok().out == "Repository is healthy.\n"
    assert saved("doctor", "--strict").ok().out == "Repository is healthy.\n"
    assert not any(one["tamper_detected"] for one in new.json("verify", "--all"))
    new("audit", "--verify").ok()


def test_both_go_on_by_themselves(saved: Repository) -> None:
    new = cloned(saved)
    mine, theirs = saved.save("here"), new.save("there")
    assert [one["snapshot_id"] for one in new.json("history", "-n", "1")] == [theirs]
    assert [one["snapshot_id"] for one in saved.json("history", "-n", "1")] == [mine]
    shutil.rmtree(saved.root)
    new("restore", "t").ok()
    assert (new.main / "f").read_text() == "one"
    new("worktree", "fork", "again").ok()


def test_locks_stay_behind(saved: Repository) -> None:
    saved("lock", "acquire", "--lease-ms", "600000").ok()
    new = cloned(saved)
    new.save("nobody holds it here")
    saved.save("and it is held there still")
    assert new.json("lock", "status")["state"] == "free"


def test_a_detached_worktree_stays_detached(saved: Repository) -> None:
    saved("restore", "t").ok()
    new = cloned(saved)
    assert "DETACHED" in new("status").ok().out
    assert (new.main / "f").read_text() == "one"
    new("fs", "retention", "set", "keep-last", "0").ok()
    new("fs", "gc", "run").ok()
    assert len(new.json("history")) == 2, "what is newer than a detached worktree stays"


def test_without_worktrees(saved: Repository) -> None:
    new = cloned(saved, "--no-checkout")
    assert list(new.main.iterdir()) == []
    new("restore", "HEAD").ok()
    assert (new.main / "f").read_text() == "one"
    new("restore", "HEAD", "-w", "exp").ok()
    assert (new.root / "worktrees" / "exp" / "f").read_text() == "mine"
    assert new("doctor").ok()


def test_what_has_a_store_elsewhere_becomes_one(saved: Repository) -> None:
    """The clone has its own."""
    root = saved.root.parent / "far"
    saved("init", str(root), "--store", str(saved.root.parent / "elsewhere"), cwd=saved.root.parent).ok()
    far = Repository(saved.session, root)
    far.write("f", "far")
    far.save("far")
    new = cloned(far)
    shutil.rmtree(saved.root.parent / "elsewhere")
    assert new.json("verify")["tamper_detected"] is False


def test_where_something_is_already(saved: Repository) -> None:
    full = saved.root.parent / "full"
    full.mkdir()
    (full / "mine").write_text("x")
    for where in (full, saved.root, saved.main):
        assert saved("repo", "clone", str(where)).status == 1
    assert [path.name for path in full.iterdir()] == ["mine"]
    assert saved("repo", "clone", str(saved.control / "x")).status == 2
    empty = saved.root.parent / "empty"
    empty.mkdir()
    saved("repo", "clone", str(empty)).ok()


def test_a_damaged_one_is_not_cloned(saved: Repository) -> None:
    for pack in (saved.control / "packs").iterdir():
        pack.write_bytes(pack.read_bytes()[:100])
    root = saved.root.parent / "clone"
    done = saved("repo", "clone", str(root))
    assert done.status == 8
    assert not root.exists()


def test_a_copy_of_a_closed_repository_works(saved: Repository) -> None:
    """A backup, and a move to another disk: `cp -a`."""
    copy = Repository(saved.session, saved.root.parent / "copy")
    subprocess.run(["cp", "-a", str(saved.root), str(copy.root)], check=True)
    assert copy.json("history") == saved.json("history")
    assert copy.json("info")["repo_id"] == saved.json("info")["repo_id"]
    assert (copy.root / "worktrees" / "exp" / "unsaved").exists(), "with what is not saved"
    shutil.rmtree(saved.root)
    assert copy("doctor", "--strict").ok().out.endswith("Repository is healthy.\n")
    copy.save("it goes on")
    copy("restore", "t").ok()
    assert (copy.main / "f").read_text() == "one"
    assert not any(one["tamper_detected"] for one in copy.json("verify", "--all"))


PUSHER = """
import sys
from pathlib import Path
from jvs.workspace.repository.layout import find_layout
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.snapshot import SnapshotOptions, snapshot
root, worktree, stop = sys.argv[1:]
with Repository.open(find_layout(root, ""), actor="pusher") as repository:
    number = 0
    while not Path(stop).exists():
        number += 1
        path = Path(repository.path(worktree))
        (path / "big").write_bytes(f"{worktree} {number} ".encode() * 20_000)
        (path / "n").write_text(str(number))
        snapshot(repository, worktree, SnapshotOptions(f"{worktree} {number}"))
        if number % 5 == 0 and worktree == "main":
            repository.repo.gc_run()
"""


def test_a_clone_beside_pushers_and_collectors(tmp_path: Path) -> None:
    """What was acknowledged before a clone began is in it, and whatever is in it is whole."""
    root, stop = str(tmp_path / "r"), tmp_path / "stop"
    init(root, engine="copy")
    rounds = 8 if os.environ.get("JVS_TORTURE") else 3
    with Opened.open(find_layout(root, ""), actor="ada") as repository:
        from jvs.workspace.repository.creating import create

        snapshot(repository, "main", SnapshotOptions("begin"))
        create(repository, "other", None)
        repository.repo.set_retention(["keep-last", "3"])
        pushers = [
            subprocess.Popen([sys.executable, "-c", PUSHER, root, name, str(stop)]) for name in ("main", "other")
        ]
        try:
            while not all((one := repository.latest(name)) and name in one.message for name in ("main", "other")):
                time.sleep(0.05)
            for number in range(rounds):
                time.sleep(0.5)
                before = {name: repository.latest(name) for name in ("main", "other")}
                done = clone(repository, str(tmp_path / f"c{number}"))
                with Opened.open(find_layout(done.root, ""), actor="ada") as new:
                    assert new.repo.verify().damaged == ()
                    for name, one in before.items():
                        latest = new.latest(name)
                        assert latest is not None
                        assert one is not None
                        assert latest.save_point_id >= one.save_point_id
                        assert latest.message == f"{name} {Path(new.path(name), 'n').read_text()}"
                shutil.rmtree(done.root)
        finally:
            stop.touch()
            statuses = [pusher.wait(60) for pusher in pushers]
    assert statuses == [0, 0]
    with Repo.open(str(tmp_path / "r" / ".jvs"), actor="ada") as repo:
        assert repo.verify().damaged == ()
