"""Durations as people type them: `30d`, `12h`, `1y`, `1d12h`, `0`.

A unit is a fixed length of time, so the same text always means the same number of milliseconds: a month (`mo`) is
30 days and a year (`y`) 365. `m` alone is refused, since it means minutes to one half of the world and months to the
other.
"""

from __future__ import annotations

import re
from typing import Final

from jvs.errors import UsageError

UNITS: Final = {
    "y": 365 * 86_400_000,
    "mo": 30 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "min": 60_000,
    "s": 1_000,
    "ms": 1,
}
"""Milliseconds in each unit, the longest first."""

MAX_DURATION: Final = 1_000 * UNITS["y"]
"""Longest duration, in ms: what is meant by more is `keep-all`."""

_PIECE = re.compile(r"([0-9]{1,12})([a-z]+)", re.ASCII)
_MOST_PIECES = len(UNITS)
_MOST_CHARACTERS = 80
_SHOWN_IN = ("y", "d", "h", "min", "s", "ms")  # weeks and months read worse than days


def parse_duration(text: str) -> int:
    """The milliseconds in `text`. Raises UsageError (bad-duration)."""
    if text == "0":
        return 0
    pieces = _PIECE.findall(text) if len(text) <= _MOST_CHARACTERS else []
    if not pieces or len(pieces) > _MOST_PIECES or "".join(map("".join, pieces)) != text:
        raise _malformed(text, "a duration is a number and a unit")
    units = [unit for _amount, unit in pieces]
    if "m" in units:
        raise _malformed(text, "m could be minutes (min) or months (mo)")
    if [unit for unit in units if unit not in UNITS] or len(set(units)) != len(units):
        raise _malformed(text, f"the units are {', '.join(UNITS)}, each at most once")
    total = sum(int(amount) * UNITS[unit] for amount, unit in pieces)
    if total > MAX_DURATION:
        raise _malformed(text, f"at most {duration_text(MAX_DURATION)} is a duration")
    return total


def duration_text(milliseconds: int) -> str:
    """What `parse_duration` turns into `milliseconds` again, in the longest units that fit: `30d`, `1d12h`, `0`."""
    pieces, rest = [], milliseconds
    for unit in _SHOWN_IN:
        amount, rest = divmod(rest, UNITS[unit])
        if amount:
            pieces.append(f"{amount}{unit}")
    return "".join(pieces) or "0"


def _malformed(text: str, why: str) -> UsageError:
    return UsageError(f"{text[:80]!a} is not a duration: {why}", code="bad-duration")
