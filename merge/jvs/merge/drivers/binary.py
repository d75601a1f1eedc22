"""Whole files: the end of every chain."""

from __future__ import annotations

from jvs.merge.content import Contents, Merged, Options
from jvs.merge.drivers.giveup import GiveUp


class BinaryDriver:
    """Merges nothing: a file that both sides changed is a conflict of the tree, which takes one side or none."""

    name = "binary"
    max_size = 1 << 62

    def suits(self, path: bytes, contents: Contents) -> bool:
        """Everything is bytes."""
        return True

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        """None, always."""
        raise GiveUp("both sides changed a file that is taken as a whole")
