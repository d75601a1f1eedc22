"""`init` and `snapshot` killed at every call that changes files: the next command finds a consistent repository."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workspace.repository.dying import KILLED, Dying

STEP = 1 if os.environ.get("JVS_TORTURE") else 7
"""Of so many calls one is died at, in the short form."""


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dying]:
    import sys

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JVS_", "PYTHON"))}
    paths = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    cache = str(tmp_path_factory.mktemp("pycache"))
    with Dying(kept | {"PYTHONPATH": paths, "PYTHONPYCACHEPREFIX": cache, "JVS_ACTOR": "ada"}) as opened:
        yield opened


def test_nothing_dies_unasked(dying: Dying, tmp_path: Path) -> None:
    made = dying(tmp_path, "init", "r", "--json")
    assert made.status == 0
    assert made.calls > 20
    assert dying(tmp_path, "init", "other", at=3).status == KILLED


@pytest.mark.parametrize("words", [("init", "r"), ("init", "r", "--store", "s"), ("init", "--adopt", "r")])
def test_an_init_that_was_killed(dying: Dying, tmp_path: Path, words: tuple[str, ...]) -> None:
    adopting = "--adopt" in words
    at, ended = 1, 0
    while True:
        where = tmp_path / str(at)
        where.mkdir()
        if adopting:
            (where / "r").mkdir()
            (where / "r" / "mine").write_text("mine")
        died = dying(where, *words, at=at)
        if died.status != KILLED:
            assert died.status == 0, died.err
            break
        again = dying(where, *words, "--json")
        if again.status == 0:
            assert again.value["repo_root"] == str(where / "r")
        else:
            ended += 1
            assert again.status == 1, (at, again)
            assert "already exists" in again.value["error"]["message"], at
        main = where / "r" if adopting else where / "r" / "main"
        (main / "f").write_text("x")
        saved = dying(main, "snapshot", "one", "--json")
        assert saved.status == 0, (at, saved)
        expected = {"f", "mine"} if adopting else {"f"}
        tree = dying(main, "fs", "tree", "main", "--json").value
        assert {entry["path"] for entry in tree["entries"]} == expected, at
        assert [one["note"] for one in dying(main, "history", "--json").value] == ["one"]
        left = [path for path in (where / "r" / ".jvs").rglob("*.tmp") if "index" not in path.parts]
        assert len(left) <= 1, left
        shutil.rmtree(where)
        at += STEP
    assert ended, "it never died with the repository already there"


def test_a_snapshot_that_was_killed(dying: Dying, tmp_path: Path) -> None:
    assert dying(tmp_path, "init", "r").status == 0
    main = tmp_path / "r" / "main"
    (main / "d").mkdir()
    (main / "d" / "f").write_text("0")
    first = dying(main, "snapshot", "note 0", "--json").value["snapshot_id"]
    known, at, times, unnoticed = [first], 1, 0, 0
    while True:
        times += 1
        (main / "d" / "f").write_text(str(times))
        (main / "large").write_bytes(os.urandom(200_000))
        died = dying(main, "snapshot", f"note {times}", at=at)
        assert (main / "d" / "f").read_text() == str(times)
        status = dying(main, "status", "--json").value
        history = [one["snapshot_id"] for one in dying(main, "history", "--json").value]
        assert history[-len(known) :] == known, at
        assert status["behind"] == 0, (at, "a worktree is behind its own snapshot")
        if len(history) > len(known):
            unnoticed += died.status == KILLED
            known = history
            assert status["clean"], at
        else:
            assert not status["clean"], at
        assert status["head_snapshot_id"] == known[0]
        if died.status != KILLED:
            assert died.status == 0, died.err
            break
        if times % 3 == 0:
            saved = dying(main, "snapshot", "what was there", "--json")
            assert saved.status == 0, (at, saved)
            known = [saved.value["snapshot_id"], *known]
        at += max(1, STEP // 2)
    assert unnoticed, "it never died between the label's move and the position's"
    assert dying(main, "fs", "verify", "--all").status == 0
    assert dying(main, "doctor").status == 0
