"""The tables of the pointer plane: keys, rows, and the look-ups that everything else is made of.

    LABELS      name                         -> Head                      the live labels
    DELETED     name 0x00 generation         -> Head                      deleted labels that may come back
    NAMES       name 0x00 first generation   -> [uid, last generation]    every stretch a label had this name
    UIDS        uid                          -> [name, live]
    ENTRIES     uid generation               -> [skeleton, body | nil]    the reflogs
    IDS         entry id                     -> uid generation
    SNAPSHOTS   CA id, uid                   -> generation                newest entry of that label with that content
    TAGS        tag                          -> [last, floor]             serials given; those <= floor are deleted
    TAGGED      tag 0x00 serial              -> uid generation
    DETACHED    CA id                        -> at_ms, parents            snapshots recorded without a label
    PINS        pin id                       -> PinRow                    snapshots that people want kept
    LOCKS       name                         -> LockRow                   who may move the label of that name
    REFS        name                         -> RefRow                    names that never move
    REFERRED    uid generation ref           -> nothing                   entries that a ref names
    POSITIONS   mark                         -> PositionRow               where worktrees stand
    RETENTION   pattern                      -> PolicyRow                 which labels obey which policy
    FORGOTTEN   uid                          -> Ending                    deleted labels that cannot come back
    FLOORS      uid                          -> generation                no entry up to that one has a body
    NEEDED      uid                          -> nothing                   entries of other labels descend from its
    CLOCK       "trusted"                    -> ms                        until when the clock is believed
    PURGES      purge id                     -> PurgeRow                  see `purges`
    REPLACED    CA id                        -> purge id, CA id or none   the snapshot that took its place
    REPLACEMENTS  CA id, CA id               -> nothing                   the second is one whose place it took
    PURGED      digest                       -> purge id                  content that must not come back

Generations, serials and times in keys are 8 bytes, big-endian, so key order is their order. A name holds no 0x00, so
`name 0x00` starts the keys of exactly that name, and everything below `a/b` lies in [`a/b/`, `a/b0`).
Every look-up is O(log n); none walks a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgpack

from jvs.castore.backend import ReadTxn, Table, WriteTxn
from jvs.castore.digest import Digest, entry_digest
from jvs.castore.purged import PURGED
from jvs.errors import IndexDamagedError, UsageError
from jvs.labels.model import UID_SIZE, Entry, Skeleton, decode_entry, decode_skeleton

LABELS: Final = Table("labels")
DELETED: Final = Table("deleted")
NAMES: Final = Table("names")
UIDS: Final = Table("uids")
ENTRIES: Final = Table("reflog")
IDS: Final = Table("ids")
SNAPSHOTS: Final = Table("roots")
TAGS: Final = Table("tags")
TAGGED: Final = Table("tagged")
DETACHED: Final = Table("detached")
PINS: Final = Table("pins")
LOCKS: Final = Table("locks")
REFS: Final = Table("refs")
REFERRED: Final = Table("referred")
POSITIONS: Final = Table("positions")
RETENTION: Final = Table("retention")
FORGOTTEN: Final = Table("forgotten")
FLOORS: Final = Table("floors")
NEEDED: Final = Table("needed")
CLOCK: Final = Table("clock")
PURGES: Final = Table("purges")
REPLACED: Final = Table("replaced")
REPLACEMENTS: Final = Table("replacements")

ALL_TABLES: Final = (
    LABELS,
    DELETED,
    NAMES,
    UIDS,
    ENTRIES,
    IDS,
    SNAPSHOTS,
    TAGS,
    TAGGED,
    DETACHED,
    PINS,
    LOCKS,
    REFS,
    REFERRED,
    POSITIONS,
    RETENTION,
    FORGOTTEN,
    FLOORS,
    NEEDED,
    CLOCK,
    PURGES,
    REPLACED,
    REPLACEMENTS,
    PURGED,
)
"""Every table this package writes; all of it can be made again from the journal (`replay`)."""


class Head(NamedTuple):
    """Where a label stands: its newest entry, in short.

    A deleted label's head keeps the CA id it had when it was deleted; generation, entry and time are the deletion's.
    `upstream` is the uid of the label it was created from or last merged with.
    """

    uid: bytes
    ca_id: Digest
    generation: int
    entry_id: Digest
    at_ms: int
    depth: int
    upstream: bytes | None


class NameSpan(NamedTuple):
    """A stretch of generations in which one label had one name; `last` is None while it still has it."""

    first: int
    uid: bytes
    last: int | None


class Owner(NamedTuple):
    """The name a uid has, or had last (`live` False: it is deleted)."""

    name: str
    live: bool


class TagRow(NamedTuple):
    """The newest serial given out for a tag, and the newest that was deleted."""

    last: int
    floor: int


class PinRow(NamedTuple):
    """A pin: what it keeps, since when, until when (ms; None: until it is removed), for whom, and why."""

    ca_id: Digest
    at_ms: int
    until_ms: int | None
    who: str
    message: str


class LockRow(NamedTuple):
    """The lock of a label's name.

    holder                   digest of the holder's nonce; None: nobody has it
    token                    the fencing token given out last: it only ever grows, so the row stays for ever
    acquired_ms, expires_ms  when it was acquired; from when on it stands in nobody's way
    who, session_id, purpose what the holder said
    """

    holder: Digest | None
    token: int
    acquired_ms: int
    expires_ms: int
    who: str
    session_id: str
    purpose: str


class RefRow(NamedTuple):
    """A ref: the entry it names (None: a bare snapshot), its snapshot, since when, by whom, and what for."""

    entry_id: Digest | None
    ca_id: Digest
    at_ms: int
    who: str
    description: str


class Span(NamedTuple):
    """Entries of one label, from the generation `first` to `last` (None: and all that come)."""

    uid: bytes
    first: int
    last: int | None


class PositionRow(NamedTuple):
    """Where a worktree stands: the snapshots, and the entries, that are kept for it."""

    snapshots: tuple[Digest, ...]
    spans: tuple[Span, ...]


class PolicyRow(NamedTuple):
    """A policy's canonical bytes (None: it was unset), the number of that change, and when it was made."""

    policy: bytes | None
    revision: int
    at_ms: int


