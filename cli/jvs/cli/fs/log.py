"""`jvs fs log`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from jvs.cli.text import ago, clock, first_line, plain, short
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb

if TYPE_CHECKING:
    from jvs.labels.model import Entry
    from jvs.workspace.repo import Repo

EXAMPLES = """
jvs fs log main
jvs fs log main --limit 5
jvs fs log main --json | jq '.log[-1]'
"""

LOG_FIELDS = {
    "label": "the label",
    "log[].at": "when, ISO 8601 UTC; the entries are oldest first",
    "log[].from": "id of the snapshot before, null when the label did not exist",
    "log[].to": "id of the snapshot after, null when it was deleted",
    "log[].op": "`create`, `push`, `force`, `reset`, `merge`, `repoint`, `rename`, `delete`, `undelete` ...",
    "log[].message": "why",
    "log[].generation": "the label's generation after the move",
    "log[].entry_id": "id of the entry",
    "log[].actor": "who",
    "log[].tags": "its tags",
    "log[].parents": "ids of the entries this content came from",
    "log[].prev": "id of the label's entry before this one, or null",
    "log[].meta": "facts that programs attached",
    "log[].dropped": "true when message, actor, tags and meta were dropped by retention",
}

_ROWS_AT_ONCE = 100
"""Lines aligned with one another; a history of a million entries is not held in memory."""


@verb(
    "log",
    examples=EXAMPLES,
    fields=LOG_FIELDS,
)
@click.argument("label", shell_complete=labels)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="The newest N entries; 0: all [default: a screenful; all with --json].",
)
def log(ui: Ui, label: str, limit: int | None) -> int:
    """Show where LABEL has been: newest first (oldest first with --json). With -q the ids of the entries."""
    with ui.open_repo() as repo:
        return show_log(ui, repo, label, limit)


def show_log(ui: Ui, repo: Repo, label: str, limit: int | None) -> int:
    """Print where a label has been."""
    if ui.json:
        from jvs.workspace.pointers import move_json

        ui.stream({"label": label}, "log", map(move_json, repo.log_oldest_first(label, limit or None)))
        return 0
    wanted = max(ui.screen()[1] - 3, 10) if limit is None else limit
    entries = repo.log(label, wanted + 1 if wanted else None)
    shown = islice(entries, wanted) if wanted else entries
    for line in (entry.id.hex() for entry in shown) if ui.quiet else _lines(ui, shown):
        ui.say(line)
    if limit is None and next(entries, None) is not None:
        ui.talk(f"there is more: jvs fs log {label} --limit 0")
    return 0


def _lines(ui: Ui, entries: Iterable[Entry]) -> Iterator[str]:
    """`main@2  2026-11-20 10:00:12  3 minutes ago  push    0a1b2c3d4e5f  message  [v1]  (ada@host)`, aligned.

    Where the beginning of the history has left the retention window, a last line says so.
    """
    from jvs.cli.text import columns

    now = time.time_ns() // 1_000_000
    iterator = iter(entries)
    gone: Entry | None = None  # the newest of the oldest entries, all of which were dropped
    while block := list(islice(iterator, _ROWS_AT_ONCE)):
        rows = [
            [
                f"{entry.label}@{entry.generation}",
                clock(entry.at_ms),
                ago(entry.at_ms, now),
                entry.op,
                short(entry.to),
                _told(entry),
            ]
            for entry in block
        ]
        yield from columns(rows)
        for entry in block:
            gone = (gone or entry) if entry.dropped else None
        if gone is not None and block[-1].prev is None:
            yield f"{gone.label}@{gone.generation} and older: left the retention window, only their ids are kept"


def _told(entry: Entry) -> str:
    if entry.dropped:
        return "(dropped by retention)"
    parts = [first_line(entry.message)] if entry.message else []
    parts += [f"[{tag}]" for tag in entry.tags]
    return "  ".join([*parts, f"({plain(entry.actor)})"]) if entry.actor else "  ".join(parts)
