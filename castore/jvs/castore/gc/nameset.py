"""Large sets of digests in bounded memory: what does not fit is spilled to disk in sorted runs.

Nothing is ever looked up in a set that has spilled; sets are read in order and merged, so 10^7 digests take as much
memory as the limit says and as many sequential passes as it takes.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from typing import IO, Final

from jvs.castore.digest import DIGEST_SIZE

LIMIT: Final = 1_000_000
"""Digests that all the sets of one `Budget` hold in memory; some 130 bytes each."""
_READ: Final = 4096


class Budget:
    """How many digests several sets may hold in memory together.

    directory  where runs are spilled; the files have no names, so nothing is left behind
    """

    def __init__(self, directory: str | None, limit: int = LIMIT) -> None:
        self.directory = directory
        self.limit = limit
        self._sets: list[NameSet] = []

    def set(self, width: int = DIGEST_SIZE) -> NameSet:
        """A new, empty set of names of `width` bytes."""
        made = NameSet(self, width)
        self._sets.append(made)
        return made

    def settle(self) -> None:
        """Spill the largest sets when there is too much in memory."""
        while sum(one.held for one in self._sets) > self.limit:
            max(self._sets, key=lambda one: one.held).spill()


class NameSet:
    """A set of digests that grows, and is then read in order. Made by `Budget.set`."""

    def __init__(self, budget: Budget, width: int) -> None:
        self._budget = budget
        self._width = width
        self._names: set[bytes] = set()
        self._runs: list[IO[bytes]] = []

    @property
    def held(self) -> int:
        """How many digests it holds in memory."""
        return len(self._names)

    def update(self, names: Iterable[bytes]) -> None:
        """Add."""
        self._names.update(names)
        if len(self._names) > self._budget.limit // 8:
            self._budget.settle()

    def spill(self) -> None:
        """Write what is in memory to disk. Raises OSError."""
        from tempfile import TemporaryFile  # some milliseconds that only a large store spends

        file = TemporaryFile(dir=self._budget.directory)  # noqa: SIM115  # closed when nothing refers to it
        file.write(b"".join(sorted(self._names)))
        self._runs.append(file)
        file.flush()
        self._names = set()

    def __iter__(self) -> Iterator[bytes]:
        """In order, each once."""
        if not self._runs:
            return iter(sorted(self._names))
        return _unique(heapq.merge(sorted(self._names), *(_run(run, self._width) for run in self._runs)))

    def without(self, keys: Iterable[bytes]) -> Iterator[bytes]:
        """Those of `keys` (in order) that are not in the set."""
        if not self._runs:
            names = self._names
            return (key for key in keys if key not in names)
        return _difference(keys, iter(self))


def _run(file: IO[bytes], width: int) -> Iterator[bytes]:
    at = 0
    while block := os.pread(file.fileno(), _READ * width, at):
        yield from (block[start : start + width] for start in range(0, len(block), width))
        at += len(block)


def _unique(ordered: Iterator[bytes]) -> Iterator[bytes]:
    last = b""
    for name in ordered:
        if name != last:
            yield name
            last = name


def _difference(keys: Iterable[bytes], ordered: Iterator[bytes]) -> Iterator[bytes]:
    other = next(ordered, None)
    for key in keys:
        while other is not None and other < key:
            other = next(ordered, None)
        if key != other:
            yield key
