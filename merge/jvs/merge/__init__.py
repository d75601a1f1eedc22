"""Three-way merge of trees, lines and structured content (DESIGN 8).

`merge_trees` merges two snapshots over a base, `VirtualBase` makes one base of several.
What the contents of one file become is the business of `jvs.merge.drivers`, for which `Rules.content` stands.
"""

from jvs.merge.content import Contents, Merged, MergeDriver, Names, Options, Region
from jvs.merge.model import (
    Conflict,
    ConflictKind,
    ContentMerger,
    Decision,
    Limits,
    Recorded,
    Rule,
    Rules,
    Settled,
    Side,
    Suggestion,
    TreeMerge,
)
from jvs.merge.recursive import VirtualBase
from jvs.merge.trees import merge_trees

__all__ = [
    "Conflict",
    "ConflictKind",
    "ContentMerger",
    "Contents",
    "Decision",
    "Limits",
    "MergeDriver",
    "Merged",
    "Names",
    "Options",
    "Recorded",
    "Region",
    "Rule",
    "Rules",
    "Settled",
    "Side",
    "Suggestion",
    "TreeMerge",
    "VirtualBase",
    "merge_trees",
]
