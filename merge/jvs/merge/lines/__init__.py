"""Line merge: comparing and merging texts by lines, on bytes, as git does it (docs/merge-lines.md)."""

from jvs.merge.lines.hunks import Hunk, diff_lines
from jvs.merge.lines.merging import merge_lines
from jvs.merge.lines.patch import similarity, unified
from jvs.merge.lines.words import suggest, word_diff

__all__ = ["Hunk", "diff_lines", "merge_lines", "similarity", "suggest", "unified", "word_diff"]
