"""What holds for any two branches of any history: the sides may be swapped, and only contents count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvs.merge.drivers.attributes import ATTRIBUTES_FILE
from tests.merge.trees.support import D, F, L, Model
from tests.workspace.merging.support import LINES, Ground, edited, file, made

texts = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n", b"\n", b"e"]), max_size=8).map(b"".join)
files = st.builds(F, texts, st.sampled_from([0o644, 0o755]))
items = st.one_of(files, files, st.sampled_from([b"x", b"y"]).map(L))
names = st.sampled_from([b"f", b"g", b"h"])
directories = st.builds(lambda below: D(dict(below)), st.dictionaries(names, items, max_size=2))
trees: st.SearchStrategy[Model] = st.dictionaries(names, st.one_of(items, directories), max_size=3)

EXAMPLES = 40


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    """One store for all examples."""
    with made() as ground:
        yield ground


@given(base=trees, ours=trees, theirs=trees)
@settings(max_examples=EXAMPLES)
def test_swapping_the_sides(place: Ground, base: Model, ours: Model, theirs: Model) -> None:
    place.forget()
    place.fork(base, ours, theirs)
    one, other = place.merged(), place.merged("theirs", "ours")
    assert one.ca_id == other.ca_id
    assert [(shown.conflict.path, shown.conflict.kind) for shown in one.conflicts] == [
        (shown.conflict.path, shown.conflict.kind) for shown in other.conflicts
    ]
    for left, right in zip(one.conflicts, other.conflicts, strict=True):
        assert (left.conflict.ours, left.conflict.theirs) == (right.conflict.theirs, right.conflict.ours)


@given(base=trees, ours=trees, theirs=trees, detours=st.lists(trees, max_size=2), late=st.lists(trees, max_size=2))
@settings(max_examples=EXAMPLES)
def test_edit_histories_do_not_count(
    place: Ground, base: Model, ours: Model, theirs: Model, detours: list[Model], late: list[Model]
) -> None:
    """The same two contents over the same base come to the same, however many moves it took to get there."""
    place.forget()
    place.fork(base, ours, theirs)
    short = place.merged()
    place.forget()
    place.commit("ours", base)
    place.branch("theirs", "ours")
    for model in (*detours, ours):
        place.commit("ours", model)
    for model in (*late, theirs):
        place.commit("theirs", model)
    long = place.merged()
    assert (long.ca_id, long.base) == (short.ca_id, short.base)
    assert [shown.conflict for shown in long.conflicts] == [shown.conflict for shown in short.conflicts]


@given(base=trees, ours=trees, theirs=trees, side=st.sampled_from(["ours", "theirs"]))
@settings(max_examples=EXAMPLES)
def test_a_preferred_side_leaves_no_conflict(place: Ground, base: Model, ours: Model, theirs: Model, side: str) -> None:
    place.forget()
    place.fork(base, ours, theirs)
    conflicts = place.merged().conflicts
    done = place.merged(prefer=side, into="ours")
    assert (done.error, done.conflicts, done.label) == (None, (), "ours")
    assert bool(done.settled) == bool(conflicts)
    # whatever came of it has both sides in it now
    assert place.merged("ours", "theirs").fast_forward


@given(base=trees, sides=st.lists(trees, min_size=2, max_size=4), order=st.permutations(range(4)))
@settings(max_examples=EXAMPLES // 2)
def test_many_in_any_order(place: Ground, base: Model, sides: list[Model], order: list[int]) -> None:
    place.forget()
    place.commit("base", base)
    labels = []
    for number, model in enumerate(sides):
        labels.append(f"side{number}")
        place.branch(labels[-1], "base")
        place.commit(labels[-1], model)
    shuffled = [labels[number] for number in order if number < len(labels)]
    one, other = place.repo.merge_all(labels), place.repo.merge_all(shuffled)
    assert one.as_json() == other.as_json()
    assert set(one.merged) | set(one.left) == set(labels)
    if len(sides) == 2:
        assert (one.status == "merged") == (place.merged(*labels).error is None)


def test_attributes_choose(ground: Ground) -> None:
    """Those of both sides, of the side that changed them, and of nobody when both did."""
    name = ATTRIBUTES_FILE.encode()

    def tree(line: str, attributes: bytes) -> Model:
        return {b"d": D({b"list": F(edited(LINES, _3=line)), name: F(attributes)})}

    union = b"list union\n"
    for base, ours, theirs, clean in (
        (union, union, union, True),
        (b"", union, b"", True),
        (b"", b"", union, True),
        (union, union, b"", False),
        (b"", union, b"# other\n", False),
        (b"", b"list binary\n", b"list binary\n", False),
    ):
        ground.forget()
        ground.fork(tree("line 3", base), tree("ours", ours), tree("theirs", theirs))
        result = ground.merged()
        found = [shown.conflict.path for shown in result.conflicts]
        assert ((b"d", b"list") not in found) is clean, (base, ours, theirs)
    assert result.conflicts[0].conflict.kind == "binary"


def test_a_checkpoint_of_the_collector_is_no_change(ground: Ground) -> None:
    """Its entry is the head, but what was made from the one below it goes on from there."""
    ground.commit("ours", file(b"old"))
    ground.commit("ours", file(LINES))
    ground.branch("theirs", "ours")
    ground.commit("theirs", file(edited(LINES, _1="one")))
    ground.repo.set_retention(["keep-last", "0"], "ours")
    ground.repo.gc_run()
    assert ground.repo.labels.require("ours").generation == 3
    done = ground.merged(into="ours")
    assert (done.fast_forward, done.ca_id) == (True, done.theirs)
