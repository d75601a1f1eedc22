"""Locks: who may move a label, whatever their clocks say."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jvs.castore.digest import nonce_digest
from jvs.castore.local.store import LocalStore
from jvs.castore.memory import MemoryStore
from jvs.errors import JvsError, LabelMovedError, LeaseError, UsageError
from jvs.labels import ANYTHING, Labels
from jvs.labels.conformance import SettableClock
from jvs.labels.locks import MAX_LEASE_MS, MAX_SESSION, Held
from jvs.labels.model import MAX_MESSAGE
from jvs.labels.replay import replay
from jvs.labels.tables import LOCKS
from tests.labels.support import Desk, put_snapshot


def refused(code: str, call: Callable[..., object], *args: object, **kwargs: object) -> JvsError:
    with pytest.raises(LeaseError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    assert caught.value.exit_status == 11
    return caught.value


class Room(Desk):
    """A store with the label main at a, and somebody for every nonce."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = self.snapshot("a"), self.snapshot("b")
        self.first = self.labels.compare_and_set("main", None, self.a)
        self.labels.compare_and_set("main", 1, self.b)

    def with_nonce(self, nonce: str, clock: SettableClock | None = None) -> Labels:
        return Labels(self.store, "holder", self.clock if clock is None else clock, nonce)


MOVES: dict[str, Callable[[Labels, Room], object]] = {
    "push": lambda labels, room: labels.compare_and_set("main", ANYTHING, room.a),
    "push with a stale expectation": lambda labels, room: labels.compare_and_set("main", 1, room.a),
    "force": lambda labels, room: labels.force("main", room.a),
    "merge": lambda labels, room: labels.compare_and_set("main", ANYTHING, room.a, op="merge", parents=[]),
    "repoint": lambda labels, room: labels.compare_and_set("main", ANYTHING, room.a, op="repoint"),
    "reset": lambda labels, room: labels.reset("main", room.a),
    "undo": lambda labels, room: labels.undo("main"),
    "delete": lambda labels, room: labels.delete("main"),
    "rename": lambda labels, room: labels.rename("main", "trunk"),
}


@pytest.mark.parametrize("kind", MOVES)
def test_only_the_holder_moves_a_locked_label(kind: str) -> None:
    room = Room()
    held = room.labels.acquire_lock("main", 1000, "a long job", "session 1")
    before = len(list(room.store.journal_records()))
    error = refused("lock-conflict", MOVES[kind], room.labels, room)
    assert error.error_code == "E_LOCK_CONFLICT"
    assert error.details == {
        "label": "main",
        "session_id": "session 1",
        "who": "tester",
        "purpose": "a long job",
        "expires_ms": room.clock.now_ms + 1000,
        "fencing_token": 1,
    }
    assert held.nonce not in error.message + str(error.details)
    refused("lock-conflict", MOVES[kind], room.with_nonce("0" * 40), room)
    assert len(list(room.store.journal_records())) == before
    holder = room.with_nonce(held.nonce)
    if kind == "push with a stale expectation":
        with pytest.raises(LabelMovedError):
            MOVES[kind](holder, room)
    else:
        MOVES[kind](holder, room)
        assert len(list(room.store.journal_records())) > before


def test_a_name_can_be_locked_before_its_label_is_there_and_after_it_was_deleted() -> None:
    room = Room()
    held = room.labels.acquire_lock("new")
    refused("lock-conflict", room.labels.compare_and_set, "new", None, room.a)
    refused("lock-conflict", room.labels.rename, "main", "new")
    holder = room.with_nonce(held.nonce)
    holder.compare_and_set("new", None, room.a)
    holder.delete("new")
    refused("lock-conflict", room.labels.undelete, "new")
    refused("lock-conflict", room.labels.undo, "new")
    refused("lock-conflict", room.labels.compare_and_set, "new", None, room.a)
    assert holder.undelete("new").to == room.a


def test_other_labels_are_not_concerned() -> None:
    room = Room()
    holder = room.with_nonce(room.labels.acquire_lock("main").nonce)
    for labels in (room.labels, holder):
        labels.compare_and_set("other", ANYTHING, room.a)
        labels.autosave("main", room.a)
    stale = room.labels.acquire_lock("other")
    room.labels.release_lock("other", stale.nonce)
    holder.compare_and_set("other", ANYTHING, room.b)  # whose lock nobody has any more


