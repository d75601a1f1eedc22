"""`jvs fs label`."""

from __future__ import annotations

import click

from jvs.cli.fs.moves import MOVE_FIELDS, show_move
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb
from jvs.errors import UsageError

EXAMPLES = """
jvs fs label exp/1 main                # a new label where main is
jvs fs label stable main@7 -m "passed"
jvs fs label --rename exp/1 exp/first
jvs fs label --delete exp/first        # and to get it back:
jvs fs label --undelete exp/first
"""


@verb(
    "label",
    examples=EXAMPLES,
    fields=MOVE_FIELDS,
    exits={1: "a name that is in use, or that would be a path prefix of another label's"},
)
@click.argument("name", required=False, shell_complete=labels)
@click.argument("rev", required=False, shell_complete=labels)
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--delete", metavar="NAME", shell_complete=labels, help="Delete a label; its history is kept.")
@click.option("--undelete", metavar="NAME", help="Bring back the label of that name that was deleted last.")
@click.option("--rename", nargs=2, metavar="OLD NEW", help="Give a label another name; its history goes with it.")
@click.option("--dry-run", is_flag=True, help="With --delete: say what would be done, and do nothing.")
def label(
    ui: Ui,
    name: str | None,
    rev: str | None,
    message: str,
    delete: str | None,
    undelete: str | None,
    rename: tuple[str, str] | None,
    dry_run: bool,
) -> int:
    """Create the label NAME at a revision, or repoint it there; or delete, undelete, rename one.

    Every one of these is a move like a push: it is in the label's history, and undo takes it back.
    """
    asked = [name is not None, delete is not None, undelete is not None, rename is not None]
    if sum(asked) != 1 or (name is not None and rev is None):
        raise UsageError("give NAME REV, or one of --delete, --undelete, --rename", next="jvs fs label --help")
    if dry_run and delete is None:
        raise UsageError("--dry-run goes with --delete", next="jvs fs label --help")
    with ui.open_repo(dry_run) as repo:
        if delete is not None:
            move = repo.delete_label(delete, message)
            return show_move(ui, move, "label", dry_run)
        if undelete is not None:
            return show_move(ui, repo.undelete_label(undelete, message), "undeleted")
        if rename is not None:
            return show_move(ui, repo.rename_label(*rename, message), f"renamed {rename[0]} to")
        assert name is not None
        assert rev is not None
        move = repo.set_label(name, rev, message)
    words = {"create": "created", "repoint": "repointed"}
    return show_move(ui, move, words.get(move.op, move.op))
