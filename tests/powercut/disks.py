"""File systems in files: made, mounted, recorded. All of it needs root."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.powercut.log import copy_sparsely

ROOT: Final = Path(__file__).parents[2]
_SHUTDOWN: Final = 0x8004587D  # _IOR('X', 125, __u32): FS_IOC_SHUTDOWN of ext4, XFS_IOC_GOINGDOWN
_NO_LOG_FLUSH: Final = 2


class FileSystem(NamedTuple):
    """How a file system is made and mounted.

    size    of the disk, about the smallest it agrees to
    sector  what the disk writes at once; btrfs keeps its superblock, which it cannot repair, in one of 4,096 bytes
    whole   a place that is never torn besides: ext4 mounts with a torn superblock (of 1,024 bytes, with a checksum)
            only after a run of e2fsck
    """

    name: str
    size: int
    sector: int
    make: tuple[str, ...]
    options: str = "defaults"
    whole: range = range(0)


_NOT_LAZY: Final = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
FILE_SYSTEMS: Final = {
    system.name: system
    for system in (
        FileSystem("ext4", 48 << 20, 512, ("-q", "-F", "-b", "4096", "-E", _NOT_LAZY), whole=range(1024, 2048)),
        FileSystem("xfs", 304 << 20, 512, ("-q", "-K")),
        FileSystem("btrfs", 120 << 20, 4096, ("-q", "-K"), "nodiscard"),
    )
}


def why_not(name: str) -> str | None:
    """What this machine lacks for this file system, as the reason of a skip; None when nothing."""
    if sys.platform == "linux" and name not in Path("/proc/filesystems").read_text().split():
        load = shutil.which("modprobe")
        if load is None or subprocess.run([load, name], capture_output=True, check=False).returncode:
            return f"this kernel has no {name}"
    return None if shutil.which(f"mkfs.{name}") else f"needs mkfs.{name}"


def why_nothing(where: Path) -> str | None:
    """What this machine lacks for any of it, tried out at a directory, as the reason of a skip; None when nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if not os.path.exists("/dev/fuse"):
        return "needs /dev/fuse"
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode:
        return "needs a loop device"
    if subprocess.run(["mount", "-t", "tmpfs", "powercut", where], capture_output=True, check=False).returncode:
        return "needs the right to mount"
    _run("umount", where)
    return None


def _run(*words: str | Path) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


@contextmanager
def memory(where: Path) -> Iterator[None]:
    """Have a directory in memory: nothing below the disks under test waits for a real one."""
    _run("mount", "-t", "tmpfs", "-o", "size=4g", "powercut", where)
    try:
        yield
    finally:
        _run("umount", where)


def make(system: FileSystem, image: Path) -> None:
    """A new file with an empty file system."""
    with open(image, "wb") as file:
        file.truncate(system.size)
    _run(f"mkfs.{system.name}", *system.make, image)
    _run("fallocate", "--dig-holes", image)


@contextmanager
def mounted(system: FileSystem, image: Path, where: Path) -> Iterator[Path]:
    """Mount what is in a file, at a directory made for it. Fails when it cannot be mounted, or is in use at the end."""
    where.mkdir(exist_ok=True)
    loop = _run("losetup", "--find", "--show", "--sector-size", str(system.sector), image)
    try:
        _run("mount", "-t", system.name, "-o", system.options, loop, where)
        try:
            yield where
        finally:
            _run("umount", where)
    finally:
        _run("losetup", "--detach", loop)


def shut_down(where: Path) -> None:
    """Have a mounted ext4 or xfs forget all that it has not written yet, and fail from now on."""
    fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("=I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)


class Recording(NamedTuple):
    """A mounted file system of which every write and flush is logged.

    base  the disk as it was before the first entry of `log`, a file
    """

    system: FileSystem
    where: Path
    base: Path
    log: Path

    def position(self) -> int:
        """How long the log is now."""
        return self.log.stat().st_size


@contextmanager
def recorded(system: FileSystem, ram: Path) -> Iterator[Recording]:
    """Mount the disk `base` in the directory `ram`, or a new one, recorded from its mounting to its unmounting."""
    base, image, node = ram / "base", ram / "image", ram / "node"
    if not base.exists():
        make(system, base)
    with open(base, "rb") as source, open(image, "wb") as target:
        copy_sparsely(source.fileno(), target.fileno())
    node.touch()
    recording = Recording(system, ram / "recorded", base, ram / "log")
    recording.log.touch()
    files = map(str, (image, node, recording.log))
    server = subprocess.Popen(
        [sys.executable, "-B", "-m", "tests.powercut.device", *files],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            with mounted(system, node, recording.where):
                yield recording
        finally:
            _run("umount", node)
    finally:
        server.kill()  # it has ended by itself unless something above failed
        server.communicate()
        image.unlink()
