"""`fs push`: a directory, or a revision that is already stored, becomes a snapshot, and a label moves to it.

The rules (docs/cli.md has them for people): a label only moves from where this directory was last pulled or pushed as,
unless told otherwise; what was rejected is still stored for 24 hours; content the label already has writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from jvs.castore import binding as bindings
from jvs.castore.backend import WriteTxn
from jvs.castore.binding import LOCK_SECONDS, Binding
from jvs.castore.digest import Digest
from jvs.castore.ingest.assist import Assistant
from jvs.castore.treewriter import TreeWriter
from jvs.errors import (
    CollectedError,
    LabelMovedError,
    MissingChildrenError,
    MissingObjectError,
    StateError,
    UnknownError,
    UsageError,
)
from jvs.labels.model import ANYTHING, Expect, LabelInfo
from jvs.labels.moves import MoveRequest
from jvs.labels.names import check_label_name
from jvs.labels.purges import current, write_allowed
from jvs.workspace import directories
from jvs.workspace.locate import CONTROL
from jvs.workspace.progress import Progress, waiting
from jvs.workspace.results import PushResult, PushStats, Skipped

if TYPE_CHECKING:
    from jvs.castore.ingest.ingest import IngestResult
    from jvs.workspace.repo import Repo
    from jvs.workspace.repository.layout import Place

ATTEMPTS = 5
"""How often a push starts again when what it built on was collected meanwhile; the last time everything is read."""


class PushOptions(NamedTuple):
    """What `fs push` was asked to do; see the options of the command of the same names."""

    label: str | None = None
    expected: str | None = None
    force: bool = False
    detach: bool = False
    message: str = ""
    tags: Sequence[str] = ()
    always: bool = False
    rehash: bool = False
    skip_unreadable: bool = False
    merged: tuple[Digest, ...] | None = None
    """Entries that the directory's content was merged from, beside the label's head; None: the move is no merge."""

    allow_purged: bool = False
    """Also store what was purged, which is then purged no more."""

    wait: float = LOCK_SECONDS
    """Seconds to wait for another command that is at work in the directory."""

    level: int | None = None
    """Of compression, for what is new; 0: none; None: the store's."""

    verify: bool = False
    """Read back what was written, and compare it with its digests, before the label moves."""

    meta: Mapping[str, Any] | None = None
    """Facts about the move, for its entry."""

    paths: Sequence[tuple[bytes, ...]] | None = None
    """Take these paths only, and leave the rest as in what the directory is bound to; None: all of it."""

    def check(self) -> None:
        """Raise UsageError for what cannot be meant together, and for a malformed label name."""
        if self.force and self.expected is not None:
            raise UsageError("--force moves whatever the label is; with --expected it means nothing")
        if self.detach and self.label is not None:
            raise UsageError("--detach stores a snapshot without a label; leave --label out")
        if self.detach and (self.force or self.expected is not None):
            raise UsageError("--detach moves no label, so there is nothing to expect or to force")
        if self.label is not None:
            check_label_name(self.label)


class Outcome(NamedTuple):
    """What the label move of a push came to."""

    status: str
    generation: int | None = None
    entry_id: Digest | None = None
    current: Digest | None = None
    current_generation: int | None = None
    error: LabelMovedError | None = None


def push(repo: Repo, source: str, options: PushOptions, *, as_revision: bool, progress: Progress | None) -> PushResult:
    """Push SOURCE: an existing directory is one (`as_revision` means a label of that name); an existing path that is
    not a directory is a usage error; anything else is a revision."""
    options.check()
    if not as_revision and os.path.lexists(source):
        if not os.path.isdir(source):
            raise UsageError(
                f"{source} is not a directory",
                code="not-a-directory",
                next=f"jvs fs push {os.path.dirname(source) or '.'}",
            )
        return push_directory(repo, source, options, progress)
    return push_revision(repo, source, options)


def push_revision(repo: Repo, source: str, options: PushOptions) -> PushResult:
    """Move a label to a snapshot that is already in the store."""
    try:
        resolved = repo.resolve(source)
    except UnknownError as error:
        raise UnknownError(
            f"{source} is neither a directory nor a revision of this store", code="unknown-source", next=error.next
        ) from error
    if options.label is None and not options.detach:
        raise UsageError("this push names no label", next="name one: --label LABEL")
    ca_id = repo.snapshot_of(resolved)
    outcome = unchanged(repo, options, ca_id)
    if outcome is None:
        expect = expect_of(repo, options, None)
        outcome = repo.store.transact(lambda txn: move(repo, txn, ca_id, options, expect, resolved.parents))
    totals = repo.objects.tree(ca_id)
    return result_of(ca_id, options.label, outcome, PushStats(totals.entries, totals.bytes), ())


