"""The records of a store's journal: how one is encoded, chained and checked, wherever it is kept.

A record is a msgpack array `[seq, at_ms, op, skeleton, body_digest, body, prev, digest]`. `skeleton` and `body` are
msgpack maps kept as bytes, so that nothing is ever re-encoded to be verified. `digest` covers everything but the
body, of which it covers the digest: a body may be dropped (None) and the chain still verifies (DESIGN 4.3).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from jvs.castore.backend import JournalRecord
from jvs.castore.digest import DIGEST_SIZE, Digest, body_digest, journal_digest
from jvs.errors import IntegrityError, UsageError

MAX_RECORD = 16 << 10
"""Most bytes of skeleton and body together, encoded."""
MAX_TRANSACTION = 256 << 10
"""Most bytes that the records of one transaction take in the journal."""
FRAME = 24
"""Bytes around each record in a journal file (counted by every backend, so that all have one limit)."""
MAX_OP = 64
_OVERHEAD = 256
"""More than the fields beside skeleton and body ever take."""


def encode(
    seq: int, at_ms: int, op: str, skeleton: Mapping[str, Any], body: Mapping[str, Any] | None, prev: Digest
) -> tuple[bytes, Digest]:
    """The record's bytes and its digest. Raises UsageError when it is too long."""
    packed = msgpack.packb(dict(skeleton))
    packed_body = None if body is None else msgpack.packb(dict(body))
    if len(packed) + len(packed_body or b"") > MAX_RECORD or len(op.encode()) > MAX_OP:
        raise UsageError(f"a journal record may hold {MAX_RECORD} bytes")
    covered = [seq, at_ms, op, packed, None if packed_body is None else body_digest(packed_body)]
    digest = journal_digest(msgpack.packb([*covered, prev]))
    return msgpack.packb([*covered, packed_body, prev, digest]), digest


def decode(raw: bytes) -> JournalRecord:
    """The record in `raw`, its digests recomputed. Raises IntegrityError (journal-damaged)."""
    if len(raw) > MAX_RECORD + _OVERHEAD:
        raise _damaged("longer than a record may be")
    try:
        fields = msgpack.unpackb(raw)
        seq, at_ms, op, packed, digest_of_body, packed_body, prev, digest = fields
        if msgpack.packb(fields) != raw:
            raise _damaged("not in canonical form")
        if digest != journal_digest(msgpack.packb([seq, at_ms, op, packed, digest_of_body, prev])):
            raise _damaged("its digest does not match")
        if packed_body is not None and body_digest(packed_body) != digest_of_body:
            raise _damaged("its body's digest does not match")
        skeleton = msgpack.unpackb(packed)
        body = {} if packed_body is None else msgpack.unpackb(packed_body)
        types = tuple(map(type, (seq, at_ms, op, skeleton, body, prev)))
        if types != (int, int, str, dict, dict, bytes) or len(prev) != DIGEST_SIZE:
            raise _damaged("not a record")
        return JournalRecord(seq, at_ms, op, skeleton, None if packed_body is None else body, prev, digest)
    except (ValueError, TypeError, msgpack.UnpackException) as exc:
        raise _damaged("not a record") from exc


class Head(NamedTuple):
    """Where a journal ends: the number of the next record, and time and digest of the last."""

    seq: int
    at_ms: int
    digest: Digest


EMPTY = Head(0, 0, bytes(DIGEST_SIZE))
"""The head of a journal without records: the first one's `prev` is 32 zero bytes."""


class Batch:
    """The records of one transaction, in order; `head` is where the journal ends after them."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.records: list[bytes] = []
        self._bytes = 0

    def add(self, op: str, skeleton: Mapping[str, Any], body: Mapping[str, Any] | None) -> None:
        """Chain a record to the ones before it. Raises UsageError past the limits."""
        seq, last_ms, prev = self.head
        at_ms = max(time.time_ns() // 1_000_000, last_ms)
        raw, digest = encode(seq, at_ms, op, skeleton, body, prev)
        self._bytes += FRAME + len(raw)
        if self._bytes > MAX_TRANSACTION:
            raise UsageError(f"the journal records of one transaction may take {MAX_TRANSACTION} bytes")
        self.records.append(raw)
        self.head = Head(seq + 1, at_ms, digest)


def _damaged(reason: str) -> IntegrityError:
    return IntegrityError(f"a record of the journal is damaged: {reason}", code="journal-damaged")
