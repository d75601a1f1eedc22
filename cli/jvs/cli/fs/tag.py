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


@verb("tag", examples=EXAMPLES, fields={"tag": "the tag", "deleted": "true"})
@click.option("--delete", required=True, metavar="T", help="Take the tag T from every entry that has it.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
def tag(ui: Ui, delete: str, message: str) -> int:
    """Delete a tag. The entries that had it, and their snapshots, stay as they are."""
    with ui.open_repo() as repo:
        repo.delete_tag(delete, message)

    def value() -> Json:
        return {"tag": delete, "deleted": True}

    return ui.show(value, lambda: [f"{ui.paint('deleted', 'green')} tag:{delete}"])
