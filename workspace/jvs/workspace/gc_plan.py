"""Plans of a collection: what would go, made by a collector that withdraws, and kept in files of the store.

`gc/ID.json` says what the plan came to, `gc/ID.names` which objects would go (records of 36 bytes, in the order of the
sweep), `gc/ID.snapshots` which snapshots are protected, and why, or would go (records of 33 bytes). They are derived:
a run looks at everything again, and a plan that cannot be read is a stale one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby, islice
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from jvs.castore.backend import Kind, ReadTxn, object_name
from jvs.castore.digest import DIGEST_SIZE, Digest, keyed
from jvs.castore.gc.collection import Collection
from jvs.castore.gc.mark import Step
from jvs.castore.gc.marks import sweep_key
from jvs.castore.gc.nameset import Budget
from jvs.castore.gc.pins import live_pins
from jvs.castore.local.failures import os_error
from jvs.castore.local.pack import record_length
from jvs.castore.local.reclaim import foresee
from jvs.errors import AmbiguousError, JvsError, NoSpaceError, StateError, UnknownError, UsageError
from jvs.labels.model import Spared, nothing_spared
from jvs.labels.roots import REASONS, gc_time, roots
from jvs.labels.store import wall_clock
from jvs.labels.tables import policy_revision
from jvs.workspace.gc_results import Example, GcPlan, Protected

if TYPE_CHECKING:
    from jvs.castore.local.store import LocalStore
    from jvs.workspace.repo import Repo

RUNNING: Final = "running"
"""The reason of what a push, pull or mount that is going on protects."""
GROUPS: Final = (*REASONS, RUNNING)
"""Reasons, as they are numbered in the files of plans."""
LEAVING: Final = 0x80
"""Added to the number of a reason that no longer protects."""

PLANNED: Final = "planned"
DONE: Final = "done"

KEPT_PLANS: Final = 16
"""Older plans are removed when one is made."""
RECORD: Final = len(sweep_key(b"", object_name(Kind.PAGE, bytes(DIGEST_SIZE)), 0))
_EXAMPLES: Final = 20
_BATCH: Final = 1024
_ID_DIGITS: Final = 32
_PREFIX: Final = 8
_MAX_JSON: Final = 1 << 20
_SUM: Final = "sum"

_plan_sum = keyed("jvs 2026-11 gc plan v1")


class Tally:
    """The roots as of a moment, told to a collector, and counted by what protects them.

    spared  snapshots that stay protected although they have left their windows
    """

    def __init__(self, repo: Repo, budget: Budget, now_ms: int, spared: Spared = nothing_spared) -> None:
        self._repo = repo
        self._spared = spared
        self._budget = budget
        self.now_ms = now_ms
        self._begin()

    def _begin(self) -> None:
        self._found = self._budget.set(DIGEST_SIZE + 1)
        self._examples: dict[str, dict[Digest, Example]] = {reason: {} for reason in GROUPS}

    def __call__(self, txn: ReadTxn) -> Iterator[Digest]:
        """What is protected and has not left its window (see `gc.collection.Roots`)."""
        self._begin()
        for root in roots(txn, self.now_ms):
            leaving = root.leaving and not self._spared(root.ca_id)
            self._note(root.ca_id, root.reason, root.label, root.detail, leaving=leaving)
            if not leaving:
                yield root.ca_id
        for holder, name in live_pins(txn, self._repo.store.locks):
            if name[0] == Kind.PAGE:
                self._note(name[1:], RUNNING, None, holder, leaving=False)

    def everything(self, txn: ReadTxn) -> Iterator[Digest]:
        """What is protected, whether or not it is leaving."""
        return (root.ca_id for root in roots(txn, self.now_ms))

    def _note(self, ca_id: Digest, reason: str, label: str | None, detail: str, *, leaving: bool) -> None:
        self._found.update((ca_id + bytes((GROUPS.index(reason) + (LEAVING if leaving else 0),)),))
        examples = self._examples[reason]
        if not leaving and len(examples) < _EXAMPLES:
            examples.setdefault(ca_id, Example(ca_id, label, detail))

    def records(self) -> Iterator[bytes]:
        """A CA id and the number of a reason, each pair once, in order."""
        return iter(self._found)

    def count(self) -> tuple[int, tuple[Protected, ...]]:
        """(snapshots that nothing protects any more, those that are protected, by reason)."""
        counts = dict.fromkeys(GROUPS, 0)
        gone = 0
        for _, pairs in groupby(self.records(), key=lambda pair: pair[:DIGEST_SIZE]):
            reasons = [pair[DIGEST_SIZE] for pair in pairs]
            gone += all(reason & LEAVING for reason in reasons)
            for reason in reasons:
                if not reason & LEAVING:
                    counts[GROUPS[reason]] += 1
        return gone, tuple(
            Protected(reason, count, tuple(self._examples[reason].values()))
            for reason, count in counts.items()
            if count
        )


def make_plan(repo: Repo, *, trust_clock: bool, step: Step, keep: bool, spared: Spared = nothing_spared) -> GcPlan:
    """Mark, and list what was not reached.

    keep    write the plan down, to be carried out later
    spared  snapshots that stay although they have left their windows

    Raises StateError (clock-jump, gc-busy), IntegrityError naming what cannot be read, ReadOnlyError, NoSpaceError.
    """
    store = repo.store
    with store.read() as txn:
        now_ms = gc_time(txn, wall_clock(), trust=trust_clock)
        revision = policy_revision(txn)
    files = PlanFiles(store)
    budget = Budget(files.directory)
    tally = Tally(repo, budget, now_ms, spared)
    weight = Weight(store)
    making = store.locks.hold() if keep else None
    plan_id = making.name if making is not None else None
    try:
        with Collection(store, budget) as collection:
            collection.mark(tally, step)
            names = collection.older(collection.unreached(step))
            if plan_id is None:
                weight.add_all(names)
            else:
                files.write(plan_id, "names", (sweep_key(b"", *name) for name in weight.passing(names)))
        plan = _plan(plan_id, revision, tally, weight)
        if plan_id is not None:
            files.write(plan_id, "snapshots", tally.records())
            files.save(SavedPlan(plan_id, PLANNED, now_ms, revision, weight.objects, plan.as_json()))
            files.prune()
    except BaseException as error:
        if plan_id is not None:
            files.remove(plan_id)
        if isinstance(error, NoSpaceError):
            error.next = "jvs fs gc run"
        raise
    finally:
        if making is not None:
            making.release()
    return plan


def _plan(plan_id: str | None, revision: int, tally: Tally, weight: Weight) -> GcPlan:
    seen = foresee(weight.store, weight.packs)
    gone, protected = tally.count()
    return GcPlan(
        plan_id,
        tally.now_ms,
        revision,
        weight.objects,
        {kind.name.lower(): number for kind, number in weight.kinds.items()},
        seen.stored,
        seen.stored - weight.bytes,
        weight.bytes + seen.dead,
        seen.freed,
        seen.dropped,
        seen.rewritten,
        gone,
        protected,
    )


class Weight:
    """Adds up the objects that would go.

    objects, bytes  their number, and what they take in packs
    kinds           how many of each kind
    packs           how many bytes of each pack
    """

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.objects = self.bytes = 0
        self.kinds = dict.fromkeys(Kind, 0)
        self.packs: dict[bytes, int] = {}

    def passing(self, names: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
        """The same (name, height) pairs, those that are still there, added up as they pass."""
        iterator = iter(names)
        while batch := list(islice(iterator, _BATCH)):
            with self.store.read() as txn:
                rows = [txn.object_row(name) for name, _ in batch]
            for pair, row in zip(batch, rows, strict=True):
                if row is not None:
                    size = record_length(row.stored)
                    self.objects += 1
                    self.bytes += size
                    self.kinds[Kind(pair[0][0])] += 1
                    self.packs[row.pack] = self.packs.get(row.pack, 0) + size
                    yield pair

    def add_all(self, names: Iterable[tuple[bytes, int]]) -> None:
        """Add them up."""
        for _ in self.passing(names):
            pass


class SavedPlan(NamedTuple):
    """A plan as it is written down. status: PLANNED or DONE; summary: its JSON."""

    plan_id: str
    status: str
    at_ms: int
    policy_revision: int
    candidates: int
    summary: dict[str, Any]


class PlanFiles:
    """The files of a store's plans. While one is being made, the lock of its name is held."""

    def __init__(self, store: LocalStore) -> None:
        """Makes their folder. Raises ReadOnlyError, NoSpaceError and the like."""
        store.check_usable(writing=True)
        self._locks = store.locks
        self.directory = os.path.join(store.path, "gc")
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
        except OSError as exc:
            raise os_error(exc, f"making {self.directory}") from exc

    def write(self, plan_id: str, what: str, records: Iterable[bytes]) -> None:
        """Write one of a plan's files."""
        left = iter(records)
        try:
            with open(self._path(plan_id, what), "xb", opener=_private) as file:
                while batch := b"".join(islice(left, _BATCH)):
                    file.write(batch)
        except OSError as exc:
            raise os_error(exc, "writing the plan") from exc

    def save(self, plan: SavedPlan) -> None:
        """Write a plan down, in place of what it was."""
        path = self._path(plan.plan_id, "json")
        fields = plan._asdict()
        try:
            with open(path + ".new", "w", encoding="utf-8", opener=_private) as file:
                json.dump({**fields, _SUM: _sum_of(fields)}, file, indent=2)
                file.write("\n")
            os.replace(path + ".new", path)
        except OSError as exc:
            raise os_error(exc, "writing the plan") from exc

    def load(self, text: str) -> SavedPlan:
        """The plan of that id, or unique prefix of at least 8 digits. Raises UsageError (bad-id), AmbiguousError,
        UnknownError (unknown-plan), StateError (gc-plan-stale) when it cannot be read."""
        if not _PREFIX <= len(text) <= _ID_DIGITS or text.strip("0123456789abcdef"):
            raise UsageError(f"{text[:80]!a} is no id of a plan", code="bad-id", next="jvs fs gc plan")
        found = [plan_id for plan_id in self._ids() if plan_id.startswith(text)]
        if not found:
            raise UnknownError(f"there is no plan {text}", code="unknown-plan", plan_id=text)
        if len(found) > 1:
            matches = [{"kind": "plan", "id": plan_id} for plan_id in found]
            raise AmbiguousError(f"{len(found)} plans begin with {text}", matches=matches)
        return self._read(found[0])

    def _read(self, plan_id: str) -> SavedPlan:
        try:
            with open(self._path(plan_id, "json"), "rb", opener=_regular) as file:
                fields = json.loads(file.read(_MAX_JSON))
            # Ages are judged by the time in it, so what is not as it was written must not be believed.
            if fields.pop(_SUM) != _sum_of(fields):
                raise ValueError("not as it was written")
            plan = SavedPlan(**fields)
            size = os.path.getsize(self._path(plan_id, "names"))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise stale(plan_id, "it cannot be read") from exc
        if plan.plan_id != plan_id or size != plan.candidates * RECORD:
            raise stale(plan_id, "its list of candidates is not whole")
        return plan

    def names(self, plan: SavedPlan) -> Iterator[bytes]:
        """The candidates' records, in the order of the sweep."""
        try:
            with open(self._path(plan.plan_id, "names"), "rb", opener=_regular) as file:
                while batch := _read_records(file):
                    yield from batch
        except OSError as exc:
            raise stale(plan.plan_id, "its list of candidates cannot be read") from exc

    def leaving(self, plan: SavedPlan) -> set[Digest]:
        """The snapshots of which a plan says that something protects them no more."""
        size = DIGEST_SIZE + 1
        try:
            with open(self._path(plan.plan_id, "snapshots"), "rb", opener=_regular) as file:
                records = iter(lambda: file.read(size), b"")
                return {record[:-1] for record in records if len(record) == size and record[-1] & LEAVING}
        except OSError as exc:
            raise stale(plan.plan_id, "its list of snapshots cannot be read") from exc

    def remove(self, plan_id: str) -> None:
        """Forget a plan."""
        for what in ("json", "names", "snapshots", "json.new"):
            with suppress(OSError):
                os.unlink(self._path(plan_id, what))

    def prune(self) -> None:
        """Forget the oldest plans when there are many, and what is left of those that were never finished."""
        with suppress(OSError):
            by_age = sorted(self._ids(), key=lambda plan_id: os.stat(self._path(plan_id, "json")).st_mtime_ns)
            for plan_id in by_age[:-KEPT_PLANS]:
                self.remove(plan_id)
            names = {name.partition(".")[0] for name in os.listdir(self.directory)}
            for plan_id in filter(_is_id, names.difference(by_age)):
                with suppress(JvsError):
                    self._remove_unfinished(plan_id)

    def _remove_unfinished(self, plan_id: str) -> None:
        making = self._locks.take(plan_id)
        if making is not None:
            try:
                if not os.path.exists(self._path(plan_id, "json")):
                    self.remove(plan_id)
            finally:
                making.release()

    def _ids(self) -> list[str]:
        names = sorted(name for name in os.listdir(self.directory) if name.endswith(".json"))
        return [plan_id for name in names if _is_id(plan_id := name.removesuffix(".json"))]

    def _path(self, plan_id: str, what: str) -> str:
        return os.path.join(self.directory, f"{plan_id}.{what}")


def stale(plan_id: str, why: str) -> StateError:
    """The error for a plan that cannot be carried out."""
    return StateError(f"plan {plan_id[:12]} is stale: {why}; nothing was done", code="gc-plan-stale", plan_id=plan_id)


def _is_id(text: str) -> bool:
    return len(text) == _ID_DIGITS and not text.strip("0123456789abcdef")


def _sum_of(fields: dict[str, Any]) -> str:
    return _plan_sum(json.dumps(fields, sort_keys=True).encode()).hex()


def _read_records(file: IO[bytes]) -> list[bytes]:
    block = file.read(_BATCH * RECORD)
    return [block[start : start + RECORD] for start in range(0, len(block), RECORD)]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _regular(path: str, flags: int) -> int:
    """Opens a file, and nothing that never ends, or that never begins."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is not a file")
    return fd
