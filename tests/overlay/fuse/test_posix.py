"""What POSIX says, of a mount, beside a plain directory: errnos, renames, open files, times, names."""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.overlay.fuse.support import needs_fuse, session
from tests.overlay.support import on_disk
from tests.overlay.test_posix import RENAMED, SINGLE, WAYS, Plain, build, number_of

pytestmark = needs_fuse
LONG = ["ping", "n" * 255, "n" * 256, "x" * 256 + "/x", "file/..", "é" * 127, os.fsdecode(b"\xff\xfe\x80")]
LIBC = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2


@pytest.fixture(scope="module")
def fs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A session's mount, whose tree has one of each kind at `given`."""
    directory = tmp_path_factory.mktemp("posix")
    tree = directory / "tree"
    (tree / "given").mkdir(parents=True)
    build(tree / "given")
    with session(directory, tree) as where:
        yield where


@pytest.fixture
def here(fs: Path, request: pytest.FixtureRequest) -> Path:
    """A directory of the mount for this test."""
    where = fs / f"t{time.monotonic_ns()}"
    where.mkdir()
    return where


def renameat2(source: Path, target: Path, flags: int) -> int:
    """0, or the errno."""
    done = LIBC.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags)
    return ctypes.get_errno() if done else 0


def test_a_mount_is_what_was_pushed(fs: Path, tmp_path: Path) -> None:
    build(tmp_path)
    assert on_disk(fs / "given") == on_disk(tmp_path)


@pytest.mark.parametrize("call", SINGLE)
def test_every_call_fails_as_the_kernels_does(call: str, here: Path, tmp_path: Path) -> None:
    wrong = []
    for number, path in enumerate([*WAYS, *LONG]):
        name = f"{number}"
        for above in (here, tmp_path):
            (above / name).mkdir()
            build(above / name)
        there = number_of(SINGLE[call], Plain(tmp_path / name), path)
        mine = number_of(SINGLE[call], Plain(here / name), path)
        if there != mine or on_disk(here / name) != on_disk(tmp_path / name):
            wrong.append((path[:20], errno.errorcode.get(there), errno.errorcode.get(mine)))
    assert wrong == []


def test_every_rename_does_what_the_kernel_does(here: Path, tmp_path: Path) -> None:
    wrong = []
    for number, (source, target) in enumerate(itertools.product(RENAMED, RENAMED)):
        for above in (here, tmp_path):
            (above / f"{number}").mkdir()
            build(above / f"{number}")
        there = number_of(os.rename, f"{tmp_path}/{number}/{source}", f"{tmp_path}/{number}/{target}")
        mine = number_of(os.rename, f"{here}/{number}/{source}", f"{here}/{number}/{target}")
        if there != mine or on_disk(here / f"{number}") != on_disk(tmp_path / f"{number}"):
            wrong.append((source, target, errno.errorcode.get(there), errno.errorcode.get(mine)))
    assert wrong == []


def test_flags_of_a_rename(here: Path) -> None:
    (here / "a").write_text("a")
    (here / "b").write_text("b")
    assert renameat2(here / "a", here / "b", NOREPLACE) == errno.EEXIST
    assert renameat2(here / "a", here / "c", NOREPLACE) == 0
    assert renameat2(here / "b", here / "c", EXCHANGE) == errno.EINVAL  # refused, rather than done as another thing
    assert on_disk(here) == {"b": ("file", 0o644, b"b"), "c": ("file", 0o644, b"a")}


def test_what_an_overlay_does_not_have(here: Path) -> None:
    (here / "file").write_text("x")
    assert number_of(os.link, here / "file", here / "other") == errno.EPERM
    for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
        assert number_of(os.mknod, here / "special", kind | 0o600, 0) == errno.EPERM
    os.mknod(here / "plain", stat.S_IFREG | 0o640)
    assert stat.S_IMODE((here / "plain").stat().st_mode) == 0o640
    assert number_of(os.setxattr, here / "file", "user.a", b"x") == errno.ENOTSUP
    assert number_of(os.getxattr, here / "file", "user.a") == errno.ENOTSUP
    assert number_of(os.listxattr, here / "file") == errno.ENOTSUP
    assert number_of(os.mkdir, here / ".jvs") == errno.EPERM
    assert number_of(os.mkdir, here / ".JVS") == errno.EPERM
    assert number_of(os.rename, here / "file", here / ".jvs") == errno.EPERM


def test_owners_are_nobodys_business(here: Path) -> None:
    (here / "file").write_text("x")
    os.chown(here / "file", os.getuid(), os.getgid())
    if os.getuid() == 0:  # tar and rsync do so, and would fail
        os.chown(here / "file", 1234, 1234)
    info = (here / "file").stat()
    assert (info.st_uid, info.st_gid) == (os.getuid(), os.getgid())


