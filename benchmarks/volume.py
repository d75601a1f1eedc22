"""Where a benchmark runs: a fresh ext4 image for every cycle, or a plain folder when not root.

Creating many files on a used file system swings twenty-fold (ext4's allocator searches its old groups), so every
cycle gets a new one: a sparse image, loop-mounted. The source tree is laid down once, in a *template* image, and a
cycle works in a copy of the template: it has the same blocks in the same places for everybody, and no source file is
younger than two seconds, which tools with a stat index would have to read again.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

GIB = 1024**3
SETTLE_SECONDS = 2.5
"""After this long a stat index may trust a file's times again."""
T = TypeVar("T")


@dataclass(frozen=True)
class Ground:
    """One cycle's place: the source tree, and an empty folder each for stores, pulled trees and caches."""

    source: Path
    stores: Path
    pulls: Path
    scratch: Path


def _ground(root: Path) -> Ground:
    return Ground(root / "source", root / "stores", root / "pulls", root / "scratch")


def sync_filesystem(path: Path) -> float:
    """Write out everything dirty on the file system of `path`; returns the seconds it took."""
    start = time.perf_counter()
    subprocess.run(["sync", "--file-system", str(path)], check=True)
    return time.perf_counter() - start


def warm(root: Path) -> None:
    """Bring every file below `root`, and its metadata, into the page cache."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                os.readlink(path)
                continue
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


class Yard:
    """Makes templates and cycles in one temporary folder, and takes everything away at the end.

    Args:
        parent: the folder to work in (its disk is the disk that is measured).
        images: loop-mounted ext4 images; else plain folders.
    """

    def __init__(self, parent: Path, *, images: bool) -> None:
        self.images = images
        self._root = Path(tempfile.mkdtemp(prefix="jvs-bench-", dir=parent))
        self._mount = self._root / "mount"
        self._mount.mkdir()
        self._mounted = False
        self._made_at = 0.0
        atexit.register(self.close)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _exit_on_signal)

    @property
    def kind(self) -> str:
        """What a cycle runs on, in words for the report."""
        return "ext4 image made anew and loop-mounted for each cycle" if self.images else "plain folder (not root)"

    def close(self) -> None:
        """Unmount and delete everything this yard made. Called at exit, also after a signal."""
        self._unmount()
        shutil.rmtree(self._root, ignore_errors=True)

    def _unmount(self) -> None:
        if not self._mounted:
            return
        if not self._taken_away():
            # Somebody still has a file open: detach now, the kernel lets go of the loop device with the last.
            subprocess.run(["umount", "--lazy", str(self._mount)], check=False)
        self._mounted = False

    def _taken_away(self) -> bool:
        """Whether the image could be unmounted; waits a while for those who are about to end."""
        for wait in (0.0, 0.5, 2.0, 5.0):
            time.sleep(wait)
            if subprocess.run(["umount", str(self._mount)], capture_output=True, check=False).returncode == 0:
                return True
        return False

    def _mount_image(self, image: Path) -> None:
        subprocess.run(["mount", "-o", "loop", str(image), str(self._mount)], check=True)
        self._mounted = True

    def template(
        self, size: int, inodes: int, fill: Callable[[Path], T], *, make: Sequence[str] | None = None
    ) -> tuple[Path, T]:
        """Make a template: `fill(folder)` writes the source tree into an empty folder. Returns it, and what `fill` did.

        Args:
            size: bytes of the image (sparse).
            inodes: how many files, directories and links the image must be able to hold.
            make: the command that makes another file system in the image than ext4.
        """
        self._made_at = time.time()
        if not self.images:
            template = self._root / "template"
            shutil.rmtree(template, ignore_errors=True)
            (template / "source").mkdir(parents=True)
            made = fill(template / "source")
        else:
            template = self._root / "template.img"
            template.unlink(missing_ok=True)
            with open(template, "xb") as file:
                file.truncate(size)
            ext4 = ["mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(inodes),
                    "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]  # fmt: skip
            subprocess.run([*(make or ext4), str(template)], check=True)
            self._mount_image(template)
            (self._mount / "source").mkdir()
            made = fill(self._mount / "source")
            self._unmount()
        return template, made

    @contextmanager
    def cycle(self, template: Path) -> Iterator[Ground]:
        """A ground with the template's source tree, in the page cache and settled; gone afterwards."""
        if not self.images:
            with self._plain_cycle(template) as ground:
                yield ground
            return
        image = self._root / "cycle.img"
        subprocess.run(["cp", "--sparse=always", str(template), str(image)], check=True)
        # Without this the first fsync of whoever is measured would pay for writing out the copy.
        sync_filesystem(image)
        self._mount_image(image)
        try:
            yield self._prepare(_ground(self._mount))
        finally:
            self._unmount()
            image.unlink()

    def cool(self) -> None:
        """Throw the image of the cycle that is going on, and all that is known of its file system, out of the page
        cache. Images only.

        Raises:
            SystemExit: somebody has a file open in it.
        """
        if not self._taken_away():
            sys.exit(f"error: {self._mount} is in use, and cannot be unmounted")
        self._mounted = False
        image = self._root / "cycle.img"
        with open(image, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._mount_image(image)

    @contextmanager
    def _plain_cycle(self, template: Path) -> Iterator[Ground]:
        folder = self._root / "cycle"
        subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
        self._made_at = time.time()  # cp gave every file a new ctime
        try:
            yield self._prepare(_ground(folder))
        finally:
            shutil.rmtree(folder)

    def _prepare(self, ground: Ground) -> Ground:
        for folder in (ground.stores, ground.pulls, ground.scratch):
            folder.mkdir()
        warm(ground.source)
        sync_filesystem(ground.source)
        time.sleep(max(0.0, self._made_at + SETTLE_SECONDS - time.time()))
        return ground


def _exit_on_signal(number: int, _: FrameType | None) -> None:
    """Leave through `sys.exit`, so that the yard is taken down."""
    sys.exit(128 + number)


def can_mount() -> bool:
    """Whether this process may loop-mount images (it is root on Linux and the tools are there)."""
    tools = ("mkfs.ext4", "mount", "umount", "losetup")
    return sys.platform == "linux" and os.geteuid() == 0 and all(shutil.which(tool) for tool in tools)