def test_the_token_only_ever_grows() -> None:
    room, tokens = Room(), []

    def took(held: Held) -> Held:
        tokens.append(held.lock.token)
        return held

    held = took(room.labels.acquire_lock("main"))
    assert room.labels.renew_lock("main", held.nonce).token == 1
    room.labels.release_lock("main", held.nonce)
    held = took(room.labels.acquire_lock("main"))
    held = took(room.labels.steal_lock("main", force=True))
    room.with_nonce(held.nonce).delete("main")
    room.labels.release_lock("main", held.nonce)
    room.labels.compare_and_set("main", None, room.a)
    took(room.labels.acquire_lock("main", 10))
    room.clock.now_ms += 10
    room.labels.compare_and_set("main", ANYTHING, room.b)  # ends the lock
    took(room.labels.acquire_lock("main"))
    assert tokens == [1, 2, 3, 4, 5]
    store = MemoryStore()
    with store.write() as txn:
        list(replay(txn, room.store.journal_records()))
    again = Labels(store, clock=room.clock)
    assert again.lock("main") == room.labels.lock("main")
    assert again.steal_lock("main", force=True).lock.token == 6


def test_an_old_holder_is_refused_whatever_its_clock_says() -> None:
    room, behind = Room(), SettableClock()
    old = room.labels.acquire_lock("main", 1000)
    behind.now_ms = room.clock.now_ms
    room.clock.now_ms += 1000
    new = room.labels.acquire_lock("main")  # whose lease was over
    labels = room.with_nonce(old.nonce, behind)
    for kind in MOVES.values():
        assert refused("fencing-mismatch", kind, labels, room).error_code == "E_FENCING_MISMATCH"
    refused("lock-not-held", labels.renew_lock, "main", old.nonce)
    refused("lock-not-held", labels.release_lock, "main", old.nonce)
    room.labels.release_lock("main", new.nonce)
    refused("lock-not-held", MOVES["push"], labels, room)
    room.with_nonce(new.nonce).check_lock("other")
    refused("lock-not-held", room.with_nonce(new.nonce).check_lock, "main")


def test_a_move_past_a_lease_that_is_over_ends_the_lock() -> None:
    """Else an old holder whose clock is behind could go on after somebody else had moved the label."""
    room, behind = Room(), SettableClock()
    held = room.labels.acquire_lock("main", 1000)
    behind.now_ms = room.clock.now_ms
    room.clock.now_ms += 999
    refused("lock-conflict", MOVES["push"], room.labels, room)
    room.clock.now_ms += 1
    refused("lock-expired", MOVES["push"], room.with_nonce(held.nonce), room)
    refused("lock-expired", room.labels.renew_lock, "main", held.nonce)
    room.labels.compare_and_set("main", ANYTHING, room.a)
    lock = room.labels.lock("main")
    assert lock is not None
    assert (lock.held, lock.token) == (False, 1)
    refused("lock-not-held", MOVES["push"], room.with_nonce(held.nonce, behind), room)


def test_a_clock_that_goes_back_gives_nobody_the_lock() -> None:
    room = Room()
    held = room.labels.acquire_lock("main", 1000)
    room.clock.now_ms -= 10_000_000
    refused("lock-conflict", room.labels.acquire_lock, "main")
    refused("lock-conflict", room.labels.steal_lock, "main")
    refused("lock-conflict", MOVES["push"], room.labels, room)
    expires = held.lock.expires_ms
    assert room.labels.renew_lock("main", held.nonce, 1000).expires_ms == expires  # never less than it was
    MOVES["push"](room.with_nonce(held.nonce), room)
    assert room.labels.steal_lock("main", force=True).lock.token == 2  # the way out


def test_acquire_and_steal() -> None:
    room = Room()
    refused("lock-not-held", room.labels.steal_lock, "main", force=True)
    first = room.labels.acquire_lock("main", 1000, "why", "s1")
    now = room.clock.now_ms
    assert first.lock == ("main", True, 1, now, now + 1000, "tester", "s1", "why")
    refused("lock-conflict", room.labels.acquire_lock, "main")
    refused("lock-conflict", room.labels.steal_lock, "main")
    room.clock.now_ms += 1000
    second = room.labels.steal_lock("main", 1000)
    assert second.lock.session_id != ""
    assert room.labels.locks() == [second.lock]
    third = room.labels.steal_lock("main", 1000, force=True, message="its host is gone")
    record = list(room.store.journal_records())[-1]
    assert (record.op, record.body["reason"]) == ("lock.steal", "its host is gone")  # type: ignore[index]
    refused("fencing-mismatch", MOVES["push"], room.with_nonce(second.nonce), room)
    room.clock.now_ms += 1000
    released = room.labels.release_lock("main", third.nonce)  # also when it is over
    assert (released.held, released.token) == (False, 3)
    assert room.labels.locks() == []
    refused("lock-not-held", room.labels.release_lock, "main", third.nonce)
    refused("lock-not-held", room.labels.renew_lock, "main", third.nonce)


