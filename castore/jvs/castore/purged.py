"""Content that was purged, by digest: nothing brings it back unasked (`jvs fs purge`, docs/purge.md).

The list is part of the pointer plane (it is journaled there, `jvs.labels.purges`); here is what the content plane needs
to obey it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeVar

from jvs.castore.backend import Backend, ReadTxn, Table, WriteTxn
from jvs.castore.digest import Digest
from jvs.castore.manifest import Entry, small_files
from jvs.castore.names import display
from jvs.errors import CollectedError, PurgedContentError

T = TypeVar("T")

PURGED: Final = Table("purged")
"""Digest of a file or of a chunk -> id of the purge. Under `epoch`: how often something was added (8 bytes)."""

_EPOCH: Final = b"epoch"


def epoch(txn: ReadTxn) -> int:
    """How often something was added to the list; 0: never."""
    return int.from_bytes(txn.get(PURGED, _EPOCH) or b"", "big")


def is_purged(txn: ReadTxn, digest: Digest) -> bool:
    """Whether that file or chunk is on the list."""
    return txn.get(PURGED, digest) is not None


def add(txn: WriteTxn, digests: Iterable[Digest], purge: bytes) -> None:
    """Put digests on the list."""
    for digest in digests:
        txn.put(PURGED, digest, purge)
    txn.put(PURGED, _EPOCH, (epoch(txn) + 1).to_bytes(8, "big"))


def remove(txn: WriteTxn, digests: Iterable[Digest]) -> None:
    """Take digests off the list."""
    for digest in digests:
        txn.delete(PURGED, digest)


class Guard:
    """Keeps what was purged out of the trees of one writer.

    Looks at the list as each page is made, and in the transaction that makes a root of them whether it has grown since.

    allow    let everything pass, and note what of it is on the list
    allowed  what was
    """

    def __init__(self, backend: Backend, *, allow: bool) -> None:
        # what has no tables (a layer in memory, for trees that nobody keeps) has no list
        self._read: Callable[[], AbstractContextManager[ReadTxn]] | None = getattr(backend, "read", None)
        self._allow = allow
        self._epoch = self._now()
        self.allowed: dict[Digest, None] = {}

    def check(self, entries: Sequence[Entry]) -> None:
        """Raise PurgedContentError for the first file that was purged."""
        if not self._epoch or self._read is None:
            return
        with self._read() as txn:
            found = [file for file in small_files(entries) if is_purged(txn, file.digest)]
        if found and not self._allow:
            raise refused(found[0].name, found[0].digest)
        self.allowed.update(dict.fromkeys(file.digest for file in found))

    def before(self, then: Callable[[WriteTxn], T]) -> Callable[[WriteTxn], T]:
        """`then`, unless something was purged since this guard was made: pages before that were not compared."""

        def checked(txn: WriteTxn) -> T:
            if not self._allow and epoch(txn) != self._epoch:
                raise CollectedError("content was purged meanwhile", next="run the same command again")
            return then(txn)

        return checked

    def _now(self) -> int:
        if self._read is None:
            return 0
        with self._read() as txn:
            return epoch(txn)


def refused(path: bytes, digest: Digest) -> PurgedContentError:
    """The error for a file that was purged; of the path as much as is known."""
    shown = display(path)
    message = f"{shown} was purged from this store, and is not stored again unasked"
    return PurgedContentError(message, name=path.rpartition(b"/")[2], path=shown, digest=digest.hex())
