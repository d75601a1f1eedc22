"""The parts of the server that need no kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jvs.castore.backend import Kind, Ref
from jvs.castore.codec import encode
from jvs.castore.digest import Digest
from jvs.castore.manifest import Directory as Row
from jvs.castore.manifest import Page
from jvs.castore.pages import new_page
from jvs.errors import ManifestError
from jvs.overlay.basefile import BaseFiles
from jvs.overlay.fuse import mounting
from jvs.overlay.fuse import protocol as p
from jvs.overlay.fuse.ahead import Habit
from jvs.overlay.fuse.listings import Foresight, Listing
from jvs.overlay.fuse.numbers import ROOT, Numbers
from jvs.overlay.fuse.trees import OverlayView, SnapshotView
from jvs.overlay.fuse.virtual import TextsView
from jvs.overlay.nodes import Directory, FileNode
from jvs.overlay.overlay import Overlay
from tests.overlay.support import new_objects, stored


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    for number in range(20):
        (root / f"sub/{number:02d}").write_text(str(number))
    return root


def test_messages_are_as_long_as_the_kernels() -> None:
    sizes = {
        p.REQUEST: 40,
        p.ANSWER: 16,
        p.INIT_OUT: 64,
        p.SETATTR_IN: 88,
        p.ENTRY: 40,
        p.ATTR_OUT: 16,
        p.ATTR: 88,
        p.TIMES: 36,
        p.OWNER: 20,
        p.OPEN_OUT: 16,
        p.IO_IN: 40,
        p.FLUSH_IN: 24,
        p.FSYNC_IN: 16,
        p.STATFS_OUT: 80,
        p.DIRENT: 24,
        p.RENAME2_IN: 16,
        p.CREATE_IN: 16,
        p.NOTIFY_STORE: 24,
    }
    assert {layout.format: layout.size for layout in sizes} == {layout.format: size for layout, size in sizes.items()}


def test_a_number_is_given_once_and_taken_back(tmp_path: Path, tree: Path) -> None:
    objects = new_objects()
    released = []

    class Watched(SnapshotView):
        def release(self) -> None:
            released.append(self)

    root = Watched(BaseFiles(objects), objects, stored(objects, tree), 0, str(tmp_path))
    other = Watched(BaseFiles(objects), objects, stored(objects, tree), 0, str(tmp_path))
    numbers = Numbers(root)
    assert numbers.find(root, root.root) == ROOT
    found = root.lookup(root.root, b"sub")
    assert found is not None
    first = numbers.name(*found)
    assert numbers.name(*found) == first != ROOT
    assert numbers.name(other, other.root) not in (first, ROOT)
    numbers.forget(first, 1)
    assert numbers[first].node is found[1]
    numbers.forget(first, 1)
    with pytest.raises(OSError) as caught:
        numbers[first]
    assert caught.value.errno == errno.ESTALE
    assert numbers.name(*found) > first  # never used again
    number = numbers.find(other, other.root)
    assert number is not None
    assert released == []
    numbers.forget(number, 1)
    assert released == [other]
    numbers.forget(ROOT, 10**6)
    assert numbers[ROOT].view is root


def test_listings_fill_answers_exactly() -> None:
    listing = Listing()
    listing.fill([(b"x" * length, 0o100000, length) for length in range(1, 40)])
    for size in range(0, 3000, 7):
        place, seen = 0, 0
        while place < len(listing.records):
            end = listing.fitting(place, size, 0)
            data = b"".join(listing.records[place:end])
            assert len(data) <= size
            if end == place:
                assert len(listing.records[place]) > size
                break
            at = 0
            while at < len(data):
                ino, after, length, kind = p.DIRENT.unpack_from(data, at)
                assert (ino, after, kind) == (length, place + 1, 8)
                assert data[at + 24 : at + 24 + length] == b"x" * length
                at += (24 + length + 7) & ~7
                place = after
                seen += 1
        else:
            assert seen == len(listing.records)


def test_foresight_follows_habits() -> None:
    sight = Foresight()
    assert [sight.listing(number) for number in range(5)] == [False] * 5
    for _ in range(2):
        sight.looked(3)
    assert not sight.listing(5)
    sight.looked(99)  # nobody listed it
    sight.looked(3)
    assert sight.listing(6)
    assert sum(sight.listing(number) for number in range(7, 1000)) == 63  # then it looks whether that is so still


def test_a_directory_is_read_and_checked_when_it_is_looked_into(tmp_path: Path, tree: Path) -> None:
    """A listing names directories: that must not read what is in each."""
    objects = new_objects()
    true = objects.tree(stored(objects, tree / "sub"))
    root = new_page(0, [Row(b"lies", 1, 0o755, true.digest, true.entries, 7), Row(b"true", 1, 0o755, *true)])
    with objects.backend.writer() as writer:
        writer.put(Kind.PAGE, root.digest, encode(root.data, 1), [Ref(Kind.PAGE, true.digest)])
        writer.publish()
    read: list[bytes] = []
    whole = objects.page

    def page(digest: Digest) -> Page:
        read.append(digest)
        return whole(digest)

    objects.page = page  # type: ignore[method-assign]
    view = SnapshotView(BaseFiles(objects), objects, root.digest, 0, str(tmp_path))
    lies, right = view.state.at(b"lies"), view.state.at(b"true")
    assert isinstance(lies, Directory)
    assert isinstance(right, Directory)
    assert set(read) == {root.digest}
    assert len(view.entries(right)) == 20
    assert view.lookup(right, b"07") is not None
    for use in (lambda: view.entries(lies), lambda: view.lookup(lies, b"07"), lambda: view.state.count(lies)):
        with pytest.raises(ManifestError, match="totals"):
            use()


def test_a_habit_grows_and_goes() -> None:
    habit = Habit()
    assert habit.read("a", 0, first=True) == 0
    assert habit.read("a", 1, first=False) == 4
    habit.given("a", 6)
    assert habit.read("a", 7, first=False) == 16  # one was passed over
    assert habit.read("b", 2, first=True) == 16  # the next directory
    assert habit.read("a", 90, first=False) == 4
    assert habit.read("c", 9, first=False) == 1
    assert habit.read("d", 9, first=False) == 0


def test_what_follows_is_given_when_files_are_read_in_order(tmp_path: Path, tree: Path) -> None:
    (tree / "sub/02").write_bytes(b"")
    (tree / "sub/03").unlink()
    (tree / "sub/03").symlink_to("04")
    (tree / "sub/05").write_bytes(bytes(100_000))
    objects = new_objects()
    view = SnapshotView(BaseFiles(objects), objects, stored(objects, tree), 0, str(tmp_path))
    known = {name: view.state.at(b"sub/%02d" % name) for name in range(20) if name != 7}
    nodes = {name: node for name, node in known.items() if isinstance(node, FileNode)}
    assert list(view.following(nodes[0])) == []
    assert list(view.following(nodes[1])) == [(nodes[4], b"4")]
    after = list(view.following(nodes[6]))
    assert after == [(nodes[name], b"%d" % name) for name in range(8, 20)]
    assert list(view.following(nodes[5])) == []


def test_views_refuse_what_they_cannot(tmp_path: Path, tree: Path) -> None:
    objects = new_objects()
    fixed = SnapshotView(BaseFiles(objects), objects, stored(objects, tree), 0, str(tmp_path))
    texts = TextsView({b"a": lambda: b"text"}, str(tmp_path))
    for view in (fixed, texts):
        for call in (view.mkdir, view.symlink):
            with pytest.raises(OSError) as caught:
                call(view.root, b"x", b"y")  # type: ignore[arg-type]
            assert caught.value.errno == errno.EROFS
    found = texts.lookup(texts.root, b"a")
    assert found is not None
    opened = texts.open(found[1], os.O_RDWR)
    room = bytearray(10)
    assert opened.read_into(memoryview(room), 1) == 3
    assert room[:3] == b"ext"
    with pytest.raises(OSError):
        opened.write(memoryview(b"x"), 0)


def test_a_file_that_went_is_stale_unless_it_is_open(tmp_path: Path, tree: Path) -> None:
    objects = new_objects()
    with Overlay.create(objects, stored(objects, tree), str(tmp_path / "upper")) as overlay:
        view = OverlayView(overlay, str(tmp_path))
        for name in (b"new", b"kept"):
            view.create(view.root, name, 0o644, 0)[1].close()
        nodes = {}
        for name in (b"new", b"kept"):
            found = view.lookup(view.root, name)
            assert found is not None
            assert isinstance(found[1], FileNode)
            nodes[name] = found[1]
        held = view.open(nodes[b"kept"], os.O_RDWR)
        view.unlink(view.root, b"new")
        view.unlink(view.root, b"kept")
        with pytest.raises(OSError) as caught:
            view.open(nodes[b"new"], os.O_RDONLY)
        assert caught.value.errno == errno.ESTALE
        assert view.attributes(nodes[b"kept"]).links == 0
        held.write(memoryview(b"still"), 0)
        view.open(nodes[b"kept"], os.O_RDONLY).close()  # by /proc/self/fd
        held.close()


def test_the_mount_table_is_read_as_it_is_written() -> None:
    for source in ("/a store", "/a,b", "/back\\slash", "/tab\tnew\nline", "/\udcff"):
        raw = os.fsencode(source).replace(b"\\", b"\\134")
        for char in b" \t\n":
            raw = raw.replace(bytes([char]), b"\\%03o" % char)
        assert mounting._unescaped(raw) == source
