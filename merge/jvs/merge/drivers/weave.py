"""What structured drivers share: one order for the keys of three sides, and one way to write what means nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
TextT = TypeVar("TextT", str, bytes)


class Woven(NamedTuple, Generic[K]):
    """order: the keys in their merged order. reordered: both sides moved keys they share, each in its own way.
    clashes: (what ours and what theirs inserted) at one place; `order` has one after the other, by `rank`."""

    order: list[K]
    reordered: bool
    clashes: list[tuple[list[K], list[K]]]


def weave(sides: Sequence[Sequence[K]], kept: Collection[K], rank: Callable[[K], Any]) -> Woven[K]:
    """The order of the keys `kept`. sides: all keys of base, ours and theirs; no key twice on a side, each of `kept` in
    ours or theirs. Swapping these two gives the same order.

    Keys that both sides have stand as the side has them that moved some; every other key follows the one it follows
    on its side. Where both sides are sorted by `rank`, which is a total order, so is the result.
    """
    base, ours, theirs = sides
    shared = set(ours) & set(theirs) & set(kept)
    our_order = [key for key in ours if key in shared]
    their_order = [key for key in theirs if key in shared]
    skeleton, reordered = our_order, False
    if our_order != their_order:
        old = set(base)
        was = [key for key in base if key in shared]
        we_moved = [key for key in our_order if key in old] != was
        they_moved = [key for key in their_order if key in old] != was
        if we_moved == they_moved:
            reordered = True
            skeleton = min(our_order, their_order, key=lambda order: [rank(key) for key in order])
        elif they_moved:
            skeleton = their_order
    sort = _is_sorted(ours, rank) and _is_sorted(theirs, rank)
    our_runs = _runs(ours, shared, kept)
    their_runs = _runs(theirs, shared, kept)
    order: list[K] = []
    clashes: list[tuple[list[K], list[K]]] = []
    for anchor in [None, *skeleton]:
        if anchor is not None:
            order.append(anchor)
        one, two = our_runs.get(anchor, []), their_runs.get(anchor, [])
        if one and two:
            clashes.append((one, two))
            if sort:
                order += sorted([*one, *two], key=rank)
                continue
            one, two = sorted((one, two), key=lambda run: [rank(key) for key in run])
        order += one
        order += two
    return Woven(order, reordered, clashes)


def _runs(side: Sequence[K], shared: Collection[K], kept: Collection[K]) -> dict[K | None, list[K]]:
    """What only this side has, by the shared key it follows; None: it follows none."""
    runs: dict[K | None, list[K]] = {}
    anchor: K | None = None
    for key in side:
        if key in shared:
            anchor = key
        elif key in kept:
            runs.setdefault(anchor, []).append(key)
    return runs


def _is_sorted(keys: Sequence[K], rank: Callable[[K], Any]) -> bool:
    ranks = [rank(key) for key in keys]
    return all(one <= two for one, two in pairwise(ranks))


def layout(base: TextT | None, ours: TextT | None, theirs: TextT | None) -> TextT | None:
    """How something that means nothing is written; None on a side that does not have it."""
    if ours is None or theirs is None:
        return ours if theirs is None else theirs
    if ours == base:
        return theirs
    if theirs == base:
        return ours
    return min(ours, theirs, key=lambda text: (len(text), text))
