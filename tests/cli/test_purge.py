"""`jvs fs purge`: what it asks of a store, and how it shows what it answers."""

from __future__ import annotations

import pytest

from jvs.cli import priority
from jvs.errors import StateError, UnknownError
from jvs.workspace.purge_results import UNREACHABLE, Also, PurgeResult
from tests.cli.conftest import FakeRepo, Run

ID = bytes(range(16))
SNAPSHOT = bytes(range(32))
RESULT = PurgeResult(
    ID,
    True,
    False,
    (b"keys/one", b"keys/\xff\x1b"),
    3,
    ("main", "agent/1"),
    2,
    4096,
    (Also(SNAPSHOT, b"other/copy", 48),),
    1,
    2 << 20,
    pages=5,
    objects=7,
    packs=1,
)


@pytest.fixture(autouse=True)
def same_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests go on at their own pace."""
    monkeypatch.setattr(priority, "give_way", lambda: None)


def test_what_was_purged(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["purge"] = RESULT
    done = jvs("fs", "purge", "--path", "keys/*", "--path", "x", "--reason", "leaked")
    assert done.status == 0
    assert done.out.splitlines() == [
        "purged 2 files, 4.0 KiB, from 3 snapshots",
        "  keys/one",
        "  keys/\ufffd\\x1b",
        "labels: main, agent/1",
        "stays, being at 000102030405:other/copy as well: purge that path too",
        "stays, being part of other files as well: 1 chunk, 2.0 MiB",
        "removed 7 objects, laid out 5 pages anew, rewrote 1 pack",
        *(f"out of reach: {line}" for line in UNREACHABLE),
    ]
    assert repo.calls[-1][1:] == (([b"keys/*", b"x"], None, "leaked"), {"dry_run": False, "progress": None})
    assert jvs("fs", "purge", "--path", "a", "--reason", "b", "-q").out == ID.hex() + "\n"


def test_what_is_left_is_exit_3(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["purge"] = RESULT._replace(done=False, left=("2 packs are being written to",))
    done = jvs("fs", "purge", "--snapshot", "main@3", "--reason", "wrong")
    assert done.status == 3
    assert "left: 2 packs are being written to" in done.out
    assert repo.calls[-1][1] == ([], "main@3", "wrong")
    program = jvs("fs", "purge", "--snapshot", "main@3", "--reason", "wrong", "--json")
    assert (program.status, program.value["done"], program.value["left"]) == (
        3,
        False,
        ["2 packs are being written to"],
    )


def test_a_dry_run(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["purge"] = RESULT._replace(purge_id=None, dry_run=True)
    done = jvs("fs", "purge", "--path", "a", "--dry-run")
    assert done.out.splitlines()[0] == "dry run: would purge 2 files, 4.0 KiB, from 3 snapshots"
    assert "removed" not in done.out
    value = jvs("fs", "purge", "--path", "a", "--dry-run", "--json").value
    assert (value["purge_id"], value["labels"], value["files"]) == (None, ["main", "agent/1"], 2)
    assert value["also"] == [{"ca_id": SNAPSHOT.hex(), "path": "other/copy", "size": 48}]
    assert value["paths"][1] == {"path": "keys/\ufffd\x1b", "path_b64": "a2V5cy//Gw=="}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StateError("main is at 0a1b", code="snapshot-in-use"), 1),
        (UnknownError("no snapshot has such a path", code="unknown-path"), 5),
    ],
)
def test_failures(jvs: Run, repo: FakeRepo, error: Exception, status: int) -> None:
    repo.answers["purge"] = error
    assert jvs("fs", "purge", "--path", "a", "--reason", "b").status == status
