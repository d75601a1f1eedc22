"""Reading a snapshot at length: it is pinned meanwhile, so that no collector takes it away half-way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jvs.castore.digest import Digest
from jvs.castore.gc.pins import pin_snapshot

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
