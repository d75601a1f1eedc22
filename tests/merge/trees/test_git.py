"""Made-up merges, against installed git (`git merge-tree --write-tree`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from devtools.merge_tree_corpus import KINDS, cases, compare
from jvs.merge.drivers.chain import merge_content
from tests.conftest import TORTURE

COUNT = 2_000 if TORTURE else 70


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_agrees(tmp_path: Path) -> None:
    """Verdicts, conflicted paths, and the whole tree where both are clean; nothing is clean that is none for git."""
    found = list(cases(COUNT, 7))
    assert {case.name for case in found} >= {"random", "criss-cross", "unrelated", *KINDS}
    other: list[str] = []
    for case, git, jvs in compare(found, merge_content, tmp_path):
        assert git.clean or not jvs.verdict.clean, f"{case.name}: falsely clean; git says {git.said}"
        if (git.clean, git.paths) != (jvs.verdict.clean, jvs.verdict.paths):
            other.append(f"{case.name}: git {git.said}, jvs {jvs.verdict.said}")
        elif git.clean:
            assert git.tree == jvs.verdict.tree, case.name
    assert len(other) <= COUNT // 200, "\n".join(other)
