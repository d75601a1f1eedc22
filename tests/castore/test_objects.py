"""ObjectStore: what is read is what was written, or an error that says what is damaged."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvs.castore import objects as objects_module
from jvs.castore import recipe as recipe_module
from jvs.castore.backend import Kind, Ref
from jvs.castore.codec import encode
from jvs.castore.digest import Digest, file_digest, page_digest, part_digest, recipe_digest
from jvs.castore.layout import Place, encode_layout
from jvs.castore.manifest import EMPTY_TREE, Directory, File, decode_page, encode_entries, small_files
from jvs.castore.objects import LruCache, ObjectStore, check_object, object_children
from jvs.castore.recipe import CHUNKS, LEAVES, Piece, decode_recipe, encode_recipe
from jvs.errors import IntegrityError, ManifestError, MissingObjectError, UnknownError, UsageError
from tests.castore.models import TINY, Model, TamperedStore, located, models, noise, place_of, push, read_tree

SMALL = noise(200, 1)
ONE_CHUNK = bytes(500)  # cut nowhere (checked below)
LARGE = noise(6_000, 3)
MODEL: Model = {
    b"a small": SMALL,
    b"b empty": b"",
    b"c one chunk": ONE_CHUNK,
    b"d large": LARGE,
    b"e link": "a small",
    b"f directory": {b"inner": noise(150, 4), b"empty": {}},
    b"g small": noise(250, 5),
}


class Case:
    """MODEL in a store of its own, and fresh eyes on it."""

    def __init__(self) -> None:
        self.store = TamperedStore(TINY)
        self.root = push(ObjectStore(self.store, TINY), MODEL).digest
        self.objects = ObjectStore(self.store, TINY)

    def file(self, *path: bytes) -> tuple[Digest, File]:
        return located(ObjectStore(self.store, TINY), self.root, *path)

    def place(self, *path: bytes) -> Place:
        return place_of(ObjectStore(self.store, TINY), self.root, *path)

    def read(self, *path: bytes) -> bytes:
        return b"".join(self.objects.read(*self.file(*path)))


@pytest.fixture
def case() -> Case:
    return Case()


def test_everything_reads_as_it_was_written(case: Case) -> None:
    assert read_tree(case.objects, case.root) == MODEL
    assert case.place(b"a small").kind == Kind.PART
    assert case.place(b"c one chunk") == Place(Kind.CHUNK, file_digest(ONE_CHUNK), 0)
    assert case.place(b"d large") == Place(Kind.RECIPE, file_digest(LARGE), 0)


@given(models)
def test_any_tree_reads_as_it_was_written(model: Model) -> None:
    store = TamperedStore(TINY)
    tree = push(ObjectStore(store, TINY), model)
    objects = ObjectStore(store, TINY)
    assert read_tree(objects, tree.digest) == model
    assert objects.tree(tree.digest) == tree


# ------------------------------------------------------------------------------------------------------------- ranges


def ranges_agree(objects: ObjectStore, page: Digest, file: File, data: bytes, start: int, length: int) -> None:
    assert b"".join(objects.read_range(page, file, start, length)) == data[start : start + length]


@given(st.data(), st.sampled_from([b"a small", b"b empty", b"c one chunk", b"d large"]))
def test_a_range_is_a_slice(data: st.DataObject, name: bytes) -> None:
    case = Case()
    content = MODEL[name]
    assert isinstance(content, bytes)
    for _ in range(20):
        start, length = data.draw(st.integers(0, len(content) + 5)), data.draw(st.integers(0, len(content) + 5))
        ranges_agree(case.objects, *case.file(name), content, start, length)


def test_a_range_reads_only_the_chunks_it_touches(case: Case) -> None:
    page, file = case.file(b"d large")
    pieces = list(case.objects.chunks(file.digest))
    assert len(pieces) > 8
    ends = [sum(piece.length for piece in pieces[: at + 1]) for at in range(len(pieces))]
    for start, length, wanted in (
        (ends[2], 1, pieces[3:4]),
        (ends[2] - 1, 1, pieces[2:3]),
        (ends[2] - 1, 2, pieces[2:4]),
        (ends[2], ends[5] - ends[2], pieces[3:6]),
        (len(LARGE) - 1, 100, pieces[-1:]),
        (len(LARGE), 100, []),
    ):
        case.store.reads.clear()
        ranges_agree(case.objects, page, file, LARGE, start, length)
        assert [ref.key for ref in case.store.reads if ref.kind == Kind.CHUNK] == [piece.digest for piece in wanted]


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, -1)])
@pytest.mark.parametrize("name", [b"a small", b"b empty", b"d large"])
def test_no_range_is_negative(case: Case, name: bytes, start: int, length: int) -> None:
    with pytest.raises(UsageError):
        list(case.objects.read_range(*case.file(name), start, length))


def test_a_range_checks_the_chunks_it_touches_and_no_others(case: Case) -> None:
    page, file = case.file(b"d large")
    pieces = list(case.objects.chunks(file.digest))
    case.store.damage(Kind.CHUNK, pieces[2].digest)
    start = pieces[0].length + pieces[1].length
    ranges_agree(case.objects, page, file, LARGE, 0, start)
    with pytest.raises(IntegrityError, match="damaged"):
        list(case.objects.read_range(page, file, start, 1))


# ------------------------------------------------------------------------------------------------- recipes with leaves


@pytest.fixture
def short_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 16 chunks make leaves, of 8 chunks on average."""
    monkeypatch.setattr(recipe_module, "MAX_CHUNKS", 16)
    monkeypatch.setattr(recipe_module, "_LEAF_MASK", 7)


