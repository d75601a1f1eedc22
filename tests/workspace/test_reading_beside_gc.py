"""Verifying and reading while a collection removes what is read: what went meanwhile is no damage."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

from jvs.castore.backend import Kind, object_name
from jvs.castore.verify import Sample
from jvs.errors import CollectedError
from jvs.labels.revisions import Resolved
from jvs.workspace.repo import Repo
from tests.workspace.gc_support import At, Ground, ground

__all__ = ["ground"]

MOMENTS = range(2, 50, 8)


class Both:
    """Two progress bars at once."""

    def __init__(self, first: At, second: At) -> None:
        self.first = first
        self.second = second

    def update(self, done_bytes: int, total_bytes: int | None, done_items: int) -> None:
        """See `jvs.workspace.progress.Progress`."""
        self.first.update(done_bytes, total_bytes, done_items)
        self.second.update(done_bytes, total_bytes, done_items)


@pytest.mark.parametrize("sample", [None, Sample(100, "seed")])
def test_what_is_collected_meanwhile_is_no_damage(ground: Ground, sample: Sample | None) -> None:
    """At whichever object verification is when a whole collection comes."""
    called = 0
    for moment in MOMENTS:
        ground.edit("large", 300_000)
        kept = ground.history(2)[-1]
        ground.repo.set_retention(["keep-last", "0"])
        at = At(moment, ground.repo.gc_run)
        assert ground.repo.verify(sample=sample, progress=at).damaged == ()
        called += at.called
    assert called > len(MOMENTS) // 2
    ground.check(kept)


def test_what_comes_back_meanwhile_is_no_damage(ground: Ground) -> None:
    """Removed while it is verified, and stored anew: what was listed, and is there, may be of different times."""
    ground.history(1)
    ground.repo.set_retention(["keep-last", "0"])
    data = (ground.source / "big").read_bytes()

    def go() -> None:
        ground.edit()
        ground.push()
        ground.repo.gc_run()

    def come_back() -> None:
        (ground.source / "big").write_bytes(data)
        ground.push()

    came_back = 0
    for gone, back in combinations(range(9), 2):
        both = Both(At(gone, go), At(back, come_back))
        assert ground.repo.verify(progress=both).damaged == ()
        came_back += both.second.called
        come_back()
    assert came_back > 10


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("sample", [None, Sample(100, "seed")])
def test_what_is_missing_below_something_is_damage(ground: Ground, kind: Kind, sample: Sample | None) -> None:
    """Whatever is named and not there is said, and nothing else."""
    ground.edit("large", 9_000_000)  # so large that it has a recipe
    ground.history(1)
    key = next(iter(ground.repo.store.keys(kind)))
    with ground.repo.store.write() as txn:
        txn.remove(object_name(kind, key))
    assert {damage.digest for damage in ground.repo.verify(sample=sample).damaged} == {key}


READS: dict[str, Callable[[Repo], object]] = {
    "cat": lambda repo: b"".join(repo.cat("main:small/0")),
    "cat of a chunk": lambda repo: b"".join(repo.cat("main:big")),
    "tree": lambda repo: list(repo.tree("main").entries),
    "tree of a directory": lambda repo: list(repo.tree("main:small").entries),
    "pull": lambda repo: repo.pull("main", repo.store.path + "-pulled"),
    "verify": lambda repo: repo.verify("main"),
    "pin": lambda repo: repo.pin("main"),
}


@pytest.mark.parametrize("read", READS)
def test_what_is_collected_while_it_is_read_is_said_so(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """After the revision was resolved, and before anything was read."""
    ground.history(1)
    ground.repo.set_retention(["keep-last", "0", "keep-deleted", "0"])
    resolve = Repo.resolve

    def and_collect(repo: Repo, revision: str) -> Resolved:
        resolved = resolve(repo, revision)
        ground.repo.delete_label("main")
        ground.repo.gc_run()
        return resolved

    with Repo.open(ground.repo.store.path, actor="reader") as reader:
        monkeypatch.setattr(Repo, "resolve", and_collect)
        with pytest.raises(CollectedError):
            READS[read](reader)
