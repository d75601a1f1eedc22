"""Any tree into any other, with any edits in between: pulls either refuse and change nothing, or end at the target."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jvs.castore.checkout import Unsaved
from jvs.castore.digest import Digest, page_digest
from jvs.castore.manifest import DIRECTORY, SINGLE, Directory, encode_entries
from jvs.castore.names import MAX_DEPTH
from jvs.castore.treewriter import TreeWriter
from jvs.errors import ManifestError, UnsavedChangesError
from tests.castore.checkout.trees import Worktree, describe, new_store, snapshot

Node: TypeAlias = tuple[str, Any, int]
"""("file", content, mode), ("symlink", target, 0) or ("directory", {name: Node}, mode)."""

LARGE = b"large" * 1_000
"""More than one chunk."""

names = st.sampled_from(["a", "b", "A", "-x", "\udcff", "new\nline"])
files = st.tuples(st.just("file"), st.sampled_from([b"", b"1", b"2", LARGE]), st.sampled_from([0o644, 0o755, 0o400]))
links = st.tuples(st.just("symlink"), st.sampled_from(["a", "../b", "/none"]), st.just(0))
modes = st.sampled_from([0o755, 0o700, 0o555, 0o2775])
nodes: st.SearchStrategy[Any] = st.recursive(
    files | links,
    lambda below: st.tuples(st.just("directory"), st.dictionaries(names, below, max_size=4), modes),
    max_leaves=12,
)
trees = st.dictionaries(names, nodes, max_size=5)


def build(root: Path, tree: dict[str, Node]) -> None:
    """Make the tree on disk."""
    root.mkdir()
    for name, (kind, value, mode) in tree.items():
        path = root / name
        if kind == "directory":
            build(path, value)
            path.chmod(mode)
        elif kind == "symlink":
            path.symlink_to(value)
        else:
            path.write_bytes(value)
            path.chmod(mode)


def overlay(root: Path, tree: dict[str, Node]) -> None:
    """Edit a directory: what is in `tree` takes the place of what is there."""
    for name, (kind, value, mode) in tree.items():
        path = root / name
        if kind == "directory" and path.is_dir() and not path.is_symlink():
            overlay(path, value)
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()
        build_one(path, kind, value, mode)


def build_one(path: Path, kind: str, value: Any, mode: int) -> None:
    """Make one node."""
    if kind == "directory":
        build(path, value)
        path.chmod(mode)
    elif kind == "symlink":
        path.symlink_to(value)
    else:
        path.write_bytes(value)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(trees, min_size=2, max_size=4), trees, st.booleans())
def test_any_tree_into_any_other(sources: list[dict[str, Node]], edits: dict[str, Node], indexed: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        objects = new_store()
        worktree = Worktree(objects, root / "tree", root / "cache")
        looks: dict[Digest, dict[bytes, tuple[Any, ...]]] = {}
        for number, tree in enumerate(sources):
            build(root / f"source{number}", tree)
            target = snapshot(objects, root / f"source{number}")
            looks[target] = describe(root / f"source{number}")
            worktree.pull(target, indexed=indexed)
            assert describe(worktree.path) == looks[target]
            clean = describe(worktree.path)
            overlay(worktree.path, edits)
            edited = describe(worktree.path)
            if edited == clean:
                continue
            try:
                worktree.pull(target, indexed=indexed)
            except UnsavedChangesError:
                assert describe(worktree.path) == edited
                worktree.pull(target, Unsaved.DISCARD, indexed=indexed)
            else:
                assert not edited, "something was there, and it was not the target"
            assert describe(worktree.path) == clean


def test_deeper_than_anything_goes(tmp_path: Path) -> None:
    objects = new_store()
    with TreeWriter(objects) as writer:
        tree = writer.directory().finish()
        for _ in range(MAX_DEPTH + 1):
            out = writer.directory()
            out.add(Directory(b"d", DIRECTORY, 0o755, *tree))
            tree = out.finish()
        writer.publish()
    assert tree.digest != page_digest(encode_entries(SINGLE, []))
    worktree = Worktree(objects, tmp_path / "tree", tmp_path / "cache")
    with pytest.raises(ManifestError):
        worktree.pull(tree.digest)
    assert not worktree.path.exists() or not list(worktree.path.iterdir())


def test_as_deep_as_anything_goes(tmp_path: Path) -> None:
    objects = new_store()
    with TreeWriter(objects) as writer:
        tree = writer.directory().finish()
        for _ in range(MAX_DEPTH - 1):
            out = writer.directory()
            out.add(Directory(b"d", DIRECTORY, 0o755, *tree))
            tree = out.finish()
        writer.publish()
    worktree = Worktree(objects, tmp_path / "tree", tmp_path / "cache")
    worktree.pull(tree.digest)
    assert worktree.pull(tree.digest).unchanged == MAX_DEPTH - 1
    worktree.pull(snapshot(objects, tmp_path / "cache"), Unsaved.DISCARD)
