"""Real processes racing with collectors, all of them killed and stopped at random: nothing reachable is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jvs.castore.backend import Table
from jvs.castore.gc.marks import COLLECTORS, CONDEMNED, PINS, TOLD
from jvs.castore.local.reclaim import foresee
from jvs.castore.settings import StoreSettings
from jvs.workspace.repo import Repo
from tests.blackbox.gc_racers import PATIENCE, Cast, read_tree, stamped
from tests.conftest import TORTURE

SMALL = StoreSettings(chunk_min=8 << 10, chunk_avg=16 << 10, chunk_max=64 << 10, inline_limit=8 << 10)
"""Sizes with which files of 30 KB have chunks and those of 200 KB recipes."""


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is such a place: what is durable is not asked here, and every step commits."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


def race(where: Path, seconds: float, seed: int, cast: Cast) -> dict[str, Any]:
    """Let them race; what the host says."""
    paths = [str(Path(__file__).parents[2]), *(path for path in sys.path if path)]
    command = [sys.executable, "-m", "tests.blackbox.gc_racers", str(where), str(seconds), str(seed), json.dumps(cast)]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + PATIENCE + 60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONFAULTHANDLER": "1"},
    )
    assert done.returncode == 0
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def notes(where: Path, kind: str) -> Iterator[list[dict[str, Any]]]:
    """What each process of a kind wrote down; of a killed one the last line may be torn."""
    for path in sorted((where / "notes").glob(f"{kind}-*")):
        yield [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]


def pull(repo: Repo, revision: str, into: Path) -> dict[str, bytes]:
    """The tree of a revision, by way of a directory."""
    repo.pull(revision, str(into), discard=True)
    return read_tree(into)


def check_own(repo: Repo, noted: list[dict[str, Any]], into: Path) -> None:
    """The label of one pusher is where its last acknowledged push put it, or where one did that was never answered."""
    moves = [index for index, note in enumerate(noted) if note.get("label", "").startswith("own/")]
    if not moves:
        return
    last = noted[moves[-1]]
    tried = [note["step"] for note in noted[moves[-1] :] if "step" in note]
    head = repo.labels.get(last["label"])
    assert head is not None, f"{last['label']} is gone"
    assert head.generation >= last["generation"]
    assert head.generation > last["generation"] or head.ca_id.hex() == last["ca_id"]
    files = pull(repo, last["label"], into)
    assert files == stamped(files)
    if head.ca_id.hex() != last["ca_id"]:
        assert int(files["stamp"].split()[1]) in tried


def rows(repo: Repo, table: Table) -> int:
    with repo.store.read() as txn:
        return txn.count(table)


@pytest.mark.race60
@pytest.mark.timeout(3_600)
def test_nothing_reachable_is_lost(where: Path, race_seconds: float) -> None:
    """16 pushers (fewer in the short form), two collectors that keep nothing but heads, movers and readers."""
    seconds = race_seconds * (3 if TORTURE else 1)
    long = seconds >= 30
    cast = Cast(16, 2, 2, 3) if long else Cast(4, 2, 1, 2)
    seed = int(os.environ.get("JVS_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"JVS_SEED={seed}")
    Repo.init(str(where / "store"), SMALL)
    with Repo.open(str(where / "store"), actor="tester") as repo:
        repo.set_retention(["keep-last", "0", "keep-deleted", "0"])
    said = race(where, seconds, seed, cast)
    assert not said["failures"], "\n".join(said["failures"])

    collected = [note for noted in notes(where, "collect") for note in noted]
    pushed = [note for noted in notes(where, "push") for note in noted if "generation" in note]
    with Repo.open(str(where / "store"), actor="tester") as repo:
        # the first one finishes what killed collectors have begun
        quiet = [repo.gc_run(trust_clock=True), repo.gc_run()]
        removed = sum(note.get("objects", 0) for note in collected)
        freed = sum(note.get("freed", 0) for note in collected)
        print({key: value for key, value in said.items() if key != "sizes"}, "at most", max(said["sizes"]), "bytes")
        print(
            f"{len(pushed)} acknowledged, {len(collected)} runs, {removed} objects removed, {freed} bytes freed", *quiet
        )
        assert len(pushed) >= cast.push
        # hardly ever does a collector come again and again at the wrong moment
        assert sum("collected" in note for noted in notes(where, "push") for note in noted) <= 2 + len(pushed) / 20
        assert removed > 0
        assert freed > 0
        assert quiet[1].objects == 0

        assert not repo.verify().damaged
        for noted in notes(where, "push"):
            check_own(repo, noted, where / "look")
        for info in repo.labels.list():
            files = pull(repo, info.name, where / "look")
            assert files == stamped(files)

        # Nothing is left of those that were killed, and the space of what went is there again.
        assert [rows(repo, table) for table in (COLLECTORS, CONDEMNED, TOLD, PINS)] == [0, 0, 0, 0]
        left = foresee(repo.store, {})
        size = sum(path.stat().st_size for path in (where / "store" / "packs").iterdir())
        assert size <= 2 * left.stored + (1 << 20)
        assert (left.dropped, left.rewritten) == (0, 0)
        if long:
            # it does not grow: what was written is several times what was ever there at once
            assert max(said["sizes"]) < (size + freed) / 2
            half = len(said["sizes"]) // 2
            assert max(said["sizes"][half:]) < 2 * max(said["sizes"][:half]) + (4 << 20)
