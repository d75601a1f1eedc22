"""Making a directory be a snapshot (DESIGN 4.4): the whole of it, or nothing, and never at the price of unsaved work.

First the directory is compared with what it was bound to; if there is anything unsaved in it nothing is written. Then
all new content is written under temporary names, which reads and verifies every object, so that damage is found before
anything visible is touched. Then old things go and new ones get their names; permission bits come last.

Nothing is synced, as by other tools that check out: after a power cut the directory may hold half of it, and the
next pull brings the rest. What a pull writes is in the store anyway.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from jvs.castore.binding import Loosened, Pending, UnappliedMode
from jvs.castore.checkout import disk
from jvs.castore.checkout.apply import Changer, changed
from jvs.castore.checkout.content import ORDINARY, SPECIAL, ModeRule, collision
from jvs.castore.checkout.plan import SHOWN, Plan, Planner, Write, fold
from jvs.castore.checkout.recover import clean_up, tighten
from jvs.castore.checkout.reindex import Reindexer
from jvs.castore.checkout.stage import Progress, Stager
from jvs.castore.checkout.work import NewFiles, NewTree
from jvs.castore.digest import Digest
from jvs.castore.ingest.statindex import StatIndex, unpack_rows
from jvs.castore.ingest.walk import Row, open_root, row_of
from jvs.castore.manifest import DIRECTORY, FILE, File, Symlink, Tree
from jvs.castore.names import display, split_path
from jvs.castore.objects import ObjectStore
from jvs.castore.pages import iter_entries
from jvs.errors import UnsavedChangesError, UsageError


class Unsaved(enum.Enum):
    """What to do about changes in the directory that are in no snapshot."""

    REFUSE = "refuse"
    DISCARD = "discard"


@dataclass(frozen=True)
class CheckoutResult:
    """What a checkout did.

    written     files, symlinks and directories written, holding `size` bytes
    removed     paths removed
    chmodded    paths of which only the permission bits changed
    unchanged   entries that were looked at and were right already
    unapplied   path -> permission bits that were not applied: for the binding, so that they are no change at a push
    warnings    sentences for people: what stayed, what was found
    """

    written: int = 0
    size: int = 0
    removed: int = 0
    chmodded: int = 0
    unchanged: int = 0
    unapplied: Mapping[bytes, UnappliedMode] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def make_directory(directory: str | bytes) -> bool:
    """Make `directory` and its parents if it is not there; whether it was made. Raises UsageError (not-a-directory)
    where something else is in its place."""
    try:
        os.makedirs(directory)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise _not_a_directory(directory) from None
        return False
    except NotADirectoryError:
        raise _not_a_directory(directory) from None
    except OSError as error:
        raise disk.disk_error(error, f"cannot make the directory {display(os.fsencode(directory))}") from error
    return True


def _not_a_directory(directory: str | bytes) -> UsageError:
    return UsageError(f"not a directory: {display(os.fsencode(directory))}", code="not-a-directory")


def checkout(
    objects: ObjectStore,
    target: Digest,
    directory: str | bytes,
    *,
    base: Digest | None,
    pending: Pending | None = None,
    policy: Unsaved = Unsaved.REFUSE,
    special_modes: bool = False,
    unapplied: Mapping[bytes, UnappliedMode] | None = None,
    index: StatIndex | None = None,
    begin: Callable[[Pending], None] | None = None,
    undone: Callable[[], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
    dry_run: bool = False,
    store: str | None = None,
) -> CheckoutResult:
    """Make `directory` be the snapshot `target`. The caller holds the directory's lock.

    base, pending, unapplied
        of the directory's binding: what it was last pulled or pushed as (None: never, or no longer in the store), the
        pull that was interrupted in it (its target need not be in the store), and the permission bits not applied.
    index
        its stat index: used when it is about `base`, and replaced by one about `target`.
    begin
        called once, before the first write, with what the binding must hold until the checkout has succeeded.
    undone
        called after `begin` when the checkout fails and nothing of it is left: the binding may be what it was before.
    progress
        called in this thread now and then while content is written.
    dry_run
        say what would be done (or refused), and do nothing.
    store
        path of the local store that `objects` reads, so that a large pull can have a second process; None: no such.

    Raises UnsavedChangesError with nothing written; IntegrityError for a damaged or missing object, with nothing
    visible touched; StateError (name-collision); UsageError (not-a-directory); NoSpaceError, ReadOnlyError and
    StoreError for what the file system says. A file that changes while the checkout runs stops it half-way
    (UnsavedChangesError): nothing is lost, and the next checkout, given `pending`, goes on.
    """
    objects.page(target)  # an unknown or damaged snapshot makes no directory
    made = make_directory(directory)
    root = open_root(directory)
    try:
        with disk.Directories(root) as directories:
            job = _Checkout(objects, target, directories, root, SPECIAL if special_modes else ORDINARY, store)
            try:
                return job.run(base, pending, policy, unapplied or {}, index, begin, undone, progress, dry_run)
            except OSError as error:
                raise disk.disk_error(error, f"cannot pull into {display(os.fsencode(directory))}") from error
    except BaseException:
        if made:
            _remove_if_empty(directory)
        raise
    finally:
        os.close(root)


def recover(objects: ObjectStore, directory: str | bytes, base: Digest | None, pending: Pending) -> list[bytes]:
    """Take away what an interrupted checkout left in `directory`, and undo its permission bits (for a push, which
    must see neither). Returns paths that had been renamed aside, are not known to be saved, and came back into sight
    under a new name."""
    root = open_root(directory)
    try:
        with disk.Directories(root) as directories, disk.reporting("cannot clean up", os.fsencode(directory)):
            return clean_up(objects, directories, pending.token, pending.loosened, (base, pending.target))
    finally:
        os.close(root)


_Temps: TypeAlias = dict[tuple[bytes, Digest], dict[bytes, bytes]]
"""(directory, page) -> name -> temporary name in that directory; for `fill` the root's own stands under empty keys."""


