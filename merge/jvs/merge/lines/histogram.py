"""Histogram diff: anchor at the longest common run around the rarest lines, then do the same on both sides of it.

The idea is Shawn Pearce's (JGit). Which of several possible runs is taken follows git, because a merge is trusted when
it says what git says. What makes it fast here: one index says where lines of the old text stand in any range (git
counts again for each), runs are followed by comparing slices, and a range only looks again at what could still match
in it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

from jvs.merge.lines.budget import Budget
from jvs.merge.lines.coarse import coarse_runs
from jvs.merge.lines.myers import Box, match_by_myers
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
            return 1 if low <= self.single.get(line, -1) < high else 0
        return bisect_left(places, high) - bisect_left(places, low)


class _Spans(NamedTuple):
    """Places of the new text where something could match: half open, in order, apart from one another."""

    starts: list[int]
    ends: list[int]

    def before(self, place: int) -> _Spans:
        count = bisect_left(self.starts, place)
        return _Spans(self.starts[:count], self.ends[:count])

    def after(self, place: int) -> _Spans:
        first = bisect_right(self.ends, place)
        return _Spans(self.starts[first:], self.ends[first:])


def match(a: Ids, b: Ids, index: Index, budget: Budget) -> tuple[bytearray, bytearray]:
    """For each line of `a` and of `b`: 1 when it changed, 0 when it has a partner. `index` is that of `a`."""
    a_changed, b_changed = bytearray(b"\1") * len(a), bytearray(b"\1") * len(b)
    search = _Search(a, b, index, budget)
    todo = [(Box(0, len(a), 0, len(b)), _Spans([0], [len(b)]))]
    while todo:
        box, spans = todo.pop()
        if box.a_low == box.a_high or not spans.starts:
            continue
        if budget.gone:
            part, other = a[box.a_low : box.a_high], b[box.b_low : box.b_high]
            for x, y, size in coarse_runs(part, other):
                a_changed[box.a_low + x : box.a_low + x + size] = bytes(size)
                b_changed[box.b_low + y : box.b_low + y + size] = bytes(size)
            continue
        run, spans = search.best_run(box, spans)
        if run is None:
            match_by_myers(a, b, box, a_changed, b_changed, budget)
        elif run.a_high > run.a_low:
            size = run.a_high - run.a_low
            a_changed[run.a_low : run.a_high] = b_changed[run.b_low : run.b_high] = bytes(size)
            todo.append((Box(run.a_high, box.a_high, run.b_high, box.b_high), spans.after(run.b_high)))
            todo.append((Box(box.a_low, run.a_low, box.b_low, run.b_low), spans.before(run.b_low)))
    return a_changed, b_changed


class _Search:
    """Finds where to anchor."""

    def __init__(self, a: Ids, b: Ids, index: Index, budget: Budget) -> None:
        self._a = a
        self._b = b
        self._index = index
        self._budget = budget
        self._runs: dict[int, int] = {}  # how long the run is from a place of b with a line that stands once in a

    def best_run(self, box: Box, spans: _Spans) -> tuple[Box | None, _Spans]:
        """The common run to anchor at; an empty one if the ranges share no line; None if all they share is too common.

        Of runs whose rarest lines are equally rare the longest, of equally long ones the first in `b`. Also the places
        to look at in any box within this one.
        """
        a, b = self._a, self._b
        a_low, a_high, b_low, b_high = box
        single, many = self._index.single.get, self._index.many.get
        best = Box(a_low, a_low, b_low, b_low)
        longest = 0
        rarest = _COMMONEST + 1
        common = False
        steps = 0
        too_many: set[int] = set()
        starts: list[int] = []
        ends: list[int] = []
        at = b_low
        for start, end in zip(*spans, strict=True):
            at = max(at, start)
            end = min(end, b_high)
            while at < end:
                steps += 1
                line = b[at]
                place = single(line)
                if place is not None:
                    if a_low <= place < a_high:
                        common = True
                        length = self._run(place, at)
                        a_end = min(place + length, a_high, place + b_high - at)
                        a_start = place
                        shift = at - place
                        while a_start > a_low and a_start + shift > b_low and a[a_start - 1] == b[a_start + shift - 1]:
                            a_start -= 1
                            steps += 1
                        if a_end - a_start > longest or rarest > 1:
                            best = Box(a_start, a_end, a_start + shift, a_end + shift)
                            longest, rarest = a_end - a_start, 1
                        starts.append(at)
                        at = a_end + shift
                        ends.append(at)
                    else:
                        at += 1
                    continue
                everywhere = many(line)
                if everywhere is None:
                    at += 1
                    continue
                following = at + 1
                if line not in too_many:
                    first = bisect_left(everywhere, a_low)
                    last = bisect_left(everywhere, a_high, first)
                    occurs = last - first
                    if occurs == 0:
                        at += 1
                        continue
                    common = True
                    if occurs > rarest:
                        too_many.add(line)
                        first = last
                    a_end = -1
                    for place in everywhere[first:last]:
                        if place < a_end:  # inside the run before
                            continue
                        found, rare, walked = self._around(place, at, box, occurs)
                        steps += walked
                        a_end = found.a_high
                        following = max(following, found.b_high)
                        if a_end - found.a_low > longest or rare < rarest:
                            best, longest, rarest = found, a_end - found.a_low, rare
                if ends and ends[-1] == at:
                    ends[-1] = following
                else:
                    starts.append(at)
                    ends.append(following)
                at = following
        self._budget.spend(steps)
        return None if common and rarest > _COMMONEST else best, _Spans(starts, ends)

    def _run(self, a_at: int, b_at: int) -> int:
        length = self._runs.get(b_at)
        if length is None:
            a, b = self._a, self._b
            length = self._runs[b_at] = common_head(a, b, a_at, min(len(a), a_at + len(b) - b_at), b_at)
        return length

    def _around(self, place: int, at: int, box: Box, occurs: int) -> tuple[Box, int, int]:
        """The run within the box through these two equal lines, how often its rarest line occurs, the steps taken."""
        a, b, count = self._a, self._b, self._index.count
        a_low, a_high, b_low, b_high = box
        a_start, shift, rare = place, at - place, occurs
        while a_start > a_low and a_start + shift > b_low and a[a_start - 1] == b[a_start + shift - 1]:
            a_start -= 1
            if rare > 1:
                rare = min(rare, count(a[a_start], a_low, a_high))
        inner = place + 1
        a_end = inner + common_head(a, b, inner, min(a_high, b_high - shift), at + 1)
        while rare > 1 and inner < a_end:
            rare = min(rare, count(a[inner], a_low, a_high))
            inner += 1
        return Box(a_start, a_end, a_start + shift, a_end + shift), rare, inner - a_start


def common_head(a: Ids, b: Ids, a_low: int, a_high: int, b_low: int) -> int:
    """How many lines of `a[a_low:a_high]` stand at `b_low` too, from the start. Slices are compared at C speed."""
    near = min(a_high, a_low + 4)
    at, shift = a_low, b_low - a_low
    while at < near and a[at] == b[at + shift]:
        at += 1
    if at < near:
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
