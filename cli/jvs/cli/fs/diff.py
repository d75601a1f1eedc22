"""`jvs fs diff`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import click

from jvs.cli.text import bar, count, plain, short, size
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, labels_or_directories, verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.castore.manifest import Entry
    from jvs.workspace.repo import Repo
    from jvs.workspace.results import Change, DiffResult

    Changes: TypeAlias = list[tuple[str, Change]]

EXAMPLES = """
jvs fs diff main                     # what the last move of main changed
jvs fs diff main@{1} main --stat
jvs fs diff main DIR --patch         # what a push of DIR would change
jvs fs diff main exp/3 --exit-code
"""

_LETTERS = {"added": "A", "removed": "D", "modified": "M", "renamed": "R"}
_COLOURS = {"A": "green", "D": "red", "M": "yellow", "R": "cyan"}
_PATCH_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_BAR = 40

Counts: TypeAlias = tuple[int, int] | None


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
        "patch": "with --patch or --word: the unified diff",
    },
    exits={1: "with --exit-code: something differs"},
)
@click.argument("a", shell_complete=labels)
@click.argument("b", required=False, shell_complete=labels_or_directories)
@click.option("--stat", is_flag=True, help="A bar for each path: lines added (+) and removed (-).")
@click.option("--patch", is_flag=True, help="A unified diff.")
@click.option("--word", is_flag=True, help="As --patch, but by words: [-gone-] and {+come+}.")
@click.option("--exit-code", is_flag=True, help="Exit status 1 when something differs.")
def diff(ui: Ui, a: str, b: str | None, stat: bool, patch: bool, word: bool, exit_code: bool) -> int:
    """Show what differs from revision A to B, a revision or a directory on disk.

    Without B: what the move that made A changed. Only what differs is looked at, never whole trees. With -q the paths.
    """
    if stat + patch + word > 1:
        raise UsageError("--stat and --patch exclude each other and --word", next="jvs fs diff --help")
    with ui.open_repo() as repo:
        result = repo.diff(a, b)
        if ui.json:
            text = {"patch": patch_text(repo, result, word)} if patch or word else {}
            ui.emit(result.as_json() | text)
        elif ui.quiet:
            for _, change in in_order(result):
                ui.say(ui.name(change.path))
        elif patch or word:
            for line in painted(ui, repo.patch(result, words=word)):
                ui.say(line)
        else:
            counts = list(line_counts(repo.patch(result))) if stat else None
            for line in people(ui, result, counts, (short(result.from_), short(result.to))):
                ui.say(line)
    return 1 if exit_code and not result.empty else 0


def in_order(result: DiffResult) -> Changes:
    """(letter, change) of every change, by path."""
    changes = [(letter, change) for kind, letter in _LETTERS.items() for change in getattr(result, kind)]
    return sorted(changes, key=lambda item: item[1].path)


def line_counts(patch: Iterable[str]) -> Iterator[Counts]:
    """(lines added, lines removed) of each change in a patch, in its order; None where it has no lines to count."""
    added = removed = 0
    started = hunk = uncounted = False
    for line in patch:
        if line.startswith("diff --jvs "):
            if started:
                yield None if uncounted else (added, removed)
            added = removed = 0
            started, hunk, uncounted = True, False, False
        elif line.startswith("@@"):
            hunk = True
        elif not hunk:
            uncounted = uncounted or line.startswith("Binary ")
        else:
            added += line.startswith("+")
            removed += line.startswith("-")
    if started:
        yield None if uncounted else (added, removed)


def people(ui: Ui, result: DiffResult, counts: Sequence[Counts] | None, sides: tuple[str, str] | None) -> Iterator[str]:
    """A line for each change (with a bar where there are counts), and one for all of them. sides: what was compared;
    None: without that line."""
    changes = in_order(result)
    names = [_path(ui, change) for _, change in changes]
    width = min(max(map(len, names), default=0), max(ui.screen()[0] - 32, 20))
    if counts is None:
        facts = [_measure(change) for _, change in changes]
    else:
        largest = max((sum(pair) for pair in counts if pair is not None), default=0)
        facts = [
            _sizes(change) if pair is None else _bars(ui, pair, largest) if any(pair) else _measure(change)
            for (_, change), pair in zip(changes, counts, strict=True)
        ]
    for (letter, _), name, fact in zip(changes, names, facts, strict=True):
        yield f"{ui.paint(letter, _COLOURS[letter])}  {name:<{width}}  {fact}".rstrip()
    if sides is not None:
        yield f"{sides[0]} -> {sides[1]}: {', '.join(totals(result, changes, counts))}"


def totals(result: DiffResult, changes: Changes, counts: Sequence[Counts] | None = None) -> list[str]:
    """`3 added`, `1 modified`, `+12 KiB` ..."""
    if not changes:
        return ["no difference"]
    facts = [f"{len(getattr(result, kind)):,} {kind}" for kind in _LETTERS if getattr(result, kind)]
    facts.append(_signed(sum(_bytes(change.after) - _bytes(change.before) for _, change in changes)))
    if counts is not None:
        added, removed = (sum(pair[side] for pair in counts if pair is not None) for side in (0, 1))
        if added or removed:
            facts.append(f"{count(added, 'line')} added, {removed:,} removed")
    return facts


def _bars(ui: Ui, pair: tuple[int, int], largest: int) -> str:
    """`12 +++++--`, as long as the change is large beside the largest."""
    scale = min(1.0, _BAR / largest)
    plus, minus = (bar(number * scale / _BAR, _BAR, mark) for number, mark in zip(pair, "+-", strict=True))
    return f"{sum(pair):>5,} {ui.paint(plus, 'green') if plus else ''}{ui.paint(minus, 'red') if minus else ''}"


def _sizes(change: Change) -> str:
    """What is said of content without lines."""
    before, after = (None if entry is None else size(_bytes(entry)) for entry in (change.before, change.after))
    return f"{before or 'nothing'} -> {after or 'nothing'}"


def _measure(change: Change) -> str:
    """What happened to a path: bytes more or less, and mode, target or kind where those changed."""
    before, after = _bytes(change.before), _bytes(change.after)
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


def painted(ui: Ui, patch: Iterable[str]) -> Iterator[str]:
    """The patch with colours where they are wanted; on a terminal without the control characters of the content."""
    if not sys.stdout.isatty():
        yield from patch
        return
    hunk = False
    for line in patch:
        shown = "\t".join(map(plain, line.split("\t")))
        hunk = line.startswith("@@") or (hunk and not line.startswith("diff --jvs "))
        colour = _PATCH_COLOURS.get(line[:1]) if hunk else "bold"
        yield shown if colour is None else ui.paint(shown, colour)


def patch_text(repo: Repo, result: DiffResult, words: bool) -> str:
    """The whole unified diff."""
    return "".join(line + "\n" for line in repo.patch(result, words=words))
