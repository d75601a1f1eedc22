"""`jvs worktree create`, `list`, `path`, `rename`, `remove` and `fork`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import columns, command, first_line
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb, worktrees
from jvs.cli.workspace.offers import snapshots
from jvs.errors import LeaseError

if TYPE_CHECKING:
    from jvs.cli.progress import Progress
    from jvs.workspace.repository.creating import WorktreeInfo
    from jvs.workspace.repository.repository import Repository
    from jvs.workspace.repository.savepoints import SavePoint

VERBS = {
    "create": ("jvs.cli.workspace.worktree:create", "Make a worktree: empty, or what a snapshot is."),
    "fork": ("jvs.cli.workspace.worktree:fork", "Make a worktree of a snapshot."),
    "list": ("jvs.cli.workspace.worktree:list_", "List the worktrees."),
    "path": ("jvs.cli.workspace.worktree:path", "Print the directory of a worktree."),
    "rename": ("jvs.cli.workspace.worktree:rename", "Give a worktree another name."),
    "remove": ("jvs.cli.workspace.worktree:remove", "Remove a worktree; its snapshots stay."),
}
EXAMPLES = """
jvs worktree fork exp                  # what is saved here, once more, in worktrees/exp
cd $(jvs worktree path exp)
jvs fs merge main exp --into main      # its snapshots, back into main
jvs worktree remove exp
"""

FIELDS = {
    "name": "the worktree",
    "base_snapshot_id": "the snapshot it was made from, or null",
    "head_snapshot_id": "the snapshot it stands at, or null",
    "latest_snapshot_id": "the newest snapshot of its label, or null",
    "created_at": "when it was made, ISO 8601 UTC",
    "path": "its directory",
    "label": "the label its snapshots move",
    "engine": "how its files were materialised",
    "detached": "whether it stands at a snapshot that is not the newest, on purpose",
}
_TAKEN = {1: "it already exists, or the engine asked for cannot work there", 11: "another command is at work"}

_reason = click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the audit.")


@click.command("worktree", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def worktree() -> None:
    """Directories with a label each: main, and as many others as you like."""


@workspace_verb(
    "create",
    examples="jvs worktree create exp\njvs worktree create exp --from best\n",
    fields=FIELDS,
    exits=_TAKEN,
)
@click.argument("name")
@click.option(
    "--from",
    "from_",
    metavar="ID",
    shell_complete=snapshots,
    help="The snapshot it starts with [default: none, it is empty].",
)
@_reason
def create(ui: Ui, name: str, from_: str | None, reason: str) -> int:
    """Make the worktree worktrees/NAME, whose snapshots move the label NAME. It is empty, or what --from names; where
    there is a label NAME already that no worktree has, it starts at the newest snapshot of that. With -q its directory.
    """
    with ui.open_repository() as repository, ui.progress("create") as progress:
        near = ui.standing_in(repository)
        one = None if from_ is None else _named(repository, from_, near)
        return _make(ui, repository, one, name, near, progress, reason)


@workspace_verb(
    "fork",
    examples="jvs worktree fork exp\njvs worktree fork 01k9x2m4 exp\njvs worktree fork best exp\n",
    fields=FIELDS,
    exits=_TAKEN,
)
@click.argument("operands", metavar="[ID] NAME", nargs=-1, required=True, shell_complete=snapshots)
@_reason
def fork(ui: Ui, operands: tuple[str, ...], reason: str) -> int:
    """Make the worktree worktrees/NAME out of a snapshot [default: the one the worktree you are in stands at]. Where
    the file system can share blocks it costs no space. Unsaved changes are not in it, and stay where they are.

    JVS_ENGINE says how files are materialised (juicefs-clone, reflink-copy, copy). With -q its directory.
    """
    if len(operands) > 2:
        raise click.UsageError("at most ID and NAME")
    with ui.open_repository() as repository, ui.progress("fork") as progress:
        if len(operands) == 1:
            here = ui.chosen(repository)
            return fork_from(ui, repository, "HEAD", operands[0], here, progress, reason)
        return fork_from(ui, repository, operands[0], operands[1], ui.standing_in(repository), progress, reason)


@workspace_verb(
    "list",
    examples="jvs worktree list\njvs worktree list --json\n",
    fields={f"[].{key}": text for key, text in FIELDS.items()},
)
def list_(ui: Ui) -> int:
    """List the worktrees, main first. With -q their names."""
    from jvs.workspace.repository.creating import infos

    with ui.open_repository() as repository:
        found = infos(repository)
        here = repository.worktree_at(ui.here())
    if ui.json:
        ui.stream_list(one.as_json() for one in found)
        return 0
    for line in (one.worktree.name for one in found) if ui.quiet else _table(ui, found, here):
        ui.say(line)
    return 0


@workspace_verb(
    "path",
    examples="cd $(jvs worktree path exp)\n",
    fields={"name": "the worktree", "path": "its directory"},
)
@click.argument("name", required=False, shell_complete=worktrees)
def path(ui: Ui, name: str | None) -> int:
    """Print the directory of a worktree [default: the one you are in]."""
    with ui.open_repository() as repository:
        chosen = ui.chosen(repository) if name is None else repository.worktree(name).name
        found = repository.path(chosen)
    return ui.show(lambda: {"name": chosen, "path": found}, lambda: [found], [found])


@workspace_verb(
    "rename",
    examples="jvs worktree rename exp baseline\n",
    fields=FIELDS,
    exits={1: "there is one of that name already, or it is main", 11: "another command is at work"},
)
@click.argument("old", shell_complete=worktrees)
@click.argument("new")
@_reason
def rename(ui: Ui, old: str, new: str, reason: str) -> int:
    """Give a worktree another name: its directory, its label, and the label of its autosaves. A shell that stands in it
    goes on working. With -q its directory."""
    from jvs.workspace.repository.renaming import rename as give

    with _locked_by(old), ui.open_repository() as repository:
        made = give(repository, old, new, reason=reason, wait=ui.wait)
    return ui.show(made.as_json, lambda: [f"Renamed worktree {old} to {new}", f"  {ui.name(made.path)}"], [made.path])


@workspace_verb(
    "remove",
    examples="jvs worktree remove exp\njvs worktree remove exp --force\n",
    fields={
        "status": "`removed`",
        "name": "the worktree",
        "path": "where it was",
        "label": "its label, which was deleted; null when it had none",
        "autosaved": "the revision that has what was not saved, or null",
    },
    exits={
        1: "something in it is not saved (listed), you stand in it, or it is main",
        11: "another command is at work",
    },
)
@click.argument("name", shell_complete=worktrees)
@click.option("-f", "--force", is_flag=True, help="Also when something in it is not saved; that is autosaved first.")
@_reason
def remove(ui: Ui, name: str, force: bool, reason: str) -> int:
    """Remove a worktree. Its snapshots can still be restored by their ids, and its label be brought back, for as long
    as deleted labels are kept."""
    from jvs.workspace.repository.removing import remove as take_away

    with _locked_by(name), ui.open_repository() as repository:
        done = take_away(repository, name, here=ui.here(), force=force, reason=reason, wait=ui.wait)
    status = ui.show(done.as_json, lambda: [f"Removed worktree {ui.name(done.name)}"], [done.name])
    if not ui.json:
        if done.autosaved is not None:
            back = command("jvs", "worktree", "create", done.name, "--from", done.autosaved)
            ui.talk(f"saved what was there as {done.autosaved}; to bring it back: {back}")
        if done.label is not None:
            undelete = command("jvs", "fs", "label", "--undelete", done.label)
            again = command("jvs", "worktree", "create", done.name)
            ui.talk(f"its snapshots stay for a while; to bring it back: {undelete} && {again}")
    return status


@contextmanager
def _locked_by(name: str) -> Iterator[None]:
    """Say of a lock that stands in the way whose it is: of the worktree `name`, not of the one somebody stands in."""
    try:
        yield
    except LeaseError as error:
        from jvs.workspace.repository.layout import label_for

        if error.details.get("label") != label_for(name):
            raise
        flag = command("-w", name)
        error.next = f"jvs lock status {flag} (if the lock is yours: the same command with {flag})"
        raise


def fork_from(
    ui: Ui, repository: Repository, target: str, name: str, near: str | None, progress: Progress | None, reason: str
) -> int:
    """Make a worktree of the snapshot that `target` names, typed by somebody in the worktree `near`."""
    return _make(ui, repository, _named(repository, target, near), name, near, progress, reason)


def _make(
    ui: Ui,
    repository: Repository,
    one: SavePoint | None,
    name: str,
    near: str | None,
    progress: Progress | None,
    reason: str,
) -> int:
    from jvs.workspace.repository.creating import CreateOptions
    from jvs.workspace.repository.creating import create as make

    engine = os.environ.get("JVS_ENGINE") or None
    made = make(repository, name, one, CreateOptions(engine, near, reason, ui.wait), progress)

    def people() -> Iterable[str]:
        at = "empty" if made.head is None else f"at {made.head.short_id} ({made.worktree.engine})"
        return [f"Created worktree {ui.name(made.worktree.name)}", f"  {ui.name(made.path)}, {at}"]

    return ui.show(made.as_json, people, [made.path])


def _named(repository: Repository, target: str, near: str | None) -> SavePoint:
    """The snapshot that somebody means who is in the worktree `near`; at the root, in main."""
    return repository.find(target, near or "main")


def _table(ui: Ui, found: Iterable[WorktreeInfo], here: str | None) -> Iterable[str]:
    """`* main  01k9x2m4p6q8 note  HEAD  /data/main`, aligned."""
    rows = []
    for one in found:
        head = one.head
        at = "no snapshot yet" if head is None else f"{head.short_id} {ui.name(first_line(head.message))}".rstrip()
        mark = "*" if one.worktree.name == here else " "
        state = ui.paint("DETACHED", "yellow") if one.detached else "HEAD"
        rows.append([f"{mark} {one.worktree.name}", at, state, ui.name(one.path)])
    return columns(rows)
