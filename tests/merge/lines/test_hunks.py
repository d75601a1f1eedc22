"""Comparing two texts: hunks that make one of the other, bounded work, unified diffs, likeness."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.merge.lines import Hunk, diff_lines, similarity, unified
from jvs.merge.lines.budget import Budget
from jvs.merge.lines.coarse import coarse_runs
from jvs.merge.lines.histogram import Index, match
from jvs.merge.lines.sliding import slide
from jvs.merge.lines.texts import Table
from tests.merge.lines.texts import TEXTS

SIZES = st.sampled_from([2, 3, 8, 40])


def lines_of(text: bytes) -> list[bytes]:
    return [line for line in text.replace(b"\n", b"\n\0").split(b"\0") if line]


@given(TEXTS, TEXTS)
def test_hunks_make_one_text_of_the_other(a: bytes, b: bytes) -> None:
    old, new, made = lines_of(a), lines_of(b), []
    at = 0
    for hunk in diff_lines(a, b):
        assert hunk.a_low > at or at == 0, "hunks touch"
        assert hunk.a_high > hunk.a_low or hunk.b_high > hunk.b_low
        made += old[at : hunk.a_low]
        assert len(made) == hunk.b_low
        made += new[hunk.b_low : hunk.b_high]
        at = hunk.a_high
    assert made + old[at:] == new


def test_a_table_gives_back_what_it_was_given() -> None:
    table = Table()
    texts = [b"", b"\n", b"a", b"a\n", b"\n\n", b"a\n\nb", b"a\n\nb\n", b"\na", b"\r\n", b"a\n\n"]
    numbers = [table.intern(text) for text in texts]
    assert [table.join(ids) for ids in numbers] == texts
    assert [len(ids) for ids in numbers] == [0, 1, 1, 1, 2, 3, 3, 2, 1, 2]
    assert numbers[2] != numbers[3], "a last line without LF is another line"


def test_groups_go_where_git_puts_them() -> None:
    """As late as possible, unless a change of the other text is in reach."""
    assert diff_lines(b"a\n}\nb\n}\n", b"a\n}\nnew\n}\nb\n}\n") == [Hunk(2, 2, 2, 4)]
    assert diff_lines(b"x\nx\nx\n", b"x\nx\n") == [Hunk(2, 3, 2, 2)]
    assert diff_lines(b"a\nx\nb\n", b"c\nx\nx\nb\n") == [Hunk(0, 1, 0, 2)]


def test_changed_lines_in_both_stay_together() -> None:
    """A whole that was replaced is one hunk, however much of it could be called kept."""
    assert diff_lines(b"1\n2\n", b"3\n4\n5\n") == [Hunk(0, 2, 0, 3)]
    assert diff_lines(b"", b"") == []
    assert diff_lines(b"", b"a") == [Hunk(0, 0, 0, 1)]


def common(a: list[int], a_changed: bytearray, b: list[int], b_changed: bytearray) -> int:
    """How many lines were kept; fails unless what is kept is the same on both sides."""
    kept = [[line for line, flag in zip(*side, strict=True) if not flag] for side in ((a, a_changed), (b, b_changed))]
    assert kept[0] == kept[1]
    return len(kept[0])


@given(st.randoms(use_true_random=False), SIZES, st.integers(0, 400))
def test_any_budget_gives_true_hunks(rng: random.Random, kinds: int, steps: int) -> None:
    a = [rng.randrange(kinds) for _ in range(rng.randrange(200))]
    b = [line for line in a if rng.random() > 0.1] + [rng.randrange(kinds) for _ in range(rng.randrange(30))]
    a_changed, b_changed = match(a, b, Index(a), Budget(steps))
    kept = common(a, a_changed, b, b_changed)
    slide(a, a_changed, b_changed, Budget(steps))
    slide(b, b_changed, a_changed, Budget(steps))
    assert common(a, a_changed, b, b_changed) == kept
    x_end = y_end = 0
    for x, y, size in coarse_runs(a, b):
        assert size > 0
        assert x >= x_end
        assert y >= y_end
        assert a[x : x + size] == b[y : y + size]
        x_end, y_end = x + size, y + size


def worst_cases() -> dict[str, tuple[list[int], list[int]]]:
    rng = random.Random(1)
    some = list(range(20_000))
    few = [rng.randrange(2) for _ in some]
    return {
        "shuffled": (some, rng.sample(some, len(some))),
        "reversed": (some, some[::-1]),
        "few kinds at random": (few, [rng.randrange(2) for _ in some]),
        "few kinds, edited": (few, [line for line in few if rng.random() > 0.01]),
        "pairs shuffled": (some + some, rng.sample(some + some, 2 * len(some))),
        "common lines among others": ([0] * 20_000, [0 if at % 50 else at for at in some]),
        "every other one": (some, [line for at in some for line in (at, -at - 1)]),
    }


@pytest.mark.parametrize("name", worst_cases())
def test_the_work_is_bounded(name: str) -> None:
    """However the texts are made, little more is spent than the budget: what is one step beyond is one more look."""
    a, b = worst_cases()[name]
    budget = Budget.for_lines(len(a) + len(b))
    allowed = budget.steps
    a_changed, b_changed = match(a, b, Index(a), budget)
    assert budget.steps > -allowed / 2
    for lines, changed, others in ((a, a_changed, b_changed), (b, b_changed, a_changed)):
        budget = Budget.for_lines(len(lines))
        slide(lines, changed, others, budget)
        assert budget.steps > -allowed
    common(a, a_changed, b, b_changed)


def test_what_is_left_when_the_budget_is_gone_is_anchored() -> None:
    """Few lines of two kinds, edited in a hundred places: most lines are still found again."""
    a, b = worst_cases()["few kinds, edited"]
    a_changed, b_changed = match(a, b, Index(a), Budget(1))
    assert common(a, a_changed, b, b_changed) > 0.8 * len(b)


@given(TEXTS, TEXTS, st.integers(0, 4))
def test_a_unified_diff_applies(a: bytes, b: bytes, context: int) -> None:
    old, made, at = lines_of(a), [], 0
    patch = list(unified(a, b, context))
    assert (not patch) == (a == b)
    assert all(line.endswith(b"\n") for line in patch)
    for number, line in enumerate(patch):
        open_end = patch[number + 1 : number + 2] == [b"\\ No newline at end of file\n"]
        text = line[1:-1] if open_end else line[1:]
        if line.startswith(b"@@ "):
            first, _, size = line.split()[1][1:].partition(b",")
            start = int(first) - (size != b"0")
            made += old[at:start]
            at = start
        elif line[:1] in b" -":
            assert old[at] == text
            at += 1
        if line[:1] in b" +":
            made.append(text)
    assert b"".join(made + old[at:]) == b


def test_a_unified_diff_looks_like_gits() -> None:
    a = b"".join(b"%d\n" % at for at in range(1, 21))
    b = a.replace(b"\n3\n", b"\n3\nnew\n").replace(b"\n10\n", b"\n").replace(b"20\n", b"20")
    assert b"".join(unified(a, b)) == (
        b"@@ -1,13 +1,13 @@\n 1\n 2\n 3\n+new\n 4\n 5\n 6\n 7\n 8\n 9\n-10\n 11\n 12\n 13\n"
        b"@@ -17,4 +17,4 @@\n 17\n 18\n 19\n-20\n+20\n\\ No newline at end of file\n"
    )
    assert b"".join(unified(b"", b"a\n")) == b"@@ -0,0 +1 @@\n+a\n"
    assert b"".join(unified(b"a\nb\n", b"a\n", context=0)) == b"@@ -2 +1,0 @@\n-b\n"
    with pytest.raises(ValueError, match="negative"):
        list(unified(b"a", b"b", context=-1))


@given(TEXTS, TEXTS)
def test_likeness_is_symmetric_and_a_share(a: bytes, b: bytes) -> None:
    assert similarity(a, b) == similarity(b, a)
    assert 0.0 <= similarity(a, b) <= 1.0
    assert similarity(a, a) == 1.0


def test_likeness_is_of_bytes_in_lines_both_have() -> None:
    text = b"".join(b"a line of text %d\n" % at for at in range(1000, 1100))
    half = b"".join(text.splitlines(keepends=True)[:50])
    assert similarity(text, half) == pytest.approx(0.5, abs=0.01)
    assert similarity(text, b"".join(sorted(text.splitlines(keepends=True), reverse=True))) > 0.99
    assert similarity(text, text.upper()) < 0.01
    assert similarity(text, b"") < 0.01
