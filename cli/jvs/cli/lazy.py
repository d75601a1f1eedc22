"""Groups whose verbs are imported when they are used: `jvs --help` pays for none of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from jvs.cli.verb import EVERYWHERE, GLOBAL_OPTIONS, SETTINGS, write_block, write_options


class LazyGroup(click.Group):
    """A group of commands.

    verbs     name -> ("module:attribute", the one line its group's help has for it), in the order of the help
    examples  lines of shell, shown in the help
    """

    def __init__(self, name: str, verbs: Mapping[str, tuple[str, str]], examples: str = "", **given: Any) -> None:
        super().__init__(name, add_help_option=False, no_args_is_help=True, context_settings=SETTINGS, **given)
        self.verbs = verbs
        self.examples = examples.strip("\n")

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The group's own parameters, then the global options."""
        return [*self.params, *GLOBAL_OPTIONS]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the help."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or None when there is none of that name."""
        if cmd_name not in self.verbs:
            return None
        module, _, attribute = self.verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown name is compared with the lazy ones."""
        if args[0] not in self.verbs and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=self.verbs, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs; then the options, of which the root explains the global ones."""
        self.format_commands(ctx, formatter)
        if ctx.parent is None:
            write_options(formatter, ctx, self.get_params(ctx))
        else:
            write_options(formatter, ctx, self.params)
            write_block(formatter, "Everywhere", [EVERYWHERE])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in self.verbs.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples."""
        if self.examples:
            write_block(formatter, "Examples", self.examples.splitlines())
