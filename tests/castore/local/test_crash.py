"""Killing a process at every write-like system call, and failing its syncs and writes (DESIGN 12)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jvs.castore.digest import Digest
from jvs.castore.local.store import LocalStore
from tests.castore.local import driver
from tests.castore.local.checks import check_whole, labels_of

TORTURE = bool(os.environ.get("JVS_TORTURE"))
CALLS = "write,pwrite64,pwritev2,writev,fsync,fdatasync,ftruncate,rename,unlink,mkdir,link"
ROUNDS = 3

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def run(store: Path, *strace: str, rounds: int = ROUNDS, size: int = 200) -> subprocess.CompletedProcess[str]:
    """The driver under strace."""
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    command = ["strace", "-f", "-qq", "-o", str(store.with_suffix(".trace")), *strace]
    driven = [sys.executable, "-B", driver.__file__, str(store), str(rounds), str(size), "0"]
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*command, *driven], capture_output=True, text=True, timeout=120, env=environment)


def acknowledged(ended: subprocess.CompletedProcess[str]) -> dict[int, Digest]:
    """The rounds that the driver said were done."""
    return {
        int(number): bytes.fromhex(root)
        for number, root in (line.split() for line in ended.stdout.splitlines())
    }


def calls_of(trace: str) -> dict[str, int]:
    """How often the busiest thread made each call: strace counts injections by thread."""
    counts: dict[tuple[str, str], int] = {}
    for line in trace.splitlines():
        if (match := re.match(r"(\d+) +(\w+)\(", line)) is not None:
            counts[match.groups()] = counts.get(match.groups(), 0) + 1  # type: ignore[index, arg-type]
    most: dict[str, int] = {}
    for (_, call), count in counts.items():
        most[call] = max(most.get(call, 0), count)
    return most


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """Every (call, n-th time) of an undisturbed run; a dozen of them without JVS_TORTURE."""
    where = tmp_path_factory.mktemp("calls") / "store"
    ended = run(where, "-e", f"trace={CALLS}")
    assert len(acknowledged(ended)) == ROUNDS, ended.stderr
    counts = calls_of(where.with_suffix(".trace").read_text())
    assert {"pwrite64", "pwritev2", "fdatasync", "fsync", "rename", "write"} <= counts.keys()
    found = [(call, number) for call, count in sorted(counts.items()) for number in range(1, count + 1)]
    return found if TORTURE else found[:: max(len(found) // 12, 1)]


def test_killed_at_every_write(cases: list[tuple[str, int]], tmp_path: Path) -> None:
    """Whatever was acknowledged is there; the rest is wholly there or wholly absent; the next run goes on."""
    killed = 0
    for call, number in cases:
        where = tmp_path / f"{call}-{number}"
        inject = f"inject={call}:signal=KILL:when={number}"
        ended = run(where, "-e", f"trace={CALLS}", "-e", inject)
        killed += ended.returncode != 0
        done = acknowledged(ended)
        with LocalStore.create(where) as store:
            check_whole(store, done)
            driver.push(store, 77)
            assert len(labels_of(store)) in (len(done) + 1, len(done) + 2)
        with LocalStore.open(where) as store:
            check_whole(store, done)
        shutil.rmtree(where)
    assert killed == len(cases)


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_failed_sync_is_final(call: str, tmp_path: Path) -> None:
    """The n-th sync of a run reports EIO: that push fails, nothing acknowledged is lost, a new process goes on."""
    failures = 0
    for number in range(1, 12 if TORTURE else 6):
        where = tmp_path / f"{number}"
        LocalStore.create(where).close()
        ended = run(where, "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={number}")
        assert ended.returncode in (0, 7), ended.stderr
        if ended.returncode:
            failures += 1
            assert ended.stderr.startswith(("io-error", "handle-failed")), ended.stderr
        with LocalStore.open(where) as store:
            check_whole(store, acknowledged(ended))
            driver.push(store, 77)
            check_whole(store, acknowledged(ended))
    assert failures


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("call", ["pwritev2", "pwrite64", "write"])
def test_failed_writes(call: str, error: str, tmp_path: Path) -> None:
    """From the n-th write on every one fails: a clear error, and a store that is whole."""
    for number in (1, 2, 4) if not TORTURE else range(1, 12):
        where = tmp_path / f"{number}"
        LocalStore.create(where).close()
        ended = run(where, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}+")
        if ended.returncode:
            assert ended.returncode == 7 or call == "write", ended.stderr
            if call != "write":  # with `write` the driver cannot even say so
                assert ended.stderr.startswith(
                    ("no-space" if error == "ENOSPC" else "io-error", "handle-failed")
                )
        with LocalStore.open(where) as store:
            check_whole(store, acknowledged(ended))
            driver.push(store, 77)
            check_whole(store, acknowledged(ended))
