"""`ingest`: a directory on disk as a tree in the store; the scanning half of `fs push` (DESIGN 4.4, docs/ingest.md).

A depth-first walk, subdirectories before the entries of their directory, so that a directory is made when everything
below it is known. A directory whose packed rows are those of the stat index is *clean*: nothing in it is looked at
again. What is not clean is made anew by `changed`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.ingest.changed import build, classify
from jvs.castore.ingest.ignore import IGNORE_FILE, MAX_IGNORE_FILE, Rules
from jvs.castore.ingest.lend import Lender
from jvs.castore.ingest.scout import Clean, look_ahead
from jvs.castore.ingest.state import Done, Frame, Run, Skipped
from jvs.castore.ingest.statindex import OWN_RULES, IndexBuilder, Record, Slot, StatIndex, pack_rows
from jvs.castore.ingest.walk import FILE_FLAGS, Listing, Trail, list_directory, open_directory, open_root
from jvs.castore.manifest import Tree
from jvs.castore.names import MAX_DEPTH, display, json_fields
from jvs.castore.purged import refused
from jvs.castore.treesink import TreeSink
from jvs.errors import JvsError, PurgedContentError, StoreError, UsageError

if TYPE_CHECKING:
    from jvs.castore.ingest.assist import Assistant

_LISTED: Final = 20
"""How many paths an error lists."""


class IngestResult(NamedTuple):
    """What an ingest came to.

    tree         the directory as a tree; its objects are in the writer, to be published
    files        entries that are no directories; directories: below the root
    skipped      what could not be taken (special files, and with skip_unreadable what cannot be read): exit 3
    kept         what cannot be read or never held still, and stays as it is in the base: exit 3
    left_out     what is never taken (`.jvs`, leftovers of a pull that was killed), to be mentioned
    ignored      how many names the ignore rules kept out (an ignored directory is one)
    new_index    to be saved once the tree is published (None without a stat index)
    """

    tree: Tree
    files: int
    directories: int
    skipped: list[Skipped]
    kept: list[Skipped]
    left_out: list[Skipped]
    ignored: int
    new_index: IndexBuilder | None

    @property
    def bytes(self) -> int:
        """Sizes of all files together."""
        return self.tree.bytes


def ingest(
    writer: TreeSink,
    directory: str | bytes | os.PathLike[str],
    *,
    base: Digest | None = None,
    index: StatIndex | None = None,
    rehash: bool = False,
    skip_unreadable: bool = False,
    leftovers_token: str | None = None,
    unapplied: Mapping[bytes, tuple[int, int]] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    assistant: Assistant | None = None,
) -> IngestResult:
    """Read `directory` and give everything new in it to `writer`. Nothing in the directory is ever written.

    base             the root page of what the directory was last known to be (or of what comes nearest); where the
                     stat index can be believed, the tree that it describes takes its place
    index            the directory's stat index; not believed when its tree is not in the store
    rehash           read every file, whatever the index says
    skip_unreadable  go on without what can neither be read nor kept as it is in the base
    leftovers_token  what a killed pull left behind has this in its name and is left out
    unapplied        path -> (mode on disk, mode it stands for): permission bits that a pull could not apply
    progress         called from time to time with the entries and bytes looked at so far
    cancel           asked from time to time whether to stop
    assistant        takes over part of a large first push; the caller publishes it before the tree

    Raises UsageError (not-a-directory), JvsError (unreadable: `paths`, the first 20, and `count`; interrupted).
    """
    try:
        root = open_root(directory)
    except NotADirectoryError:
        raise UsageError(f"{display(os.fsencode(directory))} is not a directory", code="not-a-directory") from None
    except OSError as error:
        raise StoreError(
            f"cannot read {display(os.fsencode(directory))}: {error.strerror}", code="unreadable"
        ) from error
    trail = Trail(root)
    builder = None if index is None else index.builder()
    try:
        if index is not None and index.root is not None:
            info = os.fstat(root)
            if (info.st_dev, info.st_ino) != index.identity or writer.objects.backend.missing(Kind.PAGE, [index.root]):
                index.forget()
        run = Run(
            writer,
            trail,
            builder,
            rehash=rehash,
            leftovers_token=leftovers_token,
            unapplied=unapplied or {},
            progress=progress,
            cancel=cancel,
        )
        done = walk_directory(run, index, base, assistant)
        if run.unreadable and not skip_unreadable:
            raise _unreadable(run.unreadable)
        if builder is not None and done.slot is not None:
            builder.finish(done.tree.digest, done.slot, unchanged=done.same)
    except BaseException:
        if builder is not None:
            builder.close()
        raise
    finally:
        trail.close()
        os.close(root)
    return IngestResult(
        done.tree,
        done.tree.entries - run.directories,
        run.directories,
        run.skipped + run.unreadable,
        run.kept,
        run.left_out,
        run.ignored,
        builder,
    )


def walk_directory(run: Run, index: StatIndex | None, base: Digest | None, assistant: Assistant | None = None) -> Done:
    """Walk the directory that the run's trail starts at; see `ingest`."""
    return _Walk(run, index, base, assistant).run_all()


