"""The local store: a directory of packs, an index, a journal (DESIGN 4.3; byte by byte in docs/format.md)."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Final, TypeVar

from jvs.castore import records
from jvs.castore.backend import (
    JournalRecord,
    Kind,
    Locks,
    ObjectInfo,
    Stored,
    WriteTxn,
    missing_object,
    object_name,
)
from jvs.castore.digest import Digest
from jvs.castore.gc.rescue import transact
from jvs.castore.local.committed import CommittedFile, check_not_rolled_back, rolled_back
from jvs.castore.local.config import StoreConfig, decode_config
from jvs.castore.local.env import Environment, acquire
from jvs.castore.local.failures import is_short_write, os_error
from jvs.castore.local.journal import JournalFile, transactions_in, verified
from jvs.castore.local.locks import FileLocks
from jvs.castore.local.making import check_filesystem, check_version, make_store
from jvs.castore.local.pack import PackReader
from jvs.castore.local.tables import ObjectRow
from jvs.castore.local.txn import LocalReadTxn, LocalWriteTxn
from jvs.castore.local.writer import LocalWriter
from jvs.castore.settings import StoreSettings
from jvs.errors import (
    IntegrityError,
    JvsError,
    NoSpaceError,
    NoStoreError,
    ReadOnlyError,
    StoreError,
)

T = TypeVar("T")

_PLATFORMS: Final = ("linux", "darwin")
_LIST_BATCH: Final = 4096
_KEYS_BATCH: Final = 65_536
_DELETE_BATCH: Final = 256


class LocalStore:
    """A store in a directory; see `backend.Store` for what each method promises. Thread-safe; not usable after fork.

    path, uuid, settings  where it is, its name among all stores (32 hex digits), how it stores content
    readonly              on a read-only file system: everything that would write raises ReadOnlyError
    created               whether `create` made it just now
    """

    def __init__(self, path: str, config: StoreConfig, *, readonly: bool, created: bool) -> None:
        self.path = path
        self.uuid = config.uuid
        self.settings = config.settings
        self.readonly = readonly
        self.created = created
        self.packs_path = os.path.join(path, "packs")
        self.index_path = os.path.join(path, "index")
        self.cache_path = os.path.join(path, "cache")
        self.locks: Locks = FileLocks(self)
        self._pid = os.getpid()
        self._failure: str | None = None
        self._closed = False
        self._packs = PackReader(self.packs_path)
        try:
            self._committed = CommittedFile(os.path.join(path, "committed"), readonly=readonly)
            self._journal = JournalFile(
                os.path.join(path, "journal"), self._committed, readonly=readonly, on_failure=self.fail
            )
        except FileNotFoundError as exc:
            raise IntegrityError("the store has lost its journal", code="journal-damaged") from exc
        except OSError as exc:
            raise os_error(exc, "opening the store") from exc
        self._env: Environment = acquire(self.index_path, readonly=readonly)
        try:
            self._examine()
        except BaseException:
            self.close()
            raise

    # -- making and opening

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        settings: StoreSettings | None = None,
        also: Callable[[str], None] | None = None,
    ) -> LocalStore:
        """Make a store in `path` (parents too) and open it; one that is there is opened unchanged (`created` False).

        also: makes what else belongs in the directory; the store comes to be with it, or not at all.
        Raises StateError (already-exists) for another directory with something in it, and what `open` raises.
        """
        _check_platform()
        where = os.path.abspath(path)
        created = make_store(where, settings or StoreSettings(), also)
        return cls._open(where, nearest=False, created=created)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, nearest: bool = False) -> LocalStore:
        """Open the store in `path`.

        nearest  it was found by looking upwards, not named: refused unless it belongs to this user or to root
        Raises NoStoreError (no-store, not-a-store, foreign-store), StoreError (format-unsupported,
        network-filesystem, unsupported-platform), ReadOnlyError, IntegrityError (index-damaged, index-rolled-back,
        journal-damaged, damaged).
        """
        return cls._open(os.path.abspath(path), nearest=nearest, created=False)

    @classmethod
    def _open(cls, path: str, *, nearest: bool, created: bool) -> LocalStore:
        _check_platform()
        check_version(path)
        if nearest and os.stat(path).st_uid not in (os.geteuid(), 0):
            raise NoStoreError(f"{path} belongs to another user", code="foreign-store")
        check_filesystem(path)
        try:
            with open(os.path.join(path, "config"), "rb") as file:
                config = decode_config(file.read(1 << 16))
            readonly = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
        except FileNotFoundError as exc:
            raise IntegrityError("the store has lost its file config", next="jvs doctor --repair") from exc
        except OSError as exc:
            raise os_error(exc, f"opening the store {path}") from exc
        return cls(path, config, readonly=readonly, created=created)

    def _examine(self) -> None:
        """Look for an index that went back, and for a journal that does not end as the index says."""
        noted = self._committed.highest()
        with self.read() as txn:
            check_not_rolled_back(noted, txn.id)
            head, tail = txn.journal_head(), txn.journal_tail()
        if self._journal.size() == head.length and self._journal.ends_with(head.length, tail):
            return
        if not self.readonly:
            with self.write() as write:
                self._settle(write, compare=True)

    def close(self) -> None:
        """Sync the journal and release everything; idempotent."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._journal.close()
        self._committed.close()
        self._packs.close()
        self._env.release()

    def __enter__(self) -> LocalStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def fail(self, reason: str) -> None:
        """After this nothing is written through this handle: a failed sync leaves nobody knowing what is on disk."""
        self._failure = self._failure or reason

    def check_usable(self, *, writing: bool = False) -> None:
        """Raises StoreError when this handle may not be used (that way)."""
        if self._pid != os.getpid():
            raise StoreError("this store was opened by the parent of this process", code="forked")
        if self._closed:
            raise StoreError("this store has been closed", next="open it again")
        if writing and self.readonly:
            raise ReadOnlyError(f"the store {self.path} is on a read-only file system")
        if writing and self._failure:
            raise StoreError(f"an earlier write failed: {self._failure}", code="handle-failed")

    # -- transactions

    def read(self) -> _Read:
        """See `backend.MetaStore`."""
        self.check_usable()
        return _Read(self._env)

    def write(self) -> _Write:
        """See `backend.MetaStore`."""
        self.check_usable(writing=True)
        return _Write(self, self._env)

    def transact(self, work: Callable[[WriteTxn], T]) -> T:
        """See `backend.MetaStore`."""
        return transact(self, work)

    def settle(self, txn: LocalWriteTxn) -> None:
        """Make the journal end where LMDB says, at the start of every write transaction."""
        if self._journal.size() != txn.head.length:
            self._settle(txn, compare=False)

    def _settle(self, txn: LocalWriteTxn, *, compare: bool) -> None:
        head, size = txn.head, self._journal.size()
        check_not_rolled_back(self._committed.highest(), txn.id - 1)
        if size > head.length:
            beyond = self._journal.beyond(head.length)
            if len(beyond) > records.MAX_TRANSACTION or not transactions_in(beyond) <= {txn.id}:
                raise rolled_back("the journal holds more than the index knows")
            self._journal.cut(head.length)
        if size < head.length or compare:
            tail = txn.journal_tail()
            start = head.length - sum(map(len, tail))
            if not 0 <= start <= size:
                raise IntegrityError("the journal has lost its end", code="journal-damaged")
            if not self._journal.ends_with(head.length, tail):
                self._journal.cut(start)
                self._journal.append(b"".join(tail), start)

    def damaged_slots(self) -> list[int]:
        """Slots of the file `committed` that hold what was never written."""
        return self._committed.damaged_slots()

    def clear_slots(self, places: Iterable[int]) -> None:
        """Empty these slots of the file `committed`: they say nothing. Raises JvsError."""
        self.check_usable(writing=True)
        try:
            for place in places:
                self._committed.clear(place)
        except OSError as exc:
            raise os_error(exc, "writing the file committed") from exc

    def noted(self) -> int:
        """The last transaction known to have been acknowledged (see `committed`)."""
        return self._committed.highest()

    def commit(self, txn: LocalWriteTxn) -> None:
        """Commit a write transaction: journal, LMDB, note; returns when all of it is durable."""
        frames = txn.seal(self._committed.synced)
        if not txn.dirty:
            txn.abort()
            return
        if frames:
            self._journal.append(frames, txn.head.length - len(frames))
        try:
            txn.commit()
        except NoSpaceError:
            raise
        except JvsError as exc:
            self.fail(exc.message)
            if is_short_write(exc, self.index_path):
                raise NoSpaceError("index: No space left on device") from exc
            raise
        try:
            self._committed.note(txn.id)
        except OSError as exc:
            # The transaction is durable; only the watch over LMDB is blind to it.
            self.fail(f"noting a commit: {exc.strerror}")
        if frames:
            self._journal.appended(txn.head.end.seq)

    def journal_records(self, start: int = 0) -> Iterator[JournalRecord]:
        """See `backend.MetaStore`."""
        with self.read() as txn:
            head, tail = txn.journal_head(), txn.journal_tail()
        yield from verified(self._frames(head.length, tail), start)

    def _frames(self, length: int, tail: list[bytes]) -> Iterator[bytes]:
        yield from self._journal.frames(length - sum(map(len, tail)))
        yield from tail

    # -- objects

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> Stored:
        """See `backend.Backend`."""
        name = object_name(kind, key)
        failed: JvsError | None = None
        last: bytes | None = None
        while True:
            with self.read() as txn:
                value = txn.object_value(name)
            if value is None:
                break
            if value == last:
                assert failed is not None
                raise failed
            # An object may have moved to another pack since it was looked up: as long as it does, look again.
            last, row = value, ObjectRow(value)
            try:
                return self._packs.read(kind, key, row.pack, row.offset, row.stored, check=check)
            except IntegrityError as exc:
                failed = exc
            except OSError as exc:
                if exc.errno not in (errno.ENOENT, errno.EIO):
                    raise os_error(exc, f"reading pack {row.pack.hex()}") from exc
                gone = exc.errno == errno.ENOENT
                how = f"its pack {row.pack.hex()} {'is gone' if gone else 'cannot be read there: ' + str(exc.strerror)}"
                failed = IntegrityError(
                    f"{kind.name.lower()} {key.hex()} is lost: {how}",
                    kind=kind.name.lower(),
                    digest=key.hex(),
                    pack=row.pack.hex(),
                    offset=row.offset,
                )
        raise missing_object(kind, key)

    def missing(self, kind: Kind, keys: Iterable[Digest]) -> set[Digest]:
        """See `backend.Backend`."""
        with self.read() as txn:
            return {key for key in keys if txn.object_row(object_name(kind, key)) is None}

    def infos(self, kind: Kind, keys: Sequence[Digest]) -> list[ObjectInfo | None]:
        """See `backend.Backend`."""
        with self.read() as txn:
            return [txn.info(kind, key) for key in keys]

    def list(self, kind: Kind) -> Iterator[ObjectInfo]:
        """See `backend.Backend`."""
        after: Digest | None = None
        while True:
            with self.read() as txn:
                batch = [
                    ObjectInfo(kind, key, row.size, row.stored, row.height)
                    for key, row in islice(txn.objects(kind, after), _LIST_BATCH)
                ]
            yield from batch
            if len(batch) < _LIST_BATCH:
                return
            after = batch[-1].key

    def keys(self, kind: Kind) -> Iterator[Digest]:
        """See `backend.Backend`."""
        after: Digest | None = None
        while True:
            with self.read() as txn:
                batch = list(islice(txn.object_keys(kind, after), _KEYS_BATCH))
            yield from batch
            if len(batch) < _KEYS_BATCH:
                return
            after = batch[-1]

    def writer(self) -> LocalWriter:
        """See `backend.Backend`."""
        self.check_usable(writing=True)
        return LocalWriter(self)

    def delete(self, kind: Kind, keys: Iterable[Digest]) -> int:
        """See `backend.Backend`."""
        names, removed = iter([object_name(kind, key) for key in keys]), 0
        while batch := list(islice(names, _DELETE_BATCH)):
            with self.write() as txn:
                removed += sum(txn.remove(name) for name in batch)
        return removed

    def forget_pack(self, pack: bytes) -> None:
        """A pack was dropped: keep it open no longer."""
        self._packs.forget(pack)

    def flush(self) -> None:
        """See `backend.Backend`: publish returns only when everything is durable."""
        self.check_usable()


class _Read:
    """A read transaction as a context manager."""

    __slots__ = ("_env", "_txn")

    def __init__(self, env: Environment) -> None:
        self._env = env

    def __enter__(self) -> LocalReadTxn:
        self._txn = LocalReadTxn(self._env.begin(write=False), self._env)
        return self._txn

    def __exit__(self, *exc: object) -> None:
        self._txn.abort()


class _Write:
    """A write transaction as a context manager."""

    __slots__ = ("_env", "_store", "_txn")

    def __init__(self, store: LocalStore, env: Environment) -> None:
        self._store = store
        self._env = env

    def __enter__(self) -> LocalWriteTxn:
        raw = self._env.begin(write=True)
        try:
            self._txn = LocalWriteTxn(raw, self._env)
            self._store.settle(self._txn)
        except BaseException:
            raw.abort()
            self._env.active.discard(raw)
            raise
        return self._txn

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                self._store.commit(self._txn)
        finally:
            self._txn.abort()


def _check_platform() -> None:
    if sys.platform not in _PLATFORMS:
        raise StoreError(f"local stores do not work on {sys.platform}", code="unsupported-platform")
