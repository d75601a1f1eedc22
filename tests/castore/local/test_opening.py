"""Making, opening and refusing stores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jvs.castore.backend import Kind, Table
from jvs.castore.local import env, making
from jvs.castore.local.mounts import is_network, network_filesystem
from jvs.castore.local.store import LocalStore
from jvs.castore.settings import StoreSettings
from jvs.errors import (
    IntegrityError,
    JvsError,
    NoStoreError,
    ReadOnlyError,
    StateError,
    StoreError,
    UsageError,
)
from tests.castore.local import driver
from tests.castore.local.checks import check_whole

NOBODY = 65534


def test_a_store_is_made_once(tmp_path: Path) -> None:
    where = tmp_path / "deep" / "down" / "store"
    settings = StoreSettings(chunk_min=64, chunk_avg=256, chunk_max=1024, inline_limit=0, zstd_level=19)
    with LocalStore.create(where, settings) as store:
        assert (store.created, store.readonly, store.settings) == (True, False, settings)
        uuid = store.uuid
        driver.push(store, 1)
    with LocalStore.create(where, StoreSettings()) as store:
        assert (store.created, store.uuid, store.settings) == (False, uuid, settings)
        check_whole(store, {})
    assert os.stat(where).st_mode & 0o077 == 0
    assert sorted(os.listdir(where)) == [
        "cache",
        "committed",
        "config",
        "format_version",
        "index",
        "journal",
        "packs",
        "reserve",
    ]
    assert (where / "format_version").read_bytes() == b"1\n"


def test_an_interrupted_creation_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(env, "initialise", fail)
    with pytest.raises(StoreError):
        LocalStore.create(tmp_path / "store")
    with pytest.raises(NoStoreError) as caught:
        LocalStore.open(tmp_path / "store")
    assert caught.value.code == "not-a-store"
    monkeypatch.undo()
    with LocalStore.create(tmp_path / "store") as store:
        assert store.created


def test_what_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(StateError) as state:
        LocalStore.create(tmp_path / "full")
    assert (state.value.code, state.value.exit_status) == ("already-exists", 1)
    assert os.listdir(tmp_path / "full") == ["letter.txt"]
    with pytest.raises(StateError):
        LocalStore.create(tmp_path / "file")
    for name, code in (("nowhere", "no-store"), ("full", "not-a-store"), ("file", "not-a-store")):
        with pytest.raises(NoStoreError) as caught:
            LocalStore.open(tmp_path / name)
        assert (caught.value.code, caught.value.exit_status) == (code, 10)


@pytest.mark.parametrize(
    ("version", "code"), [(b"2\n", "format-unsupported"), (b"x\n", "damaged"), (b"", "damaged")]
)
def test_other_versions(tmp_path: Path, version: bytes, code: str) -> None:
    LocalStore.create(tmp_path / "store").close()
    (tmp_path / "store" / "format_version").write_bytes(version)
    with pytest.raises(JvsError) as caught:
        LocalStore.open(tmp_path / "store")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("config", "damaged"),
        ("journal", "journal-damaged"),
        ("index/data.mdb", "index-damaged"),
        ("index", "index-damaged"),
    ],
)
def test_a_lost_file_is_named(tmp_path: Path, name: str, code: str) -> None:
    with LocalStore.create(tmp_path / "store") as store:
        driver.push(store, 1)
    os.rename(tmp_path / "store" / name, tmp_path / "elsewhere")
    with pytest.raises(IntegrityError) as caught:
        LocalStore.open(tmp_path / "store")
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["committed", "index/users", "index/gate", "index/lock.mdb"])
def test_a_file_that_may_go(tmp_path: Path, name: str) -> None:
    with LocalStore.create(tmp_path / "store") as store:
        root = driver.push(store, 1)
    (tmp_path / "store" / name).unlink()
    with LocalStore.open(tmp_path / "store") as store:
        check_whole(store, {1: root})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_store_of_somebody_else(tmp_path: Path) -> None:
    where = tmp_path / "store"
    LocalStore.create(where).close()
    os.chown(where, NOBODY, NOBODY)
    with pytest.raises(NoStoreError) as caught:
        LocalStore.open(where, nearest=True)
    assert caught.value.code == "foreign-store"
    LocalStore.open(where).close()
    os.chown(where, 0, 0)
    LocalStore.open(where, nearest=True).close()


def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LocalStore.create(tmp_path / "store").close()
    monkeypatch.setattr(making, "network_filesystem", lambda path: "nfs4")
    for call in (LocalStore.open, LocalStore.create):
        with pytest.raises(StoreError) as caught:
            call(tmp_path / "store")
        assert caught.value.code == "network-filesystem"
    with pytest.raises(StoreError):
        LocalStore.create(tmp_path / "new")
    assert os.listdir(tmp_path / "new") == []


def test_the_mount_table_is_understood(tmp_path: Path) -> None:
    assert network_filesystem(str(tmp_path)) is None
    for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.juicefs", "fuse.sshfs"):
        assert is_network(kind)
    for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", "fuse.fuse-overlayfs"):
        assert not is_network(kind)


def test_other_platforms_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(StoreError) as caught:
        LocalStore.create(tmp_path / "store")
    assert caught.value.code == "unsupported-platform"


@pytest.mark.parametrize(
    "bad",
    [
        {"chunk_min": 63},
        {"chunk_min": 1 << 21},
        {"chunk_avg": 128, "chunk_min": 64},
        {"chunk_min": 4096, "chunk_avg": 2048},
        {"chunk_avg": 1 << 22, "chunk_max": 1 << 21},
        {"chunk_max": (16 << 20) + 1},
        {"inline_limit": -1},
        {"inline_limit": (1 << 20) + 1},
        {"zstd_level": 0},
        {"zstd_level": 20},
        {"zstd_level": True},
    ],
)
def test_bad_settings(bad: dict[str, int]) -> None:
    with pytest.raises(UsageError) as caught:
        StoreSettings(**bad)
    assert caught.value.code == "bad-setting"


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = LocalStore.create(tmp_path / "store")
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.missing(Kind.CHUNK, [bytes(32)])
    with pytest.raises(StoreError, match="closed"):
        store.writer()


def test_two_handles_in_one_process(tmp_path: Path) -> None:
    """One environment serves them; the name a store is reached by does not matter."""
    with LocalStore.create(tmp_path / "store") as one:
        os.symlink(tmp_path / "store", tmp_path / "link")
        with LocalStore.open(tmp_path / "link") as two:
            root = driver.push(one, 1)
            check_whole(two, {1: root})
        driver.push(one, 2)
    with LocalStore.open(tmp_path / "store") as again:
        check_whole(again, {1: root})


def as_nobody(where: Path, code: str) -> str:
    """The code of the JvsError that `code` ends with, run as an ordinary user; what it prints otherwise."""
    program = f"""