LEAFY = noise(40_000, 9)


@pytest.mark.usefixtures("short_recipes")
def test_a_long_recipe_reads_in_leaves() -> None:
    store = TamperedStore(TINY)
    objects = ObjectStore(store, TINY)
    root = push(objects, {b"f": LEAFY}).digest
    page, file = located(objects, root, b"f")
    recipe = objects.recipe(file.digest)
    assert recipe.tag == LEAVES
    assert len(recipe.pieces) > 5
    assert recipe.size == len(LEAFY)
    assert b"".join(objects.read(page, file)) == LEAFY
    made = random.Random(1)
    for _ in range(100):
        ranges_agree(objects, page, file, LEAFY, made.randrange(len(LEAFY)), made.choice([1, 500, 9_000]))
    store.reads.clear()
    ranges_agree(objects, page, file, LEAFY, len(LEAFY) - 1, 1)
    assert [ref.kind for ref in store.reads] == [Kind.RECIPE, Kind.RECIPE, Kind.CHUNK]


@pytest.mark.usefixtures("short_recipes")
def test_a_damaged_leaf_is_noticed() -> None:
    store = TamperedStore(TINY)
    objects = ObjectStore(store, TINY)
    root = push(objects, {b"f": LEAFY, b"g": noise(9_000, 2)}).digest
    page, file = located(objects, root, b"f")
    leaves = objects.recipe(file.digest).pieces
    one, two = (store.plain(Kind.RECIPE, leaf.digest) for leaf in leaves[:2])
    shorter = encode_recipe(CHUNKS, decode_recipe(one).pieces[:-1])
    nested = encode_recipe(LEAVES, decode_recipe(one).pieces)
    other_order = encode_recipe(CHUNKS, decode_recipe(one).pieces[::-1])
    for instead in (two, shorter, nested, other_order, one[:-1], one + b"\0", b""):
        store.instead[Ref(Kind.RECIPE, leaves[0].digest)] = instead
        with pytest.raises(IntegrityError):
            list(objects.read(page, file))
        with pytest.raises(IntegrityError):
            list(objects.read_range(page, file, 0, 1))
    store.instead.clear()
    # leaves below leaves, each under its right digest
    with store.writer() as writer:
        writer.put(Kind.RECIPE, recipe_digest(nested), encode(nested, 1))
        writer.publish()
    below = [Piece(recipe_digest(nested), leaves[0].length), *leaves[1:]]
    store.instead[Ref(Kind.RECIPE, file.digest)] = encode_recipe(LEAVES, below)
    with pytest.raises(IntegrityError, match="damaged"):
        list(objects.read_range(page, file, 0, 1))
    # a root whose leaves are right and whose claims about them are not
    lengths = [leaf._replace(length=leaf.length + delta) for leaf, delta in zip(leaves, (1, -1), strict=False)]
    store.instead[Ref(Kind.RECIPE, file.digest)] = encode_recipe(LEAVES, [*lengths, *leaves[2:]])
    with pytest.raises(IntegrityError):
        list(objects.read_range(page, file, 0, 1))


