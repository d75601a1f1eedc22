"""`jvs fs stats`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.text import ago, bar, columns, count, short, size
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.workspace.gc_results import Exclusive
    from jvs.workspace.results import StatsResult

EXAMPLES = """
jvs fs stats
jvs fs stats --by snapshot
jvs fs stats --exclusive exp/1    # what would dropping it free?
"""

_BAR = 30


@verb(
    "stats",
    examples=EXAMPLES,
    fields={
        "labels": "how many labels",
        "snapshots": "how many snapshots their histories keep",
        "objects": "how many objects, by kind: `chunk`, `recipe`, `page`, `layout`, `part`",
        "logical_bytes": "size of every snapshot, each counted on its own",
        "unique_bytes": "plain size of all objects",
        "stored_bytes": "their size as stored",
        "dedup_ratio": "logical_bytes to stored_bytes",
        "disk": "bytes on disk of `packs`, `index`, `journal`, and `cache` (derived, may be deleted)",
        "by": "with --by: what the rows are",
        "rows[].name": "the label, or the first digits of the snapshot's id",
        "rows[].ca_id": "id of the snapshot",
        "rows[].at": "when the label moved there, ISO 8601 UTC",
        "rows[].entries": "entries in it",
        "rows[].bytes": "its size",
        "rows[].added_bytes": "plain bytes of what the rows before it do not have",
        "rows[].added_stored": "those as stored",
        "name": "with --exclusive, instead of all these: the label or revision",
        "kind": "with --exclusive: `label` (all that it protects) or `snapshot`",
        "bytes": "with --exclusive: plain bytes that nothing else protects; `snapshots`, `objects`: how many",
    },
)
@click.option("--exclusive", metavar="REV|LABEL", shell_complete=labels, help="Only what nothing else protects.")
@click.option("--by", type=click.Choice(["label", "snapshot"]), help="A bar for each: what it adds to those before it.")
def stats(ui: Ui, by: str | None, exclusive: str | None) -> int:
    """Show logical and stored bytes, and with --by what each label or snapshot adds. With -q the ids of the rows.

    With --exclusive: what gc could free if that label were deleted, or if that snapshot had never been.
    """
    if by is not None and exclusive is not None:
        raise UsageError("give --by or --exclusive, not both", next="jvs fs stats --help")
    with ui.open_repo() as repo:
        if exclusive is not None:
            only = repo.exclusive(exclusive)
            return ui.show(only.as_json, lambda: [_only(ui, only)])
        result = repo.stats(by)
    return ui.show(result.as_json, lambda: _people(ui, result), [row.ca_id.hex() for row in result.rows])


def _only(ui: Ui, only: Exclusive) -> str:
    about = f"label {ui.name(only.name)} ({count(only.snapshots, 'snapshot')})"
    return (
        f"{about if only.kind == 'label' else ui.name(only.name)} alone keeps {size(only.stored_bytes)} as stored:"
        f" {size(only.bytes)} in {count(only.objects, 'object')}"
    )


def _people(ui: Ui, result: StatsResult) -> Iterator[str]:
    objects = ", ".join(count(number, kind) for kind, number in result.objects.items() if number)
    disk = ", ".join(f"{name} {size(used)}" for name, used in result.disk.items())
    yield f"labels     {result.labels:,}"
    yield f"snapshots  {result.snapshots:,}"
    yield f"logical    {size(result.logical_bytes)}  (every snapshot counted on its own)"
    yield f"unique     {size(result.unique_bytes)}  (each object once)"
    yield f"stored     {size(result.stored_bytes)}  (logical to stored: {result.dedup_ratio:.3g})"
    yield f"objects    {objects or 'none'}"
    yield f"on disk    {disk}"
    if result.rows:
        yield ""
        yield from _bars(ui, result)


def _bars(ui: Ui, result: StatsResult) -> Iterator[str]:
    now = time.time_ns() // 1_000_000
    largest = max(row.added_stored for row in result.rows)
    full = "█" if ui.unicode else "#"
    rows = [
        [
            row.name,
            short(row.ca_id) if result.by == "label" else "",
            ago(row.at_ms, now),
            size(row.bytes),
            f"+{size(row.added_stored)}",
            bar(row.added_stored / largest if largest else 0, _BAR, full),
        ]
        for row in result.rows
    ]
    return iter(columns(rows, right=frozenset({3, 4})))
