"""`jvs info`: what a repository is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.local.making import FORMAT_VERSION
from jvs.workspace.results import Json

if TYPE_CHECKING:
    from jvs.workspace.repository.repository import Repository


class Info(NamedTuple):
    """The facts of a repository. total_snapshots: save points of all its worktrees, each once; store: its directory."""

    repo_root: str
    repo_id: str
    format_version: int
    snapshot_engine: str
    total_worktrees: int
    total_snapshots: int
    store: str

    def as_json(self) -> Json:
        """{repo_root, repo_id, format_version, snapshot_engine, total_worktrees, total_snapshots}."""
        value = self._asdict()
        del value["store"]
        return value


def info(repository: Repository) -> Info:
    """The facts. Reads every reflog of a worktree once."""
    return Info(
        repository.root,
        repository.repo_id,
        int(FORMAT_VERSION),
        repository.engine,
        len(repository.registry.names()),
        sum(1 for _ in repository.all_save_points()),
        repository.repo.store.path,
    )
