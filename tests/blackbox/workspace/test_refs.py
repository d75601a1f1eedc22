"""`jvs ref` and `jvs pin`."""

from __future__ import annotations

import pytest

from tests.blackbox.workspace.conftest import Repository


@pytest.fixture
def saved(repository: Repository) -> Repository:
    for number in range(4):
        repository.write("a", str(number) * 1000)
        repository.save(f"number {number}", *(["--tag", "best"] if number == 1 else []))
    return repository


def ids(repository: Repository) -> list[str]:
    return [one["snapshot_id"] for one in repository.json("history")]


def test_the_contract(saved: Repository) -> None:
    newest, _, best, oldest = ids(saved)
    made = saved.json("ref", "create", "v1.0", oldest[:14], "-m", "as it was sold")
    assert list(made) == ["name", "target_id", "created_at", "description"]
    assert (made["name"], made["target_id"], made["description"]) == ("v1.0", oldest, "as it was sold")
    assert saved("ref", "create", "top", "HEAD").ok().out == f"Created ref top at {newest[:12]}\n"
    assert saved.json("ref", "create", "t", "best", cwd=saved.root)["target_id"] == best
    assert saved.json("ref", "create", "n", "number 1")["target_id"] == best
    assert [one["name"] for one in saved.json("ref", "list")] == ["n", "t", "top", "v1.0"]
    assert saved.json("ref", "list")[-1] == made
    again = saved("ref", "create", "v1.0", "HEAD")
    assert again.status == 1
    assert "already exists" in again.err
    assert saved.json("ref", "list")[-1] == made  # immutable
    assert saved.json("ref", "delete", "v1.0") == made
    gone = saved("ref", "delete", "v1.0")
    assert gone.status == 5
    assert "not found" in gone.err
    saved.write("a", "more")
    saved.save("more")
    assert saved.json("ref", "list")[2]["target_id"] == newest


def test_names_and_targets(saved: Repository) -> None:
    for name in ("", ".", "..", "HEAD", "a/b", "a b", "x\u00e9"):
        done = saved("ref", "create", "--json", "--", name, "HEAD")
        assert (done.status, done.value["error"]["error_code"]) == (2, "E_NAME_INVALID"), name
    assert saved("ref", "create", "--", "-x", "HEAD").status == 2
    assert saved("ref", "create", "x", "nothing like it").status == 5
    ambiguous = saved("ref", "create", "x", "number")
    assert ambiguous.status == 2
    assert [one[:12] in ambiguous.err for one in ids(saved)] == [True] * 4
    assert saved.json("ref", "list") == []


def test_gc_keeps_what_a_ref_names(saved: Repository) -> None:
    newest, _, _, oldest = ids(saved)
    saved("ref", "create", "kept", oldest).ok()
    saved("fs", "tag", "--delete", "best").ok()
    saved("fs", "retention", "set", "keep-last", "1").ok()
    plan = saved.json("fs", "gc", "plan")
    assert {group["reason"]: group["snapshots"] for group in plan["protected"]}["ref"] == 1
    assert "refs: kept" in saved("fs", "gc", "plan").ok().out
    saved("fs", "gc", "run").ok()
    assert ids(saved) == [newest, oldest]
    assert saved.json("history")[-1]["note"] == "number 0"
    assert saved("fs", "cat", f"{saved.json('history')[-1]['payload_root_hash']}:a").ok().out == "0" * 1000
    saved("ref", "delete", "kept").ok()
    saved("fs", "gc", "run").ok()
    assert ids(saved) == [newest]
    assert saved.json("doctor", "--strict")["healthy"]


def test_a_ref_outlives_its_label(saved: Repository) -> None:
    oldest = ids(saved)[-1]
    saved("ref", "create", "kept", oldest).ok()
    saved("fs", "retention", "set", "keep-deleted", "0").ok()
    saved("fs", "label", "--delete", "main").ok()
    saved("fs", "gc", "run").ok()
    saved("fs", "gc", "run").ok()
    assert saved.json("ref", "list")[0]["target_id"] == oldest
    assert saved.json("doctor", "--strict")["healthy"]


def test_pins(saved: Repository) -> None:
    newest, _, best, oldest = ids(saved)
    made = saved.json("pin", "add", oldest, "--reason", "a paper cites it")
    assert list(made) == ["pin_id", "snapshot_id", "created_at", "reason", "actor", "active"]
    assert (made["snapshot_id"], made["reason"], made["active"]) == (oldest, "a paper cites it", True)
    assert saved("pin", "add", "best").status == 2  # a reason is asked for
    until = saved.json("pin", "add", "best", "--reason", "for now", "--until", "30d")
    assert until["expires_at"] > until["created_at"]
    assert [one["snapshot_id"] for one in saved.json("pin", "list")] == [oldest, best]
    assert saved.json("pin", "rm", made["pin_id"][:10])[0]["snapshot_id"] == oldest
    assert saved("pin", "rm", "best").ok().out.startswith("Removed pin")
    none = saved("pin", "rm", newest)
    assert none.status == 5
    assert newest[:12] in none.err
    assert "next: jvs pin list" in none.err
    assert saved.json("pin", "list") == []


def test_pins_of_what_was_forked_since_are_listed_by_snapshots_that_history_has(saved: Repository) -> None:
    newest = ids(saved)[0]
    saved("worktree", "fork", "exp").ok()
    saved("pin", "add", "HEAD", "--reason", "for a paper").ok()
    assert [one["snapshot_id"] for one in saved.json("pin", "list")] == [newest]
    assert [one["snapshot_id"] for one in saved.json("pin", "rm", "HEAD")] == [newest]
