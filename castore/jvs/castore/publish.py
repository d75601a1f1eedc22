"""The publish rule, for every backend: how objects enter an index so that it stays closed (DESIGN 6, rule 1).

Objects are inserted children first. In the transaction that inserts an object each of its direct children is looked
up; one that is not there aborts the transaction, and so does a condemned one, which is un-condemned first. A page and
its layout enter together, and a page that is already there keeps the layout it has. One transaction makes at most
`MAX_LOOKUPS` look-ups or takes `MAX_SECONDS`, so that no publish stalls other writers; the last one runs the caller's
`then`. Whoever needs several of them pins what he has published so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Generic, NamedTuple, Protocol, TypeVar

from jvs.castore.backend import WITH_HEIGHT, Codec, Kind, Ref, WriteTxn, object_name, ref_of
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import CollectedStore, CondemnedError, MarkedTxn
from jvs.castore.gc.pins import PUSH, Pin
from jvs.errors import MissingChildrenError

MAX_LOOKUPS = 4096
MAX_SECONDS = 0.020

P = TypeVar("P")
T = TypeVar("T")


class Pending(NamedTuple, Generic[P]):
    """An object that was put and is not yet in the index. `place`: where the backend has it; `children`: names."""

    name: bytes
    codec: Codec
    size: int
    stored: int
    children: tuple[bytes, ...]
    place: P
    replaces: int = 0  # a layout: the sequence number of the one it replaces; 0: it is its page's first


class IndexTxn(MarkedTxn, Protocol[P]):
    """What a backend's write transaction offers to `PublishQueue`."""

    def insert(self, item: Pending[P], height: int) -> None:
        """Insert; a layout takes the place of one that was there."""

    def layout_seq(self, page: Digest) -> int | None:
        """See `backend.ReadTxn`."""


