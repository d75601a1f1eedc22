"""The stat index that a checkout leaves, so that the push after a pull need not read everything again.

A file's row is kept when the file is known to have the target's content: written by this checkout, or hashed by it, or
unchanged since the old index said so. All else is left unsure. Directories that the checkout made are taken as it
made them, others that changed are listed once more.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from jvs.castore import pages
from jvs.castore.checkout import disk
from jvs.castore.checkout.content import Made, Written
from jvs.castore.checkout.plan import Plan
from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import IGNORE_FILE, Rules
from jvs.castore.ingest.statindex import NO_RULES, OWN_RULES, UNKNOWN_RULES, IndexBuilder, Slot, StatIndex, unpack_rows
from jvs.castore.ingest.walk import FileClock, Row, list_directory, trusted_row
from jvs.castore.manifest import DIRECTORY, Tree
from jvs.castore.names import is_control_name
from jvs.castore.objects import ObjectStore


class _Child(NamedTuple):
    """A subdirectory: its name, its tree (None: it is not in the target), and its old record if there is one."""

    name: str
    digest: Digest | None
    slot: Slot | None = None


class _Frame:
    """A directory that is being done: its rows, then the records of its subdirectories, then its own.

    settled  times at or before this one tell any later change (inherited by directories that were made)
    rules    the ignore rules that hold in it; own_rules: whether some of them are its own
    below    its subdirectories in the order of the rows, of which `slots` says where the new records of the first are
    strange  it holds names that are not the target's
    """

    def __init__(
        self,
        path: bytes,
        tree: Tree,
        mark: int,
        rows: bytes | list[Row],
        settled: int,
        rules: Rules | None,
        own_rules: bool,
        below: list[_Child],
        *,
        strange: bool = False,
    ) -> None:
        self.path = path
        self.tree = tree
        self.mark = mark
        self.rows = rows
        self.settled = settled
        self.rules = rules
        self.own_rules = own_rules
        self.below = below
        self.strange = strange
        self.slots: list[Slot | None] = []


class Reindexer:
    """Builds the new index of a directory that is now the target; use once."""

    def __init__(
        self,
        objects: ObjectStore,
        directories: disk.Directories,
        index: StatIndex,
        plan: Plan,
        new: Written,
        written: dict[bytes, Row],
    ) -> None:
        """new: what was staged. written: rows of files that were put in place one by one, as they are there."""
        self._objects = objects
        self._directories = directories
        self._index = index
        self._plan = plan
        self._new = new
        self._written = written
        self._clock = FileClock()

    def run(self, target: Digest) -> IndexBuilder:
        """The finished builder, to be saved. Raises OSError when the directory cannot be listed as it should."""
        builder = self._index.builder()
        try:
            builder.finish(target, self._build(builder, target))
        except BaseException:
            builder.close()
            raise
        return builder

    def _build(self, builder: IndexBuilder, target: Digest) -> Slot:
        stack = [self._listed(b"", target, builder.mark(), None)]
        while True:
            frame = stack[-1]
            if len(frame.slots) == len(frame.below):
                stack.pop()
                slot = self._add(builder, frame)
                if not stack:
                    return slot
                stack[-1].slots.append(slot)
                continue
            child = frame.below[len(frame.slots)]
            path = disk.join(frame.path, os.fsencode(child.name))
            made = self._new.made.get(path)
            if child.digest is None:
                frame.slots.append(None)
            elif made is not None and made.rows and made.ordered:
                stack.append(self._as_made(path, made, builder.mark(), frame))
            elif (kept := self._unchanged(child, path)) is not None:
                frame.slots.append(builder.keep(self._index.record(kept), builder.mark()))
            else:
                stack.append(self._listed(path, child.digest, builder.mark(), frame.rules))

    def _unchanged(self, child: _Child, path: bytes) -> Slot | None:
        """The old record of a directory that is wholly as it says."""
        if child.slot is None or path in self._plan.dirty or path in self._new.made:
            return None
        return child.slot if self._index.record(child.slot).tree.digest == child.digest else None

    # -- rows ------------------------------------------------------------------------------------------------------

    def _as_made(self, path: bytes, made: Made, mark: int, above: _Frame) -> _Frame:
        """A directory that the checkout wrote: its rows as they were, out of everybody's reach, when it was done."""
        rows: bytes | list[Row] = made.rows
        if made.newest > above.settled or self._new.unapplied:
            rows = [self._row_made(path, row, above.settled) for row in unpack_rows(made.rows)]
        below = [_Child(name, self._new.made[disk.join(path, os.fsencode(name))].tree.digest) for name in made.below]
        rules = self._rules(path, above.rules) if made.own_rules else above.rules
        return _Frame(path, made.tree, mark, rows, above.settled, rules, made.own_rules, below)

    def _row_made(self, path: bytes, row: Row, settled: int) -> Row:
        if len(row) == 2:
            modes = self._new.unapplied.get(disk.join(path, os.fsencode(row[0])))
            return row if modes is None else (row[0], stat.S_IFDIR | modes.disk)
        return trusted_row(row, settled)

    def _listed(self, path: bytes, digest: Digest, mark: int, rules: Rules | None) -> _Frame:
        """A directory that was there, and changed."""
        fd = self._directories.fd(path)
        listing = list_directory(fd)
        names: set[str] = set()
        children: dict[str, Digest] = {}
        for entry in pages.iter_entries(self._objects.page, digest):
            names.add(os.fsdecode(entry[0]))
            if entry[1] == DIRECTORY:
                children[os.fsdecode(entry[0])] = entry[3]
        old, slots = self._old(path)
        settled = self._clock.settled_before(fd, listing.rows)
        rows: list[Row] = []
        for row in listing.rows:
            known = len(row) == 2 or self._known(disk.join(path, os.fsencode(row[0])), row, old)
            rows.append(trusted_row(row, settled) if known else (row[0],))
        own_rules = any(row[0] == IGNORE_FILE for row in rows)
        return _Frame(
            path,
            self._objects.tree(digest),
            mark,
            rows,
            settled,
            self._rules(path, rules) if own_rules else rules,
            own_rules,
            [_Child(row[0], children.get(row[0]), slots.get(row[0])) for row in rows if len(row) == 2],
            strange=any(row[0] not in names or is_control_name(os.fsencode(row[0])) for row in rows),
        )

    def _known(self, path: bytes, row: Row, old: dict[str, Row]) -> bool:
        """Whether the entry's content is known to be the target's."""
        for rows in (self._written, self._plan.known, self._new.rows):
            if (known := rows.get(path)) is not None:
                return known == row
        return old.get(row[0]) == row and path not in self._plan.touched

    def _old(self, path: bytes) -> tuple[dict[str, Row], dict[str, Slot | None]]:
        """What is known of the files in a directory from when it was written, or from the old index; and the old
        records of its subdirectories."""
        made = self._new.made.get(path)
        if made is not None:
            return {row[0]: row for row in unpack_rows(made.rows)} if made.rows else {}, {}
        slot = self._plan.slots.get(path)
        if slot is None:
            return {}, {}
        record = self._index.record(slot)
        rows = unpack_rows(record.rows)
        noted = {name for name, _ in record.notes}
        names = (row[0] for row in rows if len(row) == 2)
        return {row[0]: row for row in rows if row[0] not in noted}, dict(zip(names, record.children, strict=True))

    # -- records ---------------------------------------------------------------------------------------------------

    def _rules(self, path: bytes, above: Rules | None) -> Rules | None:
        content = disk.read_ignore_file(self._directories.fd(path))
        return above if content is None else Rules(above, disk.depth(path), content)

    def _add(self, builder: IndexBuilder, frame: _Frame) -> Slot:
        rules = UNKNOWN_RULES if frame.strange else NO_RULES if frame.rules is None else frame.rules.digest
        flags = OWN_RULES if frame.own_rules else 0
        return builder.add(frame.mark, frame.rows, frame.tree, frame.slots, rules=rules, flags=flags)