class _Checkout:
    def __init__(
        self,
        objects: ObjectStore,
        target: Digest,
        directories: disk.Directories,
        root: int,
        rule: ModeRule,
        store: str | None,
    ) -> None:
        self._objects = objects
        self._target = target
        self._directories = directories
        self._rule = rule
        self._token = os.urandom(8).hex()
        self._names = disk.TemporaryNames(self._token)
        self._changer = Changer(directories, self._names)
        self._stager = Stager(objects, root, rule, store)
        self._written: dict[bytes, Row] = {}
        self._links = self._removed = self._chmodded = 0
        self._warnings: list[str] = []

    def run(
        self,
        base: Digest | None,
        pending: Pending | None,
        policy: Unsaved,
        unapplied: Mapping[bytes, UnappliedMode],
        index: StatIndex | None,
        begin: Callable[[Pending], None] | None,
        undone: Callable[[], None] | None,
        progress: Callable[[Progress], None] | None,
        dry_run: bool,
    ) -> CheckoutResult:
        objects, directories = self._objects, self._directories
        if pending is not None and not dry_run:
            trees = (base, pending.target)
            for path in clean_up(objects, directories, pending.token, pending.loosened, trees):
                self._warnings.append(f"an interrupted pull had put this aside: {display(path)}")
        planner = Planner(
            objects,
            directories,
            rule=self._rule,
            discard=policy is Unsaved.DISCARD,
            pending=pending,
            unapplied=unapplied,
            index=index,
        )
        plan = planner.run(base, self._target)
        _refuse(plan)
        if dry_run:
            return self._foreseen(plan)
        if not plan.empty:
            self._change(plan, base, begin, undone, progress)
        for path in sorted(plan.kept):
            self._warnings.append(f"{display(path)}/ stays, for what is ignored in it")
        if index is not None:
            reindexer = Reindexer(objects, directories, index, plan, self._stager.written, self._written)
            with contextlib.suppress(OSError):  # somebody moves directories about: the next push does without
                reindexer.run(self._target).save()
        files, size = self._stager.progress
        unapplied = self._still_unapplied(unapplied) | self._stager.written.unapplied
        if unapplied:
            self._warnings.append(_without_bits(unapplied))
        return CheckoutResult(
            written=files + self._links + sum(1 for path in self._stager.written.made if path),
            size=size,
            removed=self._removed,
            chmodded=self._chmodded,
            unchanged=plan.unchanged,
            unapplied=unapplied,
            warnings=tuple(self._warnings),
        )

    def _foreseen(self, plan: Plan) -> CheckoutResult:
        """What the plan would do."""
        trees = [self._objects.tree(self._target)] if plan.fill else []
        written = size = 0
        for write in plan.writes:
            if write.entry[1] == DIRECTORY:
                trees.append(self._objects.tree(write.entry.digest))
            else:
                written += 1
                size += write.entry[3] if write.entry[1] == FILE else 0
        return CheckoutResult(
            written=written + sum(tree.entries for tree in trees),
            size=size + sum(tree.bytes for tree in trees),
            removed=len(plan.removals),
            chmodded=len(plan.modes),
            unchanged=plan.unchanged,
        )

    # -- writing ---------------------------------------------------------------------------------------------------

    def _change(
        self,
        plan: Plan,
        base: Digest | None,
        begin: Callable[[Pending], None] | None,
        undone: Callable[[], None] | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        loosened = self._to_loosen(plan)
        if begin is not None:
            begin(Pending(self._target, self._token, loosened))
        staged = False
        try:
            for directory in loosened:
                os.fchmod(self._directories.fd(directory.path), directory.mode | 0o700)
            temps = self._stage(plan, progress)
            staged = True
            self._apply(plan, temps)
        except BaseException:
            self._directories.close()
            clean_up(self._objects, self._directories, self._token, loosened, (base, self._target))
            if undone is not None and not staged:
                undone()
            raise
        for directory in sorted(loosened, reverse=True):
            tighten(self._directories, directory)

    def _to_loosen(self, plan: Plan) -> tuple[Loosened, ...]:
        """Existing directories that this user may not write into as they are."""
        changes = [write.path for write in plan.writes] + [removal.path for removal in plan.removals]
        paths = {disk.split(path)[0] for path in changes} | ({b""} if plan.fill else set())
        found: list[Loosened] = []
        for path in sorted(paths):
            fd = self._directories.fd(path)
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True):
                found.append(Loosened(path, os.fstat(fd).st_mode & 0o7777))
        return tuple(found)

    def _stage(self, plan: Plan, progress: Callable[[Progress], None] | None) -> _Temps:
        """Write all new content under temporary names, which are returned."""
        temps: _Temps = {}
        stager = self._stager
        if plan.fill:
            temp = self._names.new()
            temps[b"", b""] = {b"": temp}
            os.mkdir(temp, 0o700, dir_fd=self._directories.fd(b""))
            stager.add(NewTree(temp, b"", self._objects.tree(self._target), None))
        self._probe_collisions(plan.writes)
        files: dict[tuple[bytes, Digest], list[File]] = {}
        for write in plan.writes:
            entry = write.entry
            if isinstance(entry, Symlink):
                continue
            directory = disk.split(write.path)[0]
            temp = temps.setdefault((directory, write.page), {})[entry.name] = self._names.new()
            if isinstance(entry, File):
                files.setdefault((directory, write.page), []).append(entry)
                continue
            with disk.reporting("cannot make the directory", write.path):
                os.mkdir(temp, 0o700, dir_fd=self._directories.fd(directory))
            tree = Tree(self._objects.descend(entry), entry.entries, entry.bytes)
            stager.add(NewTree(disk.join(directory, temp), write.path, tree, entry.mode))
        for (directory, page), new in files.items():
            stager.add(NewFiles(directory, page, new, temps[directory, page]))
        stager.run(progress)
        return temps

    def _probe_collisions(self, writes: Sequence[Write]) -> None:
        """Raise StateError where two new names of one directory are one name to its file system."""
        groups: dict[tuple[bytes, str], list[bytes]] = {}
        for write in writes:
            directory, name = disk.split(write.path)
            groups.setdefault((directory, fold(name)), []).append(name)
        for (directory, _), names in groups.items():
            if len(names) == 1:
                continue
            parent = self._directories.fd(directory)
            temp = self._names.new()
            os.mkdir(temp, 0o700, dir_fd=parent)
            with disk.Directories(parent) as inside:
                for name in names:
                    try:
                        os.close(disk.open_new(name, inside.fd(temp), 0o600))
                    except FileExistsError:
                        raise collision(directory, name) from None
            disk.remove_tree(temp, parent)

    def _apply(self, plan: Plan, temps: _Temps) -> None:
        for _ in self._changer.remove(plan.removals):
            self._removed += 1
        self._directories.close()  # paths may mean other directories from here on
        if plan.fill:
            self._fill(temps[b"", b""][b""])
        for write in plan.writes:
            if not isinstance(write.entry, Symlink):
                directory, name = disk.split(write.path)
                info = self._changer.place(write.path, temps[directory, write.page][name], write.old)
                self._note(write.path, info)
        for write in plan.writes:
            if isinstance(write.entry, Symlink):
                self._changer.link(write.path, write.entry, write.old)
                self._links += 1
        self._modes(plan)

    def _fill(self, temp: bytes) -> None:
        """Move everything from the temporary directory into the empty root."""
        root = self._directories.fd(b"")
        source = self._directories.fd(temp)
        made = self._stager.written.made[b""]
        for row in unpack_rows(made.rows) if made.rows else ():
            self._stager.written.rows.setdefault(os.fsencode(row[0]), row)
        for entry in iter_entries(self._objects.page, self._target):
            try:
                disk.put_in_place(entry[0], source, entry[0], root)
            except FileExistsError:
                raise changed(entry[0]) from None
            if entry[1] != DIRECTORY:
                self._note(entry[0], os.stat(entry[0], dir_fd=root, follow_symlinks=False))
        self._directories.close()
        os.rmdir(temp, dir_fd=root)

    def _note(self, path: bytes, info: os.stat_result) -> None:
        """A file that was staged is in place: its row now, if it is still what was written."""
        staged = self._stager.written.rows.pop(path, None)
        if staged is None:
            return
        row = row_of(staged[0], info)
        if len(row) == len(staged) == 6 and row[:4] == staged[:4] and row[5] == staged[5]:
            self._written[path] = row

    def _modes(self, plan: Plan) -> None:
        """Permission bits: of files, then of directories, deepest first."""
        for change in plan.modes:
            if change.kind == FILE:
                self._chmod(change.path, change.mode, change.wanted)
        directories = [(change.path, change.mode, change.wanted) for change in plan.modes if change.kind == DIRECTORY]
        directories += [(path, mode, mode) for path, mode in self._stager.written.late_modes.items()]
        for path, mode, wanted in sorted(directories, reverse=True):
            self._chmod(path, mode, wanted)
        self._chmodded = len(plan.modes)

    def _chmod(self, path: bytes, mode: int, wanted: int) -> None:
        directory, name = disk.split(path)
        with disk.reporting("cannot set the mode of", path):
            bits = disk.set_mode(name, self._directories.fd(directory), mode)
        if bits != wanted:
            self._stager.written.unapplied[path] = UnappliedMode(bits, wanted)

    # -- afterwards ------------------------------------------------------------------------------------------------

    def _still_unapplied(self, unapplied: Mapping[bytes, UnappliedMode]) -> dict[bytes, UnappliedMode]:
        """Those of an earlier checkout that still hold."""
        still: dict[bytes, UnappliedMode] = {}
        for path, modes in unapplied.items():
            found = self._objects.find(self._target, split_path(path))
            if found is None or isinstance(found.entry, Symlink) or found.entry.mode != modes.wanted:
                continue
            directory, name = disk.split(path)
            info = disk.lstat(name, self._directories.fd(directory))
            if info is not None and info.st_mode & 0o7777 == modes.disk:
                still[path] = modes
        return still


