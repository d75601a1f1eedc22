"""`docs/cli.md`, made from the commands themselves: `python -m jvs.cli.docs > docs/cli.md` (a test compares them)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.main import cli
from jvs.cli.verb import EXITS, GLOBAL_OPTIONS, Verb
from jvs.errors import CODES

HEAD = """\
# The command line

Made by `python -m jvs.cli.docs > docs/cli.md` from the commands themselves; do not edit.

Data goes to stdout, talk to stderr. What a verb shows to people may change; its JSON and its exit status may not.

* `--json`, before or after the verb: stdout carries exactly one value whatever happens, indented by two spaces, keys as
  `"key": "value"`. A failure is `{"error": {"code", "message", "next", "details"}}`, with `error_code` where the first
  JVS had a name for it, which people see in brackets; a result that is also a failure (a rejected push, a failed
  verification, a list that broke off) is the result with `error` in it.
* `-q`: only ids on stdout, only errors on stderr.
* Ids are 64 hex digits; where one is typed, a unique prefix of 8 or more will do. Times are ISO 8601 in UTC in JSON,
  local time for people. Modes are octal text. Sizes are bytes in JSON, in units of 1,024 for people.
* A name that is not UTF-8 has U+FFFD in `path`, and its bytes in base64 in `path_b64`.
* The store a command means: `--store PATH`, else `JVS_STORE`, else the nearest `.jvs` upwards that is a store and
  belongs to you or root. A path is the store's own directory, or one that holds `.jvs`.
* Verbs for repositories (all but `fs`, `doctor`, `completion`) mean the nearest repository upwards, or `--repo PATH`,
  and the worktree you stand in, or `-w NAME`; `JVS_STORE` does not matter to them.
* `JVS_ACTOR` is who a history entry says did it; default `user@host`. `NO_COLOR` is honoured.
* Ctrl-C at any moment (exit status 130) leaves nothing half done. 141: whoever read stdout went away (`| head`).

## Revisions

Wherever REV stands:

| form | means |
|---|---|
| `main` | the label's head |
| `main@{2}` | two moves before the head |
| `main@{yesterday}`, `main@{2026-11-20T10:00}` | where it was then (local time, unless it ends in `Z` or an offset) |
| `main@7` | generation 7, which never moves |
| `tag:v1` | the newest entry with that tag |
| 64 hex digits, or a unique prefix of 8 or more | an entry or a snapshot |
| `REV:path` | something inside it; a directory is itself a snapshot |
"""


def page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="jvs")
    return "\n".join(
        [HEAD, *_section("Global options", _options(context, GLOBAL_OPTIONS)), *_statuses(), *_codes()]
    ) + ("\n" + "\n".join(line for verb in _verbs(cli, context) for line in verb) + "\n")


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _statuses() -> list[str]:
    rows = (f"| {status} | {meaning} |" for status, meaning in EXITS.items())
    return _section("Exit status", ["| status | meaning |", "|---|---|", *rows])


def _codes() -> list[str]:
    rows = (
        f"| `{code}` | {info.exit} | {_cell(info.next) if info.next else 'in the message'} | "
        + (f"`{info.error_code}` |" if info.error_code else "|")
        for code, info in sorted(CODES.items(), key=lambda item: (item[1].exit, item[0]))
    )
    return _section(
        "Error codes",
        ["| code | exit status | next, unless the error says better | `error_code` |", "|---|---|---|---|", *rows],
    )


def _verbs(group: LazyGroup, context: click.Context) -> Iterator[list[str]]:
    """One list of lines for each verb, depth first, in the order of the help."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        if isinstance(command, LazyGroup):
            yield from _verbs(command, below)
        elif isinstance(command, Verb):
            yield _verb(command, below)


def _verb(command: Verb, context: click.Context) -> list[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"## {context.command_path}", "", f"`{usage}`", "", inspect.cleandoc(command.help or ""), ""]
    options = [param for param in (*command.params, *command.shared) if isinstance(param, click.Option)]
    if options:
        lines += [*_options(context, options), ""]
    lines += [*_table("JSON", command.fields), ""]
    if command.exits:
        lines += [*_table("exit status", {str(status): meaning for status, meaning in command.exits.items()}), ""]
    return [*lines, "```sh", *command.examples.splitlines(), "```", ""]


def _options(context: click.Context, options: Iterable[click.Option]) -> list[str]:
    records = [record for option in options if (record := option.get_help_record(context)) is not None]
    return _table("option", dict(records))


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    return [f"| {title} | |", "|---|---|", *(f"| `{_cell(key)}` | {_cell(value)} |" for key, value in rows.items())]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    click.echo(page(), nl=False)
