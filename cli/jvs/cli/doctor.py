"""`jvs doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jvs.cli.text import count
from jvs.cli.ui import Ui
from jvs.cli.verb import verb
from jvs.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from jvs.workspace.results import DoctorResult, Finding

EXAMPLES = """
jvs doctor                               # look at everything but content
jvs doctor --strict                      # every byte too
jvs doctor --repair --from /backup/.jvs  # mend; what is damaged here may be whole there
jvs doctor --rebuild-index               # when the index itself is lost
jvs doctor --repair-runtime              # only take away what killed commands have left
"""

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


@verb(
    "doctor",
    examples=EXAMPLES,
    fields={
        "healthy": "whether nothing is wrong, or nothing any more",
        "findings[].category": "what part of the store it is about",
        "findings[].description": "what was found",
        "findings[].severity": "`error`, `warning` or `info`",
        "findings[].error_code": "the error code it would cause, when there is one",
        "findings[].path": "the file it is about, when there is one",
        "findings[].repaired": "whether this run mended it",
        "affected": "LABEL:PATH, or ID:PATH of older snapshots, that need what is (still) damaged or lost: at most 100",
        "affected_snapshots": "how many protected snapshots need it",
        "error": "when not healthy: code, message, next, details",
        "[].id": "with --repair-list: name of a repair",
        "[].description": "with --repair-list: what it does",
        "[].command": "with --repair-list: the command that does it, where there is something to be done",
    },
    exits={8: "something is wrong (listed)"},
)
@click.option("--strict", is_flag=True, help="Also read every byte of everything.")
@click.option(
    "--repair", is_flag=True, help="Read every byte, and mend what can be; damaged things are set aside, never deleted."
)
@click.option(
    "--rebuild-index", is_flag=True, help="Make the index anew from packs and journal; needs the store for itself."
)
@click.option(
    "--from", "sources", metavar="STORE", multiple=True, help="Another store to take what is damaged from (repeatable)."
)
@click.option(
    "--repair-runtime",
    "runtime",
    is_flag=True,
    help="Take away what commands that were killed have left, finish what they began, mend the audit, rebuild a "
    "damaged index; nothing of a command that runs.",
)
@click.option("--repair-list", "listing", is_flag=True, help="List what can be repaired, and do nothing.")
def doctor(
    ui: Ui,
    strict: bool,
    repair: bool,
    rebuild_index: bool,
    sources: tuple[str, ...],
    runtime: bool,
    listing: bool,
) -> int:
    """Examine the store, or the repository with its store, and repair it. What is damaged is put back from other
    stores, from directories that were pushed, or from other places in the store; what is nowhere is given up, so that
    gc works again."""
    from jvs.workspace.doctor import doctor as examine
    from jvs.workspace.locate import find_store
    from jvs.workspace.repository import doctor as repositories

    if listing:
        return _list(ui)
    if sources and not repair:
        raise UsageError("--from says where --repair finds what is damaged", next="jvs doctor --repair --from STORE")
    others = [find_store(source, None, "") for source in sources]
    store = ui.find_store()
    layout = repositories.layout_to_examine(store, ui.here())
    options: dict[str, Any] = {
        "repair": repair,
        "runtime": runtime,
        "rebuild_index": rebuild_index,
        "strict": strict,
        "sources": others,
    }
    with ui.progress("doctor") as progress:
        if layout is None:
            result = examine(store, progress=progress, **options)
        else:
            result = repositories.doctor(layout, progress=progress, **options)
    error, what = None, "Store" if layout is None else "Repository"
    if not result.healthy:
        wrong = sum(finding.severity == "error" and not finding.repaired for finding in result.findings)
        step = "jvs doctor --repair --from STORE (a copy of this one)" if repair else "jvs doctor --repair"
        error = IntegrityError(f"the {what.lower()} is not healthy: {wrong:,} found", next=step)
    return ui.show(result.as_json, lambda: _lines(ui, result, what), [], error)


def _list(ui: Ui) -> int:
    from jvs.workspace.repository.doctor import REPAIRS

    if ui.json:
        ui.stream_list(repair.as_json() for repair in REPAIRS)
        return 0
    for repair in REPAIRS:
        ui.say(repair.id if ui.quiet else f"{repair.id:<14} {repair.description}: {repair.command}")
    return 0


def _lines(ui: Ui, result: DoctorResult, what: str) -> list[str]:
    lines = [_line(ui, finding) for finding in result.findings]
    if result.affected:
        lines.append(f"affected: {count(result.snapshots, 'snapshot')}")
        lines += [f"  {ui.name(place)}" for place in result.affected]
    if lines and what == "Repository":
        lines = ["Findings", *lines]
    return [*lines, f"{what} is healthy."] if result.healthy else lines


def _line(ui: Ui, finding: Finding) -> str:
    """`error    index: the row of ... (repaired)`."""
    severity = ui.paint(f"{finding.severity:<8}", _COLOURS.get(finding.severity, "bold"))
    where = "" if finding.path is None else f" [{ui.name(finding.path)}]"
    repaired = " (repaired)" if finding.repaired else ""
    return f"{severity} {finding.category}: {ui.name(finding.description)}{where}{repaired}"
