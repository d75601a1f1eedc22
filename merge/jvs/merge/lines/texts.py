"""Lines as numbers: equal lines of several texts get the same number, so that all else compares integers.

A line ends with LF and with nothing else; CR belongs to the line, as in git. A last line without LF is another line
than the same bytes with LF.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import Final, TypeAlias

Ids: TypeAlias = list[int]
"""One number for each line of a text."""

_LF: Final = b"\n"


class Table:
    """The lines seen so far: bytes to number, and back."""

    def __init__(self) -> None:
        # The key of a line is its bytes without LF. A last line without LF has one put behind it, which no other
        # key can hold, so the two stay apart without a prefix on every key.
        self._ids: defaultdict[bytes, int] = defaultdict(count().__next__)
        self._keys: list[bytes] = []

    def intern(self, text: bytes) -> Ids:
        """The numbers of the lines of `text`; none for an empty text."""
        keys = text.split(_LF)
        last = keys.pop()
        if last:
            keys.append(last + _LF)
        return list(map(self._ids.__getitem__, keys))

    def join(self, ids: Ids) -> bytes:
        """The bytes of these lines. Only the last may be one without LF."""
        if not ids:
            return b""
        keys = self._all_keys()
        joined = _LF.join([keys[one] for one in ids])
        return joined[:-1] if keys[ids[-1]].endswith(_LF) else joined + _LF

    def line(self, one: int) -> bytes:
        """The bytes of one line, with its LF if it has one."""
        return self.join([one])

    def _all_keys(self) -> list[bytes]:
        if len(self._keys) != len(self._ids):
            self._keys = list(self._ids)
        return self._keys
