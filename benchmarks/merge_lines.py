"""What merging the lines of one file costs: `python benchmarks/merge_lines.py [--json] [--only NAME...]`.

Calls the function, with nothing around it; the texts are seeded. `real` are pieces and whole modules of the standard
library with edits of several kinds on both sides (devtools/merge_corpus.py). Memory is what Python had allocated at the
highest, measured in a run of its own by tracemalloc, beside the bytes of the three texts.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from devtools.merge_corpus import CORPORA
from jvs.merge.content import Contents, Options
from jvs.merge.lines import merge_lines

LINES = 50_000
LIMIT_MS = 500.0
REAL = 1_000


class Row(NamedTuple):
    """One case: milliseconds (median, highest), MB at the highest, and what is allowed."""

    name: str
    median_ms: float
    highest_ms: float
    limit_ms: float
    memory_mb: float
    memory_limit_mb: float
    conflicts: int


def _unique(lines: int) -> list[bytes]:
    return [b"    value_%d = compute(%d)\n" % (at, at * 7) for at in range(lines)]


def _kinds(rng: random.Random, lines: int, kinds: int) -> list[bytes]:
    return [b"line of kind %d\n" % rng.randrange(kinds) for _ in range(lines)]


def _edited(rng: random.Random, lines: list[bytes], edits: int, new: Callable[[int], bytes]) -> list[bytes]:
    """`edits` single lines replaced, put in or taken out."""
    edited: list[bytes | None] = list(lines)
    extra: dict[int, bytes] = {}
    for number in range(edits):
        at = rng.randrange(len(lines))
        kind = rng.randrange(3)
        if kind == 0:
            edited[at] = None
        elif kind == 1:
            edited[at] = new(number)
        else:
            extra[at] = new(number)
    out = []
    for at, line in enumerate(edited):
        if line is not None:
            out.append(line)
        if at in extra:
            out.append(extra[at])
    return out


def _case(base: list[bytes], ours: list[bytes], theirs: list[bytes]) -> Contents:
    return Contents(b"".join(base), b"".join(ours), b"".join(theirs))


def _edits(lines: list[bytes], edits: int, kinds: int = 0) -> Contents:
    rng = random.Random(edits)

    def new(number: int) -> bytes:
        return b"line of kind %d\n" % rng.randrange(kinds) if kinds else b"new %d %d\n" % (number, rng.randrange(9))

    return _case(lines, _edited(rng, lines, edits, new), _edited(rng, lines, edits, new))


def _shuffled(lines: list[bytes]) -> Contents:
    rng = random.Random(5)
    shuffled = list(lines)
    rng.shuffle(shuffled)
    return _case(lines, shuffled, _edited(rng, lines, 20, lambda number: b"new %d\n" % number))


def _rewritten(lines: list[bytes]) -> Contents:
    rng = random.Random(6)
    other = [b"rewritten %d\n" % at for at in range(len(lines))]
    return _case(lines, other, _edited(rng, lines, 20, lambda number: b"new %d\n" % number))


CASES: dict[str, Callable[[], Contents]] = {
    "50,000 unique lines, 20 + 20 edits": lambda: _edits(_unique(LINES), 20),
    "50,000 unique lines, 2,000 + 2,000 edits": lambda: _edits(_unique(LINES), 2_000),
    "50,000 lines of 300 kinds, 500 + 500 edits": lambda: _edits(_kinds(random.Random(1), LINES, 300), 500, 300),
    "50,000 lines, shuffled on one side": lambda: _shuffled(_unique(LINES)),
    "50,000 lines, rewritten on one side": lambda: _rewritten(_unique(LINES)),
    "120,000 unique lines, 100 + 100 edits": lambda: _edits(_unique(120_000), 100),
    "120,000 unique lines, 2,000 + 2,000 edits": lambda: _edits(_unique(120_000), 2_000),
    "50,000 lines of 2 kinds, 20 + 20 edits": lambda: _edits(_kinds(random.Random(2), LINES, 2), 20, 2),
    "50,000 lines of 2 kinds, 500 + 500 edits": lambda: _edits(_kinds(random.Random(2), LINES, 2), 500, 2),
    "50,000 lines of 2 kinds, three texts at random": lambda: _case(
        *(_kinds(random.Random(seed), LINES, 2) for seed in (2, 3, 4))
    ),
    "50,000 lines of 300 kinds, three texts at random": lambda: _case(
        *(_kinds(random.Random(seed), LINES, 300) for seed in (2, 3, 4))
    ),
    "50,000 equal lines, more and fewer": lambda: _case([b"}\n"] * LINES, [b"}\n"] * 51_000, [b"}\n"] * 40_000),
    "50,000 equal lines, 500 + 500 others in them": lambda: _edits([b"}\n"] * LINES, 500),
    "50,000 lines, each a duplicate, 500 + 500 edits": lambda: _edits(_unique(LINES // 2) * 2, 500),
    "50,000 lines, both sides shuffled": lambda: _case(
        _unique(LINES), *(random.Random(seed).sample(_unique(LINES), LINES) for seed in (1, 2))
    ),
    "50,000 lines reversed on one side": lambda: _case(_unique(LINES), _unique(LINES)[::-1], _unique(LINES)[1:]),
    "one line of 10 MB each": lambda: _case([b"x" * 10_000_000], [b"y" * 10_000_000], [b"z" * 10_000_000]),
}


def _milliseconds(contents: Contents) -> tuple[float, int]:
    start = time.perf_counter()
    merged = merge_lines(contents, Options())
    return 1000 * (time.perf_counter() - start), len(merged.conflicts)


def _memory(contents: Contents) -> tuple[float, float]:
    gc.collect()
    tracemalloc.start()
    merge_lines(contents, Options())
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = sum(len(side) for side in contents if side is not None)
    return highest / 1e6, (10 * size) / 1e6 + 64


def _measure(name: str, contents: Contents, repeat: int) -> Row:
    runs = [_milliseconds(contents) for _ in range(repeat)]
    times = [run[0] for run in runs]
    return Row(name, statistics.median(times), max(times), LIMIT_MS, *_memory(contents), runs[0][1])


def _real() -> Row:
    """Mean (in place of the median) and highest of many real texts; 2 ms and 300 ms are allowed."""
    cases = [Contents(case.base, case.ours, case.theirs) for case in islice(CORPORA["stdlib"](7), REAL)]
    times = [_milliseconds(contents)[0] for contents in cases]
    memory = max((_memory(contents) for contents in cases[:50]), key=lambda pair: pair[0])
    return Row(f"real: {REAL} triples (mean)", statistics.mean(times), max(times), 2.0, *memory, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    parser.add_argument("--only", nargs="*", default=[], help="cases whose names hold one of these words")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()

    def wanted(name: str) -> bool:
        return not given.only or any(word in name for word in given.only)

    rows = [_real()] if wanted("real") else []
    rows += [_measure(name, make(), given.repeat) for name, make in CASES.items() if wanted(name)]
    if given.json:
        print(json.dumps({"cases": [row._asdict() for row in rows]}, indent=2))
        return 0
    print("| case | ms | highest | allowed | MB | allowed | conflicts |\n| :-- | --: | --: | --: | --: | --: | --: |")
    for row in rows:
        print(f"| {row.name} | {row.median_ms:.1f} | {row.highest_ms:.1f} | {row.limit_ms:.0f} | {row.memory_mb:.1f} "
              f"| {row.memory_limit_mb:.0f} | {row.conflicts} |")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
