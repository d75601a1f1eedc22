"""Saying of every path that a side touched which rule decided it, also of those nobody had to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jvs.castore.diff import diff_trees
from jvs.castore.digest import Digest
from jvs.castore.objects import ObjectStore
from jvs.merge.model import BASE, OURS, THEIRS, Decision
from jvs.merge.reading import Trees


def explained(
    objects: ObjectStore, base: Digest | None, ours: Digest, theirs: Digest, decisions: Iterable[Decision]
) -> Iterator[Decision]:
    """The decisions of a merge, each one for something taken whole (`below`) followed by what is in it.

    Lazy: reads what a difference reads, a directory at a time. In what a side took from nowhere or
    to nowhere every path is listed.
    """
    trees = Trees(objects, (base, ours, theirs))
    decisions = list(decisions)
    own = {decision.path for decision in decisions}
    for decision in decisions:
        yield decision
        if not decision.below:
            continue
        before = trees.directory(BASE, decision.path)
        # what was taken whole only one side changed, or both alike; when both did and one removed it, that one decided
        sides = [trees.directory(side, decision.path) for side in (OURS, THEIRS)]
        after = None if before is not None and None in sides else next((one for one in sides if one != before), before)
        for difference in diff_trees(objects.page, before, after):
            path = (*decision.path, *difference.path)
            if path not in own:
                yield Decision(path, decision.rule, decision.detail)
