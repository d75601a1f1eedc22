"""Manifest pages: one encoding for each, and nothing else is accepted."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jvs.castore.digest import EMPTY_DIGEST
from jvs.castore.manifest import (
    EMPTY_PAGE,
    EMPTY_TREE,
    INDEX,
    LEAF,
    MAX_LEVEL,
    MAX_RUN,
    MAX_SINGLE,
    SINGLE,
    Child,
    Directory,
    Entry,
    File,
    Page,
    Symlink,
    decode_page,
    encode_entries,
    encode_index,
    small_files,
    totals,
)
from jvs.errors import ManifestError
from tests.castore.strategies import damaged, digests, directories_of, names

D = bytes(range(32))
FILE = File(b"f", 0, 0o644, 5, D)
DIRECTORY = Directory(b"g", 1, 0o755, D, 7, 9)
LINK = Symlink(b"h", 2, b"target")
ROWS: tuple[Any, ...] = (tuple(FILE), tuple(DIRECTORY), tuple(LINK))
CHILD = Child(b"m", D, 2, 3, 4)
LARGEST = 2**63 - 1


@st.composite
def children(draw: st.DrawFn) -> list[Child]:
    lasts = sorted(draw(st.lists(names, min_size=1, max_size=30, unique=True)))
    out = []
    for last in lasts:
        own = draw(st.integers(1, 5_000))
        out.append(Child(last, draw(digests), own, own + draw(st.integers(0, 2**40)), draw(st.integers(0, 2**50))))
    return out


def encode(page: Page) -> bytes:
    return encode_index(page.level, page.children) if page.tag == INDEX else encode_entries(page.tag, page.entries)


def pack(*page: object) -> bytes:
    data: bytes = msgpack.packb(page)
    return data


@given(directories_of(40), st.sampled_from([SINGLE, LEAF]))
def test_entries_round_trip(entries: list[Entry], tag: int) -> None:
    data = encode_entries(tag, entries)
    if tag == LEAF and not entries:
        with pytest.raises(ManifestError):
            decode_page(data)
        return
    page = decode_page(data)
    assert page == Page(tag, 0, tuple(entries), ())
    assert [type(entry) for entry in page.entries] == [type(entry) for entry in entries]
    assert page.totals == (len(entries), *totals(entries))
    assert page.last == (entries[-1].name if entries else b"")


@given(children(), st.integers(1, MAX_LEVEL))
def test_an_index_round_trips(rows: list[Child], level: int) -> None:
    page = decode_page(encode_index(level, rows))
    assert page == Page(INDEX, level, (), tuple(rows))
    assert page.totals == (sum(c.own for c in rows), sum(c.entries for c in rows), sum(c.bytes for c in rows))
    assert page.last == rows[-1].last


@given(
    st.one_of(
        directories_of(6).map(lambda entries: encode_entries(SINGLE, entries)),
        directories_of(6).map(lambda entries: encode_entries(LEAF, entries)),
        children().map(lambda rows: encode_index(1, rows)),
    ).flatmap(damaged)
)
def test_whatever_is_accepted_is_the_one_encoding_of_what_it_says(data: bytes) -> None:
    try:
        page = decode_page(data)
    except ManifestError:
        return
    assert encode(page) == data


@given(st.binary(max_size=200))
@example(b"")
@example(EMPTY_PAGE + b"\0")
def test_any_bytes_are_a_canonical_page_or_refused(data: bytes) -> None:
    for prefix in (b"", b"\x92\x00\x91", b"\x93\x02\x01\x91"):
        try:
            page = decode_page(prefix + data)
        except ManifestError:
            continue
        assert encode(page) == prefix + data


def test_the_empty_directory() -> None:
    assert decode_page(EMPTY_PAGE) == Page(SINGLE, 0, (), ())
    assert EMPTY_PAGE == b"\x92\x00\x90"
    assert (EMPTY_TREE.entries, EMPTY_TREE.bytes) == (0, 0)


def with_field(row: tuple[Any, ...], field: int, value: object) -> tuple[Any, ...]:
    return (*row[:field], value, *row[field + 1 :])


NO_NAMES: list[object] = [
    b"", b".", b"..", b"a/b", b"a\0b", b".jvs", b".JVS", b".jVs", b"x" * 256, "text", 5, None, (b"f",), True, 1.5,
]  # fmt: skip
NO_NUMBERS: list[object] = [-1, 2**63, 2**64 - 1, 5.0, True, None, b"5", (5,)]
NO_DIGESTS: list[object] = [b"", D[:31], D + b"x", None, 5, "d" * 32]
BAD_ROWS: list[object] = [
    *(with_field(row, 0, name) for row in ROWS for name in NO_NAMES),
    *(with_field(row, 1, kind) for row in ROWS for kind in (3, -1, True, None, b"", 0.0, 1.0, (), "0")),
    *(with_field(row, 2, mode) for row in ROWS[:2] for mode in (*NO_NUMBERS, 0o10000)),
    *(with_field(ROWS[0], 3, size) for size in NO_NUMBERS),
    *(with_field(ROWS[0], 4, digest) for digest in NO_DIGESTS),
    *(with_field(ROWS[1], 3, digest) for digest in NO_DIGESTS),
    *(with_field(ROWS[1], field, total) for field in (4, 5) for total in NO_NUMBERS),
    *(with_field(ROWS[2], 2, target) for target in (b"", b"a\0b", b"x" * 4096, "text", None, 5, (b"a",))),
    *(row[:-1] for row in ROWS),
    *((*row, 0) for row in ROWS),
    *(ROWS[a][:1] + ROWS[b][1:2] + ROWS[a][2:] for a in range(3) for b in range(3) if a != b),
    with_field(ROWS[0], 3, 0),  # no bytes, and not the digest of no bytes
    (), (b"f",), b"f", 5, None, {},
]  # fmt: skip


@pytest.mark.parametrize("row", BAD_ROWS, ids=repr)
@pytest.mark.parametrize("tag", [SINGLE, LEAF])
def test_a_malformed_row_is_refused(row: object, tag: int) -> None:
    for rows in ([row], [(b"a", 2, b"t"), row], [row, (b"z", 2, b"t")]):
        with pytest.raises(ManifestError):
            decode_page(pack(tag, rows))


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_the_rows_that_were_spoilt_are_good(row: tuple[Any, ...]) -> None:
    third: list[object] = [b"x" * 4095, b"/", b".."] if row == ROWS[2] else [0, 0o7777]
    for good in (
        *(with_field(row, 0, name) for name in (b"x" * 255, b"\xff", b".jvs-")),
        *(with_field(row, 2, value) for value in third),
    ):
        assert len(decode_page(pack(SINGLE, [good])).entries) == 1


@pytest.mark.parametrize("names", [(b"a", b"a"), (b"b", b"a"), (b"ab", b"a"), (b"a", b"c", b"b"), (b"\xff", b"a")])
def test_names_out_of_order_are_refused(names: tuple[bytes, ...]) -> None:
    with pytest.raises(ManifestError, match="order"):
        decode_page(encode_entries(SINGLE, [Symlink(name, 2, b"t") for name in names]))
    with pytest.raises(ManifestError, match="order"):
        decode_page(encode_index(1, [CHILD._replace(last=name) for name in names]))


@pytest.mark.parametrize(
    "row",
    [
        *(with_field(tuple(CHILD), 0, name) for name in NO_NAMES),
        *(with_field(tuple(CHILD), 1, digest) for digest in NO_DIGESTS),
        *(with_field(tuple(CHILD), field, total) for field in (2, 3, 4) for total in NO_NUMBERS),
        CHILD._replace(own=0),
        CHILD._replace(own=CHILD.entries + 1),
        tuple(CHILD)[:-1],
        (*CHILD, 0),
        (), b"", 5, None,
    ],
    ids=repr,
)  # fmt: skip
def test_a_malformed_index_row_is_refused(row: object) -> None:
    with pytest.raises(ManifestError):
        decode_page(pack(INDEX, 1, [row]))


@pytest.mark.parametrize(
    "page",
    [
        (), (0,), (0, []) * 2, (3, []), (0, 0, []), (1, []), (2, []), (2, 1), (2, 1, []), (2, 0, [tuple(CHILD)]),
        (2, MAX_LEVEL + 1, [tuple(CHILD)]), (2, True, [tuple(CHILD)]), (True, [tuple(FILE)]), (False, []), (0.0, []),
        (None, []), (0, None), (0, b""), (0, 5), (0, {}), (2, 1, None), (2, 1, b""), (b"\0", []), ([], []),
        (-1, []), (2, -1, [tuple(CHILD)]), (2, 1, [tuple(CHILD)], 0), ("0", []),
    ],
    ids=repr,
)  # fmt: skip
def test_an_unknown_shape_is_refused(page: tuple[object, ...]) -> None:
    with pytest.raises(ManifestError):
        decode_page(pack(*page))


@pytest.mark.parametrize("value", [0, 0.0, None, True, b"", "", {}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2)])
def test_what_is_no_array_is_refused(value: object) -> None:
    with pytest.raises(ManifestError):
        decode_page(msgpack.packb(value))


def test_pages_have_a_largest_size() -> None:
    links = [Symlink(b"%05d" % number, 2, b"t") for number in range(MAX_RUN + 1)]
    assert len(decode_page(encode_entries(SINGLE, links[:MAX_SINGLE])).entries) == MAX_SINGLE
    assert len(decode_page(encode_entries(LEAF, links[:MAX_RUN])).entries) == MAX_RUN
    rows = [CHILD._replace(last=link.name) for link in links]
    assert len(decode_page(encode_index(1, rows[:MAX_RUN])).children) == MAX_RUN
    for data in (
        encode_entries(SINGLE, links[: MAX_SINGLE + 1]),
        encode_entries(LEAF, links),
        encode_index(1, rows),
    ):
        with pytest.raises(ManifestError):
            decode_page(data)


def test_totals_that_no_parent_could_hold_are_refused() -> None:
    half = 2**62
    files = [File(b"a", 0, 0o644, half, D), File(b"b", 0, 0o644, half - 1, D)]
    assert decode_page(encode_entries(SINGLE, files)).totals == (2, 2, LARGEST)
    directory = Directory(b"d", 1, 0o755, D, LARGEST, 0)
    rows = [Child(b"a", D, 1, half, half), Child(b"b", D, 1, half, 0)]
    for data in (
        encode_entries(SINGLE, [files[0], files[1]._replace(size=half)]),
        encode_entries(SINGLE, [directory]),  # itself and what is below it
        encode_index(1, rows),
    ):
        with pytest.raises(ManifestError, match="totals"):
            decode_page(data)


GOOD = pack(SINGLE, [(b"f", 0, 5, 7, D)])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("byte string instead of small number", GOOD.replace(b"\x00\x05\x07", b"\x00\x05\xc4\x01\x07")),
        ("8-bit mode", GOOD.replace(b"\x00\x05\x07", b"\x00\xcc\x05\x07")),
        ("16-bit mode", GOOD.replace(b"\x00\x05\x07", b"\x00\xcd\x00\x05\x07")),
        ("32-bit size", GOOD.replace(b"\x00\x05\x07", b"\x00\x05\xce\x00\x00\x00\x07")),
        ("64-bit size", GOOD.replace(b"\x00\x05\x07", b"\x00\x05\xcf\x00\x00\x00\x00\x00\x00\x00\x07")),
        ("signed size", GOOD.replace(b"\x00\x05\x07", b"\x00\x05\xd0\x07")),
        ("signed 64-bit size", GOOD.replace(b"\x00\x05\x07", b"\x00\x05\xd3\x00\x00\x00\x00\x00\x00\x00\x07")),
        ("8-bit kind", GOOD.replace(b"\x00\x05\x07", b"\xcc\x00\x05\x07")),
        ("8-bit tag", b"\x92\xcc\x00" + GOOD[2:]),
        ("16-bit length of the page", b"\xdc\x00\x02" + GOOD[1:]),
        ("32-bit length of the page", b"\xdd\x00\x00\x00\x02" + GOOD[1:]),
        ("16-bit length of the rows", GOOD[:2] + b"\xdc\x00\x01" + GOOD[3:]),
        ("16-bit length of a row", GOOD[:3] + b"\xdc\x00\x05" + GOOD[4:]),
        ("16-bit length of a name", GOOD.replace(b"\xc4\x01f", b"\xc5\x00\x01f")),
        ("short string as a name", GOOD.replace(b"\xc4\x01f", b"\xa1f")),
        ("8-bit string as a name", GOOD.replace(b"\xc4\x01f", b"\xd9\x01f")),
        ("string as a digest", GOOD.replace(b"\xc4\x20", b"\xd9\x20")),
        ("a byte behind", GOOD + b"\0"),
        ("a page behind", GOOD + GOOD),
        ("nil behind", GOOD + b"\xc0"),
        ("a byte short", GOOD[:-1]),
        ("one row announced, none there", GOOD[:3]),
        ("unused byte of msgpack", b"\xc1"),
        ("a map of one", b"\x92\x00\x81\x01\x01"),
    ],
)
def test_another_encoding_of_the_same_page_is_refused(name: str, data: bytes) -> None:
    assert len(decode_page(GOOD).entries) == 1
    assert data != GOOD
    with pytest.raises(ManifestError):
        decode_page(data)


def peak_of(data: bytes) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(ManifestError):
            decode_page(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"\x92\x00\xdd\xff\xff\xff\xff",
        b"\x92\x00\x91\x93\xc6\xff\xff\xff\xff",
        b"\x92\x00\xdf\xff\xff\xff\xff",
        b"\x92\x00\x91\x93\xdb\xff\xff\xff\xff",
        b"\x92\x00\xc9\xff\xff\xff\xff\x05",
        b"\x91" * 1_000_000,
        b"\xdd\x00\x00\x10\x00" * 200_000,
        b"\xdc\x10\x00" * 300_000 + bytes(100_000),
        b"\xdd\x00\x0f\x42\x40" * 1_000 + bytes(1_000_000),
    ],
    ids=lambda data: f"{data[:8].hex()}... ({len(data)})",
)
def test_hostile_lengths_cost_bounded_memory(data: bytes) -> None:
    """Before, nested arrays of announced length took the length of the input times 8,192."""
    assert peak_of(data) < (40 << 20)


def test_small_files_are_the_ones_with_bytes() -> None:
    empty = File(b"e", 0, 0o644, 0, EMPTY_DIGEST)
    assert small_files([empty, FILE, DIRECTORY, LINK]) == [FILE]
    assert totals([empty, FILE, DIRECTORY, LINK]) == (4 + 7, 5 + 9)
