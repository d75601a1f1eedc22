"""The processes of `test_gc_races`: pushers, movers of labels, readers and collectors of one store, and their host.

Run as a program it is the host: it forks the others, stops, continues and kills them at random, and says at the end
what happened. jvs is imported once and each process loops in itself, so there are many rounds in little time. Limits
of the product are made small in these processes (packs, batches, look-ups of a transaction), so that a small store has
many packs and everything takes many transactions. The clocks of some are ten years ahead, or behind.

A pusher's directory is a function of the pusher and a step (`tree_of`), which the directory itself names: whoever
pulls a snapshot knows what must be in it. Whatever a process did not expect it writes down, and ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jvs.castore import publish
from jvs.castore.gc import collection
from jvs.castore.local import env, reclaim, writer
from jvs.errors import CollectedError, JvsError
from jvs.workspace import gc, pull, push  # noqa: F401  # here, once, and not after each fork
from jvs.workspace.repo import Repo
from tests.castore.local.flipper import examine

FILES = 14
SHARED = 3
"""Labels that every pusher moves."""
SEAL_AT = 1 << 20
TEN_YEARS = 10 * 365 * 86_400 * 10**9
"""By how many ns the clocks of some processes are wrong."""
GONE = {"collected", "unknown-revision", "unknown-label", "unknown-entry"}
"""Codes of errors that say that something went away, as it may when it is protected no more."""
PATIENCE = 240.0
"""Seconds after the end in which every process must have ended."""


class Cast(NamedTuple):
    """How many processes of each kind there are."""

    push: int
    collect: int
    move: int
    read: int

    def names(self) -> list[str]:
        """A name for each: its kind and a number."""
        return [f"{kind}-{number}" for kind, count in self._asdict().items() for number in range(count)]


def tree_of(pusher: int, step: int) -> dict[str, bytes]:
    """Path -> content. A third of the files is the same for every pusher; most contents come back at later steps, when
    they may have become garbage, or be just going."""
    files = {"stamp": b"%d %d" % (pusher, step), "own": random.Random(f"{pusher} {step}").randbytes(20_000)}
    for number in range(FILES):
        version = step // (1 + number % 4) % 5
        noise = random.Random(f"{pusher if number % 3 else 'all'}/{number}/{version}")
        size = noise.choice((0, 10, 3_000, 30_000, 200_000, None))
        if size is not None:
            files[f"folder{number % 4}/file{number}"] = noise.randbytes(size)
    return files


def stamped(files: dict[str, bytes]) -> dict[str, bytes]:
    """What a directory must be, that says itself which it is."""
    pusher, step = files["stamp"].split()
    return tree_of(int(pusher), int(step))


def read_tree(directory: Path) -> dict[str, bytes]:
    """Path -> content of every file."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(directory))] = path.read_bytes()
    return found


def write_tree(directory: Path, files: dict[str, bytes]) -> None:
    """Make a directory be that, whatever it is."""
    for number in range(4):
        (directory / f"folder{number}").mkdir(parents=True, exist_ok=True)
    there = read_tree(directory)
    for path in there.keys() - files.keys():
        (directory / path).unlink()
    for path, data in files.items():
        if there.get(path) != data:
            (directory / path).write_bytes(data)


