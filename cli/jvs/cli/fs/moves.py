"""What the verbs that move a label share: the fields of their result, and its line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jvs.cli.text import short
from jvs.cli.ui import Json, Ui

if TYPE_CHECKING:
    from jvs.workspace.results import LabelMove

MOVE_FIELDS = {
    "label": "the label",
    "ca_id": "id of the snapshot it names now, null when it was deleted",
    "generation": "its generation",
    "entry_id": "id of the new history entry",
    "op": "what was recorded: `create`, `repoint`, `reset`, `delete`, `undelete`, `rename` ...; "
    "`unchanged` when there was nothing to do",
    "previous": "id of the snapshot it named before, or null",
    "dry_run": "true with --dry-run: nothing was moved",
}


def show_move(ui: Ui, move: LabelMove, word: str, dry_run: bool = False) -> int:
    """Print a label's move: `reset main@4 0a1b2c3d4e5f (was ffee...)`; with -q the id it names now."""

    def value() -> Json:
        return move.as_json() | {"dry_run": dry_run}

    def people() -> list[str]:
        said = f"{ui.paint('dry run:', 'yellow')} {word}" if dry_run else ui.paint(word, "green")
        now = "deleted" if move.ca_id is None else ui.paint(short(move.ca_id), "yellow")
        was = "" if move.previous in (None, move.ca_id) else f" (was {short(move.previous)})"
        return [f"{said} {move.label}@{move.generation} {now}{was}"]

    return ui.show(value, people, [] if move.ca_id is None else [move.ca_id.hex()])
