"""What holds for every test: marks, hypothesis profiles, and skips that may not happen in CI."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator

import hypothesis
import pytest

# deadline: a machine shared with other jobs is slow at times, which is no fault of the code under test.
PROFILE = hypothesis.settings(deadline=None, print_blob=True)
hypothesis.settings.register_profile("default", PROFILE)
hypothesis.settings.register_profile("ci", PROFILE, derandomize=True)
hypothesis.settings.register_profile("long", PROFILE, max_examples=5_000, stateful_step_count=200)
hypothesis.settings.load_profile("ci" if os.environ.get("JVS_CI") == "1" else "default")

TORTURE = os.environ.get("JVS_TORTURE") == "1"
# On such a machine .ci/run has installed all that a test may need, so none may be left out for want of it.
NOTHING_MAY_BE_MISSING = os.environ.get("JVS_CI") == "1" and sys.platform == "linux" and os.geteuid() == 0

# Started in the background of a shell (or by nohup) we were told to ignore these, and would tell every command under
# test to ignore them, too.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def race_seconds() -> float:
    """How long a test marked `race60` runs: JVS_SECONDS, else 5, or 600 in the long form."""
    given = os.environ.get("JVS_SECONDS")
    if given is not None:
        return float(given)
    return 600.0 if TORTURE else 5.0


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the long forms unless asked for; keep `serial` tests in one xdist worker."""
    for item in items:
        if item.get_closest_marker("torture") and not TORTURE:
            item.add_marker(pytest.mark.skip(reason="long form: set JVS_TORTURE=1"))
        if item.get_closest_marker("serial"):
            item.add_marker(pytest.mark.xdist_group("serial"))


def _refuse_missing_needs(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip whose reason starts with "needs " into a failure where nothing may be missing."""
    if not (NOTHING_MAY_BE_MISSING and report.skipped and isinstance(report.longrepr, tuple)):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if reason.startswith("needs "):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped in CI as root: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See `_refuse_missing_needs`."""
    report = yield
    _refuse_missing_needs(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """See `_refuse_missing_needs`: a whole module may be skipped while it is collected."""
    report = yield
    _refuse_missing_needs(report)
    return report
