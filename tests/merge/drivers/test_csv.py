"""CSV by row and cell: what a table says merges, and every cell that nobody changed stays as it was written."""

from __future__ import annotations

import csv
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.merge.content import Contents, Options
from jvs.merge.drivers.csv_driver import CsvDriver
from jvs.merge.drivers.csv_text import DELIMITERS, MAX_ROWS, Table, value
from jvs.merge.drivers.giveup import GiveUp
from tests.merge.drivers.support import NONE, OURS, THEIRS, clean, merge, regions, swapped

CSV = CsvDriver()

# (base, ours, theirs, merged)
CLEAN = {
    "two cells of a row": ("id,a,b\n1,x,y\n", "id,a,b\n1,X,y\n", "id,a,b\n1,x,Y\n", "id,a,b\n1,X,Y\n"),
    "neighbouring rows": ("id,a\n1,x\n2,y\n", "id,a\n1,X\n2,y\n", "id,a\n1,x\n2,Y\n", "id,a\n1,X\n2,Y\n"),
    "both append": ("id,a\n1,x\n", "id,a\n1,x\n3,c\n", "id,a\n1,x\n2,b\n", "id,a\n1,x\n2,b\n3,c\n"),
    "both append to a sorted table": (
        "id,a\n1,x\n",
        "id,a\n1,x\n2,b\n5,c\n",
        "id,a\n1,x\n3,d\n",
        "id,a\n1,x\n2,b\n3,d\n5,c\n",
    ),
    "numbers are sorted as numbers": (
        "id,a\n9,x\n",
        "id,a\n9,x\n100,c\n",
        "id,a\n9,x\n20,b\n",
        "id,a\n9,x\n20,b\n100,c\n",
    ),
    "one appends, one deletes": ("id,a\n1,x\n2,y\n", "id,a\n1,x\n2,y\n3,z\n", "id,a\n2,y\n", "id,a\n2,y\n3,z\n"),
    "both delete": ("id,a\n1,x\n2,y\n3,z\n", "id,a\n2,y\n3,Z\n", "id,a\n2,Y\n3,z\n", "id,a\n2,Y\n3,Z\n"),
    "quotes stay": ('id,a,b\n1,"x, y",z\n', 'id,a,b\n1,"x, y",Z\n', 'id,a,b\n1,"""x""",z\n', 'id,a,b\n1,"""x""",Z\n'),
    "lines in a cell": (
        'id,a,b\n1,"x\ny",z\n',
        'id,a,b\n1,"x\r\ny",z\n',
        'id,a,b\n1,"x\ny",Z\n',
        'id,a,b\n1,"x\r\ny",Z\n',
    ),
    "quotes added on one side": ("id,a,b\n1,x,y\n", 'id,a,b\n1,"x",y\n', "id,a,b\n1,X,y\n", "id,a,b\n1,X,y\n"),
    "quotes added on one side to another cell": (
        "id,a,b\n1,x,y\n",
        'id,a,b\n"1","x",y\n',
        "id,a,b\n1,x,Y\n",
        'id,a,b\n"1","x",Y\n',
    ),
    "carriage returns": ("id,a,b\r\n1,x,y\r\n", "id,a,b\r\n1,X,y\r\n", "id,a,b\r\n1,x,Y\r\n", "id,a,b\r\n1,X,Y\r\n"),
    "no last newline": ("id,a\n1,x\n2,y", "id,a\n1,X\n2,y", "id,a\n1,x\n2,y\n3,z", "id,a\n1,X\n2,y\n3,z"),
    "the sides end their headers differently": ("id,a", "id,a\n2,y\n", "id,a\r\n1,x", "id,a\n1,x\n2,y\n"),
    "a last newline comes": ("id,a\n1,x\n2,y", "id,a\n1,X\n2,y\n", "id,a\n1,x\n2,Y", "id,a\n1,X\n2,Y\n"),
    "rows move on one side": (
        "id,a\n1,x\n2,y\n3,z\n",
        "id,a\n3,z\n1,x\n2,y\n",
        "id,a\n1,x\n2,Y\n3,z\n",
        "id,a\n3,z\n1,x\n2,Y\n",
    ),
    "two columns name a row": (
        "x,y,v\na,1,5\na,2,5\nb,1,5\n",
        "x,y,v\na,1,6\na,2,5\nb,1,5\n",
        "x,y,v\na,1,5\na,2,7\nb,1,5\n",
        "x,y,v\na,1,6\na,2,7\nb,1,5\n",
    ),
    "a column comes": ("id,a\n1,x\n2,y\n", "id,a,n\n1,x,p\n2,y,q\n", "id,a\n1,x\n2,Y\n", "id,a,n\n1,x,p\n2,Y,q\n"),
    "a column goes": ("id,a,b\n1,x,u\n2,y,v\n", "id,b\n1,u\n2,v\n", "id,a,b\n1,x,U\n2,y,v\n", "id,b\n1,U\n2,v\n"),
    "columns move": (
        "id,a,b\n1,x,u\n2,y,v\n",
        "id,b,a\n1,u,x\n2,v,y\n",
        "id,a,b\n1,x,U\n2,y,v\n",
        "id,b,a\n1,U,x\n2,v,y\n",
    ),
    "both move the columns": ("id,a,b\n1,x,u\n", "id,b,a\n1,u,x\n", "id,b,a\n1,x,u\n", "id,b,a\n1,x,u\n"),
    "a column comes, a row goes": ("id,a\n1,x\n2,y\n", "id,a,n\n1,x,p\n2,y,q\n", "id,a\n1,x\n", "id,a,n\n1,x,p\n"),
    "semicolons": ("id;a,1\n1;x\n2;y\n", "id;a,1\n1;X\n2;y\n", "id;a,1\n1;x\n2;Y\n", "id;a,1\n1;X\n2;Y\n"),
    "tabs": ("id\ta\n1\tx\n2\ty\n", "id\ta\n1\tX\n2\ty\n", "id\ta\n1\tx\n2\tY\n", "id\ta\n1\tX\n2\tY\n"),
    "bars": ("id|a\n1|x\n2|y\n", "id|a\n1|X\n2|y\n", "id|a\n1|x\n2|Y\n", "id|a\n1|X\n2|Y\n"),
    "a mark in front": (
        "\ufeffid,a\n1,x\n2,y\n",
        "\ufeffid,a\n1,X\n2,y\n",
        "\ufeffid,a\n1,x\n2,Y\n",
        "\ufeffid,a\n1,X\n2,Y\n",
    ),
}

