"""What a merge reads and writes: what changed, whatever the size of the trees."""

from __future__ import annotations

import pytest

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest, file_digest
from jvs.castore.manifest import DIRECTORY, FILE, Directory, Entry, File, Tree
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter
from jvs.merge import merge_trees
from tests.conftest import TORTURE
from tests.merge.trees.support import RULES, Bench

FOLDERS, EACH = (1_000, 1_000) if TORTURE else (200, 300)


def _file(name: bytes, data: bytes) -> File:
    return File(name, FILE, 0o644, len(data), file_digest(data))


def _nested(bench: Bench, writer: TreeWriter) -> Tree:
    data = b"one content for all"
    root = writer.directory()
    for folder in range(FOLDERS):
        directory = writer.directory()
        for number in range(EACH):
            directory.add(_file(b"%06d" % number, data), data)
        root.add(Directory(b"%04d" % folder, DIRECTORY, 0o755, *directory.finish()))
    return root.finish()


def _flat(bench: Bench, writer: TreeWriter) -> Tree:
    data = b"one content for all"
    root = writer.directory()
    for number in range(FOLDERS * EACH):
        root.add(_file(b"%08d" % number, data), data)
    return root.finish()


def _edited(bench: Bench, root: Digest, paths: list[tuple[bytes, ...]], data: bytes) -> Digest:
    for path in paths:
        with bench.writer() as writer:
            changes: dict[bytes, Entry | None] = {path[-1]: _file(path[-1], data)}
            where = bench.objects.subtree(root, path[:-1])
            tree = writer.edit(where, changes, {file_digest(data): data})
            if len(path) > 1:
                tree = writer.edit(root, {path[0]: Directory(path[0], DIRECTORY, 0o755, *tree)})
            writer.publish()
        root = tree.digest
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_ten_paths_cost_a_few_dozen_pages(nested: bool) -> None:
    bench = Bench()
    with bench.writer() as writer:
        base = (_nested if nested else _flat)(bench, writer).digest
        writer.publish()
    total = FOLDERS * EACH

    def at(number: int) -> tuple[bytes, ...]:
        number = number * total // 10
        return (b"%04d" % (number // EACH), b"%06d" % (number % EACH)) if nested else (b"%08d" % number,)

    ours = _edited(bench, base, [at(number) for number in range(5)], b"ours")
    theirs = _edited(bench, base, [at(number) for number in range(5, 10)], b"theirs")
    wanted = _edited(bench, ours, [at(number) for number in range(5, 10)], b"theirs")
    before = sum(1 for _ in bench.store.list(Kind.PAGE))
    bench.store.reads.clear()
    bench.objects = ObjectStore(bench.store, bench.store.settings)
    with bench.writer() as writer:
        result = merge_trees(writer, base, ours, theirs, RULES)
        pages = {key for kind, key in bench.store.reads if kind == Kind.PAGE}
        assert not [kind for kind, _ in bench.store.reads if kind in (Kind.PART, Kind.CHUNK)]
        writer.publish()
    assert (result.tree.digest, result.conflicts) == (wanted, ())
    assert len(pages) <= (100 if TORTURE else 60), len(pages)
    # the expected tree was made before: the merge has to make exactly its pages, which are there already
    assert sum(1 for _ in bench.store.list(Kind.PAGE)) == before