def test_the_umask_is_applied_once(here: Path) -> None:
    before = os.umask(0o002)
    try:
        os.close(os.open(here / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(here / "directory", 0o777)
    finally:
        os.umask(before)
    assert stat.S_IMODE((here / "file").stat().st_mode) == 0o664
    assert stat.S_IMODE((here / "directory").stat().st_mode) == 0o775


@pytest.mark.parametrize("given", [False, True], ids=["new", "of the base"])
def test_an_open_file_outlives_its_name(fs: Path, here: Path, given: bool) -> None:
    path = fs / "given/big" if given else here / "file"
    data = bytes(range(256)) * 40
    if not given:
        path.write_bytes(data)
    fd = os.open(path, os.O_RDWR)
    try:
        os.unlink(path)
        assert os.fstat(fd).st_nlink == 0
        assert os.pread(fd, 5, 0) == data[:5]
        os.pwrite(fd, b"XY", 2)
        os.fchmod(fd, 0o600)
        os.utime(fd, ns=(5, 6))
        path.write_bytes(b"another")
        os.ftruncate(fd, 4)
        info = os.fstat(fd)
        assert (stat.S_IMODE(info.st_mode), info.st_size) == (0o600, 4)
        os.fsync(fd)
        assert os.pread(fd, 100, 0) == data[:2] + b"XY"
    finally:
        os.close(fd)
    assert path.read_bytes() == b"another"
    assert [name for name in os.listdir(here) if name.startswith(".")] == []  # nor anything of it left


def test_an_open_file_goes_where_it_is_moved(here: Path) -> None:
    (here / "a/b").mkdir(parents=True)
    with open(here / "a/b/file", "wb", buffering=0) as file:
        file.write(b"one")
        os.rename(here / "a", here / "z")
        file.write(b"two")
        os.rename(here / "z/b/file", here / "moved")
        file.write(b"three")
    assert (here / "moved").read_bytes() == b"onetwothree"


def test_a_directory_that_was_removed_under_somebody(here: Path) -> None:
    (here / "gone").mkdir()
    fd = os.open(here / "gone", os.O_RDONLY)
    try:
        os.rmdir(here / "gone")
        assert os.listdir(fd) == []
        assert number_of(lambda: os.mkdir("x", dir_fd=fd)) == errno.ENOENT
        assert number_of(lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)) == errno.ENOENT
        assert os.fstat(fd).st_nlink == 0
    finally:
        os.close(fd)


def test_appending_truncating_and_holes(here: Path) -> None:
    path = here / "file"
    first = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    second = os.open(path, os.O_WRONLY | os.O_APPEND)
    for number in range(20):
        os.write((first, second)[number % 2], b"%02d" % number)
    os.close(first)
    os.close(second)
    assert path.read_bytes() == b"".join(b"%02d" % number for number in range(20))
    with open(path, "r+b", buffering=0) as file:
        reader = os.open(path, os.O_RDONLY)
        os.truncate(path, 3)
        assert os.fstat(reader).st_size == 3
        assert os.pread(reader, 10, 0) == b"000"
        file.seek(10)
        file.write(b"end")
        assert os.pread(reader, 20, 0) == b"000" + bytes(7) + b"end"
        file.truncate(12)
        assert os.pread(reader, 20, 0) == b"000" + bytes(7) + b"en"
        os.close(reader)
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert path.read_bytes() == b""
    with pytest.raises(OSError) as caught:
        os.truncate(path, -1)
    assert caught.value.errno == errno.EINVAL


def test_times(here: Path) -> None:
    path = here / "file"
    path.write_text("x")
    os.utime(path, ns=(1_000_000_007, 2_000_000_009))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1_000_000_007, 2_000_000_009)
    os.utime(path, ns=(-3_000_000_001, -1))  # before the epoch
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (-3_000_000_001, -1)
    os.utime(path, (2.0**35, -(2.0**35)))  # cut off, as a disk does
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (2**64 - 1, -(2**63))
    os.utime(path, ns=(-3_000_000_001, -1))

    class Times(ctypes.Structure):
        _fields_ = (("at", ctypes.c_long), ("ns", ctypes.c_long))

    omit, now = (1 << 30) - 2, (1 << 30) - 1
    before = time.time_ns()
    both = (Times * 2)(Times(7, omit), Times(7, now))
    assert LIBC.utimensat(-100, os.fsencode(path), both, 0) == 0
    assert path.stat().st_atime_ns == -3_000_000_001
    assert abs(path.stat().st_mtime_ns - before) < 60 * 10**9
    made = here.stat().st_mtime_ns
    time.sleep(0.01)
    (here / "other").touch()
    assert here.stat().st_mtime_ns > made
    written = path.stat().st_mtime_ns
    time.sleep(0.01)
    with open(path, "ab", buffering=0) as file:
        file.write(b"y")
        assert os.fstat(file.fileno()).st_mtime_ns > written
    os.symlink("file", here / "link")
    os.utime(here / "link", ns=(11, 12), follow_symlinks=False)
    assert (here / "link").lstat().st_mtime_ns == 12


