"""Many branches at once, and many bases for one merge."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.manifest import FILE
from jvs.castore.settings import StoreSettings
from jvs.errors import ReadOnlyError, UsageError
from jvs.merge import VirtualBase, merge_trees, recursive
from jvs.merge.layer import layered
from jvs.merge.octopus import MAX_HEADS
from tests.castore.models import TINY, assert_closed
from tests.merge.trees.support import RULES, Bench, D, F, Model, lines

TEXT = lines(*range(60))


def line(*numbers: int, word: bytes = b"CHANGED") -> bytes:
    """The text with some lines changed."""
    text = TEXT
    for number in numbers:
        text = text.replace(b"line %d of" % number, b"%s %d of" % (word, number))
    return text


@pytest.mark.parametrize("settings", [StoreSettings(), TINY])
def test_the_largest_set_that_goes_together_is_merged(settings: StoreSettings) -> None:
    """Three go together, one clashes with two of them; the result is written whole to the real store."""
    bench = Bench(settings)
    base = bench.put({b"f": F(TEXT), b"d": D({b"x": F(b"x")})})
    one = bench.put({b"f": F(line(5)), b"d": D({b"x": F(b"x")})})
    two = bench.put({b"f": F(line(30)), b"d": D({b"x": F(b"x"), b"new": F(TEXT)})})
    three = bench.put({b"f": F(line(55)), b"e": D({b"x": F(b"x")})})
    rival = bench.put({b"f": F(line(5, 30, word=b"RIVAL")), b"d": D({b"x": F(b"x")})})
    result = bench.many(base, [rival, three, two, one])
    assert set(result.merged) == {one, two, three}
    assert result.left == (rival,)
    assert not result.clean
    assert bench.read(result.tree.digest) == {
        b"f": F(line(5, 30, 55)),
        b"d": D({b"new": F(TEXT)}),
        b"e": D({b"x": F(b"x")}),
    }
    assert_closed(bench.store)
    clashing = {frozenset(clash.heads) for clash in result.clashes}
    assert clashing == {frozenset((rival, one)), frozenset((rival, two))}
    for clash in result.clashes:
        (conflict,) = clash.conflicts
        assert conflict.path == (b"f",)
        assert conflict.merged is not None
        number = 5 if one in clash.heads else 30
        assert [region.ours_lines for region in conflict.merged.conflicts] == [(number, number + 1)]


def test_a_deletion_clashes_with_every_change() -> None:
    bench = Bench()
    base = bench.put({b"f": F(TEXT)})
    models: list[Model] = [{b"f": F(line(1))}, {b"f": F(TEXT, 0o755)}, {}]
    edit, mode, gone = map(bench.put, models)
    result = bench.many(base, [gone, mode, edit])
    assert set(result.merged) == {edit, mode}
    assert result.left == (gone,)
    assert {frozenset(clash.heads) for clash in result.clashes} == {frozenset((gone, edit)), frozenset((gone, mode))}
    assert {conflict.kind for clash in result.clashes for conflict in clash.conflicts} == {"modify/delete"}


def test_nothing_and_too_much() -> None:
    bench = Bench()
    base = bench.put({b"f": F(b"f")})
    assert bench.many(base, [base, base]) == (bench.objects.tree(base), (), (), ())
    one = bench.put({})
    assert bench.many(base, [one, base]).tree.digest == one
    with pytest.raises(UsageError):
        bench.many(base, [bytes([number]) * 32 for number in range(MAX_HEADS + 1)])


# ---------------------------------------------------------------------------------------------------- virtual bases


class History:
    """Snapshots by number, each with parents; deepest first where several are asked for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.trees: list[Digest] = []
        self.parents: list[tuple[int, ...]] = []

    def add(self, model: Model, *parents: int) -> int:
        self.trees.append(self.bench.put(model))
        self.parents.append(parents)
        return len(self.trees) - 1

    def _above(self, entry: int) -> set[int]:
        return {entry}.union(*(self._above(parent) for parent in self.parents[entry]))

    def bases(self, ones: Sequence[int], two: int) -> list[int]:
        common = set[int]().union(*(self._above(one) for one in ones)) & self._above(two)
        return sorted(common - {above for one in common for above in self._above(one) - {one}}, reverse=True)

    def virtual(self) -> VirtualBase[int]:
        return VirtualBase(self.bench.objects, RULES, self.trees.__getitem__, self.bases)

    def merge(self, ours: int, theirs: int) -> tuple[Model, list[str]]:
        with self.virtual() as virtual, self.bench.writer() as writer:
            base = virtual.tree(self.bases((ours,), theirs))
            result = merge_trees(writer, base, self.trees[ours], self.trees[theirs], RULES, objects=virtual.objects)
            writer.publish()
        return self.bench.read(result.tree.digest), [conflict.kind for conflict in result.conflicts]


