"""Journal records of the pointer plane, and the one place that turns a record into table rows.

A live move and a replay go through the same `apply_*` functions, so tables rebuilt from the journal are the tables
that were lost (property-tested). What a record means is read off the entry and the label's present state, never off
the name of its op: an op that a newer version invented is applied by what it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from jvs.castore.backend import ReadTxn, WriteTxn
from jvs.castore.digest import DIGEST_SIZE, Digest, body_digest, entry_digest
from jvs.errors import IntegrityError
from jvs.labels.model import WORKTREE, Body, Entry, Skeleton, decode_body, decode_skeleton, join_entry
from jvs.labels.names import is_autosave_name
from jvs.labels.tables import (
    CLOCK,
    DELETED,
    DETACHED,
    ENTRIES,
    FLOORS,
    FORGOTTEN,
    IDS,
    LABELS,
    LOCKS,
    NEEDED,
    PINS,
    POSITIONS,
    REFERRED,
    REFS,
    RETENTION,
    SNAPSHOTS,
    TAGGED,
    TAGS,
    UIDS,
    Ending,
    Head,
    LockRow,
    NameSpan,
    Owner,
    PinRow,
    PolicyRow,
    PositionRow,
    RefRow,
    Span,
    TagRow,
    ending_of,
    entry_bytes,
    entry_key,
    floor_of,
    is_mark,
    lock_row,
    mark_key,
    name_key,
    newest_span,
    number,
    owner_of,
    pack_row,
    place_of,
    policy_revision,
    put_span,
    span_key,
    trusted_until,
    unpack_head,
    unpack_row,
)

LABEL_OP: Final = "label."
"""Journal ops of moves: this and the entry's op, e.g. `label.push`."""
UNTAG_OP: Final = "tag.delete"
DETACH_OP: Final = "detached"
UNDETACH_OP: Final = "detached.expired"
RETENTION_OP: Final = "retention"
PIN_OP: Final = "pin"
UNPIN_OP: Final = "unpin"
LOCK_OP: Final = "lock."
"""Journal ops of locks: this and what was done, e.g. `lock.acquire`. Each has the whole row."""
REF_OP: Final = "ref"
UNREF_OP: Final = "unref"
STAND_OP: Final = "stand"
LEAVE_OP: Final = "leave"
FORGET_OP: Final = "forget"
TRUNCATE_OP: Final = "truncate"
REMOVE_OP: Final = "remove"
TRUST_OP: Final = "clock.trusted"

MAX_LISTED: Final = 256
"""Most pins, snapshots or entries one record names, so that it stays far below the limit of the journal."""


class Move(NamedTuple):
    """One reflog entry as the journal has it.

    name      the label's name after the move
    upstream  uid of the label's upstream after the move
    """

    name: str
    skeleton: bytes
    body: bytes | None
    upstream: bytes | None


def write_move(txn: WriteTxn, name: str, skeleton: Skeleton, body: Body, upstream: bytes | None) -> Entry:
    """Journal and apply a new entry of the label that is called `name` afterwards; the entry as a reader sees it.

    The skeleton's body digest is filled in here. The caller has checked that the entry may be written.
    """
    flesh = body.encode()
    skeleton = skeleton._replace(body=body_digest(flesh))
    move = Move(name, skeleton.encode(), flesh, upstream)
    txn.journal(
        LABEL_OP + skeleton.op,
        {"label": name, "entry": move.skeleton, "upstream": upstream},
        {"entry": move.body},
    )
    return join_entry(name, _apply(txn, move, skeleton, body), skeleton, body)


def write_untag(txn: WriteTxn, tag: str, actor: str, message: str) -> None:
    """Journal and apply the deletion of a tag."""
    txn.journal(UNTAG_OP, {"tag": tag}, {"actor": actor, "message": message})
    apply_untag(txn, tag)


def write_detached(txn: WriteTxn, ca_id: Digest, at_ms: int, parents: Sequence[Digest], actor: str) -> None:
    """Journal and apply a detached record."""
    skeleton = {"ca_id": ca_id, "at_ms": at_ms, "parents": list(parents)}
    txn.journal(DETACH_OP, skeleton, {"actor": actor})
    apply_detached(txn, ca_id, at_ms, parents)