class Ending(NamedTuple):
    """Where the reflog of a forgotten label ends: its deletion. `going`: its entries are being removed, so that nothing
    may come to descend from those that are left."""

    generation: int
    entry_id: Digest
    going: bool


PIN_ID_SIZE: Final = 16
"""Bytes in the id of a pin; random."""

MAX_SPANS: Final = 64
"""Most spans of one position: labels that were forked one from another."""

_MARK_CHARS: Final = frozenset("0123456789abcdef")
_MAX_MARK: Final = 64


def number(value: int) -> bytes:
    """8 bytes, big-endian."""
    return value.to_bytes(8, "big")


def name_key(name: str) -> bytes:
    """The key of a label in LABELS (a tag in TAGS)."""
    return name.encode("utf-8")


def span_key(name: str, value: int) -> bytes:
    """name 0x00 value: the keys of DELETED, NAMES and TAGGED."""
    return name.encode("utf-8") + b"\0" + number(value)


def entry_key(uid: bytes, generation: int) -> bytes:
    """The key of an entry in ENTRIES (and the value of IDS and TAGGED)."""
    return uid + number(generation)


def split_entry_key(key: bytes) -> tuple[bytes, int]:
    """(uid, generation)."""
    return key[:UID_SIZE], int.from_bytes(key[UID_SIZE:], "big")


def pack_row(row: tuple[Any, ...]) -> bytes:
    """A row as msgpack."""
    packed: bytes = msgpack.packb(row)
    return packed


def unpack_row(raw: bytes, fields: int) -> list[Any]:
    """The fields of a row. Its bytes passed the store's checksum, so a bad one is a fault of whoever wrote it."""
    try:
        row = msgpack.unpackb(raw)
    except (ValueError, msgpack.UnpackException):
        row = None
    if not isinstance(row, list) or len(row) != fields:
        raise IndexDamagedError("a row of the label tables does not decode")
    return row


def unpack_head(raw: bytes) -> Head:
    """The Head in a value of LABELS or DELETED."""
    return Head(*unpack_row(raw, len(Head._fields)))


def pin_rows(txn: ReadTxn) -> Iterator[tuple[bytes, PinRow]]:
    """(id, pin) of every pin, also of those whose time has passed."""
    for key, raw in txn.scan(PINS):
        yield key, PinRow(*unpack_row(raw, len(PinRow._fields)))


