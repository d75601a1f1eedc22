"""What changes the pointer plane, each inside a write transaction that somebody else may have opened.

Every function checks first and writes last, so that an error leaves the transaction as it was: a push that lost the
race can still record its snapshot as detached in the same transaction. A move is one journal record, and one entry
with the head and the indexes that follow from it (`records`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from jvs.castore.backend import Kind, ReadTxn, WriteTxn
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import CollectedError, LabelMovedError, StateError, UnknownError, UsageError
from jvs.labels import locks
from jvs.labels.model import (
    ANYTHING,
    HOUSEKEEPING,
    MAX_PARENTS,
    UID_SIZE,
    Entry,
    Expect,
    Skeleton,
    new_body,
)
from jvs.labels.names import check_label_name, check_tag, is_autosave_name
from jvs.labels.purges import current, existing, originals
from jvs.labels.reads import live_head, unknown_label, unknown_tag
from jvs.labels.records import tag_row, write_detached, write_move, write_untag
from jvs.labels.tables import (
    DELETED,
    IDS,
    LABELS,
    SNAPSHOTS,
    Head,
    ending_of,
    entry_at,
    entry_by_id,
    head_of,
    name_key,
    newest_deleted,
    newest_span,
    owner_of,
    place_of,
    skeleton_of,
    used_generation,
)

MOVE_OPS: Final = frozenset({"create", "push", "force", "reset", "merge", "autosave", "repoint"})
"""The ops a MoveRequest may have; the others have functions of their own."""

DETACHED_TTL_MS: Final = 24 * 3600 * 1000
"""How long a snapshot recorded without a label stays a root."""

_CREATING = frozenset({"push", "force", "repoint"})


class Note(NamedTuple):
    """Who moves a label, when, and what they say about it: the part every kind of move has.

    nonce  by which the holder of a lock is known (see `locks`)
    """

    now_ms: int
    actor: str = ""
    message: str = ""
    tags: Sequence[str] = ()
    meta: Mapping[str, Any] | None = None
    nonce: str | None = None


class MoveRequest(NamedTuple):
    """A move asked for.

    expect   what the label must be now (see Expect)
    op       one of MOVE_OPS; a push, force or repoint of a label that does not exist is recorded as `create`, and a
             create of one that does as `repoint`
    parents  entry ids the content came from; None: the label's newest entry for a push, none otherwise
    """

    name: str
    new: Digest
    expect: Expect = ANYTHING
    op: str = "push"
    parents: Sequence[Digest] | None = None
    message: str = ""
    tags: Sequence[str] = ()
    meta: Mapping[str, Any] | None = None
    actor: str | None = None


def move(txn: WriteTxn, note: Note, request: MoveRequest) -> Entry:
    """Move or create a label; the new entry. Raises LabelMovedError, LeaseError, CollectedError, UnknownError (a
    parent), UsageError."""
    name = check_label_name(request.name)
    op = request.op
    _check_op(name, op)
    head = head_of(txn, name)
    compare(txn, note, name, head, request.expect)
    parents = request.parents
    if parents is None:
        parents = (head.entry_id,) if head is not None and op == "push" else ()
    if head is not None:
        op = "repoint" if op == "create" else op
        return _append(txn, note, name, head, op, request.new, parents)
    _check_free(txn, name)
    op = "create" if op in _CREATING else op
    return _append(txn, note, name, None, op, request.new, parents, floor=used_generation(txn, name))


def reset(
    txn: WriteTxn, note: Note, name: str, target: Digest, expect: Expect = ANYTHING, *, allow_unlogged: bool = False
) -> Entry:
    """Move a label to `target`, an entry id or a CA id, which must be in the label's own reflog unless
    `allow_unlogged`; raises StateError (not-in-reflog)."""
    head = live_head(txn, name)
    compare(txn, note, name, head, expect)
    source = None if place_of(txn, _digest(target, "a target")) is None else entry_by_id(txn, target)
    content = target if source is None else source.to
    if content is None:
        raise UnknownError(f"the entry {target.hex()[:12]} deleted its label: there is no content to go back to")
    before = (txn.get(SNAPSHOTS, one + head.uid) for one in originals(txn, content))
    logged = next((found for found in before if found is not None), None)
    if logged is None:
        txn.check_table(SNAPSHOTS)
        txn.check_table(IDS)
    if logged is None and not allow_unlogged:
        raise StateError(
            f"{content.hex()[:12]} was never what {name} pointed to",
            code="not-in-reflog",
            next=f"jvs fs reset {name} {content.hex()[:12]} --allow-unlogged",
            label=name,
            ca_id=content.hex(),
        )
    if source is None and logged is not None:
        source = entry_at(txn, head.uid, int.from_bytes(logged, "big"))
    return _append(txn, note, name, head, "reset", content, () if source is None else (source.id,))


def delete(txn: WriteTxn, note: Note, name: str, expect: Expect = ANYTHING) -> Entry:
    """Delete a label: its reflog stays, the name keeps a tombstone, `undelete` brings it back."""
    head = live_head(txn, name)
    compare(txn, note, name, head, expect)
    return _append(txn, note, name, head, "delete", None, (head.entry_id,))


def undelete(txn: WriteTxn, note: Note, name: str) -> Entry:
    """Bring back the label deleted last under this name. Never onto a name in use: StateError (already-exists). Raises
    CollectedError when it has left its window, UnknownError (unknown-label) when there never was one."""
    check_label_name(name)
    if head_of(txn, name) is not None:
        raise StateError(
            f"there is a label {name}: the deleted one cannot come back under its name",
            next=f"jvs fs label --rename {name} OTHER",
            label=name,
        )
    txn.check_table(DELETED)  # a row that vanished must not bring back an older label
    head = newest_deleted(txn, name)
    if head is None:
        span = newest_span(txn, name)
        if span is not None and (owner_of(txn, span.uid) is None or ending_of(txn, span.uid) is not None):
            raise CollectedError(
                f"the label {name} was deleted so long ago that it is no longer kept", next="jvs fs ls", label=name
            )
        raise unknown_label(txn, name)
    deletion = skeleton_of(txn, head.entry_id)
    # The lineage goes round the deletion: an entry without content is nobody's merge base.
    parents = () if deletion is None else deletion.parents
    floor = used_generation(txn, name)
    return _append(txn, note, name, head, "undelete", head.ca_id, parents, floor=floor)


def rename(txn: WriteTxn, note: Note, old: str, new: str, expect: Expect = ANYTHING, *, undoing: bool = False) -> Entry:
    """Give a label another name; its reflog goes with it. undoing: back to the name it had, an autosave's too. Raises
    StateError (already-exists), UsageError."""
    check_label_name(new)
    if is_autosave_name(new) and not undoing:
        raise _reserved(new)
    head = live_head(txn, old)
    compare(txn, note, old, head, expect)
    if head_of(txn, new) is not None:
        raise StateError(f"there is a label {new} already", next="jvs fs ls", label=new)
    _check_free(txn, new, leaving=old)
    note = note._replace(meta={**(note.meta or {}), "renamed_from": old, "renamed_to": new})
    floor = used_generation(txn, new)
    entry = _append(txn, note, new, head, "rename", head.ca_id, (head.entry_id,), floor=floor, leaving=old)
    locks.follow(txn, note, old, new)
    return entry


def undo(txn: WriteTxn, note: Note, name: str, expect: Expect = ANYTHING) -> Entry:
    """Revert the label's newest move: of a create deletes, of a delete undeletes, of a rename renames back, of any
    other move goes back to where it came from. It is a move itself, so undoing twice redoes."""
    check_label_name(name)
    head = head_of(txn, name)
    standing = head if head is not None else newest_deleted(txn, name)
    if standing is None:
        raise unknown_label(txn, name)
    compare(txn, note, name, head, expect)
    newest = _newest_move(txn, name, standing)
    note = note._replace(
        message=note.message or f"undo {newest.op} (generation {newest.generation})",
        meta={**(note.meta or {}), "undo": newest.id.hex()},
    )
    if head is None:
        return undelete(txn, note, name)
    if newest.from_ is None:
        return delete(txn, note, name)
    if newest.op == "rename":
        former = newest.meta.get("renamed_from")
        if not isinstance(former, str):
            raise StateError(f"the former name of {name} was dropped with its entry's body", code="nothing-to-undo")
        return rename(txn, note, name, former, undoing=True)
    before = None if newest.prev is None else entry_by_id(txn, newest.prev)
    return _append(txn, note, name, head, "reset", newest.from_, () if before is None else (before.id,))


def delete_tag(txn: WriteTxn, note: Note, tag: str) -> None:
    """Delete a tag from every entry that has it; raises UnknownError (unknown-tag)."""
    row = tag_row(txn, check_tag(tag))
    if row.last == row.floor:
        raise unknown_tag(tag)
    write_untag(txn, tag, note.actor, note.message)


def record_detached(txn: WriteTxn, note: Note, ca_id: Digest, parents: Sequence[Digest] = ()) -> None:
    """Keep a snapshot that no label points to: it is a root for DETACHED_TTL_MS from now. parents: the entries its
    content came from, for whoever merges it; those that are no longer kept are left out. Raises CollectedError."""
    ca_id = existing(txn, _digest(ca_id, "a CA id"))
    txn.require(ca_id)
    found = {parent: parent_entry(txn, parent) for parent in parents[:MAX_PARENTS]}
    known = {parent: entry for parent, entry in found.items() if entry is not None}
    _keep_bases(txn, [entry.to for entry in known.values() if entry.to is not None])
    write_detached(txn, ca_id, max(0, note.now_ms), tuple(known), note.actor)


def checkpoint(txn: WriteTxn, note: Note, name: str) -> Entry:
    """Note in a label's reflog that the collector truncated it (the note's meta says how far); the label stays where
    it is, and whoever expects what it was before is not disturbed."""
    head = live_head(txn, name)
    return _append(txn, note, name, head, "checkpoint", head.ca_id, (head.entry_id,))


def purge(txn: WriteTxn, note: Note, name: str) -> Entry:
    """Note in a label's reflog that its snapshots were replaced (the note's meta says by which purge), and move it to
    the one that took the place of its head's; whoever expects what it was before is not disturbed."""
    head = live_head(txn, name)
    return _append(txn, note, name, head, "purge", head.ca_id, (head.entry_id,))


