"""Label tables rebuilt from the journal; the random histories are in test_state_machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jvs.castore.backend import JournalRecord, WriteTxn
from jvs.castore.digest import Digest
from jvs.castore.local.store import LocalStore
from jvs.castore.memory import MemoryStore
from jvs.errors import IntegrityError
from jvs.labels import Labels, purges
from jvs.labels.model import Skeleton, decode_skeleton
from jvs.labels.replay import replay
from jvs.labels.tables import ALL_TABLES, Span
from tests.labels.support import DAY_MS, Desk, put_snapshot


def history() -> Desk:
    """One of everything that is journaled."""
    desk = Desk()
    labels, a, b = desk.labels, desk.snapshot("a"), desk.snapshot("b")
    first = labels.compare_and_set("main", None, a, message="m", tags=["t", "u"], meta={"k": 1})
    labels.compare_and_set("work", None, a, parents=[first.id])
    labels.compare_and_set("work", 1, b)
    labels.compare_and_set("main", 1, b, op="merge", parents=[first.id, labels.resolve("work").parents[0]])
    labels.rename("work", "job")
    labels.delete("job")
    labels.compare_and_set("work", None, b)
    labels.undelete("job")
    lock_some(desk)
    labels.autosave("main", a, parents=[first.id])
    labels.delete_tag("t")
    labels.create_ref("release", first.id, message="what was sold")
    labels.create_ref("bare", b)
    labels.create_ref("deleted", b)
    labels.delete_ref("deleted")
    labels.compare_and_set("tree", None, a, meta={"in": "01"})
    labels.stand("02", [a, b], [Span(first.uid, 1, 1)])
    labels.stand("03", [a], [])
    labels.leave(["03", "04"])
    labels.record_act("restore", "main", reason="why", details={"to": "a"})
    labels.record_detached(desk.snapshot("c"))
    labels.undo("main")
    forgotten = labels.compare_and_set("forgotten", None, a)
    labels.compare_and_set("child", None, a, parents=[forgotten.id])
    labels.delete("forgotten")
    labels.compare_and_set("removed", None, a)
    labels.delete("removed")
    labels.pin(a, message="why")
    labels.pin(b, desk.clock.now_ms + 2 * DAY_MS)
    labels.unpin(labels.pin(b).id)
    labels.set_retention("main", ["keep-last 1"])
    labels.set_retention("x*", ["keep-last 1"])
    labels.unset_retention("x*")
    desk.clock.now_ms += 30 * DAY_MS
    done = {step.what for step in labels.expire(desk.clock.now_ms)}
    assert done == {"truncated", "forgotten", "unpinned", "detached"}
    labels.record_detached(a)
    labels.compare_and_set("gone", None, a)
    labels.delete("gone")
    purge_some(desk, desk.snapshot("old"))
    return desk


def purge_some(desk: Desk, snapshot: Digest) -> None:
    """Purge a snapshot that `purged` is at: another takes its place; of what is purged some is allowed again."""
    desk.labels.compare_and_set("purged", None, snapshot)
    purge, new, digests = bytes(16), desk.snapshot("new"), [bytes([number]) * 32 for number in range(3)]

    def write(txn: WriteTxn) -> None:
        purges.write_purge(txn, purge, purges.PurgeRow(desk.clock.now_ms, False, bytes(32)), {"actor": "ada"})
        purges.write_content(txn, purge, digests, "ada")
        purges.write_replaced(txn, purge, [(snapshot, new), (bytes(32), None)], "ada")
        desk.labels.purge_in(txn, "purged", "why", {"purge": purge.hex()})
        purges.write_allowed(txn, digests[:1], bytes(32), "ada")
        purges.write_done(txn, purge, {"snapshots": 1}, "ada")

    desk.store.transact(write)
    assert desk.labels.require("purged").ca_id == new


def lock_some(desk: Desk) -> None:
    """Everything that can be done to a lock; one is held in the end, the other tokens are known."""
    labels = desk.labels
    held = labels.acquire_lock("main", purpose="p", session_id="s")
    labels.renew_lock("main", held.nonce, 60_000)
    stolen = labels.steal_lock("main", force=True, message="gone fishing")
    labels.release_lock("main", stolen.nonce)
    labels.compare_and_set("sold", None, desk.snapshot("a"))
    mine = labels.acquire_lock("sold", lease_ms=1000)
    Labels(desk.store, "tester", desk.clock, mine.nonce).rename("sold", "bought")
    desk.clock.now_ms += 2000
    labels.delete("bought")  # which ends the lock
    labels.acquire_lock("fresh")


ENTRIES = 19


def rebuild(records: list[JournalRecord]) -> tuple[MemoryStore, list[Digest]]:
    store = MemoryStore()
    with store.write() as txn:
        roots = list(replay(txn, records))
    return store, roots


def tables(store: MemoryStore | LocalStore) -> list[list[tuple[bytes, bytes]]]:
    with store.read() as txn:
        return [list(txn.scan(table)) for table in ALL_TABLES]


def test_the_journal_alone_gives_the_same_tables_and_every_root() -> None:
    desk = history()
    store, roots = rebuild(list(desk.store.journal_records()))
    assert tables(store) == tables(desk.store)
    assert all(tables(store))  # every table had rows to be rebuilt
    assert set(roots) == {desk.snapshot(name) for name in ("a", "b", "new")}  # nothing keeps c, or what was purged
    assert Labels(store).verify() == desk.labels.verify() == ENTRIES


def test_a_merge_base_is_a_root_although_its_entry_was_truncated() -> None:
    """The index, which would say whether it was collected, is just being made."""
    desk = Desk()
    base = desk.labels.compare_and_set("main", None, desk.snapshot("base"))
    desk.labels.compare_and_set("work", None, desk.snapshot("work"), parents=[base.id])
    desk.labels.compare_and_set("main", 1, desk.snapshot("main"))
    desk.labels.set_retention("*", ["keep-last 1"])
    assert list(desk.labels.expire(desk.clock.now_ms))
    _store, roots = rebuild(list(desk.store.journal_records()))
    assert set(roots) == {desk.snapshot(name) for name in ("base", "work", "main")}


def test_a_local_stores_journal_replays_too(tmp_path: object) -> None:
    with LocalStore.create(f"{tmp_path}/store") as local:
        labels = Labels(local)
        for generation in range(20):
            labels.compare_and_set("main", generation, put_snapshot(local, str(generation % 3)), tags=["t"])
        labels.delete("main")
        store, _roots = rebuild(list(local.journal_records()))
        assert tables(store) == tables(local)


def test_records_of_others_are_passed_over() -> None:
    desk = history()
    with desk.store.write() as txn:
        txn.journal("gc.run", {"plan": "x"})
    store, _roots = rebuild(list(desk.store.journal_records()))
    assert tables(store) == tables(desk.store)


def test_dropped_bodies_leave_the_pointers() -> None:
    desk = history()
    records = [record._replace(body=None) for record in desk.store.journal_records()]
    store, _roots = rebuild(records)
    again, labels = Labels(store), desk.labels
    assert again.verify() == ENTRIES
    assert [info._replace(message="") for info in labels.list()] == list(again.list())
    assert [entry.id for entry in labels.log("main")] == [entry.id for entry in again.log("main")]
    assert list(again.tags()) == []  # tags are in the bodies: who keeps a tag keeps its body


def test_an_op_of_the_future_is_replayed_by_what_it_did() -> None:
    desk = history()

    def rewritten(record: JournalRecord) -> JournalRecord:
        if record.op != "label.autosave":
            return record
        skeleton = decode_skeleton(record.skeleton["entry"])._replace(op="levitate")
        return record._replace(op="label.levitate", skeleton={**record.skeleton, "entry": skeleton.encode()})

    store, _roots = rebuild([rewritten(record) for record in desk.store.journal_records()])
    assert next(Labels(store).log("autosave/main")).op == "levitate"


def with_entry(record: JournalRecord, **changes: Any) -> JournalRecord:
    skeleton: Skeleton = decode_skeleton(record.skeleton["entry"])._replace(**changes)
    return record._replace(skeleton={**record.skeleton, "entry": skeleton.encode()})


def spoiled(op: str, **changes: object) -> Callable[[list[JournalRecord]], list[JournalRecord]]:
    """Every record of that op with other fields."""

    def spoil(records: list[JournalRecord]) -> list[JournalRecord]:
        assert op in {record.op for record in records}
        return [r._replace(skeleton={**r.skeleton, **changes}) if r.op == op else r for r in records]

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        lambda records: records[1:],  # the first of a label is missing
        lambda records: records[:2] + records[3:],  # one in the middle is missing
        lambda records: [records[0], *records],  # one comes twice
        lambda records: [records[2], *records[:2], *records[3:]],  # out of order
        lambda records: [with_entry(records[0], prev=b"p" * 32)],
        lambda records: [*records[:2], with_entry(records[2], generation=1)],
        lambda records: [*records[:2], with_entry(records[2], at_ms=0)],
        lambda records: [with_entry(records[0], to=None)],
        lambda records: [with_entry(records[0], body=b"b" * 32)],
        lambda records: [*records[:2], with_entry(records[2], uid=b"u" * 16)],
        lambda records: [records[0], records[1]._replace(skeleton={**records[1].skeleton, "label": "main"})],
        lambda records: [records[0]._replace(skeleton={}), *records[1:]],
        lambda records: [records[0]._replace(skeleton={**records[0].skeleton, "entry": "text"})],
        lambda records: [records[0]._replace(skeleton={**records[0].skeleton, "entry": b"\x90"})],
        lambda records: [records[0]._replace(body={"entry": 7})],
        lambda records: [record._replace(skeleton={}) for record in records if record.op == "tag.delete"],
        lambda records: [record._replace(skeleton={}) for record in records if record.op == "detached"],
        lambda records: [
            record._replace(skeleton={"ca_id": b"x", "at_ms": 0}) for record in records if record.op == "detached"
        ],
        spoiled("detached", at_ms=-1),
        spoiled("detached.expired", ca_ids=[b"x"]),
        spoiled("detached.expired", ca_ids=None),
        spoiled("retention", pattern=""),
        spoiled("retention", pattern=b"x"),
        spoiled("retention", policy=b"\x90"),
        spoiled("retention", at_ms=True),
        spoiled("pin", id=b"x"),
        spoiled("pin", ca_id=b"x"),
        spoiled("pin", until="x"),
        spoiled("unpin", ids=["x"]),
        spoiled("lock.acquire", token=0),
        spoiled("lock.acquire", label=b"x"),
        spoiled("lock.acquire", holder=b"x"),
        spoiled("lock.steal", token=1),
        spoiled("lock.renew", holder=bytes(32)),
        spoiled("lock.release", expires=-1),
        spoiled("ref", name="release"),
        spoiled("ref", entry=bytes(32)),
        spoiled("ref", entry=b"x"),
        spoiled("ref", ca_id=None),
        spoiled("unref", name="nothing"),
        spoiled("forget", generation=1),
        spoiled("forget", label="main"),
        spoiled("clock.trusted", at_ms=-1),
        spoiled("remove", uid=b"u" * 16),
        spoiled("remove", generations=[7]),
        spoiled("remove", generations="x"),
        spoiled("truncate", uid=b"u" * 16),
        spoiled("truncate", uid=b"u"),
        spoiled("truncate", generations=[99]),
        spoiled("truncate", generations=[-1]),
        spoiled("truncate", floor=None),
        spoiled("purge", id=b"x"),
        spoiled("purge", what=None),
        spoiled("purge", at_ms=-1),
        spoiled("purge.done", id=b"u" * 16),
        spoiled("purge.content", digests=[b"x"]),
        spoiled("purge.replaced", pairs=[b"x" * 33]),
        spoiled("purge.replaced", pairs=[b"x" * 64]),
        spoiled("purge.allowed", ca_id=b"x"),
    ],
)
def test_a_journal_that_does_not_follow_is_refused(
    spoil: Callable[[list[JournalRecord]], list[JournalRecord]],
) -> None:
    records = spoil(list(history().store.journal_records()))
    with pytest.raises(IntegrityError):
        rebuild(records)
