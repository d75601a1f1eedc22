"""Verification of the pointer plane: every id and link recomputed, every index row checked against the entries."""

from __future__ import annotations

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import Digest
from jvs.errors import IntegrityError
from jvs.labels.model import Entry, decode_entry
from jvs.labels.reads import live_head
from jvs.labels.tables import (
    ALL_TABLES,
    DELETED,
    IDS,
    LABELS,
    SNAPSHOTS,
    UIDS,
    Head,
    Owner,
    entries_between,
    entry_key,
    name_key,
    span_key,
    unpack_head,
    unpack_row,
)


def verify_chain(txn: ReadTxn, name: str) -> int:
    """Verify a live label's whole reflog; the number of entries. See `verify_reflog`."""
    return verify_reflog(txn, name, live_head(txn, name))


def verify_labels(txn: ReadTxn) -> int:
    """Verify every reflog, also of deleted labels, and the sums of every table; the number of entries.

    Raises IntegrityError at the first fault.
    """
    for table in ALL_TABLES:
        txn.check_table(table)
    entries = 0
    for uid, raw in txn.scan(UIDS):
        owner = Owner(*unpack_row(raw, len(Owner._fields)))
        entries += verify_reflog(txn, owner.name, _head(txn, uid, owner))
    if entries != txn.count(IDS):
        raise IntegrityError(f"the reflogs hold {entries} entries, but {txn.count(IDS)} ids are listed")
    return entries


def verify_reflog(txn: ReadTxn, name: str, head: Head) -> int:
    """Recompute the id of every entry of a label and the digest of every body that was not dropped; check that each
    entry follows the one before it (prev, from, generation, time), that the indexes know it, and that the head is the
    last one. Returns the number of entries; raises IntegrityError (damaged) at the first fault."""
    before: Entry | None = None
    count = 0
    for generation, skeleton, body in entries_between(txn, head.uid, 0, head.generation):
        entry = decode_entry(name, skeleton, body)
        if entry.uid != head.uid or entry.generation != generation:
            raise _fault(name, generation, "it is an entry of another place")
        _check_link(name, entry, before)
        if txn.get(IDS, entry.id) != entry_key(head.uid, generation):
            raise _fault(name, generation, "its id is not listed")
        if entry.to is not None and not _is_root(txn, entry.to, head.uid, generation):
            raise _fault(name, generation, "its snapshot is not listed")
        before, count = entry, count + 1
    if before is None or (before.id, before.generation) != (head.entry_id, head.generation):
        raise _fault(name, head.generation, "the head is not the newest entry")
    if before.to is not None and before.to != head.ca_id:
        raise _fault(name, head.generation, "the head has another snapshot than the newest entry")
    return count


def _check_link(name: str, entry: Entry, before: Entry | None) -> None:
    if entry.prev != (None if before is None else before.id):
        raise _fault(name, entry.generation, "it does not follow the entry before it")
    if entry.from_ != (None if before is None else before.to):
        raise _fault(name, entry.generation, "it starts from another snapshot than the entry before it ended at")
    if before is not None and entry.at_ms < before.at_ms:
        raise _fault(name, entry.generation, "it is older than the entry before it")


def _is_root(txn: ReadTxn, ca_id: Digest, uid: bytes, generation: int) -> bool:
    newest = txn.get(SNAPSHOTS, ca_id + uid)
    return newest is not None and int.from_bytes(newest, "big") >= generation


def _head(txn: ReadTxn, uid: bytes, owner: Owner) -> Head:
    if owner.live:
        raw = txn.get(LABELS, name_key(owner.name))
        found = None if raw is None else unpack_head(raw)
    else:
        rows = txn.scan(DELETED, span_key(owner.name, 0), name_key(owner.name) + b"\1")
        found = next((head for head in (unpack_head(raw) for _key, raw in rows) if head.uid == uid), None)
    if found is None or found.uid != uid:
        raise IntegrityError(f"the label {owner.name} has a reflog but no head")
    return found


def _fault(name: str, generation: int, why: str) -> IntegrityError:
    return IntegrityError(f"the reflog of {name} is damaged at generation {generation}: {why}", label=name)
