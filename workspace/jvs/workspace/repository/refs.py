"""`jvs ref`: names for save points that never move, and that keep them (see `jvs.labels.refs`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jvs.errors import UnknownError
from jvs.workspace.repository.savepoints import snapshot_id
from jvs.workspace.results import Json, iso_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jvs.labels.refs import Ref
    from jvs.workspace.repository.repository import Repository


class RefInfo(NamedTuple):
    """A ref. target_id: the id of the save point it names, or of a bare snapshot."""

    ref: Ref
    target_id: str

    def as_json(self) -> Json:
        """{name, target_id, created_at, description}."""
        return {
            "name": self.ref.name,
            "target_id": self.target_id,
            "created_at": iso_time(self.ref.at_ms),
            "description": self.ref.description,
        }


def create(
    repository: Repository, name: str, target: str, description: str = "", *, worktree: str | None = None
) -> RefInfo:
    """Give the save point that `target` names (see `SavePoints.find`) a name that never moves. worktree: where it was
    typed, if in one. Raises StateError (already-exists), UsageError (bad-name, bad-message), UnknownError,
    AmbiguousError, CollectedError."""
    found = repository.savepoints.find(target) if worktree is None else repository.find(target, worktree)
    ref = repository.repo.labels.create_ref(name, found.entry.id, message=description)
    return RefInfo(ref, found.save_point_id)


def refs(repository: Repository) -> Iterator[RefInfo]:
    """Every ref, in order of the names."""
    return (_shown(repository, ref) for ref in repository.repo.labels.refs())


def delete(repository: Repository, name: str, reason: str = "") -> RefInfo:
    """Delete a ref: gc may take what nothing else keeps. Raises UnknownError (unknown-ref), UsageError (bad-name)."""
    return _shown(repository, repository.repo.labels.delete_ref(name, message=reason))


def _shown(repository: Repository, ref: Ref) -> RefInfo:
    if ref.entry_id is None:
        return RefInfo(ref, ref.ca_id.hex())
    try:
        entry = repository.repo.labels.entry(ref.entry_id)
    except UnknownError:
        return RefInfo(ref, ref.entry_id.hex())
    return RefInfo(ref, snapshot_id(entry.at_ms, entry.id))
