"""One directory that is not as the stat index has it: which names differ, and the directory made of them.

Few changes are an *edit* of the directory's pages in the base; many, or no index, are a *merge* of the listing with
the base's entries, in name order. Both make the very same pages.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from jvs.castore import pages
from jvs.castore.digest import Digest, file_digest
from jvs.castore.ingest.stable import TICK_NS, Found, attempt, read_small, settle
from jvs.castore.ingest.state import CONTROL, LEFTOVER, SILENT, Done, Frame, Run
from jvs.castore.ingest.statindex import OWN_RULES, Slot, pack_rows, unpack_rows
from jvs.castore.ingest.walk import RACY_NS, Row, trusted_row
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Directory, Entry, File, Symlink, Tree
from jvs.castore.names import MAX_NAME, is_left_alone
from jvs.castore.treesink import DirectoryWriter

EDITS: Final = 1024
"""A directory with more changed names than this is merged, not edited."""
HOLD: Final = 64 << 20
"""Bytes of small files that may wait for their page; beyond that they are streamed as large ones are."""
_EVERY: Final = 512

_KIND: Final = 0o170000
_REGULAR: Final = stat.S_IFREG
_VERSIONED: Final = frozenset({stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR})
_SPECIAL: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}
_TOO_LONG: Final = f"its name has more than {MAX_NAME} bytes"
_NO_CONTENT: Final = "its kind cannot be versioned"


class _Looked(NamedTuple):
    """What was found under a name. entry: None when nothing of it belongs into the tree; content: of a small file."""

    entry: Entry | None
    content: bytes | None = None


_GONE: Final = _Looked(None)


def classify(run: Run, frame: Frame) -> None:
    """Sort the rows of a frame that is not clean: what may be in its tree (`present`), which directories are entered,
    what is left out and why."""
    record = frame.record
    slots: dict[str, Slot | None] = {}
    if record is not None:
        rows = unpack_rows(record.rows)
        slots = dict(zip((row[0] for row in rows if len(row) == 2), record.children, strict=True))
        if not run.rehash:
            frame.stored = {row[0]: row for row in rows}
            for name, reason in record.notes:
                if reason == SILENT:
                    frame.stored.pop(name, None)
    token = run.leftovers_token
    for row in frame.rows:
        name = row[0]
        if name[0] == "." and is_left_alone(os.fsencode(name)):
            run.note(frame, name, CONTROL)
            continue
        if token is not None and token in name:
            run.note(frame, name, LEFTOVER)
            continue
        if frame.rules is not None and frame.ignores(os.fsencode(name), is_directory=len(row) == 2):
            frame.ignored.add(os.fsencode(name))
            continue
        if len(name) * 4 > MAX_NAME and len(os.fsencode(name)) > MAX_NAME:
            run.note(frame, name, _TOO_LONG)
            continue
        if len(row) == 2:
            frame.enter.append(name)
            frame.slots.append(slots.get(name))
        elif len(row) == 6 and row[1] & _KIND not in _VERSIONED:
            run.note(frame, name, _SPECIAL.get(row[1] & _KIND, _NO_CONTENT))
            continue
        frame.present.append(row)


def build(run: Run, frame: Frame) -> Done:
    """Make the directory of a frame whose subdirectories are finished."""
    work = _Work(run, frame, run.trail.fd())
    record = frame.record
    if record is None or run.rehash or record.rules != frame.rules_digest:
        return _record(run, frame, work.merge(), work.fresh)
    directories = [row for row in frame.present if len(row) == 2 and work.differs(row)]
    if frame.clean:
        return _record(run, frame, work.edit([], [], directories), work.fresh)
    stored = frame.stored
    dirty = [row for row in frame.present if len(row) != 2 and stored.get(row[0]) != row]
    replaced = [name for name, _ in frame.notes if stored.get(name) is not None]  # by a FIFO, say
    now = {row[0] for row in frame.rows}
    silent = [name for name, reason in record.notes if reason == SILENT]
    gone = [name for name in (*stored, *silent) if name not in now]
    if len(dirty) + len(replaced) + len(gone) + len(directories) > EDITS:
        return _record(run, frame, work.merge(), work.fresh)
    return _record(run, frame, work.edit(dirty, replaced + gone, directories), work.fresh)


class _Work:
    """The making of one directory."""

    def __init__(self, run: Run, frame: Frame, fd: int) -> None:
        self.run = run
        self.frame = frame
        self.fd = fd
        self.old = run.old(frame)
        self.left_out = {os.fsencode(name) for name, reason in frame.notes if reason != SILENT}
        self.fresh: dict[str, Row | None] = {}
        """Rows for the new index that differ from the listing's; None: there is nothing of that name any more."""
        self._recent = frame.settled + RACY_NS - TICK_NS

    def differs(self, row: Row) -> bool:
        """Whether the entry of a subdirectory may be another one than the base's."""
        done = self.frame.results.get(row[0])
        return not isinstance(done, Done) or done.was != done.tree or not self._known(row)

    def _known(self, row: Row) -> bool:
        return self.frame.clean or self.frame.stored.get(row[0]) == row

    # -- few changes -----------------------------------------------------------------------------------------------

    def edit(self, dirty: Sequence[Row], gone: Sequence[str], directories: Sequence[Row]) -> Tree:
        """The base's directory with new entries for `dirty` rows and `directories`, and without the `gone` names."""
        assert self.old is not None
        assert self.frame.record is not None
        on_disk = {row[0] for row in self.frame.rows}
        self.frame.absent.update(
            os.fsencode(name)
            for name, reason in self.frame.record.notes
            if reason == SILENT and name not in on_disk  # ignored by the same rules as then
        )
        changes: dict[bytes, Entry | None] = {}
        contents: dict[Digest, bytes] = {}
        held = 0

        def change(name: bytes, before: Entry | None, looked: _Looked) -> None:
            nonlocal held
            if looked.entry == before:
                return
            changes[name] = looked.entry
            if looked.content and isinstance(looked.entry, File) and not _same_bytes(looked.entry, before):
                contents[looked.entry.digest] = looked.content
                held += len(looked.content)

        for row in dirty:
            name = os.fsencode(row[0])
            before = self.run.old_entry(self.old, name)
            change(name, before, self.look(row, name, before, stream=held > HOLD))
        for text in gone:
            name = os.fsencode(text)
            before = self.run.old_entry(self.old, name)
            if before is not None:
                change(name, before, self.missing(name, before))
        for row in directories:
            name = os.fsencode(row[0])
            before = self.run.old_entry(self.old, name)
            change(name, before, self.directory(row, name, before))
        self.run.advance(held, len(dirty))
        return self.run.sink.edit(self.old, changes, contents) if changes else self.frame.record.tree

    # -- many changes ----------------------------------------------------------------------------------------------

    def merge(self) -> Tree:
        """The listing and the base's entries, both in name order, as one directory."""
        run, frame, fd = self.run, self.frame, self.fd
        out = run.sink.directory()
        limit, recent, settled = run.limit, self._recent, frame.settled
        plain = not run.unapplied
        old_entries = self._old_entries()
        old = next(old_entries, None)
        size = 0
        names = sorted([(os.fsencode(row[0]), row) for row in frame.present])
        for count, (name, row) in enumerate(names, 1):
            while old is not None and old[0][0] < name:
                self._pass(out, *old)
                old = next(old_entries, None)
            before: Entry | None = None
            page: Digest | None = None
            if old is not None and old[0][0] == name:
                before, page = old
                old = next(old_entries, None)
            if not count % _EVERY:
                run.advance(size, _EVERY)
                size = 0
            if (
                before is None
                and plain
                and len(row) == 6
                and row[1] & _KIND == _REGULAR
                and row[2] <= limit
                and row[4] <= recent
                and out.held <= HOLD
            ):
                # a first push spends its time here
                try:
                    data = read_small(row[0], fd, row)
                except OSError:
                    data = None  # looked at again below
                if data is not None:
                    out.add(tuple.__new__(File, (name, FILE, row[1] & 0o7777, row[2], file_digest(data))), data)
                    size += row[2]
                    if row[3] > settled or row[4] > settled:
                        self.fresh[row[0]] = (row[0],)
                    continue
            if len(row) == 2:
                looked = self.directory(row, name, before)
            elif before is not None and self._known(row) and _same_kind(before, row):
                looked = _Looked(before)
            else:
                looked = self.look(row, name, before, stream=out.held > HOLD)
                size += len(looked.content or b"")
            self._add(out, looked, before, page)
        while old is not None:
            self._pass(out, *old)
            old = next(old_entries, None)
        run.advance(size, len(names) % _EVERY)
        return out.finish()

    def _old_entries(self) -> Iterator[tuple[Entry, Digest]]:
        if self.old is not None:
            for digest, page in pages.iter_pages(self.run.sink.objects.page, self.old):
                for entry in page.entries:
                    yield entry, digest

    def _pass(self, out: DirectoryWriter, before: Entry, page: Digest) -> None:
        """An entry of the base whose name is not among those that may be in the tree."""
        self._add(out, self.missing(before[0], before), before, page)

    def _add(self, out: DirectoryWriter, looked: _Looked, before: Entry | None, page: Digest | None) -> None:
        entry = looked.entry
        if entry is None:
            return
        if _same_bytes(entry, before):
            out.add(entry, None, page)
        else:
            out.add(entry, looked.content)

    # -- one name --------------------------------------------------------------------------------------------------

    def look(self, row: Row, name: bytes, before: Entry | None, *, stream: bool) -> _Looked:
        """Read what `row` is about. Not readable: the entry `before` of the base stays, where there is one."""
        text = row[0]
        run, frame = self.run, self.frame
        limit = -1 if stream else run.limit
        try:
            if text in frame.failed:
                raise frame.failed[text]
            found = None
            if len(row) == 6 and row[4] <= self._recent:
                found = attempt(run.sink, text, self.fd, row, limit, run.advance)
            if found is None:
                found = settle(run.sink, text, self.fd, limit, run.clock, run.advance)
        except FileNotFoundError:
            self.fresh[text] = None
            return _GONE
        except OSError as error:
            return self._unread(text, name, before, error)
        trusted = trusted_row(found.row, frame.settled)
        if trusted != row:
            self.fresh[text] = trusted
        return self._looked(name, found)

    def missing(self, name: bytes, before: Entry) -> _Looked:
        """What becomes of an entry of the base that the listing does not have, or has left out.

        Ignored, as what is there or else as what was: it stays as it was. Otherwise a deletion is made sure of by one
        look at the very name, since a listing may miss one that is renamed meanwhile.
        """
        if name in self.left_out:
            return _GONE
        if name in self.frame.ignored:
            return _Looked(before)
        if self.frame.ignores(name, is_directory=before[1] == DIRECTORY):
            self.frame.absent.add(name)
            return _Looked(before)
        text = os.fsdecode(name)
        try:
            return self._looked(
                name, settle(self.run.sink, text, self.fd, self.run.limit, self.run.clock, self.run.advance)
            )
        except FileNotFoundError:
            return _GONE
        except OSError as error:
            return self._unread(text, name, before, error)

    def directory(self, row: Row, name: bytes, before: Entry | None) -> _Looked:
        """The entry of a subdirectory."""
        done = self.frame.results.get(row[0])
        if isinstance(done, Done):
            if before is not None and before[1] == DIRECTORY and self._known(row):
                mode = before[2]
            else:
                mode = self.run.mode(self.frame, name, row[1])  # type: ignore[misc]  # a directory's row has two fields
            return _Looked(Directory(name, DIRECTORY, mode, *done.tree))
        if done is None:
            self.fresh[row[0]] = None
            return _GONE
        if done.errno in (errno.ENOTDIR, errno.ELOOP):  # no directory any more
            return self.look((row[0],), name, before, stream=False)
        return self._unread(row[0], name, before, done)

    def _unread(self, text: str, name: bytes, before: Entry | None, error: OSError) -> _Looked:
        self.fresh[text] = (text,)
        self.run.unread(self.frame, name, error, kept=before is not None)
        return _Looked(before)

    def _looked(self, name: bytes, found: Found) -> _Looked:
        mode = found.row[1]  # type: ignore[misc]  # what was found has all six fields
        if found.target is not None:
            return _Looked(Symlink(name, SYMLINK, found.target))
        if found.digest is not None:
            size: int = found.row[2]  # type: ignore[misc]
            return _Looked(File(name, FILE, self.run.mode(self.frame, name, mode), size, found.digest), found.content)
        self.run.note(self.frame, os.fsdecode(name), _SPECIAL.get(mode & _KIND, _NO_CONTENT))
        return _GONE


