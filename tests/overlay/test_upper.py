"""The upper layer on disk: what is left of it after a crash at any byte, and what opening and editing cost."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore.digest import Digest, file_digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.manifest import DIRECTORY, FILE, Directory, File
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from jvs.errors import IntegrityError, LockedError, UsageError
from jvs.overlay import datafiles, depth, journal, nodes, upper
from jvs.overlay.extents import Extents
from jvs.overlay.overlay import Overlay
from tests.overlay.support import Seen, in_overlay, in_store, new_objects, pushed, stored


@given(st.lists(st.tuples(st.sampled_from(["add", "clip"]), st.integers(0, 40), st.integers(0, 40))))
def test_extents_are_a_set_of_offsets(steps: list[tuple[str, int, int]]) -> None:
    extents, model = Extents(), set[int]()
    for what, start, end in steps:
        if what == "add":
            extents.add(start, end)
            model.update(range(start, end))
        else:
            extents.clip(start)
            model = {at for at in model if at < start}
        pieces = list(extents.split(3, 50))
        assert [at for start, end, _ in pieces for at in range(start, end)] == list(range(3, 50))
        assert {at for start, end, inside in pieces if inside for at in range(start, end)} == model & set(range(3, 50))
        ranges = list(extents)
        assert all(a < b for a, b in ranges)
        assert all(one[1] < two[0] for one, two in pairwise(ranges))


# ------------------------------------------------------------------------------------------------------------- crashes


def base_of(objects: ObjectStore, top: Path) -> Digest:
    source = top / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "a/one").write_bytes(b"one")
    (source / "a/b/two").write_bytes(b"two" * 20)
    (source / "big").write_bytes(random.Random(1).randbytes(8000))
    (source / "link").symlink_to("a")
    return stored(objects, source)


def work(fs: Overlay) -> Iterator[None]:
    """One of everything that is journaled; pauses after each operation."""
    fs.mkdir("new")
    yield
    fs.open("new/file", "wb", 0).close()
    yield
    fs.symlink("file", "new/link")
    yield
    fs.rename("a", "moved")
    yield
    fs.copy("moved", "copy")
    yield
    fs.chmod("copy/one", 0o600)
    yield
    fs.utime("copy/b", ns=(1, 2))
    yield
    fs.unlink("moved/one")
    yield
    with fs.open("big", "r+b", 0) as file:
        file.seek(4000)
        file.write(b"x" * 50)
    yield
    fs.truncate("big", 6000)
    yield
    fs.truncate("big", 7000)
    yield
    fs.copy("big", "big2")
    yield
    with fs.open("big2", "r+b", 0) as file:
        file.write(b"second")
    yield
    fs.write_bytes("copy/b/two", b"")
    yield
    fs.discard("a")
    yield
    fs.rmtree("copy")
    yield
    fs.rename("big2", "big")
    yield


def test_a_journal_cut_off_anywhere_gives_an_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = new_objects()
    directory = tmp_path / "upper"
    states: list[Seen] = []
    ends: list[int] = []
    with Overlay.create(objects, base_of(objects, tmp_path), str(directory), info={"label": "main"}) as fs:
        states.append(in_overlay(fs))
        ends.append((directory / "journal").stat().st_size)
        fs._upper.files.sweep = lambda: None  # type: ignore[method-assign]  # every file is there for every prefix
        for _ in work(fs):
            states.append(in_overlay(fs))
            ends.append((directory / "journal").stat().st_size)
    whole = (directory / "journal").read_bytes()
    assert ends == sorted(set(ends))
    boundaries = [end for _, end in journal._decode(whole)]
    cut = tmp_path / "cut"
    shutil.copytree(directory, cut)
    before: Seen = {}
    for end in range(boundaries[0], len(whole) + 1):
        if end not in boundaries and end + 1 not in boundaries and end % 16:
            continue  # most bytes are in the middle of a record like their neighbours
        (cut / "journal").write_bytes(whole[:end])
        with monkeypatch.context() as patched:
            patched.setattr(datafiles.DataFiles, "adopt", lambda *_: None)  # nor are they removed here
            with Overlay.resume(objects, str(cut)) as fs:
                found = in_overlay(fs)
                assert fs.info == {"label": "main"}
                assert (fs.torn == 0) == (end in boundaries)
        if end in ends:
            assert found == states[ends.index(end)]
        elif end not in boundaries:
            assert found == before
        before = found
    with Overlay.resume(objects, str(directory)) as fs:
        assert in_store(objects, pushed(objects, fs)) == states[-1]


def test_what_was_synced_survives_the_death_of_the_process(tmp_path: Path) -> None:
    objects = new_objects()
    base = base_of(objects, tmp_path)
    directory = str(tmp_path / "upper")
    child = os.fork()
    if not child:
        try:
            fs = Overlay.create(objects, base, directory)
            file = fs.open("big", "r+b")
            file.seek(3000)
            file.write(b"synced")
            file.flush()
            file.raw.sync()  # type: ignore[attr-defined]
            file.seek(5000)
            file.write(b"not synced")
            file.flush()
            fresh = fs.open("fresh", "wb", 0)
            fresh.write(b"fresh")
            fs.rename("a", "moved")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    original = (tmp_path / "source/big").read_bytes()
    with Overlay.resume(objects, directory) as fs:
        assert fs.torn == 0
        assert fs.read_bytes("big")[:5000] == original[:3000] + b"synced" + original[3006:5000]
        assert fs.read_bytes("fresh") == b"fresh"
        assert fs.listdir("moved") == ["b", "one"]
        assert not fs.exists("a")


@pytest.mark.parametrize("part", range(20))
def test_a_flipped_bit_is_the_end_of_the_journal(tmp_path: Path, part: int) -> None:
    objects = new_objects()
    directory = tmp_path / "upper"
    with Overlay.create(objects, base_of(objects, tmp_path), str(directory)) as fs:
        for _ in work(fs):
            pass
    data = bytearray((directory / "journal").read_bytes())
    data[len(data) * part // 20] ^= 4
    (directory / "journal").write_bytes(data)
    try:
        with Overlay.resume(objects, str(directory)) as fs:
            assert fs.torn > 0
            in_overlay(fs)
    except IntegrityError:
        pass  # the header, or a data file that a later record dropped


def test_a_layer_is_open_once_and_made_once(tmp_path: Path) -> None:
    objects = new_objects()
    base = base_of(objects, tmp_path)
    directory = str(tmp_path / "upper")
    with Overlay.create(objects, base, directory) as fs:
        with pytest.raises(LockedError):
            Overlay.resume(objects, directory)
        fs.write_bytes("x", b"x")
    with pytest.raises(FileExistsError):
        Overlay.create(objects, base, directory)
    with Overlay.resume(objects, directory) as fs:
        assert fs.read_bytes("x") == b"x"
    with pytest.raises(FileNotFoundError):
        Overlay.resume(objects, str(tmp_path / "none"))
    os.unlink(next(path for path in (tmp_path / "upper/data").rglob("*") if path.is_file()))
    with pytest.raises(IntegrityError):
        Overlay.resume(objects, directory)


def test_a_record_that_cannot_be_done_is_not_in_the_journal(tmp_path: Path) -> None:
    objects = new_objects()
    base = base_of(objects, tmp_path)
    layer = str(tmp_path / "layer")
    with Overlay.create(objects, base, layer) as overlay:
        overlay.write_text("new", "1")
        with pytest.raises(IntegrityError):
            overlay._upper.do("chmod", b"not/there", 0o600, 0)
        overlay.write_text("newer", "2")
    with Overlay.resume(objects, layer) as overlay:
        assert (overlay.torn, overlay.read_text("new"), overlay.read_text("newer")) == (0, "1", "2")


def test_a_file_that_is_open_below_a_removed_directory_means_no_other_file(tmp_path: Path) -> None:
    objects = new_objects()
    source = tmp_path / "source"
    (source / "top/deep/er").mkdir(parents=True)
    for path in ("one", "top/one", "top/deep/one", "top/deep/er/one"):
        (source / path).write_text(path)
    base = stored(objects, source)
    layer = str(tmp_path / "layer")
    with Overlay.create(objects, base, layer) as overlay:
        handles = [overlay.open_handle(f"top/{path}", os.O_RDWR) for path in ("one", "deep/one", "deep/er/one")]
        overlay.rmtree("top")
        assert len({overlay.fstat(handle).st_ino for handle in handles}) == 3
        for handle in handles:
            assert handle.write(memoryview(b"gone"), 0) == 4
            assert handle.read(4, 0) == b"gone"
            handle.close()
        assert [change.path for change in overlay.changes()] == [b"top"]
        assert overlay.read_text("one") == "one"
    with Overlay.resume(objects, layer) as overlay:
        assert (overlay.listdir("/"), overlay.read_text("one")) == (["one"], "one")


@pytest.mark.parametrize("stored_before", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_a_tree_that_a_rename_made_too_deep_is_not_pushed(
    stored_before: bool, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = new_objects()
    monkeypatch.setattr(depth, "MAX_DEPTH", 6)
    with Overlay.create(objects, base_of(objects, tmp_path)) as fs:
        fs.makedirs("deep/2/3/4")
        fs.write_text("deep/2/3/4/file", "x")
        fs.makedirs("other/2/3")
        for number in range(10):
            fs.write_text(f"deep/2/n{number}", "x")
        if stored_before:
            pushed(objects, fs)
        fs.rename("deep", "other/2/deep")
        pushed(objects, fs)
        fs.rename("other/2/deep", "other/2/3/deep")
        if written:
            fs.write_text("other/2/3/deep/2/new", "x")
        before = in_overlay(fs)
        with pytest.raises(UsageError, match="no more than 6 directories deep"):
            pushed(objects, fs)
        assert in_overlay(fs) == before
        fs.rename("other/2/3/deep/2", "2")
        assert in_store(objects, pushed(objects, fs)) == in_overlay(fs)


def test_a_temporary_layer_goes_with_its_overlay(tmp_path: Path) -> None:
    objects = new_objects()
    with Overlay.create(objects, base_of(objects, tmp_path)) as fs:
        fs.write_bytes("x", b"x")
        directory = fs._upper.directory
        assert os.path.isdir(directory)
    assert not os.path.exists(directory)


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = new_objects()
    directory = str(tmp_path / "upper")

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Overlay.create(objects, base_of(objects, tmp_path), directory) as fs:
        fs.write_bytes("kept", b"kept")
        before = in_overlay(fs)
        for module in (journal, datafiles, upper):
            target = "_write" if module is journal else "write_all"
            monkeypatch.setattr(module, target, full)
        for call in (
            lambda: fs.mkdir("new"),
            lambda: fs.write_bytes("big", b"x"),
            lambda: fs.rename("a", "b"),
            lambda: fs.write_bytes("other", b"x"),
            lambda: fs.open("a/one", "ab", 0).write(b"x"),
        ):
            with pytest.raises(OSError) as raised:
                call()
            assert raised.value.errno == errno.ENOSPC
        monkeypatch.undo()
        assert in_overlay(fs) == before
        fs.mkdir("new")
    with Overlay.resume(objects, directory) as fs:
        assert fs.is_dir("new")
        assert fs.read_bytes("kept") == b"kept"


def test_what_a_full_disk_took_of_a_write_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = new_objects()
    write_all = datafiles.write_all

    def half(fd: int, view: memoryview, at: int) -> None:
        write_all(fd, view[: len(view) // 2], at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Overlay.create(objects, base_of(objects, tmp_path), str(tmp_path / "upper")) as fs:
        fs.write_bytes("log", b"one\n")
        with fs.open("log", "ab", 0) as log:
            monkeypatch.setattr(upper, "write_all", half)
            with pytest.raises(OSError, match="No space"):
                log.write(b"two\n")
            monkeypatch.undo()
            log.write(b"two\n")
        assert fs.read_bytes("log") == b"one\ntwo\n"


def test_a_sync_takes_what_was_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a file laid over the base: else the journal would say of ranges that they were written which are not."""
    objects = new_objects()
    synced: list[int] = []
    monkeypatch.setattr(datafiles, "sync_data", lambda fd: synced.append(os.fstat(fd).st_ino))
    with (
        Overlay.create(objects, base_of(objects, tmp_path), str(tmp_path / "upper")) as fs,
        fs.open("big", "r+b", 0) as big,
        fs.open("new", "wb", 0) as new,
        fs.open("other", "wb", 0) as other,
    ):
        files = []
        for file in (big, new):
            file.write(b"1")
            files.append(os.stat(fs._upper.files.path(file.handle.node.content.data)).st_ino)  # type: ignore[attr-defined]
        for sync in (fs.sync, other.sync):  # type: ignore[attr-defined]
            synced.clear()
            big.write(b"2")
            new.write(b"2")
            sync()
            assert set(files) <= set(synced)
        synced.clear()
        new.write(b"3")
        fs.sync()
        assert files[1] in synced
        assert files[0] not in synced  # nothing was written there


