"""Histogram diff: anchor at the longest common run around the rarest lines, then do the same on both sides of it.

The idea is Shawn Pearce's (JGit); which of several possible runs is taken follows git, because a merge is trusted
when it says what git says. Two things make it fast here: where the lines of the old text stand is looked up in one
index for all ranges (git counts again for each range), and runs are followed by comparing slices.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

from jvs.merge.lines.budget import Budget
from jvs.merge.lines.myers import match_by_myers
from jvs.merge.lines.texts import Ids

_COMMONEST: Final = 64
"""A line that stands in a range more often than this is no anchor (git: the chain length)."""


class Index:
    """Where each line of a text stands."""

    __slots__ = ("many", "single")

    def __init__(self, lines: Ids) -> None:
        single = dict(zip(lines, range(len(lines)), strict=True))
        many: dict[int, list[int]] = {}
        if len(single) != len(lines):
            for at, line in enumerate(lines):
                if single[line] != at:
                    many.setdefault(line, []).append(at)
            for line, places in many.items():
                places.append(single.pop(line))
        self.single = single
        """Of lines that stand there once."""
        self.many = many
        """Of all others, in order."""

    def count(self, line: int, low: int, high: int) -> int:
        """How often `line` stands in the range."""
        places = self.many.get(line)
        if places is None:
            at = self.single.get(line, -1)
            return 1 if low <= at < high else 0
        return bisect_left(places, high) - bisect_left(places, low)


class Box(NamedTuple):
    """A range of the old text and one of the new: half open."""

    a_low: int
    a_high: int
    b_low: int
    b_high: int


def match(a: Ids, b: Ids, index: Index, budget: Budget) -> tuple[bytearray, bytearray]:
    """For each line of `a` and of `b`: 1 when it changed, 0 when it has a partner. `index` is that of `a`."""
    a_changed, b_changed = bytearray(b"\1") * len(a), bytearray(b"\1") * len(b)
    todo = [Box(0, len(a), 0, len(b))]
    while todo:
        box = todo.pop()
        if box.a_low == box.a_high or box.b_low == box.b_high:
            continue
        run = _best_run(a, b, index, box, budget)
        if run is None:
            match_by_myers(a, b, box, a_changed, b_changed, budget)
        elif run.a_high > run.a_low:
            size = run.a_high - run.a_low
            a_changed[run.a_low : run.a_high] = b_changed[run.b_low : run.b_high] = bytes(size)
            todo.append(Box(run.a_high, box.a_high, run.b_high, box.b_high))
            todo.append(Box(box.a_low, run.a_low, box.b_low, run.b_low))
    return a_changed, b_changed


def _best_run(a: Ids, b: Ids, index: Index, box: Box, budget: Budget) -> Box | None:
    """The common run to anchor at; an empty one if the ranges share no line; None if all they share is too common.

    Of runs whose rarest lines are equally rare the longest, of equally long ones the first in `b`.
    """
    a_low, a_high, b_low, b_high = box
    single, many = index.single.get, index.many.get
    best = Box(a_low, a_low, b_low, b_low)
    longest = 1  # a run of one line must be rare to count
    rarest = _COMMONEST + 1
    common = False
    steps = 0
    at = b_low
    while at < b_high:
        steps += 1
        line = b[at]
        place = single(line)
        if place is not None:
            if not a_low <= place < a_high:
                at += 1
                continue
            places: tuple[int, ...] | list[int] = (place,)
            occurs = 1
        else:
            everywhere = many(line)
            if everywhere is None:
                at += 1
                continue
            first = bisect_left(everywhere, a_low)
            last = bisect_left(everywhere, a_high, first)
            occurs = last - first
            if occurs == 0:
                at += 1
                continue
            if occurs > rarest:
                common = True
                at += 1
                continue
            places = everywhere[first:last]
        common = True
        following = at + 1
        a_end = -1
        for place in places:
            if place < a_end:  # inside the run before
                continue
            a_start, b_start, rare = place, at, occurs
            while a_start > a_low and b_start > b_low and a[a_start - 1] == b[b_start - 1]:
                a_start -= 1
                b_start -= 1
                steps += 1
                if rare > 1:
                    rare = min(rare, index.count(a[a_start], a_low, a_high))
            length = _common_head(a, b, place + 1, min(a_high, place + b_high - at), at + 1)
            a_end = place + 1 + length
            b_end = at + 1 + length
            steps += 1
            inner = place + 1
            while rare > 1 and inner < a_end:
                rare = min(rare, index.count(a[inner], a_low, a_high))
                inner += 1
                steps += 1
            following = max(following, b_end)
            if a_end - a_start > longest or rare < rarest:
                best = Box(a_start, a_end, b_start, b_end)
                longest, rarest = a_end - a_start, rare
        at = following
    budget.spend(steps)
    if common and rarest > _COMMONEST:
        return None
    return best


def _common_head(a: Ids, b: Ids, a_low: int, a_high: int, b_low: int) -> int:
    """How many lines of `a[a_low:a_high]` stand at `b_low` too, from the start. Slices are compared at C speed."""
    near = min(a_high, a_low + 4)
    at, shift = a_low, b_low - a_low
    while at < near and a[at] == b[at + shift]:
        at += 1
    if at < near or at == a_high:
        return at - a_low
    size = 16
    while at < a_high:
        end = min(at + size, a_high)
        if a[at:end] == b[at + shift : end + shift]:
            at = end
            size *= 2
        elif end - at <= 4:
            while a[at] == b[at + shift]:
                at += 1
            break
        else:
            size = (end - at) // 2
            a_high = end
    return at - a_low
