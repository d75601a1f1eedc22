"""What collecting garbage answers: the plan, and what a run did; values with their JSON form (see `results`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jvs.castore.digest import Digest
from jvs.workspace.results import Json, iso_time


class Example(NamedTuple):
    """One of the snapshots of a group: the label it belongs to, if any, and more of the reason, for people."""

    ca_id: Digest
    label: str | None
    detail: str

    def as_json(self) -> Json:
        """{ca_id, label, detail}."""
        return {"ca_id": self.ca_id.hex(), "label": self.label, "detail": self.detail}


class Protected(NamedTuple):
    """The snapshots that are kept for one reason: how many there are, and the first of them."""

    reason: str
    snapshots: int
    examples: tuple[Example, ...]

    def as_json(self) -> Json:
        """{reason, snapshots, examples}."""
        return {
            "reason": self.reason,
            "snapshots": self.snapshots,
            "examples": [example.as_json() for example in self.examples],
        }


class GcPlan(NamedTuple):
    """`fs gc plan`. Sizes are those of the objects as stored.

    plan_id            None: of a dry run, which is not kept
    at_ms              the time by which ages were judged
    policy_revision    how many changes of policies there had been
    candidates         objects that would go, and how many of each kind
    examined_bytes     of everything in the store; live_bytes: of what stays
    reclaimable_bytes  of the candidates, and of what is dead already in the packs that would be dropped or rewritten
    freed_bytes        what the disk would get back from these packs
    snapshots          how many would go
    """

    plan_id: str | None
    at_ms: int
    policy_revision: int
    candidates: int
    kinds: Mapping[str, int]
    examined_bytes: int
    live_bytes: int
    reclaimable_bytes: int
    freed_bytes: int
    packs_dropped: int
    packs_rewritten: int
    snapshots: int
    protected: tuple[Protected, ...]

    def as_json(self) -> Json:
        """All fields; `at` in ISO 8601."""
        return {
            "plan_id": self.plan_id,
            "at": iso_time(self.at_ms),
            "policy_revision": self.policy_revision,
            "candidates": self.candidates,
            "kinds": dict(self.kinds),
            "examined_bytes": self.examined_bytes,
            "live_bytes": self.live_bytes,
            "reclaimable_bytes": self.reclaimable_bytes,
            "freed_bytes": self.freed_bytes,
            "packs_dropped": self.packs_dropped,
            "packs_rewritten": self.packs_rewritten,
            "snapshots": self.snapshots,
            "protected": [group.as_json() for group in self.protected],
        }


class GcRun(NamedTuple):
    """`fs gc run`: what went.

    plan_id           the plan that was carried out, if it was one
    done              False: a limit was reached, and the next run goes on
    objects, bytes    removed from the index, as stored
    resumed           those of them that an interrupted run had left
    truncated         history entries that lost message, tags and snapshot; forgotten: deleted labels that cannot come
                      back any more; expired: pins and records of detached snapshots that ended
    packs_dropped, packs_rewritten
    packs_left        packs that were not rewritten because the disk has no room for the copies
    freed_bytes       given back to the disk
    dry_run           nothing was done: objects and bytes are what would go
    """

    plan_id: str | None
    done: bool
    objects: int
    bytes: int
    resumed: int = 0
    truncated: int = 0
    forgotten: int = 0
    expired: int = 0
    packs_dropped: int = 0
    packs_rewritten: int = 0
    packs_left: int = 0
    freed_bytes: int = 0
    dry_run: bool = False

    def as_json(self) -> Json:
        """All fields by name."""
        return {name: getattr(self, name) for name in self._fields}


class Exclusive(NamedTuple):
    """`fs stats --exclusive`: what only this label, or only this snapshot, keeps.

    name        the label or revision, as given
    kind        `label` or `snapshot`
    snapshots   how many it is about
    objects, bytes, stored_bytes  that no other protected snapshot reaches: their number, plain size, size as stored
    """

    name: str
    kind: str
    snapshots: int
    objects: int
    bytes: int
    stored_bytes: int

    def as_json(self) -> Json:
        """All fields by name."""
        return {name: getattr(self, name) for name in self._fields}