# (base, ours, theirs, (where, base, ours, theirs) of each conflict, with ours in place, with theirs)
CONFLICTS = {
    "one cell": (
        "id,a,b,c\n1,x,y,z\n",
        "id,a,b,c\n1,X,y,q\n",
        "id,a,b,c\n1,u,Y,z\n",
        [("row id=1, column a", "x", "X", "u")],
        "id,a,b,c\n1,X,Y,q\n",
        "id,a,b,c\n1,u,Y,q\n",
    ),
    "deleted and changed": (
        "id,a\n1,x\n2,y\n",
        "id,a\n2,y\n",
        "id,a\n1,X\n2,Y\n",
        [("row id=1", "1,x", "", "1,X")],
        "id,a\n2,Y\n",
        "id,a\n1,X\n2,Y\n",
    ),
    "the same new name": (
        "id,a,b\n1,x,y\n",
        "id,a,b\n1,x,y\n2,p,q\n",
        "id,a,b\n1,x,y\n2,p,r\n",
        [("row id=2, column b", "", "q", "r")],
        "id,a,b\n1,x,y\n2,p,q\n",
        "id,a,b\n1,x,y\n2,p,r\n",
    ),
    "two columns name a row": (
        'x,y,v\na,1,5\na,"2",5\nb,1,5\n',
        'x,y,v\na,1,5\na,"2",6\nb,1,5\n',
        'x,y,v\na,1,5\na,"2",7\nb,1,5\n',
        [("row x=a, y=2, column v", "5", "6", "7")],
        'x,y,v\na,1,5\na,"2",6\nb,1,5\n',
        'x,y,v\na,1,5\na,"2",7\nb,1,5\n',
    ),
}

