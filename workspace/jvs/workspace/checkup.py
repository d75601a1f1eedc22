"""`fs verify`: read everything back and say what is not what it must be."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Final

from jvs.castore import verify as verification
from jvs.castore.affected import Affected
from jvs.castore.backend import Kind, Ref, object_name
from jvs.castore.digest import Digest
from jvs.castore.gc.marks import is_lost
from jvs.castore.local.verify import Finding, verify_store
from jvs.castore.verify import Fault, Sample
from jvs.errors import IntegrityError
from jvs.labels.roots import DELETED_LABEL, Root, roots
from jvs.labels.verify import verify_labels
from jvs.workspace.reading import pinned
from jvs.workspace.results import Damage, VerifyResult

if TYPE_CHECKING:
    from jvs.castore.everything.assist import Assistant
    from jvs.workspace.progress import Progress
    from jvs.workspace.repo import Repo

PLACES: Final = 100
"""Most paths that are named ..."""
PLACES_EACH: Final = 20
"""... and most of one snapshot."""


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


def verify(repo: Repo, revision: str | None, progress: Progress | None, sample: Sample | None = None) -> VerifyResult:
    """Verify one snapshot, or (None) everything: every object, the closure of the index, every file of every page,
    the index against the packs, the tables, the label chains and the journal. sample: of the objects only these."""
    if revision is not None:
        root = repo.snapshot_of(repo.resolve(revision))
        meter = _Meter(progress, repo.objects.tree(root).bytes)
        with pinned(repo, root, what="verify"):
            checked = verification.verify_snapshot(repo.objects, root, meter.tick)
        return VerifyResult(checked.objects, checked.bytes, _damages(as_recorded(repo, checked.faults)))
    from jvs.castore.everything.assist import Assistant

    with Assistant(repo.store.path) if sample is None else nullcontext() as assistant:
        found = list(verify_store(repo.store, objects=False))  # meanwhile the assistant starts
        damaged = [_of_store(finding) for finding in found]
        if any(finding.kind == "index" for finding in found):
            return VerifyResult(0, 0, tuple(damaged))  # to read on through a damaged index could end this process
        checked = verify_objects(repo, progress, sample=sample, assistant=assistant)
    wrong = label_faults(repo)
    damaged += _damages(checked.faults if wrong else _with_paths(repo, checked.faults))
    damaged += wrong or lost_snapshots(repo)
    return VerifyResult(checked.objects, checked.bytes, tuple(damaged), sample)


def verify_objects(
    repo: Repo,
    progress: Progress | None,
    *,
    content: bool = True,
    sample: Sample | None = None,
    assistant: Assistant | None = None,
) -> verification.Checked:
    """Verify every object, or those of a sample; see `everything.verify.verify_all`."""
    meter = _Meter(progress, None)
    if sample is not None:
        checked = verification.verify_sample(repo.objects, sample, meter.tick)
    else:
        from jvs.castore.everything.verify import verify_all

        spill = os.path.join(repo.store.path, "gc")
        directory = spill if os.path.isdir(spill) and not repo.store.readonly else None
        checked = verify_all(repo.objects, meter.tick, content=content, directory=directory, assistant=assistant)
    return checked._replace(faults=as_recorded(repo, checked.faults))


def as_recorded(repo: Repo, faults: Iterable[Fault]) -> list[Fault]:
    """The faults, of those objects that were given up already it being said."""
    with repo.store.read() as txn:
        return [
            fault._replace(reason=f"{fault.reason}: it was recorded as lost")
            if is_lost(txn, object_name(*fault.ref)) and txn.info(*fault.ref) is None
            else fault
            for fault in faults
        ]


def _of_store(finding: Finding) -> Damage:
    return Damage(None if finding.path is None else finding.path.encode(), finding.digest, finding.reason)


def _damages(faults: Iterable[Fault]) -> tuple[Damage, ...]:
    return tuple(
        Damage(None if fault.path is None else b"/".join(fault.path), fault.ref.key, fault.reason) for fault in faults
    )


def _with_paths(repo: Repo, faults: list[Fault]) -> list[Fault]:
    """The faults, each with the first place that meets it: LABEL:PATH, or ID:PATH of an older snapshot."""
    left = {fault.ref: fault for fault in faults}
    named: list[Fault] = []
    if faults:
        affected = Affected(repo.objects, left.keys())
        for name, root in kept_snapshots(repo):
            for ref, path in affected.paths(root) if left else ():
                fault = left.pop(ref, None)
                if fault is not None:
                    named.append(fault._replace(path=(name + b":" + b"/".join(path),)))
    return named + list(left.values())


def affected_places(repo: Repo, refs: Collection[Ref]) -> tuple[list[bytes], int]:
    """(LABEL:PATH, or ID:PATH of an older snapshot, that lead to these objects; how many snapshots do): at most
    PLACES_EACH of one snapshot and PLACES in all, but every snapshot counts."""
    affected = Affected(repo.objects, refs)
    places: list[bytes] = []
    snapshots = 0
    for name, root in kept_snapshots(repo):
        paths = dict.fromkeys(b"/".join(path) for _, path in islice(affected.paths(root), PLACES_EACH))
        snapshots += bool(paths)
        places += [name + b":" + path for path in paths]
    return places[:PLACES], snapshots


def kept_snapshots(repo: Repo) -> Iterator[tuple[bytes, Digest]]:
    """(name, snapshot) of every label's head, then of every other protected snapshot."""
    heads = list(repo.labels.list())
    yield from ((info.name.encode(), info.ca_id) for info in heads)
    with repo.store.read() as txn:
        others = dict.fromkeys(root.ca_id for root in roots(txn, 0))
    for info in heads:
        others.pop(info.ca_id, None)
    yield from ((ca_id.hex()[:12].encode(), ca_id) for ca_id in others)


def lost_snapshots(repo: Repo) -> Iterator[Damage]:
    """Protected snapshots that the store does not have: nothing that is in the index leads to them, so only the labels,
    pins and records can tell.

    To be called when the labels themselves are sound.
    """
    gone: dict[Digest, Root] = {}
    with repo.store.read() as txn:
        for root in roots(txn, 0):
            known = gone.get(root.ca_id)
            if known is None and txn.info(Kind.PAGE, root.ca_id) is not None:
                continue
            if known is None or known.reason == DELETED_LABEL:  # a label that is there says more
                gone[root.ca_id] = root
    for root in gone.values():
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
        faults.append(Damage(None, None, error.message, error.code))
    return faults
