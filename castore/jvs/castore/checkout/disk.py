"""The target directory, touched by descriptor only: nothing here ever follows a symbolic link below the root.

Paths below the root are bytes joined by `/`, b"" being the root itself. A path is opened component by component with
`O_NOFOLLOW`, so that a directory swapped for a symlink while a pull runs is an error and never a way out.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from blake3 import blake3

from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import IGNORE_FILE, MAX_IGNORE_FILE
from jvs.castore.names import MAX_DEPTH, display
from jvs.errors import JvsError, ManifestError, NoSpaceError, ReadOnlyError, StoreError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: should a FIFO have taken the file's place, opening it must not hang.
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})

_PATH = getattr(os, "O_PATH", 0)
_BLOCK = 1 << 20

KEEP_OPEN = 64
"""How many directories one `Directories` keeps open."""


ASIDE = b"-old"
"""End of the temporary name of something renamed aside whose bytes are in the store, or else must be kept."""


class TemporaryNames:
    """`.jvs-tmp-TOKEN-N`, N counting up: one checkout's own names."""

    def __init__(self, token: str) -> None:
        self.prefix = prefix_of(token)
        self._count = 0

    def new(self) -> bytes:
        """A name not given before."""
        self._count += 1
        return b"%s%d" % (self.prefix, self._count)


def prefix_of(token: str) -> bytes:
    """What all temporary names of one checkout begin with."""
    return b".jvs-tmp-%s-" % token.encode("ascii")


def join(directory: bytes, name: bytes) -> bytes:
    """The path of `name` in `directory`."""
    return directory + b"/" + name if directory else name


def split(path: bytes) -> tuple[bytes, bytes]:
    """(directory, name) of a path other than the root's."""
    directory, _, name = path.rpartition(b"/")
    return directory, name


def depth(path: bytes) -> int:
    """How many levels below the root a path is."""
    return path.count(b"/") + 1 if path else 0


def check_depth(path: bytes) -> None:
    """Raise ManifestError for a directory deeper than any reader or writer goes (its path alone may be 500 KB)."""
    if depth(path) > MAX_DEPTH:
        raise ManifestError(f"directories more than {MAX_DEPTH} levels deep are not checked out")


