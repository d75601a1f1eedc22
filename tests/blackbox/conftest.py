"""The `jvs` command as anyone meets it: a process with words, an environment, two streams and an exit status."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_PR_CAPBSET_DROP = 24
CODE = "from jvs.cli.main import main; main()"


class Done(NamedTuple):
    """What one command came to."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON value on stdout; fails when there is not exactly one."""
        return json.loads(self.out)

    def ok(self) -> Done:
        """Itself; fails unless it succeeded."""
        assert self.status == 0, self.err or self.out
        return self


class Jvs:
    """Runs jvs in a directory with an environment of its own.

    Calling it gives what the command came to; `json` adds --json, and gives the value of a command that succeeds.
    ordinary: as root, run it without the right to do to files what their modes and owners forbid.
    code: the Python that starts it.
    patience: seconds after which a command that still runs has failed.
    """

    def __init__(self, where: Path, bytecode: Path) -> None:
        self.where = where
        self.ordinary = False
        self.code = CODE
        self.patience = 120.0
        paths = [path for path in sys.path if os.path.isdir(os.path.join(path, "jvs"))]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JVS_", "PYTHON"))}
        self.environment = kept | {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONPYCACHEPREFIX": str(bytecode),
            "JVS_ACTOR": "ada@host",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }

    def __call__(
        self, *words: str | bytes | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Done:
        done = subprocess.run(
            [sys.executable, "-c", self.code, *words],
            cwd=cwd or self.where,
            env=self.environment | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=self.patience,
            preexec_fn=be_ordinary if self.ordinary else None,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def json(self, *words: str | bytes | Path) -> Any:
        """The value of a command that must succeed."""
        done = self(*words, "--json").ok()
        assert done.err == ""
        return done.value


def be_ordinary() -> None:
    """Take what makes root more than the owner of its files from what it gets at the next exec; nothing for others."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in range(5):  # CAP_CHOWN, _DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER, _FSETID
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Python keeps what it compiled, as any installation does; compiling anew would take most of the time."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def jvs(tmp_path: Path, bytecode: Path) -> Jvs:
    """The command in an empty directory, without a store."""
    return Jvs(tmp_path, bytecode)


@pytest.fixture
def store(jvs: Jvs) -> Jvs:
    """The command in a directory with a store `.jvs` and a small directory `d`, not pushed yet."""
    return _with_store(jvs)


@pytest.fixture
def pushed(store: Jvs) -> Jvs:
    """As `store`, with `d` pushed twice as main: generation 1, then 2 with another settings.toml."""
    return _with_pushes(store)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, bytecode: Path) -> Jvs:
    """As `pushed`, one for all tests that change nothing."""
    return _with_pushes(_with_store(Jvs(tmp_path_factory.mktemp("shared"), bytecode)))


def _with_store(jvs: Jvs) -> Jvs:
    jvs("fs", "init").ok()
    tree = jvs.where / "d"
    (tree / "data").mkdir(parents=True)
    (tree / "data" / "points.csv").write_text("1,2\n3,4\n")
    (tree / "settings.toml").write_text("rate = 0.1\n")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "empty").mkdir()
    (tree / "link").symlink_to("settings.toml")
    return jvs


def _with_pushes(jvs: Jvs) -> Jvs:
    jvs("fs", "push", "d", "--label", "main", "-m", "as it came").ok()
    (jvs.where / "d" / "settings.toml").write_text("rate = 0.25\n")
    jvs("fs", "push", "d", "-m", "a higher rate", "--tag", "v2").ok()
    return jvs
