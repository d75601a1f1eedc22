"""The table of `merge_trees`: one case for each rule, placements, preferences, explanations."""

from __future__ import annotations

from typing import Literal

import pytest

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, Directory
from jvs.castore.settings import StoreSettings
from jvs.merge import Contents, Limits, Merged, Options, Rules, Side
from tests.castore.models import TINY, noise
from tests.merge.trees.support import RULES, Bench, D, F, L, Model, lines, merged, said

TEXT = lines(*range(30))
TOP = TEXT.replace(b"line 1 ", b"LINE 1 ")
END = TEXT.replace(b"line 28 ", b"LINE 28 ")
BOTH = TOP.replace(b"line 28 ", b"LINE 28 ")
OTHER = TEXT.replace(b"line 1 ", b"another 1 ")

Prefer = Literal["none", "ours", "theirs"]


def prefer(side: Prefer) -> Rules:
    return RULES._replace(options=Options(prefer=side))


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "wanted"),
    [
        pytest.param({b"f": F(TEXT)}, {b"f": F(TOP)}, {b"f": F(TEXT)}, {b"f": F(TOP)}, id="one-sided"),
        pytest.param({b"f": F(TEXT)}, {b"f": F(TOP)}, {b"f": F(TOP)}, {b"f": F(TOP)}, id="identical"),
        pytest.param({b"f": F(TEXT)}, {b"f": F(TOP)}, {b"f": F(END)}, {b"f": F(BOTH)}, id="content"),
        pytest.param({b"f": F(TEXT)}, {b"f": F(TEXT, 0o755)}, {b"f": F(END)}, {b"f": F(END, 0o755)}, id="mode apart"),
        pytest.param({b"f": F(TEXT)}, {}, {b"f": F(TEXT)}, {}, id="deleted"),
        pytest.param({}, {b"a": F(TEXT)}, {b"b": L(b"a")}, {b"a": F(TEXT), b"b": L(b"a")}, id="added"),
        pytest.param(
            {b"f": F(TEXT)}, {b"g": F(TEXT)}, {b"f": F(TOP)}, {b"g": F(TOP)}, id="the other side's edit follows a move"
        ),
        pytest.param(
            {b"d": D({b"f": F(TEXT)})},
            {b"e": D({b"f": F(END)})},
            {b"d": D({b"f": F(TOP)})},
            {b"e": D({b"f": F(BOTH)})},
            id="into another directory, the old one gone",
        ),
        pytest.param(
            {}, {b"e": D({})}, {b"f": D({}, 0o700)}, {b"e": D({}), b"f": D({}, 0o700)}, id="empty directories"
        ),
        pytest.param(
            {b"d": D({b"a": F(b"a"), b"b": F(b"b")})},
            {b"d": D({b"a": F(b"a")})},
            {b"d": D({b"b": F(b"b")})},
            {b"d": D({})},
            id="a directory nobody removed stays, empty",
        ),
        pytest.param({b"d": D({b"a": F(b"a")})}, {}, {b"d": D({b"a": F(b"a")})}, {}, id="a directory removed"),
        pytest.param(
            {b"d": D({b"a": F(b"a")})},
            {},
            {b"d": D({b"a": F(b"a"), b"new": F(b"n")}, 0o755)},
            {b"d": D({b"new": F(b"n")})},
            id="a directory removed to which the other side added",
        ),
        pytest.param(
            {b"d": D({b"a": F(b"a")})},
            {b"d": D({b"a": F(b"a")}, 0o700)},
            {b"d": D({b"a": F(b"A")})},
            {b"d": D({b"a": F(b"A")}, 0o700)},
            id="mode of a directory, content of another",
        ),
        pytest.param(
            {b"d": D({b"a": F(b"a")})},
            {b"d": F(b"now a file")},
            {b"d": D({b"a": F(b"a")})},
            {b"d": F(b"now a file")},
            id="directory to file",
        ),
        pytest.param(
            {b"d": D({b"a": F(b"a"), b"b": F(b"b")})},
            {b"d": F(b"now a file")},
            {b"d": D({b"a": F(b"a")})},
            {b"d": F(b"now a file")},
            id="directory to file, while the other side only removed",
        ),
        pytest.param(
            {b"f": F(TEXT)},
            {b"f": D({b"f": F(TEXT)})},
            {b"f": F(TOP)},
            {b"f": D({b"f": F(TOP)})},
            id="a file moved into a directory of its own name",
        ),
        pytest.param(
            None,
            {b"a": F(b"a"), b"s": F(b"s")},
            {b"b": F(b"b"), b"s": F(b"s")},
            {b"a": F(b"a"), b"b": F(b"b"), b"s": F(b"s")},
            id="two-way",
        ),
    ],
)
def test_clean(base: Model | None, ours: Model, theirs: Model, wanted: Model) -> None:
    for one, two in ((ours, theirs), (theirs, ours)):
        tree, result = merged(base, one, two)
        assert (said(result), tree) == ([], wanted)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "kinds", "wanted", "by_ours", "by_theirs"),
    [
        pytest.param(
            {b"f": F(TEXT)},
            {},
            {b"f": F(TOP)},
            [("f", "modify/delete")],
            {b"f": F(TOP)},
            {},
            {b"f": F(TOP)},
            id="modify/delete",
        ),
        pytest.param(
            {},
            {b"f": F(b"\0one")},
            {b"f": F(b"\0two")},
            [("f", "binary")],
            {b"f": F(b"\0one")},
            {b"f": F(b"\0one")},
            {b"f": F(b"\0two")},
            id="binary",
        ),
        pytest.param(
            {b"f": F(TEXT, 0o644)},
            {b"f": F(TEXT, 0o600)},
            {b"f": F(TEXT, 0o755)},
            [("f", "mode")],
            {b"f": F(TEXT, 0o600)},
            {b"f": F(TEXT, 0o600)},
            {b"f": F(TEXT, 0o755)},
            id="mode",
        ),
        pytest.param(
            {b"d": D({}, 0o755)},
            {b"d": D({}, 0o700)},
            {b"d": D({}, 0o711)},
            [("d", "mode")],
            {b"d": D({}, 0o700)},
            {b"d": D({}, 0o700)},
            {b"d": D({}, 0o711)},
            id="mode of a directory",
        ),
        pytest.param(
            {b"d": D({b"a": F(b"a")}, 0o755)},
            {b"d": D({b"a": F(b"a")}, 0o700)},
            {},
            [("d", "modify/delete")],
            {b"d": D({}, 0o700)},
            {b"d": D({}, 0o700)},
            {},
            id="mode of a directory that the other side removed",
        ),
        pytest.param(  # and no side has an empty directory whose page could be taken
            {b"d": D({b"e": D({b"a": F(b"a")})}), b"f": F(b"f")},
            {b"d": D({b"e": D({b"a": F(b"a")}, 0o700)}), b"f": F(b"f")},
            {b"f": F(b"f")},
            [("d/e", "modify/delete")],
            {b"d": D({b"e": D({}, 0o700)}), b"f": F(b"f")},
            {b"d": D({b"e": D({}, 0o700)}), b"f": F(b"f")},
            {b"f": F(b"f")},
            id="mode of a directory inside one that the other side removed",
        ),
        pytest.param(
            {b"f": F(TEXT)},
            {b"f": L(b"elsewhere")},
            {b"f": F(TOP)},
            [("f", "type")],
            {b"f": L(b"elsewhere"), b"f~theirs": F(TOP)},
            {b"f": L(b"elsewhere")},
            {b"f": F(TOP)},
            id="type",
        ),
        pytest.param(
            {b"l": L(b"a")},
            {b"l": L(b"b")},
            {b"l": L(b"c")},
            [("l", "content")],
            {b"l": L(b"b")},
            {b"l": L(b"b")},
            {b"l": L(b"c")},
            id="symlinks",
        ),
        pytest.param(
            {},
            {b"p": F(b"a file")},
            {b"p": D({b"x": F(b"x")})},
            [("p", "file/directory")],
            {b"p": D({b"x": F(b"x")}), b"p~ours": F(b"a file")},
            {b"p": F(b"a file")},
            {b"p": D({b"x": F(b"x")})},
            id="file/directory",
        ),
        pytest.param(
            {},
            {b"p": L(b"x"), b"p~ours": F(b"taken")},
            {b"p": D({})},
            [("p", "file/directory")],
            {b"p": D({}), b"p~ours": F(b"taken"), b"p~ours_0": L(b"x")},
            {b"p": L(b"x"), b"p~ours": F(b"taken")},
            {b"p": D({}), b"p~ours": F(b"taken")},
            id="an empty directory in the way, and the name beside it taken",
        ),
        pytest.param(
            {b"f": F(TEXT)},
            {b"g": F(TEXT)},
            {},
            [("g", "rename/delete")],
            {b"g": F(TEXT)},
            {b"g": F(TEXT)},
            {},
            id="rename/delete",
        ),
        pytest.param(
            {b"f": F(TEXT)},
            {b"g": F(TOP)},
            {b"h": F(END)},
            [("f", "rename/rename")],
            {b"g": F(BOTH), b"h": F(BOTH)},
            {b"g": F(BOTH)},
            {b"h": F(BOTH)},
            id="rename/rename 1to2",
        ),
    ],
)
def test_conflicts(
    base: Model,
    ours: Model,
    theirs: Model,
    kinds: list[tuple[str, str]],
    wanted: Model,
    by_ours: Model,
    by_theirs: Model,
) -> None:
    """The kind, what is left in the tree, the same conflict with the sides swapped, and what each preference makes."""
    tree, result = merged(base, ours, theirs)
    assert (said(result), tree) == (kinds, wanted)
    swapped = merged(base, theirs, ours)[1]
    assert [(c.kind, c.base, c.ours, c.theirs) for c in swapped.conflicts] == [
        (c.kind, c.base, c.theirs, c.ours) for c in result.conflicts
    ]
    for side, expected in (("ours", by_ours), ("theirs", by_theirs)):
        tree, result = merged(base, ours, theirs, prefer(side))  # type: ignore[arg-type]
        assert (said(result), tree) == ([], expected)
        assert {(b"/".join(one.path).decode(), one.kind) for one in result.settled} >= set(kinds)


