"""Verification notices every row that is not what the moves made it, and the reads never show a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from jvs.castore.backend import Table, WriteTxn
from jvs.errors import IndexDamagedError, IntegrityError
from jvs.labels import ANYTHING, Entry
from jvs.labels.model import Body, decode_body, decode_skeleton
from jvs.labels.tables import (
    DELETED,
    ENTRIES,
    IDS,
    LABELS,
    NAMES,
    SNAPSHOTS,
    TAGS,
    UIDS,
    entry_bytes,
    entry_key,
    name_key,
    number,
    pack_row,
    span_key,
    unpack_head,
)
from tests.labels.support import Desk


@pytest.fixture
def desk() -> Desk:
    """`main` with 5 entries, the third of which is a rename, and a deleted label."""
    desk = Desk()
    labels, a, b = desk.labels, desk.snapshot("a"), desk.snapshot("b")
    labels.compare_and_set("old", None, a)
    labels.compare_and_set("old", 1, b, message="secret", tags=["t"])
    labels.rename("old", "main")
    labels.reset("main", a)
    labels.compare_and_set("main", 4, b)
    labels.compare_and_set("gone", None, a)
    labels.delete("gone")
    return desk


def entry(desk: Desk, generation: int) -> Entry:
    found = desk.labels.resolve(f"main@{generation}").entry
    assert found is not None
    return found


def damage(desk: Desk, change: Callable[[WriteTxn], object]) -> None:
    with desk.store.write() as txn:
        change(txn)


def raw_entry(desk: Desk, generation: int) -> tuple[bytes, bytes | None]:
    with desk.store.read() as txn:
        found = entry_bytes(txn, entry(desk, 5).uid, generation)
    assert found is not None
    return found


def put_entry(desk: Desk, generation: int, skeleton: bytes, body: bytes | None) -> None:
    key = entry_key(entry(desk, 5).uid, generation)
    damage(desk, lambda txn: txn.put(ENTRIES, key, pack_row((skeleton, body))))


def test_a_sound_store_verifies(desk: Desk) -> None:
    assert desk.labels.verify_chain("main") == 5
    assert desk.labels.verify() == 7


def test_a_dropped_body_verifies_and_shows_nothing(desk: Desk) -> None:
    before = entry(desk, 2)
    skeleton, _body = raw_entry(desk, 2)
    put_entry(desk, 2, skeleton, None)
    after = entry(desk, 2)
    assert (after.id, after.message, after.tags, after.dropped) == (before.id, "", (), True)
    assert desk.labels.verify() == 7
    skeleton, _body = raw_entry(desk, 5)
    put_entry(desk, 5, skeleton, None)
    assert [info.message for info in desk.labels.list()] == [""]


@pytest.mark.parametrize("generation", [1, 2, 3, 4, 5])
def test_an_altered_entry_is_never_shown_as_sound(desk: Desk, generation: int) -> None:
    skeleton, body = raw_entry(desk, generation)
    altered = decode_skeleton(skeleton)._replace(at_ms=decode_skeleton(skeleton).at_ms + 1).encode()
    put_entry(desk, generation, altered, body)
    with pytest.raises(IntegrityError) as caught:
        desk.labels.verify_chain("main")
    assert caught.value.error_code == "E_DESCRIPTOR_CORRUPT"


def test_an_entry_that_follows_another_one_is_a_broken_lineage(desk: Desk) -> None:
    skeleton, body = raw_entry(desk, 3)
    put_entry(desk, 3, decode_skeleton(skeleton)._replace(prev=entry(desk, 1).id).encode(), body)
    with pytest.raises(IntegrityError) as caught:
        desk.labels.verify_chain("main")
    assert caught.value.error_code == "E_LINEAGE_BROKEN"


def test_an_altered_body_is_refused_by_every_read(desk: Desk) -> None:
    skeleton, body = raw_entry(desk, 2)
    assert body is not None
    forged: Body = decode_body(body)._replace(message="harmless")
    where = entry(desk, 2).id
    put_entry(desk, 2, skeleton, forged.encode())
    for read in (
        lambda: list(desk.labels.log("main")),
        lambda: desk.labels.entry(where),
        lambda: desk.labels.resolve("main@2"),
        lambda: desk.labels.tag("t"),
        lambda: desk.labels.verify(),
    ):
        with pytest.raises(IntegrityError):
            read()


def test_an_entry_in_another_ones_place_is_refused(desk: Desk) -> None:
    put_entry(desk, 2, *raw_entry(desk, 4))
    for read in (lambda: list(desk.labels.log("main")), lambda: desk.labels.verify()):
        with pytest.raises(IntegrityError):
            read()


def _delete(txn: WriteTxn, table: Table, key: bytes) -> None:
    txn.delete(table, key)


def _put(txn: WriteTxn, table: Table, key: bytes, value: bytes) -> None:
    txn.put(table, key, value)


def drop(table: Table, key: Callable[[Desk], bytes]) -> Callable[[Desk], None]:
    def spoil(desk: Desk) -> None:
        doomed = key(desk)
        damage(desk, partial(_delete, table=table, key=doomed))

    return spoil


def write(table: Table, row: Callable[[Desk], tuple[bytes, bytes]]) -> Callable[[Desk], None]:
    def spoil(desk: Desk) -> None:
        key, value = row(desk)
        damage(desk, partial(_put, table=table, key=key, value=value))

    return spoil


def spoil_head(**fields: object) -> Callable[[Desk], None]:
    def spoil(desk: Desk) -> None:
        def change(txn: WriteTxn) -> None:
            raw = txn.get(LABELS, b"main")
            assert raw is not None
            txn.put(LABELS, b"main", pack_row(unpack_head(raw)._replace(**fields)))  # type: ignore[arg-type]

        damage(desk, change)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        drop(LABELS, lambda desk: b"main"),
        drop(DELETED, lambda desk: span_key("gone", 2)),
        drop(UIDS, lambda desk: entry(desk, 5).uid),
        drop(IDS, lambda desk: entry(desk, 2).id),
        drop(ENTRIES, lambda desk: entry_key(entry(desk, 5).uid, 1)),
        drop(ENTRIES, lambda desk: entry_key(entry(desk, 5).uid, 3)),
        drop(ENTRIES, lambda desk: entry_key(entry(desk, 5).uid, 5)),
        drop(SNAPSHOTS, lambda desk: desk.snapshot("a") + entry(desk, 5).uid),
        write(SNAPSHOTS, lambda desk: (desk.snapshot("b") + entry(desk, 5).uid, number(2))),
        write(IDS, lambda desk: (b"x" * 32, entry_key(entry(desk, 5).uid, 2))),
        write(UIDS, lambda desk: (b"u" * 16, pack_row(("main", True)))),
        spoil_head(ca_id=b"c" * 32),
        spoil_head(generation=4),
        spoil_head(entry_id=b"e" * 32),
        spoil_head(uid=b"u" * 16),
    ],
)
def test_rows_that_do_not_fit_the_entries_are_found(desk: Desk, spoil: Callable[[Desk], None]) -> None:
    spoil(desk)
    with pytest.raises(IntegrityError):
        desk.labels.verify()


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x90", pack_row((1,) * 3), b"\xff" * 40])
def test_rows_that_do_not_decode_are_damage(desk: Desk, raw: bytes) -> None:
    key = name_key("main")
    damage(desk, lambda txn: txn.put(LABELS, key, raw))
    with pytest.raises(IndexDamagedError):
        desk.labels.get("main")


def test_a_row_that_silently_vanished_is_damage_not_absence(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a flipped bit in an inner page of an index makes it: the row is gone, but the table's sums say otherwise."""
    labels, first, absent = desk.labels, entry(desk, 1), desk.snapshot("c")
    rows = {LABELS: b"main", IDS: first.id, TAGS: b"t", DELETED: span_key("gone", 2), NAMES: span_key("gone", 1)}
    for table, key in rows.items():
        damage(desk, partial(_delete, table=table, key=key))

    def check_table(self: object, table: Table) -> None:
        if table in rows:
            raise IndexDamagedError(f"the index is damaged: a row of {table.name} is gone")

    monkeypatch.setattr("jvs.castore.memory._MemoryReadTxn.check_table", check_table)
    attempts: list[Callable[[], object]] = [
        lambda: labels.get("main"),
        lambda: labels.require("main"),
        lambda: labels.list(),
        lambda: labels.log("main"),
        lambda: labels.resolve("main"),
        lambda: labels.resolve("main@{1}"),
        lambda: labels.resolve("main@1"),
        lambda: labels.split_location("main/x"),
        lambda: labels.resolve_expected("main"),
        lambda: labels.compare_and_set("main", None, absent),
        lambda: labels.compare_and_set("main", 5, absent),
        lambda: labels.compare_and_set("gone", None, absent),
        lambda: labels.compare_and_set("gone/x", None, absent),
        lambda: labels.force("main", absent),
        lambda: labels.reset("main", absent),
        lambda: labels.rename("main", "other"),
        lambda: labels.rename("other", "main"),
        lambda: labels.delete("main"),
        lambda: labels.undelete("gone"),
        lambda: labels.undo("gone"),
        lambda: labels.entry(first.id),
        lambda: labels.resolve(first.id.hex()),
        lambda: labels.resolve(first.id.hex()[:12]),
        lambda: labels.tag("t"),
        lambda: labels.tags(),
        lambda: labels.delete_tag("t"),
        lambda: labels.merge_bases(first.id, first.id),
        lambda: labels.verify(),
    ]
    before = len(list(desk.store.journal_records()))
    for attempt in attempts:
        with pytest.raises(IndexDamagedError):
            attempt()
    assert len(list(desk.store.journal_records())) == before


