"""Durable label moves in one process, or bare LMDB commits: run as a process of its own by `processes.py`.

`python labelmoves.py --what jvs|bare --folder FOLDER --seconds N` prints `{"moves": ..., "seconds": ...}`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lmdb

from jvs.castore.backend import Codec, Kind, Stored
from jvs.castore.digest import Digest, page_digest
from jvs.castore.local.store import LocalStore
from jvs.labels import Labels

_WARM_UP = 20


def _snapshot(store: LocalStore, name: bytes) -> Digest:
    """Publish a page for labels to point to (they never look inside)."""
    digest = page_digest(name)
    with store.writer() as writer:
        writer.put(Kind.PAGE, digest, Stored(Codec.RAW, len(name), name))
        writer.publish()
    return digest


def _rate(move: Callable[[int], object], seconds: float) -> dict[str, float]:
    for number in range(_WARM_UP):
        move(number)
    moves = 0
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        move(_WARM_UP + moves)
        moves += 1
    return {"moves": moves, "seconds": passed}


def measure_jvs(folder: Path, seconds: float) -> dict[str, float]:
    """Compare-and-set moves of one label to and fro between two snapshots, each expecting the generation before."""
    with LocalStore.create(folder) as store:
        snapshots = [_snapshot(store, b"one"), _snapshot(store, b"two")]
        labels = Labels(store, actor="benchmark")
        labels.compare_and_set("main", None, snapshots[1])
        return _rate(lambda number: labels.compare_and_set("main", number + 1, snapshots[number % 2]), seconds)


def measure_bare(folder: Path, seconds: float) -> dict[str, float]:
    """What LMDB alone does: one write transaction with one small value, committed with LMDB's default full sync."""
    folder.mkdir()
    with lmdb.open(str(folder), map_size=1 << 30) as env:

        def move(number: int) -> None:
            with env.begin(write=True) as txn:
                txn.put(b"label", b"%0100d" % number)

        return _rate(move, seconds)


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=("jvs", "bare"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    measure = measure_jvs if options.what == "jvs" else measure_bare
    print(json.dumps(measure(options.folder, options.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
