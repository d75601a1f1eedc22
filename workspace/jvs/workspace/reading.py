"""Reading a snapshot: at length it is pinned meanwhile, so that no collector takes it away half-way; in short it is
not, and what is missing then may be so because the snapshot was collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jvs.castore.digest import Digest
from jvs.castore.gc.pins import pin_snapshot
from jvs.errors import CollectedError, MissingObjectError

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo


@contextmanager
def pinned(repo: Repo, *snapshots: Digest | None, what: str) -> Iterator[None]:
    """Keep these snapshots (None: the empty tree, which nobody collects) while the context lasts; what: the operation,
    for people. Raises CollectedError when one is gone. Where the store cannot be written, nobody collects either.
    """
    pins = []
    try:
        if not repo.store.readonly:
            pins += [pin_snapshot(repo.store, snapshot, what) for snapshot in snapshots if snapshot is not None]
        yield
    finally:
        for pin in pins:
            pin.release()


@contextmanager
def unless_collected(repo: Repo, snapshot: Digest) -> Iterator[None]:
    """For short reads, which take no pin. Raises CollectedError instead of MissingObjectError when the snapshot is gone
    by then: nothing is damaged."""
    try:
        yield
    except MissingObjectError as error:
        if repo.has_snapshot(snapshot):
            raise
        raise CollectedError(f"snapshot {snapshot.hex()[:12]} was collected while it was read") from error
