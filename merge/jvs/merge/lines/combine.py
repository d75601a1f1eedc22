"""Two lists of hunks over one base become one list of pieces: what one side changed, and where the sides clash.

The rules are git's (its level `zealous`): changes that touch or overlap are one conflict, unless they are the same;
what the sides of a conflict have in common leaves it; conflicts with at most three lines between them become one.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum
from typing import Final, NamedTuple

from jvs.merge.lines.hunks import Hunk, diff_ids
from jvs.merge.lines.texts import Ids

_TOO_CLOSE: Final = 3


class Kind(Enum):
    """Whose lines a piece takes."""

    OURS = "ours"
    THEIRS = "theirs"
    CONFLICT = "conflict"


class Piece(NamedTuple):
    """A place where a side changed the base: line numbers in base, ours and theirs, half open.

    What lies between two pieces is the same on both sides.
    """

    kind: Kind
    base_low: int
    base_high: int
    ours_low: int
    ours_high: int
    theirs_low: int
    theirs_high: int


class Sides(NamedTuple):
    """The three texts as numbers."""

    base: Ids
    ours: Ids
    theirs: Ids


def combine(sides: Sides, ours: list[Hunk], theirs: list[Hunk]) -> list[Piece]:
    """The pieces, in order, not yet refined. What both sides changed in the same way is in none of them."""
    pieces: list[Piece] = []
    here = there = 0
    while here < len(ours) or there < len(theirs):
        mine = ours[here] if here < len(ours) else None
        yours = theirs[there] if there < len(theirs) else None
        if mine is not None and (yours is None or mine.a_high < yours.a_low):
            # The other side is unchanged here, and stands as far from the base as its next hunk says.
            shift = len(sides.theirs) - len(sides.base) if yours is None else yours.b_low - yours.a_low
            _append(pieces, Piece(Kind.OURS, *mine, mine.a_low + shift, mine.a_high + shift))
            here += 1
        elif yours is not None and (mine is None or yours.a_high < mine.a_low):
            shift = len(sides.ours) - len(sides.base) if mine is None else mine.b_low - mine.a_low
            low, high = yours.a_low, yours.a_high
            _append(pieces, Piece(Kind.THEIRS, low, high, low + shift, high + shift, yours.b_low, yours.b_high))
            there += 1
        elif mine is not None and yours is not None:
            if not _same(sides, mine, yours):
                _append(pieces, _clash(mine, yours))
            here += mine.a_high <= yours.a_high
            there += yours.a_high <= mine.a_high
    return pieces


def _same(sides: Sides, mine: Hunk, yours: Hunk) -> bool:
    return (mine.a_low, mine.a_high) == (yours.a_low, yours.a_high) and (
        sides.ours[mine.b_low : mine.b_high] == sides.theirs[yours.b_low : yours.b_high]
    )


def _clash(mine: Hunk, yours: Hunk) -> Piece:
    """Both hunks, each widened by the unchanged lines that the other covers."""
    low, high = min(mine.a_low, yours.a_low), max(mine.a_high, yours.a_high)
    return Piece(
        Kind.CONFLICT,
        low,
        high,
        mine.b_low - (mine.a_low - low),
        mine.b_high + (high - mine.a_high),
        yours.b_low - (yours.a_low - low),
        yours.b_high + (high - yours.a_high),
    )


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Put `piece` at the end, or make it one with the last if they touch."""
    if pieces:
        last = pieces[-1]
        if piece.ours_low <= last.ours_high or piece.theirs_low <= last.theirs_high:
            kind = last.kind if last.kind is piece.kind else Kind.CONFLICT
            pieces[-1] = last._replace(
                kind=kind, base_high=piece.base_high, ours_high=piece.ours_high, theirs_high=piece.theirs_high
            )
            return
    pieces.append(piece)


def refine(sides: Sides, pieces: list[Piece], ours: list[Hunk], theirs: list[Hunk], *, ours_first: bool) -> list[Piece]:
    """Take out of each conflict what its sides have in common, then join conflicts that are too close.

    The parts that a conflict is split into share its base out among them; `ours` and `theirs`, the hunks, say how. A
    conflict whose sides are equal is gone. `ours_first` decides which side is compared with which: it has to be found
    in the texts, not in who is called ours, or swapping the sides could split a conflict in another way.
    """
    refined: list[Piece] = []
    from_ours, from_theirs = _BaseLines(ours), _BaseLines(theirs)
    joinable = False
    for piece in pieces:
        parts = _split(sides, piece, ours_first=ours_first)
        if len(parts) > 1:
            parts = _share_base(piece, parts, from_ours, from_theirs)
        if not parts:
            joinable = False  # as in git nothing is joined across a conflict that dissolved
        for part in parts:
            last = refined[-1] if refined else part
            both = last.kind is part.kind is Kind.CONFLICT
            if joinable and both and part.ours_low - last.ours_high <= _TOO_CLOSE:
                refined[-1] = last._replace(
                    base_high=part.base_high, ours_high=part.ours_high, theirs_high=part.theirs_high
                )
            else:
                refined.append(part)
            joinable = True
    return refined


def _split(sides: Sides, piece: Piece, *, ours_first: bool) -> list[Piece]:
    if piece.kind is not Kind.CONFLICT or piece.ours_low == piece.ours_high or piece.theirs_low == piece.theirs_high:
        return [piece]
    ours, theirs = sides.ours[piece.ours_low : piece.ours_high], sides.theirs[piece.theirs_low : piece.theirs_high]
    if ours_first:
        hunks = diff_ids(ours, theirs)
    else:
        hunks = [Hunk(hunk.b_low, hunk.b_high, hunk.a_low, hunk.a_high) for hunk in diff_ids(theirs, ours)]
    return [
        piece._replace(
            ours_low=piece.ours_low + hunk.a_low,
            ours_high=piece.ours_low + hunk.a_high,
            theirs_low=piece.theirs_low + hunk.b_low,
            theirs_high=piece.theirs_low + hunk.b_high,
        )
        for hunk in hunks
    ]


class _BaseLines:
    """Up to which line of the base a place in a side goes."""

    def __init__(self, hunks: list[Hunk]) -> None:
        self._hunks = hunks

    def up_to(self, line: int) -> int:
        """Monotonic; a place amid lines that replaced others goes up to the last of these."""
        at = bisect_right(self._hunks, line, key=_b_low) - 1
        if at < 0:
            return line
        hunk = self._hunks[at]
        return hunk.a_high + max(0, line - hunk.b_high)


def _b_low(hunk: Hunk) -> int:
    return hunk.b_low


def _share_base(piece: Piece, parts: list[Piece], ours: _BaseLines, theirs: _BaseLines) -> list[Piece]:
    """`parts` with the base of `piece` divided: where the sides differ about a border the later one counts."""
    shared: list[Piece] = []
    low = piece.base_low
    for part in parts[:-1]:
        high = max(low, min(piece.base_high, max(ours.up_to(part.ours_high), theirs.up_to(part.theirs_high))))
        shared.append(part._replace(base_low=low, base_high=high))
        low = high
    return [*shared, parts[-1]._replace(base_low=low)]
