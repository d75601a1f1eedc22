"""The record of what a directory is bound to, and the lock on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jvs.castore import binding
from jvs.castore.binding import Binding, Loosened, Pending, UnappliedMode
from jvs.errors import LockedError

FULL = Binding(
    "agent/1",
    17,
    bytes(range(32)),
    bytes(32),
    Pending(b"\xff" * 32, "0123456789abcdef", (Loosened(b"a/\xff", 0o555), Loosened(b"", 0o500))),
    {b"bin/su": UnappliedMode(0o755, 0o4755), b"": UnappliedMode(0, 0o7777)},
)


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, str]:
    """(cache, directory)."""
    (tmp_path / "directory").mkdir()
    return str(tmp_path / "cache"), str(tmp_path / "directory")


@pytest.mark.parametrize("bound", [FULL, Binding(None, 0, None), Binding("main", 1, bytes(32))])
def test_what_was_saved_is_loaded(place: tuple[str, str], bound: Binding) -> None:
    cache, directory = place
    assert binding.load(cache, directory) is None
    binding.save(cache, directory, bound)
    assert binding.load(cache, directory) == bound
    binding.save(cache, directory, Binding("other", 2, bytes(32)))
    assert binding.load(cache, directory) == Binding("other", 2, bytes(32))
    assert binding.clear(cache, directory)
    assert binding.load(cache, directory) is None
    assert not binding.clear(cache, directory)
    assert not list(Path(directory).iterdir())


def test_every_damage_means_unbound(place: tuple[str, str]) -> None:
    cache, directory = place
    binding.save(cache, directory, FULL)
    (record,) = Path(cache).rglob("*.binding")
    whole = record.read_bytes()
    for number in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[number] ^= 1 << bit
            record.write_bytes(flipped)
            assert binding.load(cache, directory) is None
        record.write_bytes(whole[:number])
        assert binding.load(cache, directory) is None
    record.write_bytes(whole)
    assert binding.load(cache, directory) == FULL


def test_nothing_is_left_when_it_cannot_be_saved(place: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    cache, directory = place
    binding.save(cache, directory, FULL)

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        binding.save(cache, directory, Binding("main", 1, bytes(32)))
    monkeypatch.undo()
    assert binding.load(cache, directory) == FULL
    assert len(list(Path(cache).rglob("*.*"))) == 1


def test_another_directory_is_unbound(place: tuple[str, str], tmp_path: Path) -> None:
    """One that was moved, copied, or made anew at the same path; a symlink to it is the same one."""
    cache, directory = place
    binding.save(cache, directory, FULL)
    (tmp_path / "link").symlink_to(directory)
    assert binding.load(cache, str(tmp_path / "link")) == FULL
    shutil.copytree(directory, tmp_path / "copy")
    assert binding.load(cache, str(tmp_path / "copy")) is None
    os.rename(directory, tmp_path / "moved")
    assert binding.load(cache, str(tmp_path / "moved")) is None
    os.mkdir(directory)
    assert binding.load(cache, directory) is None


def test_the_cache_may_go_at_any_time(place: tuple[str, str]) -> None:
    cache, directory = place
    binding.save(cache, directory, FULL)
    shutil.rmtree(cache)
    assert binding.load(cache, directory) is None
    binding.save(cache, directory, FULL)
    assert binding.load(cache, directory) == FULL


HOLD = """
import sys
from jvs.castore import binding
with binding.lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time(place: tuple[str, str]) -> None:
    _, directory = place
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(LockedError), binding.lock(directory, wait=0.1):
            pass
        other.stdin.close()
        with binding.lock(directory, wait=20):
            pass
    with binding.lock(directory), pytest.raises(LockedError), binding.lock(directory, wait=0.0):
        pass
    with binding.lock(directory):
        pass
    assert not list(Path(directory).iterdir())
