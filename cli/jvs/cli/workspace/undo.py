"""`jvs undo`."""

from __future__ import annotations

import time

import click

from jvs.cli.fs.moves import MOVE_FIELDS, show_move
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb
from jvs.cli.workspace.restore import RESTORED_FIELDS, show

EXAMPLES = """
jvs undo
jvs undo     # undoes the undo
"""


@workspace_verb(
    "undo",
    examples=EXAMPLES,
    fields={"undid": "`restore`, `move` (of the label), or `rename` (of the worktree); each with the fields below"}
    | {key: f"{text} (of a restore)" for key, text in RESTORED_FIELDS.items() if key not in ("status", "unsaved")}
    | {key: f"{text} (of a move)" for key, text in MOVE_FIELDS.items() if key != "dry_run"},
    exits={1: "there is nothing to undo"},
)
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the audit.")
def undo(ui: Ui, reason: str) -> int:
    """Undo what was done last in the worktree: a snapshot or another move of its label, or a restore. Unsaved changes
    are not lost: of a snapshot that is undone everything stays in the directory, and is unsaved again.

    An undo can be undone.
    """
    from jvs.workspace.repository.undoing import undo as revert

    started = time.perf_counter()
    with ui.open_repository() as repository, ui.progress("undo") as progress:
        done = revert(repository, ui.chosen(repository), reason=reason, wait=ui.wait, progress=progress)
    if ui.json:
        ui.emit(done.as_json())
        return 0
    if done.restored is not None:
        return show(ui, done.restored, time.perf_counter() - started)
    if done.move is not None:
        return show_move(ui, done.move, "undone")
    ui.say(f"Renamed the worktree back to {ui.name(done.worktree)}")
    return 0
