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
from jvs.castore.checkout.plan import Plan
from jvs.castore.checkout.stage import Made, Stager
from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import IGNORE_FILE, Rules
from jvs.castore.ingest.statindex import NO_RULES, OWN_RULES, UNKNOWN_RULES, IndexBuilder, Slot, StatIndex, unpack_rows
from jvs.castore.ingest.walk import FileClock, Row, list_directory, trusted_row
from jvs.castore.manifest import DIRECTORY, Tree
from jvs.castore.names import is_control_name
from jvs.castore.objects import ObjectStore


class _Child(NamedTuple):
    """A subdirectory still to be done: its name, its tree, and its old record if there is one."""

    name: bytes
    digest: Digest
    slot: Slot | None


class _Frame(NamedTuple):
    """A directory that is being done: its rows, then the records of its subdirectories, then its own.

    settled     times at or before this one tell any later change (inherited by directories that were made)
    above       the ignore rules that came down; inside: those in it
    strange     it holds names that are not the target's
    below       what is still to be done, last first; done: the places of the others by name
    """

    path: bytes
    tree: Tree
    mark: int
    rows: list[Row]
    settled: int
    above: Rules | None
    inside: Rules | None
    strange: bool
    below: list[_Child]
    done: dict[str, Slot]


class Reindexer:
    """Builds the new index of a directory that is now the target; use once."""

    def __init__(
        self,
        objects: ObjectStore,
        directories: disk.Directories,
        index: StatIndex,
        plan: Plan,
        stager: Stager,
        written: dict[bytes, Row],
    ) -> None:
        """written: rows of files that were put in place one by one, as they are there."""
        self._objects = objects
        self._directories = directories
        self._index = index
        self._plan = plan
        self._stager = stager
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
            if frame.below:
                child = frame.below.pop()
                path = disk.join(frame.path, child.name)
                mark = builder.mark()
                made = self._stager.made.get(path)
                if made is not None and made.rows:
                    stack.append(self._as_made(path, made, mark, frame))
                elif (slot := self._unchanged(child, path)) is not None:
                    frame.done[os.fsdecode(child.name)] = builder.keep(self._index.record(slot), mark)
                else:
                    stack.append(self._listed(path, child.digest, mark, frame.inside))
                continue
            stack.pop()
            slot = self._add(builder, frame)
            if not stack:
                return slot
            stack[-1].done[os.fsdecode(disk.split(frame.path)[1])] = slot

    def _unchanged(self, child: _Child, path: bytes) -> Slot | None:
        """The old record of a directory that is wholly as it says."""
        if child.slot is None or path in self._plan.dirty or path in self._stager.made:
            return None
        return child.slot if self._index.record(child.slot).tree.digest == child.digest else None

    # -- rows ------------------------------------------------------------------------------------------------------

    def _as_made(self, path: bytes, made: Made, mark: int, above: _Frame) -> _Frame:
        """A directory that the checkout wrote: its rows as they were, out of everybody's reach, when it was done."""
        rows = list(unpack_rows(made.rows))
        young = made.newest > above.settled
        own_rules = False
        for number, row in enumerate(rows):
            if len(row) == 6:
                own_rules = own_rules or row[0] == IGNORE_FILE
                if young:
                    rows[number] = trusted_row(row, above.settled)
                continue
            full = disk.join(path, os.fsencode(row[0]))
            if len(row) == 1:
                rows[number] = trusted_row(self._stager.rows.get(full, row), above.settled)
            elif (modes := self._stager.unapplied.get(full)) is not None:
                rows[number] = (row[0], stat.S_IFDIR | modes.disk)
        below = [_Child(name, self._stager.made[disk.join(path, name)].tree.digest, None) for name in made.below]
        below.reverse()
        rules = self._rules(path, above.inside) if own_rules else above.inside
        return _Frame(path, made.tree, mark, rows, above.settled, above.inside, rules, False, below, {})

    def _listed(self, path: bytes, digest: Digest, mark: int, rules: Rules | None) -> _Frame:
        """A directory that was there, and changed."""
        fd = self._directories.fd(path)
        listing = list_directory(fd)
        names: set[str] = set()
        children: dict[bytes, Digest] = {}
        for entry in pages.iter_entries(self._objects.page, digest):
            names.add(os.fsdecode(entry[0]))
            if entry[1] == DIRECTORY:
                children[entry[0]] = entry[3]
        old, slots = self._old(path)
        settled = self._clock.settled_before(fd, listing.rows)
        rows: list[Row] = []
        for row in listing.rows:
            known = len(row) == 2 or self._known(disk.join(path, os.fsencode(row[0])), row, old)
            rows.append(trusted_row(row, settled) if known else (row[0],))
        present = {row[0] for row in listing.rows if len(row) == 2}
        below = [
            _Child(name, children[name], slots.get(os.fsdecode(name)))
            for name in sorted(children, reverse=True)
            if os.fsdecode(name) in present
        ]
        has_rules = any(row[0] == IGNORE_FILE for row in listing.rows)
        return _Frame(
            path,
            self._objects.tree(digest),
            mark,
            rows,
            settled,
            rules,
            self._rules(path, rules) if has_rules else rules,
            any(row[0] not in names or is_control_name(os.fsencode(row[0])) for row in listing.rows),
            below,
            {},
        )

    def _known(self, path: bytes, row: Row, old: dict[str, Row]) -> bool:
        """Whether the entry's content is known to be the target's."""
        if path in self._written:
            return self._written[path] == row
        if path in self._plan.known:
            return self._plan.known[path] == row
        return old.get(row[0]) == row and path not in self._plan.touched

    def _old(self, path: bytes) -> tuple[dict[str, Row], dict[str, Slot | None]]:
        """What the old index says of the files, and of the subdirectories, of a directory that changed."""
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
        rules = UNKNOWN_RULES if frame.strange else frame.inside.digest if frame.inside is not None else NO_RULES
        return builder.add(
            frame.mark,
            frame.rows,
            frame.tree,
            [frame.done.get(row[0]) for row in frame.rows if len(row) == 2],
            rules=rules,
            flags=OWN_RULES if frame.inside is not frame.above else 0,
        )
