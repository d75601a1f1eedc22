"""What `clone_tree` refuses, reports and survives, whichever engine does it; here `copy` does, unless one is named."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from jvs.errors import JvsError, NoSpaceError, StateError, StoreError, UnknownError, UsageError
from jvs.workspace.engines import clone_tree, copying, reflink, tree
from tests.castore.ingest.support import ordinary_user
from tests.powercut import disks
from tests.workspace.engines import places
from tests.workspace.engines.places import Place

NOBODY = 65534


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A small tree."""
    return small_tree(tmp_path / "src")


def small_tree(root: Path) -> Path:
    (root / "d" / "e").mkdir(parents=True)
    (root / "a").write_bytes(b"a" * 10_000)
    (root / "d" / "b").write_bytes(b"b")
    (root / "l").symlink_to("d")
    return root


# -- what is refused


def test_a_place_in_the_tree_itself_is_refused(src: Path) -> None:
    (src.parent / "way").symlink_to(src / "d")
    for dst in (src / "x", src / "d" / "x", src.parent / "way" / "x", src / "d" / ".." / "x"):
        with pytest.raises(UsageError) as refused:
            clone_tree(str(src), str(dst), engine="copy")
        assert refused.value.code == "bad-path"
    assert not (src / "x").exists()
    assert clone_tree(str(src), str(src.parent / "..x"), engine="copy").files == 2


def test_a_place_below_what_is_left_out_is_not(src: Path) -> None:
    (src / ".jvs" / "worktrees").mkdir(parents=True)
    dst = src / ".jvs" / "worktrees" / "new"
    clone_tree(str(src), str(dst), engine="copy", skip={b".jvs"})
    assert sorted(os.listdir(dst)) == ["a", "d", "l"]