def push_directory(repo: Repo, directory: str, options: PushOptions, progress: Progress | None) -> PushResult:
    """Snapshot a directory and move the label it is pushed as. A worktree pushed as its own label is a save point; one
    that is pushed as another stays where it stands."""
    directories.check_apart(repo, directory)
    place = directories.worktree_of(repo, directory)
    with bindings.lock(directory, options.wait, waiting(progress)):
        if place is None:
            binding = follow_rename(repo, bindings.load(repo.cache_dir, directory))
        else:
            from jvs.workspace.repository import position, saving  # most directories are no worktrees

            binding = position.settled(repo, place)
            options = saving.as_save_point(repo, place, binding, options)
        if options.label is None and not options.detach:
            if binding is None or binding.label is None:
                raise _no_label(directory)
            options = options._replace(label=binding.label)
        if binding is not None and binding.pending is not None:
            # between two trees: a push would record deletions that nobody made
            again = f"jvs fs pull {binding.pending.target.hex()} {directory}"
            raise StateError(
                f"a pull into {directory} was interrupted, so it is neither what it was nor what it was to be",
                code="interrupted-pull",
                next=again if place is None else f"jvs restore HEAD -w {place.name}",
            )
        for attempt in range(1, ATTEMPTS + 1):
            options = options._replace(rehash=options.rehash or attempt == ATTEMPTS)
            try:
                result = _attempt(repo, directory, place, binding, options, progress)
                return result if place is None else saving.finished(repo, place, options, result)
            except (MissingChildrenError, MissingObjectError, CollectedError) as error:
                # what it has read, or found to be there already, was collected since
                if attempt == ATTEMPTS:
                    if isinstance(error, MissingChildrenError):  # nothing is damaged: it was there, or is put again
                        message = "what this push builds on was collected while it ran, again and again"
                        raise CollectedError(message, next="run the same command again") from error
                    raise
                repo.objects.forget()
    raise AssertionError("the last attempt returns or raises")


def _attempt(
    repo: Repo,
    directory: str,
    place: Place | None,
    binding: Binding | None,
    options: PushOptions,
    progress: Progress | None,
) -> PushResult:
    head = None if options.label is None else repo.labels.get(options.label)
    expect = expect_of(repo, options, binding)
    base = directories.base_of(repo, binding, None if head is None else head.ca_id)
    with (
        TreeWriter(
            repo.objects, allow_purged=options.allow_purged, level=options.level, verify=options.verify
        ) as writer,
        directories.stat_index(repo, directory) as index,
        Assistant(repo.store.path, level=options.level, verify=options.verify) as assistant,
    ):
        if options.paths is None:
            found = directories.scan(
                repo,
                directory,
                writer,
                binding=binding,
                base=base,
                index=index,
                rehash=options.rehash,
                skip_unreadable=options.skip_unreadable,
                progress=progress,
                assistant=assistant,
            )
        else:
            from jvs.workspace.partial import take  # hardly ever asked for

            found = take(repo, directory, writer, options, binding=binding, base=base, index=index, progress=progress)
        ca_id = found.tree.digest
        outcome = unchanged(repo, options, ca_id)
        assisted = None
        if outcome is None:
            assistant.begin_publish()
            writer.flush()
            _tell(progress, found)
            assisted = assistant.publish()
            _tell(progress, found)  # the last chance to stop: what follows makes it visible
            parents = () if binding is None or binding.entry_id is None else (binding.entry_id,)

            def finish(txn: WriteTxn) -> Outcome:
                if options.allow_purged:
                    allow(txn, repo.actor, tuple(writer.guard.allowed), ca_id)
                return move(repo, txn, ca_id, options, expect, parents)

            outcome = writer.publish(finish)
        assert outcome is not None
        added = writer.stats if assisted is None else writer.stats.plus(assisted)
        if found.new_index is not None and found.new_index.save():
            directories.prune_indexes(repo)
    if outcome.generation is not None and (place is None or saves(place, binding, options)):
        unapplied = {} if binding is None else directories.still_unapplied(repo, binding, ca_id)
        bound = Binding(options.label, outcome.generation, ca_id, outcome.entry_id, unapplied=unapplied)
        directories.save_binding(repo, directory, bound)
    stats = PushStats(found.tree.entries, found.tree.bytes, *added, found.files, found.directories)
    skipped = tuple(Skipped(*item) for item in (*found.skipped, *found.kept))
    return result_of(ca_id, options.label, outcome, stats, skipped)


def _tell(progress: Progress | None, found: IngestResult) -> None:
    if progress is not None:
        progress.update(found.tree.bytes, None, found.files)


def saves(place: Place, binding: Binding | None, options: PushOptions) -> bool:
    """Whether the push of a worktree is one as its own label."""
    from jvs.workspace.repository.position import label_of

    return options.label == label_of(place, binding)


