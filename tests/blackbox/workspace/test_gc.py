"""`jvs gc` and `jvs cleanup`: the plan of `jvs fs gc` in save points, and what it never takes."""

from __future__ import annotations

import re

import pytest

from tests.blackbox.workspace.conftest import Repository

FIELDS = """plan_id created_at protected_set protected_by_pin protected_by_lineage protected_by_retention
candidate_count to_delete deletable_bytes_estimate retention_policy""".split()


def made(repository: Repository, count: int) -> list[str]:
    """So many snapshots, each with something of its own; their ids."""
    ids = []
    for number in range(1, count + 1):
        (repository.main / "big").write_bytes(bytes([number]) * 200_000)
        repository.write("f", f"state {number}")
        ids.append(repository.save(f"s{number}"))
    return ids


def collect(repository: Repository) -> list[str]:
    """Remove all that can go, however young; the ids of what went."""
    plan = repository.json("gc", "plan", "--min-age", "0")
    repository("gc", "run", "--plan-id", plan["plan_id"]).ok()
    went: list[str] = plan["to_delete"]
    return went


def listed(repository: Repository) -> list[str]:
    """The history, oldest first."""
    return [one["snapshot_id"] for one in repository.json("history")][::-1]


@pytest.fixture
def full(repository: Repository) -> tuple[Repository, list[str]]:
    """Six snapshots, of which retention keeps the newest."""
    ids = made(repository, 6)
    repository("fs", "retention", "set", "keep-last", "1").ok()
    return repository, ids


def test_the_plan(full: tuple[Repository, list[str]]) -> None:
    repository, ids = full
    plan = repository.json("gc", "plan", "--min-age", "0")
    assert list(plan) == FIELDS
    assert plan["to_delete"] == ids[:5]
    assert plan["protected_set"] == ids[5:]
    assert plan["candidate_count"] == 5
    assert plan["deletable_bytes_estimate"] > 0
    assert [plan[f"protected_by_{reason}"] for reason in ("pin", "lineage", "retention")] == [0, 1, 0]
    assert plan["retention_policy"]["rules"]["*"] == "keep-last 1"
    said = repository("gc", "plan", "--min-age", "0").ok().out
    assert said.startswith("GC Plan\n")
    assert re.search(r"^Plan ID: [0-9a-f]{32}$", said, re.MULTILINE)
    assert listed(repository) == ids, "a plan removes nothing"


def test_what_is_young_stays(full: tuple[Repository, list[str]]) -> None:
    """`jvs gc` does not take what is less than a day old; `jvs fs gc` does what the policy says."""
    repository, ids = full
    plan = repository.json("gc", "plan")
    assert plan["to_delete"] == []
    assert plan["protected_by_retention"] == 5
    assert plan["retention_policy"]["keep_min_age"] == "1d"
    repository("gc", "run", "--plan-id", plan["plan_id"]).ok()
    assert listed(repository) == ids
    assert repository.json("fs", "gc", "plan")["snapshots"] == 5


def test_the_run(full: tuple[Repository, list[str]]) -> None:
    repository, ids = full
    plan = repository.json("gc", "plan", "--min-age", "0")
    done = repository.json("gc", "run", "--plan-id", plan["plan_id"])
    assert done["status"] == "completed"
    assert done["plan_id"] == plan["plan_id"]
    assert done["objects"] > 0
    assert listed(repository) == ids[5:]
    assert repository("restore", ids[0]).status != 0
    assert "healthy" in repository("doctor", "--strict").ok().out
    assert not any(one["tamper_detected"] for one in repository.json("verify", "--all"))


def test_cleanup_is_the_same(full: tuple[Repository, list[str]]) -> None:
    repository, ids = full
    plan = repository.json("cleanup", "preview", "--min-age", "0")
    assert plan["to_delete"] == ids[:5]
    repository("cleanup", "run", "--plan-id", plan["plan_id"]).ok()
    assert listed(repository) == ids[5:]


def test_plans_are_those_of_fs_gc(full: tuple[Repository, list[str]]) -> None:
    repository, ids = full
    ours = repository("gc", "plan", "--min-age", "0", "-q").ok().out.strip()
    assert repository.json("fs", "gc", "run", "--plan-id", ours)["plan_id"] == ours
    assert listed(repository) == ids[5:]
    made(repository, 2)
    theirs = repository("fs", "gc", "plan", "-q").ok().out.strip()
    assert repository.json("gc", "run", "--plan-id", theirs)["status"] == "completed"
    assert len(listed(repository)) == 1


def test_a_plan_of_ours_spares_what_is_young_whoever_runs_it(full: tuple[Repository, list[str]]) -> None:
    repository, ids = full
    plan = repository("gc", "plan", "-q").ok().out.strip()
    repository("fs", "gc", "run", "--plan-id", plan).ok()
    assert listed(repository) == ids


@pytest.mark.parametrize("plan", ["0" * 32, "nonsense", "0"])
def test_an_unknown_plan(full: tuple[Repository, list[str]], plan: str) -> None:
    repository, ids = full
    done = repository("gc", "run", "--plan-id", plan, "--json")
    assert done.status == 5
    assert done.value["error"]["error_code"] == "E_GC_PLAN_MISMATCH"
    assert done.value["error"]["next"] == "jvs gc plan"
    assert listed(repository) == ids


