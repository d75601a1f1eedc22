"""Comparing in almost linear time, where comparing well would cost too much: anchors, and what is equal around them.

An anchor is a window of lines that stands once on either side; the longest row of anchors in the same order on both is
kept (the idea of Bram Cohen's patience diff). Windows of one line first, then of more where no line is unique.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from jvs.merge.lines.texts import Ids

Run: TypeAlias = tuple[int, int, int]
"""Equal lines: from where in a, from where in b, how many."""

WINDOWS: Final = (1, 8, 40)


def coarse_runs(a: Ids, b: Ids, windows: Sequence[int] = WINDOWS) -> list[Run]:
    """Runs in order, apart from one another; not the most there are. The first of `windows` that finds any decides."""
    anchors: list[tuple[int, int]] = []
    for size in windows:
        anchors = _longest_row(_common_lines(a, b) if size == 1 else _common_windows(a, b, size))
        if anchors:
            break
    runs: list[Run] = []
    x_free = y_free = 0
    for x, y in [(0, 0), *anchors, (len(a), len(b))]:
        if x < x_free or y < y_free:  # inside the last run
            continue
        while x > x_free and y > y_free and a[x - 1] == b[y - 1]:
            x -= 1
            y -= 1
        end, shift = x, y - x
        while end < len(a) and end + shift < len(b) and a[end] == b[end + shift]:
            end += 1
        if end > x:
            runs.append((x, y, end - x))
            x_free, y_free = end, end + shift
    return runs


def _common_lines(a: Ids, b: Ids) -> list[tuple[int, int]]:
    """Where lines stand that each side has once, in the order of `a`."""
    here, there = _once(a), _once(b)
    return [(x, there[line]) for line, x in here.items() if line in there]


def _once(lines: Ids) -> dict[int, int]:
    last = dict(zip(lines, range(len(lines)), strict=True))
    if len(last) == len(lines):
        return last
    repeated = {line for at, line in enumerate(lines) if last[line] != at}
    return {line: at for at, line in enumerate(lines) if line not in repeated}


def _common_windows(a: Ids, b: Ids, size: int) -> list[tuple[int, int]]:
    """The same for windows of `size` lines, of which only every so many-th of `a` is tried, to save memory."""
    here, there = array("L", a), array("L", b)
    width = size * here.itemsize
    in_a: dict[bytes, list[int]] = {window: [] for window in _windows(here, width, width)}
    in_b: dict[bytes, list[int]] = {window: [] for window in in_a}
    for lines, found in ((here, in_a), (there, in_b)):
        for at, window in enumerate(_windows(lines, width, lines.itemsize)):
            seen = found.get(window)
            if seen is not None and len(seen) < 2:
                seen.append(at)
    return [(x[0], y[0]) for x, y in zip(in_a.values(), in_b.values(), strict=True) if len(x) == len(y) == 1]


def _windows(lines: array[int], width: int, step: int) -> Iterator[bytes]:
    """All windows of `width` bytes, `step` bytes apart."""
    data = lines.tobytes()
    return (data[at : at + width] for at in range(0, len(data) - width + 1, step))


def _longest_row(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence of pairs, which rise in x, that rises in y too."""
    ends: list[int] = []  # the least y that a row of each length ends with
    which: list[int] = []
    before: list[int] = []
    for number, (_, y) in enumerate(pairs):
        length = bisect_left(ends, y)
        before.append(which[length - 1] if length else -1)
        if length == len(ends):
            ends.append(y)
            which.append(number)
        else:
            ends[length] = y
            which[length] = number
    row: list[tuple[int, int]] = []
    number = which[-1] if which else -1
    while number >= 0:
        row.append(pairs[number])
        number = before[number]
    return row[::-1]