def test_a_vanished_row_never_uncovers_an_older_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, a = desk.labels, desk.snapshot("a")
    labels.compare_and_set("gone", None, a)
    labels.delete("gone")
    for table, key in ((DELETED, span_key("gone", 4)), (NAMES, span_key("gone", 3))):
        with desk.store.read() as txn:
            row = txn.get(table, key)
        assert row is not None
        damage(desk, partial(_delete, table=table, key=key))

        def check_table(self: object, checked: Table, table: Table = table) -> None:
            if checked == table:
                raise IndexDamagedError(f"the index is damaged: a row of {table.name} is gone")

        with monkeypatch.context() as patch:
            patch.setattr("jvs.castore.memory._MemoryReadTxn.check_table", check_table)
            with pytest.raises(IndexDamagedError):
                labels.undelete("gone")
        damage(desk, partial(_put, table=table, key=key, value=row))
    assert labels.undelete("gone").generation == 5


def test_a_move_that_finds_its_name_somebody_elses_stops(desk: Desk) -> None:
    write(NAMES, lambda _desk: (span_key("main", 3), pack_row((b"u" * 16, None))))(desk)
    with pytest.raises(IntegrityError):
        desk.labels.delete("main")
    with pytest.raises(IntegrityError):
        desk.labels.rename("main", "other")
    assert desk.labels.resolve("main").generation == 5


