"""What the index's checksums and sums notice, and how an index is examined before it is mapped."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from jvs.castore.backend import Kind, Table
from jvs.castore.local import env
from jvs.castore.local.store import LocalStore
from jvs.castore.local.tables import OBJECT_PREFIX, prefix_of
from jvs.castore.local.verify import verify_store
from jvs.errors import IndexDamagedError, IntegrityError, MissingObjectError
from tests.castore.local import driver
from tests.castore.local.checks import check_whole

NOTES = Table("notes")


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A store with a few notes in it, closed."""
    with LocalStore.create(tmp_path / "store") as store:
        driver.push(store, 1)
        with store.write() as txn:
            for number in range(20):
                txn.put(NOTES, b"k%02d" % number, b"v%d" % number)
    return tmp_path / "store"


def tamper(where: Path, key: bytes, value: bytes | None) -> None:
    """Change a raw row behind everybody's back (None: remove it), leaving the index marked clean."""
    raw = lmdb.open(str(where / "index"), map_size=1 << 28)
    with raw.begin(write=True) as txn:
        assert txn.delete(key) if value is None else txn.put(key, value)
    raw.close()
    mark_clean(where)


def mark_clean(where: Path) -> None:
    """Make the index look as if its last user had closed it as it is now: what real bit rot looks like."""
    index = str(where / "index")
    with open(where / "index" / "users", "r+b") as file:
        file.write(env._clean_note(index).encode())


def test_a_changed_value_is_noticed(where: Path) -> None:
    tamper(where, prefix_of(NOTES) + b"k07", b"8 bytes.v7")
    with LocalStore.open(where) as store, store.read() as txn:
        assert txn.get(NOTES, b"k06") == b"v6"
        with pytest.raises(IndexDamagedError):
            txn.get(NOTES, b"k07")
        with pytest.raises(IndexDamagedError):
            list(txn.scan(NOTES))
        with pytest.raises(IndexDamagedError):
            txn.check_table(NOTES)


def test_a_vanished_row_is_noticed(where: Path) -> None:
    tamper(where, prefix_of(NOTES) + b"k07", None)
    with LocalStore.open(where) as store:
        with store.read() as txn:
            assert txn.get(NOTES, b"k07") is None
            for _ in range(2):
                with pytest.raises(IndexDamagedError):
                    txn.check_table(NOTES)
        assert any("19 row(s) where 20" in finding.reason for finding in verify_store(store))


def test_a_vanished_sum_is_noticed(where: Path) -> None:
    tamper(where, b"V\0notes", None)
    with LocalStore.open(where) as store, store.read() as txn, pytest.raises(IndexDamagedError):
        txn.check_table(NOTES)


def test_sums_follow_every_change(where: Path) -> None:
    with LocalStore.open(where) as store:
        with store.write() as txn:
            txn.put(NOTES, b"k00", b"changed")
            txn.put(NOTES, b"new", b"x")
            txn.delete(NOTES, b"k01")
            txn.delete(NOTES, b"nothing")
            assert txn.count(NOTES) == 20
            txn.check_table(NOTES)
        assert list(verify_store(store)) == []


def test_verify_looks_at_every_object(where: Path) -> None:
    """A row that points to another object's record, soundly checksummed, is no match for the record's header."""
    objects = driver.tree(1)
    with LocalStore.open(where) as store:
        with store.write() as txn:
            rows = [txn.get(Table("O"), bytes((kind,)) + key) for kind, key, _, _ in objects]
            assert rows[0] is not None
            assert rows[1] is not None
            txn.put(Table("O"), bytes((objects[0][0],)) + objects[0][1], rows[0][:24] + rows[1][24:])
            txn.put(Table("O"), bytes((objects[1][0],)) + objects[1][1], rows[0])
        with pytest.raises(IntegrityError) as caught:
            store.get(*objects[1][:2])
        assert caught.value.details["digest"] == objects[1][1].hex()
        assert "another object" in caught.value.message
        found = {finding.digest for finding in verify_store(store)}
        assert {objects[0][1], objects[1][1]} <= found


def test_verify_counts_live_bytes(where: Path) -> None:
    with LocalStore.open(where) as store:
        with store.write() as txn:
            (pack, value), *_ = txn.scan(Table("P"))
            txn.put(Table("P"), pack, value[:-1] + bytes((value[-1] ^ 1,)))
        findings = list(verify_store(store))
        assert [finding.path for finding in findings] == [f"packs/{pack.hex()}.pack"]


