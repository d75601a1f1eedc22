"""`jvs fs pull`."""

from __future__ import annotations

import time

import click

from jvs.cli.text import command, count, duration, short, size
from jvs.cli.ui import Ui
from jvs.cli.verb import directories, labels, verb
from jvs.errors import UnsavedChangesError, UsageError

EXAMPLES = """
jvs fs pull main                    # what is main? prints its id
jvs fs pull main DIR                # make DIR be main
jvs fs pull main@{yesterday} DIR --dry-run
jvs fs pull main@7 DIR --autosave   # save what DIR has first
"""

_SHOWN = 20


@verb(
    "pull",
    examples=EXAMPLES,
    fields={
        "label": "the label REV goes through, or null",
        "ca_id": "id of the snapshot",
        "generation": "generation of the label it stands for, or null",
        "directory": "with DIR: DIR as given (the fields below come with it)",
        "written": "files, links and directories written",
        "removed": "files, links and directories removed",
        "modes_changed": "paths of which only the mode changed",
        "unchanged": "paths left as they were",
        "bytes_written": "bytes of content written",
        "autosaved": "the revision that has what DIR held before, or null",
        "warnings": "what could not be made exactly as in the snapshot, in words",
        "dry_run": "true when nothing was written",
    },
    exits={1: "DIR has unsaved changes (listed); nothing was written"},
)
@click.argument("rev", shell_complete=labels)
@click.argument("directory", required=False, metavar="[DIR]", shell_complete=directories)
@click.option("--autosave", is_flag=True, help="Save unsaved changes first, on the label autosave/LABEL.")
@click.option("--discard", is_flag=True, help="Drop unsaved changes.")
@click.option("--special-modes", is_flag=True, help="Apply setuid and setgid bits of files too.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def pull(
    ui: Ui, rev: str, directory: str | None, autosave: bool, discard: bool, special_modes: bool, dry_run: bool
) -> int:
    """Make DIR be the tree of REV; without DIR, print what REV is.

    Only what differs is written. What DIR has that was never saved is never lost: the pull is refused with a list,
    unless told to save (--autosave) or to drop it (--discard).
    """
    if autosave and discard:
        raise UsageError("--autosave and --discard exclude each other", next="jvs fs pull --help")
    started = time.perf_counter()
    with ui.open_repo() as repo, ui.progress("pull") as progress:
        try:
            result = repo.pull(
                rev,
                directory,
                autosave=autosave,
                discard=discard,
                special_modes=special_modes,
                dry_run=dry_run,
                progress=progress,
            )
        except UnsavedChangesError as error:
            if directory is not None:
                error.next = f"{command('jvs', 'fs', 'pull', rev, directory, '--autosave')} (or --discard)"
            raise

    def people() -> list[str]:
        named = "" if result.label is None else f"{result.label}@{result.generation} "
        if result.directory is None:
            return [named + result.ca_id.hex()]
        facts = [f"{result.written:,} written", f"{result.removed:,} removed"]
        if result.modes_changed:
            facts.append(f"{count(result.modes_changed, 'mode')} changed")
        facts += [f"{result.unchanged:,} unchanged", size(result.bytes_written)]
        facts.append(duration(time.perf_counter() - started))
        word = ui.paint("would pull", "yellow") if result.dry_run else ui.paint("pulled", "green")
        shown = ui.paint(short(result.ca_id), "yellow")
        return [f"{word} {named}{shown} into {ui.name(result.directory)}: {', '.join(facts)}"]

    status = ui.show(result.as_json, people, [result.ca_id.hex()])
    if not ui.json:
        if result.autosaved is not None:
            back = command("jvs", "fs", "pull", result.autosaved, result.directory or "")
            ui.talk(f"saved what was there as {result.autosaved}; to bring it back: {back}")
        for warning in result.warnings[:_SHOWN]:
            ui.talk(f"warning: {ui.name(warning)}")
        if len(result.warnings) > _SHOWN:
            ui.talk(f"warning: {len(result.warnings) - _SHOWN:,} more (--json lists them all)")
    return status