import os, sys
sys.path[:] = {sys.path!r}
from jvs.castore.local.store import LocalStore
from jvs.errors import JvsError
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    with LocalStore.open({str(where)!r}) as store:
        {code}
except JvsError as error:
    print(error.code)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/"
    )
    return ended.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_reader_without_write_permission(tmp_path: Path) -> None:
    """On a file system that can be written to, LMDB's readers write too: refused, never read without locks."""
    for parent in (tmp_path, *tmp_path.parents[:2]):
        os.chmod(parent, 0o755)
    where = tmp_path / "store"
    with LocalStore.create(where) as store:
        driver.push(store, 1)
    assert as_nobody(where, "pass") == "read-only"
    os.chmod(where, 0o755)
    assert as_nobody(where, "pass") == "read-only"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_read_only_file_system(tmp_path: Path) -> None:
    where, frozen = tmp_path / "store", tmp_path / "frozen"
    with LocalStore.create(where) as store:
        root = driver.push(store, 1)
    frozen.mkdir()
    if subprocess.run(["mount", "--bind", str(where), str(frozen)], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(frozen)], check=True)
        before = {path: path.stat().st_mtime_ns for path in where.rglob("*")}
        with LocalStore.open(frozen) as store:
            assert store.readonly
            check_whole(store, {1: root})
            with pytest.raises(ReadOnlyError), store.write() as txn:
                txn.put(Table("labels"), b"k", b"v")
            with pytest.raises(ReadOnlyError):
                store.writer()
            with pytest.raises(ReadOnlyError):
                store.delete(Kind.CHUNK, [bytes(32)])
        assert {path: path.stat().st_mtime_ns for path in where.rglob("*")} == before
    finally:
        subprocess.run(["umount", str(frozen)], check=True)