@pytest.mark.parametrize(("release", "at_once"), [("5.8.0-1-generic", True), ("6.18-rc1", True), ("5.7.19", False)])
def test_many_files_are_synced_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, at_once: bool
) -> None:
    """With all else on their file system, where that says what could not be written."""
    objects = new_objects()
    did: list[str] = []
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", release, "", "")))
    monkeypatch.setattr(datafiles, "sync_data", lambda fd: did.append("file"))
    monkeypatch.setattr(datafiles, "sync_directory", lambda path: did.append("directory"))
    monkeypatch.setattr(datafiles, "sync_filesystem", lambda fd: did.append("all"))
    monkeypatch.setattr("jvs.overlay.journal.sync_data", lambda fd: did.append("journal"))
    directory = str(tmp_path / "upper")
    with Overlay.create(objects, base_of(objects, tmp_path), directory) as fs:
        did.clear()
        for number in range(300):
            fs.write_bytes(str(number), b"x")
        fs.sync()
        one_by_one = ["file"] * 300 + ["directory"] * 2 + ["journal"]
        assert did == (["all", "journal"] if at_once else one_by_one)
        did.clear()
        fs.write_bytes("1", b"y")
        fs.sync()
        assert did in (["file", "journal"], ["file", "directory", "journal"])
        did.clear()
        for number in range(300, 600):
            fs.write_bytes(str(number), b"x")
        if at_once:
            with monkeypatch.context() as patch:
                patch.setattr(datafiles, "sync_filesystem", _fail)
                with pytest.raises(OSError, match="Input/output"):
                    fs.sync()
            assert did == []  # nothing that names them is made durable, and the next one tries again
            fs.sync()
            assert did == ["all", "journal"]
    did.clear()
    with Overlay.resume(objects, directory) as fs:  # whoever wrote them may have been killed before a sync
        did.clear()
        fs.write_bytes("2", b"z")
        fs.sync()
        assert did[-1] == "journal"
        assert did.count("all") == at_once


