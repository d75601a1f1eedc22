"""`jvs snapshot`: what is in a worktree becomes a save point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jvs.errors import UnknownError
from jvs.labels.model import new_body
from jvs.workspace.push import PushOptions, push_directory
from jvs.workspace.repository.savepoints import ENGINE, SavePoint
from jvs.workspace.results import PushStats, Skipped

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repository.repository import Repository


class SnapshotOptions(NamedTuple):
    """What `jvs snapshot` was asked to do.

    note, tags  for its entry; those that the repository gives to every snapshot come on top
    paths       names from the worktree down to what is taken; None: all of it. The rest stays as it was saved last
    level       of compression for what is new, 0: none, None: what is configured, else the store's
    engine      that must work on the worktree, and is recorded; None: the one it has
    wait        seconds to wait for another command; None: what is configured
    """

    note: str = ""
    tags: Sequence[str] = ()
    paths: Sequence[tuple[bytes, ...]] | None = None
    level: int | None = None
    engine: str | None = None
    wait: float | None = None
    rehash: bool = False
    skip_unreadable: bool = False


class Snapshot(NamedTuple):
    """A save point that was made; skipped: paths that are not in it as they are on disk."""

    save_point: SavePoint
    stats: PushStats
    skipped: tuple[Skipped, ...]


def snapshot(repository: Repository, name: str, options: SnapshotOptions, progress: Progress | None = None) -> Snapshot:
    """Make a save point of a worktree, also when nothing has changed since the last one. What it adds is read back and
    compared before the label moves.

    Raises UsageError (bad-message and the like) before anything is read, StateError (detached; interrupted-pull;
    engine-unusable), LabelMovedError when somebody else has moved the label (what is here is kept for 24 hours),
    LeaseError, LockedError, UnknownError (unknown-path), and what a push raises.
    """
    settings, repo = repository.settings, repository.repo
    tags = (*options.tags, *settings.default_tags)
    engine = options.engine or settings.engine
    meta = {} if engine is None else {ENGINE: engine}
    new_body(options.note, repo.actor, tags, meta)  # a note that is too long is refused now, not after a long push
    directory = repository.directory(name)
    if options.engine is not None:
        from jvs.workspace.engines import validate_engine  # 10 ms that other snapshots do without

        validate_engine(directory, options.engine)
    push = PushOptions(
        message=options.note,
        tags=tags,
        always=True,
        rehash=options.rehash,
        skip_unreadable=options.skip_unreadable,
        wait=settings.wait if options.wait is None else options.wait,
        level=settings.level if options.level is None else options.level,
        meta=meta,
        paths=options.paths,
    )
    result = push_directory(repo, directory, push, progress)
    if result.error is not None:
        raise result.error
    made = None if result.entry_id is None else repository.savepoints.at(result.entry_id)
    if made is None:
        raise UnknownError("the snapshot that was just made is not there any more", code="unknown-snapshot")
    return Snapshot(made, result.stats, result.skipped)
