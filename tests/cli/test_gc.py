"""The verbs of gc: what they ask of a store, and how they show what it answers."""

from __future__ import annotations

import os
from typing import Any

import pytest

from jvs.cli import priority
from jvs.cli.fs.gc import parse_limit, parse_size
from jvs.errors import IntegrityError, StateError, UsageError
from jvs.labels.pins import Pin
from jvs.workspace.gc_results import Example, Exclusive, GcPlan, GcRun, Protected
from jvs.workspace.pins import PinInfo
from jvs.workspace.retention import PolicyInfo
from tests.cli.conftest import FakeRepo, Run

ID = "0bd1a47f1e4dfc906cbf652f76ce07c2"
SNAPSHOT = bytes(range(32))
PLAN = GcPlan(
    ID,
    1_790_000_000_000,
    3,
    68,
    {"chunk": 60, "page": 8},
    10 << 20,
    4 << 20,
    6 << 20,
    5 << 20,
    1,
    2,
    7,
    (
        Protected("head", 2, (Example(SNAPSHOT, "main", ""), Example(SNAPSHOT, "evil\x1b[2J", ""))),
        Protected("pin", 1, (Example(SNAPSHOT, None, "abcdef"),)),
        Protected("running", 30, (Example(SNAPSHOT, None, "pull"),)),
    ),
)
RUN = GcRun(ID, True, 68, 6 << 20, 3, 5, 1, 2, 1, 2, 0, 5 << 20)