def test_a_file_of_more_than_4096_chunks_round_trips() -> None:
    data = noise(1_600_000, 8)
    store = TamperedStore(TINY)
    root = push(ObjectStore(store, TINY), {b"huge": data}).digest
    objects = ObjectStore(store, TINY)
    page, file = located(objects, root, b"huge")
    assert objects.recipe(file.digest).tag == LEAVES
    assert sum(1 for _ in objects.chunks(file.digest)) > 4096
    assert b"".join(objects.read(page, file)) == data
    ranges_agree(objects, page, file, data, 1_500_000, 3_000)


# ------------------------------------------------------------------------------------------------------------- damage


def refuses(case: Case, *path: bytes, error: type[IntegrityError] = IntegrityError) -> IntegrityError:
    """Reading the file fails, whole and by range; and no wrong byte was given before."""
    content = MODEL[path[0]]
    assert isinstance(content, bytes)
    got = b""
    page, file = case.file(*path)

    def whole() -> None:
        nonlocal got
        for piece in case.objects.read(page, file):
            got += piece

    with pytest.raises(error) as caught:
        whole()
    assert content.startswith(got)
    assert len(got) < len(content)
    return caught.value


def test_a_damaged_part_is_noticed_by_the_files_it_hits(case: Case) -> None:
    place = case.place(b"a small")
    assert place.key == case.place(b"g small").key
    case.store.damage(Kind.PART, place.key, place.offset + 10)
    error = refuses(case, b"a small")
    assert error.code == "damaged"
    assert error.details["kind"] == "part"
    assert error.details["digest"] == place.key.hex()
    assert case.read(b"g small") == MODEL[b"g small"]
    with pytest.raises(IntegrityError):
        list(case.objects.read_range(*case.file(b"a small"), 0, 1))


def test_a_short_part_is_noticed(case: Case) -> None:
    place = case.place(b"g small")
    assert place.offset > 0
    case.store.instead[Ref(Kind.PART, place.key)] = case.store.plain(Kind.PART, place.key)[: place.offset + 10]
    refuses(case, b"g small")
    assert case.read(b"a small") == SMALL


def test_a_part_that_reads_right_again_is_believed_again(case: Case) -> None:
    """What was damaged once does not stay in the cache."""
    place = case.place(b"a small")
    case.store.damage(Kind.PART, place.key, place.offset)
    refuses(case, b"a small")
    case.store.instead.clear()
    assert case.read(b"a small") == SMALL


def test_a_missing_part_is_a_missing_object(case: Case) -> None:
    case.store.delete(Kind.PART, [case.place(b"a small").key])
    error = refuses(case, b"a small", error=MissingObjectError)
    assert error.code == "object-missing"
    assert error.details["kind"] == "part"


def test_a_damaged_chunk_is_noticed(case: Case) -> None:
    place = case.place(b"c one chunk")
    for instead in (ONE_CHUNK[:-1], ONE_CHUNK + b"\0", b"", ONE_CHUNK[:-1] + b"x"):
        case.store.instead[Ref(Kind.CHUNK, place.key)] = instead
        assert refuses(case, b"c one chunk").details == {"kind": "chunk", "digest": place.key.hex()}


@pytest.mark.parametrize("which", [0, 3, -1])
def test_a_damaged_chunk_of_many_is_noticed(case: Case, which: int) -> None:
    pieces = list(case.objects.chunks(file_digest(LARGE)))
    case.store.damage(Kind.CHUNK, pieces[which].digest, 7)
    error = refuses(case, b"d large")
    assert error.details == {"kind": "chunk", "digest": pieces[which].digest.hex()}
    case.store.delete(Kind.CHUNK, [pieces[which].digest])
    case.store.instead.clear()
    refuses(case, b"d large", error=MissingObjectError)


