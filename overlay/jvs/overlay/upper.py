"""The upper layer: a directory with a journal and data files, and all reading and writing of what lies in it.

    DIR/journal     what was done (`journal`, `state`)
    DIR/data/N/M    the bytes of written files (`datafiles`)
    DIR/lock        held by the process that has the layer open

Order is what makes it survive: bytes are in a data file before a record makes them a file's, a record is written before
the state changes, and a data file that no record needs goes only when those records are durable.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.castore.manifest import Entry
from jvs.castore.objects import ObjectStore
from jvs.errors import IntegrityError, LockedError
from jvs.overlay.basefile import BaseFiles
from jvs.overlay.datafiles import GARBAGE, DataFiles, write_all
from jvs.overlay.journal import Journal, Record
from jvs.overlay.nodes import Content, Directory, FileNode
from jvs.overlay.state import State

LOCK: Final = "lock"
"""Held (flock, exclusive) by the process that has the layer open."""
JOURNAL: Final = "journal"
_FRESH: Final = 4096
"""Ranges that are written before the journal is told unasked."""
_DATA: Final = {"create": 3, "data": 2, "cow": 2, "unshare": 2}
"""Where these records name a data file."""
_MOVING: Final = frozenset(("copy", "discard", "graft", "remove", "rename"))
_ZERO: Final = bytes(1 << 16)
MAX_SIZE: Final = 2**63 - 1


class Upper:
    """An open upper layer. Not thread-safe: the overlay's lock is held."""

    _due: list[Record] | None = None
    """The records with which the journal must begin anew before anything is added to it."""

    def __init__(
        self,
        objects: ObjectStore,
        directory: str,
        base: Digest,
        time_ns: int,
        info: Mapping[str, Any],
        *,
        durable: bool = True,
    ) -> None:
        """Make a new layer over `base` in an empty or new directory, or (`resume`) see there. info: what the caller
        wants to find in the journal's header again (plain data). durable False: nobody will resume it after a crash,
        so nothing waits for the disk."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._begin(objects, directory)
        if os.path.exists(self._journal_path):
            self._let_go()
            raise FileExistsError(errno.EEXIST, "there is an upper layer already", directory)
        self.info = dict(info)
        self.state = State(objects, base, self.files, time_ns)
        self._durable = durable
        try:
            self.journal = Journal.create(self._journal_path, self._header(), durable=durable)
        except BaseException:
            self._let_go()
            raise
        self.torn = 0

    @classmethod
    def resume(cls, objects: ObjectStore, directory: str) -> Upper:
        """Open a layer as its last user left it. Raises FileNotFoundError, LockedError, IntegrityError."""
        self = cls.__new__(cls)
        self._durable = True
        if not os.path.exists(os.path.join(directory, JOURNAL)):
            raise FileNotFoundError(errno.ENOENT, "no upper layer", directory)
        self._begin(objects, directory)
        try:
            opened = Journal.open(self._journal_path)
        except BaseException:
            self._let_go()
            raise
        self.journal, self.torn = opened.journal, opened.torn
        try:
            header = opened.header
            base, ino, time_ns = header.get("base"), header.get("next_ino"), header.get("time_ns")
            if not (isinstance(base, bytes) and len(base) == DIGEST_SIZE and type(ino) is type(time_ns) is int):
                raise IntegrityError("the journal of an overlay has a header of an unknown shape")
            self.info = dict(header.get("info", {}))
            self.state = State(objects, base, self.files, time_ns)
            self.state.next_ino = ino
            for record in opened.records:
                try:
                    self.state.apply(record)
                except (TypeError, ValueError, AttributeError, AssertionError) as error:
                    raise IntegrityError(f"the journal of an overlay has a malformed record: {error}") from error
            used = self.state.replayed()
            self.journal.sync()
            self.files.adopt(
                used, max((record[_DATA[record[0]]] for record in opened.records if record[0] in _DATA), default=0)
            )
        except BaseException:
            self.close()
            raise
        return self

    def _begin(self, objects: ObjectStore, directory: str) -> None:
        self.directory = directory
        self._journal_path = os.path.join(directory, JOURNAL)
        path = os.path.join(directory, LOCK)
        self._lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._lock_fd), os.stat(path)):  # removed, and made anew, in between
                raise BlockingIOError
        except BlockingIOError:
            self._unlock()
            raise LockedError(f"another process has the upper layer {directory} open") from None
        except BaseException:
            self._unlock()
            raise
        self.objects = objects
        self.base_files = BaseFiles(objects)
        self.files = DataFiles(os.path.join(directory, "data"))
        self._fresh: dict[FileNode, None] = {}

    def _header(self) -> dict[str, Any]:
        state = self.state
        return {"base": state.base, "next_ino": state.next_ino, "time_ns": state.time_ns, "info": self.info}

    def _unlock(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _let_go(self) -> None:
        self.files.close()
        self._unlock()

    def renamed(self, directory: str) -> None:
        """Its directory was renamed to this path."""
        self.directory = directory
        self._journal_path = os.path.join(directory, JOURNAL)
        self.files.renamed(os.path.join(directory, "data"))

    def close(self) -> None:
        """Release everything; what was written stays. Idempotent."""
        self.journal.close()
        self._let_go()

    # -- records ---------------------------------------------------------------------------------------------------

    def do(self, *record: Any) -> None:
        """Write down a record, then do what it says."""
        self._begin_anew()
        if self._fresh and record[0] in _MOVING:
            self.tell()  # while these files still share what they share, and are where they are
        self.journal.append(record)
        try:
            self.state.apply(record)
        except Exception:  # what cannot be done now cannot be done when the layer is opened again either
            self.journal.withdraw()
            raise
        if self.files.garbage_bytes > GARBAGE:
            self.sync()

    def tell(self) -> None:
        """Write down what was written where, of every file laid over the base."""
        self._begin_anew()
        for node in list(self._fresh):
            self._tell(node)

    def _tell(self, node: FileNode) -> None:
        content = node.content
        if content is not None and content.fresh and node.parent is not None:
            self.journal.append(("wrote", node.path(), content.size, content.fresh))
            content.fresh = []
        self._fresh.pop(node, None)

    def sync(self) -> None:
        """Make everything that was done durable."""
        self.tell()
        if self._durable:
            self.files.sync()
        self.journal.sync()
        self.files.sweep()

    def closed(self, node: FileNode, *, wrote: bool) -> None:
        """A handle of a file was closed."""
        node.handles -= 1
        if wrote:
            self._tell(node)
        if not node.handles and node.parent is None:
            self.state.release(node)

    # -- bytes -----------------------------------------------------------------------------------------------------

    def read_into(self, node: FileNode, buffer: memoryview, start: int) -> int:
        """Fill `buffer` with the bytes of a file from `start` on; how many there were."""
        content = node.content
        if content is None:
            assert node.base is not None
            return self.base_files.read_into(node.base, buffer, start)
        if content.extents is None:
            return _pread(self.files.fd(content.data), buffer, start)
        end = min(start + len(buffer), content.size)
        for at, upto, upper in content.extents.split(start, end):
            part = buffer[at - start : upto - start]
            got = 0
            if upper:
                got = _pread(self.files.fd(content.data), part, at)
            elif at < content.limit:
                assert content.base is not None
                got = self.base_files.read_into(content.base, part[: content.limit - at], at)
            if got < len(part):
                _clear(part[got:])
        return max(0, end - start)

    def write(self, node: FileNode, data: memoryview, start: int) -> int:
        """Write at an offset (< 0: at the end); where the written bytes end. Raises OSError (EFBIG, ENOSPC)."""
        if start < 0:
            start = node.size
        if not data:
            return start
        end = start + len(data)
        if end > MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        content = self._writable(node)
        fd = self.files.written(content.data)
        try:
            write_all(fd, data, start)
        except OSError:
            if content.extents is None:  # some of it may be there, which nobody was told: who goes on at the end
                os.ftruncate(fd, content.size)
            raise
        content.size = max(content.size, end)
        if content.extents is not None:
            content.extents.add(start, end)
            fresh = content.fresh
            if fresh and fresh[-1] == start:
                fresh[-1] = end
            else:
                fresh += (start, end)
                if len(fresh) > 2 * _FRESH:
                    self._tell(node)
            self._fresh[node] = None
        node.mtime = node.ctime = time.time_ns()
        node.timed = False
        return end

    def resize(self, node: FileNode, size: int) -> None:
        """Cut a file off, or lengthen it with zeros. Raises OSError (EINVAL, EFBIG)."""
        if size < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if size > MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        now = time.time_ns()
        if not size:
            if node.size or node.content is None:
                self._set_data(node, self.files.new(), 0, now)
            node.mtime = node.ctime = now
            node.timed = False
            return
        content = self._writable(node)
        if content.extents is None:
            os.ftruncate(self.files.written(content.data), size)
            content.size = size
            node.mtime = node.ctime = now
            node.timed = False
        elif node.parent is None:
            self.state.set_size(node, size, now)
        else:
            self._tell(node)
            self.do("cut", node.path(), size, now)

    def _writable(self, node: FileNode) -> Content:
        """The content of a file that is about to be written: its own, and not the base's."""
        content = node.content
        if content is None:
            base = node.base
            assert base is not None
            if self.base_files.is_chunked(base):
                data = self.files.new()
                if node.parent is None:
                    self.state.set_cow(node, data, time.time_ns())
                else:
                    self.do("cow", node.path(), data, time.time_ns())
            else:
                whole = self.base_files.whole(base)
                data = self.files.new()
                try:
                    write_all(self.files.fd(data), memoryview(whole), 0)
                except OSError:
                    self.files.drop(data)
                    raise
                self._set_data(node, data, len(whole), time.time_ns())
        elif content.refs > 1:
            self._tell(node)
            data = self.files.copy(content.data)
            if node.parent is None:
                self.state.set_unshared(node, data)
            else:
                self.do("unshare", node.path(), data)
        assert node.content is not None
        return node.content

    def _set_data(self, node: FileNode, data: int, size: int, now: int) -> None:
        if node.parent is None:
            self.state.set_data(node, data, size, now)
        else:
            self.do("data", node.path(), data, now)
            assert node.content is not None
            node.content.size = size

    # -- folding ---------------------------------------------------------------------------------------------------

    def settle(self, base: Digest, folded: dict[Directory, Digest], made: dict[FileNode, Entry]) -> None:
        """The tree was stored as `base`; see `State.settle`."""
        self._fresh.clear()
        self._replace(self.state.settle(base, folded, made))

    def reset(self, base: Digest) -> None:
        """Begin anew over `base`."""
        self._fresh.clear()
        self.state.reset(base)
        self._replace([])

    def _replace(self, records: list[Record]) -> None:
        self._due = records
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Make the journal anew, if that is due. The old one leads to another state than this one, so nothing may be
        added to it: where this failed, whatever is done next tries again, and fails first."""
        if self._due is None:
            return
        if self._durable:
            self.files.sync()
        journal = Journal.create(self._journal_path, self._header(), self._due, durable=self._durable)
        self.journal.close()
        self.journal, self._due = journal, None
        self.files.sweep()


def _pread(fd: int, buffer: memoryview, start: int) -> int:
    done = 0
    while done < len(buffer):
        got = os.preadv(fd, [buffer[done:]], start + done)
        if not got:
            break
        done += got
    return done


def _clear(buffer: memoryview) -> None:
    for at in range(0, len(buffer), len(_ZERO)):
        part = buffer[at : at + len(_ZERO)]
        part[:] = _ZERO[: len(part)]
