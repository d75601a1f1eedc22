"""The order in which things reach the disk (DESIGN 4.3): what a power cut would show and a kill cannot."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from jvs.castore.local.store import LocalStore
from tests.castore.local.test_crash import run

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

CALLS = "write,pwrite64,pwritev2,writev,fsync,fdatasync,openat,ftruncate"


def events(store: Path) -> list[tuple[str, str]]:
    """(call, file) in order, the file relative to the store ("stdout" for the driver's acknowledgement)."""
    found = []
    for line in store.with_suffix(".trace").read_text().splitlines():
        match = re.match(r"\d+ +(\w+)\((?:AT_FDCWD|(\d+))(?:<([^>]*)>)?(?:, \"([^\"]*)\")?", line)
        if match is None or "resumed" in line:
            continue
        call, number, path, opened = match.groups()
        if call == "openat":
            if opened and "O_EXCL" in line and opened.startswith(str(store)):
                found.append(("create", os.path.relpath(opened, store)))
        elif path and path.startswith(str(store)):
            found.append((call, os.path.relpath(path, store)))
        elif number == "1":
            found.append((call, "stdout"))
    return found


def last(past: list[tuple[str, str]], call: str, of: str) -> int:
    """Where such a call on such a file was made last; -1 when it never was."""
    return max((at for at, event in enumerate(past) if event[0] == call and of in event[1]), default=-1)


def test_data_then_index_then_word(tmp_path: Path) -> None:
    """Each acknowledged round: pack bytes synced after their last write, the new pack's directory synced, then the
    index written and committed, its number noted, and only then the word to the caller."""
    where = tmp_path / "store"
    LocalStore.create(where).close()
    ended = run(where, "-y", "-e", f"trace={CALLS}", rounds=3)
    assert ended.returncode == 0, ended.stderr
    trace = events(where)
    words = [at for at, event in enumerate(trace) if event == ("write", "stdout")]
    assert len(words) == 3
    start = 0
    for word in words:
        past = trace[start:word]
        start = word

        data = last(past, "pwritev2", ".pack")
        synced = last(past, "fdatasync", ".pack")
        pages_synced = last(past, "fdatasync", "index/data.mdb")
        meta = last(past, "pwrite64", "index/data.mdb")
        line = last(past, "write", "journal")
        noted = last(past, "pwrite64", "committed")
        assert 0 <= data < synced < pages_synced < meta < noted
        assert 0 <= line < pages_synced
    created = [at for at, (call, file) in enumerate(trace) if call == "create" and file.endswith(".pack")]
    assert len(created) == 1
    directory = [at for at, event in enumerate(trace) if event == ("fsync", "packs")]
    first_meta = next(
        at for at, event in enumerate(trace) if event == ("pwrite64", "index/data.mdb") and at > created[0]
    )
    assert any(created[0] < at < first_meta for at in directory)
    assert ("fdatasync", "journal") in trace[words[-1] :], "the journal is synced when the store is closed"
