"""Repo: a store opened for work. The command line, the server and the Client all stand on it.

The use-cases live in modules of their own (`push`, `pull`, `compare`, `inspection`, `doctor`); here is what they share,
and the verbs that are one call deep; what only some verbs need is imported by them, so that `fs ls` starts in no time.
Nothing here prints, prompts, or reads the environment.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jvs.castore.backend import Kind
from jvs.castore.digest import Digest
from jvs.castore.local.making import FORMAT_VERSION
from jvs.castore.local.store import LocalStore
from jvs.castore.manifest import LEAF
from jvs.castore.names import split_path
from jvs.castore.objects import ObjectStore
from jvs.castore.settings import StoreSettings
from jvs.errors import UnknownError, UsageError
from jvs.labels import revisions
from jvs.labels.model import Entry, Expect, LabelInfo
from jvs.labels.purges import current
from jvs.labels.store import Labels, wall_clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jvs.castore.verify import Sample
    from jvs.workspace.gc_results import Exclusive, GcPlan, GcRun
    from jvs.workspace.merging.many import ManyResult
    from jvs.workspace.merging.merge import MergeOptions
    from jvs.workspace.merging.recorded import Recorded
    from jvs.workspace.merging.resolve import ResolveOptions, ResolveResult
    from jvs.workspace.merging.results import MergeResult
    from jvs.workspace.pins import PinInfo
    from jvs.workspace.progress import Progress
    from jvs.workspace.purge_results import PurgeResult
    from jvs.workspace.results import (
        DiffResult,
        InitResult,
        LabelMove,
        PullResult,
        PushResult,
        StatsResult,
        TreeResult,
        VerifyResult,
    )
    from jvs.workspace.retention import PolicyInfo


class Repo:
    """An open store. Use as a context manager; safe for several threads, refuses use after fork.

    nonce  of the lock whose holder moves labels through this object, if there is one (`jvs.labels.locks`)
    """

    def __init__(self, store: LocalStore, actor: str, nonce: str | None = None) -> None:
        self.store = store
        self.actor = actor
        self.nonce = nonce
        self.objects = ObjectStore(store, store.settings)
        self.labels = Labels(store, actor, nonce=nonce)

    @staticmethod
    def init(path: str, settings: StoreSettings) -> InitResult:
        """Make a store at `path`; on an existing one nothing is changed and `created` is False."""
        from jvs.workspace.results import InitResult

        with LocalStore.create(path, settings) as store:
            return InitResult(store.path, int(FORMAT_VERSION), store.created)

    @classmethod
    def open(cls, path: str, *, actor: str, nonce: str | None = None, noted: str | None = None) -> Repo:
        """Open the store at `path` (the store directory itself; `locate.find_store` finds it).

        noted: a nonce that was noted some time ago, used if none is given and its lock is in force.
        """
        repo = cls(LocalStore.open(path), actor, nonce)
        if noted is not None and nonce is None:
            repo.nonce = repo.labels.use_noted(noted)
        return repo

    def close(self) -> None:
        """Release the store; idempotent."""
        self.store.close()

    def __enter__(self) -> Repo:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- revisions -------------------------------------------------------------------------------------------------

    def resolve(self, revision: str) -> revisions.Resolved:
        """What a revision names; see `jvs.labels.revisions` for the grammar and for what it raises."""
        parsed = revisions.parse(revision)
        with self.store.read() as txn:
            return revisions.resolve(txn, parsed, now_ms=wall_clock())

    def resolve_expected(self, text: str) -> Expect:
        """What `--expected TEXT` means now."""
        parsed = revisions.parse_expected(text)
        with self.store.read() as txn:
            return revisions.resolve_expected(txn, parsed, now_ms=wall_clock())

    def snapshot_of(self, resolved: revisions.Resolved) -> Digest:
        """The snapshot a revision means, where `REV:PATH` is the directory at PATH as a snapshot of its own."""
        from jvs.workspace.reading import unless_collected

        with unless_collected(self, resolved.ca_id):
            digest = self.objects.subtree(resolved.ca_id, split_path(resolved.path or b""))
            is_leaf = self.objects.page(digest).tag == LEAF
        if is_leaf:
            raise UnknownError(f"{digest.hex()[:12]} is a slice of a directory, not a snapshot")
        return digest

    def has_snapshot(self, root: Digest) -> bool:
        """Whether the store holds the page `root`, and so (the index is closed) everything below it."""
        return not self.store.missing(Kind.PAGE, (root,))

    # -- directories -----------------------------------------------------------------------------------------------

    @property
    def cache_dir(self) -> str:
        """Where bindings and stat indexes live: derived, may be deleted at any time."""
        return os.path.join(self.store.path, "cache")

    def push(
        self,
        source: str,
        *,
        label: str | None = None,
        expected: str | None = None,
        force: bool = False,
        detach: bool = False,
        message: str = "",
        tags: Sequence[str] = (),
        always: bool = False,
        rehash: bool = False,
        skip_unreadable: bool = False,
        as_revision: bool = False,
        allow_purged: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Snapshot a directory (or take a revision) and move a label to it; see `push.push`."""
        from jvs.workspace import push

        options = push.PushOptions(
            label,
            expected,
            force,
            detach,
            message,
            tuple(tags),
            always,
            rehash,
            skip_unreadable,
            allow_purged=allow_purged,
        )
        return push.push(self, source, options, as_revision=as_revision, progress=progress)

    def pull(
        self,
        revision: str,
        directory: str | None = None,
        *,
        autosave: bool = False,
        discard: bool = False,
        special_modes: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PullResult:
        """Make a directory be a snapshot; without one, say what the revision is; see `pull.pull`."""
        from jvs.workspace import pull

        options = pull.PullOptions(autosave, discard, special_modes, dry_run)
        return pull.pull(self, revision, directory, options, progress=progress)

    # -- looking ---------------------------------------------------------------------------------------------------

    def list_labels(self, glob: str | None) -> Iterator[LabelInfo]:
        """Live labels whose names match a shell pattern (None: all), in order."""
        prefix = "" if glob is None else glob[: min((glob.find(c) for c in "*?[" if c in glob), default=len(glob))]
        for info in self.labels.list(prefix):
            if glob is None or fnmatch.fnmatchcase(info.name, glob):
                yield info

    def list_label(self, name: str) -> LabelInfo | None:
        """The live label of that name; None for whatever else `name` may be."""
        try:
            return self.labels.get(name)
        except UsageError:
            return None

    def log(self, label: str, limit: int | None) -> Iterator[Entry]:
        """The newest `limit` reflog entries, newest first."""
        return self.labels.log(label, limit)

    def log_oldest_first(self, label: str, limit: int | None) -> Iterator[Entry]:
        """The newest `limit` reflog entries, oldest first."""
        return self.labels.log(label, limit, newest_first=False)

    def tree(self, revision: str, depth: int | None = None) -> TreeResult:
        """List `REV[:PATH]`; see `inspection.tree`."""
        from jvs.workspace import inspection

        return inspection.tree(self, revision, depth)

    def cat(self, revision: str, byte_range: tuple[int | None, int | None] | None = None) -> Iterator[bytes]:
        """The bytes of `REV:PATH`; see `inspection.cat`."""
        from jvs.workspace import inspection

        return inspection.cat(self, revision, byte_range)

    def diff(self, a: str, b: str | None = None, *, renames: bool = True) -> DiffResult:
        """What differs between two revisions; `b` may be a directory on disk; None: what the move that made `a`
        changed. See `compare`."""
        from jvs.workspace import compare

        return compare.diff(self, a, b, renames=renames)

    def patch(self, result: DiffResult, *, words: bool = False) -> Iterator[str]:
        """Unified diff text of a result of `diff`, line by line; words: by words. See `patch`."""
        from jvs.workspace import patch

        return patch.patch(self, result, words=words)

    def verify(
        self, revision: str | None = None, *, sample: Sample | None = None, progress: Progress | None = None
    ) -> VerifyResult:
        """Read and check every byte of a snapshot (None: of everything in the store, or of a sample of its objects);
        see `checkup`."""
        from jvs.workspace import checkup

        return checkup.verify(self, revision, progress, sample)

    def stats(self, by: str | None = None) -> StatsResult:
        """Logical and stored bytes; see `inspection.stats`."""
        from jvs.workspace import inspection

        return inspection.stats(self, by)

    def exclusive(self, name: str) -> Exclusive:
        """What only a label, or only the snapshot that a revision means, keeps; see `exclusive`."""
        from jvs.workspace import exclusive

        return exclusive.exclusive(self, name)

    def snapshots(self) -> list[tuple[Digest, int]]:
        """(CA id, time in ms) of every snapshot a live label's reflog protects, each once, oldest first."""
        first: dict[Digest, int] = {}
        for info in self.labels.list():
            for entry in self.labels.log(info.name, newest_first=False):
                ca_id = None if entry.to is None or entry.dropped else self.standing(entry.to)
                if ca_id is not None and entry.at_ms < first.get(ca_id, entry.at_ms + 1):
                    first[ca_id] = entry.at_ms
        return sorted(first.items(), key=lambda item: (item[1], item[0]))

    # -- moving labels ---------------------------------------------------------------------------------------------

    def set_label(self, name: str, revision: str, message: str = "") -> LabelMove:
        """Create a label at a revision, or repoint it there; already there: nothing happens."""
        resolved = self.resolve(revision)
        ca_id = self.snapshot_of(resolved)
        before = self.labels.get(name)
        if before is not None and before.ca_id == ca_id:
            from jvs.workspace.results import LabelMove

            return LabelMove(name, ca_id, before.generation, before.entry_id, "unchanged", ca_id)
        entry = self.labels.compare_and_set(
            name,
            None if before is None else before.generation,
            ca_id,
            op="repoint",
            message=message,
            parents=resolved.parents,
        )
        return _moved(entry)

    def delete_label(self, name: str, message: str = "") -> LabelMove:
        """Delete a label; `undelete_label` brings it back until its entries leave the retention window."""
        return _moved(self.labels.delete(name, message=message))

    def undelete_label(self, name: str, message: str = "") -> LabelMove:
        """Bring back the label deleted last under this name."""
        return _moved(self.labels.undelete(name, message=message))

    def rename_label(self, old: str, new: str, message: str = "") -> LabelMove:
        """Give a label another name; its reflog goes with it."""
        return _moved(self.labels.rename(old, new, message=message))

    def delete_tag(self, tag: str, message: str = "") -> None:
        """Take a tag from every entry that has it."""
        self.labels.delete_tag(tag, message=message)

    def reset(self, label: str, revision: str, *, allow_unlogged: bool = False, message: str = "") -> LabelMove:
        """Move a label back to something in its own reflog (to anything in the store with `allow_unlogged`)."""
        head = self.labels.require(label)
        resolved = self.resolve(revision)
        if resolved.path:
            raise UsageError("a label is reset to a snapshot, not to a path in one", code="bad-revision")
        target = resolved.ca_id if resolved.entry is None else resolved.entry.id
        return _moved(
            self.labels.reset(label, target, expect=head.generation, allow_unlogged=allow_unlogged, message=message)
        )

    def undo(self, label: str, message: str = "") -> LabelMove:
        """Revert a label's newest move; undo of the undo redoes it."""
        return _moved(self.labels.undo(label, message=message))

    def remove(self, location: str, message: str = "", expected: str | None = None) -> PushResult:
        """`fs rm LABEL:PATH`: a new snapshot without that path; see `edits`."""
        from jvs.workspace import edits

        return edits.remove(self, location, message, expected)

    # -- merging ---------------------------------------------------------------------------------------------------

    def merge(self, ours: str, theirs: str, options: MergeOptions | None = None) -> MergeResult:
        """Merge two revisions, and move a label when `options.into` names one; see `merging.merge`."""
        from jvs.workspace.merging import merge

        return merge.merge(self, ours, theirs, options or merge.MergeOptions())

    def merge_all(self, revisions: Sequence[str], options: MergeOptions | None = None) -> ManyResult:
        """Merge many revisions at once, as far as they go together; see `merging.many`."""
        from jvs.workspace.merging import many, merge

        return many.merge_all(self, revisions, options or merge.MergeOptions())

    def push_with_merge(
        self, label: str, snapshot: str, base: str | None = None, retries: int = 10, message: str = ""
    ) -> MergeResult:
        """Move a label to a snapshot made from an earlier head of it, merging with what moved it meanwhile; see
        `merging.merge`."""
        from jvs.workspace.merging import merge

        return merge.push_with_merge(self, label, snapshot, base, retries, message)

    def resolve_merge(
        self, directory: str, options: ResolveOptions | None = None, *, progress: Progress | None = None
    ) -> ResolveResult:
        """Push a directory in which a conflicted merge was settled by hand; see `merging.resolve`."""
        from jvs.workspace.merging import resolve

        return resolve.resolve(self, directory, options or resolve.ResolveOptions(), progress)

    @property
    def recorded(self) -> Recorded:
        """The recorded resolutions of conflicts; see `merging.recorded`."""
        from jvs.workspace.merging.recorded import Recorded

        return Recorded(self.store.path)

    # -- what is kept ----------------------------------------------------------------------------------------------

    def pin(self, revision: str, until: str | None = None, message: str = "") -> PinInfo:
        """Keep a snapshot, whatever the retention policies say; see `pins`."""
        from jvs.workspace import pins

        return pins.pin(self, revision, until, message)

    def unpin(self, target: str) -> list[PinInfo]:
        """Remove a pin, or all pins of a snapshot; see `pins`."""
        from jvs.workspace import pins

        return pins.unpin(self, target)

    def pins(self) -> list[PinInfo]:
        """Every pin, the oldest first."""
        from jvs.workspace import pins

        return pins.pins(self)

    def set_retention(self, rules: Sequence[str], pattern: str = "*") -> PolicyInfo:
        """Replace the retention policy of the labels that match; see `retention`."""
        from jvs.workspace import retention

        return retention.set_policy(self, rules, pattern)

    def unset_retention(self, pattern: str = "*") -> None:
        """Take the retention policy of a pattern back."""
        from jvs.workspace import retention

        retention.unset_policy(self, pattern)

    def retention(self) -> list[PolicyInfo]:
        """Every retention policy, the built-in ones too."""
        from jvs.workspace import retention

        return retention.policies(self)

    def gc_plan(self, *, trust_clock: bool = False, progress: Progress | None = None) -> GcPlan:
        """What would go, and why the rest stays; see `gc`."""
        from jvs.workspace import gc

        return gc.plan(self, trust_clock=trust_clock, progress=progress)

    def gc_run(
        self,
        plan_id: str | None = None,
        *,
        dry_run: bool = False,
        max_seconds: float | None = None,
        max_bytes: int | None = None,
        trust_clock: bool = False,
        progress: Progress | None = None,
    ) -> GcRun:
        """Collect garbage: what a plan foresaw, or all there is; see `gc`."""
        from jvs.workspace import gc

        options = gc.RunOptions(dry_run, max_seconds, max_bytes, trust_clock)
        return gc.run(self, plan_id, options, progress)

    def purge(
        self,
        paths: Sequence[bytes] = (),
        snapshot: str | None = None,
        reason: str = "",
        *,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PurgeResult:
        """Remove named content from every snapshot, and from the store; see `purge`."""
        from jvs.workspace import purge

        return purge.purge(self, purge.PurgeOptions(tuple(paths), snapshot, reason, dry_run), progress)

    def standing(self, ca_id: Digest) -> Digest | None:
        """The snapshot that stands for `ca_id` now: itself, unless it was purged; None: nothing does."""
        with self.store.read() as txn:
            return current(txn, ca_id)

    # -- figures ---------------------------------------------------------------------------------------------------

    def disk_usage(self) -> dict[str, int]:
        """Allocated bytes on disk of each part of the store; `cache` is derived and counted apart from the others."""
        usage: dict[str, int] = {}
        for name in ("packs", "index", "journal", "cache"):
            usage[name] = _allocated(os.path.join(self.store.path, name))
        return usage


def _moved(entry: Entry) -> LabelMove:
    from jvs.workspace.results import LabelMove

    return LabelMove(entry.label, entry.to, entry.generation, entry.id, entry.op, entry.from_)


def _allocated(path: str) -> int:
    """Bytes allocated to a file, or to all files below a directory."""
    try:
        if not os.path.isdir(path):
            return os.lstat(path).st_blocks * 512
        with os.scandir(path) as entries:
            return sum(_allocated(entry.path) for entry in entries)
    except FileNotFoundError:  # went away meanwhile
        return 0
