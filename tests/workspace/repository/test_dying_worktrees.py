"""`restore`, `undo` and the verbs of worktrees killed at every call that changes files: the next command finds a
consistent repository, in which everything that was saved or unsaved still is, and nothing is left lying about."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TORTURE
from tests.workspace.repository.dying import KILLED, Dying

STEP = 1 if TORTURE else 47
"""Of so many calls one is died at, in the short form."""

FIRST = {"a": "1", "d/b": "1"}
SECOND = {"a": "2", "d/b": "2", "e/c": "2"}
MINE = {"a": "mine", "d/b": "2", "new/f": "mine"}


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dying]:
    import sys

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JVS_", "PYTHON"))}
    paths = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    cache = str(tmp_path_factory.mktemp("pycache"))
    with Dying(kept | {"PYTHONPATH": paths, "PYTHONPYCACHEPREFIX": cache, "JVS_ACTOR": "ada"}) as opened:
        yield opened


@pytest.fixture(scope="module")
def original(dying: Dying, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository: two snapshots of main, and unsaved work; a fork `exp` with a snapshot of its own and unsaved work,
    and `plain` without."""
    root = tmp_path_factory.mktemp("original")

    def jvs(where: Path, *words: str) -> None:
        done = dying(where, *words)
        assert done.status == 0, done.err

    jvs(root, "init", "r")
    main = root / "r" / "main"
    put(main, FIRST)
    jvs(main, "snapshot", "first")
    put(main, SECOND)
    jvs(main, "snapshot", "second")
    jvs(main, "worktree", "fork", "exp")
    jvs(main, "worktree", "fork", "plain")
    exp = root / "r" / "worktrees" / "exp"
    put(exp, FIRST)
    jvs(exp, "snapshot", "in exp")
    put(exp, MINE)
    put(main, MINE)
    return root / "r"


def check_ends(found: set[tuple[bool, object]], possible: set[tuple[bool, object]]) -> None:
    """What came of the deaths (first: whether there was one) was everything that is possible; in the short form, which
    may miss the moments between the last steps, nothing else."""
    assert found == possible if TORTURE else found <= possible
    assert len({died for died, _ in found}) == 2


def put(directory: Path, files: dict[str, str]) -> None:
    """Make a directory hold these files and nothing else."""
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)


