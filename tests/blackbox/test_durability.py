"""Commands killed at their system calls, disks that are full or fail: what was acknowledged stays (DESIGN 12)."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devtools.demo import Tree, fingerprint
from tests.blackbox.aftermath import Push, check_store, log_of, pull_anew
from tests.blackbox.conftest import CODE, Done, Jvs
from tests.blackbox.session import Session
from tests.castore.local.test_crash import calls_of
from tests.conftest import TORTURE

WRITES = (
    "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,ftruncate,fallocate,copy_file_range,rename,renameat,"
    "renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,utimensat"
)
SAMPLE = {"first": 4, "replace": 7, "large": 3, "pull": 6, "failing": 4}
"""At how many calls each kind of command is killed; at all of them in the long form."""

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def traced(jvs: Jvs, trace: Path, strace: list[str], *words: str) -> Done:
    """Run a command with its threads and children under strace; it writes no bytecode, which would be counted."""
    environment = {**jvs.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    # stops at nothing but what is traced, and takes a third of the time; but injects no signals
    quick = () if any("signal=" in option for option in strace) else ("--seccomp-bpf",)
    command = ["strace", *quick, "-f", "-qq", "-o", str(trace), *strace, sys.executable, "-c", CODE, *words]
    done = subprocess.run(
        command, cwd=jvs.where, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def calls(jvs: Jvs, words: list[str], sample: int, seed: int = 0) -> list[tuple[str, int]]:
    """Run the command undisturbed; every (call, n-th time) of it that writes, or a sample of those."""
    trace = jvs.where / "trace"
    traced(jvs, trace, ["-e", f"trace={WRITES}"], *words).ok()
    counts = calls_of(trace.read_text())
    found = [(call, number) for call, count in sorted(counts.items()) for number in range(1, count + 1)]
    if TORTURE:
        return found
    # one of each call first, since those differ most
    one_each = random.Random(seed).sample([case for case in found if case[1] == 1], len(counts))
    others = [case for case in found if case not in one_each]
    random.Random(seed).shuffle(others)
    return [*one_each, *others][:sample] if len(one_each) < sample else one_each[:sample]


class Ground(NamedTuple):
    """A store and a directory `d`, kept as they were, to be put back for each time something happens to them."""

    jvs: Jvs
    before: list[Push]

    def keep(self) -> None:
        """Keep store and directory as they are now."""
        for name in (".jvs", "d"):
            shutil.copytree(self.jvs.where / name, self.jvs.where / "kept" / name, symlinks=True)

    def reset(self) -> None:
        """Put both back. `d` stays the directory that it is: another one would not be bound to anything."""
        shutil.rmtree(self.jvs.where / ".jvs")
        shutil.copytree(self.jvs.where / "kept" / ".jvs", self.jvs.where / ".jvs")
        tree, kept = self.jvs.where / "d", self.jvs.where / "kept" / "d"
        if fingerprint(tree) != fingerprint(kept):
            for path in tree.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            shutil.copytree(kept, tree, symlinks=True, dirs_exist_ok=True)


def small_edit(tree: Path) -> None:
    """Change, add, remove, and give the pack more than one write."""
    (tree / "settings.toml").write_text("rate = 0.5\n")
    (tree / "data" / "more.csv").write_bytes(random.Random(1).randbytes(3_000))
    (tree / "data" / "large.bin").write_bytes(random.Random(2).randbytes(200_000))
    (tree / "run.sh").unlink()


def many_new_directories(tree: Path) -> None:
    """Enough to read that a second process takes some of the directories."""
    noise = random.Random(3)
    for number in range(12):
        folder = tree / f"new{number}" / "below"
        folder.mkdir(parents=True)
        for file in range(40):
            (folder / f"{file}.bin").write_bytes(noise.randbytes(60_000))


def prepare(jvs: Jvs, kind: str) -> Ground:
    """first: a store without labels; replace: a label with two generations; large: as replace, with more to push."""
    before = []
    tree = jvs.where / "d"
    if kind != "first":
        for number, rate in enumerate(("0.1", "0.25")):
            (tree / "settings.toml").write_text(f"rate = {rate}\n")
            pushed = jvs.json("fs", "push", "d", "--label", "main", "-m", f"push {number}")
            before.append(Push(pushed["ca_id"], fingerprint(tree)))
    if kind == "large":
        many_new_directories(tree)
    small_edit(tree)
    ground = Ground(jvs, before)
    ground.keep()
    return ground


@pytest.fixture
def session(jvs: Jvs) -> Iterator[Session]:
    """Commands without a process each."""
    with Session(jvs) as session:
        yield session


def check_after(ground: Ground, jvs: Session, done: Done, new: Push) -> bool:
    """What must hold once a push of `new` ended in any way at all; whether the label moved."""
    moved = len(log_of(ground.jvs)) > len(ground.before)  # the first to open the store: a process of its own
    assert moved or done.status != 0, "acknowledged, but not there"
    expected = [*ground.before, new] if moved else ground.before
    check_store(jvs, expected)
    if not expected:
        assert jvs.json("fs", "ls")["labels"] == []
    again = jvs.json("fs", "push", "d", "--label", "main", *(["--expected", "main"] if expected else []))
    assert (again["ca_id"], again["status"]) == (new.ca_id, "unchanged" if moved else "advanced")
    (jvs.where / "d" / "after").write_text("life goes on\n")
    last = jvs.json("fs", "push", "d")
    check_store(jvs, [*ground.before, new, Push(last["ca_id"], fingerprint(jvs.where / "d"))])
    return moved


@needs_strace
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("kind", ["first", "replace", "large"])
def test_a_push_killed_at_any_write(store: Jvs, session: Session, kind: str) -> None:
    """It is wholly there or wholly absent, and there if it said so; everything before it and after it works."""
    ground = prepare(store, kind)
    words = ["fs", "push", "d", "--label", "main"]
    cases = calls(store, words, SAMPLE[kind])
    new = Push(log_of(store)[-1]["to"], fingerprint(store.where / "d"))
    outcomes = []
    for call, number in cases:
        ground.reset()
        done = traced(
            store,
            store.where / "trace",
            ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"],
            *words,
        )
        outcomes.append((call, number, done.status, check_after(ground, session, done, new)))
    print(*outcomes, sep="\n")
    assert all(status in (-signal.SIGKILL, 128 + signal.SIGKILL, 0) for _, _, status, _ in outcomes)
    # a child may be the one that was killed, and the push does its work; else the push itself is
    assert sum(status != 0 for _, _, status, _ in outcomes) > len(outcomes) // 2


@pytest.mark.timeout(7_200)
def test_a_large_push_killed_at_any_moment(store: Jvs, session: Session) -> None:
    """Also one whose second process is killed: then it does that one's work itself."""
    ground = prepare(store, "large")
    words = ["fs", "push", "d", "--label", "main"]
    began = time.monotonic()
    new = Push(store.json(*words)["ca_id"], fingerprint(store.where / "d"))
    took = time.monotonic() - began
    chance = random.Random(5)
    for number in range(40 if TORTURE else 2):
        ground.reset()
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *words],
            cwd=store.where,
            env=store.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if number % 2:
            kill_assistant(process, chance.uniform(0, took / 2))
        else:
            time.sleep(chance.uniform(0, took))
            process.kill()
        out, err = process.communicate(timeout=120)  # ends only when nothing holds the pipes: no process is left
        done = Done(process.returncode, out.decode(), err.decode())
        if number % 2:
            assert done.status == 0, done.err
        check_after(ground, session, done, new)


