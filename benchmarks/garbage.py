"""What collecting garbage costs: `python benchmarks/garbage.py` measures and writes `GC.md`.

Each part stands alone (`--only mark half peers busy verify`). The targets are those of the issue that asked for gc.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from blake3 import blake3

from datasets import edit_files, make_small
from jvs.castore.backend import Codec, Kind, Ref, Stored
from jvs.castore.digest import file_digest
from jvs.castore.layout import Place
from jvs.castore.local.store import LocalStore
from jvs.castore.manifest import DIRECTORY, FILE, Directory, File
from jvs.castore.objects import ObjectStore
from jvs.castore.recipe import Piece, build_recipe
from jvs.castore.treewriter import TreeWriter
from jvs.labels.moves import MoveRequest
from jvs.labels.store import Labels
from measure import Cost, folder_bytes, run_command, use_two_processors
from report import describe_machine, table
from tools import Borg, Jvs, Restic, Tool
from volume import GIB, Ground, sync_filesystem

Row = tuple[str, str, str]
"""What was measured, the figure, the target."""

_PAGE = Path(__file__).resolve().parent / "GC.md"
_EACH = 4000
"""Chunks of one recipe, files of 20 directories."""


def _jvs(store: Path, *words: str) -> Cost:
    return run_command([Jvs.command(), "fs", *words, "--store", str(store)])


def _seconds(cost: float) -> str:
    return f"{cost:.3f} s" if cost < 1 else f"{cost:.1f} s"


# -- marking 10^6 files and 10^6 objects


def _million(store: LocalStore, total: int) -> None:
    """A snapshot of `total` files, and as many objects: chunks of 8 bytes, which a recipe of real size names."""
    objects = ObjectStore(store, store.settings)
    big: list[File] = []
    with store.writer() as writer:
        for start in range(0, total, _EACH):
            pieces = [Piece(blake3(b"%d" % number).digest(), 8) for number in range(start, start + _EACH)]
            for piece in pieces:
                writer.put(Kind.CHUNK, piece.digest, Stored(Codec.RAW, 8, b"8 bytes."))
            data, _ = build_recipe(pieces, lambda *leaf: None)
            digest = blake3(b"file %d" % start).digest()
            refs = [Ref(Kind.CHUNK, piece.digest) for piece in pieces]
            writer.put(Kind.RECIPE, digest, Stored(Codec.RAW, len(data), data), refs)
            big.append(File(b"big%09d" % start, FILE, 0o644, 8 * _EACH, digest))
        writer.publish()
        _files(store, objects, big, total)


def _files(store: LocalStore, objects: ObjectStore, big: Sequence[File], total: int) -> None:
    with TreeWriter(objects) as writer:
        writer._streamed.update({file.digest: Place(Kind.RECIPE, file.digest, 0) for file in big})
        root, folder = writer.directory(), writer.directory()
        for file in big:
            folder.add(file)
        root.add(Directory(b"big", DIRECTORY, 0o755, *folder.finish()))
        for group in range(total // 200):
            folder = writer.directory()
            for number in range(200):
                data = b"file %d of %d" % (number, group)
                folder.add(File(b"f%03d" % number, FILE, 0o644, len(data), file_digest(data)), data)
            root.add(Directory(b"d%06d" % group, DIRECTORY, 0o755, *folder.finish()))
        tree = root.finish()
        labels = Labels(store, "benchmark")
        writer.publish(lambda txn: labels.move_in(txn, MoveRequest("main", tree.digest, None)))


def mark(work: Path, scale: float) -> Iterator[Row]:
    """A whole mark, and the plan of a store in which nothing changed since the last collection."""
    path = work / "million"
    total = int(1_000_000 * scale) // _EACH * _EACH
    with LocalStore.create(path) as store:
        _million(store, total)
        objects = sum(1 for kind in Kind for _ in store.keys(kind))
    name = f"of {total:,} files and {objects:,} objects"
    cost = _jvs(path, "gc", "plan")
    yield f"`gc plan` (a whole mark) {name}", f"{_seconds(cost.wall)}, {cost.anonymous / 1e6:.0f} MB", "5 s, 300 MB"
    _jvs(path, "gc", "run")
    cost = _jvs(path, "gc", "plan")
    yield f"`gc plan` {name}, nothing changed since", _seconds(cost.wall), "O(new)"
    base = work / "small-change"
    base.mkdir()
    (base / "file").write_text("new")
    _jvs(path, "push", str(base), "--label", "other")
    yield f"`gc plan` {name}, one file new", _seconds(_jvs(path, "gc", "plan").wall), "O(new)"


# -- sweeping half of a large store


def half(work: Path, scale: float) -> Iterator[Row]:
    """Half of a store goes, the half interleaved with what stays; beside copying what stays."""
    store, source = work / "half", work / "half-source"
    source.mkdir()
    pairs, size = 40, int(64e6 * scale)
    for number in range(pairs):
        for side in "ab":
            (source / f"{number:03}{side}").write_bytes(os.urandom(size + (size // 8 if side == "b" else 0)))
    _jvs(store, "init", str(store))
    _jvs(store, "push", str(source), "--label", "main")
    for path in source.glob("*b"):
        path.unlink()
    _jvs(store, "push", str(source), "--label", "main")
    _jvs(store, "retention", "set", "keep-last", "0")
    before = folder_bytes(store / "packs")
    sync_filesystem(work)
    cost = _jvs(store, "gc", "run")
    after = folder_bytes(store / "packs")
    copy = run_command(["sh", "-c", f"cp -r {source} {work}/copy && sync -f {work}/copy"])
    ratio = cost.wall / copy.wall
    yield (
        f"`gc run`: {before / 1e9:.2f} GB become {after / 1e9:.2f} GB",
        f"{_seconds(cost.wall)}: {ratio:.2f} x copying and syncing what stays ({_seconds(copy.wall)})",
        "2 x",
    )


# -- beside restic and borg


def _history(tool: Tool, source: Path, files: int) -> None:
    tool.create()
    tool.push()
    for number in range(4):
        edit_files(source, files, edits=files // 5, round_number=number)
        for path in source.glob("volume*"):
            path.write_bytes(os.urandom(path.stat().st_size))
        tool.push()


def peers(work: Path, scale: float) -> Iterator[Row]:
    """Five snapshots, of which the last is kept: restic forget --prune, borg prune and compact, jvs gc run."""
    files = int(20_000 * scale)
    figures: dict[str, float] = {}
    for kind in (Jvs, Restic, Borg):
        if kind.version() is None:
            continue
        root = work / f"peers-{kind.name}"
        ground = Ground(root / "source", root / "stores", root / "pulls", root / "scratch")
        for folder in (ground.source, ground.stores, ground.pulls, ground.scratch):
            folder.mkdir(parents=True)
        make_small(ground.source, files)
        for number in range(4):
            (ground.source / f"volume{number}").write_bytes(os.urandom(int(64e6 * scale)))
        tool = kind(ground)
        _history(tool, ground.source, files)
        if kind is Jvs:  # a policy is set once; to the others it is an operand
            _jvs(tool.store, "retention", "set", "keep-last", "0")
        commands = {
            "jvs": [[Jvs.command(), "fs", "gc", "run", "--store", str(tool.store)]],
            "restic": [["restic", "forget", "--quiet", "--keep-last", "1", "--prune"]],
            "borg": [["borg", "prune", "--keep-last", "1", str(tool.store)], ["borg", "compact", str(tool.store)]],
        }[kind.name]
        sync_filesystem(work)
        before = folder_bytes(tool.store)
        cost = tool.run(commands)
        after = folder_bytes(tool.store)
        figures[kind.name] = cost.wall
        ratio = "" if kind is Jvs else f", {cost.wall / figures['jvs']:.1f} x jvs"
        yield (
            f"{kind.name}: only the last of 5 snapshots stays, {before / 1e6:,.0f} MB become {after / 1e6:,.0f} MB",
            f"{_seconds(cost.wall)}{ratio}",
            "" if kind is Jvs else ">= 3 x jvs",
        )
        shutil.rmtree(root)


# -- pushes beside a collector

_PUSHER = """
import os, sys, time
from jvs.workspace.repo import Repo
store, folder, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
os.makedirs(folder, exist_ok=True)
done, end = 0, time.monotonic() + seconds
with Repo.open(store, actor="pusher") as repo:
    while time.monotonic() < end:
        for number in range(20):
            with open(f"{folder}/{number}", "wb") as file:
                file.write(os.urandom(20_000))
        repo.push(folder, label=os.path.basename(folder), rehash=True)
        done += 1
