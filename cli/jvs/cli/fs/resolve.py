"""`jvs fs resolve`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.fs.push import PUSH_EXITS, PUSH_FIELDS, push_line
from jvs.cli.ui import Ui
from jvs.cli.verb import directories, labels, verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.workspace.merging.resolve import ResolveResult

EXAMPLES = """
jvs fs merge main exp/3 --into main --out DIR
jvs fs resolve DIR                                  # once the markers are edited away
jvs fs resolve DIR --take theirs data.bin model.bin
"""


@verb(
    "resolve",
    examples=EXAMPLES,
    fields={
        **PUSH_FIELDS,
        "taken[].path": "a path that --take wrote or removed",
        "recorded[].path": "a conflict whose resolution was recorded",
        "recorded[].id": "under this id (`fs recorded`)",
        "untouched[].path": "a conflict without markers that was pushed as `fs merge` laid it out",
        "untouched[].kind": "its kind (as in `fs merge`)",
    },
    exits=PUSH_EXITS | {7: "conflict markers are left"},
)
@click.argument("dir", shell_complete=directories)
@click.option("--take", metavar="ours|theirs", help="Let each conflict at PATH be what that side has.")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--label", metavar="LABEL", shell_complete=labels, help="The label to move [default: that of the merge].")
@click.option("--force", is_flag=True, help="Also when conflict markers are left.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--no-record", is_flag=True, help="Do not remember how the conflicts were settled.")
def resolve(
    ui: Ui,
    dir: str,
    take: str | None,
    paths: tuple[str, ...],
    label: str | None,
    force: bool,
    message: str,
    no_record: bool,
) -> int:
    """Push DIR, in which a conflicted merge was settled by hand, as that merge: with both sides as parents.

    DIR was written by fs merge --out. As long as a file of a conflict holds its markers nothing is pushed. PATHs are
    those of conflicts, from the root of DIR. How conflicts of lines were settled is recorded, and used when the same
    ones come back. Conflicts that no markers show (binary, JSON, modes, deleted here and changed there) and that are
    still as they were laid out are pushed so, and listed.
    """
    if (take is not None) != bool(paths):
        raise UsageError("--take ours|theirs goes with the PATHs of conflicts", next="jvs fs resolve --help")
    if take not in (None, "ours", "theirs"):
        raise UsageError(f"--take takes ours or theirs, not {take}", next="jvs fs resolve --help")
    from jvs.workspace.merging.resolve import ResolveOptions

    options = ResolveOptions(take, paths, label, force, message, not no_record)
    started = time.perf_counter()
    with ui.open_repo() as repo, ui.progress("push") as progress:
        result = repo.resolve_merge(dir, options, progress=progress)
    seconds = time.perf_counter() - started
    status = ui.show(result.as_json, lambda: _people(ui, result, seconds), [result.push.ca_id.hex()], result.error)
    return status or (3 if result.push.skipped else 0)


def _people(ui: Ui, result: ResolveResult, seconds: float) -> Iterator[str]:
    for path in result.taken:
        yield f"took        {ui.name(path)}"
    for applied in result.recorded:
        yield f"recorded    {ui.name(applied.path)} ({applied.id[:12]})"
    for clash in result.untouched:
        yield f"untouched   {ui.name(b'/'.join(clash.path))} ({clash.kind})"
    yield push_line(ui, result.push, seconds)
