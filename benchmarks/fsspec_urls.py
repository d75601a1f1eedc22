"""What `jvs://` costs: `python benchmarks/fsspec_urls.py [MIB]` (1024). One line per figure."""

from __future__ import annotations

import os
import random
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable

from figures import Figures
from jvs.workspace.fsspec.filesystem import JvsFileSystem
from overlay import MIB, new_repo, seconds

FILES = 10_000


def large_file(fs: JvsFileSystem, size: int, figures: Figures) -> None:
    """Writing and reading `size` MiB that do not compress."""
    took = 0.0
    file = fs.open("main/large", "wb")
    for number in range(size):
        block = random.Random(number).randbytes(MIB)

        def write(data: bytes = block) -> None:
            file.write(data)

        took += seconds(write)
    took += seconds(file.close)
    figures.add("write and push", size / took, "MiB/s")
    for step in (MIB, MIB // 16):

        def read(step: int = step) -> None:
            with fs.open("main/large") as file:
                while file.read(step):
                    pass

        figures.add(f"read in order, {step} bytes at once", size / seconds(read), "MiB/s")


def small_files(fs: JvsFileSystem, figures: Figures) -> None:
    """Many files that are read."""
    with fs.transaction(message="small files"):
        for number in range(FILES):
            fs.pipe_file(f"main/small/{number // 100:03}/{number % 100:02}", b"%d\n" % number * 50)
    paths = fs.find("main/small")

    def each(call: Callable[[str], object]) -> float:
        return seconds(lambda: [call(path) for path in paths])

    figures.add("cat of all", FILES / seconds(lambda: fs.cat(paths)), "/s")
    figures.add("cat_file", FILES / each(fs.cat_file), "/s")
    figures.add("info", FILES / each(fs.info), "/s")
    figures.add("find with details", FILES / seconds(lambda: fs.find("main/small", detail=True)), "/s")


def calls(fs: JvsFileSystem, figures: Figures) -> None:
    """Single calls, each a push."""

    def write(path: str) -> None:
        with fs.open(path, "wb") as file:
            file.write(b"x")

    def each(name: str, call: Callable[[int], object]) -> None:
        took = statistics.median(seconds(lambda number=number: call(number)) for number in range(30))  # type: ignore[misc]
        figures.add(name, took * 1e3, "ms")

    each("pipe_file", lambda number: fs.pipe_file(f"main/piped{number}", b"x"))
    each("open, write, close", lambda number: write(f"main/written{number}"))
    each("mv", lambda number: fs.mv(f"main/piped{number}", f"main/moved{number}"))
    each("rm", lambda number: fs.rm(f"main/moved{number}"))
    with fs.transaction(message="calls"):
        each("pipe_file in a transaction", lambda number: fs.pipe_file(f"main/piped{number}", b"x"))


def main() -> None:
    """Measure everything in a temporary store."""
    figures = Figures()
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory() as parent, new_repo(parent) as repo:
        empty = os.path.join(parent, "empty")
        os.mkdir(empty)
        repo.push(empty, label="main")
        fs = JvsFileSystem(store=repo.store.path, skip_instance_cache=True)
        large_file(fs, size, figures)
        small_files(fs, figures)
        calls(fs, figures)
        fs.close()
    figures.add("most memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")


if __name__ == "__main__":
    main()