def compare(txn: ReadTxn, note: Note, name: str, head: Head | None, expect: Expect) -> None:
    """Raise LabelMovedError, with the head as it is in this transaction, unless it is what was expected. Entries of the
    collector do not count: a label that stands at one is still at the entry below it. Whoever may not move the label at
    all is told that (LeaseError) rather than sent for its new head.

    details: label, current (CA id in hex, None: absent), current_generation, current_entry, expected.
    """
    if expect is ANYTHING:
        return
    if isinstance(expect, bytes):
        _digest(expect, "an expectation")
        met = head is not None and expect in (head.entry_id, head.ca_id)
    elif expect is None or expect == 0:
        met = head is None
    else:
        met = head is not None and head.generation == expect
    if met or (head is not None and expect in _below_housekeeping(txn, head)):
        return
    locks.admit(txn, note, [name])
    raise LabelMovedError(
        f"{name} {_standing(head)}; expected {_expected(expect)}",
        next=f"jvs fs log {name}" if head is not None else "jvs fs ls",
        label=name,
        current=None if head is None else head.ca_id.hex(),
        current_generation=None if head is None else head.generation,
        current_entry=None if head is None else head.entry_id.hex(),
        expected=expect.hex() if isinstance(expect, bytes) else expect,
    )


def _below_housekeeping(txn: ReadTxn, head: Head) -> set[int | Digest]:
    """The generations and ids of the entries at the head down to the newest that is a move of somebody's."""
    places: set[int | Digest] = set()
    skeleton = skeleton_of(txn, head.entry_id)
    while skeleton is not None and skeleton.op in HOUSEKEEPING and skeleton.prev is not None:
        places.add(skeleton.prev)
        skeleton = skeleton_of(txn, skeleton.prev)
        places |= set() if skeleton is None else {skeleton.generation}
    return places


