"""The LMDB environment of a store: opened once per process, only after it was found fit to be mapped.

LMDB maps its file and believes what it finds there: a file cut short kills the process with SIGBUS. So before the
first open of a process the file's size is compared with its meta pages; and when the last use of the index did not
end cleanly a child process opens it first and walks it (`probe`).

Two lock files say who uses the index. `users` is held (shared) as long as an environment is open; `gate` is held
(exclusively) for the moments of opening and closing it, so that the first one in and the last one out know that they
are. `users` holds `open BOOT` while somebody is in, and `clean INODE SIZE MTIME` after the last one has left.
"""

from __future__ import annotations

import atexit
import os
import signal
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import lmdb

from jvs.castore.children import python_command
from jvs.castore.local.descriptors import Descriptor, sync_directory
from jvs.castore.local.failures import lmdb_error, os_error
from jvs.errors import IndexDamagedError, LockedError, StoreError

MAP_SIZE: Final = 1 << 40
_MIN_MAP: Final = 1 << 28
MAX_READERS: Final = 4096
QUICK_ABOVE: Final = 64 << 20
"""An index larger than this is walked only in part when nothing but a process died."""
_META: Final = struct.Struct("=QHHIIIQQ" + 2 * "IHHQQQQQ" + "QQ")
"""A meta page: page header; magic, version, address, map size; the free list's tree and the main tree; last page,
transaction. (A tree: page size or 0, flags, depth, branch, leaf and overflow pages, entries, root.)"""
_DEATHS: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
"""What reading a damaged index can end with; any other signal was sent by somebody (a shortage of memory, a person)."""
_INTEGER_KEYS: Final = 0x08
_NO_PAGE: Final = (1 << 64) - 1
_PAGE_SIZES: Final = frozenset(1 << shift for shift in range(9, 17))
_META_FLAG: Final = 0x08
_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
PROBE_SECONDS: Final = 3600


class Environment:
    """An open environment, shared by every handle of this process on one index. Made by `acquire`."""

    def __init__(self, path: str, key: tuple[int, int], *, readonly: bool) -> None:
        self.key = key
        self.readonly = readonly
        self.handles = 0
        self.verified: set[str] = set()
        """Tables whose sums were compared in this process."""
        self.active: set[lmdb.Transaction[bytes]] = set()
        """Transactions in progress."""
        self._path = path
        self._remapping = threading.Lock()
        self._users: Descriptor | None = None
        with _gate(path, readonly):
            self._users = self._enter()
            try:
                self._env = open_index(path, readonly=readonly)
                self._env.reader_check()
            except lmdb.Error as exc:
                self._users.close()
                raise lmdb_error(exc) from exc

    def _enter(self) -> Descriptor:
        """Examine the index unless somebody else is in; returns the lock that says we are."""
        users = Descriptor(
            os.path.join(self._path, "users"), os.O_RDONLY if self.readonly else os.O_RDWR | os.O_CREAT
        )
        try:
            alone = users.lock(wait=False)
            try:
                finding = short_of(self._path)
            except IndexDamagedError:
                if alone:
                    raise
                finding = short_of(self._path)  # somebody may have been writing that very page
            if finding or alone:
                note = os.pread(users.fd, 256, 0).decode("ascii", "replace")
                died_here = note == _open_note()
                if finding or note != _clean_note(self._path):
                    large = os.stat(os.path.join(self._path, "data.mdb")).st_size > QUICK_ABOVE
                    if found := probe(self._path, quick=died_here and large and not finding):
                        raise IndexDamagedError(f"the index is damaged: {found[0]}", findings=found)
            if not self.readonly:
                _write_note(users, _open_note())
            users.lock(shared=True)
        except BaseException:
            users.close()
            raise
        return users

    def begin(self, *, write: bool) -> lmdb.Transaction[bytes]:
        """Begin a transaction; to be given to `end`. Raises JvsError."""
        try:
            try:
                txn = self._env.begin(write=write)
            except lmdb.MapResizedError:
                self._remap()
                txn = self._env.begin(write=write)
            except lmdb.ReadersFullError:
                self._env.reader_check()
                txn = self._env.begin(write=write)
        except lmdb.Error as exc:
            raise lmdb_error(exc) from exc
        self.active.add(txn)
        return txn

    def _remap(self) -> None:
        """Another process, with a larger map, has grown the file beyond ours: adopt its size."""
        with self._remapping:
            if self.active:
                raise StoreError(
                    "the index has grown while this process was reading it", next="run the same command again"
                )
            self._env.set_mapsize(0)

    def last_txn(self) -> int:
        """The number of the last committed transaction."""
        return int(self._env.info()["last_txnid"])

    def release(self) -> None:
        """One handle less; the last one closes the environment and, if nobody else is in, notes a clean end."""
        with _registry_lock:  # until it is closed: LMDB refuses to open what is still open in the process
            self.handles -= 1
            if self.handles > 0:
                return
            del _registry[self.key]
            self._leave()

    def _leave(self) -> None:
        if self._users is None:
            return
        users, self._users = self._users, None
        try:
            with _gate(self._path, self.readonly):
                self._env.close()
                if not self.readonly and users.lock(wait=False):
                    # Without the note the next one in examines the index, which is never wrong.
                    with suppress(OSError):
                        _write_note(users, _clean_note(self._path))
        except FileNotFoundError:
            self._env.close()  # the store was removed while it was open
        finally:
            users.close()