def kill_assistant(process: subprocess.Popen[bytes], after: float) -> None:
    """Kill the process that a push started to help it, some seconds after it was seen."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        for child in children.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if b"ingest.assistant" in Path(f"/proc/{child}/cmdline").read_bytes():
                    time.sleep(after)
                    os.kill(int(child), signal.SIGKILL)  # it stays a zombie, so no other process has its number
                    return
        time.sleep(0.002)


@needs_strace
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(
    ("call", "file"),
    [
        ("pwritev2", ".pack"),
        ("fdatasync", ".pack"),
        ("fsync", "packs"),  # of a new pack's directory entry
        ("write", "journal"),
        ("pwrite64", "data.mdb"),
        ("writev", "data.mdb"),
        ("fdatasync", "data.mdb"),
    ],
)
def test_a_failing_disk_under_a_push(store: Jvs, session: Session, call: str, file: str) -> None:
    """A call that the acknowledgement depends on reports EIO, once: the push fails, and the next one works."""
    ground = prepare(store, "first" if call == "fsync" else "replace")
    words = ["fs", "push", "d", "--label", "main"]
    trace = store.where / "trace"
    traced(store, trace, ["-y", "-e", f"trace={call}"], *words).ok()
    places: dict[str, int] = {}  # strace counts by thread
    numbers = set()
    for line in trace.read_text().splitlines():
        if (match := re.match(rf"(\d+) +{call}\(\d+<([^>]*)>", line)) is not None:
            places[match[1]] = places.get(match[1], 0) + 1
            if match[2].endswith(file):
                numbers.add(places[match[1]])
    assert numbers, f"a push makes no {call} on {file}"
    new = Push(log_of(store)[-1]["to"], fingerprint(store.where / "d"))
    for number in sorted(numbers) if TORTURE else [max(numbers)]:
        ground.reset()
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={number}"]
        done = traced(store, trace, inject, *words)
        assert done.status == 1, done
        assert_one_error(done)
        assert not check_after(ground, session, done, new)


@needs_strace
@pytest.mark.timeout(7_200)
def test_any_write_of_a_push_fails(store: Jvs, session: Session) -> None:
    """Every call in turn reports EIO, also those that may: acknowledged or not, it is never in between."""
    ground = prepare(store, "replace")
    words = ["fs", "push", "d", "--label", "main"]
    cases = calls(store, words, SAMPLE["failing"])
    new = Push(log_of(store)[-1]["to"], fingerprint(store.where / "d"))
    for call, number in cases:
        ground.reset()
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={number}"]
        done = traced(store, store.where / "trace", inject, *words)
        assert done.status in (0, 1), done
        if done.status:
            assert_one_error(done)
        check_after(ground, session, done, new)


def assert_one_error(done: Done) -> None:
    """`error: ...`, `next: ...`, and nothing else on stderr."""
    lines = done.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "next"], done.err


# -- pulls -------------------------------------------------------------------------------------------------------------


class PullGround(NamedTuple):
    """A directory `d` at generation 2, with an ignored file and (edited) a change that was never saved."""

    ground: Ground
    trees: list[Tree]
    mine: dict[str, bytes]


def prepare_pull(jvs: Jvs, *, edited: bool) -> PullGround:
    """Two generations that differ in every way: content, mode, kind, added and removed directories."""
    tree = jvs.where / "d"
    (tree / ".jvsignore").write_text("*.private\n")
    trees = []
    (tree / "gone" / "deep").mkdir(parents=True)
    (tree / "gone" / "deep" / "file").write_text("gone\n")
    (tree / "turns").write_text("a file\n")
    jvs("fs", "push", "d", "--label", "main").ok()
    trees.append(fingerprint(tree))
    shutil.rmtree(tree / "gone")
    (tree / "turns").unlink()
    (tree / "turns").mkdir()
    (tree / "turns" / "inner").write_text("a directory\n")
    (tree / "data" / "points.csv").write_text("5,6\n")
    (tree / "run.sh").chmod(0o600)
    (tree / "link").unlink()
    (tree / "link").symlink_to("run.sh")
    jvs("fs", "push", "d").ok()
    trees.append(fingerprint(tree))
    mine = {"data/key.private": b"ignored\n"}
    if edited:
        mine |= {"settings.toml": b"never saved\n", "turns/mine": b"never saved either\n"}
    for name, data in mine.items():
        (tree / name).write_bytes(data)
    ground = Ground(jvs, [])
    ground.keep()
    return PullGround(ground, trees, mine)


def held(jvs: Session, tree: Path) -> set[bytes]:
    """The content of every file in a directory, whatever its name, and in every autosave of the store."""
    found = {path.read_bytes() for path in tree.rglob("*") if path.is_file() and not path.is_symlink()}
    for label in jvs.json("fs", "ls", "autosave/*")["labels"]:
        for number in range(1, label["generation"] + 1):
            into = jvs.where / "saved"
            pull_anew(jvs, f"{label['name']}@{number}", into)
            found |= {path.read_bytes() for path in into.rglob("*") if path.is_file() and not path.is_symlink()}
    return found


@needs_strace
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("edited", [False, True])
def test_a_pull_killed_at_any_write(store: Jvs, session: Session, edited: bool) -> None:
    """The next one finishes, or refuses and then finishes with --autosave; what was never saved is never lost."""
    ground, trees, mine = prepare_pull(store, edited=edited)
    tree = store.where / "d"
    words = ["fs", "pull", "main@1", "d", *(["--autosave"] if edited else [])]
    wanted = set(mine.values())
    cases = calls(store, words, SAMPLE["pull"])
    outcomes = []
    for call, number in cases:
        ground.reset()
        done = traced(
            store,
            store.where / "trace",
            ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"],
            *words,
        )
        assert wanted <= held(session, tree)
        again = store(*words)
        if again.status != 0:
            assert again.status == 1, again.err
            assert "unsaved" in again.err
            again = store(*words, "--autosave").ok()
        assert wanted <= held(session, tree)
        after = fingerprint(tree)
        private = after.pop("data/key.private")
        recovered = {name for name in after if "jvs-recovered-" in name}
        assert private
        assert {name: entry for name, entry in after.items() if name not in recovered} == trees[0]
        assert not [name for name in after if ".jvs-tmp-" in name]
        outcomes.append((call, number, done.status))
        assert session.json("fs", "verify", "--all")["ok"]
    print(*outcomes, sep="\n")
    assert any(status != 0 for *_, status in outcomes)


# -- full disks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(jvs: Jvs) -> Iterator[Path]:
    """A file system of 8 MiB below the directory commands run in."""
    where = jvs.where / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(where)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield where
    subprocess.run(["umount", str(where)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Take all space but `leave` bytes; the file that takes it."""
    free = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(free.f_bavail * free.f_bsize - leave, 0)))
    return ballast


