"""`jvs fs purge` killed at its system calls, and on failing disks: nothing else is lost, and the next run finishes."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from devtools.demo import Tree, fingerprint
from tests.blackbox.aftermath import check_journal, pull_anew
from tests.blackbox.conftest import Jvs
from tests.blackbox.session import Session
from tests.blackbox.test_durability import assert_one_error, calls, needs_strace, traced
from tests.conftest import TORTURE
from tests.workspace.test_purge import MARK, traces

WORDS: Final = ["fs", "purge", "--path", "data/secret", "--reason", "leaked"]
KILLED: Final = 2
FAILING: Final = 1
"""At how many calls in the suite; at all of them in the long form."""
ERRORS: Final = {
    "ENOSPC": {"write", "writev", "pwrite64", "pwritev2", "ftruncate"},
    "EIO": {"write", "writev", "pwrite64", "pwritev2", "fsync", "fdatasync", "unlink"},
}


class Ground(NamedTuple):
    """A store, kept as it was, and the trees of the generations of `main` without the secret."""

    jvs: Jvs
    trees: list[Tree]

    def reset(self) -> None:
        """Put the store back."""
        shutil.rmtree(self.jvs.where / ".jvs", ignore_errors=True)
        shutil.copytree(self.jvs.where / "kept", self.jvs.where / ".jvs")


@pytest.fixture(scope="module")
def ground(bytecode: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Four generations; the secret is in two of them, beside files that all have."""
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() else tmp_path_factory.mktemp("ground")
    with tempfile.TemporaryDirectory(dir=base) as made:
        jvs = Jvs(Path(made), bytecode)
        jvs("fs", "init").ok()
        data = jvs.where / "d" / "data"
        data.mkdir(parents=True)
        (data / "neighbour").write_text("beside it\n")
        trees = []
        for number in range(4):
            (data / "counter").write_text(f"{number}\n")
            trees.append(fingerprint(jvs.where / "d"))
            if number in (1, 2):
                (data / "secret").write_bytes(MARK)
            jvs("fs", "push", "d", "--label", "main").ok()
            (data / "secret").unlink(missing_ok=True)
        shutil.copytree(jvs.where / ".jvs", jvs.where / "kept")
        yield Ground(jvs, trees)


@pytest.fixture
def session(ground: Ground) -> Iterator[Session]:
    """Commands without a process each."""
    with Session(ground.jvs) as session:
        yield session


def check_after(ground: Ground, session: Session) -> None:
    """What must hold once a purge ended in any way at all."""
    assert session.json("fs", "verify", "--all")["ok"]
    done = session(*WORDS)
    assert done.status in (0, 5), done  # 5: it was done
    assert traces(ground.jvs.where / ".jvs", MARK) == []
    assert session.json("fs", "verify", "--all")["ok"]
    assert session.json("doctor")["healthy"]
    check_journal(ground.jvs.where)
    assert [entry["op"] for entry in session.json("fs", "log", "main")["log"]].count("purge") == 1
    for generation, tree in enumerate(ground.trees, start=1):
        pull_anew(session, f"main@{generation}", ground.jvs.where / "read-back")
        assert fingerprint(ground.jvs.where / "read-back") == tree


@needs_strace
@pytest.mark.timeout(14_400)
def test_killed_at_any_write(ground: Ground, session: Session) -> None:
    ground.reset()
    statuses = set()
    for call, number in calls(ground.jvs, WORDS, KILLED):
        ground.reset()
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        done = traced(ground.jvs, ground.jvs.where / "trace", inject, *WORDS)
        print(call, number, done.status)
        statuses.add(done.status)
        check_after(ground, session)
    assert statuses <= {-signal.SIGKILL, 128 + signal.SIGKILL, 0}
    assert statuses != {0}


@needs_strace
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("error", ERRORS)
def test_any_write_fails(ground: Ground, session: Session, error: str) -> None:
    """Once: it goes on, or ends with one clear error."""
    ground.reset()
    every = calls(ground.jvs, WORDS, 100_000, seed=len(error))
    cases = [case for case in every if case[0] in ERRORS[error]]
    assert cases
    for call, number in cases if TORTURE else cases[:FAILING]:
        ground.reset()
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}"]
        done = traced(ground.jvs, ground.jvs.where / "trace", inject, *WORDS)
        print(call, number, done.status, done.err.strip())
        assert done.status in (0, 1), done
        if done.status:
            assert_one_error(done)
        check_after(ground, session)