class _gate:
    """Holds the gate of an index; nothing on a read-only file system."""

    def __init__(self, path: str, readonly: bool) -> None:
        self._path = os.path.join(path, "gate")
        self._readonly = readonly

    def __enter__(self) -> None:
        while not self._readonly:
            self._file = Descriptor(self._path, os.O_RDWR | os.O_CREAT)
            self._file.lock()
            # While we waited the whole index may have been replaced by a rebuilt one.
            if os.path.samestat(os.fstat(self._file.fd), os.stat(self._path)):
                return
            self._file.close()

    def __exit__(self, *exc: object) -> None:
        if not self._readonly:
            self._file.close()


@contextmanager
def alone(path: str) -> Iterator[None]:
    """Keep everybody out of the index directory `path`. Raises LockedError when somebody is in; OSError."""
    with _gate(path, readonly=False):
        users = Descriptor(os.path.join(path, "users"), os.O_RDWR | os.O_CREAT)
        try:
            if not users.lock(wait=False):
                raise LockedError("the store is in use")
            yield
        finally:
            users.close()


_registry: dict[tuple[int, int], Environment] = {}
_inherited: dict[tuple[int, int], Environment] = {}
"""Environments of the parent of a forked process: not to be used, only to be got out of the way."""
_registry_lock = threading.RLock()


def acquire(path: str, *, readonly: bool) -> Environment:
    """The environment of the index directory `path`, opened if this process has not yet; give back with `release`.

    Raises IndexDamagedError, ReadOnlyError and other JvsErrors.
    """
    with _registry_lock:
        try:
            status = os.stat(path)
            key = (status.st_dev, status.st_ino)
            env = _registry.get(key)
            if env is None:
                _drop_inherited(key)
                env = _registry[key] = Environment(path, key, readonly=readonly)
        except FileNotFoundError as exc:
            raise IndexDamagedError("the store has lost its index") from exc
        except OSError as exc:
            raise os_error(exc, "opening the index") from exc
        env.handles += 1
        return env


def _drop_inherited(key: tuple[int, int]) -> None:
    env = _inherited.pop(key, None)
    if env is None:
        return
    if env.active:
        _inherited[key] = env
        raise StoreError("this process was forked while its parent was using the store", code="forked")
    # In the child this unmaps and closes copies; reader slots and locks of the parent are not touched (its pid and
    # its fcntl locks are its own), as long as no transaction of the parent's is aborted along with it.
    env._env.close()


def _after_fork() -> None:
    global _registry_lock
    _registry_lock = threading.RLock()
    _inherited.update(_registry)
    _registry.clear()


def _at_exit() -> None:
    for env in list(_registry.values()):
        env._leave()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)


