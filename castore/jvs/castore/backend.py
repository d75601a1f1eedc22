"""What a store must do: the contracts between the content plane and the places that keep bytes.

A *backend* keeps encoded objects under (kind, key) and never looks inside them; hashing, verification, compression and
chunking happen once for all backends in `objects.ObjectStore`. A *meta store* keeps small ordered tables (labels,
reflog, journal) with serialisable write transactions. `local.LocalStore` and `memory.MemoryStore` are both at once,
so that a push's last index insertion and its label move are one transaction.

The closed index (DESIGN 6): whenever the index holds a page, layout or recipe it holds everything directly below it.
Writers keep it by naming each object's direct children; `publish` looks every child up in the inserting transaction.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from jvs.castore.digest import Digest
from jvs.errors import MissingObjectError

T = TypeVar("T")


class Kind(enum.IntEnum):
    """The kinds of object a store keeps. The numbers are part of the on-disk format."""

    CHUNK = 1
    RECIPE = 2
    PAGE = 3
    LAYOUT = 4
    PART = 5


class Codec(enum.IntEnum):
    """How an object's bytes are encoded. The numbers are part of the on-disk format."""

    RAW = 0
    ZSTD = 1


class Ref(NamedTuple):
    """The name of one object. A layout's key is the digest of its page."""

    kind: Kind
    key: Digest


_PREFIX: Final = {kind: bytes((kind,)) for kind in Kind}

LEAVES: Final = frozenset((Kind.CHUNK, Kind.PART))
"""The kinds that have nothing below them."""

WITH_HEIGHT: Final = frozenset((Kind.PAGE, Kind.RECIPE))
"""The kinds that may have objects of their own kind below them: the collector removes them from the top."""


def object_name(kind: Kind, key: Digest) -> bytes:
    """The object's name as one string of bytes: its kind, then its key."""
    return _PREFIX[kind] + key


def ref_of(name: bytes) -> Ref:
    """The inverse of `object_name`."""
    return Ref(Kind(name[0]), name[1:])


def missing_object(kind: Kind, key: Digest) -> MissingObjectError:
    """The error for an object that is not there."""
    name = kind.name.lower()
    return MissingObjectError(f"{name} {key.hex()} is not in the store", kind=name, digest=key.hex())


class Stored(NamedTuple):
    """An object as a backend keeps it: `data` encoded with `codec`, `size` its plain length in bytes."""

    codec: Codec
    size: int
    data: bytes


class ObjectInfo(NamedTuple):
    """What the index knows of an object without reading it.

    size    plain length in bytes
    stored  encoded length in bytes
    height  pages and recipes: 1 + the largest height of a child of that kind (without one: 1); else 0
    """

    kind: Kind
    key: Digest
    size: int
    stored: int
    height: int


class Table(NamedTuple):
    """A named, ordered table of the meta store (bytes -> bytes).

    name  2 to 32 of `a-z0-9._-`, beginning with a letter (a backend's own tables have other names)
    Keys have at most 400 bytes. A table that was never written is empty.
    """

    name: str


class ReadTxn(Protocol):
    """A consistent view of the tables and of the object index. Valid inside its `with` block, on its own thread."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value, checked against its checksum (IndexDamagedError), or None."""

    def scan(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) with start <= key < stop in key order (backwards when `reverse`); values checked."""

    def count(self, table: Table) -> int:
        """Number of keys in the table, O(1)."""

    def check_table(self, table: Table) -> None:
        """Compare the table with its recorded count and digest: a key that silently vanished raises IndexDamagedError.

        O(table) the first time in a process, O(1) afterwards. To be called before "there is no such X" is believed.
        """

    def info(self, kind: Kind, key: Digest) -> ObjectInfo | None:
        """What the index knows of an object, or None."""

    def layout_seq(self, page: Digest) -> int | None:
        """The sequence number of a page's layout: it rises with every replacement. None: there is no layout."""


