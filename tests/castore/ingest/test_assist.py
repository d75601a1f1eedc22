"""The second process of a large first push: same tree, same stat index, and nothing lost when it dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore.ingest import lend
from jvs.castore.ingest.assist import Assistant, Taken
from jvs.castore.ingest.ingest import IngestResult, ingest
from jvs.castore.ingest.state import Skipped
from jvs.castore.ingest.statindex import Slot, StatIndex
from jvs.castore.local.store import LocalStore
from jvs.castore.manifest import Tree
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from jvs.castore.verify import verify_snapshot
from jvs.errors import MissingChildrenError


def make_tree(root: Path, directories: int = 12, files: int = 6) -> None:
    """Directories of two levels with small files, a large one, a FIFO and a `.jvs` in one of the last."""
    for number in range(directories):
        for below in ("a", "b"):
            place = root / f"d{number:03d}" / below
            place.mkdir(parents=True)
            for name in range(files):
                (place / f"f{name}").write_bytes(f"{number} {below} {name}\n".encode() * 400)
    (root / f"d{directories - 1:03d}" / "large").write_bytes(os.urandom(300_000))
    os.mkfifo(root / f"d{directories - 2:03d}" / "pipe")
    (root / f"d{directories - 2:03d}" / ".jvs").mkdir()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    make_tree(root)
    return root


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr(lend, "MIN_BYTES", 1)
    return LocalStore.create(tmp_path / "store")


def stat_index(store: LocalStore, root: Path) -> StatIndex:
    info = root.stat()
    return StatIndex(
        os.path.join(store.cache_path, "test.index"), bytes.fromhex(store.uuid), (info.st_dev, info.st_ino)
    )


def push(store: LocalStore, root: Path, trouble: Callable[[Assistant], None] | None = None) -> tuple[IngestResult, int]:
    """Ingest and publish with an assistant; (the result, how many directories the assistant delivered)."""
    objects = ObjectStore(store, store.settings)
    delivered = 0
    with TreeWriter(objects) as writer, stat_index(store, root) as index, Assistant(store.path) as assistant:
        take_back = assistant.take_back

        def counting() -> Taken | None:
            nonlocal delivered
            if trouble is not None:
                trouble(assistant)
            taken = take_back()
            delivered += taken is not None
            return taken

        assistant.take_back = counting  # type: ignore[method-assign]
        result = ingest(writer, root, index=index, assistant=assistant)
        assistant.publish()
        writer.publish()
        assert result.new_index is not None
        result.new_index.save()
    return result, delivered


def plain(root: Path) -> IngestResult:
    """The same directory read by one process into memory."""
    with TreeWriter(ObjectStore(MemoryStore(), StoreSettings())) as writer:
        return ingest(writer, root)


def test_an_assisted_push_is_the_same_push(store: LocalStore, tree: Path) -> None:
    with store:
        result, delivered = push(store, tree)
        alone = plain(tree)
        assert delivered > 0
        assert result.tree == alone.tree
        assert (result.files, result.directories, result.bytes) == (alone.files, alone.directories, alone.bytes)
        assert sorted(result.skipped) == sorted(alone.skipped)
        assert sorted(result.left_out) == sorted(alone.left_out)
        checked = verify_snapshot(ObjectStore(store, store.settings), result.tree.digest)
        assert checked.faults == []
        assert checked.bytes == result.bytes


def test_the_next_push_believes_the_assisted_index(
    store: LocalStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = tree.stat().st_mtime_ns - 10_000_000_000
    for directory, _, names in os.walk(tree):
        for name in names:
            os.utime(os.path.join(directory, name), ns=(past, past))
    with store:
        first, delivered = push(store, tree)
        assert delivered > 0
        second, _ = push(store, tree)
        assert second.tree == first.tree
        third = tree / "d011" / "a" / "f0"
        third.write_bytes(b"changed")
        changed, _ = push(store, tree)
        assert changed.tree == plain(tree).tree


def test_a_killed_assistant_is_done_without(store: LocalStore, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Assistant._start

    def start_and_kill(assistant: Assistant) -> None:
        start(assistant)
        assert assistant._process is not None
        assistant._process.send_signal(signal.SIGKILL)  # long before it could deliver anything
        assistant._process.wait()

    monkeypatch.setattr(Assistant, "_start", start_and_kill)
    with store:
        result, delivered = push(store, tree)
        assert delivered == 0
        assert result.tree == plain(tree).tree
        assert verify_snapshot(ObjectStore(store, store.settings), result.tree.digest).faults == []


def test_what_a_killed_assistant_delivered_is_not_relied_on(store: LocalStore, tree: Path) -> None:
    killed = False

    def kill_later(assistant: Assistant) -> None:
        nonlocal killed
        if assistant._delivered and assistant._process is not None and not killed:
            killed = True
            assistant._process.send_signal(signal.SIGKILL)
            assistant._process.wait()

    with store:
        with pytest.raises(MissingChildrenError):
            push(store, tree, kill_later)
        assert killed
        result, _ = push(store, tree)
        assert result.tree == plain(tree).tree


def test_no_assistant_can_be_started(store: LocalStore, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with store:
        result, delivered = push(store, tree)
        assert delivered == 0
        assert result.tree == plain(tree).tree


def test_what_comes_back_survives_the_wire() -> None:
    taken = Taken(
        Tree(b"d" * 32, 3, 4), 2, 1, [Skipped(b"\xff/x", "why")], [], [Skipped(b"y", "no")], b"rows", Slot(0, 4)
    )
    assert Taken.decode(taken.encode()) == taken
