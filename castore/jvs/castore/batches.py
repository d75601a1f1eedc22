"""Cutting a stream into pieces: what a transaction, or a worker, takes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], count: int) -> Iterator[list[T]]:
    """Lists of `count` items in order, the last one of what is left (`itertools.batched`, which Python 3.11 lacks)."""
    iterator = iter(items)
    while batch := list(islice(iterator, count)):
        yield batch
