"""Verification of the pointer plane: every id and link recomputed, every index row checked against the entries."""

from __future__ import annotations

from typing import NamedTuple

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import IntegrityError
from jvs.labels.model import Entry, decode_entry
from jvs.labels.reads import live_head
from jvs.labels.tables import (
    ALL_TABLES,
    DELETED,
    FORGOTTEN,
    IDS,
    LABELS,
    LOCKS,
    NEEDED,
    PIN_ID_SIZE,
    REFERRED,
    SNAPSHOTS,
    UIDS,
    Head,
    LockRow,
    Owner,
    ending_of,
    entries_between,
    entry_at,
    entry_key,
    floor_of,
    name_key,
    owner_of,
    pin_rows,
    place_of,
    policy_rows,
    ref_rows,
    refs_to,
    span_key,
    unpack_head,
    unpack_row,
)


class _End(NamedTuple):
    """Where a reflog must end; `ca_id` None: of a forgotten label, whose content nothing keeps; `going`: the
    beginning of which may have been removed."""

    generation: int
    entry_id: Digest
    ca_id: Digest | None
    going: bool = False


def verify_chain(txn: ReadTxn, name: str) -> int:
    """Verify a live label's whole reflog; the number of entries. See `verify_reflog`."""
    head = live_head(txn, name)
    return verify_reflog(txn, name, head.uid, _end_of(head))


def verify_labels(txn: ReadTxn) -> int:
    """Verify every reflog, also of deleted and forgotten labels, the pins, locks, refs and policies, and the sums of
    every table; the number of entries.

    Raises IntegrityError at the first fault.
    """
    from jvs.labels.retention import decode_policy  # who moves labels needs none of it

    for table in ALL_TABLES:
        txn.check_table(table)
    entries = 0
    for uid, raw in txn.scan(UIDS):
        owner = Owner(*unpack_row(raw, len(Owner._fields)))
        entries += verify_reflog(txn, owner.name, uid, _end(txn, uid, owner))
    if entries != txn.count(IDS):
        raise IntegrityError(f"the reflogs hold {entries} entries, but {txn.count(IDS)} ids are listed")
    for uid, _raw in txn.scan(FORGOTTEN):
        forgotten = owner_of(txn, uid)
        if forgotten is None or forgotten.live:
            raise IntegrityError(f"the label {uid.hex()} is forgotten, but was not deleted")
    for pin_id, pin in pin_rows(txn):
        if len(pin_id) != PIN_ID_SIZE or len(pin.ca_id) != DIGEST_SIZE:
            raise IntegrityError(f"the pin {pin_id.hex()} is not one")
    _verify_locks_and_refs(txn)
    for _pattern, row in policy_rows(txn):
        if row.policy is not None:
            decode_policy(row.policy)
    return entries


def _verify_locks_and_refs(txn: ReadTxn) -> None:
    """Locks have tokens; refs name entries that are there, with that snapshot, and that are marked as named."""
    for key, raw in txn.scan(LOCKS):
        lock = LockRow(*unpack_row(raw, len(LockRow._fields)))
        if lock.token < 1 or (lock.holder is not None and len(lock.holder) != DIGEST_SIZE):
            raise IntegrityError(f"the lock of {key.decode('utf-8')} is not one")
    named = 0
    for name, ref in ref_rows(txn):
        place = None if ref.entry_id is None else place_of(txn, ref.entry_id)
        if ref.entry_id is None:
            continue
        entry = None if place is None else entry_at(txn, *place)
        if place is None or entry is None or entry.to != ref.ca_id or name not in refs_to(txn, *place):
            raise IntegrityError(f"the ref {name} is to an entry that is not there", ref=name)
        named += 1
    if named != txn.count(REFERRED):
        raise IntegrityError(f"{txn.count(REFERRED)} entries are marked as named by refs, {named} are")


