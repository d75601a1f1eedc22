"""Refs: names that never move, and keep what they name."""

from __future__ import annotations

import pytest

from jvs.castore.digest import page_digest
from jvs.errors import CollectedError, IntegrityError, JvsError, StateError, UnknownError, UsageError
from jvs.labels import Labels
from jvs.labels.names import MAX_NAME
from jvs.labels.roots import Root, roots
from jvs.labels.tables import REFERRED
from tests.labels.support import DAY_MS, Desk


def code_of(error: type[JvsError], call: object, *args: object, **kwargs: object) -> str:
    with pytest.raises(error) as caught:
        call(*args, **kwargs)  # type: ignore[operator]
    return caught.value.code


def kept(desk: Desk) -> set[Root]:
    with desk.store.read() as txn:
        return {root for root in roots(txn, desk.clock.now_ms) if not root.leaving}


def test_a_ref_says_what_it_names_since_when_and_what_for() -> None:
    desk = Desk()
    a, now = desk.snapshot("a"), desk.clock.now_ms
    entry = desk.labels.compare_and_set("main", None, a)
    made = desk.labels.create_ref("v1.0", entry.id, message="the first")
    assert made == ("v1.0", entry.id, a, now, "tester", "the first")
    bare = desk.labels.create_ref("bare", a)
    assert bare[1:3] == (None, a)
    assert desk.labels.refs() == [bare, made]
    assert desk.labels.ref("v1.0") == made
    assert Root(a, "ref", None, "v1.0") in kept(desk)
    desk.labels.verify()


def test_a_ref_never_moves() -> None:
    desk = Desk()
    a, b = desk.snapshot("a"), desk.snapshot("b")
    made = desk.labels.create_ref("x", a)
    with pytest.raises(StateError) as caught:
        desk.labels.create_ref("x", b)
    assert caught.value.code == "already-exists"
    assert "already exists" in caught.value.message
    assert desk.labels.refs() == [made]
    assert desk.labels.delete_ref("x", message="wrong") == made
    assert code_of(UnknownError, desk.labels.delete_ref, "x") == "unknown-ref"
    assert code_of(UnknownError, desk.labels.ref, "x") == "unknown-ref"
    assert desk.labels.create_ref("x", b).ca_id == b


@pytest.mark.parametrize("name", ["", ".", "..", "HEAD", "-x", "a/b", "a b", "\u00e9", "e\u0301", "a\0", "x" * 129])
def test_bad_names(name: str) -> None:
    desk = Desk()
    assert code_of(UsageError, desk.labels.create_ref, name, desk.snapshot("a")) == "bad-name"
    assert code_of(UsageError, desk.labels.ref, name) == "bad-name"
    assert desk.labels.refs() == []


@pytest.mark.parametrize("name", ["a", "v1.0", ".x", "_", "HEADS", "x" * MAX_NAME])
def test_good_names(name: str) -> None:
    desk = Desk()
    assert desk.labels.create_ref(name, desk.snapshot("a")).name == name


def test_what_cannot_be_named() -> None:
    desk = Desk()
    desk.labels.compare_and_set("main", None, desk.snapshot("a"))
    deletion = desk.labels.delete("main")
    assert code_of(UnknownError, desk.labels.create_ref, "x", deletion.id) == "unknown-revision"
    assert code_of(CollectedError, desk.labels.create_ref, "x", page_digest(b"never there")) == "collected"
    assert code_of(UsageError, desk.labels.create_ref, "x", b"short") == "bad-id"
    assert code_of(UsageError, desk.labels.create_ref, "x", desk.snapshot("a"), message="m" * 5000) == "bad-message"
    assert desk.labels.refs() == []
    assert not list(desk.store.journal_records())[2:]


def test_an_entry_with_a_ref_keeps_its_body_until_the_ref_is_deleted() -> None:
    desk = Desk()
    entries = [desk.labels.compare_and_set("main", n, desk.snapshot(str(n)), message=str(n)) for n in range(4)]
    desk.labels.create_ref("one", entries[1].id)
    desk.labels.create_ref("one-more", entries[1].id)
    desk.labels.set_retention("main", ["keep-last 1"])
    list(desk.labels.expire(desk.clock.now_ms))
    assert [entry.message for entry in desk.labels.log("main", newest_first=False)][:4] == ["", "1", "", "3"]
    assert {root.reason for root in kept(desk) if root.ca_id == entries[1].to} == {"reflog", "ref"}
    desk.labels.verify()
    desk.labels.delete_ref("one")
    list(desk.labels.expire(desk.clock.now_ms))
    assert desk.labels.entry(entries[1].id).message == "1"
    desk.labels.delete_ref("one-more")
    list(desk.labels.expire(desk.clock.now_ms))
    assert desk.labels.entry(entries[1].id).dropped
    assert entries[1].to not in {root.ca_id for root in kept(desk)}
    desk.labels.verify()


def test_a_ref_made_while_its_entry_is_being_truncated_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    entries = [desk.labels.compare_and_set("main", n, desk.snapshot(str(n)), message=str(n)) for n in range(4)]
    desk.labels.set_retention("main", ["keep-last 1"])
    done: list[bool] = []
    honest = desk.store.transact

    def transact(work: object) -> object:
        if not done:
            done.append(True)
            desk.labels.create_ref("late", entries[1].id)
        return honest(work)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.store, "transact", transact)
    list(desk.labels.expire(desk.clock.now_ms))
    assert done
    assert [entry.message for entry in desk.labels.log("main", newest_first=False)][:4] == ["", "1", "", "3"]
    desk.labels.verify()


def test_a_ref_outlives_its_label() -> None:
    desk = Desk()
    entry = desk.labels.compare_and_set("gone", None, desk.snapshot("a"), message="m")
    desk.labels.create_ref("x", entry.id)
    desk.labels.delete("gone")
    desk.clock.now_ms += 30 * DAY_MS
    list(desk.labels.expire(desk.clock.now_ms))
    list(desk.labels.expire(desk.clock.now_ms))
    assert desk.labels.entry(entry.id).message == "m"
    assert desk.labels.ref("x").ca_id in {root.ca_id for root in kept(desk)}
    desk.labels.verify()
    desk.labels.delete_ref("x")
    list(desk.labels.expire(desk.clock.now_ms))
    assert desk.snapshot("a") not in {root.ca_id for root in kept(desk)}
    desk.labels.verify()


def test_a_mark_without_its_ref_is_found() -> None:
    desk = Desk()
    entry = desk.labels.compare_and_set("main", None, desk.snapshot("a"))
    desk.labels.create_ref("x", entry.id)
    with desk.store.write() as txn:
        key = next(key for key, _ in txn.scan(REFERRED))
        txn.delete(REFERRED, key)
    with pytest.raises(IntegrityError):
        desk.labels.verify()
    with desk.store.write() as txn:
        txn.put(REFERRED, key, b"")
        txn.put(REFERRED, key + b"y", b"")
    with pytest.raises(IntegrityError):
        desk.labels.verify()


def test_refs_come_in_order() -> None:
    desk = Desk()
    for name in ("b", "a", "c-1"):
        desk.labels.create_ref(name, desk.snapshot(name))
    assert [ref.name for ref in Labels(desk.store).refs()] == ["a", "b", "c-1"]
