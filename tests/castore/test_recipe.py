"""Recipes: one encoding for each; long ones are cut into leaves where a chunk's digest says so."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore import recipe
from jvs.castore.digest import Digest, recipe_digest
from jvs.castore.recipe import (
    CHUNKS,
    LEAVES,
    MAX_CHUNKS,
    MAX_LEAVES,
    Piece,
    Recipe,
    build_recipe,
    decode_recipe,
    encode_recipe,
)
from jvs.errors import ManifestError
from tests.castore.strategies import damaged, digests

D = bytes(range(32))
pieces = st.lists(st.builds(Piece, digests, st.one_of(st.integers(1, 5_000), st.integers(1, 2**50))), min_size=1)


def u64(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers)


@given(pieces, st.sampled_from([CHUNKS, LEAVES]))
def test_a_recipe_round_trips(listed: list[Piece], tag: int) -> None:
    decoded = decode_recipe(encode_recipe(tag, listed))
    assert decoded == Recipe(tag, tuple(listed))
    assert decoded.size == sum(piece.length for piece in listed)


@given(pieces.map(lambda listed: encode_recipe(CHUNKS, listed)).flatmap(damaged))
def test_whatever_is_accepted_is_the_one_encoding_of_what_it_says(data: bytes) -> None:
    try:
        decoded = decode_recipe(data)
    except ManifestError:
        return
    assert encode_recipe(*decoded) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_a_canonical_recipe_or_refused(data: bytes) -> None:
    for prefix in (b"", b"\x93\x00\xc4\x20"):
        try:
            decoded = decode_recipe(prefix + data)
        except ManifestError:
            continue
        assert encode_recipe(*decoded) == prefix + data


GOOD = msgpack.packb((0, D, u64(7)))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc1", b"\xc0", GOOD[:-1], GOOD + b"\0", GOOD + GOOD, b"\xdc\x00\x03" + GOOD[1:],
        GOOD.replace(b"\xc4\x20", b"\xd9\x20"), GOOD.replace(b"\xc4\x20", b"\xc5\x00\x20"),
        GOOD.replace(b"\xc4\x08", b"\xa8"), GOOD.replace(b"\x93\x00", b"\x93\xcc\x00"),
        *(
            msgpack.packb(value)
            for value in [
                (), (0,), (0, D), (0, D, u64(7), 0), (2, D, u64(7)), (-1, D, u64(7)), (True, D, u64(7)),
                (False, D, u64(7)), (0.0, D, u64(7)), (None, D, u64(7)), ([], D, u64(7)), (b"", D, u64(7)),
                (0, b"", b""), (0, D, b""), (0, b"", u64(7)), (0, D, u64(7, 7)), (0, D * 2, u64(7)),
                (0, D[1:], u64(7)), (0, D + b"x", u64(7)), (0, D, u64(7)[1:]), (0, D, u64(7) + b"x"),
                (0, D, u64(0)), (0, D * 2, u64(7, 0)), (0, D, u64(2**63)), (0, D * 2, u64(2**62, 2**62)),
                (0, [D], u64(7)), (0, D, [7]), (0, D, 7), (0, D, None), (0, 5, u64(7)), {0: D}, D, 5, "recipe",
                (0, D * (MAX_CHUNKS + 1), u64(*[1] * (MAX_CHUNKS + 1))),
                (1, D * (MAX_LEAVES + 1), u64(*[1] * (MAX_LEAVES + 1))),
            ]
        ),
    ],
    ids=lambda data: data[:24].hex(),
)  # fmt: skip
def test_a_malformed_recipe_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_recipe(data)


def test_the_largest_ones_are_accepted() -> None:
    assert decode_recipe(GOOD) == Recipe(CHUNKS, (Piece(D, 7),))
    assert decode_recipe(encode_recipe(CHUNKS, [Piece(D, 2**63 - 1)])).size == 2**63 - 1
    assert len(decode_recipe(encode_recipe(CHUNKS, [Piece(D, 1)] * MAX_CHUNKS)).pieces) == MAX_CHUNKS
    assert len(decode_recipe(encode_recipe(LEAVES, [Piece(D, 1)] * MAX_LEAVES)).pieces) == MAX_LEAVES


def test_hostile_lengths_cost_bounded_memory() -> None:
    for data in (
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x0f\x42\x40" * 1_000 + bytes(1_000_000),
        b"\x93" * 1_000_000,
        b"\x93\x00\xc6\xff\xff\xff\xff",
        b"\x93\x00\xc4\x00\xdd\x00\x0f\x42\x40" + bytes(1_000_000),
        b"\xdf\xff\xff\xff\xff",
    ):
        tracemalloc.start()
        try:
            with pytest.raises(ManifestError):
                decode_recipe(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3 * len(data) + (1 << 20)


# ------------------------------------------------------------------------------------------------------------- leaves


class Leaves:
    """Collects leaves as `build_recipe` hands them out, each of them checked."""

    def __init__(self) -> None:
        self.by_digest: dict[Digest, tuple[Piece, ...]] = {}
        self.new = 0

    def emit(self, digest: Digest, data: bytes, chunks: Sequence[Piece]) -> None:
        assert recipe_digest(data) == digest
        assert decode_recipe(data) == Recipe(CHUNKS, tuple(chunks))
        self.new += digest not in self.by_digest
        self.by_digest[digest] = tuple(chunks)


def chunks_of(count: int, seed: int = 1) -> list[Piece]:
    made = random.Random(seed)
    return [Piece(made.randbytes(32), made.randint(1, 5_000_000)) for _ in range(count)]


@pytest.mark.parametrize("count", [2, 100, MAX_CHUNKS])
def test_a_recipe_of_so_many_chunks_is_one_record(count: int) -> None:
    leaves = Leaves()
    listed = chunks_of(count)
    data, root = build_recipe(listed, leaves.emit)
    assert decode_recipe(data) == root == Recipe(CHUNKS, tuple(listed))
    assert not leaves.by_digest


@pytest.mark.parametrize("count", [MAX_CHUNKS + 1, 20_000])
def test_a_longer_one_has_leaves(count: int) -> None:
    leaves = Leaves()
    listed = chunks_of(count)
    data, root = build_recipe(listed, leaves.emit)
    assert decode_recipe(data) == root
    assert root.tag == LEAVES
    runs = [leaves.by_digest[leaf.digest] for leaf in root.pieces]
    assert [piece for run in runs for piece in run] == listed
    assert [leaf.length for leaf in root.pieces] == [sum(piece.length for piece in run) for run in runs]
    assert all(len(run) <= MAX_CHUNKS for run in runs)
    for run in runs[:-1]:
        ends = [int.from_bytes(piece.digest[:4], "little") % 1024 == 0 for piece in run]
        assert not any(ends[:-1])
        assert ends[-1] or len(run) == MAX_CHUNKS


def test_chunks_without_a_boundary_are_cut_all_the_same() -> None:
    leaves = Leaves()
    _, root = build_recipe([Piece(b"\x01" * 32, 1)] * 10_000, leaves.emit)
    assert [leaf.length for leaf in root.pieces] == [4096, 4096, 1808]


def test_an_edit_of_a_huge_file_makes_one_leaf() -> None:
    leaves = Leaves()
    listed = chunks_of(50_000)
    build_recipe(listed, leaves.emit)
    leaves.new = 0
    build_recipe([*listed[:25_000], *chunks_of(3, seed=2), *listed[25_001:]], leaves.emit)
    assert leaves.new == 1


def test_a_file_of_too_many_chunks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "MAX_LEAVES", 4)
    with pytest.raises(ManifestError, match="larger chunks"):
        build_recipe(chunks_of(20_000), Leaves().emit)
