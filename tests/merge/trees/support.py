"""Small trees with modes, symlinks and empty directories, written to a store in memory, merged, and read again."""

from __future__ import annotations

from typing import NamedTuple

from jvs.castore.backend import Kind, Stored
from jvs.castore.digest import Digest, file_digest
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Directory, File, Symlink, Tree
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from jvs.merge import ManyMerge, Rules, TreeMerge, merge_many, merge_trees
from jvs.merge.drivers.chain import merge_content
from tests.castore.models import reader

RULES = Rules(merge_content)


class F(NamedTuple):
    """A file."""

    data: bytes
    mode: int = 0o644


class L(NamedTuple):
    """A symlink."""

    target: bytes


class D(NamedTuple):
    """A directory."""

    below: Model
    mode: int = 0o755


Item = F | L | D
Model = dict[bytes, Item]


class CountingStore(MemoryStore):
    """Counts the objects that are read."""

    def __init__(self, settings: StoreSettings | None = None) -> None:
        super().__init__(settings)
        self.reads: list[tuple[Kind, Digest]] = []

    def get(self, kind: Kind, key: Digest, *, check: bool = True) -> Stored:
        self.reads.append((kind, key))
        return super().get(kind, key)


class Bench:
    """A store with trees in it."""

    def __init__(self, settings: StoreSettings | None = None) -> None:
        self.store = CountingStore(settings)
        self.objects = ObjectStore(self.store, self.store.settings)

    def put(self, model: Model) -> Digest:
        """The snapshot of a tree."""
        with self.writer() as writer:
            tree = self.write(writer, model)
            writer.publish()
        return tree.digest

    def writer(self) -> TreeWriter:
        """A writer that starts no threads."""
        writer = TreeWriter(self.objects)
        writer.work_alone()
        return writer

    def write(self, writer: TreeWriter, model: Model) -> Tree:
        """Write a tree, children first."""
        below = {name: self.write(writer, item.below) for name, item in sorted(model.items()) if isinstance(item, D)}
        directory = writer.directory()
        for name, item in sorted(model.items()):
            if isinstance(item, D):
                directory.add(Directory(name, DIRECTORY, item.mode, *below[name]))
            elif isinstance(item, L):
                directory.add(Symlink(name, SYMLINK, item.target))
            elif len(item.data) > self.objects.settings.inline_limit:
                digest, size = writer.stream(reader(item.data))
                directory.add(File(name, FILE, item.mode, size, digest))
            else:
                directory.add(File(name, FILE, item.mode, len(item.data), file_digest(item.data)), item.data)
        return directory.finish()

    def read(self, root: Digest) -> Model:
        """The tree of a snapshot, every byte of it."""
        out: Model = {}
        for path, page, entries in self.objects.walk(root):
            here = out
            for name in path:
                below = here[name]
                assert isinstance(below, D)
                here = below.below
            for entry in entries:
                if entry[1] == FILE:
                    here[entry.name] = F(b"".join(self.objects.read(page, entry)), entry.mode)
                else:
                    here[entry.name] = D({}, entry.mode) if entry[1] == DIRECTORY else L(entry.target)
        return out

    def merge(self, base: Digest | None, ours: Digest, theirs: Digest, rules: Rules = RULES) -> TreeMerge:
        """Merge and publish."""
        with self.writer() as writer:
            merged = merge_trees(writer, base, ours, theirs, rules)
            writer.publish()
        return merged

    def many(self, base: Digest, heads: list[Digest], rules: Rules = RULES) -> ManyMerge:
        """Merge many and publish."""
        with self.writer() as writer:
            merged = merge_many(writer, base, heads, rules)
            writer.publish()
        return merged


def merged(
    base: Model | None, ours: Model, theirs: Model, rules: Rules = RULES, settings: StoreSettings | None = None
) -> tuple[Model, TreeMerge]:
    """(the merged tree, what the merge said)."""
    bench = Bench(settings)
    result = bench.merge(None if base is None else bench.put(base), bench.put(ours), bench.put(theirs), rules)
    return bench.read(result.tree.digest), result


def said(result: TreeMerge) -> list[tuple[str, str]]:
    """(path, kind) of each conflict."""
    return [(b"/".join(one.path).decode(), one.kind) for one in result.conflicts]


def lines(*numbers: int, extra: str = "") -> bytes:
    """A text with one line for each number."""
    return "".join(f"line {number} of the text{extra}\n" for number in numbers).encode()
