"""A plan that reads only what is new finds what one that reads everything finds, whatever the store has been through.

Random histories of pushes, moves, deletions, pins, merges and time, with collections in between that run to their end,
stop at a limit, or die at any commit. What may go is computed three times: by a mark as it comes (from what the last
one left), by a mark of everything, and here, by walking all that is protected.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jvs.castore.backend import Kind, Ref, object_name
from jvs.castore.digest import Digest
from jvs.castore.gc.collection import Collection
from jvs.castore.gc.nameset import Budget
from jvs.castore.gc.pins import live_pins
from jvs.castore.local.store import LocalStore
from jvs.castore.manifest import DIRECTORY, FILE
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.errors import IntegrityError, JvsError
from jvs.labels.roots import roots
from jvs.labels.store import wall_clock
from jvs.workspace.gc_plan import Tally
from jvs.workspace.repo import Repo

HOUR = 3_600_000
ACTS_EACH = 50
LABELS = ("main", "dev", "agent/1")
POLICIES = (
    ["keep-last", "0"],
    ["keep-last", "2"],
    ["keep-last", "0", "keep-deleted", "0"],
    ["keep-hourly", "2", "keep-deleted", "3h"],
    ["keep-within", "5h"],
    ["keep-all"],
)
SETTINGS = StoreSettings(chunk_min=64, chunk_avg=256, chunk_max=1024, inline_limit=2000)
"""Files of some kilobytes have recipes and many chunks, and those of a hundred have recipes of recipes."""


class History:
    """A store, the directories pushed to it, and what has been done."""

    def __init__(self, where: Path, seed: int, off: list[int]) -> None:
        self.random = random.Random(seed)
        self.done: list[str] = []
        self.counts: Counter[str] = Counter()
        self.plans: list[str] = []
        self._off = off
        self._disturbing = False
        self._path = str(where / "store")
        self._sources = [where / "one", where / "two"]
        for source in self._sources:
            source.mkdir()
        Repo.init(self._path, SETTINGS)
        self.repo = Repo.open(self._path, actor="tester")
        self._contents = [random.Random(size).randbytes(size) for size in (10, 300, 1500, 5000, 9000, 100_000)]

    def close(self) -> None:
        self.repo.close()

    def act(self) -> None:
        """Do something; that it may be refused is part of it."""
        what = self.random.choice(ACTS)
        self.done.append(what.__name__)
        self._attempt(what)

    def _attempt(self, what: Callable[[History], None]) -> None:
        try:
            what(self)
        except IntegrityError:
            raise
        except JvsError:
            pass

    def _label(self) -> str:
        return self.random.choice(LABELS)

    def _revision(self) -> str:
        """Something that was there once: an entry of a label, whatever has become of it."""
        label = self._label()
        return self.random.choice((label, f"{label}@{self.random.randint(1, 9)}", f"{label}@{{1}}"))

    def _edit(self) -> Path:
        source = self.random.choice(self._sources)
        for _ in range(self.random.randint(1, 3)):
            path = source / self.random.choice(("a", "b", "in/a", "in/b", "in/deep/c"))
            if self.random.random() < 0.2:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            content = self.random.choice(self._contents)
            if self.random.random() < 0.4:
                at = self.random.randrange(len(content))
                content = content[:at] + self.random.randbytes(8) + content[at:]
            path.write_bytes(content)
        return source

    # what is done

    def push(self) -> None:
        tags = [f"t{self.random.randint(0, 3)}"] if self.random.random() < 0.2 else []
        self.repo.push(str(self._edit()), label=self._label(), force=True, tags=tags)

    def push_rejected(self) -> None:
        self.repo.push(str(self._edit()), label=self._label(), expected=self._revision())

    def pull(self) -> None:
        """What is there is saved first."""
        self.repo.pull(self._revision(), str(self._edit()), autosave=True)

    def push_detached(self) -> None:
        self.repo.push(str(self._edit()), detach=True)

    def push_interrupted(self) -> None:
        """Parts of it are published, under a pin that is released."""
        left = [self.random.randint(0, 6)]

        def commit() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt), _before_each_write(commit):
            self.repo.push(str(self._edit()), label=self._label(), force=True)

    def reset(self) -> None:
        label = self._label()
        self.repo.reset(label, f"{label}@{self.random.randint(1, 9)}", allow_unlogged=True)

    def repoint(self) -> None:
        self.repo.set_label(self._label(), self._revision())

    def undo(self) -> None:
        self.repo.undo(self._label())

    def merge(self) -> None:
        from jvs.workspace.merging.merge import MergeOptions

        ours, theirs = self.random.sample(LABELS, 2)
        self.repo.merge(ours, theirs, MergeOptions(into=ours, prefer="ours"))

    def delete(self) -> None:
        self.repo.delete_label(self._label())

    def undelete(self) -> None:
        self.repo.undelete_label(self._label())

    def rename(self) -> None:
        self.repo.rename_label(*self.random.sample(LABELS, 2))

    def delete_tag(self) -> None:
        self.repo.delete_tag(f"t{self.random.randint(0, 3)}")

    def pin(self) -> None:
        self.repo.pin(self._revision(), self.random.choice((None, "3h")))

    def unpin(self) -> None:
        pins = self.repo.pins()
        if pins:
            self.repo.unpin(self.random.choice(pins).pin.id.hex())

    def set_policy(self) -> None:
        self.repo.set_retention(self.random.choice(POLICIES), self.random.choice(("*", "main", "agent/*")))

    def wait(self) -> None:
        self._off[0] += self.random.choice((1, 1, 4, 30)) * HOUR

    def plan(self) -> None:
        plan_id = self.repo.gc_plan(trust_clock=True).plan_id
        assert plan_id is not None
        self.plans.append(plan_id)

    def run_plan(self) -> None:
        if self.plans:
            self.repo.gc_run(self.random.choice(self.plans[-3:]))

    def run(self) -> None:
        """Afterwards nothing is left but what is protected."""
        assert self.repo.gc_run(trust_clock=True).done
        if not self._disturbing:
            assert set(self.index()) == self.protected(leaving=True)
            self.counts["runs"] += 1

    def run_bounded(self) -> None:
        self.repo.gc_run(max_bytes=self.random.choice((0, 100, 3000)), trust_clock=True)

    def run_disturbed(self) -> None:
        """Others do things before some of its transactions."""
        left = [self.random.randint(0, 15)]

        def commit() -> None:
            left[0] -= 1
            if left[0] in (-1, -3):
                what = self.random.choice(DISTURBING)
                self.done.append(f"({what.__name__})")
                self._disturbing = True
                self._attempt(what)
                self._disturbing = False

        with _before_each_write(commit):
            self.repo.gc_run(trust_clock=True)

    def run_interrupted(self) -> None:
        left = [self.random.randint(0, 20)]

        def commit() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt), _before_each_write(commit):
            self.repo.gc_run(trust_clock=True)

    def run_killed(self) -> None:
        """By a death without any cleaning up, in a process of its own."""
        self._killed(lambda repo: repo.gc_run(trust_clock=True))

    def push_killed(self) -> None:
        source, label = str(self._edit()), self._label()
        self._killed(lambda repo: repo.push(source, label=label, force=True))

    def _killed(self, work: Callable[[Repo], object]) -> None:
        left = [self.random.randint(0, 25)]

        def commit() -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(0)

        self.repo.close()
        child = os.fork()
        if not child:
            try:
                repo = Repo.open(self._path, actor="tester")
                with _before_each_write(commit):
                    work(repo)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        self.repo = Repo.open(self._path, actor="tester")

    # what is compared

    def index(self) -> Iterator[bytes]:
        """The names of all objects."""
        for kind in Kind:
            for key in self.repo.store.keys(kind):
                yield object_name(kind, key)

    def protected(self, *, leaving: bool) -> set[bytes]:
        """The names of all that is protected. leaving: also by what has left its window."""
        with self.repo.store.read() as txn:
            first = [root.ca_id for root in roots(txn, wall_clock()) if leaving or not root.leaving]
            pins = [name for _, name in live_pins(txn, self.repo.store.locks)]
        assert not pins
        return _walk(ObjectStore(self.repo.store, SETTINGS), first)

    def compare(self) -> None:
        """The three ways agree on what may go."""
        expected = set(self.index()) - self.protected(leaving=False)
        assert self._candidates(everything=False) == expected
        assert self._candidates(everything=True) == expected
        self.counts["compared"] += 1

    def _candidates(self, *, everything: bool) -> set[bytes]:
        budget = Budget(None)
        with Collection(self.repo.store, budget) as collection:
            if everything:
                collection._alone = False
            collection.mark(Tally(self.repo, budget, wall_clock()), _no_step)
            found = [name for name, _ in collection.older(collection.unreached(_no_step))]
            self.counts["incremental" if collection._incremental else "whole"] += 1
        with self.repo.store.read() as txn:
            there = {name for name in found if txn.info(Kind(name[0]), name[1:]) is not None}
        assert len(found) == len(set(found))
        return there


DISTURBING = (
    *(History.push,) * 3,
    History.push_rejected,
    History.repoint,
    History.reset,
    History.undo,
    History.undelete,
    History.merge,
    History.pin,
    History.set_policy,
    History.run,
    History.run_bounded,
)
ACTS: tuple[Callable[[History], None], ...] = (
    *(History.push,) * 8,
    *(History.push_rejected,) * 2,
    History.pull,
    History.push_detached,
    History.push_interrupted,
    History.push_killed,
    *(History.reset,) * 2,
    *(History.repoint,) * 2,
    History.undo,
    *(History.merge,) * 2,
    History.delete,
    *(History.undelete,) * 2,
    History.rename,
    History.delete_tag,
    History.pin,
    History.unpin,
    History.set_policy,
    History.wait,
    History.plan,
    History.run_plan,
    *(History.run,) * 4,
    *(History.run_disturbed,) * 4,
    History.run_bounded,
    History.run_interrupted,
    History.run_killed,
)


def _no_step(_number: int) -> None:
    pass


@contextmanager
def _before_each_write(what: Callable[[], None]) -> Iterator[None]:
    """Call it whenever a transaction is about to begin."""
    real = LocalStore.write

    def write(store: LocalStore) -> object:
        what()
        return real(store)

    LocalStore.write = write  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        LocalStore.write = real  # type: ignore[method-assign]


def _walk(objects: ObjectStore, snapshots: Iterable[Digest]) -> set[bytes]:
    """The names of all objects that these snapshots consist of."""
    seen: set[Ref] = set()
    stack = [Ref(Kind.PAGE, digest) for digest in snapshots]
    while stack:
        ref = stack.pop()
        if ref in seen:
            continue
        seen.add(ref)
        if ref.kind == Kind.PAGE:
            page = objects.page(ref.key)
            stack += [Ref(Kind.PAGE, row.digest) for row in page.children]
            stack += [Ref(Kind.PAGE, entry[3]) for entry in page.entries if entry[1] == DIRECTORY]
            stack += [Ref(Kind.LAYOUT, ref.key) for entry in page.entries if entry[1] == FILE and entry[3]]
        elif ref.kind == Kind.LAYOUT:
            stack += objects.layout(ref.key).children()
        elif ref.kind == Kind.RECIPE:
            stack += objects.recipe_children(ref.key)
    return {object_name(*ref) for ref in seen}


def play(seed: int, acts: int, off: list[int]) -> Counter[str]:
    """One history, compared after every act; how often what was done."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as where:
        history = History(Path(where), seed, off)
        try:
            for _ in range(acts):
                history.act()
                history.compare()
            history.run()
            assert history.repo.verify().damaged == ()
        except BaseException as error:
            error.add_note(f"seed {seed}: {' '.join(history.done)}")
            raise
        finally:
            history.close()
    return history.counts


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How far the clock is off, in ms."""
    ahead, true = [0], time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: true() + ahead[0] * 1_000_000)
    return ahead


def _check(seeds: Iterable[int], off: list[int]) -> None:
    counts: Counter[str] = Counter()
    for seed in seeds:
        off[0] = 0
        counts += play(seed, ACTS_EACH, off)
    assert counts["incremental"] > counts["compared"] // 5
    assert counts["runs"]


def test_incremental_equals_full(off: list[int]) -> None:
    _check(range(3), off)


@pytest.mark.torture
def test_incremental_equals_full_for_long(off: list[int]) -> None:
    _check(range(1000, 1000 + int(os.environ.get("JVS_HISTORIES", "300"))), off)
