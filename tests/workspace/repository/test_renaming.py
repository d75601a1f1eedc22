"""Renames and removals of worktrees that are refused, or fail half-way."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.errors import StoreError, UnsavedChangesError
from jvs.workspace.repository import intents
from jvs.workspace.repository.creating import create, infos
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import layout_at
from jvs.workspace.repository.removing import remove
from jvs.workspace.repository.renaming import rename
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.snapshot import SnapshotOptions, snapshot
from jvs.workspace.repository.worktrees import Registry
from tests.castore.ingest.support import NOBODY, ordinary_user


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """With the worktree exp, which has a snapshot."""
    init(str(tmp_path / "r"), engine="copy", actor="ada")
    layout = layout_at(str(tmp_path / "r"))
    assert layout is not None
    with Repository.open(layout, actor="ada") as opened:
        create(opened, "exp", None)
        Path(opened.path("exp"), "a").write_text("1")
        snapshot(opened, "exp", SnapshotOptions("one"))
        yield opened


def refuse(*_args: object) -> None:
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


rename_any = os.rename


def refuse_directories(before: str, after: str) -> None:
    """Rename as where something is mounted on each directory."""
    if os.path.isdir(before):
        refuse()
    rename_any(before, after)


def check_nothing_happened(repository: Repository) -> None:
    assert repository.registry.names() == ["main", "exp"]
    assert os.listdir(repository.layout.worktrees) == ["exp"]
    assert repository.repo.labels.get("exp") is not None
    assert not intents.any_there(repository.layout)
    snapshot(repository, "exp", SnapshotOptions("more"))


def test_a_directory_that_cannot_be_renamed_keeps_its_label_too(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse_directories)
        with pytest.raises(StoreError, match="cannot rename"):
            rename(repository, "exp", "best")
    assert repository.repo.labels.get("best") is None
    check_nothing_happened(repository)


def test_a_rename_that_is_refused_by_the_store_gives_the_directory_its_name_back(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(repository.repo.store, "transact", refuse)
        with pytest.raises(OSError, match="busy"):
            rename(repository, "exp", "best")
    check_nothing_happened(repository)


def test_an_act_that_is_interrupted_just_after_its_transaction_is_finished(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = repository.repo.store.transact

    def interrupted(act: object) -> None:
        transact(act)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(repository.repo.store, "transact", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rename(repository, "exp", "best")
    with Repository.open(repository.layout, actor="ada") as opened:
        assert opened.recovered
        assert opened.registry.names() == ["main", "best"]
        assert opened.repo.labels.get("best") is not None
    with monkeypatch.context() as patched:
        patched.setattr(repository.repo.store, "transact", interrupted)
        with pytest.raises(KeyboardInterrupt):
            remove(repository, "best", here="/")
    with Repository.open(repository.layout, actor="ada") as opened:
        assert opened.recovered
        assert opened.registry.names() == ["main"]
        assert os.listdir(opened.layout.worktrees) == []
        assert opened.repo.labels.get("best") is None


def test_a_directory_that_cannot_be_moved_is_not_removed(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse_directories)
        with pytest.raises(StoreError, match="cannot move"):
            remove(repository, "exp", here="/")
    check_nothing_happened(repository)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("closed", ["a", "d"])
def test_what_cannot_be_read_is_not_removed(repository: Repository, tmp_path: Path, closed: str, force: bool) -> None:
    """A push takes it from the last snapshot, so it looks as if it were saved."""
    where = Path(repository.path("exp"))
    (where / "d").mkdir()
    (where / "d" / "b").write_text("1")
    snapshot(repository, "exp", SnapshotOptions("with d"))
    (where / "a").write_text("unsaved")
    (where / "d" / "b").write_text("unsaved")
    snapshot(repository, "exp", SnapshotOptions("the other one", paths=[(b"d" if closed == "a" else b"a",)]))
    (where / closed).chmod(0)
    if os.geteuid() == 0:
        for above, folders, files in os.walk(tmp_path):
            for name in (".", *folders, *files):
                os.chown(os.path.join(above, name), NOBODY, NOBODY, follow_symlinks=False)
        for parent in tmp_path.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o055)
    with ordinary_user():
        with pytest.raises(UnsavedChangesError, match="cannot be read"):
            remove(repository, "exp", here="/", force=force)
        (where / closed).chmod(0o700)
    assert [(where / name).read_text() for name in ("a", "d/b")] == ["unsaved", "unsaved"]
    check_nothing_happened(repository)


def test_a_worktree_that_goes_while_they_are_listed_is_left_out(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "names", lambda self: ["main", "gone"])
    assert [worktree.name for worktree in repository.registry.all()] == ["main"]
    assert [one.worktree.name for one in infos(repository)] == ["main"]
