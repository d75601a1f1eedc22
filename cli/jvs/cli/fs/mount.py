"""`jvs fs mount`, `unmount` and `mounts`."""

from __future__ import annotations

import gc
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from jvs.cli.text import ago, columns
from jvs.cli.ui import Json, Ui
from jvs.cli.verb import directories, labels, sessions_of, verb
from jvs.errors import UsageError

if TYPE_CHECKING:
    from jvs.workspace.mounts import MountInfo, MountRequest

MOUNT_EXAMPLES = """
jvs fs mount main@7 /mnt/seven            # read-only
jvs fs open main --name try
jvs fs mount --session try /mnt/try       # read-write; then: jvs fs push --session try
jvs fs mount --all /mnt/labels            # every label: /mnt/labels/main, /mnt/labels/main@{1}
"""

UNMOUNT_EXAMPLES = """
jvs fs unmount /mnt/try
jvs fs unmount --session try
"""

MOUNTS_EXAMPLES = """
jvs fs mounts
"""

FIELDS = {
    "mountpoint": "the directory it is mounted on",
    "what": "the revision as typed, the name of the session, or `all labels`",
    "label": "the label it shows, or null",
    "generation": "the generation of the label it was mounted at, or null",
    "ca_id": "id of the snapshot it shows (of a session: its base), or null",
    "session": "the session, or null",
    "readonly": "whether nothing can be written",
    "pid": "the process that serves it",
    "since": "when it was mounted, ISO 8601 UTC",
    "state": "live, or dead: its process is gone, and it is to be unmounted",
}


def _operands(context: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """The revision first, if one is to be named."""
    given = context.params
    named = given.get("operands") or given.get("session") or given.get("everything")
    return directories(context, param, incomplete) if named else list(labels(context, param, incomplete))


@verb(
    "mount",
    examples=MOUNT_EXAMPLES,
    fields=FIELDS,
    exits={
        1: "the mount point is not empty, or is a mount; FUSE is missing (next says what to install)",
        5: "there is no such revision or session",
        11: "another process has the session open",
    },
)
@click.argument("operands", nargs=-1, required=True, metavar="[REV] MOUNTPOINT", shell_complete=_operands)
@click.option("--session", metavar="S", shell_complete=sessions_of, help="Mount this session, read-write.")
@click.option("--all", "everything", is_flag=True, help="Mount all labels, read-only, each as a directory.")
@click.option("--read-only", is_flag=True, help="Let nobody write (a revision never can be written).")
@click.option("--foreground", is_flag=True, help="Serve it here, until it is unmounted or interrupted.")
def mount(
    ui: Ui, operands: tuple[str, ...], session: str | None, everything: bool, read_only: bool, foreground: bool
) -> int:
    """Mount a revision, a session or all labels on an empty directory.

    Returns when the mount answers. What is mounted says of itself what it is in MOUNTPOINT/.jvs, which no listing
    shows: label, base, generation, changes, store. With -q the mount point.
    """
    from jvs.workspace.mounts import MountRequest, mount

    named = (session is not None) + everything
    if named > 1 or len(operands) != (1 if named else 2):
        raise UsageError(
            "say what to mount, and where: REV MOUNTPOINT, --session S MOUNTPOINT, or --all MOUNTPOINT",
            next="jvs fs mount --help",
        )
    revision = None if named else operands[0]
    request = MountRequest(operands[-1], revision, session, read_only)
    if foreground:
        return _serve(ui, request)
    return _show(ui, mount(ui.find_store(), request, actor=ui.actor()))


def _show(ui: Ui, info: MountInfo) -> int:
    what = info.what if info.session is None else f"session {info.session}"
    how = " (read-only)" if info.readonly else ""
    return ui.show(
        info.as_json,
        lambda: [f"{ui.paint('mounted', 'green')} {ui.name(what)} on {ui.name(info.mountpoint)}{how}"],
        [info.mountpoint],
    )


def _serve(ui: Ui, request: MountRequest) -> int:
    from jvs.workspace.mounts.live import LiveMount

    gc.enable()  # a command is short, this is not
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or the background of a script
            signal.signal(number, _interrupt)
    with ui.open_repo() as repo, LiveMount(repo, request) as live, suppress(KeyboardInterrupt):
        _show(ui, live.info)
        ui.flush_data()
        live.wait()
    return 0


def _interrupt(number: int, frame: Any) -> None:
    # once: what follows takes a moment, and a second Ctrl-C in it would leave a mount that nobody serves
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


@verb(
    "unmount",
    examples=UNMOUNT_EXAMPLES,
    fields={"mountpoint": "the directory it was mounted on"},
    exits={5: "nothing of jvs is mounted there", 11: "it is in use"},
)
@click.argument("mountpoint", required=False, shell_complete=directories)
@click.option(
    "--session", metavar="S", shell_complete=sessions_of, help="Unmount this session, wherever it is mounted."
)
@click.option("--force", is_flag=True, help="Also while it is used: it is gone at once for everybody else.")
def unmount(ui: Ui, mountpoint: str | None, session: str | None, force: bool) -> int:
    """Unmount, also what was mounted by a process that was killed.

    Returns when everything that was written is on the disk, and the session can be used by others. With -q the mount
    point.
    """
    from jvs.workspace.mounts import unmount
    from jvs.workspace.mounts.starting import session_mountpoint

    if (mountpoint is None) == (session is None):
        raise UsageError("name a mount point, or a session", next="jvs fs unmount --help")
    if session is not None:
        with ui.open_repo() as repo:
            mountpoint = session_mountpoint(repo, session)
    assert mountpoint is not None
    where = unmount(mountpoint, force=force)
    return ui.show(
        lambda: {"mountpoint": where}, lambda: [f"{ui.paint('unmounted', 'green')} {ui.name(where)}"], [where]
    )


@verb("mounts", examples=MOUNTS_EXAMPLES, fields={f"mounts[].{name}": text for name, text in FIELDS.items()})
def mounts(ui: Ui) -> int:
    """List what is mounted of this store. With -q the mount points."""
    from jvs.workspace.mounts import list_mounts

    found = list_mounts(ui.find_store())
    return ui.show(lambda: _value(found), lambda: _lines(ui, found), [info.mountpoint for info in found])


def _value(found: list[MountInfo]) -> Json:
    return {"mounts": [info.as_json() for info in found]}


def _lines(ui: Ui, found: list[MountInfo]) -> list[str]:
    now = time.time_ns() // 1_000_000
    return columns(
        [
            [
                ui.name(info.mountpoint),
                ui.name(info.what if info.session is None else f"session {info.session}"),
                "read-only" if info.readonly else "",
                "" if info.state == "live" else ui.paint(info.state, "red"),
                f"{ago(info.since, now)}  pid {info.pid}",
            ]
            for info in found
        ]
    )
