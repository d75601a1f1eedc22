"""`jvs doctor`: examine a store, also one that cannot be opened, and mend what can be mended.

Everything in the index can be made again: objects from the packs, labels from the journal. So every repair of the index
is the same one, a rebuild; the old index is set aside, never deleted.
"""

from __future__ import annotations

from collections.abc import Iterator

from jvs.castore.local import rebuild
from jvs.castore.local.verify import verify_store
from jvs.castore.objects import object_children
from jvs.errors import IntegrityError
from jvs.labels.replay import replay
from jvs.workspace.checkup import label_faults, lost_snapshots, verify
from jvs.workspace.repo import Repo
from jvs.workspace.results import DoctorResult, Finding

_OF_THE_INDEX = frozenset({"index", "labels"})


def doctor(path: str, *, repair: bool = False, rebuild_index: bool = False, strict: bool = False) -> DoctorResult:
    """Examine the store directory `path`. repair: rebuild the index when it, or what it says of labels, is damaged.
    rebuild_index: rebuild it whatever is found. strict: also read every byte of everything.

    Raises what opening a store raises, except for damage, which is a finding; LockedError when a rebuild finds the
    store in use.
    """
    if rebuild_index:
        return DoctorResult((_rebuild(path), *_examine(path, strict)))
    found = tuple(_examine(path, strict))
    broken = [finding for finding in found if finding.severity == "error" and finding.category in _OF_THE_INDEX]
    if not repair or not broken:
        return DoctorResult(found)
    rebuilt = _rebuild(path)
    after = tuple(_examine(path, strict))
    left = {(finding.category, finding.description) for finding in after}
    mended = tuple(
        Finding(f.category, f.description, f.severity, f.error_code, f.path, repaired=True)
        for f in found
        if (f.category, f.description) not in left
    )
    return DoctorResult((*mended, rebuilt, *after))


def _examine(path: str, strict: bool) -> Iterator[Finding]:
    try:
        repo = Repo.open(path, actor="doctor")
    except IntegrityError as error:
        category = "index" if error.code.startswith("index-") else error.code.partition("-")[0]
        yield Finding(category, error.message, "error", error.code, path)
        return
    with repo:
        if strict:
            for damage in verify(repo, None, None).damaged:
                where = None if damage.path is None else damage.path.decode("utf-8", "replace")
                yield Finding("objects", damage.reason, "error", "damaged", where)
            return
        broken = False
        for finding in verify_store(repo.store, objects=False):
            broken = broken or finding.kind == "index"
            yield Finding(finding.kind, finding.reason, "error", "damaged", finding.path)
        if not broken:
            faults = label_faults(repo)
            for fault in faults:
                yield Finding("labels", fault.reason, "error", "damaged")
            for lost in () if faults else lost_snapshots(repo):
                where = None if lost.path is None else lost.path.decode()
                yield Finding("objects", lost.reason, "error", "object-missing", where)


def _rebuild(path: str) -> Finding:
    report = rebuild.rebuild_index(path, replay, object_children)
    lost = f", {len(report.lost_roots)} snapshots are not whole" if report.lost_roots else ""
    return Finding(
        "index",
        f"rebuilt from packs and journal: {report.objects:,} objects{lost}; the old one is in {report.set_aside}",
        "error" if report.lost_roots else "info",
        "damaged" if report.lost_roots else None,
    )
