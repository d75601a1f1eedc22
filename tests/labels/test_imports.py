"""A process that only lists labels loads nothing of this package that it does not need."""

from __future__ import annotations

import subprocess
import sys

LISTING = """
import sys
import jvs.castore.memory

before = set(sys.modules)
from jvs.labels import Labels

Labels(jvs.castore.memory.MemoryStore()).list()
heavy = "calendar dataclasses difflib inspect logging asyncio hypothesis pytest jvs.labels.when jvs.labels.conformance"
print(*(name for name in heavy.split() if name in set(sys.modules) - before))
"""


def test_listing_labels_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
