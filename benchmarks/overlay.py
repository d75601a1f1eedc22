"""What an overlay costs, in process: `python benchmarks/overlay.py` measures and writes `OVERLAY.md`.

Everything is done several times, by a process that has the store in its page cache and Python's own caches cold: each
round opens the tree anew. The targets are those of the issue that asked for overlays.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from figures import Figures, Target, write_page
from jvs.castore.digest import Digest, file_digest
from jvs.castore.manifest import DIRECTORY, FILE, Directory, File
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from jvs.workspace.overlays import RepoOverlay, open_overlay
from jvs.workspace.repo import Repo
from measure import use_two_processors
from report import describe_machine
from volume import GIB, Yard, can_mount

MIB = 1 << 20
_PAGE = Path(__file__).resolve().parent / "OVERLAY.md"
PER_DIRECTORY = 100
_FOLDERS = 100


def small_tree(repo: Repo, count: int, label: str) -> Digest:
    """A snapshot of `count` files of some 400 bytes, 100 to a directory, 100 directories to a directory."""
    with TreeWriter(repo.objects) as writer:
        top = writer.directory()
        for upper in range(0, count, PER_DIRECTORY * _FOLDERS):
            middle = writer.directory()
            for lower in range(upper, min(count, upper + PER_DIRECTORY * _FOLDERS), PER_DIRECTORY):
                builder = writer.directory()
                for number in range(lower, min(count, lower + PER_DIRECTORY)):
                    data = b"%d\n" % number * 50
                    name = b"f%02d" % (number % PER_DIRECTORY)
                    builder.add(File(name, FILE, 0o644, len(data), file_digest(data)), data)
                middle.add(
                    Directory(b"d%02d" % (lower // PER_DIRECTORY % _FOLDERS), DIRECTORY, 0o755, *builder.finish())
                )
            top.add(Directory(b"d%04d" % (upper // (PER_DIRECTORY * _FOLDERS)), DIRECTORY, 0o755, *middle.finish()))
        tree = top.finish()
        writer.publish()
    repo.set_label(label, tree.digest.hex())
    return tree.digest


def path_of(number: int) -> str:
    """The path of a file of `small_tree`."""
    lower = number // PER_DIRECTORY
    return f"d{lower // _FOLDERS:04d}/d{lower % _FOLDERS:02d}/f{number % PER_DIRECTORY:02d}"


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def io_bytes() -> tuple[int, int]:
    """(bytes that this process read, bytes that it wrote) by system calls."""
    with open("/proc/self/io") as file:
        values = dict(line.split(": ") for line in file)
    return int(values["rchar"]), int(values["wchar"])


def peak() -> int:
    """The most memory, in bytes, that this process had since it was last asked."""
    with open("/proc/self/status") as file:
        found = next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return found * 1024


@contextmanager
def new_repo(parent: str) -> Iterator[Repo]:
    """A store for the measurements."""
    path = os.path.join(parent, "store")
    Repo.init(path, StoreSettings())
    with Repo.open(path, actor="benchmark") as repo:
        yield repo


def small_files(fs: RepoOverlay, count: int, figures: Figures) -> None:
    """stat, reading in order and at random, listing."""
    paths = [path_of(number) for number in range(min(count, 20_000))]

    def stats() -> None:
        for path in paths:
            fs.stat(path)

    def reads() -> None:
        for path in paths:
            fs.read_bytes(path)

    def opens() -> None:
        for path in paths[:10_000]:
            with fs.open(path, "rb") as file:
                file.read()

    per_second, small = Target(50_000), Target(10_000)
    figures.add("`stat`, for the first time", len(paths) / seconds(stats), "/s", per_second)
    figures.add("`stat`, again", len(paths) / seconds(stats), "/s", per_second)
    figures.add("small files in name order, `read_bytes`", len(paths) / seconds(reads), "/s", small)
    figures.add("small files in name order, opened, read, closed", len(paths[:10_000]) / seconds(opens), "/s", small)
    pick = random.Random(1)
    paths = [path_of(pick.randrange(count)) for _ in range(3_000)]
    figures.add("small files at random, `read_bytes`", len(paths) / seconds(reads), "/s", Target(2_500))
    found = 0

    def walk() -> None:
        nonlocal found
        found = sum(len(files) for _, _, files in fs.walk())

    took = seconds(walk)
    figures.add("`walk`, files", found / took, "/s")


def pushes(fs: RepoOverlay, count: int, figures: Figures) -> None:
    """100 changed files in a large tree."""
    pick = random.Random(2)
    for turn in range(3):
        for number in pick.sample(range(count), 100):
            fs.write_bytes(path_of(number), b"changed %d" % turn)
        figures.add(f"push of 100 changed files into {count:,}", seconds(fs.push) * 1e3, "ms", Target(50, most=True))


def large_files(fs: RepoOverlay, size: int, figures: Figures) -> None:
    """Writing, pushing and reading so many MiB that do not compress, in blocks of 1 MiB; editing one KiB of it."""
    block = random.Random(3).randbytes(MIB)

    def write() -> None:
        with fs.open("large", "wb", 0) as file:
            for number in range(size):
                file.write(number.to_bytes(8, "big") + block[8:])

    def read() -> None:
        with fs.open("large", "rb") as file:
            while file.read(MIB):
                pass

    megabytes = size * MIB / 1e6
    figures.add("write, in blocks of 1 MiB", megabytes / seconds(write), "MB/s", Target(400))
    figures.add("read what is not pushed", megabytes / seconds(read), "MB/s")
    figures.add("push of it", megabytes / seconds(fs.push), "MB/s")
    figures.add("read of chunked data, in order", megabytes / seconds(read), "MB/s", Target(1_000))
    edit(fs, "large", size * MIB // 2, f"1 KiB of {size} MiB of random bytes", figures, None)


def edit(fs: RepoOverlay, path: str, at: int, name: str, figures: Figures, target: Target | None) -> None:
    """Write a KiB and push. target: of the bytes read and written."""
    before = io_bytes()

    def work() -> None:
        with fs.open(path, "r+b") as file:
            file.seek(at)
            file.write(random.Random(time.time_ns()).randbytes(1024))
        fs.push()

    took = seconds(work)
    after = io_bytes()
    figures.add(f"edit {name}, and push", took, "s")
    figures.add(f"edit {name}: read", (after[0] - before[0]) / MIB, "MiB", target)
    figures.add(f"edit {name}: written", (after[1] - before[1]) / MIB, "MiB", target)


def sparse_file(fs: RepoOverlay, size: int, figures: Figures) -> None:
    """An edit in the middle of a sparse file of so many MiB."""
    with fs.open("sparse", "wb") as file:
        file.truncate(size * MIB)
    name = f"{size // 1024} GiB" if size >= 1024 else f"{size} MiB"
    figures.add(f"push {name} of zeros", seconds(fs.push), "s")
    edit(fs, "sparse", size * MIB // 2, f"1 KiB of {name}, sparse", figures, Target(20, most=True))


def opening(repo: Repo, count: int, figures: Figures) -> None:
    """What it costs to open, and to read a first file, in a process that has looked at nothing yet."""
    repo.objects.forget()
    peak()
    memory = peak()

    def work() -> None:
        with open_overlay(repo, "small") as fs:
            fs.read_bytes(path_of(count // 2))

    figures.add(f"open and first read, {count:,} files", seconds(work) * 1e3, "ms", Target(20, most=True))
    figures.add("the same: memory more", (peak() - memory) / MIB, "MiB", Target(30, most=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Measure what an overlay costs.")
    parser.add_argument("--scale", type=float, default=1.0, help="1: the sizes that the targets name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="the disk to measure on (default /tmp)")
    parser.add_argument("--page", type=Path, default=_PAGE, help="the page to write (default benchmarks/OVERLAY.md)")
    options = parser.parse_args(arguments)
    cpus = use_two_processors()
    count, large, sparse = int(100_000 * options.scale), int(256 * options.scale), int(10_240 * options.scale)
    if shutil.disk_usage(options.work).free < 8 * GIB:
        sys.exit(f"error: {options.work} has too little free space\nnext: --work DIR on another disk")
    yard = Yard(options.work, images=can_mount())
    machine = describe_machine(yard.kind, cpus)
    template, _ = yard.template(8 * GIB, 100_000, lambda root: None)
    figures = Figures()
    for _ in range(options.rounds):
        with yard.cycle(template) as ground, new_repo(str(ground.stores)) as repo:
            small_tree(repo, count, "small")
            opening(repo, count, figures)
            with open_overlay(repo, "small") as fs:
                small_files(fs, count, figures)
                pushes(fs, count, figures)
                large_files(fs, large, figures)
                sparse_file(fs, sparse, figures)
    text = [
        f"{count:,} files of some 400 bytes in {count // PER_DIRECTORY:,} directories; medians of {options.rounds} "
        "rounds, each with a new store and a new overlay. The store is in the page cache, what Python keeps of it is "
        "not. MB/s are 10^6 bytes."
    ]
    write_page(options.page, "Overlays, in process", "overlay.py", machine, [text, figures.table()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
