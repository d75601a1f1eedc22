"""Lineage: which entries a content came from, and the newest ones two contents have in common.

`parents` of an entry is what its content was made from; `prev` (the history of the pointer) plays no part here. An
entry's depth is 1 + the largest depth of its parents, so an entry is always deeper than everything it descends from,
and a walk from the deepest entries down sees every descendant of an entry before the entry itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import Digest
from jvs.errors import CollectedError
from jvs.labels.model import Skeleton
from jvs.labels.tables import skeleton_of

_LEFT, _RIGHT, _STALE = 1, 2, 4
_BOTH = _LEFT | _RIGHT


def merge_bases(txn: ReadTxn, left: Digest, right: Digest) -> list[Digest]:
    """`common_bases` of two entries."""
    return common_bases(txn, (left,), (right,))


def common_bases(txn: ReadTxn, left: Sequence[Digest], right: Sequence[Digest]) -> list[Digest]:
    """The best common ancestors of two contents, each made from some entries: those that are no ancestor of another
    common ancestor.

    An entry is an ancestor of itself. Several are returned after a criss-cross merge, none when the contents share no
    history; ordered deepest first, then by id, whatever the order of the arguments. Reads the entries made since the
    fork and no others (all of them, when there is no common ancestor to stop at).

    Raises CollectedError when the way leads through an entry that is no longer kept, UnknownError for the arguments.
    """
    walk = _Walk(txn)
    for side, entry_ids in ((_LEFT, left), (_RIGHT, right)):
        for entry_id in entry_ids:
            walk.mark(entry_id, side)
    bases: list[Digest] = []
    while walk.undecided():
        entry_id, flags, parents = walk.deepest()
        if flags & (_BOTH | _STALE) == _BOTH:
            bases.append(entry_id)
            flags |= _STALE
        for parent in parents:
            walk.mark(parent, flags)
    return bases


def is_ancestor(txn: ReadTxn, ancestor: Digest, descendant: Digest) -> bool:
    """Whether `descendant`'s content came from `ancestor`'s (an entry is its own ancestor).

    Reads only entries deeper than the ancestor. Raises as `merge_bases` does.
    """
    floor = _skeleton(txn, ancestor).depth
    waiting, seen = [descendant], {descendant}
    while waiting:
        entry_id = waiting.pop()
        if entry_id == ancestor:
            return True
        skeleton = _skeleton(txn, entry_id)
        if skeleton.depth > floor:
            waiting.extend(parent for parent in skeleton.parents if parent not in seen)
            seen.update(skeleton.parents)
    return False


class _Walk:
    """Entries still to be visited, deepest first, with what is known of each."""

    def __init__(self, txn: ReadTxn) -> None:
        self._txn = txn
        self._heap: list[tuple[int, Digest]] = []
        self._flags: dict[Digest, int] = {}
        self._parents: dict[Digest, tuple[Digest, ...]] = {}
        self._fresh = [0, 0, 0, 0]  # waiting entries that are not stale, by the sides that reach them

    def mark(self, entry_id: Digest, flags: int) -> None:
        """Add what is known of an entry that was not visited yet."""
        known = self._flags.get(entry_id)
        if known is None:
            skeleton = _skeleton(self._txn, entry_id)
            self._parents[entry_id] = skeleton.parents
            heapq.heappush(self._heap, (-skeleton.depth, entry_id))
            known = 0
        self._count(known, -1)
        self._flags[entry_id] = known | flags
        self._count(known | flags, 1)

    def _count(self, flags: int, change: int) -> None:
        if flags and not flags & _STALE:
            self._fresh[flags] += change

    def undecided(self) -> bool:
        """Whether a common ancestor may still turn up: one waits, or both sides still have ways of their own."""
        return bool(self._fresh[_BOTH] or (self._fresh[_LEFT] and self._fresh[_RIGHT]))

    def deepest(self) -> tuple[Digest, int, tuple[Digest, ...]]:
        """Take the deepest waiting entry: (id, flags, parents)."""
        _depth, entry_id = heapq.heappop(self._heap)
        flags = self._flags.pop(entry_id)
        self._count(flags, -1)
        return entry_id, flags, self._parents.pop(entry_id)


def _skeleton(txn: ReadTxn, entry_id: Digest) -> Skeleton:
    skeleton = skeleton_of(txn, entry_id)
    if skeleton is None:
        raise CollectedError(
            f"the reflog entry {entry_id.hex()} is no longer kept, so what came before it is not known",
            id=entry_id.hex(),
        )
    return skeleton
