"""The roots of the pointer plane: every snapshot that a label, entry, tag, ref, pin, worktree or record protects, and
why.

What protects is what is written down: a head, an entry that still has its body, a deleted label that was not
forgotten, a pin, a detached record. Time takes none of these away by itself. What has left its window is only marked
`leaving` here, and goes when `truncation.expire` says so in a transaction. A plan leaves the leaving ones out; a run
expires first and then takes **all** roots there are. So a policy that is made longer, or a clock that is set back,
never makes a root of something that a collector has already condemned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from jvs.labels.positions import Standings
from jvs.labels.purges import current
from jvs.labels.records import detached_at, detached_parents, tag_row
from jvs.labels.retention import Keeper, Policies
from jvs.labels.tables import (
    ALL_TABLES,
    DELETED,
    DETACHED,
    FORGOTTEN,
    LABELS,
    REPLACED,
    TAGGED,
    Ending,
    Head,
    entries_between,
    entry_bytes,
    floor_of,
    owner_of,
    pin_rows,
    policy_rows,
    position_rows,
    ref_rows,
    skeleton_of,
    split_entry_key,
    trusted_until,
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
REF: Final = "ref"
POSITION: Final = "worktree"
DETACHED_RECORD: Final = "detached"
REASONS: Final = (HEAD, REFLOG, TAG, REF, PIN, DELETED_LABEL, DETACHED_RECORD, BASE, AUTOSAVE, POSITION)
"""The groups in which a plan shows what is protected."""

CLOCK_JUMP_MS: Final = 7 * UNITS["d"]
"""How far the wall clock may be ahead of everything recorded before ages are not believed."""


RECORDED_JUMP_MS: Final = UNITS["y"]
"""How long a store may have been left alone before what was recorded next is not believed."""


class Root(NamedTuple):
    """A protected snapshot.

    reason   one of REASONS (autosave: head or entry of an autosave label)
    label    the label it belongs to, if any
    detail   more of the reason, for people: the rules that keep an entry, a tag, a ref, the id of a pin, ...
    leaving  it has left its window: the next `expire` ends this protection
    """

    ca_id: Digest
    reason: str
    label: str | None = None
    detail: str = ""
    leaving: bool = False


def roots(txn: ReadTxn, now_ms: int, *, every_base: bool = False) -> Iterator[Root]:
    """Every root, one by one; a snapshot comes as often as there are reasons for it. Memory does not depend on how
    many there are (but for the uids of deleted labels that are leaving).

    now_ms      what is leaving depends on (see `gc_time`)
    every_base  also merge bases that the object index does not hold. Such a base was collected before it became one,
                or the index is just being made

    A snapshot that was purged is no root; the one that took its place is (`purges`).

    Raises IndexDamagedError, having compared every table with its sums: a row that vanished is never a root less.
    """
    for table in ALL_TABLES:
        txn.check_table(table)
    found = _roots(txn, now_ms, every_base)
    if not txn.count(REPLACED):
        yield from found
        return
    for root in found:
        ca_id = current(txn, root.ca_id)
        if ca_id is not None:
            yield root._replace(ca_id=ca_id)


def _roots(txn: ReadTxn, now_ms: int, every_base: bool) -> Iterator[Root]:
    policies, bases, standings = stored_policies(txn), Bases(txn), Standings(txn)
    due: set[bytes] = set()
    for key, raw in txn.scan(DELETED):
        name, head = key[: key.index(0)].decode("utf-8"), unpack_head(raw)
        over = deletion_due(policies, standings, name, head, now_ms)
        if over:
            due.add(head.uid)
        yield from _of_deleted(txn, name, head, policies, due=over)
    for key, raw in txn.scan(LABELS):
        name, head = key.decode("utf-8"), unpack_head(raw)
        yield from _of_label(txn, name, head, policies, standings, now_ms)
        for base in _present(txn, bases.of(head), every_base):
            yield Root(base, BASE, name, "", head.upstream in due)  # nobody merges with what is forgotten
    for uid, raw in txn.scan(FORGOTTEN):
        yield from _of_forgotten(txn, uid, Ending(*unpack_row(raw, len(Ending._fields))), standings)
    yield from _tagged(txn)
    for name, ref in ref_rows(txn):
        yield Root(ref.ca_id, REF, None, name)
    for mark, position in position_rows(txn):
        named = owner_of(txn, position.spans[0].uid) if position.spans else None
        for snapshot in position.snapshots:
            yield Root(snapshot, POSITION, None if named is None else named.name, mark)
    for pin in list_pins(txn):
        yield Root(pin.ca_id, PIN, None, pin.id.hex(), not pin.protects(now_ms))
    for ca_id, raw in txn.scan(DETACHED):
        leaving = detached_expired(raw, now_ms)
        yield Root(ca_id, DETACHED_RECORD, leaving=leaving)
        for base in _present(txn, detached_parents(raw), every_base):
            yield Root(base, BASE, leaving=leaving)


def store_clock(txn: ReadTxn) -> int | None:
    """The largest time recorded in the store (ms) that is believed: of a label's entry, a policy, a pin, a ref, a
    detached record, or of somebody's saying that the clock is right. None when nothing was ever recorded.

    What follows a gap of more than RECORDED_JUMP_MS is not believed: a clock that was wrong when something was written
    down must not make everything before look old. It is believed once somebody trusted the clock at or after it.
    """
    times = list(_times(txn))
    if not times:
        return None
    newest = max(times)
    before, after = _around(txn, times, newest - RECORDED_JUMP_MS)
    trusted = trusted_until(txn)
    if before is None or after is None or after - before <= RECORDED_JUMP_MS or after <= trusted:
        return max(newest, trusted)
    return max(before, trusted)


def gc_time(txn: ReadTxn, wall_ms: int, *, trust: bool = False) -> int:
    """The time by which ages are judged: the wall clock's. Raises StateError (clock-jump) when it is more than
    CLOCK_JUMP_MS ahead of the store's and `trust` was not said: a clock that is wrong makes everything look old. One
    that is behind only makes things look young."""
    recorded = store_clock(txn)
    if recorded is not None and wall_ms - recorded > CLOCK_JUMP_MS and not trust:
        ahead = (wall_ms - recorded) // UNITS["d"]
        raise StateError(
            f"the clock is {ahead:,} days ahead of what this store knows: if it is wrong, everything would look old",
            code="clock-jump",
            next="set the clock, or say that it is right: --trust-clock",
            wall_ms=wall_ms,
            store_ms=recorded,
        )
    return wall_ms


def _times(txn: ReadTxn) -> Iterator[int]:
    """When things were recorded; of a label only its newest entry."""
    for _pattern, policy in policy_rows(txn):
        yield policy.at_ms
    for _id, pin in pin_rows(txn):
        yield pin.at_ms
    for _name, ref in ref_rows(txn):
        yield ref.at_ms
    for table in (LABELS, DELETED):
        for _key, raw in txn.scan(table):
            yield unpack_head(raw).at_ms
    for _key, raw in txn.scan(DETACHED):
        yield detached_at(raw)


def _around(txn: ReadTxn, times: list[int], edge_ms: int) -> tuple[int | None, int | None]:
    """The last time recorded until `edge_ms`, and the first one after it, in all reflogs too."""
    until = [at_ms for at_ms in times if at_ms <= edge_ms]
    later = [at_ms for at_ms in times if at_ms > edge_ms]
    for table in (LABELS, DELETED):
        for _key, raw in txn.scan(table):
            head = unpack_head(raw)
            if head.at_ms > edge_ms:
                before, after = _in_reflog(txn, head, edge_ms)
                until += [] if before is None else [before]
                later.append(after)
    return max(until, default=None), min(later, default=None)


def _in_reflog(txn: ReadTxn, head: Head, edge_ms: int) -> tuple[int | None, int]:
    """The same of one label, whose head is later, by bisection: times never fall along a reflog."""
    first = next(entries_between(txn, head.uid, 0, head.generation), None)
    if first is None:
        return None, head.at_ms
    before, after = glance(first[1]).at_ms, head.at_ms
    if before > edge_ms:
        return None, before
    low, high = first[0], head.generation
    while high - low > 1:
        row = next(entries_between(txn, head.uid, (low + high) // 2, high - 1), None)
        if row is None:
            high = (low + high) // 2
        elif (at_ms := glance(row[1]).at_ms) <= edge_ms:
            low, before = row[0], at_ms
        else:
            high, after = (low + high) // 2, at_ms
    return before, after


def deletion_due(policies: Policies, standings: Standings, name: str, head: Head, now_ms: int) -> bool:
    """Whether a deleted label has left its window, and no worktree needs it."""
    if standings.need(head.uid):
        return False
    kept_ms = policies.of(name)[1].deleted_ms
    return not kept_ms or now_ms - head.at_ms > kept_ms


def detached_expired(raw: bytes, now_ms: int) -> bool:
    """Whether a row of DETACHED has left its window."""
    return now_ms - detached_at(raw) > DETACHED_TTL_MS


def _of_label(
    txn: ReadTxn, name: str, head: Head, policies: Policies, standings: Standings, now_ms: int
) -> Iterator[Root]:
    autosave = is_autosave_name(name)
    yield Root(head.ca_id, AUTOSAVE if autosave else HEAD, name)
    window = Window(head.uid, Keeper(policies.of(name)[1], now_ms), standings)
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


def _of_deleted(txn: ReadTxn, name: str, head: Head, policies: Policies, *, due: bool) -> Iterator[Root]:
    detail = f"keep-deleted {duration_text(policies.of(name)[1].deleted_ms)}"
    yield Root(head.ca_id, DELETED_LABEL, name, detail, due)
    for _generation, to in _with_bodies(txn, head.uid, head.generation):
        yield Root(to, DELETED_LABEL, name, detail, due)


def _of_forgotten(txn: ReadTxn, uid: bytes, ending: Ending, standings: Standings) -> Iterator[Root]:
    """What truncation has not come to yet. Tagged entries come by their tags as well."""
    for generation, to in _with_bodies(txn, uid, ending.generation):
        yield Root(to, DELETED_LABEL, leaving=not standings.keep(uid, generation))


def _with_bodies(txn: ReadTxn, uid: bytes, last: int) -> Iterator[tuple[int, Digest]]:
    """(generation, snapshot) of the entries that still have their bodies."""
    for generation, skeleton, body in entries_between(txn, uid, floor_of(txn, uid) + 1, last):
        to = None if body is None else glance(skeleton).to
        if to is not None:
            yield generation, to


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


def _present(txn: ReadTxn, entry_ids: Iterable[Digest], every_base: bool) -> Iterator[Digest]:
    """The contents of these entries, from which a merge would start, that the object index holds."""
    for entry_id in entry_ids:
        skeleton = skeleton_of(txn, entry_id)
        to = None if skeleton is None or skeleton.to is None else current(txn, skeleton.to)
        if to is not None and (every_base or txn.info(Kind.PAGE, to) is not None):
            yield to
