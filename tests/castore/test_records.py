"""Journal records: what is written comes back, what was changed is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore import records
from jvs.castore.digest import body_digest, journal_digest
from jvs.errors import IntegrityError, UsageError

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=20)
)
MAPS = st.dictionaries(st.text(max_size=10), VALUES | st.lists(VALUES, max_size=4), max_size=6)
DIGESTS = st.binary(min_size=32, max_size=32)


@given(st.integers(0, 2**40), st.integers(0, 2**50), st.text(max_size=16), MAPS, st.none() | MAPS, DIGESTS)
def test_there_and_back(
    seq: int, at_ms: int, op: str, skeleton: dict[str, Any], body: dict[str, Any] | None, prev: bytes
) -> None:
    raw, digest = records.encode(seq, at_ms, op, skeleton, body, prev)
    assert records.decode(raw) == (seq, at_ms, op, skeleton, body, prev, digest)


@given(MAPS, st.none() | MAPS, st.data())
def test_a_changed_byte_is_refused(
    skeleton: dict[str, Any], body: dict[str, Any] | None, data: st.DataObject
) -> None:
    raw = bytearray(records.encode(3, 4, "move", skeleton, body, bytes(32))[0])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError) as caught:
        records.decode(bytes(raw))
    assert caught.value.code == "journal-damaged"


@given(
    st.binary(max_size=400)
    | st.recursive(VALUES, lambda inner: st.lists(inner, max_size=9)).map(msgpack.packb)
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityError):
        records.decode(raw)


def test_a_body_may_be_dropped() -> None:
    raw, digest = records.encode(0, 1, "move", {"a": 1}, {"message": "secret"}, bytes(32))
    fields = msgpack.unpackb(raw)
    fields[5] = None
    dropped = records.decode(msgpack.packb(fields))
    assert (dropped.body, dropped.digest) == (None, digest)
    fields[5] = msgpack.packb({"message": "forged"})
    with pytest.raises(IntegrityError):
        records.decode(msgpack.packb(fields))


@pytest.mark.parametrize(
    "wrong",
    [["0"], [-1.5], [None], [0, "now"], [0, 1, b"op"], [0, 1, "op", b"\x90"], [0, 1, "op", b"\x80", 7]],
)
def test_wrong_types_are_refused_even_with_good_digests(wrong: list[Any]) -> None:
    body = msgpack.packb({})
    covered = [*wrong, *[0, 1, "op", b"\x80", body_digest(body)][len(wrong) :]]
    digest = journal_digest(msgpack.packb([*covered, bytes(32)]))
    with pytest.raises(IntegrityError):
        records.decode(msgpack.packb([*covered, body, bytes(32), digest]))


def test_limits() -> None:
    records.encode(0, 0, "o" * records.MAX_OP, {"t": "x" * (records.MAX_RECORD - 10)}, None, bytes(32))
    with pytest.raises(UsageError):
        records.encode(0, 0, "op", {"t": "x" * records.MAX_RECORD}, None, bytes(32))
    with pytest.raises(UsageError):
        records.encode(0, 0, "o" * (records.MAX_OP + 1), {}, None, bytes(32))
    with pytest.raises(IntegrityError):
        records.decode(bytes(records.MAX_RECORD * 2))
