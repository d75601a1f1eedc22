"""What the tests of the pointer plane share: stores with made-up snapshots in them."""

from __future__ import annotations

from collections.abc import Callable

from jvs.castore.backend import Codec, Kind, Store, Stored
from jvs.castore.digest import Digest, page_digest
from jvs.castore.memory import MemoryStore
from jvs.labels import Labels
from jvs.labels.conformance import Bench, SettableClock

DAY_MS = 86_400_000


def put_snapshot(store: Store, name: str) -> Digest:
    """Publish a page of its own (labels never look inside); its digest."""
    text = name.encode()
    digest = page_digest(text)
    with store.writer() as writer:
        writer.put(Kind.PAGE, digest, Stored(Codec.RAW, len(text), text))
        writer.publish()
    return digest


def snapshots_of(store: Store) -> Callable[[str], Digest]:
    """`put_snapshot` into one store."""
    return lambda name: put_snapshot(store, name)


def make_bench(store: Store | None = None) -> Bench:
    """A bench around a store (in memory unless given)."""
    store = MemoryStore() if store is None else store
    clock = SettableClock()
    return Bench(Labels(store, actor="tester", clock=clock), snapshots_of(store), clock)


class Desk:
    """A memory store with labels over it, for tests that look into the tables."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = SettableClock()
        self.labels = Labels(self.store, actor="tester", clock=self.clock)
        self.snapshot = snapshots_of(self.store)
