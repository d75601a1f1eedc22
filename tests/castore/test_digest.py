"""Digests: what `b3sum` prints for files, a context of its own for every kind of record."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from jvs.castore import digest
from jvs.errors import UsageError

KEYED = {
    "jvs 2026-11 manifest page v1": digest.page_digest,
    "jvs 2026-11 part v1": digest.part_digest,
    "jvs 2026-11 recipe leaf v1": digest.recipe_digest,
    "jvs 2026-11 layout v1": digest.layout_checksum,
    "jvs 2026-11 reflog entry v1": digest.entry_digest,
    "jvs 2026-11 reflog body v1": digest.body_digest,
    "jvs 2026-11 journal record v1": digest.journal_digest,
    "jvs 2026-11 index checksum v1": digest.check_digest,
    "jvs 2026-11 pack record v1": digest.pack_checksum,
}


def test_a_files_digest_is_what_b3sum_prints() -> None:
    # the published test vector of BLAKE3 for no input, and `printf abc | b3sum`
    assert digest.EMPTY_DIGEST.hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest.file_digest(b"abc").hex() == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


@pytest.mark.parametrize("context", KEYED)
def test_a_record_has_the_derive_key_digest_of_its_context(context: str) -> None:
    assert KEYED[context](b"record") == blake3(b"record", derive_key_context=context).digest()


def test_the_same_bytes_have_another_digest_as_each_kind() -> None:
    names = {function(b"same bytes") for function in KEYED.values()} | {digest.file_digest(b"same bytes")}
    assert len(names) == len(KEYED) + 1


def test_a_keyed_digest_keeps_nothing_between_calls_or_threads() -> None:
    blocks = [bytes([number]) * 5_000 for number in range(200)]
    wanted = [blake3(block, derive_key_context="jvs 2026-11 part v1").digest() for block in blocks]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(digest.part_digest, blocks)) == wanted


@given(st.binary(min_size=32, max_size=32))
def test_an_id_is_read_as_it_is_written(value: bytes) -> None:
    assert digest.parse_digest(digest.to_hex(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 63,
        "a" * 65,
        "A" * 64,
        "g" + "a" * 63,
        " " + "a" * 63,
        "a" * 63 + "\n",
        "\uff10" * 64,
        "0x" + "a" * 62,
        "é" * 64,
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        digest.parse_digest(text)
    assert caught.value.code == "bad-id"
    assert caught.value.exit_status == 2
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(("text", "answer"), [("0", True), ("09af", True), ("", False), ("0F", False), ("0 ", False)])
def test_ids_are_spelled_in_lower_case(text: str, answer: bool) -> None:
    assert digest.is_hex(text) is answer
