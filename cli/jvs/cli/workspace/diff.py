"""`jvs diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jvs.cli.fs.diff import in_order, line_counts, painted, patch_text, people
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb
from jvs.cli.workspace.offers import snapshots
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.workspace.repository.savepoints import SavePoint

EXAMPLES = """
jvs diff                          # what is not saved
jvs diff best                     # from a tag to what is in the worktree
jvs diff 01k9x2m4 HEAD --stat
jvs diff "before the" HEAD --patch
"""


@workspace_verb(
    "diff",
    examples=EXAMPLES,
    fields={
        "from_snapshot_id": "the snapshot before; null: nothing was saved yet",
        "to_snapshot_id": "the snapshot after; null: the directory of the worktree",
        "from_time": "when that was made, ISO 8601 UTC, or null",
        "to_time": "when that was made, or null",
        "added[].path": "a path that is new; the three lists have the same fields, and hold every path",
        "added[].path_b64": "its bytes, when they are not UTF-8",
        "added[].kind": "`file`, `directory` or `symlink`",
        "added[].before": "the entry before, as in `fs tree`; null when there was none",
        "added[].after": "the entry after; null when there is none",
        "removed[]": "paths that are gone",
        "modified[]": "paths with other content, kind, mode or target",
        "total_added": "length of `added`",
        "total_removed": "length of `removed`",
        "total_modified": "length of `modified`",
        "patch": "with --patch: the unified diff",
    },
    exits={1: "with --exit-code: something differs"},
)
@click.argument("from_", metavar="[FROM]", required=False, shell_complete=snapshots)
@click.argument("to", required=False, shell_complete=snapshots)
@click.option("--stat", is_flag=True, help="A bar for each path: lines added (+) and removed (-).")
@click.option("--patch", is_flag=True, help="A unified diff.")
@click.option("--exit-code", is_flag=True, help="Exit status 1 when something differs.")
def diff(ui: Ui, from_: str | None, to: str | None, stat: bool, patch: bool, exit_code: bool) -> int:
    """Show what differs from one snapshot to another: FROM [default: the one the worktree stands at], TO [default: what
    is in the worktree]. Both may be ids or the beginning of one, tags, notes or the beginning of one, HEAD.

    With -q the paths.
    """
    from jvs.workspace.repository.differences import diff as compare

    if stat and patch:
        raise UsageError("--stat and --patch exclude each other", next="jvs diff --help")
    with ui.open_repository() as repository:
        found = compare(repository, ui.chosen(repository), from_, to)
        result, repo = found.result, repository.repo
        if ui.json:
            ui.emit(found.as_json() | ({"patch": patch_text(repo, result, False)} if patch else {}))
        elif ui.quiet:
            for _, change in in_order(result):
                ui.say(ui.name(change.path))
        elif patch:
            for line in painted(ui, repo.patch(result)):
                ui.say(line)
        else:
            counts = list(line_counts(repo.patch(result))) if stat else None
            sides = (_named(found.before, "nothing"), _named(found.after, "the worktree"))
            for line in people(ui, result, counts, sides):
                ui.say(line)
    return 1 if exit_code and not result.empty else 0


def _named(one: SavePoint | None, otherwise: str) -> str:
    return otherwise if one is None else one.short_id
