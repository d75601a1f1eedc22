"""What mounts cost, beside the disk itself, bindfs and fuse-overlayfs: `python benchmarks/mounts.py` measures and
writes `MOUNTS.md`. Needs root.

On one ext4 image lie the trees, and a store in which they were pushed. Before each measurement the image is unmounted
and thrown out of the page cache: *cold* is the first time after that, *cached* the median of three times more. *new*: a
mount that was made a moment ago, over files that are in the page cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import runs
from datasets import MIB, make_big, make_small
from figures import Figures, Target, amount, write_page
from measure import run_command, use_two_processors
from report import describe_machine, table
from tools import Jvs
from volume import GIB, Ground, Yard, can_mount, warm

_PAGE = Path(__file__).resolve().parent / "MOUNTS.md"
_AGAIN = 3
DISK, REVISION, SESSION, BINDFS, FUSE_OVERLAYFS = "the disk", "a revision", "a session", "bindfs", "fuse-overlayfs"
FIND, GREP, READ = "find", "grep", "read"
COLD, NEW, CACHED = "cold", "new", "cached"

Times = dict[tuple[str, str, str], list[float]]
"""(contestant, work, state) -> seconds of each round."""


class Limit(NamedTuple):
    """A target of mounts of jvs: `beside` times what the disk takes in the state `than`, or bytes a second."""

    work: str
    state: str
    than: str = ""
    beside: float = 0.0
    rate: float = 0.0


LIMITS = (
    Limit(FIND, COLD, COLD, 5),
    Limit(FIND, NEW, CACHED, 5),
    Limit(FIND, CACHED, CACHED, 2),
    Limit(GREP, COLD, COLD, 4),
    Limit(GREP, NEW, CACHED, 4),
    Limit(GREP, CACHED, CACHED, 4),
    Limit(READ, NEW, rate=300e6),  # the disk itself may give less
    Limit(READ, CACHED, rate=1e9),
)


def _trees(root: Path, scale: float) -> None:
    """Many small files, source-like files, and one that does not compress."""
    for name in ("many", "code", "big"):
        (root / name).mkdir()
    make_small(root / "many", int(100_000 * scale), mean_bytes=400)
    make_small(root / "code", int(20_000 * scale))
    make_big(root / "big", int(512 * scale) * MIB, files=1)


def _works(top: Path) -> dict[str, str]:
    """The command lines. Through a pipe: grep stops at the first match when nobody reads, find does less."""
    return {
        FIND: f"find {top}/many | wc -l",
        GREP: f"grep -r 'return self' {top}/code | wc -l",
        READ: f"dd if={top}/big/volume_0.bin of=/dev/null bs=1M status=none",
    }


def _seconds(command: str) -> float:
    return run_command(["sh", "-c", command], memory=False).wall


@contextmanager
def _attached(contestant: str, ground: Ground) -> Iterator[Path]:
    """The trees as this contestant shows them."""
    if contestant == DISK:
        yield ground.source
        return
    where = ground.pulls / contestant.replace(" ", "-")
    where.mkdir(exist_ok=True)
    store = ["--store", str(ground.stores / "jvs")]
    commands = {
        REVISION: [Jvs.command(), "fs", "mount", "main", str(where), *store],
        SESSION: [Jvs.command(), "fs", "mount", "--session", "bench", str(where), *store],
        BINDFS: ["bindfs", str(ground.source), str(where)],
    }
    if contestant == FUSE_OVERLAYFS:
        upper, work = ground.scratch / "upper", ground.scratch / "work"
        upper.mkdir(exist_ok=True)
        work.mkdir(exist_ok=True)
        options = f"lowerdir={ground.source},upperdir={upper},workdir={work}"
        commands[FUSE_OVERLAYFS] = ["fuse-overlayfs", "-o", options, str(where)]
    run_command(commands[contestant], memory=False)
    try:
        yield where
    finally:
        if contestant in (REVISION, SESSION):
            run_command([Jvs.command(), "fs", "unmount", str(where)], memory=False)
        else:
            run_command(["fusermount3", "-u", str(where)], memory=False)


def _turn(yard: Yard, ground: Ground, contestant: str, times: Times) -> None:
    """Everything once, for one contestant."""

    def note(work: str, state: str, seconds: float) -> None:
        times.setdefault((contestant, work, state), []).append(seconds)
        print(f"{contestant:16} {work:6} {state:8} {seconds * 1e3:9.1f} ms", flush=True)

    for work in (FIND, GREP, READ):
        yard.cool()
        with _attached(contestant, ground) as top:
            command = _works(top)[work]
            note(work, COLD, _seconds(command))
            note(work, CACHED, statistics.median(_seconds(command) for _ in range(_AGAIN)))
    if contestant != DISK:
        warm(ground.stores if contestant in (REVISION, SESSION) else ground.source)
        with _attached(contestant, ground) as top:
            for work, command in _works(top).items():
                note(work, NEW, _seconds(command))


def _writes(top: Path, code: Path, count: int) -> Iterator[tuple[str, float]]:
    """(what, seconds) of writing into an empty directory."""
    top.mkdir()
    yield "write in blocks of 1 MiB", _seconds(f"dd if=/dev/zero of={top}/written bs=1M count={count} status=none")
    yield "copy a source tree into it (`cp -r`)", _seconds(f"cp -r {code} {top}/code")
    yield "remove that (`rm -r`)", _seconds(f"rm -r {top}/code")
    os.unlink(top / "written")


def _measure(yard: Yard, ground: Ground, contestants: Sequence[str], count: int, times: Times) -> None:
    """One round."""
    jvs = Jvs(ground)
    jvs.create()
    jvs.push()
    store = ["--store", str(jvs.store)]
    run_command([Jvs.command(), "fs", "open", "main", "--name", "bench", *store], memory=False)
    for contestant in contestants:
        _turn(yard, ground, contestant, times)
    for contestant in contestants:
        if contestant == REVISION:
            continue
        with _attached(contestant, ground) as top:
            for what, seconds in _writes(top / "new", ground.source / "code", count):
                times.setdefault((contestant, what, ""), []).append(seconds)
                print(f"{contestant:16} {what:40} {seconds * 1e3:9.1f} ms", flush=True)
        shutil.rmtree(ground.source / "new", ignore_errors=True)


def _cell(times: Times, contestant: str, work: str, state: str, amount_of: Callable[[float], str]) -> str:
    taken = times.get((contestant, work, state))
    return amount_of(statistics.median(taken)) if taken else ""


def _verdicts(times: Times, size: int) -> list[list[str]]:
    rows = []
    for limit in LIMITS:
        for contestant in (REVISION, SESSION):
            taken = statistics.median(times[contestant, limit.work, limit.state])
            if limit.rate:
                value, words, met = (
                    amount(size / taken / 1e6, "MB/s"),
                    f">= {limit.rate / 1e6:,.0f} MB/s",
                    (size / taken >= limit.rate),
                )
            else:
                ratio = taken / statistics.median(times[DISK, limit.work, limit.than])
                value, words, met = (
                    f"{ratio:.2f} x the disk, {limit.than}",
                    f"<= {limit.beside:g} x",
                    ratio <= limit.beside,
                )
            rows.append([limit.work, limit.state, contestant, value, words, "met" if met else "**missed**"])
    return rows


def _comparison(times: Times, contestants: Sequence[str]) -> list[list[str]]:
    def milliseconds(seconds: float) -> str:
        return amount(seconds * 1e3, "ms")

    works = list(dict.fromkeys((work, state) for _, work, state in times))
    return [
        [work, state, *(_cell(times, contestant, work, state, milliseconds) for contestant in contestants)]
        for work, state in works
    ]


def _version(peer: str) -> str:
    said = subprocess.run([peer, "--version"], capture_output=True, text=True, check=True).stdout
    return next(line for line in said.splitlines() if line.startswith(peer))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Measure what mounts cost.")
    parser.add_argument("--scale", type=float, default=1.0, help="1: the sizes that the targets name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="the disk to measure on (default /tmp)")
    parser.add_argument("--page", type=Path, default=_PAGE, help="the page to write (default benchmarks/MOUNTS.md)")
    options = parser.parse_args(arguments)
    cpus = use_two_processors()
    Jvs.compile()
    os.environ.pop("JVS_STORE", None)
    if not can_mount():
        sys.exit("error: file systems are made and mounted here\nnext: run it as root on Linux")
    if shutil.disk_usage(options.work).free < 8 * GIB:
        sys.exit(f"error: {options.work} has too little free space\nnext: --work DIR on another disk")
    peers = [peer for peer in (BINDFS, FUSE_OVERLAYFS) if shutil.which(peer)]
    contestants = [DISK, REVISION, SESSION, *peers]
    yard = Yard(options.work, images=True)
    machine = describe_machine(yard.kind, cpus)
    template, _ = yard.template(
        8 * GIB, int(300_000 * options.scale) + 20_000, lambda root: _trees(root, options.scale)
    )
    times: Times = {}
    count = int(256 * options.scale)
    for number in range(options.rounds):
        with yard.cycle(template) as ground:
            turn = number % len(contestants)
            _measure(yard, ground, contestants[turn:] + contestants[:turn], count, times)
    starts = Figures()
    with yard.cycle(template) as ground:
        for what, milliseconds in runs.figures(str(ground.stores), int(100_000 * options.scale)):
            cold_start = what.startswith("run true, mounted")
            starts.add(what, milliseconds, "ms", Target(runs.TARGET_MS, most=True) if cold_start else None)
    size = int(512 * options.scale) * MIB
    versions = [_version(peer) for peer in peers]
    text = [
        [
            f"`find` over {int(100_000 * options.scale):,} files in {int(4_000 * options.scale):,} directories; "
            f"`grep -r` over {int(20_000 * options.scale):,} source-like files of 6.5 KB; `dd` of a file of "
            f"{size // MIB} MiB that does not compress. Medians of {options.rounds} rounds, in which the contestants "
            f"take turns. Beside: {', '.join(versions) or 'nothing'}.",
        ],
        [
            "*cold*: the file system was unmounted and thrown out of the page cache before. *cached*: again. *new*: a "
            "mount that was just made, over files (a store) that are in the page cache: what the mount itself costs.",
        ],
        ["## Targets", ""],
        table(["what", "state", "of", "measured", "target", "verdict"], _verdicts(times, size), words=3),
        [
            "A revision's files and directories are opened by the kernel alone. In a session whoever opens one asks "
            "the process that serves it, and once more when he closes it, cached or not: that is what its *cached* "
            "is. A new mount beside the disk's cache is the hardest comparison that the targets can mean.",
        ],
        ["## Starting", ""],
        starts.table(),
        ["## Beside others", ""],
        table(["what", "state", *contestants], _comparison(times, contestants), words=2),
    ]
    write_page(options.page, "Mounts", "mounts.py", machine, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
