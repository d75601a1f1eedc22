"""Moves inside somebody else's transaction, their cost, and the rows they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from jvs.castore import memory
from jvs.castore.backend import Codec, Kind, Stored, Table, WriteTxn
from jvs.castore.digest import Digest, page_digest
from jvs.errors import CollectedError, JvsError, LabelMovedError, StateError
from jvs.labels import ANYTHING, MoveRequest, moves
from jvs.labels.model import Skeleton, new_body
from jvs.labels.moves import DETACHED_TTL_MS, Note
from jvs.labels.records import write_move
from jvs.labels.tables import ALL_TABLES, DETACHED, ENTRIES, entry_bytes, entry_key, pack_row
from tests.labels.support import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


def publish(desk: Desk, name: str, request: MoveRequest) -> Digest | None:
    """Push a snapshot the way a workspace does: the move in the last transaction of the publish, and a snapshot that
    lost the race recorded as detached in that same transaction. Returns the new entry's id."""

    def then(txn: WriteTxn) -> Digest | None:
        try:
            return desk.labels.move_in(txn, request).id
        except LabelMovedError:
            desk.labels.record_detached_in(txn, request.new)
            return None

    with desk.store.writer() as writer:
        writer.put(Kind.PAGE, page_digest(name.encode()), Stored(Codec.RAW, len(name), name.encode()))
        return writer.publish(then)


def test_a_move_in_the_transaction_that_publishes_its_snapshot(desk: Desk) -> None:
    first = publish(desk, "a", MoveRequest("main", page_digest(b"a"), expect=None, message="one"))
    assert first is not None
    assert desk.labels.entry(first).message == "one"
    lost = publish(desk, "b", MoveRequest("main", page_digest(b"b"), expect=None))
    assert lost is None
    with desk.store.read() as txn:
        assert txn.get(DETACHED, page_digest(b"b")) is not None
        assert txn.info(Kind.PAGE, page_digest(b"b")) is not None
    assert [record.op for record in desk.store.journal_records()] == ["label.create", "detached"]


def rows_of(desk: Desk) -> list[list[tuple[bytes, bytes]]]:
    with desk.store.read() as txn:
        return [list(txn.scan(table)) for table in ALL_TABLES]


def test_what_is_refused_writes_nothing_into_the_transaction(desk: Desk) -> None:
    labels, a = desk.labels, desk.snapshot("a")
    first = labels.compare_and_set("main", None, a)
    labels.compare_and_set("gone", None, a)
    labels.delete("gone")
    before = rows_of(desk)
    refused = [
        MoveRequest("main", a, expect=None),
        MoveRequest("main", page_digest(b"absent")),
        MoveRequest("main/x", a, expect=None),
        MoveRequest("gone/x", a, expect=None),
        MoveRequest("main", a, message="x" * 5000),
        MoveRequest("main", a, tags=["a b"]),
        MoveRequest("main", a, meta={"k": "x" * 9000}),
        MoveRequest("main", a, parents=[first.id, b"short"]),
        MoveRequest("main", a, parents=[page_digest(b"absent")]),
        MoveRequest("main", a, parents=[bytes([n]) * 32 for n in range(65)]),
        MoveRequest("main", a, op="nonsense"),
        MoveRequest("HEAD", a),
        MoveRequest("autosave/x", a),
    ]
    with desk.store.write() as txn:
        for request in refused:
            with pytest.raises(JvsError):
                labels.move_in(txn, request)
    assert rows_of(desk) == before
    assert len(list(desk.store.journal_records())) == 3


def test_several_moves_in_one_transaction(desk: Desk) -> None:
    a, b = desk.snapshot("a"), desk.snapshot("b")
    with desk.store.write() as txn:
        first = desk.labels.move_in(txn, MoveRequest("main", a, expect=None))
        second = desk.labels.move_in(txn, MoveRequest("main", b, expect=first.id))
        other = desk.labels.move_in(txn, MoveRequest("work", b, parents=[second.id]))
        info = desk.labels.get_in(txn, "work")
    assert info is not None
    assert (info.upstream, other.depth) == ("main", 3)
    assert desk.labels.verify() == 3


def test_the_actor_of_one_move(desk: Desk) -> None:
    a = desk.snapshot("a")
    assert desk.labels.compare_and_set("main", None, a).actor == "tester"
    assert desk.labels.move(MoveRequest("main", a, actor="somebody else")).actor == "somebody else"


