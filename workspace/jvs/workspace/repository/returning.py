"""What a restore goes from and to, kept so that a killed one can be finished, and one that is done be undone.

`.jvs/worktrees/NAME/restored` is about the newest restore of a worktree. It is no truth: without it `jvs undo` knows
label moves only.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final, NamedTuple

from jvs.castore.binding import Binding, replace_file
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.workspace.repository.layout import Layout
from jvs.workspace.results import Json

FILE: Final = "restored"
_MAX_FILE: Final = 64 << 10


class Plan(NamedTuple):
    """target: the snapshot that comes; after: where the worktree stands then; before: the snapshot that the directory
    was, unsaved work included; stood: where it stood; snapshot_id: the save point that was restored, if it is one."""

    target: Digest
    after: Binding
    before: Digest
    stood: Binding
    snapshot_id: str | None

    def as_fields(self) -> Json:
        """For an intent, or the file."""
        return {
            "target": self.target.hex(),
            "after": _position(self.after),
            "before": self.before.hex(),
            "stood": _position(self.stood),
            "snapshot_id": self.snapshot_id,
            "detached": self.after.detached,
        }


class Returning(NamedTuple):
    """A restore that can be undone. intent: id of its intent; generation: of the worktree's label at that time, 0 where
    there was none."""

    plan: Plan
    intent: str
    generation: int


def plan_of(fields: Json) -> Plan | None:
    """The plan that was written down; None when that says nothing that can be believed."""
    try:
        return Plan(
            _digest(fields["target"]),
            _binding(fields["after"]),
            _digest(fields["before"]),
            _binding(fields["stood"]),
            fields["snapshot_id"],
        )
    except (KeyError, TypeError, ValueError):
        return None


def same(one: Binding, other: Binding) -> bool:
    """Whether both are one position."""
    return _position(one) == _position(other)


def remember(layout: Layout, name: str, plan: Plan, intent: str, generation: int) -> None:
    """Keep what is needed to undo a restore that is done. Raises OSError."""
    value = plan.as_fields() | {"intent": intent, "generation": generation}
    replace_file(os.path.join(layout.record(name), FILE), json.dumps(value, indent=2).encode() + b"\n", durable=False)


def remembered(layout: Layout, name: str) -> Returning | None:
    """The newest restore of a worktree; None when there was none, or its file says nothing that can be believed."""
    try:
        with open(os.path.join(layout.record(name), FILE), "rb") as file:
            value: Any = json.loads(file.read(_MAX_FILE))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    plan = plan_of(value) if isinstance(value, dict) else None
    if plan is None or not isinstance(value.get("intent"), str) or not isinstance(value.get("generation"), int):
        return None
    return Returning(plan, value["intent"], value["generation"])


def _position(binding: Binding) -> Json:
    return {
        "label": binding.label,
        "generation": binding.generation,
        "ca_id": None if binding.ca_id is None else binding.ca_id.hex(),
        "entry_id": None if binding.entry_id is None else binding.entry_id.hex(),
        "detached": binding.detached,
    }


def _binding(value: Any) -> Binding:
    label, generation, detached = value["label"], value["generation"], value["detached"]
    ca_id, entry_id = (None if value[key] is None else _digest(value[key]) for key in ("ca_id", "entry_id"))
    if not isinstance(generation, int) or not isinstance(detached, bool) or not isinstance(label, str | None):
        raise TypeError
    return Binding(label, generation, ca_id, entry_id, detached=detached)


def _digest(text: str) -> Digest:
    digest = bytes.fromhex(text)
    if len(digest) != DIGEST_SIZE:
        raise ValueError
    return digest