def test_a_stale_plan(full: tuple[Repository, list[str]]) -> None:
    repository, ids = full
    plan = repository("gc", "plan", "--min-age", "0", "-q").ok().out.strip()
    repository("ref", "create", "keep", ids[0]).ok()
    done = repository("gc", "run", "--plan-id", plan)
    assert done.status == 1
    assert "E_GC_PLAN_MISMATCH" in done.err
    assert "jvs gc plan" in done.err
    assert listed(repository) == ids


def test_a_run_needs_a_plan(full: tuple[Repository, list[str]]) -> None:
    assert full[0]("gc", "run").status == 2


def test_tags_refs_and_pins_protect(full: tuple[Repository, list[str]]) -> None:
    repository, ids = full
    repository("ref", "create", "r", ids[0]).ok()
    repository("pin", "add", ids[2], "--reason", "why").ok()
    tagged = repository.save("tagged", "--tag", "t")
    last = repository.save("last")
    plan = repository.json("gc", "plan", "--min-age", "0")
    assert ids[0] in plan["protected_set"]
    assert tagged in plan["protected_set"]
    assert plan["protected_by_pin"] >= 2
    collect(repository)
    assert set(listed(repository)) == {ids[0], tagged, last}
    content = repository.json("pin", "list")
    assert len(content) == 1
    assert repository("verify", "--all").ok()
    repository("restore", "t").ok()


def test_a_locked_label_loses_nothing(full: tuple[Repository, list[str]]) -> None:
    repository, ids = full
    repository("lock", "acquire", "--lease-ms", "600000").ok()
    assert collect(repository) == []
    assert listed(repository) == ids
    repository("lock", "release").ok()
    assert collect(repository) == ids[:5]


def test_gc_does_not_destroy_the_newer_snapshots_of_a_detached_worktree(full: tuple[Repository, list[str]]) -> None:
    """A fault of the first JVS."""
    repository, ids = full
    repository("restore", ids[2]).ok()
    repository("fs", "retention", "set", "keep-last", "0").ok()
    plan = repository.json("gc", "plan", "--min-age", "0")
    assert plan["to_delete"] == ids[:2]
    assert plan["protected_by_lineage"] == 4
    assert collect(repository) == ids[:2]
    repository("fs", "gc", "run").ok()
    assert listed(repository) == ids[2:]
    for number in (4, 5, 6, 3):
        repository("restore", ids[number - 1]).ok()
        assert (repository.main / "f").read_text() == f"state {number}"
    repository("restore", "HEAD").ok()
    repository("fs", "gc", "run").ok()
    assert collect(repository) == []
    assert listed(repository) == ids[5:]


def test_a_detached_fork_keeps_what_its_history_shows(full: tuple[Repository, list[str]]) -> None:
    """Where it was forked its history goes on in another label."""
    repository, ids = full
    repository("worktree", "fork", ids[3], "exp").ok()
    exp = repository.root / "worktrees" / "exp"
    (exp / "f").write_text("mine")
    mine = repository.json("snapshot", "mine", cwd=exp)["snapshot_id"]
    repository("restore", ids[1], cwd=exp).ok()
    assert collect(repository) == [ids[0], ids[4]], "of what it does not show, the newest of main stays"
    assert [one["snapshot_id"] for one in repository.json("history", cwd=exp)] == [mine, *ids[1:4][::-1]]
    repository("restore", "HEAD", cwd=exp).ok()
    repository("worktree", "remove", "exp").ok()
    assert ids[1] in collect(repository)


def test_what_a_worktree_stands_at_that_is_behind(full: tuple[Repository, list[str]]) -> None:
    """Somebody else moves its label: its own is the base of the merge to come."""
    repository, ids = full
    elsewhere = repository.root.parent / "elsewhere"
    repository("fs", "pull", "main", elsewhere).ok()
    for number in range(3):
        (elsewhere / "f").write_text(f"theirs {number}")
        repository("fs", "push", elsewhere).ok()
    collect(repository)
    repository("fs", "gc", "run").ok()
    assert ids[5] in listed(repository)
    assert "behind" in repository("status").ok().out


def test_a_position_is_known_after_the_repository_was_moved(full: tuple[Repository, list[str]]) -> None:
    """The store knew it by its place."""
    repository, ids = full
    repository("restore", ids[2]).ok()
    moved = Repository(repository.session, repository.root.parent / "moved")
    repository.root.rename(moved.root)
    assert collect(moved) == ids[:2]
    moved("restore", "HEAD").ok()
    assert collect(moved) == ids[2:5], "nothing is kept for where it was before"


def test_positions_outlive_the_index(full: tuple[Repository, list[str]]) -> None:
    """Everything in it can be made again from the journal."""
    repository, ids = full
    repository("restore", ids[2]).ok()
    repository("doctor", "--rebuild-index").ok()
    repository("fs", "gc", "run").ok()
    assert listed(repository) == ids[2:]


def test_in_a_store_without_worktrees(full: tuple[Repository, list[str]]) -> None:
    repository, _ = full
    bare = repository.root.parent / "bare"
    bare.mkdir()
    repository("fs", "init", cwd=bare).ok()
    for words in (["gc", "plan"], ["cleanup", "preview"], ["gc", "run", "--plan-id", "0" * 32]):
        assert repository(*words, cwd=bare).status == 10
