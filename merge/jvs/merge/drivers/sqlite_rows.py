"""SQLite databases held in memory, and what changed in their rows: through SQLite's session extension.

A database is somebody's file: it is opened in memory, without its triggers, with a schema that is not trusted, within a
number of steps. Whatever SQLite says is wrong with it makes the driver give up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import apsw

from jvs.merge.drivers.giveup import GiveUp

SqlValue: TypeAlias = Any
"""None, int, float, str or bytes."""
Key: TypeAlias = tuple[tuple[str, SqlValue], ...]
"""The primary key of a row: each value with the name of its type, since 1 == 1.0 in Python."""
Row: TypeAlias = tuple[SqlValue, ...]

MAX_CHANGES: Final = 50_000
"""Most changed rows of one side."""

_STEPS: Final = 100_000
_MAX_CALLS: Final = 1_000
"""Steps of SQLite's machine between two calls, and calls, that one database may take: a second or two."""
_MAX_LENGTH: Final = 32 << 20
"""Most bytes of a value or row."""
_ROLLBACK_JOURNAL: Final = b"\1\1"
_SETTINGS: Final = (slice(16, 18), slice(20, 21), slice(44, 48), slice(52, 60), slice(64, 68))
"""Where a file's header has what no changeset carries: the sizes of pages and of what is reserved in them, the format
of the schema, vacuuming, the encoding of text."""


class Table(NamedTuple):
    """columns: their names, in order; key: which of them are the primary key, () for none."""

    name: str
    columns: tuple[str, ...]
    key: tuple[int, ...]


class Change(NamedTuple):
    """What happened to one row. old: before, None for one that is new. new: after, None for one that is gone. Of a row
    that stays both hold only what changed, by the column's place."""

    table: str
    key: Key
    old: dict[int, SqlValue] | None
    new: dict[int, SqlValue] | None


Changes: TypeAlias = dict[tuple[str, Key], Change]


@contextmanager
def errors_give_up(what: str) -> Iterator[None]:
    """Whatever SQLite, or decoding what it says, fails with: the driver gives up."""
    try:
        yield
    except (apsw.Error, UnicodeError, ValueError, TypeError, OverflowError) as error:
        raise GiveUp(f"{what}: {type(error).__name__}: {error}") from None


def check_header(sides: dict[str, bytes]) -> None:
    """Raises GiveUp unless the files say that they are whole in themselves and have the same settings."""
    for name, data in sides.items():
        if len(data) < 512:
            raise GiveUp(f"{name}: shorter than the smallest database")
        if data[18:20] != _ROLLBACK_JOURNAL:
            raise GiveUp(f"{name}: in WAL mode, so a part of it may be in another file")
    if len({tuple(data[part] for part in _SETTINGS) for data in sides.values()}) > 1:
        raise GiveUp("the sides differ in page size, encoding or vacuuming")


def open_database(data: bytes) -> apsw.Connection:
    """A database in memory, checked; raises GiveUp or apsw.Error."""
    database = apsw.Connection(":memory:")
    database.limit(apsw.SQLITE_LIMIT_LENGTH, _MAX_LENGTH)
    database.limit(apsw.SQLITE_LIMIT_WORKER_THREADS, 0)
    calls = iter(range(_MAX_CALLS))
    database.set_progress_handler(lambda: next(calls, None) is None, _STEPS)
    database.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    database.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    database.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    database.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 0)
    database.deserialize("main", data)
    database.execute("PRAGMA cell_size_check = ON")
    check_integrity(database)
    return database


def check_integrity(database: apsw.Connection) -> None:
    """Raises GiveUp when SQLite finds a fault in the database."""
    fault = one_value(database, "PRAGMA main.integrity_check(1)")
    if fault != "ok":
        raise GiveUp(f"damaged: {fault}")


