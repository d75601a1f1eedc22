"""What holds for every merge of lines."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvs.merge.content import Contents, Merged, Options, Prefer, Region, Style
from jvs.merge.lines import merge_lines
from tests.merge.lines.texts import TEXTS, contents, distinct_contents

STYLES = st.sampled_from(["merge", "diff3"])


def merge(base: bytes | None, ours: bytes, theirs: bytes, prefer: Prefer = "none", style: Style = "merge") -> Merged:
    return merge_lines(Contents(base, ours, theirs), Options(prefer=prefer, style=style))


def mirrored(region: Region) -> tuple[object, ...]:
    return (region.base, region.theirs, region.ours, region.theirs_lines, region.ours_lines)


def sections(data: bytes, size: int) -> tuple[bytes, list[tuple[bytes, bytes, bytes]]]:
    """A text with markers of `size`: what it is with ours in each conflict, and base, ours and theirs of each."""
    whole: list[bytes] = []
    found: list[tuple[bytes, bytes, bytes]] = []
    parts: list[list[bytes]] = [[], [], []]
    where = -1
    for line in _lf_lines(data):
        mark = line[:size] if line[size : size + 1] in (b" ", b"\r", b"\n") else b""
        if where < 0 and mark == b"<" * size:
            parts, where = [[], [], []], 1
        elif where == 1 and mark == b"|" * size:
            where = 0
        elif where in (0, 1) and mark == b"=" * size:
            where = 2
        elif where == 2 and mark == b">" * size:
            base, ours, theirs = (b"".join(part) for part in parts)
            found.append((base, ours, theirs))
            whole.append(ours)
            where = -1
        elif where >= 0:
            parts[where].append(line)
        else:
            whole.append(line)
    assert where == -1, "a conflict without an end"
    return b"".join(whole), found


def _lf_lines(data: bytes) -> list[bytes]:
    return [line for line in data.replace(b"\n", b"\n\0").split(b"\0") if line]


@given(TEXTS, TEXTS)
def test_one_side_unchanged(base: bytes, text: bytes) -> None:
    for style in ("merge", "diff3"):
        for result in (merge(base, text, base), merge(base, base, text), merge(base, text, text)):
            assert (result.data, result.conflicts, result.settled, result.markers) == (text, (), (), False), style


@given(contents(), STYLES)
def test_swapping_the_sides_mirrors_the_merge(case: Contents, style: Style) -> None:
    here, there = merge(*case, style=style), merge(case.base, case.theirs, case.ours, style=style)
    assert len(here.conflicts) == len(there.conflicts)
    if not here.conflicts:
        assert here.data == there.data
    assert [mirrored(region) for region in here.conflicts] == [
        (region.base, region.ours, region.theirs, region.ours_lines, region.theirs_lines) for region in there.conflicts
    ]
    assert here.marker_size == there.marker_size
    assert merge(*case, "ours", style).data == merge(case.base, case.theirs, case.ours, "theirs", style).data
    one, other = (
        merge_lines(Contents(case.base, *sides), Options(), union=True).data
        for sides in ((case.ours, case.theirs), (case.theirs, case.ours))
    )
    assert one == other


@given(contents(), STYLES)
def test_markers_hold_what_the_regions_say(case: Contents, style: Style) -> None:
    """Without its markers the text gives back both sides, and nothing but the conflicts differs between them."""
    result = merge(*case, style=style)
    assert result.markers == bool(result.conflicts) == bool(result.marker_size)
    if not result.conflicts:
        return
    as_ours, found = sections(result.data, result.marker_size)
    assert _closed(as_ours) == _closed(merge(*case, "ours", style).data)
    assert len(found) == len(result.conflicts)
    for region, (base, ours, theirs) in zip(result.conflicts, found, strict=True):
        assert (_closed(region.ours), _closed(region.theirs)) == (_closed(ours), _closed(theirs))
        if style == "diff3":
            assert _closed(region.base) == _closed(base)
        for side, lines, part in (
            (case.ours, region.ours_lines, region.ours),
            (case.theirs, region.theirs_lines, region.theirs),
        ):
            assert lines is not None
            assert b"".join(_lf_lines(side)[slice(*lines)]) == part


def _closed(text: bytes) -> bytes:
    """A line end behind a last line that has none, as between markers; CRLF and LF alike."""
    return re.sub(rb"\r*\n", b"\n", text if not text or text.endswith(b"\n") else text + b"\n")


@given(contents())
def test_prefer_leaves_no_conflict_and_keeps_clean_hunks(case: Contents) -> None:
    left = merge(*case)
    ours, theirs = merge(*case, "ours"), merge(*case, "theirs")
    for result in (ours, theirs):
        assert (result.conflicts, result.markers) == ((), False)
        assert result.settled == left.conflicts
    if not left.conflicts:
        assert ours.data == theirs.data == left.data
    else:
        assert ours.data != theirs.data


@given(distinct_contents())
def test_no_line_is_lost(case: Contents) -> None:
    """A line kept by both sides, and a line that a side put in, is in the result, maybe in a conflict."""
    base, ours, theirs = (set(_lf_lines(side or b"")) for side in case)
    result = merge(*case)
    there = set(_lf_lines(result.data))
    assert (base & ours & theirs) <= there
    assert (ours | theirs) - base <= there
    if not result.conflicts:
        assert there <= base | ours | theirs


@given(distinct_contents(moves=False))
def test_no_line_comes_back(case: Contents) -> None:
    """A line that a side took out is not in the result, but for conflicts."""
    base, ours, theirs = (set(_lf_lines(side or b"")) for side in case)
    result = merge(*case)
    in_conflicts = {line for region in result.conflicts for line in _lf_lines(region.ours + region.theirs)}
    assert not set(_lf_lines(result.data)) & (base - (ours & theirs)) - in_conflicts


@given(contents())
def test_union_keeps_the_lines_of_both(case: Contents) -> None:
    left, result = merge(*case), merge_lines(case, Options(), driver="union", union=True)
    assert (result.conflicts, result.settled, result.driver) == ((), (), "union")
    if not left.conflicts:
        assert result.data == left.data
    there = Counter(_lf_lines(result.data + b"\n"))
    for region in left.conflicts:
        for line in _lf_lines(_closed(region.ours) + _closed(region.theirs)):
            assert (
                line in there or line.replace(b"\n", b"\r\n") in there or line[:-1] + b"\r\n" in there or b"\r" in line
            )


@pytest.mark.parametrize("style", ["merge", "diff3"])
def test_nothing_depends_on_what_was_merged_before(style: Style) -> None:
    case = Contents(b"a\n\n}\n" * 20, b"a\n\n}\nb\n" * 18, b"\n}\na\n" * 22)
    first = merge(*case, style=style)
    merge(b"x\ny\n", b"x\nz\n", b"w\ny\n")
    assert merge(*case, style=style) == first
