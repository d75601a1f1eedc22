"""Answers the kernel's requests about a mount from a view: one message in, one call, one message out.

One thread reads the device and answers; before what may take long it lets another one go on in its place. Were all of
them to read, each request would wake another thread, and wait for Python's lock.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import traceback
from collections.abc import Callable, Iterable
from struct import Struct
from threading import Lock, Thread
from typing import Any, Final

from jvs.errors import JvsError
from jvs.overlay.fuse import protocol as p
from jvs.overlay.fuse.listings import Foresight, Listing
from jvs.overlay.fuse.numbers import Known, Numbers
from jvs.overlay.fuse.views import FOREVER, Attributes, Changed, Opened, View, failure

MAX_IO: Final = 1 << 20
"""Bytes of the largest read and write."""
_BODY: Final = p.REQUEST.size
_ROOM: Final = MAX_IO + 4096
_BLOCK: Final = 1 << 17
"""The block size that `stat` gives: what programs take for the size of their buffers, and so of their writes."""
_WANTED: Final = (
    p.ASYNC_READ
    | p.ATOMIC_O_TRUNC
    | p.BIG_WRITES
    | p.DO_READDIRPLUS
    | p.READDIRPLUS_AUTO
    | p.ASYNC_DIO
    | p.PARALLEL_DIROPS
    | p.MAX_PAGES
    | p.CACHE_SYMLINKS
)
_LONG_READ: Final = 64 << 10
_NO_ENTRY: Final = bytes(p.ENTRY.size + p.ATTR.size)
_SILENT: Final = frozenset((p.FORGET, p.BATCH_FORGET, p.INTERRUPT, p.DESTROY))
_LONG: Final = frozenset((p.FSYNC, p.FSYNCDIR, p.STATFS))
_BY_HANDLE: Final = _LONG | {p.READ, p.WRITE, p.FLUSH, p.RELEASE, p.RELEASEDIR}
"""Requests about what is open: they do not go by a node."""
_GONE: Final = (errno.ENODEV, errno.EBADF)
_TAKEN_BACK: Final = (errno.EINTR, errno.ENOENT, errno.EAGAIN)

_MODE: Final = Struct("=I")
_MODE_AT: Final = p.ENTRY.size + p.ATTR.size - 28
"""Where the mode stands in an answer that names a node."""

Answer = bytes | bytearray | memoryview
Handler = Callable[[int, memoryview, memoryview], Answer]
"""(number of the node, body, room for a large answer) -> body of the answer."""


class Server:
    """Serves one mount.

    device     the descriptor of /dev/fuse that the mount belongs to; closed by `close`
    fixed      no file below `root` ever changes: then the kernel opens and closes them by itself
    complain   told, in words, of what should not happen
    """

    def __init__(self, device: int, root: View, *, fixed: bool, complain: Callable[[str], object]) -> None:
        self._device = device
        self._fixed = fixed
        self._complain = complain
        self._owner = p.OWNER.pack(os.getuid(), os.getgid(), 0, _BLOCK)
        self._times: tuple[list[int], bytes] = [], b""
        self._root = root
        self.numbers = Numbers(root)
        self._opened: dict[int, tuple[View, Any]] = {}
        self._next_handle = 1
        self._lock = Lock()
        self._listings: dict[int, Listing] = {}
        self._turn = Lock()
        self._giving = Lock()
        self._foresight = Foresight()
        self._flags = 0
        self._threads: list[Thread] = []
        self._handlers: dict[int, Handler] = {
            p.LOOKUP: self._lookup,
            p.GETATTR: self._getattr,
            p.SETATTR: self._setattr,
            p.READLINK: self._readlink,
            p.SYMLINK: self._symlink,
            p.MKNOD: self._mknod,
            p.MKDIR: self._mkdir,
            p.UNLINK: self._unlink,
            p.RMDIR: self._rmdir,
            p.RENAME: self._rename,
            p.RENAME2: self._rename2,
            p.LINK: self._link,
            p.OPEN: self._open,
            p.READ: self._read,
            p.WRITE: self._write,
            p.STATFS: self._statfs,
            p.RELEASE: self._release,
            p.FSYNC: self._fsync,
            p.FLUSH: self._flush,
            p.OPENDIR: self._opendir,
            p.READDIR: self._readdir,
            p.READDIRPLUS: self._readdirplus,
            p.RELEASEDIR: self._releasedir,
            p.FSYNCDIR: self._fsyncdir,
            p.CREATE: self._create,
        }

    # -- messages --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Agree with the kernel upon how to talk. Raises OSError when it cannot be done, or the mount is gone."""
        buffer = bytearray(_ROOM)
        while True:
            try:
                os.readv(self._device, [buffer])
                break
            except OSError as error:
                if error.errno not in _TAKEN_BACK:
                    raise
        _, code, unique, *_ = p.REQUEST.unpack_from(buffer)
        major, minor, readahead, flags = p.INIT_IN.unpack_from(buffer, _BODY)
        if code != p.INIT or major != p.MAJOR or minor < p.MINOR_NEEDED:
            os.write(self._device, p.ANSWER.pack(p.ANSWER.size, -errno.EPROTO, unique))
            raise OSError(errno.EPROTO, f"this kernel speaks version {major}.{minor} of FUSE's protocol")
        wanted = _WANTED | (p.NO_OPEN_SUPPORT if self._fixed else 0)
        if self._fixed and self._root.lasting == FOREVER:
            wanted |= p.NO_OPENDIR_SUPPORT
        self._flags = flags & wanted
        body = p.INIT_OUT.pack(
            p.MAJOR,
            min(minor, p.MINOR),
            max(readahead, MAX_IO),
            self._flags,
            64,
            48,
            MAX_IO if flags & p.MAX_PAGES else 128 << 10,
            1,
            MAX_IO // os.sysconf("SC_PAGE_SIZE"),
            0,
            0,
        )
        os.writev(self._device, [p.ANSWER.pack(p.ANSWER.size + len(body), 0, unique), body])

    def serve(self, threads: int) -> None:
        """Begin to answer, by so many threads; they end when the mount is gone."""
        self._threads = [Thread(target=self._work, name=f"fuse-{number}", daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def serving(self) -> bool:
        """Whether the mount is there: somebody is answering."""
        return any(thread.is_alive() for thread in self._threads)

    def wait(self, seconds: float | None = None) -> None:
        """Until the mount is gone. A signal's handler may raise out of it."""
        for thread in self._threads:
            thread.join(seconds)

    def close(self) -> None:
        """After the mount is gone: release what is open. Idempotent."""
        with self._lock:
            opened, self._opened = list(self._opened.values()), {}
        for _, handle in opened:
            if not isinstance(handle, Listing):
                handle.close()
        if self._device >= 0 and not self.serving:  # else its number could mean another file to those threads
            os.close(self._device)
            self._device = -1

    def _work(self) -> None:
        device = self._device
        buffer, out = bytearray(_ROOM), memoryview(bytearray(MAX_IO))
        view, into = memoryview(buffer), [buffer]
        unpack, pack = p.REQUEST.unpack_from, p.ANSWER.pack
        self._turn.acquire()
        try:
            while True:
                try:
                    length = os.readv(device, into)
                except OSError as error:
                    if error.errno in _TAKEN_BACK:
                        continue
                    if error.errno not in _GONE:
                        self._complain(f"reading the FUSE device: {error}")
                    return
                _, code, unique, number, *_ = unpack(buffer)
                if code in _SILENT:
                    self._silent(code, number, view[_BODY:length])
                    continue
                handler = self._handlers.get(code)
                answer: Answer = b""
                failed = errno.ENOSYS
                long = False
                if handler is not None:
                    body = view[_BODY:length]
                    long = code in _LONG or (code == p.READ and p.IO_IN.unpack_from(body)[2] >= _LONG_READ)
                    if long:
                        self._turn.release()
                    failed, answer = self._call(handler, code in _BY_HANDLE, number, body, out)
                if code == p.READ and self._fixed and not failed:
                    long = self._give(number, view[_BODY:length], handed=long)
                try:
                    os.writev(device, [pack(16 + len(answer), -failed, unique), answer])
                except OSError as error:  # ENOENT: who asked was killed meanwhile
                    if error.errno not in (*_TAKEN_BACK, *_GONE):
                        self._complain(f"answering request {code}: {error}")
                if long:
                    self._turn.acquire()
        finally:
            self._turn.release()

    def _give(self, number: int, body: memoryview, *, handed: bool) -> bool:
        """A file is being read: give the kernel what it will ask for next, while whoever reads waits for his answer and
        cannot ask for it himself. handed: whether another thread has its turn already; returns whether it has now.

        The kernel takes no bytes for a page that it is asking for, but waits for the answer to that: so one thread does
        this at a time, and all the others answer.
        """
        if p.IO_IN.unpack_from(body)[1] or not self._giving.acquire(blocking=False):
            return handed
        try:
            known = self.numbers[number]
            for node, data in known.view.following(known.node):
                if not handed:
                    self._turn.release()
                    handed = True
                other = self.numbers.find(known.view, node)
                if other is not None:
                    self._notify(p.STORE, p.NOTIFY_STORE.pack(other, 0, len(data), 0) + data)
        except (OSError, JvsError):  # whoever asks for it is told
            pass
        except Exception:
            self._complain(traceback.format_exc())
        finally:
            self._giving.release()
        return handed

    def _call(
        self, handler: Handler, by_handle: bool, number: int, body: memoryview, out: memoryview
    ) -> tuple[int, Answer]:
        """(0 or an errno, body of the answer)."""
        try:
            if by_handle:
                return 0, self._retried(handler, number, body, out)
            with self.numbers[number].view.lock:
                return 0, self._retried(handler, number, body, out)
        except OSError as error:
            return error.errno or errno.EIO, b""
        except JvsError as error:
            self._complain(f"{error.code}: {error.message}")
        except Exception:
            self._complain(traceback.format_exc())
        return errno.EIO, b""

    def _retried(self, handler: Handler, number: int, body: memoryview, out: memoryview) -> Answer:
        """The answer; asked for once more when the disk is full and something could be given back."""
        try:
            return handler(number, body, out)
        except OSError as error:
            if error.errno != errno.ENOSPC or not self.numbers[number].view.reclaim():
                raise
            return handler(number, body, out)

    def _silent(self, code: int, number: int, body: memoryview) -> None:
        if code == p.FORGET:
            self.numbers.forget(number, p.FORGET_IN.unpack_from(body)[0])
        elif code == p.BATCH_FORGET:
            count = p.BATCH_IN.unpack_from(body)[0]
            for one, lookups in p.FORGET_ONE.iter_unpack(body[8 : 8 + 16 * count]):
                self.numbers.forget(one, lookups)

    def handles(self) -> list[Any]:
        """Every open file and directory."""
        with self._lock:
            return [opened for _, opened in self._opened.values()]

    # -- notifications: never from a thread that answers, nor with the lock of a view held ----------------------------

    def changed(self, numbers: Iterable[int]) -> None:
        """What these nodes hold, and their attributes, are not what the kernel believes."""
        for number in numbers:
            self._notify(p.INVAL_INODE, p.NOTIFY_INODE.pack(number, 0, 0))

    def renamed(self, names: Iterable[tuple[int, bytes]]) -> None:
        """What these (directory, name) lead to is not what the kernel believes."""
        for number, name in names:
            self._notify(p.INVAL_ENTRY, p.NOTIFY_ENTRY.pack(number, len(name), 0) + name + b"\0")

    def _notify(self, code: int, body: bytes) -> None:
        try:
            os.writev(self._device, [p.ANSWER.pack(p.ANSWER.size + len(body), code, 0), body])
        except OSError as error:
            if error.errno not in (errno.ENOENT, *_GONE):  # it did not know it
                raise

    # -- names and attributes --------------------------------------------------------------------------------------

    def _shown(self, attributes: Attributes) -> bytes:
        ino, mode, links, size, *times = attributes
        last, packed = self._times
        if times != last:  # those of most are the same
            seconds, ns = zip(*(divmod(time_ns, 10**9) for time_ns in times), strict=True)
            packed = p.TIMES.pack(*(second & 2**64 - 1 for second in seconds), *ns)
            self._times = times, packed
        return p.ATTR.pack(ino, size, (size + 511) >> 9, packed, mode, links, self._owner)

    def _entry(self, where: View, view: View, node: Any) -> bytes:
        """The answer that names a node, found in a directory of the view `where`."""
        shown = self._shown(view.attributes(node))
        name, name_ns = _split(where.lasting)
        seconds, ns = _split(view.lasting)
        return p.ENTRY.pack(self.numbers.name(view, node), 0, name, seconds, name_ns, ns) + shown

    def _made(self, view: View, node: Any) -> bytes:
        """The answer that names what was just made."""
        return self._entry(view, view, node)

    def _attributes(self, view: View, node: Any) -> bytes:
        return p.ATTR_OUT.pack(*_split(view.lasting)) + self._shown(view.attributes(node))

    def _lookup(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        found = known.view.lookup(known.node, bytes(body[:-1]))
        if found is not None:
            answer = self._entry(known.view, *found)
            if not stat.S_ISDIR(_MODE.unpack_from(answer, _MODE_AT)[0]):
                self._foresight.looked(number)
            return answer
        if not known.view.lasting:
            raise failure(errno.ENOENT)
        seconds, ns = _split(known.view.lasting)
        return p.ENTRY.pack(0, 0, seconds, 0, ns, 0) + bytes(p.ATTR.size)

    def _getattr(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        flags, _, handle = p.GETATTR_IN.unpack_from(body)
        if flags & p.GETATTR_BY_HANDLE:
            opened = self._opened.get(handle)
            node = getattr(opened[1], "node", None) if opened is not None else None
            if node is not None:  # the file that was opened, should its name lead elsewhere by now
                return self._attributes(known.view, node)
        return self._attributes(known.view, known.node)

    def _setattr(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        valid, _, handle, size, _, at, mt, _, an, mn, _, mode, *_ = p.SETATTR_IN.unpack_from(body)
        now = time.time_ns()
        atime = now if valid & p.SET_ATIME_NOW else _time(at, an) if valid & p.SET_ATIME else None
        mtime = now if valid & p.SET_MTIME_NOW else _time(mt, mn) if valid & p.SET_MTIME else None
        opened = self._opened[handle][1] if valid & p.SET_BY_HANDLE and handle in self._opened else None
        changed = Changed(
            mode if valid & p.SET_MODE else None,
            size if valid & p.SET_SIZE else None,
            atime,
            mtime,
        )
        # owners are not versioned and everything is the mount's owner's: who may change one may do so in vain
        known.view.setattr(known.node, changed, opened)
        return self._attributes(known.view, known.node)

    def _readlink(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        return known.view.readlink(known.node)

    # -- making and removing ---------------------------------------------------------------------------------------

    def _symlink(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        name, target, _ = bytes(body).split(b"\0")
        return self._made(known.view, known.view.symlink(known.node, name, target))

    def _mknod(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        mode, *_ = p.MKNOD_IN.unpack_from(body)
        if not stat.S_ISREG(mode):
            raise failure(errno.EPERM)
        node, opened = known.view.create(known.node, _name(body, p.MKNOD_IN.size), mode & 0o7777, os.O_EXCL)
        try:
            return self._made(known.view, node)
        finally:
            opened.close()

    def _mkdir(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        mode, _ = p.MKDIR_IN.unpack_from(body)
        return self._made(known.view, known.view.mkdir(known.node, _name(body, p.MKDIR_IN.size), mode & 0o7777))

    def _unlink(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        known.view.unlink(known.node, _name(body))
        return b""

    def _rmdir(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        known.view.rmdir(known.node, _name(body))
        return b""

    def _rename(self, number: int, body: memoryview, out: memoryview) -> Answer:
        (to,) = p.RENAME_IN.unpack_from(body)
        return self._moved(number, to, 0, bytes(body[p.RENAME_IN.size :]))

    def _rename2(self, number: int, body: memoryview, out: memoryview) -> Answer:
        to, flags, _ = p.RENAME2_IN.unpack_from(body)
        return self._moved(number, to, flags, bytes(body[p.RENAME2_IN.size :]))

    def _moved(self, number: int, to: int, flags: int, names: bytes) -> Answer:
        old, new, _ = names.split(b"\0")
        source, target = self.numbers[number], self.numbers[to]
        if flags & ~p.RENAME_NOREPLACE:
            raise failure(errno.EINVAL)
        if source.view is not target.view:
            raise failure(errno.EXDEV)
        source.view.rename(source.node, old, target.node, new, replace=not flags)
        return b""

    def _link(self, number: int, body: memoryview, out: memoryview) -> Answer:
        raise failure(errno.EPERM)

    # -- files -----------------------------------------------------------------------------------------------------

    def _keep(self, view: View, opened: Any) -> int:
        with self._lock:
            handle = self._next_handle
            self._next_handle = handle + 1
            self._opened[handle] = (view, opened)
        return handle

    def _handle(self, handle: int) -> Opened:
        try:
            opened: Opened = self._opened[handle][1]
        except KeyError:
            raise failure(errno.EBADF) from None
        return opened

    def _how(self, view: View, flags: int) -> int:
        if view.direct:
            return p.OPEN_DIRECT_IO | p.OPEN_NOFLUSH
        return p.OPEN_KEEP_CACHE | (p.OPEN_NOFLUSH if flags & os.O_ACCMODE == os.O_RDONLY else 0)

    def _open(self, number: int, body: memoryview, out: memoryview) -> Answer:
        if self._flags & p.NO_OPEN_SUPPORT:
            raise failure(errno.ENOSYS)
        known = self.numbers[number]
        flags, _ = p.OPEN_IN.unpack_from(body)
        opened = known.view.open(known.node, flags)
        return p.OPEN_OUT.pack(self._keep(known.view, opened), self._how(known.view, flags), 0)

    def _create(self, number: int, body: memoryview, out: memoryview) -> Answer:
        known = self.numbers[number]
        flags, mode, *_ = p.CREATE_IN.unpack_from(body)
        node, opened = known.view.create(known.node, _name(body, p.CREATE_IN.size), mode & 0o7777, flags)
        entry = self._made(known.view, node)
        return entry + p.OPEN_OUT.pack(self._keep(known.view, opened), self._how(known.view, flags), 0)

    def _read(self, number: int, body: memoryview, out: memoryview) -> Answer:
        handle, offset, size, *_ = p.IO_IN.unpack_from(body)
        part = out[: min(size, MAX_IO)]
        if not self._flags & p.NO_OPEN_SUPPORT:
            got = self._handle(handle).read_into(part, offset)
        else:
            known = self.numbers[number]
            got = known.view.read_into(known.node, part, offset)
        return part[:got]

    def _write(self, number: int, body: memoryview, out: memoryview) -> Answer:
        handle, offset, size, *_ = p.IO_IN.unpack_from(body)
        self._handle(handle).write(body[p.IO_IN.size : p.IO_IN.size + size], offset)
        return p.WRITE_OUT.pack(size, 0)

    def _flush(self, number: int, body: memoryview, out: memoryview) -> Answer:
        handle, *_ = p.FLUSH_IN.unpack_from(body)
        if self._fixed:
            raise failure(errno.ENOSYS)  # then the kernel asks no more
        self._handle(handle).flush()
        return b""

    def _fsync(self, number: int, body: memoryview, out: memoryview) -> Answer:
        handle, *_ = p.FSYNC_IN.unpack_from(body)
        if not self._fixed:
            self._handle(handle).fsync()
        return b""

    def _release(self, number: int, body: memoryview, out: memoryview) -> Answer:
        handle, *_ = p.FLUSH_IN.unpack_from(body)
        with self._lock:
            known = self._opened.pop(handle, None)
        if known is not None:
            known[1].close()
        return b""

    def _statfs(self, number: int, body: memoryview, out: memoryview) -> Answer:
        found = self.numbers[number].view.statfs()
        return p.STATFS_OUT.pack(
            *(found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree),
            *(found.f_bsize, 255, found.f_frsize, 0),
        )

    # -- directories -----------------------------------------------------------------------------------------------

    def _opendir(self, number: int, body: memoryview, out: memoryview) -> Answer:
        if self._flags & p.NO_OPENDIR_SUPPORT:
            raise failure(errno.ENOSYS)
        view = self.numbers[number].view
        flags = p.OPEN_KEEP_CACHE | p.OPEN_CACHE_DIR if view.lasting else 0
        return p.OPEN_OUT.pack(self._keep(view, Listing()), flags, 0)

    def _releasedir(self, number: int, body: memoryview, out: memoryview) -> Answer:
        handle, *_ = p.FLUSH_IN.unpack_from(body)
        with self._lock:
            self._opened.pop(handle, None)
        return b""

    def _fsyncdir(self, number: int, body: memoryview, out: memoryview) -> Answer:
        self.numbers[number].view.sync()
        return b""

    def _listed(self, known: Known, number: int, handle: int, offset: int) -> Listing:
        """What the directory lists, from `offset` on; the same as long as it is not read from the beginning again."""
        if not self._flags & p.NO_OPENDIR_SUPPORT:
            found = self._opened.get(handle)
            if found is None or not isinstance(found[1], Listing):
                raise failure(errno.EBADF)
            listing = found[1]
        else:  # opened without us: what was read last is what is being read
            with self._lock:
                listing = self._listings.pop(number) if number in self._listings else Listing()
                if len(self._listings) >= 16:
                    del self._listings[next(iter(self._listings))]
                self._listings[number] = listing
        if not offset or not listing.entries:
            view, node = known.view, known.node
            here = view.attributes(node).ino
            listing.fill([(b".", stat.S_IFDIR, here), (b"..", stat.S_IFDIR, here), *view.entries(node)])
        return listing

    def _readdir(self, number: int, body: memoryview, out: memoryview) -> Answer:
        handle, offset, size, *_ = p.IO_IN.unpack_from(body)
        listing = self._listed(self.numbers[number], number, handle, offset)
        return b"".join(listing.records[offset : listing.fitting(offset, size, 0)])

    def _readdirplus(self, number: int, body: memoryview, out: memoryview) -> Answer:
        handle, offset, size, *_ = p.IO_IN.unpack_from(body)
        known = self.numbers[number]
        listing = self._listed(known, number, handle, offset)
        end = listing.fitting(offset, size, len(_NO_ENTRY))
        records = listing.records[offset:end]
        # further on the kernel asks for it only when what came before was looked at
        everything = bool(offset) or self._foresight.listing(number)
        entries = listing.entries[offset:end]
        if not everything and all(kind != stat.S_IFDIR for _, kind, _ in entries[2:]):
            return _NO_ENTRY.join((b"", *records))
        pieces: list[bytes] = []
        for (name, kind, _), record in zip(entries, records, strict=True):
            named = (everything or kind == stat.S_IFDIR) and name not in (b".", b"..")
            pieces.append(self._found(known, name) if named else _NO_ENTRY)
            pieces.append(record)
        return b"".join(pieces)

    def _found(self, known: Known, name: bytes) -> bytes:
        """What is named in a listing; nothing when it cannot be: whoever looks it up is told why."""
        try:
            found = known.view.lookup(known.node, name)
            return _NO_ENTRY if found is None else self._entry(known.view, *found)
        except (OSError, JvsError):
            return _NO_ENTRY


def _split(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * 10**9)


def _name(body: memoryview, start: int = 0) -> bytes:
    """A name at the end of a request."""
    return bytes(body[start:-1])


def _time(seconds: int, ns: int) -> int:
    """A time in ns; seconds before the epoch come as a large number."""
    return (seconds - 2**64 if seconds >= 2**63 else seconds) * 10**9 + ns
