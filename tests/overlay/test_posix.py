"""What POSIX says: errnos, renames, open files, links. Beside a plain directory where one can say it."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jvs.overlay.overlay import Overlay
from tests.overlay.support import in_overlay, in_store, new_objects, on_disk, pushed, stored

BIG = bytes(range(256)) * 40


def build(root: Path) -> None:
    """One of each kind."""
    (root / "full/sub").mkdir(parents=True)
    (root / "full/file").write_bytes(b"full")
    (root / "empty").mkdir()
    (root / "file").write_bytes(b"file")
    (root / "big").write_bytes(BIG)
    (root / "link").symlink_to("file")
    (root / "to-full").symlink_to("full")
    (root / "to-nothing").symlink_to("nothing")
    (root / "loop").symlink_to("loop")
    (root / "ping").symlink_to("pong")
    (root / "pong").symlink_to("ping")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    root = tmp_path / "plain"
    root.mkdir()
    build(root)
    return root


@pytest.fixture
def fs(tmp_path: Path, plain: Path) -> Iterator[Overlay]:
    objects = new_objects()
    with Overlay.create(objects, stored(objects, plain), str(tmp_path / "upper")) as overlay:
        yield overlay


def number_of(work: Callable[..., Any], *operands: Any) -> int:
    """0, or the errno, of a call."""
    try:
        work(*operands)
    except OSError as error:
        return error.errno or -1
    return 0


KINDS = ["full", "full/sub", "full/file", "empty", "file", "link", "to-full", "to-nothing", "loop", "none", "none/none"]
WAYS = [
    *KINDS,
    "full/",
    "file/",
    "none/",
    "to-full/",
    "file/x",
    "full/new",
    "empty/new",
    "to-full/new",
    "empty/.",
    "full/..",
]


# in short form without those that are much like another one
ALIKE = {"to-nothing", "loop", "none/none", "to-full/new", "full/sub", "full/new", "empty/."}
RENAMED = WAYS if os.environ.get("JVS_TORTURE") == "1" else [way for way in WAYS if way not in ALIKE]


def test_every_rename_does_what_the_kernel_does(tmp_path: Path) -> None:
    objects = new_objects()
    wrong = []
    template = tmp_path / "template"
    template.mkdir()
    build(template)
    base = stored(objects, template)
    for number, (source, target) in enumerate(itertools.product(RENAMED, RENAMED)):
        root = tmp_path / str(number)
        root.mkdir()
        build(root)
        there = number_of(os.rename, f"{root}/{source}", f"{root}/{target}")
        with Overlay.create(objects, base) as fs:
            here = number_of(fs.rename, source, target)
            if there != here or in_overlay(fs) != on_disk(root):
                wrong.append((source, target, errno.errorcode.get(there), errno.errorcode.get(here)))
    assert wrong == []


SINGLE: dict[str, Callable[[Any, str], Any]] = {
    "stat": lambda fs, path: fs.stat(path),
    "lstat": lambda fs, path: fs.lstat(path),
    "readlink": lambda fs, path: fs.readlink(path),
    "listdir": lambda fs, path: fs.listdir(path),
    "mkdir": lambda fs, path: fs.mkdir(path),
    "rmdir": lambda fs, path: fs.rmdir(path),
    "unlink": lambda fs, path: fs.unlink(path),
    "chmod": lambda fs, path: fs.chmod(path, 0o600),
    "truncate": lambda fs, path: fs.truncate(path, 2),
    "symlink": lambda fs, path: fs.symlink("file", path),
    "rb": lambda fs, path: fs.open(path, "rb").close(),
    "wb": lambda fs, path: fs.open(path, "wb").close(),
    "xb": lambda fs, path: fs.open(path, "xb").close(),
    "ab": lambda fs, path: fs.open(path, "ab").close(),
    "r+b": lambda fs, path: fs.open(path, "r+b").close(),
}


class Plain:
    """The calls of `os` in one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __getattr__(self, name: str) -> Any:
        if name == "symlink":
            return lambda target, path: os.symlink(target, f"{self._root}/{path}")
        call: Any = open if name == "open" else getattr(os, name)
        return lambda path, *rest: call(f"{self._root}/{path}", *rest)


