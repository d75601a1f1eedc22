"""`jvs history`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from jvs.cli.text import ago, clock, columns, first_line
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb
from jvs.cli.workspace.offers import tags
from jvs.cli.workspace.snapshot import SAVE_POINT_FIELDS

if TYPE_CHECKING:
    from jvs.workspace.repository.history import Shown

EXAMPLES = """
jvs history
jvs history -n 5
jvs history -g baseline --tag best
jvs history --all                      # autosaves of unsaved work, too
"""

_ROWS_AT_ONCE = 100


@workspace_verb(
    "history",
    examples=EXAMPLES,
    fields={f"[].{key}": text for key, text in SAVE_POINT_FIELDS.items()}
    | {
        "[].newer": "true for those newer than the snapshot a detached worktree stands at; left out otherwise",
        "[].autosave": "true for unsaved work that was saved before it was replaced (--all); left out otherwise",
    },
)
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="The newest N; 0: all [default: all].")
@click.option("-g", "--grep", metavar="PATTERN", help="Those whose note has this text in it, in any letter case.")
@click.option("--tag", metavar="T", shell_complete=tags, help="Those with this tag.")
@click.option("--all", "autosaves", is_flag=True, help="Autosaves, too.")
def history(ui: Ui, limit: int | None, grep: str | None, tag: str | None, autosaves: bool) -> int:
    """List the snapshots of the worktree, newest first; of a fork, also those it was made from. With -q the ids.

    The one the worktree stands at is marked. When it is detached the newer ones stay in the list.
    """
    from jvs.workspace.repository.history import history as listed

    with ui.open_repository() as repository:
        name = ui.chosen(repository)
        found = listed(repository, name, limit=limit or None, grep=grep, tag=tag, autosaves=autosaves)
        if ui.json:
            ui.stream_list(one.as_json() for one in found)
            return 0
        if ui.quiet:
            for one in found:
                ui.say(one.save_point.save_point_id)
            return 0
        empty = True
        for line in _lines(ui, found):
            ui.say(line)
            empty = False
        if empty:
            ui.talk("no snapshot yet" if grep is None and tag is None else "no snapshot is like that")
    return 0


def _lines(ui: Ui, shown: Iterable[Shown]) -> Iterator[str]:
    """`* 01k9x2m4p6q8  2026-11-20 10:00:12  3 minutes ago  note  [v1]`, aligned."""
    now = time.time_ns() // 1_000_000
    iterator = iter(shown)
    while block := list(islice(iterator, _ROWS_AT_ONCE)):
        yield from columns(
            [
                [
                    f"{'*' if one.head else ' '} {one.save_point.short_id}",
                    clock(one.save_point.entry.at_ms),
                    ago(one.save_point.entry.at_ms, now),
                    _told(ui, one),
                ]
                for one in block
            ]
        )


def _told(ui: Ui, one: Shown) -> str:
    parts = [first_line(one.save_point.message)] if one.save_point.message else []
    parts += [f"[{tag}]" for tag in one.save_point.tags]
    marks = {"HEAD": one.head, "newer": one.newer, "autosave": one.save_point.autosave}
    parts += [ui.paint(f"({name})", "yellow") for name, holds in marks.items() if holds]
    return "  ".join(parts)
