"""What changed by words, and what a conflict could be settled as."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jvs.merge.content import Region
from jvs.merge.lines import suggest, word_diff
from jvs.merge.lines.words import MAX_BYTES, MAX_TOKENS
from tests.merge.lines.texts import TEXTS

WORDS = st.lists(st.sampled_from([b"one", b"two", b" ", b"(", b"\n", b"\xc3\xa4", b"\xff", b"\r\n"]), max_size=12)


def region(base: bytes, ours: bytes, theirs: bytes) -> Region:
    return Region("line 1", base, ours, theirs)


@given(st.one_of(TEXTS, WORDS.map(b"".join)), st.one_of(TEXTS, WORDS.map(b"".join)))
def test_runs_give_back_both_texts(a: bytes, b: bytes) -> None:
    runs = word_diff(a, b)
    assert b"".join(text for op, text in runs if op != "+") == a
    assert b"".join(text for op, text in runs if op != "-") == b
    assert all(text for _, text in runs)
    assert all(one[0] != other[0] for one, other in pairwise(runs))


def test_words_are_compared_whole() -> None:
    assert word_diff(b"let counter = 1;\n", b"let countess = 1;\n") == [
        ("=", b"let "),
        ("-", b"counter"),
        ("+", b"countess"),
        ("=", b" = 1;\n"),
    ]
    assert word_diff("größer".encode(), "größe".encode()) == [("-", "größer".encode()), ("+", "größe".encode())]


def test_too_much_is_not_compared_by_words() -> None:
    a, b = b"x " * MAX_TOKENS, b"y " + b"x " * MAX_TOKENS
    assert word_diff(a, b) == [("-", a), ("+", b)]
    assert suggest(region(a, b, a)) is None
    long = b"z" * (MAX_BYTES + 1)
    assert suggest(region(long, b"a", b"b")) is None
    kept = b"unchanged\n" * 5_000
    assert word_diff(kept + b"one two\n", kept + b"one 2\n") == [
        ("=", kept + b"one "),
        ("-", b"two"),
        ("+", b"2"),
        ("=", b"\n"),
    ]


def test_a_suggestion_has_the_changes_of_both() -> None:
    assert suggest(region(b"call(one, two)\n", b"call(1, two)\n", b"call(one, 2)\n")) == b"call(1, 2)\n"
    assert suggest(region(b"a b\n\xff c\n", b"A b\n\xff c\n", b"a b\n\xff C\n")) == b"A b\n\xff C\n"


def test_nothing_is_suggested_where_words_clash() -> None:
    assert suggest(region(b"x = 1\n", b"x = 2\n", b"x = 3\n")) is None
    assert suggest(region(b"", b"x = 2\n", b"x = 3\n")) is None
    assert suggest(region(b"x = 1\n", b"", b"x = 3\n")) is None


@given(WORDS.map(b"".join), WORDS.map(b"".join), WORDS.map(b"".join))
def test_suggestions_are_mirrored(base: bytes, ours: bytes, theirs: bytes) -> None:
    assert suggest(region(base, ours, theirs)) == suggest(region(base, theirs, ours))
    if base:
        assert suggest(region(base, ours, base)) == ours


def test_the_word_engine_is_imported_only_when_wanted() -> None:
    code = "import sys, jvs.merge.lines; sys.exit('diff_match_patch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
