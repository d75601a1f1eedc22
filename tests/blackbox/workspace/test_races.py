"""Eight processes that save, restore, fork, rename and remove in one repository, some of them killed: nothing that was
acknowledged is lost, nobody is told that the repository is busy without having waited, and in the end all is sound."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devtools.demo import Tree, fingerprint
from tests.blackbox.conftest import CODE, Done, Jvs

WAIT = 10.0
"""Seconds that a command waits for another one."""
KILLED = -9
READ_BACK = 60
"""How many of the acknowledged snapshots are looked at in the end, evenly spread."""


class Acknowledged(NamedTuple):
    """A snapshot that a command said it had made, and the tree that was in the worktree then."""

    snapshot_id: str
    entry_id: str
    tree: Tree


class Race:
    """A repository that eight processes use at once until the time is up."""

    def __init__(self, jvs: Jvs, seconds: float) -> None:
        self.jvs = jvs
        self.root = jvs.where / "r"
        self.deadline = time.monotonic() + seconds
        self.acknowledged: list[Acknowledged] = []
        self.done: dict[str, int] = {}

    def running(self) -> bool:
        return time.monotonic() < self.deadline

    def __call__(self, where: Path, *words: str, kill_after: float | None = None) -> Done:
        """Run a command; kill it if it takes longer. Whoever is told that it is busy must have waited."""
        started = time.monotonic()
        command = [sys.executable, "-c", CODE, *words, "--json"]
        with subprocess.Popen(
            command,
            cwd=where,
            env=self.jvs.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=kill_after or 120)
            except subprocess.TimeoutExpired:
                assert kill_after is not None, f"{words} takes for ever"
                process.kill()
                process.communicate()
                out, err = "", ""
        status = KILLED if kill_after is not None and process.returncode == KILLED else process.returncode
        if status == 11:
            assert time.monotonic() - started >= WAIT, err
        word = f"{words[0]} {words[1]}" if words[0] == "worktree" else words[0]
        self.done[f"{word} {status}"] = self.done.get(f"{word} {status}", 0) + 1
        return Done(status, out, err)

    def patience(self, rng: random.Random) -> float | None:
        """After how many seconds to kill a command, if at all."""
        return rng.uniform(0.1, 1.0) if rng.random() < 0.2 else None

    def alone_for_ever(self, number: int) -> None:
        """Save and restore in a worktree of one's own."""
        rng = random.Random(number)
        name = f"own{number}"
        assert self(self.root / "main", "worktree", "create", name).status == 0
        where = self.root / "worktrees" / name
        ids: list[str] = []
        while self.running():
            for _ in range(3):
                path = where / f"d{rng.randrange(3)}" / f"f{rng.randrange(6)}"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(rng.randbytes(rng.choice((10, 3_000, 70_000))))
            tree = fingerprint(where)
            done = self(where, "snapshot", f"of {name}", kill_after=self.patience(rng))
            assert done.status in (0, KILLED, 11), done
            if done.status == 0:
                made: dict[str, Any] = done.value
                ids.append(made["snapshot_id"])
                self.acknowledged.append(Acknowledged(made["snapshot_id"], made["descriptor_checksum"], tree))
            if ids and rng.random() < 0.5:
                done = self(where, "restore", rng.choice(ids), kill_after=self.patience(rng))
                assert done.status in (0, KILLED, 11), done
            done = self(where, "restore", "HEAD")
            assert done.status in (0, 5, 11), done  # 5: not a single snapshot was made yet

    def in_main_for_ever(self, number: int) -> None:
        """Save and restore where others do the same."""
        rng = random.Random(number)
        main = self.root / "main"
        while self.running():
            with contextlib.suppress(FileNotFoundError):  # somebody restores what does not have the directory
                (main / "shared").mkdir(exist_ok=True)
                (main / "shared" / f"f{number}").write_bytes(rng.randbytes(2_000))
            done = self(main, "snapshot", f"by {number}", kill_after=self.patience(rng))
            # 1: detached, or a file changed while it was read; 6 cannot be, as only main moves its label
            assert done.status in (0, 1, KILLED, 11), done
            target = rng.choice(["HEAD", "HEAD", "main@1", "autosave/main"])
            done = self(main, "restore", target, kill_after=self.patience(rng))
            assert done.status in (0, 1, 5, KILLED, 11), done  # 1: somebody writes there; 5: no autosave yet

    def forks_for_ever(self, number: int) -> None:
        """Fork main and others, rename the forks, remove them."""
        rng = random.Random(number)
        main = self.root / "main"
        turn = 0
        while self.running():
            turn += 1
            name, other = f"fork{number}-{turn}", f"renamed{number}-{turn}"
            done = self(main, "worktree", "fork", name, kill_after=self.patience(rng))
            assert done.status in (0, KILLED, 11), done
            if done.status == 0:
                tree = fingerprint(self.root / "worktrees" / name)
                made = self(self.root / "worktrees" / name, "snapshot", "as it was forked")
                assert made.status in (0, 11), made
                if made.status == 0:
                    value = made.value
                    self.acknowledged.append(Acknowledged(value["snapshot_id"], value["descriptor_checksum"], tree))
            done = self(main, "worktree", "rename", name, other, kill_after=self.patience(rng))
            assert done.status in (0, 5, KILLED, 11), done  # 5: it was killed before it was there
            listed = self(self.root, "worktree", "list")
            assert listed.status == 0, listed
            mine = {one["name"] for one in json.loads(listed.out)} & {name, other}
            for one in mine:
                (self.root / "worktrees" / one / "unsaved").write_text("x")
                assert self(main, "worktree", "remove", one).status in (1, 11)
                done = self(main, "worktree", "remove", one, "--force", kill_after=self.patience(rng))
                assert done.status in (0, KILLED, 11), done


