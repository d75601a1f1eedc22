"""What goes in is what is on disk: kinds, names, modes, sizes, depth; and what is left out is told."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from jvs.castore.hasher import TreeHasher
from jvs.castore.ingest import changed, state
from jvs.castore.ingest.ingest import ingest
from jvs.castore.manifest import EMPTY_TREE, FILE, File
from jvs.castore.treewriter import TreeWriter
from jvs.errors import JvsError, UsageError
from tests.castore.ingest.support import Ground, on_disk

NAMES = [
    b"-x",
    b"new\nline",
    b'quo"te',
    b"caf\xc3\xa9",
    b"\xff\xfe\x80",
    b" ",
    b"*",
    b"a" * 255,
    b"\\",
    b"\xed\xa0\x80",
]
SIZES = [0, 1, 65_535, 65_536, 65_537, 262_143, 262_144, 262_145, (4 << 20) - 1, 4 << 20, (4 << 20) + 1]
LONG_S = b"deep/down/.jv\xc5\xbf"  # a letter that case-folding file systems take for an s
MODES = [0o400, 0o444, 0o600, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1644, 0o6711]


def hostile(ground: Ground) -> None:
    """A tree with a bit of everything."""
    for name in NAMES:
        ground.write(name, name)
        ground.write(b"names/" + name + b"/" + name, name * 2)
    for number, size in enumerate(SIZES):
        ground.write(f"sizes/{size}", bytes((number + at * at // 7) % 251 for at in range(997)) * (size // 997 + 1))
        os.truncate(ground.path(f"sizes/{size}"), size)
    for mode in MODES:
        ground.write(f"modes/{mode:o}", b"x", mode)
        os.mkdir(ground.path(f"modes/d{mode:o}"))
        os.chmod(ground.path(f"modes/d{mode:o}"), mode | 0o500)
    os.makedirs(ground.path("empty/nested"))
    os.symlink("nowhere", ground.path("dangling"))
    os.symlink("/etc/passwd", ground.path("absolute"))
    os.symlink(b"\xff" * 4095, ground.path("long"))
    os.symlink("modes", ground.path("to-a-directory"))
    os.link(ground.path("-x"), ground.path("hard"))


def test_everything_comes_back(ground: Ground) -> None:
    hostile(ground)
    result = ground.push()
    assert ground.content(result.tree) == on_disk(ground.directory)
    assert (result.skipped, result.kept, result.left_out, result.ignored) == ([], [], [], 0)
    assert result.files + result.directories == len(on_disk(ground.directory))
    assert result.directories == sum(kind == "directory" for kind, _, _ in on_disk(ground.directory).values())
    assert result.bytes == sum(len(data) for kind, _, data in on_disk(ground.directory).values() if kind == "file")


def test_the_empty_directory(ground: Ground) -> None:
    assert ground.push().tree == EMPTY_TREE


def test_settings_and_place_do_not_matter(ground: Ground, tmp_path: Path) -> None:
    hostile(ground)
    other = Ground(tmp_path / "other", chunk_min=4096, chunk_avg=8192, chunk_max=32768, inline_limit=1000, zstd_level=5)
    hostile(other)
    nothing_inline = Ground(tmp_path / "third", inline_limit=0)
    hostile(nothing_inline)
    tree = ground.push().tree
    assert other.push().tree == tree
    assert nothing_inline.push().tree == tree
    assert ground.fresh() == tree
    assert other.content(tree) == on_disk(ground.directory)
    assert nothing_inline.content(tree) == on_disk(ground.directory)


def test_special_files_are_listed_and_never_opened(ground: Ground) -> None:
    ground.write("file", b"1")
    os.mkfifo(ground.path("fifo"))
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:  # a socket's path is short
        link = os.path.join(short, "d")
        os.symlink(ground.directory, link)
        server.bind(os.path.join(link, "socket"))
        expected = {b"fifo": "a FIFO", b"socket": "a socket"}
        if os.geteuid() == 0:
            os.mknod(ground.path("null"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
            os.mknod(ground.path("block"), stat.S_IFBLK | 0o600, os.makedev(7, 200))
            expected |= {b"null": "a character device", b"block": "a block device"}
        result = ground.push()
        assert dict(result.skipped) == expected
        assert list(ground.content(result.tree)) == [b"file"]


@pytest.mark.usefixtures("settled")
def test_what_is_left_out_is_told_again_when_nothing_changed(ground: Ground) -> None:
    ground.write("deep/down/file", b"1")
    os.mkfifo(ground.path("deep/down/fifo"))
    for name in (".jvs/index", "deep/.JVS/x", LONG_S):
        ground.write(name, b"secret")
    first = ground.push()
    second = ground.push()
    assert ground.saved is False
    for result in (first, second):
        assert list(ground.content(result.tree)) == [b"deep", b"deep/down", b"deep/down/file"]
        assert result.skipped == [(b"deep/down/fifo", "a FIFO")]
        assert sorted(result.left_out) == [
            (b".jvs", state.CONTROL),
            (b"deep/.JVS", state.CONTROL),
            (LONG_S, state.CONTROL),
        ]


def test_leftovers_of_a_pull_are_left_out(ground: Ground) -> None:
    ground.write("a/file", b"1")
    ground.write("a/.tmp-7f3a9c-12", b"half a file")
    result = ground.push(leftovers_token="7f3a9c")
    assert list(ground.content(result.tree)) == [b"a", b"a/file"]
    assert result.left_out == [(b"a/.tmp-7f3a9c-12", state.LEFTOVER)]
    assert b"a/.tmp-7f3a9c-12" in ground.content(ground.push().tree)


@pytest.mark.parametrize("levels", [60, 700])
def test_a_path_longer_than_any_path_may_be(ground: Ground, levels: int) -> None:
    here = os.open(ground.directory, os.O_RDONLY)
    for level in range(levels):
        name = f"level-{level:04}-" + "x" * 20
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        for number in range(2):
            os.close(os.open(f"file{number}", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        here = below
    os.close(here)
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    with pytest.MonkeyPatch.context() as patch:  # few descriptors are open at any time
        most = 0
        real = changed.build

        def counting(*args: object) -> object:
            nonlocal most
            if before:
                most = max(most, len(os.listdir("/proc/self/fd")))
            return real(*args)  # type: ignore[arg-type]

        patch.setattr("jvs.castore.ingest.ingest.build", counting)
        result = ground.push()
    assert (result.directories, result.files) == (levels, 2 * levels)
    assert most <= before + 80


def test_deeper_than_the_limit_is_refused(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jvs.castore.ingest.ingest.MAX_DEPTH", 3)
    ground.write("a/b/c/file", b"1")
    assert b"a/b/c/file" in ground.content(ground.push().tree)
    ground.write("a/b/c/d/file", b"1")
    with pytest.raises(JvsError, match="levels deep") as caught:
        ground.push(base=None)
    assert caught.value.code == "unreadable"


def test_a_directory_of_many_files(ground: Ground) -> None:
    count = 200_000 if os.environ.get("JVS_TORTURE") == "1" else 6_000
    fd = os.open(ground.directory, os.O_RDONLY)
    for number in range(count):
        os.close(os.open(f"name-{number}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
    os.close(fd)
    ground.write("name-77", b"not empty")
    result = ground.push()
    assert result.files == count
    listed = [entry for _, _, entries in ground.objects.walk(result.tree.digest) for entry in entries]
    assert [entry.name for entry in listed] == sorted(f"name-{number}".encode() for number in range(count))
    assert [entry.name for entry in listed if entry.kind == FILE and entry.size] == [b"name-77"]
    ground.write("name-78", b"not empty either")
    os.unlink(ground.path("name-79"))
    assert ground.push().tree == ground.fresh()


def test_a_sparse_file(ground: Ground) -> None:
    size = 5 << 30 if os.environ.get("JVS_TORTURE") == "1" else 64 << 20
    ground.write("sparse")
    with open(ground.path("sparse"), "r+b") as file:
        file.truncate(size)
        file.seek(size // 2 + 12_345)
        file.write(b"in the middle")
    assert os.stat(ground.path("sparse")).st_blocks * 512 < size // 4
    ground.write("all-hole")
    os.truncate(ground.path("all-hole"), 3 << 20)
    result = ground.push()
    assert result.bytes == size + (3 << 20)
    located = ground.objects.resolve(result.tree.digest, (b"sparse",))
    assert isinstance(located.entry, File)
    read = ground.objects.read_range(located.page, located.entry, size // 2 + 12_340, 30)
    assert b"".join(read) == bytes(5) + b"in the middle" + bytes(12)
    with open(ground.path("sparse"), "rb") as file:
        file.seek(size // 2)
        read = ground.objects.read_range(located.page, located.entry, size // 2, 1 << 20)
        assert b"".join(read) == file.read(1 << 20)
    hole = ground.objects.resolve(result.tree.digest, (b"all-hole",))
    assert isinstance(hole.entry, File)
    assert b"".join(ground.objects.read(hole.page, hole.entry)) == bytes(3 << 20)


def test_contents_waiting_for_their_page_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = Ground(tmp_path)
    for number in range(40):
        ground.write(f"file{number:02}", bytes([number]) * 5000)
    plain = ground.fresh()
    monkeypatch.setattr(changed, "HOLD", 20_000)
    held = 0

    class Watching(TreeWriter):
        def put_page(self, page, contents, sources):  # type: ignore[no-untyped-def]
            nonlocal held
            held = max(held, sum(map(len, contents.values())))
            super().put_page(page, contents, sources)

    with Watching(ground.objects) as writer:
        result = ingest(writer, ground.directory)
        writer.publish()
    assert result.tree == plain
    assert 20_000 < held <= 25_000
    assert ground.content(result.tree) == on_disk(ground.directory)


def test_what_is_no_directory(ground: Ground) -> None:
    ground.write("file", b"1")
    with pytest.raises(UsageError) as caught:
        ingest(TreeHasher(ground.objects), os.fsdecode(ground.path("file")))
    assert caught.value.code == "not-a-directory"
    with pytest.raises(JvsError, match="cannot read"):
        ingest(TreeHasher(ground.objects), os.fsdecode(ground.path("absent")))


def test_progress_and_cancel(ground: Ground) -> None:
    for number in range(1200):
        ground.write(f"file{number}", b"12345")
    told: list[tuple[int, int]] = []
    ground.push(progress=lambda files, size: told.append((files, size)))
    assert told == sorted(told)
    assert told[-1] == (1200, 6000)
    with pytest.raises(JvsError) as caught:
        ground.push(rehash=True, cancel=lambda: True)
    assert caught.value.code == "interrupted"


@pytest.mark.usefixtures("settled")
def test_progress_and_cancel_where_nothing_changed(ground: Ground) -> None:
    for number in range(60):
        ground.write(f"d{number % 6}/e{number % 2}/file{number}", b"12345")
    ground.push()
    told: list[tuple[int, int]] = []
    ground.push(progress=lambda files, size: told.append((files, size)))
    assert told == sorted(told)
    assert told[-1][1] == 300
    asked = iter([False, False, True])
    with pytest.raises(JvsError) as caught:
        ground.push(cancel=lambda: next(asked))
    assert caught.value.code == "interrupted"


def test_a_file_system_mounted_in_it_is_walked(ground: Ground) -> None:
    ground.write("below/hidden", b"1")
    target = os.fsdecode(ground.path("below"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", target], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        ground.write("below/seen", b"2")
        result = ground.push()
        assert ground.content(result.tree) == on_disk(ground.directory)
        assert b"below/seen" in ground.content(result.tree)
    finally:
        subprocess.run(["umount", target], check=True)
    assert set(ground.content(ground.push().tree)) == {b"below", b"below/hidden"}


@pytest.mark.skipif(not hasattr(os, "O_NOATIME"), reason="this system cannot leave access times alone")
def test_access_times_are_left_alone(ground: Ground) -> None:
    for name, size in (("small", 10), ("large", 100_000)):
        ground.write(name, bytes(size))
        os.utime(ground.path(name), ns=(10**18, 10**18))
    ground.push()
    assert {os.stat(ground.path(name)).st_atime_ns for name in ("small", "large")} == {10**18}


def test_files_of_somebody_else_are_read_all_the_same(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose access times may not be left alone."""
    ground.write("small", b"1")
    ground.write("large", bytes(100_000))
    real = os.open

    def refusing(path: str, flags: int, *args: int, **options: int) -> int:
        if flags & getattr(os, "O_NOATIME", 0):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", refusing)
    result = ground.push()
    assert (result.kept, result.files) == ([], 2)
