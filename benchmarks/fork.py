"""What materialising a fork costs: `python benchmarks/fork.py` measures and writes `FORK.md`. Needs root.

2 GiB in 20,000 files on btrfs, XFS and ext4 (images that are loop-mounted), cloned by the engine that is detected
there, beside `cp -a`. A round is a new copy of the image; the contestants take turns in beginning it. The source is in
the page cache and written out. New bytes are what `statvfs` says when all is written out.
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
from collections.abc import Callable, Sequence
from pathlib import Path

from datasets import make_small
from jvs.workspace.engines import clone_tree, detect_engine
from measure import use_two_processors
from report import describe_machine, table
from volume import GIB, Yard, can_mount, sync_filesystem

Sample = tuple[float, float, int]
"""Seconds until it was there, seconds until it was durable, new bytes on the disk."""

_PAGE = Path(__file__).resolve().parent / "FORK.md"
_MAKE = {
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "ext4": None,  # as in the other benchmarks
}
_JVS = "jvs, engine "


def _copy(*words: str) -> Callable[[Path, Path], None]:
    def copy(source: Path, target: Path) -> None:
        subprocess.run(["cp", "-a", *words, source, target], check=True)

    return copy


def _contestants(system: str, engine: str) -> dict[str, Callable[[Path, Path], None]]:
    def ours(source: Path, target: Path) -> None:
        clone_tree(str(source), str(target), engine=engine)

    def durably(source: Path, target: Path) -> None:
        clone_tree(str(source), str(target), engine=engine, durable=True)

    found = {f"{_JVS}{engine}": ours, f"{_JVS}{engine}, durable": durably, "cp -a": _copy()}
    if system != "ext4":
        found["cp -a --reflink=always"] = _copy("--reflink=always")
    return found


def _measure(work: Callable[[Path, Path], None], source: Path, target: Path) -> Sample:
    before = os.statvfs(source)
    start = time.perf_counter()
    work(source, target)
    there = time.perf_counter() - start
    durable = there + sync_filesystem(source)
    after = os.statvfs(source)
    new = (before.f_bfree - after.f_bfree) * before.f_frsize
    shutil.rmtree(target)
    sync_filesystem(source)
    return there, durable, new


def _system(yard: Yard, name: str, files: int, size: int, rounds: int) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {}
    template, _ = yard.template(
        size * 3 + GIB, files * 4, lambda root: make_small(root, files, mean_bytes=size // files), make=_MAKE[name]
    )
    for number in range(rounds):
        with yard.cycle(template) as ground:
            work = list(_contestants(name, detect_engine(str(ground.pulls))).items())
            for contestant, clone in work[number % len(work) :] + work[: number % len(work)]:
                sample = _measure(clone, ground.source, ground.pulls / "clone")
                samples.setdefault(contestant, []).append(sample)
                print(f"{name:6} {contestant:36} {sample[0]:7.2f} s {sample[1]:7.2f} s {sample[2]:>13,}", flush=True)
    return samples


def _rows(system: str, samples: dict[str, list[Sample]]) -> list[list[str]]:
    rows: list[list[str]] = []
    beside = statistics.median(sample[0] for sample in samples["cp -a"])
    for contestant, taken in samples.items():
        there, durable, new = (statistics.median(column) for column in zip(*taken, strict=True))
        target = ""
        if contestant.startswith(_JVS) and not contestant.endswith("durable"):
            target = "1.2 x" if system == "ext4" else "3 s, 20 MiB"
        figures = [f"{there:.2f} s", f"{there / beside:.2f} x", f"{durable:.2f} s", f"{new / 2**20:,.1f} MiB"]
        rows.append([system, contestant, *figures, target])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Measure what materialising a fork costs.")
    parser.add_argument("--only", nargs="+", choices=list(_MAKE), default=list(_MAKE))
    parser.add_argument("--scale", type=float, default=1.0, help="1: the sizes that the targets name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="the disk to measure on (default /tmp)")
    parser.add_argument("--page", type=Path, default=_PAGE, help="the page to write (default benchmarks/FORK.md)")
    options = parser.parse_args(arguments)
    cpus = use_two_processors()
    if not can_mount():
        sys.exit("error: file systems are made and mounted here\nnext: run it as root on Linux")
    files, size = int(20_000 * options.scale), int(2 * GIB * options.scale)
    if shutil.disk_usage(options.work).free < 4 * size + 2 * GIB:
        sys.exit(f"error: {options.work} has too little free space\nnext: --work DIR on another disk, or --scale 0.1")
    kept = options.page.with_suffix(".json")
    measured = json.loads(kept.read_text()) if kept.exists() else {}
    yard = Yard(options.work, images=True)
    for name in options.only:
        measured[name] = _system(yard, name, files, size, options.rounds)
    kept.write_text(json.dumps(measured, indent=1) + "\n")
    machine = describe_machine("file systems in images", cpus)
    where = f"{machine['processor']}, {machine['memory']}, {machine['kernel']}"
    head = ["file system", "what", "time", "beside cp -a", "until durable", "new on disk", "target"]
    text = f"{size / GIB:g} GiB in {files:,} files; medians of {options.rounds} rounds."
    rows = [row for name in _MAKE if name in measured for row in _rows(name, measured[name])]
    lines = ["# Forking a worktree", "", f"Written by `python benchmarks/fork.py` on {where}.", "", text, ""]
    options.page.write_text("\n".join([*lines, *table(head, rows, words=2), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