def test_renewing_prolongs() -> None:
    room = Room()
    held = room.labels.acquire_lock("main", 1000)
    room.clock.now_ms += 999
    assert room.labels.renew_lock("main", held.nonce, 1000).expires_ms == room.clock.now_ms + 1000
    refused("lock-not-held", room.labels.renew_lock, "main", "nonsense")
    refused("lock-not-held", room.labels.renew_lock, "other", held.nonce)


def test_a_lock_goes_with_its_label_to_another_name() -> None:
    room = Room()
    for name in ("main", "trunk", "trunk"):
        room.labels.release_lock(name, room.labels.acquire_lock(name).nonce)
    held = room.labels.acquire_lock("main", session_id="s")
    assert held.lock.token == 2
    holder = room.with_nonce(held.nonce)
    holder.rename("main", "trunk")
    lock, left = room.labels.lock("trunk"), room.labels.lock("main")
    assert lock is not None
    assert left is not None
    assert (lock.held, lock.token, lock.session_id) == (True, 3, "s")  # 2 was given out under this name
    assert (left.held, left.token) == (False, 2)
    refused("lock-conflict", room.labels.undo, "trunk")
    holder.undo("trunk")
    assert room.labels.acquire_lock("trunk").lock.token == 4
    back = room.labels.lock("main")
    assert back is not None
    assert (back.held, back.token) == (True, 3)
    theirs = room.labels.acquire_lock("x")
    refused("lock-conflict", holder.rename, "main", "x")
    room.labels.release_lock("x", theirs.nonce)
    assert room.labels.verify() == room.labels.verify_chain("main")


def test_what_the_collector_notes_needs_no_lock() -> None:
    room = Room()
    room.labels.acquire_lock("main")
    room.labels.set_retention("main", ["keep-last 1"])
    assert [step.what for step in room.labels.expire(room.clock.now_ms)] == ["truncated"]
    assert next(room.labels.log("main")).op == "checkpoint"
    room.store.transact(lambda txn: room.labels.purge_in(txn, "main", "why", {}))
    assert next(room.labels.log("main")).op == "purge"


def test_the_nonce_is_written_nowhere() -> None:
    room = Room()
    held = room.labels.acquire_lock("main")
    room.with_nonce(held.nonce).compare_and_set("main", ANYTHING, room.a)
    room.labels.renew_lock("main", held.nonce)
    with room.store.read() as txn:
        row = next(raw for _key, raw in txn.scan(LOCKS))
    assert nonce_digest(held.nonce.encode()) in row
    said = repr(list(room.store.journal_records())) + repr(row)
    assert held.nonce not in said
    assert bytes.fromhex(held.nonce)[4:].hex() not in said


def test_operands() -> None:
    room = Room()
    for name in ("", "a b", "-x"):
        with pytest.raises(UsageError) as caught:
            room.labels.acquire_lock(name)
        assert caught.value.code == "bad-label-name"
    for lease in (0, -1, MAX_LEASE_MS + 1):
        with pytest.raises(UsageError):
            room.labels.acquire_lock("main", lease)
    with pytest.raises(UsageError):
        room.labels.acquire_lock("main", purpose="x" * (MAX_MESSAGE + 1))
    with pytest.raises(UsageError):
        room.labels.acquire_lock("main", session_id="x" * (MAX_SESSION + 1))
    assert room.labels.lock("main") is None
    assert room.labels.locks() == []


def race(path: str, number: int, ready: object, won: object) -> None:
    """Acquire and give back, many times; note each token while the lock is held."""
    with LocalStore.open(path) as store:
        labels = Labels(store, f"p{number}")
        ready.wait()  # type: ignore[attr-defined]
        for _ in range(20):
            try:
                held = labels.acquire_lock("main")
            except LeaseError:
                continue
            inside = os.open(f"{path}.inside", os.O_CREAT | os.O_EXCL)  # nobody else is
            Labels(store, f"p{number}", nonce=held.nonce).force("main", put_snapshot(store, str(number)))
            won.put(held.lock.token)  # type: ignore[attr-defined]
            os.unlink(f"{path}.inside")
            os.close(inside)
            labels.release_lock("main", held.nonce)


def test_of_two_processes_one_has_the_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    LocalStore.create(path).close()
    context = multiprocessing.get_context("spawn")
    ready, won = context.Barrier(2), context.Queue()
    racers = [context.Process(target=race, args=(path, number, ready, won)) for number in range(2)]
    for racer in racers:
        racer.start()
    tokens = []
    while any(racer.is_alive() for racer in racers) or not won.empty():
        while not won.empty():
            tokens.append(won.get())
        for racer in racers:
            racer.join(0.05)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert sorted(tokens) == list(range(1, len(tokens) + 1))
    assert len(tokens) >= 20
    with LocalStore.open(path) as store:
        assert {entry.op for entry in Labels(store).log("main")} <= {"create", "force"}
        assert Labels(store).require("main").generation == len(tokens)
