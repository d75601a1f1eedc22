"""Listings of directories: what an open directory holds, and how much an answer says of it."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from struct import Struct
from typing import Final

from jvs.overlay.fuse import protocol as p
from jvs.overlay.fuse.views import Entry

_WATCHED: Final = 64
"""Directories of which it is remembered that they were listed."""
_CURIOUS: Final = 2
"""Files that may be looked up in one before that is taken for a habit."""
_RECORDS: Final = [Struct(f"{p.DIRENT.format}{length + 7 & ~7}s").pack for length in range(256)]
"""Makes the record of a name of so many bytes, padded as it must be."""


class Listing:
    """An open directory: what it had when it was last read from the beginning.

    records  each entry as the answer to a READDIR has it, with the place of the next one
    ends     where each record ends, were they all written one after the other
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.records: list[bytes] = []
        self.ends: list[int] = []

    def fill(self, entries: list[Entry]) -> None:
        """Begin anew."""
        self.entries = entries
        self.records = [
            _RECORDS[len(name)](ino, place, len(name), kind >> 12, name)
            for place, (name, kind, ino) in enumerate(entries, 1)
        ]
        self.ends = list(accumulate(map(len, self.records)))

    def fitting(self, start: int, size: int, more: int) -> int:
        """Up to where the records from `start` on, and so many bytes more with each, fit into an answer."""
        ends = self.ends
        size += ends[start - 1] + more * start if start else 0
        return bisect_right(range(len(ends)), size, lo=start, key=lambda place: ends[place] + more * (place + 1))


class Foresight:
    """Whether whoever lists a directory will look at what is in it: then the listing had better name all of it, which
    saves as many requests, and costs four times as much as one that does not. Told by what happened after the listings
    before."""

    def __init__(self) -> None:
        self._expected = 0
        self._watched: dict[int, int] = {}

    def listing(self, number: int) -> bool:
        """A directory is listed from its beginning: whether to name what is in it."""
        if self._expected:
            self._expected -= 1
            return True
        if len(self._watched) >= _WATCHED:
            self._watched.clear()
        self._watched[number] = 0
        return False

    def looked(self, number: int) -> None:
        """Something that is no directory was looked up in one."""
        seen = self._watched.get(number)
        if seen is None:
            return
        if seen < _CURIOUS:
            self._watched[number] = seen + 1
        else:
            del self._watched[number]
            self._expected = _WATCHED