class _Walk:
    """The depth-first walk. Iterative: depth is bounded by `MAX_DEPTH` and not by the interpreter's stack."""

    def __init__(self, run: Run, index: StatIndex | None, base: Digest | None, assistant: Assistant | None) -> None:
        self._run = run
        self._lender = None if assistant is None else Lender(run, assistant)
        self._index = index if index is not None and index.root is not None else None
        self._base = base
        self._clean: Mapping[Slot, Clean] = {}

    def run_all(self) -> Done:
        """The finished root."""
        run = self._run
        fd = run.trail.fd()
        try:
            listing = list_directory(fd)
        except OSError as error:
            raise StoreError(f"cannot list the directory: {error.strerror}", code="unreadable") from error
        record = self._index.top if self._index is not None else None
        if self._index is not None and not run.rehash:
            self._clean = look_ahead(self._index, fd)
        top = self._frame(None, "", fd, listing, record, None if record is None else pack_rows(listing.rows))
        if record is None:
            top.old = self._base
        stack = [top]
        while True:
            frame = stack[-1]
            if self._lender is not None:
                self._lender.step(stack)
            if frame.at < len(frame.enter):
                frame.at += 1
                child = self._enter(frame, frame.enter[frame.at - 1], frame.at - 1)
                if child is not None:
                    stack.append(child)
                continue
            if self._lender is not None and not self._lender.collect(frame):
                continue
            done = self._finish(frame)
            stack.pop()
            if not stack:
                return done
            run.trail.pop()
            stack[-1].results[os.fsdecode(frame.name)] = done

    def _enter(self, frame: Frame, name: str, position: int) -> Frame | None:
        """Go into a subdirectory. What is clean and has no directories is finished at once; None then, and when
        it cannot be entered."""
        run = self._run
        fd = -1
        slot = frame.slots[position]
        if slot is not None and frame.rules is None and slot in self._clean:
            self._pass_over(frame, name, slot, self._clean[slot])
            return None
        try:
            if len(run.trail) >= MAX_DEPTH:
                raise OSError(errno.ENAMETOOLONG, f"it lies more than {MAX_DEPTH:,} levels deep")
            fd = open_directory(name, run.trail.fd())
            listing = list_directory(fd)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            frame.results[name] = None if isinstance(error, FileNotFoundError) else error
            return None
        run.directories += 1
        record = packed = None
        if slot is not None and self._index is not None:
            record = self._index.record(slot)
            packed = pack_rows(listing.rows)
            if (
                packed == record.rows
                and record.rules == frame.rules_digest
                and not record.children
                and not record.flags
                and not record.notes
                and not run.rehash
            ):
                os.close(fd)
                run.ignored += record.ignored
                run.advance(record.tree.bytes, len(listing.rows))
                place = None if run.builder is None else run.builder.keep(record, run.builder.mark())
                frame.results[name] = Done(record.tree, record.tree, place, True)
                return None
        try:
            child = self._frame(frame, name, fd, listing, record, packed)
        except BaseException:
            os.close(fd)
            raise
        run.trail.push(name, fd)
        return child

    def _pass_over(self, frame: Frame, name: str, slot: Slot, clean: Clean) -> None:
        """Finish a subdirectory that the look ahead found to be as the index has it."""
        assert self._index is not None
        run = self._run
        record = self._index.record(slot)
        run.directories += clean.directories
        run.ignored += clean.ignored
        run.advance(record.tree.bytes, record.tree.entries)
        place = None if run.builder is None else run.builder.keep(record, run.builder.mark())
        frame.results[name] = Done(record.tree, record.tree, place, True)

    def _frame(
        self, parent: Frame | None, name: str, fd: int, listing: Listing, record: Record | None, packed: bytes | None
    ) -> Frame:
        run = self._run
        frame = Frame(parent, os.fsencode(name), listing, record)
        if run.builder is not None:
            frame.mark = run.builder.mark()
        alike = record is not None and packed == record.rows
        if record.flags & OWN_RULES if alike and record is not None else _has_ignore_file(listing):
            self._read_rules(frame, fd)
        if alike and record is not None and record.rules == frame.rules_digest and not run.rehash:
            frame.clean = True
            directories = [row for row in listing.rows if len(row) == 2]
            for row, slot in zip(directories, record.children, strict=True):
                if slot is not None:
                    frame.present.append(row)
                    frame.enter.append(row[0])
                    frame.slots.append(slot)
            run.ignored += record.ignored
            run.advance(files=len(listing.rows))
            for text, reason in record.notes:
                run.tell(frame, text, reason)
        else:
            frame.settled = run.clock.settled_before(fd, listing.rows)
            classify(run, frame)
        return frame

    def _read_rules(self, frame: Frame, fd: int) -> None:
        """Give a frame the rules of its own ignore file. One that cannot be read stops the push: without it, what was
        meant to stay out would be stored."""
        try:
            file = os.open(IGNORE_FILE, FILE_FLAGS, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno == errno.ELOOP:  # a symbolic link holds no rules, as in git
                return
            raise _bad_ignore_file(frame, error.strerror) from error
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return
            blocks = []
            left = MAX_IGNORE_FILE + 1
            while left and (block := os.read(file, left)):
                blocks.append(block)
                left -= len(block)
        except OSError as error:
            raise _bad_ignore_file(frame, error.strerror) from error
        finally:
            os.close(file)
        if not left:
            raise _bad_ignore_file(frame, f"it has more than {MAX_IGNORE_FILE:,} bytes")
        frame.rules = Rules(frame.rules, len(frame.names()), b"".join(blocks))
        frame.own_rules = True

    def _finish(self, frame: Frame) -> Done:
        run, record = self._run, frame.record
        if (
            frame.clean
            and record is not None
            and all(isinstance(done, Done) and done.same for done in frame.results.values())
        ):
            place = None if run.builder is None else run.builder.keep(record, frame.mark)
            return Done(record.tree, record.tree, place, True)
        try:
            return build(run, frame)
        except PurgedContentError as error:
            raise refused(frame.path(error.name), bytes.fromhex(error.details["digest"])) from None


def _has_ignore_file(listing: Listing) -> bool:
    return any(row[0] == IGNORE_FILE for row in listing.rows)


def _bad_ignore_file(frame: Frame, reason: str | None) -> JvsError:
    path = display(frame.path(os.fsencode(IGNORE_FILE)))
    return JvsError(f"cannot read {path}: {reason}", code="unreadable", next=f"make {path} readable, or remove it")


def _unreadable(paths: list[Skipped]) -> JvsError:
    first = ", ".join(f"{display(path)} ({reason})" for path, reason in paths[:3])
    more = f" and {len(paths) - 3:,} more" if len(paths) > 3 else ""
    return JvsError(
        f"cannot be read, and the last snapshot has nothing to keep for it: {first}{more}",
        code="unreadable",
        paths=[{**json_fields(path), "reason": reason} for path, reason in paths[:_LISTED]],
        count=len(paths),
    )
