"""What changed between two texts, as hunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from jvs.merge.lines.budget import Budget
from jvs.merge.lines.histogram import Index, match
from jvs.merge.lines.sliding import slide
from jvs.merge.lines.texts import Ids, Table


class Hunk(NamedTuple):
    """Lines a_low to a_high of the old text became lines b_low to b_high of the new one: 0-based, half open."""

    a_low: int
    a_high: int
    b_low: int
    b_high: int


def diff_ids(a: Ids, b: Ids, index: Index | None = None) -> list[Hunk]:
    """The hunks, in order, with an unchanged line between any two. `index` is that of `a`, if it is there already."""
    if a == b:
        return []
    if not a or not b:
        return [Hunk(0, len(a), 0, len(b))]
    budget = Budget.for_lines(len(a) + len(b))
    a_changed, b_changed = match(a, b, Index(a) if index is None else index, budget)
    for lines, changed, others in ((a, a_changed, b_changed), (b, b_changed, a_changed)):
        slide(lines, changed, others, Budget.for_lines(len(lines)))
    return list(_hunks(a_changed, b_changed))


def diff_lines(a: bytes, b: bytes) -> list[Hunk]:
    """The hunks that make `b` of `a`. Lines end with LF; deterministic; the work is bounded by the sizes."""
    table = Table()
    return diff_ids(table.intern(a), table.intern(b))


def _hunks(a_changed: bytearray, b_changed: bytearray) -> Iterable[Hunk]:
    a_at = b_at = 0
    a_size, b_size = len(a_changed), len(b_changed)
    while a_at < a_size or b_at < b_size:
        a_next, b_next = _find(a_changed, 1, a_at), _find(b_changed, 1, b_at)
        same = min(a_next - a_at, b_next - b_at)
        a_at += same
        b_at += same
        a_end, b_end = _find(a_changed, 0, a_at), _find(b_changed, 0, b_at)
        if a_end > a_at or b_end > b_at:
            yield Hunk(a_at, a_end, b_at, b_end)
        a_at, b_at = a_end, b_end


def _find(changed: bytearray, value: int, start: int) -> int:
    found = changed.find(value, start)
    return found if found >= 0 else len(changed)
