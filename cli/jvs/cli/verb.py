"""The command class of every verb: global options anywhere, and beside each verb what `docs/cli.md` says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from jvs.cli.ui import Ui
from jvs.errors import JvsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Decorator = Callable[[Callable[..., int]], click.Command]

SETTINGS: dict[str, Any] = {"max_content_width": 100}
EVERYWHERE = "--json  -q/--quiet  --store PATH  --no-progress  --no-color  --debug  -h/--help"

EXITS: dict[int, str] = {
    0: "done",
    1: "failed (also: not in the reflog, unsaved changes, already exists)",
    2: "usage, or a malformed operand (label name, id, message, a path that is not a directory)",
    3: "done, with skipped files",
    5: "well-formed, but unknown",
    6: "the label moved",
    7: "merge conflict",
    8: "integrity: stored data is damaged",
    10: "no store, or no repository",
    11: "locked",
    130: "interrupted",
}


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Keep a global option where every verb finds it, wherever on the command line it stands."""
    if value and option.name is not None:
        setattr(context.ensure_object(Ui), option.name, value)


def _remember_given(context: click.Context, option: click.Parameter, value: str | float | None) -> None:
    """As `_remember`; 0 and nothing at all have been given, too."""
    if value is not None and option.name is not None:
        setattr(context.ensure_object(Ui), option.name, value)