def test_a_recipe_of_another_file_is_noticed(case: Case) -> None:
    """Recipes that decode, of chunks that are all there and sound."""
    pieces = list(case.objects.chunks(file_digest(LARGE)))
    ref = Ref(Kind.RECIPE, file_digest(LARGE))
    for wrong in (
        [pieces[1], pieces[0], *pieces[2:]],
        [*pieces[:-2], pieces[-1], pieces[-2]],
        pieces[:-1],
        pieces[1:],
        [*pieces, pieces[0]],
        [*pieces[:-1], pieces[0]],
        [pieces[0]] * 500,
    ):
        case.store.instead[ref] = encode_recipe(CHUNKS, wrong)
        got = b""

        def whole(case: Case = case) -> None:
            nonlocal got
            for piece in case.objects.read(*case.file(b"d large")):
                got += piece

        with pytest.raises(IntegrityError) as caught:
            whole()
        assert caught.value.details["kind"] == "recipe"
        assert got == LARGE or len(got) < len(LARGE)


def test_a_recipe_that_is_too_short_gives_no_short_range(case: Case) -> None:
    pieces = list(case.objects.chunks(file_digest(LARGE)))
    for wrong in (pieces[:-1], [*pieces, pieces[0]]):
        case.store.instead[Ref(Kind.RECIPE, file_digest(LARGE))] = encode_recipe(CHUNKS, wrong)
        with pytest.raises(IntegrityError, match="size"):
            list(case.objects.read_range(*case.file(b"d large"), len(LARGE) - 1, 1))


def test_a_recipe_that_lies_about_a_chunks_length_is_noticed(case: Case) -> None:
    pieces = list(case.objects.chunks(file_digest(LARGE)))
    lie = [pieces[0]._replace(length=pieces[0].length + 1), pieces[1]._replace(length=pieces[1].length - 1)]
    case.store.instead[Ref(Kind.RECIPE, file_digest(LARGE))] = encode_recipe(CHUNKS, [*lie, *pieces[2:]])
    refuses(case, b"d large")


def test_a_damaged_recipe_is_noticed(case: Case) -> None:
    case.store.damage(Kind.RECIPE, file_digest(LARGE), 0)
    assert refuses(case, b"d large", error=ManifestError).code == "bad-manifest"
    case.store.instead.clear()
    case.store.damage(Kind.RECIPE, file_digest(LARGE), 10)
    refuses(case, b"d large", error=MissingObjectError)


def test_a_damaged_page_is_noticed(case: Case) -> None:
    other = push(ObjectStore(case.store, TINY), {b"x": b"y"}).digest
    good = case.store.plain(Kind.PAGE, case.root)
    for instead in (good[:-1], good + b"\0", b"", case.store.plain(Kind.PAGE, other), good.replace(b"small", b"Small")):
        case.store.instead[Ref(Kind.PAGE, case.root)] = instead
        with pytest.raises(IntegrityError) as caught:
            case.objects.page(case.root)
        assert caught.value.details == {"kind": "page", "digest": case.root.hex()}
    case.store.instead.clear()
    case.store.delete(Kind.PAGE, [case.root])
    with pytest.raises(MissingObjectError):
        case.objects.page(case.root)


def test_a_page_of_the_right_digest_must_be_canonical() -> None:
    """Somebody who made it on purpose has the digest right."""
    store = TamperedStore(TINY)
    bad = b"\x92\xcc\x00\x90"
    with store.writer() as writer:
        writer.put(Kind.PAGE, page_digest(bad), encode(bad, 1))
        writer.publish()
    with pytest.raises(ManifestError, match="canonical"):
        ObjectStore(store, TINY).page(page_digest(bad))


def test_a_damaged_layout_is_noticed(case: Case) -> None:
    page, _ = case.file(b"a small")
    inner, _ = case.file(b"f directory", b"inner")
    good = case.store.plain(Kind.LAYOUT, page)
    for instead in (
        *(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))),
        b"", good[:-1], good + b"\0", case.store.plain(Kind.LAYOUT, inner),
    ):  # fmt: skip
        case.store.instead[Ref(Kind.LAYOUT, page)] = instead
        for name in (b"a small", b"c one chunk", b"d large"):
            assert refuses(case, name, error=ManifestError).code == "bad-manifest"
    case.store.instead.clear()
    case.store.delete(Kind.LAYOUT, [page])
    assert refuses(case, b"a small", error=MissingObjectError).details["kind"] == "layout"


