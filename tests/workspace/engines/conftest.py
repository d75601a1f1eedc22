"""Real file systems to clone trees on; each is made once."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powercut import disks
from tests.workspace.engines import places
from tests.workspace.engines.places import Place


@pytest.fixture
def common() -> Iterator[Path]:
    """A temporary directory that an ordinary user can reach too (pytest closes its own to others now and then)."""
    path = Path(tempfile.mkdtemp(prefix="jvs-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def ram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory, for disks."""
    where = tmp_path_factory.mktemp("engines")
    if (reason := disks.why_nothing(where)) is not None:
        pytest.skip(reason)
    with disks.memory(where):
        yield where


def _disk(name: str, ram: Path) -> Iterator[Place]:
    if (reason := disks.why_not(name)) is not None:
        pytest.skip(reason)
    with places.on_disk(name, ram) as place:
        yield place


@pytest.fixture(scope="session")
def ext4(ram: Path) -> Iterator[Place]:
    """Without reflinks."""
    yield from _disk("ext4", ram)


@pytest.fixture(scope="session")
def xfs(ram: Path) -> Iterator[Place]:
    """With reflinks."""
    yield from _disk("xfs", ram)


@pytest.fixture(scope="session")
def btrfs(ram: Path) -> Iterator[Place]:
    """With reflinks."""
    yield from _disk("btrfs", ram)


@pytest.fixture(scope="session")
def juicefs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A real one, its command on PATH."""
    if sys.platform != "linux" or os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root on Linux and /dev/fuse")
    command = places.juicefs_command()
    if command is None:
        pytest.skip(places.NO_JUICEFS)
    with pytest.MonkeyPatch.context() as patch, places.on_juicefs(tmp_path_factory.mktemp("juicefs")) as place:
        patch.setenv("PATH", os.path.dirname(command), prepend=os.pathsep)
        yield place
