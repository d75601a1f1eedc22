"""The conformance kit: what every store must do, as one pytest class.

Subclass `StoreContract`, provide a fixture `store` that yields an empty `backend.Store`, and run pytest. Each test
checks one obligation of `backend`'s docstrings. Needs nothing beyond pytest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from jvs.castore.backend import Codec, Kind, Ref, Store, Stored, Table, WriteTxn
from jvs.castore.digest import Digest, file_digest, page_digest
from jvs.errors import (
    CollectedError,
    IntegrityError,
    LabelMovedError,
    MissingChildrenError,
    MissingObjectError,
    UsageError,
)

NOTES = Table("notes")
OTHER = Table("others")


def chunk(text: bytes) -> tuple[Kind, bytes, Stored]:
    """A chunk holding `text`."""
    return Kind.CHUNK, file_digest(text), Stored(Codec.RAW, len(text), text)


def page(text: bytes) -> tuple[Kind, bytes, Stored]:
    """A page; backends never look inside, so any bytes will do."""
    return Kind.PAGE, page_digest(text), Stored(Codec.RAW, len(text), text)


def layout(of: bytes, text: bytes) -> tuple[Kind, bytes, Stored]:
    """A layout of the page whose digest is `of`."""
    return Kind.LAYOUT, of, Stored(Codec.RAW, len(text), text)


def put_all(store: Store, objects: Iterable[tuple[Kind, bytes, Stored]]) -> None:
    """Publish objects that have no children."""
    with store.writer() as writer:
        for kind, key, stored in objects:
            writer.put(kind, key, stored)
        writer.publish()


class BackendContract:
    """The object side of a store."""

    def test_what_was_put_comes_back(self, store: Store) -> None:
        objects = [
            chunk(b""),
            chunk(b"x"),
            chunk(b"y" * 100_000),
            chunk(bytes(range(256)) * 20_000),
            page(b"p"),
        ]
        objects.append((Kind.PART, file_digest(b"x"), Stored(Codec.ZSTD, 77, b"not really a frame")))
        put_all(store, objects)
        for kind, key, stored in objects:
            got = store.get(kind, key)
            assert (got.codec, got.size, bytes(got.data)) == stored
            assert store.infos(kind, [key]) == [(kind, key, stored.size, len(stored.data), kind == Kind.PAGE)]

    def test_an_absent_object_is_missing(self, store: Store) -> None:
        put_all(store, [chunk(b"here")])
        here, absent = file_digest(b"here"), file_digest(b"absent")
        with pytest.raises(MissingObjectError) as caught:
            store.get(Kind.CHUNK, absent)
        assert caught.value.details == {"kind": "chunk", "digest": absent.hex()}
        assert store.missing(Kind.CHUNK, [here, absent]) == {absent}
        assert store.infos(Kind.CHUNK, [absent, here])[0] is None

    def test_kinds_are_name_spaces(self, store: Store) -> None:
        key = file_digest(b"k")
        put_all(
            store,
            [(Kind.CHUNK, key, Stored(Codec.RAW, 1, b"a")), (Kind.RECIPE, key, Stored(Codec.RAW, 1, b"b"))],
        )
        assert bytes(store.get(Kind.CHUNK, key).data) == b"a"
        assert bytes(store.get(Kind.RECIPE, key).data) == b"b"
        assert store.missing(Kind.PART, [key]) == {key}

    def test_nothing_is_visible_before_publish(self, store: Store) -> None:
        kind, key, stored = chunk(b"early")
        with store.writer() as writer:
            writer.put(kind, key, stored)
            assert store.missing(kind, [key]) == {key}
        assert store.missing(kind, [key]) == {key}, "closing forgets what was not published"

    def test_a_second_put_is_ignored(self, store: Store) -> None:
        kind, key, stored = chunk(b"first")
        with store.writer() as writer:
            writer.put(kind, key, stored)
            writer.put(kind, key, Stored(Codec.RAW, 6, b"second"))
            writer.publish()
        with store.writer() as writer:
            writer.put(kind, key, Stored(Codec.RAW, 5, b"third"))
            writer.publish()
        assert bytes(store.get(kind, key).data) == b"first"

    def test_list_is_in_key_order(self, store: Store) -> None:
        objects = [chunk(b"%d" % number) for number in range(50)]
        put_all(store, [*objects, page(b"no chunk")])
        keys = [info.key for info in store.list(Kind.CHUNK)]
        assert keys == sorted(key for _, key, _ in objects)
        assert [info.key for info in store.list(Kind.PAGE)] == [page_digest(b"no chunk")]
        assert list(store.list(Kind.LAYOUT)) == []
        assert list(store.keys(Kind.CHUNK)) == keys
        assert list(store.keys(Kind.LAYOUT)) == []

    def test_delete_says_how_many_were_there(self, store: Store) -> None:
        put_all(store, [chunk(b"a"), chunk(b"b"), chunk(b"c")])
        keys = [file_digest(text) for text in (b"a", b"b", b"nowhere")]
        assert store.delete(Kind.CHUNK, keys) == 2
        assert store.missing(Kind.CHUNK, keys) == set(keys)
        assert store.missing(Kind.CHUNK, [file_digest(b"c")]) == set()
        put_all(store, [chunk(b"a")])
        assert bytes(store.get(Kind.CHUNK, keys[0]).data) == b"a"

    def test_a_layout_is_replaced_once(self, store: Store) -> None:
        part, other = chunk(b"part"), chunk(b"other part")
        kind, key, stored = page(b"a page")
        with store.writer() as writer:
            writer.put(*part)
            writer.put(*layout(key, b"first"), [Ref(Kind.CHUNK, part[1])])
            writer.put(kind, key, stored, [Ref(Kind.LAYOUT, key)])
            writer.publish()
        with store.read() as read:
            seq = read.layout_seq(key)
            assert seq is not None
            assert read.layout_seq(file_digest(b"no page")) is None
        for text in (b"second", b"too late"):
            with store.writer() as writer:
                writer.put(*other)
                writer.replace_layout(key, seq, layout(key, text)[2], [Ref(Kind.CHUNK, other[1])])
                writer.publish()
            assert bytes(store.get(Kind.LAYOUT, key).data) == b"second"
        with store.read() as read:
            assert read.layout_seq(key) == seq + 1
        absent = page(b"never put")[1]
        with store.writer() as writer:
            writer.replace_layout(absent, 1, layout(absent, b"of nothing")[2], [])
            writer.publish()
        assert store.missing(Kind.LAYOUT, [absent]) == {absent}

    def test_a_new_layout_needs_what_it_names(self, store: Store) -> None:
        kind, key, stored = page(b"a page")
        with store.writer() as writer:
            writer.put(*layout(key, b"first"))
            writer.put(kind, key, stored, [Ref(Kind.LAYOUT, key)])
            writer.publish()
        with store.read() as read:
            seq = read.layout_seq(key)
        assert seq is not None
        with store.writer() as writer:
            writer.replace_layout(key, seq, layout(key, b"second")[2], [Ref(Kind.PART, key)])
            with pytest.raises(MissingChildrenError):
                writer.publish()
        assert bytes(store.get(Kind.LAYOUT, key).data) == b"first"

    def test_what_is_not_yet_published_can_be_read_back(self, store: Store) -> None:
        one, two = chunk(b"one"), chunk(b"two")
        parent = page(b"parent")
        seen: list[tuple[Kind, Digest, bytes]] = []

        def look(kind: Kind, key: Digest, stored: Stored) -> None:
            assert store.missing(kind, [key]) == {key}
            seen.append((kind, key, bytes(stored.data)))

        with store.writer() as writer:
            writer.put(*one)
            writer.read_back(look)
            assert seen == [(*one[:2], b"one")]
            writer.put(*parent, [Ref(Kind.CHUNK, one[1])])
            writer.publish()
            seen.clear()
            writer.put(*two)
            writer.read_back(look)
            assert seen == [(*two[:2], b"two")]

            def refuse(kind: Kind, key: Digest, stored: Stored) -> None:
                raise IntegrityError("not what it should be")

            with pytest.raises(IntegrityError):
                writer.read_back(refuse)
        assert store.missing(Kind.CHUNK, [two[1]]) == {two[1]}

    def test_a_missing_child_stops_the_publish(self, store: Store) -> None:
        kind, key, stored = page(b"parent")
        child, data = file_digest(b"child"), Stored(Codec.RAW, 5, b"child")
        with store.writer() as writer:
            writer.put(Kind.CHUNK, *chunk(b"unrelated")[1:])
            writer.put(kind, key, stored, [Ref(Kind.CHUNK, child)])
            with pytest.raises(MissingChildrenError) as caught:
                writer.publish()
            assert caught.value.refs == ((Kind.CHUNK, child),)
            assert store.missing(kind, [key]) == {key}
            assert store.missing(Kind.CHUNK, [file_digest(b"unrelated")]), (
                "nothing of the transaction is inserted"
            )
            writer.put(Kind.CHUNK, child, data)
            writer.publish()
        assert store.missing(kind, [key]) == set()
        assert bytes(store.get(Kind.CHUNK, child).data) == b"child"

    def test_every_missing_child_is_named_and_no_pending_parent(self, store: Store) -> None:
        inner, outer = page(b"inner"), page(b"outer")
        absent = [file_digest(b"%d" % number) for number in range(3)]
        with store.writer() as writer:
            writer.put(*inner, children=[Ref(Kind.CHUNK, key) for key in absent])
            writer.put(*outer, children=[Ref(Kind.PAGE, inner[1])])
            with pytest.raises(MissingChildrenError) as caught:
                writer.publish()
        assert set(caught.value.refs) == {(Kind.CHUNK, key) for key in absent}

    def test_a_child_that_went_away_is_put_again(self, store: Store) -> None:
        """What this writer itself published and a collector then removed counts as absent, not as put."""
        with store.writer() as writer:
            writer.put(*chunk(b"child"))
            writer.publish()
            store.delete(Kind.CHUNK, [file_digest(b"child")])
            parent = page(b"parent")
            writer.put(*parent, children=[Ref(Kind.CHUNK, file_digest(b"child"))])
            with pytest.raises(MissingChildrenError):
                writer.publish()
            writer.put(*chunk(b"child"))
            writer.publish()
        assert bytes(store.get(Kind.CHUNK, file_digest(b"child")).data) == b"child"

    def test_children_may_be_there_already(self, store: Store) -> None:
        put_all(store, [chunk(b"child")])
        parent = page(b"parent")
        with store.writer() as writer:
            writer.put(*parent, children=[Ref(Kind.CHUNK, file_digest(b"child"))])
            writer.publish()
        assert store.missing(Kind.PAGE, [parent[1]]) == set()

    def test_heights_grow_from_the_leaves(self, store: Store) -> None:
        leaf, middle, root = page(b"leaf"), page(b"middle"), page(b"root")
        with store.writer() as writer:
            writer.put(*chunk(b"c"))
            writer.put(*leaf, children=[Ref(Kind.CHUNK, file_digest(b"c"))])
            writer.publish()
            writer.put(*middle, children=[Ref(Kind.PAGE, leaf[1])])
            writer.put(*root, children=[Ref(Kind.PAGE, leaf[1]), Ref(Kind.PAGE, middle[1])])
            writer.publish()
        infos = store.infos(Kind.PAGE, [leaf[1], middle[1], root[1]])
        assert [info.height for info in infos if info] == [1, 2, 3]
        assert [info.height for info in store.list(Kind.CHUNK)] == [0]

    def test_a_page_keeps_the_layout_it_has(self, store: Store) -> None:
        leaf = page(b"leaf")
        for text in (b"first layout", b"second layout"):
            part = (Kind.PART, file_digest(text), Stored(Codec.RAW, 1, b"?"))
            with store.writer() as writer:
                writer.put(*part)
                writer.put(*layout(leaf[1], text), children=[Ref(Kind.PART, part[1])])
                writer.put(*leaf, children=[Ref(Kind.LAYOUT, leaf[1])])
                writer.publish()
        assert bytes(store.get(Kind.LAYOUT, leaf[1]).data) == b"first layout"
        assert [info.height for info in store.infos(Kind.PAGE, [leaf[1]]) if info] == [1]

    def test_a_layouts_children_are_looked_up_too(self, store: Store) -> None:
        leaf = page(b"leaf")
        with store.writer() as writer:
            writer.put(*layout(leaf[1], b"l"), children=[Ref(Kind.PART, file_digest(b"gone"))])
            writer.put(*leaf, children=[Ref(Kind.LAYOUT, leaf[1])])
            with pytest.raises(MissingChildrenError) as caught:
                writer.publish()
        assert caught.value.refs == ((Kind.PART, file_digest(b"gone")),)
        assert store.missing(Kind.LAYOUT, [leaf[1]])
        assert store.missing(Kind.PAGE, [leaf[1]])

    def test_many_objects_take_several_transactions(self, store: Store) -> None:
        """More than one transaction may look up; the parent of them all is inserted, with `then`, in the last."""
        count = 9_000
        objects = [chunk(b"%d" % number) for number in range(count)]
        root = page(b"root")
        seen: list[bool] = []

        def then(txn: WriteTxn) -> str:
            seen.append(txn.info(Kind.PAGE, root[1]) is not None)
            txn.require(root[1])
            txn.put(NOTES, b"head", root[1])
            return "moved"

        with store.writer() as writer:
            for one in objects:
                writer.put(*one)
            writer.put(*root, children=[Ref(kind, key) for kind, key, _ in objects])
            assert writer.publish(then) == "moved"
        assert seen == [True]
        assert store.missing(Kind.CHUNK, [key for _, key, _ in objects]) == set()
        assert sum(1 for _ in store.list(Kind.CHUNK)) == count

    def test_then_runs_without_objects(self, store: Store) -> None:
        with store.writer() as writer:
            writer.publish(lambda txn: txn.put(NOTES, b"k", b"v"))
        with store.read() as txn:
            assert txn.get(NOTES, b"k") == b"v"

    def test_what_then_refuses_can_be_published_again(self, store: Store) -> None:
        def lost(txn: WriteTxn) -> None:
            txn.put(NOTES, b"k", b"v")
            raise LabelMovedError("lost the race")

        with store.writer() as writer:
            writer.put(*chunk(b"kept"))
            with pytest.raises(LabelMovedError):
                writer.publish(lost)
            assert store.missing(Kind.CHUNK, [file_digest(b"kept")])
            writer.publish()
        assert not store.missing(Kind.CHUNK, [file_digest(b"kept")])
        with store.read() as txn:
            assert txn.get(NOTES, b"k") is None

    def test_two_writers_of_one_object(self, store: Store) -> None:
        with store.writer() as one, store.writer() as two:
            one.put(*chunk(b"same"))
            two.put(*chunk(b"same"))
            one.publish()
            two.publish()
        assert bytes(store.get(Kind.CHUNK, file_digest(b"same")).data) == b"same"

    def test_readers_on_threads(self, store: Store) -> None:
        objects = [chunk(bytes([number]) * (number * 300 + 1)) for number in range(100)]
        put_all(store, objects)
        wrong: list[object] = []

        def look() -> None:
            for kind, key, stored in objects:
                if bytes(store.get(kind, key).data) != stored.data:
                    wrong.append(key)

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


class MetaContract:
    """The table side of a store."""

    def test_put_get_delete(self, store: Store) -> None:
        with store.write() as txn:
            txn.put(NOTES, b"k", b"one")
            txn.put(NOTES, b"k", b"two")
            txn.put(NOTES, b"", b"empty key")
            txn.put(NOTES, b"e", b"")
            assert txn.get(NOTES, b"k") == b"two", "a transaction sees its own writes"
            assert txn.count(NOTES) == 3
        with store.read() as read:
            assert (read.get(NOTES, b"k"), read.get(NOTES, b"e"), read.get(OTHER, b"k")) == (
                b"two",
                b"",
                None,
            )
            assert (read.count(NOTES), read.count(OTHER)) == (3, 0)
        with store.write() as txn:
            assert txn.delete(NOTES, b"k") is True
            assert txn.delete(NOTES, b"k") is False
            assert txn.delete(OTHER, b"k") is False
        with store.read() as read:
            assert read.get(NOTES, b"k") is None
            assert read.count(NOTES) == 2

    def test_scan(self, store: Store) -> None:
        rows = [(bytes([number]), b"v%d" % number) for number in range(0, 256, 5)]
        with store.write() as txn:
            for key, value in reversed(rows):
                txn.put(NOTES, key, value)
            txn.put(Table("note"), b"\xff", b"before")
            txn.put(Table("notess"), b"\x00", b"after")
        with store.read() as read:
            assert list(read.scan(NOTES)) == rows
            assert list(read.scan(NOTES, reverse=True)) == rows[::-1]
            low, high = bytes([11]), bytes([100])
            inside = [row for row in rows if low <= row[0] < high]
            assert list(read.scan(NOTES, low, high)) == inside
            assert list(read.scan(NOTES, low, high, reverse=True)) == inside[::-1]
            assert list(read.scan(NOTES, bytes([10]), bytes([10]))) == []
            assert next(read.scan(NOTES, bytes([10]), bytes([11]))) == rows[2]
            assert list(read.scan(NOTES, b"\xff\x00")) == []
            assert list(read.scan(NOTES, b"\xff\x00", reverse=True)) == []
            assert list(read.scan(OTHER)) == []
            read.check_table(NOTES)
            read.check_table(OTHER)

    def test_an_exception_aborts(self, store: Store) -> None:
        def fail() -> None:
            with store.write() as txn:
                txn.put(NOTES, b"k", b"v")
                txn.journal("push", {"a": 1})
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        with store.read() as read:
            assert read.get(NOTES, b"k") is None
            assert read.count(NOTES) == 0
        assert list(store.journal_records()) == []

    def test_a_reader_keeps_its_view(self, store: Store) -> None:
        with store.write() as txn:
            txn.put(NOTES, b"k", b"old")
        with store.read() as before:
            assert before.get(NOTES, b"k") == b"old"
            with store.write() as txn:
                txn.put(NOTES, b"k", b"new")
            with store.read() as after:
                assert after.get(NOTES, b"k") == b"new"
            assert before.get(NOTES, b"k") == b"old"
            assert list(before.scan(NOTES)) == [(b"k", b"old")]

    def test_writers_wait_for_one_another(self, store: Store) -> None:
        def add() -> None:
            for _ in range(25):
                with store.write() as txn:
                    value = int(txn.get(NOTES, b"n") or b"0")
                    txn.put(NOTES, b"n", b"%d" % (value + 1))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with store.read() as read:
            assert read.get(NOTES, b"n") == b"100"

    def test_long_keys_and_values(self, store: Store) -> None:
        with store.write() as txn:
            txn.put(Table("a" * 32), b"k" * 400, b"v" * 300_000)
        with store.read() as read:
            assert read.get(Table("a" * 32), b"k" * 400) == b"v" * 300_000

    def test_require(self, store: Store) -> None:
        root = page(b"root")
        with pytest.raises(CollectedError), store.write() as txn:
            txn.require(root[1])
        put_all(store, [root])
        with store.write() as txn:
            txn.require(root[1])

    def test_transact(self, store: Store) -> None:
        def work(txn: WriteTxn) -> int:
            txn.put(NOTES, b"k", b"v")
            return txn.count(NOTES)

        assert store.transact(work) == 1
        with store.read() as read:
            assert read.get(NOTES, b"k") == b"v"

    def test_locks_tell_who_lives(self, store: Store) -> None:
        lock = store.locks.hold()
        assert store.locks.take(lock.name) is None
        lock.release()
        lock.release()
        taken = store.locks.take(lock.name)
        assert taken is not None
        assert store.locks.take(lock.name) is None
        taken.release()
        assert store.locks.hold().name != lock.name


class JournalContract:
    """The journal of a store."""

    def test_records_chain(self, store: Store) -> None:
        with store.write() as txn:
            txn.journal("create", {"label": b"main", "n": 1}, {"message": "hello", "tags": ["a"]})
            txn.journal("push", {"label": b"main", "n": 2})
        with store.write() as txn:
            txn.put(NOTES, b"k", b"no record here")
        with store.write() as txn:
            txn.journal("an op of the future", {}, {})
        found = list(store.journal_records())
        assert [(one.seq, one.op, one.skeleton, one.body) for one in found] == [
            (0, "create", {"label": b"main", "n": 1}, {"message": "hello", "tags": ["a"]}),
            (1, "push", {"label": b"main", "n": 2}, None),
            (2, "an op of the future", {}, {}),
        ]
        assert [one.prev for one in found] == [bytes(32), found[0].digest, found[1].digest]
        assert found[0].at_ms <= found[1].at_ms <= found[2].at_ms
        assert list(store.journal_records(2)) == found[2:]
        assert list(store.journal_records(3)) == []

    def test_a_record_has_a_limit(self, store: Store) -> None:
        with pytest.raises(UsageError), store.write() as txn:
            txn.journal("push", {}, {"m": "x" * (16 << 10)})
        with store.write() as txn:
            txn.journal("push", {}, {"m": "x" * (15 << 10)})
        assert len(list(store.journal_records())) == 1

    def test_a_transaction_has_a_limit(self, store: Store) -> None:
        def many() -> None:
            with store.write() as txn:
                for _ in range(17):
                    txn.journal("push", {}, {"m": "x" * (16_000)})

        with pytest.raises(UsageError):
            many()
        assert list(store.journal_records()) == []


class StoreContract(BackendContract, MetaContract, JournalContract):
    """Everything a `Store` must do."""
