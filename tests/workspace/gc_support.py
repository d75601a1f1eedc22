"""A store with a history to collect, for the tests of gc."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jvs.castore.digest import Digest
from jvs.castore.settings import StoreSettings
from jvs.workspace.repo import Repo

DAY = 86_400_000


class Ground:
    """A Repo, and a directory `source` that is pushed as it changes."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.source = where / "source"
        self.source.mkdir()
        self.random = random.Random(5)
        Repo.init(str(where / "store"), StoreSettings())
        self.repo = Repo.open(str(where / "store"), actor="tester")

    def edit(self, name: str = "big", size: int = 100_000) -> None:
        """Give a file new content, which no other has."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.random.randbytes(size))

    def push(self, label: str = "main", **options: object) -> Digest:
        """Push the directory; the snapshot."""
        done = self.repo.push(str(self.source), label=label, force=True, **options)  # type: ignore[arg-type]
        return done.ca_id

    def history(self, moves: int = 4, label: str = "main") -> list[Digest]:
        """Push as often, each time with another large file and two small ones changed; the snapshots."""
        self.edit("common", 300)
        snapshots = []
        for number in range(moves):
            self.edit()
            self.edit(f"small/{number % 2}", 300)
            snapshots.append(self.push(label))
        return snapshots

    def check(self, *kept: Digest) -> None:
        """Everything in the store is whole, and these snapshots are in it, readable to the last byte."""
        found = self.repo.verify()
        assert found.damaged == ()
        for snapshot in kept:
            assert self.repo.verify(snapshot.hex()).ok

    def objects(self) -> int:
        """How many objects there are."""
        return sum(self.repo.stats().objects.values())

    def pack_bytes(self) -> int:
        """The sizes of all packs."""
        return sum(path.stat().st_size for path in (self.where / "store" / "packs").iterdir())


class At:
    """A progress bar that calls something at one of its updates."""

    def __init__(self, number: int, what: Callable[[], object]) -> None:
        self._left = number
        self._what = what
        self.called = False

    def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
        """See `jvs.workspace.progress.Progress`."""
        if self._left == 0:
            self.called = True
            self._left -= 1
            self._what()
        self._left -= 1


@pytest.fixture
def ground() -> Iterator[Ground]:
    """A new store, and an empty directory; in memory where there is such a place, since each run commits often."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as where:
        made = Ground(Path(where))
        with made.repo:
            yield made
