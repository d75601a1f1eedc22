"""Sequences of things that have no names, on three sides: which of them are the same."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from jvs.merge.lines.budget import Budget
from jvs.merge.lines.histogram import Index, match


class Chunk(NamedTuple):
    """A stretch of three sequences, half open. same: all three hold equal things there."""

    same: bool
    base: tuple[int, int]
    ours: tuple[int, int]
    theirs: tuple[int, int]


def chunks(base: Sequence[Hashable], ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> list[Chunk]:
    """The three sequences as stretches that are the same everywhere, and what lies between, where some side changed."""
    theirs_of = dict(pairs(base, theirs))
    found: list[Chunk] = []
    start = at = (0, 0, 0)  # from start to at all three are the same
    for here, there in pairs(base, ours):
        other = theirs_of.get(here)
        if other is None:
            continue
        if (here, there, other) != at:
            found += [_chunk(True, start, at), _chunk(False, at, (here, there, other))]
            start = (here, there, other)
        at = (here + 1, there + 1, other + 1)
    found += [_chunk(True, start, at), _chunk(False, at, (len(base), len(ours), len(theirs)))]
    return [chunk for chunk in found if any(low < high for low, high in chunk[1:])]


def pairs(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The places of what is the same in both, by the histogram diff of the line merge; each side's increasing."""
    numbers: dict[Hashable, int] = {}
    a = [numbers.setdefault(one, len(numbers)) for one in old]
    b = [numbers.setdefault(one, len(numbers)) for one in new]
    a_changed, b_changed = match(a, b, Index(a), Budget.for_lines(len(a) + len(b)))
    kept_a = [at for at, changed in enumerate(a_changed) if not changed]
    kept_b = [at for at, changed in enumerate(b_changed) if not changed]
    return list(zip(kept_a, kept_b, strict=True))


def _chunk(same: bool, start: tuple[int, int, int], end: tuple[int, int, int]) -> Chunk:
    return Chunk(same, (start[0], end[0]), (start[1], end[1]), (start[2], end[2]))
