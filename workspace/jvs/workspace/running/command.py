"""A command in a process group of its own: what ends it, and that nothing of it is left running.

It ends by itself, or by a signal that is forwarded to it, or because its time is over (SIGTERM, then SIGKILL, to the
whole group). What it leaves running in its group is ended in the same way: nobody would know of it any more, and it
would go on writing into a tree that is being pushed. Processes that left the group (daemons) are left alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final

from jvs.errors import JvsError
from jvs.workspace.running.results import NOT_EXECUTABLE, NOT_FOUND, TIMED_OUT, Ended
from jvs.workspace.running.terminal import Terminal

GRACE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_LAST: Final = 1.0
"""Seconds in which a process that was killed has gone; one that hangs in the kernel has not."""
_POLL: Final = 0.02


class Interrupts:
    """The commands that run, to forward signals to. A signal that was forwarded once is not forgotten: commands that
    are started later are not."""

    def __init__(self) -> None:
        # a handler runs between any two steps of the main thread, also while that holds the lock
        self._lock = threading.RLock()
        self._groups: set[int] = set()
        self._waiting = 0
        self.number: int | None = None
        """The first signal that was forwarded."""

    def forward(self, number: int) -> bool:
        """Send a signal to every command that runs; whether somebody takes note of it. Otherwise (also of a second one
        while no command runs) it is the caller's own affair."""
        with self._lock:
            if not self._groups and (not self._waiting or self.number is not None):
                return False
            self.number = number if self.number is None else self.number
            for group in self._groups:
                send(group, number)
            return True

    @contextmanager
    def noted(self) -> Iterator[None]:
        """While this lasts, a signal is taken note of also when no command runs."""
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def check(self) -> None:
        """Raise JvsError (interrupted) after a signal."""
        if self.number is not None:
            raise JvsError("interrupted before the command began", code="interrupted")

    def begin(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start a command, unless a signal came. Raises JvsError (interrupted), what `start` raises."""
        with self._lock, self.noted():
            self.check()
            process = start()
            self._groups.add(process.pid)
            if self.number is not None:  # a handler ran meanwhile
                send(process.pid, self.number)
            return process

    def end(self, group: int) -> None:
        """It ended."""
        with self._lock:
            self._groups.discard(group)


def run_command(
    words: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    interrupts: Interrupts,
    *,
    timeout: float | None = None,
    stdin: int | None = None,
    stdout: int | IO[bytes] | None = None,
    terminal: Terminal | None = None,
) -> Ended:
    """Run it there until it and all of its group have ended. stdin, stdout: as of Popen. terminal: lent to it. Raises
    JvsError (interrupted): it was not started."""

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(words),
            cwd=directory,
            env=dict(environment),
            stdin=stdin,
            stdout=stdout,
            # a group that is not lent the terminal would be stopped for ever by asking it for a password: in a session
            # of its own it has none
            process_group=None if terminal is None else 0,
            start_new_session=terminal is None,
        )

    try:
        process = interrupts.begin(start)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        why = f"{words[0]}: {error.strerror or error}"
        return Ended("not-runnable", NOT_FOUND if missing else NOT_EXECUTABLE, why)
    except ValueError as error:  # a NUL in a word
        return Ended("not-runnable", NOT_EXECUTABLE, f"{words[0]}: {error}")
    clock = _Clock(process.pid, timeout)
    try:
        if terminal is not None:
            terminal.give(process.pid)
        code = _wait(process, terminal)
        clock.stop()
        left = end_group(process.pid)
    except BaseException:  # not of ours: it must not go on with nobody to wait for it
        end_group(process.pid)
        raise
    finally:
        clock.stop()
        interrupts.end(process.pid)
        if terminal is not None:
            terminal.take()
    status = 128 - code if code < 0 else code
    if clock.over:
        return Ended("timed-out", TIMED_OUT, left=left)
    if interrupts.number is not None or (terminal is not None and code == -signal.SIGINT):  # Ctrl-C goes to its owner
        return Ended("interrupted", status or 128 + (interrupts.number or 0), left=left)
    return Ended("signalled" if code < 0 else "exited", status, left=left)


def _wait(process: subprocess.Popen[bytes], terminal: Terminal | None) -> int:
    """Its exit status, or the signal that killed it as a negative number."""
    while True:
        _, status = os.waitpid(process.pid, os.WUNTRACED if terminal is not None else 0)
        if os.WIFSTOPPED(status):
            assert terminal is not None
            terminal.stop_too(process.pid)
            continue
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode


class _Clock:
    """Ends a group when its time is over."""

    def __init__(self, group: int, seconds: float | None) -> None:
        self.over = False
        self._group = group
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        if seconds is not None:
            self._thread = threading.Thread(target=self._run, args=(seconds,), name="jvs run timeout", daemon=True)
            self._thread.start()

    def _run(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            return
        self.over = True
        send(self._group, signal.SIGTERM)
        if not self._stopped.wait(GRACE):
            send(self._group, signal.SIGKILL)

    def stop(self) -> None:
        """The command ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()


def send(group: int, number: int) -> None:
    """Send a signal to a group, stopped or not, as far as there is one and it is ours."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        if number != signal.SIGKILL:
            os.killpg(group, signal.SIGCONT)


def end_group(group: int) -> bool:
    """End what there is of a group; whether there was anything."""
    if not _runs(group):
        return False
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, _LAST)):
        send(group, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not _runs(group):
                return True
            time.sleep(_POLL)
    return True


def _runs(group: int) -> bool:
    """Whether a process of a group runs. One that has ended stays in it until its parent has a look, which in some
    containers nobody does."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    if sys.platform != "linux":
        return True
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                state, _, its_group = file.read().rpartition(b")")[2].split()[:3]
                if int(its_group) == group and state not in (b"Z", b"X"):
                    return True
    return False
