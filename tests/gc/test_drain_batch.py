"""A drain un-condemns every root on its list, also when one of them goes meanwhile (docs/gc-model.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from jvs.castore.backend import Codec, Kind, Stored, object_name
from jvs.castore.gc import collection, rescue
from jvs.castore.gc.marks import CONDEMNED, FLIPPED, TOLD, Collector, sweep_key
from jvs.castore.local.store import LocalStore


def test_a_root_that_goes_does_not_take_the_others_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = (b"\1" * 32, b"\2" * 32)
    gone, kept = (object_name(Kind.CHUNK, key) for key in keys)
    me = Collector(b"\0\0\0\1", FLIPPED, "lock")
    walk = rescue._walk
    with LocalStore.create(tmp_path / "store") as store:
        writer = store.writer()
        for key in keys:
            writer.put(Kind.CHUNK, key, Stored(next(iter(Codec)), 1, b"x"))
        writer.publish()
        writer.close()
        with store.write() as txn:
            me.store(txn)
            for name in (gone, kept):
                txn.put(CONDEMNED, sweep_key(me.id, name, 0), b"")
                txn.put(TOLD, me.id + name, b"")

        def walk_then_sweep(collected: LocalStore, names: Sequence[bytes]) -> object:
            walked = walk(collected, names)
            store.delete(Kind.CHUNK, keys[:1])  # as another collector does
            return walked

        monkeypatch.setattr(rescue, "_walk", walk_then_sweep)
        collection.drain(store, me)
        with store.read() as view:
            assert view.get(CONDEMNED, sweep_key(me.id, kept, 0)) is None
            assert not list(view.scan(TOLD))
