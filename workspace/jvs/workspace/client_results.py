"""What the Client answers: values with the names that the library of the first JVS gave them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from jvs.workspace.results import iso_time

if TYPE_CHECKING:
    from jvs.workspace.repository import cleanup, savepoints
    from jvs.workspace.results import Json


@dataclass(frozen=True)
class SavePoint:
    """A saved state of a workspace.

    save_point_id        26 characters that sort by time; any unique beginning of 4 or more names it too
    workspace_name       where it was saved
    created_at           ISO 8601 in UTC, with ms
    engine               how that workspace is cloned: `juicefs-clone`, `reflink-copy`, `copy`, or another's
    payload_root_hash    64 hex digits, of the content: equal for equal trees, wherever they are
    descriptor_checksum  64 hex digits, of the history entry, on which all of this hangs
    integrity_state      `verified` when it was read back before it was acknowledged, else `unknown`
    """

    save_point_id: str
    workspace_name: str
    created_at: str
    message: str
    tags: tuple[str, ...]
    engine: str
    payload_root_hash: str
    descriptor_checksum: str
    integrity_state: str

    def as_json(self) -> Json:
        """All fields by name; message and tags are left out when there are none."""
        return {name: value for name, value in _plain(asdict(self)).items() if value or name not in ("message", "tags")}


@dataclass(frozen=True)
class Restored:
    """What a restore did.

    save_point  where the workspace stands now
    detached    it is not the newest one, so nothing can be saved from here
    autosave    what brings the work back that was not saved (`autosave/main@3`); None: there was none
    """

    save_point: SavePoint
    detached: bool
    autosave: str | None


@dataclass(frozen=True)
class CleanupPlan:
    """What a cleanup would remove.

    created_at                  ISO 8601 in UTC
    protected_save_points       ids of those that stay
    protected_by_history        how many of them because they are young, in use or kept by a policy in the history of a
                                label; the others have a tag, a ref or a pin
    candidate_count             save points that would go
    reclaimable_save_points     their ids
    reclaimable_bytes_estimate  stored bytes that only they need, and what is dead already in the same packs
    """

    plan_id: str
    created_at: str
    protected_save_points: tuple[str, ...]
    protected_by_history: int
    candidate_count: int
    reclaimable_save_points: tuple[str, ...]
    reclaimable_bytes_estimate: int

    def as_json(self) -> Json:
        """All fields by name."""
        return _plain(asdict(self))


def save_point(found: savepoints.SavePoint) -> SavePoint:
    """A save point as the Client shows it."""
    return SavePoint(
        found.save_point_id,
        found.workspace_name,
        found.created_at,
        found.message,
        found.tags,
        found.engine,
        found.payload_root_hash,
        found.descriptor_checksum,
        found.integrity_state,
    )


def cleanup_plan(made: cleanup.Cleanup) -> CleanupPlan:
    """A plan as the Client shows it."""
    assert made.plan.plan_id is not None  # only a plan that is not kept has none
    return CleanupPlan(
        made.plan.plan_id,
        iso_time(made.plan.at_ms),
        made.protected,
        made.kept.lineage + made.kept.retention,
        len(made.to_delete),
        made.to_delete,
        made.plan.reclaimable_bytes,
    )


def _plain(fields: Json) -> Json:
    """The same with lists in place of tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
