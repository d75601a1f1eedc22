"""Which directories of a walk go to the assistant, and how what it made of them comes back into the walk."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from jvs.castore.ingest.state import Done, Frame, Run, Skipped
from jvs.castore.ingest.walk import open_directory
from jvs.castore.treewriter import TreeWriter

if TYPE_CHECKING:
    from jvs.castore.ingest.assist import Assistant, Taken

MIN_BYTES: Final = 16 << 20
"""Bytes a push must have read before anything is lent: to start an assistant costs as much as to read some 10 MB."""
LEVELS: Final = 8
"""Only directories this near to the root are lent: further down there is not enough below them."""


class Lender:
    """Lends whole directories that are new (nothing is known of them), from the end of the list the walk works off
    from its beginning, until both meet."""

    def __init__(self, run: Run, assistant: Assistant) -> None:
        self._run = run
        self._assistant = assistant
        self._lent: deque[tuple[Frame, str]] = deque()

    def step(self, stack: Sequence[Frame]) -> None:
        """Between two directories of the walk: take back what is ready, and lend the next."""
        while self._lent and self._assistant.ready():
            self._take_back()
        if self._assistant.free and self._run.bytes >= MIN_BYTES:
            self._lend(stack)

    def collect(self, frame: Frame) -> bool:
        """Whether every directory of the frame, which the walk is done with, is back; waits for what was lent. What
        the assistant gave up goes back into the frame's list, and False is returned."""
        while frame.lent:
            self._take_back()
        again = False
        for name, taken in frame.arrived:
            if taken is None:
                frame.enter.append(name)
                frame.slots.append(None)
                again = True
            else:
                self._adopt(frame, name, taken)
        frame.arrived.clear()
        return not again

    def _lend(self, stack: Sequence[Frame]) -> None:
        """Lend the last directory of the outermost frame that has several left (or, failing that, one). The next of
        every frame stays: were the last large directory lent, the walk would have nothing to do but wait for it."""
        run = self._run
        if run.unapplied or run.rehash:
            return
        candidates = [
            (len(frame.enter) - frame.at - 1, level)
            for level, frame in enumerate(stack[:LEVELS])
            if frame.rules is None and frame.record is None and run.trail.open_at(level) >= 0
        ]
        left, level = next((item for item in candidates if item[0] > 1), max(candidates, default=(0, 0)))
        if left < 1:
            return
        frame = stack[level]
        name = frame.enter[-1]
        if run.old_entry(run.old(frame), os.fsencode(name)) is not None:
            return
        try:
            fd = open_directory(name, run.trail.open_at(level))
        except OSError:
            return  # the walk itself will meet it
        try:
            if self._assistant.give(fd, run.leftovers_token):
                if isinstance(run.sink, TreeWriter):
                    run.sink.work_alone()
                frame.enter.pop()
                frame.slots.pop()
                frame.lent += 1
                self._lent.append((frame, name))
        finally:
            os.close(fd)

    def _take_back(self) -> None:
        frame, name = self._lent.popleft()
        frame.lent -= 1
        taken = self._assistant.take_back()
        if taken is not None:
            self._run.advance(taken.tree.bytes, taken.tree.entries)
        frame.arrived.append((name, taken))

    def _adopt(self, frame: Frame, name: str, taken: Taken) -> None:
        run = self._run
        above = os.fsencode(name)

        def below(items: Sequence[Skipped]) -> list[Skipped]:
            return [Skipped(frame.path(b"/".join((above, item.path))), item.reason) for item in items]

        run.skipped += below(taken.skipped)
        run.left_out += below(taken.left_out)
        run.unreadable += below(taken.unreadable)
        run.directories += 1 + taken.directories
        run.ignored += taken.ignored
        slot = None if run.builder is None else run.builder.adopt(taken.stretch, taken.top)
        frame.results[name] = Done(taken.tree, None, slot, False)
