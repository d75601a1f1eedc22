"""What an overlay costs: `python benchmarks/overlay.py [FILES]` (100000). One line per figure, beside its target."""

from __future__ import annotations

import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jvs.castore.digest import Digest, file_digest
from jvs.castore.manifest import DIRECTORY, FILE, Directory, File
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from jvs.workspace.overlays import RepoOverlay, open_overlay
from jvs.workspace.repo import Repo

MIB = 1 << 20
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


def show(name: str, value: float, unit: str, target: str) -> None:
    """One line."""
    print(f"{name:<58} {value:>12,.1f} {unit:<8} {target}", flush=True)


@contextmanager
def new_repo(parent: str) -> Iterator[Repo]:
    """A store for the measurements."""
    path = os.path.join(parent, "store")
    Repo.init(path, StoreSettings())
    with Repo.open(path, actor="benchmark") as repo:
        yield repo


def small_files(fs: RepoOverlay, count: int) -> None:
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

    show("stat, first time", len(paths) / seconds(stats), "/s", ">= 50,000")
    show("stat, again", len(paths) / seconds(stats), "/s", ">= 50,000")
    show("read_bytes of small files in name order", len(paths) / seconds(reads), "/s", ">= 10,000")
    show("open, read, close of small files in name order", len(paths[:10_000]) / seconds(opens), "/s", ">= 10,000")
    pick = random.Random(1)
    paths = [path_of(pick.randrange(count)) for _ in range(3_000)]
    show("read_bytes at random", len(paths) / seconds(reads), "/s", ">= 2,500")
    found = 0

    def walk() -> None:
        nonlocal found
        found = sum(len(files) for _, _, files in fs.walk())

    took = seconds(walk)
    show("walk", found / took, "files/s", "")


def pushes(fs: RepoOverlay, count: int) -> None:
    """100 changed files in a large tree."""
    pick = random.Random(2)
    for turn in range(3):
        for number in pick.sample(range(count), 100):
            fs.write_bytes(path_of(number), b"changed %d" % turn)
        show("push of 100 changed files", seconds(fs.push) * 1e3, "ms", "<= 50")


def large_files(fs: RepoOverlay) -> None:
    """Writing, pushing and reading 256 MiB that do not compress, in blocks of 1 MiB; editing one KiB of it."""
    block = random.Random(3).randbytes(MIB)
    size = 256

    def write() -> None:
        with fs.open("large", "wb", 0) as file:
            for number in range(size):
                file.write(number.to_bytes(8, "big") + block[8:])

    def read() -> None:
        with fs.open("large", "rb") as file:
            while file.read(MIB):
                pass

    show("write", size / seconds(write), "MiB/s", ">= 400")
    show("read back what is not pushed", size / seconds(read), "MiB/s", "")
    show("push", size / seconds(fs.push), "MiB/s", "")
    show("read of chunked data, in order", size / seconds(read), "MiB/s", ">= 1,000")
    edit(fs, "large", size * MIB // 2, "1 KiB of 256 MiB")


def edit(fs: RepoOverlay, path: str, at: int, name: str) -> None:
    """Write a KiB and push."""
    before = io_bytes()

    def work() -> None:
        with fs.open(path, "r+b") as file:
            file.seek(at)
            file.write(random.Random(4).randbytes(1024))
        fs.push()

    took = seconds(work)
    after = io_bytes()
    show(f"edit {name} and push", took, "s", "")
    show("... bytes read", (after[0] - before[0]) / MIB, "MiB", "< 20 (sparse)")
    show("... bytes written", (after[1] - before[1]) / MIB, "MiB", "< 20")


def sparse_file(fs: RepoOverlay, gigabytes: int) -> None:
    """An edit in the middle of a sparse file."""
    with fs.open("sparse", "wb") as file:
        file.truncate(gigabytes << 30)
    show(f"push {gigabytes} GiB of zeros", seconds(fs.push), "s", "")
    edit(fs, "sparse", gigabytes << 29, f"1 KiB of {gigabytes} GiB")


def opening(repo: Repo, count: int) -> None:
    """What it costs to open, and to read a first file, in a process that has looked at nothing yet."""
    repo.objects.forget()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def work() -> None:
        with open_overlay(repo, "small") as fs:
            fs.read_bytes(path_of(count // 2))

    show(f"open and first read, {count:,} files", seconds(work) * 1e3, "ms", "<= 20")
    show("... memory", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024, "MiB", "<= 30")


def main() -> None:
    """Measure everything in a temporary store."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    gigabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    with tempfile.TemporaryDirectory() as parent, new_repo(parent) as repo:
        small_tree(repo, count, "small")
        opening(repo, count)
        with open_overlay(repo, "small") as fs:
            small_files(fs, count)
            pushes(fs, count)
            large_files(fs)
            sparse_file(fs, gigabytes)


if __name__ == "__main__":
    main()
