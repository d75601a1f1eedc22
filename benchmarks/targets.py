"""The targets of the project, as data: what is compared with what, and by how much."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tools import PEERS
from works import Sample

Metric = Literal["wall", "cpu", "anonymous", "stored", "added"]

# (case, work, tool) -> metric -> median over the repeats, of memory the highest
Medians = Mapping[tuple[str, str, str], Mapping[Metric, float]]


def medians_of(samples: Iterable[Sample]) -> Medians:
    """The medians of all samples of the same case, work and tool; of memory, the highest."""
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.case, sample.work, sample.tool), []).append(sample)
    return {
        key: {
            "wall": statistics.median(one.wall for one in group),
            "cpu": statistics.median(one.cpu for one in group),
            "anonymous": max(one.anonymous for one in group),
            "stored": statistics.median(one.stored for one in group),
            "added": statistics.median(one.added for one in group),
        }
        for key, group in groups.items()
    }


@dataclass(frozen=True)
class Target:
    """jvs's `metric` in (case, work) is to be at most `limit` times that of the best of `against`.

    Attributes:
        against: tools; empty when `limit` is an absolute value in the metric's unit (seconds or bytes).
        faster: written as "x times faster", with `limit` as that x: then jvs is to be at most 1/x.
    """

    title: str
    case: str
    work: str
    limit: float
    against: tuple[str, ...] = ()
    metric: Metric = "wall"
    faster: bool = False

    @property
    def words(self) -> str:
        """The target in a few words."""
        if not self.against:
            return f"<= {_amount(self.metric, self.limit)}"
        who = self.against[0] if len(self.against) == 1 else "best of " + ", ".join(self.against)
        if self.faster:
            return f">= {self.limit:g}x faster than {who}"
        return f"<= {who}" if self.limit == 1 else f"<= {self.limit:g}x {who}"


@dataclass(frozen=True)
class Outcome:
    """What came of a target: `ratio` is None for an absolute one, `met` None when it was not measured."""

    target: Target
    jvs: str = "-"
    other: str = "-"
    ratio: float | None = None
    met: bool | None = None


def _amount(metric: Metric, value: float) -> str:
    """A value with its unit, short."""
    if metric in ("wall", "cpu"):
        if value < 0.01:
            return f"{value * 1e6:.0f} us"
        return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value / 1000:,.0f} KB" if value < 1e6 else f"{value / 1e6:,.1f} MB"


def judge(target: Target, medians: Medians) -> Outcome:
    """Hold a target against the medians of one run."""
    mine = medians.get((target.case, target.work, "jvs"))
    if mine is None:
        return Outcome(target)
    value = mine[target.metric]
    shown = _amount(target.metric, value)
    if not target.against:
        return Outcome(target, shown, met=value <= target.limit)
    others = {
        tool: medians[target.case, target.work, tool][target.metric]
        for tool in target.against
        if (target.case, target.work, tool) in medians
    }
    if not others:
        return Outcome(target, shown)
    best = min(others, key=lambda tool: others[tool])
    ratio = (others[best] / value if value else float("inf")) if target.faster else value / others[best]
    met = ratio >= target.limit if target.faster else ratio <= target.limit
    return Outcome(target, shown, f"{best} {_amount(target.metric, others[best])}", ratio, met)


_MEMORY_LIMIT = 300 * 1000 * 1000
_TREES = {
    "small": "100,000 small files",
    "big": "2 GiB in 8 files",
    "mixed": "site-packages + node_modules",
}


def _trees() -> Iterable[Target]:
    first = {"small": 3.0, "big": 2.0, "mixed": 2.2}
    floor = {"small": 1.15, "big": 1.0}
    for case, tree in _TREES.items():
        yield Target(f"first push, {tree}", case, "first push", first[case], PEERS, faster=True)
        if case in floor:
            yield Target(f"first push, {tree}", case, "first push", floor[case], ("tar",))
    for work, least, title in (
        ("nothing changed", 7.0, "push again, nothing changed"),
        ("10 small edits", 5.0, "push after 10 small edits"),
    ):
        yield Target(title, "small", work, least, ("restic", "borg"), faster=True)
        yield Target(title, "small", work, 1.5, ("git",))
    yield Target("bytes added by 10 small edits", "small", "10 small edits", 1.0, ("restic",), "added")
    yield Target("the same, the aim", "small", "10 small edits", 1.0, ("git",), "added")
    insert = "1 KiB inserted twice"
    yield Target("push after 1 KiB inserted in front and middle", "big", insert, 2.0, PEERS, faster=True)
    yield Target("bytes added by it", "big", insert, 5e6, (), "added")
    for case, tree in _TREES.items():
        yield Target(f"full pull, {tree}", case, "full pull", 2.0, PEERS, faster=True)
        yield Target(f"full pull, {tree}", case, "full pull", 1.2, ("cp", "tar"))
    for case, tree in _TREES.items():
        yield Target(f"stored bytes, {tree}", case, "first push", 1.0, ("restic",), "stored")
    for case, works in {
        "small": ("first push", "nothing changed", "10 small edits", "full pull"),
        "big": ("first push", insert, "full pull"),
        "mixed": ("first push", "full pull"),
    }.items():
        for work in works:
            yield Target(f"peak memory, {case}, {work}", case, work, _MEMORY_LIMIT, (), "anonymous")


TARGETS: tuple[Target, ...] = (
    *_trees(),
    # A rate of at least 80 % is a time of at most 1 / 0.8.
    Target("durable label move, one process", "labels", "durable label move", 1.25, ("bare LMDB commit",)),
    Target("CPU time of `jvs --help`", "startup", "jvs --help", 0.060, (), "cpu"),
    Target("CPU time of `jvs fs ls`", "startup", "jvs fs ls", 0.060, (), "cpu"),
)
