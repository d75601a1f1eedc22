"""The driver for CSV: by row key and cell (docs/merge-drivers.md).

A row is called by its first column, or by as few of the first columns as it takes for no two rows of a side to have the
same name. That is a guess about what the table means, so where a changed name could be taken for one row that went and
another that came, the file is given up: lines then decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Set
from typing import Any, Final, NamedTuple, TypeAlias

from jvs.merge.content import Contents, Merged, Options, Prefer, Region
from jvs.merge.drivers.csv_text import DELIMITERS, Row, Table, value
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.weave import layout, weave

Key: TypeAlias = tuple[bytes, ...]
"""What a row is called: the values of the first columns."""

_SUFFIXES: Final = {b".csv": DELIMITERS, b".tsv": (b"\t",), b".tab": (b"\t",), b".psv": (b"|",)}
_WHOLE: Final = re.compile(rb"-?[1-9][0-9]{0,30}|0")
_MAX_KEY: Final = 3
"""Most columns that together name a row: with more, almost any table would seem to have names for its rows."""


class CsvDriver:
    """Merges tables by row and cell. A conflict is one cell, or a row that one side deleted and the other changed; the
    merged table has ours in its place."""

    name = "csv"
    max_size = 8 << 20

    def suits(self, path: bytes, contents: Contents) -> bool:
        """By name only: that lines have commas in them does not make them rows."""
        return path[-4:].lower() in _SUFFIXES

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        """See `content.MergeDriver`."""
        if contents.base is None:
            raise GiveUp("without a base nothing says which rows are new")
        sides = (contents.base, contents.ours, contents.theirs)
        return _TableMerge(_read(sides, _SUFFIXES.get(path[-4:].lower(), DELIMITERS)), options.prefer).merged(self.name)


def _read(sides: tuple[bytes, bytes, bytes], delimiters: tuple[bytes, ...]) -> tuple[Table, Table, Table]:
    """The three tables, with the one delimiter that fits them all."""
    fitting: list[tuple[Table, Table, Table]] = []
    reason = ""
    for delimiter in delimiters:
        try:
            base, ours, theirs = (Table(side, delimiter) for side in sides)
        except GiveUp as given:
            reason = reason or str(given)
        else:
            fitting.append((base, ours, theirs))
    if len(fitting) > 1:
        raise GiveUp("more than one delimiter fits")
    if not fitting:
        raise GiveUp(f"not a table on every side: {reason}")
    return fitting[0]


class _Side(NamedTuple):
    """A table, and the rows by name."""

    table: Table
    rows: dict[Key, Row]

    def cells(self, key: Key) -> dict[bytes, bytes] | None:
        """The cells of a row by column, as they are written; None when there is no such row."""
        row = self.rows.get(key)
        return dict(zip(self.table.names, self.table.cells(row), strict=True)) if row is not None else None


class _TableMerge:
    def __init__(self, tables: tuple[Table, Table, Table], prefer: Prefer) -> None:
        self._prefer = prefer
        self._conflicts: list[Region] = []
        self._settled: list[Region] = []
        self._key_names, keys = _keys(tables)
        base, ours, theirs = (
            _Side(table, dict(zip(key, table.rows, strict=True))) for table, key in zip(tables, keys, strict=True)
        )
        self._base, self._ours, self._theirs = base, ours, theirs
        if len({table.lead for table in tables}) > 1:
            raise GiveUp("only some sides have a byte order mark")
        _refuse_new_names(base.rows.keys(), ours.rows.keys(), theirs.rows.keys())
        self._columns = self._merged_columns()
        self._same_columns = base.table.names == ours.table.names == theirs.table.names

    def merged(self, driver: str) -> Merged:
        """The merged table; believed only when it reads as the rows it was made of."""
        rows: dict[Key, bytes] = {}
        for key in [*self._ours.rows, *(key for key in self._theirs.rows if key not in self._ours.rows)]:
            row = self._row(key)
            if row is not None:
                rows[key] = row
        sides = (self._base, self._ours, self._theirs)
        woven = weave(
            [list(side.rows) for side in sides], rows.keys(), _rank(self._ours.rows.keys() | self._theirs.rows.keys())
        )
        if woven.reordered:
            raise GiveUp("each side has an order of rows of its own")
        texts = [self._header(), *(rows[key] for key in woven.order)]
        ends = [self._end(None), *(self._end(key) for key in woven.order)]
        last = layout(*(_last_end(side.table) for side in sides))
        ends[-1] = ends[-1] if last else b""
        data = b"".join([self._ours.table.lead, *(text + end for text, end in zip(texts, ends, strict=True))])
        again = Table(data, self._ours.table.delimiter)
        if [row.text for row in (again.header, *again.rows)] != texts:
            raise GiveUp("the merged text does not read as the merged rows")
        return Merged(data, tuple(self._conflicts), tuple(self._settled), driver)

    def _merged_columns(self) -> list[bytes]:
        """The names of the columns. At most one side may have columns that the base does not have, or lack some."""
        base, ours, theirs = (side.table.names for side in (self._base, self._ours, self._theirs))
        if ours in (base, theirs):
            return theirs
        if theirs == base:
            return ours
        raise GiveUp("both sides changed the columns")

    def _header(self) -> bytes:
        base, ours, theirs = (
            dict(zip(side.table.names, side.table.cells(side.table.header), strict=True))
            for side in (self._base, self._ours, self._theirs)
        )
        cells = [layout(base.get(name), ours.get(name), theirs.get(name)) or b"" for name in self._columns]
        return self._ours.table.delimiter.join(cells)

    def _row(self, key: Key) -> bytes | None:
        """The text of a row, None when it is not there."""
        texts = [side.rows[key].text if key in side.rows else None for side in (self._base, self._ours, self._theirs)]
        base, ours, theirs = texts
        if self._same_columns:  # else rows of the same text may differ, and cells decide
            if ours == theirs or theirs == base:
                return ours
            if ours == base:
                return theirs
        if ours is None or theirs is None:
            return self._one_sided(key, base, ours, theirs)
        return self._by_cell(key)

    def _one_sided(self, key: Key, base: bytes | None, ours: bytes | None, theirs: bytes | None) -> bytes | None:
        """A row that one side lacks, which is new or was changed by the other."""
        side = self._ours if ours is not None else self._theirs
        if base is None:
            if side.table.names != self._columns:
                raise GiveUp("one side changed the columns, the other has new rows")
            return side.rows[key].text
        old, new = self._base.cells(key) or {}, side.cells(key) or {}
        if all(value(old[name]) == value(new[name]) for name in old.keys() & new.keys()):
            return None
        if not self._same_columns:
            raise GiveUp("one side changed the columns, and a row is gone that the other changed")
        return theirs if self._note(self._where(key), base, ours or b"", theirs or b"") == "theirs" else ours

    def _by_cell(self, key: Key) -> bytes:
        base, ours, theirs = self._base.cells(key) or {}, self._ours.cells(key) or {}, self._theirs.cells(key) or {}
        for name in (ours.keys() ^ theirs.keys()) & base.keys():  # a column that one side removed
            kept = ours.get(name, theirs.get(name, b""))
            if value(kept) != value(base[name]):
                raise GiveUp("one side removed a column in which the other changed a cell")
        cells = []
        for name in self._columns:
            if name in ours and name in theirs:
                cells.append(self._cell(key, name, base.get(name), ours[name], theirs[name]))
            elif name in ours or name in theirs:
                cells.append(ours.get(name, theirs.get(name, b"")))
        return self._ours.table.delimiter.join(cells)

    def _cell(self, key: Key, name: bytes, base: bytes | None, ours: bytes, theirs: bytes) -> bytes:
        if ours == theirs or theirs == base:
            return ours
        if ours == base:
            return theirs
        if value(ours) == value(theirs):  # quoted on one side only
            return min(ours, theirs, key=lambda cell: (len(cell), cell))
        if base is not None and value(ours) == value(base):
            return theirs
        if base is not None and value(theirs) == value(base):
            return ours
        where = f"{self._where(key)}, column {_shown(name)}"
        return theirs if self._note(where, base or b"", ours, theirs) == "theirs" else ours

    def _note(self, where: str, base: bytes, ours: bytes, theirs: bytes) -> Prefer:
        (self._conflicts if self._prefer == "none" else self._settled).append(Region(where, base, ours, theirs))
        return self._prefer

    def _where(self, key: Key) -> str:
        named = zip(self._key_names, key, strict=True)
        return "row " + ", ".join(f"{_shown(name)}={_shown(part)}" for name, part in named)

    def _end(self, key: Key | None) -> bytes:
        """How a row ends (None: the header), as far as some side has it before another row; else as the header does."""
        ends = []
        for side in (self._base, self._ours, self._theirs):
            row = side.table.header if key is None else side.rows.get(key)
            ends.append(row.end or None if row is not None else None)
        return layout(*ends) or (b"\n" if key is None else self._end(None))


def _keys(tables: tuple[Table, Table, Table]) -> tuple[list[bytes], list[list[Key]]]:
    """The names of the columns that name a row, and the names of all rows of each side."""
    names = tables[0].names
    for count in range(1, min(_MAX_KEY, *(len(table.names) - 1 for table in tables)) + 1):
        if any(table.names[:count] != names[:count] for table in tables):
            raise GiveUp("the sides have other first columns")
        keys = [[_key(table, row, count) for row in table.rows] for table in tables]
        if all(len(set(side)) == len(side) for side in keys) and not any((b"",) * count in side for side in keys):
            return names[:count], keys
    raise GiveUp("no first columns name every row")


def _key(table: Table, row: Row, count: int) -> Key:
    if b'"' in row.text:
        return tuple(map(value, table.cells(row)[:count]))
    return tuple(row.text.split(table.delimiter, count)[:count])


def _refuse_new_names(base: Set[Key], ours: Set[Key], theirs: Set[Key]) -> None:
    """Raises GiveUp when a row that is gone on both sides may be one that they gave other names."""
    if base - ours - theirs and (ours - base) ^ (theirs - base):
        raise GiveUp("a row is gone on both sides, and a side has a new one: it may be the same under another name")


def _last_end(table: Table) -> bytes:
    """How the file ends."""
    return (table.rows[-1] if table.rows else table.header).end


def _rank(keys: Iterable[Key]) -> Callable[[Key], Any]:
    """The order of names: as numbers when all of them are whole numbers without leading zeros, else as bytes."""
    if all(_WHOLE.fullmatch(part) is not None for key in keys for part in key):
        return lambda key: [int(part) for part in key]
    return lambda key: key


def _shown(text: bytes) -> str:
    """A value, fit to be shown."""
    shown = text[:200].decode("utf-8", "backslashreplace")
    return shown if len(text) <= 200 else shown + "..."
