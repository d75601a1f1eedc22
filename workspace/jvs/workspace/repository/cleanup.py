"""`jvs gc`: what a collection would take of the save points, and taking it; the same plans as those of `jvs fs gc`.

A cleanup is more careful than its policies: what was saved during the last day stays, and so does everything in the
history of a label that somebody has locked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import Digest, entry_digest
from jvs.errors import JvsError, UnknownError, UsageError
from jvs.labels.durations import UNITS, duration_text
from jvs.labels.locks import list_locks
from jvs.labels.model import Spared, decode_skeleton, glance
from jvs.labels.policies import stored_policies
from jvs.labels.positions import Standings
from jvs.labels.retention import Keeper
from jvs.labels.roots import PIN, REF, TAG, deletion_due, roots
from jvs.labels.store import wall_clock
from jvs.labels.tables import DELETED, LABELS, Head, entries_between, unpack_head
from jvs.labels.window import Window
from jvs.workspace import gc
from jvs.workspace.repository import descriptors
from jvs.workspace.repository.position import tell_all
from jvs.workspace.repository.savepoints import is_save_point, snapshot_id
from jvs.workspace.results import Json, iso_time
from jvs.workspace.retention import policies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jvs.workspace.gc_results import GcPlan, GcRun
    from jvs.workspace.progress import Progress
    from jvs.workspace.repository.repository import Repository

MIN_AGE_MS: Final = UNITS["d"]
"""What is younger stays, unless somebody says otherwise."""


class Kept(NamedTuple):
    """How many save points stay for which reason, each counted once, by the first that holds.

    pin        a pin, a tag, or a ref
    lineage    it is the newest of its label, a worktree stands there or is detached below it, or its label was deleted
               not so long ago
    retention  the policies keep it, it is younger than the least age, or its label is locked
    """

    pin: int
    lineage: int
    retention: int


class Cleanup(NamedTuple):
    """A plan, in save points. protected, to_delete: their ids, the newest last; rules: policies by pattern."""

    plan: GcPlan
    protected: tuple[str, ...]
    kept: Kept
    to_delete: tuple[str, ...]
    min_age_ms: int
    rules: Mapping[str, str]

    def as_json(self) -> Json:
        """{plan_id, created_at, protected_set, protected_by_pin, protected_by_lineage, protected_by_retention,
        candidate_count, to_delete, deletable_bytes_estimate, retention_policy: {keep_min_age, rules}}."""
        return {
            "plan_id": self.plan.plan_id,
            "created_at": iso_time(self.plan.at_ms),
            "protected_set": list(self.protected),
            "protected_by_pin": self.kept.pin,
            "protected_by_lineage": self.kept.lineage,
            "protected_by_retention": self.kept.retention,
            "candidate_count": len(self.to_delete),
            "to_delete": list(self.to_delete),
            "deletable_bytes_estimate": self.plan.reclaimable_bytes,
            "retention_policy": {"keep_min_age": duration_text(self.min_age_ms), "rules": dict(self.rules)},
        }


def plan(
    repository: Repository,
    *,
    min_age_ms: int = MIN_AGE_MS,
    trust_clock: bool = False,
    progress: Progress | None = None,
) -> Cleanup:
    """Say what would go, and keep that as a plan. Nothing goes. Raises what `gc.plan` raises."""
    repo = repository.repo
    tell_all(repo, repository.layout)
    spared = _spared(repository, wall_clock() - min_age_ms)
    made = gc.plan(repo, trust_clock=trust_clock, progress=progress, spared=spared)
    protected: list[str] = []
    leaving: list[str] = []
    counts = [0] * len(Kept._fields)
    with repo.store.read() as txn:
        named = _named(txn, made.at_ms)
        for one in _judged(txn, made.at_ms, spared):
            if one.leaving:
                leaving.append(one.id)
                continue
            protected.append(one.id)
            counts[0 if one.ca_id in named else 1 if one.lineage else 2] += 1
    rules = {info.pattern: info.rules for info in policies(repo)}
    return Cleanup(made, tuple(sorted(protected)), Kept(*counts), tuple(sorted(leaving)), min_age_ms, rules)


def run(repository: Repository, plan_id: str, progress: Progress | None = None) -> GcRun:
    """Carry out a plan, of `plan` or of `jvs fs gc plan`. Raises StateError (gc-plan-stale), UnknownError
    (unknown-plan), and what `gc.run` raises."""
    tell_all(repository.repo, repository.layout)
    try:
        done = gc.run(repository.repo, plan_id, gc.RunOptions(), progress)
        with suppress(OSError, JvsError):  # of what went there must be no export
            descriptors.rebuild(repository)
        return done
    except UsageError as error:
        if error.code != "bad-id":
            raise
        raise UnknownError(error.message, code="unknown-plan", next="jvs gc plan") from error
    except JvsError as error:
        if error.code in ("gc-plan-stale", "unknown-plan"):
            error.next = "jvs gc plan"
        raise


class _Judged(NamedTuple):
    """A save point. lineage: something that is no policy keeps it."""

    id: str
    ca_id: Digest
    leaving: bool
    lineage: bool


class _History(NamedTuple):
    """The history of a label that is there, or may come back."""

    name: str
    live: bool
    head: Head


def _histories(txn: ReadTxn) -> Iterator[_History]:
    for key, raw in txn.scan(LABELS):
        yield _History(key.decode("utf-8"), True, unpack_head(raw))
    for key, raw in txn.scan(DELETED):
        yield _History(key[: key.index(0)].decode("utf-8"), False, unpack_head(raw))


def _spared(repository: Repository, since_ms: int) -> Spared:
    """Whether a snapshot stays whatever the policies say: it was put into the history of a label since then, or that of
    a label that is locked now."""
    found: set[Digest] = set()
    now_ms = wall_clock()
    with repository.repo.store.read() as txn:
        locked = {lock.label for lock in list_locks(txn) if lock.in_force(now_ms)}
        for name, _live, head in _histories(txn):
            for _generation, skeleton, _body in entries_between(txn, head.uid, 0, head.generation, reverse=True):
                seen = glance(skeleton)
                if seen.at_ms <= since_ms and name not in locked:
                    break
                if seen.to is not None:
                    found.add(seen.to)
    return found.__contains__


def _named(txn: ReadTxn, now_ms: int) -> set[Digest]:
    """The snapshots that people keep by a name."""
    return {root.ca_id for root in roots(txn, now_ms) if not root.leaving and root.reason in (PIN, TAG, REF)}


def _judged(txn: ReadTxn, now_ms: int, spared: Spared) -> Iterator[_Judged]:
    """Every save point that there is, and whether a run would take it."""
    known, standings = stored_policies(txn), Standings(txn)
    for name, live, head in _histories(txn):
        if live:
            window = Window(head.uid, Keeper(known.of(name)[1], now_ms), standings, spared)
        elif deletion_due(known, standings, name, head, now_ms) and not spared(head.ca_id):
            window = Window(head.uid, None, standings, spared)
        else:
            window = None
        newest = live
        for generation, skeleton, body in entries_between(txn, head.uid, 0, head.generation, reverse=True):
            if body is None:
                continue
            judged = [] if window is None else window.judge(txn, generation, skeleton, body)
            bones = decode_skeleton(skeleton)
            if bones.to is None or not is_save_point(txn, bones.op, bones.to, bones.parents):
                continue
            lineage = newest or window is None or standings.keep(head.uid, generation)
            newest = False
            leaving = bool(judged) and judged[-1].leaving
            yield _Judged(snapshot_id(bones.at_ms, entry_digest(skeleton)), bones.to, leaving, lineage)
