"""`jvs fs rm`."""

from __future__ import annotations

import time

import click

from jvs.cli.fs.push import PUSH_EXITS, PUSH_FIELDS, show_push
from jvs.cli.text import count, size
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import labels, verb

EXAMPLES = """
jvs fs rm main:secrets.txt -m "does not belong here"
jvs fs rm main:old/data --dry-run
jvs fs undo main                      # it is back
"""


@verb(
    "rm",
    examples=EXAMPLES,
    fields={
        **PUSH_FIELDS,
        "dry_run": "with --dry-run: true, and beside it only the fields of `fs tree` but `entries`",
    },
    exits={6: PUSH_EXITS[6]},
)
@click.argument("location", metavar="LABEL:PATH", shell_complete=labels)
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--expected", metavar="REV|GENERATION", help="What the label must be now [default: what it is].")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and do nothing.")
def rm(ui: Ui, location: str, message: str, expected: str | None, dry_run: bool) -> int:
    """Remove a file, a link or a whole directory from a label's tree, by a move of the label.

    No directory on disk is touched. The content stays in the label's history, where undo finds it.
    """
    started = time.perf_counter()
    with ui.open_repo() as repo:
        if not dry_run:
            return show_push(ui, repo.remove(location, message, expected), time.perf_counter() - started)
        found = repo.tree(location, 1)

        def value() -> Json:
            from jvs.castore.names import json_fields

            head: Json = {"ca_id": found.ca_id.hex(), **json_fields(found.path)}
            return head | {"entries_below": found.entries_below, "bytes_below": found.bytes_below, "dry_run": True}

        what = f"{count(found.entries_below, 'entry')}, {size(found.bytes_below)}"
        return ui.show(value, lambda: [f"{ui.paint('would remove', 'yellow')} {ui.name(location)}: {what}"])