def look(directory: Path) -> dict[str, str]:
    """Every file below a directory, with its content."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_text() for path in files}


class Scene:
    """Copies of a repository, in each of which a command dies at another call."""

    def __init__(self, dying: Dying, original: Path, tmp_path: Path) -> None:
        self.dying = dying
        self.original = original
        self.where = tmp_path
        self.root = tmp_path / "r"
        self.main = self.root / "main"
        self.exp = self.root / "worktrees" / "exp"

    def deaths(self, where: str, *words: str) -> Iterator[bool]:
        """Whether the command, which died somewhere, had done all of it; ends when it did not die."""
        at = 1
        while True:
            shutil.rmtree(self.root, ignore_errors=True)
            shutil.copytree(self.original, self.root, symlinks=True)
            died = self.dying(self.root / where, *words, at=at)
            if died.status != KILLED:
                assert died.status == 0, died.err
            yield died.status == KILLED
            self.check(at)
            if died.status != KILLED:
                return
            at += STEP

    def json(self, where: Path, *words: str) -> object:
        """The value of a command that must succeed."""
        done = self.dying(where, *words, "--json")
        assert done.status == 0, (words, done.out, done.err)
        return done.value

    def check(self, at: int) -> None:
        """Nothing lies about, and all is sound."""
        names = [name for _, folders, files in os.walk(self.root / "worktrees") for name in (*folders, *files)]
        names += [name for _, folders, files in os.walk(self.main) for name in (*folders, *files)]
        names += os.listdir(self.root / ".jvs" / "worktrees")
        assert not [name for name in names if name.startswith(".jvs-tmp") or "recovered" in name], at
        left = [name for name in os.listdir(self.root / ".jvs" / "intents") if name.endswith(".json")]
        assert not left, at
        done = self.dying(self.root, "doctor")
        assert done.status == 0, (at, done.out)


@pytest.fixture
def scene(dying: Dying, original: Path, tmp_path: Path) -> Scene:
    return Scene(dying, original, tmp_path)


def test_a_restore(scene: Scene) -> None:
    ends: set[tuple[bool, object]] = set()
    for died in scene.deaths("main", "restore", "first"):
        status = scene.json(scene.main, "status")
        assert isinstance(status, dict)
        now = look(scene.main)
        ends.add((died, status["state"]))
        if status["state"] == "HEAD":
            assert now == MINE, "nothing has happened"
            assert died
            scene.json(scene.main, "snapshot", "mine")
            continue
        assert now == FIRST
        assert status["clean"]
        scene.json(scene.main, "restore", "autosave/main")
        assert look(scene.main) == MINE
        scene.json(scene.main, "snapshot", "mine")
    check_ends(ends, {(True, "HEAD"), (True, "DETACHED"), (False, "DETACHED")})


def test_an_undo(scene: Scene, tmp_path: Path) -> None:
    copy = tmp_path / "restored"
    shutil.copytree(scene.original, copy)
    assert scene.dying(copy / "main", "restore", "first").status == 0
    scene.original = copy
    ends: set[tuple[bool, object]] = set()
    for died in scene.deaths("main", "undo"):
        status = scene.json(scene.main, "status")
        assert isinstance(status, dict)
        ends.add((died, status["state"]))
        assert look(scene.main) == (FIRST if status["state"] == "DETACHED" else MINE)
        assert status["clean"] == (status["state"] == "DETACHED")
    check_ends(ends, {(True, "HEAD"), (True, "DETACHED"), (False, "HEAD")})


def test_paths_that_are_restored(scene: Scene) -> None:
    for died in scene.deaths("main", "restore", "first", "--path", "a"):
        scene.json(scene.main, "status")
        now = look(scene.main)
        assert now == MINE | {"a": "1"} or (died and now == MINE)
        if now["a"] == "1":
            scene.json(scene.main, "restore", "autosave/main", "--path", "a")
            assert look(scene.main) == MINE


@pytest.mark.parametrize("words", [("fork", "new"), ("fork", "first", "new"), ("create", "new")])
def test_a_worktree_that_is_made(scene: Scene, words: tuple[str, ...]) -> None:
    expected = {} if words[0] == "create" else FIRST if "first" in words else SECOND
    new = scene.root / "worktrees" / "new"
    ends: set[tuple[bool, object]] = set()
    for died in scene.deaths("main", "worktree", *words):
        listed = scene.json(scene.root, "worktree", "list")
        assert isinstance(listed, list)
        there = "new" in [one["name"] for one in listed]
        ends.add((died, there))
        assert look(scene.main) == MINE
        if not there:
            assert not new.exists()
            scene.json(scene.main, "worktree", *words)
        assert look(new) == expected
        (new / "more").write_text("x")
        scene.json(new, "snapshot", "more")
        assert scene.json(new, "fs", "tree", "new") is not None
        audit = scene.json(scene.root, "audit")
        assert isinstance(audit, list)
        assert [one["target"] for one in audit if one["operation"] == "worktree.create"] == ["exp", "plain", "new"]
    check_ends(ends, {(True, False), (True, True), (False, True)})


def test_a_rename(scene: Scene) -> None:
    ends: set[tuple[bool, object]] = set()
    for died in scene.deaths("main", "worktree", "rename", "exp", "best"):
        listed = scene.json(scene.root, "worktree", "list")
        assert isinstance(listed, list)
        (name,) = {one["name"] for one in listed} - {"main", "plain"}
        ends.add((died, name))
        where = scene.root / "worktrees" / name
        assert sorted(os.listdir(where.parent)) == sorted([name, "plain"])
        assert look(where) == MINE
        status = scene.json(where, "status")
        assert isinstance(status, dict)
        assert (status["label"], status["state"], status["behind"]) == (name, "HEAD", 0)
        scene.json(where, "snapshot", "mine")
        history = scene.json(where, "history")
        assert isinstance(history, list)
        assert [one["note"] for one in history] == ["mine", "in exp", "second", "first"]
    check_ends(ends, {(True, "exp"), (True, "best"), (False, "best")})


def test_a_removal(scene: Scene) -> None:
    ends: set[tuple[bool, object]] = set()
    for died in scene.deaths("main", "worktree", "remove", "exp", "--force"):
        listed = scene.json(scene.root, "worktree", "list")
        assert isinstance(listed, list)
        there = "exp" in [one["name"] for one in listed]
        ends.add((died, there))
        if there:
            assert look(scene.exp) == MINE
            scene.json(scene.exp, "snapshot", "mine")
            continue
        assert not scene.exp.exists()
        scene.json(scene.main, "worktree", "fork", "autosave/exp", "again")
        assert look(scene.root / "worktrees" / "again") == MINE
        scene.json(scene.main, "fs", "label", "--undelete", "exp")
    check_ends(ends, {(True, True), (True, False), (False, False)})
