"""Layouts: what was written is read back, a damaged or foreign record never is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from struct import pack

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore.backend import Kind, Ref
from jvs.castore.digest import Digest, file_digest, layout_checksum
from jvs.castore.layout import Layout, Place, decode_layout, encode_layout
from jvs.castore.manifest import File
from jvs.errors import ManifestError
from tests.castore.strategies import damaged

PAGE = file_digest(b"a page")
OTHER = file_digest(b"another page")
PARTS = [file_digest(b"part %d" % number) for number in range(4)]


def file(number: int, size: int) -> File:
    return File(b"%04d" % number, 0, 0o644, size, file_digest(b"file %d" % number))


@st.composite
def placed(draw: st.DrawFn) -> tuple[list[File], list[Place]]:
    """Files and a place for each; neighbours in a part often follow one another, as they do when written together."""
    files: list[File] = []
    places: list[Place] = []
    for number in range(draw(st.integers(1, 40))):
        made = file(draw(st.integers(0, number)), draw(st.integers(1, 100_000)))
        how = draw(st.sampled_from(["next", "next", "part", "chunk", "recipe"]))
        last = places[-1] if places else None
        if how == "next" and last is not None and last.kind == Kind.PART:
            place = Place(Kind.PART, last.key, last.offset + files[-1].size)
        elif how in ("next", "part"):
            place = Place(Kind.PART, draw(st.sampled_from(PARTS)), draw(st.integers(0, 1 << 20)))
        else:
            place = Place(Kind.CHUNK if how == "chunk" else Kind.RECIPE, made.digest, 0)
        files.append(made)
        places.append(place)
    return files, places


def sealed(body: bytes, page: Digest = PAGE) -> bytes:
    """A record with a right checksum around any body."""
    return layout_checksum(page + body)[:16] + body


def record(parts: object, chunks: object, recipes: object, runs: object) -> bytes:
    return sealed(msgpack.packb((parts, chunks, recipes, runs)))


def runs_of(*runs: Sequence[int]) -> bytes:
    return b"".join(pack(">3I", *run) for run in runs)


@given(placed())
def test_places_round_trip(case: tuple[list[File], list[Place]]) -> None:
    files, places = case
    layout = decode_layout(PAGE, encode_layout(PAGE, files, places))
    assert layout.places(files) == places
    assert set(layout.children()) == {Ref(place.kind, place.key) for place in places}
    assert len(layout.children()) == len(set(layout.children()))


@given(placed())
def test_a_layout_is_one_of_its_own_page(case: tuple[list[File], list[Place]]) -> None:
    with pytest.raises(ManifestError, match="checksum"):
        decode_layout(OTHER, encode_layout(PAGE, *case))


@given(placed(), st.data())
def test_damage_is_noticed(case: tuple[list[File], list[Place]], data: st.DataObject) -> None:
    good = encode_layout(PAGE, *case)
    bad = data.draw(damaged(good))
    if bad != good:
        with pytest.raises(ManifestError):
            decode_layout(PAGE, bad)


def test_every_flipped_bit_and_truncation_is_noticed() -> None:
    good = encode_layout(PAGE, [file(1, 5), file(2, 6)], [Place(Kind.PART, PARTS[0], 0), Place(Kind.PART, PARTS[1], 9)])
    bad = [good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :] for at in range(len(good)) for bit in range(8)]
    for data in bad + [good[:end] for end in range(len(good))] + [good + b"\0"]:
        with pytest.raises(ManifestError):
            decode_layout(PAGE, data)


def test_files_written_together_are_one_run() -> None:
    files = [file(number, 100) for number in range(200)]
    places = [Place(Kind.PART, PARTS[number // 100], number % 100 * 100) for number in range(200)]
    data = encode_layout(PAGE, files, places)
    assert decode_layout(PAGE, data).runs == ((100, 2, 0), (100, 3, 0))
    assert len(data) < 128


def test_large_files_of_one_kind_are_one_run() -> None:
    files = [file(number, 1_000_000) for number in range(6)]
    places = [Place(Kind.CHUNK if number < 3 else Kind.RECIPE, files[number].digest, 0) for number in range(6)]
    assert decode_layout(PAGE, encode_layout(PAGE, files, places)).runs == ((3, 0, 0), (3, 1, 0))


def test_there_is_a_place_for_each_file() -> None:
    with pytest.raises(ValueError, match="zip"):
        encode_layout(PAGE, [file(1, 5)], [])


@given(placed(), placed())
def test_a_layout_that_does_not_fit_is_refused(
    a: tuple[list[File], list[Place]], b: tuple[list[File], list[Place]]
) -> None:
    """Its checksum may be right and its page another one: no wrong place and no crash, however it fits."""
    layout = decode_layout(PAGE, encode_layout(PAGE, *a))
    try:
        places = layout.places(b[0])
    except ManifestError:
        return
    assert len(places) == len(b[0])
    assert all(place.key == file.digest for place, file in zip(places, b[0], strict=True) if place.kind != Kind.PART)


FILES = [file(1, 5), file(2, 6)]
ONE = FILES[0].digest
TWO = FILES[1].digest


@pytest.mark.parametrize(
    "layout",
    [
        Layout((), (), (), ()),
        Layout(tuple(PARTS), (), (), ((1, 2, 0),)),
        Layout(tuple(PARTS), (), (), ((3, 2, 0),)),
        Layout(tuple(PARTS), (), (), (((1 << 32) - 1, 2, 0),)),
        Layout(tuple(PARTS), (), (), ((2, 2, 0), (1, 2, 0))),
        Layout((), (ONE,), (), ((2, 0, 0),)),
        Layout((), (TWO, ONE), (), ((2, 0, 0),)),
        Layout((), (ONE, TWO, ONE), (), ((2, 0, 0),)),
        Layout((), (), (ONE,), ((2, 1, 0),)),
        Layout((), (ONE,), (ONE,), ((1, 0, 0), (1, 1, 0))),
        Layout(tuple(PARTS), (ONE,), (), ((2, 2, 0),)),
        Layout(tuple(PARTS), (), (TWO,), ((2, 2, 0),)),
    ],
    ids=lambda layout: str(layout.runs),
)
def test_a_layout_of_other_files_is_refused(layout: Layout) -> None:
    assert len(Layout(tuple(PARTS), (ONE,), (), ((1, 0, 0), (1, 2, 7))).places(FILES)) == 2
    with pytest.raises(ManifestError):
        layout.places(FILES)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(sealed(b""), id="no body"),
        pytest.param(sealed(b"\xc0"), id="nil"),
        pytest.param(sealed(msgpack.packb(["", "", ""])), id="three"),
        pytest.param(sealed(msgpack.packb([b"", b"", b"", b"", b""])), id="five"),
        pytest.param(sealed(msgpack.packb([b"", b"", b"", b""]) + b"\0"), id="a byte behind"),
        pytest.param(sealed(msgpack.packb({1: 2})), id="a map"),
        pytest.param(record(b"x" * 31, b"", b"", b""), id="half a digest"),
        pytest.param(record(None, b"", b"", b""), id="no digests"),
        pytest.param(record([], b"", b"", b""), id="digests in an array"),
        pytest.param(record(b"", b"", b"", b"x" * 11), id="half a run"),
        pytest.param(record(b"", b"", b"", 5), id="runs are a number"),
        pytest.param(record(b"", b"", b"", runs_of((0, 0, 0))), id="a run of no files"),
        pytest.param(record(b"", b"", b"", runs_of((1, 2, 0))), id="a part that is not listed"),
        pytest.param(record(PARTS[0], b"", b"", runs_of((1, 3, 0))), id="another part that is not listed"),
    ],
)
def test_a_malformed_record_is_refused_whatever_its_checksum(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_layout(PAGE, data)


def test_hostile_lengths_cost_bounded_memory() -> None:
    bodies = [
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x0f\x42\x40" * 1_000 + bytes(1_000_000),
        b"\x94" * 1_000_000,
        b"\x94\xc6\xff\xff\xff\xff",
        b"\x94\xc4\x00\xc4\x00\xc4\x00\xc6\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    ]
    for body in bodies:
        data = sealed(body)
        tracemalloc.start()
        try:
            with pytest.raises(ManifestError):
                decode_layout(PAGE, data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3 * len(data) + (1 << 20)
