"""Tools of the checkout tests: a directory made into a snapshot in the plainest way, and described for comparison."""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jvs.castore import binding
from jvs.castore.binding import Binding, Pending
from jvs.castore.checkout import CheckoutResult, Unsaved, checkout, make_directory
from jvs.castore.digest import EMPTY_DIGEST, Digest, file_digest
from jvs.castore.ingest.statindex import StatIndex
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Directory, File, Symlink, Tree
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter

NOBODY = 65534
SETTINGS = StoreSettings(chunk_min=1 << 10, chunk_avg=4 << 10, chunk_max=16 << 10, inline_limit=2 << 10)
"""Small sizes, so that files of a few kilobytes have chunks and recipes."""


def new_store(settings: StoreSettings = SETTINGS) -> ObjectStore:
    """An empty store in memory."""
    return ObjectStore(MemoryStore(settings), settings)


def snapshot(objects: ObjectStore, directory: str | bytes | Path) -> Digest:
    """Push a directory: no ignore rules, no stat index, nothing skipped but what is no file, directory or symlink."""
    with TreeWriter(objects) as writer:
        tree = _directory(writer, os.fsencode(directory))
        writer.publish()
    return tree.digest


def _directory(writer: TreeWriter, path: bytes) -> Tree:
    out = writer.directory()
    for name in sorted(os.listdir(path)):
        full = os.path.join(path, name)
        info = os.lstat(full)
        if stat.S_ISLNK(info.st_mode):
            out.add(Symlink(name, SYMLINK, os.readlink(full)))
        elif stat.S_ISDIR(info.st_mode):
            tree = _directory(writer, full)
            out.add(Directory(name, DIRECTORY, info.st_mode & 0o7777, tree.digest, tree.entries, tree.bytes))
        elif stat.S_ISREG(info.st_mode):
            mode = info.st_mode & 0o7777
            if not info.st_size:
                out.add(File(name, FILE, mode, 0, EMPTY_DIGEST))
            elif info.st_size <= writer.objects.settings.inline_limit:
                data = Path(os.fsdecode(full)).read_bytes()
                out.add(File(name, FILE, mode, len(data), file_digest(data)), data)
            else:
                with open(full, "rb") as file:
                    digest, size = writer.stream(file.readinto)
                out.add(File(name, FILE, mode, size, digest))
    return out.finish()


def describe(directory: str | bytes | Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything a snapshot knows about a directory, by path: to compare two of them."""
    root = os.fsencode(directory)
    found: dict[bytes, tuple[Any, ...]] = {}
    stack = [b""]
    while stack:
        above = stack.pop()
        for name in os.listdir(os.path.join(root, above)):
            path = os.path.join(above, name)
            full = os.path.join(root, path)
            info = os.lstat(full)
            if stat.S_ISLNK(info.st_mode):
                found[path] = ("symlink", os.readlink(full))
            elif stat.S_ISDIR(info.st_mode):
                found[path] = ("directory", oct(info.st_mode & 0o7777))
                stack.append(path)
            elif stat.S_ISREG(info.st_mode):
                with open(full, "rb") as file:
                    found[path] = ("file", oct(info.st_mode & 0o7777), file_digest(file.read()).hex())
            else:
                found[path] = ("other", stat.S_IFMT(info.st_mode))
    return found


class Worktree:
    """A directory and its binding, as a repository keeps them."""

    def __init__(self, objects: ObjectStore, path: Path, cache: Path) -> None:
        self.objects = objects
        self.path = path
        self.cache = cache
        cache.mkdir(exist_ok=True)

    @property
    def binding(self) -> Binding | None:
        """What the directory is bound to."""
        return binding.load(str(self.cache), str(self.path))

    def index(self) -> StatIndex:
        """The directory's stat index."""
        info = self.path.stat()
        return StatIndex(str(self.cache / "index"), b"store", (info.st_dev, info.st_ino))

    def pull(
        self,
        target: Digest,
        policy: Unsaved = Unsaved.REFUSE,
        *,
        special_modes: bool = False,
        indexed: bool = True,
        undone: Callable[[], None] | None = None,
    ) -> CheckoutResult:
        """Pull as a repository does: begin and end are recorded."""
        make_directory(str(self.path))
        old = self.binding or Binding(None, 0, None)

        def begin(pending: Pending) -> None:
            self.bind(Binding(old.label, old.generation, old.ca_id, None, pending, old.unapplied))

        with binding.lock(str(self.path)), self.index() as index:
            result = checkout(
                self.objects,
                target,
                str(self.path),
                base=old.ca_id,
                pending=old.pending,
                policy=policy,
                special_modes=special_modes,
                unapplied=old.unapplied,
                index=index if indexed else None,
                begin=begin,
                undone=undone,
            )
        self.bind(Binding("main", old.generation + 1, target, None, None, result.unapplied))
        return result

    def bind(self, bound: Binding) -> None:
        """Record a binding."""
        binding.save(str(self.cache), str(self.path), bound)


def run_as_nobody(below: Path, work: Callable[[], None]) -> None:
    """Call `work` in a child process as an ordinary user, who owns everything below `below` (`common_tmp`) by then.

    A forked child: what is at work here has no threads and no store on disk. Its failure is raised here.
    """
    for path in (below, *below.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "the child failed; what it printed says why"