def schema_of(database: apsw.Connection) -> list[Row]:
    """Everything that was ever created in the database, but for where it lies."""
    return rows_of(database, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2, 3, 4")


def tables_of(database: apsw.Connection) -> list[Table]:
    """The tables with rows of the user's; raises GiveUp where one has columns or keys that changesets do not carry."""
    tables = []
    found = rows_of(database, "SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    for name, sql in found:
        if name.lower().startswith("sqlite_"):
            continue
        if sql.lstrip()[:40].upper().split()[:2] == ["CREATE", "VIRTUAL"]:
            raise GiveUp(f"table {name}: virtual")
        columns = rows_of(database, f"PRAGMA main.table_xinfo({quoted(name)})")
        if any(hidden for *_, hidden in columns):
            raise GiveUp(f"table {name}: generated columns")
        key = tuple(place for place, *_, part, _ in columns if part)
        names = tuple(column[1] for column in columns)
        tables.append(Table(name, names, key))
    return tables


def changes_between(database: apsw.Connection, base: bytes, tables: list[Table]) -> Changes:
    """What makes `database` of `base`; both are of one schema, of which these are the tables.

    The session extension compares as the columns do: to it 1 is 1.0, and in a column that ignores case `a` is `A`. So
    what it found is counted against the rows that are exactly the same; raises GiveUp when it missed a change.
    """
    database.execute("ATTACH ':memory:' AS base")
    database.deserialize("base", base)
    changes: Changes = {}
    session = apsw.Session(database, "main")
    for table in tables:
        if table.key:
            session.attach(table.name)
            session.diff("base", table.name)
    by_name = {table.name: table for table in tables}
    for found in apsw.Changeset.iter(session.changeset()):
        change = _change(by_name[found.name], found.old, found.new)
        changes[change.table, change.key] = change
        if len(changes) > MAX_CHANGES:
            raise GiveUp(f"more than {MAX_CHANGES} changed rows")
    session.close()
    for table in tables:
        _check_complete(database, table, [change for change in changes.values() if change.table == table.name])
    database.execute("DETACH base")
    return changes


def rows_of(database: apsw.Connection, sql: str, values: Sequence[SqlValue] = ()) -> list[Row]:
    """All that a query gives."""
    return list(database.execute(sql, values))


def one_value(database: apsw.Connection, sql: str) -> SqlValue:
    """The first value of the first row that a query gives."""
    return rows_of(database, sql)[0][0]


def key_of(values: Row) -> Key:
    """The primary key with these values."""
    return tuple((type(value).__name__, value) for value in values)


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _change(table: Table, old: Row | None, new: Row | None) -> Change:
    """`None` for a column in `old` or `new` is NULL; what did not change is `apsw.no_change` there."""
    row = new if old is None else old
    assert row is not None
    key = key_of(tuple(row[place] for place in table.key))
    return Change(table.name, key, _known(old, table, new), _known(new, table, old))


def _known(row: Row | None, table: Table, other: Row | None) -> dict[int, SqlValue] | None:
    if row is None:
        return None
    skipped = table.key if other is not None else ()
    return {place: value for place, value in enumerate(row) if value is not apsw.no_change and place not in skipped}


def _check_complete(database: apsw.Connection, table: Table, changes: list[Change]) -> None:
    """Raises GiveUp unless every row that is in no change is exactly the same in both, and so is the key of one that
    was changed otherwise."""
    name = quoted(table.name)
    columns = [quoted(column) for column in table.columns]
    # a collation named on the left side is the one that counts
    same = [f"a.{c} COLLATE BINARY IS b.{c} AND typeof(a.{c}) = typeof(b.{c})" for c in columns]
    keys = [columns[place] for place in table.key] or [_rowid(table)]
    join = " AND ".join(f"a.{key} = b.{key}" for key in keys)
    here = one_value(database, f"SELECT count(*) FROM main.{name}")
    there = one_value(database, f"SELECT count(*) FROM base.{name}")
    matched = f"FROM main.{name} a JOIN base.{name} b ON {join}"
    equal = one_value(database, f"SELECT count(*) {matched} WHERE {' AND '.join(same)}")
    # a row that changed otherwise is in a changeset, but not that its key is written in another way since
    same_keys = [same[place] for place in table.key] or ["TRUE"]
    kept = one_value(database, f"SELECT count(*) {matched} WHERE {' AND '.join(same_keys)}")
    inserted = sum(change.old is None for change in changes)
    deleted = sum(change.new is None for change in changes)
    updated = len(changes) - inserted - deleted
    if equal == here - inserted - updated == there - deleted - updated and kept == equal + updated:
        return
    if not table.key:
        raise GiveUp(f"table {table.name}: changed, and without a primary key")
    raise GiveUp(f"table {table.name}: changes that no changeset carries: a key that is NULL, a type, the case of text")


def _rowid(table: Table) -> str:
    """What the number of a row is called in a table, where no column is called so."""
    taken = {column.lower() for column in table.columns}
    for name in ("rowid", "_rowid_", "oid"):
        if name not in taken:
            return name
    raise GiveUp(f"table {table.name}: without a primary key")
