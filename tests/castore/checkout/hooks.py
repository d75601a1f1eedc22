"""Looking over a checkout's shoulder: something is called before every system call that could matter."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CALLS = ("open", "write", "pread", "fstat", "stat", "mkdir", "rmdir", "rename", "link", "unlink", "symlink", "readlink",
         "fchmod", "chmod", "ftruncate", "lseek", "scandir")  # fmt: skip
WRITES = ("write", "mkdir", "rmdir", "rename", "link", "unlink", "symlink", "fchmod", "chmod", "ftruncate")


class Counter:
    """Calls `act` before the call number `at`, once."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.count = 0
        self._at = at
        self._act = act
        self._lock = threading.Lock()
        self._acting = False

    def __call__(self) -> None:
        with self._lock:
            number = self.count
            self.count += 1
        if number == self._at:
            self._act()


@contextmanager
def before_calls(hook: Callable[[], None], names: tuple[str, ...] = CALLS) -> Iterator[None]:
    """Call `hook` before every call of these functions of `os`, unless it is in one already."""
    inside = threading.local()

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not getattr(inside, "now", False):
                inside.now = True
                try:
                    hook()
                finally:
                    inside.now = False
            return real(*args, **kwargs)

        return call

    real = {name: getattr(os, name) for name in names}
    for name, function in real.items():
        setattr(os, name, wrapped(function))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)
