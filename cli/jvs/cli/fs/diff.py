"""`jvs fs diff`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.text import bar, short, size
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import labels, verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.castore.manifest import Entry
    from jvs.workspace.repo import Repo
    from jvs.workspace.results import Change, DiffResult

EXAMPLES = """
jvs fs diff main                     # what the last move of main changed
jvs fs diff main@{1} main --stat
jvs fs diff main DIR --patch         # what a push of DIR would change
jvs fs diff main exp/3 --exit-code
"""

_LETTERS = {"added": "A", "removed": "D", "modified": "M", "renamed": "R"}
_COLOURS = {"A": "green", "D": "red", "M": "yellow", "R": "cyan"}
_BAR = 40


@verb(
    "diff",
    examples=EXAMPLES,
    fields={
        "from": "id of the snapshot before; null: nothing, the label was created",
        "to": "id of the snapshot after (of a directory: the id a push would give it); null: the label was deleted",
        "added[].path": "a path that is new; the four lists have the same fields",
        "added[].path_b64": "its bytes, when they are not UTF-8",
        "added[].kind": "`file`, `directory` or `symlink`",
        "added[].before": "the entry before, as in `fs tree`; null when there was none",
        "added[].after": "the entry after; null when there is none",
        "removed[]": "paths that are gone",
        "modified[]": "paths with other content, kind, mode or target",
        "renamed[]": "paths that moved; with `old_path` (and `old_path_b64`), where it was",
        "total_added": "length of `added`",
        "total_removed": "length of `removed`",
        "total_modified": "length of `modified`",
        "total_renamed": "length of `renamed`",
        "patch": "with --patch: the unified diff",
    },
    exits={1: "with --exit-code: something differs"},
)
@click.argument("a", shell_complete=labels)
@click.argument("b", required=False)
@click.option("--stat", is_flag=True, help="A bar for each path: bytes before (-) and after (+).")
@click.option("--patch", is_flag=True, help="A unified diff.")
@click.option("--exit-code", is_flag=True, help="Exit status 1 when something differs.")
def diff(ui: Ui, a: str, b: str | None, stat: bool, patch: bool, exit_code: bool) -> int:
    """Show what differs from revision A to B, a revision or a directory on disk.

    Without B: what the move that made A changed. Only what differs is looked at, never whole trees. With -q the paths.
    """
    if stat and patch:
        raise UsageError("--stat and --patch exclude each other", next="jvs fs diff --help")
    with ui.open_repo() as repo:
        result = repo.diff(a, b)
        if patch and not ui.json and not ui.quiet:
            for line in repo.patch(result):
                ui.say(_coloured_patch(ui, line))
        else:

            def value() -> Json:
                return result.as_json() | ({"patch": _patch_text(repo, result)} if patch else {})

            changes = _in_order(result)
            paths = [ui.name(change.path) for _, change in changes] if ui.quiet else []
            ui.show(value, lambda: _people(ui, result, changes, stat), paths)
    return 1 if exit_code and not result.empty else 0


def _in_order(result: DiffResult) -> list[tuple[str, Change]]:
    """(letter, change) of every change, by path."""
    changes = [(letter, change) for kind, letter in _LETTERS.items() for change in getattr(result, kind)]
    return sorted(changes, key=lambda item: item[1].path)


def _people(ui: Ui, result: DiffResult, changes: list[tuple[str, Change]], stat: bool) -> Iterator[str]:
    largest = max((_bytes(change.before) + _bytes(change.after) for _, change in changes), default=0)
    names = [_path(ui, change) for _, change in changes]
    width = min(max(map(len, names), default=0), ui.screen()[0] - 32)
    for (letter, change), name in zip(changes, names, strict=True):
        yield f"{ui.paint(letter, _COLOURS[letter])}  {name:<{width}}  {_measure(ui, change, largest, stat)}".rstrip()
    totals = [f"{len(getattr(result, kind)):,} {kind}" for kind in _LETTERS if getattr(result, kind)]
    grown = sum(_bytes(change.after) - _bytes(change.before) for _, change in changes)
    sides = f"{short(result.from_)} -> {short(result.to)}"
    if totals:
        yield f"{sides}: {', '.join(totals)}, {_signed(grown)}"
    else:
        yield f"{sides}: no difference"


def _measure(ui: Ui, change: Change, largest: int, stat: bool) -> str:
    """What happened to a path, in bytes, or as a bar; mode, target and kind where those are what changed."""
    before, after = _bytes(change.before), _bytes(change.after)
    if stat:
        if not largest:
            return ""
        minus, plus = bar(before / largest, _BAR, "-"), bar(after / largest, _BAR, "+")
        return f"{size(before + after):>9}  {ui.paint(plus, 'green')}{ui.paint(minus, 'red')}"
    if change.before is None or change.after is None:
        return f"{'+' if change.before is None else '-'}{size(before or after)}"
    facts = [] if before == after else [_signed(after - before)]
    facts += _other_facts(change.before, change.after)
    if not facts and change.old_path is None:
        facts.append(f"{size(after)}, same size")
    return ", ".join(facts)


def _other_facts(before: Entry, after: Entry) -> list[str]:
    from jvs.castore.manifest import Symlink
    from jvs.workspace.results import KINDS

    if before[1] != after[1]:
        return [f"{KINDS[before[1]]} -> {KINDS[after[1]]}"]
    if isinstance(before, Symlink) or isinstance(after, Symlink):
        return [f"-> {Ui.name(after.target)}"] if isinstance(after, Symlink) and before != after else []
    return [] if before.mode == after.mode else [f"mode {before.mode:04o} -> {after.mode:04o}"]


def _bytes(entry: Entry | None) -> int:
    """Bytes of content: of a file its size, of a symlink its target's length."""
    from jvs.castore.manifest import DIRECTORY, FILE

    if entry is None or entry[1] == DIRECTORY:
        return 0
    return entry[3] if entry[1] == FILE else len(entry[2])


def _path(ui: Ui, change: Change) -> str:
    from jvs.castore.manifest import DIRECTORY

    entry = change.after or change.before
    name = ui.name(change.path) + ("/" if entry is not None and entry[1] == DIRECTORY else "")
    return name if change.old_path is None else f"{ui.name(change.old_path)} -> {name}"


def _signed(number: int) -> str:
    return ("+" if number >= 0 else "") + size(number)


def _coloured_patch(ui: Ui, line: str) -> str:
    if line.startswith("diff "):
        return ui.paint(line, "bold")
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return line if colour is None else ui.paint(line, colour)


def _patch_text(repo: Repo, result: DiffResult) -> str:
    return "".join(line + "\n" for line in repo.patch(result))
