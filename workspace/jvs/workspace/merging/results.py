"""What a merge answers, with its JSON form: bounded, with a way to get at the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK
from jvs.castore.names import json_fields
from jvs.errors import JvsError
from jvs.merge.content import Region
from jvs.merge.model import Conflict, Decision, Settled, Side, Suggestion
from jvs.workspace.results import KINDS, Json, optional_hex

SHOWN_CONFLICTS = 1_000
"""Conflicts that are listed; `total_conflicts` says how many there are."""
SHOWN_REGIONS = 20
"""Regions of one conflict that are shown."""
SHOWN_BYTES = 16 << 10
"""Bytes of text shown of one region, diff or suggestion."""
_TOTAL_BYTES = 8 << 20
"""Bytes of text shown in one answer."""


class Text(NamedTuple):
    """A piece of text that may have been cut short."""

    text: str
    whole: bool


class ShownRegion(NamedTuple):
    """A conflicting region as it is shown: where, each side's version, what they made of the base, a suggestion."""

    where: str
    base: Text
    ours: Text
    theirs: Text
    diff_ours: Text
    diff_theirs: Text
    suggestion: Text | None

    def as_json(self) -> Json:
        """{where, base, ours, theirs, diff_ours, diff_theirs, suggestion, whole}."""
        texts = {name: getattr(self, name) for name in self._fields[1:]}
        shown = {name: None if text is None else text.text for name, text in texts.items()}
        whole = all(text.whole for text in texts.values() if text is not None)
        return {"where": self.where, **shown, "whole": whole}


class SideRevision(NamedTuple):
    """A side of a conflict, and the snapshot in which its content can be read back. None: it is in none, because the
    base was made of several and not stored."""

    side: Side
    snapshot: Digest | None

    def as_json(self) -> Json:
        """{path, rev, kind, digest, mode, size}."""
        path, entry = b"/".join(self.side.path), self.side.entry
        out: Json = {
            **json_fields(path),
            **(
                {"rev": None}
                if self.snapshot is None
                else json_fields(self.snapshot.hex().encode() + b":" + path, "rev")
            ),
            "kind": KINDS[entry[1]],
            "digest": None,
            "mode": None,
            "size": None,
        }
        if entry[1] == FILE:
            out |= {"digest": entry[4].hex(), "mode": f"{entry[2]:04o}", "size": entry[3]}
        elif entry[1] == DIRECTORY:
            out |= {"digest": entry[3].hex(), "mode": f"{entry[2]:04o}"}
        elif entry[1] == SYMLINK:
            out |= json_fields(entry[2], "target")
        return out


class ShownConflict(NamedTuple):
    """A conflict with each side's revision, and its regions as they are shown. placed: paths of the merged tree that
    hold what somebody has to look at; marker_size: length of the markers in them, 0 without any."""

    conflict: Conflict
    base: SideRevision | None
    ours: SideRevision | None
    theirs: SideRevision | None
    regions: tuple[ShownRegion, ...]
    total_regions: int
    marker_size: int

    def as_json(self) -> Json:
        """{path, kind, detail, base, ours, theirs, placed, driver, markers, diff_ours, diff_theirs, suggestion,
        regions, total_regions}; the three in the middle are those of the first region."""
        first = self.regions[0] if self.regions else None
        merged = self.conflict.merged
        sides = {name: getattr(self, name) for name in ("base", "ours", "theirs")}
        return {
            **json_fields(b"/".join(self.conflict.path)),
            "kind": self.conflict.kind,
            "detail": self.conflict.detail,
            **{name: None if side is None else side.as_json() for name, side in sides.items()},
            "placed": [json_fields(b"/".join(path)) for path in self.conflict.placed],
            "driver": None if merged is None else merged.driver,
            "markers": self.marker_size > 0,
            "marker_size": self.marker_size,
            "diff_ours": None if first is None else first.diff_ours.text,
            "diff_theirs": None if first is None else first.diff_theirs.text,
            "suggestion": None if first is None or first.suggestion is None else first.suggestion.text,
            "regions": [region.as_json() for region in self.regions],
            "total_regions": self.total_regions,
        }


class Applied(NamedTuple):
    """A recorded resolution that settled a conflict."""

    path: bytes
    id: str

    def as_json(self) -> Json:
        """{path, id}."""
        return {**json_fields(self.path), "id": self.id}


