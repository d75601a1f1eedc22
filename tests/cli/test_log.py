"""`jvs fs log` of a label whose beginning was truncated."""

from __future__ import annotations

from pathlib import Path

from jvs.castore.local.store import LocalStore
from jvs.labels import Labels
from tests.cli.conftest import Run
from tests.labels.support import put_snapshot

LAST = "main@3 and older: left the retention window, only their ids are kept"


def test_the_log_ends_with_a_line_that_says_so(jvs: Run, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with LocalStore.create(path) as store:
        labels = Labels(store)
        for generation in range(5):
            tags = ["kept"] if generation == 0 else []
            labels.compare_and_set("main", generation, put_snapshot(store, str(generation)), tags=tags, message="why")

    def lines(*words: str) -> list[str]:
        done = jvs("fs", "log", "main", *words, "--store", path)
        assert done.status == 0, done.err
        return done.out.splitlines()

    def expire() -> None:
        with LocalStore.open(path) as store:
            list(Labels(store).expire(1 << 42))

    assert len(lines()) == 5
    with LocalStore.open(path) as store:
        Labels(store).set_retention("main", ["keep-last 2"])
    expire()
    assert [line.split()[0] for line in lines()] == [f"main@{n}" for n in (6, 5, 4, 3, 2, 1)]  # the first is tagged
    assert "why" in lines()[-1]
    with LocalStore.open(path) as store:
        Labels(store).delete_tag("kept")
    expire()
    shown = lines()
    assert shown[-1] == LAST
    assert len(shown) == 8
    assert all("(dropped by retention)" in line for line in shown[-4:-1])
    assert LAST not in lines("--limit", "5")
    assert LAST in lines("--limit", "0")
    assert LAST not in lines("-q")
