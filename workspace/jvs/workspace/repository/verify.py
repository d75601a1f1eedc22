"""`jvs verify`: save points, both layers: the entry that describes one, and every byte of what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.affected import Affected
from jvs.castore.backend import Kind
from jvs.castore.digest import Digest, entry_digest
from jvs.castore.everything.assist import Assistant
from jvs.castore.local.verify import verify_store
from jvs.castore.verify import Fault
from jvs.errors import CODES, CollectedError, IntegrityError
from jvs.labels.model import decode_entry
from jvs.labels.purges import current
from jvs.labels.tables import LABELS, entries_between, entry_by_id, unpack_head
from jvs.workspace.checkup import label_faults, verify_objects
from jvs.workspace.repository.savepoints import is_save_point, snapshot_id
from jvs.workspace.results import Json

if TYPE_CHECKING:
    from jvs.workspace.progress import Progress
    from jvs.workspace.repo import Repo
    from jvs.workspace.repository.repository import Repository
    from jvs.workspace.repository.savepoints import SavePoint

SEVERITY: Final = "critical"


class Verified(NamedTuple):
    """What became of one save point.

    checksum_valid      the entry is what its id says
    payload_hash_valid  everything it holds is there, to the last byte
    error               what is wrong, or None
    """

    snapshot_id: str
    checksum_valid: bool
    payload_hash_valid: bool
    error: IntegrityError | None

    @property
    def tampered(self) -> bool:
        """Whether it is not what was saved."""
        return not (self.checksum_valid and self.payload_hash_valid)

    def as_json(self) -> Json:
        """{snapshot_id, checksum_valid, payload_hash_valid, tamper_detected, severity?}; `error` is for whoever shows
        errors to add."""
        return {
            "snapshot_id": self.snapshot_id,
            "checksum_valid": self.checksum_valid,
            "payload_hash_valid": self.payload_hash_valid,
            "tamper_detected": self.tampered,
            **({"severity": SEVERITY} if self.tampered else {}),
        }


def verify(repository: Repository, one: SavePoint, progress: Progress | None = None) -> Verified:
    """Verify a save point that was found. Raises CollectedError when nothing but its id is left of it."""
    repo = repository.repo
    if one.entry.dropped:
        raise CollectedError(f"{one.short_id} has left the retention window: its snapshot was collected")
    try:
        with repo.store.read() as txn:
            entry = entry_by_id(txn, one.entry.id)
            root = None if entry is None or entry.to is None else current(txn, entry.to)
    except IntegrityError as error:
        return Verified(one.save_point_id, False, False, _about(one.save_point_id, error.message, error.code))
    if root is None:
        raise CollectedError(f"what {one.short_id} held was collected, or purged")
    wrong = _payload(repo, root, progress)
    return Verified(one.save_point_id, True, wrong is None, wrong and _about(one.save_point_id, *wrong))


def verify_all(repository: Repository, progress: Progress | None = None) -> list[Verified]:
    """Verify every save point of every label, autosaves too, the newest first; every object is read once. Raises
    IntegrityError when the index is damaged so that what there is cannot be known."""
    repo = repository.repo
    with Assistant(repo.store.path) as assistant:
        for finding in verify_store(repo.store, objects=False):  # meanwhile the assistant starts
            if finding.kind == "index":  # to read on through it could end this process
                raise IntegrityError(finding.reason, code="index-damaged")
        checked = verify_objects(repo, progress, assistant=assistant)
    payloads = _Payloads(repo, checked.faults)
    found = list(_each(repo, payloads))
    if all(one.checksum_valid for one in found):
        for fault in label_faults(repo):
            raise IntegrityError(fault.reason, code=fault.code or "damaged")
    return sorted(found, key=lambda one: one.snapshot_id, reverse=True)


def _payload(repo: Repo, root: Digest, progress: Progress | None) -> tuple[str, str] | None:
    """(what is wrong, code) with a snapshot; None: nothing."""
    try:
        result = repo.verify(root.hex(), progress=progress)
    except CollectedError as error:
        if repo.has_snapshot(root):
            raise
        return error.message, "object-missing"
    except IntegrityError as error:
        return error.message, error.code
    for damage in result.damaged:
        where = "" if damage.path is None else f"{damage.path.decode('utf-8', 'replace')}: "
        more = f" (and {len(result.damaged) - 1:,} more)" if len(result.damaged) > 1 else ""
        return f"{where}{damage.reason}{more}", "damaged"
    return None


class _Payloads:
    """Which snapshots need something that is damaged or missing; each is looked at once."""

    def __init__(self, repo: Repo, faults: list[Fault]) -> None:
        self._repo = repo
        self._reasons = {fault.ref: fault.reason for fault in faults}
        self._affected = Affected(repo.objects, self._reasons.keys())
        self._known: dict[Digest, tuple[str, str] | None] = {}

    def wrong(self, root: Digest) -> tuple[str, str] | None:
        """(what is wrong, code); None: nothing."""
        if root not in self._known:
            self._known[root] = self._look(root)
        return self._known[root]

    def _look(self, root: Digest) -> tuple[str, str] | None:
        if self._repo.store.missing(Kind.PAGE, (root,)):
            return "the snapshot is not in the store", "object-missing"
        if not self._reasons:
            return None
        for ref, path in self._affected.paths(root):
            where = b"/".join(path).decode("utf-8", "replace")
            return f"{where}: {self._reasons[ref]}" if where else self._reasons[ref], "damaged"
        return None


def _each(repo: Repo, payloads: _Payloads) -> Iterator[Verified]:
    """Every save point, as its own row in the reflog says it is: one that is damaged does not hide the others."""
    with repo.store.read() as txn:
        labels = [(key.decode("utf-8"), unpack_head(raw)) for key, raw in txn.scan(LABELS)]
    for name, head in labels:
        with repo.store.read() as txn:
            rows = list(entries_between(txn, head.uid, 0, head.generation))
        for _generation, skeleton, body in rows:
            if body is not None:
                yield from _entry(repo, payloads, name, skeleton, body)


def _entry(repo: Repo, payloads: _Payloads, name: str, skeleton: bytes, body: bytes) -> Iterator[Verified]:
    try:
        entry = decode_entry(name, skeleton, body)
    except IntegrityError as error:
        known = f"{name}:{entry_digest(skeleton).hex()[:12]}"
        yield Verified(known, False, False, _about(known, error.message, error.code))
        return
    with repo.store.read() as txn:
        if not is_save_point(txn, entry.op, entry.to, entry.parents) or entry.to is None:
            return
        root = current(txn, entry.to)
    one = snapshot_id(entry.at_ms, entry.id)
    wrong = None if root is None else payloads.wrong(root)
    if wrong is not None and _is_gone(repo, entry.id):
        return
    yield Verified(one, True, wrong is None, None if wrong is None else _about(one, *wrong))


def _is_gone(repo: Repo, entry_id: Digest) -> bool:
    """Whether a collection has taken a save point since it was listed."""
    with repo.store.read() as txn:
        entry = entry_by_id(txn, entry_id)
        return entry is None or entry.dropped


def _about(one: str, reason: str, code: str) -> IntegrityError:
    code = code if code in CODES and CODES[code].exit == CODES["damaged"].exit else "damaged"
    return IntegrityError(f"{one} is not what was saved: {reason}", code=code, next="jvs doctor --strict")