def initialise(path: str) -> None:
    """Make an empty index in the directory `path`, durable and marked clean. Raises OSError, JvsError."""
    try:
        made = lmdb.open(path, map_size=_MIN_MAP, subdir=True, mode=0o777, create=False)
        made.sync(True)
        made.close()
    except lmdb.Error as exc:
        raise lmdb_error(exc) from exc
    for name in ("gate", "users"):
        file = Descriptor(os.path.join(path, name), os.O_RDWR | os.O_CREAT)
        if name == "users":
            _write_note(file, _clean_note(path))
        file.close()
    sync_directory(path)


def open_index(path: str, *, readonly: bool) -> lmdb.Environment:
    """The environment in the directory `path`, with the largest map that fits. Raises lmdb.Error."""
    size = MAP_SIZE
    while True:
        try:
            return lmdb.open(
                path,
                map_size=size,
                subdir=True,
                readonly=readonly,
                mode=0o777,
                create=False,
                max_readers=MAX_READERS,
            )
        except lmdb.Error as exc:
            # The address space may be limited (ulimit -v, small machines): the largest map that fits will do.
            if not isinstance(exc, lmdb.MemoryError) or size <= _MIN_MAP:
                raise
            size //= 2


def short_of(path: str) -> str | None:
    """What is wrong with the size of the index file, judged by its meta pages without mapping it; None when nothing.

    To be called only while this process has no environment open there: closing the file could drop LMDB's locks.
    Raises IndexDamagedError when a meta page is none, or the newer one, which LMDB will use, is impossible. The older
    one may be: when a write of a meta page fails, LMDB puts back its old number and length, but not its old trees.
    """
    needed, page, newest, possible = 0, 0, -1, True
    with open(os.path.join(path, "data.mdb"), "rb", buffering=0) as file:
        for place in (0, 1):
            raw = os.pread(file.fileno(), _META.size, place * page)
            if len(raw) < _META.size:
                raise IndexDamagedError("the index is damaged: its file is too short to be one")
            meta = _META.unpack(raw)
            flags, magic, version, last, txn_id = meta[2], meta[4], meta[5], meta[24], meta[25]
            (page, *free), main = meta[8:16], meta[16:24]
            if not (magic == _MAGIC and version == _VERSION and flags & _META_FLAG and page in _PAGE_SIZES):
                raise IndexDamagedError("the index is damaged: a meta page is none")
            if txn_id > newest:
                newest, needed = txn_id, (last + 1) * page
                possible = _is_possible(free, _INTEGER_KEYS, last) and _is_possible(main[1:], 0, last)
        size = os.fstat(file.fileno()).st_size
    if not possible:
        raise IndexDamagedError("the index is damaged: its meta page holds what cannot be")
    return None if size >= needed else f"the index file has {size} bytes where its meta page says {needed}"


def _is_possible(tree: Sequence[int], flags: int, last: int) -> bool:
    """Whether a meta page's record of a tree (flags, depth, three page counts, entries, root) can be one."""
    found, depth, branches, leaves, overflow, entries, root = tree
    if found != flags:
        return False
    if root == _NO_PAGE:
        return not (depth or branches or leaves or overflow or entries)
    return (
        1 < root <= last and 0 < depth < 32 and branches + leaves + overflow <= last and 0 < leaves <= entries
    )


def probe(path: str, *, quick: bool = False) -> list[str]:
    """Have a child process open the index and walk it: everything it found wrong, its death included.

    Raises StoreError when no child can be run.
    """
    import subprocess  # 5 ms that only an unclean end costs

    command = python_command("jvs.castore.local.probe", *(["--quick"] if quick else []), path)
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise StoreError(f"the index could not be examined: {exc}") from exc
    if ended.returncode < 0:
        if -ended.returncode not in _DEATHS:
            raise StoreError(f"the index could not be examined: signal {-ended.returncode} ended that")
        return [f"reading it ends with signal {-ended.returncode}"]
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return (lines or ["it cannot be read"]) if ended.returncode else []


def _write_note(users: Descriptor, note: str) -> None:
    os.pwrite(users.fd, note.encode("ascii").ljust(128), 0)


def _clean_note(path: str) -> str:
    status = os.stat(os.path.join(path, "data.mdb"))
    return f"clean {status.st_ino} {status.st_size} {status.st_mtime_ns}".ljust(128)


def _open_note() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:  # no such thing here: never the same boot, so every walk is a whole one
        boot = os.urandom(16).hex()
    return f"open {boot}".ljust(128)
