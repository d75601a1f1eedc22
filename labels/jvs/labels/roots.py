"""The roots of the pointer plane: every snapshot that a label, an entry, a tag, a pin or a record protects, and why.

What protects is what is written down: a head, an entry that still has its body, a deleted label that was not
forgotten, a pin, a detached record. Time takes none of these away by itself. What has left its window is only marked
`leaving` here, and goes when `truncation.expire` says so in a transaction. A plan leaves the leaving ones out; a run
expires first and then takes **all** roots there are. So a policy that is made longer, or a clock that is set back,
never makes a root of something that a collector has already condemned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from jvs.castore.backend import Kind, ReadTxn
from jvs.castore.digest import Digest
from jvs.errors import StateError
from jvs.labels.bases import Bases
from jvs.labels.durations import UNITS, duration_text
from jvs.labels.model import glance
from jvs.labels.moves import DETACHED_TTL_MS
from jvs.labels.names import is_autosave_name
from jvs.labels.pins import list_pins
from jvs.labels.policies import stored_policies
from jvs.labels.records import tag_row
from jvs.labels.retention import Keeper, Policies
from jvs.labels.tables import (
    ALL_TABLES,
    DELETED,
    DETACHED,
    FORGOTTEN,
    LABELS,
    TAGGED,
    Ending,
    Head,
    entries_between,
    entry_bytes,
    floor_of,
    pin_rows,
    policy_rows,
    skeleton_of,
    split_entry_key,
    unpack_head,
    unpack_row,
)
from jvs.labels.window import Window

HEAD: Final = "head"
AUTOSAVE: Final = "autosave"
REFLOG: Final = "reflog"
DELETED_LABEL: Final = "deleted"
BASE: Final = "base"
TAG: Final = "tag"
PIN: Final = "pin"
DETACHED_RECORD: Final = "detached"
REASONS: Final = (HEAD, REFLOG, TAG, PIN, DELETED_LABEL, DETACHED_RECORD, BASE, AUTOSAVE)
"""The groups in which a plan shows what is protected."""

CLOCK_JUMP_MS: Final = 7 * UNITS["d"]
"""How far the wall clock may be ahead of everything recorded before ages are not believed."""


class Root(NamedTuple):
    """A protected snapshot.

    reason   one of REASONS (autosave: head or entry of an autosave label)
    label    the label it belongs to, if any
    detail   more of the reason, for people: the rules that keep an entry, a tag, the id of a pin, ...
    leaving  it has left its window: the next `expire` ends this protection
    """

    ca_id: Digest
    reason: str
    label: str | None = None
    detail: str = ""
    leaving: bool = False


def roots(txn: ReadTxn, now_ms: int, *, every_base: bool = False) -> Iterator[Root]:
    """Every root, one by one; a snapshot comes as often as there are reasons for it. Memory does not depend on how
    many there are.

    now_ms      what is leaving depends on (see `gc_time`)
    every_base  also merge bases that the object index does not hold. Such a base was collected before it became one,
                or the index is just being made

    Raises IndexDamagedError, having compared every table with its sums: a row that vanished is never a root less.
    """
    for table in ALL_TABLES:
        txn.check_table(table)
    policies, bases = stored_policies(txn), Bases(txn)
    for key, raw in txn.scan(LABELS):
        head = unpack_head(raw)
        yield from _of_label(txn, key.decode("utf-8"), head, policies, now_ms)
        yield from _bases(txn, bases, key.decode("utf-8"), head, every_base)
    for key, raw in txn.scan(DELETED):
        yield from _of_deleted(txn, key[: key.index(0)].decode("utf-8"), unpack_head(raw), policies, now_ms)
    for uid, raw in txn.scan(FORGOTTEN):
        yield from _of_forgotten(txn, uid, Ending(*unpack_row(raw, len(Ending._fields))))
    yield from _tagged(txn)
    for pin in list_pins(txn):
        yield Root(pin.ca_id, PIN, None, pin.id.hex(), not pin.protects(now_ms))
    for ca_id, raw in txn.scan(DETACHED):
        yield Root(ca_id, DETACHED_RECORD, leaving=detached_expired(raw, now_ms))


def store_clock(txn: ReadTxn) -> int | None:
    """The largest time recorded in the store (ms): of a label's newest entry, a policy, a pin, a detached record.
    None when nothing was ever recorded."""
    times = [row.at_ms for _pattern, row in policy_rows(txn)] + [row.at_ms for _id, row in pin_rows(txn)]
    newest = max(times, default=-1)
    for table in (LABELS, DELETED):
        for _key, raw in txn.scan(table):
            newest = max(newest, unpack_head(raw).at_ms)
    for _key, raw in txn.scan(DETACHED):
        newest = max(newest, int.from_bytes(raw, "big"))
    return None if newest < 0 else newest


def gc_time(txn: ReadTxn, wall_ms: int, *, trust: bool = False) -> int:
    """The time by which ages are judged: the wall clock's. Raises StateError (clock-jump) when it is more than
    CLOCK_JUMP_MS ahead of everything recorded and `trust` was not said: a clock that is wrong makes everything look
    old. One that is behind only makes things look young."""
    recorded = store_clock(txn)
    if recorded is not None and wall_ms - recorded > CLOCK_JUMP_MS and not trust:
        ahead = (wall_ms - recorded) // UNITS["d"]
        raise StateError(
            f"the clock says {ahead:,} days after anything in this store: if it is wrong, everything would look old",
            code="clock-jump",
            next="set the clock, or say that it is right: --trust-clock",
            wall_ms=wall_ms,
            store_ms=recorded,
        )
    return wall_ms


def deletion_due(policies: Policies, name: str, head: Head, now_ms: int) -> bool:
    """Whether a deleted label has left its window."""
    kept_ms = policies.of(name)[1].deleted_ms
    return not kept_ms or now_ms - head.at_ms > kept_ms


def detached_expired(raw: bytes, now_ms: int) -> bool:
    """Whether a row of DETACHED has left its window."""
    return now_ms - int.from_bytes(raw, "big") > DETACHED_TTL_MS


def _of_label(txn: ReadTxn, name: str, head: Head, policies: Policies, now_ms: int) -> Iterator[Root]:
    autosave = is_autosave_name(name)
    yield Root(head.ca_id, AUTOSAVE if autosave else HEAD, name)
    window = Window(head.uid, Keeper(policies.of(name)[1], now_ms))
    for generation, skeleton, body in entries_between(
        txn, head.uid, floor_of(txn, head.uid) + 1, head.generation, reverse=True
    ):
        if body is not None:
            for judged in window.judge(txn, generation, skeleton, body):
                yield from _of_entry(judged.to, name, AUTOSAVE if autosave else REFLOG, judged.reasons)
    for judged in window.rest():
        yield from _of_entry(judged.to, name, AUTOSAVE if autosave else REFLOG, judged.reasons)


def _of_entry(to: Digest | None, name: str, reason: str, reasons: tuple[str, ...]) -> Iterator[Root]:
    if to is not None:
        yield Root(to, reason, name, ", ".join(reasons), not reasons)


def _of_deleted(txn: ReadTxn, name: str, head: Head, policies: Policies, now_ms: int) -> Iterator[Root]:
    due = deletion_due(policies, name, head, now_ms)
    detail = f"keep-deleted {duration_text(policies.of(name)[1].deleted_ms)}"
    yield Root(head.ca_id, DELETED_LABEL, name, detail, due)
    for to in _with_bodies(txn, head.uid, head.generation):
        yield Root(to, DELETED_LABEL, name, detail, due)


def _of_forgotten(txn: ReadTxn, uid: bytes, ending: Ending) -> Iterator[Root]:
    """What truncation has not come to yet. Tagged entries come by their tags as well."""
    for to in _with_bodies(txn, uid, ending.generation):
        yield Root(to, DELETED_LABEL, leaving=True)


def _with_bodies(txn: ReadTxn, uid: bytes, last: int) -> Iterator[Digest]:
    """The snapshots of the entries that still have their bodies."""
    for _generation, skeleton, body in entries_between(txn, uid, floor_of(txn, uid) + 1, last):
        to = None if body is None else glance(skeleton).to
        if to is not None:
            yield to


def _tagged(txn: ReadTxn) -> Iterator[Root]:
    tag, floor = "", 0
    for key, place in txn.scan(TAGGED):
        name = key[: key.index(0)].decode("utf-8")
        if name != tag:
            tag, floor = name, tag_row(txn, name).floor
        found = entry_bytes(txn, *split_entry_key(place)) if int.from_bytes(key[-8:], "big") > floor else None
        if found is not None and found[1] is not None:
            to = glance(found[0]).to
            if to is not None:
                yield Root(to, TAG, None, tag)


def _bases(txn: ReadTxn, bases: Bases, name: str, head: Head, every_base: bool) -> Iterator[Root]:
    """What a merge of the label with its upstream would start from: the content of their newest common ancestors."""
    for base in bases.of(head):
        skeleton = skeleton_of(txn, base)
        to = None if skeleton is None else skeleton.to
        if to is not None and (every_base or txn.info(Kind.PAGE, to) is not None):
            yield Root(to, BASE, name)
