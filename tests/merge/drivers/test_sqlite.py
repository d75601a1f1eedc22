"""SQLite by row and column: what no changeset carries is never lost in a clean merge."""

from __future__ import annotations

import random
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvs.merge.content import Contents, Options
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.sqlite_driver import SqliteDriver
from tests.merge.drivers.support import OURS, THEIRS, clean, merge, regions, swapped

needs_apsw = pytest.mark.usefixtures("apsw")
SQLITE = SqliteDriver()

SCHEMA = """
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, age, city INTEGER REFERENCES cities(id));
CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE pairs (a TEXT, b REAL, v BLOB, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE notes (text);
CREATE INDEX by_age ON people (age);
INSERT INTO cities VALUES (1, 'Rome'), (2, 'Oslo'), (3, 'Bern');
INSERT INTO people VALUES (1, 'ann', 20, 1), (2, 'bob', 30, 2), (3, 'cid', NULL, 1), (4, 'dan', 40.5, NULL);
INSERT INTO pairs VALUES ('x', 1, x'00ff'), ('x', 2, 'text'), ('y', 1, 7);
INSERT INTO notes VALUES ('one'), ('two');
"""


@pytest.fixture(scope="module")
def apsw() -> Any:
    """The library; without it these tests say nothing."""
    return pytest.importorskip("apsw", reason="needs apsw: pip install jvs-fs[sqlite]")


