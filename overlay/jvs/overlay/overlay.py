"""Overlay: a snapshot as a file system that can be written (DESIGN 7). Nothing of it moves a label: `fold` stores."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fnmatch import translate
from re import compile as regex
from types import TracebackType
from typing import IO, Any, Self

from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK
from jvs.castore.names import MAX_TARGET
from jvs.castore.objects import ObjectStore
from jvs.castore.treesink import TreeSink
from jvs.overlay.changes import Change, changes
from jvs.overlay.depth import check_depth
from jvs.overlay.direntry import DirEntries, S, like
from jvs.overlay.fold import Folded, fold
from jvs.overlay.handles import Handle, OverlayFile
from jvs.overlay.nodes import Directory, FileNode, LinkNode, Node, kept_time
from jvs.overlay.resolve import AnyPath, Spot, check_length, check_new, entry_at, fail, raw_path, resolve
from jvs.overlay.upper import Upper

BUFFER = 1 << 17
"""Bytes that a buffered file holds."""
_KINDS = {FILE: stat.S_IFREG, DIRECTORY: stat.S_IFDIR, SYMLINK: stat.S_IFLNK}
_FLAGS = {"r": os.O_RDONLY, "w": os.O_CREAT | os.O_TRUNC, "x": os.O_CREAT | os.O_EXCL, "a": os.O_CREAT | os.O_APPEND}


class Overlay:
    """A snapshot, and what is written above it, with the calls of `os`, `io` and `pathlib`. Thread-safe.

    Paths are inside the tree: `a/b` and `/a/b` are the same; `str` or `bytes` (answers are of the same type). What goes
    wrong is an OSError with the errno that a file system of the kernel gives; damage in the store is an IntegrityError.
    Permission bits are kept, not enforced; owner and group are this process's; times are kept in the upper layer only;
    there are no hard links (EPERM) and no special files. Use as a context manager.

    What is done survives the death of the process where `directory` was given, and a power cut once `sync` or a file's
    `fsync` has returned: `Overlay.resume`.
    """

    follower: Callable[[Digest, Digest | None], Callable[[], None]] | None = None
    """Called with the operands of `rebase` before it; what it returns is called afterwards. The lock is held."""

    def __init__(self, upper: Upper, *, umask: int = 0o022, temporary: bool = False) -> None:
        """For `Overlay.create` and `Overlay.resume`. temporary: remove the upper layer when it is closed."""
        self._upper = upper
        self._lock = threading.RLock()
        self._umask = umask
        self._temporary = temporary
        self._owner = (os.getuid(), os.getgid())
        self._closed = False

    @classmethod
    def create(
        cls,
        objects: ObjectStore,
        base: Digest,
        directory: str | None = None,
        *,
        time_ns: int = 0,
        info: Mapping[str, Any] | None = None,
        umask: int = 0o022,
    ) -> Self:
        """An overlay over the snapshot `base`, which the caller keeps from being collected. O(1).

        directory  where the upper layer lives (new or empty); None: in a temporary one, until `close`
        time_ns    when the base was made: the times of what it has
        info       plain data, to be found again in `info` by whoever resumes it
        """
        objects.tree(base)
        if directory is not None:
            return cls(Upper(objects, directory, base, time_ns, info or {}), umask=umask)
        temporary = tempfile.mkdtemp(prefix="jvs-overlay-")
        try:
            upper = Upper(objects, temporary, base, time_ns, info or {}, durable=False)
            return cls(upper, umask=umask, temporary=True)
        except BaseException:
            shutil.rmtree(temporary)
            raise

    @classmethod
    def resume(cls, objects: ObjectStore, directory: str, *, umask: int = 0o022) -> Self:
        """The overlay whose upper layer is in `directory`, as it was left, by whatever end. Raises FileNotFoundError,
        LockedError (another process has it), IntegrityError."""
        return cls(Upper.resume(objects, directory), umask=umask)

    @property
    def base(self) -> Digest:
        """The snapshot below."""
        return self._upper.state.base

    @property
    def info(self) -> dict[str, Any]:
        """What `create` was given."""
        return self._upper.info

    @property
    def torn(self) -> int:
        """Bytes at the end of the journal that were cut off when it was resumed: they were never acknowledged."""
        return self._upper.torn

    def sync(self) -> None:
        """Make everything durable."""
        with self._lock:
            self._upper.sync()

    def close(self) -> None:
        """Release everything; idempotent. A temporary upper layer is removed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                if not self._temporary:
                    self._upper.tell()
            finally:
                self._upper.close()
                if self._temporary:
                    shutil.rmtree(self._upper.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- files -----------------------------------------------------------------------------------------------------

    def open_handle(self, path: AnyPath, flags: int, mode: int = 0o666) -> Handle:
        """As `os.open`, of a file: O_RDONLY, O_WRONLY, O_RDWR with O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW."""
        creating = bool(flags & os.O_CREAT)
        exclusive = creating and bool(flags & os.O_EXCL)
        with self._lock:
            spot = resolve(self._upper.state, path, follow=not (exclusive or flags & os.O_NOFOLLOW))
            node = spot.node
            if creating and spot.slash:
                raise fail(errno.EISDIR, path)
            if exclusive and node is not None:
                raise fail(errno.EEXIST, path)
            if isinstance(node, Directory):
                raise fail(errno.EISDIR, path)
            if isinstance(node, LinkNode):
                raise fail(errno.ELOOP, path)
            if node is None and not creating:
                raise fail(errno.ENOENT, path)
            if node is None:
                check_new(spot, path)
                where = spot.path()
                data = self._upper.files.new()
                self._upper.do("create", where, mode & ~self._umask & 0o7777, data, time.time_ns())
                node = self._upper.state.lookup(spot.directory, spot.name)
                assert isinstance(node, FileNode)
            elif spot.slash:
                raise fail(errno.ENOTDIR, path)
            elif flags & os.O_TRUNC and flags & os.O_ACCMODE != os.O_RDONLY:
                self._upper.resize(node, 0)
            return Handle(self._lock, self._upper, node, flags)

    def open(
        self,
        path: AnyPath,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """As the builtin `open`. Reading touches only the chunks it needs, writing copies nothing of a large file."""
        kinds = [letter for letter in mode if letter in _FLAGS]
        binary, plus = "b" in mode, "+" in mode
        if len(kinds) != 1 or set(mode) - set("rwxabt+") or len(set(mode)) != len(mode) or (binary and "t" in mode):
            raise ValueError(f"invalid mode: {mode!r}")
        if binary and not (encoding is errors is newline is None):
            raise ValueError("binary mode takes no encoding, errors or newline argument")
        if buffering == 0 and not binary:
            raise ValueError("can't have unbuffered text I/O")
        flags = _FLAGS[kinds[0]]
        flags |= os.O_RDWR if plus else os.O_RDONLY if kinds[0] == "r" else os.O_WRONLY
        handle = self.open_handle(path, flags)
        raw = OverlayFile(handle, os.fspath(path), mode)
        if kinds[0] == "a":
            raw.seek(0, os.SEEK_END)
        if buffering == 0:
            return raw  # type: ignore[return-value]  # typeshed knows no common type of these
        size = buffering if buffering > 1 else BUFFER
        buffered: io.BufferedReader | io.BufferedWriter | io.BufferedRandom
        if plus:
            buffered = io.BufferedRandom(raw, size)
        elif kinds[0] == "r":
            buffered = io.BufferedReader(raw, size)
        else:
            buffered = io.BufferedWriter(raw, size)
        if binary:
            return buffered
        text = io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline, line_buffering=buffering == 1)
        text.mode = mode  # type: ignore[misc]  # as the builtin does
        return text

    def read_bytes(self, path: AnyPath) -> bytes:
        """All of a file."""
        with self._lock:
            node = self._file(path)
            base = None if node.content is not None else node.base
        if base is not None and base.file.size <= BUFFER and not self._upper.base_files.is_chunked(base):
            return self._upper.base_files.whole(base)
        with self.open(path, "rb", 0) as file:
            data: bytes = file.read()
            return data

    def write_bytes(self, path: AnyPath, data: bytes) -> int:
        """Make a file be `data`; how many bytes that are."""
        with self.open(path, "wb", 0) as file:
            return int(file.write(data))

    def read_text(self, path: AnyPath, encoding: str = "utf-8") -> str:
        """All of a file, decoded."""
        with self.open(path, encoding=encoding) as file:
            return str(file.read())

    def write_text(self, path: AnyPath, text: str, encoding: str = "utf-8") -> int:
        """Make a file be `text`."""
        with self.open(path, "w", encoding=encoding) as file:
            return int(file.write(text))

    def truncate(self, path: AnyPath, size: int) -> None:
        """As `os.truncate`."""
        if size < 0:
            raise fail(errno.EINVAL, path)
        with self._lock:
            self._upper.resize(self._file(path), size)

    def _file(self, path: AnyPath) -> FileNode:
        node = self._existing(path).node
        if isinstance(node, Directory):
            raise fail(errno.EISDIR, path)
        assert isinstance(node, FileNode)
        return node

    def _existing(self, path: AnyPath, *, follow: bool = True) -> Spot:
        spot = resolve(self._upper.state, path, follow=follow)
        if spot.node is None:
            raise fail(errno.ENOENT, path)
        if spot.slash and not isinstance(spot.node, Directory):
            raise fail(errno.ENOTDIR, path)
        return spot

    def _node(self, path: AnyPath, *, follow: bool = True) -> Node:
        node = self._existing(path, follow=follow).node
        assert node is not None
        return node

    # -- looking ---------------------------------------------------------------------------------------------------

    def stat(self, path: AnyPath, *, follow_symlinks: bool = True) -> os.stat_result:
        """As `os.stat`."""
        with self._lock:
            return self._status(self._node(path, follow=follow_symlinks))

    def lstat(self, path: AnyPath) -> os.stat_result:
        """As `os.lstat`."""
        return self.stat(path, follow_symlinks=False)

    def fstat(self, handle: Handle) -> os.stat_result:
        """As `os.fstat`."""
        with self._lock:
            return self._status(handle.node)

    def _status(self, node: Node) -> os.stat_result:
        size = node.size if isinstance(node, FileNode) else len(node.target) if isinstance(node, LinkNode) else 4096
        links = 2 if isinstance(node, Directory) else 1
        atime, mtime, ctime = node.atime, node.mtime, node.ctime
        fields = (node.kind | node.mode, node.ino, 0, links, *self._owner, size)
        times = (atime // 10**9, mtime // 10**9, ctime // 10**9)
        more = {
            "st_atime": atime / 1e9,
            "st_mtime": mtime / 1e9,
            "st_ctime": ctime / 1e9,
            "st_atime_ns": atime,
            "st_mtime_ns": mtime,
            "st_ctime_ns": ctime,
            "st_blksize": BUFFER,
            "st_blocks": (size + 511) // 512,
        }
        return os.stat_result((*fields, *times), more)

    def digest(self, path: AnyPath, *, follow_symlinks: bool = True) -> Digest | None:
        """The digest of a file or a directory that is as the store has it; None for what was touched, and for links."""
        with self._lock:
            node = self._node(path, follow=follow_symlinks)
            if isinstance(node, Directory):
                return None if node.dirty else node.base
            if isinstance(node, FileNode) and node.content is None and node.base is not None:
                return node.base.file.digest
            return None

    def exists(self, path: AnyPath) -> bool:
        """As `os.path.exists`."""
        return self.is_kind(path, 0)

    def lexists(self, path: AnyPath) -> bool:
        """As `os.path.lexists`."""
        return self.is_kind(path, 0, follow=False)

    def is_file(self, path: AnyPath) -> bool:
        """As `os.path.isfile`."""
        return self.is_kind(path, stat.S_IFREG)

    def is_dir(self, path: AnyPath) -> bool:
        """As `os.path.isdir`."""
        return self.is_kind(path, stat.S_IFDIR)

    def is_symlink(self, path: AnyPath) -> bool:
        """As `os.path.islink`."""
        return self.is_kind(path, stat.S_IFLNK, follow=False)

    def is_kind(self, path: AnyPath, kind: int, *, follow: bool = True) -> bool:
        """Whether there is something of that kind (its type bits; 0: of any)."""
        try:
            with self._lock:
                node = self._node(path, follow=follow)
        except (OSError, ValueError):
            return False
        return not kind or node.kind == kind

    def readlink(self, path: S | os.PathLike[S]) -> S:
        """As `os.readlink`."""
        with self._lock:
            node = self._node(path, follow=False)
            if not isinstance(node, LinkNode):
                raise fail(errno.EINVAL, path)
            return like(path, node.target)

    def realpath(self, path: S | os.PathLike[S]) -> S:
        """Where a path leads, without links and dots: `a/b`, of the root the empty string. Raises OSError when there is
        nothing."""
        with self._lock:
            return like(path, self._node(path).path())

    def listdir(self, path: S | os.PathLike[S] = "/") -> list[S]:  # type: ignore[assignment]
        """As `os.listdir`, in name order."""
        return [like(path, name) for name, _ in self._listed(path)]

    def scandir(self, path: S | os.PathLike[S] = "/") -> DirEntries[S]:  # type: ignore[assignment]
        """As `os.scandir`, in name order."""
        return DirEntries(self, os.fspath(path), self._listed(path))

    def _listed(self, path: AnyPath) -> list[tuple[bytes, int]]:
        """(name, type bits) of all entries of a directory."""
        with self._lock:
            state = self._upper.state
            node = self._node(path)
            if not isinstance(node, Directory):
                raise fail(errno.ENOTDIR, path)
            found = [
                (name, _KINDS[item[1]] if isinstance(item, tuple) else item.kind) for name, item in state.entries(node)
            ]
            if not node.changes:
                return found
        found.sort()
        return found

    def walk(
        self,
        top: S | os.PathLike[S] = "/",  # type: ignore[assignment]
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
    ) -> Iterator[tuple[S, list[S], list[S]]]:
        """As `os.walk`."""
        stack: list[S | tuple[S, list[S], list[S]]] = [os.fspath(top)]
        while stack:
            here = stack.pop()
            if isinstance(here, tuple):
                yield here
                continue
            try:
                with self.scandir(here) as entries:
                    listed = list(entries)
            except OSError as error:
                if onerror is not None:
                    onerror(error)
                continue
            directories = [entry.name for entry in listed if entry.is_dir()]
            others = [entry.name for entry in listed if not entry.is_dir()]
            if topdown:
                yield here, directories, others
            else:
                stack.append((here, directories, others))
            for name in reversed(directories):
                below = os.path.join(here, name)
                if followlinks or not self.is_symlink(below):
                    stack.append(below)

    def glob(self, pattern: str) -> Iterator[str]:
        """Paths that match, in order: `*`, `?` and `[...]` within a name (not of a leading dot), `**` for any number
        of directories. Links are followed, but not by `**`."""
        parts = [part for part in pattern.split("/") if part]
        seen: set[str] = set()
        for found in self._glob("", parts):
            if found not in seen:
                seen.add(found)
                yield found

    def _glob(self, above: str, parts: list[str]) -> Iterator[str]:
        if not parts:
            if above:
                yield above
            return
        part, rest = parts[0], parts[1:]
        if not any(letter in part for letter in "*?["):
            path = f"{above}/{part}" if above else part
            if self.lexists(path):
                yield from self._glob(path, rest)
            return
        matches = regex(translate(part)).match
        if part == "**":
            yield from self._glob(above, rest)
        try:
            listed = list(self.scandir(above or "/"))
        except OSError:
            return
        for entry in listed:
            path = f"{above}/{entry.name}" if above else entry.name
            if entry.name.startswith(".") and not part.startswith("."):
                continue
            if part == "**":
                if entry.is_dir(follow_symlinks=False):
                    yield from self._glob(path, parts)
                elif not rest:
                    yield path
            elif matches(entry.name):
                yield from self._glob(path, rest)

    # -- changing --------------------------------------------------------------------------------------------------

    def mkdir(self, path: AnyPath, mode: int = 0o777) -> None:
        """As `os.mkdir`."""
        with self._lock:
            spot = entry_at(self._upper.state, path)
            if spot.node is not None:
                raise fail(errno.EEXIST, path)
            check_new(spot, path)
            self._upper.do("mkdir", spot.path(), mode & ~self._umask & 0o7777, time.time_ns())

    def makedirs(self, path: AnyPath, mode: int = 0o777, exist_ok: bool = False) -> None:
        """As `os.makedirs`."""
        with self._lock:
            raw = raw_path(path).rstrip(b"/")
            above = raw.rpartition(b"/")[0]
            if above and not self.exists(above):
                with suppress(FileExistsError):  # a link that leads nowhere: said of the directory that is asked for
                    self.makedirs(above, exist_ok=True)
            try:
                self.mkdir(path, mode)
            except FileExistsError:
                if not (exist_ok and self.is_dir(path)):
                    raise

    def rmdir(self, path: AnyPath) -> None:
        """As `os.rmdir`."""
        with self._lock:
            spot = entry_at(self._upper.state, path)
            if spot.dots:
                raise fail({b".": errno.EINVAL, b"..": errno.ENOTEMPTY}.get(spot.dots, errno.EBUSY), path)
            if spot.node is None:
                raise fail(errno.ENOENT, path)
            if not isinstance(spot.node, Directory):
                raise fail(errno.ENOTDIR, path)
            if self._upper.state.count(spot.node):
                raise fail(errno.ENOTEMPTY, path)
            self._upper.do("remove", spot.path(), time.time_ns())

    def unlink(self, path: AnyPath) -> None:
        """As `os.unlink`. Whoever has the file open keeps it."""
        with self._lock:
            spot = entry_at(self._upper.state, path)
            if spot.node is None:
                raise fail(errno.ENOENT, path)
            if isinstance(spot.node, Directory):
                raise fail(errno.EISDIR, path)
            if spot.slash:
                raise fail(errno.ENOTDIR, path)
            self._upper.do("remove", spot.path(), time.time_ns())

    remove = unlink

    def rmtree(self, path: AnyPath) -> None:
        """Remove a directory with all that is below it, whatever that is: costs no more than one entry."""
        with self._lock:
            spot = entry_at(self._upper.state, path)
            if spot.dots:
                raise fail(errno.EBUSY, path)
            if spot.node is None:
                raise fail(errno.ENOENT, path)
            if not isinstance(spot.node, Directory):
                raise fail(errno.ENOTDIR, path)
            self._upper.do("remove", spot.path(), time.time_ns())

    def rename(self, source: AnyPath, target: AnyPath, *, replace: bool = True) -> None:
        """As `os.rename`; of a directory too, without a look at what it has. replace False: EEXIST rather than take
        the place of something."""
        with self._lock:
            state = self._upper.state
            old, new = entry_at(state, source, any_length=True), entry_at(state, target, any_length=True)
            if old.dots or new.dots:
                raise fail(errno.EBUSY, source if old.dots else target)
            moved, there = old.node, new.node
            check_length(old, source)
            if moved is None:
                raise fail(errno.ENOENT, source)
            check_length(new, target)
            if there is not None and not replace:
                raise fail(errno.EEXIST, target)
            if isinstance(moved, Directory):
                if _is_above(moved, new.directory):
                    raise fail(errno.EINVAL, source)
            elif old.slash or new.slash:
                raise fail(errno.ENOTDIR, source)
            if isinstance(there, Directory) and _is_above(there, old.directory):
                raise fail(errno.ENOTEMPTY, target)
            if moved is there:
                return
            if there is not None and isinstance(moved, Directory) != isinstance(there, Directory):
                raise fail(errno.ENOTDIR if isinstance(moved, Directory) else errno.EISDIR, target)
            if isinstance(there, Directory) and state.count(there):
                raise fail(errno.ENOTEMPTY, target)
            check_new(new, target)
            self._upper.do("rename", old.path(), new.path(), time.time_ns())

    def replace(self, source: AnyPath, target: AnyPath) -> None:
        """As `os.replace`."""
        self.rename(source, target)

    def symlink(self, target: AnyPath, path: AnyPath) -> None:
        """As `os.symlink`."""
        raw = os.fsencode(target)
        if b"\0" in raw:
            raise ValueError("embedded null byte")
        if not raw:
            raise fail(errno.ENOENT, path)
        if len(raw) > MAX_TARGET:
            raise fail(errno.ENAMETOOLONG, path)
        with self._lock:
            spot = entry_at(self._upper.state, path)
            if spot.node is not None:
                raise fail(errno.EEXIST, path)
            if spot.slash:
                raise fail(errno.ENOENT, path)
            check_new(spot, path)
            self._upper.do("symlink", spot.path(), raw, time.time_ns())

    def link(self, source: AnyPath, target: AnyPath) -> None:
        """There are no hard links: PermissionError (EPERM), as of any file system without them."""
        raise fail(errno.EPERM, target)

    def chmod(self, path: AnyPath, mode: int, *, follow_symlinks: bool = True) -> None:
        """As `os.chmod`. The mode of the root is not versioned."""
        with self._lock:
            node = self._node(path, follow=follow_symlinks)
            if isinstance(node, LinkNode):
                raise fail(errno.ENOTSUP, path)
            self._upper.do("chmod", node.path(), mode & 0o7777, time.time_ns())

    def utime(
        self,
        path: AnyPath,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """As `os.utime`. Times are not versioned."""
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        now = time.time_ns()
        if times is not None:
            ns = (int(times[0] * 10**9), int(times[1] * 10**9))
        atime, mtime = ns or (now, now)
        with self._lock:
            node = self._node(path, follow=follow_symlinks)
            self._upper.do("utime", node.path(), kept_time(atime), kept_time(mtime), now)

    def copy(self, source: AnyPath, target: AnyPath, *, follow_symlinks: bool = True) -> None:
        """Copy by reference, with permission bits: no byte is read or written, whatever is copied. A file takes the
        place of a file or link; a directory is copied with all that is below it, to where nothing is yet."""
        with self._lock:
            found = self._existing(source, follow=follow_symlinks)
            node = found.node
            assert node is not None
            new = (
                resolve(self._upper.state, target, follow=True)
                if follow_symlinks
                else entry_at(self._upper.state, target)
            )
            if new.node is node:
                return
            if isinstance(node, Directory):
                if _is_above(node, new.directory):
                    raise fail(errno.EINVAL, target)
                if new.node is not None:
                    raise fail(errno.EEXIST, target)
            elif isinstance(new.node, Directory) or new.slash:
                raise fail(errno.EISDIR, target)
            check_new(new, target)
            self._upper.do("copy", node.path(), new.path(), time.time_ns())

    def graft(self, snapshot: Digest, source: AnyPath, target: AnyPath) -> None:
        """Make `target` be what another snapshot of the store has at `source` (no link on the way is followed), by
        reference. A file or link takes the place of a file or link, a directory goes to where nothing is yet. Who
        calls it keeps that snapshot until the next push."""
        raw = raw_path(source).strip(b"/")
        with self._lock:
            found = self._upper.objects.find(snapshot, tuple(raw.split(b"/")))
            if found is None:
                raise fail(errno.ENOENT, source)
            new = entry_at(self._upper.state, target)
            if new.dots:
                raise fail(errno.EBUSY, target)
            if new.node is not None and found.entry[1] == DIRECTORY:
                raise fail(errno.EEXIST, target)
            if isinstance(new.node, Directory):
                raise fail(errno.EISDIR, target)
            check_new(new, target)
            self._upper.do("graft", snapshot, raw, new.path(), time.time_ns())

    # -- as a whole ------------------------------------------------------------------------------------------------

    def changes(self) -> Iterator[Change]:
        """What differs from the base, in path order, by what was touched; see `changes.changes`."""
        with self._lock:
            return iter(list(changes(self._upper.state)))

    def discard(self, path: AnyPath) -> None:
        """Make a path (a file, a link, or a directory with all below it) be as it is in the base; `/`: everything.
        Raises FileNotFoundError when neither has it, or when the directory above it is gone."""
        with self._lock:
            state = self._upper.state
            spot = entry_at(state, path)
            if spot.dots and spot.node is state.root:
                for name in list(state.root.changes):
                    self._upper.do("discard", name, time.time_ns())
                return
            where = spot.path()
            if spot.node is None and state.objects.find(state.base, tuple(where.split(b"/"))) is None:
                raise fail(errno.ENOENT, path)
            self._upper.do("discard", where, time.time_ns())

    def fold(self, sink: TreeSink) -> Folded:
        """The tree as it is now, as pages given to `sink`: only directories that were touched are made anew, only
        files that were written are read. The id is that of the same tree ingested from a disk."""
        with self._lock:
            return fold(self._upper, sink)

    def commit(self, sink: TreeSink, store: Callable[[Folded], bool]) -> Folded:
        """Fold, and let `store` make it last, while nobody can change anything (so it is a consistent cut). When it
        returns True the result is the base from then on, and nothing is changed any more. Raises UsageError (bad-path)
        for a tree that is too deep."""
        with self._lock:
            check_depth(self._upper.state)
            folded = fold(self._upper, sink)
            if store(folded):
                self._upper.settle(folded.tree.digest, folded.directories, folded.files)
            return folded

    def rebase(self, base: Digest, now: Digest | None = None) -> None:
        """Forget all changes, and be the snapshot `base`. Open files stay what they are, as if removed (unless a
        `follower` sees to them). now: the snapshot that the overlay was up to now, where that is known."""
        with self._lock:
            self._upper.objects.tree(base)
            after = None if self.follower is None else self.follower(base, now)
            self._upper.reset(base)
            if after is not None:
                after()


def _is_above(directory: Directory, node: Directory) -> bool:
    """Whether `directory` is `node`, or above it."""
    at: Directory | None = node
    while at is not None:
        if at is directory:
            return True
        at = at.parent
    return False