@pytest.mark.parametrize("binary", [False, True])
def test_what_two_renames_leave_is_a_conflict_in_both_places(binary: bool) -> None:
    old, top, other = (b"\0" * binary + text for text in (TEXT, TOP, OTHER))
    tree, result = merged({b"f": F(old)}, {b"g": F(top)}, {b"h": F(other)})
    kind = "binary" if binary else "content"
    assert said(result) == [("f", "rename/rename"), ("g", kind), ("h", kind)]
    if binary:
        assert tree == {b"g": F(top), b"h": F(other)}
    else:
        assert tree[b"g"] == tree[b"h"]
        assert all(one.merged is not None and one.merged.markers for one in result.conflicts[1:])


def test_a_moved_file_that_meets_a_symlink_keeps_its_other_conflicts() -> None:
    moved: Model = {b"g": F(TOP)}
    tree, result = merged({b"f": F(TEXT)}, moved, {b"f": F(OTHER), b"g": L(b"elsewhere")})
    assert said(result) == [("g", "type"), ("g~ours", "content")]
    assert b"<<<<<<<" in tree[b"g~ours"][0]
    assert result.conflicts[1].merged is not None
    assert result.conflicts[1].merged.markers
    assert said(merged({b"f": F(TEXT)}, moved, {b"g": L(b"elsewhere")})[1]) == [
        ("g", "type"),
        ("g~ours", "rename/delete"),
    ]


