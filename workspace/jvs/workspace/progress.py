"""How long work tells whoever started it how far it is, and hears that it should stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Called from time to time by long work, on the thread that does it; raise from it to stop the work safely."""

    def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
        """done_bytes, done_items: so far; total_bytes: when it is known."""


def waiting(progress: Progress | None) -> Callable[[], None] | None:
    """What work that waits for somebody else calls now and then, so that it can be stopped too."""
    return None if progress is None else lambda: progress.update(0, None, 0)
