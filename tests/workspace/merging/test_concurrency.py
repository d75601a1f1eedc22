"""`push_with_merge`: many that push into one label at once all land, nothing is lost, and the history is one line."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from jvs.errors import LabelMovedError, UnknownError
from jvs.workspace.merging import merge as merging
from jvs.workspace.merging import operands
from jvs.workspace.merging.operands import Operand
from jvs.workspace.repo import Repo
from tests.conftest import TORTURE
from tests.merge.trees.support import F, Model
from tests.workspace.merging.support import LINES, Ground, edited, file

PROCESSES = 8
PUSHES = 40 if TORTURE else 4
RETRIES = 1_000


def work(store: str, number: int, pushes: int) -> None:
    """One of the processes: each push adds a file, and writes its own line of a file that all share."""
    with Repo.open(store, actor=f"agent {number}") as repo:
        ground = Ground.__new__(Ground)
        ground.repo, ground.objects = repo, repo.objects
        for push in range(pushes):
            head = repo.labels.require("main")
            model = ground.read(head.ca_id)
            model[b"new %d %d" % (number, push)] = F(b"%d %d" % (number, push))
            shared = model[b"shared"]
            assert isinstance(shared, F)
            model[b"shared"] = F(edited(shared.data, **{f"_{3 * number}": f"{number} {push}"}))
            snapshot = ground.put(model)
            repo.labels.record_detached(snapshot, (head.entry_id,))
            done = repo.push_with_merge("main", snapshot.hex(), retries=RETRIES)
            assert done.error is None, done.as_json()


def test_many_processes(ground: Ground) -> None:
    ground.commit("main", {b"shared": F(LINES)})
    command = [sys.executable, "-m", "tests.workspace.merging.test_concurrency", str(ground.where)]
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
    agents = [
        subprocess.Popen(
            [*command, str(number), str(PUSHES)], cwd=root, env=environment, stderr=subprocess.PIPE, text=True
        )
        for number in range(PROCESSES)
    ]
    for agent in agents:
        _, said = agent.communicate(timeout=600)
        assert agent.returncode == 0, said
    model = ground.read(ground.repo.labels.require("main").ca_id)
    last = {f"_{3 * number}": f"{number} {PUSHES - 1}" for number in range(PROCESSES)}
    expected: Model = {b"shared": F(edited(LINES, **last))}
    for number in range(PROCESSES):
        expected |= {b"new %d %d" % (number, push): F(b"%d %d" % (number, push)) for push in range(PUSHES)}
    assert model == expected
    entries = list(ground.repo.labels.log("main", None, newest_first=False))
    assert len(entries) == 1 + PROCESSES * PUSHES
    assert [entry.generation for entry in entries] == list(range(1, len(entries) + 1))
    for before, entry in itertools.pairwise(entries):
        assert (entry.prev, entry.parents[0], entry.from_) == (before.id, before.id, before.to)
    assert ground.repo.labels.verify_chain("main") == len(entries)


def test_the_label_moves_while_it_is_merged(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking up and publishing, twice: then it goes through."""
    ground.fork(file(LINES), file(edited(LINES, _1="one")), file(edited(LINES, _9="nine")))
    moves = iter([{"_20": "20"}, {"_25": "25"}])
    real = merging.answer

    def answer(*given: object) -> object:
        for lines in moves:
            data = ground.read(ground.repo.labels.require("ours").ca_id)[b"f"]
            assert isinstance(data, F)
            ground.commit("ours", file(edited(data.data, **lines)))
            break
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(merging, "answer", answer)
    done = ground.repo.push_with_merge("ours", "theirs")
    assert (done.attempts, done.generation) == (3, 5)
    assert ground.tree(done) == file(edited(LINES, _1="one", _9="nine", _20="20", _25="25"))


def test_the_label_moves_right_after_it_was_looked_up(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """OURS names the label: that it moved meanwhile is no reason to give up."""
    ground.fork(file(LINES), file(edited(LINES, _1="one")), file(edited(LINES, _9="nine")))
    real = operands.operand
    moved: list[bool] = []

    def operand(repo: Repo, text: str) -> Operand:
        found = real(repo, text)
        if not moved:
            moved.append(True)
            ground.commit("ours", file(edited(LINES, _1="one", _20="20")))
        return found

    monkeypatch.setattr(merging, "operand", operand)
    assert ground.tree(ground.merged(into="ours")) == file(edited(LINES, _1="one", _9="nine", _20="20"))


def test_it_moves_too_often(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.fork(file(LINES), file(edited(LINES, _1="one")), file(edited(LINES, _9="nine")))
    real = merging.answer
    number = iter(range(100))

    def answer(*given: object) -> object:
        ground.commit("ours", file(edited(LINES, _20=f"{next(number)}")))
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(merging, "answer", answer)
    with pytest.raises(LabelMovedError):
        ground.repo.push_with_merge("ours", "theirs", retries=3)
    assert next(number) == 4


def test_a_conflict_moves_nothing(ground: Ground) -> None:
    ground.fork(file(LINES), file(edited(LINES, _1="one")), file(edited(LINES, _1="eins")))
    before = ground.repo.labels.require("ours")
    done = ground.repo.push_with_merge("ours", "theirs")
    assert (done.status, done.label) == ("conflict", None)
    assert done.error is not None
    assert done.error.exit_status == 7
    assert ground.repo.labels.require("ours") == before


def test_there_must_be_a_label(ground: Ground) -> None:
    ground.commit("theirs", file(LINES))
    with pytest.raises(UnknownError):
        ground.repo.push_with_merge("nowhere", "theirs")


def test_a_base_can_be_given(ground: Ground) -> None:
    """A snapshot that nobody knows the origin of."""
    ground.commit("ours", file(LINES))
    base = ground.repo.labels.require("ours").ca_id.hex()
    ground.commit("ours", file(edited(LINES, _1="one")))
    snapshot = ground.put(file(edited(LINES, _9="nine")))
    ground.repo.labels.record_detached(snapshot)
    assert ground.repo.push_with_merge("ours", snapshot.hex()).status == "conflict"
    done = ground.repo.push_with_merge("ours", snapshot.hex(), base)
    assert ground.tree(done) == file(edited(LINES, _1="one", _9="nine"))


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
