"""`fs resolve` says which conflicts without markers it pushed as they were laid out, and misses no markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvs.errors import StateError
from jvs.workspace.merging.resolve import ResolveOptions
from tests.merge.trees.support import F, Model
from tests.workspace.merging.support import LINES, Ground, edited, file


def laid_out(ground: Ground, where: Path) -> Path:
    """A directory with conflicts of every kind that has no markers, and one that has."""
    base: Model = {name: F(b"\0base") for name in (b"bin", b"gone", b"taken", b"written")}
    ours: Model = {name: F(b"\0ours " + name) for name in base}
    theirs: Model = {name: F(b"\0theirs") for name in base if name != b"gone"}
    ground.fork(
        base | {b"c.json": F(b'{"a": 1}'), b"mode": F(b"x", 0o644), b"f": F(LINES)},
        ours | {b"c.json": F(b'{"a": 2}'), b"mode": F(b"x", 0o600), b"f": F(edited(LINES, _3="ours"))},
        theirs | {b"c.json": F(b'{"a": 3}'), b"mode": F(b"x", 0o640), b"f": F(edited(LINES, _3="theirs"))},
    )
    assert ground.merged(into="ours", out=str(where / "m")).error is not None
    return where / "m"


def test_what_was_not_looked_at_is_said(ground: Ground, tmp_path: Path) -> None:
    place = laid_out(ground, tmp_path)
    (place / "written").write_bytes(b"\0both")
    (place / "f").write_bytes(edited(LINES, _3="both"))
    done = ground.repo.resolve_merge(str(place), ResolveOptions("ours", ("taken",)))
    assert done.error is None
    said = {(one["path"], one["kind"]) for one in done.as_json()["untouched"]}
    assert said == {("bin", "binary"), ("gone", "modify/delete"), ("c.json", "content"), ("mode", "mode")}


def test_nothing_is_said_of_what_was_settled(ground: Ground, tmp_path: Path) -> None:
    place = laid_out(ground, tmp_path)
    for name in ("bin", "taken", "written", "c.json"):
        (place / name).write_bytes(b"settled")
    (place / "gone").unlink()
    (place / "mode").chmod(0o755)
    (place / "f").write_bytes(edited(LINES, _3="both"))
    done = ground.repo.resolve_merge(str(place), ResolveOptions())
    assert done.error is None
    assert done.untouched == ()


def test_markers_are_looked_for_in_both_places_of_two_renames(ground: Ground, tmp_path: Path) -> None:
    ground.fork(file(LINES), {b"g": F(edited(LINES, _3="ours"))}, {b"h": F(edited(LINES, _3="theirs"))})
    place = tmp_path / "m"
    assert ground.merged(into="ours", out=str(place)).error is not None
    for left in (["g", "h"], ["h"]):
        with pytest.raises(StateError) as refused:
            ground.repo.resolve_merge(str(place), ResolveOptions())
        assert [one["path"] for one in refused.value.details["paths"]] == left
        (place / left[0]).unlink()
    assert ground.repo.resolve_merge(str(place), ResolveOptions()).error is None
