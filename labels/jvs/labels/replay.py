"""Rebuild the label tables from the journal: labels are never only in the index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from jvs.castore.backend import JournalRecord, WriteTxn
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import IntegrityError
from jvs.labels.records import (
    DETACH_OP,
    LABEL_OP,
    UNTAG_OP,
    apply_detached,
    apply_move,
    apply_untag,
    move_from_journal,
)

T = TypeVar("T")


def replay(txn: WriteTxn, records: Iterable[JournalRecord]) -> Iterator[Digest]:
    """Apply every record of the pointer plane, oldest first, to label tables that are empty (or hold exactly what the
    records before these made); others are passed over.

    Yields each root as its record is applied, so it must be exhausted. Nothing is required to be in the object index,
    which may itself be in the making. Raises IntegrityError when a record does not verify or does not follow.
    """
    for record in records:
        if record.op.startswith(LABEL_OP):
            root = apply_move(txn, move_from_journal(record.skeleton, record.body)).to
            if root is not None:
                yield root
        elif record.op == UNTAG_OP:
            apply_untag(txn, _field(record, "tag", str))
        elif record.op == DETACH_OP:
            ca_id = _field(record, "ca_id", bytes)
            if len(ca_id) != DIGEST_SIZE:
                raise _damaged(record)
            apply_detached(txn, ca_id, _field(record, "at_ms", int))
            yield ca_id


def _field(record: JournalRecord, name: str, kind: type[T]) -> T:
    value = record.skeleton.get(name)
    if not isinstance(value, kind):
        raise _damaged(record)
    return value


def _damaged(record: JournalRecord) -> IntegrityError:
    return IntegrityError(f"journal record {record.seq} ({record.op}) is not one", code="journal-damaged")
