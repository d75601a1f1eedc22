"""`jvs restore`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from jvs.cli.text import clock, command, count, duration, first_line, size
from jvs.cli.ui import Ui
from jvs.cli.verb import files, workspace_verb
from jvs.cli.workspace.offers import snapshots
from jvs.errors import AmbiguousError, UsageError

if TYPE_CHECKING:
    from jvs.workspace.repository.repository import Repository
    from jvs.workspace.repository.restore import Restored

EXAMPLES = """
jvs restore HEAD                       # the newest snapshot
jvs restore 01k9x2m4
jvs restore best --path model/ --path train.py
jvs restore autosave/main              # the unsaved work that the last restore saved
jvs restore "before the" -i            # asks which, when several notes begin so
jvs restore best --new-worktree exp    # elsewhere: the same as jvs worktree fork best exp
"""

RESTORED_FIELDS = {
    "status": "`restored`; with --dry-run `would-restore`",
    "snapshot_id": "the snapshot that was restored",
    "detached": "whether the worktree now stands at a snapshot that is not the newest",
    "worktree_name": "the worktree",
    "autosaved": "the revision that has the unsaved work that was there, or null; `jvs restore` brings it back",
    "written": "files, links and directories written",
    "removed": "files, links and directories removed",
    "modes_changed": "paths of which only the mode changed",
    "bytes_written": "bytes of content written",
    "unsaved": "with --dry-run: whether there are unsaved changes, which would be saved first",
    "warnings": "what could not be made exactly as in the snapshot, in words",
}
_SHOWN = 20
_OFFERED = 20


@workspace_verb(
    "restore",
    examples=EXAMPLES,
    fields=RESTORED_FIELDS,
    exits={
        1: "something that cannot be saved is in the way (listed)",
        5: "there is no such snapshot",
        11: "somebody else has the lock, or is at work in the worktree",
    },
)
@click.argument("id_", metavar="ID|PREFIX|TAG|NOTE|HEAD", required=False, shell_complete=snapshots)
@click.option("-i", "--interactive", is_flag=True, help="Ask which, where several match or none is named.")
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="P",
    shell_complete=files,
    help="Restore only this path; may be repeated.",
)
@click.option("--new-worktree", metavar="NAME", help="Leave this worktree alone, and make another one.")
@click.option("--inplace", is_flag=True, help="In place, which is what it does anyway.")
@click.option(
    "-f", "--force", is_flag=True, help="Also replace what is in the way and cannot be saved (ignored files)."
)
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the audit.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def restore(
    ui: Ui,
    id_: str | None,
    interactive: bool,
    paths: tuple[str, ...],
    new_worktree: str | None,
    inplace: bool,
    force: bool,
    reason: str,
    dry_run: bool,
) -> int:
    """Make the worktree what it was at a snapshot: an id or the beginning of one, a tag, a note or the beginning of
    one, HEAD for the newest. The directory itself stays, so shells and programs in it go on working.

    Unsaved changes are saved first, on the label autosave/WORKTREE. No snapshot is lost, and no label moves: at any
    but the newest the worktree is DETACHED, where nothing is saved until it is forked or back at HEAD.
    With --path the rest of the worktree, and where it stands, stay as they are.
    With -q the id of the snapshot.
    """
    from jvs.workspace.repository.restore import RestoreOptions
    from jvs.workspace.repository.restore import restore as bring

    if id_ is None and not interactive:
        raise UsageError("which snapshot? name it, or let it ask: -i", next="jvs history")
    if new_worktree is not None and (paths or inplace or dry_run):
        raise UsageError("--new-worktree makes another worktree: leave --path, --inplace and --dry-run out")
    started = time.perf_counter()
    with ui.open_repository() as repository, ui.progress("restore") as progress:
        name = ui.chosen(repository)
        target = _chosen(ui, repository, name, id_) if interactive else id_
        assert target is not None
        if new_worktree is not None:
            from jvs.cli.workspace.worktree import fork_from

            return fork_from(ui, repository, target, new_worktree, name, progress, reason)
        inside: Sequence[tuple[bytes, ...]] = ()
        if paths:
            from jvs.workspace.partial import inside as path_inside

            inside = [path_inside(repository.directory(name), path, ui.here()) for path in paths]
        options = RestoreOptions(inside, force, reason, dry_run, ui.wait)
        done = bring(repository, name, target, options, progress)
    return show(ui, done, time.perf_counter() - started)


def show(ui: Ui, done: Restored, seconds: float) -> int:
    """Print what a restore did."""
    one = done.save_point

    def people() -> Iterator[str]:
        note = "" if one is None or not one.message else f" {first_line(one.message)!r}"
        what = "nothing" if one is None else f"{ui.paint(one.short_id, 'yellow')}{ui.name(note)}"
        where = ui.name(done.worktree)
        if done.paths:
            where = f"{count(len(done.paths), 'path')} of {where}"
        facts = [f"{done.done.written:,} written", f"{done.done.removed:,} removed", size(done.done.size)]
        word = ui.paint("Would restore", "yellow") if done.dry_run else ui.paint("Restored", "green")
        yield f"{word} {where} to {what}: {', '.join(facts)}, {duration(seconds)}"
        if done.dry_run and done.unsaved:
            yield "  unsaved changes are there, and would be saved first"
        if done.paths:
            return
        if done.detached:
            yield f"  {ui.paint('DETACHED', 'yellow')}: not at the newest snapshot, so nothing can be saved here"
            yield "  next: jvs worktree fork NAME (go on from here), or: jvs restore HEAD (back to the newest)"
        else:
            yield "  HEAD state: at the newest snapshot"

    status = ui.show(done.as_json, people, [] if one is None else [one.save_point_id])
    if not ui.json:
        if done.autosaved is not None:
            ui.talk(f"saved what was there as {done.autosaved}; to bring it back: {bring_back(done)}")
        for warning in done.done.warnings[:_SHOWN]:
            ui.talk(f"warning: {ui.name(warning)}")
        if len(done.done.warnings) > _SHOWN:
            ui.talk(f"warning: {len(done.done.warnings) - _SHOWN:,} more (--json lists them all)")
    return status


def bring_back(done: Restored) -> str:
    """The command that brings unsaved work back."""
    revision = done.autosaved or ""
    return command("jvs", "restore", revision, "-w", done.worktree)


def _chosen(ui: Ui, repository: Repository, name: str, target: str | None) -> str:
    """Which snapshot is meant, asked for where that is not clear."""
    if target is None:
        from itertools import islice

        from jvs.workspace.repository.history import history

        found = [one.save_point for one in islice(history(repository, name), _OFFERED)]
        rows: list[dict[str, Any]] = [
            {"id": one.save_point_id, "at_ms": one.entry.at_ms, "note": one.message} for one in found
        ]
    else:
        from jvs.workspace.repository.restore import find

        try:
            return find(repository, name, target).save_point_id
        except AmbiguousError as error:
            rows = list(error.details["matches"])
    if not rows:
        raise UsageError("there is no snapshot yet to choose", next='jvs snapshot "as it came"')
    for number, row in enumerate(rows, 1):
        when = f"  {clock(row['at_ms'])}" if "at_ms" in row else ""
        ui.talk(f"{number:>3}  {row['id'][:12]}{when}  {ui.name(first_line(row.get('note') or ''))}")
    sys.stderr.write(f"which one? 1 to {len(rows)}: ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    if not answer.isdecimal() or not 1 <= int(answer) <= len(rows):
        raise UsageError(f"{answer!r} is none of them; nothing was restored", next="jvs history")
    chosen: str = rows[int(answer) - 1]["id"]
    return chosen
