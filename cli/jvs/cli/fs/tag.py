"""`jvs fs tag`."""

from __future__ import annotations

import click

from jvs.cli.ui import Json, Ui
from jvs.cli.verb import verb

EXAMPLES = """
jvs fs push DIR --tag v1       # tags are given when pushing
jvs fs pull tag:v1 DIR
jvs fs tag --delete v1
"""


@verb(
    "tag",
    examples=EXAMPLES,
    fields={"tag": "the tag", "deleted": "whether it was deleted", "dry_run": "true with --dry-run"},
)
@click.option("--delete", required=True, metavar="T", help="Take the tag T from every entry that has it.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def tag(ui: Ui, delete: str, message: str, dry_run: bool) -> int:
    """Delete a tag. The entries that had it, and their snapshots, stay as they are."""
    with ui.open_repo(dry_run) as repo:
        repo.delete_tag(delete, message)

    def value() -> Json:
        return {"tag": delete, "deleted": not dry_run, "dry_run": dry_run}

    said = ui.paint("dry run:", "yellow") + " deleted" if dry_run else ui.paint("deleted", "green")
    return ui.show(value, lambda: [f"{said} tag:{delete}"])
