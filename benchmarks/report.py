"""RESULTS.json, RESULTS.md and the plot."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from targets import TARGETS, judge, medians_of
from tools import TOOLS
from works import UNCHANGED_RUNS, Sample

_BY_HAND = "<!-- below this line: written by hand, kept by run.py -->"


@dataclass
class CaseResult:
    """What one case gave: when (UTC), on what tree, and every sample."""

    at: str
    tree: Mapping[str, object]
    samples: list[Sample]


@dataclass
class Results:
    """Everything RESULTS.json holds. `mode` is "full" or "quick"; `machine` and `versions` are for people."""

    mode: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    cases: dict[str, CaseResult] = field(default_factory=dict)

    @property
    def samples(self) -> list[Sample]:
        """The samples of all cases."""
        return [sample for case in self.cases.values() for sample in case.samples]


def load_results(path: Path) -> Results | None:
    """Read what an earlier run wrote; None when there is nothing."""
    if not path.exists():
        return None
    raw = json.loads(path.read_text())
    cases = {
        name: CaseResult(case["at"], case["tree"], [Sample(**sample) for sample in case["samples"]])
        for name, case in raw["cases"].items()
    }
    return Results(raw["mode"], raw["machine"], raw["versions"], cases)


def save_results(results: Results, path: Path) -> None:
    """Write RESULTS.json, one sample to a line."""
    lines = json.dumps(asdict(results), indent=1).replace("\n     ", " ").replace("\n    }", " }")
    path.write_text(lines + "\n")


def describe_machine(ground: str, cpus: Iterable[int]) -> Mapping[str, str]:
    """The machine in words: what matters for the numbers, no names."""
    model = platform.machine()
    memory = 0.0
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "processor": f"{model}, {len(list(cpus))} cores used",
        "memory": f"{memory:.0f} GB",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "file system": ground,
        "load before": f"{os.getloadavg()[0]:.2f} (one minute's average)",
    }


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> list[str]:
    """A Markdown table and an empty line; its first `words` columns are text, the others numbers, to the right."""
    rule = [":--" if number < words else "--:" for number in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)] + [""]


def target_rows(results: Results) -> list[list[str]]:
    """The rows of the table of targets."""
    medians = medians_of(results.samples)
    rows = []
    for target in TARGETS:
        outcome = judge(target, medians)
        verdict = {True: "met", False: "**missed**", None: "not measured"}[outcome.met]
        ratio = "" if outcome.ratio is None else f"{outcome.ratio:.2f}x"
        rows.append([target.title, target.words, verdict, outcome.jvs, outcome.other, ratio])
    return rows


def _spread(values: Sequence[float]) -> str:
    middle = statistics.median(values)
    digits = 2 if middle >= 0.1 else 4
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _measurements(case: CaseResult) -> list[str]:
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in case.samples:
        groups.setdefault((sample.work, sample.tool), []).append(sample)
    tools = list(TOOLS)
    works = list(dict.fromkeys(work for work, _ in groups))
    rows = []
    for work, tool in sorted(
        groups, key=lambda key: (works.index(key[0]), tools.index(key[1]) if key[1] in tools else -1)
    ):
        group = groups[work, tool]
        anonymous = max(sample.anonymous for sample in group)
        stored = statistics.median(sample.stored for sample in group)
        added = statistics.median(sample.added for sample in group)
        index = statistics.median(sample.added_index for sample in group)
        rows.append(
            [
                f"{work}: {tool}",
                _spread([sample.wall for sample in group]),
                f"{statistics.median(sample.cpu for sample in group):.3f}",
                f"{statistics.median(sample.sync for sample in group):.2f}",
                f"{anonymous / 1e6:.0f}" if anonymous else "",
                f"{added:,.0f}" + (f" + LMDB {index:,.0f}" if index else "") if stored else "",
                f"{stored:,.0f}" if stored else "",
            ]
        )
    head = ["work: tool", "wall s", "CPU s", "sync s", "peak MB", "added bytes", "stored bytes"]
    return table(head, rows)


def render(results: Results, *, plot: str | None) -> str:
    """RESULTS.md as text; `plot` is the file name of the plot beside it."""
    lines = [
        "# Benchmark results",
        "",
        "Written by `python benchmarks/run.py`; how it measures is told in [README.md](README.md).",
        "",
    ]
    if results.mode != "full":
        lines += [f"**The {results.mode} form**: its trees are much smaller than those the targets are meant for.", ""]
    lines += [f"* {name}: {value}" for name, value in results.machine.items()]
    lines += [f"* {name}: {value}" for name, value in results.versions.items()]
    lines += ["", "## Targets", ""]
    lines += table(["work", "target", "verdict", "jvs", "compared with", "ratio"], target_rows(results), words=3)
    if plot:
        lines += [f"![Seconds by work and tool]({plot})", ""]
    lines += [
        "## All measurements",
        "",
        f"Medians, with the range in brackets. A push of the unchanged tree ran {UNCHANGED_RUNS} times in each cycle. "
        "*sync*: what writing out the file system took after the command had ended, which is not in its wall time: "
        "jvs, restic and borg have synced by then, git in part, tar and cp nothing. *peak*: the highest anonymous "
        "memory of the whole process tree, looked at 20 times a second. *added*: growth of the store, that of LMDB's "
        "files apart.",
        "",
    ]
    for name, case in results.cases.items():
        lines += [f"### {name}", "", f"{_tree_words(case.tree)} Measured {case.at}.", "", *_measurements(case)]
    return "\n".join(lines)


def _tree_words(tree: Mapping[str, object]) -> str:
    if not tree:
        return ""
    return "{files:,} files, {directories:,} directories, {bytes:,} bytes: {origin}.".format(**tree)


def write_report(results: Results, folder: Path) -> list[Path]:
    """Write RESULTS.json, RESULTS.md and, where matplotlib is installed, the plot; returns what was written.

    What people added to RESULTS.md below its marker line is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_results(results, folder / "RESULTS.json")
    plot = folder / "results.svg"
    drawn = draw_plot(results, plot)
    page = folder / "RESULTS.md"
    by_hand = page.read_text().partition(_BY_HAND)[2] if page.exists() else "\n"
    page.write_text(render(results, plot=plot.name if drawn else None) + "\n" + _BY_HAND + by_hand)
    return [page, folder / "RESULTS.json", *([plot] if drawn else [])]


def draw_plot(results: Results, path: Path) -> bool:
    """Draw wall time by work and tool as horizontal bars; False when matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    from matplotlib import pyplot

    medians = medians_of(sample for sample in results.samples if sample.case in ("small", "big", "mixed"))
    works = list(dict.fromkeys((case, work) for case, work, _ in medians))
    if not works:
        return False
    colours = dict(zip(TOOLS, ("#d62728", "#f4a261", "#2a9d8f", "#457b9d", "#999999", "#cccccc"), strict=True))
    figure, axes = pyplot.subplots(figsize=(9, 1 + 1.1 * len(works)))
    bar = 0.8 / len(TOOLS)
    for place, (case, work) in enumerate(works):
        tools = [tool for tool in TOOLS if (case, work, tool) in medians]
        for number, tool in enumerate(tools):
            seconds = medians[case, work, tool]["wall"]
            height = place - bar * (len(tools) - 1) / 2 + bar * number
            axes.barh(height, seconds, bar * 0.9, color=colours[tool])
            axes.text(seconds, height, f" {tool} {seconds:.2f}", va="center", fontsize=7)
    axes.set_yticks(range(len(works)), [f"{case}\n{work}" for case, work in works], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("seconds (logarithmic; shorter is better)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True
