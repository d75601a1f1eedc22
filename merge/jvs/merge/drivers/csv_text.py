"""Tables as text: the rows and cells of a CSV file, each as it is written (RFC 4180, and its usual relatives).

Strict: every row has as many cells as the header, the header's names are there and differ, a quote stands at both ends
of a cell or doubled inside a quoted one. Anything else is given up: it may be no table, or not in this dialect.
Cells are bytes: which encoding they are in does not matter, as long as it leaves ASCII alone.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from jvs.merge.drivers.giveup import GiveUp

DELIMITERS: Final = (b",", b";", b"\t", b"|")
MAX_ROWS: Final = 100_000
"""Most rows of one side: what takes memory is rows, not bytes."""
MAX_COLUMNS: Final = 2_000

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_RECORD: Final = re.compile(rb'(?:[^"\r\n]++|"[^"]*+(?:""[^"]*+)*+")*+')
_ROW_END: Final = re.compile(rb"\r?\n|\Z")
_QUOTED: Final = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"')


class Row(NamedTuple):
    """text: without the end; end: LF, CR LF, or nothing at the end of the file."""

    text: bytes
    end: bytes


class Table:
    """A CSV file that has been read. lead: a byte order mark or nothing; names: of the columns, as values."""

    def __init__(self, data: bytes, delimiter: bytes) -> None:
        """Raises GiveUp when the file is no table with this delimiter."""
        if b"\0" in data:
            raise GiveUp("a NUL byte")
        if data.count(b"\n") > MAX_ROWS:
            raise GiveUp(f"more than {MAX_ROWS} rows")
        self.delimiter = delimiter
        self.lead = _BYTE_ORDER_MARK if data.startswith(_BYTE_ORDER_MARK) else b""
        rows = _rows(data[len(self.lead) :])
        if not rows:
            raise GiveUp("no header")
        self.header = rows[0]
        self.names = [value(cell) for cell in self.cells(self.header)]
        if not 2 <= len(self.names) <= MAX_COLUMNS:
            raise GiveUp(f"not from 2 to {MAX_COLUMNS} columns")
        if len(set(self.names)) != len(self.names) or not all(self.names):
            raise GiveUp("names of columns are missing or occur twice")
        self.rows = rows[1:]
        for number, row in enumerate(self.rows, 2):
            if self._width(row) != len(self.names):
                raise GiveUp(f"row {number} has another number of cells than the header")

    def cells(self, row: Row) -> list[bytes]:
        """The cells of a row as they are written."""
        text, delimiter = row.text, self.delimiter
        if b'"' not in text:
            return text.split(delimiter)
        cells = []
        at = 0
        while True:
            quoted = _QUOTED.match(text, at)
            if quoted is not None:
                end = quoted.end()
            else:
                end = text.find(delimiter, at)
                end = len(text) if end < 0 else end
            cell = text[at:end]
            if text[end : end + 1] not in (delimiter, b"") or (quoted is None and b'"' in cell):
                raise GiveUp("a quote inside a cell")
            cells.append(cell)
            if end == len(text):
                return cells
            at = end + 1

    def _width(self, row: Row) -> int:
        return len(self.cells(row)) if b'"' in row.text else row.text.count(self.delimiter) + 1


def value(cell: bytes) -> bytes:
    """What a cell says, without the quotes it may be written in."""
    return cell[1:-1].replace(b'""', b'"') if cell.startswith(b'"') else cell


def _rows(data: bytes) -> list[Row]:
    rows = []
    at = 0
    while at < len(data):
        found = _RECORD.match(data, at)
        end = found.end() if found is not None else at
        ended = _ROW_END.match(data, end)
        if ended is None:
            raise GiveUp("a quote that is not closed, or a CR without LF")
        rows.append(Row(data[at:end], ended[0]))
        at = ended.end()
    return rows
