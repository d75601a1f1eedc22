"""A directory is pushed while what the push has found in the store is collected: it starts again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jvs.castore.backend import WriteTxn
from jvs.castore.settings import StoreSettings
from jvs.castore.treewriter import TreeWriter
from jvs.workspace import directories, gc
from jvs.workspace.repo import Repo


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "below").mkdir(parents=True)
    (root / "a").write_text("one" * 100)
    (root / "below" / "b").write_text("two" * 100)
    return root


@pytest.fixture
def repo(tmp_path: Path, source: Path) -> Iterator[Repo]:
    """A store in which the tree of `source` is garbage."""
    Repo.init(str(tmp_path / "store"), StoreSettings())
    with Repo.open(str(tmp_path / "store"), actor="tester") as opened:
        opened.labels.set_retention("*", ["keep-last", "0", "keep-deleted", "0"])
        opened.push(str(source), label="old")
        opened.labels.delete("old")
        yield opened


class Once:
    """Collects garbage, the first time it is called."""

    def __init__(self, repo: Repo) -> None:
        self.removed = 0
        self._repo = repo

    def __call__(self) -> None:
        if not self.removed:
            self.removed = gc.run(self._repo, None, gc.RunOptions(trust_clock=True), None).objects


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_what_a_push_has_found_is_collected(
    changed: bool, late: bool, repo: Repo, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """late: when all was scanned, and only the last transaction is left."""
    once = Once(repo)
    base_of, publish = directories.base_of, TreeWriter.publish

    def then_collect(*args: Any) -> Any:
        base = base_of(*args)
        once()
        return base

    def collect_first(self: TreeWriter, then: Callable[[WriteTxn], Any] | None = None) -> Any:
        once()
        return publish(self, then)

    if late:
        monkeypatch.setattr(TreeWriter, "publish", collect_first)
    else:
        monkeypatch.setattr(directories, "base_of", then_collect)
    if changed:
        (source / "c").write_text("three" * 100)
    assert repo.push(str(source), label="new").status == "advanced"
    assert once.removed
    repo.pull("new", str(tmp_path / "target"))
    assert (tmp_path / "target" / "below" / "b").read_text() == "two" * 100
    assert repo.verify().ok
