"""Merging two snapshots of many files that differ in few: `python benchmarks/merge_trees.py [--files 100000]`.

In process, on a local store below --work: reading, merging and writing the pages (publishing, one durable commit, is
timed apart). `cold` forgets every decoded page before each round, `warm` has those of the round before. Beside it
`git merge-tree --write-tree` on the same trees, a process of its own with the time git itself takes (`git version`
takes as long to start). Prints a table; medians and the slowest round, in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jvs.castore.digest import Digest, file_digest
from jvs.castore.local.store import LocalStore
from jvs.castore.manifest import DIRECTORY, FILE, Directory, File
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter
from jvs.merge import Rules, TreeMerge, merge_trees
from jvs.merge.drivers.chain import merge_content

Edits = dict[int, bytes]
"""New content by number of the file."""


def content(number: int) -> bytes:
    """What file `number` holds before anybody edits it."""
    return b"".join(b"line %d of file %d\n" % (line, number) for line in range(20))


def folder_of(number: int, each: int) -> tuple[bytes, bytes]:
    """(directory, name) of file `number` when directories hold `each` files."""
    return b"d%05d" % (number // each), b"f%06d.txt" % number


def sides(files: int) -> tuple[Edits, Edits]:
    """Twenty paths differ: nine only ours, nine only theirs, and two both sides edited, at different lines."""
    picked = [number * files // 20 + 7 for number in range(20)]
    ours = {number: content(number).replace(b"line 1 ", b"ours 1 ") for number in (*picked[:9], *picked[18:])}
    theirs = {number: content(number).replace(b"line 15 ", b"theirs ") for number in picked[9:]}
    return ours, theirs


class Store:
    """A local store with a base and edits of it."""

    def __init__(self, where: Path, files: int, each: int) -> None:
        self.local = LocalStore.create(where)
        self.objects = ObjectStore(self.local, self.local.settings)
        self._each = each
        with TreeWriter(self.objects) as writer:
            root = writer.directory()
            for first in range(0, files, each):
                directory = writer.directory()
                for number in range(first, min(files, first + each)):
                    data = content(number)
                    name = folder_of(number, each)[1]
                    directory.add(File(name, FILE, 0o644, len(data), file_digest(data)), data)
                root.add(Directory(folder_of(first, each)[0], DIRECTORY, 0o755, *directory.finish()))
            self.base = root.finish().digest
            writer.publish()

    def edited(self, edits: Edits) -> Digest:
        """The base with some files' contents replaced."""
        root = self.base
        for number, data in edits.items():
            folder, name = folder_of(number, self._each)
            with TreeWriter(self.objects) as writer:
                entry = File(name, FILE, 0o644, len(data), file_digest(data))
                below = writer.edit(self.objects.subtree(root, (folder,)), {name: entry}, {entry.digest: data})
                root = writer.edit(root, {folder: Directory(folder, DIRECTORY, 0o755, *below)}).digest
                writer.publish()
        return root

    def merge(self, ours: Digest, theirs: Digest) -> tuple[TreeMerge, float, float]:
        """(the merge, seconds to merge, seconds to publish)."""
        with TreeWriter(self.objects) as writer:
            writer.work_alone()
            start = time.perf_counter()
            merged = merge_trees(writer, self.base, ours, theirs, Rules(merge_content))
            middle = time.perf_counter()
            writer.publish()
            return merged, middle - start, time.perf_counter() - middle


def git_times(where: Path, files: int, each: int, edits: tuple[Edits, Edits], rounds: int) -> tuple[list[float], str]:
    """(seconds of each round of `git merge-tree`, the merged file that both sides edited, as git has it)."""

    def lines() -> Iterator[bytes]:
        for number in range(files):
            yield b"blob\nmark :%d\ndata %d\n%s\n" % (number + 1, len(content(number)), content(number))
        for mark, (name, parent, changed) in enumerate(
            ((b"base", 0, None), (b"ours", 1, edits[0]), (b"theirs", 1, edits[1])), 1
        ):
            yield b"commit refs/heads/%s\nmark :%d\n" % (name, files + mark)
            yield b"committer a <a@b> %d +0000\ndata 0\n" % (1_000_000 + mark)
            if parent:
                yield b"from :%d\n" % (files + parent)
            for number in range(files) if changed is None else changed:
                path = b"/".join(folder_of(number, each))
                if changed is None:
                    yield b"M 100644 :%d %s\n" % (number + 1, path)
                else:
                    yield b"M 100644 inline %s\ndata %d\n%s\n" % (path, len(changed[number]), changed[number])
        yield b"done\n"

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=where, check=True, stdout=subprocess.PIPE).stdout

    where.mkdir()
    git("init", "-q", "--bare", ".")
    with subprocess.Popen(["git", "fast-import", "--quiet", "--done"], cwd=where, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.writelines(lines())
    times, tree = [], b""
    for _ in range(rounds):
        start = time.perf_counter()
        tree = git("merge-tree", "--write-tree", "ours", "theirs")
        times.append(time.perf_counter() - start)
    both = b"/".join(folder_of(max(edits[0].keys() & edits[1].keys()), each)).decode()
    return times, git("cat-file", "blob", f"{tree.decode().strip()}:{both}").decode()


def measure(work: Path, files: int, each: int, rounds: int) -> Iterator[tuple[str, list[float]]]:
    """(what, seconds of each round) for directories of `each` files."""
    edits = sides(files)
    store = Store(work / f"store-{each}", files, each)
    with store.local:
        ours, theirs = store.edited(edits[0]), store.edited(edits[1])
        results: dict[str, list[float]] = {"jvs, cold": [], "jvs, warm": [], "jvs, publish": []}
        forget: dict[str, Callable[[], None]] = {"jvs, cold": store.objects.forget, "jvs, warm": lambda: None}
        merged = None
        for name, before in forget.items():
            for _ in range(rounds):
                before()
                merged, spent, published = store.merge(ours, theirs)
                results[name].append(spent)
                results["jvs, publish"].append(published)
        assert merged is not None
        assert merged.clean
        folder, path = folder_of(max(edits[0].keys() & edits[1].keys()), each)
        page, entry = store.objects.resolve(merged.tree.digest, (folder, path))
        assert entry[1] == FILE
        text = b"".join(store.objects.read(page, entry)).decode()
        results["git merge-tree"], theirs_text = git_times(work / f"git-{each}", files, each, edits, rounds)
        assert text == theirs_text, "jvs and git do not agree"
    yield from results.items()


def main() -> int:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", type=Path, help="where the stores go (default: a temporary directory)")
    options = parser.parse_args()
    print("| files | in directories of | what | median ms | slowest ms |\n|---:|---:|---|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="jvs-merge-", dir=options.work) as work:
        for each in (25, 1_000):
            for what, times in measure(Path(work), options.files, each, options.rounds):
                middle, slowest = 1000 * statistics.median(times), 1000 * max(times)
                print(f"| {options.files} | {each} | {what} | {middle:.1f} | {slowest:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
