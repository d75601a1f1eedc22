"""What is measured: the cases, and the order in which one tool goes through one of them on one fresh ground."""

from __future__ import annotations

import filecmp
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets import (
    ALL_PACKAGES,
    MIB,
    SOME_PACKAGES,
    Packages,
    TreeInfo,
    big_file_name,
    edit_files,
    insert_into_file,
    make_big,
    make_mixed,
    make_small,
)
from measure import Cost
from tools import TOOLS, Copy, Tar, Tool
from volume import GIB, Yard, sync_filesystem, warm

UNCHANGED_RUNS = 3


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        case, work, tool: what was measured, e.g. ("small", "first push", "git").
        repeat: the number of the cycle, from 0.
        wall, cpu: seconds. anonymous: bytes, see `Cost`.
        sync: seconds that writing out what the command left unwritten took afterwards; not in `wall`.
        stored: bytes of the store afterwards (`Stored.total`); 0 for a pull.
        added, added_index: growth of data and of LMDB's files by this work, bytes.
    """

    case: str
    work: str
    tool: str
    repeat: int
    wall: float
    cpu: float
    anonymous: int
    sync: float = 0.0
    stored: int = 0
    added: int = 0
    added_index: int = 0


@dataclass(frozen=True)
class Case:
    """A data set and what is done with it.

    Attributes:
        fill: writes the source tree.
        inodes: of the image that holds source, one store and one pulled tree.
        edit: changes the tree; its push is called `edit_name`.
        unchanged: measure a push of the unchanged tree as well.
    """

    name: str
    fill: Callable[[Path], TreeInfo]
    inodes: int
    edit: Callable[[Path], object] | None = None
    edit_name: str = ""
    unchanged: bool = False


@dataclass(frozen=True)
class Scale:
    """How large everything is. `full` is what the targets are meant for."""

    small_files: int
    big_file_bytes: int
    packages: Packages | None
    image_bytes: int
    repeats: int
    label_seconds: float
    startup_runs: int


SCALES: Mapping[str, Scale] = {
    "full": Scale(100_000, 256 * MIB, ALL_PACKAGES, 12 * GIB, 3, 2.0, 30),
    "quick": Scale(10_000, 32 * MIB, SOME_PACKAGES, 3 * GIB, 1, 0.5, 10),
    "smoke": Scale(200, 2 * MIB, None, 2 * GIB, 1, 0.05, 2),
}


def tree_cases(scale: Scale, cache: Path) -> Mapping[str, Case]:
    """The cases with a tree, by name."""
    cases = (
        Case(
            "small",
            lambda root: make_small(root, scale.small_files),
            8 * scale.small_files + 20_000,
            edit=lambda root: edit_files(root, scale.small_files),
            edit_name="10 small edits",
            unchanged=True,
        ),
        Case(
            "big",
            lambda root: make_big(root, scale.big_file_bytes),
            100_000,
            edit=lambda root: insert_into_file(root / big_file_name(0)),
            edit_name="1 KiB inserted twice",
        ),
        Case("mixed", lambda root: make_mixed(root, cache, scale.packages), 500_000),
    )
    return {case.name: case for case in cases}


def _tree(root: Path, *, empty_directories: bool) -> Iterator[tuple[str, str]]:
    """Every path below `root` with a letter for its kind, in order."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        if empty_directories and not folders and not names:
            yield os.path.relpath(folder, root), "d"
        for name in sorted(names):
            path = os.path.join(folder, name)
            yield os.path.relpath(path, root), "l" if os.path.islink(path) else "f"


def verify_pull(source: Path, pulled: Path, *, empty_directories: bool) -> None:
    """Compare two trees byte for byte, with the x bits of files.

    Raises:
        RuntimeError: they differ; names the first path.
    """
    names = sorted(_tree(source, empty_directories=empty_directories))
    if names != sorted(_tree(pulled, empty_directories=empty_directories)):
        raise RuntimeError(f"{pulled} does not hold the same paths as the source")
    for name, kind in names:
        one, other = source / name, pulled / name
        if kind == "l":
            same = os.readlink(one) == os.readlink(other)
        elif kind == "f":
            same_mode = (one.stat().st_mode ^ other.stat().st_mode) & stat.S_IXUSR == 0
            same = same_mode and filecmp.cmp(one, other, shallow=False)
        else:
            same = True
        if not same:
            raise RuntimeError(f"{other} differs from the source")


class Cycle:
    """One tool's way through one case; `samples` collects what it measured."""

    def __init__(self, case: Case, tool: Tool, repeat: int, *, verify: bool) -> None:
        self._case = case
        self._tool = tool
        self._repeat = repeat
        self._verify = verify
        self.samples: list[Sample] = []

    def _measure(self, work: str, act: Callable[[], Cost], *, stores: bool) -> None:
        tool = self._tool
        before = tool.stored()
        sync_filesystem(tool.ground.source)
        cost = act()
        sync = sync_filesystem(tool.ground.source)
        after = tool.stored()
        self.samples.append(
            Sample(
                self._case.name,
                work,
                tool.name,
                self._repeat,
                cost.wall,
                cost.cpu,
                cost.anonymous,
                sync,
                after.total if stores else 0,
                after.data - before.data if stores else 0,
                after.index - before.index if stores else 0,
            )
        )

    def _pull(self) -> None:
        tool = self._tool
        target = tool.ground.pulls / tool.name
        target.mkdir()
        self._measure("full pull", lambda: tool.pull(target), stores=False)
        if self._verify:
            verify_pull(tool.ground.source, target, empty_directories=tool.keeps_empty_directories)

    def run(self) -> None:
        """First push, the same again, pull, edit, push: all that the case has."""
        case, tool = self._case, self._tool
        tool.create()
        if isinstance(tool, Copy):
            self._pull()
            return
        self._measure("first push", tool.push, stores=True)
        if isinstance(tool, Tar):
            self._pull()
            return
        if case.unchanged:
            tool.push_unchanged()  # everybody's stat index settles
            for _ in range(UNCHANGED_RUNS):
                self._measure("nothing changed", tool.push_unchanged, stores=True)
        self._pull()
        if case.edit:
            case.edit(tool.ground.source)
            warm(tool.ground.source)
            self._measure(case.edit_name, tool.push, stores=True)


def run_case(
    yard: Yard, case: Case, tools: list[str], repeats: int, image_bytes: int, *, say: Callable[[str], None]
) -> tuple[TreeInfo, list[Sample]]:
    """Take every tool through the case `repeats` times, in turn, starting with another one each time."""
    started = time.perf_counter()
    template, tree = yard.template(image_bytes, case.inodes, case.fill)
    say(f"{case.name}: {tree.files:,} files, {tree.bytes / 1e6:,.0f} MB ({time.perf_counter() - started:.0f} s)")
    samples: list[Sample] = []
    for repeat in range(repeats):
        turn = repeat % len(tools)
        for name in tools[turn:] + tools[:turn]:
            with yard.cycle(template) as ground:
                cycle = Cycle(case, TOOLS[name](ground), repeat, verify=repeat == 0)
                cycle.run()
            samples.extend(cycle.samples)
            for sample in cycle.samples:
                say(
                    f"  {sample.tool:7}{sample.work:22}{sample.wall:8.2f} s {sample.cpu:8.2f} s CPU"
                    f"{sample.anonymous / 1e6:7.0f} MB  sync {sample.sync:5.2f} s"
                    + (f"  stored {sample.stored:>13,}  added {sample.added:>13,}" if sample.stored else "")
                )
    return tree, samples
