"""TreeWriter: what is stored for what was changed, and what happens when something fails."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvs.castore import treewriter
from jvs.castore.backend import Kind, Ref
from jvs.castore.digest import Digest, file_digest
from jvs.castore.manifest import Directory, Entry, File, Tree, small_files
from jvs.castore.memory import MemoryStore
from jvs.castore.objects import ObjectStore
from jvs.castore.pages import PageCutter, new_page
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import DEDUP_PARTS, MAX_PARTS, PART_SIZE, Stats, TreeWriter
from jvs.errors import IntegrityError, MissingChildrenError
from tests.castore.models import (
    TINY,
    HookedStore,
    Model,
    assert_closed,
    count,
    located,
    models,
    noise,
    place_of,
    push,
    put_file,
    put_tree,
    read_tree,
    reader,
    stored_bytes,
)

DEFAULT = StoreSettings()


def small(name: bytes, data: bytes) -> File:
    return File(name, 0, 0o644, len(data), file_digest(data))


def numbered(count: int, size: int, seed: int = 0) -> Model:
    """`count` incompressible files of `size` bytes, no two alike."""
    return {b"%06d" % number: noise(size, (seed << 20) + number) for number in range(count)}


def new_store(settings: StoreSettings = DEFAULT) -> tuple[MemoryStore, ObjectStore]:
    store = MemoryStore(settings)
    return store, ObjectStore(store, settings)


def parts_of(objects: ObjectStore, page: Digest) -> set[Digest]:
    return {place.key for place in objects.places(page).values() if place.kind == Kind.PART}


def edited(
    objects: ObjectStore, base: Digest, changes: dict[bytes, bytes | None], sources: tuple[Digest, ...] = ()
) -> tuple[Tree, Stats]:
    """One push of an edit of the root directory: small files with new content, or None to remove one."""
    with TreeWriter(objects) as writer:
        entries: dict[bytes, Entry | None] = {
            name: None if data is None else small(name, data) for name, data in changes.items()
        }
        contents = {file_digest(data): data for data in changes.values() if data is not None}
        tree = writer.edit(base, entries, contents, sources)
        writer.publish()
        return tree, writer.stats


# ---------------------------------------------------------------------------------------- what is stored, and once


@given(st.lists(models, min_size=1, max_size=3))
@settings(max_examples=40)
def test_trees_read_back_and_the_index_is_closed(pushed: list[Model]) -> None:
    store, objects = new_store(TINY)
    trees = [push(objects, model) for model in pushed]
    assert_closed(store)
    fresh = ObjectStore(store, TINY)
    assert [read_tree(fresh, tree.digest) for tree in trees] == pushed


@given(models)
@settings(max_examples=40)
def test_settings_do_not_show_in_ids(model: Model) -> None:
    ids = set()
    for settings_ in (TINY, DEFAULT, StoreSettings(64, 256, 1024, 0, 9), StoreSettings(256, 1024, 4096, 1 << 20, 3)):
        store, objects = new_store(settings_)
        tree = push(objects, model)
        assert read_tree(ObjectStore(store, settings_), tree.digest) == model
        ids.add(tree)
    assert len(ids) == 1


def test_the_same_tree_again_stores_nothing() -> None:
    model: Model = {b"d": numbered(300, 100), b"large": noise(50_000)}
    store, objects = new_store(TINY)
    first = push(objects, model)
    before = stored_bytes(store)
    with TreeWriter(objects) as writer:
        assert put_tree(writer, model) == first
        writer.publish()
        assert writer.stats == Stats(0, 0, 0)
    assert stored_bytes(store) == before


def test_copies_in_other_directories_are_stored_once() -> None:
    model: Model = {b"a": numbered(200, 2_000)}
    for copy in range(5):
        model[b"copy %d" % copy] = numbered(200, 2_000) | {b"extra": b"of %d" % copy}
    store, objects = new_store()
    tree = push(objects, model)
    assert read_tree(ObjectStore(store, DEFAULT), tree.digest) == model
    assert 400_000 < stored_bytes(store, Kind.PART) < 410_000


def test_a_copy_of_much_is_stored_once_too() -> None:
    """A directory of more parts than a new page borrows a few bytes from."""
    one = numbered(100, 60_000)
    store, objects = new_store()
    tree = push(objects, {b"one": one, b"two": one | {b"extra": b"!"}})
    assert len(parts_of(objects, objects.subtree(tree.digest, (b"one",)))) > DEDUP_PARTS
    assert stored_bytes(store, Kind.PART) < 6_010_000


def test_a_few_bytes_are_not_borrowed_from_many_parts() -> None:
    """Reading such a directory would decompress a part for each file."""
    model: Model = {b"d%02d" % number: numbered(100, 1_000, number + 1) for number in range(20)}
    model[b"sample"] = {b"%02d" % number: noise(1_000, ((number + 1) << 20) + 3) for number in range(20)}
    _, objects = new_store()
    tree = push(objects, model)
    assert len(parts_of(objects, objects.subtree(tree.digest, (b"sample",)))) <= DEDUP_PARTS + 1
    assert read_tree(objects, tree.digest) == model


def test_a_copy_of_a_file_the_store_already_had_is_stored_once() -> None:
    """The page is there, nothing of it is written; what it holds is remembered all the same."""
    store, objects = new_store()
    push(objects, {b"a": numbered(100, 2_000)})
    before = stored_bytes(store, Kind.PART)
    push(objects, {b"a": numbered(100, 2_000), b"b": numbered(100, 2_000) | {b"extra": b"!"}})
    assert stored_bytes(store, Kind.PART) < before + 1_000


def test_other_modes_store_no_content_again() -> None:
    """The page is another one, and every file is read and given again."""
    store, objects = new_store()
    model = {name: data for name, data in numbered(200, 2_000).items() if isinstance(data, bytes)}
    push(objects, dict(model))
    with TreeWriter(ObjectStore(store, DEFAULT)) as writer:
        directory = writer.directory()
        for name, data in model.items():
            directory.add(small(name, data)._replace(mode=0o600), data)
        directory.finish()
        writer.publish()
        assert writer.stats.new_bytes < 20_000


def test_the_table_of_copies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treewriter, "DEDUP_FILES", 10)
    model: Model = {b"%d" % copy: numbered(20, 500, copy % 5) | {b"x": b"%d" % copy} for copy in range(20)}
    store, objects = new_store()
    with TreeWriter(objects) as writer:
        tree = put_tree(writer, model)
        writer.publish()
        assert 10 <= len(writer._dedup) <= 10 + 20
    assert read_tree(ObjectStore(store, DEFAULT), tree.digest) == model


def test_a_large_file_in_two_places_is_stored_once() -> None:
    data = noise(50_000)
    store, objects = new_store(TINY)
    tree = push(objects, {b"a": {b"x": data}, b"b": {b"y": data}, b"c": data + b"!"})
    assert count(store, Kind.RECIPE) == 2
    assert stored_bytes(store, Kind.CHUNK) < 50_000 + 2 * 1024
    assert place_of(objects, tree.digest, b"a", b"x") == place_of(objects, tree.digest, b"b", b"y")


def test_a_file_may_be_small_here_and_large_there() -> None:
    """The layout, never the size, says how a file is stored."""
    data = noise(250)
    store, objects = new_store(TINY)
    with TreeWriter(objects) as writer:
        one, two = writer.directory(), writer.directory()
        one.add(small(b"f", data), data)
        two.add(Directory(b"a", 1, 0o755, *one.finish()))
        writer.stream(reader(data))
        two.add(small(b"b", data))
        root = two.finish().digest
        writer.publish()
    objects = ObjectStore(store, TINY)
    kinds = [place_of(objects, root, *path).kind for path in ((b"a", b"f"), (b"b",))]
    assert kinds[0] == Kind.PART
    assert kinds[1] in (Kind.CHUNK, Kind.RECIPE)
    assert read_tree(objects, root) == {b"a": {b"f": data}, b"b": data}


def test_small_files_lie_together_in_parts_cut_between_files() -> None:
    model = numbered(200, 5_000)
    store, objects = new_store()
    tree = push(objects, model)
    sizes = sorted(info.size for info in store.list(Kind.PART))
    assert sum(sizes) == 1_000_000
    assert all(PART_SIZE - 5_000 < size <= PART_SIZE for size in sizes[1:])
    places = [place_of(objects, tree.digest, name) for name in sorted(model)]
    assert [place.offset for place in places[:4]] == [0, 5_000, 10_000, 15_000]


# ---------------------------------------------------------------------------------------- cost proportional to change


def test_renaming_a_directory_stores_next_to_nothing() -> None:
    store, objects = new_store()
    model = numbered(10_000, 100)
    base = push(objects, {b"old": model, b"beside": b"it"})
    entry = objects.resolve(base.digest, (b"old",)).entry
    assert isinstance(entry, Directory)
    before = stored_bytes(store)
    with TreeWriter(objects) as writer:
        tree = writer.edit(base.digest, {b"old": None, b"new": entry._replace(name=b"new")})
        writer.publish()
        assert writer.stats.stored_bytes < 2_000
    assert stored_bytes(store) - before < 2_000
    assert tree == push(objects, {b"new": model, b"beside": b"it"})
    # the same when every file is read and given again
    assert stored_bytes(store) - before < 2_000
    assert_closed(store)


@pytest.mark.parametrize("size", [10, 1_000, 60_000])
def test_one_byte_in_many_files_stores_one_small_part(size: int) -> None:
    files = min(5_000, 12_000_000 // size)
    store, objects = new_store()
    model = numbered(files, size)
    base = push(objects, model)
    name = b"%06d" % (files // 2)
    data = noise(size - 1, 77) + b"!"
    before = {kind: (count(store, kind), stored_bytes(store, kind)) for kind in Kind}
    tree, stats = edited(objects, base.digest, {name: data})
    assert count(store, Kind.PART) == before[Kind.PART][0] + 1
    assert stored_bytes(store, Kind.PART) - before[Kind.PART][1] <= size
    assert stats.stored_bytes < size + 60_000
    assert read_tree(ObjectStore(store, DEFAULT), tree.digest) == model | {name: data}
    assert tree == push(objects, model | {name: data})
    assert_closed(store)


def test_one_changed_file_given_the_way_ingest_does_it() -> None:
    """Every entry again, the unchanged ones by the page of the base in which they lie."""
    store, objects = new_store()
    model = numbered(2_000, 500)
    base = push(objects, model)
    new = b"changed"
    before = stored_bytes(store, Kind.PART)
    with TreeWriter(objects) as writer:
        directory = writer.directory()
        for name in sorted(model):
            page, entry = located(objects, base.digest, name)
            if name == b"000777":
                directory.add(small(name, new), new)
            else:
                directory.add(entry, source=page)
        tree = directory.finish()
        writer.publish()
    assert stored_bytes(store, Kind.PART) - before == len(new)
    assert read_tree(ObjectStore(store, DEFAULT), tree.digest) == model | {b"000777": new}


def test_a_file_copied_by_reference_is_not_stored_again() -> None:
    """Small, of one chunk and with a recipe, from another directory of the store."""
    contents: dict[bytes, bytes] = {b"small": noise(200), b"chunk": bytes(500), b"recipe": noise(5_000)}
    store, objects = new_store(TINY)
    base = push(objects, {b"from": dict(contents), b"to": {b"x": b"y"}})
    target = objects.subtree(base.digest, (b"to",))
    before = stored_bytes(store, Kind.PART), stored_bytes(store, Kind.CHUNK), stored_bytes(store, Kind.RECIPE)
    with TreeWriter(objects) as writer:
        changes: dict[bytes, Entry | None] = {}
        for name in contents:
            source, entry = located(objects, base.digest, b"from", name)
            changes[b"copy of " + name] = entry._replace(name=b"copy of " + name)
        tree = writer.edit(target, changes, sources=(source,))
        writer.publish()
    assert (stored_bytes(store, Kind.PART), stored_bytes(store, Kind.CHUNK), stored_bytes(store, Kind.RECIPE)) == before
    wanted = {b"copy of " + name: data for name, data in contents.items()} | {b"x": b"y"}
    assert read_tree(ObjectStore(store, TINY), tree.digest) == wanted


def test_a_file_whose_bytes_are_nowhere_is_refused() -> None:
    store, objects = new_store(TINY)
    base = push(objects, {b"a": b"x"})
    with TreeWriter(objects) as writer:
        writer.edit(base.digest, {b"b": small(b"b", b"never given")})
        with pytest.raises(IntegrityError, match="neither given nor in the store"):
            writer.publish()
    assert count(store, Kind.PAGE) == 1


# ---------------------------------------------------------------------------------------- laying out anew


def test_many_edits_of_one_page_lay_it_out_anew_now_and_then() -> None:
    store, objects = new_store()
    model = {name: data for name, data in numbered(100, 2_000).items() if isinstance(data, bytes)}
    tree = push(objects, dict(model))
    page = tree.digest
    most, written = 0, 0
    for step in range(100):
        name = b"%06d" % (step * 37 % 100)
        model[name] = noise(2_000, 1_000_000 + step)
        tree, stats = edited(objects, page, {name: model[name]})
        page = tree.digest
        most = max(most, len(parts_of(objects, page)))
        written += stats.stored_bytes
    assert most <= MAX_PARTS + 3
    assert written < 100 * (2_000 + 8_000) + 8 * 220_000
    assert count(store, Kind.PART) > 100
    assert read_tree(ObjectStore(store, DEFAULT), page) == model
    assert_closed(store)


def test_a_page_whose_parts_are_mostly_dead_is_laid_out_anew() -> None:
    store, objects = new_store()
    model = numbered(250, 10_000)
    base = push(objects, model)
    assert len(parts_of(objects, base.digest)) == 10
    keep = [b"%06d" % (25 * number) for number in range(10)]
    tree, _ = edited(objects, base.digest, {name: None for name in model if name not in keep} | {b"new": b"!"})
    assert len(parts_of(objects, tree.digest)) == 1
    assert read_tree(ObjectStore(store, DEFAULT), tree.digest) == {n: model[n] for n in keep} | {b"new": b"!"}


def test_a_page_of_many_full_parts_is_left_as_it_is() -> None:
    """More parts than MAX_PARTS because there are so many bytes: nothing is gained by writing them again."""
    store, objects = new_store()
    model = numbered(200, 60_000)
    tree = push(objects, model)
    assert len(parts_of(objects, tree.digest)) > 2 * MAX_PARTS
    for step in range(5):
        tree, stats = edited(objects, tree.digest, {b"%06d" % step: b"changed %d" % step})
        assert stats.new_bytes < 50_000
    assert stored_bytes(store, Kind.PART) < 12_000_000 + 1_000


def test_laying_out_anew_reads_damage_and_says_so() -> None:
    store, objects = new_store()
    model = numbered(250, 10_000)
    base = push(objects, model)
    keep = [b"%06d" % (25 * number) for number in range(10)]
    store.delete(Kind.PART, [place_of(objects, base.digest, keep[3]).key])
    with pytest.raises(IntegrityError):
        edited(objects, base.digest, {name: None for name in model if name not in keep})


def test_a_page_that_is_there_already_keeps_its_layout() -> None:
    """Two pushes make the same page at once, laid out differently; the one that comes second uses the store's."""
    data = noise(250)
    store, _ = new_store(TINY)
    slow, fast = ObjectStore(store, TINY), ObjectStore(store, TINY)
    with TreeWriter(slow) as first, TreeWriter(fast) as second:
        assert first.stream(reader(data))[0] == file_digest(data)
        directory = first.directory()
        directory.add(small(b"f", data))
        mine = directory.finish()
        first.flush()
        directory = second.directory()
        directory.add(small(b"f", data), data)
        theirs = directory.finish()
        second.publish()
        first.publish()
    assert mine == theirs
    objects = ObjectStore(store, TINY)
    assert place_of(objects, mine.digest, b"f").kind == Kind.PART
    assert read_tree(objects, mine.digest) == {b"f": data}
    assert_closed(store)


