"""What a merge of lines says beside its bytes, and where it is not git's."""

from __future__ import annotations

from jvs.merge.content import Contents, Merged, Names, Options
from jvs.merge.lines import Hunk, merge_lines
from jvs.merge.lines.combine import Kind, Piece, Sides, refine

BASE = b"one\ntwo\nthree\nfour\nfive\nsix\n"


def merge(contents: Contents, options: Options | None = None) -> Merged:
    return merge_lines(contents, options or Options())


def test_regions_say_where_and_what() -> None:
    ours, theirs = BASE.replace(b"two\nthree", b"2\n3\n3b"), BASE.replace(b"three", b"THREE").replace(b"six", b"SIX")
    result = merge(Contents(BASE, ours, theirs))
    (region,) = result.conflicts
    assert region.where == "lines 2-4"
    assert (region.base, region.ours, region.theirs) == (b"two\nthree\n", b"2\n3\n3b\n", b"two\nTHREE\n")
    assert (region.ours_lines, region.theirs_lines) == ((1, 4), (1, 3))
    assert (result.driver, result.markers, result.marker_size, result.settled) == ("text", True, 7, ())
    assert result.data.endswith(b"four\nfive\nSIX\n")


def test_a_region_of_one_line_and_of_none() -> None:
    one, none = (
        merge(Contents(BASE, ours, BASE.replace(b"two", b"TWO"))).conflicts[0]
        for ours in (BASE.replace(b"two", b"2"), BASE.replace(b"two\n", b""))
    )
    assert (one.where, none.where) == ("line 2", "after line 1")
    assert (none.ours, none.ours_lines) == (b"", (1, 1))


def test_the_parts_of_a_conflict_share_its_base() -> None:
    """Together they have all of it, in order, and each of its lines once."""
    common = b"1\n2\n3\n4\n5\n"
    case = Contents(b"a\nb\nc\n", b"x\n" + common + b"y\n", b"X\n" + common + b"Y\n")
    regions = merge(case).conflicts
    assert [(region.ours, region.theirs) for region in regions] == [(b"x\n", b"X\n"), (b"y\n", b"Y\n")]
    assert b"".join(region.base for region in regions) == b"a\nb\nc\n"


def test_nothing_is_joined_across_a_conflict_that_dissolved() -> None:
    """Made by hand: a conflict on either side of one whose sides turn out equal, one line apart each."""
    sides = Sides([0] * 5, [1, 0, 5, 0, 3], [2, 0, 5, 0, 4])
    pieces = [Piece(Kind.CONFLICT, at, at + 1, at, at + 1, at, at + 1) for at in (0, 2, 4)]
    hunks = [Hunk(at, at + 1, at, at + 1) for at in (0, 2, 4)]
    assert refine(sides, pieces, hunks, hunks, ours_first=True) == [pieces[0], pieces[2]]
    assert len(refine(sides, [pieces[0], pieces[2]], hunks, hunks, ours_first=True)) == 1


def test_prefer_settles_only_what_clashes() -> None:
    ours, theirs = BASE.replace(b"two", b"2").replace(b"one", b"1"), BASE.replace(b"two", b"II").replace(b"six", b"VI")
    assert merge(Contents(BASE, ours, theirs), Options(prefer="ours")).data == ours.replace(b"six", b"VI")
    settled = merge(Contents(BASE, ours, theirs), Options(prefer="theirs"))
    assert settled.data == b"one\nII\nthree\nfour\nfive\nVI\n"
    assert [region.where for region in settled.settled] == ["lines 1-2"]


def test_names_stand_behind_the_markers() -> None:
    case = Contents(b"a\n", b"b\n", b"c\n")
    names = Names(b"main", b"main~3", b"agent/7")
    assert merge(case, Options(names=names, style="diff3")).data == (
        b"<<<<<<< main\nb\n||||||| main~3\na\n=======\nc\n>>>>>>> agent/7\n"
    )


def test_markers_grow_past_those_in_a_text() -> None:
    inside = b"<<<<<<< mine\nx\n=======\ny\n>>>>>>> yours\n"
    result = merge(Contents(b"a\n", b"b\n" + inside, b"c\n"))
    assert result.marker_size == 8
    assert result.data == b"<<<<<<<< ours\nb\n" + inside + b"========\nc\n>>>>>>>> theirs\n"
    again = merge(Contents(b"a\n", result.data, b"d\n"))
    assert again.marker_size == 9


def test_markers_grow_only_for_what_could_be_taken_for_one() -> None:
    for line, size in ((b"=" * 30, 7), (b"=======x", 7), (b" =======", 7), (b"=======", 8), (b"=======\r", 8)):
        assert merge(Contents(b"a\n", b"b\n" + line + b"\n", b"c\n")).marker_size == size, line
    assert merge(Contents(b"=======\na\n", b"=======\nb\n", b"=======\nc\n"), Options(marker_size=20)).marker_size == 20
    assert merge(Contents(b"a\n=======\n", b"b\n", b"c\n")).marker_size == 8, "diff3 would show the base"


def test_diff3_shows_conflicts_whole() -> None:
    case = Contents(b"a\n", b"same\nb\n", b"same\nc\n")
    assert merge(case).data == b"same\n<<<<<<< ours\nb\n=======\nc\n>>>>>>> theirs\n"
    assert merge(case, Options(style="diff3")).data == (
        b"<<<<<<< ours\nsame\nb\n||||||| base\na\n=======\nsame\nc\n>>>>>>> theirs\n"
    )


def test_no_base_is_a_two_way_merge() -> None:
    result = merge(Contents(None, b"same\na\n", b"same\nb\n"))
    assert [region[1:4] for region in result.conflicts] == [(b"", b"a\n", b"b\n")]
    assert merge(Contents(None, b"", b"b\n")).data == b"b\n"
    assert merge(Contents(None, b"b\n", b"b\n")).conflicts == ()


def test_a_conflict_at_an_open_end_is_closed_between_markers_only() -> None:
    assert merge(Contents(b"a", b"b", b"c")).data == b"<<<<<<< ours\nb\n=======\nc\n>>>>>>> theirs\n"
    assert merge(Contents(b"a", b"b", b"c"), Options(prefer="theirs")).data == b"c"
    assert merge_lines(Contents(b"a", b"c", b"b"), Options(), union=True).data == b"b\nc"


def test_line_ends_are_kept() -> None:
    base = b"a\r\nb\r\nc\nd\r\n"
    assert merge(Contents(base, base.replace(b"a", b"A"), base.replace(b"d\r\n", b"D"))).data == b"A\r\nb\r\nc\nD"
    marked = merge(Contents(base, base.replace(b"b", b"x"), base.replace(b"b", b"y"))).data
    assert marked == b"a\r\n<<<<<<< ours\r\nx\r\n=======\r\ny\r\n>>>>>>> theirs\r\nc\nd\r\n"
