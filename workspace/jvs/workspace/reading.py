"""Reading a snapshot: at length it is pinned meanwhile, so that no collector takes it away half-way; in short it is
not, and what is missing then may be so because the snapshot was collected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jvs.castore.backend import Kind, object_name
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import is_lost
from jvs.castore.gc.pins import Pin, pin_snapshot
from jvs.errors import CollectedError, MissingObjectError

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo


@contextmanager
def pinned(repo: Repo, *snapshots: Digest | None, what: str, if_there: Iterable[Digest] = ()) -> Iterator[None]:
    """Keep these snapshots (None: the empty tree, which nobody collects) while the context lasts, and those of
    `if_there` that are in the store; what: the operation, for people. Raises CollectedError when one is gone. Where the
    store cannot be written, nobody collects either.
    """
    pins: list[Pin] = []
    try:
        if not repo.store.readonly:
            for snapshot in snapshots:
                if snapshot is not None:
                    pins.append(pin_snapshot(repo.store, snapshot, what, if_there=if_there))
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
        with repo.store.read() as txn:
            lost = is_lost(txn, object_name(Kind.PAGE, snapshot))
        if lost or repo.has_snapshot(snapshot):
            raise
        raise CollectedError(f"snapshot {snapshot.hex()[:12]} was collected while it was read") from error