def write_undetached(txn: WriteTxn, ca_ids: Sequence[Digest], actor: str) -> None:
    """Journal and apply the end of detached records (at most MAX_LISTED)."""
    txn.journal(UNDETACH_OP, {"ca_ids": list(ca_ids)}, {"actor": actor})
    apply_undetached(txn, ca_ids)


def write_retention(txn: WriteTxn, pattern: str, policy: bytes | None, at_ms: int, actor: str) -> None:
    """Journal and apply a policy (None: no longer any) of the labels that match."""
    txn.journal(RETENTION_OP, {"pattern": pattern, "policy": policy, "at_ms": at_ms}, {"actor": actor})
    apply_retention(txn, pattern, policy, at_ms)


def write_pin(txn: WriteTxn, pin_id: bytes, row: PinRow) -> None:
    """Journal and apply a pin."""
    txn.journal(
        PIN_OP,
        {"id": pin_id, "ca_id": row.ca_id, "at_ms": row.at_ms, "until": row.until_ms},
        {"actor": row.who, "message": row.message},
    )
    apply_pin(txn, pin_id, row)


def write_unpin(txn: WriteTxn, pin_ids: Sequence[bytes], actor: str) -> None:
    """Journal and apply the removal of pins (at most MAX_LISTED)."""
    txn.journal(UNPIN_OP, {"ids": list(pin_ids)}, {"actor": actor})
    apply_unpin(txn, pin_ids)


def write_lock(txn: WriteTxn, did: str, name: str, row: LockRow, actor: str, reason: str = "") -> None:
    """Journal and apply a lock as it is now, and what was done to it. The nonce itself is written nowhere."""
    txn.journal(
        LOCK_OP + did,
        {
            "label": name,
            "holder": row.holder,
            "token": row.token,
            "acquired": row.acquired_ms,
            "expires": row.expires_ms,
        },
        {"actor": actor, "who": row.who, "session_id": row.session_id, "purpose": row.purpose, "reason": reason},
    )
    apply_lock(txn, name, row)


def write_ref(txn: WriteTxn, name: str, row: RefRow) -> None:
    """Journal and apply a ref."""
    txn.journal(
        REF_OP,
        {"name": name, "entry": row.entry_id, "ca_id": row.ca_id, "at_ms": row.at_ms},
        {"actor": row.who, "message": row.description},
    )
    apply_ref(txn, name, row)


def write_unref(txn: WriteTxn, name: str, actor: str, message: str) -> None:
    """Journal and apply the end of a ref."""
    txn.journal(UNREF_OP, {"name": name}, {"actor": actor, "message": message})
    apply_unref(txn, name)


def write_stand(txn: WriteTxn, mark: str, row: PositionRow, actor: str) -> None:
    """Journal and apply where a worktree stands."""
    skeleton = {"mark": mark, "snapshots": list(row.snapshots), "spans": [list(span) for span in row.spans]}
    txn.journal(STAND_OP, skeleton, {"actor": actor})
    apply_stand(txn, mark, row)


def write_leave(txn: WriteTxn, marks: Sequence[str], actor: str) -> None:
    """Journal and apply that these worktrees (at most MAX_LISTED) stand nowhere any more."""
    txn.journal(LEAVE_OP, {"marks": list(marks)}, {"actor": actor})
    apply_leave(txn, marks)


def write_forget(txn: WriteTxn, name: str, generation: int, actor: str) -> None:
    """Journal and apply the end of the label deleted under `name` by that generation: it cannot come back."""
    txn.journal(FORGET_OP, {"label": name, "generation": generation}, {"actor": actor})
    apply_forget(txn, name, generation)


def write_truncate(txn: WriteTxn, uid: bytes, generations: Sequence[int], floor: int, actor: str) -> None:
    """Journal and apply the loss of the bodies of these entries of one label (at most MAX_LISTED), after which no
    entry up to `floor` has one."""
    txn.journal(TRUNCATE_OP, {"uid": uid, "generations": list(generations), "floor": floor}, {"actor": actor})
    apply_truncate(txn, uid, generations, floor)


def write_remove(txn: WriteTxn, uid: bytes, generations: Sequence[int], actor: str) -> None:
    """Journal and apply the removal of these entries of a forgotten label (at most MAX_LISTED)."""
    txn.journal(REMOVE_OP, {"uid": uid, "generations": list(generations)}, {"actor": actor})
    apply_remove(txn, uid, generations)


