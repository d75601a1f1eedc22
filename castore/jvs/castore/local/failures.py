"""What the operating system and LMDB report, as jvs errors."""

from __future__ import annotations

import errno
import os

import lmdb

from jvs.errors import IndexDamagedError, JvsError, NoSpaceError, ReadOnlyError, StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_ROOM = 64 << 10
"""Bytes; with less than this left nothing can be pushed."""
_STRUCTURE = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.BadValsizeError,
    lmdb.CursorFullError,
    lmdb.PageFullError,
    lmdb.BadTxnError,
    lmdb.BadDbiError,
)


def os_error(exc: OSError, doing: str) -> JvsError:
    """The error for a failed system call on a store's files; `doing` says what was tried."""
    return _by_errno(exc.errno or errno.EIO, f"{doing}: {exc.strerror or exc}")


def lmdb_error(exc: lmdb.Error) -> JvsError:
    """The error for a failed LMDB call."""
    if isinstance(exc, lmdb.MapFullError):
        return NoSpaceError(
            "the index has outgrown its memory map", next="raise the limit on address space (ulimit -v)"
        )
    if isinstance(exc, lmdb.ReadersFullError):
        return StoreError("too many processes read this store at once", next="wait for some of them to end")
    if isinstance(exc, lmdb.PanicError):
        return StoreError("an earlier write to the index failed", code="handle-failed")
    if isinstance(exc, _STRUCTURE):
        return IndexDamagedError(f"the index is damaged: {exc}")
    return _by_errno(exc.code, f"index: {exc}")


def is_short_write(error: JvsError, path: str) -> bool:
    """Whether a failed commit to the index in the directory `path` is one that the disk had not room for: LMDB calls a
    write that was done in part EIO, which is what the last write before ENOSPC is."""
    if error.details.get("errno") != "EIO":
        return False
    free = os.statvfs(path)
    return free.f_bavail * free.f_frsize < _NO_ROOM


def _by_errno(number: int, message: str) -> JvsError:
    if number in _FULL:
        return NoSpaceError(message)
    if number in _READ_ONLY:
        return ReadOnlyError(message)
    return StoreError(
        message, errno=errno.errorcode.get(number, str(number)), reason=os.strerror(abs(number))
    )