# ---------------------------------------------------------------------------------------- publishing


def test_nothing_is_visible_before_it_is_published() -> None:
    store, objects = new_store(TINY)
    with TreeWriter(objects) as writer:
        put_tree(writer, {b"a": noise(5_000), b"b": b"small"})
        writer.flush()
        assert not stored_bytes(store)
    assert not stored_bytes(store)


def test_the_callers_step_runs_in_the_last_transaction() -> None:
    _, objects = new_store(TINY)
    with TreeWriter(objects) as writer:
        tree = put_tree(writer, {b"a": b"x"})
        assert writer.publish(lambda txn: txn.info(Kind.PAGE, tree.digest)) is not None
        assert writer.publish(lambda txn: "again") == "again"
        assert writer.publish() is None


def test_a_huge_push_is_published_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treewriter, "PUBLISH_EVERY", 20)
    store, objects = new_store(TINY)
    model: Model = {b"d%02d" % number: numbered(40, 400, number) | {b"s": b"%d" % number} for number in range(20)}
    with TreeWriter(objects) as writer:
        tree = put_tree(writer, model)
        writer.flush()
        assert count(store, Kind.PAGE) > 10
        assert store.missing(Kind.PAGE, [tree.digest])
        assert len(writer._done) <= 20 + 80
        assert_closed(store)
        writer.publish()
    assert_closed(store)
    assert read_tree(ObjectStore(store, TINY), tree.digest) == model


