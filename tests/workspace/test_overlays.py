"""Overlays of labels: what a push does, and many that push beside one another."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jvs.errors import UnknownError, UsageError
from jvs.workspace.overlays import RepoOverlay, open_overlay
from jvs.workspace.repo import Repo


@pytest.fixture
def source(repo: Repo, tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "a" / "b").mkdir(parents=True)
    for name in ("top", "a/one", "a/b/two", "a/b/three"):
        (root / name).write_text(name * 100)
    repo.push(str(root), label="main")
    return root


def test_a_push_is_that_of_the_same_directory(repo: Repo, source: Path, tmp_path: Path) -> None:
    with open_overlay(repo, "main") as fs:
        fs.write_text("a/new", "new")
        fs.rename("a/b", "c")
        assert [(change.path, change.before is None, change.after is None) for change in fs.diff()] == [
            ((b"a", b"b"), False, True),
            ((b"a", b"b", b"three"), False, True),
            ((b"a", b"b", b"two"), False, True),
            ((b"a", b"new"), True, False),
            ((b"c",), True, False),
            ((b"c", b"three"), True, False),
            ((b"c", b"two"), True, False),
        ]
        done = fs.push(message="work").push
        assert (done.status, done.generation) == ("advanced", 2)
        assert list(fs.changes()) == []
        (source / "a/new").write_text("new")
        (source / "a/b").rename(source / "c")
        assert repo.push(str(source), detach=True).ca_id == done.ca_id
        assert fs.push().push.status == "unchanged"
        fs.unlink("top")
        assert fs.push().push.generation == 3  # it goes on from its own push
    repo.pull("main", str(tmp_path / "out"))
    assert (tmp_path / "out/c/two").read_text() == "a/b/two" * 100
    assert not (tmp_path / "out/top").exists()


def test_a_label_that_moved_rejects_the_push_and_the_overlay_stays(repo: Repo, source: Path) -> None:
    with open_overlay(repo, "main") as fs:
        fs.write_text("mine", "mine")
        (source / "theirs").write_text("theirs")
        repo.push(str(source))
        done = fs.push()
        assert (done.push.status, done.merge) == ("rejected", None)
        assert fs.read_text("mine") == "mine"
        assert not fs.exists("theirs")
        done = fs.push(merge=True)
        assert (done.push.status, done.push.generation) == ("advanced", 3)
        assert fs.read_text("mine") == "mine"
        assert fs.read_text("theirs") == "theirs"
        assert list(fs.changes()) == []


def test_a_conflict_is_in_the_result_and_nothing_is_lost(repo: Repo, source: Path) -> None:
    with open_overlay(repo, "main") as fs:
        fs.write_text("top", "mine")
        (source / "top").write_text("theirs")
        repo.push(str(source))
        done = fs.push(merge=True)
        assert (done.push.status, done.push.generation) == ("rejected", None)
        assert done.merge is not None
        assert done.push.error is done.merge.error is not None
        assert fs.read_text("top") == "mine"
        assert fs.push(force=True).push.status == "advanced"


def test_an_open_file_that_a_merge_changed_means_no_other_file(repo: Repo, source: Path, tmp_path: Path) -> None:
    layer = str(tmp_path / "layer")
    with open_overlay(repo, "main") as theirs, open_overlay(repo, "main", layer) as ours:
        theirs.write_text("two", "not to be touched")
        theirs.write_text("a/b/two", "theirs")
        assert theirs.push().push.generation == 2
        with ours.open("a/b/two", "r+b", 0) as file:
            ours.write_text("new", "new")
            assert ours.push(merge=True).push.generation == 3
            file.write(b"ours")
            file.seek(0)
            assert file.read() == b"ours" + (b"a/b/two" * 100)[4:]
        assert list(ours.changes()) == []
        assert (ours.read_text("two"), ours.read_text("a/b/two")) == ("not to be touched", "theirs")
    with RepoOverlay.resume(repo.objects, layer) as ours:
        assert (ours.read_text("two"), ours.read_text("a/b/two")) == ("not to be touched", "theirs")


def test_other_labels_and_other_revisions(repo: Repo, source: Path) -> None:
    (source / "more").write_text("more")
    repo.push(str(source))
    with open_overlay(repo, "main@1") as fs:
        fs.write_text("x", "x")
        assert fs.push().push.status == "rejected"
        assert fs.push("side").push.generation == 1
    with open_overlay(repo, "main:a") as fs:
        assert fs.listdir() == ["b", "one"]
        with pytest.raises(UsageError):
            fs.push()
        assert fs.push(detach=True).push.status == "detached"
    with pytest.raises(UnknownError):
        open_overlay(repo, "nothing")


def test_pushes_from_many_threads_all_land(repo: Repo, source: Path) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with open_overlay(repo, "main") as fs:
                fs.write_text(f"a/{number}", str(number))
                assert fs.push(merge=True).push.status == "advanced"
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with open_overlay(repo, "main") as fs:
        assert fs.listdir("a") == [*map(str, range(6)), "b", "one"]
    assert repo.labels.require("main").generation == 7


def test_the_base_is_kept_while_it_is_open(repo: Repo, source: Path) -> None:
    with open_overlay(repo, "main") as fs:
        repo.set_retention(["keep-last", "1"])
        for name in ("top", "a/one"):
            (source / name).write_text("other")
            repo.push(str(source))
        repo.gc_run()
        assert fs.read_text("top") == "top" * 100
