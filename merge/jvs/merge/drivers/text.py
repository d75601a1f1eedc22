"""Texts, by lines."""

from __future__ import annotations

from typing import Final

from jvs.merge.content import Contents, Merged, Options
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.lines import merge_lines

MAX_SIZE: Final = 64 << 20
MAX_LINES: Final = 400_000
"""Of one side: lines, not bytes, are what time and memory go into."""

_LOOKED_AT: Final = 8000
_BYTE_ORDER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
"""Of UTF-16 and UTF-32, where LF is no byte of its own."""


def why_not_lines(contents: Contents) -> str | None:
    """Why these bytes are not merged by lines; None if they can be.

    Binary is, as for git, what has a NUL in its first 8000 bytes; and what says that it is UTF-16 or UTF-32.
    """
    for side in contents:
        if side is None:
            continue
        if side.find(b"\0", 0, _LOOKED_AT) >= 0:
            return "a side is binary: it has a NUL byte"
        if side.startswith(_BYTE_ORDER_MARKS):
            return "a side is binary: it is UTF-16 or UTF-32"
        if side.count(b"\n") > MAX_LINES:
            return f"a side has more than {MAX_LINES} lines"
    return None


class TextDriver:
    """Merges lines; what both sides changed differently is a conflict, written between markers."""

    name = "text"
    max_size = MAX_SIZE

    def suits(self, path: bytes, contents: Contents) -> bool:
        """Whatever is not binary."""
        return why_not_lines(contents) is None

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        """See `merge_lines`. Raises GiveUp on binary sides, also where an attribute says that they are text."""
        why_not = why_not_lines(contents)
        if why_not is not None:
            raise GiveUp(why_not)
        return merge_lines(contents, options, driver=self.name)
