"""Locks: who alone may move the label of a name, for as long as a lease lasts.

A lock belongs to a *name*, whether or not a label has it now: it also decides who creates or brings back one. Its row
is never removed, so the fencing token in it only ever grows: after a release, after delete and create, and when the
tables are made again from the journal.

Whoever acquires a lock gets a nonce, of which only a digest is kept. `admit` is called in the transaction of every act
that moves a label, so what counts is what is written down at that moment: the clock of whoever acts decides whether a
lease is over, but once somebody else has the lock, or moved the label after the lease, the old holder is refused
whatever its clock says.

    the lock is         no nonce, or one of another lock    the holder's          an old one of this lock
    nobody's            moves                               -                     lock-not-held
    held                lock-conflict                       moves                 fencing-mismatch
    held, lease over    moves, and ends the lock            lock-expired          fencing-mismatch
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.castore.backend import ReadTxn, WriteTxn
from jvs.castore.digest import file_digest, nonce_digest
from jvs.errors import LeaseError, UsageError
from jvs.labels.model import MAX_ACTOR, MAX_MESSAGE, check_text
from jvs.labels.names import check_label_name
from jvs.labels.records import write_lock
from jvs.labels.tables import LOCKS, LockRow, lock_row, unpack_row

if TYPE_CHECKING:
    from jvs.labels.moves import Note

LEASE_MS: Final = 5 * 60 * 1000
"""How long a lease lasts unless the holder says otherwise."""
MAX_LEASE_MS: Final = 366 * 24 * 3600 * 1000
"""Longest lease."""
MAX_SESSION: Final = 255
"""Longest session id, in bytes."""

_RANDOM: Final = 16
_MARK: Final = 4
"""Bytes at the start of a nonce that tell of which name's lock it is."""
_LAST_MS: Final = 1 << 62


class Lock(NamedTuple):
    """The lock of a label's name, as everybody may see it.

    held                     whether somebody has it, also when the lease is over
    token                    the fencing token given out last
    acquired_ms, expires_ms  of the holder, or of the one who had it last
    who, session_id, purpose what that one said
    """

    label: str
    held: bool
    token: int
    acquired_ms: int
    expires_ms: int
    who: str
    session_id: str
    purpose: str

    def in_force(self, now_ms: int) -> bool:
        """Whether it stands in the way of others."""
        return self.held and now_ms < self.expires_ms


class Held(NamedTuple):
    """A lock that was acquired, and the nonce by which its holder is known: to be kept secret."""

    nonce: str
    lock: Lock


def lock_of(txn: ReadTxn, name: str) -> Lock | None:
    """The lock of that name; None: there never was one."""
    row = lock_row(txn, check_label_name(name))
    return None if row is None else _shown(name, row)


def list_locks(txn: ReadTxn) -> list[Lock]:
    """Every lock that somebody has, in order of the names."""
    txn.check_table(LOCKS)
    rows = ((key.decode("utf-8"), LockRow(*unpack_row(raw, len(LockRow._fields)))) for key, raw in txn.scan(LOCKS))
    return [_shown(name, row) for name, row in rows if row.holder is not None]


def opens(txn: ReadTxn, nonce: str, now_ms: int) -> bool:
    """Whether a lock that is in force has this nonce. O(locks)."""
    holder = nonce_digest(nonce.encode())
    rows = (LockRow(*unpack_row(raw, len(LockRow._fields))) for _key, raw in txn.scan(LOCKS))
    return any(row.holder == holder and now_ms < row.expires_ms for row in rows)


def acquire(
    txn: WriteTxn, note: Note, name: str, lease_ms: int = LEASE_MS, purpose: str = "", session_id: str = ""
) -> Held:
    """Lock the label of that name: one that nobody has, or whose lease is over. Raises LeaseError (lock-conflict),
    UsageError (bad-label-name, bad-message, usage)."""
    before = lock_row(txn, check_label_name(name))
    if before is not None and before.holder is not None and note.now_ms < before.expires_ms:
        raise _conflict(name, before, note.now_ms)
    return _take(txn, note, "acquire", name, before, lease_ms, purpose, session_id)


def steal(
    txn: WriteTxn,
    note: Note,
    name: str,
    lease_ms: int = LEASE_MS,
    purpose: str = "",
    session_id: str = "",
    *,
    force: bool = False,
) -> Held:
    """Take a lock over from a holder whose lease is over, or with `force` from any: the old one is refused from then
    on. The note's message is the reason. Raises as `acquire`, and LeaseError (lock-not-held) when nobody has it."""
    before = lock_row(txn, check_label_name(name))
    if before is None or before.holder is None:
        raise _error(name, before, "lock-not-held", "has no lock that could be taken over")
    if note.now_ms < before.expires_ms and not force:
        raise _conflict(name, before, note.now_ms)
    return _take(txn, note, "steal", name, before, lease_ms, purpose, session_id)


def renew(txn: WriteTxn, note: Note, name: str, lease_ms: int = LEASE_MS) -> Lock:
    """Make the lease of the note's nonce last for `lease_ms` from now, never less than it does. Raises LeaseError:
    lock-not-held, lock-expired (it must be acquired anew: others may have moved the label)."""
    row = _own(txn, note, name)
    if note.now_ms >= row.expires_ms:
        raise _error(name, row, "lock-expired", "is locked no longer: the lease is over")
    row = row._replace(expires_ms=max(row.expires_ms, _now(note) + _lease(lease_ms)))
    write_lock(txn, "renew", name, row, note.actor, note.message)
    return _shown(name, row)


