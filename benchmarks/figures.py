"""Figures beside their targets, measured several times, and the page that says them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from report import table


@dataclass(frozen=True)
class Target:
    """The least (or, of a cost, the most) that the median is to be."""

    limit: float
    most: bool = False

    def words(self, unit: str) -> str:
        """As the page has it."""
        return f"{'<=' if self.most else '>='} {self.limit:,g}{spaced(unit)}"

    def met(self, value: float) -> bool:
        """Whether a figure is good enough."""
        return value <= self.limit if self.most else value >= self.limit


@dataclass
class Figure:
    """One figure: what was measured, its unit, what it is to be, and every measurement."""

    what: str
    unit: str
    target: Target | None = None
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.samples)

    def row(self) -> list[str]:
        """Of the table: what, the median, the range, the target, the verdict."""
        spread = f"{amount(min(self.samples), '')} to {amount(max(self.samples), self.unit)}"
        words = verdict = ""
        if self.target is not None:
            words = self.target.words(self.unit)
            verdict = "met" if self.target.met(self.median) else "**missed**"
        return [self.what, amount(self.median, self.unit), spread, words, verdict]


class Figures:
    """Figures by what they are of, in the order in which they were first measured."""

    def __init__(self) -> None:
        self._all: dict[str, Figure] = {}

    def add(self, what: str, value: float, unit: str, target: Target | None = None) -> None:
        """One measurement more; also printed, since the whole takes minutes."""
        self._all.setdefault(what, Figure(what, unit, target)).samples.append(value)
        print(f"{what:<64} {amount(value, unit):>14}", flush=True)

    def table(self) -> list[str]:
        """Lines of Markdown."""
        return table(["what", "median", "from .. to", "target", "verdict"], (one.row() for one in self._all.values()))


def amount(value: float, unit: str) -> str:
    """A figure with three significant digits."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{spaced(unit)}"


def spaced(unit: str) -> str:
    """A unit, as it follows a number."""
    return f" {unit}" if unit and not unit.startswith("/") else unit


def write_page(page: Path, title: str, script: str, machine: Mapping[str, str], text: Iterable[Sequence[str]]) -> None:
    """Write a page: where it was measured, then the paragraphs and tables that are given, each a list of lines."""
    where = f"{machine['processor']}, {machine['memory']}, {machine['kernel']}, Python {machine['python']}"
    load = f"load before: {machine['load before']}"
    lines = [
        f"# {title}",
        "",
        f"Written by `python benchmarks/{script}` on {where}; {machine['file system']}; {load}.",
        "",
    ]
    for paragraph in text:
        lines += [*paragraph, *([""] if paragraph[-1] else [])]
    page.write_text("\n".join(lines))
