"""The messages of FUSE's kernel protocol (linux/fuse.h, version 7.23 and later) that jvs speaks: numbers and layouts.

A request is a header and a body, read from the device in one piece; its answer is a header and a body, written in one
piece. All numbers are the machine's own. Names end in a NUL.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

MAJOR: Final = 7
MINOR: Final = 38
MINOR_NEEDED: Final = 23
"""Linux 3.15: RENAME2, and READDIRPLUS before it."""

LOOKUP: Final = 1
FORGET: Final = 2
GETATTR: Final = 3
SETATTR: Final = 4
READLINK: Final = 5
SYMLINK: Final = 6
MKNOD: Final = 8
MKDIR: Final = 9
UNLINK: Final = 10
RMDIR: Final = 11
RENAME: Final = 12
LINK: Final = 13
OPEN: Final = 14
READ: Final = 15
WRITE: Final = 16
STATFS: Final = 17
RELEASE: Final = 18
FSYNC: Final = 20
FLUSH: Final = 25
INIT: Final = 26
OPENDIR: Final = 27
READDIR: Final = 28
RELEASEDIR: Final = 29
FSYNCDIR: Final = 30
CREATE: Final = 35
INTERRUPT: Final = 36
DESTROY: Final = 38
BATCH_FORGET: Final = 42
READDIRPLUS: Final = 44
RENAME2: Final = 45

# What the kernel may do, agreed upon in INIT
ASYNC_READ: Final = 1 << 0
ATOMIC_O_TRUNC: Final = 1 << 3
BIG_WRITES: Final = 1 << 5
DO_READDIRPLUS: Final = 1 << 13
READDIRPLUS_AUTO: Final = 1 << 14
ASYNC_DIO: Final = 1 << 15
NO_OPEN_SUPPORT: Final = 1 << 17
PARALLEL_DIROPS: Final = 1 << 18
MAX_PAGES: Final = 1 << 22
CACHE_SYMLINKS: Final = 1 << 23
NO_OPENDIR_SUPPORT: Final = 1 << 24

# What SETATTR sets
SET_MODE: Final = 1 << 0
SET_UID: Final = 1 << 1
SET_GID: Final = 1 << 2
SET_SIZE: Final = 1 << 3
SET_ATIME: Final = 1 << 4
SET_MTIME: Final = 1 << 5
SET_BY_HANDLE: Final = 1 << 6
SET_ATIME_NOW: Final = 1 << 7
SET_MTIME_NOW: Final = 1 << 8

# How a file was opened
OPEN_DIRECT_IO: Final = 1 << 0
OPEN_KEEP_CACHE: Final = 1 << 1
OPEN_CACHE_DIR: Final = 1 << 3
OPEN_NOFLUSH: Final = 1 << 5

GETATTR_BY_HANDLE: Final = 1 << 0
RENAME_NOREPLACE: Final = 1 << 0

INVAL_INODE: Final = 2
INVAL_ENTRY: Final = 3
STORE: Final = 4

REQUEST: Final = Struct("=IIQQIIIHH")
"""length, code, unique, node, uid, gid, pid, length of extensions, padding"""
ANSWER: Final = Struct("=IiQ")
"""length, -errno, unique (0: a notification, and what stands for -errno is its code)"""

INIT_IN: Final = Struct("=IIII")
"""major, minor, max_readahead, flags"""
INIT_OUT: Final = Struct("=IIIIHHIIHHI28x")
"""major, minor, max_readahead, flags, max_background, congestion, max_write, time_gran, max_pages, alignment, flags2"""
FORGET_IN: Final = Struct("=Q")
BATCH_IN: Final = Struct("=II")
FORGET_ONE: Final = Struct("=QQ")
GETATTR_IN: Final = Struct("=IIQ")
SETATTR_IN: Final = Struct("=IIQQQQQQIIIIIIII")
"""valid, -, handle, size, owner of locks, atime, mtime, ctime, the three's ns, mode, -, uid, gid, -"""
MKNOD_IN: Final = Struct("=IIII")
"""mode, device, umask, -"""
MKDIR_IN: Final = Struct("=II")
RENAME_IN: Final = Struct("=Q")
RENAME2_IN: Final = Struct("=QII")
CREATE_IN: Final = Struct("=IIII")
"""flags, mode, umask, -"""
OPEN_IN: Final = Struct("=II")
OPEN_OUT: Final = Struct("=QII")
IO_IN: Final = Struct("=QQIIQII")
"""handle, offset, size, flags, owner of locks, flags of the open file, -"""
WRITE_OUT: Final = Struct("=II")
FLUSH_IN: Final = Struct("=QIIQ")
FSYNC_IN: Final = Struct("=QII")

ATTR: Final = Struct("=QQQ36sII20s")
"""number, size, blocks, TIMES, mode, links, OWNER"""
TIMES: Final = Struct("=QQQIII")
"""atime, mtime, ctime, their ns"""
OWNER: Final = Struct("=IIII4x")
"""uid, gid, device, block size"""
ENTRY: Final = Struct("=QQQQII")
"""node, generation, seconds the name holds, and the attributes, their ns; ATTR follows"""
ATTR_OUT: Final = Struct("=QI4x")
"""seconds the attributes hold, ns; ATTR follows"""
STATFS_OUT: Final = Struct("=QQQQQIIII24x")
"""blocks, free, available, files, free, block size, length of names, fragment size, -"""
DIRENT: Final = Struct("=QQII")
"""number, place of the next one, length of the name, type; the name follows, padded to 8 bytes"""

NOTIFY_INODE: Final = Struct("=Qqq")
NOTIFY_ENTRY: Final = Struct("=QII")
NOTIFY_STORE: Final = Struct("=QQII")
"""node, offset, size, -; the bytes follow"""
