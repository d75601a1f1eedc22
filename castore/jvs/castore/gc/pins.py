"""Pins of running operations: roots that live as long as the process that holds them (DESIGN 6).

A push that needs several transactions pins what it has published so far, a pull or a mount the snapshot it reads. What
a pin protects is durable and known to every collector; whether it still counts is decided by a lock, never by an age.
Pins that people make are the pointer plane's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Final

from jvs.castore.backend import Kind, Lock, Locks, ReadTxn, WriteTxn, object_name, ref_of
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import PINS, CollectedStore, MarkedTxn
from jvs.errors import JvsError

PUSH: Final = "push"

_ID_SIZE: Final = 16
_BATCH: Final = 256


class Pin:
    """What one running operation keeps. Not thread-safe; `release` when done (or use `with`)."""

    def __init__(self, store: CollectedStore, what: str) -> None:
        """what: the operation, for people (`pull`, ...); PUSH for one that pins what it inserts. Nothing is protected
        yet."""
        self._store = store
        self._what = what
        self._lock: Lock = store.locks.hold()
        self._id = bytes.fromhex(self._lock.name)
        self._names: set[bytes] = set()

    def change(self, txn: MarkedTxn, add: Collection[bytes], drop: Iterable[bytes]) -> None:
        """In the transaction that makes them roots: protect `add` (objects that are there and not condemned), and no
        longer `drop` (which something protected now has below it)."""
        if not add and not self._names:
            return
        txn.put(PINS, self._id, self._what.encode())
        for name in drop:
            txn.delete(PINS, self._id + name)
            self._names.discard(name)
        for name in add:
            txn.put(PINS, self._id + name, b"")
            self._names.add(name)
        txn.marks.tell(add)

    def clear(self, txn: WriteTxn) -> None:
        """In the transaction that makes a lasting root of what was protected: let it go."""
        # by what is written, not by what is known here: a transaction before this one may have failed at its commit
        for key in [key for key, _ in txn.scan(PINS, self._id, _after(self._id))]:
            txn.delete(PINS, key)
        self._names = set()

    def release(self) -> None:
        """Protect nothing any more; idempotent. What cannot be written down now the next collector removes."""
        if self._names:
            try:
                with self._store.write() as txn:
                    self.clear(txn)
                    if self._what == PUSH:
                        txn.marks.unrooted()
            except JvsError:
                pass
        self._lock.release()

    def __enter__(self) -> Pin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def pin_snapshot(store: CollectedStore, root: Digest, what: str, *, if_there: Iterable[Digest] = ()) -> Pin:
    """A pin of a whole snapshot, for reading it at length, and of those others that are there still. Raises
    CollectedError when it is gone."""
    pin = Pin(store, what)
    others = set(if_there) - {root}

    def protect(txn: WriteTxn) -> None:
        roots = [root, *(other for other in others if txn.info(Kind.PAGE, other) is not None)]
        for one in roots:
            txn.require(one)
        pin.change(txn, [object_name(Kind.PAGE, one) for one in roots], ())  # type: ignore[arg-type]  # the store's own

    try:
        store.transact(protect)
    except BaseException:
        pin.release()
        raise
    return pin


def live_pins(txn: ReadTxn, locks: Locks) -> Iterator[tuple[str, bytes]]:
    """(what holds it, object name) of each root of each pin whose holder lives.

    What a living pin names is there: one that names something else is being removed by a collector, which holds its
    lock.
    """
    holder, alive = b"", False
    for key, value in txn.scan(PINS):
        if len(key) == _ID_SIZE:
            holder, alive = value, _alive(locks, key.hex())
        elif alive and txn.info(*ref_of(key[_ID_SIZE:])) is not None:
            yield holder.decode("utf-8", "replace"), key[_ID_SIZE:]


def pin_locks(txn: ReadTxn) -> list[str]:
    """The names of the locks of all pins, of those whose holders are gone too."""
    return [key.hex() for key, _ in txn.scan(PINS) if len(key) == _ID_SIZE]


def remove_dead_pins(store: CollectedStore) -> int:
    """Forget the pins whose holders are gone; how many."""
    with store.read() as txn:
        pins = [(key, value) for key, value in txn.scan(PINS) if len(key) == _ID_SIZE]
    removed = 0
    for pin, what in pins:
        lock = store.locks.take(pin.hex())
        if lock is None:
            continue
        try:
            _remove(store, pin, unrooted=what == PUSH.encode())
        finally:
            lock.release()
        removed += 1
    return removed


def _remove(store: CollectedStore, pin: bytes, *, unrooted: bool) -> None:
    while True:
        with store.write() as txn:
            # the row that says there is a pin goes last
            rows = list(islice(txn.scan(PINS, pin, _after(pin), reverse=True), _BATCH))
            for key, _ in rows:
                txn.delete(PINS, key)
            if unrooted:
                txn.marks.unrooted()
        if len(rows) < _BATCH:
            return


def _after(pin: bytes) -> bytes:
    """Where the rows of a pin end."""
    return pin + b"\xff" * 64


def _alive(locks: Locks, name: str) -> bool:
    lock = locks.take(name)
    if lock is not None:
        lock.release()
    return lock is None
