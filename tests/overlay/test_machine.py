"""Random operations on an overlay and on a plain directory: the same trees, the same answers, the same errnos."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

from jvs.castore.digest import Digest
from jvs.overlay.overlay import Overlay
from tests.overlay.machine import TORTURE, UMASK, Rules
from tests.overlay.support import Seen, in_overlay, in_store, new_objects, pushed, stored


class Machine(Rules):
    """One overlay, in process."""

    def start(self) -> None:
        self.objects = new_objects()
        self.directory = str(self.top / "upper")
        self.fs = Overlay.create(self.objects, stored(self.objects, self.plain), self.directory, umask=UMASK)

    def stop(self) -> None:
        self.fs.close()

    def seen(self) -> Seen:
        return in_overlay(self.fs)

    def again(self, killed: bool) -> None:
        if killed:
            self.fs._upper.close()  # nothing is told
        else:
            self.fs.close()
        self.fs = Overlay.resume(self.objects, self.directory, umask=UMASK)
        assert self.fs.torn == 0

    def pushed(self) -> tuple[Digest, Digest, Seen, list[Any]]:
        root = pushed(self.objects, self.fs)
        return root, stored(self.objects, self.plain), in_store(self.objects, root), list(self.fs.changes())


Machine.TestCase.settings = settings(
    max_examples=40 if TORTURE else 10, stateful_step_count=200 if TORTURE else 30, deadline=None
)
TestMachine = Machine.TestCase
