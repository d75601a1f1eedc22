"""Texts where lines only ever come to, such as lists of changes: both sides' lines are kept."""

from __future__ import annotations

from jvs.merge.content import Contents, Merged, Options
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.text import MAX_SIZE, why_not_lines
from jvs.merge.lines import merge_lines


class UnionDriver:
    """Merges lines; where the sides clash it takes the lines of both, so it never leaves a conflict.

    In which order does not depend on which side is called ours. Only used where an attribute says `merge=union`.
    """

    name = "union"
    max_size = MAX_SIZE

    def suits(self, path: bytes, contents: Contents) -> bool:
        """Nothing by itself: that order does not matter cannot be seen in the bytes."""
        return False

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        """See `merge_lines`. Raises GiveUp on binary sides."""
        why_not = why_not_lines(contents)
        if why_not is not None:
            raise GiveUp(why_not)
        return merge_lines(contents, options, driver=self.name, union=True)