class WriteTxn(ReadTxn, Protocol):
    """A serialisable write transaction: all of it is durable when the `with` block ends, or none of it.

    No file I/O, compression or chunking inside: a writer that holds a transaction stalls every other one.
    """

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Insert or replace."""

    def delete(self, table: Table, key: bytes) -> bool:
        """Remove; whether it was there."""

    def require(self, root: Digest) -> None:
        """Make page `root` a root: it must be in the index, and every collector that is marking is told of it. One
        look-up suffices because the index is closed. Raises CollectedError; when the page is condemned but still
        there, one that `transact` and `ObjectWriter.publish` answer by un-condemning it and trying again."""

    def journal(self, op: str, skeleton: Mapping[str, Any], body: Mapping[str, Any] | None = None) -> None:
        """Append a record to the store's hash-chained journal when this transaction commits.

        `skeleton` and `body` are msgpack-able; together at most 16 KiB encoded (UsageError otherwise). The chain covers
        the skeleton and the *digest* of the body, so that a body may be dropped later and every hash still verifies.
        """


class MetaStore(Protocol):
    """Small ordered tables with transactions, beside the objects."""

    def read(self) -> AbstractContextManager[ReadTxn]:
        """A consistent read view; nests and runs beside writers."""

    def write(self) -> AbstractContextManager[WriteTxn]:
        """A write transaction; waits for the one that is running. An exception inside aborts it.

        Raises ReadOnlyError, NoSpaceError; not re-entrant in one thread.
        """

    def transact(self, work: Callable[[WriteTxn], T]) -> T:
        """Run `work` in a write transaction and return what it returns. It may run several times: what it makes a root
        may have to be saved from a collector first. Whoever moves a label or makes a root uses this."""

    def journal_records(self, start: int = 0) -> Iterator[JournalRecord]:
        """Every committed journal record from sequence number `start`, verified as it goes (IntegrityError)."""


class JournalRecord(NamedTuple):
    """One record of the journal: `digest` chains to `prev`; `body` is None when it was dropped."""

    seq: int
    at_ms: int
    op: str
    skeleton: Mapping[str, Any]
    body: Mapping[str, Any] | None
    prev: Digest
    digest: Digest


class ObjectWriter(Protocol):
    """Writes objects of one push. Not thread-safe; close it (or use `with`) to give its pack back.

    Nothing put is visible to anyone before `publish`. After a failed write or fsync the writer and its store handle
    are finished: nothing is retried on the same descriptor (DESIGN 4.3).
    """

    def put(self, kind: Kind, key: Digest, stored: Stored, children: Sequence[Ref] = ()) -> None:
        """Append an object. `children`: every object directly below it (a page: its child pages and its layout, if
        it has one; a layout: its parts, chunks and recipes; a recipe: its chunks or leaves). Children are put before
        parents; a layout directly before its page. A second put of the same name in one writer is ignored."""

    def replace_layout(self, page: Digest, seq: int, stored: Stored, children: Sequence[Ref]) -> None:
        """Append a new layout for a page that is in the store, to replace the one with sequence number `seq` when it
        is published. A layout is the only object that can be replaced; when another one has taken the place of `seq`
        meanwhile, or the page is gone, this one is dropped: read again, and try again."""

    def publish(self, then: Callable[[WriteTxn], T] | None = None) -> T | None:
        """Make everything put so far durable, insert it into the index (children before parents, each child looked up
        in the inserting transaction), and run `then` in the last transaction, which commits both.

        Objects that the index already holds are skipped; a page that is already there keeps its own layout.
        Returns what `then` returned. Raises MissingChildrenError, having inserted nothing of the failing transaction,
        when a child is not there: the caller writes it again. May be called several times.
        """

    def read_back(self, look: Callable[[Kind, Digest, Stored], None]) -> None:
        """Read everything put and not yet published from where it was written, and let `look` see it. Raises
        IntegrityError where that is not what was put, and what `look` raises."""

    def close(self) -> None:
        """Give the pack back. What was not published is forgotten."""

    def __enter__(self) -> ObjectWriter: ...

    def __exit__(self, *exc: object) -> None: ...


class Backend(Protocol):
    """Keeps encoded objects. Every call names the kind; every obligation is checked by `conformance`."""

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> Stored:
        """The object as it was put. Raises MissingObjectError, IntegrityError when its bytes fail their checksum.

        check  False: the caller compares the content with a digest of its own, so bytes that are the content itself
               need not be compared with their checksum here; when they are wrong, another `get` says what is.
        """

    def missing(self, kind: Kind, keys: Iterable[Digest]) -> set[Digest]:
        """Those of `keys` that the index does not hold; one batch, one consistent view."""

    def infos(self, kind: Kind, keys: Sequence[Digest]) -> list[ObjectInfo | None]:
        """What the index knows of each key, in order."""

    def list(self, kind: Kind) -> Iterator[ObjectInfo]:
        """Every object of a kind in key order; what is published meanwhile may or may not be seen."""

    def keys(self, kind: Kind) -> Iterator[Digest]:
        """The key of every object of a kind in order, fast: for counting and comparing, nothing is verified."""

    def writer(self) -> ObjectWriter:
        """A new writer; any number at once, in any number of processes."""

    def delete(self, kind: Kind, keys: Iterable[Digest]) -> int:
        """Remove from the index those of `keys` that are there; returns how many. For the collector and for tests:
        the caller answers for the closed index."""

    def flush(self) -> None:
        """Return when everything published is durable (a no-op where publish already is)."""

    def close(self) -> None:
        """Release everything; idempotent."""


class Lock(Protocol):
    """A lock that is held. It goes with the process that holds it, whatever becomes of that process."""

    name: str

    def release(self) -> None:
        """Give it up, and forget its name; idempotent."""


class Locks(Protocol):
    """Named locks by which anybody can tell whether somebody else still lives: never a pid, never an age."""

    def hold(self) -> Lock:
        """Hold a lock of a new, never reused name. Raises ReadOnlyError, NoSpaceError."""

    def take(self, name: str) -> Lock | None:
        """Take the lock of somebody who is gone; None while its holder lives."""


class Store(Backend, MetaStore, Protocol):
    """Objects and tables in one place, so that publishing and moving a label are one transaction."""

    locks: Locks
