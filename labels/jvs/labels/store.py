"""The label store over a meta store's tables (`protocol` says what every implementation promises)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jvs.castore.backend import MetaStore, ReadTxn, WriteTxn
from jvs.castore.digest import Digest
from jvs.labels import lineage, locks, moves, pins, reads, revisions, verify
from jvs.labels.locks import LEASE_MS, Held, Lock
from jvs.labels.model import ANYTHING, Entry, Expect, LabelInfo, Spared, nothing_spared
from jvs.labels.moves import MoveRequest, Note
from jvs.labels.names import AUTOSAVE, check_label_name, check_tag
from jvs.labels.pins import Pin
from jvs.labels.revisions import Resolved, Revision
from jvs.labels.tables import PositionRow, Span, head_of, position_row

if TYPE_CHECKING:
    from datetime import tzinfo

    from jvs.labels.policies import SetPolicy
    from jvs.labels.positions import Position
    from jvs.labels.refs import Ref
    from jvs.labels.retention import Policy
    from jvs.labels.truncation import Expired

LOG_PAGE = 256
"""Entries read per transaction while a reflog is streamed: a slow reader must not hold a read view open."""


def wall_clock() -> int:
    """Unix time in ms."""
    return time.time_ns() // 1_000_000


class Labels:
    """The label store over a MetaStore's tables: one write transaction per move, shared by all processes.

    store  the tables (and the index that says which roots exist)
    actor  who moves labels through this object; at most 255 bytes
    clock  Unix time in ms
    nonce  of the lock whose holder moves them, if there is one (see `locks`)

    The methods ending in `_in` do the same inside a transaction somebody else opened, for instance the last one of
    `ObjectWriter.publish`. They write nothing when they raise, so that transaction may still be used for something
    else, such as recording the snapshot of a lost race as detached.
    """

    def __init__(
        self, store: MetaStore, actor: str = "", clock: Callable[[], int] = wall_clock, nonce: str | None = None
    ) -> None:
        self._store = store
        self._actor = actor
        self._clock = clock
        self._nonce = nonce

    # what there is

    def get(self, name: str) -> LabelInfo | None:
        """See LabelStore."""
        with self._store.read() as txn:
            return self.get_in(txn, name)

    def get_in(self, txn: ReadTxn, name: str) -> LabelInfo | None:
        """`get`, in a transaction."""
        return reads.label_info(txn, check_label_name(name))

    def require(self, name: str) -> LabelInfo:
        """The live label; raises UnknownError (unknown-label), with the nearest names."""
        with self._store.read() as txn:
            info = self.get_in(txn, name)
            if info is None:
                raise reads.unknown_label(txn, name)
            return info

    def list(self, prefix: str = "", after: str | None = None, limit: int | None = None) -> Sequence[LabelInfo]:
        """See LabelStore."""
        with self._store.read() as txn:
            return reads.list_labels(txn, prefix, after, limit)

    def log(self, name: str, limit: int | None = None, *, newest_first: bool = True) -> Iterator[Entry]:
        """See LabelStore."""
        with self._store.read() as txn:
            head = reads.live_head(txn, name)
            first = None if limit is None else reads.nth_generation(txn, head, max(limit, 1) - 1)
        if limit is not None and limit <= 0:
            return iter(())
        return self._stream(head.uid, first or 0, head.generation, newest_first)

    def _stream(self, uid: bytes, first: int, last: int, newest_first: bool) -> Iterator[Entry]:
        while True:
            with self._store.read() as txn:
                page = reads.log_page(txn, uid, first, last, LOG_PAGE, newest_first=newest_first)
            if len(page) < LOG_PAGE:
                yield from page
                return
            # The last entry is read again at the head of the next page, so that no gap between pages goes unseen.
            yield from page[:-1]
            if newest_first:
                last = page[-1].generation
            else:
                first = page[-1].generation

    def entry(self, entry_id: Digest) -> Entry:
        """See LabelStore."""
        with self._store.read() as txn:
            return reads.existing_entry(txn, entry_id)

    def tag(self, tag: str) -> Entry:
        """See LabelStore."""
        with self._store.read() as txn:
            return reads.newest_tagged(txn, check_tag(tag))

    def tags(self) -> Sequence[str]:
        """See LabelStore."""
        with self._store.read() as txn:
            return reads.list_tags(txn)

    def resolve(self, revision: str, *, tz: tzinfo | None = None) -> Resolved:
        """What a revision names (see `revisions`)."""
        parsed = revisions.parse(revision)
        with self._store.read() as txn:
            return revisions.resolve(txn, parsed, now_ms=self._clock(), tz=tz)

    def resolve_expected(self, expected: str, *, tz: tzinfo | None = None) -> Expect:
        """What `--expected` names now, as an Expect."""
        parsed = revisions.parse_expected(expected)
        with self._store.read() as txn:
            return revisions.resolve_expected(txn, parsed, now_ms=self._clock(), tz=tz)

    def split_location(self, text: str) -> Revision:
        """The revision in `LABEL[@REV]/PATH` (a `jvs://` address without its scheme)."""
        with self._store.read() as txn:
            return revisions.split_location(txn, text)

    def merge_bases(self, left: Digest, right: Digest) -> Sequence[Digest]:
        """The best common ancestors of two entries (see `lineage`)."""
        with self._store.read() as txn:
            return lineage.merge_bases(txn, left, right)

    def is_ancestor(self, ancestor: Digest, descendant: Digest) -> bool:
        """Whether one entry's content came from another's."""
        with self._store.read() as txn:
            return lineage.is_ancestor(txn, ancestor, descendant)

    def pins(self) -> Sequence[Pin]:
        """See LabelStore."""
        with self._store.read() as txn:
            return pins.list_pins(txn)

    def lock(self, name: str) -> Lock | None:
        """See LabelStore."""
        with self._store.read() as txn:
            return locks.lock_of(txn, name)

    def locks(self) -> Sequence[Lock]:
        """See LabelStore."""
        with self._store.read() as txn:
            return locks.list_locks(txn)

    def ref(self, name: str) -> Ref:
        """See LabelStore."""
        from jvs.labels import refs

        with self._store.read() as txn:
            return refs.get_ref(txn, name)

    def refs(self) -> Sequence[Ref]:
        """See LabelStore."""
        from jvs.labels import refs

        with self._store.read() as txn:
            return refs.list_refs(txn)

    def retention(self) -> Sequence[SetPolicy]:
        """See LabelStore."""
        from jvs.labels import policies

        with self._store.read() as txn:
            return policies.list_policies(txn)

    def verify_chain(self, name: str) -> int:
        """Recompute every id and link of a label's reflog; the number of entries. Raises IntegrityError."""
        with self._store.read() as txn:
            return verify.verify_chain(txn, name)

    def verify(self) -> int:
        """Verify every reflog and index table; the number of entries. Raises IntegrityError at the first fault."""
        with self._store.read() as txn:
            return verify.verify_labels(txn)

    # what changes it

    def move(self, request: MoveRequest) -> Entry:
        """`move_in`, in a transaction of its own."""
        if request.expect is None or request.expect == 0 or request.expect is ANYTHING:
            self.get(request.name)  # it may be a creation: see `reads.label_info`
        return self._store.transact(lambda txn: self.move_in(txn, request))

    def move_in(self, txn: WriteTxn, request: MoveRequest) -> Entry:
        """Carry out a MoveRequest; see `moves.move` for what it raises."""
        note = self._note(request.message, request.tags, request.meta, request.actor)
        return moves.move(txn, note, request)

    def kept_in(self, txn: ReadTxn, entry_ids: Sequence[Digest]) -> tuple[Digest, ...]:
        """Those of these entries that may be parents of a new one; the others were forgotten with their labels."""
        return tuple(entry_id for entry_id in entry_ids if moves.parent_entry(txn, entry_id) is not None)

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
        """See LabelStore."""
        return self.move(MoveRequest(name, new, expect, op, parents, message, tags, meta))

    def force(
        self, name: str, new: Digest, *, message: str = "", tags: Sequence[str] = (), parents: Sequence[Digest] = ()
    ) -> Entry:
        """See LabelStore."""
        return self.move(MoveRequest(name, new, ANYTHING, "force", parents, message, tags))

    def autosave(self, name: str, new: Digest, *, parents: Sequence[Digest] = (), message: str = "") -> Entry:
        """See LabelStore."""
        return self.move(MoveRequest(f"{AUTOSAVE}/{name}", new, ANYTHING, "autosave", parents, message))

    def reset(
        self,
        name: str,
        target: Digest,
        *,
        expect: Expect = ANYTHING,
        allow_unlogged: bool = False,
        message: str = "",
    ) -> Entry:
        """See LabelStore."""
        note = self._note(message)
        return self._store.transact(
            lambda txn: moves.reset(txn, note, name, target, expect, allow_unlogged=allow_unlogged)
        )

    def delete(self, name: str, *, expect: Expect = ANYTHING, message: str = "") -> Entry:
        """See LabelStore."""
        note = self._note(message)
        return self._store.transact(lambda txn: moves.delete(txn, note, name, expect))

    def purge_in(self, txn: WriteTxn, name: str, message: str, meta: Mapping[str, Any]) -> Entry:
        """Note in a label's reflog, inside a transaction, that its snapshots were replaced (see `purges`), and move it
        to the one that took the place of its head's."""
        return moves.purge(txn, self._note(message, meta=meta), name)

    def undelete(self, name: str, *, message: str = "") -> Entry:
        """See LabelStore."""
        note = self._note(message)
        return self._store.transact(lambda txn: moves.undelete(txn, note, name))

    def rename(self, old: str, new: str, *, expect: Expect = ANYTHING, message: str = "") -> Entry:
        """See LabelStore."""
        note = self._note(message)
        return self._store.transact(lambda txn: moves.rename(txn, note, old, new, expect))

    def rename_in(
        self,
        txn: WriteTxn,
        old: str,
        new: str,
        *,
        message: str = "",
        meta: Mapping[str, Any] | None = None,
        autosaves: bool = False,
    ) -> Entry:
        """`rename`, in a transaction. autosaves: `new` may be the name of autosaves."""
        return moves.rename(txn, self._note(message, meta=meta), old, new, undoing=autosaves)

    def delete_in(self, txn: WriteTxn, name: str, *, message: str = "") -> Entry:
        """`delete`, in a transaction."""
        return moves.delete(txn, self._note(message), name)

    def undo(self, name: str, *, expect: Expect = ANYTHING, message: str = "") -> Entry:
        """See LabelStore."""
        note = self._note(message)
        return self._store.transact(lambda txn: moves.undo(txn, note, name, expect))

    def delete_tag(self, tag: str, *, message: str = "") -> None:
        """See LabelStore."""
        with self._store.write() as txn:
            moves.delete_tag(txn, self._note(message), tag)

    def record_detached(self, ca_id: Digest, parents: Sequence[Digest] = ()) -> None:
        """See LabelStore."""
        self._store.transact(lambda txn: self.record_detached_in(txn, ca_id, parents))

    def record_detached_in(self, txn: WriteTxn, ca_id: Digest, parents: Sequence[Digest] = ()) -> None:
        """`record_detached`, in a transaction."""
        moves.record_detached(txn, self._note(), ca_id, parents)

    def pin(self, ca_id: Digest, until_ms: int | None = None, *, message: str = "") -> Pin:
        """See LabelStore."""
        return self._store.transact(lambda txn: self.pin_in(txn, ca_id, until_ms, message=message))

    def pin_in(self, txn: WriteTxn, ca_id: Digest, until_ms: int | None = None, *, message: str = "") -> Pin:
        """`pin`, in a transaction."""
        return pins.pin(txn, self._note(message), ca_id, until_ms)

    def unpin(self, target: bytes) -> Sequence[Pin]:
        """See LabelStore."""
        return self._store.transact(lambda txn: self.unpin_in(txn, target))

    def unpin_in(self, txn: WriteTxn, target: bytes) -> Sequence[Pin]:
        """`unpin`, in a transaction."""
        return pins.unpin(txn, self._note(), target)

    def acquire_lock(self, name: str, lease_ms: int = LEASE_MS, purpose: str = "", session_id: str = "") -> Held:
        """See LabelStore."""
        note = self._note()
        return self._store.transact(lambda txn: locks.acquire(txn, note, name, lease_ms, purpose, session_id))

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
        """See LabelStore."""
        note = self._note(message)
        return self._store.transact(
            lambda txn: locks.steal(txn, note, name, lease_ms, purpose, session_id, force=force)
        )

    def renew_lock(self, name: str, nonce: str, lease_ms: int = LEASE_MS) -> Lock:
        """See LabelStore."""
        note = self._note()._replace(nonce=nonce)
        return self._store.transact(lambda txn: locks.renew(txn, note, name, lease_ms))

    def release_lock(self, name: str, nonce: str) -> Lock:
        """See LabelStore."""
        note = self._note()._replace(nonce=nonce)
        return self._store.transact(lambda txn: locks.release(txn, note, name))

    def check_lock(self, name: str) -> None:
        """Raise LeaseError as a move of that label would now: for whoever does long work first. What decides is the
        move."""
        with self._store.read() as txn:
            locks.admit(txn, self._note(), [check_label_name(name)])

    def use_noted(self, nonce: str) -> str | None:
        """Act with a nonce that was noted some time ago from now on, if its lock is in force, and return it; else go on
        without one, as anybody may."""
        with self._store.read() as txn:
            self._nonce = nonce if locks.opens(txn, nonce, self._clock()) else None
        return self._nonce

    def compare_in(self, txn: WriteTxn, name: str, expect: Expect) -> None:
        """Raise LabelMovedError (or LeaseError) as a move that expects this would, inside a transaction."""
        moves.compare(txn, self._note(), name, head_of(txn, name), expect)

    def create_ref(self, name: str, target: Digest, *, message: str = "") -> Ref:
        """See LabelStore."""
        from jvs.labels import refs

        note = self._note(message)
        return self._store.transact(lambda txn: refs.create_ref(txn, note, name, target))

    def delete_ref(self, name: str, *, message: str = "") -> Ref:
        """See LabelStore."""
        from jvs.labels import refs

        note = self._note(message)
        return self._store.transact(lambda txn: refs.delete_ref(txn, note, name))

    def positions(self) -> Sequence[Position]:
        """Where all worktrees stand that use this store (see `positions`)."""
        from jvs.labels import positions

        with self._store.read() as txn:
            return positions.list_positions(txn)

    def stand(self, mark: str, snapshots: Sequence[Digest], spans: Sequence[Span]) -> bool:
        """Record where a worktree stands: what is there is kept, see `positions.stand`."""
        from jvs.labels import positions

        with self._store.read() as txn:
            if position_row(txn, mark) == PositionRow(tuple(dict.fromkeys(snapshots)), tuple(spans)):
                return False
        note = self._note()
        return self._store.transact(lambda txn: positions.stand(txn, note, mark, snapshots, spans))

    def leave(self, marks: Sequence[str]) -> int:
        """Forget where worktrees stood; how many of them were known."""
        with self._store.read() as txn:
            known = [mark for mark in marks if position_row(txn, mark) is not None]
        return self._store.transact(lambda txn: self.leave_in(txn, known)) if known else 0

    def leave_in(self, txn: WriteTxn, marks: Sequence[str]) -> int:
        """`leave`, in a transaction."""
        from jvs.labels import positions

        return positions.leave(txn, self._note(), marks)

    def record_act(
        self,
        operation: str,
        target: str,
        *,
        reason: str = "",
        label: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Journal something that moves no label, for the audit (see `acts`). label: whose lock must allow it."""
        self._store.transact(
            lambda txn: self.record_act_in(txn, operation, target, reason=reason, label=label, details=details)
        )

    def record_act_in(
        self,
        txn: WriteTxn,
        operation: str,
        target: str,
        *,
        reason: str = "",
        label: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """`record_act`, in a transaction."""
        from jvs.labels import acts

        acts.record_act(txn, self._note(reason), operation, target, label=label, details=details)

    def set_retention(self, pattern: str, rules: Iterable[str]) -> Policy:
        """See LabelStore."""
        from jvs.labels import policies  # as below: rarely needed, and not cheap to import
        from jvs.labels.retention import parse_policy

        note, policy = self._note(), parse_policy(rules)
        self._store.transact(lambda txn: policies.set_policy(txn, note, pattern, policy))
        return policy

    def unset_retention(self, pattern: str) -> None:
        """See LabelStore."""
        from jvs.labels import policies

        note = self._note()
        self._store.transact(lambda txn: policies.unset_policy(txn, note, pattern))

    def expire(self, now_ms: int, spared: Spared = nothing_spared) -> Iterator[Expired]:
        """See LabelStore."""
        from jvs.labels import truncation

        return truncation.expire(self._store, self._note()._replace(now_ms=now_ms), spared)

    def _note(
        self,
        message: str = "",
        tags: Sequence[str] = (),
        meta: Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> Note:
        actor = self._actor if actor is None else actor
        return Note(self._clock(), actor, message, tags, meta, self._nonce)
