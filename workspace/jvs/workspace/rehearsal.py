"""`--dry-run` for whatever moves a label: the move is made, answered, and taken back, in one transaction.

So a dry run refuses exactly what the real thing would refuse, and costs no second implementation of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from jvs.castore.backend import JournalRecord, MetaStore, ReadTxn, WriteTxn
from jvs.labels.store import Labels

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo


T = TypeVar("T")


class _TakeBack(Exception):
    """Ends a transaction that must not commit."""


class _Rehearsal:
    """A MetaStore whose write transactions are aborted when they would be committed."""

    def __init__(self, store: MetaStore) -> None:
        self._store = store

    def read(self) -> AbstractContextManager[ReadTxn]:
        """As the store."""
        return self._store.read()

    @contextmanager
    def write(self) -> Iterator[WriteTxn]:
        """As the store, but nothing of it stays."""
        try:
            with self._store.write() as txn:
                yield txn
                raise _TakeBack
        except _TakeBack:
            pass

    def transact(self, work: Callable[[WriteTxn], T]) -> T:
        """As the store, but nothing of it stays (what had to be saved from a collector first stays saved)."""
        results: list[T] = []

        def tried(txn: WriteTxn) -> None:
            results.append(work(txn))
            raise _TakeBack

        with suppress(_TakeBack):
            self._store.transact(tried)
        return results[-1]

    def journal_records(self, start: int = 0) -> Iterator[JournalRecord]:
        """As the store."""
        return self._store.journal_records(start)


def rehearse(repo: Repo) -> None:
    """From now on reset, undo, delete_label and the like answer as if they were done, and do nothing.

    Not for push, pull and remove, which write objects and files.
    """
    repo.labels = Labels(_Rehearsal(repo.store), repo.actor, nonce=repo.nonce)
