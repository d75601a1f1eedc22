"""What every write transaction owes the collectors, and what they write down in the store (docs/gc-protocol.md).

A collector goes through three states, each entered by a transaction of its own:

* MARKING   it reads the roots and marks. Whoever makes a root tells it; whoever inserts an object adds it to its
            candidates. Its candidates are not condemned yet.
* FLIPPED   its candidates are condemned: whoever builds on one, or makes it a root, un-condemns it first, with all
            that is below. It now un-condemns what it was told of.
* SWEEPING  it removes what is still condemned, parents no later than children.

The tables are part of the store's format (docs/format.md); all of them are derived but for the safety of what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

from jvs.castore.backend import Kind, ReadTxn, Store, Table, WriteTxn
from jvs.errors import CollectedError

COLLECTORS: Final = Table("gc.collectors")
"""Collector id -> state (1 byte), lock name. An id is the next serial number, big-endian."""
CONDEMNED: Final = Table("gc.condemned")
"""Collector id, place in the order of the sweep, object name -> nothing."""
TOLD: Final = Table("gc.told")
"""Collector id, object name -> nothing: made a root while the collector was marking."""
PINS: Final = Table("gc.pins")
"""Pin id -> what holds it; pin id, object name -> nothing: one of its roots."""
FRESH: Final = Table("gc.fresh")
"""Object name -> the last serial number then: inserted, or un-condemned, since the last complete mark."""
STATE: Final = Table("gc.state")
"""`serial`: the last number given to a collector, or used up so that no mark counts as complete that began before;
`flips`: how many sets were condemned; `complete`: the collector of the last complete mark."""

MARKING: Final = 0
FLIPPED: Final = 1
SWEEPING: Final = 2

LOST: Final = Table("gc.lost")
"""Object name -> at_ms (8 bytes): gone although something names it, as `jvs doctor` has recorded. Deleted when the
object is inserted anew."""

ID_SIZE: Final = 4
_RANK_SIZE: Final = 3
_ORDER: Final = {Kind.PAGE: 0, Kind.LAYOUT: 1, Kind.RECIPE: 2, Kind.PART: 3, Kind.CHUNK: 4}
_MAX_HEIGHT: Final = 0xFFFF


class CondemnedError(CollectedError):
    """Something a transaction builds on is condemned: to be un-condemned outside it, then tried again (`transact`)."""

    def __init__(self, names: Iterable[bytes]) -> None:
        self.names = tuple(names)
        super().__init__("a snapshot is just being collected", next="run the same command again")


class Collector(NamedTuple):
    """A row of COLLECTORS. lock: name of the lock that is held for as long as the collector lives."""

    id: bytes
    state: int
    lock: str

    @property
    def end(self) -> bytes:
        """Where the keys of the next collector begin, in the tables that begin with an id."""
        return (int.from_bytes(self.id, "big") + 1).to_bytes(ID_SIZE, "big")

    def store(self, txn: WriteTxn) -> None:
        """Write the row."""
        txn.put(COLLECTORS, self.id, bytes((self.state,)) + self.lock.encode())


def collectors(txn: ReadTxn) -> list[Collector]:
    """Every collector that has not finished, dead ones too."""
    return [Collector(key, value[0], value[1:].decode()) for key, value in txn.scan(COLLECTORS)]


def sweep_key(collector: bytes, name: bytes, height: int) -> bytes:
    """The key in CONDEMNED: parents sort before children (pages by falling height, layouts, recipes by falling
    height, parts, chunks)."""
    return collector + bytes((_ORDER[Kind(name[0])],)) + (_MAX_HEIGHT - height).to_bytes(2, "big") + name


def name_in(key: bytes) -> bytes:
    """The object name in a key of CONDEMNED."""
    return key[ID_SIZE + _RANK_SIZE :]


def flips(txn: ReadTxn) -> int:
    """How many sets were ever condemned: a walk that un-condemns starts again when this changed."""
    return int.from_bytes(txn.get(STATE, b"flips") or b"", "big")


class Marks:
    """The part of a write transaction that collectors are concerned with. Read once per transaction."""

    def __init__(self, txn: WriteTxn) -> None:
        self._txn = txn
        self.required: set[bytes] = set()
        """What this transaction has made a root."""
        self.refresh()

    def refresh(self) -> None:
        """Read the collectors again, after this very transaction changed one."""
        known = collectors(self._txn)
        self._marking = [collector.id for collector in known if collector.state == MARKING]
        self._condemning = [collector.id for collector in known if collector.state != MARKING]
        self._recording = bool(known) or self._txn.get(STATE, b"complete") is not None
        serial = self._txn.get(STATE, b"serial") if self._recording else None
        self._serial = serial or bytes(ID_SIZE)
        self._losing = self._txn.count(LOST) > 0

    def condemned(self, name: bytes, height: int) -> bool:
        """Whether some collector has condemned the object."""
        for collector in self._condemning:
            if self._txn.get(CONDEMNED, sweep_key(collector, name, height)) is not None:
                return True
        return False

    def uncondemn(self, name: bytes, height: int) -> None:
        """Take the object out of every condemned set. Its children must be out already.

        One that is in none (somebody else was faster) does not become fresh: what is above it need not be, and a mark
        of what is fresh would not come to it from there.
        """
        removed = [
            self._txn.delete(CONDEMNED, sweep_key(collector, name, height)) for collector in self._condemning
        ]
        if any(removed):
            self._note(name)

    def inserted(self, name: bytes, height: int) -> None:
        """Note an insertion: it becomes a candidate of those who are marking (who will be told of the root above it),
        and no mark left by somebody who has swept that name before counts for the new object."""
        for collector in self._condemning:
            self._txn.delete(CONDEMNED, sweep_key(collector, name, height))
        for collector in self._marking:
            self._txn.put(CONDEMNED, sweep_key(collector, name, height), b"")
        if self._losing:
            self._txn.delete(LOST, name)
        self._note(name)

    def lost(self, name: bytes, at_ms: int) -> None:
        """Record that an object which something names is not there: marks pass over it. What was reached through it
        may be garbage now without being fresh."""
        self._txn.put(LOST, name, at_ms.to_bytes(8, "big"))
        self._losing = True
        self._mark_all()

    def replaced(self) -> None:
        """Note that a layout was replaced: whether it is condemned, or a candidate, is as before. What it named before
        may be garbage now without being fresh, and what it names now be fresh below a page that is not."""
        self._mark_all()

    def removed(self, name: bytes, height: int) -> None:
        """Note a removal."""
        for collector in self._condemning:
            self._txn.delete(CONDEMNED, sweep_key(collector, name, height))
        if self._recording:
            self._txn.delete(FRESH, name)

    def _note(self, name: bytes) -> None:
        if self._recording:
            self._txn.put(FRESH, name, self._serial)

    def tell(self, names: Iterable[bytes]) -> None:
        """Tell everyone who is marking of these roots."""
        for name in names if self._marking else ():
            for collector in self._marking:
                self._txn.put(TOLD, collector + name, b"")

    def require(self, name: bytes, height: int) -> None:
        """Make an object that is there a root. Raises CondemnedError."""
        if self.condemned(name, height):
            raise CondemnedError((name,))
        self.required.add(name)
        self.tell((name,))

    def unrooted(self) -> None:
        """Note that something was inserted that is below no root made with it: it may lie below an older one that had
        lost it to damage, which a mark of what is fresh would not find out."""
        self._mark_all()

    def _mark_all(self) -> None:
        """See to it that the next mark is a whole one, and none that is under way counts as complete."""
        if self._recording:
            self._txn.delete(STATE, b"complete")
            serial = int.from_bytes(self._txn.get(STATE, b"serial") or b"", "big") + 1
            self._txn.put(STATE, b"serial", serial.to_bytes(ID_SIZE, "big"))


class MarkedTxn(WriteTxn, Protocol):
    """A write transaction of a store that has collectors."""

    @property
    def marks(self) -> Marks:
        """What it owes the collectors."""

    def height_of(self, name: bytes) -> int | None:
        """The height in the index value of an object that is there, or None."""

    def remove(self, name: bytes) -> bool:
        """Take an object out of the index; whether it was there."""


class CollectedStore(Store, Protocol):
    """A store whose write transactions know of collectors."""

    def write(self) -> AbstractContextManager[MarkedTxn]:
        """See `backend.MetaStore`."""


def is_lost(txn: ReadTxn, name: bytes) -> bool:
    """Whether an object was recorded as lost, and has not come back since."""
    return txn.get(LOST, name) is not None


def lost(txn: ReadTxn) -> Iterator[tuple[bytes, int]]:
    """(name, at_ms) of every object that is recorded as lost."""
    for name, at_ms in txn.scan(LOST):
        yield name, int.from_bytes(at_ms, "big")


def told(txn: ReadTxn, collector: Collector) -> Iterator[bytes]:
    """The roots made while a collector was marking."""
    for key, _ in txn.scan(TOLD, collector.id, collector.end):
        yield key[ID_SIZE:]
