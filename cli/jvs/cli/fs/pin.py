"""`jvs fs pin`, `unpin` and `pins`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from jvs.cli.text import ago, clock, columns, first_line, short
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import labels, verb

if TYPE_CHECKING:
    from jvs.workspace.pins import PinInfo

PIN_EXAMPLES = """
jvs fs pin main -m "what the paper was made with"
jvs fs pin main@7 --until 90d
jvs fs pin main:data/points --until 2027-12-31
"""

UNPIN_EXAMPLES = """
jvs fs unpin 5344c4ad87f2     # one pin, by its id
jvs fs unpin main@7           # every pin of that snapshot
"""

PINS_EXAMPLES = """
jvs fs pins
"""

FIELDS = {
    "pin_id": "id of the pin: 32 hex digits",
    "ca_id": "id of the snapshot",
    "at": "when it was pinned, ISO 8601 UTC",
    "until": "when the pin ends, or null",
    "actor": "who pinned it",
    "message": "why",
    "active": "whether it protects the snapshot now",
}
_LIST_FIELDS = {f"pins[].{name}": text for name, text in FIELDS.items()}


@verb("pin", examples=PIN_EXAMPLES, fields=FIELDS, exits={1: "the snapshot was collected"})
@click.argument("rev", shell_complete=labels)
@click.option("--until", metavar="T", help="Until then only: 30d from now, or 2027-12-31 [default: until unpinned].")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
def pin(ui: Ui, rev: str, until: str | None, message: str) -> int:
    """Keep a snapshot, whatever becomes of the labels that name it. With -q the id of the pin."""
    with ui.open_repo() as repo:
        made = repo.pin(rev, until, message)
    end = "until it is unpinned" if made.pin.until_ms is None else f"until {clock(made.pin.until_ms)}"
    return ui.show(
        made.as_json,
        lambda: [f"{ui.paint('pinned', 'green')} {short(made.pin.ca_id)} {end}: pin {short(made.pin.id)}"],
        [made.pin.id.hex()],
    )


@verb(
    "unpin",
    examples=UNPIN_EXAMPLES,
    fields=_LIST_FIELDS,
    exits={1: "only a session has pinned it (`snapshot-in-use`)", 5: "there is no such pin or revision"},
)
@click.argument("target", metavar="PIN|REV", shell_complete=labels)
def unpin(ui: Ui, target: str) -> int:
    """Remove a pin, or every pin of a snapshot (but those of sessions); gc may collect it then.

    With -q the ids of the removed pins.
    """
    with ui.open_repo() as repo:
        removed = repo.unpin(target)
    return ui.show(
        lambda: _value(removed),
        lambda: [f"{ui.paint('unpinned', 'green')} {short(one.pin.ca_id)}: pin {short(one.pin.id)}" for one in removed],
        [one.pin.id.hex() for one in removed],
    )


@verb("pins", examples=PINS_EXAMPLES, fields=_LIST_FIELDS)
def pins(ui: Ui) -> int:
    """List the pins, the oldest first. With -q their ids."""
    with ui.open_repo() as repo:
        found = repo.pins()
    return ui.show(lambda: _value(found), lambda: _lines(ui, found), [one.pin.id.hex() for one in found])


def _value(found: list[PinInfo]) -> Json:
    return {"pins": [one.as_json() for one in found]}


def _lines(ui: Ui, found: list[PinInfo]) -> list[str]:
    now = time.time_ns() // 1_000_000
    return columns(
        [
            [
                short(one.pin.id),
                short(one.pin.ca_id),
                ago(one.pin.at_ms, now),
                "" if one.pin.until_ms is None else ("until " if one.active else "over ") + clock(one.pin.until_ms),
                f"{first_line(one.pin.message)}  ({ui.name(one.pin.who)})".strip(),
            ]
            for one in found
        ]
    )
