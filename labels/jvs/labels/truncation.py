"""What time does to the pointer plane, done in small transactions by a collector before it looks for roots.

Entries that left the retention window of their label lose their bodies, and with them the protection of their
snapshots; deleted labels that left theirs are forgotten, and when no entry of another label descends from theirs
nothing is kept of them but the tombstones of their names; pins and detached records whose time has passed are removed.
Every transaction looks again at what the decision rests on (the policies, the label) and starts over when that
changed, so a policy that was made longer is obeyed from its commit on. All of it may be stopped at any moment and run
by several collectors at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from jvs.castore.backend import MetaStore, ReadTxn, WriteTxn
from jvs.castore.digest import Digest, entry_digest
from jvs.labels import moves
from jvs.labels.model import Spared, is_housekeeping, nothing_spared
from jvs.labels.moves import Note
from jvs.labels.pins import list_pins
from jvs.labels.policies import stored_policies
from jvs.labels.positions import Standings
from jvs.labels.records import (
    MAX_LISTED,
    write_forget,
    write_remove,
    write_truncate,
    write_trusted,
    write_undetached,
    write_unpin,
)
from jvs.labels.retention import Keeper, Policy
from jvs.labels.roots import CLOCK_JUMP_MS, deletion_due, detached_expired, store_clock
from jvs.labels.tables import (
    DELETED,
    DETACHED,
    FORGOTTEN,
    LABELS,
    NEEDED,
    PINS,
    Ending,
    Head,
    ending_of,
    entries_between,
    entry_bytes,
    floor_of,
    name_key,
    policy_revision,
    refs_to,
    span_key,
    unpack_head,
    unpack_row,
)
from jvs.labels.window import Judged, Window

PAGE: Final = 1024
"""Rows looked at in one read transaction: a long one would keep the space of everything deleted meanwhile."""


class Expired(NamedTuple):
    """What one transaction did (`what`): so many entries of `label` `truncated`, labels `forgotten` (`label`: the last
    of them; 0: it went on with one), pins `unpinned`, or `detached` records removed."""

    what: str
    done: int
    label: str | None = None


def expire(store: MetaStore, note: Note, spared: Spared = nothing_spared) -> Iterator[Expired]:
    """End every protection that has left its window at `note.now_ms`, reporting after each transaction; but for those
    of snapshots that are `spared`.

    The time is believed from now on (`roots.gc_time` was asked, or told to trust it). To be exhausted before the roots
    are read; whoever stops earlier only collects less.
    """
    _trust(store, note)
    yield from _expire_pins(store, note, spared)
    yield from _expire_detached(store, note, spared)
    yield from _forget(store, note, spared)
    yield from _end_forgotten(store, note)
    after = b""
    while True:
        jobs: list[tuple[str, _Job]] = []
        with store.read() as txn:
            revision, policies, standings = policy_revision(txn), stored_policies(txn), Standings(txn)
            rows = list(islice(txn.scan(LABELS, after), PAGE))
            for key, raw in rows:
                name = key.decode("utf-8")
                label = _Label(name, *policies.of(name), revision)
                job = _job(txn, store, note, label, unpack_head(raw), standings, spared)
                jobs += [] if job is None else [(name, job)]
        for name, job in jobs:
            yield from job.run()
            if job.outdated:
                yield from truncate(store, note, name, spared)
        if len(rows) < PAGE:
            return
        after = rows[-1][0] + b"\0"


def _trust(store: MetaStore, note: Note) -> None:
    """Note that the clock was trusted, if it had to be."""
    with store.read() as txn:
        believed = store_clock(txn)
    if believed is not None and note.now_ms - believed > CLOCK_JUMP_MS:
        store.transact(partial(write_trusted, at_ms=note.now_ms, actor=note.actor))


def truncate(store: MetaStore, note: Note, name: str, spared: Spared = nothing_spared) -> Iterator[Expired]:
    """Truncate the reflog of one live label, by its policy. Entries that left the window lose their bodies; a
    `checkpoint` entry names the newest of them."""
    outdated = True
    while outdated:
        with store.read() as txn:
            raw = txn.get(LABELS, name_key(name))
            if raw is None:
                return
            label = _Label(name, *stored_policies(txn).of(name), policy_revision(txn))
            job = _job(txn, store, note, label, unpack_head(raw), Standings(txn), spared)
        if job is None:
            return
        yield from job.run()
        outdated = job.outdated


def _job(
    txn: ReadTxn, store: MetaStore, note: Note, label: _Label, head: Head, standings: Standings, spared: Spared
) -> _Job | None:
    """What is to be done about a live label; None: nothing."""
    if label.policy.keeps_all:
        return None
    window = Window(head.uid, Keeper(label.policy, note.now_ms), standings, spared)
    return _Job(store, note, head.uid, head.generation, floor_of(txn, head.uid), window, label)


class _Label(NamedTuple):
    """A live label, and the policy by which it is truncated as long as the revision is this one."""

    name: str
    pattern: str
    policy: Policy
    revision: int


class _Job:
    """One walk through a reflog, from the newest entry down, dropping bodies as it goes.

    uid       whose reflog it is
    label     None: of a forgotten label, which has no head to put a checkpoint on
    outdated  set when somebody changed what the walk rests on: it stopped there, and is to be begun anew
    """

    def __init__(
        self, store: MetaStore, note: Note, uid: bytes, last: int, floor: int, window: Window, label: _Label | None
    ) -> None:
        self.outdated = False
        self._store = store
        self._note = note
        self.uid = uid
        self._last = last
        self._floor = floor
        self._window = window
        self._label = label
        self._waiting: list[int] = []
        self._oldest_kept = last + 1
        self._newest_gone: tuple[int, Digest] | None = None
        self._wrote = False

    def run(self) -> Iterator[Expired]:
        """Walk and drop; reports after each transaction."""
        last = self._last
        while last > self._floor:
            with self._store.read() as txn:
                rows = list(islice(entries_between(txn, self.uid, self._floor + 1, last, reverse=True), PAGE))
                for generation, skeleton, body in rows:
                    if body is not None:
                        self._sort(self._window.judge(txn, generation, skeleton, body), generation, skeleton)
            last = rows[-1][0] - 1 if len(rows) == PAGE else self._floor
            while len(self._waiting) >= MAX_LISTED:
                yield from self._drop(self._floor)
                if self.outdated:
                    return
        self._sort(self._window.rest(), 0, b"")
        # What lies below the oldest entry that was kept has no body now, and nobody need look there again.
        floor = self._oldest_kept - 1
        if self._waiting or (floor > self._floor and (self._wrote or self._label is None)):
            yield from self._drop(floor)

    def _sort(self, judged: Sequence[Judged], generation: int, skeleton: bytes) -> None:
        for one in judged:
            if not one.leaving:
                self._oldest_kept = min(self._oldest_kept, one.generation)
                continue
            self._waiting.append(one.generation)
            if self._newest_gone is None and one.generation == generation:
                self._newest_gone = generation, entry_digest(skeleton)

    def _drop(self, floor: int) -> Iterator[Expired]:
        """Take the bodies of the next entries, in one transaction."""
        generations, self._waiting = self._waiting[:MAX_LISTED], self._waiting[MAX_LISTED:]
        count = self._store.transact(partial(self._write, generations=generations, floor=floor))
        if count is None:
            self.outdated = True
        elif count:
            yield Expired("truncated", count, None if self._label is None else self._label.name)

    def _write(self, txn: WriteTxn, generations: Sequence[int], floor: int) -> int | None:
        """How many bodies were there to be dropped; None: something changed, nothing was done."""
        if not self._current(txn) or any(refs_to(txn, self.uid, generation) for generation in generations):
            return None  # a ref was made meanwhile: its entry keeps its body
        if _stood_at(txn, self.uid, generations):
            return None  # a worktree was put there meanwhile
        there = [generation for generation in generations if _has_body(txn, self.uid, generation)]
        if there and not self._wrote and self._label is not None:
            self._checkpoint(txn, self._label)
        if there or floor > floor_of(txn, self.uid):
            write_truncate(txn, self.uid, there, floor, self._note.actor)
        self._wrote = self._wrote or bool(there)
        return len(there)

    def _current(self, txn: ReadTxn) -> bool:
        if self._label is None:
            return True
        raw = txn.get(LABELS, name_key(self._label.name))
        return raw is not None and unpack_head(raw).uid == self.uid and policy_revision(txn) == self._label.revision

    def _checkpoint(self, txn: WriteTxn, label: _Label) -> None:
        assert self._newest_gone is not None  # a checkpoint never leaves alone
        generation, entry_id = self._newest_gone
        removed = {"generation": generation, "id": entry_id.hex()}
        meta = {"removed": removed, "policy": str(label.policy), "pattern": label.pattern}
        moves.checkpoint(txn, self._note._replace(meta=meta), label.name)


def _has_body(txn: ReadTxn, uid: bytes, generation: int) -> bool:
    found = entry_bytes(txn, uid, generation)
    return found is not None and found[1] is not None


def _stood_at(txn: ReadTxn, uid: bytes, generations: Sequence[int]) -> bool:
    """Whether a worktree needs one of these entries. Nobody needs a checkpoint that another one takes the place of."""
    standings = Standings(txn)
    kept = (entry_bytes(txn, uid, generation) for generation in generations if standings.keep(uid, generation))
    return any(found is not None and not is_housekeeping(found[0]) for found in kept)


def _forget(store: MetaStore, note: Note, spared: Spared) -> Iterator[Expired]:
    """Forget the deleted labels that have left their window."""
    while True:
        with store.read() as txn:
            revision, policies, standings = policy_revision(txn), stored_policies(txn), Standings(txn)
            heads = ((_deleted_name(key), unpack_head(raw)) for key, raw in txn.scan(DELETED))
            over = ((name, head) for name, head in heads if deletion_due(policies, standings, name, head, note.now_ms))
            due = ((name, head) for name, head in over if not spared(head.ca_id))
            batch = list(islice(due, MAX_LISTED))
        if not batch:
            return
        count = store.transact(partial(_write_forget, note=note, batch=batch, revision=revision))
        if count:
            yield Expired("forgotten", count, batch[-1][0])


def _write_forget(txn: WriteTxn, note: Note, batch: Sequence[tuple[str, Head]], revision: int) -> int:
    if policy_revision(txn) != revision:
        return 0
    # One that came back meanwhile has another row, or none.
    there = [one for one in batch if txn.get(DELETED, span_key(one[0], one[1].generation)) is not None]
    standings = Standings(txn)
    there = [one for one in there if not standings.need(one[1].uid)]  # a worktree was put there meanwhile
    for name, head in there:
        write_forget(txn, name, head.generation, note.actor)
    return len(there)


def _deleted_name(key: bytes) -> str:
    return key[: key.index(0)].decode("utf-8")


def _end_forgotten(store: MetaStore, note: Note) -> Iterator[Expired]:
    """Take the bodies of forgotten labels' entries, but for tagged ones and those that refs or worktrees need, and the
    rest of those that nobody needs."""
    after = b""
    while True:
        jobs: list[_Job] = []
        with store.read() as txn:
            rows, standings = list(islice(txn.scan(FORGOTTEN, after), PAGE)), Standings(txn)
            for uid, raw in rows:
                last, floor = Ending(*unpack_row(raw, len(Ending._fields))).generation, floor_of(txn, uid)
                if floor < last or txn.get(NEEDED, uid) is None:
                    jobs.append(_Job(store, note, uid, last, floor, Window(uid, None, standings), None))
        for job in jobs:
            yield from job.run()
            yield from _remove(store, note, job.uid)
        if len(rows) < PAGE:
            return
        after = rows[-1][0] + b"\0"


def _remove(store: MetaStore, note: Note, uid: bytes) -> Iterator[Expired]:
    """Remove the entries of a forgotten label, the oldest first, unless one is tagged or something descends from it."""
    while True:
        done = store.transact(partial(_write_remove, note=note, uid=uid))
        if not done:
            return
        yield Expired("forgotten", 0)


def _write_remove(txn: WriteTxn, note: Note, uid: bytes) -> int:
    ending = ending_of(txn, uid)
    if ending is None or floor_of(txn, uid) < ending.generation or txn.get(NEEDED, uid) is not None:
        return 0
    rows = islice(entries_between(txn, uid, 0, ending.generation), MAX_LISTED)
    generations = [generation for generation, _skeleton, _body in rows]
    write_remove(txn, uid, generations, note.actor)
    return len(generations)


def _expire_pins(store: MetaStore, note: Note, spared: Spared) -> Iterator[Expired]:
    while True:
        with store.read() as txn:
            over = (pin for pin in list_pins(txn) if not pin.protects(note.now_ms))
            due = [pin.id for pin in over if not spared(pin.ca_id)][:MAX_LISTED]
        if not due:
            return
        yield Expired("unpinned", store.transact(partial(_write_unpin, note=note, due=due)))


def _write_unpin(txn: WriteTxn, note: Note, due: Sequence[bytes]) -> int:
    there = [pin_id for pin_id in due if txn.get(PINS, pin_id) is not None]
    if there:
        write_unpin(txn, there, note.actor)
    return len(there)


def _expire_detached(store: MetaStore, note: Note, spared: Spared) -> Iterator[Expired]:
    while True:
        with store.read() as txn:
            rows = ((ca_id, raw) for ca_id, raw in txn.scan(DETACHED) if detached_expired(raw, note.now_ms))
            due = list(islice((ca_id for ca_id, _raw in rows if not spared(ca_id)), MAX_LISTED))
        if not due:
            return
        yield Expired("detached", store.transact(partial(_write_undetached, note=note, due=due)))


def _write_undetached(txn: WriteTxn, note: Note, due: Sequence[Digest]) -> int:
    rows = ((ca_id, txn.get(DETACHED, ca_id)) for ca_id in due)  # one may have been recorded anew
    there = [ca_id for ca_id, raw in rows if raw is not None and detached_expired(raw, note.now_ms)]
    if there:
        write_undetached(txn, there, note.actor)
    return len(there)
