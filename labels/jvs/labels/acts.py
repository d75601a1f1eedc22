"""Acts: what somebody did that moves no label, written into the journal for the audit alone.

The record of an act is `audit.` and its operation; replaying it does nothing. What moves a label, locks, pins, names or
collects has a record of its own, and needs none of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from jvs.castore.backend import WriteTxn
from jvs.errors import UsageError
from jvs.labels import locks
from jvs.labels.model import MAX_ACTOR, MAX_MESSAGE, check_text

if TYPE_CHECKING:
    from jvs.labels.moves import Note

ACT_OP: Final = "audit."
MAX_TARGET: Final = 4096
"""Longest name of what an act was done to, in bytes."""

_MAX_OPERATION = 48
_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")


def record_act(
    txn: WriteTxn,
    note: Note,
    operation: str,
    target: str,
    *,
    label: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Journal that `operation` (such as `worktree.create`) was done to `target`; the note's message is the reason.

    label    whose lock must let the note's nonce act (see `locks.admit`): LeaseError
    details  more of it, JSON; covered by the record's chain, as the target is. Reason and actor may be dropped
    """
    if not 0 < len(operation) <= _MAX_OPERATION or set(operation) - _CHARS:
        raise UsageError(f"{operation[:80]!a} cannot be the name of an act")
    check_text(target, MAX_TARGET, "the target", "usage")
    check_text(note.message, MAX_MESSAGE, "the reason", "bad-message")
    check_text(note.actor, MAX_ACTOR, "the actor", "usage")
    over = [] if label is None else locks.admit(txn, note, [label])
    txn.journal(
        ACT_OP + operation,
        {"target": target, "details": dict(details or {})},
        {"actor": note.actor, "reason": note.message},
    )
    locks.settle(txn, note, over)
