"""Pushing again: whatever happened in between, the tree is the one of a first push, and nothing is read needlessly."""

from __future__ import annotations

import itertools
import mmap
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jvs.castore.ingest import changed, scout, stable
from jvs.castore.ingest.ingest import ingest
from jvs.castore.treewriter import TreeWriter
from tests.castore.ingest.support import Ground, on_disk, settled_clock


@contextmanager
def counted_reads() -> Iterator[list[str]]:
    """The names of the files that are read inside."""
    names: list[str] = []

    def small(name: str, parent: int, row: object) -> bytes | None:
        names.append(name)
        return read_small(name, parent, row)  # type: ignore[arg-type]

    def large(sink: object, name: str, *rest: object) -> bytes | None:
        names.append(name)
        return read_large(sink, name, *rest)  # type: ignore[arg-type]

    read_small, read_large = stable.read_small, stable.read_large
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changed, "read_small", small)
        patch.setattr(stable, "read_small", small)
        patch.setattr(stable, "read_large", large)
        yield names


def tree_of_files(ground: Ground) -> None:
    for directory, number in itertools.product(("a", "a/b", "a/b/c", "d", "e/f"), range(5)):
        ground.write(f"{directory}/file{number}", f"{directory} {number}".encode())
    ground.write("large", bytes(200_000))
    os.symlink("large", ground.path("link"))
    os.mkdir(ground.path("empty"))


@pytest.mark.usefixtures("settled")
def test_nothing_changed_reads_nothing_and_writes_no_index(ground: Ground) -> None:
    tree_of_files(ground)
    first = ground.push()
    with counted_reads() as read:
        again = ground.push()
    assert read == []
    assert not ground.saved
    assert again[:3] == first[:3]
    assert ground.stats is not None
    assert ground.stats.objects == 0


@pytest.mark.usefixtures("settled")
def test_only_what_changed_is_read(ground: Ground) -> None:
    tree_of_files(ground)
    ground.push()
    ground.write("a/b/file3", b"changed")
    with counted_reads() as read:
        result = ground.push()
    assert read == ["file3"]
    assert ground.saved is True
    assert ground.content(result.tree) == on_disk(ground.directory)
    ground.write("large", bytes(200_001))
    with counted_reads() as read:
        assert ground.push().tree == ground.fresh()
    assert read[0] == "large"
    with counted_reads() as read:
        ground.push()
    assert (read, ground.saved) == ([], False)


@pytest.mark.usefixtures("settled")
def test_touched_but_the_same_stores_nothing(ground: Ground) -> None:
    tree_of_files(ground)
    first = ground.push()
    for name in ("a/file1", "a/b/c/file2", "large"):
        os.utime(ground.path(name))
    again = ground.push()
    assert again.tree == first.tree
    assert ground.stats is not None
    assert ground.stats.objects == 0
    assert ground.saved is True


@pytest.mark.usefixtures("settled")
def test_a_directory_that_is_too_much_changed_to_be_edited(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "EDITS", 3)
    for number in range(40):
        ground.write(f"file{number}", str(number).encode())
    ground.push()
    for number in range(0, 40, 2):
        ground.write(f"file{number}", b"other")
    for number in range(1, 40, 8):
        os.unlink(ground.path(f"file{number}"))
    with counted_reads() as read:
        result = ground.push()
    assert len(read) == 20
    assert ground.content(result.tree) == on_disk(ground.directory)
    assert result.tree == ground.fresh()


