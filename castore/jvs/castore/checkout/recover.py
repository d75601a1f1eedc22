"""Taking away what a checkout left lying about when it failed or was killed.

Only names that begin with the recorded token are touched. What had been renamed aside is dropped only if its bytes
are still those of the trees the checkout went between; else it comes back into sight under a plain name, where it
counts as unsaved.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from jvs.castore import pages
from jvs.castore.binding import Loosened
from jvs.castore.checkout import disk
from jvs.castore.digest import Digest
from jvs.castore.manifest import FILE, SYMLINK
from jvs.castore.names import is_control_name, split_path
from jvs.castore.objects import ObjectStore
from jvs.errors import JvsError

RECOVERED = b"jvs-recovered-"
"""Beginning of the name of something that had been renamed aside and whose bytes are not in those trees. The token is
not in it, since a push leaves out what has that in its name."""


def clean_up(
    objects: ObjectStore,
    directories: disk.Directories,
    token: str,
    loosened: Sequence[Loosened],
    trees: Sequence[Digest | None],
) -> list[bytes]:
    """Remove all temporary names of `token` below the root and give directories their permission bits back.

    trees: those whose bytes are in the store. Returns the paths of what could not be dropped and was renamed. Stores
    below the root are not entered, nor directories that cannot be read (a checkout does not write into such either).
    """
    prefix = disk.prefix_of(token)
    recovered: list[bytes] = []
    stack = [b""]
    while stack:
        path = stack.pop()
        try:
            fd = directories.fd(path)
            with os.scandir(fd) as entries:
                found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        except PermissionError:
            continue
        for name, is_directory in found:
            if not name.startswith(prefix):
                if is_directory and not is_control_name(name):
                    stack.append(disk.join(path, name))
            elif name.endswith(disk.ASIDE) and not _is_saved(objects, path, name, fd, trees):
                plain = RECOVERED + os.urandom(4).hex().encode("ascii")
                disk.put_in_place(name, fd, plain, fd)
                recovered.append(disk.join(path, plain))
            else:
                disk.remove_tree(name, fd)
    for directory in sorted(loosened, reverse=True):
        tighten(directories, directory)
    return recovered


def tighten(directories: disk.Directories, directory: Loosened) -> None:
    """Give a directory back the permission bits it had, unless it is gone or has others by now."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        fd = directories.fd(directory.path)
        if stat.S_IMODE(os.fstat(fd).st_mode) == directory.mode | 0o700:
            os.fchmod(fd, directory.mode)


def _is_saved(objects: ObjectStore, path: bytes, name: bytes, parent: int, trees: Sequence[Digest | None]) -> bool:
    """Whether the content of `name` is that of some entry of the directory `path` in one of the trees."""
    try:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            content = (SYMLINK, os.readlink(name, dir_fd=parent))
        else:
            content = (FILE, disk.hash_file(name, parent)[0])
    except OSError:
        return False
    for tree in trees:
        if tree is None:
            continue
        with contextlib.suppress(JvsError):  # no such directory in this tree, or it cannot be read
            for entry in pages.iter_entries(objects.page, objects.subtree(tree, split_path(path))):
                if entry[1] == content[0] and content[1] == (entry[4] if entry[1] == FILE else entry[2]):
                    return True
    return False
