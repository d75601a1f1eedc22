"""`jvs doctor`: examine a store, also one that cannot be opened, and mend what can be mended.

Objects can be made again from the packs, labels from the journal: a damaged index is rebuilt, alone in the store; the
old one is set aside. Everything else is repaired beside whoever is at work: what is damaged is put back from wherever
it still is (`healing`), and given up, never deleted, where it is nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import Kind, Ref, object_name
from jvs.castore.everything.assist import Assistant
from jvs.castore.gc.marks import LOST, MARKING, collectors, lost
from jvs.castore.gc.pins import pin_locks, remove_dead_pins
from jvs.castore.local import rebuild
from jvs.castore.local.leftovers import dead_locks, is_held, leftovers
from jvs.castore.local.repair import repair_journal, repair_packs
from jvs.castore.local.verify import verify_store
from jvs.castore.names import display
from jvs.castore.objects import object_children
from jvs.errors import IntegrityError
from jvs.labels.replay import replay
from jvs.workspace.checkup import affected_places, label_faults, lost_snapshots, verify_objects
from jvs.workspace.directories import bound
from jvs.workspace.healing import JOURNAL_OP, Healed, Healer
from jvs.workspace.repo import Repo
from jvs.workspace.results import DoctorResult, Finding
from jvs.workspace.sessions.places import Places
from jvs.workspace.sessions.upkeep import faults, tidy
from jvs.workspace.sources import StoreSource, directories

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress

_OF_THE_INDEX: Final = frozenset({"index", "labels"})
_LISTED: Final = 200
"""Most damaged objects that are findings of their own."""
_BATCH: Final = 256
_LINES: Final = 64
"""Things that one record of the journal tells of."""
_ROUNDS: Final = 4
"""How often a repair looks again for what only the last round could show."""


class _Found(NamedTuple):
    """What an examination came to: findings, those about objects by the object, and what leads to these."""

    others: list[Finding]
    objects: dict[Ref, Finding]
    places: tuple[str, ...] = ()
    snapshots: int = 0

    @property
    def findings(self) -> list[Finding]:
        """All, at most _LISTED of objects."""
        return [*self.others, *_bounded(list(self.objects.values()))]

    def broken_index(self) -> bool:
        """Whether the index, or what it says of labels, is damaged."""
        return any(f.severity == "error" and f.category in _OF_THE_INDEX for f in self.others)


def doctor(
    path: str,
    *,
    repair: bool = False,
    runtime: bool = False,
    rebuild_index: bool = False,
    strict: bool = False,
    sources: Sequence[str] = (),
    progress: Progress | None = None,
) -> DoctorResult:
    """Examine the store directory `path`.

    repair         put back, or give up, whatever is damaged; reads every byte, as `strict`
    runtime        only take away what processes that are gone have left, and mend the journal; rebuild a damaged index
    rebuild_index  make the index anew whatever is found
    strict         also read every byte of everything
    sources        other store directories, in which damaged objects may be found

    Raises what opening a store raises, except for damage, which is a finding; LockedError when a rebuild finds the
    store in use.
    """
    rebuilt = [_rebuild(path)] if rebuild_index else []
    strict = strict or repair
    before = _examine(path, strict, progress)
    if not repair and not runtime:
        return _result(rebuilt, before)
    if before.broken_index() and not rebuilt:
        rebuilt = [_rebuild(path)]
        first, before = before, _examine(path, strict, progress)
        rebuilt += _repaired(first, before)
    if before.broken_index():
        return _result(rebuilt, before)
    if not repair:
        _tidy(path)
        after = _examine(path, strict, progress)
        return _result([*rebuilt, *_repaired(before, after)], after)
    told, found = rebuilt, before
    for _ in range(_ROUNDS):
        healed = _repair(path, found, sources)
        after = _examine(path, strict, progress)
        told = [*told, *_repaired(found, after), *_told(healed)]
        if after.objects.keys() <= found.objects.keys():
            break
        found = after  # what was put back needs something else that is damaged
    _forget_found(path, after)
    return _result(told, after)


def _result(first: Sequence[Finding], found: _Found) -> DoctorResult:
    return DoctorResult((*first, *found.findings), found.places, found.snapshots)


def _repaired(before: _Found, after: _Found) -> list[Finding]:
    """The findings of `before` that are none any more."""
    left = {(finding.category, finding.description) for finding in after.others}
    mended = [f for f in before.others if f.severity != "info" and (f.category, f.description) not in left]
    objects = [finding for ref, finding in before.objects.items() if ref not in after.objects]
    return [finding._replace(repaired=True) for finding in (*mended, *_bounded(objects))]


def _bounded(findings: list[Finding]) -> list[Finding]:
    more = len(findings) - _LISTED
    if more <= 0:
        return findings
    return [*findings[:_LISTED], Finding("objects", f"{more:,} more damaged objects", "error", "damaged")]


# -- examining


def _examine(path: str, strict: bool, progress: Progress | None) -> _Found:
    found = _Found([], {})
    try:
        repo = Repo.open(path, actor="doctor")
    except IntegrityError as error:
        category = "index" if error.code.startswith("index-") else error.code.partition("-")[0]
        found.others.append(Finding(category, error.message, "error", error.code, path))
        return found
    with repo:
        for one in verify_store(repo.store, objects=False):
            found.others.append(Finding(one.kind, one.reason, "error", _code(one.kind), one.path))
        if found.broken_index():
            return found  # to read on through it could end this process
        found.others.extend(Finding("labels", fault.reason, "error", fault.code) for fault in label_faults(repo))
        with Assistant(repo.store.path) if strict else nullcontext() as assistant:
            checked = verify_objects(repo, progress, content=strict, assistant=assistant)
        for fault in checked.faults:
            missing = bool(repo.store.missing(fault.ref.kind, [fault.ref.key]))
            code = "object-missing" if missing else "damaged"
            found.objects.setdefault(fault.ref, Finding("objects", fault.reason, "error", code))
        if not found.broken_index():
            for gone in lost_snapshots(repo):
                where = None if gone.path is None else gone.path.decode()
                assert gone.digest is not None
                lost_root = Finding("objects", gone.reason, "error", "object-missing", where)
                found.objects.setdefault(Ref(Kind.PAGE, gone.digest), lost_root)
            if found.objects:
                places, snapshots = affected_places(repo, found.objects.keys())
                shown = tuple(display(place) for place in places)
                found = found._replace(places=shown, snapshots=snapshots)
        found.others.extend(_lying_about(repo))
    return found


def _code(kind: str) -> str:
    return {"index": "index-damaged", "journal": "journal-damaged"}.get(kind, "damaged")


def _lying_about(repo: Repo) -> Iterator[Finding]:
    """What does no harm: remains of processes that are gone, and of repairs."""
    store = repo.store
    if store.readonly:
        return
    with store.read() as txn:
        known, pins = collectors(txn), pin_locks(txn)
    pins = [lock for lock in pins if not is_held(store, lock)]
    if pins:
        yield Finding("pins", f"of operations that are gone: {len(pins)}", "warning")
    stopped = [one for one in known if not is_held(store, one.lock)]
    if stopped:
        half = sum(one.state != MARKING for one in stopped)
        yield Finding("collectors", f"that are gone: {len(stopped)}, half-way {half}; the next gc finishes it", "info")
    yield from faults(repo)
    for one in leftovers(store):
        severity = "warning" if one.kind in ("locks", "stray") else "info"
        yield Finding(one.kind, one.reason, severity, path=one.path)
    for path, binding in bound(repo):
        if binding.pending is not None:
            again = f"jvs fs pull {binding.pending.target.hex()[:12]} {display(path)}"
            yield Finding("directories", f"a pull was interrupted: {again}", "warning", None, display(path))


# -- repairing


def _repair(path: str, found: _Found, sources: Sequence[str]) -> Healed:
    with ExitStack() as stack:
        repo = stack.enter_context(Repo.open(path, actor="doctor"))
        others = [stack.enter_context(Repo.open(source, actor="doctor")) for source in sources]
        store = repo.store
        done = _tidied(repo, sources)
        places = [StoreSource(source, other.objects) for source, other in zip(sources, others, strict=True)]
        healed = Healer(repo, [*places, *directories(repo)]).heal(found.objects)
        done += repair_packs(store)
        _note(repo, done)
        return healed


def _tidy(path: str) -> None:
    """Take away what processes that are gone have left, and mend the journal."""
    with Repo.open(path, actor="doctor") as repo:
        _note(repo, _tidied(repo, ()))


def _tidied(repo: Repo, sources: Sequence[str]) -> list[str]:
    """What was done, a line each. sources: other stores, whose journals may have what is damaged here."""
    store = repo.store
    done = repair_journal(store, sources)
    slots = store.damaged_slots()
    store.clear_slots(slots)
    done += [f"committed, slot {slot}" for slot in slots]
    for name in dead_locks(store):
        lock = store.locks.take(name)
        if lock is not None:
            lock.release()
    pins = remove_dead_pins(store)
    done += [f"pins of operations that are gone: {pins}"] * bool(pins)
    left = tidy(repo, Places(store.path))
    return done + [f"of sessions that were being made or dropped: {left}"] * bool(left)


def _note(repo: Repo, done: Sequence[str]) -> None:
    """Write what was done into the journal."""
    for start in range(0, len(done), _LINES):
        with repo.store.write() as txn:
            txn.journal(JOURNAL_OP, {"did": "store", "what": list(done[start : start + _LINES])}, {"actor": repo.actor})


def _forget_found(path: str, after: _Found) -> None:
    """What was recorded as lost and is needed no more: nothing names it."""
    with suppress(IntegrityError), Repo.open(path, actor="doctor") as repo:
        needed = {object_name(*ref) for ref in after.objects}
        with repo.store.read() as txn:
            idle = [name for name, _ in lost(txn) if name not in needed]
        for start in range(0, len(idle), _BATCH):
            batch = idle[start : start + _BATCH]
            with repo.store.write() as txn:
                for name in batch:
                    txn.delete(LOST, name)
                txn.journal(JOURNAL_OP, {"did": "needed no more", "objects": batch}, {"actor": repo.actor})


def _told(healed: Healed) -> list[Finding]:
    """What a repair did beyond putting back the same: of interest to people."""
    told = []
    if healed.sources:
        where = ", ".join(f"{name} ({times:,})" for name, times in healed.sources.most_common())
        told.append(Finding("repair", f"put back from: {where}", "info"))
    if healed.laid_out:
        told.append(Finding("repair", f"pages laid out anew: {len(healed.laid_out):,}", "info"))
    if healed.kept:
        aside = f"damaged records set aside: {len(healed.kept):,}"
        told.append(Finding("repair", aside, "info", path="quarantine"))
    return told


def _rebuild(path: str) -> Finding:
    report = rebuild.rebuild_index(path, replay, object_children)
    with suppress(IntegrityError), Repo.open(path, actor="doctor") as repo, repo.store.write() as txn:
        skeleton = {"did": "index", "objects": report.objects, "lost": report.lost}
        txn.journal(JOURNAL_OP, skeleton, {"actor": repo.actor})
    what = f"{report.objects:,} objects" + (f", not whole: {report.lost:,} more are nowhere" if report.lost else "")
    return Finding("index", f"rebuilt from packs and journal: {what}; the old one is in {report.set_aside}", "info")
