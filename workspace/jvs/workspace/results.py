"""What the use-cases answer: values with their JSON form, the same on the command line, over HTTP and in Python.

`as_json` gives the object whose fields `docs/cli.md` promises: digests in hex, times in ISO 8601 UTC, names as text,
with `*_b64` beside those that are not UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, Entry
from jvs.castore.names import json_fields
from jvs.errors import JvsError

if TYPE_CHECKING:
    from jvs.castore.verify import Sample

Json = dict[str, Any]

KINDS = ("file", "directory", "symlink")


def iso_time(at_ms: int) -> str:
    """Milliseconds since the epoch as `2026-11-20T10:00:00.123Z`."""
    import datetime  # not needed by verbs that show no time

    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional_hex(digest: Digest | None) -> str | None:
    """The digest in hex, or None."""
    return None if digest is None else digest.hex()


def entry_json(entry: Entry, path: bytes) -> Json:
    """One entry of a tree: path, kind, mode (octal text), size, digest, target (None where it has none)."""
    target: Json = {"target": None}
    mode: str | None = None
    size: int | None = None
    digest: str | None = None
    if entry[1] == FILE:
        mode, size, digest = f"{entry[2]:04o}", entry[3], entry[4].hex()
    elif entry[1] == DIRECTORY:
        mode, size, digest = f"{entry[2]:04o}", entry[5], entry[3].hex()
    else:
        target = json_fields(entry[2], "target")
    return {**json_fields(path), "kind": KINDS[entry[1]], "mode": mode, "size": size, "digest": digest, **target}


class InitResult(NamedTuple):
    """`fs init`: where the store is, and whether it was made now."""

    store: str
    format_version: int
    created: bool

    def as_json(self) -> Json:
        """{store, format_version, created}."""
        return {"store": self.store, "format_version": self.format_version, "created": self.created}


class PushStats(NamedTuple):
    """entries: files, links and directories in the snapshot; bytes: plain size of its files; new_bytes, stored_bytes,
    objects: what this push added, plain and as encoded; files (links among them), directories: None where no directory
    was scanned."""

    entries: int
    bytes: int
    new_bytes: int = 0
    stored_bytes: int = 0
    objects: int = 0
    files: int | None = None
    directories: int | None = None

    def as_json(self) -> Json:
        """All fields by name."""
        return {name: getattr(self, name) for name in self._fields}


class Skipped(NamedTuple):
    """A path that was not pushed as it is on disk, and why."""

    path: bytes
    reason: str

    def as_json(self) -> Json:
        """{path, reason}."""
        return {**json_fields(self.path), "reason": self.reason}


class PushResult(NamedTuple):
    """`fs push`. status: advanced, unchanged, detached or rejected; `error` is set when rejected (exit 6).

    current, current_generation: the label's head after the push (on a rejection: what it is instead of the expected).
    skipped: paths left out or kept as in the base (exit 3 when there are any).
    """

    status: str
    label: str | None
    ca_id: Digest
    generation: int | None
    entry_id: Digest | None
    current: Digest | None
    current_generation: int | None
    stats: PushStats
    skipped: tuple[Skipped, ...] = ()
    error: JvsError | None = None

    def as_json(self) -> Json:
        """{status, label, ca_id, generation, entry_id, current, current_generation, stats, skipped}."""
        return {
            "status": self.status,
            "label": self.label,
            "ca_id": self.ca_id.hex(),
            "generation": self.generation,
            "entry_id": optional_hex(self.entry_id),
            "current": optional_hex(self.current),
            "current_generation": self.current_generation,
            "stats": self.stats.as_json(),
            "skipped": [item.as_json() for item in self.skipped],
        }


class PullResult(NamedTuple):
    """`fs pull`. Without a directory only the first three are set; `directory` and the counts otherwise.

    autosaved: the revision that brings unsaved changes back (`autosave/...@N`), when some were saved first.
    """

    label: str | None
    ca_id: Digest
    generation: int | None
    directory: str | None = None
    written: int = 0
    removed: int = 0
    modes_changed: int = 0
    unchanged: int = 0
    bytes_written: int = 0
    autosaved: str | None = None
    warnings: tuple[str, ...] = ()
    dry_run: bool = False

    def as_json(self) -> Json:
        """{label, ca_id, generation} and, with a directory, what changed."""
        out: Json = {"label": self.label, "ca_id": self.ca_id.hex(), "generation": self.generation}
        if self.directory is not None:
            out |= {
                "directory": self.directory,
                "written": self.written,
                "removed": self.removed,
                "modes_changed": self.modes_changed,
                "unchanged": self.unchanged,
                "bytes_written": self.bytes_written,
                "autosaved": self.autosaved,
                "warnings": list(self.warnings),
                "dry_run": self.dry_run,
            }
        return out


class LabelMove(NamedTuple):
    """A label after it was created, repointed, reset, undone, renamed or deleted (`ca_id` None when it is gone)."""

    label: str
    ca_id: Digest | None
    generation: int | None
    entry_id: Digest | None
    op: str
    previous: Digest | None = None

    def as_json(self) -> Json:
        """{label, ca_id, generation, entry_id, op, previous}."""
        return {
            "label": self.label,
            "ca_id": optional_hex(self.ca_id),
            "generation": self.generation,
            "entry_id": optional_hex(self.entry_id),
            "op": self.op,
            "previous": optional_hex(self.previous),
        }


class TreeItem(NamedTuple):
    """One line of a listing: the path below the root of the snapshot, its depth below the listed path, the entry."""

    path: bytes
    depth: int
    entry: Entry

    def as_json(self) -> Json:
        """{path, kind, mode, size, digest, target}."""
        return entry_json(self.entry, self.path)


class TreeResult(NamedTuple):
    """`fs tree`: the snapshot, the path listed, and its entries in order, made as they are asked for (once).

    entries_below, bytes_below: totals of the listed directory, known without walking it.
    """

    ca_id: Digest
    path: bytes
    entries_below: int
    bytes_below: int
    entries: Iterator[TreeItem]


class Change(NamedTuple):
    """One path that differs. old_path: where a renamed one was. before, after: the entries (None: not there)."""

    path: bytes
    before: Entry | None
    after: Entry | None
    old_path: bytes | None = None

    def as_json(self) -> Json:
        """{path, kind, before, after, old_path?}; before and after as in a tree listing."""
        after_or_before = self.after or self.before
        assert after_or_before is not None
        out: Json = {
            **json_fields(self.path),
            "kind": KINDS[after_or_before[1]],
            "before": None if self.before is None else entry_json(self.before, self.old_path or self.path),
            "after": None if self.after is None else entry_json(self.after, self.path),
        }
        if self.old_path is not None:
            out |= json_fields(self.old_path, "old_path")
        return out


class DiffResult(NamedTuple):
    """`fs diff`. from_, to: snapshots (None: the empty tree). Paths in order.

    directory: where the `to` side is on disk; its id is then what a push would give it, and need not be in the store.
    """

    from_: Digest | None
    to: Digest | None
    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    modified: tuple[Change, ...]
    renamed: tuple[Change, ...]
    directory: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.modified or self.renamed)

    def as_json(self) -> Json:
        """{from, to, added, removed, modified, renamed, total_added, total_removed, total_modified, total_renamed}."""
        lists = {name: getattr(self, name) for name in ("added", "removed", "modified", "renamed")}
        return {
            "from": optional_hex(self.from_),
            "to": optional_hex(self.to),
            **{name: [change.as_json() for change in changes] for name, changes in lists.items()},
            **{f"total_{name}": len(changes) for name, changes in lists.items()},
        }


class Damage(NamedTuple):
    """Something that is not what it must be: where (path, when known), which object, and what is wrong (for people, and
    as a code of `jvs.errors`)."""

    path: bytes | None
    digest: Digest | None
    reason: str
    code: str = "damaged"

    def as_json(self) -> Json:
        """{path, digest, reason}."""
        return {
            **({"path": None} if self.path is None else json_fields(self.path)),
            "digest": optional_hex(self.digest),
            "reason": self.reason,
        }


class VerifyResult(NamedTuple):
    """`fs verify`. checked: objects; bytes: plain bytes read and hashed; sample: which objects, if not all; exit 8 when
    `damaged` is not empty."""

    checked: int
    bytes: int
    damaged: tuple[Damage, ...]
    sample: Sample | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged

    def as_json(self) -> Json:
        """{checked, bytes, ok, damaged, sample?}."""
        out: Json = {
            "checked": self.checked,
            "bytes": self.bytes,
            "ok": self.ok,
            "damaged": [item.as_json() for item in self.damaged],
        }
        if self.sample is not None:
            out["sample"] = {"percent": self.sample.percent, "seed": self.sample.seed}
        return out


class StatsRow(NamedTuple):
    """One label or snapshot. bytes: logical; added_bytes, added_stored: what it added to those before it, plain and
    as stored."""

    name: str
    ca_id: Digest
    at_ms: int
    entries: int
    bytes: int
    added_bytes: int
    added_stored: int

    def as_json(self) -> Json:
        """All fields; `at` in ISO 8601."""
        return {
            "name": self.name,
            "ca_id": self.ca_id.hex(),
            "at": iso_time(self.at_ms),
            "entries": self.entries,
            "bytes": self.bytes,
            "added_bytes": self.added_bytes,
            "added_stored": self.added_stored,
        }


class StatsResult(NamedTuple):
    """`fs stats`. logical_bytes: of every snapshot counted on its own; unique_bytes: plain bytes of all objects;
    stored_bytes: as encoded; disk: bytes on disk by part of the store (packs, index, journal; cache apart)."""

    labels: int
    snapshots: int
    objects: Mapping[str, int]
    logical_bytes: int
    unique_bytes: int
    stored_bytes: int
    disk: Mapping[str, int]
    by: str | None = None
    rows: tuple[StatsRow, ...] = ()

    @property
    def dedup_ratio(self) -> float:
        """Logical bytes to stored bytes; 1.0 for an empty store."""
        return self.logical_bytes / self.stored_bytes if self.stored_bytes else 1.0

    def as_json(self) -> Json:
        """All fields, `dedup_ratio`, and `rows` when grouped."""
        out: Json = {
            "labels": self.labels,
            "snapshots": self.snapshots,
            "objects": dict(self.objects),
            "logical_bytes": self.logical_bytes,
            "unique_bytes": self.unique_bytes,
            "stored_bytes": self.stored_bytes,
            "dedup_ratio": round(self.dedup_ratio, 3),
            "disk": dict(self.disk),
        }
        if self.by is not None:
            out |= {"by": self.by, "rows": [row.as_json() for row in self.rows]}
        return out


class Finding(NamedTuple):
    """One thing `jvs doctor` found. severity: error, warning or info; repaired: whether this run mended it."""

    category: str
    description: str
    severity: str
    error_code: str | None = None
    path: str | None = None
    repaired: bool = False

    def as_json(self) -> Json:
        """{category, description, severity, error_code?, path?, repaired}."""
        out: Json = {"category": self.category, "description": self.description, "severity": self.severity}
        if self.error_code is not None:
            out["error_code"] = self.error_code
        if self.path is not None:
            out["path"] = self.path
        return out | {"repaired": self.repaired}


class DoctorResult(NamedTuple):
    """`jvs doctor`: healthy when no finding of severity error is left unrepaired.

    affected   LABEL:PATH, or ID:PATH of an older snapshot, that damaged or lost objects are needed for: the first ones
    snapshots  how many protected snapshots need such objects
    """

    findings: tuple[Finding, ...]
    affected: tuple[str, ...] = ()
    snapshots: int = 0

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return all(finding.severity != "error" or finding.repaired for finding in self.findings)

    def as_json(self) -> Json:
        """{healthy, findings, affected, affected_snapshots}."""
        return {
            "healthy": self.healthy,
            "findings": [finding.as_json() for finding in self.findings],
            "affected": list(self.affected),
            "affected_snapshots": self.snapshots,
        }
