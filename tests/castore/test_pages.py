"""Directories as pages: the same entries give the same pages by every route, and no other pages are believed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvs.castore import manifest, pages
from jvs.castore.digest import Digest, file_digest, page_digest
from jvs.castore.manifest import (
    EMPTY_PAGE,
    EMPTY_TREE,
    INDEX,
    LEAF,
    MAX_RUN,
    MAX_SINGLE,
    SINGLE,
    Child,
    Directory,
    Entry,
    File,
    Page,
    Symlink,
    Tree,
    decode_page,
    encode_entries,
    encode_index,
    totals,
)
from jvs.castore.pages import (
    MIN_INDEX,
    NewPage,
    PageCutter,
    build_index,
    check_child,
    diff_entries,
    edit,
    find,
    is_boundary,
    iter_entries,
    iter_pages,
)
from jvs.errors import ManifestError


class Pages:
    """A store of pages that counts reads, and to which children come before their parents."""

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {}
        self.reads: list[Digest] = []
        self.emitted: list[Digest] = []

    def read(self, digest: Digest) -> Page:
        self.reads.append(digest)
        return decode_page(self.data[digest])

    def emit(self, page: NewPage) -> None:
        assert page_digest(page.data) == page.digest
        decoded = decode_page(page.data)
        if decoded.tag == INDEX:
            assert all(child in self.data for child in page.children)
            assert set(page.children) == {row.digest for row in decoded.children}
        else:
            assert decoded.entries == tuple(page.entries)
            assert set(page.children) == {e[3] for e in decoded.entries if e[1] == manifest.DIRECTORY}
        self.data[page.digest] = page.data
        self.emitted.append(page.digest)

    def put(self, data: bytes) -> Digest:
        """A page as somebody else may have made it."""
        digest = page_digest(data)
        self.data[digest] = data
        return digest

    def build(self, entries: Iterable[Entry]) -> Tree:
        cutter = PageCutter(self.emit)
        for entry in entries:
            cutter.add(entry)
        return cutter.finish()

    def below(self, root: Digest) -> set[Digest]:
        """Every page of one directory."""
        return {root}.union(*(self.below(row.digest) for row in decode_page(self.data[root]).children))

    def levels(self, root: Digest) -> int:
        return decode_page(self.data[root]).level


@contextmanager
def small_pages(bits: int = 1) -> Iterator[None]:
    """Constants so small that a few dozen names make several levels of pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "_BITS", bits)
        patch.setattr(pages, "MAX_SINGLE", 4)
        patch.setattr(pages, "MAX_RUN", 6)
        patch.setattr(pages, "MIN_INDEX", 2)
        patch.setattr(manifest, "MAX_SINGLE", 4)
        patch.setattr(manifest, "MAX_RUN", 6)
        yield


def entry_of(name: bytes, version: int) -> Entry:
    """One of several entries of that name, of every kind."""
    if version % 4 == 2:
        return Symlink(name, 2, b"to %d" % version)
    if version % 4 == 3:
        return Directory(name, 1, 0o755, file_digest(b"%d" % version), version, 10 * version)
    return File(name, 0, 0o644, 1 + version, file_digest(name + b"%d" % version))


def check_same(store: Pages, tree: Tree, model: dict[bytes, Entry]) -> None:
    """`tree` in `store` is, page for page, what its entries give when they are added one after another."""
    fresh = Pages()
    wanted = fresh.build(model[name] for name in sorted(model))
    assert tree == wanted == Tree(wanted.digest, *totals(list(model.values())))
    assert fresh.below(wanted.digest) <= set(store.data)
    assert len(fresh.emitted) == len(set(fresh.emitted))


def check_reads(store: Pages, root: Digest, model: dict[bytes, Entry], absent: Iterable[bytes]) -> None:
    """Reading gives the entries of `model`, one by one and all of them."""
    assert list(iter_entries(store.read, root)) == [model[name] for name in sorted(model)]
    for name in (*model, *absent):
        found = find(store.read, root, name)
        if name in model:
            assert found is not None
            page, entry = found
            assert entry == model[name]
            assert entry in decode_page(store.data[page]).entries
        else:
            assert found is None


