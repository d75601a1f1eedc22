"""`jvs audit`."""

from __future__ import annotations

import click

from jvs.cli.text import clock, count, first_line
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb

EXAMPLES = """
jvs audit -n 20
jvs audit --since 2h --json
jvs audit --verify
"""


@workspace_verb(
    "audit",
    examples=EXAMPLES,
    fields={
        "[].event_id": "number of the record in the journal",
        "[].timestamp": "when, ISO 8601 UTC",
        "[].operation": "what was done: `push`, `restore`, `lock.acquire`, `gc` ...",
        "[].actor": "who did it; empty when that was purged",
        "[].target": "to what: `main@7` is the move that made generation 7 of main",
        "[].reason": "what they said",
        "[].prev_hash": "digest of the record before it",
        "[].record_hash": "its own",
        "chain_valid": "with --verify: true; a broken chain is an error",
        "records": "with --verify: how many there are",
        "head_hash": "with --verify: digest of the last one",
    },
    exits={8: "the chain is broken: a record was changed, taken out, or cut off (E_AUDIT_CHAIN_BROKEN)"},
)
@click.option("--since", metavar="T", help="From then on only: 2h ago, yesterday, or 2026-12-24T10:00.")
@click.option("--verify", is_flag=True, help="Recompute every digest of the chain, and compare its end, instead.")
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="The newest N; 0: all [default: all].")
def audit(ui: Ui, since: str | None, verify: bool, limit: int | None) -> int:
    """List everything that was done to the repository, oldest first, as its hash-chained journal has it. With -q the
    numbers."""
    from jvs.workspace.repository import audit as audits

    since_ms = 0 if since is None else audits.parse_since(since)
    with ui.open_repository() as repository:
        if verify:
            whole = audits.verify(repository.repo)
            said = f"Audit chain OK: {count(whole.records, 'record')}, the last is {whole.head_hash.hex()}"
            return ui.show(whole.as_json, lambda: [said], [whole.head_hash.hex()])
        found = audits.events(repository.repo, since_ms=since_ms, limit=limit or None)
        if ui.json:
            ui.stream_list(one.as_json() for one in found)
            return 0
        for one in found:
            if ui.quiet:
                ui.say(one.event_id)
                continue
            said = f"  {first_line(one.reason)}" if one.reason else ""
            line = f"{one.event_id:>6}  {clock(one.at_ms)}  {one.operation:<14}  {one.target}  ({one.actor}){said}"
            ui.say(ui.name(line))
    return 0