class PublishQueue(Generic[P]):
    """The objects of one writer that wait for publication."""

    def __init__(self, store: CollectedStore) -> None:
        self._store = store
        self._pending: dict[bytes, Pending[P]] = {}
        self._seen: set[bytes] = set()
        self._pin: Pin | None = None
        self._tops: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def pending(self) -> list[Pending[P]]:
        """What was put and is not yet in the index."""
        return list(self._pending.values())

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
        below = tuple([object_name(*child) for child in children])
        self._pending[name] = Pending(name, codec, size, stored, below, place)

    def add_layout(
        self, page: Digest, seq: int, codec: Codec, size: int, stored: int, children: Sequence[Ref], place: P
    ) -> None:
        """Queue a layout that replaces the one with that sequence number."""
        name = object_name(Kind.LAYOUT, page)
        below = tuple([object_name(*child) for child in children])
        self._pending[name] = Pending(name, codec, size, stored, below, place, seq)

    def publish(
        self, write: Callable[[], AbstractContextManager[IndexTxn[P]]], then: Callable[[WriteTxn], T] | None
    ) -> T | None:
        """Insert everything queued, in as many transactions of `write` as it takes; `then` runs in the last one.

        Raises MissingChildrenError: nothing of the failing transaction is inserted, and what was not inserted stays
        queued, so that the caller can put what is missing and publish again. The same when `then` raises.
        """
        if not self._pending and then is None:
            return None
        if self._pin is None and self._pending and (then is None or self._lookups() > MAX_LOOKUPS):
            self._pin = Pin(self._store, PUSH)
        units = self._units()
        unit = next(units, None)
        result = None
        while True:
            done: list[Pending[P]] = []
            inserted: list[Pending[P]] = []
            try:
                with write() as txn:
                    unit = self._fill(txn, unit, units, done, inserted)
                    if unit is None and then is not None:
                        result = then(txn)
                    tops = self._protect(txn, inserted, last=unit is None and then is not None)
            except CondemnedError as error:
                from jvs.castore.gc.rescue import uncondemn  # only beside a collector

                uncondemn(self._store, error.names)
                units = self._units()
                unit = next(units, None)
                continue
            self._tops = tops
            for item in done:
                del self._pending[item.name]
            if unit is None:
                if then is not None:
                    self.release()
                return result

    def release(self) -> None:
        """Let go of what was published and never came to be part of a root."""
        if self._pin is not None:
            self._pin.release()
            self._pin = None
        self._tops = set()

    def _lookups(self) -> int:
        return sum(1 + len(item.children) for item in self._pending.values())

    def _fill(
        self,
        txn: IndexTxn[P],
        unit: list[Pending[P]] | None,
        units: Iterator[list[Pending[P]]],
        done: list[Pending[P]],
        inserted: list[Pending[P]],
    ) -> list[Pending[P]] | None:
        """Insert units until the transaction has had its share; the first one that is left. Fills `done` with all that
        is in the index now, `inserted` with what was not there before."""
        missing: dict[bytes, None] = {}
        condemned: dict[bytes, None] = {}
        lookups, deadline = 0, perf_counter() + MAX_SECONDS
        while unit is not None and lookups < MAX_LOOKUPS:
            # Without a pin all of it goes into this transaction: there are few, see `publish`.
            if self._pin is not None and perf_counter() > deadline:
                break
            if unit[0].replaces:
                lookups += self._replace(txn, unit[0], missing, condemned)
            elif txn.height_of(unit[-1].name) is None:
                lookups += self._insert(txn, unit, missing, condemned)
                inserted.extend(unit)
            lookups += 1
            done.extend(unit)
            unit = next(units, None)
        if missing:
            self._seen.difference_update(missing)
            raise MissingChildrenError([ref_of(name) for name in missing])
        if condemned:
            raise CondemnedError(condemned)
        return unit

    def _insert(
        self, txn: IndexTxn[P], unit: list[Pending[P]], missing: dict[bytes, None], condemned: dict[bytes, None]
    ) -> int:
        """Insert one unit; note the children that are nowhere, or condemned. Returns how many look-ups it took."""
        for item in unit:
            height = self._look_up(txn, item, missing, condemned)
            txn.insert(item, height + 1 if item.name[0] in WITH_HEIGHT else 0)
        return sum(len(item.children) for item in unit)

    def _replace(
        self, txn: IndexTxn[P], item: Pending[P], missing: dict[bytes, None], condemned: dict[bytes, None]
    ) -> int:
        """Replace a layout, unless somebody was faster. What it names is told to those who are marking: they may have
        visited the page already."""
        page = item.name[1:]
        if txn.height_of(object_name(Kind.PAGE, page)) is None or txn.layout_seq(page) != item.replaces:
            return 1
        self._look_up(txn, item, missing, condemned)
        txn.insert(item, 0)
        txn.marks.tell(item.children)
        return len(item.children)

    def _look_up(
        self, txn: IndexTxn[P], item: Pending[P], missing: dict[bytes, None], condemned: dict[bytes, None]
    ) -> int:
        """The largest height of a child; notes those that are nowhere, and those that are condemned."""
        height = 0
        for child in item.children:
            below = txn.height_of(child)
            if below is None:
                if child not in self._pending:
                    missing[child] = None
            else:
                height = max(height, below)
                if txn.marks.condemned(child, below):
                    condemned[child] = None
        return height

    def _protect(self, txn: IndexTxn[P], inserted: list[Pending[P]], *, last: bool) -> set[bytes]:
        """Tell those who are marking of the tops: what was inserted and is not below anything inserted later. It need
        not be below the root that is moved to: a push may bring back what damage had taken without knowing it. A pin
        keeps them until the move. Returns the tops after this transaction."""
        tops = set(self._tops)
        for item in inserted:
            tops.add(item.name)
            tops.difference_update(item.children)
        if last:
            if self._pin is not None:
                self._pin.clear(txn)
            if not tops <= txn.marks.required:
                txn.marks.unrooted()
            txn.marks.tell(tops - self._tops)
        elif self._pin is not None:
            self._pin.change(txn, tops - self._tops, self._tops - tops)
        return tops

    def _units(self) -> Iterator[list[Pending[P]]]:
        """Everything queued, children before parents; a page comes together with its layout."""
        queued = dict(self._pending)
        done: set[bytes] = set()
        opened: set[bytes] = set()
        for first in queued.values():
            if first.name[0] == Kind.LAYOUT and not first.replaces:
                if object_name(Kind.PAGE, first.name[1:]) not in queued:
                    raise ValueError("a layout is put directly before its page")
                continue
            path = [first]
            while path:
                item = path[-1]
                if item.name in done:
                    path.pop()
                    continue
                unit = [item]
                if item.name[0] == Kind.PAGE and (
                    layout := queued.get(object_name(Kind.LAYOUT, item.name[1:]))
                ):
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