def write_trusted(txn: WriteTxn, at_ms: int, actor: str) -> None:
    """Journal and apply that the clock was said to be right at that time."""
    txn.journal(TRUST_OP, {"at_ms": at_ms}, {"actor": actor})
    apply_trusted(txn, at_ms)


def move_from_journal(skeleton: Mapping[str, Any], body: Mapping[str, Any] | None) -> Move:
    """The move in a journal record; raises IntegrityError when there is none."""
    name, raw, upstream = skeleton.get("label"), skeleton.get("entry"), skeleton.get("upstream")
    flesh = None if body is None else body.get("entry")
    if (
        not isinstance(name, str)
        or not isinstance(raw, bytes)
        or not isinstance(upstream, bytes | None)
        or not isinstance(flesh, bytes | None)
    ):
        raise IntegrityError("a journal record of a label move is not one", code="journal-damaged")
    return Move(name, raw, flesh, upstream)


def apply_move(txn: WriteTxn, move: Move) -> Skeleton:
    """Apply a move read from a journal; returns its skeleton. Raises IntegrityError when it does not verify or does
    not follow from the state of its label."""
    skeleton = decode_skeleton(move.skeleton)
    body = None
    if move.body is not None:
        if body_digest(move.body) != skeleton.body:
            raise IntegrityError(f"the body of {move.name}@{skeleton.generation} is not the one its entry names")
        body = decode_body(move.body)
    _apply(txn, move, skeleton, body)
    return skeleton


def apply_untag(txn: WriteTxn, tag: str) -> None:
    """Delete a tag: every entry that has it loses it, in O(1)."""
    row = tag_row(txn, tag)
    txn.put(TAGS, name_key(tag), pack_row((row.last, row.last)))


def apply_detached(txn: WriteTxn, ca_id: Digest, at_ms: int, parents: Sequence[Digest]) -> None:
    """Record a snapshot without a label. A second record never makes the first one older."""
    known = txn.get(DETACHED, ca_id)
    newest = at_ms if known is None else max(at_ms, detached_at(known))
    txn.put(DETACHED, ca_id, number(newest) + b"".join(parents))


def detached_at(raw: bytes) -> int:
    """When the snapshot in a row of DETACHED was recorded, in ms."""
    return int.from_bytes(raw[:8], "big")


def detached_parents(raw: bytes) -> tuple[Digest, ...]:
    """The entries that snapshot came from."""
    return tuple(raw[at : at + DIGEST_SIZE] for at in range(8, len(raw), DIGEST_SIZE))


def apply_undetached(txn: WriteTxn, ca_ids: Sequence[Digest]) -> None:
    """End detached records."""
    for ca_id in ca_ids:
        txn.delete(DETACHED, ca_id)


def apply_retention(txn: WriteTxn, pattern: str, policy: bytes | None, at_ms: int) -> None:
    """Set or unset a policy, as the next change of policies there is."""
    row = PolicyRow(policy, policy_revision(txn) + 1, at_ms)
    txn.put(RETENTION, pattern.encode("utf-8"), pack_row(row))


def apply_pin(txn: WriteTxn, pin_id: bytes, row: PinRow) -> None:
    """Pin."""
    txn.put(PINS, pin_id, pack_row(row))


def apply_unpin(txn: WriteTxn, pin_ids: Sequence[bytes]) -> None:
    """Remove pins."""
    for pin_id in pin_ids:
        txn.delete(PINS, pin_id)


def apply_lock(txn: WriteTxn, name: str, row: LockRow) -> None:
    """Set a lock. Raises IntegrityError when its token goes back, or is given out twice."""
    before = lock_row(txn, name)
    given = 0 if before is None else before.token
    again = before is not None and row.token == given and row.holder in (None, before.holder)
    if row.token <= given and not again:
        raise IntegrityError(f"the lock of {name} goes from the fencing token {given} to {row.token}")
    txn.put(LOCKS, name_key(name), pack_row(row))


def apply_ref(txn: WriteTxn, name: str, row: RefRow) -> None:
    """Make a ref, and mark its entry: it keeps its body, and its label's entries stay. Raises IntegrityError when there
    is such a ref, or no such entry."""
    if txn.get(REFS, name_key(name)) is not None:
        raise IntegrityError(f"there is a ref {name} already")
    txn.put(REFS, name_key(name), pack_row(row))
    if row.entry_id is not None:
        uid, generation = _place_of_ref(txn, name, row.entry_id)
        txn.put(REFERRED, entry_key(uid, generation) + name_key(name), b"")
        if txn.get(NEEDED, uid) is None:
            txn.put(NEEDED, uid, b"")


