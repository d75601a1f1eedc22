"""Hunks for people, and how alike two texts are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from jvs.merge.lines.hunks import Hunk, diff_ids
from jvs.merge.lines.texts import Table

_NO_LF = b"\\ No newline at end of file\n"


def unified(a: bytes, b: bytes, context: int = 3) -> Iterator[bytes]:
    """The lines of a unified diff from `a` to `b`, each with its LF, without the header that names the files.

    context  unchanged lines to show around a change; hunks nearer to each other than twice that become one
    A last line without LF is followed by the line `patch` and git know it by. Nothing if the texts are equal.
    """
    if context < 0:
        raise ValueError(f"context must not be negative: {context}")
    table = Table()
    old, new = table.intern(a), table.intern(b)
    for group in _groups(diff_ids(old, new), context):
        first, last = group[0], group[-1]
        before = min(context, first.a_low)
        after = min(context, len(old) - last.a_high)
        a_low, a_high = first.a_low - before, last.a_high + after
        b_low, b_high = first.b_low - before, last.b_high + after
        yield b"@@ -%b +%b @@\n" % (_span(a_low, a_high), _span(b_low, b_high))
        at = a_low
        for hunk in group:
            for mark, lines in (
                (b" ", old[at : hunk.a_low]),
                (b"-", old[hunk.a_low : hunk.a_high]),
                (b"+", new[hunk.b_low : hunk.b_high]),
            ):
                for line in lines:
                    yield from _marked(mark, table.line(line))
            at = hunk.a_high
        for line in old[at:a_high]:
            yield from _marked(b" ", table.line(line))


def similarity(a: bytes, b: bytes) -> float:
    """The share of bytes in lines that both have, wherever they stand, from 0.0 to 1.0; symmetric.

    For telling renames: O(size), order does not count. Two empty texts are alike (1.0).
    """
    if a == b:
        return 1.0
    larger = max(len(a), len(b))
    here, there = Counter(a.split(b"\n")), Counter(b.split(b"\n"))
    if len(here) > len(there):
        here, there = there, here
    kept = sum(min(times, there[line]) * (len(line) + 1) for line, times in here.items() if line in there)
    return min(1.0, kept / (larger + 1))


def _groups(hunks: list[Hunk], context: int) -> Iterator[list[Hunk]]:
    group: list[Hunk] = []
    for hunk in hunks:
        if group and hunk.a_low - group[-1].a_high > 2 * context:
            yield group
            group = []
        group.append(hunk)
    if group:
        yield group


def _span(low: int, high: int) -> bytes:
    """A range of lines as a hunk's header counts them: from 1, an empty one by the line before it."""
    size = high - low
    return b"%d" % (low + 1) if size == 1 else b"%d,%d" % (low + 1 if size else low, size)


def _marked(mark: bytes, line: bytes) -> Iterator[bytes]:
    if line.endswith(b"\n"):
        yield mark + line
    else:
        yield mark + line + b"\n"
        yield _NO_LF