@pytest.mark.parametrize("call", SINGLE)
def test_every_call_fails_as_the_kernels_does(call: str, tmp_path: Path) -> None:
    objects = new_objects()
    wrong = []
    template = tmp_path / "template"
    template.mkdir()
    build(template)
    base = stored(objects, template)
    for number, path in enumerate(
        [*WAYS, "ping", "n" * 255, "n" * 256, "x" * 256 + "/x", "file/..", "a/" * 2100 + "a"]
    ):
        root = tmp_path / str(number)
        root.mkdir()
        build(root)
        there = number_of(SINGLE[call], Plain(root), path)
        with Overlay.create(objects, base) as fs:
            here = number_of(SINGLE[call], fs, path)
            if there != here or in_overlay(fs) != on_disk(root):
                wrong.append((path[:20], errno.errorcode.get(there), errno.errorcode.get(here)))
    assert wrong == []


def test_a_path_never_leads_out(fs: Overlay) -> None:
    fs.symlink("/etc", "absolute")
    fs.symlink("../../../../etc", "above")
    fs.symlink("full/../../etc", "through")
    fs.symlink("full/../file", "inside")
    for name in ("absolute", "above", "through"):
        for path in (name, f"{name}/passwd"):
            assert number_of(fs.stat, path) == errno.ENOENT
        assert fs.is_symlink(name)
        with pytest.raises(FileNotFoundError):
            fs.write_bytes(name, b"x")
    assert fs.read_bytes("inside") == b"file"
    assert fs.read_bytes("/../../file") == b"file"  # the root's `..` is the root
    assert fs.read_bytes("to-full/../file") == b"file"


def test_names_that_no_snapshot_may_hold(fs: Overlay) -> None:
    for name in (".jvs", ".JVS", "full/.jvs", ".jvs-worktrees"):
        for call in ("mkdir", "wb", "symlink"):
            assert number_of(SINGLE[call], fs, name) == errno.EPERM
        assert number_of(fs.rename, "file", name) == errno.EPERM
        assert number_of(fs.copy, "file", name) == errno.EPERM
        assert not fs.exists(name)
    with pytest.raises(ValueError, match="null"):
        fs.stat("a\0b")
    with pytest.raises(ValueError, match="null"):
        fs.symlink("a\0b", "x")
    assert number_of(lambda: fs.stat("")) == errno.ENOENT
    assert number_of(lambda: fs.symlink("", "x")) == errno.ENOENT
    assert number_of(lambda: fs.symlink("t" * 4096, "x")) == errno.ENAMETOOLONG
    assert number_of(lambda: fs.link("file", "other")) == errno.EPERM
    name = os.fsdecode(b"\xff\xfe")
    fs.write_bytes(name, b"x")
    assert name in fs.listdir()
    assert b"\xff\xfe" in fs.listdir(b"/")


def test_an_open_file_outlives_its_name(fs: Overlay) -> None:
    for path, data in (("file", b"file"), ("big", BIG)):
        with fs.open(path, "r+b", 0) as held, fs.open(path, "rb", 0) as reader:
            fs.unlink(path)
            held.seek(2)
            held.write(b"XY")
            fs.write_bytes(path, b"another")
            assert reader.read() == data[:2] + b"XY" + data[4:]
            held.truncate(1)
            reader.seek(0)
            assert reader.read() == data[:1]
        assert fs.read_bytes(path) == b"another"


def test_a_reader_sees_what_a_writer_writes_later(fs: Overlay) -> None:
    for path in ("file", "big", "full/file"):
        with fs.open(path, "rb", 0) as reader, fs.open(path, "r+b", 0) as writer:
            writer.write(b"new!")
            assert reader.read(4) == b"new!"
            fs.rename(path, path + "2")
            writer.write(b"more")
            assert reader.read(4) == b"more"
            with fs.open(path + "2", "ab", 0) as first, fs.open(path + "2", "ab", 0) as second:
                end = fs.stat(path + "2").st_size
                first.write(b"1")
                second.write(b"2")
                first.write(b"3")
            assert fs.read_bytes(path + "2")[end:] == b"123"