class Racer:
    """One process at work: `name` says what it does."""

    def __init__(self, where: Path, name: str, seed: str, deadline: float) -> None:
        kind, number = name.split("-")
        self.where = where
        self.name = name
        self.number = int(number)
        self.deadline = deadline
        self.random = random.Random(seed)
        self.repo = Repo.open(str(where / "store"), actor=name)
        getattr(self, kind)()

    def rounds(self) -> Iterator[None]:
        """Until the time is up."""
        while time.monotonic() < self.deadline:
            yield

    def note(self, **what: Any) -> None:
        """Write down what happened: one write, so a killed process leaves no half line before the last one."""
        with open(self.where / "notes" / self.name, "ab", buffering=0) as file:
            file.write(json.dumps(what).encode() + b"\n")

    # -- what they do

    def push(self) -> None:
        """Change a directory, push it as a label of its own, or as one that others push too."""
        directory = self.where / "work" / self.name
        for _ in self.rounds():
            step = self.random.randrange(self.random.choice((6, 100_000)))
            write_tree(directory, tree_of(self.number, step))
            own = self.random.random() < 0.8
            label = f"own/{self.number}" if own else f"shared/{self.random.randrange(SHARED)}"
            if own:
                self.note(step=step)
            try:
                done = self.repo.push(str(directory), label=label, force=True)
            except CollectedError:  # so slow, and stopped so often, that collectors were faster each time
                self.note(collected=label)
                continue
            assert done.status in ("advanced", "unchanged"), done
            self.note(label=label, generation=done.generation, ca_id=done.ca_id.hex())

    def move(self) -> None:
        """Delete, bring back, make, rename, set back and pin whatever is not somebody's own."""
        for _ in self.rounds():
            heads = [info for info in self.repo.labels.list() if not info.name.startswith("autosave")]
            if not heads:
                time.sleep(0.02)
                continue
            head = self.random.choice(heads)
            others = [info.name for info in heads if not info.name.startswith("own/")]
            other = self.random.choice(others or ["side/0"])
            side = f"side/{self.random.randrange(4)}"
            try:
                match self.random.randrange(8):
                    case 0 | 1 | 2:
                        self.repo.delete_label(other)
                    case 3:
                        self.repo.undelete_label(side)
                    case 4:
                        self.repo.rename_label(other, side)
                    case 5:
                        self.repo.set_label(side, head.ca_id.hex())
                    case 6:
                        self.repo.undo(other)
                    case 7:
                        self.repo.pin(head.ca_id.hex(), message=self.name)
                        self.look(head.ca_id.hex())
                        self.repo.unpin(head.ca_id.hex())
            except JvsError as error:
                if error.code not in {*GONE, "label-moved", "already-exists", "unknown-pin", "nothing-to-undo"}:
                    raise
            for pin in self.repo.pins()[8:]:  # of movers that were killed
                with contextlib.suppress(JvsError):
                    self.repo.unpin(pin.pin.id.hex())
            time.sleep(self.random.uniform(0, 0.02))

    def read(self) -> None:
        """Pull heads and compare whole trees; verify; a head that cannot be read must be one no more."""
        for number, _ in enumerate(self.rounds()):
            heads = list(self.repo.labels.list())
            if not heads:
                time.sleep(0.02)
                continue
            head = self.random.choice(heads)
            try:
                match self.random.randrange(5):
                    case 0:
                        result = self.repo.verify(head.ca_id.hex())
                        assert not result.damaged, result.damaged
                    case 1:
                        stamp = b"".join(self.repo.cat(f"{head.ca_id.hex()}:stamp"))
                        assert len(stamp.split()) == 2, stamp
                    case _:
                        self.look(head.ca_id.hex())
            except JvsError as error:
                now = self.repo.labels.get(head.name)
                if error.code not in GONE or (now is not None and now.entry_id == head.entry_id):
                    raise
            if number % 20 == 10:
                result = self.repo.verify()
                assert not result.damaged, result.damaged

    def look(self, revision: str) -> None:
        """Pull a snapshot, and compare it with what it must be."""
        directory = self.where / "work" / self.name
        self.repo.pull(revision, str(directory), discard=True)
        files = read_tree(directory)
        assert files == stamped(files), f"wrong bytes in {revision}"

    def collect(self) -> None:
        """Run gc: with and without a plan, in one go and in pieces."""
        for _ in self.rounds():
            plan_id, max_bytes = None, None
            chance = self.random.random()
            try:
                if chance < 0.25:
                    plan_id = self.repo.gc_plan().plan_id
                elif chance < 0.5:
                    max_bytes = self.random.randrange(1_000_000)
                elif chance < 0.6:
                    self.repo.gc_run(dry_run=True)
                run = self.repo.gc_run(plan_id, max_bytes=max_bytes, trust_clock=self.random.random() < 0.5)
            except JvsError as error:
                if error.code not in ("gc-plan-stale", "gc-busy", "unknown-plan", "clock-jump"):
                    raise
                self.note(refused=error.code)
            else:
                self.note(objects=run.objects, freed=run.freed_bytes, packs=run.packs_dropped + run.packs_rewritten)


# -- the host ----------------------------------------------------------------------------------------------------------