def assert_no_space(done: Done) -> None:
    """One clear error, in words and in JSON."""
    assert done.status == 1, (done.out, done.err)
    assert done.value["error"]["code"] == "no-space"
    assert done.value["error"]["next"]
    assert len(done.value["error"]["message"].splitlines()) == 1


@needs_root
@pytest.mark.parametrize("leave", [0, 8_192, 100_000, 1_000_000])
def test_the_stores_disk_is_full(jvs: Jvs, session: Session, disk: Path, leave: int) -> None:
    """Pushes fail until there is space again; everything from before can be read meanwhile."""
    tree = jvs.where / "d"
    tree.mkdir()
    (tree / "old").write_text("from before\n")
    (jvs.where / ".jvs").symlink_to(disk / "store")
    store = ["--store", str(disk / "store")]
    session(*store, "fs", "init").ok()
    first = Push(session.json(*store, "fs", "push", "d", "--label", "main")["ca_id"], fingerprint(tree))
    ballast = fill(disk, leave)
    (tree / "new").write_bytes(random.Random(leave).randbytes(2_000_000))
    for _ in range(2):
        assert_no_space(jvs(*store, "fs", "push", "d", "--json"))
    failed = jvs(*store, "fs", "push", "d")
    assert (failed.status, failed.out) == (1, "")
    assert_one_error(failed)
    assert [entry["to"] for entry in session.json(*store, "fs", "log", "main")["log"]] == [first.ca_id]
    assert session(*store, "fs", "cat", "main:old").ok().out == "from before\n"
    assert session.json(*store, "fs", "verify", "--all")["ok"]
    assert session.json(*store, "doctor")["healthy"]
    ballast.unlink()
    second = Push(session.json(*store, "fs", "push", "d")["ca_id"], fingerprint(tree))
    check_store(session, [first, second])