def test_a_conflict_of_contents_says_where_and_what() -> None:
    tree, result = merged({b"d": D({b"f": F(TEXT)})}, {b"d": D({b"f": F(TOP)})}, {b"d": D({b"f": F(OTHER)})})
    (conflict,) = result.conflicts
    assert (conflict.path, conflict.kind, conflict.placed) == ((b"d", b"f"), "content", ((b"d", b"f"),))
    assert isinstance(conflict.ours, Side)
    assert conflict.ours.path == (b"d", b"f")
    assert conflict.merged is not None
    assert conflict.merged.conflicts[0].ours_lines == (1, 2)
    inside = tree[b"d"]
    assert isinstance(inside, D)
    text = inside.below[b"f"]
    assert isinstance(text, F)
    assert b"<<<<<<< ours\nLINE 1 of the text\n=======\nanother 1 of the text\n>>>>>>> theirs\n" in text.data


def test_prefer_keeps_the_clean_hunks_of_both_sides() -> None:
    ours = BOTH
    theirs = OTHER.replace(b"line 15 ", b"LINE 15 ")
    tree, result = merged({b"f": F(TEXT)}, {b"f": F(ours)}, {b"f": F(theirs)}, prefer("ours"))
    assert tree == {b"f": F(ours.replace(b"line 15 ", b"LINE 15 "))}
    assert [(one.path, one.kind) for one in result.settled] == [((b"f",), "content")]


