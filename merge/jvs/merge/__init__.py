"""Three-way merge of trees, lines and structured content (DESIGN 8).

`merge_trees` merges two snapshots over a base, `merge_many` any number of them,
`VirtualBase` makes one base of several.
What the contents of one file become is the business of `jvs.merge.drivers`, for which `Rules.content` stands.
"""

from jvs.merge.content import Contents, Merged, MergeDriver, Names, Options, Region
from jvs.merge.explain import explained
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
from jvs.merge.octopus import Clash, ManyMerge, merge_many
from jvs.merge.recursive import VirtualBase
from jvs.merge.trees import merge_trees

__all__ = [
    "Clash",
    "Conflict",
    "ConflictKind",
    "ContentMerger",
    "Contents",
    "Decision",
    "Limits",
    "ManyMerge",
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
    "explained",
    "merge_many",
    "merge_trees",
]