def test_a_listing_goes_on_while_files_go(here: Path) -> None:
    names = {f"file-{number:05d}" for number in range(3000)}
    for name in names:
        (here / name).touch()
    seen = set()
    with os.scandir(here) as entries:
        for entry in entries:
            seen.add(entry.name)
            os.unlink(entry.path)
    assert seen == names
    assert os.listdir(here) == []


def test_names_are_bytes(here: Path) -> None:
    names = {b"\xff\xfe", b"x" * 255, "ü".encode(), b"a\nb", b" ", b"-rf", b"\\134"}
    for name in names:
        with open(os.path.join(os.fsencode(here), name), "wb") as file:
            file.write(name)
    assert set(os.listdir(os.fsencode(here))) == names
    for name in names:
        with open(os.path.join(os.fsencode(here), name), "rb") as file:
            assert file.read() == name
    assert number_of(os.stat, here / ("x" * 256)) == errno.ENAMETOOLONG
    assert number_of(os.mkdir, here / ("x" * 300)) == errno.ENAMETOOLONG


def test_paths_too_long_for_one_call(here: Path) -> None:
    fd = os.open(here, os.O_RDONLY)
    depth = 0
    try:
        while not (failed := number_of(lambda: os.mkdir("d" * 250, dir_fd=fd))):  # noqa: B023  # called at once
            deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = deeper
            depth += 1
            assert depth < 100
        assert failed == errno.ENAMETOOLONG
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        further = here / "long" / ("n" * 250) / ("n" * 250)
        further.mkdir(parents=True)
        (here / ("d" * 250)).rename(further / "moved")
        # what is further down by now can be changed, moved away and removed all the same, and nothing more is made
        assert number_of(lambda: os.mkdir("new", dir_fd=fd)) == errno.ENAMETOOLONG
        os.chmod("file", 0o600, dir_fd=fd)
        with open("file", "w", opener=lambda name, flags: os.open(name, flags, dir_fd=fd)) as file:
            file.write("x")
        os.rename("file", here / "taken out", src_dir_fd=fd)
    finally:
        os.close(fd)
    assert depth >= 14
    assert (here / "taken out").read_text() == "x"
    subprocess.run(["rm", "-r", here / "long"], check=True)


def test_shared_mappings(here: Path) -> None:
    path = here / "mapped"
    path.write_bytes(bytes(1 << 20))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[5000:5005] = b"hello"
        with open(path, "rb") as other:
            other.seek(5000)
            assert other.read(5) == b"hello"
            os.pwrite(file.fileno(), b"world", 9000)
            assert mapping[9000:9005] == b"world"
        mapping.flush()
    assert path.read_bytes()[5000:5005] == b"hello"
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as private:
        private[0:3] = b"not"
    assert path.read_bytes()[:3] == bytes(3)


def test_an_appending_descriptor_does_not_move_mapped_pages(here: Path) -> None:
    path = here / "mapped"
    path.write_bytes(bytes(8192))
    with open(path, "ab") as _appender, open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0:5] = b"first"
        mapping.flush()
    assert path.read_bytes() == b"first" + bytes(8187)


def test_direct_io(here: Path) -> None:
    path = here / "direct"
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 1 << 20) as buffer:
            buffer[:] = os.urandom(1 << 20)
            assert os.pwritev(fd, [buffer], 0) == 1 << 20
            with mmap.mmap(-1, 1 << 20) as back:
                assert os.preadv(fd, [back], 0) == 1 << 20
                assert back[:] == buffer[:]
            assert path.read_bytes() == buffer[:]
    finally:
        os.close(fd)


def test_locks(here: Path) -> None:
    import fcntl

    path = here / "lock"
    path.touch()
    with open(path, "r+b") as one, open(path, "r+b") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.lockf(one, fcntl.LOCK_EX, 10, 0)
        pid = os.fork()
        if not pid:
            try:
                fcntl.lockf(two, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
            except OSError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_figures_of_the_disk(fs: Path, tmp_path: Path) -> None:
    there, mine = os.statvfs(tmp_path), os.statvfs(fs)
    assert (mine.f_frsize * mine.f_blocks, mine.f_namemax) == (there.f_frsize * there.f_blocks, 255)


def test_one_file_through_many_descriptors(here: Path) -> None:
    path = here / "file"
    with open(path, "w+b", buffering=0) as writer, open(path, "rb", buffering=0) as reader:
        for number in range(200):
            writer.write(b"%08d" % number)
            assert os.pread(reader.fileno(), 8, 8 * number) == b"%08d" % number
            assert os.stat(path).st_size == 8 * (number + 1)