def _refuse(plan: Plan) -> None:
    if plan.unsaved_count:
        paths = sorted(plan.unsaved)
        more = f" and {plan.unsaved_count - 1} more" if plan.unsaved_count > 1 else ""
        raise UnsavedChangesError(
            f"unsaved changes: {display(paths[0]) or '.'}{more}; nothing was written",
            paths=[display(path) for path in paths],
            count=plan.unsaved_count,
        )
    if plan.unreadable:
        raise UnsavedChangesError(
            f"the directory {display(plan.unreadable[0]) or '.'} cannot be read; nothing was written",
            next="make it readable, or move it elsewhere, then run the same command again",
            paths=[display(path) for path in plan.unreadable[:SHOWN]],
            count=len(plan.unreadable),
        )
    if plan.blocked:
        raise UnsavedChangesError(
            f"{display(plan.blocked[0])}/ is in the way and holds what is ignored or a store; nothing was written",
            next="move it elsewhere, then run the same command again",
            paths=[display(path) for path in plan.blocked[:SHOWN]],
            count=len(plan.blocked),
        )


def _without_bits(unapplied: Mapping[bytes, UnappliedMode]) -> str:
    """The warning that some paths have not the permission bits of the snapshot."""
    path = min(unapplied)
    more = f", and {len(unapplied) - 1:,} more differ like it" if len(unapplied) > 1 else ""
    return f"{display(path)} got the mode {unapplied[path].disk:04o}, not {unapplied[path].wanted:04o}{more}"


def _remove_if_empty(directory: str | bytes) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        return  # something is in it: it stays