def ref_rows(txn: ReadTxn) -> Iterator[tuple[str, RefRow]]:
    """(name, ref) of every ref, in order."""
    for key, raw in txn.scan(REFS):
        yield key.decode("utf-8"), RefRow(*unpack_row(raw, len(RefRow._fields)))


def refs_to(txn: ReadTxn, uid: bytes, generation: int) -> list[str]:
    """The names of the refs to an entry."""
    key = entry_key(uid, generation)
    return [found[len(key) :].decode("utf-8") for found, _ in txn.scan(REFERRED, key, key + b"\xff")]


def is_mark(mark: object) -> bool:
    """Whether that is the mark of a worktree: 1 to 64 hex digits."""
    return isinstance(mark, str) and 0 < len(mark) <= _MAX_MARK and not set(mark) - _MARK_CHARS


def mark_key(mark: str) -> bytes:
    """The key of a worktree in POSITIONS. Raises UsageError for what is no mark."""
    if not is_mark(mark):
        raise UsageError(f"{mark[:80]!a} is no mark of a worktree")
    return mark.encode()


def position_row(txn: ReadTxn, mark: str) -> PositionRow | None:
    """Where the worktree of that mark stands; None: it is not known."""
    raw = txn.get(POSITIONS, mark_key(mark))
    return None if raw is None else _unpack_position(raw)


def position_rows(txn: ReadTxn) -> Iterator[tuple[str, PositionRow]]:
    """(mark, position) of every worktree, in order."""
    for key, raw in txn.scan(POSITIONS):
        yield key.decode("ascii"), _unpack_position(raw)


def _unpack_position(raw: bytes) -> PositionRow:
    snapshots, spans = unpack_row(raw, len(PositionRow._fields))
    return PositionRow(tuple(snapshots), tuple(Span(*span) for span in spans))


def lock_row(txn: ReadTxn, name: str) -> LockRow | None:
    """The lock of a label's name; None (there never was one) is believed only after the table was checked."""
    raw = txn.get(LOCKS, name_key(name))
    if raw is None:
        txn.check_table(LOCKS)
        return None
    return LockRow(*unpack_row(raw, len(LockRow._fields)))


def policy_rows(txn: ReadTxn) -> Iterator[tuple[str, PolicyRow]]:
    """(pattern, policy) of every pattern for which one was ever set."""
    for key, raw in txn.scan(RETENTION):
        yield key.decode("utf-8"), PolicyRow(*unpack_row(raw, len(PolicyRow._fields)))


def policy_revision(txn: ReadTxn) -> int:
    """How many times policies were changed in this store: a plan made under another number is stale."""
    return max((row.revision for _pattern, row in policy_rows(txn)), default=0)


def ending_of(txn: ReadTxn, uid: bytes) -> Ending | None:
    """The ending of a forgotten label; None: it is not forgotten."""
    raw = txn.get(FORGOTTEN, uid)
    return None if raw is None else Ending(*unpack_row(raw, len(Ending._fields)))


def floor_of(txn: ReadTxn, uid: bytes) -> int:
    """The generation up to which no entry of a label has a body (0: none was ever dropped)."""
    raw = txn.get(FLOORS, uid)
    return 0 if raw is None else int.from_bytes(raw, "big")


def trusted_until(txn: ReadTxn) -> int:
    """The newest time at which somebody said that the clock is right (0: never)."""
    raw = txn.get(CLOCK, b"trusted")
    return 0 if raw is None else int.from_bytes(raw, "big")


def head_of(txn: ReadTxn, name: str) -> Head | None:
    """The live label's head. None is believed only after the table's count and digest were compared (exit 8)."""
    raw = txn.get(LABELS, name_key(name))
    if raw is None:
        txn.check_table(LABELS)
        return None
    return unpack_head(raw)


def owner_of(txn: ReadTxn, uid: bytes) -> Owner | None:
    """The name of a uid."""
    raw = txn.get(UIDS, uid)
    return None if raw is None else Owner(*unpack_row(raw, len(Owner._fields)))


def newest_deleted(txn: ReadTxn, name: str) -> Head | None:
    """The head of the label deleted last under this name, if one can be brought back."""
    start, stop = span_key(name, 0), name_key(name) + b"\1"
    for _key, raw in txn.scan(DELETED, start, stop, reverse=True):
        return unpack_head(raw)
    txn.check_table(DELETED)
    return None