def test_a_criss_cross_with_a_settled_clash_is_clean() -> None:
    """Both bases changed line 5; both sides settled it in the same way, and changed something else."""
    history = History(Bench())
    root = history.add({b"f": F(TEXT)})
    one, two = history.add({b"f": F(line(5))}, root), history.add({b"f": F(line(5, word=b"OTHER"))}, root)
    ours = history.add({b"f": F(line(5, 20))}, one, two)
    theirs = history.add({b"f": F(line(5, 40))}, two, one)
    for sides in ((ours, theirs), (theirs, ours)):
        assert history.merge(*sides) == ({b"f": F(line(5, 20, 40))}, [])


def test_a_clash_settled_differently_is_a_conflict_again() -> None:
    history = History(Bench())
    root = history.add({b"f": F(TEXT), b"b": F(b"\0base")})
    one = history.add({b"f": F(line(5)), b"b": F(b"\0one")}, root)
    two = history.add({b"f": F(line(5, word=b"OTHER")), b"b": F(b"\0two")}, root)
    ours = history.add({b"f": F(line(5)), b"b": F(b"\0one")}, one, two)
    theirs = history.add({b"f": F(line(5, word=b"OTHER")), b"b": F(b"\0two")}, two, one)
    assert history.merge(ours, theirs)[1] == ["binary", "content"]


def test_three_bases_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(TINY)
    history = History(bench)
    root = history.add({b"f": F(TEXT), b"d": D({})})
    bases = [history.add({b"f": F(line(number)), b"d": D({b"%d" % number: F(TEXT)})}, root) for number in (5, 25, 45)]
    pages = sum(1 for _ in bench.store.list(Kind.PAGE))
    with history.virtual() as virtual:
        tree = virtual.tree(bases)
        assert tree is not None
        over = virtual.objects
        page, entry = over.resolve(tree, (b"f",))
        assert entry[1] == FILE
        assert b"".join(over.read(page, entry)) == line(5, 25, 45)
        assert not virtual.simplified
        assert virtual.tree([]) is None
        assert virtual.tree(bases[:1]) == history.trees[bases[0]]
    assert sum(1 for _ in bench.store.list(Kind.PAGE)) == pages, "a virtual base is written to no store"
    monkeypatch.setattr(recursive, "MAX_MERGES", 1)
    with history.virtual() as virtual:
        virtual.tree(bases)
        assert virtual.simplified


def test_a_layer_changes_nothing_below_it() -> None:
    bench = Bench()
    bench.put({b"f": F(b"f")})
    over, writer = layered(bench.objects)
    before = {kind: list(bench.store.list(kind)) for kind in Kind}
    with writer:
        tree = bench.write(writer, {b"f": F(b"f"), b"g": F(b"other")})
        writer.publish()
        assert over.page(tree.digest).last == b"g"
        assert [info.key for info in over.backend.list(Kind.PAGE)] == list(over.backend.keys(Kind.PAGE))
        assert over.backend.infos(Kind.PAGE, [tree.digest])[0] is not None
        assert not over.backend.missing(Kind.PAGE, [tree.digest])
        with pytest.raises(ReadOnlyError):
            over.backend.delete(Kind.PAGE, [tree.digest])
        with pytest.raises(UsageError):
            writer.publish(lambda txn: None)
    assert {kind: list(bench.store.list(kind)) for kind in Kind} == before
