"""Extents: which bytes of a file lie in the upper layer, as sorted, disjoint, non-touching ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Extents:
    """A set of byte offsets kept as ranges [start, end). Cost: O(log ranges) to look, O(ranges) to change."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Put [start, end) in (nothing, when it is empty)."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)  # ranges that only touch are joined as well
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def clip(self, size: int) -> None:
        """Take out everything at or after `size`."""
        keep = bisect_left(self._starts, size)
        del self._starts[keep:], self._ends[keep:]
        if keep and self._ends[-1] > size:
            self._ends[-1] = size

    def split(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """[start, end) in pieces, in order: (start, end, whether it is in here)."""
        number = bisect_right(self._ends, start)
        while start < end:
            if number == len(self._starts) or self._starts[number] >= end:
                yield start, end, False
                return
            if start < self._starts[number]:
                yield start, self._starts[number], False
                start = self._starts[number]
            upto = min(end, self._ends[number])
            yield start, upto, True
            start = upto
            number += 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    def copy(self) -> Extents:
        """The same ranges, apart from these."""
        other = Extents()
        other._starts = self._starts.copy()
        other._ends = self._ends.copy()
        return other
