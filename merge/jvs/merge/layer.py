"""A layer in memory over a store: where trees are made that nobody keeps (virtual bases, steps of an octopus)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from jvs.castore.backend import Backend, Kind, ObjectInfo, Ref, Stored, WriteTxn
from jvs.castore.digest import Digest
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter
from jvs.errors import ReadOnlyError, UsageError

T = TypeVar("T")


class Layer:
    """A `Backend` that keeps in memory what is written to it and reads the rest from the store below, which it never
    changes. Memory: the new objects, encoded."""

    def __init__(self, below: Backend) -> None:
        self._below = below
        self._kept: dict[Ref, Stored] = {}

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> Stored:
        kept = self._kept.get(Ref(kind, key))
        return self._below.get(kind, key) if kept is None else kept

    def missing(self, kind: Kind, keys: Iterable[Digest]) -> set[Digest]:
        return self._below.missing(kind, [key for key in keys if Ref(kind, key) not in self._kept])

    def infos(self, kind: Kind, keys: Sequence[Digest]) -> list[ObjectInfo | None]:
        return [self._info(kind, key) or below for key, below in zip(keys, self._below.infos(kind, keys), strict=True)]

    def list(self, kind: Kind) -> Iterator[ObjectInfo]:
        fresh = {ref.key for ref in self._kept if ref.kind == kind}
        yield from (info for info in self._below.list(kind) if info.key not in fresh)
        yield from (info for key in sorted(fresh) if (info := self._info(kind, key)) is not None)

    def keys(self, kind: Kind) -> Iterator[Digest]:
        return (info.key for info in self.list(kind))

    def writer(self) -> _LayerWriter:
        return _LayerWriter(self._kept)

    def delete(self, kind: Kind, keys: Iterable[Digest]) -> int:
        raise ReadOnlyError("nothing is deleted from a store that is only looked at")

    def flush(self) -> None:
        """What is in memory is as durable as it gets."""

    def close(self) -> None:
        """The store below is its owner's."""

    def _info(self, kind: Kind, key: Digest) -> ObjectInfo | None:
        kept = self._kept.get(Ref(kind, key))
        return None if kept is None else ObjectInfo(kind, key, kept.size, len(kept.data), 0)


class _LayerWriter:
    def __init__(self, kept: dict[Ref, Stored]) -> None:
        self._kept = kept

    def put(self, kind: Kind, key: Digest, stored: Stored, children: Sequence[Ref] = ()) -> None:
        self._kept.setdefault(Ref(kind, key), stored)

    def replace_layout(self, page: Digest, seq: int, stored: Stored, children: Sequence[Ref]) -> None:
        raise ReadOnlyError("nothing is replaced in a store that is only looked at")

    def publish(self, then: Callable[[WriteTxn], T] | None = None) -> T | None:
        if then is not None:
            raise UsageError("a layer has no tables")
        return None

    def read_back(self, look: Callable[[Kind, Digest, Stored], None]) -> None:
        """Nothing is written anywhere, so there is nothing that could have become something else."""

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> _LayerWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def layered(objects: ObjectStore) -> tuple[ObjectStore, TreeWriter]:
    """A reader of a store and what is written over it, and the writer. The writer works on the caller's thread, and
    what it has written can be read at once."""
    over = ObjectStore(Layer(objects.backend), objects.settings)
    writer = TreeWriter(over)
    writer.work_alone()
    return over, writer
