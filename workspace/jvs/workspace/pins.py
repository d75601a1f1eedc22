"""`fs pin`, `unpin`, `pins`: snapshots that people keep, whatever the retention policies say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jvs.errors import AmbiguousError, StateError, UsageError
from jvs.labels.store import wall_clock
from jvs.labels.when import parse_distance
from jvs.workspace.results import Json, iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jvs.labels.pins import Pin
    from jvs.workspace.repo import Repo

_PREFIX = 8


class PinInfo(NamedTuple):
    """A pin, and whether it protects its snapshot still."""

    pin: Pin
    active: bool

    def as_json(self) -> Json:
        """{pin_id, ca_id, at, until, actor, message, active}."""
        pin = self.pin
        return {
            "pin_id": pin.id.hex(),
            "ca_id": pin.ca_id.hex(),
            "at": iso_time(pin.at_ms),
            "until": None if pin.until_ms is None else iso_time(pin.until_ms),
            "actor": pin.who,
            "message": pin.message,
            "active": self.active,
        }


def pin(repo: Repo, revision: str, until: str | None, message: str) -> PinInfo:
    """Keep the snapshot that a revision means until a time (see `parse_until`; None: until it is unpinned)."""
    until_ms = None if until is None else parse_until(until, wall_clock())
    ca_id = repo.snapshot_of(repo.resolve(revision))
    return PinInfo(repo.labels.pin(ca_id, until_ms, message=message), True)


def unpin(repo: Repo, target: str) -> list[PinInfo]:
    """Remove a pin (by its id, or a unique prefix of at least 8 digits), or every pin of the snapshot that a revision
    means. Those of sessions stay: they go when these are dropped. Raises UnknownError (unknown-pin, or what
    `Repo.resolve` raises), AmbiguousError, StateError (snapshot-in-use) when there are none but those."""
    from jvs.workspace.sessions.record import parse_pin

    known = repo.labels.pins()
    found = by_id(known, target) or repo.snapshot_of(repo.resolve(target))
    meant = [pin for pin in known if found in (pin.id, pin.ca_id)]
    sessions = [(pin, text.name) for pin in meant if (text := parse_pin(pin.message)) is not None]
    if not sessions:
        return [PinInfo(removed, False) for removed in repo.labels.unpin(found)]
    if len(sessions) == len(meant):
        name = sessions[0][1]
        raise StateError(
            f"the session {name} needs that pin: without it, what was done there could not be read any more",
            code="snapshot-in-use",
            next=f"jvs fs drop {name}",
            session=name,
        )
    kept = {pin.id for pin, _ in sessions}
    return [PinInfo(one, False) for pin in meant if pin.id not in kept for one in repo.labels.unpin(pin.id)]


def pins(repo: Repo) -> list[PinInfo]:
    """Every pin, the oldest first; also those whose time has passed and that no gc has removed yet."""
    now_ms = wall_clock()
    return [PinInfo(pin, pin.protects(now_ms)) for pin in repo.labels.pins()]


def parse_until(text: str, now_ms: int) -> int:
    """When `30d` from now, or `2026-12-24`, or `2026-12-24T10:00` is. Raises UsageError (bad-duration)."""
    try:
        return parse_distance(text, now_ms, 1)
    except UsageError:
        raise UsageError(
            f"{text[:80]!a} is no time until which something is kept",
            code="bad-duration",
            next="say it like 30d or 2026-12-24",
        ) from None


def by_id(known: Sequence[Pin], text: str) -> bytes:
    """The id of the one pin whose id begins so; empty when there is none."""
    if len(text) < _PREFIX or text.strip("0123456789abcdef"):
        return b""
    found = [pin.id for pin in known if pin.id.hex().startswith(text)]
    if len(found) > 1:
        matches = [{"kind": "pin", "id": one.hex()} for one in found]
        raise AmbiguousError(f"{len(found)} pins begin with {text}", matches=matches)
    return found[0] if found else b""
