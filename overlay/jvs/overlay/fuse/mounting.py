"""Mounting and unmounting by `fusermount3`, which lets everybody mount what is his; and what is mounted."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from jvs.errors import JvsError, StateError, StoreError

KIND: Final = "fuse.jvs"
_DEVICE: Final = "/dev/fuse"
_HELPER: Final = "fusermount3"
_WAIT: Final = 30.0
_AS_IT_IS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Mounted(NamedTuple):
    """A mount of jvs. source: what was given to `attach`."""

    mountpoint: str
    source: str
    device: str


def check_possible() -> str:
    """The path of the helper. Raises JvsError (missing-extra): this machine cannot mount, and what to install."""
    if sys.platform != "linux":
        raise JvsError(
            "mounts need the FUSE of Linux (macFUSE speaks another protocol)",
            code="unsupported-platform",
            next="jvs fs pull REV DIR",
        )
    helper = shutil.which(_HELPER)
    if helper is None:
        raise JvsError(
            f"mounting needs {_HELPER}, which is not installed",
            code="missing-extra",
            next="apt install fuse3 (Debian, Ubuntu), dnf install fuse3 (Fedora)",
        )
    if not os.path.exists(_DEVICE):
        raise JvsError(
            f"mounting needs {_DEVICE}, which is not there",
            code="missing-extra",
            next="modprobe fuse; in a container: docker run --device /dev/fuse --cap-add SYS_ADMIN ...",
        )
    return helper


def check_mountpoint(path: str) -> str:
    """The real path of where something may be mounted. Raises JvsError: it is no directory, not empty, or a mount."""
    where = os.path.realpath(path)
    try:
        if not os.path.isdir(where):
            os.stat(where)  # says why not
            raise StoreError(f"{where} is not a directory", code="not-a-directory", path=where)
        if os.path.ismount(where):
            raise StateError(f"{where} is a mount point already", next=f"jvs fs unmount {where}", path=where)
        if os.listdir(where):
            raise StateError(f"the mount point {where} is not empty", next="choose an empty directory", path=where)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise StateError(
                f"{where} is a mount whose daemon is dead", next=f"jvs fs unmount {where}", path=where
            ) from None
        if error.errno == errno.ENOENT:
            raise StoreError(
                f"there is no directory {where}", code="not-a-directory", next=f"mkdir {where}", path=where
            ) from None
        raise
    return where


def attach(mountpoint: str, source: str, *, readonly: bool) -> int:
    """Mount there; the descriptor by which the mount is served. source: shown in the mount table, by `df` too. Raises
    JvsError, also when somebody else has mounted there since it was looked at."""
    helper = check_possible()
    options = f"{'ro' if readonly else 'rw'},nosuid,nodev,default_permissions,subtype=jvs,fsname={_escaped(source)}"
    below = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(below, fcntl.LOCK_EX)  # of two who mount here one comes second, and finds a mount
        check_mountpoint(mountpoint)
        return _mount(helper, options, mountpoint)
    finally:
        os.close(below)


def _mount(helper: str, options: str, mountpoint: str) -> int:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        done = subprocess.run(
            [helper, "-o", options, "--", mountpoint],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env={"_FUSE_COMMFD": str(theirs.fileno()), "LC_ALL": "C"},
            timeout=_WAIT,
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise StoreError(f"cannot mount on {mountpoint}: {said or 'fusermount3 failed'}", path=mountpoint)
        _, received, *_ = socket.recv_fds(ours, 1, 1)
    if not received:
        raise StoreError(f"cannot mount on {mountpoint}: fusermount3 gave no device", path=mountpoint)
    os.set_inheritable(received[0], False)
    return received[0]


def detach(mountpoint: str, *, lazy: bool = False) -> None:
    """Unmount. lazy: at once, whoever uses it; it goes away with the last of them. Raises StateError (busy),
    StoreError."""
    helper = check_possible()
    done = subprocess.run(
        [helper, "-u", *(["-z"] if lazy else []), "--", mountpoint],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C"},
        timeout=_WAIT,
    )
    if not done.returncode:
        return
    said = done.stderr.decode("utf-8", "replace").strip()
    if "busy" in said:
        raise StateError(
            f"{mountpoint} is in use: a program has a file open in it, or works there",
            code="locked",
            next=f"fuser -vm {mountpoint} says who; or: jvs fs unmount --force {mountpoint}",
            path=mountpoint,
        )
    raise StoreError(f"cannot unmount {mountpoint}: {said}", path=mountpoint)


def abort(device: str) -> None:
    """Have every request to a mount fail, and its server be told that it is gone. device: `Mounted.device`, of before
    it was detached. Does nothing where the kernel shows no such file."""
    minor = device.partition(":")[2]
    with suppress(OSError), open(f"/sys/fs/fuse/connections/{minor}/abort", "w") as file:
        file.write("1")


def write_back(mountpoint: str, files: Iterable[bytes]) -> None:
    """Have the kernel write what is dirty in these files of a mount (pages of shared mappings), and wait for it. Never
    from a thread that serves the mount. files: paths in it; what cannot be opened is left out.

    `syncfs` would not do: in FUSE it waits for nothing. Closing a file that was opened for writing does.
    """
    above = os.fsencode(mountpoint)
    for file in files:
        path = os.path.join(above, file)
        try:
            try:
                os.close(os.open(path, os.O_RDWR | _AS_IT_IS))
            except PermissionError:  # it became one that may only be read while somebody has it mapped
                fd = os.open(path, os.O_RDONLY | _AS_IT_IS)
                try:
                    os.fdatasync(fd)
                finally:
                    os.close(fd)
        except OSError:  # removed by now, or a program that is running, which nobody can write
            continue


def mounts() -> list[Mounted]:
    """Every mount of jvs that this process sees."""
    found = []
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            before, _, after = line.rstrip(b"\n").partition(b" - ")
            kind, source, *_ = after.split(b" ")
            if kind == KIND.encode():
                fields = before.split(b" ")
                found.append(Mounted(_unescaped(fields[4]), _unescaped(source), fields[2].decode()))
    return found


def find(mountpoint: str) -> Mounted | None:
    """The mount of jvs at that path, dead or alive; the one on top."""
    found = mounts()
    above, name = os.path.split(os.path.abspath(mountpoint))
    where = os.path.join(os.path.realpath(above), name)  # without a look at the mount itself, which may be dead
    if all(one.mountpoint != where for one in found):
        where = os.path.realpath(mountpoint)  # a link to one
    return next((one for one in reversed(found) if one.mountpoint == where), None)


def _escaped(source: str) -> str:
    return source.replace("\\", "\\\\").replace(",", "\\,")


def _unescaped(raw: bytes) -> str:
    """The mount table has octal numbers for what would end a field."""
    for code in (b" ", b"\t", b"\n", b"#"):
        raw = raw.replace(b"\\%03o" % code[0], code)
    return os.fsdecode(raw.replace(b"\\134", b"\\"))
