"""`jvs pin`: save points that people keep, whatever the retention policies say (`workspace.pins` of any snapshot)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jvs.errors import UnknownError
from jvs.labels.reads import newest_with
from jvs.labels.store import wall_clock
from jvs.workspace import pins as plain
from jvs.workspace.repository.savepoints import snapshot_id, standing_for
from jvs.workspace.results import Json, iso_time

if TYPE_CHECKING:
    from jvs.workspace.pins import PinInfo
    from jvs.workspace.repository.repository import Repository


class Pinned(NamedTuple):
    """A pin. target: the id of the newest save point with that content, else of the snapshot."""

    info: PinInfo
    target: str

    def as_json(self) -> Json:
        """{pin_id, snapshot_id, created_at, expires_at?, reason, actor, active}."""
        pin = self.info.pin
        until = {} if pin.until_ms is None else {"expires_at": iso_time(pin.until_ms)}
        return {
            "pin_id": pin.id.hex(),
            "snapshot_id": self.target,
            "created_at": iso_time(pin.at_ms),
            **until,
            "reason": pin.message,
            "actor": pin.who,
            "active": self.info.active,
        }


def add(
    repository: Repository, target: str, reason: str, *, until: str | None = None, worktree: str | None = None
) -> Pinned:
    """Keep the save point that `target` names until a time (see `workspace.pins.parse_until`; None: until it is
    removed). worktree: where it was typed, if in one. Raises what `SavePoints.find` raises, CollectedError, UsageError.
    """
    found = repository.savepoints.find(target) if worktree is None else repository.find(target, worktree)
    until_ms = None if until is None else plain.parse_until(until, wall_clock())
    pin = repository.repo.labels.pin(bytes.fromhex(found.payload_root_hash), until_ms, message=reason)
    return Pinned(plain.PinInfo(pin, True), found.save_point_id)


def pins(repository: Repository) -> list[Pinned]:
    """Every pin, the oldest first."""
    return [_shown(repository, info) for info in plain.pins(repository.repo)]


def remove(repository: Repository, target: str, *, worktree: str | None = None) -> list[Pinned]:
    """Remove a pin (its id, or 8 or more digits it begins with), or every pin of the save point that `target` names.
    Raises UnknownError (unknown-pin, unknown-snapshot), AmbiguousError."""
    wanted = plain.by_id(repository.repo.labels.pins(), target)
    if not wanted:
        found = repository.savepoints.find(target) if worktree is None else repository.find(target, worktree)
        wanted = bytes.fromhex(found.payload_root_hash)
        if not any(made.ca_id == wanted for made in repository.repo.labels.pins()):
            raise UnknownError(f"there is no pin of {found.short_id}", code="unknown-pin", next="jvs pin list")
    removed = repository.repo.labels.unpin(wanted)
    return [_shown(repository, plain.PinInfo(pin, False)) for pin in removed]


def _shown(repository: Repository, info: PinInfo) -> Pinned:
    with repository.repo.store.read() as txn:
        newest = newest_with(txn, info.pin.ca_id)
        # of a fork that has saved nothing yet: what it was made from
        entry = None if newest is None else standing_for(txn, newest) or newest
    return Pinned(info, info.pin.ca_id.hex() if entry is None else snapshot_id(entry.at_ms, entry.id))