def move(
    repo: Repo, txn: WriteTxn, ca_id: Digest, options: PushOptions, expect: Expect, parents: Sequence[Digest]
) -> Outcome:
    """Inside a push's last transaction: move the label, or record the snapshot as detached; what it came to.

    parents: the entry the content came from, for a label that is created or forced (a push names the entry expected).
    """
    if options.label is None:
        repo.labels.record_detached_in(txn, ca_id, parents)
        return Outcome("detached")
    head = repo.labels.get_in(txn, options.label)
    came_from = repo.labels.kept_in(txn, parents) if head is None or options.force else (head.entry_id,)
    if options.merged is not None:
        parents = options.merged
        came_from = tuple(dict.fromkeys((*came_from, *repo.labels.kept_in(txn, options.merged))))
    request = MoveRequest(
        options.label,
        ca_id,
        ANYTHING if options.force else expect,
        "merge" if options.merged is not None else "force" if options.force else "push",
        came_from,
        options.message,
        options.tags,
        options.meta,
    )
    try:
        entry = repo.labels.move_in(txn, request)
    except LabelMovedError as error:
        repo.labels.record_detached_in(txn, ca_id, parents)
        return rejected(options.label, ca_id, head, error)
    return Outcome("advanced", entry.generation, entry.id, ca_id, entry.generation)


def allow(txn: WriteTxn, actor: str, digests: Sequence[Digest], ca_id: Digest) -> None:
    """What was purged, and is stored again on purpose, is purged no more."""
    if digests or current(txn, ca_id) != ca_id:
        write_allowed(txn, digests, ca_id, actor)


def rejected(label: str, ca_id: Digest, head: LabelInfo | None, error: LabelMovedError) -> Outcome:
    short = ca_id.hex()[:12]
    if head is None:
        error.next = f"push again with --expected 0 to make it (if it was deleted: jvs fs label --undelete {label})"
        return Outcome("rejected", error=error)
    error.next = f"jvs fs merge {label} {short} --into {label} (or push again with --expected {label}, or --force)"
    return Outcome("rejected", None, None, head.ca_id, head.generation, error)


def expect_of(repo: Repo, options: PushOptions, binding: Binding | None) -> Expect:
    """What the label must be for this push to move it: what `--expected` says, else where the directory is bound,
    else that it does not exist."""
    if options.label is None or options.force:
        return ANYTHING
    if options.expected is not None:
        return repo.resolve_expected(options.expected)
    if binding is not None and binding.label == options.label:
        return binding.generation
    return None


def follow_rename(repo: Repo, binding: Binding | None) -> Binding | None:
    """The binding with the name its label has now. A rename is a move of the label, but nothing to be expected anew."""
    if binding is None or binding.entry_id is None:
        return binding
    try:
        entry = repo.labels.entry(binding.entry_id)
    except UnknownError:
        return binding  # the store was made anew, or the entry collected
    if entry.label == binding.label:
        return binding
    head = repo.labels.get(entry.label)
    if head is None or head.ca_id != binding.ca_id:
        return replace(binding, label=entry.label)
    return replace(binding, label=entry.label, generation=head.generation)


def unchanged(repo: Repo, options: PushOptions, ca_id: Digest) -> Outcome | None:
    """The outcome when the label already is at this content and nothing asks for an entry; None otherwise."""
    if options.label is None or options.always or options.tags:
        return None
    head = repo.labels.get(options.label)
    if head is None or head.ca_id != ca_id:
        return None
    return Outcome("unchanged", head.generation, head.entry_id, head.ca_id, head.generation)


def result_of(
    ca_id: Digest, label: str | None, outcome: Outcome, stats: PushStats, skipped: tuple[Skipped, ...]
) -> PushResult:
    """The answer of `fs push`."""
    return PushResult(
        outcome.status,
        label,
        ca_id,
        outcome.generation,
        outcome.entry_id,
        outcome.current,
        outcome.current_generation,
        stats,
        skipped,
        outcome.error,
    )


def _no_label(directory: str) -> UsageError:
    session = _mounted_session(directory)
    if session is not None:
        return UsageError(
            f"the session {session} is mounted there, and is pushed by its name",
            next=f"jvs fs push --session {session} (or, as a directory: --label NAME)",
        )
    return UsageError(
        "this push names no label, and the directory was never pulled or pushed as one",
        next="jvs fs push SOURCE --label NAME (or --detach)",
    )


def _mounted_session(directory: str) -> str | None:
    """The session whose mount this is the root of, if it is one."""
    from jvs.workspace.sessions.record import check_session_name  # most pushes know their label

    try:
        with open(os.path.join(directory, CONTROL, "session"), encoding="utf-8") as file:
            return check_session_name(file.read(256).strip())
    except (OSError, ValueError, UsageError):
        return None
