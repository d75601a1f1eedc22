"""A push of some paths of a directory: what is there replaces what the base has at these paths, the rest stays.

The directory is scanned as for any push, but into a sink that keeps no content; what differs at the paths is then read
a second time and stored. So nothing else of the directory ever comes into the store.
"""

from __future__ import annotations

import os
from io import FileIO
from typing import TYPE_CHECKING

from jvs.castore.binding import Binding
from jvs.castore.checkout import disk
from jvs.castore.diff import Difference, diff_trees
from jvs.castore.digest import Digest, file_digest
from jvs.castore.hasher import TreeHasher
from jvs.castore.ingest.ingest import IngestResult
from jvs.castore.ingest.statindex import StatIndex
from jvs.castore.manifest import DIRECTORY, FILE, Directory, Entry, File, Tree
from jvs.castore.names import display, split_path
from jvs.castore.pages import find
from jvs.castore.treewriter import TreeWriter
from jvs.errors import StateError, UnknownError, UsageError
from jvs.workspace import directories

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.push import PushOptions
    from jvs.workspace.repo import Repo

Path = tuple[bytes, ...]
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def take(
    repo: Repo,
    directory: str,
    writer: TreeWriter,
    options: PushOptions,
    *,
    binding: Binding | None,
    base: Digest | None,
    index: StatIndex,
    progress: Progress | None,
) -> IngestResult:
    """Write the tree `base` with `options.paths` as they are in `directory`, as a scan of all of it would have done.

    Raises UnknownError (unknown-path) for a path that is neither in the directory nor in the base, StateError
    (unreadable) when a file changes while it is read.
    """
    paths = options.paths or ()
    hasher = TreeHasher(repo.objects)
    found = directories.scan(
        repo,
        directory,
        hasher,
        binding=binding,
        base=base,
        index=index,
        rehash=options.rehash,
        skip_unreadable=options.skip_unreadable,
        progress=progress,
    )
    if found.new_index is not None:
        found.new_index.close()
    for path in paths:
        if not any(_has(hasher, root, path) for root in (base, found.tree.digest)):
            name = display(b"/".join(path))
            raise UnknownError(
                f"nothing to save: there is no {name} in {directory}",
                code="unknown-path",
                path=name,
                next="jvs status",
            )
    changes = _Changes()
    for one in diff_trees(hasher.page, base, found.tree.digest):
        if any(_concerns(one, path) for path in paths):
            changes.add(one)
    root = disk.open_root(directory)
    try:
        with disk.Directories(root) as opened:
            tree = _Store(writer, opened).directory(base, changes, b"")
    finally:
        os.close(root)
    skipped = [item for item in found.skipped if any(_is_below(tuple(item.path.split(b"/")), path) for path in paths)]
    return found._replace(tree=tree, skipped=skipped, new_index=None)


def _has(hasher: TreeHasher, root: Digest | None, path: Path) -> bool:
    """Whether a tree has something at `path`."""
    for depth, name in enumerate(path, 1):
        entry = None if root is None else find(hasher.page, root, name)
        if entry is None:
            return False
        if depth < len(path):
            below = entry[1]
            if below[1] != DIRECTORY:
                return False
            root = below.digest
    return root is not None


def _is_below(path: Path, above: Path) -> bool:
    return path[: len(above)] == above


def _concerns(one: Difference, path: Path) -> bool:
    """Whether a difference is at or below `path`, or a directory on the way to it that the base has not."""
    if _is_below(one.path, path):
        return True
    new_directory = one.after is not None and one.after[1] == DIRECTORY
    was_none = one.before is None or one.before[1] != DIRECTORY
    return new_directory and was_none and _is_below(path, one.path)


class _Changes:
    """What is to change in one directory, by name, and in those below it."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry | None] = {}
        self.below: dict[bytes, _Changes] = {}

    def add(self, one: Difference) -> None:
        """Note a difference, whose path begins in this directory."""
        here = self
        for name in one.path[:-1]:
            here = here.below.setdefault(name, _Changes())
        here.entries[one.path[-1]] = one.after
        if one.after is not None and one.after[1] == DIRECTORY:
            here.below.setdefault(one.path[-1], _Changes())


class _Store:
    """Writes changed directories, children first."""

    def __init__(self, writer: TreeWriter, opened: disk.Directories) -> None:
        self._writer = writer
        self._opened = opened

    def directory(self, base: Digest | None, changes: _Changes, path: bytes) -> Tree:
        """The directory `base` (None: a new one), which is at `path`, with these changes."""
        objects = self._writer.objects
        entries: dict[bytes, Entry | None] = {}
        contents: dict[Digest, bytes] = {}
        for name in sorted({*changes.entries, *changes.below}):
            after = changes.entries.get(name)
            known = None if base is None else find(objects.page, base, name)
            before = None if known is None else known[1]
            below = changes.below.get(name)
            if name in changes.entries and (after is None or after[1] != DIRECTORY):
                below = None  # what was below a directory goes with it
            if below is None:
                entries[name] = after
                if after is not None and after[1] == FILE:
                    content = self._file(after, disk.join(path, name))
                    if content is not None:
                        contents[after.digest] = content
                continue
            old = before if before is not None and before[1] == DIRECTORY else None
            tree = self.directory(None if old is None else objects.descend(old), below, disk.join(path, name))
            whole = after if after is not None else old
            assert whole is not None
            assert whole[1] == DIRECTORY
            entries[name] = Directory(name, DIRECTORY, whole.mode, *tree)
        if base is not None:
            return self._writer.edit(base, entries, contents)
        made = self._writer.directory()
        for entry in entries.values():
            if entry is not None:
                made.add(entry, contents.get(entry.digest) if entry[1] == FILE else None)
        return made.finish()

    def _file(self, entry: File, path: bytes) -> bytes | None:
        """Store a file that is not empty; its bytes when they go beside its directory."""
        above, name = disk.split(path)
        with disk.reporting("cannot read", path), self._open(name, above) as file:
            if entry.size > self._writer.objects.settings.inline_limit:
                digest, size = self._writer.stream(file.readinto)
                content = None
            else:
                content = file.read(entry.size + 1)
                digest, size = file_digest(content), len(content)
        if (digest, size) != (entry.digest, entry.size):
            raise StateError(
                f"{display(path)} changed while it was read", code="unreadable", next="run the same command again"
            )
        return content

    def _open(self, name: bytes, above: bytes) -> FileIO:
        return FileIO(os.open(name, _FLAGS, dir_fd=self._opened.fd(above)), "rb")


def inside(directory: str, path: str, here: str) -> Path:
    """The names from `directory` down to `path`, as somebody typed it who is at `here`: relative to where they are, if
    that is in the directory, else to the directory. Raises UsageError (bad-path) for what is not in it, or cannot be
    in a snapshot."""
    root, at = os.path.realpath(directory), os.path.realpath(here)
    start = at if at == root or at.startswith(os.path.join(root, "")) else root
    # what is named may be a symbolic link itself: only what is above it is followed
    above, name = os.path.split(os.path.normpath(os.path.join(start, path)))
    full = os.path.join(os.path.realpath(above), name)
    if full != root and not full.startswith(os.path.join(root, "")):
        raise UsageError(f"{path} is not in {directory}", code="bad-path", next="name a path inside the worktree")
    return split_path(os.fsencode(full[len(root) :]))
