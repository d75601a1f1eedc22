"""Real processes racing for one store, some of them killed: what was acknowledged is there, byte for byte."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devtools.demo import Tree, fingerprint
from tests.blackbox.conftest import CODE, Jvs

PUSHERS = 4
READ_BACK = 150
"""How many of the acknowledged snapshots are pulled at the end, evenly spread."""


class Acknowledged(NamedTuple):
    """A push that said so: where it put the label, and the tree that was pushed."""

    generation: int
    ca_id: str
    tree: Tree


class Race:
    """A store that several processes use at once until the time is up."""

    def __init__(self, jvs: Jvs, seconds: float) -> None:
        self.jvs = jvs
        self.deadline = time.monotonic() + seconds
        self.acknowledged: list[Acknowledged] = []
        self.killed = 0
        self.rejected = 0

    def running(self) -> bool:
        return time.monotonic() < self.deadline

    def killed_push(self, words: list[str], after: float) -> subprocess.CompletedProcess[str]:
        """Run a command, and kill it with SIGKILL after some seconds if it is still running."""
        command = [sys.executable, "-c", CODE, *words]
        with subprocess.Popen(
            command,
            cwd=self.jvs.where,
            env=self.jvs.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after)
            process.kill()
            out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def head(self) -> str:
        """The generation of `main` as --expected takes it; "0" while there is no such label."""
        done = self.jvs("fs", "pull", "main", "--json")
        assert done.status in (0, 5), done.err
        return str(done.value["generation"]) if done.status == 0 else "0"

    def push_for_ever(self, number: int) -> None:
        """Edit a directory of its own and push it to `main` with compare-and-set, over and over."""
        rng = random.Random(number)
        directory = self.jvs.where / f"tree{number}"
        for folder in range(4):
            (directory / f"folder{folder}").mkdir(parents=True)
        expected = "0"
        while self.running():
            file = directory / f"folder{rng.randrange(4)}" / f"file{rng.randrange(8)}"
            file.write_bytes(rng.randbytes(rng.choice((0, 10, 3_000, 70_000, 700_000))))
            tree = fingerprint(directory)
            while self.running():
                words = ["fs", "push", directory.name, "--label", "main", "--expected", expected, "--json"]
                if rng.random() < 0.2:
                    done = self.killed_push(words, rng.uniform(0.03, 0.3))
                    status, out, err = done.returncode, done.stdout, done.stderr
                else:
                    status, out, err = self.jvs(*words)
                assert status in (0, 6, -9), f"exit status {status}: {out}{err}"
                answer: dict[str, Any] = {}
                with contextlib.suppress(ValueError):  # killed before it had said all
                    answer = json.loads(out)
                if not answer:
                    assert status == -9, out
                    self.killed += 1
                    expected = self.head()
                elif answer["status"] == "rejected":
                    self.rejected += 1
                    expected = str(answer["current_generation"])
                else:
                    self.acknowledged.append(Acknowledged(answer["generation"], answer["ca_id"], tree))
                    expected = str(answer["generation"])
                    break

    def read_for_ever(self) -> None:
        """Pull what was acknowledged last, and verify it, over and over."""
        while self.running():
            if not self.acknowledged:
                time.sleep(0.05)
                continue
            self.read_back(self.acknowledged[-1], self.jvs.where / "read")
            self.jvs("fs", "verify", "main", "--json").ok()

    def move_labels_for_ever(self) -> None:
        """Create, move, delete, undelete and rename other labels of the same store, over and over."""
        while self.running():
            if not self.acknowledged:
                time.sleep(0.05)
                continue
            self.jvs("fs", "label", "side/one", self.acknowledged[-1].ca_id).ok()
            self.jvs("fs", "label", "--delete", "side/one").ok()
            self.jvs("fs", "label", "--undelete", "side/one").ok()
            self.jvs("fs", "label", "--rename", "side/one", "side/two").ok()
            self.jvs("fs", "label", "--delete", "side/two").ok()

    def read_back(self, one: Acknowledged, into: Path) -> None:
        """Pull a snapshot and compare it with the tree that was pushed, by a walk of our own."""
        self.jvs("fs", "pull", one.ca_id, into.name).ok()
        assert fingerprint(into) == one.tree


@pytest.mark.race60
def test_what_was_acknowledged_is_there(jvs: Jvs, race_seconds: float) -> None:
    """Pushers (a fifth of whose pushes are killed), a reader and a mover of labels, all at once in one store."""
    jvs("fs", "init").ok()
    race = Race(jvs, race_seconds)
    with ThreadPoolExecutor(PUSHERS + 2) as pool:
        jobs = [pool.submit(race.push_for_ever, number) for number in range(PUSHERS)]
        jobs += [pool.submit(race.read_for_ever), pool.submit(race.move_labels_for_ever)]
        for job in jobs:
            job.result()
    print(f"{len(race.acknowledged)} acknowledged, {race.rejected} rejected, {race.killed} killed")
    assert len(race.acknowledged) >= PUSHERS

    log = jvs.json("fs", "log", "main")["log"]
    assert [entry["generation"] for entry in log] == list(range(1, len(log) + 1))
    assert [entry["from"] for entry in log] == [None, *(entry["to"] for entry in log[:-1])]
    assert [entry["prev"] for entry in log] == [None, *(entry["entry_id"] for entry in log[:-1])]
    moved = {entry["generation"]: entry["to"] for entry in log}
    assert all(moved[one.generation] == one.ca_id for one in race.acknowledged)

    assert jvs.json("fs", "verify", "--all")["ok"]
    assert jvs.json("doctor")["healthy"]
    step = max(1, len(race.acknowledged) // READ_BACK)
    for one in race.acknowledged[::step]:
        race.read_back(one, jvs.where / "read")