def verify_reflog(txn: ReadTxn, name: str, uid: bytes, end: _End) -> int:
    """Recompute the id of every entry of a label and the digest of every body that was not dropped; check that each
    entry follows the one before it (prev, from, generation, time), that the indexes know it, that nothing is left below
    the floor, that checkpoints name entries of this reflog, and that it ends where it must. Returns the number of
    entries; raises IntegrityError (entry-damaged, lineage-broken) at the first fault."""
    before: Entry | None = None
    count = 0
    floor = floor_of(txn, uid)
    for generation, skeleton, body in entries_between(txn, uid, 0, end.generation):
        entry = decode_entry(name, skeleton, body)
        if entry.uid != uid or entry.generation != generation:
            raise _fault(name, generation, "it is an entry of another place")
        if before is not None or not end.going:
            _check_link(name, entry, before)
        if not end.going:
            _check_parents(txn, name, entry)
        if txn.get(IDS, entry.id) != entry_key(uid, generation):
            raise _fault(name, generation, "its id is not listed")
        if entry.to is not None and not _is_root(txn, entry.to, uid, generation):
            raise _fault(name, generation, "its snapshot is not listed")
        if generation <= floor and not entry.dropped:
            raise _fault(name, generation, "it still has a body although everything up to there was truncated")
        _check_checkpoint(txn, name, entry)
        before, count = entry, count + 1
    if before is None or (before.id, before.generation) != (end.entry_id, end.generation):
        raise _fault(name, end.generation, "the head is not the newest entry")
    if before.to is not None and before.to != end.ca_id:
        raise _fault(name, end.generation, "the head has another snapshot than the newest entry")
    return count


def _check_link(name: str, entry: Entry, before: Entry | None) -> None:
    if entry.prev != (None if before is None else before.id):
        raise _broken(name, entry.generation, "it does not follow the entry before it")
    if entry.from_ != (None if before is None else before.to):
        raise _broken(name, entry.generation, "it starts from another snapshot than the entry before it ended at")
    if before is not None and entry.at_ms < before.at_ms:
        raise _broken(name, entry.generation, "it is older than the entry before it")


def _check_parents(txn: ReadTxn, name: str, entry: Entry) -> None:
    """What an entry descends from is there, and marked as needed when it is another label's."""
    for parent in entry.parents:
        place = place_of(txn, parent)
        if place is None:
            raise _broken(name, entry.generation, "an entry that it descends from is not there")
        if place[0] != entry.uid and txn.get(NEEDED, place[0]) is None:
            raise _broken(name, entry.generation, "an entry that it descends from is not marked as needed")


def _check_checkpoint(txn: ReadTxn, name: str, entry: Entry) -> None:
    """A checkpoint says which entry was the newest that was truncated: one of this label, older than itself."""
    removed = entry.meta.get("removed") if entry.op == "checkpoint" else None
    if not isinstance(removed, dict):
        return
    generation, entry_id = removed.get("generation"), removed.get("id")
    if isinstance(generation, int) and isinstance(entry_id, str) and generation < entry.generation:
        try:
            if txn.get(IDS, bytes.fromhex(entry_id)) == entry_key(entry.uid, generation):
                return
        except (ValueError, OverflowError):
            pass
    raise _fault(name, entry.generation, "it is a checkpoint of an entry that is not there")


def _is_root(txn: ReadTxn, ca_id: Digest, uid: bytes, generation: int) -> bool:
    newest = txn.get(SNAPSHOTS, ca_id + uid)
    return newest is not None and int.from_bytes(newest, "big") >= generation


def _end(txn: ReadTxn, uid: bytes, owner: Owner) -> _End:
    if owner.live:
        raw = txn.get(LABELS, name_key(owner.name))
        found = None if raw is None else unpack_head(raw)
    else:
        ending = ending_of(txn, uid)
        if ending is not None:
            return _End(ending.generation, ending.entry_id, None, ending.going)
        rows = txn.scan(DELETED, span_key(owner.name, 0), name_key(owner.name) + b"\1")
        found = next((head for head in (unpack_head(raw) for _key, raw in rows) if head.uid == uid), None)
    if found is None or found.uid != uid:
        raise IntegrityError(f"the label {owner.name} has a reflog but no head")
    return _end_of(found)


def _end_of(head: Head) -> _End:
    return _End(head.generation, head.entry_id, head.ca_id)


def _fault(name: str, generation: int, why: str, code: str = "entry-damaged") -> IntegrityError:
    return IntegrityError(f"the reflog of {name} is damaged at generation {generation}: {why}", code=code, label=name)


def _broken(name: str, generation: int, why: str) -> IntegrityError:
    """What an entry follows or descends from is not what it says."""
    return _fault(name, generation, why, "lineage-broken")
