"""`jvs fs push`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from jvs.cli.text import count, duration, short, size
from jvs.cli.ui import Ui
from jvs.cli.verb import directories, labels, sessions_of, verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.workspace.results import PushResult

EXAMPLES = """
jvs fs push DIR --label main -m "as it came"
jvs fs push DIR -m "a change"                 # DIR remembers its label
jvs fs push DIR --label main --expected 7     # only if main is still generation 7
jvs fs push DIR --label main --expected main  # whatever main is now
jvs fs push DIR --detach                      # no label: prints the id, kept for 24 hours
jvs fs push --rev exp/3 --label main          # a snapshot that is already in the store
jvs fs push --session try-1 --merge           # a session, merged with whatever moved its label
"""

PUSH_FIELDS = {
    "status": "`advanced`, `unchanged` (already this content), `detached` (no label), `rejected` (the label moved)",
    "label": "the label, or null",
    "ca_id": "id of the snapshot, stored whatever the status",
    "generation": "generation of the label after the push, or null",
    "entry_id": "id of the new history entry, or null",
    "current": "id of the snapshot the label names now, null when there is none",
    "current_generation": "its generation",
    "stats.entries": "files, links and directories in the snapshot",
    "stats.files": "files and links in it; null where no directory was scanned (`--rev`, `fs rm`)",
    "stats.directories": "directories in it; null as above",
    "stats.bytes": "plain size of its files",
    "stats.new_bytes": "bytes the store did not have",
    "stats.stored_bytes": "what those take, as stored",
    "stats.objects": "objects written",
    "skipped[].path": "a path left out, or kept as it was in the base",
    "skipped[].path_b64": "its bytes, when they are not UTF-8",
    "skipped[].reason": "why",
    "error": "when rejected: code, message, next, details",
}
_SESSION_FIELDS = {
    "session": "only with `--session`: the session",
    "merge": "only with `--session`: what merging came to, null where there was no need",
    "merge.status": "`merged` or `conflict` (then `error` is set, and nothing was moved)",
    "merge.base": "id of the merge base, or null; `bases`: of how many it was made",
    "merge.fast_forward": "whether one side had all of the other",
    "merge.attempts": "how often it was merged, since the label moved meanwhile",
    "merge.conflicts[].path": "a path in conflict",
    "merge.conflicts[].path_b64": "its bytes, when they are not UTF-8",
    "merge.conflicts[].kind": "kind of the conflict, see `fs merge`; `detail`: more of it",
    "merge.total_conflicts": "how many conflicts there are",
    "merge.notes": "remarks, for people",
    "merge.error": "of a conflict: code, message, next, details",
}
PUSH_EXITS = {
    1: "there is content that was purged (`purged-content`): nothing was changed",
    3: "done, but some paths were skipped (listed)",
    6: "the label moved: nothing was changed",
}

_SHOWN = 20
_COLOURS = {"advanced": "green", "unchanged": "dim", "detached": "yellow", "rejected": "red"}


@verb(
    "push",
    examples=EXAMPLES,
    fields={**PUSH_FIELDS, **_SESSION_FIELDS},
    exits={
        **PUSH_EXITS,
        7: "`--merge`: a conflict; nothing was changed",
        11: "the session is open, and cannot be asked",
    },
)
@click.argument("source", required=False, shell_complete=directories)
@click.option("--session", metavar="S", shell_complete=sessions_of, help="Push a session, also while it is mounted.")
@click.option("--rev", metavar="REV", shell_complete=labels, help="Push this revision, not a directory.")
@click.option(
    "--label",
    metavar="LABEL",
    shell_complete=labels,
    help="The label to move [default: the one SOURCE was last pulled or pushed as, or the session opened from].",
)
@click.option(
    "--expected",
    metavar="REV|GENERATION",
    help="What the label must be now: a generation, an id, a revision; 0: it must not exist. "
    "[default: what SOURCE was last pulled or pushed as, or the session opened from]",
)
@click.option("--merge", is_flag=True, help="With --session: when the label has moved, merge with what moved it.")
@click.option("--force", is_flag=True, help="Move the label whatever it is now.")
@click.option("--detach", is_flag=True, help="Move no label; the snapshot is kept for 24 hours.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; at most 4,096 bytes.")
@click.option("--tag", "tags", multiple=True, metavar="T", help="Tag the entry (tag:T finds it); may be repeated.")
@click.option("--always", is_flag=True, help="Write a history entry also when nothing changed.")
@click.option("--rehash", is_flag=True, help="Read every file, whatever its times say.")
@click.option("--allow-purged", is_flag=True, help="Store again what `fs purge` removed (it is purged no more).")
@click.option("--skip-unreadable", is_flag=True, help="Leave out new files that cannot be read (exit status 3).")
def push(
    ui: Ui,
    source: str | None,
    session: str | None,
    rev: str | None,
    label: str | None,
    expected: str | None,
    merge: bool,
    force: bool,
    detach: bool,
    message: str,
    tags: tuple[str, ...],
    always: bool,
    rehash: bool,
    skip_unreadable: bool,
    allow_purged: bool,
) -> int:
    """Snapshot SOURCE, a directory (or a session, or a revision already in the store), and move a label to it.

    The label moves only if it still is what SOURCE was last pulled or pushed as (or --expected); else the push is
    rejected: nothing is moved, the snapshot is kept for 24 hours. A label that does not exist is created. Only what
    the store does not have yet is written. .jvs is left out, and whatever .jvsignore says.
    """
    what = next((one for one in (source, rev, session) if one is not None), None)
    if what is None or len([one for one in (source, rev, session) if one is not None]) > 1:
        raise UsageError("a push takes one SOURCE, or --rev REV, or --session S", next="jvs fs push --help")
    started = time.perf_counter()
    if session is not None:
        if tags or always or rehash or skip_unreadable:
            raise UsageError("--tag, --always, --rehash and --skip-unreadable are not for sessions")
        from jvs.cli.fs.session import show_session_push
        from jvs.workspace.sessions import push_session

        with ui.open_repo() as repo:
            done = push_session(
                repo,
                session,
                label=label,
                expected=expected,
                message=message,
                merge=merge,
                force=force,
                detach=detach,
                allow_purged=allow_purged,
            )
        return show_session_push(ui, session, done, time.perf_counter() - started)
    if merge:
        raise UsageError(
            "--merge is for --session; of a directory: push, then jvs fs merge", next="jvs fs merge --help"
        )
    with ui.open_repo(about=source) as repo, ui.progress("push") as progress:
        result = repo.push(
            what,
            label=label,
            expected=expected,
            force=force,
            detach=detach,
            message=message,
            tags=tags,
            always=always,
            rehash=rehash,
            skip_unreadable=skip_unreadable,
            as_revision=rev is not None,
            allow_purged=allow_purged,
            progress=progress,
        )
    return show_push(ui, result, time.perf_counter() - started)


def show_push(ui: Ui, result: PushResult, seconds: float) -> int:
    """Print the result of a push, or of what is one in effect; returns the exit status."""

    def people() -> list[str]:
        return [push_line(ui, result, seconds)]

    status = ui.show(result.as_json, people, [result.ca_id.hex()], result.error)
    if ui.json:
        return status or (3 if result.skipped else 0)
    if result.status == "detached":
        ui.talk(f"kept for 24 hours; to keep it for good: jvs fs label NAME {short(result.ca_id)}")
    for item in result.skipped[:_SHOWN]:
        ui.talk(f"skipped: {ui.name(item.path)} ({item.reason})")
    if len(result.skipped) > _SHOWN:
        ui.talk(f"skipped: {len(result.skipped) - _SHOWN:,} more (--json lists them all)")
    return status or (3 if result.skipped else 0)


def push_line(ui: Ui, result: PushResult, seconds: float) -> str:
    """`advanced main@2 0a1b2c3d4e5f: 3 files, 12.5 KiB, 512 B new, 8 ms`."""
    stats = result.stats
    where = ""
    if result.label is not None and result.status == "rejected":
        now = "now gone"
        if result.current is not None:
            now = f"now at {result.label}@{result.current_generation} {short(result.current)}"
        where = f"{result.label} ({now}); stored "
    elif result.label is not None:
        where = f"{result.label}@{result.generation} "
    number = count(stats.entries, "path") if stats.files is None else count(stats.files, "file")
    facts = [number, size(stats.bytes), f"{size(stats.new_bytes)} new", duration(seconds)]
    status = ui.paint(result.status, _COLOURS[result.status])
    return f"{status} {where}{ui.paint(short(result.ca_id), 'yellow')}: {', '.join(facts)}"
