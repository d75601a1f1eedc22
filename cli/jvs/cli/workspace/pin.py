"""`jvs pin add`, `list` and `rm`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import ago, clock, columns, first_line, short
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb
from jvs.cli.workspace.offers import snapshots

if TYPE_CHECKING:
    from jvs.workspace.repository.pins import Pinned

VERBS = {
    "add": ("jvs.cli.workspace.pin:add", "Keep a snapshot whatever the retention policies say."),
    "list": ("jvs.cli.workspace.pin:list_", "List the pins."),
    "rm": ("jvs.cli.workspace.pin:remove", "Remove a pin."),
}
EXAMPLES = """
jvs pin add HEAD --reason "what the paper was made with"
jvs pin list
jvs pin rm 5344c4ad87f2
"""

FIELDS = {
    "pin_id": "id of the pin: 32 hex digits",
    "snapshot_id": "id of the snapshot; in lists of the newest with its content, which is what is kept",
    "created_at": "when it was pinned, ISO 8601 UTC",
    "expires_at": "when the pin ends; left out: never",
    "reason": "why",
    "actor": "who pinned it",
    "active": "whether it protects the snapshot now",
}
_LIST_FIELDS = {f"[].{name}": text for name, text in FIELDS.items()}
_SHORT = 12


@click.command("pin", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def pin() -> None:
    """Keep snapshots, whatever becomes of the labels that name them, until they are unpinned."""


@workspace_verb("add", examples=EXAMPLES, fields=FIELDS, exits={1: "the snapshot was collected"})
@click.argument("target", metavar="ID|PREFIX|TAG|NOTE|HEAD", shell_complete=snapshots)
@click.option("--reason", required=True, metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--until", metavar="T", help="Until then only: 30d from now, or 2027-12-31 [default: until removed].")
def add(ui: Ui, target: str, reason: str, until: str | None) -> int:
    """Keep a snapshot. With -q the id of the pin."""
    from jvs.workspace.repository import pins

    with ui.open_repository() as repository:
        made = pins.add(repository, target, reason, until=until, worktree=ui.standing_in(repository))
    known = made.info.pin
    end = "until it is unpinned" if known.until_ms is None else f"until {clock(known.until_ms)}"
    return ui.show(
        made.as_json, lambda: [f"Pinned {made.target[:_SHORT]} {end}: pin {short(known.id)}"], [known.id.hex()]
    )


@workspace_verb("list", examples="jvs pin list\n", fields=_LIST_FIELDS)
def list_(ui: Ui) -> int:
    """List the pins, the oldest first. With -q their ids."""
    from jvs.workspace.repository import pins

    with ui.open_repository() as repository:
        return _show(ui, pins.pins(repository), "no pin yet")


@workspace_verb("rm", examples="jvs pin rm 5344c4ad87f2\njvs pin rm HEAD\n", fields=_LIST_FIELDS)
@click.argument("target", metavar="PIN|ID|PREFIX|TAG|NOTE|HEAD", shell_complete=snapshots)
def remove(ui: Ui, target: str) -> int:
    """Remove a pin, or every pin of a snapshot; gc may collect it then. With -q the ids of the removed pins."""
    from jvs.workspace.repository import pins

    with ui.open_repository() as repository:
        gone = pins.remove(repository, target, worktree=ui.standing_in(repository))
        if ui.json or ui.quiet:
            return _show(ui, gone, "")
    for one in gone:
        ui.say(f"Removed pin {short(one.info.pin.id)} of {one.target[:_SHORT]}")
    return 0


def _show(ui: Ui, found: list[Pinned], nothing: str) -> int:
    if ui.json:
        ui.stream_list(one.as_json() for one in found)
        return 0
    for line in [one.info.pin.id.hex() for one in found] if ui.quiet else _lines(ui, found):
        ui.say(line)
    if not found:
        ui.talk(nothing)
    return 0


def _lines(ui: Ui, found: list[Pinned]) -> Iterator[str]:
    now = time.time_ns() // 1_000_000
    for line in columns([_row(one, now) for one in found]):
        yield ui.name(line)


def _row(one: Pinned, now_ms: int) -> list[str]:
    known = one.info.pin
    end = "" if known.until_ms is None else ("until " if one.info.active else "over ") + clock(known.until_ms)
    return [
        short(known.id),
        one.target[:_SHORT],
        ago(known.at_ms, now_ms),
        end,
        f"{first_line(known.message)}  ({known.who})",
    ]
