"""Merging many branches at once: which of them go together, and which clash with which (DESIGN 8).

Every pair is merged first, in memory. Branches of which no two clash are candidates; the largest such set that also
merges together is merged for good. Branches are known by their digests and always taken in digest order, so the result
does not depend on the order they are given in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, islice
from typing import Final, NamedTuple

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, EMPTY_TREE, FILE, Directory, Entry, Tree
from jvs.castore.objects import ObjectStore
from jvs.castore.pages import diff_entries
from jvs.castore.treesink import TreeSink
from jvs.castore.treewriter import TreeWriter
from jvs.errors import UsageError
from jvs.merge.build import apply, stream_reader
from jvs.merge.layer import layered
from jvs.merge.model import Conflict, Path, Rules, TreeMerge
from jvs.merge.reading import Trees, Version, leaf_of
from jvs.merge.trees import merge_trees
from jvs.merge.walk import Change

MAX_HEADS: Final = 64
"""Most branches of one merge; there are k * (k - 1) / 2 pairs to try."""
MAX_SETS: Final = 16
"""Sets of branches without clashing pairs that are tried, largest first."""


class Clash(NamedTuple):
    """Branches that do not merge. heads: two of them, or, where no two clash, all that were merged when the last one
    did not fit, and that last one. conflicts: between the first (all but the last together: ours) and the last."""

    heads: tuple[Digest, ...]
    conflicts: tuple[Conflict, ...]


class ManyMerge(NamedTuple):
    """What became of many branches.

    tree     the merge of `merged`, written to the sink; the base when there is nothing to merge
    merged   the largest set that merges cleanly found, in digest order
    left     the others, in digest order; () is a clean merge of all
    clashes  every pair that clashes, and what kept larger sets from merging
    """

    tree: Tree
    merged: tuple[Digest, ...]
    left: tuple[Digest, ...]
    clashes: tuple[Clash, ...]

    @property
    def clean(self) -> bool:
        """Whether everything was merged."""
        return not self.left


def merge_many(sink: TreeSink, base: Digest, heads: Sequence[Digest], rules: Rules) -> ManyMerge:
    """Merge the snapshots `heads`, all made from `base`, as far as they go together.

    Heads that are the same, or the base, count once or not at all. `options.prefer` is not used: between many there is
    no ours. Raises UsageError for more than MAX_HEADS, and as reading does. Memory: what the pairs' merges make.
    """
    wanted = tuple(sorted(set(heads) - {base}))
    if len(wanted) > MAX_HEADS:
        raise UsageError(f"at most {MAX_HEADS} branches are merged at once, not {len(wanted)}")
    rules = rules._replace(options=rules.options._replace(prefer="none"), explain=False)
    if not wanted:
        return ManyMerge(sink.objects.tree(base), (), (), ())
    over, writer = layered(sink.objects)
    with writer:
        many = _Many(over, writer, base, rules)
        clashing = many.pairs(wanted)
        best: tuple[Digest, ...] = ()
        result = base
        for candidate in _candidates(wanted, clashing):
            if len(candidate) <= len(best):
                break
            tree, merged = many.fold(candidate)
            if len(merged) > len(best):
                best, result = merged, tree
        tree_of = transfer(sink, over, best, result)
    left = tuple(head for head in wanted if head not in best)
    return ManyMerge(tree_of, best, left, tuple(many.clashes))


class _Many:
    """Merges in memory."""

    def __init__(self, over: ObjectStore, writer: TreeWriter, base: Digest, rules: Rules) -> None:
        self._over = over
        self._writer = writer
        self._base = base
        self._rules = rules
        self.clashes: list[Clash] = []

    def pairs(self, heads: Sequence[Digest]) -> set[tuple[Digest, Digest]]:
        """The pairs that clash, as (smaller, larger)."""
        found = set()
        for one, two in combinations(heads, 2):
            merged = self._merge(one, two)
            if not merged.clean:
                found.add((one, two))
                self.clashes.append(Clash((one, two), merged.conflicts))
        return found

    def fold(self, heads: Sequence[Digest]) -> tuple[Digest, tuple[Digest, ...]]:
        """(the tree, the heads in it): all of them merged in turn, leaving out what does not fit what is there."""
        tree, inside = heads[0], [heads[0]]
        for head in heads[1:]:
            merged = self._merge(tree, head)
            if merged.clean:
                tree = merged.tree.digest
                inside.append(head)
            else:
                self.clashes.append(Clash((*inside, head), merged.conflicts))
        return tree, tuple(inside)

    def _merge(self, ours: Digest, theirs: Digest) -> TreeMerge:
        merged = merge_trees(self._writer, self._base, ours, theirs, self._rules)
        self._writer.flush()
        return merged


def _candidates(heads: Sequence[Digest], clashing: set[tuple[Digest, Digest]]) -> list[tuple[Digest, ...]]:
    """Sets without clashing pairs that cannot be made larger, the largest first; at most MAX_SETS."""
    found = islice(_grow(heads, clashing), 1 << 12)
    return sorted(found, key=lambda one: (-len(one), one))[:MAX_SETS]


def _grow(heads: Sequence[Digest], clashing: set[tuple[Digest, Digest]]) -> Iterable[tuple[Digest, ...]]:
    """Bron and Kerbosch's enumeration of maximal cliques, here of branches that go together."""
    together = {
        head: {other for other in heads if other != head and (min(head, other), max(head, other)) not in clashing}
        for head in heads
    }
    stack: list[tuple[tuple[Digest, ...], set[Digest], set[Digest]]] = [((), set(heads), set())]
    while stack:
        inside, open_, done = stack.pop()
        if not open_ and not done:
            yield tuple(sorted(inside))
            continue
        pivot = max(sorted(open_ | done), key=lambda head: len(together[head] & open_))
        below = []
        for head in sorted(open_ - together[pivot]):
            below.append(((*inside, head), open_ & together[head], done & together[head]))
            open_ = open_ - {head}
            done = done | {head}
        stack.extend(reversed(below))