@pytest.mark.parametrize("way", ["rmtree", "discard", "rebase"])
def test_an_open_file_outlives_the_directories_above_it(fs: Overlay, way: str) -> None:
    fs.write_bytes("full/sub/touched", b"touched")
    with fs.open("full/file", "r+b", 0) as held, fs.open("full/sub/touched", "r+b", 0) as touched:
        if way == "rmtree":
            fs.rmtree("full")
        elif way == "discard":
            fs.discard("full")
        else:
            fs.rebase(fs.base)
        before = in_overlay(fs)
        held.write(b"FU")
        touched.write(b"TO")
        assert in_overlay(fs) == before
        held.seek(0)
        touched.seek(0)
        assert (held.read(), touched.read()) == (b"FUll", b"TOuched")
    assert fs.exists("full/sub") == (way != "rmtree")
    assert not fs.exists("full/sub/touched")


def test_threads_may_share_an_overlay(fs: Overlay) -> None:
    objects = fs._upper.objects
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                path = f"d{number}/f{turn % 3}"
                fs.makedirs(f"d{number}", exist_ok=True)
                data = b"%d " % turn * 300
                fs.write_bytes(path, data)
                assert fs.read_bytes(path) == data
                assert fs.read_bytes("big") == BIG
                fs.rename(path, path + "x")
                if turn % 5 == 0:
                    pushed(objects, fs)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert in_store(objects, pushed(objects, fs)) == in_overlay(fs)
    assert [name for name in fs.listdir() if name.startswith("d")] == ["d0", "d1", "d2", "d3"]


def test_a_push_leaves_open_files_as_they_are(fs: Overlay) -> None:
    objects = fs._upper.objects
    with fs.open("big", "r+b", 0) as big, fs.open("file", "rb", 0) as small, fs.open("new", "w+b", 0) as new:
        big.seek(5000)
        big.write(b"edited")
        new.write(b"n" * 3000)
        first = pushed(objects, fs)
        big.write(b"again")
        new.write(b"!")
        assert small.read() == b"file"
        new.seek(0)
        assert new.read() == b"n" * 3000 + b"!"
        big.seek(5000)
        assert big.read(11) == b"editedagain"
        second = pushed(objects, fs)
    assert in_store(objects, first)["big"][2] == BIG[:5000] + b"edited" + BIG[5006:]
    assert in_store(objects, second)["big"][2] == BIG[:5000] + b"editedagain" + BIG[5011:]
    assert in_store(objects, second)["new"][2] == b"n" * 3000 + b"!"


def test_inodes_stay_with_their_files(fs: Overlay) -> None:
    file, below = fs.stat("file").st_ino, fs.stat("full/file").st_ino
    fs.rename("file", "moved")
    fs.rename("full", "moved-too")
    assert (fs.stat("moved").st_ino, fs.stat("moved-too/file").st_ino) == (file, below)
    fs.write_bytes("moved", b"edited")
    fs.write_bytes("file", b"another")
    assert fs.stat("moved").st_ino == file != fs.stat("file").st_ino
    fs.copy("moved-too", "copy")
    assert fs.stat("copy/file").st_ino != below


def test_times_are_kept_above(fs: Overlay) -> None:
    assert fs.stat("file").st_mtime_ns == 0
    fs.utime("file", ns=(5, 7))
    assert (fs.stat("file").st_atime_ns, fs.stat("file").st_mtime_ns) == (5, 7)
    objects = fs._upper.objects
    before = pushed(objects, fs)
    assert fs.stat("file").st_mtime_ns == 7
    fs.utime("file", ns=(8, 9))
    assert pushed(objects, fs) == before
    assert fs.stat("full").st_nlink == 2
    assert stat.S_ISDIR(fs.stat("/").st_mode)
    fs.utime("file", ns=(2**65, -(2**65)))  # cut off where the journal's numbers end, as a disk does
    assert (fs.stat("file").st_atime_ns, fs.stat("file").st_mtime_ns) == (2**64 - 1, -(2**63))