def _fail(fd: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


# ---------------------------------------------------------------------------------------------------------------- cost


def counting(objects: ObjectStore) -> list[int]:
    """Counts the bytes of the objects that are read from now on, in a list of one number."""
    read = [0]
    get = objects.backend.get

    def counted(*which: Any, **how: Any) -> Any:
        found = get(*which, **how)
        read[0] += len(found.data)
        return found

    vars(objects.backend)["get"] = counted
    return read


def test_opening_costs_the_same_whatever_the_tree(tmp_path: Path) -> None:
    """A directory of 20,000 directories of 50 files each: a million files, made of one small one."""
    settings = StoreSettings()
    objects = ObjectStore(MemoryStore(settings), settings)
    data = b"content"
    with TreeWriter(objects) as writer:
        below = writer.directory()
        for number in range(50):
            below.add(File(b"f%02d" % number, FILE, 0o644, len(data), file_digest(data)), data)
        inner = below.finish()
        top = writer.directory()
        for number in range(20_000):
            top.add(Directory(b"d%05d" % number, DIRECTORY, 0o755, *inner))
        tree = top.finish()
        writer.publish()
    assert tree.entries == 1_020_000
    cold = ObjectStore(objects.backend, settings)
    read = counting(cold)
    with Overlay.create(cold, tree.digest) as fs:
        assert fs.read_bytes("d12345/f17") == data
        assert len(fs.listdir("d00001")) == 50
        fs.write_bytes("d12345/f17", b"other")
        assert read[0] < 100_000
        with TreeWriter(cold) as writer:
            fs.fold(writer)
            writer.flush()
            assert writer.stats.new_bytes < 100_000
        assert sum(1 for _ in fs._upper.state.touched()) == 3
    assert read[0] < 1_000_000


def test_an_edit_of_a_large_file_reads_and_writes_little(tmp_path: Path) -> None:
    """In short form 128 MiB of zeros; benchmarks/overlay.py does it with 10 GiB."""
    settings = StoreSettings()
    objects = ObjectStore(MemoryStore(settings), settings)
    with TreeWriter(objects) as writer:
        empty = writer.directory().finish()
        writer.publish()
    size = 128 << 20
    with Overlay.create(objects, empty.digest) as fs:
        with fs.open("large", "wb") as file:
            file.truncate(size)
        pushed(objects, fs)
        read = counting(objects)
        with fs.open("large", "r+b") as file:
            file.seek(size // 2)
            file.write(random.Random(1).randbytes(1024))
        with TreeWriter(objects) as writer:

            def store(_: Any) -> bool:
                writer.publish()
                return True

            fs.commit(writer, store)
            stats = writer.stats
        assert read[0] < 1 << 20
        assert stats.stored_bytes < 100_000
        assert stats.new_bytes < 20 << 20
        assert os.stat(fs._upper.directory).st_size < 1 << 20
        with fs.open("large", "rb") as file:
            file.seek(size // 2)
            assert file.read(1024) == random.Random(1).randbytes(1024)


def test_chunks_around_an_edit_are_those_of_the_whole_file(tmp_path: Path) -> None:
    """Cutting around the edits alone gives the very chunks that cutting the whole file gives."""
    objects = new_objects()
    pick = random.Random(7)
    source = tmp_path / "plain"
    source.mkdir()
    for turn in range(15):
        data = bytearray(pick.randbytes(60_000))
        (source / "big").write_bytes(data)
        with Overlay.create(objects, stored(objects, source)) as fs:
            for _ in range(pick.randrange(1, 6)):
                at = pick.randrange(61_000)
                new = pick.randbytes(pick.choice([1, 30, 3000]))
                with fs.open("big", "r+b", 0) as file:
                    file.seek(at)
                    file.write(new)
                if at > len(data):
                    data += bytes(at - len(data))
                data[at : at + len(new)] = new
                if turn % 3 == 0:
                    cut = pick.randrange(5_000, len(data))
                    fs.truncate("big", cut)
                    del data[cut:]
            root = pushed(objects, fs)
        again = new_objects()
        (source / "big").write_bytes(data)
        assert stored(again, source) == root
        assert list(objects.chunks(file_digest(data))) == list(again.chunks(file_digest(data)))


def test_a_tree_is_named_without_being_stored(tmp_path: Path) -> None:
    objects = new_objects()
    with Overlay.create(objects, base_of(objects, tmp_path)) as fs:
        with fs.open("big", "r+b") as file:
            file.seek(4000)
            file.write(b"edited")
        fs.write_bytes("new", bytes(5000))
        hasher = TreeHasher(objects)
        named = fs.fold(hasher).tree.digest
        assert [change.path for change in fs.changes()] == [b"big", b"new"]
        assert pushed(objects, fs) == named


def test_descriptors_and_memory_are_bounded(tmp_path: Path) -> None:
    objects = new_objects()
    with Overlay.create(objects, base_of(objects, tmp_path)) as fs:
        for number in range(600):
            fs.write_bytes(f"n{number}", b"%d" % number)
        assert len(fs._upper.files._open) <= datafiles.MAX_OPEN
        assert all(fs.read_bytes(f"n{number}") == b"%d" % number for number in range(600))
        for number in range(600):
            fs.unlink(f"n{number}")
        assert [node for node in fs._upper.state.touched() if isinstance(node, nodes.FileNode)] == []
