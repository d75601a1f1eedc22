"""The registry of a repository's worktrees: `.jvs/worktrees/NAME/`, truth, made of small files that are replaced whole.

    config.json   {"name", "label", "created_at", "base_snapshot_id", "engine"}
    binding       where the worktree stands (see `position`)
    session       the nonce of the lock its user holds (mode 0600)

A worktree is registered from the moment its `config.json` is there, and no longer when its directory is gone from the
registry. Whoever registers, renames or removes holds `Registry.lock`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from jvs.castore import binding as bindings
from jvs.castore.binding import LOCK_SECONDS, replace_file
from jvs.castore.local.descriptors import sync_directory
from jvs.errors import IntegrityError, LockedError, UnknownError
from jvs.labels.names import label_name_fault
from jvs.workspace.progress import Progress, waiting
from jvs.workspace.repository.layout import MAIN, Layout, check_worktree_name, label_for
from jvs.workspace.results import iso_time

CONFIG: Final = "config.json"
_MAX_CONFIG: Final = 64 << 10
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Worktree(NamedTuple):
    """A registered worktree.

    name              also of its directory
    label             what its save points move
    created_at        ISO 8601 in UTC
    base_snapshot_id  the save point it was made from, or None
    engine            how its files are cloned: `juicefs-clone`, `reflink-copy`, `copy`, or another's
    """

    name: str
    label: str
    created_at: str
    base_snapshot_id: str | None
    engine: str


def new_worktree(name: str, *, at_ms: int, base: str | None, engine: str) -> Worktree:
    """A worktree with the label that goes with its name. Raises UsageError (bad-name)."""
    return Worktree(check_worktree_name(name), label_for(name), iso_time(at_ms), base, engine)


class Registry:
    """The worktrees of one repository."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def names(self) -> list[str]:
        """Of every worktree: main, then the others in order."""
        folder = os.path.dirname(self.layout.record(MAIN))
        try:
            found = [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name, CONFIG))]
        except FileNotFoundError:
            found = []
        return sorted(found, key=lambda name: (name != MAIN, name))

    def get(self, name: str) -> Worktree:
        """The worktree of that name. Raises UsageError (bad-name), UnknownError (unknown-worktree), IntegrityError
        (damaged) when its record says nothing that can be believed."""
        check_worktree_name(name)
        path = os.path.join(self.layout.record(name), CONFIG)
        try:
            with open(path, "rb") as file:
                raw = file.read(_MAX_CONFIG + 1)
        except (FileNotFoundError, NotADirectoryError):
            known = ", ".join(self.names()[:8])
            raise UnknownError(
                f"worktree not found: {name} (there is {known})", code="unknown-worktree", worktree=name
            ) from None
        worktree = _decode(raw)
        if worktree is None or worktree.name != name:
            raise IntegrityError(f"the record of the worktree {name} is damaged: {path}", next="jvs doctor --strict")
        return worktree

    def has(self, name: str) -> bool:
        """Whether a worktree of that name is registered."""
        return os.path.isfile(os.path.join(self.layout.record(name), CONFIG))

    def all(self) -> list[Worktree]:
        """Every worktree, main first. Raises IntegrityError at the first record that is damaged."""
        found = []
        for name in self.names():
            with suppress(UnknownError):  # removed or renamed since it was listed
                found.append(self.get(name))
        return found

    def put(self, worktree: Worktree) -> None:
        """Register a worktree, or replace what is known of it; durable. Raises OSError."""
        record = self.layout.record(check_worktree_name(worktree.name))
        os.makedirs(record, exist_ok=True)
        replace_file(os.path.join(record, CONFIG), encode(worktree))
        sync_directory(os.path.dirname(record))

    def prepare(self, worktree: Worktree, token: str) -> None:
        """Write the record of a worktree that is still to be made; durable. token: whose it is. Raises OSError."""
        record = self.layout.record(check_worktree_name(worktree.name))
        os.makedirs(record, exist_ok=True)
        replace_file(self._prepared(worktree.name, token), encode(worktree))
        sync_directory(os.path.dirname(record))

    def put_prepared(self, worktree: Worktree, token: str) -> None:
        """Register a worktree whose record was prepared: by one rename, which waits for no disk. Raises OSError."""
        try:
            os.rename(self._prepared(worktree.name, token), os.path.join(self.layout.record(worktree.name), CONFIG))
        except FileNotFoundError:
            self.put(worktree)

    def drop_prepared(self, name: str, token: str) -> None:
        """Take away what was prepared for a worktree that is not to be; a record directory that holds more stays."""
        with suppress(FileNotFoundError):
            os.unlink(self._prepared(name, token))
        with suppress(OSError):
            os.rmdir(self.layout.record(name))

    def _prepared(self, name: str, token: str) -> str:
        return os.path.join(self.layout.record(name), f"{CONFIG}.{token}.tmp")

    @contextmanager
    def lock(self, wait: float = LOCK_SECONDS) -> Iterator[None]:
        """Keep everybody else from registering, renaming and removing. Raises LockedError after `wait` seconds.

        Taken before the lock of any worktree (`bindings.lock` of its directory), never the other way round.
        """
        with bindings.lock(os.path.dirname(self.layout.record(MAIN)), wait):
            yield

    @contextmanager
    def worktree_lock(self, name: str, wait: float = LOCK_SECONDS, progress: Progress | None = None) -> Iterator[None]:
        """Keep every other command out of a worktree. Raises LockedError after `wait` seconds; OSError when its
        directory is gone. progress: may stop the waiting."""
        try:
            with bindings.lock(self.layout.path(name), wait, waiting(progress)):
                yield
        except LockedError as error:
            error.next = f"wait for it, or give it longer: --wait {max(60, round(wait) * 6)}"
            raise


def encode(worktree: Worktree) -> bytes:
    """The bytes of `config.json`."""
    return json.dumps(worktree._asdict(), indent=2).encode() + b"\n"


def _decode(raw: bytes) -> Worktree | None:
    """The worktree in the bytes of `config.json`; None for anything else."""
    try:
        data: Any = json.loads(raw) if len(raw) <= _MAX_CONFIG else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not set(Worktree._fields) <= set(data):
        return None
    found = Worktree(*(data[name] for name in Worktree._fields))
    texts = [found.name, found.label, found.created_at, found.engine, found.base_snapshot_id or ""]
    if not all(isinstance(text, str) for text in texts) or label_name_fault(found.label) is not None:
        return None
    return found if _TIME.fullmatch(found.created_at) else None
