"""`fs resolve --take`, for each kind of conflict: the directory becomes what that side has, and nothing else goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvs.errors import UsageError
from jvs.workspace.merging.resolve import ResolveOptions, ResolveResult
from tests.merge.trees.support import D, F, L, Model
from tests.workspace.merging.support import LINES, Ground, edited

X, Y = F(edited(LINES, _1="x")), F(edited(LINES, _1="y"))
TEXT, WIDE = F(LINES), F(LINES * 2)
OTHER = F(b"other")


def resolved(ground: Ground, place: Path, base: Model, ours: Model, theirs: Model, side: str) -> ResolveResult:
    """Lay a merge out, and settle all of it by taking a side."""
    also: Model = {b"other": OTHER}
    ground.fork(also | base, also | ours, also | theirs)
    result = ground.merged(into="ours", out=str(place))
    paths = dict.fromkeys(b"/".join(shown.conflict.path).decode() for shown in result.conflicts)
    assert paths
    return ground.repo.resolve_merge(str(place), ResolveOptions(side=side, paths=tuple(paths)))


@pytest.mark.parametrize("side", ["ours", "theirs"])
@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        pytest.param({b"p": TEXT}, {b"p": X}, {b"p": Y}, id="content"),
        pytest.param({}, {b"p": X}, {b"p": Y}, id="add/add"),
        pytest.param({b"p": F(b"\0")}, {b"p": F(b"\0o")}, {b"p": F(b"\0t")}, id="binary"),
        pytest.param({b"p": TEXT}, {}, {b"p": Y}, id="modify/delete"),
        pytest.param({b"d": D({b"p": TEXT})}, {}, {b"d": D({b"p": Y})}, id="modify/delete below"),
        pytest.param({b"a": TEXT}, {b"b": TEXT}, {b"c": TEXT}, id="rename/rename"),
        pytest.param({b"a": TEXT}, {b"b": X}, {b"c": Y}, id="rename/rename, content"),
        pytest.param({b"a": TEXT}, {b"b": TEXT}, {}, id="rename/delete"),
        pytest.param({b"a": TEXT}, {}, {b"b": Y}, id="rename/delete, modified"),
        pytest.param({b"p": L(b"b")}, {b"p": L(b"o")}, {b"p": L(b"t")}, id="symlinks"),
        pytest.param({b"p": TEXT}, {b"p": X}, {b"p": L(b"t")}, id="type"),
        pytest.param({}, {b"p": L(b"o")}, {b"p": Y}, id="type, added"),
        pytest.param({b"p": F(b"p")}, {b"p": F(b"p", 0o755)}, {b"p": F(b"p", 0o600)}, id="mode"),
        pytest.param(
            {b"p": D({b"q": TEXT})}, {b"p": D({b"q": TEXT}, 0o700)}, {b"p": D({b"q": TEXT}, 0o711)}, id="directory mode"
        ),
    ],
)
def test_taken(ground: Ground, tmp_path: Path, base: Model, ours: Model, theirs: Model, side: str) -> None:
    done = resolved(ground, tmp_path / "m", base, ours, theirs, side)
    assert ground.read(done.push.ca_id) == {b"other": OTHER} | (ours if side == "ours" else theirs)
    head = ground.repo.labels.require("ours")
    assert ground.repo.labels.entry(head.entry_id).op == "merge"


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_directory_in_the_way(ground: Ground, tmp_path: Path, side: str) -> None:
    """The side that has the directory can be taken; a directory is never removed for a file, and nothing is lost."""
    place = tmp_path / "m"
    ours: Model = {b"p": D({b"q": TEXT})}
    theirs: Model = {b"p": X}
    if side == "ours":
        done = resolved(ground, place, {}, ours, theirs, side)
        assert ground.read(done.push.ca_id) == {b"other": OTHER} | ours
        return
    with pytest.raises(UsageError, match="p is a directory") as refused:
        resolved(ground, place, {}, ours, theirs, side)
    assert "move away" in (refused.value.next or "")
    assert sorted(path.name for path in place.rglob("*") if path.is_file()) == [
        ".jvs-conflicts.json",
        "other",
        "p~theirs",
        "q",
    ]
    (place / "p").rename(place / "moved")
    done = ground.repo.resolve_merge(str(place), ResolveOptions(side=side, paths=("p",)))
    assert ground.read(done.push.ca_id) == {b"other": OTHER, b"moved": D({b"q": TEXT}), b"p": X}


@pytest.mark.parametrize(("side", "content"), [("ours", X), ("theirs", Y)])
def test_a_moved_file_stays_where_it_was_moved(ground: Ground, tmp_path: Path, side: str, content: F) -> None:
    """That one side moved it is no conflict; what is in it is."""
    done = resolved(
        ground,
        tmp_path / "m",
        {b"d": D({b"f": TEXT, b"g": WIDE})},
        {b"e": D({b"f": X, b"g": WIDE})},
        {b"d": D({b"f": Y, b"g": WIDE})},
        side,
    )
    assert ground.read(done.push.ca_id) == {b"other": OTHER, b"e": D({b"f": content, b"g": WIDE})}


def test_a_mode_takes_no_contents_along(ground: Ground, tmp_path: Path) -> None:
    """Contents that merged cleanly stay merged."""
    done = resolved(
        ground,
        tmp_path / "m",
        {b"p": TEXT},
        {b"p": F(edited(LINES, _1="one"), 0o755)},
        {b"p": F(edited(LINES, _9="nine"), 0o600)},
        "theirs",
    )
    assert ground.read(done.push.ca_id)[b"p"] == F(edited(LINES, _1="one", _9="nine"), 0o600)


def test_one_side_then_the_other(ground: Ground, tmp_path: Path) -> None:
    place = tmp_path / "m"
    ground.fork({b"p": TEXT, b"q": TEXT}, {b"p": X, b"q": X}, {b"q": Y})
    ground.merged(into="ours", out=str(place))
    for side, there in (("theirs", False), ("ours", True), ("theirs", False)):
        with pytest.raises(Exception, match="markers are left in q"):
            ground.repo.resolve_merge(str(place), ResolveOptions(side=side, paths=("p",)))
        assert (place / "p").exists() is there
