"""A store whose labels are moved to trees given as values, without directories on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jvs.castore.digest import Digest
from jvs.castore.settings import StoreSettings
from jvs.labels.model import Entry
from jvs.workspace.merging.merge import MergeOptions
from jvs.workspace.merging.results import MergeResult
from jvs.workspace.repo import Repo
from tests.merge.trees.support import Bench, F, Model

LINES = b"".join(b"line %d\n" % number for number in range(30))


def edited(text: bytes, **lines: str) -> bytes:
    """`text` with some lines written anew: `_3="three"`."""
    out = text.split(b"\n")
    for number, new in lines.items():
        out[int(number[1:])] = new.encode()
    return b"\n".join(out)


def file(data: bytes) -> Model:
    """A tree with one file, `f`."""
    return {b"f": F(data)}


class Ground(Bench):
    """A Repo to move labels in."""

    def __init__(self, where: Path) -> None:
        self.where = where
        Repo.init(str(where), StoreSettings())
        self.repo = Repo.open(str(where), actor="tester")
        self.objects = self.repo.objects

    def commit(self, label: str, model: Model, parents: tuple[Digest, ...] | None = None) -> Entry:
        """Move a label to a tree; a new one comes from `parents`."""
        head = self.repo.labels.get(label)
        snapshot = self.put(model)
        return self.repo.labels.compare_and_set(
            label, None if head is None else head.generation, snapshot, parents=parents
        )

    def branch(self, label: str, of: str) -> None:
        """A new label where another is."""
        self.repo.set_label(label, of)

    def fork(self, base: Model, ours: Model, theirs: Model) -> None:
        """Labels `ours` and `theirs`, that changed a base."""
        self.commit("ours", base)
        self.branch("theirs", "ours")
        self.commit("ours", ours)
        self.commit("theirs", theirs)

    def forget(self) -> None:
        """All labels go, so that the next example starts anew in the same store."""
        for info in self.repo.labels.list():
            self.repo.delete_label(info.name)

    def merged(self, ours: str = "ours", theirs: str = "theirs", **options: object) -> MergeResult:
        """Merge, and return what comes of it."""
        return self.repo.merge(ours, theirs, MergeOptions(**options))  # type: ignore[arg-type]

    def tree(self, result: MergeResult) -> Model:
        """The merged tree of a clean merge."""
        assert result.error is None, result.conflicts
        assert result.ca_id is not None
        return self.read(result.ca_id)


@contextmanager
def made() -> Iterator[Ground]:
    """A new store; in memory where there is such a place, since each move commits."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as where:
        ground = Ground(Path(where) / "store")
        with ground.repo:
            yield ground
