"""The stat index that a checkout leaves, so that the push after a pull need not read everything again.

Every directory that changed is listed once more. A file's row is kept when the file is known to have the target's
content: written by this checkout, or hashed by it, or unchanged since the old index said so. All else is left unsure.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from jvs.castore import pages
from jvs.castore.checkout import disk
from jvs.castore.checkout.plan import Plan
from jvs.castore.checkout.stage import Made, rows_check
from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import IGNORE_FILE, Rules
from jvs.castore.ingest.statindex import NO_RULES, OWN_RULES, UNKNOWN_RULES, IndexBuilder, Slot, StatIndex, unpack_rows
from jvs.castore.ingest.walk import FileClock, Row, list_directory, trusted_row
from jvs.castore.manifest import DIRECTORY
from jvs.castore.names import is_control_name
from jvs.castore.objects import ObjectStore


class _Frame(NamedTuple):
    """A directory that is being done: its rows, then those of its subdirectories, then its record.

    below: (name, its tree, its old record) of subdirectories still to be done, last first; done: places of the others.
    """

    path: bytes
    digest: Digest
    mark: int
    rows: list[Row]
    above: Rules | None
    inside: Rules | None
    strange: bool
    below: list[tuple[bytes, Digest, Slot | None]]
    done: dict[str, Slot]


class Reindexer:
    """Builds the new index of a directory that is now `target`; use once."""

    def __init__(
        self,
        objects: ObjectStore,
        directories: disk.Directories,
        index: StatIndex,
        plan: Plan,
        made: dict[bytes, Made],
        written: dict[bytes, Row],
    ) -> None:
        """made: directories written by the checkout. written: rows of files it wrote, as they are in place."""
        self._objects = objects
        self._directories = directories
        self._index = index
        self._plan = plan
        self._made = made
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
        stack = [self._open(b"", target, builder.mark(), None)]
        while True:
            frame = stack[-1]
            if frame.below:
                name, digest, slot = frame.below.pop()
                path = disk.join(frame.path, name)
                mark = builder.mark()
                if slot is not None and path not in self._plan.dirty and path not in self._made:
                    record = self._index.record(slot)
                    if record.tree.digest == digest:
                        frame.done[os.fsdecode(name)] = builder.keep(record, mark)
                        continue
                stack.append(self._open(path, digest, mark, frame.inside))
                continue
            stack.pop()
            slot = self._add(builder, frame)
            if not stack:
                return slot
            stack[-1].done[os.fsdecode(disk.split(frame.path)[1])] = slot

    def _open(self, path: bytes, digest: Digest, mark: int, rules: Rules | None) -> _Frame:
        fd = self._directories.fd(path)
        listing = list_directory(fd)
        below = self._subdirectories(path, digest)
        made = self._made.get(path)
        names = {os.fsdecode(name) for name in below}
        strange = any(is_control_name(os.fsencode(row[0])) for row in listing.rows)
        strange = strange or any(row[0] not in names for row in listing.rows if len(row) == 2)
        if made is not None:
            apart = [row for row in listing.rows if disk.join(path, os.fsencode(row[0])) not in self._written]
            believed = rows_check(row for row in apart if not is_control_name(os.fsencode(row[0]))) == made.check
            old: dict[str, Row] = {}
        else:
            believed = False
            old = self._old_rows(path)
            strange = strange or not self._has_only(digest, listing.rows)
        settled = self._clock.settled_before(fd, listing.rows)
        rows = [
            row if len(row) == 2 else trusted_row(row, settled) if self._known(path, row, believed, old) else (row[0],)
            for row in listing.rows
        ]
        inside = rules
        if any(row[0] == IGNORE_FILE for row in listing.rows):
            content = disk.read_ignore_file(fd)
            if content is not None:
                inside = Rules(rules, disk.depth(path), content)
        present = {row[0] for row in listing.rows if len(row) == 2}
        todo = [(name, *known) for name, known in sorted(below.items(), reverse=True) if os.fsdecode(name) in present]
        return _Frame(path, digest, mark, rows, rules, inside, strange, todo, {})

    def _known(self, path: bytes, row: Row, believed: bool, old: dict[str, Row]) -> bool:
        """Whether the entry's content is known to be the target's."""
        full = disk.join(path, os.fsencode(row[0]))
        if full in self._written:
            return self._written[full] == row
        if full in self._plan.known:
            return self._plan.known[full] == row
        return believed or (old.get(row[0]) == row and full not in self._plan.touched)

    def _old_rows(self, path: bytes) -> dict[str, Row]:
        slot = self._plan.slots.get(path)
        if slot is None:
            return {}
        record = self._index.record(slot)
        noted = {name for name, _ in record.notes}
        return {row[0]: row for row in unpack_rows(record.rows) if row[0] not in noted}

    def _has_only(self, digest: Digest, rows: list[Row]) -> bool:
        """Whether every row is an entry of the directory `digest` (else something was ignored or left out)."""
        names = {os.fsdecode(entry[0]) for entry in pages.iter_entries(self._objects.page, digest)}
        return all(row[0] in names for row in rows)

    def _subdirectories(self, path: bytes, digest: Digest) -> dict[bytes, tuple[Digest, Slot | None]]:
        """name -> (its tree, its old record if there is one) of the target's subdirectories."""
        slot = self._plan.slots.get(path)
        slots: dict[str, Slot | None] = {}
        if slot is not None:
            record = self._index.record(slot)
            names = (row[0] for row in unpack_rows(record.rows) if len(row) == 2)
            slots = dict(zip(names, record.children, strict=True))
        return {
            entry[0]: (entry[3], slots.get(os.fsdecode(entry[0])))
            for entry in pages.iter_entries(self._objects.page, digest)
            if entry[1] == DIRECTORY
        }

    def _add(self, builder: IndexBuilder, frame: _Frame) -> Slot:
        rules = UNKNOWN_RULES if frame.strange else frame.above.digest if frame.above is not None else NO_RULES
        return builder.add(
            frame.mark,
            frame.rows,
            self._objects.tree(frame.digest),
            [frame.done.get(row[0]) for row in frame.rows if len(row) == 2],
            rules=rules,
            flags=OWN_RULES if frame.inside is not frame.above else 0,
        )
