"""Acts: what moves no label is in the journal all the same, and a replay passes over it."""

from __future__ import annotations

import pytest

from jvs.castore.memory import MemoryStore
from jvs.errors import LeaseError, UsageError
from jvs.labels import Labels
from jvs.labels.acts import MAX_TARGET
from jvs.labels.model import MAX_ACTOR, MAX_MESSAGE
from jvs.labels.replay import replay
from jvs.labels.tables import ALL_TABLES
from tests.labels.support import Desk


def test_an_act_is_one_record() -> None:
    desk = Desk()
    desk.labels.record_act("worktree.create", "exp", reason="to try", details={"from": "main"})
    (record,) = desk.store.journal_records()
    assert (record.op, record.skeleton) == ("audit.worktree.create", {"target": "exp", "details": {"from": "main"}})
    assert record.body == {"actor": "tester", "reason": "to try"}


def test_a_replay_passes_over_acts() -> None:
    desk = Desk()
    desk.labels.compare_and_set("main", None, desk.snapshot("a"))
    desk.labels.record_act("restore", "main")
    desk.labels.compare_and_set("main", 1, desk.snapshot("b"))
    store = MemoryStore()
    with store.write() as txn:
        list(replay(txn, (record._replace(body=record.body) for record in desk.store.journal_records())))
    with store.read() as new, desk.store.read() as old:
        assert [list(new.scan(table)) for table in ALL_TABLES] == [list(old.scan(table)) for table in ALL_TABLES]


def test_an_act_needs_the_lock_of_the_label_it_is_about() -> None:
    desk = Desk()
    held = desk.labels.acquire_lock("main", 1000)
    with pytest.raises(LeaseError) as caught:
        desk.labels.record_act("restore", "main", label="main")
    assert caught.value.code == "lock-conflict"
    desk.labels.record_act("restore", "main")
    Labels(desk.store, clock=desk.clock, nonce=held.nonce).record_act("restore", "main", label="main")
    desk.clock.now_ms += 1000
    desk.labels.record_act("restore", "main", label="main")
    assert desk.labels.locks() == []  # it was over, and is ended
    ops = [record.op for record in desk.store.journal_records()]
    assert ops == ["lock.acquire", *["audit.restore"] * 3, "lock.expire"]


def test_operands() -> None:
    desk = Desk()
    for operation in ("", "Restore", "a b", "x" * 49):
        with pytest.raises(UsageError):
            desk.labels.record_act(operation, "main")
    with pytest.raises(UsageError):
        desk.labels.record_act("x", "t" * (MAX_TARGET + 1))
    with pytest.raises(UsageError):
        desk.labels.record_act("x", "t", reason="r" * (MAX_MESSAGE + 1))
    with pytest.raises(UsageError):
        Labels(desk.store, "a" * (MAX_ACTOR + 1)).record_act("x", "t")
    with pytest.raises(UsageError):
        desk.labels.record_act("x", "t", details={"too": "x" * 20_000})
    assert not list(desk.store.journal_records())
