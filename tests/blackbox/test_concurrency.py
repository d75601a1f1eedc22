"""Many processes, one label: nothing lost, one winner, and a head that came back is not taken for the first one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blackbox.aftermath import check_chain, check_journal
from tests.blackbox.conftest import CODE, Done, Jvs
from tests.blackbox.session import Session
from tests.conftest import TORTURE

PROCESSES = 16
PUSHES = 200 if TORTURE else 4

COUNTER = '''
"""Reads the number in `main`, and pushes a directory with the next one if `main` still is where it was read."""
import json, os, sys
from jvs.workspace.repo import Repo

store, directory, pushes = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.mkdir(directory)
with Repo.open(store, actor=os.path.basename(directory)) as repo:
    print("ready", flush=True)
    sys.stdin.readline()
    lost = 0
    for number in range(pushes):
        while True:
            head = repo.pull("main")
            count = int(b"".join(repo.cat(f"main@{head.generation}:count"))) + 1
            with open(os.path.join(directory, "count"), "w") as file:
                file.write(str(count))
            with open(os.path.join(directory, "by"), "w") as file:
                file.write(f"{os.path.basename(directory)} {number}")
            pushed = repo.push(directory, label="main", expected=str(head.generation))
            if pushed.status == "advanced":
                break
            assert pushed.status == "rejected" and pushed.error.exit_status == 6, pushed
            assert pushed.current_generation > head.generation, pushed
            lost += 1
        print(json.dumps([pushed.generation, pushed.ca_id.hex(), pushed.entry_id.hex(), count]))
print(json.dumps(lost))
'''


def start(jvs: Jvs, command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=jvs.where,
        env=jvs.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(jvs: Jvs, commands: list[list[str]], *, ready: bool) -> list[Done]:
    """Run processes at the same time. ready: each says when it is, and all are let go at the same moment."""
    processes = [start(jvs, command) for command in commands]
    try:
        for process in processes if ready else ():
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        answers = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            out, err = process.communicate()
            answers.append(Done(process.returncode, out, err))
        return answers
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.timeout(7_200)
def test_no_push_is_lost(jvs: Jvs) -> None:
    """Every process adds one to a number in the tree, by compare-and-set and trying again."""
    jvs("fs", "init").ok()
    first = jvs.where / "first"
    first.mkdir()
    (first / "count").write_text("0")
    created = jvs.json("fs", "push", "first", "--label", "main")
    commands = [
        [sys.executable, "-c", COUNTER, str(jvs.where / ".jvs"), str(jvs.where / f"p{number}"), str(PUSHES)]
        for number in range(PROCESSES)
    ]
    done = together(jvs, commands, ready=True)
    assert [answer.status for answer in done] == [0] * PROCESSES, [answer.err for answer in done]
    acknowledged = {1: (created["ca_id"], created["entry_id"], 0)}
    rejected = 0
    for answer in done:
        *pushes, lost = [json.loads(line) for line in answer.out.splitlines()]
        assert len(pushes) == PUSHES
        rejected += lost
        for generation, *pushed in pushes:
            assert generation not in acknowledged, "two processes were given one generation"
            acknowledged[generation] = tuple(pushed)
    print(f"{rejected} rejected pushes beside {PROCESSES * PUSHES} that moved the label")
    assert rejected > 0, "they never met"

    log = jvs.json("fs", "log", "main")["log"]
    assert len(log) == PROCESSES * PUSHES + 1
    check_chain(log)
    for entry in log:
        ca_id, entry_id, count = acknowledged[entry["generation"]]
        assert (entry["to"], entry["entry_id"], count) == (ca_id, entry_id, entry["generation"] - 1)
        assert entry["parents"] == ([] if entry["prev"] is None else [entry["prev"]])
    assert jvs("fs", "cat", "main:count").ok().out == str(PROCESSES * PUSHES)
    assert jvs.json("fs", "verify", "--all")["ok"]  # recomputes the id of every entry
    assert jvs.json("doctor")["healthy"]
    check_journal(jvs.where)


def test_one_of_many_creates_a_label(jvs: Jvs) -> None:
    """The others are told so, with what the label is now; their snapshots are kept."""
    jvs("fs", "init").ok()
    commands = []
    for number in range(PROCESSES):
        tree = jvs.where / f"p{number}"
        tree.mkdir()
        (tree / "mine").write_text(f"{number}\n")
        expected = ["--expected", "0"] if number % 2 else []
        words = ["fs", "push", tree.name, "--label", "new", *expected, "--json"]
        commands.append([sys.executable, "-c", CODE, *words])
    done = together(jvs, commands, ready=False)
    assert sorted(answer.status for answer in done) == [0] + [6] * (PROCESSES - 1), done
    winner = next(answer.value for answer in done if answer.status == 0)
    assert (winner["status"], winner["generation"]) == ("advanced", 1)
    for answer in done:
        value = answer.value
        if answer.status == 6:
            assert value["status"] == "rejected"
            assert (value["current"], value["current_generation"]) == (winner["ca_id"], 1)
            assert (value["generation"], value["entry_id"]) == (None, None)
            assert value["error"]["code"] == "label-moved"
            assert value["error"]["next"]
    log = jvs.json("fs", "log", "new")["log"]
    assert [(entry["op"], entry["entry_id"]) for entry in log] == [("create", winner["entry_id"])]
    with Session(jvs) as session:
        for number, answer in enumerate(done):
            assert session("fs", "cat", f"{answer.value['ca_id']}:mine").ok().out == f"{number}\n"


def content(tree: Path, text: str) -> None:
    (tree / "settings.toml").write_text(text)


def test_a_head_that_came_back_is_another_one(pushed: Jvs) -> None:
    """A, B, A: whoever expects the first A by its generation or entry is rejected; by its content, let in."""
    tree = pushed.where / "d"
    first = pushed.json("fs", "pull", "main@1")
    entry = pushed.json("fs", "log", "main")["log"][0]["entry_id"]
    back = pushed.json("fs", "reset", "main", "main@1")
    assert (back["ca_id"], back["generation"]) == (first["ca_id"], 3)

    content(tree, "mine = true\n")
    for expected in ("1", "main@1", entry, entry[:12]):
        done = pushed("fs", "push", "d", "--label", "main", "--expected", expected, "--json")
        assert done.status == 6, done.out
        answer = done.value
        assert (answer["status"], answer["current"], answer["current_generation"]) == ("rejected", first["ca_id"], 3)
    done = pushed("fs", "push", "d", "--json")  # bound to generation 2
    assert (done.status, done.value["current_generation"]) == (6, 3)
    assert pushed.json("fs", "pull", "main")["generation"] == 3

    accepted = pushed.json("fs", "push", "d", "--label", "main", "--expected", first["ca_id"])
    assert (accepted["status"], accepted["generation"]) == ("advanced", 4)


def test_a_directory_bound_to_an_old_head_is_rejected_after_it_came_back(pushed: Jvs) -> None:
    """The binding holds a generation, so A-B-A is caught without --expected too."""
    pushed("fs", "pull", "main@2", "mine").ok()
    pushed("fs", "reset", "main", "main@1").ok()
    pushed("fs", "reset", "main", "main@2").ok()
    content(pushed.where / "mine", "mine = true\n")
    done = pushed("fs", "push", "mine", "--json")
    assert (done.status, done.value["current_generation"]) == (6, 4)
    content(pushed.where / "mine", "rate = 0.25\n")
    same = pushed.json("fs", "push", "mine")
    assert (same["status"], same["generation"]) == ("unchanged", 4)


def test_a_deleted_and_recreated_label_goes_on_from_its_generation(pushed: Jvs) -> None:
    """So that a generation never means two things, not even across a deletion."""
    head = pushed.json("fs", "pull", "main")
    pushed("fs", "label", "--delete", "main").ok()
    pushed("fs", "label", "main", head["ca_id"]).ok()
    now = pushed.json("fs", "pull", "main")
    assert now["ca_id"] == head["ca_id"]
    assert now["generation"] > head["generation"]
    content(pushed.where / "d", "mine = true\n")
    assert pushed("fs", "push", "d", "--label", "main", "--expected", str(head["generation"])).status == 6
    assert pushed("fs", "push", "d").status == 6
