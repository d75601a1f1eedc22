"""`jvs fs retention set`, `show` and `unset`."""

from __future__ import annotations

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import columns
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import verb

VERBS = {
    "set": ("jvs.cli.fs.retention:set_", "Say what gc keeps of the histories of labels."),
    "show": ("jvs.cli.fs.retention:show", "List the policies."),
    "unset": ("jvs.cli.fs.retention:unset", "Take a policy back."),
}

EXAMPLES = """
jvs fs retention set keep-last 10 keep-within 30d keep-monthly 12
jvs fs retention set keep-last 1 keep-deleted 0 --label 'agent/*'
jvs fs retention show
"""

SET_EXAMPLES = """
jvs fs retention set keep-last 1 keep-within 30d keep-daily 7
jvs fs retention set keep-last 0 --label 'agent/*'   # nothing but the heads
jvs fs retention set keep-all --label release
"""

SHOW_EXAMPLES = """
jvs fs retention show
"""

UNSET_EXAMPLES = """
jvs fs retention unset --label 'agent/*'
"""

FIELDS = {
    "label": "the pattern of labels; the longest that matches a label counts, its exact name before any",
    "policy": "the rules, as typed",
    "built_in": "whether it is what holds when nobody says anything",
    "at": "when it was set, ISO 8601 UTC; null for a built-in one",
}


@click.command("retention", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def retention() -> None:
    """What gc keeps of the histories of labels. Without a policy: everything (autosaves: 30 days)."""


@verb("set", examples=SET_EXAMPLES, fields=FIELDS)
@click.argument("rules", nargs=-1, required=True, metavar="RULE...")
@click.option("--label", "pattern", default="*", metavar="GLOB", help="For these labels only [default: *, all].")
def set_(ui: Ui, rules: tuple[str, ...], pattern: str) -> int:
    """Replace the policy of the labels that match. An entry is kept when any of the rules keeps it:

    keep-all; keep-last N; keep-within DURATION; keep-hourly, keep-daily, keep-weekly, keep-monthly or keep-yearly N;
    and, for deleted labels alone, keep-deleted DURATION (default 14d). Heads, tags and pins are always kept.
    """
    with ui.open_repo() as repo:
        policy = repo.set_retention(rules, pattern)
    return ui.show(policy.as_json, lambda: [f"{ui.name(policy.pattern)}  {policy.rules}"])


@verb("show", examples=SHOW_EXAMPLES, fields={f"policies[].{name}": text for name, text in FIELDS.items()})
def show(ui: Ui) -> int:
    """List every policy, the built-in ones too."""
    with ui.open_repo() as repo:
        policies = repo.retention()

    def value() -> Json:
        return {"policies": [policy.as_json() for policy in policies]}

    def people() -> list[str]:
        return columns(
            [
                [ui.name(policy.pattern), policy.rules + ("  (built in)" if policy.at_ms is None else "")]
                for policy in policies
            ]
        )

    return ui.show(value, people)


@verb(
    "unset",
    examples=UNSET_EXAMPLES,
    fields={"label": "the pattern of labels", "unset": "true"},
    exits={5: "no policy was set for that pattern"},
)
@click.option("--label", "pattern", default="*", metavar="GLOB", help="The policy of this pattern [default: *].")
def unset(ui: Ui, pattern: str) -> int:
    """Take the policy of a pattern back: its labels obey the next longest pattern that matches."""
    with ui.open_repo() as repo:
        repo.unset_retention(pattern)
    return ui.show(lambda: {"label": pattern, "unset": True}, lambda: [f"unset {ui.name(pattern)}"])
