"""How the cost of each verb grows: `python benchmarks/scale.py` measures and writes the table in docs/scale.md."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from datasets import edit_files, make_small, small_file_path
from measure import Cost, folder_bytes, run_command, use_two_processors
from report import describe_machine, table
from tools import Jvs
from volume import GIB, SETTLE_SECONDS, Ground, Yard, can_mount, sync_filesystem, warm

SIZES = (10_000, 100_000, 1_000_000)
_MEAN_BYTES = 1000
_BEGIN, _END = "<!-- scale.py writes from here -->", "<!-- to here -->"
_PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"


def _work(ground: Ground, files: int) -> Iterator[tuple[str, Cost]]:
    """Every verb on a tree of `files` files, with what it cost."""
    jvs, store, source = Jvs.command(), ground.stores / "jvs", ground.source
    target = ground.pulls / "jvs"
    one = small_file_path(files // 2)

    def run(*words: str) -> Cost:
        sync_filesystem(source)
        return run_command([jvs, "fs", *words, "--store", str(store), "--json"])

    def push() -> Cost:
        return run("push", str(source), "--label", "main")

    run_command([jvs, "fs", "init", str(store)])
    yield "`push`, the first", push()
    yield "`push`, nothing changed", _median(push() for _ in range(3))
    yield "`pull` into a new directory", run("pull", "main", str(target))
    edit_files(source, files)
    warm(source)
    time.sleep(SETTLE_SECONDS)  # else the pull into the same directory would read again all that it has just written
    yield "`push`, 10 files edited", push()
    yield "`pull`, 10 files differ", run("pull", "main", str(target))
    readings: Sequence[tuple[str, tuple[str, ...]]] = (
        ("`ls` (one label)", ("ls",)),
        ("`log` (two entries)", ("log", "main")),
        ("`tree` of one directory", ("tree", f"main:{os.path.dirname(one)}")),
        ("`cat` of one file", ("cat", f"main:{one}")),
        ("`diff`, 10 files differ", ("diff", "main@{1}", "main")),
    )
    for title, words in readings:
        yield title, _median(run(*words) for _ in range(5))
    yield "`tree` of everything", run("tree", "main")
    yield "`reset` to the entry before", run("reset", "main", "main@{1}")
    yield "`verify` of one snapshot", run("verify", "main")


def _median(costs: Iterator[Cost]) -> Cost:
    every = list(costs)
    return Cost(
        statistics.median(cost.wall for cost in every),
        statistics.median(cost.cpu for cost in every),
        max(cost.anonymous for cost in every),
    )


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.1f}"


def _measure(yard: Yard, sizes: Sequence[int]) -> list[str]:
    """The table's lines."""
    rows: dict[str, list[str]] = {}
    for files in sizes:
        # A file of some 1,000 bytes takes a block of 4 KiB, in the source and again in the pulled tree.
        fill = partial(make_small, files=files, mean_bytes=_MEAN_BYTES)
        template, _ = yard.template(GIB + files * 12_000, 3 * files + 50_000, fill)
        with yard.cycle(template) as ground:
            for title, cost in _work(ground, files):
                memory = f", {cost.anonymous / 1e6:.0f} MB" if cost.anonymous else ""
                cell = f"{_seconds(cost.wall)} s ({_seconds(cost.cpu)} s{memory})"
                rows.setdefault(title, []).append(cell)
                print(f"{files:>9,}  {title:30} {cell}", file=sys.stderr, flush=True)
            store = ground.stores / "jvs"
            index = folder_bytes(store / "index")
            packs = folder_bytes(store) - index - folder_bytes(store / "cache")
            rows.setdefault("stored: packs and journal", []).append(f"{packs / 1e6:,.1f} MB")
            rows.setdefault("stored: index", []).append(f"{index / 1e6:,.1f} MB")
    return table(["verb", *(f"{files:,} files" for files in sizes)], ([title, *cells] for title, cells in rows.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Measure how the cost of each verb grows with the tree.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="FILES")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="the disk to measure on (default /tmp)")
    parser.add_argument("--page", type=Path, default=_PAGE, help="the page to write into (default docs/scale.md)")
    options = parser.parse_args(arguments)
    cpus = use_two_processors()
    Jvs.compile()
    yard = Yard(options.work, images=can_mount())
    machine = describe_machine(yard.kind, cpus)
    rows = _measure(yard, options.sizes)
    text = [
        _BEGIN,
        "",
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {machine['processor']}, {machine['memory']}, "
        f"{machine['kernel']}, {machine['file system']}, warm cache. Source-like files of {_MEAN_BYTES:,} bytes on "
        "average, 25 to a directory, 100 directories to a group. Wall time, in brackets CPU time and peak anonymous "
        "memory (where the command ran long enough to be looked at).",
        "",
        *rows,
        _END,
    ]
    page = options.page.read_text() if options.page.exists() else f"# How cost grows\n\n{_BEGIN}\n{_END}\n"
    before, _, rest = page.partition(_BEGIN)
    after = rest.partition(_END)[2]
    options.page.write_text(before + "\n".join(text) + after)
    print(options.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
