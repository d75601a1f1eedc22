"""A fork is what was saved, whatever happens to the worktree that is cloned; and is known to be so without reading."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jvs.castore.checkout import disk
from jvs.castore.ingest import walk
from jvs.workspace import engines
from jvs.workspace.repository import creating
from jvs.workspace.repository.creating import CreateOptions, create
from jvs.workspace.repository.initialising import init
from jvs.workspace.repository.layout import Layout
from jvs.workspace.repository.repository import Repository
from jvs.workspace.repository.snapshot import SnapshotOptions, snapshot

FILES = {f"d{number % 4}/f{number}": f"content {number}" for number in range(24)} | {"top": "top"}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """One snapshot of FILES, whose times are believed."""
    monkeypatch.setattr(walk, "RACY_NS", -(10**12))
    init(str(tmp_path / "r"), engine="copy", actor="ada")
    with Repository.open(Layout(str(tmp_path / "r"), False), actor="ada") as opened:
        for name, text in FILES.items():
            path = Path(opened.path("main")) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        snapshot(opened, "main", SnapshotOptions("saved"))
        yield opened


def look(directory: str) -> dict[str, str]:
    found = (path for path in Path(directory).rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_text() for path in found}


def forked(repository: Repository, name: str = "exp") -> str:
    """Fork main; the directory."""
    return create(repository, name, repository.head("main"), CreateOptions(engine="copy")).path


def reads(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> int:
    """How many files are read meanwhile, by a checkout or a push."""
    count = 0
    hashed, opened = disk.hash_file, os.open

    def hashing(*args: Any) -> Any:
        nonlocal count
        count += 1
        return hashed(*args)

    def opening(path: Any, flags: int, *args: Any, **options: Any) -> int:
        nonlocal count
        count += bool(flags & os.O_NONBLOCK) and isinstance(path, str) and "/" not in path  # else it is an index
        return opened(path, flags, *args, **options)

    monkeypatch.setattr(disk, "hash_file", hashing)
    monkeypatch.setattr(os, "open", opening)
    work()
    monkeypatch.setattr(disk, "hash_file", hashed)
    monkeypatch.setattr(os, "open", opened)
    return count


def meanwhile(monkeypatch: pytest.MonkeyPatch, when: str, edit: Callable[[], None]) -> None:
    """Have something happen right before, or after, the worktree is cloned."""
    clone = engines.clone_tree

    def cloning(*args: Any, **options: Any) -> Any:
        if when == "before":
            edit()
        done = clone(*args, **options)
        if when == "after":
            edit()
        return done

    monkeypatch.setattr(creating, "clone_tree", cloning)


def test_nothing_is_read_twice(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "RACY_NS", 2_000_000_000)  # a clone is younger than that
    engine = reads(monkeypatch, lambda: forked(repository, "first"))
    assert look(repository.path("first")) == FILES
    saving = reads(monkeypatch, lambda: snapshot(repository, "first", SnapshotOptions("again")))
    assert saving == 0
    (Path(repository.path("first")) / "top").write_text("other")
    time.sleep(0.05)  # what is read in the tick of the clock in which it was written is read once more
    assert reads(monkeypatch, lambda: snapshot(repository, "first", SnapshotOptions("other"))) == 1
    assert engine == len(FILES), "the engine opens each file once, and nobody else does"


def test_without_an_index_everything_is_read(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(repository.repo.cache_dir) / "directories"
    for index in folder.glob("*.index"):
        index.unlink()
    assert reads(monkeypatch, lambda: forked(repository)) >= 2 * len(FILES)
    assert look(repository.path("exp")) == FILES


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_to_the_original(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, when: str, seed: int
) -> None:
    rng = random.Random(seed)
    main = Path(repository.path("main"))

    def edit() -> None:
        for name in rng.sample(sorted(FILES), 6):
            path = main / name
            before = path.stat()
            what = rng.randrange(6)
            if what == 0:
                path.unlink()
            elif what == 1:
                path.write_text("longer than it was before")
            elif what == 2:  # as long, and the times put back
                path.write_text("X" * before.st_size)
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            elif what == 3:
                path.chmod(0o600)
            elif what == 4:
                path.unlink()
                path.symlink_to("elsewhere")
            else:
                path.unlink()
                path.mkdir()
                (path / "inner").write_text("x")
        (main / "new").write_text("new")
        (main / "d1").chmod(0o700)

    mode = (main / "d1").stat().st_mode
    meanwhile(monkeypatch, when, edit)
    exp = forked(repository)
    assert look(exp) == FILES
    assert (Path(exp) / "d1").stat().st_mode == mode
    monkeypatch.undo()
    done = snapshot(repository, "exp", SnapshotOptions("the same"))
    assert done.save_point.payload_root_hash == repository.savepoints.find("saved").payload_root_hash


def test_an_edit_right_after_the_fork_is_seen(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the clone is younger than two seconds: no later change has a stamp that it has already."""
    monkeypatch.setattr(walk, "RACY_NS", 2_000_000_000)
    saved = repository.savepoints.find("saved").payload_root_hash
    for number in range(20):
        exp = forked(repository, f"exp{number}")
        path = Path(exp) / "top"
        before = path.stat()
        path.write_text("TOP")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        done = snapshot(repository, f"exp{number}", SnapshotOptions("edited"))
        assert done.save_point.payload_root_hash != saved, number


def test_a_clock_that_does_not_tick(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_temporary_stamp", lambda fd: 10**18)
    started = time.monotonic()
    monkeypatch.setattr(walk, "RACY_NS", 2_000_000_000)
    assert look(forked(repository)) == FILES
    assert time.monotonic() - started < 30, "it gives up waiting, and reads"
