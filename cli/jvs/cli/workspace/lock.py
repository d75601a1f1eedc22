"""`jvs lock acquire`, `status`, `renew`, `release` and `steal`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from jvs.cli.lazy import LazyGroup
from jvs.cli.text import clock
from jvs.cli.ui import Ui
from jvs.cli.verb import workspace_verb
from jvs.errors import UsageError
from jvs.labels.locks import LEASE_MS

if TYPE_CHECKING:
    from jvs.workspace.repository.locks import LockInfo

VERBS = {
    "acquire": ("jvs.cli.workspace.lock:acquire", "Let nobody else save to the worktree's label for a while."),
    "status": ("jvs.cli.workspace.lock:status", "Say who has the lock."),
    "renew": ("jvs.cli.workspace.lock:renew", "Prolong the lease."),
    "release": ("jvs.cli.workspace.lock:release", "Give the lock back."),
    "steal": ("jvs.cli.workspace.lock:steal", "Take the lock over."),
}
EXAMPLES = """
jvs lock acquire --purpose "nightly import" --lease-ms 600000
jvs lock renew
jvs lock release
"""

FIELDS = {
    "worktree_name": "the worktree",
    "holder_nonce": "by which the holder is known: acquire and steal only, and shown nowhere else; keep it secret",
    "session_id": "the holder's session, or null",
    "acquired_at": "since when, ISO 8601 UTC, or null",
    "expires_at": "when the lease ends, or null",
    "fencing_token": "1 more each time the lock is taken; it never falls. 0: it never was",
    "purpose": "what for, or null",
    "state": "`free`, `held` or `expired`",
    "holder": "who has it, or null",
}
_SEEN = {name: text for name, text in FIELDS.items() if name != "holder_nonce"}
_CONFLICT = {11: "somebody else has it, or you have not (any more)"}

_purpose = click.option("--purpose", default="", metavar="TEXT", help="What for; others are shown it.")
_lease = click.option(
    "--lease-ms",
    type=int,
    default=LEASE_MS,
    show_default=True,
    metavar="N",
    help="How long it lasts unless it is renewed, in ms.",
)
_session = click.option("--session-id", default="", metavar="TEXT", help="Your name for it [default: a random one].")


@click.command("lock", cls=LazyGroup, verbs=VERBS, examples=EXAMPLES, subcommand_metavar="VERB ...")
def lock() -> None:
    """Be the only one who saves to a worktree's label: snapshot, restore, and whatever moves the label by `jvs fs`."""


@workspace_verb("acquire", examples=EXAMPLES, fields=FIELDS, exits=_CONFLICT)
@_purpose
@_lease
@_session
def acquire(ui: Ui, purpose: str, lease_ms: int, session_id: str) -> int:
    """Lock the label of the worktree. While the lease lasts nobody moves it without the nonce, which is noted for the
    worktree: commands in it need not say it. A lock whose lease is over is taken over. With -q the nonce."""
    from jvs.workspace.repository import locks

    with ui.open_repository() as repository:
        made = locks.acquire(
            repository, ui.chosen(repository), lease_ms=lease_ms, purpose=purpose, session_id=session_id
        )
    return _show(ui, made, f"Lock acquired on worktree {made.worktree}")


@workspace_verb("status", examples="jvs lock status\njvs lock status -w exp --json\n", fields=_SEEN)
def status(ui: Ui) -> int:
    """Say who has the lock, and until when. With -q its state."""
    from jvs.workspace.repository import locks

    with ui.open_repository() as repository:
        found = locks.status(repository, ui.chosen(repository))
    return ui.show(found.as_json, lambda: _lines(ui, found, f"Worktree: {found.worktree}"), [found.state])


@workspace_verb("renew", examples="jvs lock renew --lease-ms 60000\n", fields=_SEEN, exits=_CONFLICT)
@_lease
def renew(ui: Ui, lease_ms: int) -> int:
    """Prolong the lease of the lock you hold, from now on. One that is over must be acquired anew, since others may
    have moved the label. With -q the fencing token."""
    from jvs.workspace.repository import locks

    with ui.open_repository() as repository:
        made = locks.renew(repository, ui.chosen(repository), nonce=ui.given_nonce(), lease_ms=lease_ms)
    return _show(ui, made, f"Lock renewed on worktree {made.worktree}")


@workspace_verb("release", examples="jvs lock release\n", fields=_SEEN, exits=_CONFLICT)
def release(ui: Ui) -> int:
    """Give the lock back, also when the lease is over. With -q nothing."""
    from jvs.workspace.repository import locks

    with ui.open_repository() as repository:
        done = locks.release(repository, ui.chosen(repository), nonce=ui.given_nonce())
    return ui.show(done.as_json, lambda: [f"Lock released on worktree {ui.name(done.worktree)}"])


@workspace_verb(
    "steal",
    examples='jvs lock steal\njvs lock steal --force --reason "its host is gone"\n',
    fields=FIELDS,
    exits=_CONFLICT,
)
@_purpose
@_lease
@_session
@click.option("-f", "--force", is_flag=True, help="Also when the lease is not over; say why: --reason.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the audit.")
def steal(ui: Ui, purpose: str, lease_ms: int, session_id: str, force: bool, reason: str) -> int:
    """Take over a lock that somebody has whose lease is over (with --force: any). What the old holder does from then on
    is refused, whatever its clock says. With -q the nonce."""
    from jvs.workspace.repository import locks

    if force and not reason:
        raise UsageError("a lock that is in force is taken for a reason", next="jvs lock steal --force --reason TEXT")
    with ui.open_repository() as repository:
        made = locks.steal(
            repository,
            ui.chosen(repository),
            lease_ms=lease_ms,
            purpose=purpose,
            session_id=session_id,
            force=force,
            reason=reason,
        )
    return _show(ui, made, f"Lock taken over on worktree {made.worktree}")


def _show(ui: Ui, info: LockInfo, what: str) -> int:
    token = "0" if info.lock is None else str(info.lock.token)
    return ui.show(info.as_json, lambda: _lines(ui, info, what), [token if info.nonce is None else info.nonce])


def _lines(ui: Ui, info: LockInfo, what: str) -> Iterator[str]:
    yield ui.name(what)
    held = info.lock
    if info.nonce is None:
        yield f"  Lock state: {info.state}"
    if held is not None and held.held:
        yield f"  Holder: {ui.name(held.who)}"
        yield f"  Session ID: {ui.name(held.session_id)}"
        yield f"  Acquired: {clock(held.acquired_ms)}"
        yield f"  Expires: {clock(held.expires_ms)}"
        if held.purpose:
            yield f"  Purpose: {ui.name(held.purpose)}"
    yield f"  Fencing token: {0 if held is None else held.token}"
