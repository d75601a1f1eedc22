"""`jvs verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jvs.cli.errors import error_json
from jvs.cli.text import count
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import workspace_verb
from jvs.cli.workspace.offers import snapshots
from jvs.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from jvs.workspace.repository.verify import Verified

EXAMPLES = """
jvs verify                # where the worktree stands
jvs verify 01k9xyz0a1b2
jvs verify --all
"""


@workspace_verb(
    "verify",
    examples=EXAMPLES,
    fields={
        "snapshot_id": "which snapshot; with `--all` there is a list of these",
        "checksum_valid": "whether its history entry is what its id says",
        "payload_hash_valid": "whether everything it holds is there, to the last byte",
        "tamper_detected": "whether one of them is not so",
        "severity": "`critical`; left out when nothing is wrong",
        "error": "what is wrong: code, message, next, details; left out when nothing is",
    },
    exits={8: "a snapshot is not what was saved"},
)
@click.argument("target", metavar="[ID|PREFIX|TAG|NOTE|HEAD]", required=False, shell_complete=snapshots)
@click.option("--all", "everything", is_flag=True, help="Every snapshot of every label, autosaves too.")
def verify(ui: Ui, target: str | None, everything: bool) -> int:
    """Read every byte of a snapshot, and compare it with what was saved: its history entry and its content. Without ID
    the one the worktree stands at. With -q the ids of those that are not what they were."""
    from jvs.workspace.repository import verify as verifying

    if target is not None and everything:
        raise UsageError("give ID or --all, not both", next="jvs verify --help")
    with ui.open_repository() as repository, ui.progress("verify") as progress:
        if everything:
            return _show_all(ui, verifying.verify_all(repository, progress))
        if target is None:
            one = repository.find("HEAD", ui.chosen(repository))
        else:
            name = ui.standing_in(repository)
            one = repository.savepoints.find(target) if name is None else repository.find(target, name)
        found = verifying.verify(repository, one, progress)
    lines = [_line(ui, found), f"Checksum: {_word(found.checksum_valid)}"]
    lines.append(f"Payload hash: {_word(found.payload_hash_valid)}")
    return ui.show(found.as_json, lambda: lines, [found.snapshot_id] if found.tampered else [], found.error)


def _show_all(ui: Ui, found: list[Verified]) -> int:
    bad = [one for one in found if one.tampered]
    error = None
    if bad:
        error = IntegrityError(
            f"{count(len(bad), 'snapshot')} of {len(found):,} are not what was saved", next="jvs doctor --strict"
        )
    if ui.json:
        ui.stream_list(_value(one) for one in found)
    else:
        for line in [one.snapshot_id for one in bad] if ui.quiet else [_line(ui, one) for one in found]:
            ui.say(line)
        if error is None:
            ui.talk(f"{count(len(found), 'snapshot')} verified")
        else:
            ui.complain(error)
    return 0 if error is None else error.exit_status


def _value(one: Verified) -> Json:
    return one.as_json() | ({} if one.error is None else {"error": error_json(one.error)})


def _line(ui: Ui, one: Verified) -> str:
    verdict = ui.paint("TAMPERED", "red") if one.tampered else ui.paint("OK", "green")
    reason = "" if one.error is None else f"  {ui.name(one.error.message)}"
    return f"{one.snapshot_id}  {verdict}{reason}"


def _word(valid: bool) -> str:
    return "true" if valid else "false"
