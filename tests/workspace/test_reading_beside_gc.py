"""Verifying and reading while a collection removes what is read: what went meanwhile is no damage."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

from jvs.castore import binding as bindings
from jvs.castore.backend import Kind, object_name
from jvs.castore.binding import Binding
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import PINS
from jvs.castore.manifest import Page
from jvs.castore.verify import Sample
from jvs.errors import CollectedError, MissingChildrenError
from jvs.labels.revisions import Resolved
from jvs.workspace import push
from jvs.workspace.push import Outcome
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


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_pull_keeps_what_the_directory_was(ground: Ground, interrupted: bool) -> None:
    """The snapshot it is compared with, and the one that an interrupted pull was to make, are read too."""
    ground.edit("deep/er/file", 300)
    first = ground.history(1)[0]
    ground.edit("deep/er/file", 300)
    second = ground.push()
    ground.edit("deep/er/file", 300)
    third = ground.push()
    ground.repo.set_retention(["keep-last", "0"])
    directory = ground.where / "pulled"
    ground.repo.pull(first.hex(), str(directory))
    if interrupted:

        class Stopped(Exception):
            pass

        def stop() -> None:
            raise Stopped

        with pytest.raises(Stopped):
            ground.repo.pull(second.hex(), str(directory), progress=At(0, stop))
    gone: list[int] = []
    with Repo.open(ground.repo.store.path, actor="puller") as puller:
        page = puller.objects.page

        def and_collect(digest: Digest) -> Page:
            if not gone:
                gone.append(ground.repo.gc_run().objects)
            return page(digest)

        load = bindings.load
        with pytest.MonkeyPatch.context() as patched:

            def load_and_then(cache: str, path: str) -> Binding | None:
                found = load(cache, path)
                if _pins(ground):  # what it means to read is pinned by now
                    patched.setattr(puller.objects, "page", and_collect)
                return found

            patched.setattr(bindings, "load", load_and_then)
            puller.pull(third.hex(), str(directory), discard=True)
    assert gone
    for name in ("big", "common", "deep/er/file"):
        assert (directory / name).read_bytes() == (ground.source / name).read_bytes()
    ground.repo.gc_run()
    assert not ground.repo.has_snapshot(first)


def _pins(ground: Ground) -> int:
    with ground.repo.store.read() as txn:
        return txn.count(PINS)


def test_a_push_that_is_overtaken_each_time_is_not_called_damage(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has lost, as often as it tries, what it found to be there already: it says so, and works the next time."""
    ground.edit()
    tried = []

    def lose(*_: object) -> Outcome:
        tried.append(1)
        raise MissingChildrenError([])

    with monkeypatch.context() as patched:
        patched.setattr(push, "move", lose)
        with pytest.raises(CollectedError) as caught:
            ground.push()
    assert (caught.value.exit_status, len(tried)) == (1, push.ATTEMPTS)
    ground.check(ground.push())