def test_an_edit_within_two_seconds_is_seen(ground: Ground) -> None:
    """The stat before and after the edit is made the same, as a coarse clock would."""
    ground.write("file", b"before")
    ground.push()
    info = os.stat(ground.path("file"))
    with open(ground.path("file"), "r+b") as file:
        file.write(b"after!")
    os.utime(ground.path("file"), ns=(info.st_atime_ns, info.st_mtime_ns))

    def same_stat(row: object) -> object:
        return ("file", info.st_mode, 6, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jvs.castore.ingest.stable.row_of", lambda name, _: same_stat(name))
        patch.setattr(
            "jvs.castore.ingest.ingest.list_directory",
            lambda fd: __import__("jvs.castore.ingest.walk", fromlist=["Listing"]).Listing([same_stat(None)], [], {}),
        )
        result = ground.push()
    assert ground.content(result.tree)[b"file"][2] == b"after!"


def test_times_in_the_future_are_never_believed(ground: Ground) -> None:
    ground.write("file", b"1")
    later = time.time_ns() + 10**12
    os.utime(ground.path("file"), ns=(later, later))
    time.sleep(2.2)  # only its mtime is the reason
    ground.push()
    with counted_reads() as read:
        ground.push()
    assert read == ["file"]


def test_old_files_are_believed_by_the_real_clock(ground: Ground) -> None:
    tree_of_files(ground)
    time.sleep(2.2)
    ground.push()
    with counted_reads() as read:
        ground.push()
    assert read == []


@pytest.mark.usefixtures("settled")
def test_an_edit_of_the_same_size_is_seen(ground: Ground) -> None:
    ground.write("file", b"one")
    ground.push()
    info = os.stat(ground.path("file"))
    ground.write("file", b"two")
    os.utime(ground.path("file"), ns=(info.st_atime_ns, info.st_mtime_ns))  # ctime tells
    assert ground.content(ground.push().tree)[b"file"][2] == b"two"


@pytest.mark.usefixtures("settled")
def test_a_write_through_mmap_is_seen_once_it_is_synced(ground: Ground) -> None:
    ground.write("file", b"x" * 8192)
    ground.push()
    time.sleep(0.02)
    with open(ground.path("file"), "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[100:105] = b"mmap!"
        memory.flush()
        assert b"mmap!" in ground.content(ground.push().tree)[b"file"][2]
        info = os.stat(ground.path("file"))
        memory[200:205] = b"again"
        if os.stat(ground.path("file")).st_ctime_ns == info.st_ctime_ns:  # no trace: then only a rehash can see it
            assert b"again" not in ground.content(ground.push().tree)[b"file"][2]
        assert b"again" in ground.content(ground.push(rehash=True).tree)[b"file"][2]


@pytest.mark.usefixtures("settled")
def test_mode_changes_alone(ground: Ground) -> None:
    tree_of_files(ground)
    ground.push()
    os.chmod(ground.path("a/b"), 0o700)
    os.chmod(ground.path("a/b/file1"), 0o755)
    result = ground.push()
    assert ground.content(result.tree) == on_disk(ground.directory)
    assert ground.stats is not None
    assert ground.stats.new_bytes < 2000  # pages, no content


@pytest.mark.usefixtures("settled")
def test_bits_that_a_pull_could_not_apply_are_no_change(ground: Ground) -> None:
    ground.write("tool", b"1", 0o4755)
    ground.write("sub/inner", b"2")
    os.chmod(ground.path("sub"), 0o2775)
    first = ground.push()
    os.chmod(ground.path("tool"), 0o755)
    os.chmod(ground.path("sub"), 0o775)
    unapplied = {b"tool": (0o755, 0o4755), b"sub": (0o775, 0o2775)}
    assert ground.push(unapplied=unapplied).tree == first.tree
    assert ground.push(unapplied=unapplied, rehash=True).tree == first.tree
    ground.index_path.unlink()
    assert ground.push(unapplied=unapplied, base=None).tree == first.tree
    ground.write("tool", b"new content", 0o755)
    assert ground.content(ground.push(unapplied=unapplied).tree)[b"tool"] == ("file", 0o4755, b"new content")
    os.chmod(ground.path("tool"), 0o700)  # not what the pull left: somebody's decision
    assert ground.content(ground.push(unapplied=unapplied).tree)[b"tool"][1] == 0o700


@pytest.mark.usefixtures("settled")
def test_an_index_whose_tree_is_gone_is_not_believed(ground: Ground, tmp_path: Path) -> None:
    tree_of_files(ground)
    tree = ground.push().tree
    other = Ground(tmp_path)
    assert other.index_path.exists()
    with counted_reads() as read:
        assert other.push().tree == tree
    assert len(read) == 26
    assert other.content(tree) == on_disk(other.directory)


@pytest.mark.usefixtures("settled")
def test_without_an_index_the_base_says_where_content_lies(ground: Ground) -> None:
    tree_of_files(ground)
    ground.push()
    ground.index_path.unlink()
    ground.write("a/new", b"new")
    result = ground.push()
    assert ground.stats is not None
    assert result.tree == ground.fresh()
    assert ground.stats.new_bytes < 3000  # the new file, and the pages up to the root


@pytest.mark.usefixtures("settled")
def test_another_directory_at_the_same_path(ground: Ground) -> None:
    ground.write("x/file", b"1")
    ground.push()
    os.rename(ground.directory, ground.directory.with_name("elsewhere"))
    ground.directory.mkdir()
    ground.write("x/file", b"2")
    assert ground.content(ground.push().tree)[b"x/file"][2] == b"2"


@pytest.mark.usefixtures("settled")
def test_a_renamed_directory_stores_only_pages(ground: Ground) -> None:
    for number in range(300):
        ground.write(f"before/file{number}", os.urandom(2000))
    ground.push()
    os.rename(ground.path("before"), ground.path("after"))
    assert ground.push().tree == ground.fresh()
    assert ground.stats is not None
    assert ground.stats.stored_bytes < 2000


def test_a_hasher_as_sink_says_the_same(ground: Ground) -> None:
    tree_of_files(ground)
    pushed = ground.push().tree
    assert ground.fresh() == pushed
    ground.write("a/file1", b"changed")
    assert ground.fresh(base=pushed.digest) == ground.push().tree


NAMES = st.sampled_from(["a", "b", "c", "d", "\udcff", "x.y"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
RULES = [b"", b"a\n", b"*.y\n", b"b/\n", b"/a/b\n", b"*\n!a\n!*/\n", b"!c\n", b"**/c\n"]
CONTENTS = st.one_of(st.binary(max_size=8), st.integers(90, 3000).map(lambda size: b"long" * (size // 4)))


class Histories(RuleBasedStateMachine):
    """Edits of a directory with pushes in between; every push gives the tree of a first push."""

    def __init__(self) -> None:
        super().__init__()
        self.exit = ExitStack()
        self.root = Path(self.exit.enter_context(tempfile.TemporaryDirectory()))
        self.exit.enter_context(settled_clock())
        patch = self.exit.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(changed, "EDITS", 3)
        patch.setattr(scout, "MIN_ENTRIES", 1)  # every push looks ahead
        patch.setattr(scout, "UNITS", 3)
        self.ground = Ground(self.root, inline_limit=100, chunk_min=64, chunk_avg=256, chunk_max=1024)
        self.dirty = False
        self.ruled = False

    def teardown(self) -> None:
        self.exit.close()

    def _path(self, path: str) -> bytes:
        return self.ground.path(path)

    def _room(self, path: str) -> bytes:
        """Make the path's parents directories and the path free."""
        self.dirty = True
        parts = path.split("/")
        for count in range(1, len(parts)):
            parent = self._path("/".join(parts[:count]))
            if os.path.lexists(parent) and not (os.path.isdir(parent) and not os.path.islink(parent)):
                os.unlink(parent)
            os.makedirs(parent, exist_ok=True)
        target = self._path(path)
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        elif os.path.islink(target):
            os.unlink(target)
        return target

    @initialize(many=st.booleans())
    def begin(self, many: bool) -> None:
        if many:
            for number in range(300):
                self.ground.write(f"a/{number}", b"%d" % number)

    @rule(path=PATHS, data=CONTENTS, mode=st.sampled_from([0o600, 0o644, 0o755]))
    def write(self, path: str, data: bytes, mode: int) -> None:
        self._room(path)
        self.ground.write(path, data, mode)

    @rule(number=st.integers(0, 320), data=CONTENTS)
    def write_numbered(self, number: int, data: bytes) -> None:
        self._room(f"a/{number}")
        self.ground.write(f"a/{number}", data)

    @rule(path=PATHS)
    def link(self, path: str) -> None:
        target = self._room(path)
        if os.path.lexists(target):
            os.unlink(target)
        os.symlink("target", target)

    @rule(path=PATHS)
    def directory(self, path: str) -> None:
        target = self._room(path)
        if os.path.lexists(target):
            os.unlink(target)
        os.mkdir(target)

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        target = self._path(path)
        if os.path.lexists(target):
            self.dirty = True
            if os.path.isdir(target) and not os.path.islink(target):
                shutil.rmtree(target)
            else:
                os.unlink(target)

    @rule(path=PATHS, mode=st.sampled_from([0o700, 0o755, 0o2755]))
    def chmod(self, path: str, mode: int) -> None:
        target = self._path(path)
        if os.path.lexists(target) and not os.path.islink(target):
            self.dirty = True
            os.chmod(target, mode)

    @rule(one=PATHS, two=PATHS)
    def rename(self, one: str, two: str) -> None:
        if not os.path.lexists(self._path(one)) or two.startswith(one + "/") or one == two or one.startswith(two + "/"):
            return
        target = self._room(two)
        if not os.path.lexists(self._path(one)):
            return
        if os.path.lexists(target):
            os.unlink(target)
        os.rename(self._path(one), target)

    @rule(directory=st.sampled_from(["", "a/", "a/b/"]), text=st.sampled_from(RULES))
    def ignore(self, directory: str, text: bytes) -> None:
        self.ruled = True
        self._room(directory + ".jvsignore")
        self.ground.write(directory + ".jvsignore", text)

    @rule()
    def lose_the_index(self) -> None:
        if self.ground.index_path.exists():
            self.ground.index_path.unlink()

    @precondition(lambda self: self.dirty)
    @rule(rehash=st.booleans())
    def push(self, rehash: bool) -> None:
        self.dirty = False
        without_index = self.ground.fresh(base=self.ground.base)
        result = self.ground.push(rehash=rehash)
        assert result.tree == without_index
        disk = on_disk(self.ground.directory)
        content = self.ground.content(result.tree)
        if not self.ruled:
            assert result.tree == self.ground.fresh()
            assert content == disk
            assert result.files + result.directories == len(disk)
        again = self.ground.push()
        assert again[:3] == result[:3]
        assert self.ground.saved is False

    @invariant()
    def index_is_where_it_is(self) -> None:
        assert (
            not [name for name in os.listdir(self.root / "cache") if name.endswith(".tmp")]
            if (self.root / "cache").exists()
            else True
        )


Histories.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestHistories = Histories.TestCase


def test_modes_of_directories_count(ground: Ground) -> None:
    os.mkdir(ground.path("d"))
    os.chmod(ground.path("d"), 0o3777)
    result = ground.push()
    assert ground.content(result.tree)[b"d"] == ("directory", 0o3777, b"")
    assert stat.S_IMODE(os.stat(ground.directory).st_mode) not in {0o3777}


def test_the_root_directorys_mode_does_not_count(ground: Ground) -> None:
    ground.write("file", b"1")
    first = ground.push().tree
    os.chmod(ground.directory, 0o711)
    assert ground.push().tree == first


def test_publishing_is_the_callers(ground: Ground) -> None:
    """An index that was built but never saved leaves the old one."""
    ground.write("file", b"1")
    ground.push()
    before = ground.index_path.read_bytes()
    ground.write("file", b"2")
    with ground.index() as index, TreeWriter(ground.objects) as writer:
        result = ingest(writer, ground.directory, index=index)
        assert result.new_index is not None
        result.new_index.close()
    assert ground.index_path.read_bytes() == before
    assert ground.content(ground.push().tree)[b"file"][2] == b"2"