class MergeResult(NamedTuple):
    """`fs merge`. status: merged or conflict (then `error` is set, exit 7).

    ca_id         the merged snapshot; of a conflict the tree with what merged cleanly, None unless it was stored
    fast_forward  one side had all of the other
    base          the merge base; several of them were merged into one when `bases` is larger than 1; None without one
    label         the label that was moved, with its new generation and entry
    directory     where the merged tree was written (`--out`)
    """

    status: str
    ca_id: Digest | None
    ours: Digest
    theirs: Digest
    base: Digest | None
    bases: int = 0
    fast_forward: bool = False
    label: str | None = None
    generation: int | None = None
    entry_id: Digest | None = None
    conflicts: tuple[ShownConflict, ...] = ()
    total_conflicts: int = 0
    settled: tuple[Settled, ...] = ()
    recorded: tuple[Applied, ...] = ()
    decisions: tuple[Decision, ...] | None = None
    suggestions: tuple[Suggestion, ...] = ()
    notes: tuple[str, ...] = ()
    directory: str | None = None
    attempts: int = 1
    dry_run: bool = False
    error: JvsError | None = None

    def as_json(self) -> Json:
        """The fields, digests in hex; `decisions` only when they were asked for."""
        out: Json = {
            "status": self.status,
            "ca_id": optional_hex(self.ca_id),
            "fast_forward": self.fast_forward,
            "ours": self.ours.hex(),
            "theirs": self.theirs.hex(),
            "base": optional_hex(self.base),
            "bases": self.bases,
            "label": self.label,
            "generation": self.generation,
            "entry_id": optional_hex(self.entry_id),
            "directory": self.directory,
            "attempts": self.attempts,
            "dry_run": self.dry_run,
            "conflicts": [conflict.as_json() for conflict in self.conflicts],
            "total_conflicts": self.total_conflicts,
            "settled": [{**json_fields(b"/".join(one.path)), "kind": one.kind} for one in self.settled],
            "recorded": [one.as_json() for one in self.recorded],
            "suggestions": list(map(_suggestion_json, self.suggestions)),
            "notes": list(self.notes),
        }
        if self.decisions is not None:
            out["decisions"] = list(map(_decision_json, self.decisions))
        return out


def _suggestion_json(one: Suggestion) -> Json:
    return {
        "side": ("base", "ours", "theirs")[one.side],
        **json_fields(b"/".join(one.source), "source"),
        **json_fields(b"/".join(one.target), "target"),
        "added": [json_fields(b"/".join(path)) for path in one.added],
    }


def _decision_json(one: Decision) -> Json:
    return {**json_fields(b"/".join(one.path)), "rule": one.rule, "detail": one.detail, "below": one.below}


Snapshots = tuple[Digest | None, Digest, Digest]
"""Of base, ours and theirs."""


def show_conflicts(conflicts: tuple[Conflict, ...], snapshots: Snapshots) -> tuple[ShownConflict, ...]:
    """The first conflicts, with as much of their regions as one answer holds."""
    left = [_TOTAL_BYTES]
    return tuple(_shown(conflict, snapshots, left) for conflict in conflicts[:SHOWN_CONFLICTS])


def _shown(conflict: Conflict, snapshots: Snapshots, left: list[int]) -> ShownConflict:
    base, ours, theirs = map(_revision, (conflict.base, conflict.ours, conflict.theirs), snapshots)
    merged = conflict.merged
    regions = () if merged is None else merged.conflicts
    size = merged.marker_size if merged is not None and merged.markers else 0
    return ShownConflict(conflict, base, ours, theirs, tuple(_regions(regions, left)), len(regions), size)


def _revision(side: Side | None, snapshot: Digest | None) -> SideRevision | None:
    return None if side is None else SideRevision(side, snapshot)


def _regions(regions: tuple[Region, ...], left: list[int]) -> Iterator[ShownRegion]:
    from jvs.merge.lines.patch import unified
    from jvs.merge.lines.words import suggest

    for region in regions[:SHOWN_REGIONS]:
        if left[0] <= 0:
            return
        suggestion = suggest(region)
        shown = ShownRegion(
            region.where,
            _text(region.base),
            _text(region.ours),
            _text(region.theirs),
            _text(b"".join(unified(region.base, region.ours))),
            _text(b"".join(unified(region.base, region.theirs))),
            None if suggestion is None else _text(suggestion),
        )
        left[0] -= sum(len(text.text) for text in shown[1:] if isinstance(text, Text))
        yield shown


def _text(data: bytes) -> Text:
    return Text(data[:SHOWN_BYTES].decode("utf-8", "replace"), len(data) <= SHOWN_BYTES)
