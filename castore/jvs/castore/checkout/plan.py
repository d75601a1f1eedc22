"""Comparing a directory with what it was bound to and what it shall be, before anything is written.

The walk decides for every path: as it shall be, to be written, to be removed, or *unsaved* (DESIGN 4.4). What the stat
index says is believed for files that no change touches; a file that is to be replaced or removed is always hashed.
Subtrees that are the same in both trees and as the index says cost one listing per directory and no object at all.
"""

from __future__ import annotations

import contextlib
import os
import stat
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jvs.castore import pages
from jvs.castore.backend import Kind
from jvs.castore.binding import Pending, UnappliedMode
from jvs.castore.checkout import disk
from jvs.castore.checkout.content import SPECIAL, ModeRule, collision
from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import Rules
from jvs.castore.ingest.scout import Clean, look_ahead
from jvs.castore.ingest.statindex import Record, Slot, StatIndex, pack_rows, unpack_rows
from jvs.castore.ingest.walk import Row, list_directory, row_of
from jvs.castore.manifest import DIRECTORY, EMPTY_TREE, FILE, SYMLINK, Directory, Entry, File, Symlink
from jvs.castore.names import is_left_alone, split_path
from jvs.castore.objects import ObjectStore

SHOWN = 20
"""How many unsaved paths an error lists."""


class Write(NamedTuple):
    """A path that gets new content. page: where a file's bytes lie. old: a file or symlink that is there now."""

    path: bytes
    entry: Entry
    page: Digest
    old: Old | None


class Old(NamedTuple):
    """Something that is to go. saved: what its content may be, in the store under one of these; None: anything goes
    (the user said so, or it has no content)."""

    kind: int
    saved: tuple[Entry, ...] | None


class Removal(NamedTuple):
    """A path that goes. A directory goes when everything in it has gone."""

    path: bytes
    old: Old


class ModeChange(NamedTuple):
    """A file or directory of which only the permission bits change, to `mode`; `wanted` are those of the snapshot."""

    path: bytes
    kind: int
    mode: int
    wanted: int


_FEW = 64
OTHER = 3
"""Kind of what is neither file, nor directory, nor symlink."""


@dataclass
class Plan:
    """What a checkout has to do. `fill`: the directory is empty and gets everything."""

    fill: bool = False
    writes: list[Write] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    modes: list[ModeChange] = field(default_factory=list)
    unsaved: list[bytes] = field(default_factory=list)
    """The first paths in walk order; `unsaved_count` says how many there are."""
    unsaved_count: int = 0
    blocked: list[bytes] = field(default_factory=list)
    """Paths that the target needs and that hold what is never touched (a store)."""
    unreadable: list[bytes] = field(default_factory=list)
    """Directories that cannot be listed."""
    kept: set[bytes] = field(default_factory=set)
    """Directories that the target lacks and that stay, for something ignored in them."""
    dirty: set[bytes] = field(default_factory=set)
    """Directories that are not, or not wholly, as the stat index says."""
    touched: set[bytes] = field(default_factory=set)
    """Paths of files that are written, removed or changed."""
    known: dict[bytes, Row] = field(default_factory=dict)
    """Files that were hashed and are as the target wants them, and their rows at that time."""
    slots: dict[bytes, Slot] = field(default_factory=dict)
    """Dirty directories -> what the stat index says of them, for those of whose files it can still be believed."""
    unchanged: int = 0
    """Entries looked at that are as they shall be already."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.fill or self.writes or self.removals or self.modes)


class _Frame(NamedTuple):
    path: bytes
    base: Digest | None
    pending: Digest | None
    target: Digest | None
    slot: Slot | None
    ignored: bool
    clean: bool = False
    """It and all below it was found to be as the stat index says."""


class _Side(NamedTuple):
    """One name of a directory in the three trees. page: where the target's entry lies."""

    base: Entry | None
    pending: Entry | None
    target: Entry | None
    page: Digest


