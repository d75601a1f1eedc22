"""Cloning a repository of which collections take things away meanwhile, and clones that are killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.gc.pins import Pin
from jvs.errors import IntegrityError, JvsError, StateError
from jvs.workspace.repository import cloning
from jvs.workspace.repository.cloning import clone
from jvs.workspace.repository.doctor import doctor
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import find_layout, layout_at
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.snapshot import SnapshotOptions, snapshot


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """Two snapshots of one label, and one of a label that no worktree has; each has what no other has."""
    init(str(tmp_path / "r"), engine="copy")
    with Repository.open(find_layout(str(tmp_path / "r"), ""), actor="ada") as opened:
        for label in ("main", "main", "side"):
            (Path(opened.path("main")) / "f").write_bytes(os.urandom(50_000))
            if label == "side":
                opened.repo.push(opened.path("main"), label=label)
            else:
                snapshot(opened, "main", SnapshotOptions(label))
        yield opened


def collect(repository: Repository) -> None:
    """Take away the label and all but the newest snapshot, at once, and give the space back."""
    repository.repo.labels.delete("side")
    repository.repo.set_retention(["keep-last", "1", "keep-deleted", "0"])
    repository.repo.gc_run()


def test_what_is_collected_meanwhile_is_in_the_clone(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clone is of the moment at which its journal was copied."""
    copy = cloning._Copier._copy_packs

    def collect_first(copier: cloning._Copier, target: str) -> None:
        collect(repository)
        copy(copier, target)

    monkeypatch.setattr(cloning._Copier, "_copy_packs", collect_first)
    clone(repository, str(tmp_path / "c"))
    with Repository.open(find_layout(str(tmp_path / "c"), ""), actor="ada") as new:
        assert new.repo.verify().damaged == ()
        assert new.repo.labels.get("side") is not None
        assert len(list(new.savepoints.history("main"))) == 2
    assert repository.repo.labels.get("side") is None
    assert doctor(find_layout(str(tmp_path / "c"), ""), strict=True).findings == ()


def test_without_pins_it_would_not_be(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the test above."""
    copy = cloning._Copier._copy_packs

    def collect_first(copier: cloning._Copier, target: str) -> None:
        collect(repository)
        copy(copier, target)

    monkeypatch.setattr(cloning._Copier, "_copy_packs", collect_first)
    monkeypatch.setattr(Pin, "change", lambda *args: None)
    failed = False
    try:
        clone(repository, str(tmp_path / "c"))
    except JvsError:
        failed = True
    layout = layout_at(str(tmp_path / "c"))
    assert failed or layout is None or not doctor(layout, strict=True).healthy


def test_a_pack_that_vanishes_while_it_is_copied(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection has put what lived in it into another, which may have been copied before."""
    copy = cloning._Copier._copy
    calls: list[str] = []

    def vanish_once(copier: cloning._Copier, name: str, target: str, known: int, total: int) -> int:
        calls.append(name)
        if len(calls) == 1:
            raise FileNotFoundError(name)
        return copy(copier, name, target, known, total)

    monkeypatch.setattr(cloning._Copier, "_copy", vanish_once)
    clone(repository, str(tmp_path / "c"))
    assert len(calls) == 2
    assert doctor(find_layout(str(tmp_path / "c"), ""), strict=True).findings == ()


def test_packs_that_vanish_for_ever(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(copier: cloning._Copier, name: str, target: str, known: int, total: int) -> int:
        raise FileNotFoundError(name)

    monkeypatch.setattr(cloning._Copier, "_copy", vanish)
    with pytest.raises(StateError) as raised:
        clone(repository, str(tmp_path / "c"))
    assert raised.value.code == "gc-busy"
    assert not (tmp_path / "c").exists()


def test_a_failure_leaves_a_directory_that_was_there(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "c").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(cloning, "copy_contents", fail)
        with pytest.raises(JvsError) as raised:
            clone(repository, str(tmp_path / "c"))
    assert raised.value.code == "no-space"
    assert list((tmp_path / "c").iterdir()) == []
    clone(repository, str(tmp_path / "c"))


def test_killed_in_the_middle_it_can_be_done_again(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there then is no repository."""

    def die(*args: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(cloning, "make_index", die)
        patched.setattr(cloning, "_take_back", lambda layout, there: None)
        with pytest.raises(SystemExit):
            clone(repository, str(tmp_path / "c"))
    assert layout_at(str(tmp_path / "c")) is None
    assert list((tmp_path / "c" / ".jvs" / "packs").iterdir()) != []
    clone(repository, str(tmp_path / "c"))
    assert doctor(find_layout(str(tmp_path / "c"), ""), strict=True).findings == ()


def test_a_damaged_journal_is_not_cloned(repository: Repository, tmp_path: Path) -> None:
    for _ in range(2):
        for number in range(64):  # the index has copies of the newest records
            repository.repo.labels.record_act("test", str(number))
    path = Path(repository.repo.store.path, "journal")
    data = bytearray(path.read_bytes())
    data[100:200] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        clone(repository, str(tmp_path / "c"))
    assert not (tmp_path / "c").exists()
