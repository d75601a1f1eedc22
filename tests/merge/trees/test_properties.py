"""What holds for the merge of any three trees."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jvs.merge import Names, Rules, TreeMerge, explained
from tests.conftest import TORTURE
from tests.merge.trees.support import RULES, Bench, D, F, Item, L, Model, lines

EXAMPLES = 5_000 if TORTURE else 60

_names = st.sampled_from([b"a", b"b", b"c", b"d", b"~ours"])
_texts = st.sampled_from(
    [lines(*range(first, first + 8), *([99] * tail)) for first in (0, 1, 20) for tail in (0, 1)]
    + [b"", b"\0binary", b"x"]
)
_files: st.SearchStrategy[Item] = st.one_of(
    st.builds(F, _texts, st.sampled_from([0o644, 0o644, 0o755, 0o600])),
    st.builds(L, st.sampled_from([b"a", b"b"])),
)
_modes = st.sampled_from([0o755, 0o755, 0o700])


def _directories(below: st.SearchStrategy[Item]) -> st.SearchStrategy[Item]:
    return st.builds(D, st.dictionaries(_names, below, max_size=4), _modes)


models: st.SearchStrategy[Model] = st.dictionaries(_names, st.recursive(_files, _directories, max_leaves=6), max_size=5)


@st.composite
def _sides(draw: st.DrawFn) -> tuple[Model, Model, Model]:
    """A base, and two trees that have most of it."""
    base = draw(models)
    return base, _varied(draw, base), _varied(draw, base)


def _varied(draw: st.DrawFn, model: Model) -> Model:
    out = dict(model)
    for name in draw(st.lists(_names, max_size=2)):
        item = out.get(name)
        if isinstance(item, D) and draw(st.booleans()):
            out[name] = D(_varied(draw, item.below), draw(_modes) if draw(st.booleans()) else item.mode)
        elif item is not None and draw(st.booleans()):
            out[draw(_names)] = out.pop(name)
        elif draw(st.booleans()):
            out[name] = draw(st.one_of(_files, _directories(_files)))
        else:
            out.pop(name, None)
    return out


@given(models, models)
@settings(max_examples=EXAMPLES)
def test_what_only_one_side_changed_is_as_that_side_has_it(base: Model, other: Model) -> None:
    bench = Bench()
    b, x = bench.put(base), bench.put(other)
    for ours, theirs in ((x, b), (b, x), (x, x)):
        result = bench.merge(b, ours, theirs)
        assert (result.tree.digest, result.conflicts) == (x, ())
        assert result.tree == bench.objects.tree(x)


def paths(model: Model, above: tuple[bytes, ...] = ()) -> dict[tuple[bytes, ...], Item]:
    """Everything in a tree by path; a directory without what is in it."""
    out: dict[tuple[bytes, ...], Item] = {}
    for name, item in model.items():
        out[*above, name] = D({}, item.mode) if isinstance(item, D) else item
        if isinstance(item, D):
            out |= paths(item.below, (*above, name))
    return out


def swapped(result: TreeMerge) -> list[tuple[tuple[bytes, ...], str, str, str, str]]:
    """The conflicts with their sides swapped."""
    return sorted((c.path, c.kind, str(c.base), str(c.theirs), str(c.ours)) for c in result.conflicts)


@given(_sides())
@settings(max_examples=EXAMPLES)
def test_any_merge(sides: tuple[Model, Model, Model]) -> None:
    """Swap symmetry; what is clean loses nothing and is written whole; a preference leaves no conflict."""
    base, ours, theirs = sides
    bench = Bench()
    b, o, t = (bench.put(model) for model in sides)
    renamed = RULES._replace(options=RULES.options._replace(names=Names(b"theirs", b"base", b"ours")))
    result, other = bench.merge(b, o, t), bench.merge(b, t, o, renamed)  # so that each side keeps its name
    assert swapped(other) == sorted((c.path, c.kind, str(c.base), str(c.ours), str(c.theirs)) for c in result.conflicts)
    tree = bench.read(result.tree.digest)
    assert bench.put(tree) == result.tree.digest  # the id is that of the content, whatever was edited
    if result.clean:
        assert other.tree == result.tree
        _loses_nothing(paths(base), paths(ours), paths(theirs), paths(tree))
    else:
        for path in {path for conflict in result.conflicts for path in conflict.placed}:
            assert path in paths(tree)
    for prefer in ("ours", "theirs"):
        rules = RULES._replace(options=RULES.options._replace(prefer=prefer))
        preferred = bench.merge(b, o, t, rules)
        assert preferred.clean
        bench.read(preferred.tree.digest)
        if result.clean:
            assert (preferred.tree, preferred.settled) == (result.tree, ())
        else:
            assert preferred.settled


def _loses_nothing(*trees: dict[tuple[bytes, ...], Item]) -> None:
    """Whatever a side added or changed is in a clean merge: at its path, or, merged or moved, somewhere."""
    base, ours, theirs, merged = trees
    for mine, others in ((ours, theirs), (theirs, ours)):
        for path, item in mine.items():
            before, yours = base.get(path), others.get(path)
            if item == before:
                continue  # the other side may have done anything
            if isinstance(item, D):
                if before is None or not isinstance(before, D):
                    assert isinstance(merged.get(path), D)
            elif yours in (before, item) and (before is None or isinstance(before, D) or path in others):
                # when it is another, the other side's change of a file that was moved here has come with it
                assert merged.get(path) == item or type(merged.get(path)) is type(item)
    modes = {item.mode for tree in (ours, theirs) for item in tree.values() if not isinstance(item, L)}
    assert {item.mode for item in merged.values() if not isinstance(item, L)} <= modes


@given(models, st.lists(_sides(), min_size=2, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES // 4)
def test_the_order_of_many_does_not_matter(base: Model, sides: list[tuple[Model, Model, Model]], rng: object) -> None:
    bench = Bench()
    b = bench.put(base)
    heads = [bench.put({**base, **ours}) for _, ours, _ in sides]
    one = bench.many(b, heads)
    shuffled = list(heads)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert bench.many(b, [*shuffled, heads[0], b]) == one
    assert set(one.merged) | set(one.left) == set(heads) - {b}
    assert one.clean == (not one.clashes)
    assert bench.put(bench.read(one.tree.digest)) == one.tree.digest


@given(_sides())
@settings(max_examples=EXAMPLES // 4)
def test_explaining_changes_nothing(sides: tuple[Model, Model, Model]) -> None:
    bench = Bench()
    b, o, t = (bench.put(model) for model in sides)
    plain = bench.merge(b, o, t)
    told = bench.merge(b, o, t, Rules(RULES.content, explain=True))
    assert told._replace(decisions=()) == plain
    base, ours, theirs = (paths(model) for model in sides)
    said = {one.path for one in explained(bench.objects, b, o, t, told.decisions)}
    for path in base.keys() | ours.keys() | theirs.keys():
        versions = [side.get(path) for side in (base, ours, theirs)]
        if len({str(version) for version in versions}) > 1 and not any(isinstance(one, D) for one in versions):
            assert path in said
    assert all(any(path in side for side in (base, ours, theirs)) for path in said - {()} - set(_aside(told)))


def _aside(result: TreeMerge) -> list[tuple[bytes, ...]]:
    return [path for conflict in result.conflicts for path in (conflict.path, *conflict.placed)]