def check_diff(store: Pages, a: Digest, b: Digest, before: dict[bytes, Entry], after: dict[bytes, Entry]) -> None:
    assert list(diff_entries(store.read, a, b)) == [
        (name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


POOL = [b"%02d" % number for number in range(100)]
models = st.dictionaries(st.sampled_from(POOL), st.integers(0, 7), max_size=100).map(
    lambda drawn: {name: entry_of(name, version) for name, version in drawn.items()}
)
full_models = st.lists(st.integers(0, 7), min_size=100, max_size=100).map(
    lambda versions: {name: entry_of(name, version) for name, version in zip(POOL, versions, strict=True)}
)
changes = st.dictionaries(st.sampled_from(POOL), st.one_of(st.none(), st.integers(0, 7)), max_size=30)
whole_ranges = st.tuples(st.integers(0, 100), st.integers(0, 100)).map(
    lambda span: dict.fromkeys(POOL[min(span) : max(span)])
)


@given(
    st.one_of(models, full_models),
    st.lists(st.one_of(changes, whole_ranges), max_size=6),
    st.integers(1, 2),
)
def test_history_does_not_show(base: dict[bytes, Entry], steps: list[dict[bytes, int | None]], bits: int) -> None:
    """Any sequence of edits from any base gives the pages of the final entries; all that reads agrees with a dict."""
    with small_pages(bits):
        store = Pages()
        model = dict(base)
        tree = store.build(model[name] for name in sorted(model))
        check_same(store, tree, model)
        check_reads(store, tree.digest, model, POOL)
        for step in steps:
            changed = {name: None if v is None else entry_of(name, v) for name, v in step.items()}
            before, old = dict(model), tree
            for name, entry in changed.items():
                if entry is None:
                    model.pop(name, None)
                else:
                    model[name] = entry
            tree = edit(store.read, old.digest, changed, store.emit)
            check_same(store, tree, model)
            check_reads(store, tree.digest, model, [b"", b"zz", *islice(changed, 5)])
            check_diff(store, old.digest, tree.digest, before, model)
            check_diff(store, tree.digest, old.digest, model, before)


@given(st.one_of(models, full_models), st.one_of(models, full_models))
def test_a_diff_is_that_of_the_entries(one: dict[bytes, Entry], two: dict[bytes, Entry]) -> None:
    with small_pages():
        store = Pages()
        a, b = (store.build(model[name] for name in sorted(model)).digest for model in (one, two))
        check_diff(store, a, b, one, two)
        assert list(diff_entries(store.read, None, b)) == [(name, None, two[name]) for name in sorted(two)]
        assert list(diff_entries(store.read, a, None)) == [(name, one[name], None) for name in sorted(one)]
        assert list(diff_entries(store.read, None, None)) == []


def test_the_small_constants_make_several_levels() -> None:
    """Else the tests above would show nothing about them."""
    with small_pages():
        store = Pages()
        tree = store.build(entry_of(name, 1) for name in POOL)
        assert store.levels(tree.digest) >= 3


# ------------------------------------------------------------------------------------- with the constants of the format


@cache
def plain_names(count: int, prefix: bytes = b"n") -> tuple[bytes, ...]:
    """Names in order none of which is a boundary."""
    found = (name for number in range(1 << 20) if not is_boundary(name := prefix + b"%07d" % number))
    return tuple(islice(found, count))


@cache
def boundary_names(count: int, prefix: bytes = b"n", level: int = 0) -> tuple[bytes, ...]:
    """Names in order all of which are boundaries of leaves, and of index pages of `level` (if not 0) too."""
    found = (
        name
        for number in range(1 << 24)
        if is_boundary(name := prefix + b"%07d" % number) and (not level or is_boundary(name, level))
    )
    return tuple(islice(found, count))


@pytest.fixture
def boundaries_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name is a boundary on every level (300 real ones would take five million names to find)."""
    monkeypatch.setattr(pages, "is_boundary", lambda name, level=0: True)


def links(names: Iterable[bytes], target: bytes = b"t") -> list[Entry]:
    return [Symlink(name, 2, target) for name in sorted(names)]


def leaf_sizes(store: Pages, root: Digest) -> list[int]:
    return [len(page.entries) for _, page in iter_pages(store.read, root)]


def test_a_boundary_is_one_name_in_128_on_every_level() -> None:
    names = [b"name %d" % number for number in range(40_000)]
    for level in range(4):
        assert 220 < sum(is_boundary(name, level) for name in names) < 420


def test_boundaries_of_two_levels_are_independent() -> None:
    names = boundary_names(300)
    assert 0 < sum(is_boundary(name, 1) for name in names) < 15


def test_the_empty_directory() -> None:
    store = Pages()
    assert store.build([]) == EMPTY_TREE
    assert store.data == {EMPTY_TREE.digest: EMPTY_PAGE}
    check_reads(store, EMPTY_TREE.digest, {}, [b"a"])
    removed = edit(store.read, store.build(links([b"a"])).digest, {b"a": None}, store.emit)
    assert removed == EMPTY_TREE


@pytest.mark.parametrize("count", [1, MAX_SINGLE - 1, MAX_SINGLE])
def test_up_to_256_entries_are_one_page(count: int) -> None:
    for names in (plain_names(count), boundary_names(count)):
        store = Pages()
        tree = store.build(links(names))
        assert len(store.data) == 1
        assert decode_page(store.data[tree.digest]).tag == SINGLE


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (257, [257]),
        (4095, [4095]),
        (4096, [4096]),
        (4097, [4096, 1]),
        (8193, [4096, 4096, 1]),
    ],
)
def test_a_run_without_a_boundary_is_cut_every_4096(count: int, sizes: list[int]) -> None:
    store = Pages()
    tree = store.build(links(plain_names(count)))
    assert leaf_sizes(store, tree.digest) == sizes
    assert store.levels(tree.digest) == 1
    assert len(store.data) == len(sizes) + 1


def test_a_leaf_of_one_entry_after_every_boundary() -> None:
    store = Pages()
    tree = store.build(links(boundary_names(257)))
    assert leaf_sizes(store, tree.digest) == [1] * 257
    # 257 rows are more than one index page holds, so there are two levels of them (or one, if no row is a boundary)
    assert store.levels(tree.digest) in (1, 2)


@pytest.mark.usefixtures("boundaries_everywhere")
def test_index_pages_have_at_least_32_rows() -> None:
    """Names that are boundaries on every level would else make a level as long as the one below it."""
    names = plain_names(300)
    store = Pages()
    tree = store.build(links(names))
    root = decode_page(store.data[tree.digest])
    assert root.level == 2
    sizes = [len(decode_page(store.data[row.digest]).children) for row in root.children]
    assert sizes == [MIN_INDEX] * 9 + [12]
    assert list(iter_entries(store.read, tree.digest)) == links(names)
    for left, level in ((256, 0), (257, 2)):
        assert store.levels(edit(store.read, tree.digest, dict.fromkeys(names[left:]), store.emit).digest) == level


def test_an_index_without_boundaries_is_cut_every_4096_rows() -> None:
    rows = [Child(name, file_digest(name), 1, 1, 0) for name in plain_names(5_000) if not is_boundary(name, 1)]
    made: list[NewPage] = []
    build_index(rows[:4_500], made.append)
    assert [len(decode_page(page.data).children) for page in made] == [4096, 404, 2]


@pytest.mark.usefixtures("boundaries_everywhere")
def test_more_levels_than_the_format_allows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Pages()
    names = plain_names(300)
    store.build(links(names))
    monkeypatch.setattr(pages, "MAX_LEVEL", 1)
    with pytest.raises(ManifestError, match="levels"):
        store.build(links(names))


CASES: list[tuple[str, Sequence[bytes], dict[bytes, Entry | None]]] = [
    ("a boundary inside a long run", plain_names(5_000), {boundary_names(1)[0]: entry_of(boundary_names(1)[0], 1)}),
    ("the boundary of a long run removed", [*plain_names(5_000), *boundary_names(1)], {boundary_names(1)[0]: None}),
    ("one more at the front moves every forced cut", plain_names(9_000), {b"a": entry_of(b"a", 1)}),
    ("the first of a long run removed", plain_names(9_000), {plain_names(1)[0]: None}),
    ("something behind the last name", plain_names(4_096), {b"z": entry_of(b"z", 1)}),
    ("something behind a last boundary", boundary_names(300), {b"z": entry_of(b"z", 1)}),
    ("the last leaf gone", [*plain_names(4_096), b"z"], {b"z": None}),
    ("grown past one page", plain_names(256), {b"z": entry_of(b"z", 1)}),
    ("shrunk to one page", plain_names(257), {plain_names(1)[0]: None}),
    ("shrunk to one page of many", boundary_names(300), dict.fromkeys(boundary_names(44))),
    ("shrunk to nothing", boundary_names(300), dict.fromkeys(boundary_names(300))),
    ("everything replaced", boundary_names(300), {name: entry_of(name, 5) for name in boundary_names(300)}),
    ("nothing changed", plain_names(5_000), {plain_names(1)[0]: Symlink(plain_names(1)[0], 2, b"t")}),
    ("an absent name removed", plain_names(5_000), {b"absent": None}),
    ("no changes at all", plain_names(5_000), {}),
]


@pytest.mark.parametrize(("names", "changed"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_edit_gives_the_pages_of_its_entries(names: Sequence[bytes], changed: dict[bytes, Entry | None]) -> None:
    store = Pages()
    before: dict[bytes, Entry] = {entry.name: entry for entry in links(names)}
    base = store.build(before[name] for name in sorted(before))
    after = {name: entry for name, entry in (before | changed).items() if entry is not None}
    tree = edit(store.read, base.digest, changed, store.emit)
    check_same(store, tree, after)
    check_diff(store, base.digest, tree.digest, before, after)
    back = {name: before.get(name) for name in changed}
    assert edit(store.read, tree.digest, back, store.emit) == base


@settings(max_examples=15)
@given(st.data())
def test_history_does_not_show_in_large_directories(data: st.DataObject) -> None:
    made = data.draw(st.randoms(use_true_random=False))
    pool = sorted({*plain_names(4_300), *boundary_names(300), *boundary_names(300, b"m"), *boundary_names(5, level=1)})
    model: dict[bytes, Entry] = {name: entry_of(name, 1) for name in made.sample(pool, made.randint(0, len(pool)))}
    store = Pages()
    tree = store.build(model[name] for name in sorted(model))
    for _ in range(3):
        at, length = made.randrange(len(pool)), made.choice([1, 3, 40, 4_000])
        names = made.choice([pool[at : at + length], made.sample(pool, min(length, 200)), boundary_names(300)])
        removes = made.random() < 0.5
        changed = {name: None if removes else entry_of(name, made.randrange(9)) for name in names}
        model = {name: entry for name, entry in (model | changed).items() if entry is not None}
        tree = edit(store.read, tree.digest, changed, store.emit)
        check_same(store, tree, model)


def test_an_edit_does_not_hold_what_it_makes() -> None:
    """Leaves leave as soon as there are too many entries for one page."""
    store = Pages()
    names = boundary_names(400)
    base = store.build(links(names))
    reads: list[int] = []

    def emit(page: NewPage) -> None:
        store.emit(page)
        reads.append(len(store.reads))

    store.reads.clear()
    edit(store.read, base.digest, {name: entry_of(name, 5) for name in names}, emit)
    assert reads[300] < reads[399] - 90


def test_entries_out_of_order_are_refused() -> None:
    for names in ([b"b", b"a"], [b"a", b"a"], [*plain_names(300), b"a"], [*boundary_names(300), b"a"]):
        cutter = PageCutter(lambda page: None)

        def build(cutter: PageCutter = cutter, names: Sequence[bytes] = names) -> Tree:
            for name in names:
                cutter.add(Symlink(name, 2, b"t"))
            return cutter.finish()

        with pytest.raises(ValueError, match="order"):
            build()


# ------------------------------------------------------------------------------------------------------ what it costs


@cache
def large(count: int) -> tuple[Pages, Tree, tuple[bytes, ...]]:
    names = tuple(b"file-%07d.txt" % number for number in range(count))
    store = Pages()
    tree = store.build(File(name, 0, 0o644, 100, file_digest(name)) for name in names)
    return store, tree, names


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.torture)])
def test_few_edits_among_many_entries_touch_few_pages(count: int) -> None:
    store, base, names = large(count)
    levels = store.levels(base.digest)
    leaves = sum(1 for _ in iter_pages(store.read, base.digest))
    assert 0.8 < leaves * 128 / count < 1.2
    changed: dict[bytes, Entry | None] = {name: entry_of(name, 5) for name in random.Random(4).sample(names, 10)}
    before = store.below(base.digest)
    store.reads.clear()
    tree = edit(store.read, base.digest, changed, store.emit)
    index = len(before) - leaves
    assert index <= leaves / 32 + levels
    assert len(set(store.reads)) <= 10 + index
    made = store.below(tree.digest) - before
    assert len(made) <= 10 + 10 * levels
    assert sum(len(store.data[digest]) for digest in made) < 1 << 20
    store.reads.clear()
    assert [name for name, _, _ in diff_entries(store.read, base.digest, tree.digest)] == sorted(changed)
    assert len(store.reads) <= 2 * len(made) + 2
    assert set(store.reads) <= (before ^ store.below(tree.digest)) | {base.digest, tree.digest}
    store.reads.clear()
    assert find(store.read, tree.digest, names[77]) is not None
    assert len(store.reads) == 1 + levels


def test_equal_directories_cost_no_read() -> None:
    store, base, _ = large(50_000)
    store.reads.clear()
    assert not list(diff_entries(store.read, base.digest, base.digest))
    assert not store.reads


def test_a_level_is_much_shorter_than_the_one_below() -> None:
    store, base, _ = large(50_000)
    assert store.levels(base.digest) == 2
    assert len(decode_page(store.data[base.digest]).children) < 10


# ------------------------------------------------------------------------------------------------------ what is refused


def child_of(page: Page, data: bytes) -> Child:
    return Child(page.last, page_digest(data), *page.totals)


def leaf(entries: Sequence[Entry]) -> tuple[Child, Page]:
    data = encode_entries(LEAF, entries)
    page = decode_page(data)
    return child_of(page, data), page


def index(level: int, rows: Sequence[Child]) -> tuple[Child, Page]:
    data = encode_index(level, rows)
    page = decode_page(data)
    return child_of(page, data), page


class TestCheckChild:
    """A page under an index row is believed only if it is the one that must be there."""

    NAMES = sorted([*plain_names(5), boundary_names(1, b"z")[0]])

    def good(self) -> tuple[Child, Page]:
        return leaf([entry_of(name, 1) for name in self.NAMES])

    def test_the_right_page_is_accepted(self) -> None:
        row, page = self.good()
        check_child(b"", row, page, 1, is_last=False)
        check_child(b"", row, page, 1, is_last=True)
        check_child(b"m", row, page, 1, is_last=False)

    def test_names_must_lie_behind_the_previous_row(self) -> None:
        row, page = self.good()
        for previous in (self.NAMES[0], self.NAMES[-1], b"zzz"):
            with pytest.raises(ManifestError, match="match"):
                check_child(previous, row, page, 1, is_last=True)

    @pytest.mark.parametrize("field", ["own", "entries", "bytes"])
    @pytest.mark.parametrize("delta", [-1, 1])
    def test_totals_must_be_right(self, field: str, delta: int) -> None:
        row, page = self.good()
        with pytest.raises(ManifestError, match="match"):
            check_child(b"", row._replace(**{field: getattr(row, field) + delta}), page, 1, is_last=True)

    def test_the_last_name_must_be_the_one_announced(self) -> None:
        row, page = self.good()
        for last in (self.NAMES[-2], self.NAMES[-1] + b"x"):
            with pytest.raises(ManifestError, match="match"):
                check_child(b"", row._replace(last=last), page, 1, is_last=True)

    def test_it_must_be_of_the_level_below(self) -> None:
        row, page = self.good()
        below, above = index(1, [row])
        single = Page(SINGLE, 0, page.entries, ())
        empty = Page(SINGLE, 0, (), ())
        for wrong, claim, level in (
            (page, row, 2), (single, row, 1), (empty, row, 1), (empty, row, 2),
            (above, below, 1), (above, below, 3), (above, below, 8), (single, row, 2),
        ):  # fmt: skip
            with pytest.raises(ManifestError, match="match"):
                check_child(b"", claim, wrong, level, is_last=True)
        check_child(b"", below, above, 2, is_last=True)

    def test_rows_of_an_index_page_lie_behind_the_previous_row_too(self) -> None:
        row, page = index(1, [self.good()[0]])
        check_child(b"m", row, page, 2, is_last=True)
        with pytest.raises(ManifestError, match="match"):
            check_child(row.last, row, page, 2, is_last=True)

    def test_a_leaf_ends_at_a_boundary_unless_it_is_the_last(self) -> None:
        row, page = leaf(links(plain_names(5)))
        check_child(b"", row, page, 1, is_last=True)
        with pytest.raises(ManifestError, match="cut"):
            check_child(b"", row, page, 1, is_last=False)
        row, page = leaf(links(plain_names(MAX_RUN)))
        check_child(b"", row, page, 1, is_last=False)

    def test_a_leaf_goes_on_to_the_boundary(self) -> None:
        for names in ([boundary_names(1)[0], b"z"], list(boundary_names(2))):
            row, page = leaf(links(names))
            with pytest.raises(ManifestError, match="cut"):
                check_child(b"", row, page, 1, is_last=True)

    def test_an_index_page_is_cut_at_the_first_boundary_from_row_32_on(self) -> None:
        plain = [name for name in plain_names(200) if not is_boundary(name, 1)]
        ends = boundary_names(3, b"z", level=1)

        def check(names: Sequence[bytes], *, is_last: bool = False) -> None:
            row, page = index(1, [Child(name, file_digest(name), 1, 1, 0) for name in names])
            check_child(b"", row, page, 2, is_last=is_last)

        check([*plain[:31], ends[0]])
        check([*plain[:100], ends[0]])
        check([*plain[:29], *ends])  # the first two are too early
        check(plain[:40], is_last=True)
        check([*plain[:20], ends[0]], is_last=True)
        for wrong in ([*plain[:30], ends[0]], [*plain[:31], *ends[:2]], plain[:40], [*plain[:30], *ends]):
            with pytest.raises(ManifestError, match="cut"):
                check(wrong)


def cut_after(names: Sequence[bytes], level: int, moved: Iterable[int]) -> list[tuple[int, int]]:
    """Spans of `names` as the rule cuts them, but for the positions `moved`: cut there where it is not, and not
    where it is (no span longer than the format allows)."""
    spans: list[tuple[int, int]] = []
    start = 0
    for at, name in enumerate(names, 1):
        right = at - start >= (2 if level else 1) and is_boundary(name, level) and (not level or len(names) > 4)
        if at == len(names) or at - start == 6 or right != (at in moved):
            spans.append((start, at))
            start = at
    return spans


@st.composite
def forests(draw: st.DrawFn) -> tuple[Pages, Digest, list[Entry]]:
    """Some tree of pages over some entries, its totals all right: the very one, or one that is cut somewhere else, or
    has levels it does not need."""
    names = sorted(draw(st.sets(st.sampled_from(POOL), max_size=40)))
    entries = [entry_of(name, draw(st.integers(0, 7))) for name in names]
    moves = draw(st.dictionaries(st.integers(0, 3), st.sets(st.integers(1, 40), min_size=1, max_size=2), max_size=1))
    extra_level = draw(st.integers(0, 9)) == 9
    store = Pages()
    with small_pages():
        if len(entries) <= 4 and not moves:
            return store, store.put(encode_entries(SINGLE, entries)), entries
        rows = []
        for start, stop in cut_after(names, 0, moves.get(0, ())):
            data = encode_entries(LEAF, entries[start:stop])
            store.put(data)
            rows.append(child_of(decode_page(data), data))
        level = 0
        while rows and (len(rows) > 1 or level == 0 or extra_level):
            extra_level &= len(rows) > 1
            level += 1
            above = []
            for start, stop in cut_after([row.last for row in rows], level, moves.get(level, ())):
                data = encode_index(level, rows[start:stop])
                store.put(data)
                above.append(child_of(decode_page(data), data))
            rows = above
            if level == 8:
                break
        return store, rows[0].digest if rows else store.put(EMPTY_PAGE), entries


@given(forests())
def test_only_the_one_tree_of_its_entries_is_believed(forest: tuple[Pages, Digest, list[Entry]]) -> None:
    store, root, entries = forest
    with small_pages():
        right = Pages().build(entries)
        try:
            read = list(iter_entries(store.read, root))
        except ManifestError:
            assert root != right.digest
            return
        assert read == entries
        assert root == right.digest


def test_a_root_is_no_leaf_and_no_index_of_few_entries() -> None:
    store = Pages()
    row, _ = leaf(links(boundary_names(1)))
    other, _ = leaf(links(boundary_names(1, b"z")))
    for wrong in (encode_entries(LEAF, links(boundary_names(1))), encode_index(1, [row, other])):
        root = store.put(wrong)
        for use in (
            lambda root=root: list(iter_entries(store.read, root)),
            lambda root=root: find(store.read, root, b"a"),
            lambda root=root: edit(store.read, root, {}, store.emit),
            lambda root=root: list(diff_entries(store.read, EMPTY_TREE.digest, root)),
            lambda root=root: list(diff_entries(store.read, root, None)),
            lambda root=root: pages.descend(store.read, Directory(b"d", 1, 0o755, root, 2, 0)),
        ):
            store.put(EMPTY_PAGE)
            with pytest.raises(ManifestError, match="not the root"):
                use()


def spoilt_directory(count: int = 400) -> tuple[Pages, Digest, Digest, bytes]:
    """A directory of `count` leaves one of which was replaced by another page of the same totals and last name, but
    with a name that belongs elsewhere: (store, its root, the good root, a name in the spoilt leaf)."""
    store = Pages()
    good = store.build(links(boundary_names(count)))
    root = decode_page(store.data[good.digest])

    def spoil(page: Page, at: int) -> tuple[bytes, bytes]:
        row = page.children[at]
        child = decode_page(store.data[row.digest])
        if child.tag == INDEX:
            data, name = spoil(child, 3)
        else:
            # two names where there was one: the row's count is made to fit, the name lies before the previous row
            entries = [Symlink(b"a", 2, b"t"), *child.entries]
            data, name = encode_entries(LEAF, entries), entries[-1].name
        made = decode_page(data)
        rows = (*page.children[:at], child_of(made, data), *page.children[at + 1 :])
        store.put(data)
        return encode_index(page.level, rows), name

    data, name = spoil(root, 1)
    return store, store.put(data), good.digest, name


def test_every_reader_checks_the_pages_it_reads() -> None:
    store, root, good, name = spoilt_directory()
    for use in (
        lambda: list(iter_entries(store.read, root)),
        lambda: find(store.read, root, name),
        lambda: edit(store.read, root, {name: None}, store.emit),
        lambda: edit(store.read, root, dict.fromkeys(boundary_names(200)), store.emit),
        lambda: list(diff_entries(store.read, good, root)),
        lambda: list(diff_entries(store.read, root, None)),
    ):
        with pytest.raises(ManifestError, match="match"):
            use()


def test_an_edit_that_shrinks_to_one_page_checks_what_it_reads_again() -> None:
    store, root, _, name = spoilt_directory()
    assert name not in boundary_names(2)
    keep = set(boundary_names(400)[-100:]) | {name}
    with pytest.raises(ManifestError, match="match"):
        edit(store.read, root, {n: None for n in boundary_names(400) if n not in keep}, store.emit)


@pytest.mark.usefixtures("boundaries_everywhere")
def test_more_levels_than_needed_are_refused() -> None:
    """Else the same names would have two ids: several index pages where one holds all the rows, or one above one."""
    store = Pages()
    rows = []
    for number in range(256):
        data = encode_entries(
            LEAF, [Symlink(b"%03d%d" % (number, twice), 2, b"t") for twice in range(1 + number // 255)]
        )
        rows.append(child_of(decode_page(data), data))
        store.put(data)
    one, _ = index(1, rows)
    store.put(encode_index(1, rows))
    eight = []
    for start in range(0, 256, 32):
        store.put(encode_index(1, rows[start : start + 32]))
        eight.append(index(1, rows[start : start + 32])[0])
    for above in ([one], eight):
        root = store.put(encode_index(2, above))
        with pytest.raises(ManifestError, match="more levels"):
            list(iter_entries(store.read, root))
        with pytest.raises(ManifestError, match="more levels"):
            edit(store.read, root, {}, store.emit)


def test_a_directory_entry_must_have_the_totals_it_claims() -> None:
    store = Pages()
    tree = store.build([entry_of(b"a", 3), entry_of(b"b", 1)])
    right = Directory(b"d", 1, 0o755, *tree)
    assert pages.descend(store.read, right) == tree.digest
    for wrong in (right._replace(entries=tree.entries + 1), right._replace(bytes=tree.bytes - 1)):
        with pytest.raises(ManifestError, match="totals"):
            pages.descend(store.read, wrong)


def test_one_index_page_has_no_other_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "is_boundary", lambda name, level=0: level == 0)
    store = Pages()
    tree = store.build(links(plain_names(300)))
    assert store.levels(tree.digest) == 1
    page = decode_page(store.data[tree.digest])
    root = store.put(encode_index(2, [child_of(page, store.data[tree.digest])]))
    with pytest.raises(ManifestError, match="more levels"):
        list(iter_entries(store.read, root))


def test_a_root_is_cut_where_the_rule_puts_it() -> None:
    """257 rows and more in one index page, a boundary of its level among them: two pages by the rule."""
    plain = [name for name in plain_names(400) if not is_boundary(name, 1)]
    end = boundary_names(1, b"nn", level=1)[0]
    store = Pages()

    def root(names: Iterable[bytes]) -> Digest:
        return store.put(encode_index(1, [Child(name, file_digest(name), 2, 2, 0) for name in sorted(names)]))

    assert len(pages.read_root(store.read, root(plain[:300])).children) == 300
    assert len(pages.read_root(store.read, root([*plain[:254], end, b"z"])).children) == 256
    assert len(pages.read_root(store.read, root([*plain[:256], end])).children) == 257
    with pytest.raises(ManifestError, match="rule"):
        pages.read_root(store.read, root([*plain[:256], end, b"z"]))


def test_only_the_last_page_of_all_may_end_without_a_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the last one of an index page that is itself cut where it should be; leaves, and index pages likewise."""
    with small_pages():
        monkeypatch.setattr(pages, "is_boundary", lambda name, level=0: b"0xy"[level] in name)
        store = Pages()

        def put(data: bytes) -> Child:
            store.put(data)
            return child_of(decode_page(data), data)

        def leaves(*names: bytes) -> Child:
            return put(encode_index(1, [put(encode_entries(LEAF, links([name]))) for name in names]))

        def two_levels(end: bytes) -> Digest:
            return store.put(encode_index(2, [leaves(b"a0", b"b0", end), leaves(b"d0", b"e0", b"f")]))

        def three_levels(end: bytes) -> Digest:
            left = [leaves(b"a0", b"a0x"), leaves(b"b0", b"b0x"), leaves(b"c0", end)]
            right = [leaves(b"d0", b"d0x"), leaves(b"e0", b"f")]
            return store.put(encode_index(3, [put(encode_index(2, left)), put(encode_index(2, right))]))

        for good, bad, name in (
            (two_levels(b"c0x"), two_levels(b"cx"), b"cx"),
            (three_levels(b"c0xy"), three_levels(b"c0y"), b"c0y"),
        ):
            assert list(iter_entries(store.read, good))[-1].name == b"f"
            assert find(store.read, good, b"f") is not None
            assert list(diff_entries(store.read, good, None))[-1][0] == b"f"
            for use in (
                lambda bad=bad: list(iter_entries(store.read, bad)),
                lambda bad=bad, name=name: find(store.read, bad, name),
                lambda good=good, bad=bad: list(diff_entries(store.read, good, bad)),
            ):
                with pytest.raises(ManifestError, match="cut"):
                    use()