@pytest.mark.race60
def test_eight_processes_in_one_repository(jvs: Jvs, race_seconds: float) -> None:
    jvs("init", "r").ok()
    main = jvs.where / "r" / "main"
    (main / "f").write_text("first")
    race = Race(jvs, race_seconds)
    assert race(main, "snapshot", "first").status == 0
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(race.alone_for_ever, number) for number in range(3)]
        jobs += [pool.submit(race.in_main_for_ever, number) for number in range(3, 6)]
        jobs += [pool.submit(race.forks_for_ever, number) for number in range(6, 8)]
        for job in jobs:
            job.result()
    print(", ".join(f"{what}: {times}" for what, times in sorted(race.done.items())))
    assert race.acknowledged

    root = race.root
    listed = race(root, "worktree", "list")
    assert listed.status == 0, listed
    names = {one["name"] for one in json.loads(listed.out)}
    assert {path.name for path in (root / "worktrees").iterdir()} == names - {"main"}
    assert not list((root / ".jvs" / "intents").glob("*.json")), "what was killed was finished"
    left = [path for path in root.rglob(".jvs-tmp-*") if ".jvs" not in path.relative_to(root).parts]
    assert not left
    for name in names:
        done = race(root, "restore", "HEAD", "-w", name)
        assert done.status in (0, 5), done
        status = race(root, "status", "-w", name)
        assert status.value["clean"] or done.status == 5, status
    step = max(1, len(race.acknowledged) // READ_BACK)
    for number, one in enumerate(race.acknowledged[::step]):
        into = jvs.where / f"back{number}"
        assert race(root, "fs", "pull", one.entry_id, str(into)).status == 0
        assert fingerprint(into) == one.tree, one.snapshot_id
    assert race(root, "fs", "verify", "--all").value["ok"]
    doctor = race(root, "doctor", "--strict")
    assert doctor.value["healthy"], doctor
    assert race(root, "audit", "--verify").status == 0
