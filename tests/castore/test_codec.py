"""zstd, bounded: what is announced is what comes out, and no frame makes a reader allocate more than its kind may."""

from __future__ import annotations

import os
import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore.backend import Codec, Kind, Stored
from jvs.castore.codec import MAX_SIZE, PROBE, decode, encode
from jvs.errors import IntegrityError

TEXT = b"a line that repeats itself, and again: " * 400


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def frame(plain: bytes, *, write_content_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=write_content_size).compress(plain)


def declared_frame(declared: int, body: bytes = b"", window: int | None = None) -> bytes:
    """A zstd frame whose header declares `declared` bytes; `window`: log2 of its window, else a single segment."""
    magic = b"\x28\xb5\x2f\xfd"
    if window is None:
        header = bytes([0b1110_0000]) + declared.to_bytes(8, "little")
    else:
        header = bytes([0b1100_0000, (window - 10) << 3]) + declared.to_bytes(8, "little")
    return magic + header + body


def bomb(size: int) -> bytes:
    """A valid frame of `size` zero bytes in a few of its own: run-length blocks."""
    blocks = []
    left = size
    while left:
        run = min(left, 128 << 10)
        left -= run
        blocks.append(((run << 3) | (1 << 1) | (left == 0)).to_bytes(3, "little") + b"\0")
    return declared_frame(size, b"".join(blocks), window=20)


@given(st.one_of(st.binary(max_size=2_000), st.integers(0, 600_000).map(lambda n: (TEXT * 40)[:n])), st.integers(1, 5))
def test_what_was_encoded_comes_back(plain: bytes, level: int) -> None:
    stored = encode(plain, level)
    assert stored.size == len(plain)
    assert len(stored.data) <= len(plain)
    assert decode(Kind.CHUNK, stored) == plain


@pytest.mark.parametrize("size", [0, 1, 100, 4 * PROBE, 4 * PROBE + 1, 1 << 20])
def test_what_does_not_shrink_is_stored_raw(size: int) -> None:
    plain = noise(size)
    assert encode(plain, 1) == Stored(Codec.RAW, size, plain)


@pytest.mark.parametrize("level", [1, 3, 19])
def test_what_shrinks_is_compressed(level: int) -> None:
    stored = encode(TEXT * 40, level)
    assert stored.codec == Codec.ZSTD
    assert len(stored.data) < stored.size // 50
    assert decode(Kind.CHUNK, stored) == TEXT * 40


def test_an_incompressible_head_does_not_condemn_a_compressible_body() -> None:
    stored = encode(noise(2 * PROBE) + bytes(1 << 20), 1)
    assert stored.codec == Codec.ZSTD


def test_a_view_is_encoded_as_its_bytes() -> None:
    assert encode(memoryview(TEXT), 1) == encode(TEXT, 1)
    assert encode(memoryview(b"abc"), 1) == Stored(Codec.RAW, 3, b"abc")


@pytest.mark.parametrize("delta", [-1, 1, 1 << 10])
def test_a_frame_must_announce_the_size_the_index_knows(delta: int) -> None:
    with pytest.raises(IntegrityError, match="does not announce"):
        decode(Kind.CHUNK, Stored(Codec.ZSTD, len(TEXT) + delta, frame(TEXT)))


def test_a_raw_object_must_have_the_size_the_index_knows() -> None:
    for size in (2, 4):
        with pytest.raises(IntegrityError, match="announces"):
            decode(Kind.CHUNK, Stored(Codec.RAW, size, b"abc"))


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("codec", list(Codec))
def test_no_kind_is_larger_than_its_limit(kind: Kind, codec: Codec) -> None:
    for size in (MAX_SIZE[kind] + 1, 1 << 62, -1):
        with pytest.raises(IntegrityError, match="format allows"):
            decode(kind, Stored(codec, size, b""))