# (base, ours, theirs) that are left to lines
GIVEN_UP = {
    "ragged": ("id,a\n1,x,y\n", "id,a\n1,x,z\n", "id,a\n1,w,y\n"),
    "a blank line": ("id,a\n1,x\n\n", "id,a\n1,y\n\n", "id,a\n1,z\n\n"),
    "one column": ("id\n1\n2\n", "id\n1\n2\n3\n", "id\n0\n1\n2\n"),
    "no names for rows": ("k,v\na,1\na,2\n", "k,v\na,1\na,3\n", "k,v\na,0\na,2\n"),
    "no name": ("id,a\n,x\n1,y\n", "id,a\n,X\n1,y\n", "id,a\n,x\n1,Y\n"),
    "columns of the same name": ("id,a,a\n1,x,y\n", "id,a,a\n1,X,y\n", "id,a,a\n1,x,Y\n"),
    "a column without a name": ("id,\n1,x\n2,y\n", "id,\n1,X\n2,y\n", "id,\n1,x\n2,Y\n"),
    "both rename a row": ("id,a\n1,x\n", "id,a\n2,x\n", "id,a\n3,x\n"),
    "one renames a row, one deletes it": ("id,a\n1,x\n2,y\n", "id,a\n2,y\n3,x\n", "id,a\n2,y\n"),
    "both reorder": ("id,a\n1,x\n2,y\n3,z\n", "id,a\n2,y\n1,x\n3,z\n", "id,a\n1,x\n3,z\n2,y\n"),
    "both add columns": ("id,a\n1,x\n", "id,a,n\n1,x,p\n", "id,a,m\n1,x,q\n"),
    "a column comes, and a row": ("id,a\n1,x\n", "id,a,n\n1,x,p\n", "id,a\n1,x\n2,y\n"),
    "a column goes, and is changed": ("id,a,b\n1,x,y\n", "id,b\n1,y\n", "id,a,b\n1,X,y\n"),
    "a column comes, and a changed row goes": ("id,a\n1,x\n2,y\n", "id,a,n\n1,X,p\n2,y,q\n", "id,a\n2,y\n"),
    "another first column": ("id,a\n1,x\n2,y\n", "n,id,a\n5,1,x\n6,2,y\n", "id,a\n1,x\n2,Y\n"),
    "a quote inside": ('id,a\n1,x"y\n2,y"\n', 'id,a\n1,x"Y\n2,y"\n', 'id,a\n1,X"y\n2,y"\n'),
    "a word in quotes inside": ('id,a\n1,x"y"\n', 'id,a\n1,x"z"\n', 'id,a\n1,w"y"\n'),
    "an open quote": ('id,a\n1,"x\n', 'id,a\n1,"y\n', 'id,a\n1,"z\n'),
    "something behind a quote": ('id,a\n1,"x"y\n', 'id,a\n1,"x"z\n', 'id,a\n1,"w"y\n'),
    "old line ends": ("id,a\r1,x\r2,y\r", "id,a\r1,X\r2,y\r", "id,a\r1,x\r2,Y\r"),
    "two delimiters": ("i,d;a\n1,2;3\n", "i,d;a\n1,2;4\n", "i,d;a\n0,2;3\n"),
    "no common delimiter": ("id,a\n1,x\n", "id;a\n1;x\n", "id,a\n1,y\n"),
    "a mark on one side": ("id,a\n1,x\n", "\ufeffid,a\n1,x\n", "id,a\n1,y\n"),
    "nothing": ("", "id,a\n1,x\n", "id,a\n1,y\n"),
    "open quotes, which must not take quadratic time": (
        'id,a\n"' + 'x"\n"' * 100_000 + '"y',
        "id,a\n1,x\n",
        "id,a\n1,y\n",
    ),
    "a zero byte": ("id,a\n1,x\0\n", "id,a\n1,y\0\n", "id,a\n1,z\0\n"),
    "too many rows": ("id,a\n" + "1,x\n" * (MAX_ROWS + 1), "id,a\n1,x\n", "id,a\n1,y\n"),
    "too many columns": (",".join(map(str, range(3_000))), "id,a\n1,x\n", "id,a\n1,y\n"),
}


