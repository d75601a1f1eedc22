"""Several processes push at once while they are killed at random (DESIGN 12)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jvs.castore.digest import Digest
from jvs.castore.local.store import LocalStore
from tests.castore.local import driver
from tests.castore.local.checks import check_whole

WORKERS = 4
SIZE = 20_000


class Worker:
    """A process that pushes rounds from `first` on until it is killed, a moment from now."""

    def __init__(self, store: Path, first: int) -> None:
        paths = os.pathsep.join(entry for entry in sys.path if entry)
        command = [sys.executable, driver.__file__, str(store), "100000", str(SIZE), str(first)]
        self.said = store.with_name(f"said-{first}")
        with self.said.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, env={**os.environ, "PYTHONPATH": paths})
        self.until = time.monotonic() + random.uniform(0.1, 1.0)

    def kill(self) -> dict[int, Digest]:
        """End it; what it was told was done."""
        assert self.process.poll() is None, "it gave up"
        self.process.kill()
        self.process.wait()
        lines = [line.split() for line in self.said.read_text().splitlines()]
        return {int(number): bytes.fromhex(root) for number, root in lines}


def look(store: Path, numbers: list[int]) -> None:
    """Read some rounds back while the others go on."""
    with LocalStore.open(store) as opened:
        for number in numbers:
            for kind, key, stored, _ in driver.tree(number, SIZE):
                assert opened.get(kind, key) == stored


@pytest.mark.race60
def test_killed_at_random(race_seconds: float, tmp_path: Path) -> None:
    """Nothing acknowledged is lost, nothing is half there; now and then somebody looks while the others go on."""
    store = tmp_path / "store"
    LocalStore.create(store).close()
    done: dict[int, Digest] = {}
    deadline = time.monotonic() + race_seconds
    running = [Worker(store, 1_000_000 * number) for number in range(WORKERS)]
    started = WORKERS
    while running:
        time.sleep(0.02)
        now = time.monotonic()
        for worker in [worker for worker in running if worker.until <= now]:
            done |= worker.kill()
            running.remove(worker)
            if now < deadline:
                running.append(Worker(store, 1_000_000 * started))
                started += 1
        if random.random() < 0.01:
            look(store, random.sample(sorted(done), min(len(done), 20)))
    with LocalStore.open(store) as opened:
        check_whole(opened, done, SIZE)
        packs = len(os.listdir(opened.packs_path))
    assert len(done) > WORKERS
    assert packs <= 2 * WORKERS + len(done) * SIZE * 2 // (64 << 20)
