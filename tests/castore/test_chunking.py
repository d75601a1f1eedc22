"""Chunking: cuts are a function of the bytes alone, sizes stay in bounds, memory too."""

from __future__ import annotations

import os
import random
import sys
import tracemalloc
import types
from collections.abc import Iterator

import pyfastcdc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvs.castore.chunking import Chunker, Reader
from jvs.errors import StoreError

TINY = (64, 256, 1024)


def reader(data: bytes, sizes: Iterator[int]) -> Reader:
    """Gives `data` in reads of the sizes given (as far as the buffer goes), then everything."""
    at = 0

    def read(view: memoryview) -> int:
        nonlocal at
        got = data[at : at + min(next(sizes, len(view)), len(view))]
        view[: len(got)] = got
        at += len(got)
        return len(got)

    return read


def cut(chunker: Chunker, data: bytes, *sizes: int) -> list[bytes]:
    return list(chunker.cut(reader(data, iter(sizes))))


def whole(data: bytes, minimum: int, average: int, maximum: int) -> list[bytes]:
    """FastCDC over everything at once."""
    return [bytes(chunk.data) for chunk in pyfastcdc.FastCDC(average, min_size=minimum, max_size=maximum).cut_buf(data)]


def make_bytes(seed: int, size: int, alphabet: int) -> bytes:
    made = random.Random(seed)
    return made.randbytes(size) if alphabet > 255 else bytes(made.choices(range(alphabet), k=size))


@given(
    st.integers(0, 1 << 30),
    st.integers(0, 50_000),
    st.sampled_from([1, 2, 256]),
    st.lists(st.integers(1, 9_000), max_size=40),
)
def test_cuts_depend_on_the_bytes_alone(seed: int, size: int, alphabet: int, reads: list[int]) -> None:
    data = make_bytes(seed, size, alphabet)
    chunks = cut(Chunker(*TINY), data, *reads)
    assert b"".join(chunks) == data
    assert chunks == whole(data, *TINY)


@settings(max_examples=10)
@given(st.integers(0, 1 << 30), st.integers(3 << 20, 12 << 20), st.lists(st.integers(1, 3 << 20), max_size=20))
def test_cuts_do_not_show_where_the_buffer_ends(seed: int, size: int, reads: list[int]) -> None:
    """Streams longer than the buffer of 4 MiB, whatever the reads."""
    sizes = (64 << 10, 256 << 10, 1 << 20)
    data = random.Random(seed).randbytes(size)
    chunks = cut(Chunker(*sizes), data, *reads)
    assert chunks == whole(data, *sizes)


@pytest.mark.parametrize("data", [b"", b"x", bytes(200_000), random.Random(5).randbytes(200_000)], ids=len)
def test_sizes_stay_in_bounds(data: bytes) -> None:
    minimum, _, maximum = TINY
    chunks = cut(Chunker(*TINY), data)
    assert all(minimum <= len(chunk) <= maximum for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= maximum for chunk in chunks[-1:])
    assert bool(chunks) is bool(data)


def test_the_published_sizes_are_kept() -> None:
    sizes = (256 << 10, 1 << 20, 4 << 20)
    chunks = cut(Chunker(*sizes), random.Random(7).randbytes(24 << 20))
    assert all(sizes[0] <= len(chunk) <= sizes[2] for chunk in chunks[:-1])
    assert 10 <= len(chunks) <= 50


def test_an_insertion_at_the_front_moves_few_cuts() -> None:
    data = random.Random(9).randbytes(300_000)
    before = set(cut(Chunker(*TINY), data))
    after = cut(Chunker(*TINY), b"inserted" + data)
    assert sum(chunk not in before for chunk in after) <= 4


def test_a_chunker_cuts_one_stream_after_another_and_several_at_once() -> None:
    chunker = Chunker(*TINY)
    streams = [random.Random(seed).randbytes(40_000 + seed) for seed in range(4)]
    wanted = [whole(data, *TINY) for data in streams]
    assert [cut(chunker, data) for data in streams] == wanted
    running = [chunker.cut(reader(data, iter(()))) for data in streams]
    got: list[list[bytes]] = [[] for _ in streams]
    for _ in range(max(map(len, wanted))):
        for chunks, out in zip(running, got, strict=True):
            out.extend(chunk for chunk in [next(chunks, None)] if chunk is not None)
    assert got == wanted


def test_a_stream_given_up_does_not_spoil_the_next() -> None:
    chunker = Chunker(*TINY)

    def failing(view: memoryview) -> int:
        view[:5] = b"wrong"
        raise OSError(5, "the disk does not answer")

    with pytest.raises(OSError, match="does not answer"):
        list(chunker.cut(failing))
    half = chunker.cut(reader(b"left over " * 10_000, iter(())))
    next(half)
    del half
    data = random.Random(3).randbytes(50_000)
    assert cut(chunker, data) == whole(data, *TINY)


def test_the_buffer_is_kept_from_stream_to_stream() -> None:
    chunker = Chunker(*TINY)
    cut(chunker, b"first")
    tracemalloc.start()
    try:
        for _ in range(50):
            cut(chunker, b"another")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_memory_is_bounded_whatever_the_length() -> None:
    left = (1 << 30) if os.environ.get("JVS_TORTURE") == "1" else (96 << 20)

    def zeros(view: memoryview) -> int:
        nonlocal left
        got = min(left, len(view))
        left -= got
        return got

    total = left
    tracemalloc.start()
    try:
        size = sum(len(chunk) for chunk in Chunker(256 << 10, 1 << 20, 4 << 20).cut(zeros))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == total
    assert peak < 32 << 20


def test_the_slow_fallback_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fallback = types.ModuleType("pyfastcdc")
    fallback.FastCDC = type("FastCDC", (), {"__module__": "pyfastcdc.py.fastcdc"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyfastcdc", fallback)
    with pytest.raises(StoreError, match="fallback is refused") as caught:
        Chunker(*TINY)
    assert caught.value.code == "missing-extra"
    assert caught.value.next is not None
    assert "pip install" in caught.value.next
