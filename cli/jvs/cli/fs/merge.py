"""`jvs fs merge`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from jvs.cli.text import command, count, short
from jvs.cli.ui import Ui
from jvs.cli.verb import labels, verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.merge.model import Conflict, Path
    from jvs.workspace.merging.many import ManyResult
    from jvs.workspace.merging.merge import MergeOptions
    from jvs.workspace.merging.results import MergeResult, ShownConflict

EXAMPLES = """
jvs fs merge main exp/3 --into main               # merge exp/3 into main
jvs fs merge main exp/3                           # only see what comes of it; kept for 24 hours
jvs fs merge main exp/3 --into main --out DIR     # settle conflicts by hand in DIR, then: jvs fs resolve DIR
jvs fs merge main 0a1b2c3d --into main            # what a rejected push had stored
jvs fs merge --all try/1 try/2 try/3 --into best  # which attempts go together
"""

CONFLICT_FIELDS = {
    "conflicts[].path": "where it is in the merged tree",
    "conflicts[].path_b64": "its bytes, when they are not UTF-8",
    "conflicts[].kind": "`content`, `add/add`, `modify/delete`, `rename/delete`, `rename/rename`, `file/directory`, "
    "`mode`, `type` or `binary`",
    "conflicts[].detail": "more about the kind, for people",
    "conflicts[].base": "the base's version: path, rev (`fs cat` prints it; null: of several bases, with --dry-run), "
    "kind, digest, mode, size, target; null: it has none",
    "conflicts[].ours": "the same of OURS",
    "conflicts[].theirs": "the same of THEIRS",
    "conflicts[].placed": "paths of the merged tree that hold what is to be looked at",
    "conflicts[].driver": "the driver that merged the contents; null: none could",
    "conflicts[].markers": "whether the file holds conflict markers",
    "conflicts[].marker_size": "their length",
    "conflicts[].diff_ours": "of the first region: a unified diff from the base to OURS; null: no region",
    "conflicts[].diff_theirs": "the same to THEIRS",
    "conflicts[].suggestion": "what the first region could be settled as, by words; never applied; null: nothing",
    "conflicts[].regions": "up to 20 regions: where, base, ours, theirs, diff_ours, diff_theirs, suggestion, whole "
    "(false: a text was cut short; `rev` has all of it)",
    "conflicts[].total_regions": "how many there are",
}

FIELDS = {
    "status": "`merged`, or `conflict` (exit status 7, with `error`)",
    "ca_id": "id of the merged snapshot; of a conflict: of the tree in --out, else null",
    "fast_forward": "whether one side has all of the other",
    "ours": "id of the snapshot of OURS",
    "theirs": "id of the snapshot of THEIRS",
    "base": "id of the base; null: there is none",
    "bases": "number of merge bases; several are merged into one",
    "label": "the label that was moved (or already was there); null without --into",
    "generation": "its generation now",
    "entry_id": "id of its newest entry",
    "directory": "where the conflicted tree was written (--out), or null",
    "attempts": "how often it was merged, the label having moved meanwhile",
    "dry_run": "true with --dry-run",
    **CONFLICT_FIELDS,
    "total_conflicts": "how many there are; up to 1,000 are listed",
    "settled[].path": "a conflict that --prefer settled",
    "settled[].kind": "its kind",
    "recorded[].path": "a conflict that a recorded resolution settled",
    "recorded[].id": "which one (`fs recorded ID` shows it)",
    "suggestions[].side": "`ours` or `theirs`: which side moved most of a directory",
    "suggestions[].source": "from there",
    "suggestions[].target": "to there",
    "suggestions[].added": "what the other side added to it, which stays where it is",
    "notes": "what else is to be said",
    "merged": "with --all: the revisions that were merged",
    "left": "with --all: those that were left out",
    "clashes[].revisions": "with --all: revisions that clash, the last one with those before it",
    "clashes[].conflicts": "path, kind, and where (line ranges) of each conflict",
    "clashes[].total_conflicts": "how many there are",
    "decisions[].path": "with --explain: every path that a side touched",
    "decisions[].rule": "`pruned`, `one-sided`, `identical`, `line merge`, `driver`, `rename`, `recorded`, `prefer` or "
    "`conflict`",
    "decisions[].detail": "more about it",
    "decisions[].below": "whether it holds for all that is below, which was never looked at",
}

_SHOWN = 20


@verb(
    "merge",
    examples=EXAMPLES,
    fields=FIELDS,
    exits={6: "LABEL is not where OURS is, or moved too often", 7: "the sides clash: nothing was moved"},
)
@click.argument("revisions", metavar="OURS THEIRS", nargs=-1, required=True, shell_complete=labels)
@click.option("--all", "many", is_flag=True, help="Merge any number of revisions at once: which of them go together?")
@click.option("--base", metavar="REV", shell_complete=labels, help="Merge over this [default: the history's].")
@click.option("--two-way", is_flag=True, help="Merge without a base: whatever differs on both sides is a conflict.")
@click.option(
    "--prefer",
    default="none",
    show_default=True,
    metavar="ours|theirs|none",
    help="Settle what is left after merging contents: each conflicting hunk takes that side.",
)
@click.option("--style", default="merge", show_default=True, metavar="merge|diff3", help="diff3: show the base too.")
@click.option("--into", metavar="LABEL", shell_complete=labels, help="Move LABEL, which is at OURS or absent.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--out", metavar="DIR", help="When the sides clash: write the merged tree, with markers, into DIR.")
@click.option("--retries", default=10, show_default=True, metavar="N", help="Merge again when LABEL moved meanwhile.")
@click.option("--explain", is_flag=True, help="Say which rule decided each path.")
@click.option("--no-recorded", is_flag=True, help="Do not use recorded resolutions (see fs recorded).")
@click.option("--dry-run", is_flag=True, help="Say what would come of it, and store nothing.")
def merge(
    ui: Ui,
    revisions: tuple[str, ...],
    many: bool,
    base: str | None,
    two_way: bool,
    prefer: str,
    style: str,
    into: str | None,
    message: str,
    out: str | None,
    retries: int,
    explain: bool,
    no_recorded: bool,
    dry_run: bool,
) -> int:
    """Merge what OURS and THEIRS made of their common ancestor: trees, lines, JSON, CSV, notebooks, SQLite.

    Without --into the merged snapshot is kept for 24 hours. With it LABEL moves to the result, which has both as
    parents, unless it moved meanwhile: then it is merged again. Where the sides clash nothing is moved; --out writes
    what merged cleanly, and conflict markers where it did not, to be settled by hand and ended by fs resolve.

    With --all any number of revisions is merged over what they all have in common: the answer is the largest set found
    that goes together, and which clash where. The order makes no difference. LABEL moves only if nothing was left out.
    """
    from jvs.workspace.merging.merge import MergeOptions

    if dry_run and out is not None:
        raise UsageError("--dry-run writes nothing; leave --out away", next="jvs fs merge --help")
    options = MergeOptions(
        base,
        two_way,
        prefer,  # type: ignore[arg-type]  # checked there
        style,  # type: ignore[arg-type]
        into,
        message,
        out,
        retries,
        explain,
        not no_recorded,
        dry_run,
    )
    if many:
        return _merge_all(ui, revisions, options)
    if len(revisions) != 2:
        raise UsageError("a merge takes OURS and THEIRS; more with --all", next="jvs fs merge --help")
    with ui.open_repo() as repo:
        result = repo.merge(*revisions, options)
    ids = [] if result.ca_id is None else [result.ca_id.hex()]
    status = ui.show(result.as_json, lambda: _people(ui, result), ids, result.error)
    if result.status == "merged" and result.label is None and not ui.json and not dry_run and not result.fast_forward:
        ui.talk(f"kept for 24 hours; to keep it for good: {command('jvs', 'fs', 'label', 'NAME', ids[0][:12])}")
    return status


def _merge_all(ui: Ui, revisions: Sequence[str], options: MergeOptions) -> int:
    if options.out is not None or options.prefer != "none" or options.two_way or options.explain:
        raise UsageError("--all has no ours: --out, --prefer, --two-way and --explain go with two revisions")
    with ui.open_repo() as repo:
        result = repo.merge_all(revisions, options)
    ids = [] if result.ca_id is None else [result.ca_id.hex()]
    return ui.show(result.as_json, lambda: _many_people(ui, result), ids, result.error)


def _many_people(ui: Ui, result: ManyResult) -> Iterator[str]:
    for clash in result.clashes:
        *others, last = clash.names
        yield f"{ui.paint('clash', 'red')}       {ui.name(last)} with {ui.name(', '.join(others))}"
        for conflict in clash.conflicts[:_SHOWN]:
            where = "".join(f": {place}" for place in conflict_places(conflict)[:3])
            yield f"              {path_of(ui, conflict.path)} ({conflict.kind}{ui.name(where)})"
    for name in result.left:
        yield f"left out    {ui.name(name)}"
    did = "would merge" if result.dry_run else "merged"
    where = "" if result.label is None else f" {result.label}@{result.generation}"
    names = ", ".join(map(ui.name, result.merged))
    yield f"{ui.paint(did, 'green')}{where} {ui.paint(short(result.ca_id), 'yellow')}: {names}"


def conflict_places(conflict: Conflict) -> list[str]:
    """Where in a file the sides clash."""
    from jvs.workspace.merging.many import places

    return places(conflict)


def _people(ui: Ui, result: MergeResult) -> Iterator[str]:
    for decision in result.decisions or ():
        below = "/..." if decision.below else ""
        detail = f" ({decision.detail})" if decision.detail else ""
        yield f"{decision.rule:<11} {path_of(ui, decision.path)}{below}{ui.name(detail)}"
    for settled in result.settled[:_SHOWN]:
        yield f"settled     {path_of(ui, settled.path)} ({settled.kind})"
    yield from _more("settled ", len(result.settled))
    for applied in result.recorded[:_SHOWN]:
        yield f"recorded    {ui.name(applied.path)} ({applied.id[:12]})"
    yield from _more("recorded", len(result.recorded))
    for suggestion in result.suggestions:
        who = ("base", "ours", "theirs")[suggestion.side]
        moved = f"{path_of(ui, suggestion.source)} to {path_of(ui, suggestion.target)}"
        yield f"note: {who} moved {moved}; {count(len(suggestion.added), 'path')} added to it stayed"
    for note in result.notes:
        yield f"note: {ui.name(note)}"
    yield from conflict_lines(ui, result.conflicts, result.total_conflicts)
    if result.status == "merged":
        yield _merged(ui, result)
    elif result.directory is not None:
        yield f"{ui.paint('laid out', 'yellow')} in {ui.name(result.directory)}"


def _merged(ui: Ui, result: MergeResult) -> str:
    did = ("would merge" if result.dry_run else "merged") + (" (fast forward)" if result.fast_forward else "")
    where = "" if result.label is None else f" {result.label}@{result.generation}"
    tries = f", at attempt {result.attempts}" if result.attempts > 1 else ""
    return f"{ui.paint(did, 'green')}{where} {ui.paint(short(result.ca_id), 'yellow')}{tries}"


def conflict_lines(ui: Ui, conflicts: tuple[ShownConflict, ...], total: int) -> Iterator[str]:
    """A line for each of the first conflicts, and where in the file."""
    for shown in conflicts[:_SHOWN]:
        conflict = shown.conflict
        where = ", ".join(region.where for region in shown.regions[:3])
        more = f" and {shown.total_regions - 3} more" if shown.total_regions > 3 else ""
        notes = "; ".join(filter(None, (conflict.detail, where + more)))
        yield f"{ui.paint('conflict', 'red')}    {path_of(ui, conflict.path)} ({conflict.kind}" + (
            f": {ui.name(notes)})" if notes else ")"
        )
    yield from _more("conflict", total, len(conflicts))


def _more(what: str, total: int, listed: int | None = None) -> Iterator[str]:
    """That there is more than was shown, and where. listed: how many of them --json has; None: all."""
    if total > _SHOWN:
        where = "--json lists them"
        if listed is not None and listed < total:
            where = f"--json lists {listed:,}, .jvs-conflicts.json in the DIR of --out all of them"
        yield f"{what}    {total - _SHOWN:,} more ({where})"


def path_of(ui: Ui, path: Path) -> str:
    """A path for people; the root is `.`."""
    return ui.name(b"/".join(path)) or "."
