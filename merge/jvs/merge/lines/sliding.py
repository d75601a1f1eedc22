"""Moving groups of changed lines to where they say most: a group may begin earlier or later when lines repeat.

Of the texts `{ a } { b }` and `{ a } { c } { b }` it is as true that `{ c }` was put in as that `c } {` was. Which is
said decides what touches what in a merge, so all diffs must say it the same way, and the way is git's: join groups that
can be joined, line up with a change of the other text if one is in reach, else as late as possible.
"""

from __future__ import annotations

from jvs.merge.lines.budget import Budget
from jvs.merge.lines.texts import Ids


def slide(lines: Ids, changed: bytearray, others: bytearray, budget: Budget) -> None:
    """Move the groups of ones in `changed`, the changed lines of `lines`; `others` are those of the other text.

    A group of the other text stands at the same place when as many unchanged lines come before it.
    """
    other = _Cursor(others)
    end = 0
    start = changed.find(1)
    while start >= 0 and not budget.gone:
        other.forward(start - end)
        end = _end_of(changed, start)
        start, end = _slide_group(lines, changed, start, end, other, budget)
        start = changed.find(1, end)


def _end_of(changed: bytearray, start: int) -> int:
    end = changed.find(0, start)
    return end if end >= 0 else len(changed)


class _Cursor:
    """A gap between two unchanged lines, with the changed lines in it: half open, often empty."""

    __slots__ = ("changed", "end", "start")

    def __init__(self, changed: bytearray) -> None:
        self.changed = changed
        self.start = 0
        self.end = _end_of(changed, 0)

    def forward(self, lines: int) -> None:
        """Past so many unchanged lines."""
        while lines:
            following = self.changed.find(1, self.end)
            run = (following if following >= 0 else len(self.changed)) - self.end
            if lines < run or following < 0:
                self.start = self.end = self.end + lines
                return
            lines -= run
            self.start = following
            self.end = _end_of(self.changed, following)

    def back(self) -> None:
        """Past one unchanged line."""
        self.end = self.start - 1
        self.start = self.changed.rfind(0, 0, self.end) + 1

    @property
    def empty(self) -> bool:
        return self.start == self.end


def _slide_group(
    lines: Ids, changed: bytearray, start: int, end: int, other: _Cursor, budget: Budget
) -> tuple[int, int]:
    """Where the group went; it may have joined others."""
    total = len(lines)
    steps = 0
    while True:
        size = end - start
        while start > 0 and lines[start - 1] == lines[end - 1]:
            start -= 1
            end -= 1
            changed[start], changed[end] = 1, 0
            if start > 0 and changed[start - 1]:
                start = changed.rfind(0, 0, start) + 1
            other.back()
            steps += 1
        earliest = end
        aligned = -1 if other.empty else end
        while end < total and lines[start] == lines[end]:
            changed[start], changed[end] = 0, 1
            start += 1
            end += 1
            if end < total and changed[end]:
                end = _end_of(changed, end)
            other.forward(1)
            if not other.empty:
                aligned = end
            steps += 1
        if end - start == size:
            break
    if end != earliest and aligned >= 0:
        while other.empty:
            start -= 1
            end -= 1
            changed[start], changed[end] = 1, 0
            other.back()
            steps += 1
    budget.spend(steps)
    return start, end