def test_undo_passes_over_the_collectors_entries(desk: Desk) -> None:
    """A checkpoint is an entry of the label, but nothing anybody wants undone."""
    labels, a, b = desk.labels, desk.snapshot("a"), desk.snapshot("b")
    labels.compare_and_set("main", None, a)
    head = labels.compare_and_set("main", 1, b)
    with desk.store.write() as txn:
        skeleton = Skeleton(head.uid, 3, head.at_ms, b, b, "checkpoint", (head.id,), head.depth + 1, head.id, bytes(32))
        write_move(txn, "main", skeleton, new_body("", "gc", (), None), None)
    assert labels.undo("main").to == a
    assert labels.verify() == 4


def test_undo_of_a_rename_whose_body_was_dropped_says_so(desk: Desk) -> None:
    labels = desk.labels
    labels.compare_and_set("old", None, desk.snapshot("a"))
    entry = labels.rename("old", "new")
    with desk.store.write() as txn:
        found = entry_bytes(txn, entry.uid, entry.generation)
        assert found is not None
        txn.put(ENTRIES, entry_key(entry.uid, entry.generation), pack_row((found[0], None)))
    with pytest.raises(StateError) as caught:
        labels.undo("new")
    assert caught.value.code == "nothing-to-undo"


def test_undo_onto_a_name_taken_meanwhile_is_refused(desk: Desk) -> None:
    labels, a = desk.labels, desk.snapshot("a")
    labels.compare_and_set("old", None, a)
    labels.rename("old", "new")
    labels.compare_and_set("old", None, a)
    with pytest.raises(StateError) as caught:
        labels.undo("new")
    assert caught.value.code == "already-exists"


def test_undo_says_what_it_undid(desk: Desk) -> None:
    labels = desk.labels
    undone = labels.compare_and_set("main", None, desk.snapshot("a"))
    entry = labels.undo("main")
    assert entry.message == "undo create (generation 1)"
    assert entry.meta == {"undo": undone.id.hex()}
    with desk.store.write() as txn:
        assert moves.undo(txn, Note(0, message="sorry"), "main").message == "sorry"


def test_a_later_detached_record_only_prolongs(desk: Desk) -> None:
    a, start = desk.snapshot("a"), desk.clock.now_ms
    for now_ms in (start, start - 5000, start + 7, 0):
        desk.clock.now_ms = now_ms
        desk.labels.record_detached(a)
    with desk.store.read() as txn:
        assert txn.get(DETACHED, a) == (start + 7).to_bytes(8, "big")
    assert DETACHED_TTL_MS == 86_400_000


