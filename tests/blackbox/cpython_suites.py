"""Runs suites of the tests that CPython ships: `python cpython_suites.py OUTCOMES SUITE...`.

OUTCOMES becomes a JSON object: the name of each test -> [`ok`, `skipped` or `failed`, what was said]. Files are made
in the working directory, and in TMPDIR.
"""

from __future__ import annotations

import json
import sys
import unittest
from typing import Any


class _Outcomes(unittest.TestResult):
    """Of each test how it ended; a failure counts, whatever else the test or a part of it came to."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, tuple[str, str]] = {}

    def _note(self, test: unittest.TestCase, outcome: str, said: object) -> None:
        if self.of.get(test.id(), ("ok",))[0] != "failed":
            self.of[test.id()] = (outcome, str(said))

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._note(test, "ok", "")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._note(test, "skipped", reason)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._note(test, "failed", f"{err[0].__name__}: {err[1]}")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._note(test, "failed", f"{err[0].__name__}: {err[1]}")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, "failed", f"{err[0].__name__}: {err[1]}")


def main(outcomes: str, suites: list[str]) -> None:
    """Run them; write down how each test ended."""
    result = _Outcomes()
    unittest.defaultTestLoader.loadTestsFromNames([f"test.{suite}" for suite in suites]).run(result)
    with open(outcomes, "w") as file:
        json.dump(result.of, file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
