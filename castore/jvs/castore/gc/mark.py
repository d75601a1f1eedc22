"""Marking: everything that roots reach, in bounded memory and without a transaction (DESIGN 6).

Pages are visited by falling height, then layouts, then recipes by falling height, so that each is read once although
a set that has spilled cannot be asked for what it holds. Parts and chunks have nothing below them and are only noted.

What `jvs doctor` has recorded as lost is passed over: nobody can say what was below it, but what else is reachable must
still be kept. Only of a lost page its layout is known to be below it, having the same key. Whatever else cannot be read
ends the mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from jvs.castore import codec
from jvs.castore.backend import WITH_HEIGHT, Kind, Ref, Store, missing_object, object_name, ref_of
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import is_lost
from jvs.castore.gc.nameset import Budget, NameSet
from jvs.castore.objects import checked_children
from jvs.errors import MissingObjectError

Choose = Callable[[Kind, list[Digest]], list[Digest]]
"""Of objects of one kind that were reached, those to note and visit."""
Step = Callable[[int], None]
"""Called now and then with the number of objects read; what it raises ends the work."""

SWEEP_ORDER: Final = (Kind.PAGE, Kind.LAYOUT, Kind.RECIPE, Kind.PART, Kind.CHUNK)
"""Parents before children; among pages and among recipes by falling height."""
_STEP_EVERY: Final = 256


class Ranked:
    """Names of all kinds, pages and recipes by their heights."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._sets: dict[tuple[Kind, int], NameSet] = {}

    def of(self, kind: Kind, height: int) -> NameSet:
        """The set of that kind and height (0 for the kinds without)."""
        found = self._sets.get((kind, height))
        if found is None:
            found = self._sets[kind, height] = self._budget.set()
        return found

    def heights(self, kind: Kind) -> list[int]:
        """The heights that occur, the largest first."""
        return sorted((height for other, height in self._sets if other == kind), reverse=True)

    def __iter__(self) -> Iterator[tuple[Kind, int, NameSet]]:
        """Parents before children."""
        for kind in SWEEP_ORDER:
            for height in self.heights(kind):
                yield kind, height, self._sets[kind, height]


class Mark:
    """What roots reach. `add` roots, then `run`.

    choose  leaves out what need not be visited (nor noted); None visits everything
    """

    def __init__(self, store: Store, budget: Budget, choose: Choose | None = None) -> None:
        self._store = store
        self._choose = choose
        self.reached = Ranked(budget)
        self.read = 0
        """Objects read so far."""

    def add(self, names: Iterable[bytes]) -> None:
        """Roots: objects of any kind. Raises MissingObjectError."""
        self._note([ref_of(name) for name in names])

    def run(self, step: Step) -> None:
        """Visit all that was added and all below it. Raises MissingObjectError, IntegrityError and ManifestError,
        which name the object that cannot be read."""
        for kind in (Kind.PAGE, Kind.LAYOUT, Kind.RECIPE):
            # Whatever a visit adds to its own kind is lower than the visited. (Not every height occurs: a page of which
            # something was lost may be far above all others.)
            heights = self.reached.heights(kind)
            while heights:
                for key in self.reached.of(kind, heights[0]):
                    self._visit(kind, key)
                    if not self.read % _STEP_EVERY:
                        step(self.read)
                heights = [height for height in self.reached.heights(kind) if height < heights[0]]
        step(self.read)

    def _visit(self, kind: Kind, key: Digest) -> None:
        try:
            stored = self._store.get(kind, key)
        except MissingObjectError:
            if not self._passes(kind, key):
                raise
            return
        children = checked_children(kind, key, codec.decode(kind, stored))
        self.read += 1
        self._note(children)

    def _note(self, refs: Iterable[Ref]) -> None:
        by_kind: dict[Kind, list[Digest]] = {}
        for kind, key in refs:
            by_kind.setdefault(kind, []).append(key)
        for kind, keys in by_kind.items():
            chosen = keys if self._choose is None else self._choose(kind, keys)
            if kind in WITH_HEIGHT:
                for key, info in zip(chosen, self._store.infos(kind, chosen), strict=True):
                    if info is not None:
                        self.reached.of(kind, info.height).update((key,))
                    elif not self._passes(kind, key):
                        raise missing_object(kind, key)
            else:
                self.reached.of(kind, 0).update(chosen)

    def _passes(self, kind: Kind, key: Digest) -> bool:
        """Whether an object that is not there is one to be passed over."""
        with self._store.read() as txn:
            if kind == Kind.LAYOUT and is_lost(txn, object_name(Kind.PAGE, key)):
                return True  # noted below, and gone since
            passes = is_lost(txn, object_name(kind, key))
            has_layout = passes and kind == Kind.PAGE and txn.info(Kind.LAYOUT, key) is not None
        if has_layout:
            self._note((Ref(Kind.LAYOUT, key),))
        return passes