class Meter:
    """A write transaction that counts rows touched, wherever they are."""

    def __init__(self, txn: WriteTxn) -> None:
        self._txn = txn
        self.rows = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        self.rows += 1
        return self._txn.get(table, key)

    def scan(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for row in self._txn.scan(table, start, stop, reverse=reverse):
            self.rows += 1
            yield row

    def __getattr__(self, name: str) -> object:
        return getattr(self._txn, name)


def cost_of_moves(labels: int, entries: int) -> list[int]:
    """Rows looked at by one move of each kind, in a store of that size."""
    desk = Desk()
    a, b = desk.snapshot("a"), desk.snapshot("b")
    for start in range(0, labels, 250):  # one transaction of the journal holds no more
        with desk.store.write() as txn:
            for number in range(start, min(labels, start + 250)):
                desk.labels.move_in(txn, MoveRequest(f"n{number:06}", a))
    for number in range(entries):
        desk.labels.compare_and_set("m/main", number, b if number % 2 else a, tags=["t"])
    note = Note(desk.clock())
    kinds: list[Callable[[WriteTxn], object]] = [
        lambda txn: moves.move(txn, note, MoveRequest("m/main", a)),
        lambda txn: moves.move(txn, note, MoveRequest("m/new", a, expect=None)),
        lambda txn: moves.move(txn, note, MoveRequest("m/main", a, op="merge", parents=[])),
        lambda txn: moves.reset(txn, note, "m/main", b),
        lambda txn: moves.rename(txn, note, "m/main", "m/other"),
        lambda txn: moves.undo(txn, note, "m/other"),
        lambda txn: moves.delete(txn, note, "m/main"),
        lambda txn: moves.undelete(txn, note, "m/main"),
        lambda txn: moves.delete_tag(txn, note, "t"),
        lambda txn: moves.record_detached(txn, note, a),
    ]
    costs: list[int] = []
    for act in kinds:
        with desk.store.write() as txn:
            meter = Meter(txn)
            act(meter)  # type: ignore[arg-type]
            costs.append(meter.rows)
    return costs


def test_the_cost_of_a_move_does_not_grow() -> None:
    small, large = cost_of_moves(5, 4), cost_of_moves(2000, 600)
    assert small == large
    assert max(small) <= 20


ROOT_ACTS: dict[str, tuple[str, Callable[[Desk], object]]] = {
    "a move": ("new", lambda desk: desk.labels.compare_and_set("main", ANYTHING, desk.snapshot("new"))),
    "a tag": ("b", lambda desk: desk.labels.compare_and_set("main", ANYTHING, desk.snapshot("b"), tags=["t"])),
    "a force": ("new", lambda desk: desk.labels.force("fresh", desk.snapshot("new"))),
    "a reset": ("a", lambda desk: desk.labels.reset("main", desk.snapshot("a"))),
    "an undo": ("a", lambda desk: desk.labels.undo("main")),
    "a rename": ("b", lambda desk: desk.labels.rename("main", "trunk")),
    "an undelete": ("gone", lambda desk: desk.labels.undelete("gone")),
    "an undone delete": ("gone", lambda desk: desk.labels.undo("gone")),
    "an autosave": ("new", lambda desk: desk.labels.autosave("main", desk.snapshot("new"))),
    "a pin": ("a", lambda desk: desk.labels.pin(desk.snapshot("a"))),
    "a ref": ("a", lambda desk: desk.labels.create_ref("x", desk.snapshot("a"))),
    "a ref to an entry": ("b", lambda desk: desk.labels.create_ref("x", desk.labels.require("main").entry_id)),
    "a detached record": ("a", lambda desk: desk.labels.record_detached(desk.snapshot("a"))),
    "a merge, of its base": (
        "other",
        lambda desk: desk.labels.compare_and_set(
            "main",
            ANYTHING,
            desk.snapshot("new"),
            op="merge",
            parents=[desk.labels.require("main").entry_id, desk.labels.require("other").entry_id],
        ),
    ),
    "a detached record, of its base": (
        "other",
        lambda desk: desk.labels.record_detached(desk.snapshot("new"), [desk.labels.require("other").entry_id]),
    ),
    "a branch, of its base": (
        "other",
        lambda desk: desk.labels.compare_and_set(
            "branch", None, desk.snapshot("new"), parents=[desk.labels.require("other").entry_id]
        ),
    ),
}


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> list[Digest]:
    """What write transactions are asked to make roots of."""
    asked: list[Digest] = []
    real = memory._MemoryWriteTxn.require

    def require(txn: memory._MemoryWriteTxn, root: Digest) -> None:
        asked.append(root)
        real(txn, root)

    monkeypatch.setattr(memory._MemoryWriteTxn, "require", require)
    return asked


def desk_with_a_bit_of_everything() -> Desk:
    desk = Desk()
    for label, content in (("main", "a"), ("main", "b"), ("other", "other"), ("gone", "gone")):
        desk.labels.compare_and_set(label, ANYTHING, desk.snapshot(content))
    desk.labels.delete("gone")
    return desk


@pytest.mark.parametrize("act", ROOT_ACTS)
def test_every_act_that_makes_a_root_requires_it(act: str, required: list[Digest]) -> None:
    """In its own transaction, so that what is condemned is saved from the collector, or the act fails."""
    desk = desk_with_a_bit_of_everything()
    content, run = ROOT_ACTS[act]
    digest = desk.snapshot(content)
    required.clear()
    run(desk)
    assert digest in required
    if act.endswith("base"):
        return
    desk = desk_with_a_bit_of_everything()
    desk.snapshot("new")
    records = len(list(desk.store.journal_records()))
    with pytest.MonkeyPatch.context() as patch:

        def collected(txn: memory._MemoryWriteTxn, root: Digest) -> None:
            raise CollectedError("gone")

        patch.setattr(memory._MemoryWriteTxn, "require", collected)
        with pytest.raises(CollectedError):
            run(desk)
    assert len(list(desk.store.journal_records())) == records


def test_a_base_that_was_collected_is_no_obstacle() -> None:
    desk = desk_with_a_bit_of_everything()
    old = desk.labels.require("other")
    desk.labels.compare_and_set("other", ANYTHING, desk.snapshot("b"))
    desk.store.delete(Kind.PAGE, [old.ca_id])
    merged = desk.labels.compare_and_set("fresh", None, desk.snapshot("b"), parents=[old.entry_id])
    assert merged.parents == (old.entry_id,)


def test_a_policy_makes_no_root_and_needs_none(required: list[Digest]) -> None:
    desk = desk_with_a_bit_of_everything()
    required.clear()
    desk.labels.set_retention("*", ["keep-last 1"])
    desk.labels.set_retention("*", ["keep-all"])
    desk.labels.unset_retention("*")
    desk.labels.delete("other")
    assert required == []
