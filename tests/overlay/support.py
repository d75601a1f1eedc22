"""Stores, trees and plain directories for the tests of the overlay."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from jvs.castore.digest import Digest
from jvs.castore.ingest.ingest import ingest
from jvs.castore.manifest import DIRECTORY, FILE
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from jvs.overlay.fold import Folded
from jvs.overlay.overlay import Overlay

TINY = StoreSettings(chunk_min=64, chunk_avg=256, chunk_max=1024, inline_limit=100)
"""So that files of a few kilobytes have recipes."""

Seen = dict[str, tuple[str, int, bytes]]
"""Path -> (kind, permission bits, content or target)."""


def new_objects(settings: StoreSettings = TINY) -> ObjectStore:
    return ObjectStore(MemoryStore(settings), settings)


def stored(objects: ObjectStore, directory: Path) -> Digest:
    """The snapshot of a directory on disk."""
    with TreeWriter(objects) as writer:
        found = ingest(writer, str(directory))
        writer.publish()
    return found.tree.digest


def pushed(objects: ObjectStore, overlay: Overlay) -> Digest:
    """Push an overlay without a label; the snapshot."""
    with TreeWriter(objects) as writer:

        def store(folded: Folded) -> bool:
            writer.publish()
            return True

        return overlay.commit(writer, store).tree.digest


def on_disk(directory: Path) -> Seen:
    """What a plain directory has."""
    seen: Seen = {}
    for path in sorted(directory.rglob("*")):
        info = path.lstat()
        name = str(path.relative_to(directory))
        mode = stat.S_IMODE(info.st_mode)
        if path.is_symlink():
            seen[name] = ("link", 0o777, os.fsencode(os.readlink(path)))
        elif path.is_dir():
            seen[name] = ("directory", mode, b"")
        else:
            seen[name] = ("file", mode, path.read_bytes())
    return seen


def in_overlay(overlay: Overlay) -> Seen:
    """What an overlay has, by its own calls."""
    seen: Seen = {}
    stack = [""]
    while stack:
        above = stack.pop()
        for entry in overlay.scandir(above or "/"):
            name = f"{above}/{entry.name}" if above else entry.name
            info = overlay.lstat(name)
            mode = stat.S_IMODE(info.st_mode)
            if stat.S_ISLNK(info.st_mode):
                assert entry.is_symlink()
                seen[name] = ("link", 0o777, os.fsencode(overlay.readlink(name)))
            elif stat.S_ISDIR(info.st_mode):
                assert entry.is_dir(follow_symlinks=False)
                seen[name] = ("directory", mode, b"")
                stack.append(name)
            else:
                data = overlay.read_bytes(name)
                assert len(data) == info.st_size
                seen[name] = ("file", mode, data)
    return seen


def in_store(objects: ObjectStore, root: Digest) -> Seen:
    """What a snapshot has."""
    seen: Seen = {}
    for path, page, entries in objects.walk(root):
        for entry in entries:
            name = os.fsdecode(b"/".join((*path, entry.name)))
            if entry[1] == FILE:
                seen[name] = ("file", entry[2], b"".join(objects.read(page, entry)))
            elif entry[1] == DIRECTORY:
                seen[name] = ("directory", entry[2], b"")
            else:
                seen[name] = ("link", 0o777, entry[2])
    return seen


def emptied(directory: Path) -> Path:
    """A new, empty directory at that path."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory
