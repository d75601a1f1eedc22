"""The benchmarks, in one command: `python benchmarks/run.py [--quick]`. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from measure import CommandFailed, use_two_processors
from processes import label_samples, startup_samples
from report import CaseResult, Results, describe_machine, load_results, target_rows, write_report
from tools import PEERS, TOOLS, Jvs
from volume import Yard, can_mount
from works import SCALES, run_case, tree_cases

CASES = ("small", "big", "mixed", "labels", "startup")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure jvs beside git, restic, borg, tar and cp.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_true", help="tiny trees: only whether it all runs")
    size.add_argument("--quick", action="store_true", help="trees about ten times smaller, one repeat")
    size.add_argument("--full", action="store_true", help="the sizes the targets are meant for (the default)")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--repeat", type=int, help="cycles of every tool (default 3, else 1)")
    parser.add_argument("--peers", default="git,restic,borg,tar", help="comma-separated; tar stands for tar and cp")
    parser.add_argument("--no-jvs", action="store_true", help="measure the peers alone")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="the disk to measure on (default /tmp)")
    parser.add_argument(
        "--out", type=Path, help="where RESULTS.md goes (default: beside this file; for --quick and --smoke the cache)"
    )
    return parser.parse_args(arguments)


def _tools(peers: str, *, jvs: bool) -> tuple[list[str], dict[str, str]]:
    """The tools to run, with their versions; says which are not installed."""
    wanted = ["jvs"] if jvs else []
    for name in peers.split(","):
        if name not in (*PEERS, "tar"):
            sys.exit(f"error: no peer is called {name!r}\nnext: --peers {','.join((*PEERS, 'tar'))}")
        wanted += ["tar", "cp"] if name == "tar" else [name]
    versions: dict[str, str] = {}
    for name in wanted:
        version = TOOLS[name].version()
        if version is None:
            _say(f"{name} is not installed: left out")
        else:
            versions[name] = version
    return list(versions), versions


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    options = _arguments(arguments)
    cache = Path(os.environ.get("JVS_BENCH_CACHE") or Path.home() / ".cache" / "jvs-bench")
    mode = "smoke" if options.smoke else "quick" if options.quick else "full"
    scale = SCALES[mode]
    out = options.out or (Path(__file__).resolve().parent if mode == "full" else cache / mode)
    cpus = use_two_processors()
    Jvs.compile()
    tools, versions = _tools(options.peers, jvs=not options.no_jvs)
    yard = Yard(options.work, images=can_mount())
    results = Results(mode, describe_machine(yard.kind, cpus), versions)
    earlier = load_results(out / "RESULTS.json")
    if earlier and earlier.mode == mode:  # every case is compared within itself, so the others may stay
        results.cases.update(earlier.cases)
    trees = tree_cases(scale, cache)
    written: list[Path] = []
    for name in (case for case in CASES if case in options.only):
        if name in trees:
            info, samples = run_case(
                yard, trees[name], tools, options.repeat or scale.repeats, scale.image_bytes, say=_say
            )
            tree = info.as_dict()
        elif "jvs" in tools:
            run = label_samples if name == "labels" else startup_samples
            samples, tree = run(yard, scale), {}
        else:
            continue
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        results.cases[name] = CaseResult(at, tree, samples)
        results.cases = {case: results.cases[case] for case in CASES if case in results.cases}
        # After every case, so that an interrupted run keeps what it has.
        written = write_report(results, out)
    for title, target, verdict, jvs, other, ratio in target_rows(results):
        if mode != "smoke" and verdict != "not measured":
            _say(f"{verdict.strip('*'):7} {title:50} {target:42} {jvs:>10} {other:>18} {ratio:>8}")
    if trees.keys() & results.cases.keys() and written and "results.svg" not in {path.name for path in written}:
        _say("no plot: matplotlib is not installed")
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandFailed as failed:
        sys.exit(f"error: {failed}")
