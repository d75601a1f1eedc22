"""`jvs fs purge`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.text import count, short, size
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb

if TYPE_CHECKING:
    from jvs.workspace.purge_results import PurgeResult

EXAMPLES = """
jvs fs purge --path config/secrets.toml --reason "a key was committed" --dry-run
jvs fs purge --path '**/*.pem' --path '**/.env' --reason "keys"
jvs fs purge --snapshot main@3 --reason "pushed the wrong directory"
"""

_SHOWN = 10


@verb(
    "purge",
    examples=EXAMPLES,
    fields={
        "purge_id": "id of the purge in the journal, null with --dry-run",
        "done": "false when something is left (exit status 3): the same command goes on",
        "dry_run": "true with --dry-run: the other fields say what would be done",
        "paths[].path": "a path that was named (the first 20)",
        "paths[].path_b64": "its bytes, when they are not UTF-8",
        "snapshots": "how many snapshots were replaced by others, or purged as a whole",
        "labels[]": "a label whose history has one of them",
        "files": "how many different contents go",
        "bytes": "their plain sizes together",
        "also[].ca_id": "a snapshot in which content that was named stays, since it is at another path as well",
        "also[].path": "that path",
        "also[].path_b64": "its bytes, when they are not UTF-8",
        "also[].size": "its size",
        "shared_chunks": "chunks of what goes that other files have as well: they stay",
        "shared_bytes": "their lengths together",
        "recorded": "how many recorded resolutions of conflicts were forgotten",
        "pages": "pages that were laid out anew, since they shared a part with something dead",
        "objects": "objects removed",
        "packs": "pack files rewritten or dropped",
        "left[]": "what is left to be done",
        "unreachable[]": "what a purge cannot reach",
    },
    exits={
        1: "a label is at that snapshot (`snapshot-in-use`)",
        3: "done, but for what is listed: the same command goes on",
        5: "no snapshot that is kept has such a path",
        8: "something that is kept cannot be read: nothing was removed",
    },
)
@click.option(
    "--path", "paths", multiple=True, metavar="GLOB", help="Whole paths, as in .jvsignore (** too); repeatable."
)
@click.option("--snapshot", metavar="REV", shell_complete=labels, help="A whole snapshot.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded for good.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and do nothing.")
def purge(ui: Ui, paths: tuple[str, ...], snapshot: str | None, reason: str, dry_run: bool) -> int:
    """Remove files from every snapshot there is, and their bytes from the store: secrets, personal data.

    Every snapshot that has such a path is replaced by one without it, in all histories, tags and pins; the old ones
    are gone for good. The content is not stored again unless `fs push --allow-purged` says so. Interrupted, the same
    command goes on. There is no undo.
    """
    from jvs.castore.names import to_bytes
    from jvs.cli.priority import give_way

    give_way()
    with ui.open_repo() as repo, ui.progress("purge", "object") as progress:
        result = repo.purge([to_bytes(path) for path in paths], snapshot, reason, dry_run=dry_run, progress=progress)
    ids = [] if result.purge_id is None else [result.purge_id.hex()]
    return ui.show(result.as_json, lambda: _lines(ui, result), ids) or (0 if result.done else 3)


def _lines(ui: Ui, result: PurgeResult) -> Iterator[str]:
    from jvs.castore.names import display

    done = ui.paint("dry run: would purge", "yellow") if result.dry_run else ui.paint("purged", "green")
    files, changed = count(result.files, "file"), count(result.snapshots, "snapshot")
    yield f"{done} {files}, {size(result.bytes)}, from {changed}"
    for path in result.paths[:_SHOWN]:
        yield f"  {display(path)}"
    if len(result.paths) > _SHOWN:
        yield "  ..."
    if result.labels:
        more = ", ..." if len(result.labels) > _SHOWN else ""
        yield f"labels: {', '.join(result.labels[:_SHOWN])}{more}"
    for one in result.also:
        yield f"stays, being at {short(one.ca_id)}:{display(one.path)} as well: purge that path too"
    if result.shared_chunks:
        chunks, length = count(result.shared_chunks, "chunk"), size(result.shared_bytes)
        yield f"stays, being part of other files as well: {chunks}, {length}"
    if not result.dry_run:
        objects, pages, packs = result.objects, result.pages, result.packs
        yield (
            f"removed {count(objects, 'object')}, laid out {count(pages, 'page')} anew, rewrote {count(packs, 'pack')}"
        )
    for line in result.left:
        yield f"{ui.paint('left:', 'red')} {line}"
    for line in result.unreachable:
        yield f"out of reach: {line}"