@pytest.mark.parametrize("generation", [2, 3, 4])
def test_an_entry_that_vanished_from_the_middle_is_noticed(desk: Desk, generation: int) -> None:
    for day in range(300):
        desk.clock.now_ms += 1000
        desk.labels.compare_and_set("main", ANYTHING, desk.snapshot(str(day % 2)))
    for gone in (generation, 256 - generation):  # in the last page of a log, and between two
        damage(desk, drop_entry(desk, gone))
        for read in (
            lambda: list(desk.labels.log("main")),
            lambda: list(desk.labels.log("main", newest_first=False)),
            lambda: desk.labels.resolve("main@{304}"),
            lambda: desk.labels.verify(),
        ):
            with pytest.raises(IntegrityError):
                read()


def drop_entry(desk: Desk, generation: int) -> Callable[[WriteTxn], object]:
    key = entry_key(entry(desk, 5).uid, generation)
    return lambda txn: txn.delete(ENTRIES, key)


def test_the_newest_entry_before_a_time_is_not_an_older_one(desk: Desk) -> None:
    for day in range(40):
        desk.clock.now_ms += 1000
        desk.labels.compare_and_set("main", ANYTHING, desk.snapshot(str(day % 2)))
    wanted = entry(desk, 20)
    damage(desk, drop_entry(desk, 20))
    with pytest.raises(IndexDamagedError):
        desk.labels.resolve(f"main@{{@{wanted.at_ms // 1000}}}")
