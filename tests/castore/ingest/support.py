"""For the tests of ingest: a directory that is pushed into a store in memory, and plain views of what is in both."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jvs.castore.digest import Digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.ingest import walk
from jvs.castore.ingest.ingest import IngestResult, ingest
from jvs.castore.ingest.statindex import StatIndex
from jvs.castore.manifest import DIRECTORY, FILE, Tree
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import Stats, TreeWriter

Content = dict[bytes, tuple[str, int, bytes]]
"""path -> (kind, mode, bytes or target); a link's mode is 0."""

STORE = bytes(range(16))
NOBODY = 65534


class Ground:
    """One directory that is pushed again and again into one store."""

    def __init__(self, root: Path, **settings: int) -> None:
        self.directory = root / "tree"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.index_path = root / "cache" / "index"
        self.objects = ObjectStore(MemoryStore(), StoreSettings(**settings))
        self.base: Digest | None = None
        self.saved: bool | None = None
        self.stats: Stats | None = None

    def index(self) -> StatIndex:
        """The stat index as it is on disk now."""
        info = self.directory.stat()
        return StatIndex(os.fspath(self.index_path), STORE, (info.st_dev, info.st_ino))

    def push(self, **options: Any) -> IngestResult:
        """Push the directory with its index and the last push as base, publish, save the index."""
        options.setdefault("base", self.base)
        with self.index() as index, TreeWriter(self.objects) as writer:
            result = ingest(writer, self.directory, index=index, **options)
            writer.publish()
            self.stats = writer.stats
            assert result.new_index is not None
            self.saved = result.new_index.save()
        self.base = result.tree.digest
        return result

    def fresh(self, **options: Any) -> Tree:
        """The tree of the directory read as if for the first time, into nothing."""
        return ingest(TreeHasher(self.objects), self.directory, **options).tree

    def content(self, tree: Tree) -> Content:
        """Everything in a stored tree, read back and verified."""
        out: Content = {}
        for path, page, entries in self.objects.walk(tree.digest):
            for entry in entries:
                place = b"/".join((*path, entry.name))
                if entry.kind == FILE:
                    out[place] = ("file", entry.mode, b"".join(self.objects.read(page, entry)))
                elif entry.kind == DIRECTORY:
                    out[place] = ("directory", entry.mode, b"")
                else:
                    out[place] = ("link", 0, entry.target)
        return out

    def path(self, name: str | bytes) -> bytes:
        """The path of something in the directory."""
        return os.path.join(os.fsencode(self.directory), os.fsencode(name))

    def write(self, name: str | bytes, data: bytes = b"", mode: int = 0o644) -> None:
        """Write a file, in place where there is one, so that its ctime is certainly another one afterwards."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        before = os.lstat(path).st_ctime_ns if os.path.lexists(path) else None
        while True:
            with open(path, "wb") as file:
                file.write(data)
            os.chmod(path, mode)
            if os.lstat(path).st_ctime_ns != before:
                return
            time.sleep(0.002)


def on_disk(directory: Path) -> Content:
    """Everything in a directory on disk, by plain os.walk; special files and `.jvs` left out."""
    out: Content = {}
    root = os.fsencode(directory)
    for where, directories, files in os.walk(root):
        directories[:] = [name for name in directories if name.lower() != b".jvs"]
        for name in [*directories, *files]:
            path = os.path.join(where, name)
            info = os.lstat(path)
            mode = stat.S_IMODE(info.st_mode)
            place = os.path.relpath(path, root)
            if stat.S_ISLNK(info.st_mode):
                out[place] = ("link", 0, os.readlink(path))
            elif stat.S_ISDIR(info.st_mode):
                out[place] = ("directory", mode, b"")
            elif stat.S_ISREG(info.st_mode) and name.lower() != b".jvs":
                with open(path, "rb") as file:
                    out[place] = ("file", mode, file.read())
    return out


@contextmanager
def settled_clock() -> Iterator[None]:
    """The file system's clock as ingest sees it runs an hour ahead: nothing is too young for the stat index."""
    sample = walk._sample

    def ahead(fd: int) -> Any:
        taken = sample(fd)
        assert taken is not None
        return taken._replace(stamp=taken.stamp + 3_600_000_000_000)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "_sample", ahead)
        yield


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Without root's rights inside, whoever runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