@pytest.mark.parametrize("kind", [Kind.PART, Kind.CHUNK, Kind.RECIPE])
def test_what_has_vanished_from_the_store_surfaces(kind: Kind) -> None:
    """An edit builds on objects that a collector removes before the publish."""
    store, objects = new_store(TINY)
    model: Model = {b"small": noise(200), b"chunk": bytes(500), b"recipe": noise(5_000)}
    base = push(objects, model)
    name = {Kind.PART: b"small", Kind.CHUNK: b"chunk", Kind.RECIPE: b"recipe"}[kind]
    place = place_of(objects, base.digest, name)
    with TreeWriter(objects) as writer:
        tree = writer.edit(base.digest, {b"new": small(b"new", b"!")}, {file_digest(b"!"): b"!"})
        writer.flush()
        store.delete(kind, [place.key])
        with pytest.raises(MissingChildrenError) as caught:
            writer.publish()
        assert caught.value.refs == (Ref(kind, place.key),)
    assert store.missing(Kind.PAGE, [tree.digest])
    # a push of the whole tree with a writer that knows nothing writes it again
    again = push(ObjectStore(store, TINY), model | {b"new": b"!"})
    assert again == tree
    assert read_tree(ObjectStore(store, TINY), tree.digest) == model | {b"new": b"!"}


