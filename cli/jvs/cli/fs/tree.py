"""`jvs fs tree`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jvs.cli.text import count, size
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import labels, verb

if TYPE_CHECKING:
    from jvs.workspace.results import TreeItem

EXAMPLES = """
jvs fs tree main
jvs fs tree main@{1}:data --depth 1
jvs fs tree main:data
"""


@verb(
    "tree",
    examples=EXAMPLES,
    fields={
        "ca_id": "id of the snapshot",
        "path": "path of the directory listed, empty for the root",
        "path_b64": "its bytes, when they are not UTF-8",
        "entries_below": "how many entries are below it, at any depth",
        "bytes_below": "size of all files below it",
        "entries[].path": "path below the root of the snapshot",
        "entries[].path_b64": "its bytes, when they are not UTF-8",
        "entries[].kind": "`file`, `directory` or `symlink`",
        "entries[].mode": "permission bits in octal, as text; null for a symlink",
        "entries[].size": "bytes; for a directory of all files below it; null for a symlink",
        "entries[].digest": "BLAKE3 of the file's bytes, or the id of the directory; null for a symlink",
        "entries[].target": "where a symlink points, else null",
        "entries[].target_b64": "its bytes, when they are not UTF-8",
    },
)
@click.argument("rev", metavar="REV[:PATH]", shell_complete=labels)
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Go at most N levels down [default: all].")
def tree(ui: Ui, rev: str, depth: int | None) -> int:
    """List a directory of a snapshot, recursively, with sizes; nothing is unpacked. With -q the id of the snapshot."""
    with ui.open_repo() as repo:
        result = repo.tree(rev, depth)
        if ui.json:
            from jvs.castore.names import json_fields

            head: Json = {"ca_id": result.ca_id.hex(), **json_fields(result.path)}
            head |= {"entries_below": result.entries_below, "bytes_below": result.bytes_below}
            ui.stream(head, "entries", (item.as_json() for item in result.entries))
            return 0
        if ui.quiet:
            ui.say(result.ca_id.hex())
            return 0
        for item in result.entries:
            ui.say(_line(ui, item))
        entries = count(result.entries_below, "entry")
    ui.say(f"{'':4}  {size(result.bytes_below):>9}  in {entries}")
    return 0


def _line(ui: Ui, item: TreeItem) -> str:
    """`0644   12.5 KiB    points.csv`, the name indented by its depth."""
    from jvs.castore.manifest import DIRECTORY, FILE

    entry = item.entry
    name = "  " * item.depth + ui.name(item.path.rpartition(b"/")[2])
    if entry[1] == FILE:
        shown = ui.paint(name, "green") if entry[2] & 0o111 else name
        return f"{entry[2]:04o}  {size(entry[3]):>9}  {shown}"
    if entry[1] == DIRECTORY:
        return f"{entry[2]:04o}  {size(entry[5]):>9}  {ui.paint(name + '/', 'blue')}"
    return f"{'link':4}  {'':>9}  {ui.paint(name, 'cyan')} -> {ui.name(entry[2])}"