class Planner:
    """Makes the plan; use once."""

    def __init__(
        self,
        objects: ObjectStore,
        directories: disk.Directories,
        *,
        rule: ModeRule,
        discard: bool,
        pending: Pending | None = None,
        unapplied: Mapping[bytes, UnappliedMode] | None = None,
        index: StatIndex | None = None,
    ) -> None:
        """pending: the pull that was interrupted here. index: believed when it is about the base."""
        self._objects = objects
        self._directories = directories
        self._rule = rule
        self._discard = discard
        self._pending = pending
        self._leftover = disk.prefix_of(pending.token) if pending is not None else None
        self._unapplied = unapplied or {}
        self._index = index
        self._rules: dict[bytes, Rules | None] = {}
        self._stack: list[_Frame] = []
        self._keeping: set[bytes] = set()
        self._clean: Mapping[Slot, Clean] = {}
        self.plan = Plan()

    def run(self, base: Digest | None, target: Digest) -> Plan:
        """Compare; `base`: what the directory is bound to (None: nothing)."""
        top = None
        index = self._index
        if index is not None and index.root is not None and index.root == base:
            top = index.top.slot
        pending = self._pending.target if self._pending is not None else None
        if pending is not None and self._objects.backend.missing(Kind.PAGE, [pending]):
            pending = None  # collected since
        if not self._visible(list_directory(self._directories.fd(b"")).rows):
            self.plan.fill = target != EMPTY_TREE.digest
            return self.plan
        if top is not None and index is not None:
            self._clean = look_ahead(index, self._directories.fd(b""))
        self._stack.append(_Frame(b"", base, pending, target, top, False))
        while self._stack:
            frame = self._stack.pop()
            below = len(self._stack)
            self._directory(frame)
            self._stack[below:] = reversed(self._stack[below:])  # so that they are taken in order
        self._settle_kept()
        if self._rule is SPECIAL:
            self._special_modes(target)
        return self.plan

    def _special_modes(self, target: Digest) -> None:
        """Permission bits that were not applied so far, where nothing else made anybody look."""
        planned = {change.path for change in self.plan.modes} | self.plan.touched
        for path, modes in self._unapplied.items():
            found = self._objects.find(target, split_path(path)) if path not in planned else None
            if found is None or isinstance(found.entry, Symlink) or found.entry.mode != modes.wanted:
                continue
            directory, name = disk.split(path)
            try:
                info = disk.lstat(name, self._directories.fd(directory))
            except OSError:  # its directory is still to be written, or is no directory
                continue
            if info is not None and info.st_mode & 0o7777 == modes.disk != modes.wanted:
                self.plan.modes.append(ModeChange(path, found.entry.kind, modes.wanted, modes.wanted))
                self.plan.touched.add(path)
                self._mark(directory)

    # -- directories -----------------------------------------------------------------------------------------------

    def _visible(self, rows: list[Row]) -> list[Row]:
        return [row for row in rows if not is_left_alone(os.fsencode(row[0]))]

    def _directory(self, frame: _Frame) -> None:
        if frame.slot is not None and (frame.clean or frame.slot in self._clean) and self._passed_over(frame):
            return
        try:
            listing = list_directory(self._directories.fd(frame.path))
        except PermissionError:  # nobody can say what is in it, so it is not discarded either
            self.plan.unreadable.append(frame.path)
            self._unsaved(frame.path)
            self._mark(frame.path)
            return
        record = None
        if frame.slot is not None and self._index is not None:
            record = self._index.record(frame.slot)
            if record.tree.digest != frame.base:
                record = None
        clean = record is not None and not record.notes and pack_rows(listing.rows) == record.rows
        if record is not None:
            self.plan.slots[frame.path] = record.slot
        if clean and record is not None and frame.pending in (None, frame.base) and frame.target is not None:
            self._clean_directory(frame, listing.rows, record)
            return
        self._mark(frame.path)
        old: dict[str, Row] = {}
        slots: dict[str, Slot | None] = {}
        if record is not None:
            rows = unpack_rows(record.rows)
            old = {row[0]: row for row in rows}
            for noted, _ in record.notes:  # in the tree as it was before, whatever its row says
                old.pop(noted, None)
            slots = _slots(rows, record)
        base = self._entries(frame.base)
        pending = base if frame.pending == frame.base else self._entries(frame.pending)
        target = base if frame.target == frame.base else self._entries(frame.target)
        if not listing.rows and frame.target is None and frame.base is None and frame.pending is None:
            if not frame.ignored:
                self._unsaved(frame.path)
            return
        present = {os.fsencode(row[0]): row for row in sorted(listing.rows)}
        for name, row in present.items():
            side = _side(base.get(name), pending.get(name), target.get(name))
            self._present(frame, name, row, side, same=old.get(row[0]) == row, slot=slots.get(row[0]))
        staying = present.keys() & target.keys()
        absent = {os.fsencode(name) for name, _ in record.notes} if record is not None else set()
        for name in sorted(target.keys() - present.keys()):
            side = _side(base.get(name), pending.get(name), target.get(name))
            self._absent(frame, name, side, staying, known=name in absent)

    def _passed_over(self, frame: _Frame) -> bool:
        """Do without a listing of a directory that the look ahead found to be as the stat index says; whether that was
        possible."""
        if frame.slot is None or frame.target is None or frame.pending not in (None, frame.base):
            return False
        record = self._record(frame.slot)
        if record.tree.digest != frame.base:
            return False
        if frame.base == frame.target:
            known = self._clean.get(frame.slot)
            self.plan.unchanged += record.tree.entries + (0 if known is None else known.ignored)
        else:
            self.plan.slots[frame.path] = record.slot
            self._clean_directory(frame._replace(clean=True), unpack_rows(record.rows), record)
        return True

    def _clean_directory(self, frame: _Frame, rows: Sequence[Row], record: Record) -> None:
        """A directory that is exactly as the stat index says, with these rows: only what differs between the trees is
        looked at."""
        slots = _slots(rows, record)
        changes: dict[str, _Side] = {}
        if frame.base != frame.target:
            differing = list(pages.diff_entries(self._objects.page, frame.base, frame.target))
            homes = self._pages_of(frame.target, [name for name, _, after in differing if after is not None])
            for name, before, after in differing:
                pending = before if frame.pending is not None else None
                changes[os.fsdecode(name)] = _Side(before, pending, after, homes.get(name, b""))
            self._mark(frame.path)
        self.plan.unchanged += sum(row[0] not in changes for row in rows)
        for name_text, slot in slots.items():
            if slot is not None and name_text not in changes:
                path = disk.join(frame.path, os.fsencode(name_text))
                digest = self._record(slot).tree.digest
                pending_below = digest if frame.pending is not None else None
                self._stack.append(_Frame(path, digest, pending_below, digest, slot, False, frame.clean))
        if not changes:
            return
        by_name = {row[0]: row for row in rows}
        staying = {os.fsencode(text) for text in by_name if text not in changes or changes[text].target is not None}
        for name_text in sorted(changes):
            name, side = os.fsencode(name_text), changes[name_text]
            if (row := by_name.get(name_text)) is not None:
                self._present(frame, name, row, side, same=True, slot=slots.get(name_text))
            else:
                self._absent(frame, name, side, staying)

    def _pages_of(self, directory: Digest | None, names: Sequence[bytes]) -> dict[bytes, Digest]:
        """The page each of these names lies in: one by one if they are few, else by going through all of it."""
        if directory is None:
            return {}
        if len(names) > _FEW:
            wanted = set(names)
            return {
                entry[0]: page
                for page, decoded in pages.iter_pages(self._objects.page, directory)
                for entry in decoded.entries
                if entry[0] in wanted
            }
        found = ((name, pages.find(self._objects.page, directory, name)) for name in names)
        return {name: place[0] for name, place in found if place is not None}

    def _record(self, slot: Slot) -> Record:
        if self._index is None:
            raise ValueError("there is no index")
        return self._index.record(slot)

    def _entries(self, digest: Digest | None) -> dict[bytes, tuple[Entry, Digest]]:
        """name -> (entry, its page) of one directory."""
        if digest is None:
            return {}
        return {
            entry[0]: (entry, page)
            for page, decoded in pages.iter_pages(self._objects.page, digest)
            for entry in decoded.entries
        }

    def _descend(self, frame: _Frame, name: bytes, side: _Side, slot: Slot | None, *, ignored: bool) -> None:
        path = disk.join(frame.path, name)
        disk.check_depth(path)
        base, pending, target = (
            self._objects.descend(entry) if entry is not None and entry[1] == DIRECTORY else None
            for entry in (side.base, side.pending, side.target)
        )
        self._stack.append(_Frame(path, base, pending, target, slot, ignored, frame.clean))

    def _rules_in(self, path: bytes) -> Rules | None:
        """The ignore rules in a directory, read when first asked for: where nothing is untracked nobody asks."""
        missing = []
        while path not in self._rules and path:
            missing.append(path)
            path = disk.split(path)[0]
        if path not in self._rules:
            missing.append(path)
        rules = self._rules.get(path)
        for step in reversed(missing):
            # a directory that cannot be read is found, and counted as unsaved, when it is listed
            with contextlib.suppress(PermissionError):
                content = disk.read_ignore_file(self._directories.fd(step))
                if content is not None:
                    rules = Rules(rules, disk.depth(step), content)
            self._rules[step] = rules
        return rules

    # -- names -----------------------------------------------------------------------------------------------------

    def _absent(
        self, frame: _Frame, name: bytes, side: _Side, staying: Collection[bytes], *, known: bool = False
    ) -> None:
        """A name that is not on disk. staying: those that are and will be. known: it was not there at the last push
        either, which kept it in the tree because it is ignored."""
        if side.target is None:
            return
        path = disk.join(frame.path, name)
        if side.base is not None and not known and not (self._pending is not None and side.base != side.pending):
            self._unsaved(path)
        if disk.exists(name, self._directories.fd(frame.path)) and fold(name) in map(fold, staying):
            # not in the listing, and there all the same: the file system takes it for another name
            raise collision(frame.path, name)
        self._write(path, side, None)

    def _present(self, frame: _Frame, name: bytes, row: Row, side: _Side, *, same: bool, slot: Slot | None) -> None:
        """A name that is on disk. same: the stat index says it is as in the base."""
        path = disk.join(frame.path, name)
        if is_left_alone(name):
            self._keep(frame.path)
            return
        if self._leftover is not None and name.startswith(self._leftover):
            return  # only in a dry run: else it has been taken away
        if len(row) == 1:
            self._unsaved(path)
            return
        mode = row[1]
        tracked = side.base is not None or side.pending is not None
        if not tracked and side.target is None and self._ignored(frame, row):
            self._keep(frame.path)
            return
        if stat.S_ISDIR(mode):
            ignored = not tracked and self._ignored(frame, row)
            self._present_directory(path, mode, side, slot, frame, ignored=ignored)
        elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            self._present_content(frame, path, row, mode, side, same=same)
        elif side.target is not None or frame.target is None:
            self._unsaved(path)
            self._remove(path, OTHER, None, side)

    def _ignored(self, frame: _Frame, row: Row) -> bool:
        if frame.ignored:
            return True
        rules = self._rules_in(frame.path)
        if rules is None:
            return False
        above = frame.path.split(b"/") if frame.path else []
        return rules.ignores(above, os.fsencode(row[0]), is_directory=len(row) > 1 and stat.S_ISDIR(row[1]))

    def _present_directory(
        self, path: bytes, mode: int, side: _Side, slot: Slot | None, frame: _Frame, *, ignored: bool
    ) -> None:
        target = side.target
        bits = mode & 0o7777
        right = isinstance(target, Directory) and self._mode_right(path, bits, target)
        in_trees = any(isinstance(entry, Directory) for entry in (side.base, side.pending, target))
        if in_trees and not right and not self._mode_known(path, bits, side):
            self._unsaved(path)
        if right:
            self.plan.unchanged += 1
        elif target is not None and target[1] == DIRECTORY:
            self.plan.modes.append(ModeChange(path, DIRECTORY, self._rule.of(target), target[2]))
            self._mark(path)
        else:
            self._remove(path, DIRECTORY, None, side)
        self._descend(frame, disk.split(path)[1], side, slot, ignored=ignored)

    def _present_content(self, frame: _Frame, path: bytes, row: Row, mode: int, side: _Side, *, same: bool) -> None:
        kind = FILE if stat.S_ISREG(mode) else SYMLINK
        target = side.target
        content = content_of(side.base) if same else self._read(path, kind, row, side)
        if target is not None and content is not None and content == content_of(target):
            self._same_content(path, row, mode & 0o7777, side, target, hashed=not same)
            return
        if same:  # it is to go, so what the index says is not enough
            content = self._read(path, kind, row, side)
            if target is not None and content is not None and content == content_of(target):
                self._same_content(path, row, mode & 0o7777, side, target, hashed=True)
                return
        saved = tuple(
            entry
            for entry in (side.base, side.pending)
            if entry is not None and content is not None and content_of(entry) == content
        )
        if not saved or (kind == FILE and not self._mode_known(path, mode & 0o7777, side)):
            if target is None and self._ignored(frame, row):
                self._keep(frame.path)
                return
            self._unsaved(path)
        self._remove(path, kind, saved, side)

    def _same_content(self, path: bytes, row: Row, bits: int, side: _Side, target: Entry, *, hashed: bool) -> None:
        """A file or symlink whose content is the target's already."""
        if isinstance(target, File) and not self._mode_right(path, bits, target):
            if not self._mode_known(path, bits, side):
                self._unsaved(path)
            name = disk.split(path)[1]
            info = disk.lstat(name, self._directories.fd(disk.split(path)[0]))
            if info is not None and info.st_nlink > 1:  # chmod would reach outside the tree
                saved = tuple(entry for entry in (side.base, side.pending, target) if entry is not None)
                self._write(path, side, Old(FILE, None if self._discard else saved))
            else:
                self.plan.modes.append(ModeChange(path, FILE, self._rule.of(target), target[2]))
                self.plan.touched.add(path)
                self._mark(disk.split(path)[0])
            return
        self.plan.unchanged += 1
        if hashed:
            self.plan.known[path] = row

    # -- content ---------------------------------------------------------------------------------------------------

    def _read(self, path: bytes, kind: int, row: Row, side: _Side) -> tuple[int, bytes] | None:
        """What names the content of a file or symlink now (see `content_of`); None when it cannot be read, changes
        meanwhile, or cannot be what any of the trees has there."""
        directory, name = disk.split(path)
        parent = self._directories.fd(directory)
        entries = [entry for entry in (side.base, side.pending, side.target) if entry is not None]
        try:
            if kind == SYMLINK:
                return SYMLINK, os.readlink(name, dir_fd=parent)
            if len(row) != 6 or not any(entry[1] == FILE and entry[3] == row[2] for entry in entries):
                return None
            digest, info = disk.hash_file(name, parent)
        except OSError:
            return None
        return (FILE, digest) if row_of(row[0], info) == row else None

    def _mode_right(self, path: bytes, bits: int, target: File | Directory) -> bool:
        """Whether nothing is to be done about permission bits; those that were not applied are tried again only if
        special ones are wanted."""
        if bits == self._rule.of(target):
            return True
        return self._rule is not SPECIAL and self._unapplied.get(path) == (bits, target.mode)

    def _mode_known(self, path: bytes, bits: int, side: _Side) -> bool:
        """Whether permission bits are as a pull or push left them."""
        for entry in (side.base, side.pending):
            if entry is None or isinstance(entry, Symlink):
                continue
            mode = entry.mode
            if bits in (mode, self._rule.of(entry)) or self._unapplied.get(path) == (bits, mode):
                return True
            if self._pending is not None and entry[1] == DIRECTORY and bits == self._rule.of(entry) | 0o700:
                return True
        return False

    # -- what is to be done ----------------------------------------------------------------------------------------

    def _write(self, path: bytes, side: _Side, old: Old | None) -> None:
        if side.target is None:
            raise ValueError("nothing to write")
        self.plan.writes.append(Write(path, side.target, side.page, old))
        self.plan.touched.add(path)
        self._mark(disk.split(path)[0])

    def _remove(self, path: bytes, kind: int, saved: tuple[Entry, ...] | None, side: _Side) -> None:
        """What is at `path` goes; where the target has something else there, that comes."""
        old = Old(kind, None if self._discard else saved)
        if side.target is not None and kind in (FILE, SYMLINK):
            self._write(path, side, old)
            return
        self.plan.removals.append(Removal(path, old))
        self.plan.touched.add(path)
        self._mark(disk.split(path)[0])
        if side.target is not None:
            self._write(path, side, None)

    def _unsaved(self, path: bytes) -> None:
        if self._discard:
            return
        self.plan.unsaved_count += 1
        if len(self.plan.unsaved) < SHOWN:
            self.plan.unsaved.append(path)

    def _mark(self, path: bytes) -> None:
        """`path` is a directory that is not wholly as the index says; nor are those above it."""
        dirty = self.plan.dirty
        while path not in dirty:
            dirty.add(path)
            if not path:
                return
            path = disk.split(path)[0]

    def _keep(self, directory: bytes) -> None:
        """`directory` holds something that stays whatever happens."""
        self._mark(directory)
        while directory and directory not in self._keeping:
            self._keeping.add(directory)
            directory = disk.split(directory)[0]

    def _settle_kept(self) -> None:
        """Directories that were to go and hold what stays: they stay, or block what is to come in their place."""
        plan = self.plan
        going = {removal.path for removal in plan.removals if removal.old.kind == DIRECTORY}
        plan.kept = going & self._keeping
        if not plan.kept:
            return
        plan.removals = [removal for removal in plan.removals if removal.path not in plan.kept]
        plan.blocked = [write.path for write in plan.writes if write.path in plan.kept]


def _side(
    base: tuple[Entry, Digest] | None, pending: tuple[Entry, Digest] | None, target: tuple[Entry, Digest] | None
) -> _Side:
    return _Side(
        base[0] if base else None,
        pending[0] if pending else None,
        target[0] if target else None,
        target[1] if target else b"",
    )


def content_of(entry: Entry | None) -> tuple[int, bytes] | None:
    """What names the content of a file (its digest) or symlink (its target), with its kind."""
    if entry is None or entry[1] == DIRECTORY:
        return None
    return (FILE, entry[4]) if entry[1] == FILE else (SYMLINK, entry[2])


def fold(name: bytes) -> str:
    """The name as a file system that folds letter case or normalises might see it."""
    return unicodedata.normalize("NFC", os.fsdecode(name).casefold())


def _slots(rows: Sequence[Row], record: Record) -> dict[str, Slot | None]:
    """name -> record, for the directories among the rows of a record."""
    names = (row[0] for row in rows if len(row) == 2)
    return dict(zip(names, record.children, strict=True))
