"""Killed, raced and failing checkouts: nothing is lost, whatever happens when, and the next one ends it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore.backend import Kind
from jvs.castore.checkout import Unsaved
from jvs.castore.digest import Digest
from jvs.castore.objects import ObjectStore
from jvs.errors import IntegrityError, JvsError, UnsavedChangesError
from tests.castore.checkout.hooks import CALLS, WRITES, Counter, before_calls
from tests.castore.checkout.trees import SETTINGS, Worktree, describe, new_store, run_as_nobody, snapshot

TORTURE = os.environ.get("JVS_TORTURE") == "1"


def make_one(root: Path) -> None:
    """The tree before."""
    root.mkdir()
    for name in ("replaced", "removed", "chmodded", "turned"):
        (root / name).write_bytes(b"one " + name.encode())
    (root / "large").write_bytes(os.urandom(40_000))
    (root / "link").symlink_to("one")
    (root / "goes" / "deep").mkdir(parents=True)
    (root / "goes" / "deep" / "file").write_bytes(b"goes")
    (root / "stays" / "sub").mkdir(parents=True)
    (root / "stays" / "same").write_bytes(b"same")
    (root / "stays" / "sub" / "file").write_bytes(b"one")
    (root / "readonly").mkdir()
    (root / "readonly" / "file").write_bytes(b"one")
    (root / "readonly").chmod(0o555)


def make_two(root: Path) -> None:
    """The tree afterwards."""
    make_one(root)
    (root / "replaced").write_bytes(b"two, longer")
    (root / "removed").unlink()
    (root / "chmodded").chmod(0o711)
    (root / "turned").unlink()
    (root / "turned").mkdir(mode=0o755)
    (root / "turned" / "file").write_bytes(b"in a directory now")
    (root / "turned").chmod(0o555)
    (root / "large").write_bytes(os.urandom(50_000))
    (root / "link").unlink()
    (root / "link").symlink_to("two")
    shutil.rmtree(root / "goes")
    (root / "goes").write_bytes(b"a file now")
    (root / "stays" / "sub" / "file").write_bytes(b"two")
    (root / "stays" / "new").mkdir()
    (root / "stays" / "new" / "file").write_bytes(b"new")
    (root / "readonly").chmod(0o755)
    (root / "readonly" / "file").write_bytes(b"two")
    (root / "readonly" / "another").write_bytes(b"two")
    (root / "readonly").chmod(0o555)


class Scene:
    """Two snapshots, and directories that are at the first."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path
        self.objects = new_store()
        make_one(tmp_path / "one")
        make_two(tmp_path / "two")
        self.one = snapshot(self.objects, tmp_path / "one")
        self.two = snapshot(self.objects, tmp_path / "two")
        self.looks = {self.one: describe(tmp_path / "one"), self.two: describe(tmp_path / "two")}
        self._count = 0

    def worktree(self) -> Worktree:
        """One more directory, at the first snapshot."""
        self._count += 1
        place = self.root / f"w{self._count}"
        place.mkdir()
        tree = Worktree(self.objects, place / "tree", place / "cache")
        tree.pull(self.one)
        return tree

    def drop(self, tree: Worktree) -> None:
        """Remove it again."""
        for path in tree.path.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(tree.path.parent)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """See `Scene`."""
    return Scene(tmp_path)


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a forked child that is killed before its write-like call `number`; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            with before_calls(Counter(number, lambda: os.kill(os.getpid(), signal.SIGKILL)), WRITES):
                work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def check_killed_everywhere(scene: Scene, step: int = 1) -> None:
    """Kill a pull before every write-like call (or every `step`-th); the next pull, of either tree, must end it."""
    number = 0
    killed = True
    while killed:
        for back in (False, True):
            tree = scene.worktree()
            killed = killed_at(number, lambda tree=tree: tree.pull(scene.two))  # type: ignore[misc]
            target = scene.one if back else scene.two
            assert all_is_from(tree, scene), f"killed at {number}"
            tree.pull(target)
            assert describe(tree.path) == scene.looks[target], f"killed at {number}"
            scene.drop(tree)
        number += step
    assert number > 40, "the calls are no longer seen"


def all_is_from(tree: Worktree, scene: Scene) -> bool:
    """Whether every visible file and symlink is as in one of the two trees."""
    return all(
        look[0] == "directory" or look[-1] in {scene.looks[digest].get(path, (None,))[-1] for digest in scene.looks}
        for path, look in describe(tree.path).items()
        if not path.rpartition(b"/")[2].startswith(b".jvs-tmp-") and b"/.jvs-tmp-" not in b"/" + path
    )


