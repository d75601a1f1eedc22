"""The second process of a large pull: the same result, whatever happens to it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.backend import Kind
from jvs.castore.binding import Pending
from jvs.castore.checkout import CheckoutResult, checkout, stage
from jvs.castore.checkout.assist import Assistant, decode_result, decode_task, encode_result, encode_task
from jvs.castore.checkout.content import LargeFile, Made, Written
from jvs.castore.checkout.work import NewFiles, NewTree, Task
from jvs.castore.digest import Digest
from jvs.castore.local.store import LocalStore
from jvs.castore.manifest import FILE, File, Tree
from jvs.castore.objects import ObjectStore
from jvs.errors import IntegrityError, StateError
from tests.castore.checkout.hooks import Counter, before_calls
from tests.castore.checkout.test_roundtrip import make_hostile
from tests.castore.checkout.trees import SETTINGS, describe, snapshot


@pytest.fixture
def local(tmp_path: Path) -> Iterator[ObjectStore]:
    """A store on disk."""
    with LocalStore.create(tmp_path / "store", SETTINGS) as store:
        yield ObjectStore(store, SETTINGS)


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few files are many here, and directories of any size come back in pieces or whole."""
    monkeypatch.setattr(stage, "MANY", 1)


@pytest.fixture
def target(local: ObjectStore, tmp_path: Path) -> Digest:
    """A tree of everything, several times over."""
    (tmp_path / "source").mkdir()
    for name in ("a", "b", "c"):
        make_hostile(tmp_path / "source" / name)
    wide = tmp_path / "source" / "wide"
    for number in range(40):
        (wide / f"d{number}").mkdir(parents=True)
        for inner in range(30):
            (wide / f"d{number}" / f"f{inner}").write_bytes(b"%d %d" % (number, inner))
    return snapshot(local, tmp_path / "source")


def pull(local: ObjectStore, target: Digest, directory: Path, **more: object) -> CheckoutResult:
    """Pull into a directory that is not there yet."""
    store = local.backend.path  # type: ignore[attr-defined]
    return checkout(local, target, str(directory), base=None, store=store, **more)  # type: ignore[arg-type]


def test_the_same_as_without(
    local: ObjectStore, target: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Task] = []
    real = Assistant.give

    def give(self: Assistant, task: Task) -> None:
        given.append(task)
        real(self, task)

    monkeypatch.setattr(Assistant, "give", give)
    result = pull(local, target, tmp_path / "with")
    alone = checkout(local, target, str(tmp_path / "without"), base=None)
    assert describe(tmp_path / "with") == describe(tmp_path / "source") == describe(tmp_path / "without")
    assert result == alone
    assert given


