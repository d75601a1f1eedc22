"""What cannot be read, or never holds still: a push records no deletion that nobody made, and no torn read."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jvs.castore.digest import file_digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.ingest import changed, stable
from jvs.castore.ingest.stable import TICK_NS
from jvs.castore.ingest.walk import FileClock, Listing, list_directory
from jvs.errors import JvsError, StoreError
from tests.castore.ingest.support import NOBODY, Ground, on_disk, ordinary_user

LIST = "jvs.castore.ingest.ingest.list_directory"


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Ground]:
    """A directory that belongs to an ordinary user, who also runs the test."""
    ground = Ground(tmp_path)
    for name in ("file", "secret", "d/inner", "d/e/deep"):
        ground.write(name, name.encode())
    if os.geteuid() == 0:
        for where, directories, files in os.walk(tmp_path):
            for name in [".", *directories, *files]:
                os.chown(os.path.join(where, name), NOBODY, NOBODY)
        for parent in tmp_path.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o055)
    with ordinary_user():
        yield ground
        for name in ("d", "d/e"):
            if os.path.isdir(ground.path(name)):
                os.chmod(ground.path(name), 0o700)


def test_the_entry_of_the_base_is_kept(theirs: Ground) -> None:
    before = theirs.content(theirs.push().tree)
    os.chmod(theirs.path("secret"), 0)
    os.chmod(theirs.path("d/e"), 0)
    theirs.write("file", b"changed")
    for index in (True, False):
        if not index:
            theirs.index_path.unlink()
        result = theirs.push()
        assert result.kept == [(b"d/e", "Permission denied"), (b"secret", "Permission denied")]
        assert result.skipped == []
        assert theirs.content(result.tree) == before | {b"file": ("file", 0o644, b"changed")}
    os.chmod(theirs.path("secret"), 0o600)
    os.chmod(theirs.path("d/e"), 0o700)
    result = theirs.push()
    assert result.kept == []
    assert theirs.content(result.tree) == on_disk(theirs.directory)


def test_without_a_base_the_push_is_refused_with_a_list(theirs: Ground) -> None:
    os.chmod(theirs.path("secret"), 0)
    os.chmod(theirs.path("d/e"), 0)
    with pytest.raises(JvsError) as caught:
        theirs.push()
    assert caught.value.code == "unreadable"
    assert caught.value.details["count"] == 2
    assert [item["path"] for item in caught.value.details["paths"]] == ["d/e", "secret"]
    assert not theirs.index_path.exists()
    for _ in range(2):
        result = theirs.push(skip_unreadable=True)
        assert result.skipped == [(b"d/e", "Permission denied"), (b"secret", "Permission denied")]
        assert sorted(theirs.content(result.tree)) == [b"d", b"d/inner", b"file"]
    with pytest.raises(JvsError):
        theirs.push()


def test_a_directory_whose_entries_cannot_be_looked_at(theirs: Ground) -> None:
    """Readable but not searchable: names are listed, and nothing more."""
    before = theirs.content(theirs.push().tree)
    os.chmod(theirs.path("d"), 0o400)
    result = theirs.push()
    assert sorted(result.kept) == [(b"d/e", "Permission denied"), (b"d/inner", "Permission denied")]
    assert theirs.content(result.tree) == before | {b"d": ("directory", 0o400, b"")}
    theirs.index_path.unlink()
    with pytest.raises(JvsError):
        theirs.push(base=None)


def test_the_directory_itself(theirs: Ground) -> None:
    os.chmod(theirs.directory, 0)
    try:
        with pytest.raises(JvsError) as caught:
            theirs.push()
    finally:
        os.chmod(theirs.directory, 0o700)
    assert caught.value.code == "unreadable"


def test_rules_that_cannot_be_read_stop_the_push(theirs: Ground) -> None:
    theirs.write("d/.jvsignore", b"inner\n", 0)
    with pytest.raises(JvsError, match=r"d/\.jvsignore"):
        theirs.push(skip_unreadable=True)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EBUSY])
def test_errors_of_reading(ground: Ground, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    ground.write("a/good", b"1")
    ground.write("a/bad", b"2")
    first = ground.push()

    real = stable.read_small
    monkeypatch.setattr(changed, "read_small", lambda *args: failing_or(real, code, *args))
    monkeypatch.setattr(stable, "read_small", lambda *args: failing_or(real, code, *args))
    result = ground.push(rehash=True)
    assert result.tree == first.tree
    assert result.kept == [(b"a/bad", os.strerror(code))]
    ground.index_path.unlink()
    with pytest.raises(JvsError, match="a/bad"):
        ground.push(base=None)


def failing_or(real: Any, code: int, name: str, parent: int, row: Any) -> Any:
    """Fail for the file `bad`."""
    if name == "bad":
        raise OSError(code, os.strerror(code))
    return real(name, parent, row)


def test_an_error_while_a_directory_is_listed(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.write("a/b/file", b"1")
    ground.write("a/c/file", b"1")
    first = ground.push()
    inode = os.stat(ground.path("a/b")).st_ino

    def failing(fd: int) -> Listing:
        if os.fstat(fd).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return list_directory(fd)

    monkeypatch.setattr(LIST, failing)
    result = ground.push()
    assert result.tree == first.tree
    assert result.kept == [(b"a/b", os.strerror(errno.EIO))]
    shutil.rmtree(ground.path("a/c"))
    assert set(ground.content(ground.push().tree)) == {b"a", b"a/b", b"a/b/file"}


def test_running_out_of_descriptors_is_no_files_fault(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.write("file", b"1")
    ground.push()
    monkeypatch.setattr(stable, "read_small", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
    monkeypatch.setattr(changed, "read_small", stable.read_small)
    with pytest.raises(StoreError, match="too many"):
        ground.push(rehash=True)


def test_what_vanishes_meanwhile_is_absent(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/one", "a/two", "b/file", "c"):
        ground.write(name, b"1")
    ground.push()

    def vanishing(fd: int) -> Listing:
        listing = list_directory(fd)
        for name in ("two", "c"):
            if os.path.lexists(f"/proc/self/fd/{fd}/{name}"):
                os.unlink(name, dir_fd=fd)
        if os.path.isdir(ground.path("b")):
            shutil.rmtree(ground.path("b"))
        return listing

    monkeypatch.setattr(LIST, vanishing)
    result = ground.push(rehash=True)
    assert set(ground.content(result.tree)) == {b"a", b"a/one"}
    assert (result.kept, result.skipped) == ([], [])
    monkeypatch.undo()
    assert ground.push().tree == result.tree


def test_a_deletion_is_made_sure_of(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that misses a name (one renamed meanwhile, say) is not believed."""
    for name in ("a", "b", "c", "d/inner"):
        ground.write(name, name.encode())
    first = ground.push()

    def missing(fd: int) -> Listing:
        listing = list_directory(fd)
        rows = [row for row in listing.rows if row[0] not in ("b", "d")]
        return Listing(rows, [], {})

    monkeypatch.setattr(LIST, missing)
    os.unlink(ground.path("c"))
    for rehash in (False, True):  # edited, merged
        result = ground.push(base=first.tree.digest, rehash=rehash)
        assert set(ground.content(result.tree)) == {b"a", b"b", b"d", b"d/inner"}
        assert [path for path, _ in result.kept] == [b"d"]
    monkeypatch.undo()
    assert ground.content(ground.push().tree) == on_disk(ground.directory)


