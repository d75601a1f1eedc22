"""What `fs merge` shows of many conflicts, and where it says the rest is."""

from __future__ import annotations

import pytest

from jvs.castore.digest import Digest
from jvs.merge.model import Conflict
from jvs.workspace.merging.results import MergeResult, ShownConflict
from tests.cli.conftest import FakeRepo, Run

ONE = Digest(bytes(32))


def conflicted(total: int, listed: int) -> MergeResult:
    """A merge with so many conflicts, of which so many are listed."""
    conflicts = [Conflict((b"f%d" % number,), "binary", None, None, None) for number in range(listed)]
    shown = tuple(ShownConflict(one, None, None, None, (), 0, 0) for one in conflicts)
    return MergeResult("conflict", None, ONE, ONE, ONE, conflicts=shown, total_conflicts=total)


@pytest.mark.parametrize(
    ("total", "listed", "says"),
    [
        (21, 21, "1 more (--json lists them)"),
        (10_000, 1_000, "9,980 more (--json lists 1,000, .jvs-conflicts.json in the DIR of --out all of them)"),
    ],
)
def test_where_the_rest_is_listed(jvs: Run, repo: FakeRepo, total: int, listed: int, says: str) -> None:
    repo.answers["merge"] = conflicted(total, listed)
    lines = jvs("fs", "merge", "a", "b").out.splitlines()
    assert lines[20] == f"conflict    {says}"
    assert len(jvs("fs", "merge", "a", "b", "--json").value["conflicts"]) == listed