@needs_root
def test_the_disk_is_full_for_labels(jvs: Jvs, session: Session, disk: Path) -> None:
    """Moves that write no content: each is acknowledged and there, or fails with no-space and is not."""
    store = ["--store", str(disk / "store")]
    (jvs.where / ".jvs").symlink_to(disk / "store")
    jvs(*store, "fs", "init").ok()
    (jvs.where / "d").mkdir()
    first = Push(session.json(*store, "fs", "push", "d", "--label", "main")["ca_id"], {})
    ballast = fill(disk, 40_000)
    made = []
    for number in range(100):
        done = session(*store, "fs", "label", f"side/{number}", "main", "-m", "x" * 4_000, "--json")
        if done.status:
            assert_no_space(done)
            break
        made.append(f"side/{number}")
    else:
        pytest.fail("the disk never was full")
    assert sorted(label["name"] for label in session.json(*store, "fs", "ls")["labels"]) == sorted([*made, "main"])
    ballast.unlink()
    jvs(*store, "fs", "label", "side/last", "main").ok()
    assert sorted(label["name"] for label in session.json(*store, "fs", "ls", "side/*")["labels"]) == sorted(
        [*made, "side/last"]
    )
    check_store(session, [first])


@needs_root
def test_the_disk_pulled_to_is_full(store: Jvs, disk: Path) -> None:
    """The pull fails and says so; what was there is there, and with space again it finishes."""
    tree = store.where / "d"
    store("fs", "push", "d", "--label", "main").ok()
    old = fingerprint(tree)
    (tree / "settings.toml").write_text("rate = 0.5\n")
    for number in range(20):
        (tree / f"large{number}").write_bytes(random.Random(number).randbytes(300_000))
    (tree / "data" / "points.csv").unlink()
    store("fs", "push", "d").ok()
    new = fingerprint(tree)
    into = disk / "into"
    store("fs", "pull", "main@1", str(into)).ok()
    ballast = fill(disk, 1_000_000)
    for _ in range(2):
        assert_no_space(store("fs", "pull", "main@2", str(into), "--json"))
        there = fingerprint(into)
        assert not [name for name in there if name not in new and name not in old]
        assert all(entry in (old.get(name), new.get(name)) for name, entry in there.items())
        assert store.json("fs", "verify", "--all")["ok"]
    ballast.unlink()
    store("fs", "pull", "main@2", str(into)).ok()
    assert fingerprint(into) == new
