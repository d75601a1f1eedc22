"""The bytes of a reflog entry: canonical, verified, with a body that may be dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore.digest import body_digest, entry_digest
from jvs.errors import IntegrityError, UsageError
from jvs.labels.model import (
    MAX_ATTACHED,
    MAX_META_DEPTH,
    Body,
    Skeleton,
    decode_body,
    decode_entry,
    decode_skeleton,
    new_body,
)

BODY = Body(bytes(range(16)), "first", "ann", ("v1",), {"b": [1, None], "a": {"z": 1.5, "y": True}})
SKELETON = Skeleton(
    uid=b"u" * 16,
    generation=7,
    at_ms=1_800_000_000_000,
    from_=None,
    to=b"t" * 32,
    op="push",
    parents=(b"p" * 32, b"q" * 32),
    depth=3,
    prev=b"r" * 32,
    body=body_digest(BODY.encode()),
)

digests = st.binary(min_size=32, max_size=32)
positive = st.integers(1, 2**63 - 1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
skeletons = st.builds(
    Skeleton,
    uid=st.binary(min_size=16, max_size=16),
    generation=positive,
    at_ms=positive,
    from_=st.none() | digests,
    to=st.none() | digests,
    op=st.sampled_from(["push", "reset", "an-op-of-the-future"]),
    parents=st.lists(digests, max_size=4).map(tuple),
    depth=positive,
    prev=st.none() | digests,
    body=digests,
)
bodies = st.builds(
    Body,
    salt=st.binary(min_size=16, max_size=16),
    message=st.text(max_size=50),
    actor=st.text(max_size=20),
    tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    meta=st.dictionaries(st.text(max_size=8), json_values, max_size=4),
)


def test_the_encoding_is_the_published_one() -> None:
    """docs/labels.md gives these bytes; changing them changes every id."""
    skeleton = SKELETON._replace(body=b"b" * 32)
    assert skeleton.encode().hex() == (
        "9a"
        + "c410"
        + "75" * 16
        + "07"
        + "cf000001a3185c5000"
        + "c0"
        + "c420"
        + "74" * 32
        + "a470757368"
        + "92"
        + "c420"
        + "70" * 32
        + "c420"
        + "71" * 32
        + "03"
        + "c420"
        + "72" * 32
        + "c420"
        + "62" * 32
    )
    assert BODY.encode().hex() == (
        "95"
        + "c410"
        + bytes(range(16)).hex()
        + "a56669727374"
        + "a3616e6e"
        + "91a27631"
        + "82a16182a179c3a17acb3ff8000000000000a1629201c0"
    )
    assert entry_digest(skeleton.encode()).hex() == "03f3e7aa57e3fa1c4d77b1898d303144f0f639703b90c1cf19466a9b361d91c6"
    assert body_digest(BODY.encode()).hex() == "1e4ba16876064fc87db1ab20deb6dce5dc8a654730edde22ef5c35154bb016a8"


@given(skeletons)
def test_skeletons_round_trip(skeleton: Skeleton) -> None:
    assert decode_skeleton(skeleton.encode()) == skeleton


@given(bodies)
def test_bodies_round_trip(body: Body) -> None:
    assert decode_body(body.encode()) == body


@given(skeletons, st.data())
def test_every_changed_skeleton_has_another_id_or_is_refused(skeleton: Skeleton, data: st.DataObject) -> None:
    raw = bytearray(skeleton.encode())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= 1 << data.draw(st.integers(0, 7))
    assert entry_digest(bytes(raw)) != entry_digest(skeleton.encode())
    try:
        changed = decode_skeleton(bytes(raw))
    except IntegrityError:
        return
    assert changed.encode() == bytes(raw)


@given(st.binary(max_size=300))
def test_noise_is_refused(raw: bytes) -> None:
    for decode in (decode_skeleton, decode_body):
        try:
            value = decode(raw)
        except IntegrityError:
            continue
        assert value.encode() == raw


@pytest.mark.parametrize("position", range(10))
def test_a_field_of_another_kind_is_refused(position: int) -> None:
    values: tuple[Any, ...] = (None, True, -1, 0, 1.5, "x", "", b"x", b"x" * 33, [], [b"short"], {}, 2**63)
    for value in values:
        fields: list[Any] = list(SKELETON)
        fields[position] = value
        raw = msgpack.packb(fields)
        legal = (
            (position in (3, 4, 8) and value is None)
            or (position == 2 and value == 0 and not isinstance(value, bool | float))
            or (position == 6 and value == [])
            or (position == 5 and value == "x")
        )
        if legal:
            assert decode_skeleton(raw).encode() == raw
        else:
            with pytest.raises(IntegrityError):
                decode_skeleton(raw)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw + b"\x00",  # trailing bytes
        lambda raw: raw[:-1],  # cut short
        lambda raw: b"\xdc\x00\x0a" + raw[1:],  # an array header that is wider than it need be
        lambda raw: raw.replace(b"\x07", b"\xcc\x07", 1),  # so is this number
        lambda raw: b"\x9b" + raw[1:] + b"\xc0",  # one field more
        lambda raw: b"\xc1",
        lambda raw: b"\x91" * 5000,  # nested beyond any stack
        lambda raw: b"",
    ],
)
def test_other_spellings_of_a_skeleton_are_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(IntegrityError):
        decode_skeleton(spoil(SKELETON.encode()))


@pytest.mark.parametrize(
    "raw",
    [
        msgpack.packb([b"s" * 16, "", "", [], {"b": 1, "a": 2}]),  # keys not in order
        b"\x95\xc4\x10" + b"s" * 16 + b"\xa0\xa0\x90\x82\xa1a\x01\xa1a\x02",  # a key twice
        b"\x95\xc4\x10" + b"s" * 16 + b"\xa2\xff\xfe\xa0\x90\x80",  # not UTF-8
        msgpack.packb([b"s" * 16, "", "", [], {"a": float("nan")}]),
        msgpack.packb([b"s" * 16, "", "", [], {"a": b"bytes"}]),
        msgpack.packb([b"s" * 16, "", "", [], {"a": msgpack.ExtType(5, b"x")}]),
        msgpack.packb([b"s" * 16, "", "", [], {b"a": 1}]),
        msgpack.packb([b"s" * 15, "", "", [], {}]),
        msgpack.packb([b"s" * 16, None, "", [], {}]),
        msgpack.packb([b"s" * 16, "", "", [1], {}]),
        msgpack.packb([b"s" * 16, "", "", [], []]),
        msgpack.packb([b"s" * 16, "", "", []]),
    ],
)
def test_bodies_that_are_none_are_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_body(raw)


def test_an_entry_verifies_with_and_without_its_body() -> None:
    whole = decode_entry("main", SKELETON.encode(), BODY.encode())
    assert (whole.message, whole.actor, whole.tags, whole.meta, whole.dropped) == (
        "first", "ann", ("v1",), {"b": [1, None], "a": {"z": 1.5, "y": True}}, False,
    )  # fmt: skip
    bare = decode_entry("main", SKELETON.encode(), None)
    assert bare.id == whole.id == entry_digest(SKELETON.encode())
    assert (bare.message, bare.tags, bare.dropped) == ("", (), True)


def test_a_body_of_another_entry_is_refused() -> None:
    with pytest.raises(IntegrityError):
        decode_entry("main", SKELETON.encode(), BODY._replace(message="other").encode())


def test_the_same_message_never_has_the_same_digest() -> None:
    first, second = (new_body("secret", "ann", (), None).encode() for _ in range(2))
    assert body_digest(first) != body_digest(second)


def test_an_unknown_op_is_kept() -> None:
    entry = decode_entry("main", SKELETON._replace(op="teleport").encode(), None)
    assert entry.op == "teleport"


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "meta",
    [
        {"k": float("nan")},
        {"k": float("inf")},
        {"k": b"bytes"},
        {"k": object()},
        {"k": 2**64},
        {"k": "\udc80"},
        {1: "key"},
        {"k": {1: 2}},
        {"k": deep(MAX_META_DEPTH)},
        {"k": "x" * MAX_ATTACHED},
    ],
)
def test_meta_that_is_no_json_is_refused(meta: Any) -> None:
    with pytest.raises(UsageError):
        new_body("", "", (), meta)


def test_meta_at_the_limits_is_kept() -> None:
    body = new_body("m" * 4096, "a" * 255, ["t"] * 3, {"k": deep(MAX_META_DEPTH - 1), "t": (1, 2)})
    assert body.tags == ("t",)
    assert decode_body(body.encode()).meta == {"k": deep(MAX_META_DEPTH - 1), "t": [1, 2]}


@pytest.mark.parametrize(("message", "actor", "code"), [("x" * 4097, "", "bad-message"), ("", "x" * 256, "usage")])
def test_long_texts_are_refused(message: str, actor: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        new_body(message, actor, (), None)
    assert caught.value.code == code
