"""`jvs lock`, as people and scripts use it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.blackbox.conftest import CODE, Done, Jvs
from tests.blackbox.workspace.conftest import Repository

FIELDS = ["worktree_name", "holder_nonce", "session_id", "acquired_at", "expires_at", "fencing_token", "purpose"]


def refused(done: Done, name: str, code: str) -> None:
    """Exit 11, with the name in brackets for people or in the object for programs."""
    assert done.status == 11, done
    if done.out:
        assert (done.value["error"]["error_code"], done.value["error"]["code"]) == (name, code)
    else:
        assert done.err.splitlines()[0].startswith("error: ")
        assert done.err.splitlines()[0].endswith(f"({name})")
        assert done.err.splitlines()[-1].startswith("next: ")


@pytest.fixture
def saved(repository: Repository) -> Repository:
    """Two snapshots, and another directory `other` in the session's, bound to nothing."""
    repository.write("a", "1")
    repository.save("first")
    repository.write("a", "2")
    repository.save("second")
    other = repository.root.parent / "other"
    other.mkdir()
    (other / "b").write_text("b")
    return repository


def test_the_contract(saved: Repository) -> None:
    made = saved.json("lock", "acquire", "--purpose", "import", "--lease-ms", "60000", "--session-id", "s1")
    assert list(made)[: len(FIELDS)] == FIELDS
    assert (made["worktree_name"], made["session_id"], made["purpose"]) == ("main", "s1", "import")
    assert made["fencing_token"] == 1
    session = saved.control / "worktrees" / "main" / "session"
    assert stat.S_IMODE(session.stat().st_mode) == 0o600
    assert session.read_text().strip() == made["holder_nonce"]
    for words in (("lock", "status"), ("lock", "renew"), ("audit",), ("info",), ("status",)):
        for more in ((), ("--json",)):
            assert made["holder_nonce"] not in "".join(saved(*words, *more).ok()[1:])
    seen = saved.json("lock", "status")
    assert list(seen)[: len(FIELDS) - 1] == [field for field in FIELDS if field != "holder_nonce"]
    assert (seen["state"], seen["session_id"]) == ("held", "s1")
    assert seen["expires_at"] > seen["acquired_at"] == made["acquired_at"]
    released = saved.json("lock", "release")
    assert (released["state"], released["fencing_token"]) == ("free", 1)
    assert not session.exists()
    assert saved.json("lock", "status")["state"] == "free"
    assert saved.json("lock", "acquire")["fencing_token"] == 2


def test_everybody_else_is_kept_from_moving_the_label(saved: Repository) -> None:
    nonce = saved.json("lock", "acquire")["holder_nonce"]
    root, other = saved.root, saved.root.parent / "other"
    saved("fs", "push", other, "--label", "side", cwd=root).ok()  # another label: nobody minds
    before = saved("fs", "log", "main", "--json").out
    movers: list[tuple[str | Path, ...]] = [
        ("fs", "push", other, "--label", "main", "--force"),
        ("fs", "push", other, "--label", "main", "--expected", "2"),
        ("fs", "push", other, "--label", "main", "--expected", "1"),
        ("fs", "reset", "main", "main@1"),
        ("fs", "undo", "main"),
        ("fs", "merge", "main", "side", "--into", "main", "--two-way"),
        ("fs", "label", "main", "main@1"),
        ("fs", "label", "--delete", "main"),
        ("fs", "label", "--rename", "main", "trunk"),
        ("fs", "rm", "main:a"),
    ]
    for words in movers:
        refused(saved(*words, cwd=root), "E_LOCK_CONFLICT", "lock-conflict")
        refused(saved(*words, "--json", cwd=root), "E_LOCK_CONFLICT", "lock-conflict")
    session = saved.control / "worktrees" / "main" / "session"
    session.unlink()
    for words in (("snapshot", "third"), ("save",), ("fs", "push", saved.main), ("lock", "acquire"), ("lock", "steal")):
        refused(saved(*words), "E_LOCK_CONFLICT", "lock-conflict")
    assert saved("fs", "log", "main", "--json").out == before
    # the holder, by each way to say so
    saved("snapshot", "by option", "--nonce", nonce).ok()
    saved("snapshot", "by environment", env={"JVS_LOCK_NONCE": nonce}).ok()
    saved("fs", "reset", "main", "main@1", cwd=root, env={"JVS_LOCK_NONCE": nonce}).ok()
    session.write_text(nonce)
    saved("fs", "reset", "main", "main@2").ok()
    assert len(saved("fs", "log", "main", "-q").out.splitlines()) == 6


