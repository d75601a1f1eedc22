"""Merging two trees, page by page: the passes in order (DESIGN 8)."""

from __future__ import annotations

from collections.abc import Sequence

from jvs.castore.digest import Digest
from jvs.castore.manifest import Tree
from jvs.castore.objects import ObjectStore
from jvs.castore.treesink import TreeSink
from jvs.merge.build import build
from jvs.merge.model import BASE, Decision, Rules, Suggestion, TreeMerge
from jvs.merge.reading import Trees, Version
from jvs.merge.renames import find_renames, suggest
from jvs.merge.resolve import Resolver
from jvs.merge.walk import Walk


def merge_trees(
    sink: TreeSink,
    base: Digest | None,
    ours: Digest,
    theirs: Digest,
    rules: Rules,
    *,
    objects: ObjectStore | None = None,
    virtual: int = 0,
) -> TreeMerge:
    """Merge the snapshots `ours` and `theirs`, which were both made from `base` (None: from nothing, two-way).

    sink     takes the new pages and contents, children first; the caller publishes. Everything that did not change is
             named by its digest or taken from where the store has it: no file is read unless its contents are merged
             or compared, and no page that all sides share
    objects  reads the three trees, when the sink's own store does not have all of them (a virtual base)
    virtual  how deep inside the making of a virtual base this merge is; see `recursive.virtual_base`

    Deterministic. Swapping the sides gives the same tree and the same conflicts with their sides swapped, but for what
    a conflict leaves in the tree. Raises as reading does: IntegrityError, ManifestError, MissingObjectError.
    """
    objects = objects or sink.objects
    if ours == theirs or base == theirs:
        return _unchanged(objects.tree(ours), "identical" if ours == theirs else "ours", rules)
    if base == ours:
        return _unchanged(objects.tree(theirs), "theirs", rules)
    trees = Trees(objects, (base, ours, theirs))
    walk = Walk(trees, explain=rules.explain)
    walk.run()
    resolver = Resolver(trees, walk, rules, virtual)
    notes: list[str] = []
    suggestions: list[Suggestion] = []
    if walk.stranded or walk.both_lost or any(_lost(spot.versions) for spot in walk.spots.values()):
        found = find_renames(trees, rules.limits, walk.stranded)
        resolver.apply_renames(found)
        suggestions = suggest(trees, found.pairs, walk.stranded)
        notes = found.notes
    resolver.settle()
    tree = build(sink, objects, walk.nodes, resolver)
    return TreeMerge(
        tree,
        tuple(sorted(resolver.conflicts, key=lambda conflict: (conflict.path, conflict.kind))),
        tuple(sorted(set(resolver.settled))),
        tuple(sorted(_last_word(walk.decisions, resolver.decisions))),
        tuple(suggestions),
        tuple(dict.fromkeys(notes)),
    )


def _lost(versions: Sequence[Version | None]) -> bool:
    """Whether the base has a file that a side has not: somebody may have moved it."""
    return versions[BASE] is not None and None in versions


def _unchanged(tree: Tree, detail: str, rules: Rules) -> TreeMerge:
    decisions = (Decision((), "identical" if detail == "identical" else "pruned", detail, True),)
    return TreeMerge(tree, (), (), decisions if rules.explain else ())


def _last_word(first: list[Decision], second: list[Decision]) -> list[Decision]:
    """One decision for each path, and one for the directory there: what the second pass said counts."""
    return list({(decision.path, decision.below): decision for decision in (*first, *second)}.values())