def release(txn: WriteTxn, note: Note, name: str) -> Lock:
    """Give the lock of the note's nonce back, also when the lease is over. Raises LeaseError (lock-not-held)."""
    row = _own(txn, note, name)
    return _end(txn, note, "release", name, row)


def admit(txn: ReadTxn, note: Note, names: Sequence[str]) -> list[str]:
    """Whether the note's nonce lets it move the labels of these names: raises LeaseError unless it does (see above).

    The names whose locks the move ends, by `settle` after it was written: their leases are over.
    """
    holder = None if note.nonce is None else nonce_digest(note.nonce.encode())
    rows = [lock_row(txn, name) for name in names]
    holds = holder is not None and any(row is not None and row.holder == holder for row in rows)
    over = []
    for name, row in zip(names, rows, strict=True):
        # a label that goes back to a former name takes along the lock that it was given there
        own = note.nonce is not None and _is_of(note.nonce, name) and not holds
        if row is None or row.holder is None:
            if own:
                raise _error(name, row, "lock-not-held", "is not locked by you any more")
        elif row.holder == holder:
            if note.now_ms >= row.expires_ms:
                raise _error(name, row, "lock-expired", "is locked no longer: the lease is over")
        elif own:
            raise _error(name, row, "fencing-mismatch", "was locked by somebody else since you did")
        elif note.now_ms < row.expires_ms:
            raise _conflict(name, row, note.now_ms)
        else:
            over.append(name)
    return over


def settle(txn: WriteTxn, note: Note, over: Sequence[str]) -> None:
    """End these locks, of which `admit` said that their leases are over: a label was moved without them."""
    for name in over:
        row = lock_row(txn, name)
        if row is not None:
            _end(txn, note, "expire", name, row)


def follow(txn: WriteTxn, note: Note, old: str, new: str) -> None:
    """Let the lock that the renamer has on `old` go to `new`, with a token higher than every one of either name."""
    row, there = lock_row(txn, old), lock_row(txn, new)
    if row is None or row.holder is None:
        return
    token = row.token if there is None else max(row.token, there.token + 1)
    write_lock(txn, "rename", new, row._replace(token=token), note.actor)
    _end(txn, note, "rename", old, row)


def _take(
    txn: WriteTxn,
    note: Note,
    did: str,
    name: str,
    before: LockRow | None,
    lease_ms: int,
    purpose: str,
    session_id: str,
) -> Held:
    check_text(purpose, MAX_MESSAGE, "the purpose", "bad-message")
    check_text(note.message, MAX_MESSAGE, "the reason", "bad-message")
    check_text(session_id, MAX_SESSION, "the session id", "usage")
    check_text(note.actor, MAX_ACTOR, "the actor", "usage")
    nonce = _mark(name) + os.urandom(_RANDOM).hex()
    row = LockRow(
        holder=nonce_digest(nonce.encode()),
        token=1 if before is None else before.token + 1,
        acquired_ms=_now(note),
        expires_ms=_now(note) + _lease(lease_ms),
        who=note.actor,
        session_id=session_id or os.urandom(_RANDOM).hex(),
        purpose=purpose,
    )
    write_lock(txn, did, name, row, note.actor, note.message)
    return Held(nonce, _shown(name, row))


def _own(txn: ReadTxn, note: Note, name: str) -> LockRow:
    """The lock of a name, which is the note's."""
    row = lock_row(txn, check_label_name(name))
    if row is None or row.holder is None:
        raise _error(name, row, "lock-not-held", "is not locked")
    if note.nonce is None or nonce_digest(note.nonce.encode()) != row.holder:
        raise _error(name, row, "lock-not-held", "is locked, but not by you")
    return row


def _end(txn: WriteTxn, note: Note, did: str, name: str, row: LockRow) -> Lock:
    row = row._replace(holder=None)
    write_lock(txn, did, name, row, note.actor, note.message)
    return _shown(name, row)


def _shown(name: str, row: LockRow) -> Lock:
    return Lock(name, row.holder is not None, *row[1:])


def _mark(name: str) -> str:
    return file_digest(name.encode())[:_MARK].hex()


def _is_of(nonce: str, name: str) -> bool:
    """Whether a nonce was made for the lock of that name: an old one must not pass where nobody has the lock, one of
    another lock has nothing to do with this."""
    return nonce.startswith(_mark(name))


def _now(note: Note) -> int:
    return min(max(0, note.now_ms), _LAST_MS)


def _lease(lease_ms: int) -> int:
    if not 0 < lease_ms <= MAX_LEASE_MS:
        raise UsageError(f"a lease lasts 1 to {MAX_LEASE_MS:,} ms, not {lease_ms:,}", next="jvs lock acquire --help")
    return lease_ms


def _conflict(name: str, row: LockRow, now_ms: int) -> LeaseError:
    left = max(row.expires_ms - now_ms, 0) / 1000
    purpose = f" ({row.purpose[:80]})" if row.purpose else ""
    return _error(name, row, "lock-conflict", f"is locked by {row.who or 'somebody'}{purpose} for {left:,.1f} s more")


def _error(name: str, row: LockRow | None, code: str, what: str) -> LeaseError:
    said = {} if row is None else {field: getattr(row, field) for field in ("session_id", "who", "purpose")}
    return LeaseError(
        f"{name} {what}",
        code=code,
        label=name,
        **said,
        expires_ms=None if row is None or row.holder is None else row.expires_ms,
        fencing_token=0 if row is None else row.token,
    )
