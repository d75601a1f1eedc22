"""A target file system that folds letter case: names that collide are refused before anything is touched.

Such a file system cannot be mounted everywhere, so one is played: names are looked up without regard to case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jvs.castore.checkout import Unsaved
from jvs.castore.objects import ObjectStore
from jvs.errors import StateError
from tests.castore.checkout.trees import Worktree, describe, snapshot

ONE_NAME = ("open", "mkdir", "stat", "unlink", "rmdir", "readlink")
SECOND_NAME = ("symlink",)
TWO_NAMES = ("link", "rename")


def found(name: Any, directory: int | None) -> Any:
    """The spelling under which a name is there already."""
    if directory is None or not isinstance(name, bytes) or b"/" in name:
        return name
    fold = name.decode().casefold()
    return next((os.fsencode(other) for other in os.listdir(directory) if other.casefold() == fold), name)


@contextmanager
def folding() -> Iterator[None]:
    """Play a file system that folds case, for calls relative to a directory."""
    real = {name: getattr(os, name) for name in ONE_NAME + SECOND_NAME + TWO_NAMES}

    def one(call: str) -> Any:
        return lambda name, *args, dir_fd=None, **more: real[call](found(name, dir_fd), *args, dir_fd=dir_fd, **more)

    def second(call: str) -> Any:
        return lambda target, name, dir_fd=None: real[call](target, found(name, dir_fd), dir_fd=dir_fd)

    def two(call: str) -> Any:
        def moved(
            source: Any, name: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **more: Any
        ) -> Any:
            source = found(source, src_dir_fd)
            name = name if found(name, dst_dir_fd) == source else found(name, dst_dir_fd)
            return real[call](source, name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **more)

        return moved  # fmt: skip

    for names, make in ((ONE_NAME, one), (SECOND_NAME, second), (TWO_NAMES, two)):
        for name in names:
            setattr(os, name, make(name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def make(root: Path, *names: str) -> Path:
    """A directory with these files (each holds its name) and, for names that end in a slash, directories."""
    root.mkdir()
    for name in names:
        if name.endswith("/"):
            (root / name).mkdir()
        else:
            (root / name).write_bytes(name.encode())
    return root


@pytest.mark.parametrize("names", [("README", "readme"), ("a/", "A/"), ("dir/", "dir/x", "dir/X"), ("b", "B/")])
def test_a_full_pull_is_refused(objects: ObjectStore, tree: Worktree, tmp_path: Path, names: tuple[str, ...]) -> None:
    target = snapshot(objects, make(tmp_path / "source", *names))
    with folding(), pytest.raises(StateError) as caught:
        tree.pull(target)
    assert caught.value.code == "name-collision"
    assert not tree.path.exists() or not list(tree.path.iterdir())


@pytest.mark.parametrize("more", [("Readme",), ("new", "New"), ("x/", "x/y", "x/Y"), ("docs",), ("Sub/",)])
def test_an_update_is_refused_with_nothing_written(
    objects: ObjectStore, tree: Worktree, tmp_path: Path, more: tuple[str, ...]
) -> None:
    names = ("README", "Docs/", "sub/", "sub/file")
    tree.pull(snapshot(objects, make(tmp_path / "one", *names)))
    target = snapshot(objects, make(tmp_path / "two", *names, *more))
    before = describe(tree.path)
    for policy in Unsaved:
        with folding(), pytest.raises(StateError) as caught:
            tree.pull(target, policy)
        assert caught.value.code == "name-collision"
        assert describe(tree.path) == before


def test_another_spelling_of_the_same_name(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    tree.pull(snapshot(objects, make(tmp_path / "one", "README", "Docs/", "Docs/file")))
    make(tmp_path / "two", "readme", "docs/", "docs/file")
    with folding():
        tree.pull(snapshot(objects, tmp_path / "two"))
    assert describe(tree.path) == describe(tmp_path / "two")


def test_where_names_are_told_apart_nothing_is_refused(objects: ObjectStore, tree: Worktree, tmp_path: Path) -> None:
    tree.pull(snapshot(objects, make(tmp_path / "one", "README")))
    tree.pull(snapshot(objects, make(tmp_path / "two", "README", "Readme", "x/", "X/", "y", "Y")))
    assert describe(tree.path) == describe(tmp_path / "two")
