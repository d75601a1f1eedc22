"""What the verbs of a workspace cost: `python benchmarks/workspaces.py` measures and writes `WORKSPACES.md`.

One worktree of 100,000 source-like files that git tracks as well, with its own store elsewhere: `jvs snapshot` and
`git status` take turns on the very same directory, unchanged and after 10 small edits; `jvs restore` goes back and
forth between two save points that differ in these 10 files. Everything is in the page cache, and settled: no file is so
young that it would have to be read again. What forks cost is measured by fork.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets import edit_files, make_small
from measure import Cost, run_command, use_two_processors
from report import describe_machine, table
from tools import Git, Jvs
from volume import GIB, SETTLE_SECONDS, Ground, Yard, can_mount, sync_filesystem, warm

_PAGE = Path(__file__).resolve().parent / "WORKSPACES.md"
_SNAPSHOT = "`jvs snapshot`, nothing changed"
_STATUS = "`git status`, nothing changed"
_EDITED = "`jvs snapshot`, 10 small edits"
_EDITED_STATUS = "`git status`, 10 small edits"
_RESTORE = "`jvs restore`, 10 files differ"
_LOOK = "`jvs status`, nothing changed"


class Target(NamedTuple):
    """`what` may take `limit` times as long as `beside`."""

    what: str
    limit: float
    beside: str


TARGETS = (
    Target(_SNAPSHOT, 1.5, _STATUS),
    Target(_EDITED, 2.0, _SNAPSHOT),
    Target(_EDITED, 2.0, _EDITED_STATUS),
    Target(_RESTORE, 1.5, _SNAPSHOT),
)


class _Bench:
    """One worktree, and both tools on it."""

    def __init__(self, ground: Ground, files: int) -> None:
        self._files = files
        self._edits = 0
        self._root = ground.stores / "lab"
        self._run_jvs("init", str(self._root), cwd=ground.stores)
        self._main = self._root / "main"
        self._main.rmdir()
        ground.source.rename(self._main)
        self._git = Git(Ground(self._main, ground.stores, ground.pulls, ground.scratch))
        self._git.create()

    def _run_jvs(self, *words: str, cwd: Path | None = None) -> Cost:
        return run_command([Jvs.command(), *words], cwd=cwd or self._main, memory=False)

    def _run_git(self, *words: str) -> Cost:
        command = ["git", f"--git-dir={self._git.store}", f"--work-tree={self._main}", *words]
        return run_command(command, cwd=self._main, env=self._git.environment, memory=False)

    def _snapshot(self) -> Cost:
        return self._run_jvs("snapshot", "--json")

    def _status(self) -> Cost:
        return self._run_git("status")

    def _settle(self) -> None:
        sync_filesystem(self._main)
        time.sleep(SETTLE_SECONDS)

    def _edit(self) -> None:
        for path in edit_files(self._main, self._files, round_number=self._edits):
            (self._main / path).read_bytes()
        self._edits += 1

    def _is_saved(self) -> None:
        """Both tools know the tree as it is, and all that they remember of it."""
        self._snapshot()
        self._git.push()
        self._settle()
        self._snapshot()
        self._status()
        sync_filesystem(self._main)

    def run(self, rounds: int) -> Iterator[tuple[str, Cost]]:
        """(what, its cost), again and again."""
        warm(self._main)
        self._is_saved()
        for number in range(rounds):
            pair = [(_SNAPSHOT, self._snapshot), (_STATUS, self._status)]
            for what, work in pair[:: 1 if number % 2 else -1] * 2:
                yield what, work()
            yield _LOOK, self._run_jvs("status", "--json")
            self._edit()
            self._settle()
            yield _EDITED_STATUS, self._status()
            yield _EDITED, self._snapshot()
            self._is_saved()
        before, after = self._the_last_two()
        for number in range(2 * rounds):
            self._settle()
            yield _RESTORE, self._run_jvs("restore", after if number % 2 else before, "--json")

    def _the_last_two(self) -> tuple[str, str]:
        """Ids of two save points that differ in 10 files, the second one being what the worktree is."""
        done = subprocess.run([Jvs.command(), "history", "--json"], cwd=self._main, capture_output=True, check=True)
        history = json.loads(done.stdout)
        newest = history[0]
        other = next(one for one in history if one["payload_root_hash"] != newest["payload_root_hash"])
        return other["snapshot_id"], newest["snapshot_id"]


def _rows(samples: Mapping[str, Sequence[tuple[float, float]]]) -> list[list[str]]:
    rows: list[list[str]] = []
    wall = {what: statistics.median(one[0] for one in taken) for what, taken in samples.items()}
    for what, taken in samples.items():
        walls = sorted(one[0] * 1000 for one in taken)
        cpu = statistics.median(one[1] for one in taken)
        figures = [what, f"{wall[what] * 1000:.0f} ms", f"{walls[0]:.0f} to {walls[-1]:.0f} ms", f"{cpu * 1000:.0f} ms"]
        targets = [target for target in TARGETS if target.what == what]
        for target in targets:
            ratio = wall[what] / wall[target.beside]
            verdict = "met" if ratio <= target.limit else "**missed**"
            rows.append([*figures, f"{ratio:.2f} x {target.beside}", f"{target.limit:g} x", verdict])
        if not targets:
            rows.append([*figures, "", "", ""])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Measure what the verbs of a workspace cost.")
    parser.add_argument("--files", type=int, default=100_000, help="100000 is what the targets name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="the disk to measure on (default /tmp)")
    parser.add_argument("--page", type=Path, default=_PAGE, help="the page to write (default benchmarks/WORKSPACES.md)")
    options = parser.parse_args(arguments)
    cpus = use_two_processors()
    Jvs.compile()
    if Git.version() is None:
        sys.exit("error: git is what jvs is measured beside\nnext: apt-get install git")
    if shutil.disk_usage(options.work).free < 6 * GIB:
        sys.exit(f"error: {options.work} has too little free space\nnext: --work DIR on another disk")
    os.environ.pop("JVS_STORE", None)
    yard = Yard(options.work, images=can_mount())
    machine = describe_machine(yard.kind, cpus)
    samples: dict[str, list[tuple[float, float]]] = {}
    template, tree = yard.template(8 * GIB, 4 * options.files + 20_000, lambda root: make_small(root, options.files))
    with yard.cycle(template) as ground:
        for what, cost in _Bench(ground, options.files).run(options.rounds):
            samples.setdefault(what, []).append((cost.wall, cost.cpu))
            print(f"{what:34} {cost.wall * 1000:7.0f} ms {cost.cpu * 1000:7.0f} ms CPU", flush=True)
    head = ["what", "time", "from .. to", "CPU", "is", "target", "verdict"]
    lines = [
        "# The verbs of a workspace",
        "",
        "Written by `python benchmarks/workspaces.py` on "
        f"{machine['processor']}, {machine['memory']}, {machine['kernel']}; {Git.version()}; "
        f"load before: {machine['load before']}.",
        "",
        f"{tree.files:,} files in {tree.directories:,} directories, {tree.bytes:,} bytes; medians of {options.rounds} "
        "rounds, in which the tools take turns on one directory. Times are those of whole commands, start of the "
        "interpreter included. `git status` and `jvs status` write nothing that lasts; a snapshot is durable (four "
        "syncs, which wait for whatever else the disk is doing), and read back.",
        "",
        *table(head, _rows(samples), words=1),
        "",
    ]
    options.page.write_text("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
