"""Trees as nested dicts, written and read through the content plane, and memory stores that misbehave."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from hypothesis import strategies as st

from jvs.castore import codec
from jvs.castore.backend import Kind, ObjectWriter, Ref, Stored, WriteTxn
from jvs.castore.chunking import Reader
from jvs.castore.digest import Digest, file_digest
from jvs.castore.layout import Place
from jvs.castore.manifest import DIRECTORY, FILE, Directory, File, Symlink, Tree
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore, object_children
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from tests.castore.strategies import names

T = TypeVar("T")

Model = dict[bytes, "bytes | str | Model"]
"""A directory: file content as bytes, a symlink's target as str, a directory as a dict."""

TINY = StoreSettings(chunk_min=64, chunk_avg=256, chunk_max=1024, inline_limit=300)
"""Settings so small that a few KiB have recipes of many chunks."""


def noise(size: int, seed: int = 1) -> bytes:
    """Incompressible bytes, the same ones every time."""
    return random.Random(seed).randbytes(size)


def reader(data: bytes, step: int = 1 << 30) -> Reader:
    """Gives `data` in reads of at most `step` bytes."""
    at = 0

    def read(view: memoryview) -> int:
        nonlocal at
        got = data[at : at + min(step, len(view))]
        view[: len(got)] = got
        at += len(got)
        return len(got)

    return read


def put_file(writer: TreeWriter, name: bytes, data: bytes) -> tuple[File, bytes | None]:
    """The entry of a file, streamed if it is large, and its content if it is small."""
    if len(data) > writer.objects.settings.inline_limit:
        digest, size = writer.stream(reader(data))
        return File(name, FILE, 0o644, size, digest), None
    return File(name, FILE, 0o644, len(data), file_digest(data)), data


def put_tree(writer: TreeWriter, model: Model) -> Tree:
    """Write a tree as a push does, children first."""
    below = {name: put_tree(writer, value) for name, value in sorted(model.items()) if isinstance(value, dict)}
    directory = writer.directory()
    for name, value in sorted(model.items()):
        if isinstance(value, dict):
            directory.add(Directory(name, DIRECTORY, 0o755, *below[name]))
        elif isinstance(value, str):
            directory.add(Symlink(name, 2, value.encode()))
        else:
            directory.add(*put_file(writer, name, value))
    return directory.finish()


def push(objects: ObjectStore, model: Model) -> Tree:
    """Write a tree and publish it."""
    with TreeWriter(objects) as writer:
        tree = put_tree(writer, model)
        writer.publish()
    return tree


def read_tree(objects: ObjectStore, root: Digest) -> Model:
    """The tree that `put_tree` wrote, every byte read."""
    out: Model = {}
    for path, page, entries in objects.walk(root):
        here = out
        for name in path:
            below = here[name]
            assert isinstance(below, dict)
            here = below
        for entry in entries:
            if entry[1] == FILE:
                here[entry.name] = b"".join(objects.read(page, entry))
            else:
                here[entry.name] = {} if entry[1] == DIRECTORY else entry.target.decode()
    return out


def located(objects: ObjectStore, root: Digest, *path: bytes) -> tuple[Digest, File]:
    """(page, entry) of the file at `path`."""
    page, entry = objects.resolve(root, path)
    assert entry[1] == FILE
    return page, entry


def place_of(objects: ObjectStore, root: Digest, *path: bytes) -> Place:
    """Where the file at `path` lies."""
    return objects.place(*located(objects, root, *path))


def stored_bytes(store: MemoryStore, kind: Kind | None = None) -> int:
    """Encoded bytes of everything in the store, or of one kind."""
    return sum(info.stored for each in (Kind if kind is None else (kind,)) for info in store.list(each))


def count(store: MemoryStore, kind: Kind) -> int:
    """How many objects of a kind the store has."""
    return sum(1 for _ in store.list(kind))


def assert_closed(store: MemoryStore) -> None:
    """Whatever the index holds, it holds everything directly below it (DESIGN 6)."""
    for kind in Kind:
        for info in store.list(kind):
            plain = codec.decode(kind, store.get(kind, info.key))
            for child in object_children(kind, info.key, plain):
                assert not store.missing(child.kind, [child.key]), f"{info} lacks {child}"


class TamperedStore(MemoryStore):
    """A store some of whose objects read as something else; counts what is read."""

    def __init__(self, settings: StoreSettings) -> None:
        super().__init__(settings)
        self.instead: dict[Ref, bytes] = {}
        self.reads: list[Ref] = []

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> Stored:
        self.reads.append(Ref(kind, key))
        if (plain := self.instead.get(Ref(kind, key))) is not None:
            return codec.encode(plain, 1)
        return super().get(kind, key)

    def plain(self, kind: Kind, key: Digest) -> bytes:
        """The plain bytes of an object as they should be."""
        return codec.decode(kind, super().get(kind, key))

    def damage(self, kind: Kind, key: Digest, at: int = 0) -> None:
        """Flip a bit of byte `at` of an object."""
        plain = self.plain(kind, key)
        at %= len(plain)
        self.instead[Ref(kind, key)] = plain[:at] + bytes([plain[at] ^ 4]) + plain[at + 1 :]


class HookedStore(MemoryStore):
    """A store that calls `on_put` before each object is put, and `on_missing` at each look-up: to fail, or to wait."""

    def __init__(self, settings: StoreSettings) -> None:
        super().__init__(settings)
        self.on_put: Callable[[Kind], object] = lambda kind: None
        self.on_missing: Callable[[Kind], object] = lambda kind: None
        self.closed_writers = 0

    def missing(self, kind: Kind, keys: object) -> set[Digest]:
        self.on_missing(kind)
        return super().missing(kind, keys)  # type: ignore[arg-type]

    def writer(self) -> ObjectWriter:  # type: ignore[override]
        return _HookedWriter(self, super().writer())


class _HookedWriter:
    def __init__(self, store: HookedStore, inner: ObjectWriter) -> None:
        self._store = store
        self._inner = inner

    def put(self, kind: Kind, key: Digest, stored: Stored, children: Sequence[Ref] = ()) -> None:
        self._store.on_put(kind)
        self._inner.put(kind, key, stored, children)

    def replace_layout(self, page: Digest, seq: int, stored: Stored, children: Sequence[Ref]) -> None:
        self._inner.replace_layout(page, seq, stored, children)

    def read_back(self, look: Callable[[Kind, Digest, Stored], None]) -> None:
        self._inner.read_back(look)

    def publish(self, then: Callable[[WriteTxn], T] | None = None) -> T | None:
        return self._inner.publish(then)

    def close(self) -> None:
        self._store.closed_writers += 1
        self._inner.close()

    def __enter__(self) -> ObjectWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


_contents = st.one_of(
    st.binary(max_size=20),
    st.builds(noise, st.integers(0, 5_000), st.integers(0, 3)),
    st.builds(noise, st.sampled_from([64, 256, 299, 300, 301, 1023, 1024, 1025, 4096]), st.integers(0, 3)),
    st.integers(0, 5_000).map(bytes),
)
_targets = st.text("ab/.", min_size=1, max_size=8)
_files: st.SearchStrategy[bytes | str | Model] = st.one_of(_contents, _contents, _targets)
models: st.SearchStrategy[Mapping[bytes, bytes | str | Model]] = st.dictionaries(
    names, st.recursive(_files, lambda below: st.dictionaries(names, below, max_size=5), max_leaves=20), max_size=8
)