def test_a_subdirectory_that_has_vanished_surfaces() -> None:
    store, objects = new_store(TINY)
    base = push(objects, {b"d": {b"f": b"x"}, b"e": b"y"})
    inner = objects.subtree(base.digest, (b"d",))
    with TreeWriter(objects) as writer:
        writer.edit(base.digest, {b"e": None})
        writer.flush()
        store.delete(Kind.PAGE, [inner])
        with pytest.raises(MissingChildrenError) as caught:
            writer.publish()
    assert caught.value.refs == (Ref(Kind.PAGE, inner),)


# ---------------------------------------------------------------------------------------- failures and limits


class Broken(OSError):
    """What the failing backends of these tests raise."""


def failing_after(count: int, kind: Kind | None = None) -> Callable[[Kind], None]:
    left = count

    def hook(met: Kind) -> None:
        nonlocal left
        if kind in (None, met):
            left -= 1
            if left < 0:
                raise Broken(5, "the disk does not answer")

    return hook


def put_and_publish(writer: TreeWriter, model: Model) -> None:
    put_tree(writer, model)
    writer.publish()


def large_and_small(directories: int) -> Model:
    return {b"%02d" % number: {b"l": noise(9_000, number), b"s": noise(200, number)} for number in range(directories)}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [None, Kind.CHUNK, Kind.RECIPE, Kind.PART, Kind.LAYOUT, Kind.PAGE])