def test_an_unclean_end_is_examined_in_a_child(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bool] = []
    probe = env.probe

    def watched(path: str, *, quick: bool = False) -> list[str]:
        looked.append(quick)
        return probe(path, quick=quick)

    monkeypatch.setattr(env, "probe", watched)
    LocalStore.open(where).close()
    assert looked == []
    program = f"""
import os, signal, sys
sys.path[:] = {sys.path!r}
from jvs.castore.local.store import LocalStore
store = LocalStore.open({str(where)!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    LocalStore.open(where).close()
    assert looked == [False]
    monkeypatch.setattr(env, "QUICK_ABOVE", 0)
    subprocess.run([sys.executable, "-c", program])
    LocalStore.open(where).close()
    LocalStore.open(where).close()
    assert looked == [False, True], "a large index of a machine that never stopped is walked in part only"
    (where / "index" / "users").write_bytes(b"open another boot".ljust(128))
    LocalStore.open(where).close()
    assert looked == [False, True, False]


def test_a_leaving_process_does_not_mark_it_clean_for_others(where: Path) -> None:
    """The one that is killed last leaves no note, although another one closed properly before."""
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from jvs.castore.local.store import LocalStore
store = LocalStore.open({str(where)!r})
print("open", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"open\n"
    LocalStore.open(where).close()
    assert (where / "index" / "users").read_bytes().startswith(b"open ")
    other.kill()
    other.communicate()
    LocalStore.open(where).close()
    assert (where / "index" / "users").read_bytes().startswith(b"clean ")


def test_a_handle_left_open_is_closed_at_exit(where: Path) -> None:
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from jvs.castore.local.store import LocalStore
store = LocalStore.open({str(where)!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert (where / "index" / "users").read_bytes().startswith(b"clean ")


def test_an_index_cut_short_never_kills(where: Path) -> None:
    """Refused at every length, by an error and not by a signal; also when it is marked clean."""
    whole = (where / "index" / "data.mdb").read_bytes()
    for length in {0, 1, 100, 4095, 4096, 8191, *range(8192, len(whole), 4096), len(whole) - 1}:
        for clean in (False, True):
            (where / "index" / "data.mdb").write_bytes(whole[:length])
            if clean:
                mark_clean(where)
            with pytest.raises(IndexDamagedError) as caught:
                LocalStore.open(where)
            assert caught.value.code == "index-damaged"
    (where / "index" / "data.mdb").write_bytes(whole)
    with LocalStore.open(where) as store:
        check_whole(store, {})


def test_pages_never_written_may_be_missing(where: Path) -> None:
    """LMDB counts pages it took and gave back before it ever wrote them: such a file is short and sound."""
    with LocalStore.open(where) as store, store.write() as txn:
        for number in range(3000):
            txn.put(NOTES, b"big%d" % number, b"x" * 50)
        for number in range(3000):
            txn.delete(NOTES, b"big%d" % number)
    data = where / "index" / "data.mdb"
    last = _last_page(data)
    os.truncate(data, (last + 1) * 4096)
    with LocalStore.open(where) as store:
        check_whole(store, {})


def _last_page(data: Path) -> int:
    """The last page that the newest tree or free list of an index needs, found by trying."""
    whole = data.read_bytes()
    size = len(whole)
    import lmdb.verify

    while size > 8192:
        data.write_bytes(whole[: size - 4096])
        if lmdb.verify.verify(str(data)):  # type: ignore[no-untyped-call]
            break
        size -= 4096
    data.write_bytes(whole)
    return size // 4096 - 1


def test_an_index_that_went_back_is_noticed(where: Path) -> None:
    """The newer meta page spoiled in a way LMDB cannot see: it opens at the commit before, and we do not."""
    data = where / "index" / "data.mdb"
    raw = bytearray(data.read_bytes())
    at = [16 + place * 4096 + 128 for place in (0, 1)]
    ids = [struct.unpack_from("=Q", raw, offset)[0] for offset in at]
    newest = at[ids.index(max(ids))]
    struct.pack_into("=Q", raw, newest, 0)
    data.write_bytes(raw)
    mark_clean(where)
    sizes = {path: path.stat().st_size for path in where.rglob("*") if "index" not in path.parts}
    with pytest.raises(IndexDamagedError) as caught:
        LocalStore.open(where)
    assert (caught.value.code, caught.value.exit_status) == ("index-rolled-back", 8)
    assert {path: path.stat().st_size for path in where.rglob("*") if "index" not in path.parts} == sizes


def test_a_lost_object_is_missing_and_a_moved_one_is_not(where: Path) -> None:
    kind, key, stored, _ = driver.tree(1)[0]
    with LocalStore.open(where) as store:
        assert store.get(kind, key) == stored
        os.rename(where / "packs", where / "away")
        (where / "packs").mkdir()
        assert store.get(kind, key) == stored, "its pack is open"
    with LocalStore.open(where) as store, pytest.raises(IntegrityError) as caught:
        store.get(kind, key)
    assert caught.value.code == "damaged"
    assert "is gone" in caught.value.message
    with LocalStore.open(where) as store, pytest.raises(MissingObjectError):
        store.get(Kind.CHUNK, bytes(32))
    assert OBJECT_PREFIX == b"O\0"
