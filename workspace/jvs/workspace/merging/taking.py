"""`fs resolve --take`: conflicts of a directory become what one side has. Nothing is followed out of the directory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jvs.castore.checkout import disk
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK
from jvs.castore.names import display, split_path
from jvs.castore.objects import Located
from jvs.errors import CollectedError, UsageError
from jvs.merge.model import Path
from jvs.workspace.merging.worksite import Clash, Merging, write_file

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

_BY_HAND = "move away what is in the way, then run the same command again"

_OF_NAMES = ("rename/rename", "rename/delete")
"""Kinds in which the sides dispute where a file is."""


def take(repo: Repo, directory: str, merging: Merging, side: str, paths: Sequence[str]) -> list[Path]:
    """Let conflicts be what one side has (`ours` or `theirs`); the paths that were written or removed.

    paths: of conflicts, inside the directory. Raises UsageError for a path that is in no conflict, and where a
    directory is in the way, or would have to be made.
    """
    snapshot = merging.ours if side == "ours" else merging.theirs
    if not repo.has_snapshot(snapshot):
        raise CollectedError(f"{side} of this merge, {snapshot.hex()[:12]}, is not in the store (any more)")
    touched: list[Path] = []
    root = disk.open_root(directory)
    try:
        with disk.Directories(root) as directories:
            taker = _Taker(repo, merging, snapshot, directories)
            for clash in dict.fromkeys(clash for text in paths for clash in _named(merging, text)):
                touched += taker.take(clash, clash.ours if side == "ours" else clash.theirs)
    except OSError as exc:
        raise disk.disk_error(exc, f"writing into {directory}") from exc
    finally:
        os.close(root)
    return list(dict.fromkeys(touched))


def _named(merging: Merging, text: str) -> list[Clash]:
    path = split_path(text)
    found = [clash for clash in merging.clashes if clash.at(path)]
    if not found:
        raise UsageError(
            f"{display(b'/'.join(path))} is in no conflict of this merge",
            code="bad-path",
            next="jvs fs merge OURS THEIRS --dry-run (it lists them)",
        )
    return found


class _Taker:
    """Takes from one snapshot."""

    def __init__(self, repo: Repo, merging: Merging, snapshot: Digest, directories: disk.Directories) -> None:
        self._repo = repo
        self._snapshot = snapshot
        self._directories = directories
        self._placed = {path for clash in merging.clashes for path in clash.placed}

    def take(self, clash: Clash, wanted: Path | None) -> list[Path]:
        """Let one conflict be what the side has at `wanted`; the paths touched."""
        found = None if wanted is None else self._repo.objects.find(self._snapshot, wanted)
        if found is None or wanted is None:
            for path in clash.placed:
                self._remove(path)
            return list(clash.placed)
        if found.entry[1] != SYMLINK and clash.kind == "mode":  # contents went together, and stay
            self._set_mode(clash.path, found.entry[2])
            return [clash.path]
        # a file whose contents clash stays where the merge has it, unless its name is in dispute too
        target = wanted if clash.kind in _OF_NAMES or wanted in self._placed else clash.path
        there = self._lstat(target)
        is_directory = there is not None and stat.S_ISDIR(there.st_mode)
        if is_directory is not (found.entry[1] == DIRECTORY):
            what = "is a directory" if is_directory else "is no directory, as it is on that side"
            raise UsageError(f"{display(b'/'.join(target))} {what}", next=_BY_HAND)
        gone = [path for path in clash.placed if path != target]
        for path in gone:
            self._remove(path)
        if is_directory:
            assert found.entry[1] == DIRECTORY
            self._set_mode(target, found.entry[2])
        else:
            self._write(target, found)
        return [*gone, target]

    def _write(self, path: Path, found: Located) -> None:
        """Put a file or symlink in its place, over whatever is there."""
        parent = self._make_parents(path[:-1])
        if found.entry[1] == FILE:
            write_file(path[-1], parent, self._repo.objects.read(found.page, found.entry), found.entry[2] & 0o777)
        elif found.entry[1] == SYMLINK:
            temp = disk.TemporaryNames(os.urandom(4).hex()).new()
            os.symlink(found.entry[2], temp, dir_fd=parent)
            os.rename(temp, path[-1], src_dir_fd=parent, dst_dir_fd=parent)

    def _make_parents(self, path: Path) -> int:
        """A descriptor of the directory, made where it is missing."""
        for depth in range(1, len(path) + 1):
            parent = self._parent(path[:depth])
            if not disk.exists(path[depth - 1], parent):
                os.mkdir(path[depth - 1], 0o777, dir_fd=parent)
        return self._directories.fd(b"/".join(path))

    def _remove(self, path: Path) -> None:
        """Remove what is there, a directory only when it is empty; and the directories above it that are empty then
        and that the side has not."""
        there = self._lstat(path)
        if there is None:
            return
        try:
            if stat.S_ISDIR(there.st_mode):
                os.rmdir(path[-1], dir_fd=self._parent(path))
            else:
                os.unlink(path[-1], dir_fd=self._parent(path))
            for depth in range(len(path) - 1, 0, -1):
                if self._repo.objects.find(self._snapshot, path[:depth]) is not None:
                    break
                self._directories.close()  # what is removed must not be found open
                os.rmdir(path[depth - 1], dir_fd=self._parent(path[:depth]))
        except OSError as exc:
            if not disk.is_not_empty(exc):
                raise
            if stat.S_ISDIR(there.st_mode) and self._lstat(path) is not None:
                raise UsageError(f"{display(b'/'.join(path))} is a directory that is not empty", next=_BY_HAND) from exc

    def _set_mode(self, path: Path, mode: int) -> None:
        if self._lstat(path) is not None:
            disk.set_mode(path[-1], self._parent(path), mode & 0o777)

    def _lstat(self, path: Path) -> os.stat_result | None:
        try:
            return disk.lstat(path[-1], self._parent(path))
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                return None
            raise

    def _parent(self, path: Path) -> int:
        """A descriptor of the directory that `path` lies in."""
        return self._directories.fd(b"/".join(path[:-1]))