@pytest.mark.parametrize("after", [0, 1, 7])
@pytest.mark.parametrize(("in_flight", "alone"), [(1, False), (64 << 20, False), (64 << 20, True)])
def test_a_failing_write_surfaces_and_nothing_hangs(
    kind: Kind | None, after: int, in_flight: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(treewriter, "IN_FLIGHT", in_flight)
    store = HookedStore(TINY)
    store.on_put = failing_after(after, kind)
    with TreeWriter(ObjectStore(store, TINY)) as writer:
        if alone:
            writer.work_alone()
        with pytest.raises(Broken):
            put_and_publish(writer, large_and_small(20))
        # it stays so: no later call pretends that all is well
        with pytest.raises(Broken):
            writer.publish()
        with pytest.raises(Broken):
            put_tree(writer, {b"x": b"y"})
        with pytest.raises(Broken):
            writer.stream(reader(noise(5_000, 99)))
    assert store.closed_writers == 1
    assert not stored_bytes(store)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("jvs-")]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [Kind.CHUNK, Kind.PAGE])
def test_a_failing_look_up_surfaces(kind: Kind) -> None:
    """Of chunks it is made in the pool, of the rest in the writer thread."""
    store = HookedStore(TINY)
    store.on_missing = failing_after(3, kind)
    with TreeWriter(ObjectStore(store, TINY)) as writer, pytest.raises(Broken):
        put_and_publish(writer, large_and_small(20))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("model", [{b"large": noise(9_000)}, {b"small": noise(100)}], ids=["large", "small"])