def test_a_layout_that_points_elsewhere_is_not_believed(case: Case) -> None:
    page, _ = case.file(b"a small")
    files = small_files(case.objects.page(page).entries)
    places = [case.objects.places(page)[file.digest] for file in files]
    moved = [place._replace(offset=place.offset + 1) if place.kind == Kind.PART else place for place in places]
    case.store.instead[Ref(Kind.LAYOUT, page)] = encode_layout(page, files, moved)
    case.objects = ObjectStore(case.store, TINY)
    refuses(case, b"a small")
    refuses(case, b"g small")
    assert case.read(b"d large") == LARGE


def test_a_layout_that_was_replaced_meanwhile_is_read_again(case: Case) -> None:
    """The collector, or a later push, may lay a page out anew and drop the parts it was in."""
    page, small = case.file(b"a small")
    assert case.read(b"a small") == SMALL
    files = small_files(case.objects.page(page).entries)
    old = case.objects.places(page)
    part = b"in front" + SMALL + noise(250, 5)
    key = part_digest(part)
    new = {files[0].digest: Place(Kind.PART, key, 8), files[-1].digest: Place(Kind.PART, key, 208)}
    layout = encode_layout(page, files, [new.get(file.digest, old[file.digest]) for file in files])
    with case.store.writer() as writer:
        writer.put(Kind.PART, key, encode(part, 1))
        writer.publish()
    case.store.instead[Ref(Kind.LAYOUT, page)] = layout
    case.store.delete(Kind.PART, [old[small.digest].key])
    case.objects._parts.discard(old[small.digest].key)
    assert case.read(b"a small") == SMALL
    assert case.read(b"g small") == MODEL[b"g small"]


def test_a_file_that_is_not_of_the_page_has_no_place(case: Case) -> None:
    page, _ = case.file(b"a small")
    _, inner = case.file(b"f directory", b"inner")
    with pytest.raises(IntegrityError, match="has no file"):
        list(case.objects.read(page, inner))


# -------------------------------------------------------------------------------------------------------------- trees


def test_paths_are_found(case: Case) -> None:
    objects, root = case.objects, case.root
    assert objects.find(root, (b"absent",)) is None
    assert objects.find(root, (b"a small", b"below a file")) is None
    assert objects.find(root, (b"e link", b"never followed")) is None
    assert objects.find(root, (b"f directory", b"absent")) is None
    found = objects.find(root, (b"f directory", b"inner"))
    assert found is not None
    assert found.entry.name == b"inner"
    assert objects.subtree(root, ()) == root
    assert objects.subtree(root, (b"f directory", b"empty")) == EMPTY_TREE.digest
    for path in ((b"absent",), (b"a small",), (b"e link",), (b"a small", b"x")):
        with pytest.raises(UnknownError) as caught:
            objects.subtree(root, path)
        assert caught.value.code == "unknown-path"
    with pytest.raises(UsageError):
        objects.find(root, ())


def test_a_walk_goes_depth_first_in_name_order(case: Case) -> None:
    model: Model = {b"b": {b"x": {b"y": {}}, b"z": {}}, b"a": {b"c": b"file"}, b"c": "link"}
    root = push(case.objects, model).digest
    assert [path for path, _, _ in case.objects.walk(root)] == [
        (), (b"a",), (b"b",), (b"b", b"x"), (b"b", b"x", b"y"), (b"b", b"z"),
    ]  # fmt: skip


def hostile(store: TamperedStore, entries: list[Directory]) -> Digest:
    data = encode_entries(0, entries)
    with store.writer() as writer:
        writer.put(Kind.PAGE, page_digest(data), encode(data, 1), [Ref(Kind.PAGE, e.digest) for e in entries])
        writer.publish()
    return page_digest(data)