def test_two_files_renamed_to_one_keep_each_side_s_changes() -> None:
    one, two = lines(*range(30), extra=" one"), lines(*range(30), extra=" two")
    tree, result = merged({b"a": F(one), b"b": F(two)}, {b"c": F(one), b"b": F(two)}, {b"a": F(one), b"c": F(two)})
    assert said(result) == [("c", "add/add")]
    assert list(tree) == [b"c"]
    assert result.conflicts[0].ours is not None
    assert result.conflicts[0].ours.path == (b"c",)


def test_a_recorded_resolution_is_asked_for_and_used() -> None:
    asked: list[tuple[bytes, Contents]] = []

    def recorded(path: bytes, contents: Contents) -> bytes | None:
        asked.append((path, contents))
        return b"settled\n" if path == b"f" else None

    models: tuple[Model, Model, Model] = (
        {b"f": F(TEXT), b"g": F(TEXT)},
        {b"f": F(TOP), b"g": F(TOP)},
        {b"f": F(OTHER), b"g": F(OTHER)},
    )
    tree, result = merged(*models, RULES._replace(recorded=recorded, explain=True))
    assert said(result) == [("g", "content")]
    assert tree[b"f"] == F(b"settled\n")
    assert asked[0] == (b"f", Contents(TEXT, TOP, OTHER))
    assert [(one.path, one.rule) for one in result.decisions] == [((b"f",), "recorded"), ((b"g",), "conflict")]


def test_explain_says_what_decided_every_path_a_side_touched() -> None:
    base: Model = {
        b"same": F(TEXT),
        b"one": F(TEXT),
        b"text": F(TEXT),
        b"moved": F(lines(*range(40, 80))),
        b"d": D({b"x": F(b"x")}),
        b"untouched": F(b"u"),
    }
    ours = base | {b"same": F(END), b"one": F(TOP), b"text": F(TOP), b"new": base[b"moved"]}
    del ours[b"moved"]
    theirs = base | {b"same": F(END), b"text": F(END), b"moved": F(lines(*range(39, 80))), b"d": D({b"x": F(b"y")})}
    _, result = merged(base, ours, theirs, RULES._replace(explain=True))
    assert {(one.path[0], one.rule, one.below) for one in result.decisions} == {
        (b"d", "pruned", True),
        (b"moved", "rename", False),
        (b"new", "rename", False),
        (b"one", "one-sided", False),
        (b"same", "identical", False),
        (b"text", "line merge", False),
    }


def test_a_moved_directory_is_suggested_to_whoever_added_to_the_old_one() -> None:
    files: Model = {b"%d" % n: F(lines(*range(n, n + 9))) for n in range(4)}
    tree, result = merged({b"old": D(files)}, {b"new": D(files)}, {b"old": D({**files, b"added": F(b"new file")})})
    assert said(result) == []
    assert tree == {b"new": D(files), b"old": D({b"added": F(b"new file")})}
    (suggestion,) = result.suggestions
    assert (suggestion.source, suggestion.target, suggestion.added) == ((b"old",), (b"new",), ((b"old", b"added"),))


