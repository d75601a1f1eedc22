"""Starting a mount in a process of its own, and ending one, alive or dead."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Final

from jvs.castore.children import python_command
from jvs.errors import StateError, UnknownError
from jvs.overlay.fuse import mounting
from jvs.workspace.mounts.registry import MountInfo, MountRequest, list_mounts, wait_until_gone

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

_MAX_ANSWER: Final = 1 << 20
PATIENCE: Final = 60.0
"""Seconds in which a mount that was taken away must have let go of everything."""


def mount(store: str, request: MountRequest, *, actor: str) -> MountInfo:
    """Mount in a new process, which outlives this one and has none of its streams; returns when the mount answers.
    Raises JvsError."""
    mounting.check_possible()
    mountpoint = mounting.check_mountpoint(request.mountpoint)
    request = request._replace(mountpoint=mountpoint)
    ours, theirs = os.pipe()
    with open(ours, "rb") as answers:
        try:
            arguments = [str(theirs), os.path.abspath(store), actor, json.dumps(request.as_json())]
            process = subprocess.Popen(
                python_command("jvs.workspace.mounts.daemon", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs],
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        said = answers.read(_MAX_ANSWER)
    process.wait()
    try:
        answer = json.loads(said)
    except ValueError:
        raise StateError(
            f"the process that was to serve {mountpoint} ended at once",
            code="internal",
            next="add --foreground to see why",
        ) from None
    if "ok" not in answer:
        from jvs.workspace.sessions.wire import error_of

        raise error_of(answer["error"])
    return MountInfo(**answer["ok"])


def unmount(mountpoint: str, *, force: bool = False) -> str:
    """Unmount what is there, alive or dead, and wait until the session in it, if any, is free; the mount point.

    force: also while it is used; it is gone at once for everybody else, and served until the last has let go
    Raises UnknownError (not a mount of jvs), StateError (locked: in use).
    """
    found = mounting.find(mountpoint)
    if found is None:
        raise UnknownError(
            f"{os.path.abspath(mountpoint)} is not a mount of jvs", code="unknown-path", next="jvs fs mounts"
        )
    where, store = found.mountpoint, found.source
    dead = any(info.mountpoint == where and info.state == "dead" for info in list_mounts(store))
    mounting.detach(where, lazy=force or dead)
    if not force and not wait_until_gone(store, where, PATIENCE):
        raise StateError(
            f"{where} is unmounted, but the process that served it is not done yet", code="locked", path=where
        )
    return where


def session_mountpoint(repo: Repo, name: str) -> str:
    """Where a session is mounted, by a living process or a dead one. Raises UnknownError."""
    for info in list_mounts(repo.store.path):
        if info.session == name:
            return info.mountpoint
    from jvs.workspace.sessions import session_info

    session_info(repo, name)
    raise UnknownError(f"the session {name} is not mounted", code="unknown-path", next="jvs fs mounts", session=name)
