"""Commands that collect, killed at their system calls, on disks that are full or fail: what is kept stays whole, and
the next run finishes (DESIGN 12)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from devtools.demo import Tree, fingerprint
from jvs.castore.backend import Kind
from jvs.castore.gc.marks import COLLECTORS, CONDEMNED, PINS, TOLD
from jvs.castore.local import writer
from jvs.castore.local.reclaim import foresee
from jvs.castore.settings import StoreSettings
from jvs.workspace.repo import Repo
from tests.blackbox.aftermath import check_journal, pull_anew
from tests.blackbox.conftest import Done, Jvs
from tests.blackbox.session import Session
from tests.blackbox.test_durability import assert_one_error, calls, fill, needs_root, needs_strace, traced
from tests.conftest import TORTURE

PLAN: Final = "PLAN"
"""In the words of a command: the id of a plan made before."""


class Command(NamedTuple):
    """A command that may be interrupted.

    words    how it is run, and run again to finish
    sample   at how many of its calls it is killed in the suite: at all of them in the long form
    gone     the path that it takes out of every snapshot
    """

    words: tuple[str, ...]
    sample: int
    gone: str | None = None


COMMANDS: Final = {
    "run": Command(("fs", "gc", "run"), 2),
    "plan": Command(("fs", "gc", "run", "--plan-id", PLAN), 1),
    "planning": Command(("fs", "gc", "plan"), 1),
    "purge": Command(("fs", "purge", "--path", "sub/file1", "--reason", "a secret"), 1, "sub/file1"),
    "repair": Command(("doctor", "--repair"), 1),
    "rebuild": Command(("doctor", "--rebuild-index"), 1),
}
SECRET: Final = random.Random(7).randbytes(2_000)
"""What is purged: bytes that nothing makes smaller, so that they lie in packs as they are."""
SMALL = StoreSettings(chunk_min=8 << 10, chunk_avg=16 << 10, chunk_max=64 << 10, inline_limit=8 << 10)


class Kept(NamedTuple):
    """A snapshot that must be there: how to name it, and its tree."""

    revision: str
    tree: Tree


class Rest(NamedTuple):
    """What a store comes to once everything that can go is gone.

    objects     names of all
    labels      what `fs ls` and `fs log` say, but for times
    pack_bytes  of the files; stored: of what lives in them
    """

    objects: frozenset[bytes]
    labels: Any
    pack_bytes: int
    stored: int


class Ground(NamedTuple):
    """A store with much to collect, kept as it was to be put back for each time something happens to it."""

    jvs: Jvs
    kept: list[Kept]
    plan: str

    def reset(self) -> None:
        """Put the store back."""
        shutil.rmtree(self.jvs.where / ".jvs", ignore_errors=True)
        shutil.copytree(self.jvs.where / "kept", self.jvs.where / ".jvs")

    def words(self, command: Command) -> list[str]:
        """The words of a command here."""
        return [self.plan if word == PLAN else word for word in command.words]


@pytest.fixture(scope="module")
def ground(bytecode: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Dead, half dead and small packs; entries and a deleted label that left their windows; pinned and labelled
    snapshots, an expired pin; and what a killed collector left behind."""
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() else tmp_path_factory.mktemp("ground")
    with tempfile.TemporaryDirectory(dir=base) as made:
        jvs = Jvs(Path(made), bytecode)
        yield make_ground(jvs)


def make_ground(jvs: Jvs) -> Ground:
    """See `ground`."""
    tree = jvs.where / "d"
    (tree / "sub").mkdir(parents=True)
    kept = []
    store = str(jvs.where / ".jvs")
    Repo.init(store, SMALL)
    with pytest.MonkeyPatch.context() as patched, Repo.open(store, actor="tester") as repo:
        patched.setattr(writer, "SEAL_AT", 100_000)
        for number in range(5):
            (tree / "large").write_bytes(os.urandom(60_000))
            (tree / "small").write_bytes(os.urandom(3_000))
            (tree / "sub" / f"file{number}").write_bytes(SECRET if number == 1 else b"%d\n" % number)
            snapshot = repo.push(str(tree), label="main", force=True).ca_id.hex()
            if number == 1:
                repo.pin(snapshot, message="kept")
                kept.append(Kept(snapshot, fingerprint(tree)))
            if number == 2:
                repo.set_label("side/kept", snapshot)
                kept.append(Kept("side/kept", fingerprint(tree)))
        kept.append(Kept("main", fingerprint(tree)))
        (tree / "large").write_bytes(os.urandom(60_000))
        repo.push(str(tree), label="gone", force=True)
        repo.delete_label("gone")
        repo.set_retention(["keep-last", "1", "keep-deleted", "0"])
        plan = repo.gc_plan().plan_id
    assert plan is not None
    assert any(SECRET in path.read_bytes() for path in (jvs.where / ".jvs" / "packs").iterdir())
    shutil.copytree(store, jvs.where / "kept")
    return Ground(jvs, kept, plan)


