"""Starting up: what is imported. What that costs is measured by benchmarks/, in CPU time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BANNED = "rich pydantic asyncio fsspec starlette mcp obstore logging importlib.metadata difflib".split()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Bytecode is cached, as in any installation, and what pytest imports from is on the path."""
    cache = tmp_path_factory.mktemp("pycache")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JVS_", "PYTHON"))}
    paths = [path for path in sys.path if os.path.isdir(os.path.join(path, "jvs"))]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONPYCACHEPREFIX": str(cache)}


@pytest.fixture(scope="module")
def store(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one label."""
    where = tmp_path_factory.mktemp("store")
    (where / "d").mkdir()
    (where / "d" / "f").write_text("content")
    for words in (["fs", "init"], ["fs", "push", "d", "--label", "main"]):
        jvs(words, environment, where)
    return where


def jvs(words: list[str], environment: dict[str, str], where: Path, before: str = "") -> str:
    """Run jvs in a process of its own; its stdout."""
    code = f"{before}\nimport sys\nfrom jvs.cli.main import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, cwd=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def worktree(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main worktree of a repository, with something unsaved in it."""
    where = tmp_path_factory.mktemp("repository")
    jvs(["init", "r"], environment, where)
    (where / "r" / "main" / "f").write_text("content")
    return where / "r" / "main"


@pytest.mark.parametrize("words", [["status"], ["snapshot", "one"], ["history"], ["diff"], ["info"]])
def test_nothing_heavy_is_imported_in_a_worktree(words: list[str], environment: dict[str, str], worktree: Path) -> None:
    test_nothing_heavy_is_imported(words, environment, worktree)


@pytest.mark.parametrize("words", [["--help"], ["fs", "ls"]])
def test_nothing_heavy_is_imported(words: list[str], environment: dict[str, str], store: Path) -> None:
    report = (
        "import os, sys\n"
        "leave = os._exit\n"
        "def told(status):\n"
        f"    print('imported:', *[name for name in {BANNED!r} if name in sys.modules], flush=True)\n"
        "    leave(status)\n"
        "os._exit = told"
    )
    assert jvs(words, environment, store, report).splitlines()[-1].rstrip() == "imported:"
