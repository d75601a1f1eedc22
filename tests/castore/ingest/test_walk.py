"""Listing, the trail of open directories, and the clock that says what is old enough."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.ingest import walk
from jvs.castore.ingest.walk import (
    KEEP_OPEN,
    RACY_NS,
    FileClock,
    Row,
    Trail,
    list_directory,
    open_directory,
    open_root,
    row_of,
    trusted_row,
)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """An open directory."""
    fd = open_root(tmp_path)
    yield fd
    os.close(fd)


def test_a_listing_is_what_lstat_says(tmp_path: Path, root: int) -> None:
    (tmp_path / "file").write_bytes(b"12")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    listing = list_directory(root)
    assert {row[0] for row in listing.rows} == {"file", "dir", "link", "\udcff"}
    assert set(listing.rows) == {row_of(row[0], os.lstat(tmp_path / row[0])) for row in listing.rows}
    assert listing.directories == ["dir"]
    assert listing.failed == {}


def test_an_entry_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, name: str, code: int) -> None:
            self.name = name
            self.code = code

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            raise OSError(self.code, os.strerror(self.code))

    class Entries(list[Entry]):
        def __enter__(self) -> Entries:
            return self

        def __exit__(self, *exc: object) -> None: ...

    entries = Entries([Entry("gone", errno.ENOENT), Entry("closed", errno.EACCES)])
    monkeypatch.setattr(os, "scandir", lambda _: entries)
    listing = list_directory(0)
    assert listing.rows == [("closed", 0, 0)]
    assert listing.failed["closed"].errno == errno.EACCES


def test_a_link_is_never_entered(tmp_path: Path, root: int) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    with pytest.raises(OSError) as caught:
        open_directory("link", root)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_a_trail_keeps_few_directories_open_and_finds_its_way_back(tmp_path: Path, root: int) -> None:
    depth = 3 * KEEP_OPEN
    trail = Trail(root)
    inodes = [os.fstat(root).st_ino]
    for level in range(depth):
        os.mkdir(str(level), dir_fd=trail.fd())
        fd = open_directory(str(level), trail.fd())
        trail.push(str(level), fd)
        inodes.append(os.fstat(trail.fd()).st_ino)
        assert sum(fd >= 0 for _, fd in trail._steps) <= KEEP_OPEN
    assert (len(trail), trail.path()) == (depth, [str(level) for level in range(depth)])
    while len(trail):
        assert os.fstat(trail.fd()).st_ino == inodes.pop()
        assert sum(fd >= 0 for _, fd in trail._steps) <= KEEP_OPEN
        trail.pop()
    assert trail.fd() == root


def test_a_trail_whose_way_back_is_gone(tmp_path: Path, root: int) -> None:
    trail = Trail(root)
    for level in range(KEEP_OPEN + 10):
        os.mkdir(str(level), dir_fd=trail.fd())
        trail.push(str(level), open_directory(str(level), trail.fd()))
    os.rename(tmp_path / "0" / "1", tmp_path / "elsewhere")
    for _ in range(KEEP_OPEN):
        trail.pop()
    with pytest.raises(FileNotFoundError):
        trail.fd()
    assert len(trail) == 10
    os.rename(tmp_path / "elsewhere", tmp_path / "0" / "1")
    assert os.path.samestat(os.fstat(trail.fd()), os.stat(tmp_path / "/".join(map(str, range(10)))))
    trail.close()
    assert len(trail) == 0


def test_what_is_too_young_is_not_believed() -> None:
    old: Row = ("file", 0o100644, 1, 100, 100, 5)
    assert trusted_row(old, 100) == old
    assert trusted_row(old, 99) == ("file",)
    assert trusted_row(("file", 0o100644, 1, 101, 100, 5), 100) == ("file",)
    assert trusted_row(("file", 0o100644, 1, 100, 101, 5), 100) == ("file",)
    assert trusted_row(("dir", 0o40755), 0) == ("dir", 0o40755)
    assert trusted_row(("closed", 0, 0), 100) == ("closed",)


def test_the_clock_is_the_file_systems_own(tmp_path: Path, root: int) -> None:
    (tmp_path / "file").touch()
    stamp = os.stat(tmp_path / "file").st_ctime_ns
    settled = FileClock().settled_before(root, [])
    assert stamp - RACY_NS <= settled + 50_000_000  # a coarse clock may stand still for a tick
    assert settled <= time.time_ns() - RACY_NS + 1_000_000_000
    assert os.listdir(tmp_path) == ["file"]


def test_the_clock_goes_on_and_is_never_set_forth(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FileClock()
    first = clock.now(root)
    assert first is not None
    wall, monotonic = time.time_ns(), time.monotonic_ns()
    monkeypatch.setattr(time, "monotonic_ns", lambda: monotonic + 5_000_000_000)
    monkeypatch.setattr(time, "time_ns", lambda: wall + 5_000_000_000)
    later = clock.now(root)
    assert later is not None
    assert 4_900_000_000 < later - first < 5_100_000_000
    monkeypatch.setattr(time, "time_ns", lambda: wall - 60_000_000_000)  # set back: files are stamped with this now
    back = clock.now(root)
    assert back is not None
    assert back < first - 50_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: wall + 10**15)  # set forth: what was stamped before is not older now
    forth = clock.now(root)
    assert forth is not None
    assert forth - first < 5_100_000_000


def test_without_unnamed_files_the_systems_clock_serves(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_temporary_stamp", lambda _: None)
    now = FileClock().now(root)
    assert now is not None
    assert abs(now - time.time_ns()) < 5_000_000_000


def test_on_a_network_file_system_the_newest_stamp_serves(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_temporary_stamp", lambda _: None)
    monkeypatch.setattr(walk, "network_filesystem", lambda _: "nfs4")
    clock = FileClock()
    assert clock.now(root) is None
    rows: list[Row] = [("a", 0o100644, 1, 5, 10**12, 1), ("d", 0o40755)]
    assert clock.settled_before(root, rows) == 10**12 - RACY_NS
    assert clock.settled_before(root, [("b", 0o100644, 1, 5, 10**11, 1)]) == 10**12 - RACY_NS
    assert clock.settled_before(root, [("b", 0o100644, 1, 5, 2 * 10**12, 1)]) == 2 * 10**12 - RACY_NS
