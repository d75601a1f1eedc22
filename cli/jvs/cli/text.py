"""Words and numbers for people: sizes, counts, times, colours, bars. Nothing here prints."""

from __future__ import annotations

import time

from jvs.castore.names import display

SHORT_ID = 12
"""Hex digits of an id shown to people; enough to type, and unique in any store there will be."""

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_AGES = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_COLOURS = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}


def size(count: int) -> str:
    """Bytes in binary units: `0 B`, `1023 B`, `1.5 KiB`, `650 MiB`; `-` in front when negative."""
    if count < 0:
        return "-" + size(-count)
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if value < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def count(number: int, noun: str) -> str:
    """`1 file`, `12,345 files`, `2 directories`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1] + 'ies' if noun.endswith('ry') else noun + 's'}"


def duration(seconds: float) -> str:
    """`3 ms`, `1.2 s`, `2 min 5 s`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def clock(at_ms: int) -> str:
    """A moment as `2026-11-20 10:00:12`, local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))


def ago(at_ms: int, now_ms: int) -> str:
    """How long ago that was, in its largest unit: `just now`, `3 minutes ago`, `in the future`."""
    seconds = (now_ms - at_ms) // 1000
    if seconds < -60:
        return "in the future"
    if seconds < 5:
        return "just now"
    length, noun = next((length, noun) for length, noun in _AGES if seconds >= length)
    return f"{count(seconds // length, noun)} ago"


def short(digest: bytes | None) -> str:
    """The first digits of an id; `-` for none."""
    return "-" if digest is None else digest.hex()[:SHORT_ID]


def plain(text: str) -> str:
    """Text from anywhere as one harmless line: control and format characters escaped, undecodable bytes U+FFFD."""
    try:
        return display(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return ascii(text)[1:-1]


def command(*words: str) -> str:
    """A command line to be typed, quoted where a shell needs it."""
    import shlex  # only some messages name a command

    return plain(shlex.join(words))


def first_line(text: str) -> str:
    """The first line of a message, harmless; ` ...` when there is more."""
    head, _, rest = text.strip().partition("\n")
    return plain(head.rstrip()) + (" ..." if rest.strip() else "")


def paint(text: str, colour: str) -> str:
    """`text` in a colour or weight of `_COLOURS`."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def columns(rows: list[list[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows of cells as aligned lines, two spaces apart; columns in `right` are flush right, the last is not padded."""
    if not rows:
        return []
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(_padded(row, widths, right)).rstrip() for row in rows]


def bar(share: float, width: int, full: str = "#") -> str:
    """A bar of at most `width` marks for a share of 0 to 1; at least one mark for anything above 0."""
    return full * (max(1, round(min(share, 1.0) * width)) if share > 0 else 0)


def _padded(row: list[str], widths: list[int], right: frozenset[int]) -> list[str]:
    last = len(row) - 1
    return [
        cell.rjust(width) if at in right else cell if at == last else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
