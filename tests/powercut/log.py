"""What a disk was told (`device`), and what it may hold after the power went at any moment of that.

A disk with a write cache promises one thing: when it answers a flush, everything it had answered before is durable.
What came after the last flush may be there or not, each write by itself, in any order, and of one write any of its
sectors. (Of two writes to one sector the later one wins if it is there.)
"""

from __future__ import annotations

import os
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.powercut.device import ENTRY, WROTE


class Event(NamedTuple):
    """A write of `data` at `place`, or (data None) a flush."""

    place: int
    data: bytes | None


class Log:
    """The entries that were whole when it was read. `ends`: the size of the file after each."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        self.events: list[Event] = []
        self.ends: list[int] = []
        self._durable = [0]
        at = 0
        while at + ENTRY.size <= len(raw):
            kind, place, length = ENTRY.unpack_from(raw, at)
            at += ENTRY.size + length
            if at > len(raw):
                break
            wrote = kind == WROTE
            self.events.append(Event(place, raw[at - length : at] if wrote else None))
            self.ends.append(at)
            self._durable.append(self._durable[-1] if wrote else len(self.events))

    def index(self, position: int) -> int:
        """How many entries were in the log when its file had `position` bytes."""
        return bisect_right(self.ends, position)

    def durable(self, at: int) -> int:
        """How many of the first `at` entries were certainly on disk then."""
        return self._durable[at]

    def pending(self, at: int) -> Sequence[Event]:
        """The writes among the first `at` entries that no flush followed."""
        return self.events[self._durable[at] : at]


class Cut(NamedTuple):
    """The power goes after `at` entries.

    kept   the chance of each write that was not flushed to be there
    torn   the chance of one that is there to be there in part only
    seed   decides which
    """

    at: int
    kept: float = 1.0
    torn: float = 0.0
    seed: int = 0


class Replay:
    """Makes what the disk may hold after cuts, given in order of `at`.

    base    what it held before the log began, a file
    image   a file to be made, for what was durable at the last cut
    sector  the unit that a disk writes wholly or not at all
    whole   bytes of the disk that it does not tear either
    """

    def __init__(self, log: Log, base: Path, image: Path, sector: int, whole: range) -> None:
        self._log = log
        self._image = os.open(image, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        with open(base, "rb") as file:
            copy_sparsely(file.fileno(), self._image)
        self._sector = sector
        self._whole = whole
        self._done = 0

    def make(self, cut: Cut, target: Path) -> None:
        """Write what the disk may hold after this cut to a new file."""
        durable = self._log.durable(cut.at)
        assert durable >= self._done, "cuts are to be given in order"
        for event in self._log.events[self._done : durable]:
            if event.data is not None:
                os.pwrite(self._image, event.data, event.place)
        self._done = durable
        chance = random.Random(repr(cut))
        with open(target, "wb") as file:
            copy_sparsely(self._image, file.fileno())
            for event in self._log.pending(cut.at):
                assert event.data is not None
                if chance.random() >= cut.kept:
                    continue
                torn = chance.random() < cut.torn
                for part in self._parts(event.place, event.place + len(event.data)):
                    if not torn or chance.random() < 0.5:
                        data = event.data[part.start - event.place : part.stop - event.place]
                        os.pwrite(file.fileno(), data, part.start)

    def _parts(self, start: int, stop: int) -> Iterator[range]:
        """What is written wholly or not at all of a write of these bytes."""
        edges = [at for at in range(start, stop, self._sector) if at == start or at not in self._whole[1:]]
        for at, end in zip(edges, [*edges[1:], stop], strict=True):
            yield range(at, end)

    def close(self) -> None:
        """Close the image."""
        os.close(self._image)


def copy_sparsely(source: int, target: int) -> None:
    """Copy a file into an empty one, holes as holes."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        end = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, at, os.SEEK_SET)
        while at < end:
            at += os.sendfile(target, source, at, end - at)