@pytest.mark.parametrize("field", ["entries", "bytes"])
@pytest.mark.parametrize("delta", [-1, 1, 2**40])
def test_totals_that_are_not_true_are_refused(case: Case, field: str, delta: int) -> None:
    tree = case.objects.tree(case.root)
    right = Directory(b"d", 1, 0o755, *tree)
    assert case.objects.descend(right) == case.root
    assert case.objects.subtree(hostile(case.store, [right]), (b"d",)) == case.root
    wrong = right._replace(**{field: getattr(right, field) + delta})
    root = hostile(case.store, [wrong])
    for use in (
        lambda: case.objects.descend(wrong),
        lambda: case.objects.subtree(root, (b"d",)),
        lambda: case.objects.find(root, (b"d", b"a small")),
        lambda: list(case.objects.walk(root)),
    ):
        with pytest.raises(ManifestError, match="totals"):
            use()


def test_a_walk_does_not_go_deeper_than_any_reader(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_module, "MAX_DEPTH", 20)
    tree = EMPTY_TREE
    for depth in range(1, 22):
        root = hostile(case.store, [Directory(b"d", 1, 0o755, *tree)])
        tree = case.objects.tree(root)
        if depth <= 20:
            assert sum(1 for _ in case.objects.walk(root)) == depth + 1
    with pytest.raises(ManifestError, match="deep"):
        list(case.objects.walk(tree.digest))


def test_a_walk_reads_a_directory_when_it_comes_to_it(case: Case) -> None:
    """Not all the subdirectories of a directory before the first of them."""
    model: Model = {b"%03d" % number: {b"f": b"%d" % number} for number in range(100)}
    root = push(ObjectStore(case.store, TINY), model).digest
    case.store.reads.clear()
    walk = case.objects.walk(root)
    next(walk)
    next(walk)
    assert len(case.store.reads) == 2


# ------------------------------------------------------------------------------------- children, names, and the cache


@given(models)
@settings(max_examples=30)
def test_the_children_of_an_object_are_what_it_leads_to(model: Model) -> None:
    store = TamperedStore(TINY)
    root = push(ObjectStore(store, TINY), model).digest
    stack = [Ref(Kind.PAGE, root)]
    reached: set[Ref] = set()
    while stack:
        ref = stack.pop()
        if ref not in reached:
            reached.add(ref)
            plain = store.plain(*ref)
            check_object(*ref, plain)
            stack += object_children(*ref, plain)
    assert reached == {Ref(kind, info.key) for kind in Kind for info in store.list(kind)}


def test_an_objects_name_is_compared_with_its_bytes(case: Case) -> None:
    for kind in Kind:
        for info in list(case.store.list(kind)):
            plain = case.store.plain(kind, info.key)
            check_object(kind, info.key, plain)
            for at in range(0, len(plain), 7):
                wrong = plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :]
                if kind == Kind.RECIPE and at:
                    continue  # a recipe is named by its file's digest
                with pytest.raises(IntegrityError):
                    check_object(kind, info.key, wrong)


def test_every_kind_of_record_has_its_own_names() -> None:
    data = encode_recipe(CHUNKS, [Piece(file_digest(b"x"), 1)])
    assert len({file_digest(data), page_digest(data), part_digest(data), recipe_digest(data)}) == 4


def test_the_cache_is_bounded_by_weight() -> None:
    cache: LruCache[int, str] = LruCache(10)
    for key in range(5):
        cache.put(key, str(key), 3)
    assert [cache.get(key) for key in range(5)] == [None, None, "2", "3", "4"]
    assert cache.get(2) == "2"
    cache.put(5, "5", 3)  # 3 is now the one used longest ago
    assert [cache.get(key) for key in (2, 3, 4, 5)] == ["2", None, "4", "5"]
    cache.put(6, "large", 100)
    assert [cache.get(key) for key in (2, 4, 5, 6)] == [None, None, None, "large"]
    cache.discard(6)
    cache.discard(6)
    assert cache.get(6) is None
    cache.put(7, "7", 10)
    assert cache.get(7) == "7"


def test_pages_are_read_once(case: Case) -> None:
    read_tree(case.objects, case.root)
    case.store.reads.clear()
    read_tree(case.objects, case.root)
    assert not {Kind.PAGE, Kind.LAYOUT, Kind.PART} & {ref.kind for ref in case.store.reads}
    assert decode_page(case.store.plain(Kind.PAGE, case.root)) == case.objects.page(case.root)
