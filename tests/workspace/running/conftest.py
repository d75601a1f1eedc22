"""A store with a label `main`, what a run needs from its caller, and the two places where commands run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvs.castore.settings import StoreSettings
from jvs.errors import JvsError
from jvs.overlay.fuse import mounting
from jvs.workspace.repo import Repo
from jvs.workspace.running import Interrupts, RunOptions, RunResult, Surroundings, run


def why_no_mounts() -> str | None:
    """Why there can be no mounts here."""
    try:
        mounting.check_possible()
    except JvsError as error:
        return f"needs FUSE: {error.message}"
    return None


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repo]:
    Repo.init(str(tmp_path / "store"), StoreSettings())
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    for name in ("top", "a/one", "a/b/two", "a/b/three"):
        (source / name).write_text(name)
    with Repo.open(str(tmp_path / "store"), actor="tester") as opened:
        opened.push(str(source), label="main")
        yield opened


@pytest.fixture
def said() -> list[str]:
    """What a run told."""
    return []


@pytest.fixture
def around(tmp_path: Path, said: list[str]) -> Surroundings:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Surroundings({"PATH": os.environ["PATH"]}, str(scratch), Interrupts(), said.append)


class Runner:
    """Runs Python in the tree of `main`, in one of the two places."""

    def __init__(self, repo: Repo, around: Surroundings, copy: bool) -> None:
        self.repo, self.around, self.copy = repo, around, copy

    def options(self, code: str, **given: object) -> RunOptions:
        return RunOptions((sys.executable, "-c", code), "main", checkout=self.copy)._replace(**given)  # type: ignore[arg-type]

    def __call__(self, code: str, **given: object) -> RunResult:
        return run(self.repo, self.options(code, **given), self.around)

    def text(self, revision: str) -> str:
        """A file of a revision."""
        return b"".join(self.repo.cat(revision)).decode()


@pytest.fixture(params=["mounted", "checked out"])
def runner(request: pytest.FixtureRequest, repo: Repo, around: Surroundings) -> Iterator[Runner]:
    reason = why_no_mounts()
    if request.param == "mounted" and reason is not None:
        pytest.skip(reason)
    yield Runner(repo, around, request.param == "checked out")
    assert os.listdir(around.scratch) == []  # whatever happened, nothing is left lying about
