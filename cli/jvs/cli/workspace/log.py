"""`jvs log`."""

from __future__ import annotations

import click

from jvs.cli.fs.log import LOG_FIELDS, show_log
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb

EXAMPLES = """
jvs log
jvs log -w exp -n 5
jvs history                            # its snapshots alone
"""


@workspace_verb("log", examples=EXAMPLES, fields=LOG_FIELDS)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="The newest N entries; 0: all [default: a screenful; all with --json].",
)
def log(ui: Ui, limit: int | None) -> int:
    """Show where the worktree's label has been, whoever moved it: newest first (oldest first with --json). With -q the
    ids of the entries."""
    with ui.open_repository() as repository:
        label = repository.standing(ui.chosen(repository)).label
        return show_log(ui, repository.repo, label, limit)
