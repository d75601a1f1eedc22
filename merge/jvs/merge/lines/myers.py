"""Myers' diff with the shortcuts of GNU diff and git, for ranges whose common lines are all too common to anchor at.

Eugene W. Myers, "An O(ND) Difference Algorithm and Its Variations", with the linear-space bisection. The shortcuts
(lines left out beforehand, giving up on the shortest script) are heuristics that decide which of several scripts comes
out, so they follow git's. They also bound the work: the cost of one bisection is at most `_cost_limit` squared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isqrt
from operator import itemgetter
from typing import Final, NamedTuple

from jvs.merge.lines.budget import Budget
from jvs.merge.lines.coarse import WINDOWS, coarse_runs
from jvs.merge.lines.texts import Ids

_LIMIT_AT_LEAST: Final = 256
_SNAKE: Final = 20
"""A run of this many equal lines is worth cutting at early."""
_FAR: Final = 4
"""Early only where the path has come this many times as far as it has cost."""
_COMMON_AT_MOST: Final = 1024
_WINDOW: Final = 100
_LARGE: Final = 20_000
_STEPS_FOR_LARGE: Final = 65_536
_SHARE: Final = 4
_KEEP, _DROP, _MAYBE = 1, 0, 2


class Box(NamedTuple):
    """A range of the old text and one of the new: half open."""

    a_low: int
    a_high: int
    b_low: int
    b_high: int


class _Cut(NamedTuple):
    """Where to bisect, and for which halves the shortest script is still wanted."""

    x: int
    y: int
    exact_before: bool
    exact_after: bool


def match_by_myers(a: Ids, b: Ids, box: Box, a_changed: bytearray, b_changed: bytearray, budget: Budget) -> None:
    """Set to 0 in `a_changed` and `b_changed` what has a partner within the box; all of it is 1 before."""
    if not _is_large(box):
        _match(a, b, box, a_changed, b_changed, budget, coarsely=True)
        return
    # The search would take long for it, and stop somewhere anyway: anchor at windows of lines, search between them.
    runs = coarse_runs(a[box.a_low : box.a_high], b[box.b_low : box.b_high], WINDOWS[1:])
    x_done, y_done = box.a_low, box.b_low
    for x, y, size in [*runs, (box.a_high - box.a_low, box.b_high - box.b_low, 0)]:
        x_low, y_low = box.a_low + x, box.b_low + y
        gap = Box(x_done, x_low, y_done, y_low)
        spare = Budget(min(budget.steps, _STEPS_FOR_LARGE)) if _is_large(gap) else budget
        _match(a, b, gap, a_changed, b_changed, spare, coarsely=False)
        x_done, y_done = x_low + size, y_low + size
        a_changed[x_low:x_done] = b_changed[y_low:y_done] = bytes(size)


def _is_large(box: Box) -> bool:
    return box.a_high - box.a_low + box.b_high - box.b_low > _LARGE


def _match(
    a: Ids, b: Ids, box: Box, a_changed: bytearray, b_changed: bytearray, budget: Budget, *, coarsely: bool
) -> None:
    """The search; `coarsely`: whether to look for anchors in what is left when the budget is gone."""
    a_low, a_high, b_low, b_high = box
    a_count, b_count = Counter(a[a_low:a_high]), Counter(b[b_low:b_high])
    a_often, b_often = _often(a_high - a_low), _often(b_high - b_low)
    while a_low < a_high and b_low < b_high and a[a_low] == b[b_low]:
        a_changed[a_low] = b_changed[b_low] = 0
        a_low += 1
        b_low += 1
    while a_low < a_high and b_low < b_high and a[a_high - 1] == b[b_high - 1]:
        a_high -= 1
        b_high -= 1
        a_changed[a_high] = b_changed[b_high] = 0
    a_places = _worth_comparing(a, a_low, a_high, b_count, a_often)
    b_places = _worth_comparing(b, b_low, b_high, a_count, b_often)
    search = _Search(_pick(a, a_places), _pick(b, b_places), budget, coarsely=coarsely)
    for x, y, size in search.pairs():
        for changed, places in ((a_changed, a_places[x : x + size]), (b_changed, b_places[y : y + size])):
            if places[-1] - places[0] == size - 1:
                changed[places[0] : places[-1] + 1] = bytes(size)
            else:
                for at in places:
                    changed[at] = 0


def _pick(lines: Ids, places: Sequence[int]) -> Ids:
    return lines[places.start : places.stop] if isinstance(places, range) else [lines[at] for at in places]


def _root(number: int) -> int:
    """A power of two near the square root."""
    return 1 << ((number.bit_length() + 1) // 2)


def _often(lines: int) -> int:
    return min(_root(lines), _COMMON_AT_MOST)


def _worth_comparing(lines: Ids, low: int, high: int, others: Counter[int], often: int) -> Sequence[int]:
    """The places of the lines to compare: not those the other side lacks, nor common ones in the midst of those."""
    kinds = bytearray(high - low)
    for at, line in enumerate(lines[low:high]):
        seen = others.get(line, 0)
        kinds[at] = _DROP if seen == 0 else _MAYBE if seen >= often else _KEEP
    if _DROP not in kinds:
        return range(low, high)
    return [
        low + at for at, kind in enumerate(kinds) if kind == _KEEP or (kind == _MAYBE and not _among_dropped(kinds, at))
    ]


def _among_dropped(kinds: bytearray, at: int) -> bool:
    """Whether lines that the other side lacks stand on both sides of this one, and most of what is not kept is such."""
    low, high = max(0, at - _WINDOW), min(len(kinds), at + _WINDOW + 1)
    first = max(low, kinds.rfind(_KEEP, low, at) + 1)
    end = kinds.find(_KEEP, at + 1, high)
    last = end if end >= 0 else high
    before, after = kinds.count(_DROP, first, at), kinds.count(_DROP, at + 1, last)
    if not before or not after:
        return False
    unkept = last - first + 1  # this one is counted on both sides
    return (unkept - before - after) * _SHARE < unkept


class _Search:
    """The bisection over two sequences."""

    def __init__(self, a: Ids, b: Ids, budget: Budget, *, coarsely: bool) -> None:
        self._coarsely = coarsely
        self._a = a
        self._b = b
        diagonals = len(a) + len(b) + 3
        self._limit = max(_root(diagonals), _LIMIT_AT_LEAST)
        # Indexed by the diagonal x - y, which runs from -len(b)-1 to len(a)+1: negative ones count from the end.
        self._forth = [0] * diagonals
        self._back = [0] * diagonals
        self._budget = budget

    def pairs(self) -> list[tuple[int, int, int]]:
        """Equal stretches, as (where in a, where in b, length)."""
        a, b = self._a, self._b
        found: list[tuple[int, int, int]] = []
        todo = [(0, len(a), 0, len(b), False)]
        while todo:
            x, x_end, y, y_end, exact = todo.pop()
            start = x
            while x < x_end and y < y_end and a[x] == b[y]:
                x += 1
                y += 1
            if x > start:
                found.append((start, y - (x - start), x - start))
            end = x_end
            while x < x_end and y < y_end and a[x_end - 1] == b[y_end - 1]:
                x_end -= 1
                y_end -= 1
            if x_end < end:
                found.append((x_end, y_end, end - x_end))
            if x == x_end or y == y_end:
                continue
            if self._budget.gone:
                if not self._coarsely:
                    break
                found += [(x + at, y + to, size) for at, to, size in coarse_runs(a[x:x_end], b[y:y_end])]
                continue
            cut = self._bisect(x, x_end, y, y_end, exact)
            todo.append((cut.x, x_end, cut.y, y_end, cut.exact_after))
            todo.append((x, cut.x, y, cut.y, cut.exact_before))
        return found

    def _bisect(self, x_low: int, x_high: int, y_low: int, y_high: int, exact: bool) -> _Cut:
        """Search from both corners at once until the paths meet, or one is good enough."""
        a, b, forth, back = self._a, self._b, self._forth, self._back
        lowest, highest = x_low - y_high, x_high - y_low
        forth_from, back_from = x_low - y_low, x_high - y_high
        odd = (forth_from - back_from) & 1
        f_min = f_max = forth_from
        b_min = b_max = back_from
        forth[forth_from], back[back_from] = x_low, x_high
        beyond = len(a) + len(b) + 3
        cost = walked = 0
        limit = min(self._limit, isqrt(self._budget.steps))
        while True:
            cost += 1
            snake = False
            if f_min > lowest:
                f_min -= 1
                forth[f_min - 1] = -1
            else:
                f_min += 1
            if f_max < highest:
                f_max += 1
                forth[f_max + 1] = -1
            else:
                f_max -= 1
            for diagonal in range(f_max, f_min - 1, -2):
                below, above = forth[diagonal - 1], forth[diagonal + 1]
                x = below + 1 if below >= above else above
                start = x
                y = x - diagonal
                while x < x_high and y < y_high and a[x] == b[y]:
                    x += 1
                    y += 1
                if x - start > _SNAKE:
                    snake = True
                    walked += x - start
                forth[diagonal] = x
                if odd and b_min <= diagonal <= b_max and back[diagonal] <= x:
                    return self._paid(cost * cost + walked, _Cut(x, y, True, True))
            if b_min > lowest:
                b_min -= 1
                back[b_min - 1] = beyond
            else:
                b_min += 1
            if b_max < highest:
                b_max += 1
                back[b_max + 1] = beyond
            else:
                b_max -= 1
            for diagonal in range(b_max, b_min - 1, -2):
                below, above = back[diagonal - 1], back[diagonal + 1]
                x = below if below < above else above - 1
                start = x
                y = x - diagonal
                while x > x_low and y > y_low and a[x - 1] == b[y - 1]:
                    x -= 1
                    y -= 1
                if start - x > _SNAKE:
                    snake = True
                    walked += start - x
                back[diagonal] = x
                if not odd and f_min <= diagonal <= f_max and x <= forth[diagonal]:
                    return self._paid(cost * cost + walked, _Cut(x, y, True, True))
            if exact:
                continue
            if snake and cost > _LIMIT_AT_LEAST:
                ahead = self._far_ahead(x_low, x_high, y_low, y_high, range(f_max, f_min - 1, -2), forth_from, cost)
                if ahead is not None:
                    return self._paid(cost * cost + walked, _Cut(*ahead, True, False))
                behind = self._far_behind(x_low, x_high, y_low, y_high, range(b_max, b_min - 1, -2), back_from, cost)
                if behind is not None:
                    return self._paid(cost * cost + walked, _Cut(*behind, False, True))
            if cost >= limit:
                furthest = max(
                    (self._reached(d, x_high, y_high) for d in range(f_max, f_min - 1, -2)), key=itemgetter(0)
                )
                nearest = min(
                    (self._reached_back(d, x_low, y_low) for d in range(b_max, b_min - 1, -2)), key=itemgetter(0)
                )
                if x_high + y_high - nearest[0] < furthest[0] - (x_low + y_low):
                    return self._paid(cost * cost + walked, _Cut(furthest[1], furthest[0] - furthest[1], True, False))
                return self._paid(cost * cost + walked, _Cut(nearest[1], nearest[0] - nearest[1], False, True))

    def _paid(self, steps: int, cut: _Cut) -> _Cut:
        self._budget.spend(steps)
        return cut

    def _reached(self, diagonal: int, x_high: int, y_high: int) -> tuple[int, int]:
        x = min(self._forth[diagonal], x_high)
        y = x - diagonal
        if y > y_high:
            x, y = y_high + diagonal, y_high
        return x + y, x

    def _reached_back(self, diagonal: int, x_low: int, y_low: int) -> tuple[int, int]:
        x = max(self._back[diagonal], x_low)
        y = x - diagonal
        if y < y_low:
            x, y = y_low + diagonal, y_low
        return x + y, x

    def _far_ahead(
        self, x_low: int, x_high: int, y_low: int, y_high: int, diagonals: range, start: int, cost: int
    ) -> tuple[int, int] | None:
        """The end of the snake that came furthest from the first corner, if one came far."""
        best, found = 0, None
        for diagonal in diagonals:
            x = self._forth[diagonal]
            y = x - diagonal
            way = (x - x_low) + (y - y_low) - abs(diagonal - start)
            if way <= _FAR * cost or way <= best:
                continue
            inside = x_low + _SNAKE <= x < x_high and y_low + _SNAKE <= y < y_high
            if inside and self._a[x - _SNAKE : x] == self._b[y - _SNAKE : y]:
                best, found = way, (x, y)
        return found

    def _far_behind(
        self, x_low: int, x_high: int, y_low: int, y_high: int, diagonals: range, start: int, cost: int
    ) -> tuple[int, int] | None:
        """The same from the last corner."""
        best, found = 0, None
        for diagonal in diagonals:
            x = self._back[diagonal]
            y = x - diagonal
            way = (x_high - x) + (y_high - y) - abs(diagonal - start)
            if way <= _FAR * cost or way <= best:
                continue
            inside = x_low < x <= x_high - _SNAKE and y_low < y <= y_high - _SNAKE
            if inside and self._a[x : x + _SNAKE] == self._b[y : y + _SNAKE]:
                best, found = way, (x, y)
        return found
