"""Words and numbers for people."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.cli.text import ago, bar, clock, columns, count, duration, first_line, plain, short, size


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_800, "12.5 KiB"),
        (102_400, "100 KiB"),
        (1_048_575, "1.0 MiB"),
        (650 << 20, "650 MiB"),
        (5 << 30, "5.0 GiB"),
        (10 << 40, "10.0 TiB"),
        (5000 << 60, "5000 EiB"),
        (-512, "-512 B"),
    ],
)
def test_sizes(number: int, shown: str) -> None:
    assert size(number) == shown


@given(st.integers(0, 1 << 62))
def test_a_size_is_short_and_never_1024_of_its_unit(number: int) -> None:
    value, unit = size(number).split(" ")
    assert len(value) <= 5
    assert float(value) < 1024
    assert unit in {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}


@pytest.mark.parametrize(
    ("number", "noun", "shown"),
    [(1, "file", "1 file"), (0, "file", "0 files"), (12_345, "entry", "12,345 entries"), (1, "entry", "1 entry")],
)
def test_counts(number: int, noun: str, shown: str) -> None:
    assert count(number, noun) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0031, "3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (99.96, "1 min 40 s"),
        (3725, "62 min 5 s"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "just now"),
        (-3, "just now"),
        (4, "just now"),
        (5, "5 seconds ago"),
        (60, "1 minute ago"),
        (119, "1 minute ago"),
        (3_600, "1 hour ago"),
        (86_400 * 3, "3 days ago"),
        (-3_600, "in the future"),
    ],
)
def test_ages(seconds: int, shown: str) -> None:
    now = 1_800_000_000_000
    assert ago(now - seconds * 1000, now) == shown


def test_a_moment_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert clock(0) == "1970-01-01 09:00:00"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_ids_are_cut_to_twelve_digits() -> None:
    assert short(bytes(range(32))) == "000102030405"
    assert short(None) == "-"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("data/points.csv", "data/points.csv"),
        ("été", "été"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("caf\udce9", "caf\ufffd"),
        ("\ud800", "\\ud800"),
    ],
)
def test_foreign_text_is_harmless(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_foreign_text_is_one_line_without_control_characters(text: str) -> None:
    shown = plain(text)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("message", "shown"),
    [("one", "one"), ("one\n", "one"), ("one\n\ntwo", "one ..."), ("", ""), ("a\x07b", "a\\x07b")],
)
def test_a_message_is_shown_by_its_first_line(message: str, shown: str) -> None:
    assert first_line(message) == shown


def test_columns_are_aligned_and_not_padded_at_the_end() -> None:
    assert columns([["a", "1", "x"], ["long", "100", ""]], right=frozenset({1})) == ["a       1  x", "long  100"]
    assert columns([]) == []


@pytest.mark.parametrize(("share", "marks"), [(0, 0), (0.0001, 1), (0.5, 5), (1, 10), (7, 10)])
def test_bars(share: float, marks: int) -> None:
    assert bar(share, 10) == "#" * marks
