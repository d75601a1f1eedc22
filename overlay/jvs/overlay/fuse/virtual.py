"""Directories that are in no snapshot: `.jvs`, and the names of labels in a mount of all of them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from jvs.overlay.fuse.views import Attributes, Entry, Opened, Reader, View
from jvs.overlay.nodes import derived_ino

_ROOT = 2**61
"""Above the numbers that an overlay gives, below those that follow from names."""


class TextsView(View):
    """A directory of files, each the bytes that a function gives when it is asked. What it has is named by bytes; the
    root's name is empty."""

    lasting = 0.0
    direct = True

    def __init__(self, files: Mapping[bytes, Callable[[], bytes]], where: str) -> None:
        """where: a path on the disk whose figures are shown."""
        self._files = files
        self._where = where
        self._since = time.time_ns()

    @property
    def root(self) -> bytes:
        """As `View.root`."""
        return b""

    def lookup(self, directory: bytes, name: bytes) -> tuple[View, bytes] | None:
        """As `View.lookup`."""
        for key in self._files:  # the very object: servers know nodes by identity
            if key == name:
                return self, key
        return None

    def attributes(self, node: bytes) -> Attributes:
        """As `View.attributes`."""
        since = self._since
        if not node:
            return Attributes(_ROOT, stat.S_IFDIR | 0o555, 1, 4096, since, since, since)
        size = len(self._files[node]())
        return Attributes(derived_ino(_ROOT, node), stat.S_IFREG | 0o444, 1, size, since, since, since)

    def entries(self, directory: bytes) -> Sequence[Entry]:
        """As `View.entries`."""
        return [(name, stat.S_IFREG, derived_ino(_ROOT, name)) for name in sorted(self._files)]

    def read_into(self, node: bytes, buffer: memoryview, offset: int) -> int:
        """As `View.read_into`."""
        return _copy(self._files[node](), buffer, offset)

    def open(self, node: bytes, flags: int) -> Opened:
        """As `View.open`: whoever reads it in pieces reads one and the same text."""
        return Reader(partial(_copy, self._files[node]()))

    def statfs(self) -> os.statvfs_result:
        """As `View.statfs`."""
        return os.statvfs(self._where)


def _copy(data: bytes, buffer: memoryview, offset: int) -> int:
    part = data[offset : offset + len(buffer)]
    buffer[: len(part)] = part
    return len(part)
