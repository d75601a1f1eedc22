"""Which entries of one label are inside its retention window, told from the newest to the oldest."""

from __future__ import annotations

from typing import NamedTuple

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import Digest
from jvs.labels.model import HOUSEKEEPING, Spared, glance, nothing_spared, tags_in
from jvs.labels.positions import Standings
from jvs.labels.records import tag_row
from jvs.labels.retention import Keeper
from jvs.labels.tables import TAGGED, entry_key, refs_to, span_key

CHECKPOINT = "checkpoint"
SPARED = "spared"
WORKTREE_STANDS = "a worktree stands there, or is detached below"


class Judged(NamedTuple):
    """An entry that still has its body: its snapshot, and why it stays (nothing: it has left the window)."""

    generation: int
    to: Digest | None
    reasons: tuple[str, ...]

    @property
    def leaving(self) -> bool:
        """Whether truncation takes its body."""
        return not self.reasons


class Window:
    """Judges the entries of one label. Holds a few numbers, and a few words for each tag that was deleted and used
    again.

    keeper     the label's policy; None: of a forgotten label, where only tags, refs and worktrees keep anything
    standings  what worktrees need
    """

    def __init__(
        self, uid: bytes, keeper: Keeper | None, standings: Standings, spared: Spared = nothing_spared
    ) -> None:
        self._uid = uid
        self._keeper = keeper
        self._standings = standings
        self._spared = spared
        self._serials: dict[str, int] = {}
        self._checkpoints: list[Judged] = []
        self._left = keeper is None

    def judge(self, txn: ReadTxn, generation: int, skeleton: bytes, body: bytes) -> list[Judged]:
        """What is known after the next older entry: of a checkpoint only later on, since it goes with the first real
        entry that leaves (whose truncation writes another checkpoint), else stays."""
        at_ms, to, op = glance(skeleton)
        if op == CHECKPOINT:
            self._checkpoints.append(Judged(generation, to, ()))
            return self._released() if self._left else []
        reasons = (op,) if op in HOUSEKEEPING else self._reasons(at_ms)
        if not reasons:
            reasons = tuple(f"tag {tag}" for tag in tags_in(body) if self._tagged(txn, generation, tag))
        if not reasons:
            reasons = tuple(f"ref {name}" for name in refs_to(txn, self._uid, generation))
        if not reasons and self._standings.keep(self._uid, generation):
            reasons = (WORKTREE_STANDS,)
        if not reasons and to is not None and self._spared(to):
            reasons = (SPARED,)
        self._left = self._left or not reasons
        before = self._released() if self._left else []
        return [*before, Judged(generation, to, reasons)]

    def rest(self) -> list[Judged]:
        """What is known after the oldest entry."""
        return [one._replace(reasons=(CHECKPOINT,)) for one in self._checkpoints]

    def _reasons(self, at_ms: int) -> tuple[str, ...]:
        return () if self._keeper is None else self._keeper.reasons(at_ms)

    def _released(self) -> list[Judged]:
        released, self._checkpoints = self._checkpoints, []
        return released

    def _tagged(self, txn: ReadTxn, generation: int, tag: str) -> bool:
        """Whether an entry that was given this tag still has it: the tag may have been deleted since.

        The serials of a tag rise along a label, so each look-up goes on where the one before it ended.
        """
        last, floor = tag_row(txn, tag)
        if not floor or last == floor:
            return not floor
        start, stop = span_key(tag, floor + 1), span_key(tag, self._serials.get(tag, last) + 1)
        wanted = entry_key(self._uid, generation)
        for key, place in txn.scan(TAGGED, start, stop, reverse=True):
            self._serials[tag] = int.from_bytes(key[-8:], "big")
            if place.startswith(self._uid) and place <= wanted:  # those above were passed already
                return place == wanted
        return False
