"""`jvs status`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from jvs.cli.fs.diff import in_order, people, totals
from jvs.cli.text import count, first_line
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb

if TYPE_CHECKING:
    from jvs.workspace.repository.differences import Status
    from jvs.workspace.repository.savepoints import SavePoint

EXAMPLES = """
jvs status
jvs status -w exp --json
"""

_SHOWN = 20


@workspace_verb(
    "status",
    examples=EXAMPLES,
    fields={
        "worktree_name": "the worktree",
        "path": "its directory",
        "label": "the label its snapshots move",
        "state": "`HEAD` or `DETACHED`",
        "detached": "whether it stands at a snapshot that is not the newest, on purpose",
        "behind": "how many newer snapshots its label has that somebody else made",
        "head_snapshot_id": "the snapshot it stands at, or null",
        "latest_snapshot_id": "the newest snapshot of its label, or null",
        "clean": "whether nothing is unsaved",
        "added[]": "new paths, as in `jvs diff`; each list holds at most 1,000, the totals count all",
        "removed[]": "paths that are gone",
        "modified[]": "paths that changed",
        "total_added": "how many are new",
        "total_removed": "how many are gone",
        "total_modified": "how many changed",
        "next[]": "commands that make sense now",
    },
)
def status(ui: Ui) -> int:
    """Say where the worktree stands, and what in it is not saved. With -q the unsaved paths."""
    from jvs.workspace.repository.differences import status as look

    with ui.open_repository() as repository:
        found = look(repository, ui.chosen(repository))
    unsaved = [] if found.unsaved is None else [ui.name(change.path) for _, change in in_order(found.unsaved)]
    return ui.show(found.as_json, lambda: _lines(ui, found), unsaved)


def _lines(ui: Ui, found: Status) -> Iterator[str]:
    yield f"Worktree: {ui.name(found.worktree)} (label {ui.name(found.standing.label)})"
    yield f"State: {_state(ui, found)}"
    if found.interrupted:
        yield "A restore was interrupted here."
    if found.unsaved is None:
        yield f"Its directory is gone: {ui.name(found.path)}"
    elif found.unsaved.empty:
        yield "Nothing unsaved."
    else:
        changes = in_order(found.unsaved)
        yield f"Unsaved changes: {', '.join(totals(found.unsaved, changes))}"
        yield from (f"  {line}" for line in islice(people(ui, found.unsaved, None, None), _SHOWN))
        if len(changes) > _SHOWN:
            yield f"  ... and {len(changes) - _SHOWN:,} more (jvs diff lists them all)"
    for step in found.next_steps():
        yield f"next: {ui.name(step)}"


def _state(ui: Ui, found: Status) -> str:
    standing = found.standing
    at = "no snapshot yet" if found.head is None else _named(ui, found.head)
    if standing.detached:
        newest = "" if found.latest is None else f"; the newest is {_named(ui, found.latest)}"
        return f"{ui.paint('DETACHED', 'yellow')} at {at}{newest}"
    behind = f", behind by {standing.behind} ({count(standing.behind, 'newer snapshot')})" if standing.behind else ""
    return f"HEAD, {at}{behind}"


def _named(ui: Ui, one: SavePoint) -> str:
    note = first_line(one.message)
    return f"{ui.paint(one.short_id, 'yellow')}{f' {note!r}' if note else ''}"
