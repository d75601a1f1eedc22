"""Giving way to others: work that nobody waits for takes the processor and the disk when they are free."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

_NICE: Final = 10
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
"""Numbers of the system call, which the C library has no function for."""
_THIS_PROCESS: Final = 1
_BEST_EFFORT_LAST: Final = (2 << 13) | 7
"""Class best-effort, its last level: an idle class would wait for ever on a disk that is never idle."""


def give_way() -> None:
    """Lower the priority of this process, as far as the system lets it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), _NICE))
    number = _IOPRIO_SET.get(os.uname().machine)
    if sys.platform == "linux" and number is not None:
        import ctypes  # only those who give way need it

        ctypes.CDLL(None).syscall(number, _THIS_PROCESS, 0, _BEST_EFFORT_LAST)