def _standing(head: Head | None) -> str:
    return "does not exist" if head is None else f"is at generation {head.generation}, {head.ca_id.hex()[:12]}"


def _expected(expect: Expect) -> str:
    if isinstance(expect, bytes):
        return expect.hex()[:12]
    return f"generation {expect}" if isinstance(expect, int) and expect != 0 else "that it does not exist"


def _append(
    txn: WriteTxn,
    note: Note,
    name: str,
    head: Head | None,
    op: str,
    to: Digest | None,
    parents: Sequence[Digest],
    *,
    floor: int = 0,
    leaving: str | None = None,
) -> Entry:
    """Write the entry after `head` (None: the first one of a new label), called `name` from now on. Every move of every
    kind comes through here, and so through the locks of its names; what the collector notes does not concern them.

    floor    the highest generation used under that name by whoever had it before
    leaving  the name it has until now, where that is another
    """
    over = [] if op in HOUSEKEEPING else locks.admit(txn, note, [name] if leaving is None else [leaving, name])
    body = new_body(note.message, note.actor, note.tags, note.meta)
    uid = os.urandom(UID_SIZE) if head is None else head.uid
    lineage = _lineage(txn, head, parents)
    _keep_bases(txn, [to for owner, to in zip(lineage.uids, lineage.contents, strict=True) if owner != uid])
    upstream = None if head is None else head.upstream
    if head is None or op == "merge":
        upstream = next((parent for parent in reversed(lineage.uids) if parent != uid), upstream)
    if to is not None:
        to = existing(txn, _digest(to, "a CA id"))
        txn.require(to)
    skeleton = Skeleton(
        uid=uid,
        generation=max(floor, 0 if head is None else head.generation) + 1,
        at_ms=_time_after(head, note.now_ms),
        from_=None if head is None or op == "undelete" else head.ca_id,
        to=to,
        op=op,
        parents=tuple(parents),
        depth=lineage.depth,
        prev=None if head is None else head.entry_id,
        body=b"",  # filled in by write_move
    )
    entry = write_move(txn, name, skeleton, body, upstream)
    locks.settle(txn, note, over)
    return entry


