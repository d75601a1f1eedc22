"""`jvs doctor` in a repository: what it finds, and that every repair it lists fixes a fault that was planted."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jvs.workspace.repo import Repo
from tests.blackbox.workspace.conftest import Repository

REPAIRS = ["clean_tmp", "clean_intents", "advance_head", "rebuild_index", "audit_repair"]


@pytest.fixture
def saved(repository: Repository) -> Repository:
    """Two snapshots, and a fork."""
    repository.write("f", "one")
    repository.save("one")
    repository.write("f", "two")
    repository.save("two")
    repository("worktree", "fork", "exp").ok()
    return repository


def findings(repository: Repository, *words: str) -> list[dict[str, Any]]:
    """What it finds that is more than information, and not about its own repairs."""
    found = repository("doctor", "--json", *words).value["findings"]
    return [one for one in found if one["severity"] != "info"]


def assert_healthy(repository: Repository) -> None:
    assert findings(repository, "--strict") == []
    assert repository("doctor", "--strict").ok().out.splitlines()[-1] == "Repository is healthy."


def test_a_healthy_repository(saved: Repository) -> None:
    for words in ([], ["--strict"], ["--repair-runtime"], ["--repair"]):
        assert saved("doctor", *words).ok().out == "Repository is healthy.\n"
        value = saved.json("doctor", *words)
        assert (value["healthy"], value["findings"]) == (True, [])


def test_the_list_of_repairs(repository: Repository, tmp_path: Path) -> None:
    assert repository("doctor", "--repair-list", "-q").ok().out.split() == REPAIRS
    assert [line.split()[0] for line in repository("doctor", "--repair-list").ok().out.splitlines()] == REPAIRS
    listed = repository.json("doctor", "--repair-list")
    assert [list(one) for one in listed] == [["id", "description", "command"]] * 5
    assert repository("doctor", "--repair-list", "-q", cwd=tmp_path).ok().out.split() == REPAIRS


def test_a_bare_store_is_examined_as_before(saved: Repository) -> None:
    bare = saved.root.parent / "bare"
    bare.mkdir()
    saved("fs", "init", cwd=bare).ok()
    assert saved("doctor", cwd=bare).ok().out == "Store is healthy.\n"
    assert list(saved.json("doctor", cwd=bare)) == ["healthy", "findings", "affected", "affected_snapshots"]
    assert saved("doctor", "--repair-runtime", cwd=bare).ok()
    assert saved("--store", str(saved.control), "doctor", cwd=bare).ok().out == "Repository is healthy.\n"


TEMPORARY = [
    ".jvs/x.tmp",
    ".jvs/snapshots/0123.tmp/",
    ".jvs/descriptors/0123.json.89ab.tmp",
    ".jvs/worktrees/main/config.json.0123.tmp",
    ".jvs/intents/0123.json.tmp",
    ".jvs/refs/deep/er/x.tmp",
    ".jvs/.jvs-tmp-1/",
    ".jvs/gc/.jvs-tmp-2",
    ".jvs/cache/directories/x.tmp",
    ".jvs-tmp-3/",
    ".jvs-tmp-4",
    "x.tmp",
    "worktrees/.jvs-tmp-5/",
]


def plant(root: Path, names: list[str]) -> None:
    """Make files, and directories (whose names end with /) with something in them."""
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        (path / "inner" if name.endswith("/") else path).write_text("left behind")


def test_clean_tmp(saved: Repository) -> None:
    plant(saved.root, TEMPORARY)
    found = findings(saved)
    assert {one["path"] for one in found} >= {name.rstrip("/") for name in TEMPORARY}
    assert {one["severity"] for one in found} == {"warning"}
    assert all((saved.root / name).exists() for name in TEMPORARY), "looking changes nothing"
    said = saved("doctor", "--repair-runtime").ok().out
    assert said.startswith("Findings\n")
    assert said.count("(repaired)") == len(found)
    assert not any((saved.root / name).exists() for name in TEMPORARY)
    assert_healthy(saved)


def test_what_is_only_called_so_stays(saved: Repository) -> None:
    mine = ["main/x.tmp", "main/.jvs-tmp-x", "kept.tmp/"]
    plant(saved.root, mine)
    saved("worktree", "create", "a.tmp").ok()
    saved("doctor", "--repair-runtime").ok()
    assert all((saved.root / name).exists() for name in mine)
    assert "a.tmp" in saved("worktree", "list").ok().out


def test_the_files_of_an_adopted_folder_are_its_own(saved: Repository) -> None:
    folder = saved.root.parent / "adopted"
    plant(folder, ["x.tmp", "deep/y.tmp"])
    saved("init", "--adopt", folder, cwd=saved.root.parent).ok()
    plant(folder, [".jvs/z.tmp"])
    saved("doctor", "--repair-runtime", cwd=folder).ok()
    assert (folder / "x.tmp").exists()
    assert not (folder / ".jvs/z.tmp").exists()


def test_nothing_is_taken_from_a_living_process(saved: Repository) -> None:
    plant(saved.root, [".jvs/held.tmp", "worktrees/.jvs-tmp-0123abcd/", ".jvs/worktrees/main/config.json.0123abcd.tmp"])
    intent = saved.control / "intents" / "0123abcd.json"
    intent.write_text(json.dumps({"id": "0123abcd", "operation": "restore", "worktree": "main", "started_at": "x"}))
    with open(saved.control / "held.tmp") as temporary, open(intent) as act:
        fcntl.flock(temporary, fcntl.LOCK_EX)
        fcntl.flock(act, fcntl.LOCK_EX)
        assert findings(saved, "--repair-runtime") == []
        assert intent.exists()
        assert (saved.control / "held.tmp").exists()
        assert (saved.root / "worktrees/.jvs-tmp-0123abcd").exists()
    saved("doctor", "--repair-runtime").ok()
    assert not intent.exists()
    assert not (saved.control / "held.tmp").exists()
    assert_healthy(saved)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"operation": "snapshot"}', '{"id": "x", "operation": "of the future", "worktree": "m"}']
)
def test_clean_intents(saved: Repository, text: str) -> None:
    path = saved.control / "intents" / "x.json"
    path.write_text(text)
    found = findings(saved)
    assert [(one["category"], one["path"]) for one in found] == [("intents", ".jvs/intents/x.json")]
    assert path.exists()
    assert [one["repaired"] for one in findings(saved, "--repair-runtime")] == [True]
    assert not path.exists()
    assert_healthy(saved)


def test_advance_head(saved: Repository) -> None:
    """As if a snapshot had been killed between the label and the position."""
    binding = saved.control / "worktrees" / "main" / "binding"
    before = binding.read_bytes()
    three = saved.save("three")
    after = binding.read_bytes()
    binding.write_bytes(before)
    found = findings(saved)
    assert [one["category"] for one in found] == ["head"]
    assert [one["repaired"] for one in findings(saved, "--repair-runtime")] == [True]
    assert binding.read_bytes() == after
    assert saved.json("history")[0]["snapshot_id"] == three
    assert_healthy(saved)


def test_a_position_that_cannot_be_read(saved: Repository) -> None:
    (saved.control / "worktrees" / "main" / "binding").write_bytes(b"nonsense")
    assert [one["category"] for one in findings(saved)] == ["head"]
    saved("doctor", "--repair-runtime").ok()
    assert_healthy(saved)
    assert "State: HEAD" in saved("status").ok().out


def damage_index(repository: Repository) -> None:
    path = repository.control / "index" / "data.mdb"
    data = bytearray(path.read_bytes())
    data[:8192] = bytes(8192)
    path.write_bytes(data)


@pytest.mark.parametrize("flag", ["--repair-runtime", "--rebuild-index", "--repair"])
def test_rebuild_index(saved: Repository, flag: str) -> None:
    before = saved.json("history")
    damage_index(saved)
    assert saved("doctor").status == 8
    assert saved("history").status == 8
    saved("doctor", flag).ok()
    assert saved.json("history") == before
    assert_healthy(saved)


def test_audit_repair(saved: Repository) -> None:
    for _ in range(2):  # the index has copies of the newest records
        with Repo.open(str(saved.control), actor="ada@host") as repo:
            for number in range(64):
                repo.labels.record_act("test", str(number))
    journal = saved.control / "journal"
    data = bytearray(journal.read_bytes())
    data[len(data) // 3] ^= 4
    journal.write_bytes(data)
    assert saved("audit", "--verify").status == 8
    found = saved("doctor", "--json")
    assert found.status == 8
    assert "E_AUDIT_CHAIN_BROKEN" in {one.get("error_code") for one in found.value["findings"]}
    saved("doctor", "--repair-runtime").ok()
    saved("audit", "--verify").ok()
    assert_healthy(saved)


def test_exports_are_made_again(saved: Repository) -> None:
    folder = saved.control / "descriptors"
    one, two = sorted(folder.iterdir())
    wanted = one.read_bytes()
    one.write_text('{"note": "forged"}')
    two.unlink()
    (folder / "01aaaaaaaaaaaaaaaaaaaaaaaa.json").write_text("{}")
    found = findings(saved)
    assert [(item["category"], item["error_code"]) for item in found] == [("descriptors", "E_DESCRIPTOR_CORRUPT")]
    assert saved.json("doctor")["healthy"], "they are never the truth"
    saved("doctor", "--repair-runtime").ok()
    assert sorted(folder.iterdir()) == [one, two]
    assert one.read_bytes() == wanted
    assert_healthy(saved)


def gone(path: str) -> Callable[[Repository], object]:
    return lambda repository: shutil.rmtree(repository.control / path)


@pytest.mark.parametrize(
    ("category", "spoil"),
    [
        ("layout", gone("refs")),
        ("layout", gone("intents")),
        ("layout", gone("descriptors")),
        ("layout", lambda repository: (repository.control / "repo_id").unlink()),
        ("layout", lambda repository: (repository.control / "repo_id").write_text("nonsense")),
        ("worktrees", lambda repository: (repository.control / "worktrees/exp/config.json").write_text("{}")),
        ("worktrees", lambda repository: (repository.control / "worktrees/main/config.json").write_text("")),
        ("worktrees", lambda repository: (repository.control / "worktrees/killed").mkdir()),
        ("locks", lambda repository: (repository.control / "worktrees/main/session").write_text("00000000ffff")),
    ],
)
def test_what_else_is_mended(saved: Repository, category: str, spoil: Callable[[Repository], object]) -> None:
    wanted = saved.json("info")
    spoil(saved)
    assert category in {one["category"] for one in findings(saved)}
    saved("doctor", "--repair-runtime").ok()
    assert_healthy(saved)
    assert saved.json("info") == wanted
    saved.save("it goes on")


@pytest.mark.parametrize("what", ["worktrees", "worktrees/main", "worktrees/main/config.json"])
def test_main_is_registered_again(saved: Repository, what: str) -> None:
    """There is always a main; doctor itself failed without the folder."""
    lost = saved.control / what
    saved("worktree", "remove", "exp").ok()
    saved.write("f", "unsaved")
    if lost.is_dir():
        shutil.rmtree(lost)
    else:
        lost.unlink()
    assert ("worktrees", "error") in [(one["category"], one["severity"]) for one in findings(saved)]
    saved("doctor", "--repair-runtime").ok()
    assert_healthy(saved)
    status = saved.json("status")
    assert (status["state"], status["total_modified"]) == ("HEAD", 1)
    saved.save("as before")


def test_what_is_only_said(saved: Repository) -> None:
    shutil.rmtree(saved.root / "worktrees" / "exp")
    (saved.root / "worktrees" / "mine").mkdir()
    found = findings(saved)
    assert {(one["category"], one["path"]) for one in found} == {
        ("worktrees", "worktrees/exp"),
        ("worktrees", "worktrees/mine"),
    }
    assert not any(one["repaired"] for one in findings(saved, "--repair-runtime"))
    assert (saved.root / "worktrees" / "mine").is_dir()


def test_a_stale_lock_does_not_brick_a_worktree(saved: Repository) -> None:
    """A fault of the first JVS."""
    saved("lock", "acquire", "--lease-ms", "1").ok()
    saved.save("the lease is over")
    saved("lock", "acquire", "--lease-ms", "1").ok()
    (saved.control / "worktrees/main/session").unlink()
    saved.save("and so is this one, whose holder is gone")
    saved("lock", "acquire", "--lease-ms", "600000").ok()
    (saved.control / "worktrees/main/session").unlink()
    held = saved("snapshot", "no")
    assert held.status == 11
    saved("lock", "steal", "--force", "--reason", "its holder is gone").ok()
    saved.save("taken over")
    for name in ("0" * 32, "f" * 32):
        (saved.control / "locks" / name).touch()
    saved.save("a lock file of a process that is gone")
    saved("doctor", "--repair-runtime").ok()
    assert list((saved.control / "locks").iterdir()) == []


def test_a_lock_in_force_is_nobody_s_leftover(saved: Repository) -> None:
    saved("lock", "acquire", "--lease-ms", "600000").ok()
    assert findings(saved, "--repair-runtime") == []
    saved.save("still mine")
    session = saved.control / "worktrees/main/session"
    session.chmod(0o644)
    assert [one["category"] for one in findings(saved)] == ["locks"]
    saved("doctor", "--repair-runtime").ok()
    assert session.stat().st_mode & 0o777 == 0o600


def test_tampering_is_found_and_named(saved: Repository) -> None:
    noise = os.urandom(100_000)
    (saved.main / "noise").write_bytes(noise)
    saved.save("noise")
    for pack in (saved.control / "packs").iterdir():
        data = pack.read_bytes()
        pack.write_bytes(data.replace(noise[1000:1100], bytes(100)))
    found = saved("doctor", "--strict", "--json")
    assert found.status == 8
    assert not found.value["healthy"]
    assert "E_PAYLOAD_HASH_MISMATCH" in {one.get("error_code") for one in found.value["findings"]}
    assert "main:noise" in found.value["affected"]
    assert "healthy." not in saved("doctor", "--strict").out
    saved("doctor", "--repair").ok()  # from the worktree, which has it still
    assert_healthy(saved)


def test_ids_do_not_share_their_short_prefix(repository: Repository) -> None:
    """A fault of the first JVS: those made within 100 s did."""
    ids = [repository.save(str(number)) for number in range(8)]
    assert len({one[:12] for one in ids}) == len(ids)
    for number, one in enumerate(ids):
        assert repository.json("verify", one[:12])["snapshot_id"] == one
        assert repository.json("diff", one[:12], "HEAD")["from_snapshot_id"] == one, number
