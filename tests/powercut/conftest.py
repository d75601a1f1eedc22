"""What power cuts are made of: memory for the disks, and jvs in directories of its own there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.blackbox.conftest import Jvs
from tests.blackbox.session import Session
from tests.powercut import disks


class Places:
    """Directories to run commands in, each empty when it is asked for.

    A process that runs commands is kept for the next test that asks for its name: starting one takes longer than most
    of what it does here.
    """

    def __init__(self, where: Path, bytecode: Path, ends: ExitStack) -> None:
        self._where = where
        self._bytecode = bytecode
        self._ends = ends
        self._sessions: dict[str, Session] = {}

    def processes(self, name: str) -> Jvs:
        """A process for each command."""
        where = self._where / name
        where.mkdir(exist_ok=True)
        for path in where.iterdir():
            shutil.rmtree(path)
        return Jvs(where, self._bytecode)

    def session(self, name: str) -> Session:
        """One process for all commands."""
        jvs = self.processes(name)
        if name not in self._sessions:
            self._sessions[name] = self._ends.enter_context(Session(jvs))
        return self._sessions[name]


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As for the tests in `blackbox`."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory."""
    where = tmp_path_factory.mktemp("powercut")
    if (reason := disks.why_nothing(where)) is not None:
        pytest.skip(reason)
    with disks.memory(where):
        yield where


@pytest.fixture(scope="module")
def places(memory: Path, bytecode: Path) -> Iterator[Places]:
    """Where commands run."""
    with ExitStack() as ends:
        yield Places(memory, bytecode, ends)


@pytest.fixture
def ram(memory: Path) -> Iterator[Path]:
    """An empty directory in memory, for the disks of a test."""
    where = memory / "ram"
    where.mkdir()
    yield where
    shutil.rmtree(where)
