"""The one checker of names and of paths inside a snapshot."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from jvs.castore import names
from jvs.errors import ManifestError, UsageError

GOOD = [
    b"a", b"...", b"..a", b".a", b"-x", b"a b", b"line\nfeed", b'"', b"\\", b"\xff\xfe", b"x" * 255, b".jv", b".jvs2",
    b"jvs", b".jvs.", b".j", b".jVsX", "naïve".encode(), b"\x01", b".jvsignore",
]  # fmt: skip
BAD = [
    b"", b".", b"..", b"/", b"a/b", b"a\0", b"\0", b"x" * 256, b".jvs", b".JVS", b".Jvs", b".jVs", b".jvS",
    ".jv\u017f".encode(),  # LATIN SMALL LETTER LONG S folds to s
    ".JV\u017f".encode(),
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_these_are_names(name: bytes) -> None:
    assert names.is_valid_name(name)
    assert names.check_name(name) is name


@pytest.mark.parametrize("name", BAD)
def test_these_are_not(name: bytes) -> None:
    assert not names.is_valid_name(name)
    with pytest.raises(ManifestError):
        names.check_name(name)


@given(st.one_of(st.binary(max_size=300), st.text(".jJvVsS\u017f", max_size=6).map(str.encode)))
@example(b".jvs")
def test_the_rule_is_the_one_of_the_design(name: bytes) -> None:
    control = name.decode("utf-8", "surrogateescape").casefold() == ".jvs"
    wanted = 1 <= len(name) <= 255 and not set(name) & {0, ord("/")} and name not in (b".", b"..") and not control
    assert names.is_valid_name(name) is wanted


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_a_path_is_split_into_its_names(parts: list[bytes]) -> None:
    assume(all(map(names.is_valid_name, parts)))
    assert names.split_path(b"/".join(parts)) == tuple(parts)
    assert names.split_path(b"//" + b"//".join(parts) + b"/") == tuple(parts)
    assert names.split_path(names.to_text(b"/".join(parts))) == tuple(parts)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
@example("a/\ud800")
@example(b"a/../b")
def test_any_operand_is_a_path_or_a_usage_error(path: bytes | str) -> None:
    try:
        parts = names.split_path(path)
    except UsageError as refused:
        error = refused
    else:
        assert all(map(names.is_valid_name, parts))
        return
    assert error.code == "bad-path"
    assert error.exit_status == 2
    assert error.message.isprintable()


def test_no_path_is_deeper_than_any_reader_goes() -> None:
    assert len(names.split_path(b"a/" * names.MAX_DEPTH)) == names.MAX_DEPTH
    with pytest.raises(UsageError):
        names.split_path(b"a/" * (names.MAX_DEPTH + 1))


@given(st.binary(max_size=60))
def test_every_name_round_trips_through_text(raw: bytes) -> None:
    assert names.to_bytes(names.to_text(raw)) == raw


@given(st.one_of(st.binary(max_size=60), st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace"))))
@example("\u2028".encode())
@example("right\u202eto left".encode())
@example(b"\x1b[31m\n\r\t\x7f")
@example("nbsp\u00a0".encode())
def test_people_never_see_what_moves_the_cursor(raw: bytes) -> None:
    text = names.display(raw)
    assert len(text.splitlines()) <= 1
    assert all(ch.isprintable() or ch.isspace() for ch in text)
    assert not set(text) & set("\n\r\t\x0b\x0c\x1b\x85\u2028\u2029\u202e")


def test_display_leaves_ordinary_names_alone() -> None:
    assert names.display("naïve name, ok.txt".encode()) == "naïve name, ok.txt"
    assert names.display(b"a\xffb") == "a\ufffdb"
    assert names.display(b"a\nb") == "a\\nb"


def test_json_gives_the_bytes_too_where_they_are_not_utf8() -> None:
    assert names.json_fields("ü".encode()) == {"path": "ü"}
    assert names.json_fields(b"\xff", "name") == {"name": "\ufffd", "name_b64": "/w=="}
