"""`jvs gc plan` and `run`, also called `jvs cleanup preview` and `run`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import command, count, size
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import workspace_verb

if TYPE_CHECKING:
    from jvs.workspace.gc_results import GcRun
    from jvs.workspace.repository.cleanup import Cleanup

VERBS = {
    "plan": ("jvs.cli.workspace.gc:plan", "Say which snapshots would go, and why the others stay."),
    "run": ("jvs.cli.workspace.gc:run", "Remove what a plan listed."),
}
CLEANUP_VERBS = {
    "preview": ("jvs.cli.workspace.gc:plan", "The same as jvs gc plan."),
    "run": ("jvs.cli.workspace.gc:run", "The same as jvs gc run."),
}

EXAMPLES = """
jvs fs retention set keep-last 10 keep-within 30d   # nothing goes before a policy says so
jvs gc plan
jvs gc run --plan-id 0bd1a47f1e4d
"""

PLAN_EXAMPLES = """
jvs gc plan
jvs gc plan --min-age 0    # what was saved just now, too
jvs gc plan -q             # only the id of the plan
"""

_SHOWN = 20
_DEFAULT_AGE = "24h"


@click.command("gc", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def gc() -> None:
    """Collect garbage: remove the snapshots that no policy, label, tag, ref, pin, lock or worktree keeps."""


@click.command("cleanup", cls=LazyGroup, verbs=CLEANUP_VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def cleanup() -> None:
    """The same as jvs gc."""


@workspace_verb(
    "plan",
    examples=PLAN_EXAMPLES,
    fields={
        "plan_id": "id of the plan, for `gc run --plan-id` (and for `fs gc run --plan-id`)",
        "created_at": "the time by which ages were judged, ISO 8601 UTC",
        "protected_set": "ids of the snapshots that stay",
        "protected_by_pin": "how many of them a pin, tag or ref keeps",
        "protected_by_lineage": "how many others are the newest of their label, are where a worktree stands, "
        "or newer than where a detached one does, or belong to a label that was deleted not long ago",
        "protected_by_retention": "how many others the policies keep, their age, or the lock of their label",
        "candidate_count": "how many snapshots would go",
        "to_delete": "their ids",
        "deletable_bytes_estimate": "stored bytes that only they need, and what is dead already in the same packs",
        "retention_policy.keep_min_age": "what is younger stays",
        "retention_policy.rules": "the policies, by pattern of labels",
    },
    exits={
        1: "the clock is ahead of everything in the store by more than a week (`clock-jump`)",
        8: "something reachable cannot be read: what may go cannot be known",
    },
)
@click.option(
    "--min-age",
    metavar="T",
    default=_DEFAULT_AGE,
    help=f"Keep what is younger (90min, 7d, 0) [default: {_DEFAULT_AGE}].",
)
@click.option("--trust-clock", is_flag=True, help="The clock is right, however far it is ahead of the store.")
def plan(ui: Ui, min_age: str, trust_clock: bool) -> int:
    """Say which snapshots would go, and why the others stay. Nothing is removed. With -q the id of the plan."""
    from jvs.labels.durations import parse_duration
    from jvs.workspace.repository import cleanup

    age = parse_duration(min_age)
    with ui.open_repository() as repository, ui.progress("gc plan", "object") as progress:
        made = cleanup.plan(repository, min_age_ms=age, trust_clock=trust_clock, progress=progress)
    return ui.show(made.as_json, lambda: _plan_lines(ui, made), [made.plan.plan_id or ""])


def _plan_lines(ui: Ui, made: Cleanup) -> Iterator[str]:
    plan_id, kept = made.plan.plan_id or "", made.kept
    yield ui.paint("GC Plan", "bold")
    yield f"Plan ID: {plan_id}"
    reasons = f"by pin {kept.pin:,}, by lineage {kept.lineage:,}, by retention {kept.retention:,}"
    yield f"Protected: {count(len(made.protected), 'snapshot')} ({reasons})"
    yield f"To delete: {count(len(made.to_delete), 'snapshot')}, {size(made.plan.reclaimable_bytes)}"
    for one in made.to_delete[:_SHOWN]:
        yield f"  {one}"
    if len(made.to_delete) > _SHOWN:
        yield f"  and {len(made.to_delete) - _SHOWN:,} more"
    if made.to_delete or made.plan.candidates:
        yield f"next: {command('jvs', 'gc', 'run', '--plan-id', plan_id)}"


@workspace_verb(
    "run",
    examples="jvs gc run --plan-id 0bd1a47f1e4d\n",
    fields={
        "status": "`completed`, or `stopped` where the next run goes on",
        "plan_id": "the plan that was carried out",
        "objects": "how many objects went",
        "bytes": "their stored bytes",
        "truncated": "history entries that left their window",
        "forgotten": "deleted labels that cannot come back any more",
        "freed_bytes": "what the disk got back",
    },
    exits={
        1: "the plan is stale: nothing was removed (E_GC_PLAN_MISMATCH)",
        5: "there is no such plan (E_GC_PLAN_MISMATCH)",
        8: "something reachable cannot be read: nothing was removed",
    },
)
@click.option("--plan-id", metavar="ID", required=True, help="Of the plan: what it listed goes, and nothing else.")
def run(ui: Ui, plan_id: str) -> int:
    """Remove what a plan listed, and give the space back. Safe beside anything else; interrupted at any moment, the
    same command goes on."""
    from jvs.cli.priority import give_way
    from jvs.workspace.repository import cleanup

    give_way()
    with ui.open_repository() as repository, ui.progress("gc", "object") as progress:
        done = cleanup.run(repository, plan_id, progress)
    return ui.show(lambda: _run_json(done), lambda: _run_lines(ui, done), [done.plan_id or ""])


def _run_json(done: GcRun) -> Json:
    value = done.as_json()
    names = ("plan_id", "objects", "bytes", "truncated", "forgotten", "freed_bytes")
    return {"status": "completed" if done.done else "stopped"} | {name: value[name] for name in names}


def _run_lines(ui: Ui, done: GcRun) -> Iterator[str]:
    yield f"{ui.paint('Removed', 'green')} {count(done.objects, 'object')}, {size(done.bytes)}"
    yield f"Given back {size(done.freed_bytes)}, forgot {count(done.truncated, 'history entry')}"
