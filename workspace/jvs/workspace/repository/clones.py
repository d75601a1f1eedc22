"""Making sure that the clone of a worktree is a certain snapshot, without reading it.

A file of the clone is known to be the snapshot's when the stat index of the original says that the original was, when
the original still is as the index says (looked at after it was cloned), and when the clone has its size, mode and time.
Then the clone's own stat index may say so, too: the next snapshot there reads nothing. Whatever is not known so is left
to a checkout, which reads it, and writes it anew where it differs.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from jvs.castore import pages
from jvs.castore.checkout import disk
from jvs.castore.digest import Digest
from jvs.castore.ingest.statindex import IndexBuilder, Record, Slot, StatIndex, unpack_rows
from jvs.castore.ingest.walk import FileClock, Row, list_directory, stamped_before
from jvs.castore.manifest import DIRECTORY
from jvs.castore.objects import ObjectStore


class _Child(NamedTuple):
    name: str
    record: Record


class _Frame:
    """A directory that is being looked at: its record is written when those below it are."""

    def __init__(self, record: Record, mark: int, rows: list[Row], below: list[_Child], path: bytes) -> None:
        self.record = record
        self.mark = mark
        self.rows = rows
        self.below = below
        self.path = path
        self.slots: list[Slot | None] = []


def settle(objects: ObjectStore, target: Digest, source: str, known: StatIndex, clone: str, index: StatIndex) -> bool:
    """Take out of `clone`, which nobody else knows of yet, what the snapshot `target` has not, and write its stat
    index; whether all of it is known to be the snapshot. known: the stat index of the directory `source`, which was
    cloned. Raises OSError."""
    those, these = disk.open_root(source), disk.open_root(clone)
    try:
        with disk.Directories(those) as originals, disk.Directories(these) as clones:
            return _Settler(objects, originals, clones, known, index).run(target)
    finally:
        os.close(those)
        os.close(these)


class _Settler:
    def __init__(
        self,
        objects: ObjectStore,
        originals: disk.Directories,
        clones: disk.Directories,
        known: StatIndex,
        index: StatIndex,
    ) -> None:
        self._objects = objects
        self._originals = originals
        self._clones = clones
        self._known = known
        self._builder: IndexBuilder = index.builder()
        self._sure = True
        self._clock = FileClock()
        self._stamp: int | None = None

    def run(self, target: Digest) -> bool:
        """See `settle`."""
        if self._known.root != target:
            self._prune(target)
            return False
        # nobody knows of the clone, so no change has a stamp that it shows already
        self._stamp = stamped_before(self._clones.fd(b""))
        try:
            self._builder.finish(target, self._walk(target))
            self._builder.save()
        finally:
            self._builder.close()
        return self._sure

    def _prune(self, target: Digest) -> None:
        """Where nothing is known of any file: take out what the snapshot has not."""
        stack = [(b"", target)]
        while stack:
            path, digest = stack.pop()
            entries = {entry[0]: entry for entry in pages.iter_entries(self._objects.page, digest)}
            fd = self._clones.fd(path)
            for row in list_directory(fd).rows:
                name = os.fsencode(row[0])
                entry = entries.get(name)
                if entry is None:
                    disk.remove_tree(name, fd)
                elif entry[1] == DIRECTORY and len(row) == 2:
                    stack.append((disk.join(path, name), self._objects.descend(entry)))

    def _walk(self, target: Digest) -> Slot:
        stack = [self._frame(b"", self._known.top)]
        while True:
            frame = stack[-1]
            if len(frame.slots) < len(frame.below):
                child = frame.below[len(frame.slots)]
                stack.append(self._frame(disk.join(frame.path, os.fsencode(child.name)), child.record))
                continue
            stack.pop()
            record = frame.record
            slot = self._builder.add(
                frame.mark, frame.rows, record.tree, frame.slots, rules=record.rules, flags=record.flags
            )
            if not stack:
                return slot
            stack[-1].slots.append(slot)

    def _frame(self, path: bytes, record: Record) -> _Frame:
        old = {row[0]: row for row in unpack_rows(record.rows)}
        children = (row[0] for row in unpack_rows(record.rows) if len(row) == 2)
        slots = dict(zip(children, record.children, strict=True))
        for name, _ in record.notes:  # in the tree as it was before, whatever its row says
            old.pop(name, None)
        kinds = {
            os.fsdecode(entry[0]): entry[1] for entry in pages.iter_entries(self._objects.page, record.tree.digest)
        }
        now = self._originals_rows(path)
        fd = self._clones.fd(path)
        listed = list_directory(fd).rows
        settled = self._stamp if self._stamp is not None else self._clock.settled_before(fd, listed)
        rows: list[Row] = []
        below: list[_Child] = []
        for row in listed:
            name = row[0]
            if name not in kinds:
                disk.remove_tree(os.fsencode(name), fd)
                continue
            slot = slots.get(name) if kinds[name] == DIRECTORY and old.get(name) == row else None
            if slot is not None:
                rows.append(row)
                below.append(_Child(name, self._known.record(slot)))
            elif _is_clone(row, now.get(name), old.get(name)) and row[4] <= settled:  # type: ignore[misc]
                rows.append(row)
            else:
                self._sure = False
                rows.append((name,))
        missing = kinds.keys() - {row[0] for row in listed}
        if missing:
            self._sure = False
            rows += [(name,) for name in missing]  # equal to no listing: nobody takes the directory for complete
        return _Frame(record, self._builder.mark(), rows, below, path)

    def _originals_rows(self, path: bytes) -> dict[str, Row]:
        """What is in the directory of the original now; nothing where there is none any more."""
        try:
            return {row[0]: row for row in list_directory(self._originals.fd(path)).rows}
        except OSError:
            return {}


def _is_clone(row: Row, now: Row | None, old: Row | None) -> bool:
    """Whether a row is that of a clone of what was known by the row `old`, and is so `now`."""
    return len(row) == 6 and now is not None and now == old and row[1:4] == now[1:4]