def test_what_is_there_is_not_touched(src: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    for name in ("link", "empty", "src"):
        with pytest.raises(StateError) as refused:
            clone_tree(str(src), str(tmp_path / name), engine="copy")
        assert refused.value.code == "already-exists"
    assert not (tmp_path / "nowhere").exists()
    assert not os.listdir(tmp_path / "empty")


def test_there_must_be_a_directory_to_clone(src: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        clone_tree(str(src / "a"), str(tmp_path / "dst"), engine="copy")
    assert refused.value.code == "not-a-directory"
    for one, other in ((src / "none", tmp_path / "dst"), (src, tmp_path / "none" / "dst")):
        with pytest.raises(StoreError, match="none"):
            clone_tree(str(one), str(other), engine="copy")
    with pytest.raises(UnknownError):
        clone_tree(str(src), str(tmp_path / "dst"), engine="nonsense")
    assert not (tmp_path / "dst").exists()


# -- what is left out


def test_only_names_in_the_root_are_left_out(src: Path, tmp_path: Path) -> None:
    for place in (src / ".jvs", src / "d" / ".jvs"):
        place.mkdir()
        (place / "secret").write_text("s")
    clone_tree(str(src), str(tmp_path / "dst"), engine="copy", skip=[b".jvs", b"a"])
    assert not (tmp_path / "dst" / ".jvs").exists()
    assert not (tmp_path / "dst" / "a").exists()
    assert (tmp_path / "dst" / "d" / ".jvs" / "secret").exists()


def test_symlinks_lead_nowhere(src: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")
    (src / "out").symlink_to(tmp_path / "outside")
    clone_tree(str(src), str(tmp_path / "dst"), engine="copy")
    assert os.readlink(tmp_path / "dst" / "out") == str(tmp_path / "outside")


@pytest.mark.parametrize("swapped", ["d", "a"])
def test_a_symlink_swapped_in_while_it_runs_is_no_way_out(
    swapped: str, src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing of the root and the opening of what is in it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")
    real = tree._Worker._list

    def listed(self: tree._Worker, path: bytes, source: int, target: int) -> object:
        tasks = real(self, path, source, target)
        if not path:
            os.rename(src / swapped, src / "moved")
            (src / swapped).symlink_to(tmp_path / "outside" / ("" if swapped == "d" else "secret"))
        return tasks

    monkeypatch.setattr(tree._Worker, "_list", listed)
    with pytest.raises(StoreError, match=swapped):
        clone_tree(str(src), str(tmp_path / "dst"), engine="copy")
    assert b"s" not in {path.read_bytes() for path in (tmp_path / "dst").rglob("*") if path.is_file()}


def test_what_vanishes_while_it_runs_is_left_out(src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tree._Worker._list

    def listed(self: tree._Worker, path: bytes, source: int, target: int) -> object:
        tasks = real(self, path, source, target)
        if not path:
            os.unlink(src / "a")
            shutil.rmtree(src / "d")
        return tasks

    monkeypatch.setattr(tree._Worker, "_list", listed)
    done = clone_tree(str(src), str(tmp_path / "dst"), engine="copy")
    assert os.listdir(tmp_path / "dst") == ["l"]
    assert (done.files, done.directories, done.symlinks) == (0, 0, 1)


def test_a_file_that_is_written_to_is_told(src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = copying.copy_contents

    def slow(source: int, target: int, info: os.stat_result, advance: tree.Advance) -> None:
        real(source, target, info, advance)
        if info.st_size == 10_000:
            with open(src / "a", "ab") as file:
                file.write(b"more")

    monkeypatch.setattr(copying, "copy_contents", slow)
    assert clone_tree(str(src), str(tmp_path / "dst"), engine="copy").changed == (b"a",)
    assert (tmp_path / "dst" / "a").stat().st_size == 10_000


# -- who may do what with it


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_keeps_owners_and_with_them_setuid(src: Path, tmp_path: Path) -> None:
    os.chown(src / "a", 1234, 2345)
    os.chmod(src / "a", 0o6755)
    clone_tree(str(src), str(tmp_path / "dst"), engine="copy")
    info = os.stat(tmp_path / "dst" / "a")
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (1234, 2345, 0o6755)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_nobody_gains_a_setuid_program(common: Path) -> None:
    """A copy that belongs to another owner than the original has no setuid bit; of one's own file it keeps it."""
    src, home = small_tree(common / "src"), common / "home"
    home.mkdir()
    os.chown(src / "a", 1234, 2345)
    for path in (home, src / "d" / "b"):
        os.chown(path, NOBODY, NOBODY)
    for path in (src / "a", src / "d" / "b"):
        os.chmod(path, 0o6755)
    with ordinary_user():
        clone_tree(str(src), str(home / "dst"), engine="copy")
    info = os.stat(home / "dst" / "a")
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (NOBODY, NOBODY, 0o755)
    assert stat.S_IMODE(os.stat(home / "dst" / "d" / "b").st_mode) == 0o6755


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_directories_that_may_not_be_written_to(common: Path) -> None:
    """Their copies are made all the same, by a user whom permission bits keep out."""
    src = small_tree(common / "src")
    for path in (common, *common.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.chmod(src / "d" / "e", 0)
    os.chmod(src / "d" / "b", 0o400)
    os.chmod(src / "d", 0o555)
    os.chmod(src, 0o500)
    with ordinary_user():
        with pytest.raises(StoreError, match="cannot read the directory d/e: Permission denied"):
            clone_tree(str(src), str(common / "dst"), engine="copy")
        os.chmod(src / "d" / "e", 0o500)
        clone_tree(str(src), str(common / "dst2"), engine="copy")
    assert places.describe(common / "dst2", holes=False) == places.describe(src, holes=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_directory_that_its_new_owner_may_not_enter(common: Path) -> None:
    """Somebody else's, open to a group: what is in the copy is finished before the copy is closed to its owner."""
    src = small_tree(common / "src")
    os.chown(common, NOBODY, NOBODY)
    os.chown(src / "d", 0, NOBODY)
    os.chmod(src / "d", 0o070)
    with ordinary_user():
        assert clone_tree(str(src), str(common / "dst"), engine="copy").directories == 2
    info = os.stat(common / "dst" / "d")
    assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (NOBODY, 0o070)


# -- stopping


class Watcher:
    """Progress that notes what it is told."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.told: list[tuple[int, int | None, int]] = []
        self.threads: set[int] = set()
        self._stop_at = stop_at

    def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
        self.told.append((done_bytes, total_bytes, done_items))
        self.threads.add(threading.get_ident())
        if self._stop_at is not None and done_bytes >= self._stop_at:
            raise KeyError("enough")


def test_progress_is_told_on_the_callers_thread(src: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    done = clone_tree(str(src), str(tmp_path / "dst"), engine="copy", progress=watcher)
    assert watcher.told[-1] == (done.size, None, 3)
    assert watcher.told == sorted(watcher.told)
    assert watcher.threads == {threading.get_ident()}


def test_what_progress_raises_stops_it(src: Path, tmp_path: Path) -> None:
    before = threading.active_count()  # libraries that other tests use keep threads of their own
    with pytest.raises(KeyError, match="enough"):
        clone_tree(str(src), str(tmp_path / "dst"), engine="copy", progress=Watcher(0))
    assert threading.active_count() == before


@pytest.mark.parametrize("where", ["copy", "tree"])
def test_it_can_be_cancelled(where: str, src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it begins, and in the middle of one large file."""
    cancel = threading.Event()
    if where == "tree":
        cancel.set()
    else:
        monkeypatch.setattr(copying, "_PIECE", 1 << 10)
        real = os.copy_file_range

        def copied(*args: int) -> int:
            cancel.set()
            return real(*args)

        monkeypatch.setattr(os, "copy_file_range", copied)
    with pytest.raises(JvsError) as stopped:
        clone_tree(str(src), str(tmp_path / "dst"), engine="copy", cancel=cancel)
    assert stopped.value.code == "interrupted"
    copied_file = tmp_path / "dst" / "a"
    assert not copied_file.exists() or copied_file.stat().st_size < 10_000


# -- when the kernel, or the disk, does not do it


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, 0])
def test_copy_goes_on_where_copy_file_range_does_not(
    number: int, src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused at once (or, with 0, answered with nothing), or after the first bytes."""
    real = os.copy_file_range
    calls = 0

    def refusing(source: int, target: int, count: int, at: int, to: int) -> int:
        nonlocal calls
        calls += 1
        if at == 0 and calls % 2:
            return real(source, target, min(count, 1000), at, to)
        if number:
            raise OSError(number, os.strerror(number))
        return 0

    with open(src / "sparse", "wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    monkeypatch.setattr(os, "copy_file_range", refusing)
    clone_tree(str(src), str(tmp_path / "dst"), engine="copy")
    assert calls
    assert places.describe(tmp_path / "dst", holes=True) == places.describe(src, holes=True)


def test_other_failures_of_copy_file_range_are_failures(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "copy_file_range", failing)
    with pytest.raises(StoreError, match=r"cannot copy .*Input/output error"):
        clone_tree(str(src), str(tmp_path / "dst"), engine="copy")


def test_a_file_that_shrinks_is_copied_to_its_end(src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = copying.copy_contents

    def shrunk(source: int, target: int, info: os.stat_result, advance: tree.Advance) -> None:
        os.truncate(src / "a", 5)
        real(source, target, info, advance)

    os.unlink(src / "d" / "b")
    monkeypatch.setattr(copying, "copy_contents", shrunk)
    assert clone_tree(str(src), str(tmp_path / "dst"), engine="copy").changed == (b"a",)
    assert (tmp_path / "dst" / "a").read_bytes() == b"aaaaa"


def test_copy_crosses_file_systems(src: Path, ext4: Place) -> None:
    dst = places.new(ext4, "across") / "dst"
    clone_tree(str(src), str(dst), engine="copy")
    assert places.describe(dst, holes=False) == places.describe(src, holes=False)


@pytest.mark.parametrize("engine", ["copy", "reflink-copy"])
def test_a_full_disk_is_told(engine: str, ext4: Place, xfs: Place) -> None:
    work = places.new(ext4 if engine == "copy" else xfs, "full")
    (work / "src").mkdir()
    free = os.statvfs(work).f_bavail * os.statvfs(work).f_frsize
    if engine == "copy":
        (work / "src" / "large").write_bytes(bytes(range(256)) * (free * 6 // 10 // 256))
        with pytest.raises(NoSpaceError):
            clone_tree(str(work / "src"), str(work / "dst"), engine=engine)
    else:  # room for one
        (work / "src" / "large").write_bytes(bytes(range(256)) * (free * 6 // 10 // 256))
        clone_tree(str(work / "src"), str(work / "dst"), engine=engine)
    shutil.rmtree(work)


def test_reflinks_are_never_replaced_by_copies(ext4: Place, xfs: Place) -> None:
    """On a file system without, and out of one into another."""
    work = places.new(ext4, "forced")
    (work / "src").mkdir()
    (work / "src" / "a").write_bytes(b"content")
    for dst in (work / "dst", places.new(xfs, "forced") / "dst"):
        with pytest.raises(StateError, match="reflink-copy cannot be used: a: ") as refused:
            clone_tree(str(work / "src"), str(dst), engine="reflink-copy")
        assert refused.value.code == "engine-unusable"
        assert "JVS_ENGINE=copy" in (refused.value.next or "")


def test_a_file_without_copy_on_write_is_shared(btrfs: Place) -> None:
    """btrfs clones it into files of its kind only."""
    work = places.new(btrfs, "nocow")
    (work / "src").mkdir()
    with open(work / "src" / "image", "wb") as file:
        fcntl.ioctl(file, reflink._SET_FLAGS, struct.pack("@l", reflink._NO_COW))
        file.write(b"disk" * 10_000)
    (work / "src" / "plain").write_bytes(b"disk" * 10_000)
    clone_tree(str(work / "src"), str(work / "dst"), engine="reflink-copy")
    assert (work / "dst" / "image").read_bytes() == b"disk" * 10_000
    for name, flag in (("image", reflink._NO_COW), ("plain", 0)):
        with open(work / "dst" / name, "rb") as copy:
            assert reflink._flags(copy.fileno()) & reflink._NO_COW == flag


# -- depth


def test_a_deep_tree(tmp_path: Path) -> None:
    """Deeper than the descriptors that are kept open, and than a path may be long."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    here = os.open(src, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("n" * 20, dir_fd=here)
        below = os.open("n" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=here))
    os.close(here)
    assert clone_tree(str(src), str(dst), engine="copy")[:2] == (1, 300)
    found = subprocess.run(["find", str(dst), "-name", "file"], capture_output=True, check=True).stdout
    assert len(found) > 300 * 21


# -- power cuts


@pytest.mark.parametrize(("name", "engine"), [("ext4", "copy"), ("xfs", "reflink-copy")])
@pytest.mark.parametrize("durable", [True, False])
def test_what_is_durable_survives(name: str, engine: str, durable: bool, ram: Path) -> None:
    """The file system forgets what it has not written yet. (That it does is what `durable=False` shows.)"""
    if (reason := disks.why_not(name)) is not None:
        pytest.skip(reason)
    system, image, where = disks.FILE_SYSTEMS[name], ram / "cut.img", ram / "cut"
    disks.make(system, image)
    with disks.mounted(system, image, where):
        src, dst = where / "src", where / "dst"
        src.mkdir()
        for number in range(50):
            (src / str(number)).write_bytes(b"%d" % number * 20_000)
        os.sync()
        before = places.describe(src, holes=False)
        clone_tree(str(src), str(dst), engine=engine, durable=durable)
        disks.shut_down(where)
    with disks.mounted(system, image, where):
        assert dst.exists() == durable
        assert not durable or places.describe(dst, holes=False) == before
    image.unlink()
