"""Rebuild the label tables from the journal: labels are never only in the index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from jvs.castore.backend import JournalRecord, WriteTxn
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import IntegrityError, UsageError
from jvs.labels.model import UID_SIZE
from jvs.labels.names import check_pattern
from jvs.labels.purges import (
    ALLOWED_OP,
    CONTENT_OP,
    DONE_OP,
    ID_SIZE,
    PURGE_OP,
    REPLACED_OP,
    PurgeRow,
    apply_allowed,
    apply_content,
    apply_done,
    apply_purge,
    apply_replaced,
)
from jvs.labels.records import (
    DETACH_OP,
    FORGET_OP,
    LABEL_OP,
    LEAVE_OP,
    LOCK_OP,
    PIN_OP,
    REF_OP,
    REMOVE_OP,
    RETENTION_OP,
    STAND_OP,
    TRUNCATE_OP,
    TRUST_OP,
    UNDETACH_OP,
    UNPIN_OP,
    UNREF_OP,
    UNTAG_OP,
    apply_detached,
    apply_forget,
    apply_leave,
    apply_lock,
    apply_move,
    apply_pin,
    apply_ref,
    apply_remove,
    apply_retention,
    apply_stand,
    apply_truncate,
    apply_trusted,
    apply_undetached,
    apply_unpin,
    apply_unref,
    apply_untag,
    move_from_journal,
)
from jvs.labels.retention import decode_policy
from jvs.labels.roots import roots
from jvs.labels.tables import PIN_ID_SIZE, LockRow, PinRow, PositionRow, RefRow, Span, is_mark


def replay(txn: WriteTxn, records: Iterable[JournalRecord]) -> Iterator[Digest]:
    """Apply every record of the pointer plane, oldest first, to label tables that are empty (or hold exactly what the
    records before these made); others are passed over.

    Yields the roots there are after the last one, so it must be exhausted. Nothing is required to be in the object
    index, which may itself be in the making. Raises IntegrityError when a record does not verify or does not follow.
    """
    for record in records:
        if record.op.startswith(LABEL_OP):
            apply_move(txn, move_from_journal(record.skeleton, record.body))
        elif record.op.startswith(LOCK_OP):
            _lock(txn, _Fields(record))
        elif record.op in _APPLY:
            _APPLY[record.op](txn, _Fields(record))
    for root in roots(txn, 0, every_base=True):
        yield root.ca_id


class _Fields:
    """The fields of a record, each checked as it is taken."""

    def __init__(self, record: JournalRecord) -> None:
        self._record = record

    def text(self, name: str) -> str:
        value: str = self._checked(name, str)
        return value

    def number(self, name: str) -> int:
        value: int = self._checked(name, int)
        if value < 0:
            raise self._damaged()
        return value

    def raw(self, name: str, size: int | None = None) -> bytes:
        value: bytes = self._checked(name, bytes)
        if size is not None and len(value) != size:
            raise self._damaged()
        return value

    def absent(self, name: str) -> bool:
        """Whether the field is there and nil."""
        return name in self._record.skeleton and self._record.skeleton[name] is None

    def raws(self, name: str, *sizes: int) -> list[bytes]:
        values: list[bytes] = self._checked(name, list)
        if [value for value in values if type(value) is not bytes or len(value) not in sizes]:
            raise self._damaged()
        return values

    def numbers(self, name: str) -> list[int]:
        values: list[int] = self._checked(name, list)
        if [value for value in values if type(value) is not int or value < 0]:
            raise self._damaged()
        return values

    def mark(self, value: object) -> str:
        if not isinstance(value, str) or not is_mark(value):
            raise self._damaged()
        return value

    def marks(self, name: str) -> list[str]:
        return [self.mark(value) for value in self._checked(name, list)]

    def spans(self, name: str) -> tuple[Span, ...]:
        found = []
        for value in self._checked(name, list):
            if not isinstance(value, list) or len(value) != len(Span._fields):
                raise self._damaged()
            span = Span(*value)
            numbers = type(span.first) is int and (span.last is None or type(span.last) is int)
            if type(span.uid) is not bytes or len(span.uid) != UID_SIZE or not numbers or span.first < 1:
                raise self._damaged()
            found.append(span)
        return tuple(found)

    def said(self, name: str) -> str:
        """A field of the body; empty when the body was dropped."""
        value = (self._record.body or {}).get(name, "")
        if not isinstance(value, str):
            raise self._damaged()
        return value

    def _checked(self, name: str, kind: type) -> Any:
        value = self._record.skeleton.get(name)
        if type(value) is not kind:
            raise self._damaged()
        return value

    def _damaged(self) -> IntegrityError:
        record = self._record
        return IntegrityError(f"journal record {record.seq} ({record.op}) is not one", code="journal-damaged")


def _retention(txn: WriteTxn, fields: _Fields) -> None:
    pattern, policy = fields.text("pattern"), None
    try:
        check_pattern(pattern)
    except UsageError as error:
        raise IntegrityError(error.message, code="journal-damaged") from None
    if not fields.absent("policy"):
        policy = decode_policy(fields.raw("policy")).encode()
    apply_retention(txn, pattern, policy, fields.number("at_ms"))


def _pin(txn: WriteTxn, fields: _Fields) -> None:
    until = None if fields.absent("until") else fields.number("until")
    ca_id = fields.raw("ca_id", DIGEST_SIZE)
    row = PinRow(ca_id, fields.number("at_ms"), until, fields.said("actor"), fields.said("message"))
    apply_pin(txn, fields.raw("id", PIN_ID_SIZE), row)


def _lock(txn: WriteTxn, fields: _Fields) -> None:
    holder = None if fields.absent("holder") else fields.raw("holder", DIGEST_SIZE)
    times = fields.number("acquired"), fields.number("expires")
    said = fields.said("who"), fields.said("session_id"), fields.said("purpose")
    apply_lock(txn, fields.text("label"), LockRow(holder, fields.number("token"), *times, *said))


def _ref(txn: WriteTxn, fields: _Fields) -> None:
    entry_id = None if fields.absent("entry") else fields.raw("entry", DIGEST_SIZE)
    said = fields.said("actor"), fields.said("message")
    row = RefRow(entry_id, fields.raw("ca_id", DIGEST_SIZE), fields.number("at_ms"), *said)
    apply_ref(txn, fields.text("name"), row)


def _stand(txn: WriteTxn, fields: _Fields) -> None:
    row = PositionRow(tuple(fields.raws("snapshots", DIGEST_SIZE)), fields.spans("spans"))
    apply_stand(txn, fields.mark(fields.text("mark")), row)


def _truncate(txn: WriteTxn, fields: _Fields) -> None:
    apply_truncate(txn, fields.raw("uid", UID_SIZE), fields.numbers("generations"), fields.number("floor"))


def _purge(txn: WriteTxn, fields: _Fields) -> None:
    row = PurgeRow(fields.number("at_ms"), False, fields.raw("what", DIGEST_SIZE))
    apply_purge(txn, fields.raw("id", ID_SIZE), row)


_APPLY: Final[dict[str, Callable[[WriteTxn, _Fields], None]]] = {
    UNTAG_OP: lambda txn, fields: apply_untag(txn, fields.text("tag")),
    DETACH_OP: lambda txn, fields: apply_detached(
        txn, fields.raw("ca_id", DIGEST_SIZE), fields.number("at_ms"), fields.raws("parents", DIGEST_SIZE)
    ),
    UNDETACH_OP: lambda txn, fields: apply_undetached(txn, fields.raws("ca_ids", DIGEST_SIZE)),
    RETENTION_OP: _retention,
    PIN_OP: _pin,
    UNPIN_OP: lambda txn, fields: apply_unpin(txn, fields.raws("ids", PIN_ID_SIZE)),
    REF_OP: _ref,
    UNREF_OP: lambda txn, fields: apply_unref(txn, fields.text("name")),
    STAND_OP: _stand,
    LEAVE_OP: lambda txn, fields: apply_leave(txn, fields.marks("marks")),
    FORGET_OP: lambda txn, fields: apply_forget(txn, fields.text("label"), fields.number("generation")),
    TRUNCATE_OP: _truncate,
    TRUST_OP: lambda txn, fields: apply_trusted(txn, fields.number("at_ms")),
    REMOVE_OP: lambda txn, fields: apply_remove(txn, fields.raw("uid", UID_SIZE), fields.numbers("generations")),
    PURGE_OP: _purge,
    DONE_OP: lambda txn, fields: apply_done(txn, fields.raw("id", ID_SIZE)),
    CONTENT_OP: lambda txn, fields: apply_content(txn, fields.raw("id", ID_SIZE), fields.raws("digests", DIGEST_SIZE)),
    REPLACED_OP: lambda txn, fields: apply_replaced(
        txn, fields.raw("id", ID_SIZE), fields.raws("pairs", DIGEST_SIZE, 2 * DIGEST_SIZE)
    ),
    ALLOWED_OP: lambda txn, fields: apply_allowed(
        txn, fields.raws("digests", DIGEST_SIZE), fields.raw("ca_id", DIGEST_SIZE)
    ),
}
