"""Mounts for tests. Always served by another process: a test that touched a mount of its own would wait for itself
wherever Python keeps its lock (page faults of a mapping, the start of a child)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jvs.castore.settings import StoreSettings
from jvs.errors import JvsError
from jvs.overlay.fuse import mounting
from jvs.workspace.mounts import MountRequest, mount, unmount
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import create_session

SMALL = StoreSettings(chunk_min=4096, chunk_avg=16384, chunk_max=65536)
"""So that files of some 100 kilobytes have recipes."""

needs_fuse = pytest.mark.skipif(
    not os.path.exists("/dev/fuse") or shutil.which("fusermount3") is None, reason="needs /dev/fuse and fusermount3"
)


def store_of(directory: Path, tree: Path, label: str = "main") -> Path:
    """A store in a directory, with a label that has that tree."""
    store = directory / "store"
    Repo.init(str(store), SMALL)
    push(store, tree, label)
    return store


def push(store: Path, tree: Path, label: str = "main") -> None:
    with Repo.open(str(store), actor="ada@host") as repo:
        assert repo.push(str(tree), label=label, force=True).error is None


@contextmanager
def mounted(store: Path, where: Path, **what: str) -> Iterator[Path]:
    """A mount while the context lasts; see MountRequest for `what`."""
    where.mkdir(exist_ok=True)
    info = mount(str(store), MountRequest(str(where), **what), actor="ada@host")  # type: ignore[arg-type]
    try:
        yield Path(info.mountpoint)
    finally:
        if mounting.find(str(where)) is not None:
            try:
                unmount(str(where))
            except JvsError:  # a failed test left a file open
                with suppress(JvsError):
                    unmount(str(where), force=True)


@contextmanager
def session(directory: Path, tree: Path, name: str = "s") -> Iterator[Path]:
    """A new store with that tree, and a session of it mounted for writing."""
    store = store_of(directory, tree)
    new_session(store, name)
    with mounted(store, directory / "mount", session=name) as where:
        yield where


def new_session(store: Path, name: str, revision: str = "main") -> None:
    with Repo.open(str(store), actor="ada@host") as repo:
        create_session(repo, revision, name).close()


def calm(store: Path, name: str = "s") -> str:
    """Push a session that is not open, to a label of its own; the id of what it was."""
    from jvs.workspace.sessions import push_session

    with Repo.open(str(store), actor="ada@host") as repo:
        return push_session(repo, name, label="calm", force=True).push.ca_id.hex()
