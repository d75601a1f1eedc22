"""Listing directories, as `os.scandir` does."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from jvs.overlay.overlay import Overlay

S = TypeVar("S", str, bytes)


def like(path: S | os.PathLike[S], raw: bytes) -> S:
    """A name as the caller writes paths."""
    return cast(S, os.fsdecode(raw) if isinstance(os.fspath(path), str) else raw)


class DirEntry(Generic[S]):
    """As `os.DirEntry`. name; path: the directory's as it was given, and the name."""

    __slots__ = ("_kind", "_overlay", "name", "path")
    name: S
    path: S

    def __init__(self, overlay: Overlay, path: S, name: S, kind: int) -> None:
        self._overlay = overlay
        self._kind = kind
        self.name = name
        self.path = path

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a directory."""
        return self._is(stat.S_IFDIR, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file."""
        return self._is(stat.S_IFREG, follow_symlinks)

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self._kind == stat.S_IFLNK

    def _is(self, kind: int, follow_symlinks: bool) -> bool:
        if self._kind == stat.S_IFLNK and follow_symlinks:
            return self._overlay.is_kind(self.path, kind)
        return self._kind == kind

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Its status now."""
        return self._overlay.stat(self.path, follow_symlinks=follow_symlinks)

    def inode(self) -> int:
        """Its number."""
        return self.stat(follow_symlinks=False).st_ino

    def __fspath__(self) -> S:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"


class DirEntries(Generic[S]):
    """What `scandir` returns: an iterator, and a context manager. The names are those of when it was made."""

    _path: S

    def __init__(self, overlay: Overlay, path: S, listed: list[tuple[bytes, int]]) -> None:
        self._overlay = overlay
        self._path = path
        self._left = iter(listed)

    def __iter__(self) -> DirEntries[S]:
        return self

    def __next__(self) -> DirEntry[S]:
        raw, kind = next(self._left)
        name = like(self._path, raw)
        return DirEntry(self._overlay, os.path.join(self._path, name), name, kind)

    def close(self) -> None:
        """No more entries."""
        self._left = iter(())

    def __enter__(self) -> DirEntries[S]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