@pytest.fixture(scope="module")
def session(ground: Ground) -> Iterator[Session]:
    """Commands without a process each."""
    with Session(ground.jvs) as session:
        yield session


@pytest.fixture(scope="module")
def undisturbed(ground: Ground, session: Session) -> Callable[[str], Rest]:
    """What is left when nothing happens to the command of a name, and all that can go has gone."""

    @cache
    def left(name: str) -> Rest:
        ground.reset()
        before = rest(session)
        session(*ground.words(COMMANDS[name])).ok()
        session("fs", "gc", "run").ok()
        after = rest(session)
        assert len(after.objects) < len(before.objects)
        assert after.pack_bytes < before.pack_bytes
        return after

    return left


def rest(session: Session) -> Rest:
    """As it is now."""
    labels = session.json("fs", "ls")["labels"]
    logs = {label["name"]: session.json("fs", "log", label["name"])["log"] for label in labels}
    said = {name: [(entry["generation"], entry["op"], entry["dropped"]) for entry in log] for name, log in logs.items()}
    with Repo.open(str(session.where / ".jvs"), actor="tester") as repo:
        objects = frozenset(bytes((kind,)) + key for kind in Kind for key in repo.store.keys(kind))
        stored = foresee(repo.store, {}).stored
    size = sum(path.stat().st_size for path in (session.where / ".jvs" / "packs").iterdir())
    return Rest(objects, said, size, stored)


def check_whole(ground: Ground, session: Session, gone: str | None, *, finished: bool) -> None:
    """Everything that must be there is, byte for byte, and nothing is wrong with the store. gone: what need not be
    there, and may not once that is finished."""
    check_journal(ground.jvs.where)
    verified = session("fs", "verify", "--all", "--json")
    assert verified.status == 0, verified.out
    examined = session("doctor", "--json")
    assert examined.status == 0, examined.out
    for revision, tree in ground.kept:
        pull_anew(session, revision, session.where / "read-back")
        found = fingerprint(session.where / "read-back")
        without = {path: entry for path, entry in tree.items() if path != gone}
        assert found == without or (found == tree and not finished)


def check_after(ground: Ground, session: Session, command: Command, undisturbed: Rest) -> None:
    """What must hold however a command ended: nothing is lost, it can be finished, and then as much has gone and as
    little is left as if nothing had happened."""
    if not (ground.jvs.where / ".jvs" / "index").exists():  # a rebuild was just exchanging it
        refused = session("fs", "ls", "--json")
        assert (refused.status, refused.value["error"]["code"]) == (8, "index-damaged")
        assert "--rebuild-index" in refused.value["error"]["next"]
        session(*command.words).ok()
    check_whole(ground, session, command.gone, finished=False)
    again = session(*ground.words(command), "--json")
    # it may have been carried out before it ended
    assert again.status == 0 or again.value["error"]["code"] in ("gc-plan-stale", "unknown-path"), again.out
    assert session.json("fs", "gc", "run")["done"]
    check_whole(ground, session, command.gone, finished=True)
    after = rest(session)
    assert after.objects == undisturbed.objects
    assert after.labels == undisturbed.labels
    # packs may have been put together before all was swept: then half of what is left may be dead
    assert after.pack_bytes <= max(undisturbed.pack_bytes, 2 * after.stored) + 4096
    assert session.json("fs", "gc", "run")["objects"] == 0
    check_nothing_is_left(ground.jvs.where / ".jvs")
    if command.gone is not None:
        assert not any(SECRET in path.read_bytes() for path in (ground.jvs.where / ".jvs" / "packs").iterdir())
    (ground.jvs.where / "e").mkdir(exist_ok=True)
    (ground.jvs.where / "e" / "after").write_text("life goes on\n")
    session("fs", "push", "e", "--label", "main", "--force").ok()
    assert session("fs", "cat", "main:after").ok().out == "life goes on\n"


def check_nothing_is_left(store: Path) -> None:
    """No rows, files or dead packs of whoever was interrupted."""
    with Repo.open(str(store), actor="tester") as repo:
        with repo.store.read() as txn:
            assert [txn.count(table) for table in (COLLECTORS, CONDEMNED, TOLD, PINS)] == [0, 0, 0, 0]
            rows = {pack.hex() for pack, _ in txn.packs()}
        seen = foresee(repo.store, {})
    assert (seen.dropped, seen.rewritten) == (0, 0)
    plans = {path.name.split(".")[0] for path in (store / "gc").iterdir()}
    assert all((store / "gc" / f"{plan}.{what}").exists() for plan in plans for what in ("json", "names", "snapshots"))
    assert not list((store / "gc").glob("*.new"))
    assert {path.stem for path in (store / "packs").iterdir()} == rows


