"""Un-condemning: how what a collector has condemned comes to be built on, or to be a root, again (DESIGN 6).

The walk goes down through condemned names only, outside any transaction, and is applied children first in small
transactions, so that at no moment anything uncondemned has a condemned child. It starts again when another set was
condemned meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from jvs.castore.backend import LEAVES, Backend, ReadTxn, Ref, WriteTxn, object_name, ref_of
from jvs.castore.codec import decode
from jvs.castore.gc.marks import (
    CONDEMNED,
    MARKING,
    CollectedStore,
    CondemnedError,
    collectors,
    flips,
    sweep_key,
)
from jvs.castore.objects import object_children
from jvs.errors import MissingObjectError

T = TypeVar("T")

BATCH: Final = 256
"""Most names one transaction un-condemns."""


class _Walk(NamedTuple):
    """Condemned names, children first, as of a number of flips."""

    flips: int
    order: list[bytes]


def transact(store: CollectedStore, work: Callable[[WriteTxn], T]) -> T:
    """`backend.MetaStore.transact`, for every store with collectors."""
    while True:
        try:
            with store.write() as txn:
                return work(txn)
        except CondemnedError as error:
            uncondemn(store, error.names)


def uncondemn(store: CollectedStore, names: Iterable[bytes]) -> None:
    """Take `names`, and all that is condemned below them, out of every condemned set.

    A name that is gone, or goes meanwhile, is passed over: whoever asked looks again, and finds out.
    """
    wanted = tuple(names)
    while not _apply(store, _walk(store, wanted)):
        pass


def _walk(store: CollectedStore, names: Sequence[bytes]) -> _Walk:
    with store.read() as txn:
        started = flips(txn)
    order: list[bytes] = []
    seen: set[bytes] = set()
    stack: list[tuple[bytes, bool]] = [(name, False) for name in reversed(names)]
    while stack:
        name, below_done = stack.pop()
        if below_done:
            order.append(name)
            continue
        if name in seen:
            continue
        seen.add(name)
        with store.read() as txn:
            if not _is_condemned(txn, name):
                continue
        try:
            below = children_of(store, ref_of(name))
        except MissingObjectError:
            continue
        stack.append((name, True))
        stack.extend((child, False) for child in below if child not in seen)
    return _Walk(started, order)


def _apply(store: CollectedStore, walk: _Walk) -> bool:
    """False when the walk is out of date."""
    for start in range(0, len(walk.order), BATCH):
        with store.write() as txn:
            if flips(txn) != walk.flips:
                return False
            for name in walk.order[start : start + BATCH]:
                height = txn.height_of(name)
                if height is None:
                    # Swept, and so is whatever was above it; other names of the walk are not below it.
                    continue
                txn.marks.uncondemn(name, height)
    return True


def _is_condemned(txn: ReadTxn, name: bytes) -> bool:
    info = txn.info(*ref_of(name))
    if info is None:
        return False
    return any(
        txn.get(CONDEMNED, sweep_key(collector.id, name, info.height)) is not None
        for collector in collectors(txn)
        if collector.state != MARKING
    )


def children_of(store: Backend, ref: Ref) -> list[bytes]:
    """The names of everything directly below an object of the store. Raises MissingObjectError, IntegrityError."""
    if ref.kind in LEAVES:
        return []
    plain = decode(ref.kind, store.get(ref.kind, ref.key))
    return [object_name(*child) for child in object_children(ref.kind, ref.key, plain)]
