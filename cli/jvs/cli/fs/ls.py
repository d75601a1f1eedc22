"""`jvs fs ls`."""

from __future__ import annotations

import time

import click

from jvs.cli.text import ago, columns, first_line, short
from jvs.cli.ui import Ui
from jvs.cli.verb import verb

EXAMPLES = """
jvs fs ls
jvs fs ls 'exp/*'
jvs fs ls -q | wc -l
"""


@verb(
    "ls",
    examples=EXAMPLES,
    fields={
        "labels[].name": "the label",
        "labels[].ca_id": "id of the snapshot it names",
        "labels[].generation": "how far it has moved; 1 for the first entry of a new name",
        "labels[].entry_id": "id of its newest history entry",
        "labels[].at": "when it moved last, ISO 8601 UTC",
        "labels[].message": "the message of that move",
        "labels[].upstream": "the label it was made from or last merged with, or null",
    },
)
@click.argument("glob", required=False)
def ls(ui: Ui, glob: str | None) -> int:
    """List the labels, all or those that match GLOB (* ? [ ]). With -q their names."""
    with ui.open_repo() as repo:
        labels = repo.list_labels(glob)
        if ui.json:
            from jvs.workspace.pointers import label_json

            ui.stream({}, "labels", map(label_json, labels))
            return 0
        if ui.quiet:
            for info in labels:
                ui.say(info.name)
            return 0
        now = time.time_ns() // 1_000_000
        rows = [
            [info.name, f"@{info.generation}", short(info.ca_id), ago(info.at_ms, now), first_line(info.message)]
            for info in labels
        ]
    for line in columns(rows):
        ui.say(line)
    if not rows:
        ui.talk("no labels" + (f" match {ui.name(glob)}" if glob else "; next: jvs fs push DIR --label main"))
    return 0
