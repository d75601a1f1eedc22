"""`jvs fs verify`."""

from __future__ import annotations

import time

import click

from jvs.cli.text import count, duration, short, size
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb
from jvs.errors import IntegrityError, UsageError

EXAMPLES = """
jvs fs verify main      # one snapshot
jvs fs verify --all     # everything: objects, index, labels, journal
"""


@verb(
    "verify",
    examples=EXAMPLES,
    fields={
        "checked": "objects read and hashed",
        "bytes": "plain bytes read and hashed",
        "ok": "whether nothing is damaged",
        "damaged[].path": "where: LABEL:PATH or ID:PATH with --all, else the path; null when it has none",
        "damaged[].path_b64": "its bytes, when they are not UTF-8",
        "damaged[].digest": "which object, or null",
        "damaged[].reason": "what is wrong with it",
        "error": "when something is damaged: code, message, next, details",
    },
    exits={8: "something is damaged (listed)"},
)
@click.argument("rev", required=False, shell_complete=labels)
@click.option("--all", "everything", is_flag=True, help="Everything in the store (the default without REV).")
def verify(ui: Ui, rev: str | None, everything: bool) -> int:
    """Read every byte of a snapshot, or of everything in the store, and check it. With -q the damaged digests."""
    if rev is not None and everything:
        raise UsageError("give REV or --all, not both", next="jvs fs verify --help")
    started = time.perf_counter()
    with ui.open_repo() as repo, ui.progress("verify") as progress:
        result = repo.verify(rev, progress=progress)
    checked = (
        f"{count(result.checked, 'object')}, {size(result.bytes)} checked in {duration(time.perf_counter() - started)}"
    )

    def people() -> list[str]:
        lines = [
            f"{ui.paint('damaged', 'red')}  {'-' if item.path is None else ui.name(item.path)}  {short(item.digest)}"
            f"  {ui.name(item.reason)}"
            for item in result.damaged
        ]
        return lines if lines else [f"{ui.paint('ok', 'green')}: {checked}"]

    error = None
    if not result.ok:
        error = IntegrityError(
            f"{len(result.damaged):,} of the things checked are damaged: {checked}", next="jvs doctor --repair"
        )
    damaged = [item.digest.hex() for item in result.damaged if item.digest is not None]
    return ui.show(result.as_json, people, damaged, error)