@pytest.mark.parametrize("size", [3000, 300_000])
def test_a_file_that_is_rewritten_all_the_time_is_never_torn(ground: Ground, size: int) -> None:
    """A thread writes whole files of one letter, in place; whatever is stored is of one letter.

    Unless the writer itself was kept waiting half-way for so long that the half-written file stood still: then that is
    what the file was.
    """
    ground.write("file", b"a" * size)
    stop = threading.Event()
    stood_still: set[frozenset[int]] = set()

    def hammer() -> None:
        letter = 0
        while not stop.is_set():
            letter = (letter + 1) % 26
            pair = frozenset((97 + letter, 97 + (letter - 1) % 26))
            begun = time.monotonic_ns()
            with open(ground.path("file"), "r+b") as file:
                for _ in range(4):
                    if time.monotonic_ns() - begun > TICK_NS // 2:
                        stood_still.add(pair)
                    file.write(bytes([97 + letter]) * (size // 4))
                    file.flush()
            stop.wait(0.0005 * (letter % 5))

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        outcomes = set()
        for _ in range(40 if os.environ.get("JVS_TORTURE") == "1" else 6):
            result = ground.push(base=None, skip_unreadable=True, rehash=True)
            data = ground.content(result.tree).get(b"file", ("", 0, b""))[2]
            if len(set(data)) > 1:
                stop.set()
                thread.join()  # who is late says so before writing on
            assert len(set(data)) <= 1 or set(data) in stood_still
            assert len(data) in (0, size)
            outcomes.add(bool(data))
            if stop.is_set():
                break
            if not data and not result.kept:
                assert [path for path, _ in result.skipped] == [b"file"]
    finally:
        stop.set()
        thread.join()
    assert len(set(ground.content(ground.push().tree)[b"file"][2])) == 1


def test_a_file_that_never_holds_still_keeps_its_old_entry(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.write("log", b"first line\n")
    first = ground.push()
    monkeypatch.setattr(stable, "PAUSES", (0.0, 0.03))
    real = os.read

    def growing(fd: int, size: int) -> bytes:
        data = real(fd, size)
        with open(ground.path("log"), "ab") as file:
            file.write(b"x")
        return data

    monkeypatch.setattr(os, "read", growing)
    result = ground.push()
    monkeypatch.undo()
    assert result.tree == first.tree
    assert result.kept == [(b"log", "it changed every time it was read")]
    assert ground.content(ground.push().tree) == on_disk(ground.directory)


def test_a_file_that_settles_is_read(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.write("log", b"first\n")
    real = os.read
    calls = 0

    def growing_twice(fd: int, size: int) -> bytes:
        nonlocal calls
        data = real(fd, size)
        calls += 1
        if calls <= 2:
            with open(ground.path("log"), "ab") as file:
                file.write(b"more\n")
        return data

    monkeypatch.setattr(os, "read", growing_twice)
    result = ground.push()
    assert ground.content(result.tree)[b"log"][2] == b"first\nmore\nmore\n"


def test_a_large_file_that_changes_between_two_reads(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 3 << 20
    ground.write("file", b"a" * size)
    real = os.readv
    left = 2

    def changing(fd: int, views: list[memoryview]) -> int:
        nonlocal left
        got = real(fd, views)
        if left:
            left -= 1
            with open(ground.path("file"), "r+b") as file:
                file.write(bytes([98 + left % 2]) * size)
        return got

    monkeypatch.setattr(os, "readv", changing)
    assert ground.content(ground.push().tree)[b"file"][2] == b"b" * size
    left = 100
    ground.index_path.unlink()
    with pytest.raises(JvsError, match="it changed every time it was read"):
        ground.push(base=None, rehash=True)


def test_a_change_within_the_tick_of_the_last_one_is_waited_for(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stat that is the same afterwards proves nothing while the clock that stamps it stands still."""
    ground.write("file", b"1")
    fd = os.open(ground.directory, os.O_RDONLY)
    stamp = os.stat(ground.path("file")).st_ctime_ns
    times: list[int | None] = []
    slept: list[float] = []

    class Clock(FileClock):
        def now(self, fd: int) -> int | None:
            return times.pop(0)

    def settled() -> int:
        """How many attempts it takes."""
        slept.clear()
        stable.settle(TreeHasher(ground.objects), "file", fd, 100, Clock(), lambda _: None)
        return len(slept)

    monkeypatch.setattr(stable.time, "sleep", slept.append)  # type: ignore[attr-defined]
    try:
        times[:] = [stamp, stamp + stable.TICK_NS - 1, stamp + stable.TICK_NS]
        assert settled() == 3
        times[:] = [stamp - 1]  # stamped by a clock that was set back since: waiting would not help
        assert settled() == 1
        times[:] = [None]  # nobody knows the time there
        assert settled() == 1
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_something_else_takes_a_files_place(ground: Ground, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    ground.write("file", b"1")
    ground.write("other", b"2")

    def replacing(fd: int) -> Listing:
        listing = list_directory(fd)
        if os.path.isfile(ground.path("file")) and not os.path.islink(ground.path("file")):
            os.unlink(ground.path("file"))
            if kind == "link":
                os.symlink("other", ground.path("file"))
            elif kind == "fifo":
                os.mkfifo(ground.path("file"))
            else:
                os.mkdir(ground.path("file"))
        return listing

    monkeypatch.setattr(LIST, replacing)
    result = ground.push(skip_unreadable=True)
    content = ground.content(result.tree)
    assert content.get(b"file") == (("link", 0, b"other") if kind == "link" else None)
    assert len(result.skipped) == (0 if kind == "link" else 1)
    monkeypatch.undo()
    assert ground.content(ground.push().tree) == on_disk(ground.directory)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_something_else_takes_a_directorys_place(ground: Ground, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    ground.write("d/secret", b"1")
    ground.write("other/file", b"2")

    def replacing(fd: int) -> Listing:
        listing = list_directory(fd)
        if os.path.isdir(ground.path("d")) and not os.path.islink(ground.path("d")):
            shutil.rmtree(ground.path("d"))
            if kind == "link":
                os.symlink("other", ground.path("d"))
            else:
                ground.write("d", b"a file now")
        return listing

    monkeypatch.setattr(LIST, replacing)
    result = ground.push()
    assert ground.content(result.tree)[b"d"][0] == kind
    assert b"d/file" not in ground.content(result.tree)


def test_digests_are_of_what_was_stored(ground: Ground) -> None:
    ground.write("file", b"content")
    located = ground.objects.resolve(ground.push().tree.digest, (b"file",))
    assert located.entry[4:] == (file_digest(b"content"),)
