"""Which names labels and tags may have."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.errors import UsageError
from jvs.labels.names import check_label_name, check_tag, is_autosave_name, label_name_fault

GOOD = [
    "main",
    "a",
    "agent/1",
    "A.b_c-d",
    "v1.0",
    "7",
    "1234567",
    "deadbee",
    "deadbeef/x",
    "x/deadbeef",
    "deadbeefg",
    "heads",
    "head",
    "Log",
    "tags",
    "tag/x",
    "\u00e9t\u00e9",
    "\u6771\u4eac/\u30d6\u30e9\u30f3\u30c1",
    "x" * 255,
    "\u00e9" * 127,
]

BAD = {
    "": "empty",
    "/": "empty",
    "/a": "empty",
    "a/": "empty",
    "a//b": "empty",
    "-": "starts with",
    "-x": "starts with",
    "a/-x": "starts with",
    ".": "starts with",
    "..": "starts with",
    "a/..": "starts with",
    ".jvs": "starts with",
    "HEAD": "reserved",
    "a/HEAD/b": "reserved",
    "log": "reserved",
    "main/log": "reserved",
    "deadbeef": "id",
    "DEADBEEF": "id",
    "0" * 8: "id",
    "f" * 64: "id",
    "tag": "tag:",
    "a b": "not allowed",
    "a\n": "not allowed",
    "a\0": "not allowed",
    "a:b": "not allowed",
    "a@b": "not allowed",
    "a{b": "not allowed",
    "a\\b": "not allowed",
    "a*": "not allowed",
    "a~1": "not allowed",
    "\u0661": "not allowed",  # a digit, but not one of ours
    "\U0001f600": "not allowed",
    "a\u200d": "not allowed",
    "a\ufe0f": "not allowed",
    "e\u0301": "NFC",
    "\u212b": "NFC",
    "x" * 256: "256 bytes",
    "\u00e9" * 128: "256 bytes",
    "a\udc80": "UTF-8",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name: str) -> None:
    assert check_label_name(name) == name


@pytest.mark.parametrize("name", BAD)
def test_bad_names_say_why_in_one_printable_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_label_name(name)
    assert caught.value.code == "bad-label-name"
    assert BAD[name] in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@given(st.text(max_size=40))
def test_what_passes_is_safe_everywhere(name: str) -> None:
    if label_name_fault(name) is not None:
        return
    assert name.isprintable()
    assert unicodedata.normalize("NFC", name) == name
    assert not set(name) & set(":@{} \\*?[]~^\"'`$&|;<>()!\0")
    assert 1 <= len(name.encode()) <= 255
    assert all(part not in ("", ".", "..", "HEAD", "log") and part[0] not in "-." for part in name.split("/"))


@pytest.mark.parametrize("tag", ["v1", "v1.0+build", "stage=prod", "2026-11-20", "deadbeef", "log1", "\u00e9"])
def test_good_tags(tag: str) -> None:
    assert check_tag(tag) == tag


@pytest.mark.parametrize("tag", ["", "a/b", "-x", ".x", "a b", "a:b", "a@b", "HEAD", "x" * 129, "e\u0301", "\udc80"])
def test_bad_tags(tag: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_tag(tag)
    assert caught.value.code == "bad-tag"
    assert "tag" in caught.value.message


def test_autosave_names() -> None:
    assert is_autosave_name("autosave")
    assert is_autosave_name("autosave/main")
    assert not is_autosave_name("autosaves")
    assert not is_autosave_name("x/autosave")
