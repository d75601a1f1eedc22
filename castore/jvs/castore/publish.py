"""The publish rule, for every backend: how objects enter an index so that it stays closed (DESIGN 6, rule 1).

Objects are inserted children first. In the transaction that inserts an object each of its direct children is looked
up; one that is not there aborts the transaction. A page and its layout enter together, and a page that is already
there keeps the layout it has. One transaction makes at most `MAX_LOOKUPS` look-ups or takes `MAX_SECONDS`, so that
no publish stalls other writers; the last one runs the caller's `then`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Generic, NamedTuple, Protocol, TypeVar

from jvs.castore.backend import Codec, Kind, Ref, WriteTxn
from jvs.castore.digest import Digest
from jvs.errors import MissingChildrenError

MAX_LOOKUPS = 4096
MAX_SECONDS = 0.020

P = TypeVar("P")
T = TypeVar("T")
_PREFIX = {kind: bytes((kind,)) for kind in Kind}


def object_name(kind: Kind, key: Digest) -> bytes:
    """The object's name as one string of bytes: its kind, then its key."""
    return _PREFIX[kind] + key


def ref_of(name: bytes) -> Ref:
    """The inverse of `object_name`."""
    return Ref(Kind(name[0]), name[1:])


class Pending(NamedTuple, Generic[P]):
    """An object that was put and is not yet in the index. `place`: where the backend has it; `children`: names."""

    name: bytes
    codec: Codec
    size: int
    stored: int
    children: tuple[bytes, ...]
    place: P


class IndexTxn(WriteTxn, Protocol[P]):
    """What a backend's write transaction offers to `PublishQueue`."""

    def height_of(self, name: bytes) -> int | None:
        """The height in the index value of an object that is there to be built on, or None."""

    def insert(self, item: Pending[P], height: int) -> None:
        """Insert, replacing what was under that name."""


class PublishQueue(Generic[P]):
    """The objects of one writer that wait for publication."""

    def __init__(self) -> None:
        self._pending: dict[bytes, Pending[P]] = {}
        self._seen: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def first(self, kind: Kind, key: Digest) -> bool:
        """Whether this writer sees the name for the first time (and notes it)."""
        name = object_name(kind, key)
        if name in self._seen:
            return False
        self._seen.add(name)
        return True

    def add(
        self, kind: Kind, key: Digest, codec: Codec, size: int, stored: int, children: Sequence[Ref], place: P
    ) -> None:
        """Queue an object."""
        name = object_name(kind, key)
        below = tuple([_PREFIX[child] + child_key for child, child_key in children])
        self._pending[name] = Pending(name, codec, size, stored, below, place)

    def publish(
        self, write: Callable[[], AbstractContextManager[IndexTxn[P]]], then: Callable[[WriteTxn], T] | None
    ) -> T | None:
        """Insert everything queued, in as many transactions of `write` as it takes; `then` runs in the last one.

        Raises MissingChildrenError: nothing of the failing transaction is inserted, and what was not inserted stays
        queued, so that the caller can put what is missing and publish again. The same when `then` raises.
        """
        units = self._units()
        unit = next(units, None)
        if unit is None and then is None:
            return None
        result = None
        while True:
            done: list[bytes] = []
            missing: dict[bytes, None] = {}
            with write() as txn:
                lookups, deadline = 0, perf_counter() + MAX_SECONDS
                while unit is not None and lookups < MAX_LOOKUPS and perf_counter() < deadline:
                    lookups += self._insert(txn, unit, missing)
                    done.extend(item.name for item in unit)
                    unit = next(units, None)
                if missing:
                    self._seen.difference_update(missing)
                    raise MissingChildrenError([ref_of(name) for name in missing])
                if unit is None and then is not None:
                    result = then(txn)
            for name in done:
                del self._pending[name]
            if unit is None:
                return result

    def _insert(self, txn: IndexTxn[P], unit: list[Pending[P]], missing: dict[bytes, None]) -> int:
        """Insert one unit unless it is there; note the children that are nowhere. Returns how many look-ups it took."""
        lookups = 1
        if txn.height_of(unit[-1].name) is not None:
            return lookups
        for item in unit:
            page, height = item.name[0] == Kind.PAGE, 0
            for child in item.children:
                lookups += 1
                below = txn.height_of(child)
                if below is not None:
                    height = max(height, below)
                elif child not in self._pending:
                    missing[child] = None
            txn.insert(item, height + 1 if page else 0)
        return lookups

    def _units(self) -> Iterator[list[Pending[P]]]:
        """Everything queued, children before parents; a page comes together with its layout."""
        queued = dict(self._pending)
        done: set[bytes] = set()
        opened: set[bytes] = set()
        for first in queued.values():
            if first.name[0] == Kind.LAYOUT:
                if _PREFIX[Kind.PAGE] + first.name[1:] not in queued:
                    raise ValueError("a layout is put directly before its page")
                continue
            path = [first]
            while path:
                item = path[-1]
                if item.name in done:
                    path.pop()
                    continue
                unit = [item]
                if item.name[0] == Kind.PAGE and (layout := queued.get(_PREFIX[Kind.LAYOUT] + item.name[1:])):
                    unit.insert(0, layout)
                below = [
                    child for part in unit for child in part.children if child in queued and child not in done
                ]
                waiting = [queued[child] for child in below if child != unit[0].name]
                if waiting:
                    if item.name in opened:
                        raise ValueError("an object may not lie below itself")
                    opened.add(item.name)
                    path.extend(waiting)
                    continue
                path.pop()
                done.update(part.name for part in unit)
                yield unit