def test_copies_share_until_one_is_written(fs: Overlay) -> None:
    fs.write_bytes("full/new", b"n" * 2000)
    with fs.open("big", "r+b") as file:
        file.seek(100)
        file.write(b"edited")
    fs.copy("big", "big2")
    fs.copy("full", "copy")
    fs.chmod("big2", 0o600)
    with fs.open("big", "r+b") as file:
        file.write(b"one")
    with fs.open("copy/new", "ab") as file:
        file.write(b"more")
    assert fs.read_bytes("big2")[:106] == BIG[:100] + b"edited"
    assert fs.read_bytes("big")[:106] == b"one" + BIG[3:100] + b"edited"
    assert fs.read_bytes("full/new") == b"n" * 2000
    assert fs.read_bytes("copy/new") == b"n" * 2000 + b"more"
    assert stat.S_IMODE(fs.stat("big").st_mode) != 0o600
    assert number_of(lambda: fs.copy("full", "full/sub/x")) == errno.EINVAL
    assert number_of(lambda: fs.copy("full", "copy")) == errno.EEXIST
    assert number_of(lambda: fs.copy("file", "empty")) == errno.EISDIR


def test_changes_and_discard(fs: Overlay) -> None:
    before = in_overlay(fs)
    fs.write_bytes("file", b"other")
    fs.chmod("big", 0o600)
    fs.rename("full", "moved")
    fs.unlink("link")
    fs.mkdir("link")
    fs.makedirs("new/below")
    found = [(change.path, change.status, change.kind, change.whole) for change in fs.changes()]
    assert found == [
        (b"big", "mode", "file", False),
        (b"file", "modified", "file", False),
        (b"full", "deleted", "directory", True),
        (b"link", "type", "directory", False),
        (b"moved", "added", "directory", True),
        (b"new", "added", "directory", False),
        (b"new/below", "added", "directory", False),
    ]
    for path in ("big", "file", "full", "link", "moved", "new"):
        fs.discard(path)
    assert list(fs.changes()) == []
    assert in_overlay(fs) == before
    fs.write_bytes("moved", b"x")
    fs.rmtree("full")
    assert number_of(lambda: fs.discard("full/file")) == errno.ENOENT
    fs.discard("/")
    assert in_overlay(fs) == before
    assert number_of(lambda: fs.discard("nothing")) == errno.ENOENT


def test_glob_and_walk(fs: Overlay, plain: Path) -> None:
    fs.write_bytes("full/sub/deep.txt", b"")
    (plain / "full/sub/deep.txt").write_bytes(b"")
    for pattern in ("*", "f*", "full/*", "**/*.txt", "*/sub", "**/file", "fi[kl]e", "none/*", "full/file", "to-full/*"):
        expected = sorted(str(path.relative_to(plain)) for path in plain.glob(pattern))
        assert sorted(fs.glob(pattern)) == expected, pattern
    plainly = {os.path.relpath(top, plain): (set(dirs), set(files)) for top, dirs, files in os.walk(plain)}
    assert {os.path.relpath(top, "/"): (set(dirs), set(files)) for top, dirs, files in fs.walk()} == plainly
    bottom_up = [top for top, _, _ in fs.walk(topdown=False)]
    assert bottom_up.index("/full/sub") < bottom_up.index("/full") < bottom_up.index("/")


def test_text_and_modes_of_open(fs: Overlay) -> None:
    with fs.open("text", "w", encoding="utf-8", newline="") as file:
        file.write("ä\r\nb\n")
    with fs.open("text") as file:
        assert file.readlines() == ["ä\n", "b\n"]
    for mode in ("", "rw", "b", "rbt", "r++", "q"):
        with pytest.raises(ValueError, match="mode"):
            fs.open("text", mode)
    with fs.open("text", "rb") as file, pytest.raises(OSError):
        file.write(b"x")
    with fs.open("text", "r+b", 0) as file:
        assert file.seek(3, os.SEEK_END) == 9
        file.write(b"x")
        with pytest.raises(OSError):
            file.seek(-1)
    assert fs.read_bytes("text") == "ä\r\nb\n".encode() + b"\0\0\0x"