def disturbed(
    ground: Ground,
    session: Session,
    name: str,
    undisturbed: Callable[[str], Rest],
    cases: list[tuple[str, int]],
    how: str,
) -> list[Done]:
    """Run the command for each (call, n-th time), to which `how` happens; check what is left."""
    command = COMMANDS[name]
    outcomes = []
    for call, number in cases:
        ground.reset()
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:{how}:when={number}"]
        done = traced(ground.jvs, ground.jvs.where / "trace", inject, *ground.words(command))
        print(call, number, done.status, done.err.strip())
        check_after(ground, session, command, undisturbed(name))
        outcomes.append(done)
    return outcomes


ERRORS: Final = {
    "ENOSPC": {"write", "writev", "pwrite64", "pwritev2", "ftruncate", "fallocate", "mkdir", "rename", "link"},
    "EIO": {"write", "writev", "pwrite64", "pwritev2", "fsync", "fdatasync", "unlink", "rename"},
}
"""Which calls report what."""
SOME: Final = [pytest.param(name, marks=() if name == "run" else pytest.mark.torture) for name in COMMANDS]
"""The names of all, of which the suite takes these."""


@needs_strace
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_write(ground: Ground, session: Session, undisturbed: Callable[[str], Rest], name: str) -> None:
    ground.reset()
    cases = calls(ground.jvs, ground.words(COMMANDS[name]), COMMANDS[name].sample)
    outcomes = disturbed(ground, session, name, undisturbed, cases, "signal=KILL")
    assert {done.status for done in outcomes} <= {-signal.SIGKILL, 128 + signal.SIGKILL, 0}
    assert any(done.status != 0 for done in outcomes)


@needs_strace
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", SOME)
def test_any_write_fails(
    ground: Ground, session: Session, undisturbed: Callable[[str], Rest], name: str, error: str
) -> None:
    """Once: it goes on, or ends with one clear error."""
    ground.reset()
    every = calls(ground.jvs, ground.words(COMMANDS[name]), 10_000, seed=len(error))
    cases = [case for case in every if case[0] in ERRORS[error]]
    for done in disturbed(ground, session, name, undisturbed, cases[: None if TORTURE else 1], f"error={error}"):
        assert done.status in (0, 1), done
        if done.status:
            assert_one_error(done)


@needs_strace
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_from_some_write_on_all_fail(
    ground: Ground, session: Session, undisturbed: Callable[[str], Rest], name: str, call: str
) -> None:
    """A disk that stays full, or is broken for good, for as long as the command runs."""
    ground.reset()
    every = [case for case in calls(ground.jvs, ground.words(COMMANDS[name]), 10_000) if case[0] == call]
    error = "EIO" if call == "fdatasync" else "ENOSPC"
    command = COMMANDS[name]
    for _, number in every if TORTURE else every[len(every) // 2 :][:1]:
        ground.reset()
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}+"]
        done = traced(ground.jvs, ground.jvs.where / "trace", inject, *ground.words(command))
        assert done.status in (0, 1), done
        if done.status:
            assert_one_error(done)
        check_after(ground, session, command, undisturbed(name))


# -- full disks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(where)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield where
    subprocess.run(["umount", str(where)], check=True)


@needs_root
@pytest.mark.parametrize("reserve", [True, False])
@pytest.mark.parametrize("leave", [0, 100_000])
def test_the_disk_is_full(disk: Path, bytecode: Path, leave: int, reserve: bool) -> None:
    """With the reserve gc frees space; without it, it does, or says that it cannot and changes nothing."""
    jvs = Jvs(disk, bytecode)
    jvs("fs", "init").ok()
    tree = disk / "d"
    tree.mkdir()
    with Session(jvs) as session:
        for number in range(5):
            (tree / "large").write_bytes(os.urandom(2_000_000 if number < 4 else 50_000))
            session("fs", "push", "d", "--label", "main").ok()
        session("fs", "retention", "set", "keep-last", "0").ok()
        if not reserve:
            (disk / ".jvs" / "reserve").unlink()
        ballast = fill(disk, leave)
        done = jvs("fs", "gc", "run", "--json")
        freed = 0
        if done.status:
            assert done.value["error"]["code"] == "no-space", done
            assert session.json("fs", "verify", "--all")["ok"]
        else:
            freed = done.value["freed_bytes"]
            assert freed > 7_000_000 or done.value["packs_left"] > 0
        assert freed > 7_000_000 or not reserve
        ballast.unlink()
        freed += session.json("fs", "gc", "run")["freed_bytes"]
        assert freed > 7_000_000
        assert session.json("fs", "verify", "--all")["ok"]
        assert session.json("doctor")["healthy"]
        pull_anew(session, "main", disk / "read-back")
        assert fingerprint(disk / "read-back") == fingerprint(tree)
