"""`jvs config show`, `get` and `set`."""

from __future__ import annotations

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import columns
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import workspace_verb
from jvs.cli.workspace.offers import settings

VERBS = {
    "show": ("jvs.cli.workspace.config:show", "Show every setting."),
    "get": ("jvs.cli.workspace.config:get", "Show one setting."),
    "set": ("jvs.cli.workspace.config:set_", "Change a setting."),
}
EXAMPLES = """
jvs config show
jvs config set default_tags nightly,lab
jvs config get wait
"""
_FIELDS = {
    "engine": "how worktrees are cloned; `auto`: what was found when the repository was made",
    "compress": "`none`, `fast`, `default` or `max`: what a snapshot adds",
    "default_tags": "tags that every snapshot gets, separated by commas",
    "wait": "seconds to wait for another command",
}
_ONE = {"key": "the setting", "value": "what it is, as text"}


@click.command("config", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def config() -> None:
    """The settings of a repository: engine, compress, default_tags, wait."""


@workspace_verb("show", examples="jvs config show\njvs config show --json\n", fields=_FIELDS)
def show(ui: Ui) -> int:
    """Show every setting."""
    from jvs.workspace.repository.settings import shown

    values: Json = dict(shown(ui.find_repository()))
    lines = columns([[key, value] for key, value in values.items()])
    return ui.show(lambda: values, lambda: [ui.name(line) for line in lines], list(values))


@workspace_verb("get", examples="jvs config get wait\n", fields=_ONE)
@click.argument("key", shell_complete=settings)
def get(ui: Ui, key: str) -> int:
    """Show one setting."""
    from jvs.workspace.repository.settings import check_key, shown

    value = shown(ui.find_repository())[check_key(key)]
    return ui.show(lambda: {"key": key, "value": value}, lambda: [ui.name(value)], [value])


@workspace_verb("set", examples="jvs config set compress max\njvs config set default_tags ''\n", fields=_ONE)
@click.argument("key", shell_complete=settings)
@click.argument("value")
def set_(ui: Ui, key: str, value: str) -> int:
    """Change a setting, for everybody who uses the repository."""
    from jvs.workspace.repository.settings import set_setting

    set_setting(ui.find_repository(), key, value)
    return ui.show(lambda: {"key": key, "value": value}, lambda: [f"{key} = {ui.name(value)}"], [value])
