"""What every label store promises, whatever it keeps its labels in (`conformance` checks it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from jvs.castore.digest import Digest
from jvs.labels.locks import LEASE_MS, Held, Lock
from jvs.labels.model import ANYTHING, Entry, Expect, LabelInfo, Spared, nothing_spared
from jvs.labels.pins import Pin

if TYPE_CHECKING:
    from jvs.labels.policies import SetPolicy
    from jvs.labels.refs import Ref
    from jvs.labels.retention import Policy
    from jvs.labels.truncation import Expired


class LabelStore(Protocol):
    """Movable names for snapshots, with a reflog.

    Whatever keeps them, these hold for every implementation, across processes and crashes (`conformance` checks them):

    * A move is one atomic write of the head and its reflog entry. The head is never ahead of the reflog.
    * Generations of a label rise strictly; those of a name never repeat, also across delete and create.
    * `prev` links the entries of one label into a chain; ids are recomputed whenever an entry is read.
    * A snapshot becomes a head only if its root page is in the store at that moment (CollectedError otherwise).
    * at_ms never falls along one label's entries, whatever the clocks of the writers say.
    * A comparison that fails raises LabelMovedError with the head that was read in the same transaction.

    * A label whose name is locked is moved, deleted, renamed or brought back by the holder of the lock alone
      (LeaseError); fencing tokens of a name only ever grow.

    Every mutation raises UsageError for a malformed name, message (bad-message), tag or meta. `expect` is an Expect:
    ANYTHING, None or 0 (must not exist), a generation, an entry id, or a CA id.
    """

    def get(self, name: str) -> LabelInfo | None:
        """The live label of that name, or None."""

    def list(self, prefix: str = "", after: str | None = None, limit: int | None = None) -> Sequence[LabelInfo]:
        """Live labels whose names start with `prefix` and come after `after`, in order of their UTF-8 bytes."""

    def compare_and_set(
        self,
        name: str,
        expect: Expect,
        new: Digest,
        *,
        op: str = "push",
        message: str = "",
        tags: Sequence[str] = (),
        parents: Sequence[Digest] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Make `name` point to `new` if it is what was expected; creates it when it does not exist and that was
        allowed. Returns the new entry. Raises LabelMovedError, CollectedError, UnknownError (a parent)."""

    def force(
        self, name: str, new: Digest, *, message: str = "", tags: Sequence[str] = (), parents: Sequence[Digest] = ()
    ) -> Entry:
        """Move (or create) without a comparison; recorded as `force`."""

    def reset(
        self,
        name: str,
        target: Digest,
        *,
        expect: Expect = ANYTHING,
        allow_unlogged: bool = False,
        message: str = "",
    ) -> Entry:
        """Move back to an entry id or CA id of the label's own reflog (StateError not-in-reflog unless allowed)."""

    def delete(self, name: str, *, expect: Expect = ANYTHING, message: str = "") -> Entry:
        """Delete; raises UnknownError (unknown-label). The name keeps its highest generation for ever."""

    def undelete(self, name: str, *, message: str = "") -> Entry:
        """Bring back the label deleted last under this name; never onto a name in use (already-exists)."""

    def rename(self, old: str, new: str, *, expect: Expect = ANYTHING, message: str = "") -> Entry:
        """Change a label's name, O(1); its reflog goes with it."""

    def undo(self, name: str, *, expect: Expect = ANYTHING, message: str = "") -> Entry:
        """Revert the newest move; a move itself, so undoing twice redoes."""

    def autosave(self, name: str, new: Digest, *, parents: Sequence[Digest] = (), message: str = "") -> Entry:
        """Record a snapshot on the label `autosave/NAME`, without a comparison."""

    def log(self, name: str, limit: int | None = None, *, newest_first: bool = True) -> Iterator[Entry]:
        """The newest `limit` entries of a live label, streamed; entries added meanwhile are not seen."""

    def entry(self, entry_id: Digest) -> Entry:
        """The entry of that id, also of a deleted label; raises UnknownError (unknown-revision)."""

    def tag(self, tag: str) -> Entry:
        """The newest entry with that tag; raises UnknownError (unknown-tag)."""

    def tags(self) -> Sequence[str]:
        """Every tag some entry has."""

    def delete_tag(self, tag: str, *, message: str = "") -> None:
        """Take a tag from every entry that has it; raises UnknownError (unknown-tag)."""

    def record_detached(self, ca_id: Digest, parents: Sequence[Digest] = ()) -> None:
        """Keep a snapshot that no label points to for 24 hours; parents: the entries its content came from."""

    def pin(self, ca_id: Digest, until_ms: int | None = None, *, message: str = "") -> Pin:
        """Keep a snapshot until a time, or until it is unpinned. Raises CollectedError, UsageError (a time that has
        passed)."""

    def unpin(self, target: bytes) -> Sequence[Pin]:
        """Remove one pin (by its id) or all of a snapshot (by its CA id); raises UnknownError (unknown-pin)."""

    def pins(self) -> Sequence[Pin]:
        """Every pin, the oldest first; also those whose time has passed, until `expire` removes them."""

    def acquire_lock(self, name: str, lease_ms: int = LEASE_MS, purpose: str = "", session_id: str = "") -> Held:
        """Lock the label of a name, which need not exist, unless somebody has: LeaseError (lock-conflict). A lock whose
        lease is over is taken over."""

    def steal_lock(
        self,
        name: str,
        lease_ms: int = LEASE_MS,
        purpose: str = "",
        session_id: str = "",
        *,
        force: bool = False,
        message: str = "",
    ) -> Held:
        """Take a lock over whose lease is over, or with `force` any; raises LeaseError (lock-conflict, lock-not-held).
        message: the reason."""

    def renew_lock(self, name: str, nonce: str, lease_ms: int = LEASE_MS) -> Lock:
        """Prolong a lease; raises LeaseError (lock-not-held, lock-expired)."""

    def release_lock(self, name: str, nonce: str) -> Lock:
        """Give a lock back; raises LeaseError (lock-not-held)."""

    def lock(self, name: str) -> Lock | None:
        """The lock of a name, held or not; None: there never was one."""

    def locks(self) -> Sequence[Lock]:
        """Every lock that somebody has, also when its lease is over."""

    def create_ref(self, name: str, target: Digest, *, message: str = "") -> Ref:
        """Give an entry or a snapshot a name that never moves, and keep it as long as that is not deleted. Raises
        StateError (already-exists), CollectedError, UnknownError, UsageError (bad-name)."""

    def delete_ref(self, name: str, *, message: str = "") -> Ref:
        """Delete a ref; raises UnknownError (unknown-ref)."""

    def ref(self, name: str) -> Ref:
        """The ref of that name; raises UnknownError (unknown-ref)."""

    def refs(self) -> Sequence[Ref]:
        """Every ref, in order of the names."""

    def set_retention(self, pattern: str, rules: Iterable[str]) -> Policy:
        """Replace the policy of the labels that match a pattern (see `retention`); raises UsageError (bad-policy,
        bad-duration). Nothing is dropped before `expire`."""

    def unset_retention(self, pattern: str) -> None:
        """Take the policy of a pattern back; raises UnknownError (unknown-policy)."""

    def retention(self) -> Sequence[SetPolicy]:
        """Every policy, the built-in ones too, in byte order of the patterns."""

    def expire(self, now_ms: int, spared: Spared = nothing_spared) -> Iterator[Expired]:
        """End what has left its window at that time (see `truncation`), reporting after each transaction: entries lose
        their bodies, deleted labels can no longer come back, pins and detached records go. Heads, tagged entries,
        ids and links stay, and what protects a `spared` snapshot."""
