"""Below the line: what changed within lines, word by word, and what a conflict could be settled as.

diff-match-patch compares. Its clock is switched off, so that the same texts always give the same result; what bounds
the work is that no more than `MAX_TOKENS` of each side are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from jvs.merge.content import Region
from jvs.merge.lines.combine import Kind, Sides, combine
from jvs.merge.lines.hunks import Hunk, diff_ids
from jvs.merge.lines.texts import Ids, Table

if TYPE_CHECKING:
    from diff_match_patch import diff_match_patch

Op: TypeAlias = Literal["=", "-", "+"]
Run: TypeAlias = tuple[Op, bytes]

MAX_TOKENS: Final = 1_000
MAX_BYTES: Final = 50_000

_TOKEN: Final = re.compile(r"\w+|\r?\n|[^\S\r\n]+|[\W]")
_OPS: Final[dict[int, Op]] = {-1: "-", 0: "=", 1: "+"}
_FIRST: Final = 0x10000
"""Tokens become characters from here on, beyond the surrogates."""


def word_diff(a: bytes, b: bytes) -> list[Run]:
    """What became of `a` in `b`: runs of `=`, of `-` (only in a) and of `+` (only in b), in order, none empty.

    The `=` and `-` joined give `a`, the `=` and `+` joined `b`. Lines are compared first, then the words of the lines
    that changed; where those are more than `MAX_TOKENS` or `MAX_BYTES`, the lines are shown as one `-` and one `+`.
    Bytes that are not UTF-8 are compared one by one.
    """
    table = Table()
    old, new = table.intern(a), table.intern(b)
    runs: list[Run] = []
    at = 0
    for hunk in diff_ids(old, new):
        runs.append(("=", table.join(old[at : hunk.a_low])))
        gone, come = table.join(old[hunk.a_low : hunk.a_high]), table.join(new[hunk.b_low : hunk.b_high])
        runs += _compare_words(gone, come)
        at = hunk.a_high
    runs.append(("=", table.join(old[at:])))
    return _joined(runs)


def suggest(region: Region) -> bytes | None:
    """What a conflict could be settled as: both sides' changes of its base, if they touch different words; else None.

    Something to offer, never to apply unasked: that words do not touch says nothing about what they mean together.
    None also when a side is longer than `MAX_TOKENS` or `MAX_BYTES`.
    """
    words = _Words()
    texts = [words.encode(text) for text in (region.base, region.ours, region.theirs)]
    if not region.base or any(text is None for text in texts):
        return None
    base, ours, theirs = (text or "" for text in texts)
    pieces = combine(Sides(_numbers(base), _numbers(ours), _numbers(theirs)), _hunks(base, ours), _hunks(base, theirs))
    merged: list[str] = []
    at = 0
    for piece in pieces:
        if piece.kind is Kind.CONFLICT:
            return None
        merged.append(ours[at : piece.ours_low])
        if piece.kind is Kind.OURS:
            merged.append(ours[piece.ours_low : piece.ours_high])
        else:
            merged.append(theirs[piece.theirs_low : piece.theirs_high])
        at = piece.ours_high
    merged.append(ours[at:])
    return words.decode("".join(merged))


class _Words:
    """Words as characters, so that what compares characters compares words."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}
        self._words: list[str] = []

    def encode(self, text: bytes) -> str | None:
        """A character for each word; None if the text is too long."""
        if len(text) > MAX_BYTES:
            return None
        tokens = _TOKEN.findall(text.decode("utf-8", "surrogateescape"))
        return "".join(map(self._number, tokens)) if len(tokens) <= MAX_TOKENS else None

    def decode(self, text: str) -> bytes:
        return "".join(self._words[ord(one) - _FIRST] for one in text).encode("utf-8", "surrogateescape")

    def _number(self, word: str) -> str:
        number = self._numbers.get(word)
        if number is None:
            number = self._numbers[word] = chr(_FIRST + len(self._words))
            self._words.append(word)
        return number


def _compare_words(a: bytes, b: bytes) -> list[Run]:
    words = _Words()
    old, new = words.encode(a), words.encode(b)
    if old is None or new is None or not old or not new:
        return [("-", a), ("+", b)]
    engine = _engine()
    diffs = engine.diff_main(old, new, False)
    engine.diff_cleanupSemantic(diffs)
    return [(_OPS[op], words.decode(text)) for op, text in diffs]


def _hunks(a: str, b: str) -> list[Hunk]:
    hunks: list[Hunk] = []
    a_at = b_at = 0
    for op, text in _engine().diff_main(a, b, False):
        a_end, b_end = a_at + len(text) * (op <= 0), b_at + len(text) * (op >= 0)
        if op != 0:
            if hunks and hunks[-1].a_high == a_at and hunks[-1].b_high == b_at:
                hunks[-1] = hunks[-1]._replace(a_high=a_end, b_high=b_end)
            else:
                hunks.append(Hunk(a_at, a_end, b_at, b_end))
        a_at, b_at = a_end, b_end
    return hunks


def _engine() -> diff_match_patch:
    from diff_match_patch import diff_match_patch  # only wanted here, and not cheap to import

    engine = diff_match_patch()
    engine.Diff_Timeout = 0
    return engine


def _numbers(text: str) -> Ids:
    return [ord(one) for one in text]


def _joined(runs: Iterable[Run]) -> list[Run]:
    """Neighbours of one kind made one; empty ones left out."""
    joined: list[Run] = []
    for op, text in runs:
        if not text:
            continue
        if joined and joined[-1][0] == op:
            joined[-1] = (op, joined[-1][1] + text)
        else:
            joined.append((op, text))
    return joined
