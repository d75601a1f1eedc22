"""`jvs fs open`, `sessions`, `status` and `drop`, and what `jvs fs push --session` says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from jvs.cli.errors import error_json
from jvs.cli.fs.push import push_line
from jvs.cli.text import ago, clock, columns, command, count, short
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import labels, sessions_of, verb

if TYPE_CHECKING:
    from jvs.workspace.merging.results import MergeResult
    from jvs.workspace.overlays import OverlayPush
    from jvs.workspace.sessions import SessionInfo, SessionStatus

OPEN_EXAMPLES = """
jvs fs open main
jvs fs open main --name try-1 --ttl 7d
jvs fs mount --session try-1 DIR      # work in it
jvs fs push --session try-1 -m "what was done"
"""

SESSIONS_EXAMPLES = """
jvs fs sessions
jvs fs sessions -q
"""

STATUS_EXAMPLES = """
jvs fs status try-1
"""

DROP_EXAMPLES = """
jvs fs drop try-1
jvs fs drop try-1 --force      # with what was not pushed
"""

FIELDS = {
    "name": "the session",
    "ca_id": "id of the snapshot below it, which is kept as long as the session; null: it is damaged",
    "label": "the label it was opened from, or last pushed as; null: none",
    "generation": "of the label then, or null",
    "opened_at": "when it was made, ISO 8601 UTC",
    "opened_by": "who made it",
    "until": "from when on gc removes it, or null",
    "state": "`idle`, `open` (some process works in it), `mounted`, or in a list `damaged`",
    "pid": "of the process that has it open, or null",
    "host": "where that runs, or null",
    "mountpoint": "where it is mounted, or null",
}
_LIST_FIELDS = {f"sessions[].{name}": text for name, text in FIELDS.items()}
_STATUS_FIELDS = {
    **FIELDS,
    "changes[].path": "a path that was changed (at most 10,000 are listed)",
    "changes[].path_b64": "its bytes, when they are not UTF-8",
    "changes[].status": "`added`, `deleted`, `modified`, `mode` (permission bits alone), `type` (another kind)",
    "changes[].kind": "`file`, `directory` or `symlink`",
    "changes[].whole": "whether it is a directory that stands for all below it",
    "counts": "how many changes there are of each status",
    "total": "how many in all",
}
_SHOWN = 20
_MARKS = {"added": "A", "deleted": "D", "modified": "M", "mode": "m", "type": "T"}


@verb(
    "open",
    examples=OPEN_EXAMPLES,
    fields=FIELDS,
    exits={1: "there is a session of that name, or the snapshot was collected"},
)
@click.argument("rev", shell_complete=labels)
@click.option("--name", metavar="S", help="What to call it [default: the label and a number].")
@click.option("--ttl", metavar="T", help="gc may remove it after that time (7d, 12h), saving what was not pushed.")
def open_(ui: Ui, rev: str, name: str | None, ttl: str | None) -> int:
    """Open a session: REV as files that can be written, kept in the store until they are pushed or dropped.

    The snapshot is kept as long as the session. Work in it by a mount, by fsspec, or from Python. With -q its name.
    """
    from jvs.workspace.sessions import create_session, session_info

    with ui.open_repo() as repo:
        with create_session(repo, rev, name, ttl=ttl) as session:
            made = session.name
        info = session_info(repo, made)
    return ui.show(info.as_json, lambda: [f"{ui.paint('opened', 'green')} {made}: {_place(info)}"], [made])


@verb("sessions", examples=SESSIONS_EXAMPLES, fields=_LIST_FIELDS)
def sessions(ui: Ui) -> int:
    """List the sessions. With -q their names."""
    from jvs.workspace.sessions import list_sessions

    with ui.open_repo() as repo:
        found = list_sessions(repo)
    value: Json = {"sessions": [one.as_json() for one in found]}
    return ui.show(lambda: value, lambda: _lines(ui, found), [one.name for one in found])


@verb(
    "status",
    examples=STATUS_EXAMPLES,
    fields=_STATUS_FIELDS,
    exits={5: "there is no such session", 11: "a process has it open that answers no questions"},
)
@click.argument("session", shell_complete=sessions_of)
def status(ui: Ui, session: str) -> int:
    """Show a session and what was changed in it, also while it is mounted. With -q the changed paths."""
    from jvs.workspace.sessions import session_status

    with ui.open_repo() as repo:
        found = session_status(repo, session)
    return ui.show(
        found.as_json,
        lambda: _status_lines(ui, found),
        [ui.name(change.path) for change in found.changes],
    )


@verb(
    "drop",
    examples=DROP_EXAMPLES,
    fields={"name": "the session", "dropped": "true"},
    exits={
        1: "it has changes that were not pushed (`unsaved-changes`)",
        5: "there is no such session",
        11: "it is open or mounted somewhere",
    },
)
@click.argument("session", shell_complete=sessions_of)
@click.option("--force", is_flag=True, help="Also when it has changes that were not pushed: they are lost.")
def drop(ui: Ui, session: str, force: bool) -> int:
    """Remove a session; the snapshot below it is kept by it no more."""
    from jvs.workspace.sessions import drop_session

    with ui.open_repo() as repo:
        drop_session(repo, session, force=force)
    value: Json = {"name": session, "dropped": True}
    return ui.show(lambda: value, lambda: [f"{ui.paint('dropped', 'green')} {session}"], [session])


def show_session_push(ui: Ui, session: str, done: OverlayPush, seconds: float) -> int:
    """Print what a push of a session came to; returns the exit status."""
    push, merge = done

    def value() -> Json:
        return {**push.as_json(), "session": session, "merge": None if merge is None else _merge_json(merge)}

    def people() -> Iterator[str]:
        yield push_line(ui, push, seconds)
        if merge is not None and merge.error is None:
            yield f"merged with what had moved {push.label}"
        for conflict in () if merge is None else merge.conflicts[:_SHOWN]:
            detail = conflict.conflict.detail
            what = conflict.conflict.kind + (f", {detail}" if detail else "")
            yield f"conflict: {ui.name(b'/'.join(conflict.conflict.path))} ({what})"

    status = ui.show(value, people, [push.ca_id.hex()], push.error)
    if push.status == "detached" and not ui.json:
        ui.talk(f"kept for 24 hours; to keep it for good: jvs fs label NAME {short(push.ca_id)}")
    return status


def _merge_json(merge: MergeResult) -> Json:
    value = merge.as_json()
    kept = ("status", "base", "bases", "fast_forward", "attempts", "total_conflicts", "notes")
    fields = ("path", "path_b64", "kind", "detail")
    conflicts: list[dict[str, Any]] = [
        {name: one[name] for name in fields if name in one} for one in value["conflicts"]
    ]
    error = None if merge.error is None else error_json(merge.error)
    return {**{name: value[name] for name in kept}, "conflicts": conflicts, "error": error}


def _place(info: SessionInfo) -> str:
    where = short(info.ca_id)
    if info.label is not None:
        where = f"{info.label}@{info.generation} {where}"
    return where if info.until is None else f"{where}, until {clock(info.until)}"


def _lines(ui: Ui, found: list[SessionInfo]) -> list[str]:
    now = time.time_ns() // 1_000_000
    rows = []
    for one in found:
        who = "" if one.pid is None else f"process {one.pid} on {ui.name(one.host or '')}"
        where = ui.name(one.mountpoint) if one.mountpoint is not None else who
        made = f"{ago(one.opened_at, now)} by {ui.name(one.opened_by)}"
        rows.append([one.name, one.state, _place(one), made, where])
    return columns(rows)


def _status_lines(ui: Ui, found: SessionStatus) -> Iterator[str]:
    info = found.info
    where = "" if info.mountpoint is None else f" at {ui.name(info.mountpoint)}"
    yield f"{info.name}: {info.state}{where}, {_place(info)}"
    for change in found.changes:
        below = "/ (all of it)" if change.whole else "/" if change.kind == "directory" else ""
        yield f"{_MARKS[change.status]} {ui.name(change.path)}{below}"
    if found.total > len(found.changes):
        yield f"... and {found.total - len(found.changes):,} more"
    if found.total:
        ui.talk(f"{count(found.total, 'change')}; next: {command('jvs', 'fs', 'push', '--session', info.name)}")
    else:
        ui.talk("nothing was changed")