def test_a_failing_compressor_surfaces(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(treewriter, "encode", encode)
    monkeypatch.setattr(treewriter, "encode_part", encode, raising=False)
    _, objects = new_store(TINY)
    with TreeWriter(objects) as writer, pytest.raises(MemoryError):
        put_and_publish(writer, model)


def test_a_stream_that_fails_leaves_the_writer_usable() -> None:
    store, objects = new_store(TINY)
    good = reader(noise(9_000, 5), 4_000)

    def failing(view: memoryview) -> int:
        got = good(view)
        if got < 4_000:
            raise Broken(5, "torn")
        return got

    with TreeWriter(objects) as writer:
        with pytest.raises(Broken):
            writer.stream(failing)
        tree = put_tree(writer, {b"f": noise(9_000, 6), b"g": noise(9_000, 5)})
        writer.publish()
    assert read_tree(ObjectStore(store, TINY), tree.digest) == {b"f": noise(9_000, 6), b"g": noise(9_000, 5)}
    assert_closed(store)


class Gate:
    """Holds the writer thread at its first put until opened."""

    def __init__(self, store: HookedStore) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        store.on_put = self.wait

    def wait(self, kind: Kind) -> None:
        self.reached.set()
        assert self.open.wait(30)


@pytest.mark.timeout(60)
def test_bytes_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treewriter, "IN_FLIGHT", 100_000)
    store = HookedStore(DEFAULT)
    gate = Gate(store)
    handed: list[int] = []
    trees: list[Tree] = []

    with TreeWriter(ObjectStore(store, DEFAULT)) as writer:

        def caller() -> None:
            directory = writer.directory()
            for number in range(20):
                inner = writer.directory()
                data = noise(30_000, number)
                inner.add(small(b"f", data), data)
                directory.add(Directory(b"%02d" % number, 1, 0o755, *inner.finish()))
                handed.append(len(data))
            trees.append(directory.finish())

        thread = threading.Thread(target=caller)
        thread.start()
        assert gate.reached.wait(30)
        thread.join(0.3)
        assert thread.is_alive()
        assert 100_000 <= sum(handed) + 30_000 <= 200_000
        assert writer._jobs.weight <= 100_000 + 31_000
        gate.open.set()
        thread.join(30)
        assert not thread.is_alive()
        writer.publish()
        assert writer._jobs.weight == 0
    assert len(read_tree(ObjectStore(store, DEFAULT), trees[0].digest)) == 20


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "model", [numbered(300, 200), {b"%d" % n: noise(9_000, n) for n in range(9)}], ids=["small", "large"]
)
def test_closing_in_the_middle_waits_for_no_more_than_what_was_begun(model: Model) -> None:
    store = HookedStore(TINY)
    gate = Gate(store)
    puts: list[Kind] = []

    def hook(kind: Kind) -> None:
        puts.append(kind)
        gate.wait(kind)

    store.on_put = hook
    writer = TreeWriter(ObjectStore(store, TINY))
    put_tree(writer, {b"d": model, b"e": {b"x": model}, b"f": b"y"})
    assert gate.reached.wait(30)
    threading.Timer(0.1, gate.open.set).start()
    writer.close()
    assert len(puts) < 8
    assert not stored_bytes(store)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("jvs-")]
    writer.close()


