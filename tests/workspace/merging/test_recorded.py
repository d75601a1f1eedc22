"""Recorded resolutions: what counts as the same conflict, and what becomes of the folder they lie in."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from jvs.errors import UnknownError
from jvs.merge.content import Contents
from jvs.workspace.merging import recorded as module
from jvs.workspace.merging.recorded import Recorded, has_markers
from tests.workspace.merging.support import LINES, edited

CONFLICT = Contents(LINES, edited(LINES, _3="ours"), edited(LINES, _3="theirs"))
SETTLED = edited(LINES, _3="both")


@pytest.fixture
def kept(tmp_path: Path) -> Recorded:
    return Recorded(str(tmp_path))


def test_the_same_conflict(kept: Recorded) -> None:
    name = kept.record(b"f", CONFLICT, SETTLED, 1_000)
    assert name is not None
    swapped = Contents(LINES, CONFLICT.theirs, CONFLICT.ours)
    assert kept.record(b"g", swapped, SETTLED, 2_000) == name
    assert [one.path for one in kept.list()] == [b"g"]
    around = Contents(*(edited(side or b"", _20="elsewhere") for side in CONFLICT))
    for contents in (CONFLICT, swapped, around, Contents(around.base, around.theirs, around.ours)):
        expected = SETTLED if b"elsewhere" not in contents.ours else edited(SETTLED, _20="elsewhere")
        assert kept(b"any", contents) == expected
    assert kept.applied == [(b"any", name)] * 4


@pytest.mark.parametrize(
    "contents",
    [
        Contents(LINES, edited(LINES, _3="ours"), edited(LINES, _3="others")),
        Contents(LINES, edited(LINES, _3="ours", _20="a"), edited(LINES, _3="theirs", _20="b")),
        Contents(LINES, edited(LINES, _3="ours"), edited(LINES, _9="theirs")),
        Contents(b"\0", b"\0ours", b"\0theirs"),
        Contents(LINES, edited(LINES, _3="ours"), b"x" * (module.MAX_SIZE + 1)),
    ],
    ids=["other lines", "one more region", "clean", "binary", "too large"],
)
def test_another_conflict(kept: Recorded, contents: Contents) -> None:
    kept.record(b"f", CONFLICT, SETTLED, 1_000)
    assert kept(b"f", contents) is None
    assert kept.applied == []


def test_what_was_changed_beside_it_is_not_carried_along(kept: Recorded) -> None:
    """Somebody settled the conflict and changed another line, which is different here: nothing is guessed."""
    kept.record(b"f", CONFLICT, edited(SETTLED, _20="besides"), 1_000)
    other = Contents(*(edited(side or b"", _20="different") for side in CONFLICT))
    assert kept(b"f", other) is None


def test_a_resolution_with_markers_left_is_not_used(kept: Recorded) -> None:
    kept.record(b"f", CONFLICT, b"<<<<<<< ours\nx\n=======\ny\n>>>>>>> theirs\n", 1_000)
    assert kept(b"f", CONFLICT) is None


def test_old_ones_are_forgotten(kept: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 3)
    names = []
    for number in range(5):
        contents = Contents(LINES, edited(LINES, _3=f"ours {number}"), edited(LINES, _3="theirs"))
        names.append(kept.record(b"f", contents, SETTLED, 1_000 * number))
    assert [one.id for one in kept.list()] == names[:1:-1]


def test_what_else_lies_there_is_passed_by(kept: Recorded, tmp_path: Path) -> None:
    name = kept.record(b"f", CONFLICT, SETTLED, 1_000)
    assert name is not None
    folder = tmp_path / module.FOLDER
    (folder / "note").write_text("mine")
    (folder / "0123").mkdir()
    (folder / ("f" * 32)).mkdir()
    (folder / f".{name}.0000").mkdir()
    assert [one.id for one in kept.list()] == [name]
    assert kept.get(name[:6]).after == SETTLED
    for prefix in ("", "..", "0123", "f" * 32):
        with pytest.raises(UnknownError):
            kept.get(prefix)
    (folder / name / "before").unlink()
    assert kept(b"f", CONFLICT) is None


def test_recorded_by_several_at_once(kept: Recorded, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def record() -> None:
        try:
            for number in range(20):
                assert Recorded(str(tmp_path)).record(b"f", CONFLICT, SETTLED, number) is not None
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(kept.list()) == 1
    assert len(os.listdir(tmp_path / module.FOLDER)) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"<<<<<<< x\n", True), (b"a\n>>>>>>> x", True), (b"<<<<<<<\r\n", True), (b"<<<<<<<", True),
        (b" <<<<<<< x\n", False), (b"<<<<<<<< x\n", False), (b"<<<<<< x\n", False), (b"=======\n", False), (b"", False),
    ],
)  # fmt: skip
def test_markers(text: bytes, found: bool) -> None:
    assert has_markers(text, 7) is found
