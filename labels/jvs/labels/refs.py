"""Refs: names that never move, and keep what they name until they are deleted (`jvs ref`).

A ref to an entry keeps the entry with its body, as a tag does, and the snapshot; one to a bare snapshot the snapshot.
"""

from __future__ import annotations

from typing import NamedTuple

from jvs.castore.backend import ReadTxn, WriteTxn
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import CollectedError, StateError, UnknownError, UsageError
from jvs.labels.model import MAX_ACTOR, MAX_MESSAGE, check_text
from jvs.labels.moves import Note, parent_entry
from jvs.labels.names import check_name
from jvs.labels.purges import current, existing
from jvs.labels.records import write_ref, write_unref
from jvs.labels.tables import IDS, REFS, RefRow, name_key, place_of, ref_rows, unpack_row


class Ref(NamedTuple):
    """A name that never moves.

    entry_id   the entry it was made from; None: a bare snapshot
    ca_id      the snapshot (where it was purged: what took its place)
    at_ms, who, description   when it was made, by whom, and what for
    """

    name: str
    entry_id: Digest | None
    ca_id: Digest
    at_ms: int
    who: str
    description: str


def create_ref(txn: WriteTxn, note: Note, name: str, target: Digest) -> Ref:
    """Make a ref to an entry or a snapshot (`target`: its id); the note's message describes it. Never onto a name in
    use. Raises StateError (already-exists), UnknownError, CollectedError, UsageError (bad-name, bad-id, bad-message).
    """
    check_name(name, "ref")
    check_text(note.message, MAX_MESSAGE, "the description", "bad-message")
    check_text(note.actor, MAX_ACTOR, "the actor", "usage")
    if len(target) != DIGEST_SIZE:
        raise UsageError(f"an id has {DIGEST_SIZE} bytes, not {len(target)}", code="bad-id")
    if txn.get(REFS, name_key(name)) is not None:
        raise StateError(f"the ref {name} already exists", next=f"jvs ref delete {name}", ref=name)
    entry_id, ca_id = _target(txn, target)
    txn.require(existing(txn, ca_id))
    row = RefRow(entry_id, ca_id, max(0, note.now_ms), note.actor, note.message)
    write_ref(txn, name, row)
    return Ref(name, *row)


def delete_ref(txn: WriteTxn, note: Note, name: str) -> Ref:
    """Delete a ref; what it kept may be collected. Raises UnknownError (unknown-ref)."""
    check_text(note.message, MAX_MESSAGE, "the reason", "bad-message")
    found = get_ref(txn, name)
    write_unref(txn, name, note.actor, note.message)
    return found


def get_ref(txn: ReadTxn, name: str) -> Ref:
    """The ref of that name. Raises UnknownError (unknown-ref), UsageError (bad-name)."""
    raw = txn.get(REFS, name_key(check_name(name, "ref")))
    if raw is None:
        txn.check_table(REFS)
        raise UnknownError(f"the ref {name} was not found", code="unknown-ref", ref=name)
    return _shown(txn, name, RefRow(*unpack_row(raw, len(RefRow._fields))))


def list_refs(txn: ReadTxn) -> list[Ref]:
    """Every ref, in order of the names."""
    txn.check_table(REFS)
    return [_shown(txn, name, row) for name, row in ref_rows(txn)]


def _target(txn: ReadTxn, target: Digest) -> tuple[Digest | None, Digest]:
    """The entry (or None) and the snapshot that an id means."""
    if place_of(txn, target) is None:
        txn.check_table(IDS)
        return None, target
    entry = parent_entry(txn, target)
    if entry is None:
        raise CollectedError(f"the entry {target.hex()[:12]} was forgotten with its label", next="jvs fs ls")
    if entry.to is None:
        raise UnknownError(f"the entry {target.hex()[:12]} deleted its label: there is no content to keep")
    return target, entry.to


def _shown(txn: ReadTxn, name: str, row: RefRow) -> Ref:
    # what was purged as a whole is still named by its old id
    return Ref(name, row.entry_id, current(txn, row.ca_id) or row.ca_id, *row[2:])
