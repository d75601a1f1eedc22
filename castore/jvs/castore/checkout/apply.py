"""Putting staged content in place, and taking away what is to go: the only part that touches what is visible.

Bytes are never dropped unless they are known to be in the store: what is to go is opened, renamed aside, hashed and
compared at that moment (whatever the stat index said), looked at again, and only then unlinked. What comes never takes
a name from something that has it. So whatever another program does meanwhile, its bytes are still there, and the
checkout stops. The one exception no program can close: one that has the old file open goes on writing into it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias

from jvs.castore.checkout import disk
from jvs.castore.checkout.plan import OTHER, Old, Removal, content_of
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Symlink
from jvs.castore.names import display
from jvs.errors import UnsavedChangesError

_Saved: TypeAlias = Collection[tuple[int, bytes] | None]


class Changer:
    """Removes, replaces and places below one root. For one thread."""

    def __init__(self, directories: disk.Directories, names: disk.TemporaryNames) -> None:
        self._directories = directories
        self._names = names

    def remove(self, removals: list[Removal]) -> Iterator[bytes]:
        """Remove all of them, what is in a directory before the directory; yields each path when it is gone."""
        for removal in sorted(removals, key=_path_of, reverse=True):
            directory, name = disk.split(removal.path)
            with disk.reporting("cannot remove", removal.path):
                parent = self._directories.fd(directory)
                if removal.old.kind == DIRECTORY:
                    self._remove_directory(removal.path, name, parent)
                else:
                    self._drop(removal.path, name, parent, removal.old)
            yield removal.path

    def place(self, path: bytes, temp: bytes, old: Old | None) -> os.stat_result:
        """Put what was staged as `temp` beside it at `path`, in place of `old`; its lstat there."""
        directory, name = disk.split(path)
        with disk.reporting("cannot write", path):
            parent = self._directories.fd(directory)
            self._replace(path, name, parent, old, lambda: disk.put_in_place(temp, parent, name, parent))
            return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def link(self, path: bytes, entry: Symlink, old: Old | None) -> None:
        """Make a symlink at `path`, in place of `old`."""
        directory, name = disk.split(path)
        with disk.reporting("cannot make the symlink", path):
            parent = self._directories.fd(directory)
            self._replace(path, name, parent, old, lambda: os.symlink(entry.target, name, dir_fd=parent))

    # -- what is to go ---------------------------------------------------------------------------------------------

    def _replace(self, path: bytes, name: bytes, parent: int, old: Old | None, put: Callable[[], None]) -> None:
        aside = self._set_aside(path, name, parent, old) if old is not None else None
        try:
            put()
        except FileExistsError:
            raise changed(path) from None  # somebody made it just now: theirs stays, and ours is dropped
        except BaseException:
            if aside is not None and not disk.exists(name, parent):  # nothing came, so what was there goes back
                disk.put_in_place(aside, parent, name, parent)
            raise
        if aside is not None:
            os.unlink(aside, dir_fd=parent)

    def _drop(self, path: bytes, name: bytes, parent: int, old: Old) -> None:
        os.unlink(self._set_aside(path, name, parent, old), dir_fd=parent)

    def _remove_directory(self, path: bytes, name: bytes, parent: int) -> None:
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if disk.is_not_empty(error):
                raise changed(path) from None
            raise

    def _set_aside(self, path: bytes, name: bytes, parent: int, old: Old) -> bytes:
        """Rename `name` to a temporary name, which is returned, if its content is saved then and still afterwards."""
        aside = self._names.new()
        if old.saved is None:
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if old.kind != OTHER and stat.S_ISDIR(info.st_mode):
                raise changed(path)
            os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
            return aside
        aside += disk.ASIDE
        saved = {content_of(entry) for entry in old.saved}
        if old.kind == SYMLINK:
            self._set_link_aside(path, name, parent, saved, aside)
        else:
            self._set_file_aside(path, name, parent, saved, aside)
        return aside

    def _set_link_aside(self, path: bytes, name: bytes, parent: int, saved: _Saved, aside: bytes) -> None:
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
        same = False
        try:
            with contextlib.suppress(OSError):  # something else by now
                same = (SYMLINK, os.readlink(aside, dir_fd=parent)) in saved
        finally:
            if not same:
                disk.put_in_place(aside, parent, name, parent)
        if not same:
            raise changed(path)

    def _set_file_aside(self, path: bytes, name: bytes, parent: int, saved: _Saved, aside: bytes) -> None:
        """Hashed under its new name, where nobody who does not have it open already can change it any more."""
        try:
            fd = disk.open_old(name, parent)
        except OSError:  # unreadable, something else by now, or gone
            raise changed(path) from None
        try:
            os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
            same = False
            try:
                before = os.fstat(fd)
                if os.path.samestat(before, os.stat(aside, dir_fd=parent, follow_symlinks=False)):
                    digest, after = disk.hash_open(fd)
                    unmoved = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
                    same = unmoved and (FILE, digest) in saved
            finally:
                if not same:
                    disk.put_in_place(aside, parent, name, parent)
            if not same:
                raise changed(path)
        finally:
            os.close(fd)


def changed(path: bytes) -> UnsavedChangesError:
    """The failure for a path that changed while the checkout ran, so that its bytes are not known to be saved."""
    return UnsavedChangesError(
        f"{display(path)} changed while it was to be replaced; it was left as it is, and the rest was not done",
        paths=[display(path)],
        count=1,
    )


def _path_of(removal: Removal) -> bytes:
    return removal.path