def test_an_old_holder_is_refused(saved: Repository) -> None:
    old = saved.json("lock", "acquire", "--lease-ms", "1")["holder_nonce"]
    time.sleep(0.01)
    refused(saved("snapshot", "--nonce", old), "E_LOCK_EXPIRED", "lock-expired")
    refused(saved("lock", "renew"), "E_LOCK_EXPIRED", "lock-expired")
    new = saved.json("lock", "steal")
    assert new["fencing_token"] == 2
    assert saved.json("lock", "status")["state"] == "held"
    refused(saved("snapshot", "--nonce", old), "E_FENCING_MISMATCH", "fencing-mismatch")
    refused(saved("snapshot", env={"JVS_LOCK_NONCE": old}), "E_FENCING_MISMATCH", "fencing-mismatch")
    for verb in ("renew", "release"):
        refused(saved("lock", verb, "--nonce", old), "E_LOCK_NOT_HELD", "lock-not-held")
    saved("snapshot", "by the new one").ok()
    refused(saved("lock", "steal"), "E_LOCK_CONFLICT", "lock-conflict")
    usage = saved("lock", "steal", "--force")
    assert usage.status == 2
    taken = saved.json("lock", "steal", "--force", "--reason", "gone fishing")
    assert taken["fencing_token"] == 3
    assert saved.json("audit", "-n", "1")[0]["reason"] == "gone fishing"
    refused(saved("snapshot", "--nonce", new["holder_nonce"]), "E_FENCING_MISMATCH", "fencing-mismatch")
    saved("lock", "release").ok()
    refused(saved("snapshot", "--nonce", old), "E_LOCK_NOT_HELD", "lock-not-held")
    refused(saved("lock", "release"), "E_LOCK_NOT_HELD", "lock-not-held")


def test_a_stale_lock_does_not_brick_a_worktree(saved: Repository) -> None:
    """A fault of the first JVS: whoever died with a lock kept everybody out for good."""
    saved("lock", "acquire", "--lease-ms", "1").ok()
    time.sleep(0.01)
    assert saved.json("lock", "status")["state"] == "expired"
    saved.save("goes on")
    assert saved.json("lock", "status")["state"] == "free"
    saved.save("with a note of a lock that is nobody's")
    refused(saved("lock", "release"), "E_LOCK_NOT_HELD", "lock-not-held")  # and takes the note away
    assert not (saved.control / "worktrees" / "main" / "session").exists()
    saved("lock", "acquire", "--lease-ms", "1").ok()
    time.sleep(0.01)
    assert saved.json("lock", "acquire")["fencing_token"] == 3


def test_tokens_grow_past_delete_create_and_a_rebuilt_index(saved: Repository, jvs: Jvs) -> None:
    for token in (1, 2):
        assert saved.json("lock", "acquire")["fencing_token"] == token
        saved("lock", "release").ok()
    saved("fs", "label", "--delete", "main").ok()
    jvs("doctor", "--rebuild-index", cwd=saved.main).ok()
    mended = saved.json("audit", "-n", "1")[0]
    assert (mended["operation"], mended["target"]) == ("repair", "index")
    assert saved.json("lock", "acquire")["fencing_token"] == 3
    saved("fs", "push", saved.root.parent / "other", "--label", "main", "--force").ok()
    saved("lock", "release").ok()
    assert saved.json("lock", "acquire")["fencing_token"] == 4
    assert saved.json("doctor")["healthy"]


def test_processes_that_acquire_at_once(saved: Repository, jvs: Jvs) -> None:
    program = [sys.executable, "-c", CODE, "lock", "acquire", "--json"]
    racers = [subprocess.Popen(program, cwd=saved.main, env=jvs.environment, stdout=subprocess.PIPE) for _ in range(4)]
    values = [json.loads(racer.communicate()[0]) for racer in racers]
    assert sorted(racer.returncode for racer in racers) == [0, 11, 11, 11]
    (won,) = [value for value in values if "error" not in value]
    assert won["fencing_token"] == 1
    assert {value["error"]["error_code"] for value in values if "error" in value} == {"E_LOCK_CONFLICT"}
    assert (saved.control / "worktrees" / "main" / "session").read_text().strip() == won["holder_nonce"]
    saved.save("by the note of the one that won")


def test_operands(saved: Repository) -> None:
    assert saved("lock", "acquire", "--lease-ms", "0").status == 2
    assert saved("lock", "acquire", "--lease-ms", "x").status == 2
    assert saved("lock", "acquire", "--purpose", "x" * 5000).status == 2
    outside = saved("lock", "acquire", cwd=saved.root)
    assert outside.status == 2
    assert "-w main" in outside.err
    assert saved("lock", "status", "-w", "nothing").status == 5
    assert saved("lock", "acquire", "-w", "main", cwd=saved.root).ok().out.startswith("Lock acquired on worktree main")
    assert os.listdir(saved.control / "worktrees") == ["main"]