def test_killed_anywhere(scene: Scene) -> None:
    check_killed_everywhere(scene)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_killed_anywhere_as_an_ordinary_user(common_tmp: Path) -> None:
    scene = Scene(common_tmp)
    run_as_nobody(common_tmp, lambda: check_killed_everywhere(scene, 1 if TORTURE else 5))


def test_killed_while_filling(scene: Scene, tmp_path: Path) -> None:
    number, killed = 0, True
    while killed:
        place = tmp_path / f"fill{number}"
        place.mkdir()
        tree = Worktree(scene.objects, place / "tree", place / "cache")
        killed = killed_at(number, lambda tree=tree: tree.pull(scene.two))  # type: ignore[misc]
        tree.pull(scene.two)
        assert describe(tree.path) == scene.looks[scene.two], f"killed at {number}"
        number += 3
    assert number > 40, "the calls are no longer seen"


def test_killed_and_then_edited(scene: Scene) -> None:
    """What is edited after a pull was killed is unsaved, as ever."""
    number, killed = 8, True
    while killed:
        tree = scene.worktree()
        killed = killed_at(number, lambda tree=tree: tree.pull(scene.two))  # type: ignore[misc]
        (tree.path / "replaced").write_bytes(b"edited after the crash")
        (tree.path / "stays" / "same").write_bytes(b"this one too")
        with pytest.raises(UnsavedChangesError):
            tree.pull(scene.two)
        assert (tree.path / "replaced").read_bytes() == b"edited after the crash"
        assert (tree.path / "stays" / "same").read_bytes() == b"this one too"
        tree.pull(scene.two, Unsaved.DISCARD)
        assert describe(tree.path) == scene.looks[scene.two]
        scene.drop(tree)
        number += 7


MINE = b"what somebody else wrote meanwhile, of another length"


def in_place(path: Path) -> None:
    """Write into the file that is there, or a new one."""
    path.write_bytes(MINE)


def by_rename(path: Path) -> None:
    """Write a new file and rename it over the old one, as editors do."""
    temporary = path.with_name("editor")
    temporary.write_bytes(MINE)
    os.replace(temporary, path)


def with_old_times(path: Path) -> None:
    """Write as much as there was, and put the times back: what a writer through mmap does."""
    info = path.stat()
    path.write_bytes(MINE[: info.st_size].ljust(info.st_size))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize("edit", [in_place, by_rename, with_old_times])
@pytest.mark.parametrize("victim", ["replaced", "removed", "turned", "large", "stays/sub/file", "goes/deep/file"])
def test_edited_at_any_moment(scene: Scene, victim: str, edit: Callable[[Path], None]) -> None:
    """An edit that falls between any two calls of a pull survives it, whether or not the pull does."""
    step = 1 if TORTURE else 3
    number, reached = 0, True
    while reached:
        tree = scene.worktree()
        done: list[bool] = []

        def act(tree: Worktree = tree, done: list[bool] = done) -> None:
            try:
                edit(tree.path / victim)
                done.append(True)
            except (NotADirectoryError, IsADirectoryError, FileNotFoundError):
                done.append(False)  # it became a directory, or its directory is gone: there is nothing to edit

        with before_calls(Counter(number, act), CALLS), contextlib.suppress(JvsError):
            tree.pull(scene.two)
        reached = bool(done)
        if done and done[0]:
            contents = [path.read_bytes()[:9] for path in tree.path.rglob("*") if path.is_file()]
            assert any(content and MINE.startswith(content) for content in contents), f"lost at call {number}"
        scene.drop(tree)
        number += step
    assert number > 100, "the calls are no longer seen"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_every_call_fails_once(scene: Scene, number: int) -> None:
    """A failing system call is a jvs error; nothing temporary is left, nothing is lost, and the next pull ends it.
    Where nothing of the pull is left, whoever asked for it is told, and nowhere else."""
    at, reached = 0, True
    times_undone = 0
    while reached:
        tree = scene.worktree()
        done: list[bool] = []
        undone: list[bool] = []

        def act(done: list[bool] = done) -> None:
            done.append(True)
            raise OSError(number, os.strerror(number))

        with before_calls(Counter(at, act), WRITES):
            failure = failure_of(
                lambda tree=tree, undone=undone: tree.pull(scene.two, undone=lambda: undone.append(True))  # type: ignore[misc]
            )
        assert failure in (None, "no-space" if number == errno.ENOSPC else "io-error")
        reached = bool(done)
        if undone:
            times_undone += 1
            assert failure is not None
            assert describe(tree.path) == scene.looks[scene.one]
        assert not list(tree.path.rglob(".jvs-tmp-*")), f"left over when call {at} failed"
        assert all_is_from(tree, scene)
        assert nothing_is_missing(tree, scene)
        tree.pull(scene.two)
        assert describe(tree.path) == scene.looks[scene.two]
        scene.drop(tree)
        at += 1
    assert at > 40, "the calls are no longer seen"
    assert 10 < times_undone < at