@pytest.mark.parametrize("case", CLEAN)
def test_clean(case: str) -> None:
    base, ours, theirs, merged = (text.encode() for text in CLEAN[case])
    assert clean(CSV, base, ours, theirs) == merged


@pytest.mark.parametrize("case", CONFLICTS)
def test_conflicts(case: str) -> None:
    base, ours, theirs, expected, with_ours, with_theirs = CONFLICTS[case]
    sides = base.encode(), ours.encode(), theirs.encode()
    merged = merge(CSV, *sides)
    assert merged is not None
    shown = [(r.where, r.base.decode(), r.ours.decode(), r.theirs.decode()) for r in regions(merged)]
    assert shown == expected
    assert merged.data.decode() == with_ours
    for options, text in ((OURS, with_ours), (THEIRS, with_theirs)):
        settled = merge(CSV, *sides, options)
        assert settled is not None
        assert (settled.data.decode(), settled.conflicts, settled.settled) == (text, (), merged.conflicts)


@pytest.mark.parametrize("case", GIVEN_UP)
def test_what_may_be_no_table_is_given_up(case: str) -> None:
    base, ours, theirs = (text.encode() for text in GIVEN_UP[case])
    for sides in ((base, ours, theirs), (base, theirs, ours)):
        with pytest.raises(GiveUp):
            CSV.merge(b"a.csv", Contents(*sides), Options())


def test_without_a_base_it_is_left_to_lines() -> None:
    with pytest.raises(GiveUp, match="without a base"):
        CSV.merge(b"a.csv", Contents(None, b"id,a\n1,x\n", b"id,a\n1,y\n"), Options())


def test_utf_16_is_given_up() -> None:
    sides = [text.encode("utf-16") for text in ("id,a\n1,x\n", "id,a\n1,y\n", "id,a\n1,z\n")]
    with pytest.raises(GiveUp, match="NUL"):
        CSV.merge(b"a.csv", Contents(*sides), Options())


def test_latin_1_is_merged() -> None:
    base, ours, theirs = "id,a,b\n1,ä,ö\n", "id,a,b\n1,Ä,ö\n", "id,a,b\n1,ä,Ö\n"
    sides = [text.encode("latin-1") for text in (base, ours, theirs)]
    assert clean(CSV, *sides) == "id,a,b\n1,Ä,Ö\n".encode("latin-1")


def test_the_name_of_a_file_says_which_delimiters_it_may_have() -> None:
    sides = Contents(b"i,d\ta\n1,2\t3\n", b"i,d\ta\n1,2\t4\n", b"i,d\ta\n0,9\t3\n1,2\t3\n")
    merged = CSV.merge(b"a.tsv", sides, NONE)
    assert merged is not None
    assert merged.data == b"i,d\ta\n0,9\t3\n1,2\t4\n"
    with pytest.raises(GiveUp):
        CSV.merge(b"a.csv", sides, NONE)
    assert [CSV.suits(path, sides) for path in (b"a.csv", b"d/A.TSV", b"a.txt", b"csv")] == [True, True, False, False]


NAMES = ["1", "2", "3", "10", "a", "b c", 'q"', "x,y", "é", "new\nline"]
WORDS = ["", "x", "y", "long word", 'with "quotes"', "a,b", "a;b", "two\nlines", "3.5"]
Rows = list[list[str]]


@st.composite
def changed(draw: st.DrawFn, rows: Rows) -> Rows:
    result = []
    for name, *cells in rows:
        if draw(st.integers(0, 7)):
            result.append(
                [name, *(cell if draw(st.integers(0, 3)) else draw(st.sampled_from(WORDS)) for cell in cells)]
            )
    names = {row[0] for row in rows}
    new = [name for name in NAMES if name not in names] or ["z"]
    for name in draw(st.lists(st.sampled_from(new), unique=True, max_size=2)):
        width = len(rows[0]) - 1
        result.insert(draw(st.integers(0, len(result))), [name, *(draw(st.sampled_from(WORDS)) for _ in range(width))])
    return result


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    columns = draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=6))
    base = [[name, *(draw(st.sampled_from(WORDS)) for _ in range(columns))] for name in names]
    header = ["id", *"abc"[:columns]]
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))

    def text(rows: Rows) -> bytes:
        out = io.StringIO()
        quoting: int = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([header, *rows])  # type: ignore[arg-type]
        return out.getvalue().encode()

    return text(base), text(draw(changed(base))), text(draw(changed(base)))


