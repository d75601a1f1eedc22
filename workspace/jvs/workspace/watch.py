"""Stopping long work, and hearing how far it is, for those who call the library."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from jvs.errors import JvsError

if TYPE_CHECKING:
    import threading

Tell: TypeAlias = Callable[[int, int | None, int], object]
"""Called with the bytes done, those there are to do in all (None: not known), and the files or objects done."""


class Watch:
    """The `Progress` of one call: asks whether it is to stop, then tells whoever watches."""

    def __init__(self, tell: Tell | None, cancel: threading.Event | None, deadline: float | None) -> None:
        """tell: None: nobody watches; cancel: set to stop; deadline: when to stop, as `time.monotonic()` counts."""
        self._tell = tell
        self._cancel = cancel
        self._deadline = deadline

    def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
        """See `Progress`. Raises JvsError (interrupted), and what the callback raises."""
        self.check()
        if self._tell is not None:
            self._tell(done_bytes, total_bytes, done_items)

    def check(self) -> None:
        """Raise JvsError (interrupted) when it is time to stop."""
        if self._cancel is not None and self._cancel.is_set():
            raise JvsError("stopped: it was cancelled", code="interrupted")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise JvsError("stopped: its time was over", code="interrupted")


def watch(tell: Tell | None, cancel: threading.Event | None, deadline: float | None) -> Watch | None:
    """The `Watch` of a call that begins now, or None when nobody watches. Raises JvsError (interrupted) at once when it
    is time to stop already."""
    if tell is None and cancel is None and deadline is None:
        return None
    made = Watch(tell, cancel, deadline)
    made.check()
    return made