def database(*scripts: str, start: bytes | None = None) -> bytes:
    """The bytes of a database after these scripts."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        if start is not None:
            connection.deserialize(start)
        for script in scripts:
            connection.executescript(script)
        return connection.serialize()


TRIGGER = "CREATE TRIGGER noisy AFTER UPDATE ON people BEGIN INSERT INTO notes VALUES ('changed'); END"
BASE = database(SCHEMA, TRIGGER)


def after(script: str) -> bytes:
    """BASE with these changes, made while its trigger was away."""
    return database("DROP TRIGGER noisy", script, TRIGGER, start=BASE)


def contents(data: bytes) -> dict[str, list[Any]]:
    """All rows of all tables, with their types, as Python's own SQLite reads them: the second opinion."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(data)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        ]
        rows = {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
        rows["numbers"] = connection.execute("PRAGMA user_version").fetchall()
        return {name: sorted(map(repr, found)) for name, found in rows.items()}


# (ours, theirs, merged): scripts run on BASE
CLEAN = {
    "rows": (
        "UPDATE people SET age = 21 WHERE id = 1; INSERT INTO people VALUES (7, 'eve', 1, 2)",
        "DELETE FROM people WHERE id = 3; INSERT INTO cities VALUES (4, 'Kyiv')",
        "UPDATE people SET age = 21 WHERE id = 1; INSERT INTO people VALUES (7, 'eve', 1, 2);"
        "DELETE FROM people WHERE id = 3; INSERT INTO cities VALUES (4, 'Kyiv')",
    ),
    "columns of a row": (
        "UPDATE people SET age = 21 WHERE id = 1",
        "UPDATE people SET name = 'Anna', city = NULL WHERE id = 1",
        "UPDATE people SET age = 21, name = 'Anna', city = NULL WHERE id = 1",
    ),
    "the same": (
        "UPDATE people SET age = 1 WHERE id = 1; DELETE FROM cities WHERE id = 3; INSERT INTO cities VALUES (9, 'x')",
        "UPDATE people SET age = 1, city = 2 WHERE id = 1;"
        "DELETE FROM cities WHERE id = 3; INSERT INTO cities VALUES (9, 'x')",
        "UPDATE people SET age = 1, city = 2 WHERE id = 1;"
        "DELETE FROM cities WHERE id = 3; INSERT INTO cities VALUES (9, 'x')",
    ),
    "keys of two columns": (
        "UPDATE pairs SET v = NULL WHERE a = 'x' AND b = 2; INSERT INTO pairs VALUES ('z', 0.5, x'')",
        "DELETE FROM pairs WHERE a = 'y'; INSERT INTO pairs VALUES ('z', 0.25, '')",
        "UPDATE pairs SET v = NULL WHERE a = 'x' AND b = 2; INSERT INTO pairs VALUES ('z', 0.5, x'');"
        "DELETE FROM pairs WHERE a = 'y'; INSERT INTO pairs VALUES ('z', 0.25, '')",
    ),
    "a unique name changes hands": (
        "UPDATE cities SET name = 'was Rome' WHERE id = 1; UPDATE cities SET name = 'Rome' WHERE id = 2",
        "UPDATE people SET age = 0",
        "UPDATE cities SET name = 'was Rome' WHERE id = 1; UPDATE cities SET name = 'Rome' WHERE id = 2;"
        "UPDATE people SET age = 0",
    ),
    "one unique name goes, the other side takes none of it": (
        "DELETE FROM people WHERE city = 1; DELETE FROM cities WHERE id = 1; INSERT INTO cities VALUES (8, 'Rome')",
        "INSERT INTO cities VALUES (9, 'Riga')",
        "DELETE FROM people WHERE city = 1; DELETE FROM cities WHERE id = 1;"
        "INSERT INTO cities VALUES (8, 'Rome'), (9, 'Riga')",
    ),
    "the number of the application": (
        "PRAGMA user_version = 7",
        "UPDATE people SET age = 1",
        "PRAGMA user_version = 7; UPDATE people SET age = 1",
    ),
}

# (ours, theirs, (where, base, ours, theirs) of each conflict, with ours in place, with theirs)
CONFLICTS = {
    "a column": (
        "UPDATE people SET age = 21, city = 2 WHERE id = 1",
        "UPDATE people SET age = 22, name = 'Anna' WHERE id = 1",
        [("table people, row id=1, column age", "20", "21", "22")],
        "UPDATE people SET age = 21, city = 2, name = 'Anna' WHERE id = 1",
        "UPDATE people SET age = 22, city = 2, name = 'Anna' WHERE id = 1",
    ),
    "types": (
        "UPDATE people SET age = 2 WHERE id = 1",
        "UPDATE people SET age = 2.0 WHERE id = 1",
        [("table people, row id=1, column age", "20", "2", "2.0")],
        "UPDATE people SET age = 2 WHERE id = 1",
        "UPDATE people SET age = 2.0 WHERE id = 1",
    ),
    "deleted and changed": (
        "DELETE FROM cities WHERE id = 3",
        "UPDATE cities SET name = 'Bonn' WHERE id = 3",
        [("table cities, row id=3", "id=3, name='Bern'", "", "name='Bonn'")],
        "DELETE FROM cities WHERE id = 3",
        "UPDATE cities SET name = 'Bonn' WHERE id = 3",
    ),
    "the same new key": (
        "INSERT INTO pairs VALUES ('q', 1, 'ours')",
        "INSERT INTO pairs VALUES ('q', 1, x'00')",
        [("table pairs, row a='q', b=1.0", "", "a='q', b=1.0, v='ours'", "a='q', b=1.0, v=X'00'")],
        "INSERT INTO pairs VALUES ('q', 1, 'ours')",
        "INSERT INTO pairs VALUES ('q', 1, x'00')",
    ),
    "the number of the application": (
        "PRAGMA user_version = 7",
        "PRAGMA user_version = 8",
        [("user_version", "0", "7", "8")],
        "PRAGMA user_version = 7",
        "PRAGMA user_version = 8",
    ),
}

# (ours, theirs, what the reason says)
GIVEN_UP = {
    "schemas": ("ALTER TABLE people ADD COLUMN x", "UPDATE people SET age = 1", "different schemas"),
    "an index more": ("CREATE INDEX i ON people (name)", "UPDATE people SET age = 1", "different schemas"),
    "a table without a key": (
        "UPDATE notes SET text = 'x' WHERE rowid = 1",
        "UPDATE people SET age = 1",
        "without a primary key",
    ),
    "a row more without a key": (
        "INSERT INTO notes VALUES ('x')",
        "UPDATE people SET age = 1",
        "without a primary key",
    ),
    "the case of a text": ("UPDATE people SET name = 'ANN' WHERE id = 1", "UPDATE people SET age = 1", "no changeset"),
    "a type": ("UPDATE people SET age = 20.0 WHERE id = 1", "UPDATE people SET city = 3", "no changeset"),
    "a new key on both sides": (
        "UPDATE cities SET id = 7 WHERE id = 3",
        "UPDATE cities SET id = 8 WHERE id = 3",
        "it may be the same one",
    ),
    "a unique name twice": (
        "INSERT INTO cities VALUES (7, 'Kyiv')",
        "INSERT INTO cities VALUES (8, 'Kyiv')",
        "break a constraint",
    ),
    "a foreign key": (
        "UPDATE people SET city = 3 WHERE id = 1",
        "DELETE FROM cities WHERE id = 3",
        "break a foreign key: people, row 1, to cities",
    ),
    "settings": ("UPDATE people SET age = 1", "PRAGMA auto_vacuum = FULL; VACUUM", "differ in page size"),
}


@needs_apsw
@pytest.mark.parametrize("case", CLEAN)
def test_clean(case: str) -> None:
    ours, theirs, merged = map(after, CLEAN[case])
    assert contents(clean(SQLITE, BASE, ours, theirs)) == contents(merged)


@needs_apsw
@pytest.mark.parametrize("case", CONFLICTS)
def test_conflicts(case: str) -> None:
    our_script, their_script, expected, with_ours, with_theirs = CONFLICTS[case]
    sides = BASE, after(our_script), after(their_script)
    merged = merge(SQLITE, *sides)
    shown = [(r.where, r.base.decode(), r.ours.decode(), r.theirs.decode()) for r in regions(merged)]
    assert shown == expected
    assert merged is not None
    assert contents(merged.data) == contents(after(with_ours))
    for options, script in ((OURS, with_ours), (THEIRS, with_theirs)):
        settled = merge(SQLITE, *sides, options)
        assert settled is not None
        assert (settled.conflicts, settled.settled) == ((), merged.conflicts)
        assert contents(settled.data) == contents(after(script))


@needs_apsw
@pytest.mark.parametrize("case", GIVEN_UP)
def test_what_no_changeset_can_say_is_given_up(case: str) -> None:
    ours, theirs, reason = GIVEN_UP[case]
    for sides in ((BASE, after(ours), after(theirs)), (BASE, after(theirs), after(ours))):
        with pytest.raises(GiveUp, match=reason):
            SQLITE.merge(b"a.db", Contents(*sides), Options())


@needs_apsw
@pytest.mark.parametrize(
    ("schema", "ours", "theirs", "reason"),
    [
        (
            "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES (NULL, 1)",
            "UPDATE t SET v = 2",
            "INSERT INTO t VALUES ('x', 1)",
            "NULL",
        ),
        (
            "CREATE TABLE t (k INTEGER PRIMARY KEY, v, w AS (v + 1))",
            "INSERT INTO t (v) VALUES (1)",
            "INSERT INTO t (k) VALUES (2)",
            "generated",
        ),
        ("CREATE VIRTUAL TABLE t USING fts5(x)", "INSERT INTO t VALUES ('x')", "INSERT INTO t VALUES ('y')", "virtual"),
        (
            "CREATE TABLE t (rowid, oid, _rowid_)",
            "INSERT INTO t VALUES (1, 2, 3)",
            "INSERT INTO t VALUES (1, 2, 4)",
            "without a primary key",
        ),
        (
            "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY)",
            "INSERT INTO t VALUES ('a')",
            "INSERT INTO t VALUES ('A')",
            "constraint",
        ),
        (  # the row is in a changeset, by its old key
            "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2)",
            "UPDATE t SET v = 3 WHERE k = 'b'",
            "UPDATE t SET k = 'A', v = 4 WHERE k = 'a'",
            "no changeset",
        ),
        (
            "CREATE TABLE t (k PRIMARY KEY, v); INSERT INTO t VALUES (1, 1), (2, 2)",
            "UPDATE t SET v = 3 WHERE k = 2",
            "UPDATE t SET k = 1.0, v = 4 WHERE k = 1",
            "no changeset",
        ),
        (
            "CREATE TABLE t (k INTEGER PRIMARY KEY, a, b, CHECK (a + b < 5)); INSERT INTO t VALUES (1, 0, 0)",
            "UPDATE t SET a = 4",
            "UPDATE t SET b = 4",
            "constraint",
        ),
    ],
)
def test_tables_that_changesets_do_not_carry(schema: str, ours: str, theirs: str, reason: str) -> None:
    base = database(schema)
    with pytest.raises(GiveUp, match=reason):
        SQLITE.merge(b"a.db", Contents(base, database(ours, start=base), database(theirs, start=base)), Options())


@needs_apsw
def test_a_table_without_a_key_that_nobody_changed_is_no_obstacle() -> None:
    base = database(
        "CREATE TABLE log (rowid, x); INSERT INTO log VALUES (1, 2), (1, 2); CREATE TABLE t (k INTEGER PRIMARY KEY)"
    )
    sides = [database(f"INSERT INTO t VALUES ({key})", start=base) for key in (1, 2)]
    assert contents(clean(SQLITE, base, *sides)) == contents(database("INSERT INTO t VALUES (1), (2)", start=base))


@needs_apsw
def test_keys_that_were_given_away_are_not_given_again() -> None:
    base = database("CREATE TABLE t (k INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO t (v) VALUES (1)")
    ours = database("INSERT INTO t VALUES (50, 1); DELETE FROM t WHERE k = 50", "UPDATE t SET v = 2", start=base)
    theirs = database("INSERT INTO t VALUES (20, 3)", start=base)
    merged = clean(SQLITE, base, ours, theirs)
    assert contents(merged)["sqlite_sequence"] == ["('t', 50)"]
    assert contents(merged)["t"] == ["(1, 2)", "(20, 3)"]


@needs_apsw
def test_pages_of_another_size_are_given_up() -> None:
    other = database("PRAGMA page_size = 1024", SCHEMA, TRIGGER)
    with pytest.raises(GiveUp, match="differ in page size"):
        SQLITE.merge(b"a.db", Contents(BASE, after("UPDATE people SET age = 1"), other), Options())


@needs_apsw
def test_faults_that_were_there_before_are_no_obstacle() -> None:
    """A foreign key that led nowhere on a side as well."""
    base = database(SCHEMA, "UPDATE people SET city = 99 WHERE id = 2")
    ours, theirs = (database(f"UPDATE people SET age = 1 WHERE id = {key}", start=base) for key in (2, 3))
    both = database("UPDATE people SET age = 1 WHERE id IN (2, 3)", start=base)
    assert contents(clean(SQLITE, base, ours, theirs)) == contents(both)


def in_wal_mode(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("UPDATE cities SET name = 'x' WHERE id = 1")
        connection.commit()
        return path.read_bytes()


@needs_apsw
@pytest.mark.parametrize("side", [0, 1, 2])
def test_wal_mode_is_given_up(tmp_path: Path, side: int) -> None:
    sides = [BASE, after("UPDATE people SET age = 1"), after("UPDATE people SET city = 2")]
    sides[side] = in_wal_mode(tmp_path / "a.db", sides[side])
    with pytest.raises(GiveUp, match="WAL"):
        SQLITE.merge(b"a.db", Contents(*sides), Options())


@needs_apsw
def test_a_schema_that_takes_for_ever_is_given_up() -> None:
    slow = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    base = database("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", f"CREATE VIEW w AS {slow}")
    sides = [database(f"INSERT INTO t VALUES ({key}, 1)", start=base) for key in (1, 2)]
    clean(SQLITE, base, *sides)  # nobody asks a view
    base = database("CREATE TABLE t (k INTEGER PRIMARY KEY, v CHECK (length(hex(zeroblob(v))) > 0))")
    sides = [
        database("INSERT INTO t VALUES (1, 40000000)", start=base),
        database("INSERT INTO t VALUES (2, 1)", start=base),
    ]
    with pytest.raises(GiveUp, match="too big"):
        SQLITE.merge(b"a.db", Contents(base, *sides), Options())


def test_without_a_base_it_is_left_to_the_tree() -> None:
    with pytest.raises(GiveUp, match="without a base"):
        SQLITE.merge(b"a.db", Contents(None, BASE, after("UPDATE people SET age = 1")), Options())


def test_without_the_library_it_is_left_to_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jvs.merge.drivers.sqlite_merge", None)
    with pytest.raises(GiveUp, match=r"\[sqlite\]"):
        SQLITE.merge(b"a.db", Contents(BASE, BASE + b"1", BASE + b"2"), Options())


def test_what_suits() -> None:
    assert SQLITE.suits(b"anything", Contents(BASE, BASE, BASE))
    assert SQLITE.suits(b"anything", Contents(None, BASE, BASE))
    assert not SQLITE.suits(b"a.sqlite", Contents(BASE, BASE, b""))
    assert not SQLITE.suits(b"a.sqlite", Contents(b"SQLite format 2", BASE, BASE))


VALUES = st.sampled_from(["NULL", "0", "1", "1.0", "2.5", "'a'", "'A'", "'b'", "x'61'", "x''", "''"])
KEYS = st.sampled_from(["1", "2", "3", "9"])
EDITS: st.SearchStrategy[str] = st.one_of(
    st.builds(
        lambda k, c, v: f"UPDATE OR IGNORE people SET {c} = {v} WHERE id = {k}",
        KEYS,
        st.sampled_from(["name", "age"]),
        VALUES,
    ),
    st.builds(lambda k, v: f"INSERT OR IGNORE INTO people VALUES ({k}, 'n', {v}, NULL)", KEYS, VALUES),
    st.builds(lambda k: f"DELETE FROM people WHERE id = {k}", KEYS),
    st.builds(lambda a, v: f"INSERT OR REPLACE INTO pairs VALUES ('x', {a}, {v})", KEYS, VALUES),
    st.builds(lambda a: f"DELETE FROM pairs WHERE b = {a}", KEYS),
)
SCRIPTS = st.lists(EDITS, min_size=1, max_size=3).map(";".join)
FEWER = settings(max_examples=40)

Cells = dict[tuple[str, Any], dict[str, str]]


def cells_of(data: bytes) -> Cells:
    """Every row by key, each value with its type."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(data)
        rows: Cells = {}
        for table, width in (("people", 1), ("cities", 1), ("pairs", 2)):
            found = connection.execute(f"SELECT * FROM {table}")
            names = [name for name, *_ in found.description]
            rows.update({(table, row[:width]): dict(zip(names, map(repr, row), strict=True)) for row in found})
        return rows


@needs_apsw
@FEWER
@given(SCRIPTS, SCRIPTS)
def test_a_clean_merge_is_the_merge_of_the_rows(our_script: str, their_script: str) -> None:
    ours, theirs = after(our_script), after(their_script)
    merged = merge(SQLITE, BASE, ours, theirs)
    if merged is None or merged.conflicts:
        return
    base_rows, our_rows, their_rows, rows = map(cells_of, (BASE, ours, theirs, merged.data))
    for key in {*base_rows, *our_rows, *their_rows, *rows}:
        b, o, t, r = (side.get(key) for side in (base_rows, our_rows, their_rows, rows))
        if b in (o, t) or o == t:
            assert r == (t if o == b else o)
            continue
        assert o is not None
        assert t is not None
        assert r is not None
        assert b is not None
        for column in r:
            assert b[column] in (o[column], t[column]) or o[column] == t[column]
            assert r[column] == (t[column] if o[column] == b[column] else o[column])


@needs_apsw
@FEWER
@given(SCRIPTS, SCRIPTS)
def test_swapping_the_sides_changes_nothing(our_script: str, their_script: str) -> None:
    ours, theirs = after(our_script), after(their_script)
    one, two = merge(SQLITE, BASE, ours, theirs), merge(SQLITE, BASE, theirs, ours)
    assert (one is None) == (two is None)
    if one is None or two is None:
        return
    assert sorted((r.base, r.ours, r.theirs) for r in one.conflicts) == swapped(two.conflicts)
    if not one.conflicts:
        assert one.data == two.data
    mine, other = merge(SQLITE, BASE, ours, theirs, OURS), merge(SQLITE, BASE, theirs, ours, THEIRS)
    assert mine is not None
    assert other is not None
    assert contents(mine.data) == contents(other.data)


@needs_apsw
def test_triggers_do_not_run() -> None:
    ours, theirs = after("UPDATE people SET age = 1 WHERE id = 1"), after("UPDATE people SET age = 1 WHERE id = 2")
    assert contents(clean(SQLITE, BASE, ours, theirs))["notes"] == contents(BASE)["notes"]


@needs_apsw
def test_damaged_databases_are_given_up_or_merged_but_never_fail() -> None:
    rng = random.Random(6)
    sides = [BASE, after("UPDATE people SET age = 1 WHERE id = 1"), after("UPDATE people SET city = 2 WHERE id = 3")]
    merged = 0
    for _ in range(400):
        damaged = [bytearray(side) for side in sides]
        for _ in range(rng.randint(1, 4)):
            side = rng.choice(damaged)
            side[rng.randrange(len(side))] = rng.randrange(256)
        if rng.random() < 0.2:
            del damaged[rng.randrange(3)][rng.randrange(len(BASE)) :]
        merged += merge(SQLITE, *(bytes(side) for side in damaged)) is not None  # type: ignore[arg-type]
    assert 0 < merged < 400