def failure_of(work: Callable[[], object]) -> str | None:
    """The code of the jvs error that `work` raises, or None."""
    try:
        work()
    except JvsError as error:
        return error.code
    return None


def nothing_is_missing(tree: Worktree, scene: Scene) -> bool:
    """Whether every path that is in both trees as a file or symlink is there."""
    both = scene.looks[scene.one].keys() & scene.looks[scene.two].keys()
    return both <= describe(tree.path).keys() | {b"turned", b"goes"}


def test_a_directory_swapped_for_a_symlink(scene: Scene, tmp_path: Path) -> None:
    """At any moment; nothing outside is ever touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"outside")
    (outside / "sub").mkdir()
    (outside / "sub" / "file").write_bytes(b"outside")
    before = describe(outside)
    times = {path: path.lstat().st_ctime_ns for path in outside.rglob("*")}
    number, reached = 0, True
    while reached:
        tree = scene.worktree()
        done: list[bool] = []

        def act(tree: Worktree = tree, done: list[bool] = done) -> None:
            os.rename(tree.path / "stays", tree.path / "elsewhere")
            os.symlink(outside, tree.path / "stays")
            done.append(True)

        with before_calls(Counter(number, act), CALLS), contextlib.suppress(JvsError):
            tree.pull(scene.two)
        assert describe(outside) == before
        assert {path: path.lstat().st_ctime_ns for path in outside.rglob("*")} == times
        reached = bool(done)
        scene.drop(tree)
        number += 5


class Damaged:
    """A backend that gives one kind of object with a flipped bit, or not at all."""

    def __init__(self, objects: ObjectStore, kind: Kind, keys: set[Digest]) -> None:
        self._backend = objects.backend
        self._kind = kind
        self._keys = keys

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> object:
        """As the backend does, but for the damage."""
        stored = self._backend.get(kind, key)
        if kind != self._kind or key not in self._keys:
            return stored
        middle = len(stored.data) // 2
        data = bytearray(stored.data)
        data[middle] ^= 1
        return stored._replace(data=bytes(data))

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("how", ["flipped", "missing"])
@pytest.mark.parametrize("fresh", [False, True], ids=["update", "full pull"])
def test_damage_is_found_before_anything_is_touched(
    scene: Scene, tmp_path: Path, kind: Kind, how: str, fresh: bool
) -> None:
    """Every object of the target that the directory's own tree does not have, one after the other."""
    whole, only_one = new_store(), new_store()
    snapshot(only_one, tmp_path / "one")
    before_two = {info.key for info in only_one.backend.list(kind)}
    snapshot(whole, tmp_path / "two")
    keys = {info.key for info in whole.backend.list(kind)} - before_two
    snapshot(whole, tmp_path / "one")
    found = 0
    for key in keys:
        if how == "missing":
            objects = new_store()
            snapshot(objects, tmp_path / "one")
            snapshot(objects, tmp_path / "two")
            objects.backend.delete(kind, [key])
        else:
            objects = ObjectStore(Damaged(whole, kind, {key}), SETTINGS)  # type: ignore[arg-type]
        tree = scene.worktree()
        if fresh:
            scene.drop(tree)
            tree.cache.mkdir(parents=True)
        before = None if fresh else describe(tree.path)
        try:
            Worktree(objects, tree.path, tree.cache).pull(scene.two)
        except IntegrityError:
            found += 1
        else:  # the layout of a page none of whose files had to be written is not read
            assert (kind, fresh) == (Kind.LAYOUT, False)
            assert describe(tree.path) == scene.looks[scene.two]
            continue
        if before is None:
            assert not tree.path.exists() or not any(tree.path.iterdir())
        else:
            assert describe(tree.path) == before
        tree.pull(scene.two)
        assert describe(tree.path) == scene.looks[scene.two]
        scene.drop(tree)
    assert found