class Directories:
    """Opens directories below one root and keeps those last used open. For one thread; close it at the end."""

    def __init__(self, root: int) -> None:
        """root: descriptor of the root directory; stays the caller's."""
        self._root = root
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def fd(self, path: bytes) -> int:
        """A descriptor of the directory, good until the next call. Raises OSError (ELOOP or ENOTDIR where something
        on the way is a symlink)."""
        if not path:
            return self._root
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        missing = [path]
        while (above := split(missing[-1])[0]) and above not in self._open:
            missing.append(above)
        fd = self._open[above] if above else self._root
        for step in reversed(missing):
            fd = os.open(split(step)[1], _DIRECTORY, dir_fd=fd)
            self._open[step] = fd
            while len(self._open) > KEEP_OPEN:
                os.close(self._open.popitem(last=False)[1])
        return fd

    def close(self) -> None:
        """Close all of them, as must be done when paths have come to mean something else; it may be used again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_root(directory: str | bytes) -> int:
    """A descriptor of the root directory itself (which may be reached through symlinks: the user named it)."""
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_old(name: bytes, parent: int) -> int:
    """Open an existing regular file for reading; never a symlink, never hanging on a FIFO. Raises OSError, ELOOP
    also where it is no regular file."""
    fd = os.open(name, _OLD_FILE, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ELOOP, "not a regular file")
    return fd


def open_new(name: bytes, parent: int, mode: int) -> int:
    """Create a file and open it for writing; raises FileExistsError."""
    return os.open(name, _NEW_FILE, mode, dir_fd=parent)


def hash_file(name: bytes, parent: int) -> tuple[Digest, os.stat_result]:
    """Digest of a regular file, and what fstat said when all of it had been read."""
    fd = open_old(name, parent)
    try:
        return hash_open(fd)
    finally:
        os.close(fd)


def hash_open(fd: int) -> tuple[Digest, os.stat_result]:
    """Digest of an open file from its beginning to its end, and what fstat said afterwards."""
    block = min(_BLOCK, os.fstat(fd).st_size + 1)
    hasher = blake3()
    at = 0
    while data := os.pread(fd, block, at):
        hasher.update(data)
        at += len(data)
        if len(data) < block and at == (info := os.fstat(fd)).st_size:
            return hasher.digest(), info
    return hasher.digest(), os.fstat(fd)


def read_ignore_file(directory: int) -> bytes | None:
    """The content of the directory's ignore file, None when it has none."""
    try:
        fd = open_old(IGNORE_FILE.encode(), directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    try:
        return os.pread(fd, MAX_IGNORE_FILE, 0)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; a short write is gone on with."""
    done = os.write(fd, data)
    if done != len(data):
        view = memoryview(data)
        while done < len(view):
            done += os.write(fd, view[done:])


def settle_mode(fd: int, info: os.stat_result, wanted: int) -> os.stat_result:
    """Give an open file or directory the permission bits `wanted`, whatever umask and default ACLs made of them.

    info: what fstat says now. Returns what fstat says then; the bits may differ where the file system refuses some.
    """
    if info.st_mode & 0o7777 == wanted:
        return info
    try:
        os.fchmod(fd, wanted)
    except PermissionError:
        return info
    return os.fstat(fd)


def set_mode(name: bytes, parent: int, mode: int) -> int:
    """Give a file or directory its permission bits; those it has then. Never through a symlink, whatever is swapped
    in: by descriptor, and where it can be opened neither for reading nor for writing, by a path descriptor."""
    for flags in (os.O_RDONLY, os.O_WRONLY, _PATH):
        try:
            fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EISDIR, errno.ETXTBSY):
                continue
            raise
        try:
            info = os.fstat(fd)
            if info.st_mode & 0o7777 == mode:
                return mode
            if flags & _PATH and not stat.S_ISLNK(info.st_mode):
                os.chmod(f"/proc/self/fd/{fd}", mode)
            else:
                os.fchmod(fd, mode)
            return os.fstat(fd).st_mode & 0o7777
        finally:
            os.close(fd)
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def put_in_place(temp: bytes, source: int, name: bytes, parent: int) -> None:
    """Give `temp` in the directory `source` the name `name` in `parent`; FileExistsError when something has it.

    A file or symlink by link and unlink, since rename replaces; where the file system has no links, by a look and a
    rename. A directory by rename, which replaces nothing but an empty directory.
    """
    try:
        os.link(temp, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:  # EPERM is also what a directory gets
            raise
        is_directory = stat.S_ISDIR(os.stat(temp, dir_fd=source, follow_symlinks=False).st_mode)
        if not is_directory and exists(name, parent):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        try:
            os.rename(temp, name, src_dir_fd=source, dst_dir_fd=parent)
        except OSError as refused:
            if refused.errno in (errno.ENOTDIR, errno.ENOTEMPTY):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            raise
        return
    os.unlink(temp, dir_fd=source)


def lstat(name: bytes, parent: int) -> os.stat_result | None:
    """What is at `name`, or None."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_not_empty(error: OSError) -> bool:
    """Whether a directory could not be removed for what is in it."""
    return error.errno in (errno.ENOTEMPTY, errno.EEXIST)


def exists(name: bytes, parent: int) -> bool:
    """Whether there is anything at `name`."""
    return lstat(name, parent) is not None


def remove_tree(name: bytes, parent: int) -> None:
    """Remove a directory that this program made, or whatever else of that name, with all that is in it.

    Iterative, as it may be 2,000 levels deep; a directory without u+rwx is given it first. Absent: nothing is done.
    """
    info = lstat(name, parent)
    if info is None:
        return
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    with Directories(parent) as directories:
        stack = [(name, False)]
        while stack:
            path, done = stack.pop()
            above, last = split(path)
            if done:
                os.rmdir(last, dir_fd=directories.fd(above))
                continue
            stack.append((path, True))
            fd = _open_writable(last, directories.fd(above))
            try:
                for entry in os.scandir(fd):
                    if entry.is_dir(follow_symlinks=False):
                        stack.append((join(path, os.fsencode(entry.name)), False))
                    else:
                        os.unlink(os.fsencode(entry.name), dir_fd=fd)
            finally:
                os.close(fd)


def _open_writable(name: bytes, parent: int) -> int:
    """Open a directory of ours after giving it u+rwx."""
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:  # not even readable
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    info = os.fstat(fd)
    if info.st_mode & 0o700 != 0o700 and info.st_uid == os.geteuid():
        os.fchmod(fd, stat.S_IMODE(info.st_mode) | 0o700)
    return fd


@contextmanager
def reporting(doing: str, path: bytes = b"") -> Iterator[None]:
    """Turn an OSError about the target directory into the jvs error for it; `doing path` says what was tried."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, f"{doing} {display(path)}" if path else doing) from error


def disk_error(error: OSError, doing: str) -> JvsError:
    """The jvs error for a failed system call on the target directory."""
    message = f"{doing}: {error.strerror or error}"
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(message, errno=name)
    if error.errno == errno.EROFS:
        return ReadOnlyError(message, next="mount the file system read-write", errno=name)
    return StoreError(message, next="mend what stands in the way, then run the same command again", errno=name)