def _time_after(head: Head | None, now_ms: int) -> int:
    """When a move after `head` is made. Where the clock has gone back, a ms after that: ids of snapshots sort by their
    times, and were hardly to be told apart by their beginnings if all had one."""
    if head is None or now_ms >= head.at_ms:
        return now_ms
    return head.at_ms + 1


class _Lineage(NamedTuple):
    """The depth of an entry; of each of its parents the label it belongs to, and its content."""

    depth: int
    uids: tuple[bytes, ...]
    contents: tuple[Digest, ...]


def _lineage(txn: WriteTxn, head: Head | None, parents: Sequence[Digest]) -> _Lineage:
    """The depth of an entry with these parents, and the labels they belong to; raises UsageError, UnknownError."""
    if len(parents) > MAX_PARENTS or len(set(parents)) != len(parents):
        raise UsageError(f"an entry has at most {MAX_PARENTS} parents, each of them once")
    depth, uids, contents = 0, [], []
    for parent in parents:
        if head is not None and parent == head.entry_id:
            depth = max(depth, head.depth)
            uids.append(head.uid)
            contents.append(head.ca_id)
            continue
        found = parent_entry(txn, _digest(parent, "a parent"))
        if found is None or found.to is None:
            raise UnknownError(f"no reflog entry with content has the id {parent.hex()}", id=parent.hex())
        depth = max(depth, found.depth)
        uids.append(found.uid)
        contents.append(found.to)
    return _Lineage(depth + 1, tuple(uids), tuple(contents))


def parent_entry(txn: ReadTxn, entry_id: Digest) -> Skeleton | None:
    """The entry of that id, if new entries may descend from it: not one of a label whose entries are going."""
    found = skeleton_of(txn, entry_id)
    ending = None if found is None else ending_of(txn, found.uid)
    return None if ending is not None and ending.going else found


def _keep_bases(txn: WriteTxn, contents: Sequence[Digest]) -> None:
    """Make roots of what a content comes from in other labels, which later merges start from, as long as it is there
    (one that was collected is no obstacle: such a merge has two sides only)."""
    for content in contents:
        standing = current(txn, content)
        if standing is not None and txn.info(Kind.PAGE, standing) is not None:
            txn.require(standing)


def _newest_move(txn: WriteTxn, name: str, head: Head) -> Entry:
    """The label's newest entry that somebody may want undone (not one of the collector's)."""
    entry = entry_at(txn, head.uid, head.generation)
    while entry is not None and entry.op in HOUSEKEEPING:
        entry = None if entry.prev is None else entry_by_id(txn, entry.prev)
    if entry is None:
        raise StateError(f"{name} has no move left in its reflog that could be undone", code="nothing-to-undo")
    return entry


def _check_free(txn: WriteTxn, name: str, leaving: str | None = None) -> None:
    """Raise UsageError when a label, live or deleted, is a path prefix of `name` or the other way round.

    leaving: a live label that gives up its name in this move. A deleted label of exactly this name is no obstacle.
    """
    parts = name.split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts))]
    clash = next((outer for outer in above if _occupied(txn, outer, leaving)), None)
    if clash is None:
        low, high = name_key(name + "/"), name_key(name + "0")  # "0" follows "/"
        live = (key.decode("utf-8") for key, _raw in txn.scan(LABELS, low, high))
        dead = (key[: key.index(0)].decode("utf-8") for key, _raw in txn.scan(DELETED, low, high))
        clash = next((inner for inner in live if inner != leaving), None) or next(dead, None)
    txn.check_table(LABELS)
    txn.check_table(DELETED)
    if clash is not None:
        raise UsageError(
            f"{name!r} cannot be a label name beside the label {clash}: one would be inside the other",
            code="bad-label-name",
            label=name,
            clash=clash,
        )


def _occupied(txn: WriteTxn, name: str, leaving: str | None) -> bool:
    live = name != leaving and txn.get(LABELS, name_key(name)) is not None
    return live or newest_deleted(txn, name) is not None


def _check_op(name: str, op: str) -> None:
    if op not in MOVE_OPS:
        raise UsageError(f"a label is not moved by {op!r}, but by one of {', '.join(sorted(MOVE_OPS))}")
    if is_autosave_name(name) != (op == "autosave") and op != "reset":
        raise _reserved(name) if op != "autosave" else UsageError(f"an autosave never moves {name}")


def _reserved(name: str) -> UsageError:
    return UsageError(f"{name!r} cannot be used: autosave/ is kept for autosaves", code="bad-label-name")


def _digest(value: bytes, what: str) -> Digest:
    if len(value) != DIGEST_SIZE:
        raise UsageError(f"{what} has {DIGEST_SIZE} bytes, not {len(value)}", code="bad-id")
    return value
