"""Many processes, one local store: no lost update, one winner, A-B-A caught."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from jvs.castore.local.store import LocalStore
from jvs.castore.memory import MemoryStore
from jvs.errors import LabelMovedError
from jvs.labels import Labels
from jvs.labels.replay import replay
from jvs.labels.tables import IDS
from tests.conftest import TORTURE
from tests.labels.support import put_snapshot

PROCESSES = 16
MOVES = 200 if TORTURE else 20

MOVER = """
import sys
from jvs.castore.local.store import LocalStore
from jvs.errors import LabelMovedError
from jvs.labels import Labels

path, number, moves = sys.argv[1], sys.argv[2], int(sys.argv[3])
snapshots = [bytes.fromhex(text) for text in sys.argv[4:]]
lost = 0
with LocalStore.open(path) as store:
    labels = Labels(store, actor=number)
    print("ready", flush=True)
    sys.stdin.readline()
    for move in range(moves):
        while True:
            info = labels.require("main")
            try:
                labels.compare_and_set("main", info.generation, snapshots[(move + int(number)) % len(snapshots)])
                break
            except LabelMovedError as error:
                assert error.details["current_generation"] > info.generation
                lost += 1
print(lost)
"""

CREATOR = """
import sys
from jvs.castore.local.store import LocalStore
from jvs.errors import LabelMovedError
from jvs.labels import Labels

path, number, snapshot = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
with LocalStore.open(path) as store:
    labels = Labels(store, actor=number)
    print("ready", flush=True)
    sys.stdin.readline()
    for round in range(int(sys.argv[4])):
        try:
            labels.compare_and_set(f"label-{round}", None, snapshot)
            print(round)
        except LabelMovedError as error:
            assert error.details["current"] == snapshot.hex()
"""


def start(code: str, arguments: list[str]) -> subprocess.Popen[str]:
    """A process that runs `code` up to where it says that it is ready."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def release(processes: list[subprocess.Popen[str]]) -> None:
    """Let them all go at the same moment."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def run_together(code: str, arguments: list[list[str]]) -> list[list[str]]:
    """Run one process per argument list, let them go at the same moment; their lines of output."""
    processes = [start(code, given) for given in arguments]
    try:
        release(processes)
        outputs = []
        for process in processes:
            output, _errors = process.communicate()
            assert process.returncode == 0
            outputs.append(output.split())
        return outputs
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_no_update_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with LocalStore.create(path) as store:
        snapshots = [put_snapshot(store, name).hex() for name in "abc"]
        Labels(store).compare_and_set("main", None, bytes.fromhex(snapshots[0]))
        run_together(MOVER, [[str(path), str(n), str(MOVES), *snapshots] for n in range(PROCESSES)])
        labels = Labels(store)
        log = list(labels.log("main", newest_first=False))
        assert [entry.generation for entry in log] == list(range(1, PROCESSES * MOVES + 2))
        for earlier, later in pairwise(log):
            assert later.prev == earlier.id
            assert later.parents == (earlier.id,)
            assert later.from_ == earlier.to
            assert later.at_ms >= earlier.at_ms
        assert Counter(entry.actor for entry in log[1:]) == {str(n): MOVES for n in range(PROCESSES)}
        assert labels.verify() == PROCESSES * MOVES + 1
        assert sum(record.op == "label.push" for record in store.journal_records()) == PROCESSES * MOVES


def test_one_of_many_creators_wins(tmp_path: Path) -> None:
    path, rounds = tmp_path / "store", 10
    with LocalStore.create(path) as store:
        snapshot = put_snapshot(store, "a").hex()
        won = run_together(CREATOR, [[str(path), str(n), snapshot, str(rounds)] for n in range(PROCESSES)])
        assert sorted(int(line) for lines in won for line in lines) == list(range(rounds))
        labels = Labels(store)
        for round_ in range(rounds):
            (entry,) = labels.log(f"label-{round_}")
            assert str(round_) in won[int(entry.actor)]
        assert labels.verify() == rounds


ENDLESS = """
import sys
from jvs.castore.local.store import LocalStore
from jvs.labels import Labels

snapshots = [bytes.fromhex(text) for text in sys.argv[3:]]
with LocalStore.open(sys.argv[1]) as store:
    labels = Labels(store, actor=sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    for move in range(10**9):
        print(labels.force("main", snapshots[move % len(snapshots)], tags=[f"t{move}"]).id.hex(), flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path, rng = tmp_path / "store", random.Random(2)
    with LocalStore.create(path) as store:
        snapshots = [put_snapshot(store, name).hex() for name in "ab"]
    acknowledged: set[str] = set()
    for round_ in range(30 if TORTURE else 4):
        movers = [start(ENDLESS, [str(path), str(n), *snapshots]) for n in range(3)]
        release(movers)
        time.sleep(rng.uniform(0.05, 0.3))
        for mover in movers:
            mover.kill()
        for mover in movers:
            lines = mover.communicate()[0].split("\n")
            acknowledged.update(lines[:-1])  # the last may be half a line
        with LocalStore.open(path) as store:
            log = list(Labels(store).log("main", newest_first=False))
            assert acknowledged <= {entry.id.hex() for entry in log}
            assert len(log) <= len(acknowledged) + 3 * (round_ + 1)
            assert Labels(store).verify() == len(log)
            with MemoryStore().write() as txn:
                assert set(replay(txn, store.journal_records())) == {entry.to for entry in log}
                assert txn.count(IDS) == len(log)
    assert len(acknowledged) > 10


ABA = """
import sys
from jvs.castore.local.store import LocalStore
from jvs.labels import Labels

with LocalStore.open(sys.argv[1]) as store:
    labels = Labels(store)
    for text in sys.argv[2:]:
        labels.compare_and_set("main", labels.require("main").generation, bytes.fromhex(text))
"""


def test_a_b_a_by_another_process_is_caught(tmp_path: Path) -> None:
    with LocalStore.create(tmp_path / "store") as store:
        a, b = put_snapshot(store, "a"), put_snapshot(store, "b")
        labels = Labels(store)
        seen = labels.compare_and_set("main", None, a)
        subprocess.run(
            [sys.executable, "-c", ABA, str(tmp_path / "store"), b.hex(), a.hex()],
            env={"PYTHONPATH": ":".join(sys.path)},
            check=True,
        )
        for expect in (seen.generation, seen.id):
            with pytest.raises(LabelMovedError) as caught:
                labels.compare_and_set("main", expect, b)
            assert caught.value.details["current"] == a.hex()
            assert caught.value.details["current_generation"] == 3
        assert labels.compare_and_set("main", a, b).generation == 4  # content alone cannot tell
