"""Several merge bases made into one, as git's `ort` does it: a criss-cross history has more than one best ancestor.

The bases are merged with one another (over *their* bases, and so on); the result is in no label and nobody's version.
Where they clash, a text keeps both sides between markers, longer ones the deeper they are, so that a side that settled
the clash differs from it; what has no room for markers is as the base of the bases has it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Generic, TypeVar

from jvs.castore.digest import Digest
from jvs.castore.objects import ObjectStore
from jvs.castore.treewriter import TreeWriter
from jvs.merge.content import Names
from jvs.merge.layer import layered
from jvs.merge.model import Rules
from jvs.merge.trees import merge_trees

E = TypeVar("E", bound=Hashable)

MAX_MERGES: Final = 256
"""Most merges that go into one virtual base; of a history that needs more, what was merged so far is the base."""
_NAMES: Final = Names(b"Temporary merge branch 1", b"merged common ancestors", b"Temporary merge branch 2")


class VirtualBase(Generic[E]):
    """The base of a merge that has any number of them. Use as a context manager: `objects` reads it (give it to
    `merge_trees`) and everything in the store.

    tree_of   the snapshot of an entry of the history
    bases_of  the best common ancestors of an entry and one that was made from several (`lineage.merge_bases` of each),
              in an order that does not depend on who asks
    """

    def __init__(
        self,
        objects: ObjectStore,
        rules: Rules,
        tree_of: Callable[[E], Digest],
        bases_of: Callable[[Sequence[E], E], Sequence[E]],
    ) -> None:
        self.objects = objects
        self.simplified = False
        """Whether the history needed more than MAX_MERGES."""
        self._stack = ExitStack()
        self._rules = rules._replace(explain=False, recorded=None)
        self._tree_of = tree_of
        self._bases_of = bases_of
        self._known: dict[tuple[E, ...], Digest] = {}
        self._left = MAX_MERGES
        self._writer: TreeWriter | None = None

    def tree(self, bases: Sequence[E]) -> Digest | None:
        """The tree to merge over, None without a base."""
        return self._tree(tuple(bases), 1)

    def _tree(self, bases: tuple[E, ...], depth: int) -> Digest | None:
        if len(bases) <= 1:
            return self._tree_of(bases[0]) if bases else None
        known = self._known.get(bases)
        if known is None:
            known = self._merged(bases, depth)
            self._known[bases] = known
        return known

    def _merged(self, bases: tuple[E, ...], depth: int) -> Digest:
        tree = self._tree_of(bases[0])
        for number in range(1, len(bases)):
            if self._left == 0 or depth > MAX_MERGES:
                self.simplified = True
                break
            self._left -= 1
            below = self._tree(tuple(self._bases_of(bases[:number], bases[number])), depth + 1)
            rules = self._rules._replace(options=self._rules.options._replace(names=_NAMES, prefer="none"))
            sink = self._sink()
            tree = merge_trees(sink, below, tree, self._tree_of(bases[number]), rules, virtual=depth).tree.digest
            sink.flush()
        return tree

    def _sink(self) -> TreeWriter:
        if self._writer is None:
            self.objects, writer = layered(self.objects)
            self._writer = self._stack.enter_context(writer)
        return self._writer

    def __enter__(self) -> VirtualBase[E]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
