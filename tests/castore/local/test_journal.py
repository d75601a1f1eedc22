"""The journal file: cut back, refilled, trimmed, and never believed beyond what LMDB says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from jvs.castore.backend import Table
from jvs.castore.local import env, journal
from jvs.castore.local.store import LocalStore
from jvs.castore.local.verify import verify_store
from jvs.errors import IndexDamagedError, IntegrityError
from tests.castore.local.checks import labels_of, moves_of

LABELS = Table("labels")


def move(store: LocalStore, number: int) -> None:
    with store.write() as txn:
        txn.put(LABELS, b"%d" % number, b"to %d" % number)
        txn.journal("move", {"label": b"%d" % number, "to": b"to %d" % number}, {"message": "m"})


@pytest.fixture
def where(tmp_path: Path) -> Path:
    with LocalStore.create(tmp_path / "store") as store:
        for number in range(5):
            move(store, number)
    return tmp_path / "store"


def check(where: Path, count: int) -> None:
    with LocalStore.open(where) as store:
        records = list(store.journal_records())
        assert len(records) == count
        assert moves_of(records) == labels_of(store)
        assert list(verify_store(store)) == []
        with store.read() as txn:
            assert (where / "journal").stat().st_size == txn.journal_head().length


def last_id(where: Path) -> int:
    with LocalStore.open(where) as store, store.read() as txn:
        return txn.id


def test_what_never_committed_is_cut_off(where: Path) -> None:
    whole = (where / "journal").read_bytes()
    lost = journal.frame(b"a record of the transaction that was killed", last_id(where) + 1)
    for beyond in (b"\0", lost, lost + lost, lost + lost[:30], b"garbage" * 1000):
        (where / "journal").write_bytes(whole + beyond)
        check(where, 5)
        assert (where / "journal").read_bytes() == whole


def test_an_open_handle_cuts_it_off_at_its_next_write(where: Path) -> None:
    with LocalStore.open(where) as store:
        with (where / "journal").open("ab") as file:
            file.write(b"torn")
        assert len(list(store.journal_records())) == 5
        move(store, 5)
    check(where, 6)


@pytest.mark.parametrize(
    "beyond",
    [
        lambda last: journal.frame(b"one", last + 1) + journal.frame(b"two", last + 2),
        lambda last: journal.frame(b"committed, says its number", last),
        lambda last: b"\0" * (257 << 10),
    ],
)
def test_more_than_one_transaction_too_long(where: Path, beyond: Callable[[int], bytes]) -> None:
    whole = (where / "journal").read_bytes() + beyond(last_id(where))
    (where / "journal").write_bytes(whole)
    with pytest.raises(IndexDamagedError) as caught:
        LocalStore.open(where)
    assert caught.value.code == "index-rolled-back"
    assert (where / "journal").read_bytes() == whole, "nothing is cut"


def test_a_lost_end_is_refilled(where: Path) -> None:
    """What the file has not is taken from the tail in the index, at every length down to what is known synced."""
    whole = (where / "journal").read_bytes()
    with LocalStore.open(where) as store, store.read() as txn:
        tail = sum(map(len, txn.journal_tail()))
    assert tail > 0
    for length in (*range(len(whole) - tail, len(whole), tail // 8), len(whole) - 1):
        (where / "journal").write_bytes(whole[:length])
        check(where, 5)
        assert (where / "journal").read_bytes() == whole


def test_an_end_of_zeroes_is_refilled(where: Path) -> None:
    """After a power cut the file may be long enough and not hold what was written."""
    whole = (where / "journal").read_bytes()
    with LocalStore.open(where) as store, store.read() as txn:
        tail = sum(map(len, txn.journal_tail()))
    (where / "journal").write_bytes(whole[:-tail] + bytes(tail))
    check(where, 5)
    assert (where / "journal").read_bytes() == whole


def test_a_lost_middle_is_an_error(tmp_path: Path) -> None:
    where = tmp_path / "store"
    for first in (0, 40):  # the second process trims what the first one synced
        with LocalStore.create(where) as store:
            for number in range(first, first + 40):
                move(store, number)
    whole = (where / "journal").read_bytes()
    (where / "journal").write_bytes(whole[: len(whole) // 4])
    with pytest.raises(IntegrityError) as caught:
        LocalStore.open(where)
    assert caught.value.code == "journal-damaged"
    flipped = bytearray(whole)
    flipped[40] ^= 1
    (where / "journal").write_bytes(flipped)
    with LocalStore.open(where) as store:
        with pytest.raises(IntegrityError) as caught:
            list(store.journal_records())
        assert caught.value.code == "journal-damaged"
        assert [finding.kind for finding in verify_store(store)] == ["journal"]


def tail_of(store: LocalStore) -> int:
    with store.read() as txn:
        return len(txn.journal_tail())


def test_the_tail_is_trimmed(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing syncs the file and notes it; so does a commit a second late. Every 32 records what is synced goes."""
    with LocalStore.open(where) as store:
        for number in range(5, 31):
            move(store, number)
        assert tail_of(store) == 31
        move(store, 31)
        assert tail_of(store) == 27, "the five of the fixture were synced by its close"
        for number in range(32, 64):
            move(store, number)
        assert tail_of(store) == 59
        monkeypatch.setattr(journal, "SYNC_SECONDS", 0)
        for number in range(64, 96):
            move(store, number)
        assert tail_of(store) == 1
        assert moves_of(list(store.journal_records())) == labels_of(store)
    check(where, 96)


def test_a_vanished_end_is_not_refilled_from(where: Path) -> None:
    """A tail that lost a row is no copy of the journal's end, and nothing is cut on its word."""
    raw = lmdb.open(str(where / "index"), map_size=1 << 28)
    with raw.begin(write=True) as txn:
        assert txn.delete(b"T\0" + (3).to_bytes(8, "big"))
    raw.close()
    (where / "index" / "users").write_bytes(env._clean_note(str(where / "index")).encode())
    whole = (where / "journal").read_bytes()
    (where / "journal").write_bytes(whole[:-10])
    with pytest.raises(IndexDamagedError):
        LocalStore.open(where)
    assert (where / "journal").read_bytes() == whole[:-10]


def test_long_transactions_stay_within_the_limit(where: Path) -> None:
    with LocalStore.open(where) as store:
        with store.write() as txn:
            for number in range(16):
                txn.put(LABELS, b"L%d" % number, b"x" * 15_000)
                txn.journal("move", {"label": b"L%d" % number, "to": b"x" * 15_000})
        before = (where / "journal").stat().st_size
    assert before > 240_000
    with (where / "journal").open("r+b") as file:
        file.truncate(before - 200_000)
    check(where, 21)
