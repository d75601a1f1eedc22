"""Many attempts: which is the best, and what becomes of the others."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from jvs.errors import JvsError, UnknownError, UsageError
from jvs.workspace.repo import Repo
from jvs.workspace.running import ParallelOptions, ParallelResult, RunOptions, Surroundings, run_parallel
from jvs.workspace.running.attempt import Attempt
from jvs.workspace.running.parallel import choose
from jvs.workspace.running.results import Ended
from jvs.workspace.sessions import list_sessions


def attempts(
    repo: Repo,
    around: Surroundings,
    text: str,
    number: int,
    score: str | None = None,
    jobs: int | None = None,
    **given: object,
) -> ParallelResult:
    """Shell commands in checked-out copies, which are where commands run soonest."""
    options = RunOptions(("sh", "-c", text), "main", checkout=True)._replace(**given)  # type: ignore[arg-type]
    words = None if score is None else ("sh", "-c", score)
    done = run_parallel(repo, options, ParallelOptions(number, jobs, words), around)
    assert os.listdir(around.scratch) == []
    return done


def text(repo: Repo, revision: str) -> str:
    return b"".join(repo.cat(revision)).decode()


def test_the_best_is_pushed_and_the_others_are_kept_for_a_time(repo: Repo, around: Surroundings) -> None:
    done = attempts(
        repo, around, "echo $JVS_ATTEMPT > n; test $JVS_ATTEMPT != 4", 4, "echo $((JVS_ATTEMPT % 4 % 3))", message="why"
    )
    assert done.exit_status == 0
    assert done.best is not None
    assert (done.best.attempt, done.best.score, done.best.status, done.best.generation) == (2, 2.0, "pushed", 2)
    assert text(repo, "main:n") == "2\n"
    assert [(one.attempt, one.status, one.score, one.exit_status) for one in done.attempts] == [
        (1, "kept", 1.0, 0),
        (2, "pushed", 2.0, 0),
        (3, "kept", 0.0, 0),
        (4, "kept", None, 1),  # it failed, so it is not scored
    ]
    kept = list_sessions(repo)
    assert sorted(info.name for info in kept) == sorted(one.session for one in done.attempts if one.session is not None)
    assert len(kept) == 3
    assert all(info.until is not None and info.generation == 1 for info in kept)
    assert done.as_json()["best"] == 2


def test_of_equals_the_first(repo: Repo, around: Surroundings) -> None:
    done = attempts(repo, around, "echo $JVS_ATTEMPT > n; exit $((JVS_ATTEMPT == 1))", 3, "echo 5", jobs=1)
    assert done.best is not None
    assert done.best.attempt == 2
    without = attempts(repo, around, "echo x$JVS_ATTEMPT > n", 2)
    assert without.best is not None
    assert without.best.attempt == 1


def test_no_valid_score(repo: Repo, around: Surroundings, said: list[str]) -> None:
    done = attempts(repo, around, "echo > n", 3, "test $JVS_ATTEMPT != 1 || exit 1; test $JVS_ATTEMPT != 2 || echo nan")
    assert (done.best, done.exit_status) == (None, 1)
    assert done.error is not None
    assert done.error.code == "no-score"
    assert [one.status for one in done.attempts] == ["kept"] * 3
    assert sum("has no score" in line for line in said) == 3
    assert repo.labels.require("main").generation == 1


def test_all_fail(repo: Repo, around: Surroundings) -> None:
    done = attempts(repo, around, "exit $((JVS_ATTEMPT + 3))", 2, "echo 1", on_failure="drop")
    assert (done.best, done.error, done.exit_status) == (None, None, 4)
    assert [one.status for one in done.attempts] == ["dropped", "dropped"]
    assert list_sessions(repo) == []


def test_negative_scores_and_one_attempt(repo: Repo, around: Surroundings) -> None:
    done = attempts(repo, around, "echo $JVS_ATTEMPT > n", 2, "expr $JVS_ATTEMPT - 9")
    assert done.best is not None
    assert (done.best.attempt, done.best.score) == (2, -7.0)
    assert attempts(repo, around, "echo > one", 1).exit_status == 0


def test_all_begin_at_one_snapshot_and_the_label_may_have_moved(
    repo: Repo, around: Surroundings, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    repo.pull("main", str(other))
    (other / "theirs").write_text("theirs")
    command = (
        f"ls > ls; test $JVS_ATTEMPT != 1 || echo > {tmp_path}/go; while ! test -e {tmp_path}/gone; do sleep 0.02; done"
    )

    def push() -> None:
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        repo.push(str(other))
        (tmp_path / "gone").touch()

    thread = threading.Thread(target=push)
    thread.start()
    done = attempts(repo, around, command, 2, "cat ls >&2; expr 1 - $(grep -c theirs ls)", jobs=1)
    thread.join()
    assert [one.score for one in done.attempts] == [1.0, 1.0]
    assert done.best is not None
    assert (done.best.status, done.exit_status) == ("rejected", 6)
    assert done.best.session is not None


def test_after_a_signal_all_are_kept_and_none_is_chosen(repo: Repo, around: Surroundings, tmp_path: Path) -> None:
    def forward() -> None:
        while not all((tmp_path / f"up{number}").exists() for number in (1, 2)):
            time.sleep(0.01)
        assert around.interrupts.forward(signal.SIGTERM)

    thread = threading.Thread(target=forward)
    thread.start()
    done = attempts(
        repo, around, f"echo > n; test $JVS_ATTEMPT != 1 || {{ echo > {tmp_path}/up1; exit 0; }};"
        f"echo > {tmp_path}/up$JVS_ATTEMPT; sleep 60", 3, "echo 1", jobs=2,
    )  # fmt: skip
    thread.join()
    assert (done.best, done.exit_status) == (None, 128 + signal.SIGTERM)
    began = [one for one in done.attempts if one.ended is not None]
    assert [one.status for one in began] == ["kept"] * len(began)
    assert {info.name for info in list_sessions(repo)} == {one.session for one in began}
    assert repo.labels.require("main").generation == 1


def test_an_attempt_that_cannot_begin_is_not_the_end_of_the_others(
    repo: Repo, around: Surroundings, said: list[str]
) -> None:
    attempts(repo, around, "true", 1, name="mine", on_success="keep")
    assert [info.name for info in list_sessions(repo)] == ["mine-1"]
    done = attempts(repo, around, "echo $JVS_ATTEMPT > n", 2, name="mine")
    assert [one.status for one in done.attempts] == ["failed", "pushed"]
    assert any("attempt 1 could not begin" in line for line in said)
    with pytest.raises(JvsError, match="mine-1"):
        attempts(repo, around, "true", 1, name="mine")


def test_what_cannot_be_meant(repo: Repo, around: Surroundings) -> None:
    for number in (0, -1, 1001):
        with pytest.raises(UsageError):
            attempts(repo, around, "true", number)
    with pytest.raises(UsageError):
        attempts(repo, around, "true", 2, jobs=0)
    with pytest.raises(UsageError):
        run_parallel(repo, RunOptions(("true",), "main"), ParallelOptions(2, None, ()), around)
    with pytest.raises(UnknownError):
        attempts(repo, around, "true", 2, label="nowhere")


def test_stdin_is_empty(repo: Repo, around: Surroundings) -> None:
    assert attempts(repo, around, "cat > n", 2).exit_status == 0
    assert text(repo, "main:n") == ""


def _attempt(number: int, score: float | None, status: int = 0, how: str = "exited") -> Attempt:
    return Attempt(f"s-{number}", bytes(32), Ended(how, status), number=number, score=score)


def test_choosing() -> None:
    zero, low = _attempt(1, 0.0), _attempt(2, -1.0)
    assert choose([low, zero], scored=True) is zero
    assert choose([low, _attempt(3, None)], scored=True) is low
    assert choose([_attempt(3, None), zero._replace(score=None)], scored=False) == zero._replace(score=None)
    assert choose([_attempt(1, 9.0, 1), _attempt(2, 9.0, 0, "interrupted")], scored=True) is None
    assert choose([zero._replace(error=JvsError("gone"))], scored=True) is None
    assert choose([], scored=True) is None
