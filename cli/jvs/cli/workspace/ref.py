"""`jvs ref create`, `list` and `delete`."""

from __future__ import annotations

import time

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import ago, columns, first_line
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb
from jvs.cli.workspace.offers import refs, snapshots

VERBS = {
    "create": ("jvs.cli.workspace.ref:create", "Give a snapshot a name that never moves."),
    "list": ("jvs.cli.workspace.ref:list_", "List the refs."),
    "delete": ("jvs.cli.workspace.ref:delete", "Delete a ref."),
}
EXAMPLES = """
jvs ref create v1.0 HEAD -m "as it was published"
jvs ref list
jvs ref delete v1.0
"""

FIELDS = {
    "name": "the ref",
    "target_id": "the id of the snapshot it names",
    "created_at": "when it was made, ISO 8601 UTC",
    "description": "what it is for",
}
_SHORT = 12


@click.command("ref", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def ref() -> None:
    """Names for snapshots that never move. gc keeps a snapshot as long as a ref names it."""


@workspace_verb("create", examples=EXAMPLES, fields=FIELDS, exits={1: "there is such a ref already"})
@click.argument("name")
@click.argument("target", metavar="ID|PREFIX|TAG|NOTE|HEAD", shell_complete=snapshots)
@click.option("-m", "--description", default="", metavar="TEXT", help="What it is for; at most 4,096 bytes.")
def create(ui: Ui, name: str, target: str, description: str) -> int:
    """Give a snapshot a name that never moves, and keep it until the ref is deleted. With -q the snapshot's id."""
    from jvs.workspace.repository import refs

    with ui.open_repository() as repository:
        made = refs.create(repository, name, target, description, worktree=ui.standing_in(repository))
    return ui.show(
        made.as_json, lambda: [f"Created ref {ui.name(name)} at {made.target_id[:_SHORT]}"], [made.target_id]
    )


@workspace_verb("list", examples="jvs ref list\n", fields={f"[].{name}": text for name, text in FIELDS.items()})
def list_(ui: Ui) -> int:
    """List the refs, in order of their names. With -q the names."""
    from jvs.workspace.repository import refs

    with ui.open_repository() as repository:
        found = refs.refs(repository)
        if ui.json:
            ui.stream_list(one.as_json() for one in found)
            return 0
        known = list(found)
    now = time.time_ns() // 1_000_000
    rows = [
        [one.ref.name, one.target_id[:_SHORT], ago(one.ref.at_ms, now), first_line(one.ref.description)]
        for one in known
    ]
    for line in [one.ref.name for one in known] if ui.quiet else columns(rows):
        ui.say(ui.name(line))
    if not known:
        ui.talk("no ref yet")
    return 0


@workspace_verb("delete", examples="jvs ref delete v1.0\n", fields=FIELDS, exits={5: "there is no such ref"})
@click.argument("name", shell_complete=refs)
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the audit.")
def delete(ui: Ui, name: str, reason: str) -> int:
    """Delete a ref. What nothing else keeps may be collected then. With -q the id of the snapshot it named."""
    from jvs.workspace.repository import refs

    with ui.open_repository() as repository:
        gone = refs.delete(repository, name, reason)
    return ui.show(gone.as_json, lambda: [f"Removed ref {ui.name(name)}"], [gone.target_id])
