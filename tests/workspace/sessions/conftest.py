"""A store with a label, and processes that work in its sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jvs.castore.settings import StoreSettings
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import places

START = """
import os, sys, time
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import *
repo = Repo.open(sys.argv[1], actor="other")
"""
"""What the code of `Other` begins with."""

Other = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a session open has it for long, here."""
    monkeypatch.setattr(places, "PATIENCE", 0.05)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Path of a new store."""
    path = str(tmp_path / "store")
    Repo.init(path, StoreSettings())
    return path


@pytest.fixture
def repo(store: str) -> Iterator[Repo]:
    """The store, opened."""
    with Repo.open(store, actor="tester") as opened:
        yield opened


@pytest.fixture
def source(repo: Repo, tmp_path: Path) -> Path:
    """A directory that was pushed as main."""
    root = tmp_path / "source"
    (root / "a" / "b").mkdir(parents=True)
    for name in ("top", "a/one", "a/b/two", "a/b/three"):
        (root / name).write_text(name * 100)
    repo.push(str(root), label="main")
    return root


@pytest.fixture
def other(store: str) -> Iterator[Other]:
    """Starts a process that runs some code in the store; it has said its first line when this returns, and is killed
    at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", START + code, store, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
