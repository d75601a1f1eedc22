"""Random operations on a session's mount and on a plain directory, by the rules to which the overlay is held: what the
kernel keeps, its system calls, pushes and merges under the live mount, and the death of the process that serves it."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from jvs.castore.digest import Digest
from jvs.errors import JvsError
from jvs.overlay.fuse import mounting
from jvs.workspace.mounts import MountRequest, list_mounts, mount, unmount
from jvs.workspace.overlays import open_overlay
from jvs.workspace.repo import Repo
from jvs.workspace.sessions import create_session, push_session
from tests.overlay.fuse.support import needs_fuse
from tests.overlay.machine import DATA, PATHS, TORTURE, Plain, Rules, step
from tests.overlay.support import TINY, Seen, emptied, on_disk, stored

pytestmark = [needs_fuse, pytest.mark.timeout(1800)]
SESSION = "s"


class Machine(Rules):
    """One session, mounted by a process of its own."""

    def start(self) -> None:
        self.store = str(self.top / "store")
        self.where = self.top / "mount" / "in"  # as deep as the plain directory: `..` means as much
        self.where.mkdir(parents=True)
        Repo.init(self.store, TINY)
        self.repo = Repo.open(self.store, actor="ada@host")
        assert self.repo.push(str(self.plain), label="main").error is None
        create_session(self.repo, "main", SESSION).close()
        self.fs = Plain(self.where)
        self._mount()

    def _mount(self) -> None:
        mount(self.store, MountRequest(str(self.where), session=SESSION), actor="ada@host")

    def stop(self) -> None:
        if mounting.find(str(self.where)) is not None:
            try:
                unmount(str(self.where))
            except JvsError:  # a failed run left a file open
                unmount(str(self.where), force=True)
        self.repo.close()

    def seen(self) -> Seen:
        return on_disk(self.where)

    def again(self, killed: bool) -> None:
        if killed:
            (info,) = list_mounts(self.store)
            os.kill(info.pid, signal.SIGKILL)
            while list_mounts(self.store)[0].state == "live":
                time.sleep(0.01)
        unmount(str(self.where))
        assert os.listdir(self.where) == []
        self._mount()

    def pushed(self) -> tuple[Digest, Digest, Seen, list[Any]]:
        done = push_session(self.repo, SESSION)
        assert done.push.error is None
        changes = (self.where / ".jvs/changes").read_text().splitlines()
        fresh = emptied(self.top / "fresh")
        self.repo.pull("main", str(fresh), special_modes=True)
        assert (self.where / ".jvs/base").read_text() == f"{done.push.ca_id.hex()}\n"
        return done.push.ca_id, stored(self.repo.objects, self.plain), on_disk(fresh), changes

    @step(name=st.sampled_from(["their/1", "their/2", "theirs"]), data=DATA)
    def merge(self, name: str, data: bytes) -> None:
        """Somebody else moves the label meanwhile; whoever has files open in the mount goes on."""
        with open_overlay(self.repo, "main") as theirs:
            theirs.makedirs("their", exist_ok=True)
            theirs.write_bytes(name, data)
            assert theirs.push().push.error is None
        (self.plain / "their").mkdir(exist_ok=True)
        (self.plain / name).write_bytes(data)
        done = push_session(self.repo, SESSION, merge=True)
        assert done.push.error is None
        assert done.push.ca_id == stored(self.repo.objects, self.plain)
        self.merged = True

    @step(path=PATHS, at=st.integers(0, 9500), data=st.binary(min_size=1, max_size=300))
    def map(self, path: str, at: int, data: bytes) -> None:
        """Write by a shared mapping."""
        if not os.path.isfile(self.at(path)):
            return
        size = os.path.getsize(self.at(path))
        at = min(at, size - len(data))
        if at < 0:
            return
        for fs in (self.model, self.fs):
            with fs.open(path, "r+b", 0) as file, mmap.mmap(file.fileno(), size) as mapping:
                assert mapping[:] == file.read()
                mapping[at : at + len(data)] = data

    @step()
    def push_dirty(self) -> None:
        """A push while there are changes in pages of a mapping that nobody has told of."""
        path = "c" if os.path.isfile(self.plain / "c") and not os.path.islink(self.plain / "c") else ""
        if not path or not os.path.getsize(self.plain / path):
            return
        with self._mapped(self.model, path) as one, self._mapped(self.fs, path) as other:
            one[0] = other[0] = one[0] ^ 255
            self.push()
            one[-1] = other[-1] = one[-1] ^ 255

    @contextmanager
    def _mapped(self, fs: Plain, path: str) -> Iterator[mmap.mmap]:
        with fs.open(path, "r+b", 0) as file, mmap.mmap(file.fileno(), 0) as mapping:
            yield mapping


Machine.TestCase.settings = settings(
    max_examples=30 if TORTURE else 4, stateful_step_count=200 if TORTURE else 25, deadline=None
)
TestMachine = Machine.TestCase