def _same_kind(entry: Entry, row: Row) -> bool:
    kind = row[1] & _KIND  # type: ignore[misc]  # only for rows of six fields
    return (entry[1] == FILE and kind == _REGULAR) or (entry[1] == SYMLINK and kind == stat.S_IFLNK)


def _same_bytes(entry: Entry, before: Entry | None) -> bool:
    """Whether both are files of the same content, so that it lies where the one before lies."""
    return before is not None and entry[1] == FILE and before[1] == FILE and entry[4] == before[4]


def _record(run: Run, frame: Frame, tree: Tree, fresh: dict[str, Row | None]) -> Done:
    """Put the finished directory into the new index."""
    record = frame.record
    if frame.clean and record is not None:
        notes, ignored = list(record.notes), record.ignored
    else:
        kept = [name for name in sorted(frame.ignored) if run.old_entry(run.old(frame), name) is not None]
        ignored = len(frame.ignored) - len(kept)
        run.ignored += ignored
        notes = frame.notes + [(os.fsdecode(name), SILENT) for name in sorted({*kept, *frame.absent})]
    was = None if record is None else record.tree
    if run.builder is None:
        return Done(tree, was, None, False)
    for name in frame.failed:
        fresh.setdefault(name, (name,))
    for name, reason in frame.notes:
        if reason == LEFTOVER:  # it is one only as long as somebody says so
            fresh[name] = (name,)
    rows = frame.rows
    if fresh:
        rows = [row for old in frame.rows if (row := fresh.get(old[0], old)) is not None]
    done = [frame.results.get(row[0]) for row in rows if len(row) == 2]
    slots = [result.slot if isinstance(result, Done) else None for result in done]
    flags = OWN_RULES if frame.own_rules else 0
    packed = pack_rows(rows)
    if (
        record is not None
        and (packed, tree, frame.rules_digest, flags, ignored)
        == (record.rows, record.tree, record.rules, record.flags, record.ignored)
        and notes == list(record.notes)
        and all(result.same for result in done if isinstance(result, Done))
        and [slot is None for slot in slots] == [slot is None for slot in record.children]
    ):
        return Done(tree, was, run.builder.keep(record, frame.mark), True)
    slot = run.builder.add(
        frame.mark, packed, tree, slots, rules=frame.rules_digest, flags=flags, ignored=ignored, notes=notes
    )
    return Done(tree, was, slot, False)
