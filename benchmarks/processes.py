"""The measurements without a tree: durable label moves in one process, and the start of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from measure import run_command
from tools import Jvs
from volume import GIB, Yard
from works import Sample, Scale

_LABEL_BLOCKS = 5


def _one_file(root: Path) -> None:
    (root / "file").write_text("one\n")


def startup_samples(yard: Yard, scale: Scale) -> list[Sample]:
    """CPU time of `jvs --help` and of `jvs fs ls` on a store with one label, taking turns."""
    jvs = Jvs.command()
    samples: list[Sample] = []
    template, _ = yard.template(GIB // 2, 10_000, _one_file)
    with yard.cycle(template) as ground:
        store = ground.stores / "jvs"
        run_command([jvs, "fs", "init", str(store)])
        run_command([jvs, "fs", "push", str(ground.source), "--label", "main", "--store", str(store)])
        for repeat in range(scale.startup_runs):
            for words in (["--help"], ["fs", "ls", "--store", str(store)]):
                cost = run_command([jvs, *words], memory=False)
                work = "jvs " + " ".join(words[:2])
                samples.append(Sample("startup", work, "jvs", repeat, cost.wall, cost.cpu, 0))
    return samples


def label_samples(yard: Yard, scale: Scale) -> list[Sample]:
    """Seconds per durable label move and per bare LMDB commit, in blocks that take turns on one file system."""
    samples: list[Sample] = []
    template, _ = yard.template(GIB // 2, 10_000, _one_file)
    with yard.cycle(template) as ground:
        for repeat in range(_LABEL_BLOCKS):
            for tool, what in (("bare LMDB commit", "bare"), ("jvs", "jvs")):
                folder = ground.stores / f"{what}-{repeat}"
                each = _label_block(["--what", what, "--folder", str(folder), "--seconds", str(scale.label_seconds)])
                samples.append(Sample("labels", "durable label move", tool, repeat, each, 0.0, 0))
    return samples


def _label_block(arguments: Sequence[str]) -> float:
    """Run labelmoves.py as a process of its own; returns seconds per move."""
    script = Path(__file__).resolve().parent / "labelmoves.py"
    done = subprocess.run(
        [os.environ.get("JVS_BENCH_PYTHON") or sys.executable, str(script), *arguments],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    return float(answer["seconds"]) / int(answer["moves"])