# --------------------------------------------------------------------------------------------------------- limits


def never(path: bytes, contents: Contents, options: Options) -> Merged | None:
    raise AssertionError("contents were read")


def test_large_contents_are_a_conflict_and_never_read() -> None:
    bench = Bench(TINY)
    base, ours, theirs = (bench.put({b"f": F(noise(5_000, n))}) for n in range(3))
    bench.store.reads.clear()
    result = bench.merge(base, ours, theirs, Rules(never, limits=Limits(content=4_999)))
    assert [(one.kind, one.detail) for one in result.conflicts] == [("binary", "larger than 4999 bytes")]
    assert {kind for kind, _ in bench.store.reads} == {Kind.PAGE}
    assert bench.read(result.tree.digest) == {b"f": F(noise(5_000, 1))}


@pytest.mark.parametrize("settings", [StoreSettings(), TINY])
def test_merged_contents_of_any_size_are_stored(settings: StoreSettings) -> None:
    text = lines(*range(200))
    top, end = text.replace(b"line 3 ", b"LINE 3 "), text.replace(b"line 180 ", b"LINE 180 ")
    tree, result = merged({b"f": F(text)}, {b"f": F(top)}, {b"f": F(end)}, settings=settings)
    assert (said(result), tree) == ([], {b"f": F(top.replace(b"line 180 ", b"LINE 180 "))})


def test_large_files_are_renamed_by_the_chunks_they_share() -> None:
    data = noise(20_000)
    rules = RULES._replace(limits=Limits(rename_file=1_000))
    moved: Model = {b"g": F(data[:15_000] + b"changed" + data[15_000:])}
    tree, result = merged({b"f": F(data)}, moved, {b"f": F(data, 0o600)}, rules, TINY)
    assert (said(result), tree) == ([], {b"g": F(moved[b"g"].data, 0o600)})  # type: ignore[union-attr]
    assert said(merged({b"f": F(data)}, {b"g": F(noise(20_000, 2))}, {b"f": F(data, 0o600)}, rules, TINY)[1])


def test_what_is_beyond_a_limit_is_no_rename_and_said() -> None:
    base: Model = {b"%d" % n: F(lines(*range(n * 50, n * 50 + 20))) for n in range(4)}
    ours: Model = {b"new%d" % n: F(lines(*range(n * 50, n * 50 + 21))) for n in range(4)}
    theirs: Model = {b"%d" % n: F(lines(*range(n * 50 - 1, n * 50 + 20))) for n in range(4)}
    assert merged(base, ours, theirs)[1].clean
    for limits in (Limits(rename_matrix=3), Limits(rename_paths=5), Limits(rename_bytes=100), Limits(rename_work=9)):
        _, result = merged(base, ours, theirs, RULES._replace(limits=limits))
        assert [kind for _, kind in said(result)] == ["modify/delete"] * 4
        assert "renames were not looked for" in result.notes[0]


def test_regions_are_bounded() -> None:
    models: list[Model] = [{b"%d" % n: F(text) for n in range(3)} for text in (TEXT, TOP, OTHER)]
    _, result = merged(models[0], models[1], models[2], RULES._replace(limits=Limits(regions=100)))
    assert [len(one.merged.conflicts) for one in result.conflicts if one.merged is not None] == [1, 0, 0]


def test_deep_trees_are_no_recursion() -> None:
    bench = Bench()

    def deep(one: bytes, two: bytes) -> Digest:
        with bench.writer() as writer:
            tree = bench.write(writer, {b"f": F(one), b"g": F(two)})
            for _ in range(1_500):
                directory = writer.directory()
                directory.add(Directory(b"d", DIRECTORY, 0o755, *tree))
                tree = directory.finish()
            writer.publish()
        return tree.digest

    result = bench.merge(deep(b"a", b"a"), deep(b"b", b"a"), deep(b"a", b"b"))
    assert result.tree.digest == deep(b"b", b"b")
