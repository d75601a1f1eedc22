"""`fs gc run`: a collection from the first mark to the last pack, alone or as a plan foresaw it.

The order inside a run, each step of which a crash may end: what dead collectors left is finished; roots are read and
marked; a plan is compared with what was found; history entries that left their window are truncated, so that none of
them promises a snapshot that goes; what was not reached is condemned and swept; packs are given back; the run is
recorded in the journal. The protocol is `jvs.castore.gc`, the windows are `jvs.labels.truncation`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import ref_of
from jvs.castore.gc.collection import RESTARTS, Collection, Limits, Removed, take_over
from jvs.castore.gc.mark import Mark, Step
from jvs.castore.gc.marks import sweep_key
from jvs.castore.gc.nameset import Budget, NameSet
from jvs.castore.gc.rescue import children_of
from jvs.castore.local import reserve
from jvs.castore.local.pack import record_length
from jvs.castore.local.reclaim import Reclaimed, reclaim
from jvs.errors import MissingObjectError, NoSpaceError, StateError
from jvs.labels.model import Spared, nothing_spared
from jvs.labels.roots import gc_time
from jvs.labels.store import wall_clock
from jvs.labels.tables import policy_revision
from jvs.workspace.gc_plan import DONE, RECORD, PlanFiles, SavedPlan, Tally, Weight, make_plan, stale
from jvs.workspace.gc_results import GcPlan, GcRun
from jvs.workspace.repository.position import tell_all
from jvs.workspace.sessions.upkeep import upkeep

if TYPE_CHECKING:
    from jvs.castore.local.store import LocalStore
    from jvs.workspace.progress import Progress
    from jvs.workspace.repo import Repo

JOURNAL_OP: Final = "gc"
_BATCH: Final = 256


class RunOptions(NamedTuple):
    """What `fs gc run` was asked to do.

    max_seconds  stop, to be continued, after that time; max_bytes: once so much was removed
    trust_clock  the wall clock is right, however far it is ahead of everything in the store
    """

    dry_run: bool = False
    max_seconds: float | None = None
    max_bytes: int | None = None
    trust_clock: bool = False


class _OutOfTimeError(Exception):
    """The time given to a run is over, at a moment when nothing is half done."""


def plan(repo: Repo, *, trust_clock: bool, progress: Progress | None, spared: Spared = nothing_spared) -> GcPlan:
    """`fs gc plan`; see `gc_plan.make_plan` for what it raises, and for what is `spared`."""
    tell_all(repo)
    step = _stepper(progress, None)
    return make_plan(repo, trust_clock=trust_clock, step=step, keep=True, spared=spared)


def run(repo: Repo, plan_id: str | None, options: RunOptions, progress: Progress | None) -> GcRun:
    """`fs gc run`: carry out the plan of that id (None: all that can go now).

    Raises StateError (gc-plan-stale, clock-jump, gc-busy), UnknownError (unknown-plan), IntegrityError when something
    reachable cannot be read: then nothing was removed; NoSpaceError when there is too little even with the reserve.
    """
    if options.dry_run:
        return _rehearse(repo, plan_id, options, progress)
    repo.store.check_usable(writing=True)
    reserve.release(repo.store.path)
    try:
        files = PlanFiles(repo.store)
        return _Run(repo, files, _load(files, plan_id), options, progress).go()
    finally:
        reserve.make(repo.store.path)


def _rehearse(repo: Repo, plan_id: str | None, options: RunOptions, progress: Progress | None) -> GcRun:
    """What `run` would do."""
    if plan_id is not None:
        files = PlanFiles(repo.store)
        return _Run(repo, files, _load(files, plan_id), options, progress).rehearse()
    foreseen = make_plan(repo, trust_clock=options.trust_clock, step=_stepper(progress, None), keep=False)
    size = foreseen.examined_bytes - foreseen.live_bytes
    return GcRun(None, True, foreseen.candidates, size, dry_run=True)


def _load(files: PlanFiles, plan_id: str | None) -> SavedPlan | None:
    """A plan that is still to be carried out."""
    if plan_id is None:
        return None
    saved = files.load(plan_id)
    if saved.status == DONE:
        raise stale(saved.plan_id, "it has been carried out")
    return saved


class _Run:
    """One run; what it did so far."""

    def __init__(
        self, repo: Repo, files: PlanFiles, plan: SavedPlan | None, options: RunOptions, progress: Progress | None
    ) -> None:
        self._repo = repo
        self._store = repo.store
        self._files = files
        self._plan = plan
        self._max_bytes = options.max_bytes
        self._stop_at = None if options.max_seconds is None else time.monotonic() + options.max_seconds
        self._progress = progress
        self._step = _stepper(progress, self._stop_at)
        self._expired: Counter[str] = Counter()
        self._resumed = self._removed = Removed()
        self._reclaimed = Reclaimed()
        self._left_out = False
        self._spared: Spared = nothing_spared
        if plan is not None:
            told = files.leaving(plan)
            self._spared = lambda ca_id: ca_id not in told
        with self._store.read() as txn:
            if plan is None:
                self._now_ms = gc_time(txn, wall_clock(), trust=options.trust_clock)
            else:
                # by a clock that was set back since, what the plan took for old may look young, and it is stale
                self._now_ms = min(plan.at_ms, wall_clock())
        self._check_policies()

    def go(self) -> GcRun:
        """Do it."""
        upkeep(self._repo, self._now_ms)
        tell_all(self._repo)
        collected = self._finish_others() and self._collect()
        reclaimed = self._reclaim()
        if collected and reclaimed and self._plan is not None:
            self._files.save(self._plan._replace(status=DONE))
        result = self._result(collected and reclaimed)
        with self._store.write() as txn:
            txn.journal(JOURNAL_OP, result.as_json(), {"actor": self._repo.actor})
        return result

    def rehearse(self) -> GcRun:
        """Say what the plan would remove now."""
        weight = Weight(self._store)
        budget = Budget(self._files.directory)
        with Collection(self._store, budget) as collection:
            collection.mark(Tally(self._repo, budget, self._now_ms, self._spared), self._step)
            weight.add_all(_names(self._still_unreached(collection, budget)))
        assert self._plan is not None
        return GcRun(self._plan.plan_id, True, weight.objects, weight.bytes, dry_run=True)

    def _check_policies(self) -> None:
        if self._plan is None:
            return
        with self._store.read() as txn:
            if policy_revision(txn) != self._plan.policy_revision:
                raise stale(self._plan.plan_id, "the retention policies were changed")

    def _limits(self) -> Limits:
        removed = self._resumed.bytes + self._removed.bytes
        return Limits(self._stop_at, None if self._max_bytes is None else max(self._max_bytes - removed, 0))

    # -- collecting

    def _finish_others(self) -> bool:
        """Go on where a collector that is gone has stopped; whether that is done."""
        self._files.prune()
        self._resumed = take_over(self._store, self._limits(), _stepper(self._progress, None))
        return self._resumed.done

    def _collect(self) -> bool:
        """Mark, condemn and sweep; whether everything is gone that was to go."""
        while True:
            budget = Budget(self._files.directory)
            try:
                with Collection(self._store, budget) as collection:
                    names = self._settle(collection, budget)
                    whole = collection.condemn(names, partial=self._left_out)
                    swept = collection.sweep(self._limits(), _stepper(self._progress, None))
            except _OutOfTimeError:
                return False
            self._removed = self._removed.plus(swept._replace(done=True))
            if whole or self._limits().reached(0):
                return swept.done
            # The disk was too full to list everything: what went makes room for the rest.
            freed = self._reclaimed.freed
            self._reclaim()
            if not swept.objects and self._reclaimed.freed == freed:
                raise NoSpaceError("the disk is too full even to list what may go")

    def _settle(self, collection: Collection, budget: Budget) -> Iterator[tuple[bytes, int]]:
        """Mark, truncate what has left its window, and give the names that may go, parents first.

        What the mark took for leaving must have left when anything is condemned: the policy, or the label, may have
        changed meanwhile.
        """
        tally = Tally(self._repo, budget, self._now_ms, self._spared)
        for _ in range(RESTARTS):
            collection.mark(tally, self._step)
            names = None if self._plan is None else self._still_unreached(collection, budget)
            for expired in self._repo.labels.expire(self._now_ms, self._spared):
                self._expired[expired.what] += expired.done
                self._step(0)
            if not collection.has_other_roots(tally.everything):
                return collection.unreached(self._step) if names is None else _names(names)
            if self._plan is not None:
                raise stale(self._plan.plan_id, "the retention policies were changed")
        raise StateError("policies or labels changed again and again while gc was marking", code="gc-busy")

    def _still_unreached(self, collection: Collection, budget: Budget) -> NameSet:
        """The records of those candidates of the plan that may go; raises StateError (gc-plan-stale) when one of them
        is reachable again.

        What was not reached and is no candidate stays, with all that is below it: it came after the plan.
        """
        assert self._plan is not None
        self._left_out = False
        plan_id = self._plan.plan_id
        chosen = budget.set(RECORD)
        others: list[bytes] = []
        newcomers = _Newcomers(self._store, budget)
        planned = self._files.names(self._plan)
        candidate = next(planned, None)
        for name, height in collection.unreached(self._step):
            key = sweep_key(b"", name, height)
            while candidate is not None and candidate < key:
                others.append(candidate)
                if len(others) == _BATCH:
                    self._check_gone(collection, others, plan_id)
                candidate = next(planned, None)
            kept = newcomers.need(name, height)
            if candidate == key and not kept:
                chosen.update((key,))
            else:
                newcomers.keep(name)
                self._left_out = True
            candidate = next(planned, None) if candidate == key else candidate
        if candidate is not None:
            others.append(candidate)
        while others or (others := list(islice(planned, _BATCH))):
            self._check_gone(collection, others, plan_id)
        return chosen

    def _check_gone(self, collection: Collection, keys: list[bytes], plan_id: str) -> None:
        """These candidates were not found unreached: they must be gone, or have come back only just now."""
        pairs = [_pair(key) for key in keys]
        with self._store.read() as txn:
            there = [pair for pair in pairs if txn.object_row(pair[0]) is not None]
        for name, _ in collection.older(there):
            kind, digest = ref_of(name)
            raise stale(plan_id, f"the {kind.name.lower()} {digest.hex()[:12]} is in use again")
        keys.clear()

    # -- giving space back

    def _reclaim(self) -> bool:
        """Drop and rewrite packs; False when a limit was reached first."""
        limits = Limits(self._stop_at, self._max_bytes)
        if limits.reached(self._reclaimed.freed):
            return False
        done = reclaim(self._store, limits, _stepper(self._progress, None))
        self._reclaimed = self._reclaimed.plus(done)._replace(no_room=done.no_room)
        return not limits.reached(done.freed)

    def _result(self, done: bool) -> GcRun:
        packs, expired = self._reclaimed, self._expired
        objects = self._resumed.objects + self._removed.objects
        return GcRun(
            None if self._plan is None else self._plan.plan_id,
            done,
            objects,
            self._resumed.bytes + self._removed.bytes + objects * record_length(0),
            self._resumed.objects,
            expired["truncated"],
            expired["forgotten"],
            expired["unpinned"] + expired["detached"],
            packs.dropped,
            packs.rewritten,
            packs.no_room,
            packs.freed - packs.copied,
        )


class _Newcomers:
    """What nothing reaches and yet stays, because it came after a plan; and all that is below it.

    Asked and told in the order of the sweep, so that whatever is below a name comes after it.
    """

    def __init__(self, store: LocalStore, budget: Budget) -> None:
        self._store = store
        self._below = Mark(store, budget)
        self._rank: tuple[int, int] | None = None
        self._held: Iterator[bytes] = iter(())
        self._next: bytes | None = None

    def need(self, name: bytes, height: int) -> bool:
        """Whether the name is below one that stays."""
        kind, key = ref_of(name)
        if self._rank != (kind, height):
            self._rank = kind, height
            self._held = iter(self._below.reached.of(kind, height))
            self._next = next(self._held, None)
        while self._next is not None and self._next < key:
            self._next = next(self._held, None)
        return self._next == key

    def keep(self, name: bytes) -> None:
        """It stays."""
        ref = ref_of(name)
        try:
            self._below.add(children_of(self._store, ref))
        except MissingObjectError:
            if self._store.infos(ref.kind, (ref.key,))[0] is not None:
                raise
            # another collector has just removed it, and so it keeps nothing


def _names(records: NameSet) -> Iterator[tuple[bytes, int]]:
    return (_pair(record) for record in records)


def _pair(record: bytes) -> tuple[bytes, int]:
    """The inverse of `sweep_key`, for no collector: (name, height)."""
    height = 0xFFFF - int.from_bytes(record[1:3], "big")
    return record[3:], height


def _stepper(progress: Progress | None, stop_at: float | None) -> Step:
    """What long work calls. stop_at: when to raise _OutOfTimeError; only for work that may end at any step."""

    def step(number: int) -> None:
        if progress is not None:
            progress.update(0, None, number)
        if stop_at is not None and time.monotonic() >= stop_at:
            raise _OutOfTimeError

    return step
