"""Merging the lines of one file, and writing what is left into it between markers."""

from __future__ import annotations

import re
from typing import Final

from jvs.merge.content import Contents, Merged, Options, Region
from jvs.merge.lines.combine import Kind, Piece, Sides, combine, refine
from jvs.merge.lines.histogram import Index
from jvs.merge.lines.hunks import diff_ids
from jvs.merge.lines.texts import Ids, Table

_LF: Final = b"\n"
_CRLF: Final = b"\r\n"


def merge_lines(contents: Contents, options: Options, *, driver: str = "text", union: bool = False) -> Merged:
    """The three-way merge of the lines of a file, as `git merge` makes it.

    Lines end with LF. A base of None counts as empty. `union` settles every conflict by the lines of both sides, in an
    order that does not depend on which of them is called ours. Deterministic; mirrored when the sides are swapped.
    `driver` is the name the result carries.
    """
    base, ours, theirs = contents.base or b"", contents.ours, contents.theirs
    whole = _trivial(contents)
    if whole is not None:
        return Merged(whole, (), (), driver)
    table = Table()
    sides = Sides(table.intern(base), table.intern(ours), table.intern(theirs))
    index = Index(sides.base)
    to_ours, to_theirs = diff_ids(sides.base, sides.ours, index), diff_ids(sides.base, sides.theirs, index)
    pieces = combine(sides, to_ours, to_theirs)
    if options.style == "merge" or union:
        # With the base in between a split conflict would make no sense.
        pieces = refine(sides, pieces, to_ours, to_theirs, ours_first=ours <= theirs)
    writer = _Writer(table, sides)
    settled = union or options.prefer != "none"
    marker_size = 0
    if not settled and any(piece.kind is Kind.CONFLICT for piece in pieces):
        marker_size = _marker_size(options, contents)
    regions = []
    for piece in pieces:
        writer.unchanged(piece)
        if piece.kind is not Kind.CONFLICT:
            writer.one_side(piece, piece.kind)
            continue
        if union:
            writer.both(piece, ours_first=ours <= theirs)
        elif options.prefer == "none":
            writer.conflict(piece, options, marker_size)
        else:
            writer.one_side(piece, Kind.OURS if options.prefer == "ours" else Kind.THEIRS)
        regions.append(_region(table, sides, piece))
    data = writer.finish()
    if settled:
        return Merged(data, (), () if union else tuple(regions), driver)
    return Merged(data, tuple(regions), (), driver, bool(regions), marker_size)


def _trivial(contents: Contents) -> bytes | None:
    """The result where no line has to be looked at."""
    base, ours, theirs = contents
    if ours == theirs or theirs == base:
        return ours
    return theirs if ours == base else None


def _region(table: Table, sides: Sides, piece: Piece) -> Region:
    low, high = piece.ours_low, piece.ours_high
    where = f"lines {low + 1}-{high}" if high - low > 1 else f"line {high}" if high > low else f"after line {low}"
    return Region(
        where,
        table.join(sides.base[piece.base_low : piece.base_high]),
        table.join(sides.ours[low:high]),
        table.join(sides.theirs[piece.theirs_low : piece.theirs_high]),
        (low, high),
        (piece.theirs_low, piece.theirs_high),
    )


def _marker_size(options: Options, contents: Contents) -> int:
    """The least size, from the one wanted up, for which no line of any text looks like a marker."""
    wanted = options.marker_size
    marker = re.compile(rb"^(?:<{%d,}|\|{%d,}|={%d,}|>{%d,})(?=[ \r\n]|\Z)" % ((wanted,) * 4), re.MULTILINE)
    taken = {len(found) for side in contents if side for found in marker.findall(side)}
    while wanted in taken:
        wanted += 1
    return wanted


class _Writer:
    """Puts the merged text together."""

    def __init__(self, table: Table, sides: Sides) -> None:
        self._table = table
        self._sides = sides
        self._out: list[bytes] = []
        self._at = 0  # line of ours up to which everything is written

    def unchanged(self, piece: Piece) -> None:
        """What both sides have in common before `piece`."""
        self._put(self._sides.ours[self._at : piece.ours_low])
        self._at = piece.ours_high

    def one_side(self, piece: Piece, kind: Kind) -> None:
        self._put(self._ours(piece) if kind is Kind.OURS else self._theirs(piece))

    def both(self, piece: Piece, *, ours_first: bool) -> None:
        blocks = [self._ours(piece), self._theirs(piece)]
        first, second = blocks if ours_first else reversed(blocks)
        self._put_closed(first, self._line_end(piece))
        self._put(second)

    def conflict(self, piece: Piece, options: Options, size: int) -> None:
        end = self._line_end(piece)
        names = options.names
        self._out.append(b"<" * size + b" " + names.ours + end)
        self._put_closed(self._ours(piece), end)
        if options.style == "diff3":
            self._out.append(b"|" * size + b" " + names.base + end)
            self._put_closed(self._sides.base[piece.base_low : piece.base_high], end)
        self._out.append(b"=" * size + end)
        self._put_closed(self._theirs(piece), end)
        self._out.append(b">" * size + b" " + names.theirs + end)

    def finish(self) -> bytes:
        self._put(self._sides.ours[self._at :])
        return b"".join(self._out)

    def _ours(self, piece: Piece) -> Ids:
        return self._sides.ours[piece.ours_low : piece.ours_high]

    def _theirs(self, piece: Piece) -> Ids:
        return self._sides.theirs[piece.theirs_low : piece.theirs_high]

    def _put(self, lines: Ids) -> None:
        if lines:
            self._out.append(self._table.join(lines))

    def _put_closed(self, lines: Ids, end: bytes) -> None:
        """The lines, and a line end if the last has none."""
        self._put(lines)
        if lines and not self._out[-1].endswith(_LF):
            self._out.append(end)

    def _line_end(self, piece: Piece) -> bytes:
        """As git: CRLF if the base's first line ends so, and neither side's line before `piece` (or first) with LF."""
        if (
            self._crlf_at(self._sides.base, 0)
            and self._crlf_at(self._sides.ours, max(0, piece.ours_low - 1)) is not False
            and self._crlf_at(self._sides.theirs, max(0, piece.theirs_low - 1)) is not False
        ):
            return _CRLF
        return _LF

    def _crlf_at(self, lines: Ids, at: int) -> bool | None:
        """Whether this line ends with CRLF; the one before it if this has no end; None if that cannot be told."""
        if not lines:
            return None
        line = self._table.line(lines[at])
        if not line.endswith(_LF):
            if at == 0:
                return None
            line = self._table.line(lines[at - 1])
        return line.endswith(_CRLF)
