"""`jvs fs reset`."""

from __future__ import annotations

import click

from jvs.cli.fs.moves import MOVE_FIELDS, show_move
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb

EXAMPLES = """
jvs fs reset main main@{1} -m "back to how it was"
jvs fs reset main main@{yesterday} --dry-run
jvs fs undo main                                   # and forward again
"""


@verb("reset", examples=EXAMPLES, fields=MOVE_FIELDS, exits={1: "REV was never in the label's history"})
@click.argument("label", shell_complete=labels)
@click.argument("rev", shell_complete=labels)
@click.option("--allow-unlogged", is_flag=True, help="Also to a snapshot the label never was at.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def reset(ui: Ui, label: str, rev: str, allow_unlogged: bool, message: str, dry_run: bool) -> int:
    """Move LABEL back to REV, a snapshot of its own history.

    The reset is an entry of the history itself, so nothing is gone: undo takes it back. Directories on disk stay as
    they are until the next pull.
    """
    with ui.open_repo(dry_run) as repo:
        move = repo.reset(label, rev, allow_unlogged=allow_unlogged, message=message)
    return show_move(ui, move, "reset", dry_run)
