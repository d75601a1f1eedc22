"""Positions: where the worktrees of repositories stand, so that no retention window takes that from under them.

The record of a worktree's position is the workspace's, and is a file; here is what of it a collector must know, under
the worktree's *mark*. A position protects its snapshots, and the entries of its spans as a ref protects its entry: of a
worktree that stands at the newest entry of its label just that one, of a detached one also all that are newer.

Whoever saves a worktree says so in the meta of the entry (key `in`: the mark), and stands at that entry from that very
transaction on: a save needs no record of its own. Every other change of a position has one (`stand`, `leave`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.backend import Kind, ReadTxn, WriteTxn
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import UsageError
from jvs.labels.model import MAX_ACTOR, UID_SIZE, check_text
from jvs.labels.purges import current
from jvs.labels.records import MAX_LISTED, write_leave, write_stand
from jvs.labels.tables import MAX_SPANS, POSITIONS, PositionRow, Span, mark_key, position_row, position_rows

if TYPE_CHECKING:
    from jvs.labels.moves import Note


class Position(NamedTuple):
    """Where a worktree stands.

    mark       of the worktree
    snapshots  that are kept: what the directory is, and what an interrupted restore was to make of it
    spans      entries that are kept with their bodies
    """

    mark: str
    snapshots: tuple[Digest, ...]
    spans: tuple[Span, ...]


def stand(txn: WriteTxn, note: Note, mark: str, snapshots: Sequence[Digest], spans: Sequence[Span]) -> bool:
    """Record where a worktree stands, in place of where it stood; whether that changed anything. Snapshots that are
    gone cannot be kept any more, and are left out. Raises UsageError, CollectedError when one goes at this moment."""
    mark_key(mark)
    check_text(note.actor, MAX_ACTOR, "the actor", "usage")
    if len(spans) > MAX_SPANS or [span for span in spans if len(span.uid) != UID_SIZE or span.first < 1]:
        raise UsageError(f"a position has at most {MAX_SPANS} spans of entries")
    there: list[Digest] = []
    for snapshot in dict.fromkeys(snapshots):
        if len(snapshot) != DIGEST_SIZE:
            raise UsageError(f"a CA id has {DIGEST_SIZE} bytes, not {len(snapshot)}", code="bad-id")
        now = current(txn, snapshot)
        if now is not None and txn.info(Kind.PAGE, now) is not None:
            txn.require(now)
            there.append(snapshot)
    row = PositionRow(tuple(there), tuple(spans))
    if position_row(txn, mark) == row:
        return False
    write_stand(txn, mark, row, note.actor)
    return True


def leave(txn: WriteTxn, note: Note, marks: Sequence[str]) -> int:
    """Forget where these worktrees stood: they are gone, or are called otherwise. How many there were."""
    check_text(note.actor, MAX_ACTOR, "the actor", "usage")
    there = [mark for mark in dict.fromkeys(marks) if txn.get(POSITIONS, mark_key(mark)) is not None]
    for start in range(0, len(there), MAX_LISTED):
        write_leave(txn, there[start : start + MAX_LISTED], note.actor)
    return len(there)


def list_positions(txn: ReadTxn) -> list[Position]:
    """Every position, in order of the marks."""
    txn.check_table(POSITIONS)
    return [Position(mark, *row) for mark, row in position_rows(txn)]


class Standings:
    """Which entries the positions of all worktrees keep, as of one transaction."""

    def __init__(self, txn: ReadTxn) -> None:
        self._spans: dict[bytes, list[Span]] = {}
        for _mark, row in position_rows(txn):
            for span in row.spans:
                self._spans.setdefault(span.uid, []).append(span)

    def keep(self, uid: bytes, generation: int) -> bool:
        """Whether a worktree needs that entry of that label."""
        spans = self._spans.get(uid, ())
        return any(span.first <= generation and (span.last is None or generation <= span.last) for span in spans)

    def need(self, uid: bytes) -> bool:
        """Whether a worktree needs any entry of that label."""
        return uid in self._spans