def cells_of(data: bytes) -> dict[str, dict[str, str]]:
    """The cells of a table by row and column, as `csv` reads them: the second opinion."""
    text = data.decode()
    delimiter = next(char for char in text[2:] if char in ",;\t|")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}


@given(tables())
def test_a_clean_merge_is_the_merge_of_the_cells(sides: tuple[bytes, bytes, bytes]) -> None:
    merged = merge(CSV, *sides)
    if merged is None or merged.conflicts:
        return
    base, ours, theirs = map(cells_of, sides)
    result = cells_of(merged.data)
    for name in {*base, *ours, *theirs, *result}:
        b, o, t, r = (side.get(name) for side in (base, ours, theirs, result))
        if b in (o, t) or o == t:
            assert r == (t if o == b else o)
            continue
        assert o is not None and t is not None and r is not None  # noqa: PT018
        for column in r:
            was = b[column] if b is not None else None
            assert r[column] == (t[column] if o[column] == was else o[column])
            assert o[column] == was or t[column] == was or o[column] == t[column]


@given(tables())
def test_swapping_the_sides_changes_nothing(sides: tuple[bytes, bytes, bytes]) -> None:
    base, ours, theirs = sides
    one, two = merge(CSV, base, ours, theirs), merge(CSV, base, theirs, ours)
    assert (one is None) == (two is None)
    if one is None or two is None:
        return
    assert sorted((r.base, r.ours, r.theirs) for r in one.conflicts) == swapped(two.conflicts)
    if not one.conflicts:
        assert one.data == two.data
    mine, other = merge(CSV, base, ours, theirs, OURS), merge(CSV, base, theirs, ours, THEIRS)
    assert mine is not None
    assert other is not None
    assert cells_of(mine.data) == cells_of(other.data)


@given(tables())
def test_a_side_without_a_change_gives_the_other(sides: tuple[bytes, bytes, bytes]) -> None:
    base, ours, _ = sides
    for triple in ((base, ours, base), (base, base, ours), (base, ours, ours)):
        merged = merge(CSV, *triple)
        if merged is not None:
            assert (merged.data, merged.conflicts) == (ours, ())


GARBAGE = st.binary(max_size=60) | st.text(',;\t|"\r\nab1', max_size=60).map(str.encode)


@given(GARBAGE, st.sampled_from(DELIMITERS))
def test_garbage_is_read_as_csv_reads_it_or_given_up(data: bytes, delimiter: bytes) -> None:
    try:
        table = Table(data, delimiter)
    except GiveUp:
        return
    again = b"".join([table.lead, *(row.text + row.end for row in (table.header, *table.rows))])
    assert again == data
    rows = [[value(cell).decode("latin-1") for cell in table.cells(row)] for row in (table.header, *table.rows)]
    text = data[len(table.lead) :].decode("latin-1")
    assert rows == list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter.decode(), strict=True))


@given(GARBAGE, GARBAGE, GARBAGE)
def test_garbage_never_makes_the_driver_fail(base: bytes, ours: bytes, theirs: bytes) -> None:
    merge(CSV, b"id,a\n" + base, b"id,a\n" + ours, b"id,a\n" + theirs)


def test_many_rows_and_random_edits() -> None:
    rng = random.Random(8)
    base = [[str(number), str(rng.random()), "x"] for number in range(5_000)]
    ours, theirs = [list(row) for row in base], [list(row) for row in base]
    for number in range(0, 5_000, 7):
        ours[number][1] = "ours"
        theirs[number][2] = "theirs"

    def text(rows: Rows) -> bytes:
        return "".join(",".join(row) + "\n" for row in [["id", "a", "b"], *rows]).encode()

    merged = [[row[0], one[1], two[2]] for row, one, two in zip(base, ours, theirs, strict=True)]
    assert clean(CSV, text(base), text(ours), text(theirs)) == text(merged)
