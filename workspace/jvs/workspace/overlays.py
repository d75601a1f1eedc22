"""Overlays of revisions, and what a push of one does to a label: `open_overlay(repo, "main")`.

The rules are those of a push of a directory (`push`): the label moves from what the overlay was opened from, or was
last pushed as; what was rejected is stored for 24 hours, and the overlay stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from jvs.castore.backend import Kind, WriteTxn, object_name
from jvs.castore.binding import Binding
from jvs.castore.diff import Difference, diff_trees
from jvs.castore.digest import Digest
from jvs.castore.gc.pins import Pin, pin_snapshot
from jvs.castore.hasher import TreeHasher
from jvs.castore.treewriter import TreeWriter
from jvs.errors import CollectedError, MissingChildrenError, MissingObjectError, UsageError
from jvs.labels.model import Entry
from jvs.overlay.fold import Folded
from jvs.overlay.overlay import Overlay
from jvs.workspace.push import (
    ATTEMPTS,
    Outcome,
    PushOptions,
    allow,
    expect_of,
    follow_rename,
    move,
    result_of,
    unchanged,
)
from jvs.workspace.results import PushResult, PushStats

if TYPE_CHECKING:
    from jvs.workspace.merging.results import MergeResult
    from jvs.workspace.repo import Repo

RETRIES = 1000
"""How often a push that merges begins again because the label moved once more: each time somebody else got on."""


class OverlayPush(NamedTuple):
    """What a push of an overlay came to. push: as of a directory (of a merge that was made: the label as it moved it);
    merge: what merging with a label that had moved came to; None when there was no need."""

    push: PushResult
    merge: MergeResult | None = None


class RepoOverlay(Overlay):
    """An overlay that knows the store, and the label it was opened from. Made by `open_overlay`."""

    _repo: Repo
    _pin: Pin | None = None
    _kept: Digest
    """The snapshot that it pins."""

    origin: Binding
    """The label, generation, snapshot and entry that it was opened from, or last pushed as."""

    def bind(self, repo: Repo, origin: Binding, pin: Pin | None) -> Self:
        """Tell it where it comes from. pin: keeps the base, and nothing else; released by `close`."""
        self._repo, self.origin, self._pin, self._kept = repo, origin, pin, self.base
        return self

    @property
    def repo(self) -> Repo:
        """The store that it is of."""
        return self._repo

    def close(self) -> None:
        """As `Overlay.close`; the base may be collected then."""
        try:
            super().close()
        finally:
            if self._pin is not None:
                self._pin.release()
                self._pin = None

    def diff(self) -> list[Difference]:
        """Every path that differs from the base, as `diff` of revisions has it: exact, so what was written is read."""
        hasher = TreeHasher(self._repo.objects)
        with self._lock:
            folded = self.fold(hasher)
            return list(diff_trees(hasher.page, self.base, folded.tree.digest))

    def push(
        self,
        label: str | None = None,
        *,
        expected: str | None = None,
        message: str = "",
        merge: bool = False,
        force: bool = False,
        detach: bool = False,
        allow_purged: bool = False,
        retries: int = RETRIES,
    ) -> OverlayPush:
        """Store what the overlay is now, and move a label to it; the overlay goes on from there.

        label     None: the one it was opened from
        expected  as of `fs push`; None: what the overlay was opened from or last pushed as (another label: that there
                  is none)
        merge     when the label has moved, merge with what moved it, as often as it takes; the overlay then is the
                  merged tree, and files that are open stay as they were, as if removed
        Nobody else can use the overlay meanwhile, so it is a consistent cut. A rejected or detached push, and a merge
        with conflicts, are in the result, and leave the overlay as it was. Raises UsageError, PurgedContentError, ...
        """
        origin = follow_rename(self._repo, self.origin) or self.origin
        if label is None and not detach:
            label = origin.label
            if label is None:
                raise UsageError(
                    "this push names no label, and what it pushes was opened from none", next="name one: --label LABEL"
                )
        options = PushOptions(label, expected, force, detach, message, allow_purged=allow_purged)
        options.check()
        with self._lock:
            result = self._push(options, origin)
            if result.status != "rejected" or not merge or label is None:
                return OverlayPush(result)
            merged = self._merge(label, origin, result.ca_id, message, retries)
            if merged.error is not None or merged.ca_id is None:
                return OverlayPush(result._replace(error=merged.error or result.error), merged)
            done = Outcome("advanced", merged.generation, merged.entry_id, merged.ca_id, merged.generation)
            return OverlayPush(result_of(merged.ca_id, label, done, result.stats, ()), merged)

    def _push(self, options: PushOptions, origin: Binding) -> PushResult:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(options, origin)
            except (MissingChildrenError, MissingObjectError, CollectedError):
                # what was found to be there already was collected since
                if attempt == ATTEMPTS:
                    raise
                self._repo.objects.forget()
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, options: PushOptions, origin: Binding) -> PushResult:
        repo = self._repo
        expect = expect_of(repo, options, origin)
        parents = () if origin.entry_id is None else (origin.entry_id,)
        came_to: list[Outcome] = []
        with TreeWriter(repo.objects, allow_purged=options.allow_purged) as writer:
            writer.work_alone()  # little is changed as a rule, and threads that take turns at it cost more than it does

            def store(folded: Folded) -> bool:
                ca_id = folded.tree.digest

                def finish(txn: WriteTxn) -> Outcome:
                    if options.allow_purged:
                        allow(txn, repo.actor, tuple(writer.guard.allowed), ca_id)
                    outcome = move(repo, txn, ca_id, options, expect, parents)
                    if outcome.entry_id is not None and options.label is not None:
                        self._moving(txn, ca_id, Binding(options.label, outcome.generation or 0, ca_id))
                    return outcome

                outcome = unchanged(repo, options, ca_id) or writer.publish(finish)
                assert outcome is not None
                came_to.append(outcome)
                if outcome.status in ("rejected", "detached"):
                    return False
                self._follow(Binding(options.label, outcome.generation or 0, ca_id, outcome.entry_id))
                return True

            tree = self.commit(writer, store).tree
            stats = PushStats(tree.entries, tree.bytes, *writer.stats)
        return result_of(tree.digest, options.label, came_to[0], stats, ())

    def _merge(self, label: str, origin: Binding, snapshot: Digest, message: str, retries: int) -> MergeResult:
        from jvs.workspace.merging.merge import push_with_merge

        # what the label was when this was made from it; of another label only the history knows
        base = origin.ca_id if label == origin.label or origin.entry_id is None else None

        def moving(txn: WriteTxn, entry: Entry) -> None:
            assert entry.to is not None
            self._moving(txn, snapshot, Binding(label, entry.generation, entry.to))

        merged = push_with_merge(
            self._repo, label, snapshot.hex(), None if base is None else base.hex(), retries, message, moving
        )
        if merged.error is None and merged.ca_id is not None:
            self._follow(Binding(label, merged.generation or 0, merged.ca_id, merged.entry_id))
            self.rebase(merged.ca_id, snapshot)
        return merged

    def _moving(self, txn: WriteTxn, snapshot: Digest, target: Binding) -> None:
        """Called in the transaction of a push that moves a label. snapshot: what the overlay is; target: the label,
        its new generation, and the snapshot there (another one when it was merged)."""

    def _follow(self, origin: Binding) -> None:
        """From now on it comes from there: keep that snapshot, and the one before no more."""
        assert origin.ca_id is not None
        self.origin = origin
        self._keep(origin.ca_id)

    def _keep(self, base: Digest) -> None:
        """Keep that snapshot while this is open, and the one before no more."""
        if self._pin is not None:
            self._repo.store.transact(lambda txn: self._keep_in(txn, base))
            self._kept = base

    def _keep_in(self, txn: WriteTxn, base: Digest) -> None:
        """`_keep`, in a transaction of the store: `_kept` is to be set once it has committed."""
        assert self._pin is not None
        txn.require(base)
        add, drop = object_name(Kind.PAGE, base), object_name(Kind.PAGE, self._kept)
        self._pin.change(txn, [add], [drop])  # type: ignore[arg-type]  # the store's own


def open_overlay(
    repo: Repo, revision: str, directory: str | None = None, *, info: Mapping[str, Any] | None = None
) -> RepoOverlay:
    """An overlay over what a revision means; O(1). `REV:PATH` is the directory at PATH, which no push moves a label to
    unless it is named. directory, info: see `Overlay.create`. Raises UnknownError, CollectedError."""
    origin, time_ns = origin_of(repo, revision)
    ca_id = origin.ca_id
    assert ca_id is not None
    pin = None if repo.store.readonly else pin_snapshot(repo.store, ca_id, "overlay")
    try:
        overlay = RepoOverlay.create(repo.objects, ca_id, directory, time_ns=time_ns, info=info)
    except BaseException:
        if pin is not None:
            pin.release()
        raise
    return overlay.bind(repo, origin, pin)


def origin_of(repo: Repo, revision: str) -> tuple[Binding, int]:
    """(where an overlay of a revision comes from, when that was made in ns or 0). Raises UnknownError,
    CollectedError."""
    resolved = repo.resolve(revision)
    ca_id = repo.snapshot_of(resolved)
    entry = resolved.entry
    whole = not resolved.path  # part of a label's tree is not what the label moves on from
    entry_id = entry.id if whole and entry is not None else None
    origin = Binding(resolved.label if whole else None, resolved.generation or 0, ca_id, entry_id)
    return origin, 0 if entry is None else entry.at_ms * 1_000_000
