"""`jvs audit`: everything that was ever done to a store, read off its hash-chained journal.

Every decision is a record of the journal already, or it could not be made again from it; what needs none has a record
for this alone (`jvs.labels.acts`). The index keeps where the journal ends, so a tail that was cut off is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jvs.errors import IntegrityError, UsageError
from jvs.labels.acts import ACT_OP
from jvs.labels.model import decode_body, decode_skeleton
from jvs.labels.records import LABEL_OP, LOCK_OP, move_from_journal
from jvs.labels.store import wall_clock
from jvs.labels.when import parse_distance
from jvs.workspace.results import Json, iso_time

if TYPE_CHECKING:
    from jvs.castore.backend import JournalRecord
    from jvs.castore.digest import Digest
    from jvs.workspace.repo import Repo

_SHOWN: Final = 8
"""Ids of a record about many that its target lists."""


class Event(NamedTuple):
    """One record of the journal, for people.

    event_id   its number in the journal: they count up from 0
    at_ms      never falls
    operation  what was done: `push`, `reset`, `restore`, `lock.acquire`, `gc`, ...
    actor, reason  who did it and what they said; empty when that was purged
    target     to what: `main@7` for the move that made generation 7, a name, an id
    """

    event_id: str
    at_ms: int
    operation: str
    actor: str
    target: str
    reason: str
    prev_hash: Digest
    record_hash: Digest

    def as_json(self) -> Json:
        """{event_id, timestamp, operation, actor, target, reason, prev_hash, record_hash}."""
        return {
            "event_id": self.event_id,
            "timestamp": iso_time(self.at_ms),
            "operation": self.operation,
            "actor": self.actor,
            "target": self.target,
            "reason": self.reason,
            "prev_hash": self.prev_hash.hex(),
            "record_hash": self.record_hash.hex(),
        }


class Audited(NamedTuple):
    """`jvs audit --verify`: so many records, and the digest of the last (32 zero bytes when there is none)."""

    records: int
    head_hash: Digest

    def as_json(self) -> Json:
        """{chain_valid, records, head_hash}."""
        return {"chain_valid": True, "records": self.records, "head_hash": self.head_hash.hex()}


def events(repo: Repo, *, since_ms: int = 0, limit: int | None = None) -> Iterator[Event]:
    """What was done from `since_ms` on, oldest first, of that the newest `limit`; streamed. Every record is verified
    as it comes: raises IntegrityError (journal-damaged) where the chain is broken."""
    with repo.store.read() as txn:
        end = txn.journal_head().end.seq
    start = 0 if limit is None else max(0, end - limit)
    for record in repo.store.journal_records(start):
        if record.seq >= end:
            return  # what is done meanwhile is not of the newest `limit`
        if record.at_ms >= since_ms:
            yield event_of(record)


def verify(repo: Repo) -> Audited:
    """Recompute the digest of every record and body, follow the chain from its beginning, and compare its end with the
    one that the index keeps. Raises IntegrityError (journal-damaged)."""
    with repo.store.read() as txn:
        head = txn.journal_head().end
    records, last = 0, bytes(len(head.digest))
    for record in repo.store.journal_records():
        if record.seq >= head.seq:
            break
        records, last = record.seq + 1, record.digest
    if (records, last) != (head.seq, head.digest):
        raise IntegrityError(
            f"the journal ends after {records:,} records; the index says {head.seq:,}", code="journal-damaged"
        )
    return Audited(records, last)


def parse_since(text: str) -> int:
    """When `2h` ago, or `yesterday`, or `2026-12-24T10:00` was, Unix time in ms. Raises UsageError (bad-duration)."""
    try:
        return parse_distance(text, wall_clock(), -1)
    except UsageError:
        raise UsageError(
            f"{text[:80]!a} is no time", code="bad-duration", next="say it like 2h, yesterday or 2026-12-24"
        ) from None


def event_of(record: JournalRecord) -> Event:
    """A record for people. One of an operation that only a newer version knows has its name, and no target."""
    fields, said = record.skeleton, record.body or {}
    operation, target = record.op, ""
    actor, reason = said.get("actor", ""), said.get("message", said.get("reason", ""))
    if operation.startswith(LABEL_OP):
        move = move_from_journal(fields, record.body)
        operation = operation.removeprefix(LABEL_OP)
        target = f"{move.name}@{decode_skeleton(move.skeleton).generation}"
        if move.body is not None:
            flesh = decode_body(move.body)
            actor, reason = flesh.actor, flesh.message
    elif operation.startswith(ACT_OP):
        operation, target = operation.removeprefix(ACT_OP), fields.get("target", "")
    elif operation.startswith(LOCK_OP):
        target, reason = fields.get("label", ""), said.get("reason") or said.get("purpose", "")
    elif operation in _TARGETS:
        target = _TARGETS[operation](fields)
    return Event(
        str(record.seq), record.at_ms, operation, _text(actor), _text(target), _text(reason), record.prev, record.digest
    )


def _of(field: str) -> Callable[[Mapping[str, Any]], str]:
    """The field, ids in hex; of many the first."""

    def target(fields: Mapping[str, Any]) -> str:
        value = fields.get(field)
        many = value if isinstance(value, list) else [value]
        shown = ", ".join(_text(one) for one in many[:_SHOWN])
        return shown if len(many) <= _SHOWN else f"{shown} and {len(many) - _SHOWN:,} more"

    return target


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else str(value)


_TARGETS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "tag.delete": _of("tag"),
    "detached": _of("ca_id"),
    "detached.expired": _of("ca_ids"),
    "retention": _of("pattern"),
    "pin": _of("ca_id"),
    "unpin": _of("ids"),
    "ref": _of("name"),
    "unref": _of("name"),
    "stand": _of("mark"),
    "leave": _of("marks"),
    "forget": _of("label"),
    "truncate": _of("uid"),
    "remove": _of("uid"),
    "purge": _of("id"),
    "purge.done": _of("id"),
    "purge.content": _of("digests"),
    "purge.replaced": _of("id"),
    "purge.allowed": _of("ca_id"),
    "gc": _of("plan_id"),
    "repair": _of("did"),
}
