"""The Makefile and .ci/run: every job is there, and none can fail unseen."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
JOBS = "demo test torture lint types layers wheel bench fuzz conformance verify release-gate clean".split()
CI_STEPS = "setup lint types layers wheel short-torture test".split()


@pytest.mark.parametrize("job", JOBS)
def test_the_job_exists_and_help_names_it(job: str) -> None:
    done = subprocess.run(["make", "-n", job], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"  make {job} " in shown


def run_ci(where: Path, failing: str | None) -> subprocess.CompletedProcess[str]:
    """Run the real .ci/run in a directory whose make jobs only say their name, all but `failing` with success.

    It is told that it is an ordinary user, so that it installs nothing.
    """
    (where / ".ci").mkdir()
    (where / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    say = "@echo job $@ JVS_CI=$$JVS_CI JVS_SECONDS=$(JVS_SECONDS)"
    rules = "".join(f"{job}:\n\t{say}\n\t@{'false' if job == failing else 'true'}\n" for job in CI_STEPS)
    (where / "Makefile").write_text(rules)
    fakes = where / "fakes"
    fakes.mkdir()
    (fakes / "id").write_text("#!/bin/sh\necho 1000\n")
    (fakes / "id").chmod(0o755)
    return subprocess.run(
        ["bash", ".ci/run"],
        cwd=where,
        env=os.environ | {"PATH": f"{fakes}{os.pathsep}{os.environ['PATH']}", "CI": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_ci_runs_every_step(tmp_path: Path) -> None:
    done = run_ci(tmp_path, failing=None)
    assert done.returncode == 0, done.stderr
    ran = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("job ")]
    assert [job for job, _, _ in ran] == CI_STEPS
    assert {ci for _, ci, _ in ran} == {"JVS_CI=1"}
    assert ["short-torture", "JVS_CI=1", "JVS_SECONDS=60"] in ran


@pytest.mark.parametrize("failing", CI_STEPS)
def test_ci_fails_when_a_step_fails(failing: str, tmp_path: Path) -> None:
    assert run_ci(tmp_path, failing).returncode != 0


def test_ci_needs_nobody_to_make_it_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