@pytest.mark.timeout(60)
def test_a_closed_writer_refuses_work() -> None:
    for used in (False, True):
        _, objects = new_store(TINY)
        writer = TreeWriter(objects)
        if used:
            put_tree(writer, {b"a": b"b", b"c": noise(3_000)})
        writer.close()
        with pytest.raises(ValueError, match="closed"):
            writer.put_page(new_page(0, []), {}, ())
        with pytest.raises(ValueError, match="closed"):
            writer.publish()


@pytest.mark.timeout(60)
def test_a_caller_that_waits_for_room_learns_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treewriter, "IN_FLIGHT", 10_000)
    store = HookedStore(DEFAULT)
    gate = Gate(store)

    def hook(kind: Kind) -> None:
        gate.wait(kind)
        raise Broken(28, "no space left")

    store.on_put = hook
    with TreeWriter(ObjectStore(store, DEFAULT)) as writer:
        threading.Timer(0.2, gate.open.set).start()
        with pytest.raises(Broken):
            put_tree(writer, {b"%02d" % number: {b"f": noise(30_000, number)} for number in range(20)})


@pytest.mark.timeout(60)
def test_the_caller_packs_when_the_thread_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it packs is what the thread would have packed: ids, places and bytes are the same."""
    model: Model = {b"%02d" % n: numbered(20, 3_000, n % 5) | {b"x": b"%d" % n} for n in range(30)}
    results = []
    for behind in (-1, 1 << 40):
        monkeypatch.setattr(treewriter, "BEHIND", behind)
        store, objects = new_store()
        tree = push(objects, model)
        assert read_tree(ObjectStore(store, DEFAULT), tree.digest) == model
        results.append((tree, [list(store.list(kind)) for kind in Kind]))
    assert results[0] == results[1]


def test_large_directories_of_subdirectories_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages cut in the middle of a directory take the contents and sources of their own entries with them."""
    made = random.Random(6)
    model: Model = {}
    for number in range(1_500):
        kind = made.randrange(5)
        name = b"%05d" % number
        if kind == 0:
            model[name] = {b"f": b"%d" % number}
        elif kind == 1:
            model[name] = "target"
        elif kind == 2:
            model[name] = noise(2_000, number)
        else:
            model[name] = noise(made.randrange(300), number)
    store, objects = new_store(TINY)
    tree = push(objects, model)
    assert count(store, Kind.PAGE) > 300
    assert read_tree(ObjectStore(store, TINY), tree.digest) == model
    assert_closed(store)
    pages_seen: list[Digest] = []
    cutter = PageCutter(lambda page: pages_seen.append(page.digest))
    for _, _, entries in objects.walk(tree.digest):
        for entry in entries:
            if len(entry.name) == 5:
                cutter.add(entry)
    assert cutter.finish() == tree
    assert all(
        objects.places(page).keys() == {f.digest for f in small_files(objects.page(page).entries)}
        for page in pages_seen
    )


def test_put_file_streams_what_is_over_the_limit() -> None:
    """The helper of these tests does what ingest does: else they would show less than they say."""
    _, objects = new_store(TINY)
    with TreeWriter(objects) as writer:
        assert put_file(writer, b"f", noise(300))[1] is not None
        assert put_file(writer, b"f", noise(301))[1] is None
