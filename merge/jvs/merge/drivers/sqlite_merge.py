"""Three SQLite databases into one: the changes of both sides, made to a copy of the base.

The result is believed when SQLite finds no fault in it, no foreign key leads nowhere that did not before, and every row
that was changed reads as it should.
"""

from __future__ import annotations

import apsw

from jvs.merge.content import Merged, Prefer, Region
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.sqlite_rows import (
    Change,
    Changes,
    Key,
    Row,
    SqlValue,
    changes_between,
    check_header,
    check_integrity,
    errors_give_up,
    one_value,
    open_database,
    quoted,
    rows_of,
    schema_of,
    tables_of,
)

_PRAGMAS = ("user_version", "application_id")
_MOST_SHOWN = 4096
"""Most characters of a value in a conflict."""


def merge_databases(driver: str, sides: tuple[bytes, bytes, bytes], prefer: Prefer) -> Merged:
    """The merge of base, ours and theirs; raises GiveUp."""
    check_header(dict(zip(("base", "ours", "theirs"), sides, strict=True)))
    with errors_give_up("SQLite says"):
        return _DatabaseMerge(sides, prefer).merged(driver)


class _DatabaseMerge:
    def __init__(self, sides: tuple[bytes, bytes, bytes], prefer: Prefer) -> None:
        self._prefer = prefer
        self._conflicts: list[Region] = []
        self._settled: list[Region] = []
        self._result = open_database(sides[0])
        ours, theirs = open_database(sides[1]), open_database(sides[2])
        if not schema_of(self._result) == schema_of(ours) == schema_of(theirs):
            raise GiveUp("the sides have different schemas")
        tables = tables_of(self._result)
        self._tables = {table.name: table for table in tables}
        self._numbers = [{name: _number(side, name) for name in _PRAGMAS} for side in (self._result, ours, theirs)]
        self._sequences = [_sequence(side) for side in (self._result, ours, theirs)]
        self._broken = _broken_keys(ours) | _broken_keys(theirs)
        self._ours = changes_between(ours, sides[0], tables)
        self._theirs = changes_between(theirs, sides[0], tables)

    def merged(self, driver: str) -> Merged:
        """Make the changes, look whether all is well, and take the bytes."""
        _refuse_new_keys(self._ours, self._theirs)
        changes = [self._change(key) for key in sorted(self._ours.keys() | self._theirs.keys(), key=_rank)]
        made = [change for change in changes if change is not None]
        with self._result:
            self._make(made)
            self._set_numbers()
        self._check(made)
        data = self._result.serialize("main")
        return Merged(data, tuple(self._conflicts), tuple(self._settled), driver)

    def _change(self, at: tuple[str, Key]) -> Change | None:
        """What happens to a row of the base, or to one that is new; None when nothing does."""
        ours, theirs = self._ours.get(at), self._theirs.get(at)
        if ours is None or theirs is None:
            return ours or theirs
        if _same_values(ours.new, theirs.new):
            return ours
        where = f"table {at[0]}, row {self._shown_key(at)}"
        if ours.old is None or theirs.old is None or ours.new is None or theirs.new is None:
            base = ours.old if ours.new is None else theirs.old  # of a row that is gone it is the whole row
            texts = [self._shown_row(at[0], row) for row in (base, ours.new, theirs.new)]
            return theirs if self._note(where, *texts) == "theirs" else ours
        new = dict(ours.new)
        for place, value in theirs.new.items():
            if place not in new or _same(new[place], value):
                new[place] = value
                continue
            column = self._tables[at[0]].columns[place]
            texts = [_shown(one) for one in (theirs.old[place], new[place], value)]
            if self._note(f"{where}, column {column}", *texts) == "theirs":
                new[place] = value
        return Change(*at, ours.old | theirs.old, new)

    def _make(self, changes: list[Change]) -> None:
        """Deletions, then updates, then insertions. What a unique column forbids now it may allow later."""
        left = sorted(changes, key=lambda change: 0 if change.new is None else 2 if change.old is None else 1)
        while left:
            refused = []
            reason = ""
            for change in left:
                try:
                    self._result.execute(*self._statement(change))
                except apsw.ConstraintError as error:
                    refused.append(change)
                    reason = str(error)
            if len(refused) == len(left):
                raise GiveUp(f"the changes of both sides together break a constraint: {reason}")
            left = refused

    def _statement(self, change: Change) -> tuple[str, list[SqlValue]]:
        table = self._tables[change.table]
        name = f"main.{quoted(table.name)}"
        key = " AND ".join(f"{quoted(table.columns[place])} = ?" for place in table.key)
        values = [value for _, value in change.key]
        if change.new is None:
            return f"DELETE FROM {name} WHERE {key}", values
        columns = [quoted(table.columns[place]) for place in change.new]
        if change.old is None:
            marks = ", ".join("?" * len(columns))
            return f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})", list(change.new.values())
        sets = ", ".join(f"{column} = ?" for column in columns)
        return f"UPDATE {name} SET {sets} WHERE {key}", [*change.new.values(), *values]

    def _set_numbers(self) -> None:
        """The two numbers an application may keep in the header, and the last keys that were given away."""
        for name in _PRAGMAS:
            base, ours, theirs = (numbers[name] for numbers in self._numbers)
            merged = theirs if ours == base else ours
            if base not in (ours, theirs) and ours != theirs:
                texts = [_shown(one) for one in (base, ours, theirs)]
                merged = theirs if self._note(name, *texts) == "theirs" else ours
            self._result.execute(f"PRAGMA main.{name} = {merged:d}")
        last: dict[str, int] = {}
        for sequence in self._sequences:
            for table, number in sequence.items():
                last[table] = max(number, last.get(table, number))
        for table, number in sorted(last.items()):
            self._result.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (table,))
            self._result.execute("INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))

    def _check(self, changes: list[Change]) -> None:
        check_integrity(self._result)
        for table, row, parent, _ in _broken_keys(self._result) - self._broken:
            raise GiveUp(f"the changes of both sides together break a foreign key: {table}, row {row}, to {parent}")
        for change in changes:
            table = self._tables[change.table]
            key = " AND ".join(f"{quoted(table.columns[place])} = ?" for place in table.key)
            sql = f"SELECT * FROM main.{quoted(table.name)} WHERE {key}"
            rows = rows_of(self._result, sql, [value for _, value in change.key])
            if change.new is None:
                as_it_should = not rows
            else:
                as_it_should = len(rows) == 1 and all(_same(rows[0][at], value) for at, value in change.new.items())
            if not as_it_should:
                raise GiveUp(f"table {table.name}: a row does not read as it was written")

    def _note(self, where: str, base: bytes, ours: bytes, theirs: bytes) -> Prefer:
        (self._conflicts if self._prefer == "none" else self._settled).append(Region(where, base, ours, theirs))
        return self._prefer

    def _shown_key(self, at: tuple[str, Key]) -> str:
        table = self._tables[at[0]]
        parts = zip(table.key, at[1], strict=True)
        return ", ".join(f"{table.columns[place]}={_shown(value).decode()}" for place, (_, value) in parts)

    def _shown_row(self, table: str, row: dict[int, SqlValue] | None) -> bytes:
        """The values of a row, or those that changed; nothing for one that is not there."""
        columns = self._tables[table].columns
        return b", ".join(columns[place].encode() + b"=" + _shown(value) for place, value in (row or {}).items())


def _refuse_new_keys(ours: Changes, theirs: Changes) -> None:
    """Raises GiveUp when a row that is gone on both sides may be one to which they gave other keys."""
    gone = {at[0] for at in ours.keys() & theirs.keys() if ours[at].new is None and theirs[at].new is None}
    for table in sorted(gone):
        new = [{at for at in side if at[0] == table and side[at].old is None} for side in (ours, theirs)]
        if new[0] ^ new[1]:
            raise GiveUp(
                f"table {table}: a row is gone on both sides, and a side has a new one: it may be the same one"
            )


def _number(database: apsw.Connection, pragma: str) -> int:
    return int(one_value(database, f"PRAGMA main.{pragma}"))


def _sequence(database: apsw.Connection) -> dict[str, int]:
    """The last keys given away, by table; nothing in a database that keeps none."""
    if not rows_of(database, "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"):
        return {}
    rows = rows_of(database, "SELECT name, seq FROM sqlite_sequence")
    return {name: seq for name, seq in rows if isinstance(name, str) and isinstance(seq, int)}


def _broken_keys(database: apsw.Connection) -> set[Row]:
    """The rows with a foreign key that leads nowhere."""
    return set(rows_of(database, "PRAGMA main.foreign_key_check"))


def _same(one: SqlValue, two: SqlValue) -> bool:
    return type(one) is type(two) and one == two


def _same_values(one: dict[int, SqlValue] | None, two: dict[int, SqlValue] | None) -> bool:
    if one is None or two is None:
        return one is two
    return one.keys() == two.keys() and all(_same(value, two[place]) for place, value in one.items())


def _shown(value: SqlValue) -> bytes:
    """A value as SQL writes it, not too much of it."""
    if isinstance(value, (str, bytes)) and len(value) > _MOST_SHOWN:
        return _shown(value[:_MOST_SHOWN]) + b"..."
    return apsw.format_sql_value(value).encode("utf-8", "backslashreplace")


def _rank(at: tuple[str, Key]) -> tuple[str, list[tuple[str, SqlValue]]]:
    """An order that does not depend on which side a change is from. Values of one type are compared."""
    return at[0], list(at[1])