class Host:
    """Starts the others, and does to them what happens to processes."""

    def __init__(self, where: Path, seconds: float, seed: int, cast: Cast) -> None:
        self.where = where
        self.seed = seed
        self.deadline = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.names = cast.names()
        self.running: dict[int, str] = {}
        self.stopped: dict[int, float] = {}
        self.killed: set[int] = set()
        self.counts = {"started": 0, "killed": 0, "stopped": 0}
        self.sizes: list[int] = []
        self.failures: list[str] = []

    def run(self) -> dict[str, Any]:
        """The race; its summary: started, killed, stopped, sizes of the packs over time, failures."""
        for folder in ("notes", "work", "failures"):
            (self.where / folder).mkdir()
        for name in self.names:
            self.start(name)
        while time.monotonic() < self.deadline and not self.failures:
            time.sleep(self.random.uniform(0.01, 0.1))
            self.disturb()
            self.reap(restart=True)
            self.sizes.append(pack_bytes(self.where))
        for pid in self.running:
            os.kill(pid, signal.SIGCONT)
        late = time.monotonic() + PATIENCE
        while self.running and time.monotonic() < late:
            time.sleep(0.05)
            self.reap(restart=False)
        for pid in list(self.running):
            os.kill(pid, signal.SIGUSR1)  # says where it is, on stderr
            time.sleep(0.2)
            os.kill(pid, signal.SIGKILL)
            self.failures.append(f"{self.running[pid]} did not end")
        self.failures += [path.read_text() for path in (self.where / "failures").iterdir()]
        return {**self.counts, "sizes": self.sizes, "failures": self.failures}

    def start(self, name: str) -> None:
        self.counts["started"] += 1
        seed = f"{self.seed} {name} {self.counts['started']}"
        pid = os.fork()
        if pid == 0:
            faulthandler.register(signal.SIGUSR1)
            chance = random.Random(seed)
            setattr(writer, "SEAL_AT", SEAL_AT)  # noqa: B010
            setattr(reclaim, "_SMALL", SEAL_AT // 2)  # noqa: B010
            off, true = chance.choice((0, 0, 0, 0, 0, 0, TEN_YEARS, -TEN_YEARS)), time.time_ns
            setattr(time, "time_ns", lambda: true() + off)  # noqa: B010
            if chance.random() < 0.7:
                setattr(publish, "MAX_LOOKUPS", chance.choice((1, 5, 20)))  # noqa: B010
                setattr(collection, "BATCH", chance.choice((1, 4, 16)))  # noqa: B010
            try:
                Racer(self.where, name, seed, self.deadline)
            except BaseException:
                (self.where / "failures" / f"{name}-{os.getpid()}").write_text(f"{name}\n{traceback.format_exc()}")
                os._exit(1)
            os._exit(0)
        self.running[pid] = name

    def disturb(self) -> None:
        """Kill, or stop for a while, one of them; or none."""
        now = time.monotonic()
        for pid in [pid for pid, until in self.stopped.items() if until <= now]:
            del self.stopped[pid]
            os.kill(pid, signal.SIGCONT)
        chance = self.random.random()
        pid = self.random.choice(list(self.running))
        if chance < 0.15:
            os.kill(pid, signal.SIGKILL)
            self.killed.add(pid)
            self.counts["killed"] += 1
        elif chance < 0.4 and pid not in self.stopped:
            os.kill(pid, signal.SIGSTOP)
            self.stopped[pid] = now + self.random.choice((0.01, 0.1, 1.0))
            self.counts["stopped"] += 1

    def reap(self, *, restart: bool) -> None:
        """Note who has ended; whoever was killed is started again."""
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            name = self.running.pop(pid)
            self.stopped.pop(pid, None)
            if pid in self.killed and os.WIFSIGNALED(status):
                if restart:
                    self.start(name)
            elif status:
                self.failures.append(f"{name} ended with status {status}")


def pack_bytes(where: Path) -> int:
    """The sizes of all packs."""
    size = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(where / "store" / "packs") as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                size += entry.stat().st_size
    return size


if __name__ == "__main__":
    setattr(env, "probe", examine)  # noqa: B010  # a process of its own for each restart would take most of the time
    where, seconds, seed, cast = sys.argv[1:]
    print(json.dumps(Host(Path(where), float(seconds), int(seed), Cast(*json.loads(cast))).run()))
