"""What can be mounted; and which mounts of a store are alive: `STORE/mounts`.

ID.json   what is mounted where; its flock is held while the mount is served, so a dead process is told by the kernel
ID.log    what went wrong meanwhile, if anything did
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from jvs.castore.local.descriptors import Descriptor
from jvs.overlay.fuse import mounting
from jvs.workspace.results import Json, iso_time

FOLDER: Final = "mounts"
_MAX_ENTRY: Final = 64 << 10
_MAX_LOG: Final = 1 << 20


class MountRequest(NamedTuple):
    """What is to be mounted where: a revision (read-only), a session, or (neither of them) all labels."""

    mountpoint: str
    revision: str | None = None
    session: str | None = None
    readonly: bool = False

    def as_json(self) -> Json:
        """The fields; `MountRequest(**...)` is the way back."""
        return self._asdict()


class MountInfo(NamedTuple):
    """A mount.

    mountpoint         where it is
    what               the revision as it was typed, the name of the session, or `all labels`
    label, generation  what it shows, where that has a label; ca_id: the snapshot below it, None with all labels
    session            the name of the session, or None
    readonly           whether nothing can be written
    pid                the process that serves it
    since              when it was mounted, in ms
    state              `live`, or `dead`: that process is gone, and it is to be unmounted
    """

    mountpoint: str
    what: str
    label: str | None
    generation: int | None
    ca_id: str | None
    session: str | None
    readonly: bool
    pid: int
    since: int
    state: str = "live"

    def as_json(self) -> Json:
        """The fields."""
        return {**self._asdict(), "since": iso_time(self.since)}


class Entry:
    """A mount's entry, while this process serves it."""

    def __init__(self, store: str, info: MountInfo) -> None:
        """Raises OSError: the store cannot be written."""
        folder = os.path.join(store, FOLDER)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._path = os.path.join(folder, os.urandom(8).hex())
        self._logged = 0
        # written aside: whoever looks finds it whole, and locked
        temp = f"{self._path}.new"
        self._lock = Descriptor(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._lock.lock()
        os.write(self._lock.fd, json.dumps(info._asdict()).encode())
        os.rename(temp, f"{self._path}.json")

    def complain(self, text: str) -> None:
        """Write down what went wrong; no more than a megabyte of it."""
        data = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n".encode("utf-8", "replace")
        self._logged += len(data)
        if self._logged <= _MAX_LOG:
            with suppress(OSError), open(f"{self._path}.log", "ab") as log:
                log.write(data)

    def close(self) -> None:
        """It is mounted no more."""
        with suppress(OSError):
            os.unlink(f"{self._path}.json")
        self._lock.close()


def list_mounts(store: str) -> list[MountInfo]:
    """The mounts of a store, by mount point, also dead ones that are still there. Forgets those that are not."""
    source = os.path.realpath(store)
    mounted = {one.mountpoint for one in mounting.mounts() if one.source == source}
    found = []
    for path, info, dead in _entries(store):
        if not dead:
            found.append(info)
        elif info.mountpoint in mounted:
            found.append(info._replace(state="dead"))
        else:
            _forget(path)
    return sorted(found, key=lambda info: info.mountpoint)


def wait_until_gone(store: str, mountpoint: str, seconds: float) -> bool:
    """Wait until nobody serves that mount any more; False when somebody still does. Forgets it."""
    deadline = time.monotonic() + seconds
    while True:
        living = False
        for path, info, dead in _entries(store):
            if info.mountpoint == mountpoint:
                if dead:
                    _forget(path)
                living = living or not dead
        if not living:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)


def _entries(store: str) -> Iterator[tuple[str, MountInfo, bool]]:
    """(path, entry, whether its process is gone) of each entry."""
    folder = os.path.join(store, FOLDER)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for name in names:
        if not name.endswith(".json"):
            continue
        path = os.path.join(folder, name)
        try:
            lock = Descriptor(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            dead = lock.lock(shared=True, wait=False)
            info = MountInfo(**json.loads(os.pread(lock.fd, _MAX_ENTRY, 0)))
        except (ValueError, TypeError):
            continue
        finally:
            lock.close()
        yield path, info, dead


def _forget(path: str) -> None:
    for one in (path, f"{path.removesuffix('.json')}.log"):
        with suppress(OSError):
            os.unlink(one)
