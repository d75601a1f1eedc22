"""The progress bar: one line on a terminal, drawn only when the work takes more than half a second."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

from jvs.cli.text import bar, count, duration, size

_QUIET_SECONDS = 0.5
_INTERVAL = 0.05
_BAR = 24


class Progress:
    """`update` is called by the library; as a context manager it wipes its line at the end."""

    def __init__(self, stream: TextIO, verb: str, columns: int, noun: str = "file") -> None:
        """noun: what the items are, whose number is shown."""
        self._stream = stream
        self._verb = verb
        self._columns = columns
        self._noun = noun
        self._start = time.monotonic()
        self._next = self._start + _QUIET_SECONDS
        self._drawn = False

    def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
        """Show how far the work is; total_bytes None: unknown."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        self._drawn = True
        self._stream.write("\r\x1b[K" + self.line(now - self._start, done_bytes, total_bytes, done_items))
        self._stream.flush()

    def line(self, seconds: float, done_bytes: int, total_bytes: int | None, done_items: int) -> str:
        """What is drawn: `push  [#####     ]  42 %  1.2 GiB of 2.8 GiB  12,345 files  310 MiB/s  4.1 s left`."""
        parts = [self._verb]
        rate = done_bytes / seconds if seconds > 0 else 0.0
        if total_bytes:
            share = min(done_bytes / total_bytes, 1.0)
            parts += [
                f"[{bar(share, _BAR):<{_BAR}}]",
                f"{share * 100:3.0f} %",
                f"{size(done_bytes)} of {size(total_bytes)}",
            ]
        elif done_bytes:
            parts.append(size(done_bytes))
        parts.append(count(done_items, self._noun))
        if done_bytes:
            parts.append(f"{size(int(rate))}/s")
        if total_bytes and rate > 0:
            parts.append(f"{duration(max(total_bytes - done_bytes, 0) / rate)} left")
        return "  ".join(parts)[: self._columns - 1]

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