# ------------------------------------------------------------------------------------------------ out of the memory


class _Step:
    """A directory to be written: `start`, which the store has, becomes `final`, which the layer has."""

    def __init__(self, path: Path, start: Tree, final: Digest) -> None:
        self.path = path
        self.start = start
        self.final = final
        self.changes: dict[bytes, Change | None] = {}
        self.below: list[tuple[Directory, _Step]] = []


def transfer(sink: TreeSink, over: ObjectStore, heads: Sequence[Digest], final: Digest) -> Tree:
    """Write the tree `final` of the layer `over` to the sink: only what the store has not."""
    if not sink.objects.backend.missing(Kind.PAGE, [final]):
        return sink.objects.tree(final)
    known = Trees(sink.objects, heads)
    steps = [_Step((), known.objects.tree(heads[0]), final)]
    for step in steps:  # which grows
        start = None if step.start.digest == EMPTY_TREE.digest else step.start.digest
        for name, before, after in diff_entries(over.page, start, step.final):
            if after is None:
                step.changes[name] = None
            elif after[1] == DIRECTORY and sink.objects.backend.missing(Kind.PAGE, [after.digest]):
                start_below = Tree(*before[3:]) if before is not None and before[1] == DIRECTORY else EMPTY_TREE
                below = _Step((*step.path, name), start_below, after.digest)
                step.below.append((after, below))
                steps.append(below)
            else:
                step.changes[name] = _change(sink, over, known, step, after)
    made: dict[int, Tree] = {}
    for step in reversed(steps):
        for entry, below in step.below:
            step.changes[entry.name] = Change(Directory(entry.name, DIRECTORY, entry.mode, *made.pop(id(below))))
        made[id(step)] = apply(sink, over, step.start, step.changes)
    return made[id(steps[0])]


def _change(sink: TreeSink, over: ObjectStore, known: Trees, step: _Step, entry: Entry) -> Change:
    """The entry, and where its bytes are: in a head at the same path, or copied out of the layer."""
    if entry[1] != FILE or not entry.size:
        return Change(entry)
    path = (*step.path, entry.name)
    for side in range(len(known.roots)):
        there = known.entry(side, path)
        if there is not None and there[1] == FILE and there.digest == entry.digest:
            return Change(entry, known.page(Version(side, path, there)))
    page = leaf_of(over.page, step.final, entry.name)
    if entry.size > over.settings.inline_limit:
        sink.stream(stream_reader(over.read(page, entry)))
        return Change(entry)
    return Change(entry, None, b"".join(over.read(page, entry)))
