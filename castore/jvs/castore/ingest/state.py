"""What a running ingest knows: the push as a whole (`Run`) and one directory of it (`Frame`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore import pages
from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import Rules
from jvs.castore.ingest.stable import is_fatal
from jvs.castore.ingest.statindex import NO_RULES, IndexBuilder, Record, Slot
from jvs.castore.ingest.walk import FileClock, Listing, Row, Trail
from jvs.castore.manifest import DIRECTORY, Entry, Tree
from jvs.castore.names import display
from jvs.castore.treesink import TreeSink
from jvs.errors import JvsError, StoreError

if TYPE_CHECKING:
    from jvs.castore.ingest.assist import Taken

CONTROL: Final = "jvs keeps its own files under this name"
LEFTOVER: Final = "left behind by an interrupted pull"
_BY_RULE: Final = frozenset({CONTROL, LEFTOVER})
SILENT: Final = ""
"""The reason noted for a name that is in the tree although it is ignored, be it on disk or not."""


class Skipped(NamedTuple):
    """A path below the root that is not in the tree as it is on disk, and why, for people."""

    path: bytes
    reason: str


class Done(NamedTuple):
    """A directory that was finished.

    was    the tree the index has for it, if any
    slot   its place in the new index, if there is one
    same   whether the new index says of it and everything below it what the old one says
    """

    tree: Tree
    was: Tree | None
    slot: Slot | None
    same: bool


class Frame:
    """One directory between its listing and its entry in the directory above.

    record      what the index says of it
    clean       the record's rows and rules are those of now: only what is below may differ
    rules       the ignore rules that hold in it; own_rules: whether some of them are its own
    rows, failed        see `Listing`; stored: the rows the index has, by name
    absent      names that are in the tree although they are not on disk: ignored, so they stay as they were
    present     the rows that may be in its tree; ignored: names that the rules keep out; notes: see `Record`
    old         the directory's root page in the base (True: not looked up yet)
    mark        where its stretch of the new index begins
    settled     see `FileClock.settled_before` (only where it is not clean)
    enter       the directories in it that are walked, and `slots` the index's places for them
    results     what became of those: finished, vanished (None) or not readable
    lent        how many of them are with the assistant, which gave back those in `arrived` (None: it gave up)
    """

    __slots__ = (
        "absent",
        "arrived",
        "at",
        "clean",
        "enter",
        "failed",
        "ignored",
        "lent",
        "mark",
        "name",
        "notes",
        "old",
        "own_rules",
        "parent",
        "present",
        "record",
        "results",
        "rows",
        "rules",
        "settled",
        "slots",
        "stored",
    )

    def __init__(self, parent: Frame | None, name: bytes, listing: Listing, record: Record | None) -> None:
        self.parent = parent
        self.name = name
        self.rows = listing.rows
        self.failed = listing.failed
        self.record = record
        self.clean = False
        self.rules: Rules | None = parent.rules if parent is not None else None
        self.own_rules = False
        self.settled = 0
        self.enter: list[str] = []
        self.slots: list[Slot | None] = []
        self.at = 0
        self.results: dict[str, Done | OSError | None] = {}
        self.present: list[Row] = []
        self.ignored: set[bytes] = set()
        self.notes: list[tuple[str, str]] = []
        self.stored: dict[str, Row] = {}
        self.mark = 0
        self.absent: set[bytes] = set()
        self.lent = 0
        self.arrived: list[tuple[str, Taken | None]] = []
        self.old: Digest | bool | None = record.tree.digest if record is not None else True  # True: not looked up yet

    @property
    def rules_digest(self) -> bytes:
        """Digest of the rules that hold in it."""
        return NO_RULES if self.rules is None else self.rules.digest

    def names(self) -> tuple[bytes, ...]:
        """The names from the root down to it."""
        names: list[bytes] = []
        frame: Frame | None = self
        while frame is not None and frame.parent is not None:
            names.append(frame.name)
            frame = frame.parent
        return tuple(reversed(names))

    def path(self, name: bytes) -> bytes:
        """The path of `name` in it, below the root."""
        return b"/".join((*self.names(), name))

    def ignores(self, name: bytes, *, is_directory: bool) -> bool:
        """Whether the rules ignore `name` in it."""
        return self.rules is not None and self.rules.ignores(self.names(), name, is_directory=is_directory)


class Run:
    """One ingest: where content goes, what is known beforehand, what was met on the way (bytes: looked at so far)."""

    def __init__(
        self,
        sink: TreeSink,
        trail: Trail,
        builder: IndexBuilder | None,
        *,
        rehash: bool,
        leftovers_token: str | None,
        unapplied: Mapping[bytes, tuple[int, int]],
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self.sink = sink
        self.trail = trail
        self.builder = builder
        self.limit = sink.objects.settings.inline_limit
        self.clock = FileClock()
        self.rehash = rehash
        self.leftovers_token = leftovers_token
        self.unapplied = unapplied
        self.skipped: list[Skipped] = []
        self.left_out: list[Skipped] = []
        self.kept: list[Skipped] = []
        self.unreadable: list[Skipped] = []
        self.ignored = 0
        self.directories = 0
        self._progress = progress
        self._cancel = cancel
        self._files = self.bytes = 0

    def advance(self, size: int = 0, files: int = 0) -> None:
        """Count what was looked at, tell it, and stop when asked to (JvsError, code interrupted)."""
        self._files += files
        self.bytes += size
        if self._progress is not None:
            self._progress(self._files, self.bytes)
        if self._cancel is not None and self._cancel():
            raise JvsError("the push was stopped; nothing was moved", code="interrupted")

    def note(self, frame: Frame, name: str, reason: str) -> None:
        """Remember that a name is left out of the frame's tree, and why, and report it."""
        frame.notes.append((name, reason))
        self.tell(frame, name, reason)

    def tell(self, frame: Frame, name: str, reason: str) -> None:
        """Report a name that is left out of the frame's tree."""
        if reason != SILENT:
            path = frame.path(os.fsencode(name))
            (self.left_out if reason in _BY_RULE else self.skipped).append(Skipped(path, reason))

    def unread(self, frame: Frame, name: bytes, error: OSError, *, kept: bool) -> None:
        """Report a name that cannot be read. kept: the base has an entry for it, which stays."""
        if is_fatal(error):
            raise StoreError(f"{display(frame.path(name))}: {error.strerror}") from error
        (self.kept if kept else self.unreadable).append(Skipped(frame.path(name), error.strerror or str(error)))

    def old(self, frame: Frame) -> Digest | None:
        """The root page of the directory as it is in the base, or None when it is not there."""
        unknown: list[Frame] = []
        at: Frame | None = frame
        while at is not None and isinstance(at.old, bool):
            unknown.append(at)
            at = at.parent
        for below in reversed(unknown):  # not by recursion: a tree may be deeper than the interpreter's stack
            above = below.parent.old if below.parent is not None else None
            entry = None if isinstance(above, bool) else self.old_entry(above, below.name)
            below.old = entry[3] if entry is not None and entry[1] == DIRECTORY else None
        return None if isinstance(frame.old, bool) else frame.old

    def old_entry(self, directory: Digest | None, name: bytes) -> Entry | None:
        """The entry of `name` in a directory of the base, or None."""
        if directory is None:
            return None
        found = pages.find(self.sink.objects.page, directory, name)
        return None if found is None else found[1]

    def mode(self, frame: Frame, name: bytes, mode: int) -> int:
        """The permission bits of an entry: those on disk, and those that a pull could not apply there."""
        mode &= 0o7777
        if self.unapplied:
            disk, wanted = self.unapplied.get(frame.path(name), (-1, 0))
            if disk == mode:
                return wanted
        return mode
