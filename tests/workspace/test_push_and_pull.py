"""Pushes and pulls as people combine them; each test was a fault once."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jvs.castore.settings import StoreSettings
from jvs.errors import StateError, UnsavedChangesError, UsageError
from jvs.workspace.repo import Repo


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "below").mkdir(parents=True)
    (root / "a").write_text("one")
    (root / "below" / "b").write_text("two")
    return root


def test_the_store_is_never_pushed_nor_pulled_over(repo: Repo, source: Path, tmp_path: Path) -> None:
    repo.push(str(source), label="main")
    before = sorted(path for path in (tmp_path / "store").rglob("*"))
    for place in (tmp_path / "store", tmp_path / "store" / "packs", tmp_path):
        for act in (
            lambda place=place: repo.pull("main", str(place), discard=True),
            lambda place=place: repo.push(str(place), label="other"),
        ):
            with pytest.raises(UsageError) as caught:
                act()
            assert caught.value.code == "bad-path"
    assert sorted(path for path in (tmp_path / "store").rglob("*")) == before
    assert repo.verify().ok


def test_a_store_named_jvs_below_the_directory_is_left_alone(source: Path) -> None:
    Repo.init(str(source / ".jvs"), StoreSettings())
    with Repo.open(str(source / ".jvs"), actor="tester") as repo:
        first = repo.push(str(source), label="main")
        (source / "a").write_text("changed")
        repo.push(str(source))
        assert repo.pull("main@1", str(source)).ca_id == first.ca_id
        assert (source / "a").read_text() == "one"
        assert repo.verify().ok


def test_bits_that_were_not_applied_are_not_inherited(repo: Repo, source: Path, tmp_path: Path) -> None:
    os.chmod(source / "a", 0o4755)
    repo.push(str(source), label="main")
    copy = tmp_path / "copy"
    repo.pull("main", str(copy))
    assert (copy / "a").stat().st_mode & 0o7777 == 0o755
    assert repo.push(str(copy)).status == "unchanged"
    (copy / "a").unlink()
    repo.push(str(copy))
    (copy / "a").write_text("unrelated")
    os.chmod(copy / "a", 0o755)
    repo.push(str(copy))
    modes = {item.path: item.entry[2] for item in repo.tree("main").entries}
    assert modes[b"a"] == 0o755


def test_a_revision_the_label_already_is(repo: Repo, source: Path) -> None:
    repo.push(str(source), label="main")
    again = repo.push("main", label="main", as_revision=True)
    assert (again.status, again.generation, again.stats.entries) == ("unchanged", 1, 3)


@pytest.mark.parametrize("options", [{"force": True}, {"expected": "1"}, {"label": "main"}], ids=str)
def test_a_detached_push_has_nothing_to_expect(repo: Repo, source: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        repo.push(str(source), detach=True, **options)  # type: ignore[arg-type]


def test_a_directory_follows_the_new_name_of_its_label(repo: Repo, source: Path) -> None:
    repo.push(str(source), label="main")
    repo.rename_label("main", "trunk")
    (source / "a").write_text("changed")
    pushed = repo.push(str(source))
    assert (pushed.status, pushed.label, pushed.generation) == ("advanced", "trunk", 3)
    repo.rename_label("trunk", "main")
    (source / "a").write_text("changed again")
    assert repo.push(str(source), label="main").status == "advanced"


def test_a_renamed_label_that_moved_on_still_rejects(repo: Repo, source: Path, tmp_path: Path) -> None:
    repo.push(str(source), label="main")
    other = tmp_path / "other"
    repo.pull("main", str(other))
    (other / "a").write_text("theirs")
    repo.push(str(other))
    repo.rename_label("main", "trunk")
    (source / "a").write_text("ours")
    assert repo.push(str(source)).status == "rejected"


def test_autosave_of_an_emptied_directory(repo: Repo, source: Path) -> None:
    repo.push(str(source), label="main")
    (source / "a").unlink()
    (source / "below" / "b").unlink()
    (source / "below").rmdir()
    os.mkfifo(source / "pipe")
    pulled = repo.pull("main", str(source), autosave=True)
    assert pulled.autosaved is not None
    assert (source / "a").read_text() == "one"
    assert repo.tree(pulled.autosaved).entries_below == 0


def test_autosave_of_a_label_with_a_very_long_name(repo: Repo, source: Path) -> None:
    label = "x" * 255
    repo.push(str(source), label=label)
    (source / "a").write_text("unsaved")
    pulled = repo.pull(label, str(source), autosave=True)
    assert pulled.autosaved is not None
    assert b"".join(repo.cat(f"{pulled.autosaved}:a")) == b"unsaved"


def test_autosave_beside_another_autosave_that_is_in_its_way(repo: Repo, source: Path, tmp_path: Path) -> None:
    repo.push(str(source), label="x")
    (source / "a").write_text("unsaved")
    repo.pull("x", str(source), autosave=True)
    repo.rename_label("x", "y")
    repo.set_label("x/z", "y")
    other = tmp_path / "other"
    repo.pull("x/z", str(other))
    (other / "a").write_text("unsaved too")
    pulled = repo.pull("x/z", str(other), autosave=True)
    assert pulled.autosaved is not None
    assert b"".join(repo.cat(f"{pulled.autosaved}:a")) == b"unsaved too"


def test_a_dry_run_of_autosave_says_what_it_would_do(repo: Repo, source: Path) -> None:
    repo.push(str(source), label="main")
    (source / "a").write_text("unsaved")
    foreseen = repo.pull("main", str(source), autosave=True, dry_run=True)
    assert foreseen.written == 1
    assert (source / "a").read_text() == "unsaved"
    done = repo.pull("main", str(source), autosave=True)
    assert done.written == 1


def test_what_no_autosave_can_save_is_not_advised_again(repo: Repo, source: Path) -> None:
    repo.push(str(source), label="main")
    (source / "a").unlink()
    (source / ".jvsignore").write_text("a\n")
    repo.push(str(source))  # a stays as it was until it is removed
    repo.remove("main:a")
    repo.pull("main", str(source))
    (source / "a").write_text("ignored work")
    with pytest.raises(UnsavedChangesError) as caught:
        repo.pull("main@1", str(source), autosave=True)
    assert "--autosave" not in (caught.value.next or "")
    assert (source / "a").read_text() == "ignored work"


def test_a_dry_run_counts_as_the_pull_does(repo: Repo, source: Path, tmp_path: Path) -> None:
    repo.push(str(source), label="main")
    target = tmp_path / "target"
    foreseen = repo.pull("main", str(target), dry_run=True)
    done = repo.pull("main", str(target))
    assert (foreseen.written, foreseen.bytes_written) == (done.written, done.bytes_written) == (3, 6)


def test_verify_counts_every_object(repo: Repo, source: Path) -> None:
    pushed = repo.push(str(source), label="main")
    one, everything = repo.verify("main"), repo.verify()
    assert one.checked == everything.checked == pushed.stats.objects == 6
    assert one.bytes == 6


@pytest.mark.parametrize("pushes", [1, 3])
def test_a_pull_writes_an_ignored_file_that_only_the_tree_had(repo: Repo, source: Path, pushes: int) -> None:
    (source / "x.ign").write_text("data")
    past = os.stat(source / "a").st_mtime_ns - 10_000_000_000
    repo.push(str(source), label="main")
    (source / ".jvsignore").write_text("*.ign\n")
    (source / "x.ign").unlink()
    for number in range(pushes):
        (source / "b").write_text(str(number))
        for path in source.rglob("*"):
            if path.is_file():
                os.utime(path, ns=(past, past))
        repo.push(str(source))
    assert b"".join(repo.cat("main:x.ign")) == b"data"
    pulled = repo.pull("main@1", str(source))
    assert (source / "x.ign").read_text() == "data"
    assert not (source / ".jvsignore").exists()
    assert pulled.ca_id == repo.push(str(source), detach=True).ca_id


def test_trees_deeper_than_the_interpreters_stack(repo: Repo, tmp_path: Path) -> None:
    levels = sys.getrecursionlimit() + 50
    root, copy = tmp_path / "deep", tmp_path / "copy"
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    try:
        for _ in range(levels):
            os.mkdir("x", dir_fd=fd)
            below = os.open("x", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
        assert repo.push(str(root), label="main").stats.directories == levels
        assert repo.push(str(root), rehash=True).status == "unchanged"
        repo.pull("main", str(copy))
        assert repo.push(str(copy)).status == "unchanged"
        assert repo.remove("main:" + "/".join(["x"] * levels)).stats.entries == levels - 1
    finally:
        subprocess.run(["rm", "-rf", root, copy], check=True)  # pytest's own way is recursive


def test_a_half_done_pull_is_not_pushed(repo: Repo, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = repo.push(str(source), label="main")
    (source / "a").write_text("changed")
    (source / "below" / "b").write_text("changed")
    second = repo.push(str(source))

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        # as after SIGKILL: nothing is cleaned up, and the binding says that a pull is under way
        patch.setattr(importlib.import_module("jvs.castore.checkout.checkout"), "clean_up", killed)
        patch.setattr("jvs.castore.checkout.apply.Changer.place", killed)
        with pytest.raises(Killed):
            repo.pull("main@1", str(source))
    with pytest.raises(StateError) as caught:
        repo.push(str(source))
    assert caught.value.code == "interrupted-pull"
    assert repo.labels.require("main").ca_id == second.ca_id
    assert caught.value.next == f"jvs fs pull {first.ca_id.hex()} {source}"
    repo.pull(first.ca_id.hex(), str(source))
    assert (source / "a").read_text() == "one"
    assert repo.push(str(source), detach=True).ca_id == first.ca_id


def test_a_diff_with_a_directory_around_the_store_is_refused(repo: Repo, source: Path, tmp_path: Path) -> None:
    repo.push(str(source), label="main")
    for place in (tmp_path, tmp_path / "store"):
        with pytest.raises(UsageError):
            repo.diff("main", str(place))


def test_the_renaming_of_an_autosave_can_be_undone(repo: Repo, source: Path) -> None:
    repo.push(str(source), label="main")
    (source / "a").write_text("unsaved")
    repo.pull("main", str(source), autosave=True)
    repo.rename_label("autosave/main", "kept")
    assert repo.undo("kept").label == "autosave/main"