def _help(context: click.Context, option: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    ui = context.ensure_object(Ui)
    if ui.json_wanted:
        ui.emit({"help": context.get_help()})
    else:
        ui.say(context.get_help())
    context.exit()


def _flag(*names: str, text: str) -> click.Option:
    return click.Option(names, is_flag=True, is_eager=True, expose_value=False, callback=_remember, help=text)


GLOBAL_OPTIONS: tuple[click.Option, ...] = (
    _flag("--json", text="One JSON value on stdout, whatever happens."),
    _flag("-q", "--quiet", text="Only ids on stdout, only errors on stderr."),
    click.Option(
        ["--store"],
        metavar="PATH",
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help="The store: its directory, or one that holds .jvs. Default: JVS_STORE, else the nearest .jvs upwards.",
    ),
    _flag("--no-progress", text="No progress bar (there is one only on a terminal, past half a second)."),
    _flag("--no-color", text="No colours (there are some only on a terminal; NO_COLOR is honoured too)."),
    _flag("--debug", text="A traceback with every error."),
    click.Option(
        ["-h", "--help"], is_flag=True, is_eager=True, expose_value=False, callback=_help, help="Show this and leave."
    ),
)
"""Accepted before and after every verb."""


def worktrees(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What a shell offers where a worktree stands."""
    from jvs.workspace.repository.worktrees import Registry

    try:
        names = Registry(context.ensure_object(Ui).find_repository()).names()
    except JvsError:
        return []
    return [name for name in names if name.startswith(incomplete)]


WORKSPACE_OPTIONS: tuple[click.Option, ...] = (
    click.Option(
        ["-w", "--worktree"],
        metavar="NAME",
        shell_complete=worktrees,
        is_eager=True,
        expose_value=False,
        callback=_remember_given,
        help="The worktree meant [default: the one you stand in].",
    ),
    click.Option(
        ["--repo"],
        metavar="PATH",
        is_eager=True,
        expose_value=False,
        callback=_remember_given,
        help="The repository: its root [default: the nearest one upwards; JVS_STORE does not matter].",
    ),
    click.Option(
        ["--wait"],
        metavar="SECONDS",
        type=click.FloatRange(min=0, max=86_400),
        is_eager=True,
        expose_value=False,
        callback=_remember_given,
        help="How long to wait for another command that is at work there [default: 10].",
    ),
    click.Option(
        ["--nonce"],
        metavar="TEXT",
        is_eager=True,
        expose_value=False,
        callback=_remember_given,
        help="Of the lock you hold [default: JVS_LOCK_NONCE, else what `jvs lock acquire` noted].",
    ),
)
"""Of every verb for repositories."""


def labels(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What a shell offers where a label or a revision stands; nothing where there is no store."""
    try:
        with context.ensure_object(Ui).open_repo() as repo:
            return [info.name for info in repo.list_labels(None) if info.name.startswith(incomplete)]
    except JvsError:
        return []


def sessions_of(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What a shell offers where a session stands."""
    from jvs.workspace.sessions.places import Places

    try:
        names = Places(context.ensure_object(Ui).find_store()).names()
    except JvsError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def directories(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Where a directory stands: the shell itself knows which there are."""
    return [_by_the_shell(incomplete, "dir")]


def labels_or_directories(context: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Where a revision or a directory stands."""
    return labels(context, param, incomplete) or directories(context, param, incomplete)


def files(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Where any file stands, or a command."""
    return [_by_the_shell(incomplete, "file")]


def _by_the_shell(incomplete: str, kind: str) -> CompletionItem:
    from click.shell_completion import CompletionItem  # only shells need it

    return CompletionItem(incomplete, type=kind)


class Verb(click.Command):
    """A verb.

    examples  lines of shell, shown in its help
    fields    the fields of its JSON result, `a.b` for b inside a, `a[].b` for b of each in the list a
    exits     exit statuses with a meaning of their own here, beside those every verb has
    shared    options it has in common with others of its kind
    """

    def __init__(
        self,
        name: str,
        examples: str = "",
        fields: Mapping[str, str] | None = None,
        exits: Mapping[int, str] | None = None,
        shared: Sequence[click.Option] = (),
        **given: Any,
    ) -> None:
        super().__init__(name, add_help_option=False, context_settings=SETTINGS, **given)
        self.shared = shared
        self.examples = examples.strip("\n")
        self.fields = fields or {}
        self.exits = exits or {}

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb, having noted which it is."""
        ctx.ensure_object(Ui).command = ctx.command_path
        return super().invoke(ctx)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The verb's own parameters, then the global options."""
        return [*self.params, *self.shared, *GLOBAL_OPTIONS]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verb's own options, and the names of the global ones."""
        write_options(formatter, ctx, [*self.params, *self.shared])
        write_block(formatter, "Everywhere", [EVERYWHERE])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples."""
        if self.examples:
            write_block(formatter, "Examples", self.examples.splitlines())


def verb(name: str, *, examples: str, fields: Mapping[str, str], exits: Mapping[int, str] | None = None) -> Decorator:
    """Decorate a function `(ui, operands...) -> exit status or None` as the verb `name`; see `Verb`."""

    def decorate(function: Callable[..., int]) -> click.Command:
        command = click.command(name, cls=Verb, examples=examples, fields=fields, exits=exits)
        return command(click.pass_obj(function))

    return decorate


def workspace_verb(
    name: str, *, examples: str, fields: Mapping[str, str], exits: Mapping[int, str] | None = None
) -> Decorator:
    """As `verb`, of a verb for repositories: with the options of `WORKSPACE_OPTIONS`, for `Ui.open_repository`."""

    def decorate(function: Callable[..., int]) -> click.Command:
        command = click.command(name, cls=Verb, examples=examples, fields=fields, exits=exits, shared=WORKSPACE_OPTIONS)
        return command(click.pass_obj(function))

    return decorate


def write_options(formatter: click.HelpFormatter, ctx: click.Context, params: Sequence[click.Parameter]) -> None:
    """A section of those of `params` that are options."""
    options = [param for param in params if isinstance(param, click.Option)]
    records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
    if records:
        with formatter.section("Options"):
            formatter.write_dl(records)


def write_block(formatter: click.HelpFormatter, title: str, lines: Sequence[str]) -> None:
    """A section of lines that are not to be wrapped."""
    with formatter.section(title):
        for line in lines:
            formatter.write(f"{'':>{formatter.current_indent}}{line}".rstrip() + "\n")