def apply_unref(txn: WriteTxn, name: str) -> None:
    """End a ref. Raises IntegrityError when there is none."""
    raw = txn.get(REFS, name_key(name))
    if raw is None:
        raise IntegrityError(f"there is no ref {name} to be deleted")
    row = RefRow(*unpack_row(raw, len(RefRow._fields)))
    txn.delete(REFS, name_key(name))
    if row.entry_id is not None:
        txn.delete(REFERRED, entry_key(*_place_of_ref(txn, name, row.entry_id)) + name_key(name))


def _place_of_ref(txn: ReadTxn, name: str, entry_id: Digest) -> tuple[bytes, int]:
    place = place_of(txn, entry_id)
    if place is None:
        raise IntegrityError(f"the ref {name} is to an entry that is not there")
    return place


def apply_stand(txn: WriteTxn, mark: str, row: PositionRow) -> None:
    """A worktree stands there."""
    txn.put(POSITIONS, mark_key(mark), pack_row(row))


def apply_leave(txn: WriteTxn, marks: Sequence[str]) -> None:
    """Worktrees stand nowhere any more."""
    for mark in marks:
        txn.delete(POSITIONS, mark_key(mark))


def apply_forget(txn: WriteTxn, name: str, generation: int) -> None:
    """A deleted label can no longer come back; its name keeps its tombstone. Raises IntegrityError when there is no
    such deleted label."""
    key = span_key(name, generation)
    raw = txn.get(DELETED, key)
    if raw is None:
        raise IntegrityError(f"no label {name} was deleted by its generation {generation}")
    head = unpack_head(raw)
    txn.delete(DELETED, key)
    txn.put(FORGOTTEN, head.uid, pack_row(Ending(head.generation, head.entry_id, False)))


def apply_truncate(txn: WriteTxn, uid: bytes, generations: Sequence[int], floor: int) -> None:
    """Drop the bodies of entries. Raises IntegrityError when one was never there."""
    for generation in generations:
        found = entry_bytes(txn, uid, generation)
        if found is None:
            raise IntegrityError(f"the label {uid.hex()} has no generation {generation} to be truncated")
        txn.put(ENTRIES, entry_key(uid, generation), pack_row((found[0], None)))
    if floor > floor_of(txn, uid):
        txn.put(FLOORS, uid, number(floor))


def apply_remove(txn: WriteTxn, uid: bytes, generations: Sequence[int]) -> None:
    """Remove entries of a forgotten label, and with the deletion, its newest, all that is known of it but the tombstone
    of its names. Raises IntegrityError when it was not forgotten or one of them is not there."""
    ending = ending_of(txn, uid)
    if ending is None:
        raise IntegrityError(f"the label {uid.hex()} cannot lose its entries: it was not forgotten")
    txn.put(FORGOTTEN, uid, pack_row(ending._replace(going=True)))
    for generation in generations:
        found = entry_bytes(txn, uid, generation)
        if found is None:
            raise IntegrityError(f"the label {uid.hex()} has no generation {generation} to be removed")
        to = decode_skeleton(found[0]).to
        if to is not None and txn.get(SNAPSHOTS, to + uid) == number(generation):
            txn.delete(SNAPSHOTS, to + uid)
        txn.delete(IDS, entry_digest(found[0]))
        txn.delete(ENTRIES, entry_key(uid, generation))
        if generation == ending.generation:
            for table in (FORGOTTEN, FLOORS, UIDS):
                txn.delete(table, uid)


def apply_trusted(txn: WriteTxn, at_ms: int) -> None:
    """Believe the clock until then."""
    txn.put(CLOCK, b"trusted", number(max(at_ms, trusted_until(txn))))


def tag_row(txn: ReadTxn, tag: str) -> TagRow:
    """The serials of a tag; (0, 0) when nothing ever had it."""
    raw = txn.get(TAGS, name_key(tag))
    if raw is None:
        txn.check_table(TAGS)
        return TagRow(0, 0)
    return TagRow(*unpack_row(raw, len(TagRow._fields)))