print(done)
"""


def busy(work: Path, scale: float) -> Iterator[Row]:
    """Pushes in one process, alone and beside collectors that begin again as soon as they are done."""
    store, source, seconds = work / "busy", work / "busy-source", 10 * scale
    source.mkdir()
    make_small(source, int(20_000 * scale))
    _jvs(store, "init", str(store))
    _jvs(store, "push", str(source), "--label", "main")
    _jvs(store, "retention", "set", "keep-last", "0")

    def pushes() -> int:
        command = [sys.executable, "-c", _PUSHER, str(store), str(work / "pusher"), str(seconds)]
        return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    alone: list[int] = []
    beside: list[int] = []
    for _ in range(3):
        alone.append(pushes())
        stop = threading.Event()

        def collect(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                _jvs(store, "gc", "run")

        thread = threading.Thread(target=collect)
        thread.start()
        beside.append(pushes())
        stop.set()
        thread.join()
    share = statistics.median(beside) / statistics.median(alone)
    yield (
        "pushes of 20 files each in one process beside `gc run` without a pause",
        f"{share:.0%} of what it does alone ({statistics.median(alone) / seconds:.0f} pushes/s)",
        ">= 70 %",
    )


# -- verifying everything


_VERIFY_NOTE = """\
`fs verify --all` and its peer run in turns, seven times each; medians. The peer is two processes side by side, each of
one thread: `zstd -d` of one file with the same bytes (a tar), into `b3sum`, which hashes a pipe with one thread. Every
byte is decompressed and hashed once. jvs is two processes as well, and does more: it hashes every small file for itself
(50,000 short inputs), large files as chunks and as a whole, and stored bytes against their checksums; it decodes every
page, looks up everything that is named, and first waits for a third process that walks the index."""


def verify(work: Path, scale: float) -> Iterator[Row]:
    """`fs verify --all` beside `zstd -d` into `b3sum` over the same bytes; see `_VERIFY_NOTE`."""
    store, source = work / "verify", work / "verify-source"
    source.mkdir()
    make_small(source, int(50_000 * scale))
    for number in range(4):
        (source / f"volume{number}").write_bytes(os.urandom(int(128e6 * scale)))
    _jvs(store, "init", str(store))
    _jvs(store, "push", str(source), "--label", "main")
    packed = work / "verify.zst"
    run_command(["sh", "-c", f"tar -C {source} -c . | zstd -1 -q -T2 -o {packed}"])
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for _ in range(7):
        ours.append(_jvs(store, "verify", "--all"))
        theirs.append(run_command(["sh", "-c", f"zstd -d -c {packed} | b3sum"]))
    mine, yours = (statistics.median(cost.wall for cost in costs) for costs in (ours, theirs))
    spent, theirs_spent = (statistics.median(cost.cpu for cost in costs) for costs in (ours, theirs))
    total = folder_bytes(source)
    yield (
        f"`fs verify --all` of {total / 1e6:,.0f} MB",
        f"{_seconds(mine)} ({_seconds(spent)} of CPU): {yours / mine:.2f} x the speed of `zstd -d` into `b3sum` "
        f"({_seconds(yours)}, {_seconds(theirs_spent)} of CPU)",
        ">= 0.8 x",
    )


PARTS: dict[str, Callable[[Path, float], Iterator[Row]]] = {
    "mark": mark,
    "half": half,
    "peers": peers,
    "busy": busy,
    "verify": verify,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Measure what collecting garbage costs.")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="1: the sizes that the targets name")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="the disk to measure on (default /tmp)")
    parser.add_argument("--page", type=Path, default=_PAGE, help="the page to write (default benchmarks/GC.md)")
    options = parser.parse_args(arguments)
    cpus = use_two_processors()
    kept = options.page.with_suffix(".json")
    parts: dict[str, list[Row]] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in options.only:
        parts[name] = []
        work = Path(tempfile.mkdtemp(prefix="jvs-gc-bench-", dir=options.work))
        try:
            needed = int(16 * GIB * options.scale)
            if shutil.disk_usage(work).free < needed:
                sys.exit(f"error: {work} has less than {needed / GIB:.0f} GiB free")
            for row in PARTS[name](work, options.scale):
                parts[name].append(row)
                print(*row, sep="  |  ", flush=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    machine = describe_machine("plain folder", cpus)
    kept.write_text(json.dumps(parts, indent=1) + "\n")
    rows = [row for name in PARTS for row in parts.get(name, ())]
    where = f"{machine['processor']}, {machine['memory']}, {machine['kernel']}"
    head = f"# Collecting garbage\n\nWritten by `python benchmarks/garbage.py` on {where}."
    options.page.write_text("\n".join([head, "", *table(["what", "measured", "target"], rows), _VERIFY_NOTE, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
