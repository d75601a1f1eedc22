"""`jvs fs gc plan` and `run`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import SHORT_ID, command, count, short, size
from jvs.cli.ui import Ui
from jvs.cli.verb import verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.workspace.gc_results import GcPlan, GcRun, Protected

VERBS = {
    "plan": ("jvs.cli.fs.gc:plan", "Say what would go, and why the rest stays."),
    "run": ("jvs.cli.fs.gc:run", "Remove what nothing protects, and give the space back."),
}

EXAMPLES = """
jvs fs retention set keep-last 10 keep-within 30d   # nothing goes before a policy says so
jvs fs gc plan
jvs fs gc run --plan-id 0bd1a47f1e4d
"""

PLAN_EXAMPLES = """
jvs fs gc plan
jvs fs gc plan -q                       # only the id of the plan
"""

RUN_EXAMPLES = """
jvs fs gc run --plan-id 0bd1a47f1e4d    # what that plan listed, or nothing
jvs fs gc run                           # all that can go now
jvs fs gc run --max-duration 10min      # the next run goes on
"""

_TRUST = "The clock is right, however far it is ahead of everything in the store."
_REASONS = {
    "head": "heads of labels",
    "reflog": "histories of labels",
    "tag": "tags",
    "ref": "refs",
    "pin": "pins",
    "deleted": "deleted labels that can still come back",
    "detached": "detached snapshots of the last day",
    "base": "bases of merges to come",
    "autosave": "autosaves",
    "running": "commands that are running",
    "worktree": "worktrees",
}
_SHOWN = 3
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@click.command("gc", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def gc() -> None:
    """Collect garbage: remove what no label, history, tag or pin protects, beside whatever else is running."""


@verb(
    "plan",
    examples=PLAN_EXAMPLES,
    fields={
        "plan_id": "id of the plan, for `gc run --plan-id`",
        "at": "the time by which ages were judged, ISO 8601 UTC",
        "policy_revision": "how many times retention policies had been changed",
        "candidates": "how many objects would go",
        "kinds": "how many of each kind: `chunk`, `recipe`, `page`, `layout`, `part`",
        "examined_bytes": "stored bytes of all objects",
        "live_bytes": "those of objects that stay",
        "reclaimable_bytes": "those of objects that go, and what is dead already in the packs this run would rewrite",
        "freed_bytes": "what the disk would get back in this run",
        "packs_dropped": "pack files that would go",
        "packs_rewritten": "pack files that would be rewritten without what is dead in them",
        "snapshots": "how many snapshots would go",
        "protected[].reason": "why snapshots stay: " + ", ".join(f"`{reason}`" for reason in _REASONS),
        "protected[].snapshots": "how many stay for that reason",
        "protected[].examples[].ca_id": "one of them (at most 20 are listed)",
        "protected[].examples[].label": "the label it belongs to, or null",
        "protected[].examples[].detail": "the rule, tag, pin or command that protects it",
    },
    exits={
        1: "the clock is ahead of everything in the store by more than a week (`clock-jump`)",
        8: "something reachable cannot be read: what may go cannot be known",
    },
)
@click.option("--trust-clock", is_flag=True, help=_TRUST)
def plan(ui: Ui, trust_clock: bool) -> int:
    """Say what gc would remove, and why the rest stays. Nothing is removed. With -q the id of the plan."""
    with ui.open_repo() as repo, ui.progress("gc plan", "object") as progress:
        result = repo.gc_plan(trust_clock=trust_clock, progress=progress)
    return ui.show(result.as_json, lambda: _plan_lines(ui, result), [result.plan_id or ""])


def _plan_lines(ui: Ui, result: GcPlan) -> Iterator[str]:
    yield f"plan {ui.paint((result.plan_id or '')[:12], 'bold')}: {_would_go(result)}"
    yield f"examined     {size(result.examined_bytes)}"
    yield f"live         {size(result.live_bytes)}"
    yield f"reclaimable  {size(result.reclaimable_bytes)}, of which {size(result.freed_bytes)} in this run"
    if result.protected:
        yield "protected"
    for group in result.protected:
        yield f"  {count(group.snapshots, 'snapshot'):>16}  {_REASONS[group.reason]}: {_examples(ui, group)}"
    if result.candidates or result.snapshots:
        yield f"next: {command('jvs', 'fs', 'gc', 'run', '--plan-id', (result.plan_id or '')[:12])}"


def _would_go(result: GcPlan) -> str:
    if not result.candidates:
        return "nothing to remove"
    return f"{count(result.snapshots, 'snapshot')}, {count(result.candidates, 'object')} would go"


def _examples(ui: Ui, group: Protected) -> str:
    details = [example.detail[:SHORT_ID] if group.reason == "pin" else example.detail for example in group.examples]
    pairs = zip(group.examples, details, strict=True)
    shown = [ui.name(example.label or detail or short(example.ca_id)) for example, detail in pairs]
    names = list(dict.fromkeys(shown))
    more = ", ..." if len(names) > _SHOWN or group.snapshots > len(group.examples) else ""
    return ", ".join(names[:_SHOWN]) + more


@verb(
    "run",
    examples=RUN_EXAMPLES,
    fields={
        "plan_id": "the plan that was carried out, or null",
        "done": "false when a limit was reached: the next run goes on",
        "objects": "how many objects went",
        "bytes": "their stored bytes",
        "resumed": "those of them that an interrupted run had left",
        "truncated": "history entries that left their window: their message, tags and snapshot went",
        "forgotten": "deleted labels that cannot come back any more",
        "expired": "pins and records of detached snapshots whose time was over",
        "packs_dropped": "pack files that went",
        "packs_rewritten": "pack files that were rewritten",
        "packs_left": "pack files that were not, since the disk has no room for the copies",
        "freed_bytes": "what the disk got back",
        "dry_run": "true with --dry-run: `objects` and `bytes` are what would go",
    },
    exits={
        1: "the plan is stale (`gc-plan-stale`), or the clock jumped (`clock-jump`): nothing was removed",
        5: "there is no such plan",
        8: "something reachable cannot be read: nothing was removed",
    },
)
@click.option("--plan-id", metavar="ID", help="Remove what this plan listed, and nothing else.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and do nothing.")
@click.option("--max-duration", metavar="T", help="Stop after this time (30s, 10min, 2h); the next run goes on.")
@click.option("--max-bytes", metavar="N", help="Stop when so much was removed (500M, 2G); the next run goes on.")
@click.option("--trust-clock", is_flag=True, help=_TRUST)
def run(
    ui: Ui,
    plan_id: str | None,
    dry_run: bool,
    max_duration: str | None,
    max_bytes: str | None,
    trust_clock: bool,
) -> int:
    """Remove what nothing protects (any more), give the space back, and truncate histories to their windows.

    Safe beside anything else, other runs too; interrupted at any moment, the next run goes on.
    """
    from jvs.cli.priority import give_way

    seconds = None if max_duration is None else parse_limit(max_duration)
    most = None if max_bytes is None else parse_size(max_bytes)
    give_way()
    with ui.open_repo() as repo, ui.progress("gc", "object") as progress:
        result = repo.gc_run(
            plan_id,
            dry_run=dry_run,
            max_seconds=seconds,
            max_bytes=most,
            trust_clock=trust_clock,
            progress=progress,
        )
    return ui.show(result.as_json, lambda: _run_lines(ui, result), [] if result.plan_id is None else [result.plan_id])


def _run_lines(ui: Ui, result: GcRun) -> Iterator[str]:
    went = f"{count(result.objects, 'object')}, {size(result.bytes)}"
    if result.dry_run:
        yield f"{ui.paint('dry run:', 'yellow')} {went} would go"
        return
    resumed = f" ({result.resumed:,} left by an interrupted run)" if result.resumed else ""
    yield f"{ui.paint('removed', 'green')} {went}{resumed}"
    yield (
        f"given back {size(result.freed_bytes)}: {count(result.packs_dropped, 'pack')} dropped,"
        f" {result.packs_rewritten:,} rewritten"
    )
    if result.packs_left:
        yield f"{count(result.packs_left, 'pack')} not rewritten: the disk has no room for the copies"
    if result.truncated or result.forgotten or result.expired:
        yield (
            f"truncated {count(result.truncated, 'history entry')}, forgot {count(result.forgotten, 'deleted label')},"
            f" ended {count(result.expired, 'pin or detached snapshot')}"
        )
    if not result.done:
        yield "stopped at the limit; next: jvs fs gc run"


def parse_limit(text: str) -> float:
    """`10min` in seconds. Raises UsageError (bad-duration)."""
    from jvs.labels.durations import parse_duration

    seconds = parse_duration(text) / 1000
    if not seconds:
        raise UsageError("in no time nothing is done", code="bad-duration", next="say it like 10min")
    return seconds


def parse_size(text: str) -> int:
    """`500M` in bytes. Raises UsageError."""
    digits, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16 and unit in _UNITS and int(digits)):
        raise UsageError(f"not a number of bytes: {text[:80]!a}", next="write for instance 500M or 2G")
    return int(digits) << _UNITS[unit]