@pytest.fixture(autouse=True)
def same_priority(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tests go on at their own pace; how often a verb gave way."""
    calls: list[int] = []
    monkeypatch.setattr(priority, "give_way", lambda: calls.append(1))
    return calls


def operands(repo: FakeRepo) -> tuple[Any, ...]:
    """What the store was asked last."""
    return repo.calls[-1][1]


def test_a_plan(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["gc_plan"] = PLAN
    done = jvs("fs", "gc", "plan")
    assert done.status == 0
    assert done.out.splitlines() == [
        "plan 0bd1a47f1e4d: 7 snapshots, 68 objects would go",
        "examined     10.0 MiB",
        "live         4.0 MiB",
        "reclaimable  6.0 MiB, of which 5.0 MiB in this run",
        "protected",
        "       2 snapshots  heads of labels: main, evil\\x1b[2J",
        "        1 snapshot  pins: abcdef",
        "      30 snapshots  commands that are running: pull, ...",
        "next: jvs fs gc run --plan-id 0bd1a47f1e4d",
    ]
    assert jvs("fs", "gc", "plan", "-q").out == ID + "\n"
    value = jvs("fs", "gc", "plan", "--json", "--trust-clock").value
    assert value == PLAN.as_json()
    assert value["protected"][0]["examples"][0] == {"ca_id": SNAPSHOT.hex(), "label": "main", "detail": ""}
    assert [options["trust_clock"] for _, _, options in repo.calls] == [False, False, True]


def test_a_plan_with_nothing_to_do(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["gc_plan"] = PLAN._replace(candidates=0, snapshots=0, protected=())
    done = jvs("fs", "gc", "plan")
    assert done.out.startswith("plan 0bd1a47f1e4d: nothing to remove\n")
    assert "next:" not in done.out


def test_a_run(jvs: Run, repo: FakeRepo, same_priority: list[int]) -> None:
    repo.answers["gc_run"] = RUN
    done = jvs("fs", "gc", "run", "--plan-id", ID[:8], "--max-duration", "1min30s", "--max-bytes", "2G")
    assert done.status == 0
    assert done.out.splitlines() == [
        "removed 68 objects, 6.0 MiB (3 left by an interrupted run)",
        "given back 5.0 MiB: 1 pack dropped, 2 rewritten",
        "truncated 5 history entries, forgot 1 deleted label, ended 2 pin or detached snapshots",
    ]
    (call,) = repo.calls
    assert call[1] == (ID[:8],)
    options = {key: value for key, value in call[2].items() if key != "progress"}
    assert options == {"dry_run": False, "max_seconds": 90.0, "max_bytes": 2 << 30, "trust_clock": False}
    assert same_priority == [1]
    assert jvs("fs", "gc", "run", "--json").value == RUN.as_json()
    assert jvs("fs", "gc", "run", "-q").out == ID + "\n"


def test_a_run_that_stopped_early(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["gc_run"] = RUN._replace(plan_id=None, done=False, packs_left=2, resumed=0)
    done = jvs("fs", "gc", "run")
    assert done.status == 0
    assert "2 packs not rewritten: the disk has no room for the copies\n" in done.out
    assert done.out.endswith("stopped at the limit; next: jvs fs gc run\n")
    assert jvs("fs", "gc", "run", "-q").out == ""


def test_a_dry_run(jvs: Run, repo: FakeRepo) -> None:
    repo.answers["gc_run"] = GcRun(None, True, 68, 6 << 20, dry_run=True)
    assert jvs("fs", "gc", "run", "--dry-run").out == "dry run: 68 objects, 6.0 MiB would go\n"


@pytest.mark.parametrize(
    ("error", "status", "step"),
    [
        (StateError("plan 12 is stale", code="gc-plan-stale"), 1, "jvs fs gc plan"),
        (StateError("the clock", code="clock-jump"), 1, "--trust-clock"),
        (StateError("again and again", code="gc-busy"), 1, "jvs fs gc run"),
        (IntegrityError("gc stopped and removed nothing", next="jvs doctor --repair"), 8, "jvs doctor --repair"),
        (KeyboardInterrupt(), 130, None),
    ],
)
def test_what_stops_it(jvs: Run, repo: FakeRepo, error: BaseException, status: int, step: str | None) -> None:
    repo.answers["gc_run"] = error
    done = jvs("fs", "gc", "run", "--json")
    assert (done.status, done.error["next"]) == (status, step)
    assert jvs("fs", "gc", "run").status == status


@pytest.mark.parametrize("text", ["0", "", "10", "5m", "-1s", "soon", "9" * 1000])
def test_no_limit_of_time(text: str, jvs: Run, repo: FakeRepo) -> None:
    done = jvs("fs", "gc", "run", "--max-duration", text, "--json")
    assert (done.status, done.error["code"]) == (2, "bad-duration")


@pytest.mark.parametrize("text", ["0", "", "K", "1.5G", "-1", "1GB", "9" * 1000])
def test_no_limit_of_bytes(text: str, jvs: Run, repo: FakeRepo) -> None:
    done = jvs("fs", "gc", "run", f"--max-bytes={text}", "--json")
    assert (done.status, done.error["code"]) == (2, "usage")


def test_limits() -> None:
    assert [parse_size(text) for text in ("1", "2k", "3M", "4G", "5t")] == [1, 2 << 10, 3 << 20, 4 << 30, 5 << 40]
    assert parse_limit("1h30min") == 5400.0
    with pytest.raises(UsageError):
        parse_limit("0s")


def test_giving_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: priorities never come back up."""
    child = os.fork()
    if not child:
        monkeypatch.undo()
        priority.give_way()
        priority.give_way()
        os._exit(os.getpriority(os.PRIO_PROCESS, 0))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == max(10, os.getpriority(os.PRIO_PROCESS, 0))


# policies and pins


def test_policies(jvs: Run, repo: FakeRepo) -> None:
    mine, built_in = PolicyInfo("m*", "keep-last 1", 1_790_000_000_000), PolicyInfo("*", "keep-all", None)
    repo.answers |= {"set_retention": mine, "retention": [built_in, mine], "unset_retention": None}
    assert jvs("fs", "retention", "set", "keep-last", "1", "--label", "m*").out == "m*  keep-last 1\n"
    assert operands(repo) == (("keep-last", "1"), "m*")
    assert jvs("fs", "retention", "set", "keep-last 1", "--json").value == mine.as_json()
    assert operands(repo) == (("keep-last 1",), "*")
    assert jvs("fs", "retention", "show").out == "*   keep-all  (built in)\nm*  keep-last 1\n"
    assert jvs("fs", "retention", "show", "--json").value == {"policies": [built_in.as_json(), mine.as_json()]}
    assert jvs("fs", "retention", "unset").out == "unset *\n"
    assert jvs("fs", "retention", "unset", "--label", "m*", "--json").value == {"label": "m*", "unset": True}
    assert operands(repo) == ("m*",)
    assert jvs("fs", "retention", "set").status == 2


def test_pins(jvs: Run, repo: FakeRepo) -> None:
    one = PinInfo(Pin(bytes(16), SNAPSHOT, 1_790_000_000_000, None, "ada@laptop", "the paper\nand more"), True)
    two = one._replace(pin=one.pin._replace(until_ms=1_790_000_001_000, message=""), active=False)
    repo.answers |= {"pin": one, "unpin": [one], "pins": [one, two]}
    assert jvs("fs", "pin", "main", "-m", "the paper").out == (
        "pinned 000102030405 until it is unpinned: pin 000000000000\n"
    )
    assert operands(repo) == ("main", None, "the paper")
    assert jvs("fs", "pin", "main", "--until", "30d", "-q").out == "0" * 32 + "\n"
    assert operands(repo) == ("main", "30d", "")
    assert jvs("fs", "pin", "main", "--json").value == one.as_json()
    assert jvs("fs", "unpin", "main").out == "unpinned 000102030405: pin 000000000000\n"
    first, second = jvs("fs", "pins").out.splitlines()
    assert first.endswith("the paper ...  (ada@laptop)")
    assert "over 2026-09-21" in second
    assert jvs("fs", "pins", "--json").value == {"pins": [one.as_json(), two.as_json()]}


def test_exclusive(jvs: Run, repo: FakeRepo) -> None:
    only = Exclusive("exp/1", "label", 4, 12, 3 << 20, 1 << 20)
    repo.answers["exclusive"] = only
    assert jvs("fs", "stats", "--exclusive", "exp/1").out == (
        "label exp/1 (4 snapshots) alone keeps 1.0 MiB as stored: 3.0 MiB in 12 objects\n"
    )
    assert jvs("fs", "stats", "--exclusive", "exp/1", "--json").value == only.as_json()
    repo.answers["exclusive"] = only._replace(kind="snapshot", name="main@1", snapshots=1)
    assert jvs("fs", "stats", "--exclusive", "main@1").out.startswith("main@1 alone keeps 1.0 MiB")
    assert jvs("fs", "stats", "--exclusive", "main", "--by", "label").status == 2
