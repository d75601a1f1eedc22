"""`jvs fs undo`."""

from __future__ import annotations

import click

from jvs.cli.fs.moves import MOVE_FIELDS, show_move
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb

EXAMPLES = """
jvs fs undo main
jvs fs undo main     # undoes the undo
"""


@verb("undo", examples=EXAMPLES, fields=MOVE_FIELDS, exits={1: "there is nothing to undo"})
@click.argument("label", shell_complete=labels)
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def undo(ui: Ui, label: str, message: str, dry_run: bool) -> int:
    """Undo the last move of LABEL, whatever it was: of a create deletes, of a delete brings back.

    An undo is a move like any other, so a second one undoes the first.
    """
    with ui.open_repo(dry_run) as repo:
        move = repo.undo(label, message)
    return show_move(ui, move, "undone", dry_run)