def newest_span(txn: ReadTxn, name: str, at: int | None = None) -> NameSpan | None:
    """The newest stretch under this name (that began at generation `at` or before, if given)."""
    stop = name_key(name) + b"\1" if at is None else span_key(name, at + 1)
    for key, raw in txn.scan(NAMES, span_key(name, 0), stop, reverse=True):
        uid, last = unpack_row(raw, 2)
        return NameSpan(int.from_bytes(key[-8:], "big"), uid, last)
    txn.check_table(NAMES)
    return None


def put_span(txn: WriteTxn, name: str, span: NameSpan) -> None:
    """Write one row of NAMES."""
    txn.put(NAMES, span_key(name, span.first), pack_row((span.uid, span.last)))


def used_generation(txn: ReadTxn, name: str) -> int:
    """The highest generation used under a name that is not in use now (0: never used): its tombstone."""
    txn.check_table(NAMES)  # a row that vanished must not make a generation come twice
    span = newest_span(txn, name)
    return 0 if span is None or span.last is None else span.last


def entry_bytes(txn: ReadTxn, uid: bytes, generation: int) -> tuple[bytes, bytes | None] | None:
    """(skeleton, body or None) of one entry."""
    raw = txn.get(ENTRIES, entry_key(uid, generation))
    return None if raw is None else split_entry(raw)


def split_entry(raw: bytes) -> tuple[bytes, bytes | None]:
    """(skeleton, body or None) in a value of ENTRIES."""
    skeleton, body = unpack_row(raw, 2)
    return skeleton, body


def place_of(txn: ReadTxn, entry_id: Digest) -> tuple[bytes, int] | None:
    """(uid, generation) of an entry id. None: it may be the id of something else; IDS was not checked."""
    key = txn.get(IDS, entry_id)
    return None if key is None else split_entry_key(key)


def skeleton_of(txn: ReadTxn, entry_id: Digest) -> Skeleton | None:
    """The skeleton of an entry id."""
    place = place_of(txn, entry_id)
    if place is None:
        txn.check_table(IDS)
        return None
    found = entry_bytes(txn, *place)
    if found is None:
        raise IndexDamagedError(f"the reflog entry {entry_id.hex()} is listed but not there")
    return decode_skeleton(found[0])


def entry_at(txn: ReadTxn, uid: bytes, generation: int) -> Entry | None:
    """One entry of a label, verified."""
    found = entry_bytes(txn, uid, generation)
    if found is None:
        return None
    owner = owner_of(txn, uid)
    if owner is None:
        raise IndexDamagedError(f"the label {uid.hex()} has a reflog but no name")
    return decode_entry(owner.name, *found)


def entry_by_id(txn: ReadTxn, entry_id: Digest) -> Entry | None:
    """The entry of that id, verified, or None."""
    place = place_of(txn, entry_id)
    if place is None:
        txn.check_table(IDS)
        return None
    entry = entry_at(txn, *place)
    if entry is None or entry.id != entry_id:
        raise IndexDamagedError(f"the reflog entry {entry_id.hex()} is listed but not there")
    return entry


def entries_between(
    txn: ReadTxn, uid: bytes, first: int, last: int, *, reverse: bool = False
) -> Iterator[tuple[int, bytes, bytes | None]]:
    """(generation, skeleton, body) of a label's entries with first <= generation <= last.

    Generations may jump (a rename onto a name that was used further than this label was), but then the newer entry's
    `prev` is the older one: a row that silently vanished raises IndexDamagedError.
    """
    start, stop = entry_key(uid, first), entry_key(uid, last + 1)
    before: tuple[int, bytes] | None = None
    for key, raw in txn.scan(ENTRIES, start, stop, reverse=reverse):
        skeleton, body = split_entry(raw)
        generation = int.from_bytes(key[UID_SIZE:], "big")
        if before is not None and abs(generation - before[0]) != 1:
            older, newer = sorted(((generation, skeleton), before))
            if decode_skeleton(newer[1]).prev != entry_digest(older[1]):
                raise IndexDamagedError(f"reflog entries before generation {newer[0]} are missing", uid=uid.hex())
        before = generation, skeleton
        yield generation, skeleton, body
