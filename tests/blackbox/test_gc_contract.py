"""Collecting garbage as anyone meets it: policies, pins, plans, runs, their JSON, exit statuses and interrupts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.conftest import Jvs
from tests.blackbox.session import Session
from tests.blackbox.test_bad_input import refused


@pytest.fixture(scope="session")
def pushed_five_times(tmp_path_factory: pytest.TempPathFactory, bytecode: Path) -> Path:
    """A directory with a store and a directory `d`, pushed five times as main with another file of 200 KB each time."""
    jvs = Jvs(tmp_path_factory.mktemp("history"), bytecode)
    jvs("fs", "init").ok()
    (jvs.where / "d").mkdir()
    (jvs.where / "d" / "settings.toml").write_text("rate = 0.1\n")
    for number in range(5):
        (jvs.where / "d" / "large").write_bytes(os.urandom(200_000))
        jvs("fs", "push", "d", "--label", "main", "-m", f"number {number + 1}").ok()
    return jvs.where


@pytest.fixture
def history(pushed_five_times: Path, tmp_path: Path, bytecode: Path) -> Jvs:
    """The command in a copy of that."""
    shutil.copytree(pushed_five_times, tmp_path / "copy")
    return Jvs(tmp_path / "copy", bytecode)


def used(jvs: Jvs) -> int:
    """Bytes in packs."""
    return sum(path.stat().st_size for path in (jvs.where / ".jvs" / "packs").iterdir())


def whole(jvs: Jvs) -> None:
    """Nothing is damaged or missing."""
    assert jvs.json("fs", "verify", "--all")["ok"]
    assert jvs.json("doctor")["healthy"]


def protected(plan: Any) -> dict[str, int]:
    return {group["reason"]: group["snapshots"] for group in plan["protected"]}


def test_keep_plan_run(history: Jvs) -> None:
    """The way it is meant: say what to keep, look at the plan, carry it out."""
    assert history.json("fs", "gc", "plan")["candidates"] == 0
    history("fs", "retention", "set", "keep-last", "2").ok()
    history("fs", "pin", "main@1", "-m", "where it began").ok()
    plan = history.json("fs", "gc", "plan")
    assert protected(plan) == {"head": 1, "reflog": 2, "pin": 1}
    assert (plan["snapshots"], plan["examined_bytes"]) == (2, plan["live_bytes"] + plan["reclaimable_bytes"])
    before = used(history)
    dry = history.json("fs", "gc", "run", "--plan-id", plan["plan_id"], "--dry-run")
    assert (dry["objects"], dry["dry_run"], used(history)) == (plan["candidates"], True, before)
    run = history.json("fs", "gc", "run", "--plan-id", plan["plan_id"])
    assert (run["objects"], run["truncated"], run["done"]) == (plan["candidates"], 3, True)
    whole(history)
    history("fs", "pull", "main", "new").ok()
    assert (history.where / "new" / "large").read_bytes() == (history.where / "d" / "large").read_bytes()
    history("fs", "unpin", "main@1")
    assert history.json("fs", "log", "main")["log"][-1]["op"] == "checkpoint"


def test_the_space_comes_back(history: Jvs) -> None:
    before = used(history)
    history("fs", "retention", "set", "keep-last", "0").ok()
    run = history.json("fs", "gc", "run")
    assert run["freed_bytes"] > 3 * 200_000
    assert abs(before - used(history) - run["freed_bytes"]) < 1000
    assert history.json("fs", "gc", "run")["objects"] == 0
    whole(history)


def test_a_store_that_was_collected_is_rebuilt_as_it_is(history: Jvs) -> None:
    """Nothing swept comes back, and what was pinned or truncated is so again."""
    history("fs", "pin", "main@2").ok()
    history("fs", "retention", "set", "keep-last", "1", "--label", "main").ok()
    history("fs", "gc", "run").ok()
    told = ("fs", "ls"), ("fs", "log", "main"), ("fs", "pins"), ("fs", "retention", "show"), ("fs", "gc", "plan")
    before = [history.json(*words) for words in told]
    history("doctor", "--rebuild-index").ok()
    whole(history)
    after = [history.json(*words) for words in told]
    assert after[:-1] == before[:-1]
    assert after[-1]["live_bytes"] == before[-1]["live_bytes"]
    assert protected(after[-1]) == protected(before[-1])


def test_a_stale_plan_is_refused(history: Jvs) -> None:
    history("fs", "retention", "set", "keep-last", "1").ok()
    plan = history("fs", "gc", "plan", "-q").ok().out.strip()
    history("fs", "label", "back", "main@1").ok()
    run = ("fs", "gc", "run", "--plan-id", plan)
    refused(history, *run, status=1, code="gc-plan-stale", says="in use again", step="jvs fs gc plan")
    again = history("fs", "gc", "plan", "-q").ok().out.strip()
    history("fs", "push", "d", "--label", "other").ok()
    history("fs", "gc", "run", "--plan-id", again).ok()
    refused(
        history, *run[:-1], again, status=1, code="gc-plan-stale", says="carried out", step="jvs fs gc plan"
    )  # fmt: skip
    whole(history)


@pytest.fixture(scope="module")
def at_once(shared: Jvs) -> Iterator[Session]:
    """`shared`, without starting a process for each command."""
    with Session(shared) as session:
        yield session


@pytest.mark.parametrize(
    ("words", "status", "code", "says", "step"),
    [
        (("gc", "run", "--plan-id", "0123456789"), 5, "unknown-plan", "no plan 0123456789", "jvs fs gc plan"),
        (("gc", "run", "--plan-id", "main"), 2, "bad-id", "no id of a plan", "jvs fs gc plan"),
        (("gc", "run", "--max-duration", "5m"), 2, "bad-duration", "months", "30d"),
        (("gc", "run", "--max-bytes", "lots"), 2, "usage", "bytes", "500M"),
        (("retention", "set", "keep-lots", "3"), 2, "bad-policy", "no rule", "retention set"),
        (("retention", "set", "keep-last", "3", "keep-last", "4"), 2, "bad-policy", "twice", "retention set"),
        (("retention", "set", "keep-within", "soon"), 2, "bad-duration", "soon", "30d"),
        (("retention", "unset", "--label", "x*"), 5, "unknown-policy", "x*", "retention show"),
        (("pin", "nowhere"), 5, "unknown-label", "nowhere", "jvs fs ls"),
        (("pin", "main@99"), 5, "unknown-revision", "main", "jvs fs log"),
        (("pin", "main", "--until", "never"), 2, "bad-duration", "never", "30d"),
        (("pin", "main", "--until", "2001-01-01"), 2, "usage", "after", "ahead"),
        (("unpin", "12345678"), 5, "unknown-revision", "12345678", ""),
        (("unpin", "main"), 5, "unknown-pin", "no pin", "jvs fs pins"),
        (("stats", "--exclusive", "nowhere"), 5, "unknown-label", "nowhere", "jvs fs ls"),
        (("stats", "--exclusive", "main", "--by", "label"), 2, "usage", "not both", "--help"),
    ],
)
def test_bad_input(at_once: Session, words: tuple[str, ...], status: int, code: str, says: str, step: str) -> None:
    refused(at_once, "fs", *words, status=status, code=code, says=says, step=step)


def test_a_clock_that_jumps(history: Jvs) -> None:
    history("fs", "retention", "set", "keep-within", "30d").ok()
    history.code = "import time; now = time.time_ns; time.time_ns = lambda: now() + 10 * 365 * 86_400 * 10**9\n"
    history.code += "from jvs.cli.main import main; main()"
    for words in (("gc", "plan"), ("gc", "run")):
        refused(history, "fs", *words, status=1, code="clock-jump", says="3,650 days ahead", step="--trust-clock")
    whole(history)
    assert history.json("fs", "gc", "run", "--trust-clock")["truncated"] == 5
    whole(history)


def test_a_clock_that_was_set_back(history: Jvs) -> None:
    history("fs", "retention", "set", "keep-within", "30d").ok()
    history.code = "import time; now = time.time_ns; time.time_ns = lambda: now() - 10 * 365 * 86_400 * 10**9\n"
    history.code += "from jvs.cli.main import main; main()"
    assert history.json("fs", "gc", "run")["objects"] == 0
    whole(history)


def test_damage_stops_it(history: Jvs) -> None:
    history("fs", "retention", "set", "keep-last", "0").ok()
    head = history.json("fs", "ls")["labels"][0]["ca_id"]
    for path in (history.where / ".jvs" / "packs").iterdir():
        raw = path.read_bytes()
        assert bytes.fromhex(head) in raw
        at = raw.index(bytes.fromhex(head)) + 70  # within the data of its record
        path.write_bytes(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :])
    before = used(history)
    for words in (("gc", "plan"), ("gc", "run")):
        refused(history, "fs", *words, status=8, code="damaged", says=head, step="jvs doctor --repair")
    assert used(history) == before
    assert not any(entry["dropped"] for entry in history.json("fs", "log", "main")["log"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a file system read-only")
def test_a_read_only_store(history: Jvs, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    if subprocess.run(["mount", "--bind", "-o", "ro", str(history.where / ".jvs"), str(there)]).returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(there)], check=True)
        for words in (("gc", "plan"), ("gc", "run"), ("pin", "main"), ("retention", "set", "keep-all")):
            refused(history, "fs", *words, "--store", there, status=1, code="read-only", says="", step="")
        assert history("fs", "cat", "main:settings.toml", "--store", there).ok().out == "rate = 0.1\n"
        assert history("fs", "verify", "main", "--store", there).status == 0
        assert history("fs", "stats", "--exclusive", "main", "--store", there).status == 0
        assert history("fs", "pins", "--store", there).status == 0
    finally:
        subprocess.run(["umount", str(there)], check=True)


def test_interrupted_it_leaves_nothing_half_done(history: Jvs) -> None:
    history("fs", "retention", "set", "keep-last", "0").ok()
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW + history.code, "fs", "gc", "run"],
        cwd=history.where,
        env=history.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "sweeping\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "error: interrupted\n")
    whole(history)
    run = history.json("fs", "gc", "run")
    assert (run["done"], run["resumed"] > 0) == (True, True)
    whole(history)
    assert history.json("fs", "gc", "plan")["reclaimable_bytes"] == 0


_SLOW = """
import sys, time
from jvs.castore.gc import collection
from jvs.workspace import gc

def sweep(self, limits, step):
    print("sweeping", file=sys.stderr, flush=True)
    time.sleep(60)

collection.Collection.sweep = sweep
"""
