"""A repository `r` with its main worktree, as those who work in it meet it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.conftest import Done, Jvs
from tests.blackbox.session import Session


class Repository:
    """The command, run in the main worktree of a repository unless told otherwise."""

    def __init__(self, session: Session, root: Path) -> None:
        self.session = session
        self.root = root
        self.main = root / "main"
        self.control = root / ".jvs"

    def __call__(
        self,
        *words: str | bytes | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Done:
        return self.session(*words, cwd=cwd or self.main, env=env, stdin=stdin)

    def json(self, *words: str | bytes | Path, cwd: Path | None = None) -> Any:
        """The value of a command that must succeed."""
        return self(*words, "--json", cwd=cwd).ok().value

    def save(self, note: str = "", *words: str) -> str:
        """Make a snapshot of main; its id."""
        made: str = self.json("snapshot", note, *words)["snapshot_id"]
        return made

    def write(self, name: str, text: str = "") -> Path:
        """Write a file of main, and the directories above it."""
        path = self.main / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, bytecode: Path) -> Iterator[Session]:
    """Commands, one after another in one process."""
    with Session(Jvs(tmp_path_factory.mktemp("session"), bytecode)) as opened:
        yield opened


@pytest.fixture
def session(process: Session, tmp_path: Path) -> Session:
    """Commands in an empty directory."""
    process.where = tmp_path
    return process


@pytest.fixture
def repository(session: Session) -> Repository:
    """A repository without a snapshot; main is empty."""
    session("init", "r").ok()
    return Repository(session, session.where / "r")
