"""Running a command and saying what it cost: wall time, CPU time and anonymous memory; and what a folder holds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.05


class CommandFailed(Exception):
    """A measured command exited with a status other than 0; the message ends with its stderr."""


@dataclass(frozen=True)
class Cost:
    """What running one or several commands cost.

    Attributes:
        wall: seconds from the start of the first to the end of the last.
        cpu: user + system seconds of the commands and of every descendant they waited for.
        anonymous: the highest sum seen of the anonymous memory (RssAnon) of the process tree, in bytes; looked at 20
            times a second, so 0 for a command that was faster than the first look.
    """

    wall: float
    cpu: float
    anonymous: int

    def __add__(self, other: Cost) -> Cost:
        """The cost of running one after the other."""
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.anonymous, other.anonymous))


def use_two_processors() -> list[int]:
    """Keep this process and its children to two processors, which the targets are meant for; returns them.

    Raises:
        SystemExit: not on Linux, where memory and processors can be looked at and images mounted.
    """
    if sys.platform != "linux":
        sys.exit("error: the benchmarks run on Linux only")
    processors = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, processors)
    return processors


def _children(pid: int) -> list[int]:
    """The child processes of `pid`, of all its threads; empty when it is gone."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass
    return found


def _anonymous_bytes(pid: int) -> int:
    """RssAnon of the process tree below and including `pid`, in bytes."""
    total = 0
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    total = int(line.split()[1]) * 1024
                    break
    except OSError:
        return 0
    return total + sum(_anonymous_bytes(child) for child in _children(pid))


class _Sampler(threading.Thread):
    """Watches the memory of a process tree until told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._stop_now = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._stop_now.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, _anonymous_bytes(self._pid))

    def stop(self) -> int:
        self._stop_now.set()
        self.join()
        return self.peak


def run_command(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, memory: bool = True
) -> Cost:
    """Run one command to its end, its output thrown away.

    Args:
        env: set on top of this process's environment.
        memory: watch its anonymous memory (not worth the trouble for a command of some milliseconds).

    Raises:
        CommandFailed: it exited with another status than 0.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        sampler = _Sampler(process.pid) if memory else None
        if sampler:
            sampler.start()
        try:
            # wait4 and not wait: it gives the resources of this child alone.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = sampler.stop() if sampler else 0
        if process.returncode != 0:
            errors.seek(0)
            text = errors.read().decode(errors="replace")[-2000:]
            raise CommandFailed(f"{' '.join(command)}: exit status {process.returncode}\n{text}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak)


@dataclass(frozen=True)
class Stored:
    """The bytes of a store by kind, as the sum of file sizes.

    Attributes:
        data: packs and journal, or everything for a store that is not split up.
        index: LMDB's files, which grow by whole pages.
    """

    data: int
    index: int = 0

    @property
    def total(self) -> int:
        """What keeping the data costs."""
        return self.data + self.index


def folder_bytes(folder: Path) -> int:
    """The sum of the sizes of all regular files below `folder`; 0 when it does not exist.

    What jvs sets aside for a collection on a full disk is nothing it stores.
    """
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            if name != "reserve":
                total += os.lstat(os.path.join(where, name)).st_size
    return total
