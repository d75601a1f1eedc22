"""The rules of tests/conftest.py, tried on a small suite of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
import pytest

@pytest.mark.skipif(True, reason="needs a unicorn")
def test_decorated(): pass

def test_called(): pytest.skip("needs a unicorn")

def test_other(): pytest.skip("only on another system")

@pytest.mark.torture
def test_long(): pass

@pytest.mark.xfail
def test_expected(): assert False

@pytest.mark.serial
def test_serial(): pass

@pytest.mark.race60
def test_race(race_seconds): print("seconds", race_seconds)
"""
MODULE = 'import pytest\npytest.skip("needs a unicorn", allow_module_level=True)\n'


def run_suite(where: Path, *arguments: str, **environment: str) -> str:
    """What pytest prints for the small suite under the real configuration and the given JVS_ variables."""
    (where / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", where / "tests")
    shutil.copy(ROOT / "pyproject.toml", where)
    (where / "tests" / "test_suite.py").write_text(SUITE)
    (where / "tests" / "test_module.py").write_text(MODULE)
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("JVS_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-s", "-p", "no:cacheprovider", *arguments],
        cwd=where,
        env=quiet | environment,
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_at_home_a_missing_tool_is_a_skip(tmp_path: Path) -> None:
    assert "2 passed, 5 skipped, 1 xfailed" in run_suite(tmp_path)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux")
def test_in_ci_a_missing_tool_is_a_failure(tmp_path: Path) -> None:
    """Three ways of skipping for want of something: a mark, a call, a whole module."""
    output = run_suite(tmp_path, "--continue-on-collection-errors", JVS_CI="1")
    assert "1 failed, 2 passed, 2 skipped, 1 xfailed, 2 errors" in output
    assert output.count("skipped in CI as root: needs a unicorn") >= 3


def test_the_long_forms_run_when_asked_for(tmp_path: Path) -> None:
    output = run_suite(tmp_path, JVS_TORTURE="1")
    assert "test_long PASSED" in output
    assert "seconds 600.0" in output


def test_a_race_runs_as_long_as_it_is_told(tmp_path: Path) -> None:
    assert "seconds 60.0" in run_suite(tmp_path, "-m", "race60", JVS_SECONDS="60")


def test_serial_tests_stay_in_one_worker(tmp_path: Path) -> None:
    output = run_suite(tmp_path, "-n", "2", "--dist", "loadgroup")
    assert "test_serial@serial" in output
    assert "2 passed" in output
