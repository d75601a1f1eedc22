"""The merge bases of many labels with their upstreams, as the collector asks for them.

A thousand branches of one label have a thousand forks, and a walk from its head down to each of them would cost the
entries made since, a thousand times over. So how far a label's newest entries are a plain chain is found once; the
base of a branch that forked off that chain is where it forked, which the branch's own few entries tell.
"""

from __future__ import annotations

from typing import Final

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import Digest, entry_digest
from jvs.errors import CollectedError
from jvs.labels.lineage import merge_bases
from jvs.labels.model import decode_skeleton
from jvs.labels.tables import Head, ending_of, entries_between, place_of, skeleton_of

WALKED: Final = 1000
"""Most entries of a branch that are looked at before the general way is taken."""

_LAST = (1 << 63) - 1


class _Chain:
    """A label's newest entries, down to the first one that has not just the one before it as its parent."""

    def __init__(self, txn: ReadTxn, uid: bytes) -> None:
        self._txn = txn
        self._uid = uid
        self._plain_to: int | None = None
        self._ended = False
        newest = next(entries_between(txn, uid, 0, _LAST, reverse=True), None)
        self.newest = None if newest is None else entry_digest(newest[1])

    def holds(self, generation: int) -> bool:
        """Whether the newest entry descends from that one by nothing but the entries between. Looks at those between
        once, however often it is asked."""
        if not self._ended and (self._plain_to is None or generation < self._plain_to):
            last = _LAST if self._plain_to is None else self._plain_to
            for found, raw, _body in entries_between(self._txn, self._uid, generation, last, reverse=True):
                skeleton = decode_skeleton(raw)
                self._plain_to = found
                if skeleton.prev is None or skeleton.parents != (skeleton.prev,):
                    self._ended = True
                    break
        return self._plain_to is not None and generation >= self._plain_to


class Bases:
    """Answers for one transaction. Holds a few numbers for each upstream."""

    def __init__(self, txn: ReadTxn) -> None:
        self._txn = txn
        self._chains: dict[bytes, _Chain | None] = {}

    def of(self, head: Head) -> list[Digest]:
        """The merge bases of a label with its upstream; none without one, or when it was forgotten."""
        chain = None if head.upstream is None else self._chain(head.upstream)
        if head.upstream is None or chain is None or chain.newest is None:
            return []
        forks = self._forks(head.entry_id, head.upstream)
        if forks and chain.holds(min(forks)):
            return [forks[max(forks)]]
        try:
            return merge_bases(self._txn, head.entry_id, chain.newest)
        except CollectedError:
            return []

    def _chain(self, uid: bytes) -> _Chain | None:
        if uid not in self._chains:
            self._chains[uid] = None if ending_of(self._txn, uid) is not None else _Chain(self._txn, uid)
        return self._chains[uid]

    def _forks(self, start: Digest, upstream: bytes) -> dict[int, Digest]:
        """The entries of the upstream, by generation, at which walks from `start` first meet it; nothing when there
        are too many ways to go."""
        forks: dict[int, Digest] = {}
        waiting, seen = [start], {start}
        while waiting:
            entry_id = waiting.pop()
            place = place_of(self._txn, entry_id)
            if place is not None and place[0] == upstream:
                forks[place[1]] = entry_id
                continue
            skeleton = skeleton_of(self._txn, entry_id)
            if skeleton is None or len(seen) > WALKED:
                return {}
            waiting.extend(parent for parent in skeleton.parents if parent not in seen)
            seen.update(skeleton.parents)
        return forks