def test_a_frame_that_does_not_announce_its_size_is_refused() -> None:
    plain = frame(TEXT, write_content_size=False)
    for size in (len(TEXT), 0, -1):
        with pytest.raises(IntegrityError):
            decode(Kind.CHUNK, Stored(Codec.ZSTD, size, plain))


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(IntegrityError, match="unknown way"):
        decode(Kind.CHUNK, Stored(7, len(TEXT), frame(TEXT)))  # type: ignore[arg-type]


def test_a_frame_ends_where_the_object_ends() -> None:
    good = frame(TEXT)
    for extra in (b"x", good, b"\x50\x2a\x4d\x18\x04\0\0\0abcd"):
        with pytest.raises(IntegrityError, match="does not decompress"):
            decode(Kind.CHUNK, Stored(Codec.ZSTD, len(TEXT), good + extra))


def test_every_truncation_is_refused() -> None:
    good = frame(TEXT)
    for end in range(len(good)):
        with pytest.raises(IntegrityError):
            decode(Kind.CHUNK, Stored(Codec.ZSTD, len(TEXT), good[:end]))


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_damaged_frame_gives_the_right_length_or_an_error(at: int, new: bytes) -> None:
    good = frame(TEXT)
    at %= len(good)
    try:
        plain = decode(Kind.CHUNK, Stored(Codec.ZSTD, len(TEXT), good[:at] + new + good[at + len(new) :]))
    except IntegrityError:
        return
    assert len(plain) == len(TEXT)


@given(st.binary(max_size=200), st.integers(-2, 5_000))
def test_any_bytes_give_the_announced_length_or_an_error(data: bytes, size: int) -> None:
    for prefix in (b"", b"\x28\xb5\x2f\xfd"):
        try:
            plain = decode(Kind.PART, Stored(Codec.ZSTD, size, prefix + data))
        except IntegrityError:
            continue
        assert len(plain) == size


@pytest.mark.parametrize(
    ("data", "size"),
    [
        pytest.param(declared_frame(1 << 30, b"\x01\0\0"), 1 << 30, id="declares 1 GiB, index agrees"),
        pytest.param(declared_frame(1 << 30, b"\x01\0\0"), 1 << 20, id="declares 1 GiB, index says 1 MiB"),
        pytest.param(declared_frame((1 << 64) - 1, b"\x01\0\0"), 1 << 20, id="declares all of 64 bits"),
        pytest.param(bomb(1 << 30), 1 << 30, id="holds 1 GiB"),
        pytest.param(bomb(1 << 30), 1 << 20, id="holds 1 GiB, index says 1 MiB"),
        pytest.param(declared_frame(1 << 20, b"\x01\0\0", window=31), 1 << 20, id="wants a window of 2 GiB"),
        pytest.param(declared_frame(16 << 20, b"\x01\0\0"), 16 << 20, id="declares the limit, holds nothing"),
        pytest.param(
            bomb(1 << 20).replace((1 << 20).to_bytes(8, "little"), (1000).to_bytes(8, "little")),
            1000,
            id="holds more than it declares",
        ),
    ],
)
def test_a_bomb_costs_no_more_than_its_kind_allows(data: bytes, size: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            decode(Kind.CHUNK, Stored(Codec.ZSTD, size, data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MAX_SIZE[Kind.CHUNK] + (1 << 20)


def test_a_huge_window_is_never_made() -> None:
    """Everything is decompressed at once, straight into the result: a frame's window is only a number."""
    body = ((1000 << 3) | (1 << 1) | 1).to_bytes(3, "little") + b"\0"
    assert decode(Kind.CHUNK, Stored(Codec.ZSTD, 1000, declared_frame(1000, body, window=31))) == bytes(1000)


def test_the_bomb_of_these_tests_is_a_real_one() -> None:
    assert decode(Kind.CHUNK, Stored(Codec.ZSTD, 1 << 20, bomb(1 << 20))) == bytes(1 << 20)


def test_threads_share_nothing() -> None:
    blocks = [os.urandom(500) + TEXT[: 100 * number] for number in range(100)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda plain: decode(Kind.PART, encode(plain, 1)), blocks)) == blocks