def _apply(txn: WriteTxn, move: Move, skeleton: Skeleton, body: Body | None) -> Digest:
    entry_id = entry_digest(move.skeleton)
    _place(txn, move, skeleton, entry_id)
    key = entry_key(skeleton.uid, skeleton.generation)
    txn.put(ENTRIES, key, pack_row((move.skeleton, move.body)))
    txn.put(IDS, entry_id, key)
    if skeleton.to is not None:
        txn.put(SNAPSHOTS, skeleton.to + skeleton.uid, number(skeleton.generation))
    for parent in skeleton.parents:
        place = None if parent == skeleton.prev else place_of(txn, parent)
        if place is not None and place[0] != skeleton.uid and txn.get(NEEDED, place[0]) is None:
            txn.put(NEEDED, place[0], b"")
    for tag in body.tags if body is not None else ():
        row = tag_row(txn, tag)
        txn.put(TAGS, name_key(tag), pack_row((row.last + 1, row.floor)))
        txn.put(TAGGED, span_key(tag, row.last + 1), key)
    mark = None if body is None else body.meta.get(WORKTREE)
    if isinstance(mark, str) and is_mark(mark) and skeleton.to is not None and not is_autosave_name(move.name):
        span = Span(skeleton.uid, skeleton.generation, skeleton.generation)
        apply_stand(txn, mark, PositionRow((skeleton.to,), (span,)))
    return entry_id


def _place(txn: WriteTxn, move: Move, new: Skeleton, entry_id: Digest) -> None:
    """Bring LABELS, DELETED, NAMES and UIDS to the state after this move."""
    owner = owner_of(txn, new.uid)
    before = None if owner is None else _standing(txn, move, new, owner)
    _follows(move, new, before)
    content = new.to if new.to is not None or before is None else before.ca_id
    if content is None:
        raise _unexpected(move, new, "it begins with nothing")
    head = pack_row(Head(new.uid, content, new.generation, entry_id, new.at_ms, new.depth, move.upstream))

    lived_as = owner.name if owner is not None and owner.live else None
    lives_as = move.name if new.to is not None else None
    if lived_as is not None and lived_as == lives_as:
        txn.put(LABELS, name_key(lived_as), head)
        return
    if owner is not None and before is not None:
        if owner.live:
            txn.delete(LABELS, name_key(owner.name))
            _close_span(txn, move, new, owner.name, before.generation if lives_as else new.generation)
        else:
            txn.delete(DELETED, span_key(owner.name, before.generation))
    if lives_as is None:
        txn.put(DELETED, span_key(move.name, new.generation), head)
    else:
        if txn.get(LABELS, name_key(lives_as)) is not None:
            raise _unexpected(move, new, "another label has its name")
        txn.put(LABELS, name_key(lives_as), head)
        put_span(txn, lives_as, NameSpan(new.generation, new.uid, None))
    txn.put(UIDS, new.uid, pack_row(Owner(move.name, lives_as is not None)))


def _standing(txn: ReadTxn, move: Move, new: Skeleton, owner: Owner) -> Head:
    """The head a known label has before this move, live or deleted."""
    if owner.live:
        raw = txn.get(LABELS, name_key(owner.name))
    else:
        place = None if new.prev is None else place_of(txn, new.prev)
        raw = None if place is None else txn.get(DELETED, span_key(owner.name, place[1]))
    if raw is None:
        raise _unexpected(move, new, "its label is not there")
    return unpack_head(raw)


def _follows(move: Move, new: Skeleton, before: Head | None) -> None:
    """Check that the entry is the next one of its label."""
    if before is None:
        if new.prev is not None:
            raise _unexpected(move, new, "the entry before it is not there")
        return
    if new.uid != before.uid or new.prev != before.entry_id:
        raise _unexpected(move, new, "it does not follow the newest entry")
    if new.generation <= before.generation or new.at_ms < before.at_ms:
        raise _unexpected(move, new, "its generation or time goes back")


def _close_span(txn: WriteTxn, move: Move, new: Skeleton, name: str, last: int) -> None:
    """Note the last generation a label had under a name it loses."""
    span = newest_span(txn, name)
    if span is None or span.uid != new.uid:
        raise _unexpected(move, new, "its name is not its own")
    put_span(txn, name, span._replace(last=last))


def _unexpected(move: Move, new: Skeleton, why: str) -> IntegrityError:
    return IntegrityError(f"the move of {move.name} to generation {new.generation} does not fit: {why}")
