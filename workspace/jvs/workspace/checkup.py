"""`fs verify`: read everything back and say what is not what it must be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from jvs.castore import verify as verification
from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.local.verify import Finding, verify_store
from jvs.errors import IntegrityError
from jvs.labels.roots import roots
from jvs.labels.verify import verify_labels
from jvs.workspace.reading import pinned
from jvs.workspace.results import Damage, VerifyResult

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repo import Repo


class _Meter:
    """Adds up what verification reports, for whoever watches."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self._progress = progress
        self._total = total
        self._bytes = self._items = 0

    def tick(self, size: int, objects: int) -> None:
        self._bytes += size
        self._items += objects
        if self._progress is not None:
            self._progress.update(self._bytes, self._total, self._items)


def verify(repo: Repo, revision: str | None, progress: Progress | None) -> VerifyResult:
    """Verify one snapshot, or (None) everything: every object, the closure of the index, every file of every page,
    the index against the packs, the tables, the label chains and the journal."""
    if revision is not None:
        root = repo.snapshot_of(repo.resolve(revision))
        meter = _Meter(progress, repo.objects.tree(root).bytes)
        with pinned(repo, root, what="verify"):
            checked = verification.verify_snapshot(repo.objects, root, meter.tick)
        return VerifyResult(checked.objects, checked.bytes, _damages(checked.faults))
    found = list(verify_store(repo.store, objects=False))
    damaged = [_of_store(finding) for finding in found]
    if any(finding.kind == "index" for finding in found):
        return VerifyResult(0, 0, tuple(damaged))  # to read on through a damaged index could end this process
    checked = verification.verify_all(repo.objects, _Meter(progress, None).tick)
    damaged += _damages(_with_paths(repo, checked.faults))
    damaged += label_faults(repo) or lost_snapshots(repo)
    return VerifyResult(checked.objects, checked.bytes, tuple(damaged))


def _of_store(finding: Finding) -> Damage:
    return Damage(None if finding.path is None else finding.path.encode(), finding.digest, finding.reason)


def _damages(faults: Iterable[verification.Fault]) -> tuple[Damage, ...]:
    return tuple(
        Damage(None if fault.path is None else b"/".join(fault.path), fault.ref.key, fault.reason) for fault in faults
    )


def _with_paths(repo: Repo, faults: list[verification.Fault]) -> list[verification.Fault]:
    """The faults, each with the first place that meets it: LABEL:PATH, or ID:PATH of an older snapshot."""
    left = {fault.ref: fault for fault in faults}
    named: list[verification.Fault] = []
    for name, root in _roots(repo) if faults else ():
        for fault in verification.affected_paths(repo.objects, root, tuple(left.values())):
            left.pop(fault.ref, None)
            where = b"/".join(fault.path or ())
            named.append(fault._replace(path=(name + b":" + where,)))
    return named + list(left.values())


def _roots(repo: Repo) -> Iterator[tuple[bytes, Digest]]:
    """(name, snapshot) of every label's head, then of every other snapshot."""
    heads = list(repo.labels.list())
    yield from ((info.name.encode(), info.ca_id) for info in heads)
    seen = {info.ca_id for info in heads}
    yield from ((ca_id.hex()[:12].encode(), ca_id) for ca_id, _at in repo.snapshots() if ca_id not in seen)


def lost_snapshots(repo: Repo) -> Iterator[Damage]:
    """Protected snapshots that the store does not have: nothing that is in the index leads to them, so only the labels,
    pins and records can tell.

    To be called when the labels themselves are sound.
    """
    seen: set[Digest] = set()
    with repo.store.read() as txn:
        for root in roots(txn, 0):
            if root.ca_id not in seen:
                seen.add(root.ca_id)
                if txn.info(Kind.PAGE, root.ca_id) is None:
                    where = None if root.label is None else root.label.encode() + b":"
                    kept = f"{root.reason} {root.detail}".rstrip()
                    yield Damage(where, root.ca_id, f"the snapshot is not in the store (kept as {kept})")


def label_faults(repo: Repo) -> list[Damage]:
    """What is wrong with the labels: sums of their tables, entry ids, chains, heads."""
    faults: list[Damage] = []
    try:
        with repo.store.read() as txn:
            verify_labels(txn)
    except IntegrityError as error:
        faults.append(Damage(None, None, error.message))
    return faults
