"""`jvs doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jvs.cli.ui import Ui
from jvs.cli.verb import verb
from jvs.errors import IntegrityError

if TYPE_CHECKING:
    from jvs.workspace.results import Finding

EXAMPLES = """
jvs doctor
jvs doctor --repair
jvs doctor --rebuild-index     # when the index itself is lost
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
        "error": "when not healthy: code, message, next, details",
    },
    exits={8: "something is wrong (listed)"},
)
@click.option("--strict", is_flag=True, help="Also read every byte of everything.")
@click.option("--repair", is_flag=True, help="Mend what can be mended; damaged things are set aside, never deleted.")
@click.option(
    "--rebuild-index", is_flag=True, help="Make the index anew from packs and journal; needs the store for itself."
)
def doctor(ui: Ui, strict: bool, repair: bool, rebuild_index: bool) -> int:
    """Examine the store, and repair it."""
    from jvs.workspace.doctor import doctor as examine

    result = examine(ui.find_store(), repair=repair, rebuild_index=rebuild_index, strict=strict)

    def people() -> list[str]:
        return [_line(ui, finding) for finding in result.findings] + (["Store is healthy."] if result.healthy else [])

    error = None
    if not result.healthy:
        wrong = sum(finding.severity == "error" and not finding.repaired for finding in result.findings)
        step = "restore the store from a copy" if repair else "jvs doctor --repair"
        error = IntegrityError(f"the store is not healthy: {wrong:,} found", next=step)
    return ui.show(result.as_json, people, [], error)


def _line(ui: Ui, finding: Finding) -> str:
    """`error    index: the row of ... (repaired)`."""
    severity = ui.paint(f"{finding.severity:<8}", _COLOURS.get(finding.severity, "bold"))
    where = "" if finding.path is None else f" [{ui.name(finding.path)}]"
    repaired = " (repaired)" if finding.repaired else ""
    return f"{severity} {finding.category}: {ui.name(finding.description)}{where}{repaired}"
