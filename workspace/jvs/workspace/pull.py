"""`fs pull`: a directory becomes a snapshot, and never at the price of unsaved work."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from jvs.castore import binding as bindings
from jvs.castore.backend import WriteTxn
from jvs.castore.binding import Binding, Pending
from jvs.castore.checkout import CheckoutResult, Unsaved, checkout, make_directory
from jvs.castore.checkout import Progress as Written
from jvs.castore.digest import Digest
from jvs.castore.names import display, shorten, to_bytes
from jvs.castore.treewriter import TreeWriter
from jvs.errors import UnsavedChangesError, UsageError
from jvs.labels.model import Entry
from jvs.labels.moves import MoveRequest
from jvs.labels.names import AUTOSAVE
from jvs.workspace import directories
from jvs.workspace.progress import Progress, waiting
from jvs.workspace.reading import pinned
from jvs.workspace.results import PullResult

if TYPE_CHECKING:
    from jvs.labels.revisions import Resolved
    from jvs.workspace.repo import Repo
    from jvs.workspace.repository.layout import Place

T = TypeVar("T")


class PullOptions(NamedTuple):
    """What `fs pull` was asked to do; see the options of the command of the same names."""

    autosave: bool = False
    discard: bool = False
    special_modes: bool = False
    dry_run: bool = False

    def check(self) -> None:
        """Raise UsageError for what cannot be meant together."""
        if self.autosave and self.discard:
            raise UsageError("--autosave saves unsaved changes and --discard drops them: choose one")


def pull(
    repo: Repo, revision: str, directory: str | None, options: PullOptions, *, progress: Progress | None
) -> PullResult:
    """Without a directory: what the revision is. With one: make it be that tree, and bind it to the label."""
    options.check()
    resolved = repo.resolve(revision)
    target = repo.snapshot_of(resolved)
    label, generation = (None, None) if resolved.path else (resolved.label, resolved.generation)
    if directory is None:
        return PullResult(label, target, generation)
    if options.dry_run and not os.path.lexists(directory):
        totals = repo.objects.tree(target)
        return PullResult(
            label, target, generation, directory, totals.entries, bytes_written=totals.bytes, dry_run=True
        )
    directories.check_apart(repo, directory)
    made = make_directory(directory)
    try:
        with (
            bindings.lock(directory, waiting=waiting(progress)),
            pinned(repo, target, what="pull", if_there=old_trees(repo, directory)),
        ):
            try:
                return _pull_into(repo, resolved, target, directory, options, progress)
            except UnsavedChangesError:
                if not options.autosave or options.dry_run:
                    raise
                # What was written through a memory map may show in no time stamp: only reading every file finds it.
                try:
                    return _pull_into(repo, resolved, target, directory, options, progress, rehash=True)
                except UnsavedChangesError as error:  # saved is all that a push would save
                    error.next = "move these away (they are ignored, or nothing a push can save), or --discard them"
                    raise
    except BaseException:
        if made:
            _remove_if_empty(directory)
        raise


def _pull_into(
    repo: Repo,
    resolved: Resolved,
    target: Digest,
    directory: str,
    options: PullOptions,
    progress: Progress | None,
    *,
    rehash: bool = False,
) -> PullResult:
    """rehash: an autosave reads every file, whatever its times say."""
    place = directories.worktree_of(repo, directory)
    binding = directories.load_binding(repo, directory) or Binding(_own_label(place), 0, None)
    base = directories.base_of(repo, binding, None)
    autosaved = None
    foreseen = options.autosave and options.dry_run  # what is unsaved would have been saved
    if options.autosave and not options.dry_run:
        base, autosaved = autosave(repo, directory, binding, base, resolved.label, rehash=rehash, progress=progress)

    def begin(pending: Pending) -> None:
        directories.save_binding(repo, directory, replace(binding, ca_id=base, pending=pending))

    with directories.stat_index(repo, directory) as index:
        done = checkout(
            repo.objects,
            target,
            directory,
            base=base,
            pending=known_pending(repo, binding),
            policy=Unsaved.DISCARD if options.discard or foreseen else Unsaved.REFUSE,
            special_modes=options.special_modes,
            unapplied=binding.unapplied,
            index=index,
            begin=begin,
            progress=reporter(repo, target, progress),
            dry_run=options.dry_run,
            store=repo.store.path,
        )
        directories.prune_indexes(repo)
    label, entry = (None, None) if resolved.path else (resolved.label, resolved.entry)
    generation = None if entry is None else entry.generation
    if not options.dry_run:
        entry_id = None if entry is None else entry.id
        if place is None:
            bound = Binding(label, generation or 0, target, entry_id, unapplied=done.unapplied)
        else:
            from jvs.workspace.repository import position

            own = position.label_of(place, binding)
            bound = position.at(repo, own, entry, target, done.unapplied)
        directories.save_binding(repo, directory, bound)
    return _result(label, target, generation, directory, done, autosaved, options)


def _result(
    label: str | None,
    target: Digest,
    generation: int | None,
    directory: str,
    done: CheckoutResult,
    autosaved: str | None,
    options: PullOptions,
) -> PullResult:
    return PullResult(
        label,
        target,
        generation,
        directory,
        done.written,
        done.removed,
        done.chmodded,
        done.unchanged,
        done.size,
        autosaved,
        tuple(done.warnings),
        options.dry_run,
    )


def autosave(
    repo: Repo,
    directory: str,
    binding: Binding,
    base: Digest | None,
    label: str | None,
    *,
    rehash: bool = False,
    before: str = "a pull into",
    progress: Progress | None = None,
) -> tuple[Digest | None, str | None]:
    """Save the directory as it is on `autosave/NAME` when it differs from its base; (the new base, the revision that
    brings it back). The caller holds the directory's lock.

    rehash: read every file, whatever its times say; before: what would replace it, as the beginning of the note
    """
    own = f"directory-{bindings.directory_key(directory)[:12]}"
    name = (binding.label or label or own).removeprefix(f"{AUTOSAVE}/")
    parents = () if binding.entry_id is None else (binding.entry_id,)
    message = f"before {before} {shorten(display(to_bytes(directory)))}"

    def save(txn: WriteTxn, ca_id: Digest) -> Entry:
        kept = repo.labels.kept_in(txn, parents)
        request = MoveRequest(f"{AUTOSAVE}/{name}", ca_id, op="autosave", parents=kept, message=message)
        try:
            return repo.labels.move_in(txn, request)
        except UsageError:  # too long behind the prefix, or inside the name of another autosave
            return repo.labels.move_in(txn, request._replace(name=f"{AUTOSAVE}/{own}"))

    ca_id, entry = store_as_it_is(repo, directory, binding, base, save, rehash, progress)
    return (base, None) if entry is None else (ca_id, f"{entry.label}@{entry.generation}")


def store_as_it_is(
    repo: Repo,
    directory: str,
    binding: Binding,
    base: Digest | None,
    save: Callable[[WriteTxn, Digest], T],
    rehash: bool = False,
    progress: Progress | None = None,
) -> tuple[Digest, T | None]:
    """Put what is in the directory into the store, where it differs from its base; `save` is called in the transaction
    that publishes it, to make something keep it. Returns what the directory is, and what `save` returned (None: there
    was nothing to store). The caller holds the directory's lock."""
    directories.settle(repo, directory, binding)
    with TreeWriter(repo.objects) as writer, directories.stat_index(repo, directory) as index:
        found = directories.scan(
            repo, directory, writer, binding=binding, base=base, index=index, rehash=rehash, progress=progress
        )
        ca_id = found.tree.digest
        saved = None
        if ca_id != base and (found.tree.entries or base is not None):
            saved = writer.publish(lambda txn: save(txn, ca_id))
        if found.new_index is not None:
            if saved is not None or ca_id == base:
                found.new_index.save()
            else:
                found.new_index.close()
    return ca_id, saved


def old_trees(repo: Repo, directory: str) -> list[Digest]:
    """What the directory is compared with: the snapshot it was, and the one that an interrupted pull was to make."""
    binding = directories.load_binding(repo, directory)
    if binding is None:
        return []
    base, pending = directories.base_of(repo, binding, None), known_pending(repo, binding)
    return [*([] if base is None else [base]), *([] if pending is None else [pending.target])]


def known_pending(repo: Repo, binding: Binding) -> Pending | None:
    """The interrupted pull to be finished, unless its target is no longer in the store."""
    pending = binding.pending
    return pending if pending is not None and repo.has_snapshot(pending.target) else None


def _own_label(place: Place | None) -> str | None:
    if place is None:
        return None
    from jvs.workspace.repository import position  # most directories are no worktrees

    return position.label_of(place, None)


def reporter(repo: Repo, target: Digest, progress: Progress | None) -> Callable[[Written], None] | None:
    if progress is None:
        return None
    total = repo.objects.tree(target).bytes
    return lambda written: progress.update(written.bytes, total, written.files)


def _remove_if_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        return  # something is in it: it stays
