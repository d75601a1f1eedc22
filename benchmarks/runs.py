"""What starting `jvs run` costs: `python benchmarks/runs.py [FILES]` (100000). Medians, beside their target.

Every run is a process of its own, with what Python compiled once already compiled. Wherever the command runs, nothing
that a run costs may grow with the tree but checking it out, which is why only the small tree is.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from jvs.castore.settings import StoreSettings
from jvs.workspace.repo import Repo
from overlay import small_tree

TARGET_MS = 400
RUNS = 7
SMALL = 10


def milliseconds(where: str, environment: dict[str, str], *words: str) -> float:
    """Of a `jvs run` with these words; the median, without the first one."""
    command = [sys.executable, "-c", "from jvs.cli.main import main; main()", "run", "-q", *words]
    taken = []
    for _ in range(RUNS + 1):
        begin = time.perf_counter()
        subprocess.run(command, cwd=where, env=environment, stdin=subprocess.DEVNULL, check=True)
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken[1:])


def figures(where: str, count: int) -> Iterator[tuple[str, float]]:
    """(what, milliseconds) of each figure."""
    store = os.path.join(where, "store")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"JVS_STORE": store, "PYTHONPYCACHEPREFIX": os.path.join(where, "compiled")}
    Repo.init(store, StoreSettings())
    with Repo.open(store, actor="benchmark") as repo:
        for files in (SMALL, count):
            small_tree(repo, files, f"files/{files}")
    for files in (SMALL, count):
        label = f"files/{files}"
        yield f"run true, mounted, {files:,} files", milliseconds(where, environment, "--label", label, "--", "true")
    words = ["--label", f"files/{count}", "--", "sh", "-c", "date +%N > changed"]
    yield f"run and push a change, mounted, {count:,} files", milliseconds(where, environment, *words)
    words = ["--checkout", "--label", f"files/{SMALL}", "--", "true"]
    yield f"run true, checked out, {SMALL} files", milliseconds(where, environment, *words)


def main() -> None:
    """Measure, and print a line for each figure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="jvs-bench-") as where:
        for what, taken in figures(where, count):
            print(f"{what:<50} {taken:7.0f} ms   (at most {TARGET_MS} ms)")


if __name__ == "__main__":
    main()