def test_it_takes_part(local: ObjectStore, target: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does what it is given, directories, files of directories and large files, and it is believed."""
    monkeypatch.setattr(stage.Stager, "_work", lambda self: None)  # nobody else does anything
    pull(local, target, tmp_path / "tree")
    assert describe(tmp_path / "tree") == describe(tmp_path / "source")


@pytest.mark.parametrize("after", range(0, 12, 2))
def test_it_is_killed(
    local: ObjectStore, target: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    given = 0
    real = Assistant.give

    def give(self: Assistant, task: Task) -> None:
        nonlocal given
        real(self, task)
        given += 1
        if given == after:
            time.sleep(0.005 * after)
            self.kill()

    monkeypatch.setattr(Assistant, "give", give)
    pull(local, target, tmp_path / "tree")
    assert describe(tmp_path / "tree") == describe(tmp_path / "source")


@pytest.mark.parametrize("command", [["/nonexistent"], ["/bin/false"], ["/bin/cat"], [sys.executable, "-c", "1/0"]])
def test_it_cannot_be_started(
    local: ObjectStore, target: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("jvs.castore.children.python_command", lambda *_: command)
    pull(local, target, tmp_path / "tree")
    assert describe(tmp_path / "tree") == describe(tmp_path / "source")


def test_damage_is_reported_as_ever(
    local: ObjectStore, target: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what only the assistant met."""
    victims = [info.key for info in local.backend.list(Kind.PART)]
    local.backend.delete(Kind.PART, victims[:1])
    real = stage.Stager._lend
    monkeypatch.setattr(stage.Stager, "_lend", lambda self: (real(self), self._work())[0])
    with pytest.raises(IntegrityError):
        pull(local, target, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_name_that_is_there_already_is_no_accident(
    local: ObjectStore, target: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that appears below a temporary name: the assistant gives up, and what it made is taken away first."""
    real = Assistant.give
    tree = tmp_path / "tree"

    def give(self: Assistant, task: Task) -> None:
        if isinstance(task, NewTree) and task.path == b"wide":
            (tree / os.fsdecode(task.temp) / "d7").write_bytes(b"in the way")
        real(self, task)

    monkeypatch.setattr(Assistant, "give", give)
    try:
        pull(local, target, tree)
    except StateError as error:  # the first process met it
        assert error.code == "name-collision"  # noqa: PT017
        assert not tree.exists()
    else:
        assert describe(tree) == describe(tmp_path / "source")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_an_interrupt_ends_both(local: ObjectStore, target: Digest, tmp_path: Path) -> None:
    started: list[int] = []

    def progress(_: object) -> None:
        started.extend(children())
        if started:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(local, target, tmp_path / "tree", progress=progress)
    assert started
    assert not (tmp_path / "tree").exists()
    assert not children()


def children() -> list[int]:
    """Pids of the assistants that this process has."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            of_ours = f"PPid:\t{os.getpid()}\n" in (entry / "status").read_text()
            if of_ours and b"checkout.assistant" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_it_ends_when_the_pull_is_killed(local: ObjectStore, target: Digest, tmp_path: Path) -> None:
    """And what both left is taken away by the next pull."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        script = f"""
import os, sys
sys.path[:] = {sys.path!r}
from jvs.castore.checkout import checkout, stage
from jvs.castore.local.store import LocalStore
from jvs.castore.objects import ObjectStore
stage.MANY = 1
with LocalStore.open({str(tmp_path / "store")!r}) as store:
    checkout(
        ObjectStore(store, store.settings), bytes.fromhex({target.hex()!r}), {str(tmp_path / "tree")!r}, base=None,
        store=store.path, begin=lambda pending: print(pending.token, flush=True),
        progress=lambda progress: progress.files > 200 and os.kill(os.getpid(), 9),
    )
"""
        os.dup2(writer, 1)
        os.execv(sys.executable, [sys.executable, "-c", script])
    os.close(writer)
    token = b""
    while block := os.read(reader, 1000):  # until the assistant, which inherits nothing of it, and the child are gone
        token += block
    os.close(reader)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    time.sleep(0.3)
    size = used(tmp_path / "tree")
    time.sleep(0.3)
    assert used(tmp_path / "tree") == size, "somebody still writes"
    pull(local, target, tmp_path / "tree", pending=Pending(target, token.decode().strip()))
    assert describe(tmp_path / "tree") == describe(tmp_path / "source")


def used(root: Path) -> int:
    """How many files there are below."""
    return sum(1 for _ in root.rglob("*"))


def test_every_call_fails_once(local: ObjectStore, target: Digest, tmp_path: Path) -> None:
    for at in range(0, 400, 40):

        def act() -> None:
            raise OSError(28, "full")

        with before_calls(Counter(at, act), ("write", "mkdir", "link", "symlink")):
            try:
                pull(local, target, tmp_path / f"tree{at}")
            except Exception as error:
                assert getattr(error, "code", None) == "no-space"  # noqa: PT017
                assert not (tmp_path / f"tree{at}").exists()


@pytest.mark.parametrize(
    "task",
    [
        NewTree(b"t/\xff", b"\xff", Tree(bytes(32), 3, 2**62), 0o7777),
        NewTree(b"t", b"", Tree(bytes(32), 0, 0), None),
        NewFiles(b"d", bytes(32), [File(b"\xfe", FILE, 0o644, 7, b"\xff" * 32)], {b"\xfe": b"t"}),
        LargeFile(b"d", b"t", b"p/\xff", File(b"\xff", FILE, 0o644, 2**62, bytes(32))),
    ],
)
def test_what_is_said_arrives(task: Task) -> None:
    assert decode_task(encode_task(task)) == task
    made = {b"\xff": Made(Tree(bytes(32), 1, 2), ("\udcff",), b"rows", True, 2**62, False)}
    written = Written(1, 2, 4, {b"p": ("\udcff", 1, 2, 3, 4, 5)}, made, {b"p": 0o555}, {})
    back = Written()
    assert decode_result(encode_result(written, [task]), back) == [task]
    assert back == written
