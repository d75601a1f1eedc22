"""How long work tells whoever started it how far it is, and hears that it should stop."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from time to time by long work, on the thread that does it; raise from it to stop the work safely."""

    def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
        """done_bytes, done_items: so far; total_bytes: when it is known."""
