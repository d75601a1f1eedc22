"""Pins that people make: snapshots kept until a time, or until they are unpinned (`jvs fs pin`).

The pins of running operations are the content plane's; those live as long as their process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from jvs.castore.backend import ReadTxn, WriteTxn
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import UnknownError, UsageError
from jvs.labels.model import MAX_ACTOR, MAX_MESSAGE, check_text
from jvs.labels.moves import Note
from jvs.labels.purges import current
from jvs.labels.records import MAX_LISTED, write_pin, write_unpin
from jvs.labels.tables import PIN_ID_SIZE, PINS, PinRow, pin_rows


class Pin(NamedTuple):
    """A snapshot that is kept.

    id         16 bytes
    ca_id      the snapshot, or any directory inside one (where it was purged: what took its place)
    at_ms      when it was pinned
    until_ms   from when on the pin protects nothing; None: it has no end
    who, message   who pinned it, and why
    """

    id: bytes
    ca_id: Digest
    at_ms: int
    until_ms: int | None
    who: str
    message: str

    def protects(self, now_ms: int) -> bool:
        """Whether its time has not passed."""
        return self.until_ms is None or now_ms < self.until_ms


def pin(txn: WriteTxn, note: Note, ca_id: Digest, until_ms: int | None = None) -> Pin:
    """Pin a snapshot (of one that is pinned already: once more). Raises CollectedError, UsageError (bad-id,
    bad-message; usage when `until_ms` has passed)."""
    if len(ca_id) != DIGEST_SIZE:
        raise UsageError(f"a CA id has {DIGEST_SIZE} bytes, not {len(ca_id)}", code="bad-id")
    check_text(note.message, MAX_MESSAGE, "the message", "bad-message")
    check_text(note.actor, MAX_ACTOR, "the actor", "usage")
    now_ms = max(0, note.now_ms)
    if until_ms is not None and not now_ms < until_ms < 1 << 63:
        raise UsageError("a pin must end after it begins", next="give a time that lies ahead, or none")
    txn.require(ca_id)
    made = Pin(os.urandom(PIN_ID_SIZE), ca_id, now_ms, until_ms, note.actor, note.message)
    write_pin(txn, made.id, PinRow(*made[1:]))
    return made


def unpin(txn: WriteTxn, note: Note, target: bytes) -> list[Pin]:
    """Remove a pin (`target`: its id) or all pins of a snapshot (its CA id); those that were removed. Raises
    UnknownError (unknown-pin), UsageError (bad-id)."""
    if len(target) not in (PIN_ID_SIZE, DIGEST_SIZE):
        raise UsageError(f"{target.hex()[:80]} is no id of a pin or snapshot", code="bad-id", next="jvs fs pins")
    found = [made for made in _pins(txn) if target in (made.id, made.ca_id)]
    if not found:
        txn.check_table(PINS)
        raise UnknownError(f"there is no pin of {target.hex()[:12]}", code="unknown-pin", id=target.hex())
    for start in range(0, len(found), MAX_LISTED):
        write_unpin(txn, [made.id for made in found[start : start + MAX_LISTED]], note.actor)
    return found


def list_pins(txn: ReadTxn) -> list[Pin]:
    """Every pin, also those whose time has passed and that no gc has removed yet; the oldest first."""
    found = sorted(_pins(txn), key=lambda made: (made.at_ms, made.id))
    txn.check_table(PINS)
    return found


def _pins(txn: ReadTxn) -> Iterator[Pin]:
    # what was purged as a whole is still named by its old id
    return (Pin(pin_id, current(txn, row.ca_id) or row.ca_id, *row[1:]) for pin_id, row in pin_rows(txn))
