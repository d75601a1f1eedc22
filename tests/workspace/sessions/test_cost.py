"""What a session costs does not depend on the size of the tree, nor on that of a file that is edited."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jvs.workspace.overlays import open_overlay
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import create_session
from tests.workspace.sessions.conftest import START

MEBIBYTE = 1 << 20
LARGE = (10 << 30) if os.environ.get("JVS_TORTURE") == "1" else (1 << 30)

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells it")

OPEN = """
with create_session(repo, sys.argv[2]) as session:
    assert session.read_text("5/5/5/5") == "file 5"
print(open("/proc/self/status").read())
"""


def memory(store: str, label: str) -> int:
    """Bytes that a process had at most that opened a session, and read one file."""
    done = subprocess.run([sys.executable, "-c", START + OPEN, store, label], check=True, capture_output=True)
    # not ru_maxrss, which a process has from the one that started it
    [peak] = [line.split()[1] for line in done.stdout.decode().splitlines() if line.startswith("VmHWM:")]
    return int(peak) << 10


@needs_proc
def test_memory_does_not_grow_with_the_tree(repo: Repo, store: str) -> None:
    with create_session(repo, empty(repo), "small") as session:
        session.makedirs("5/5/5")
        session.write_text("5/5/5/5", "file 5")
        session.push("small")
    with create_session(repo, "small", "large") as session:
        for number in range(1000):
            session.write_text(f"5/5/5/{number}", f"file {number}")
        for above in ("5/5", "5", ""):  # a thousand files in a thousand directories, which are one and the same
            session.push("large")  # what is stored is copied by reference as a whole
            for number in range(10):
                if number != 5:
                    session.copy(os.path.join(above, "5"), os.path.join(above, str(number)))
        assert session.push("large").push.stats.entries > 1_000_000
    assert memory(store, "large") - memory(store, "small") < 30 * MEBIBYTE


def empty(repo: Repo) -> str:
    """A revision without anything."""
    top = os.path.join(repo.store.path, "..", "empty")
    os.mkdir(top)
    return repo.push(top, detach=True).ca_id.hex()


@needs_proc
def test_an_edit_of_a_large_file_reads_and_writes_little(repo: Repo, source: Path) -> None:
    with create_session(repo, "main", "work") as session:
        with session.open("large", "wb") as file:
            file.truncate(LARGE)
        session.push()
    with create_session(repo, "main") as session:
        before = moved()
        with session.open("large", "r+b") as file:
            file.seek(LARGE // 3)
            file.write(b"edit" * 256)
        session.push()
        assert moved() - before < 20 * MEBIBYTE
    with open_overlay(repo, "main") as fs, fs.open("large", "rb") as file:
        assert fs.stat("large").st_size == LARGE
        file.seek(LARGE // 3 - 1)
        assert file.read(1026) == b"\0" + b"edit" * 256 + b"\0"


def moved() -> int:
    """Bytes that this process has read and written until now."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"]) + int(counts["wchar"])
