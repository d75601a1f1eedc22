"""`jvs lock`: who alone may move a worktree's label, for as long as a lease lasts (see `jvs.labels.locks`).

Whoever acquires a lock gets a nonce. The command line notes it in `.jvs/worktrees/NAME/session`, which only the user
may read, so that later commands about that worktree are the holder's. A note is a convenience, never an obstacle: one
whose lock is no longer in force counts for nothing (`Repo.open`), and `release` removes it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from jvs.castore.binding import replace_file
from jvs.castore.local.failures import os_error
from jvs.errors import JvsError, LeaseError
from jvs.labels.locks import LEASE_MS
from jvs.labels.store import wall_clock
from jvs.workspace.results import Json, iso_time

if TYPE_CHECKING:
    from jvs.labels.locks import Held, Lock
    from jvs.workspace.repository.repository import Repository

FREE = "free"
HELD = "held"
EXPIRED = "expired"

_NONCE_MODE = 0o600


class LockInfo(NamedTuple):
    """The lock of a worktree's label. lock: None where there never was one; nonce: only where it was just acquired."""

    worktree: str
    lock: Lock | None
    nonce: str | None
    at_ms: int

    @property
    def state(self) -> str:
        """FREE, HELD, or EXPIRED: somebody has it, and the lease is over."""
        if self.lock is None or not self.lock.held:
            return FREE
        return HELD if self.lock.in_force(self.at_ms) else EXPIRED

    def as_json(self) -> Json:
        """{worktree_name, holder_nonce?, session_id, acquired_at, expires_at, fencing_token, purpose, state, holder};
        what is said of a holder is null where there is none."""
        lock = self.lock if self.lock is not None and self.lock.held else None
        return {
            "worktree_name": self.worktree,
            **({} if self.nonce is None else {"holder_nonce": self.nonce}),
            "session_id": None if lock is None else lock.session_id,
            "acquired_at": None if lock is None else iso_time(lock.acquired_ms),
            "expires_at": None if lock is None else iso_time(lock.expires_ms),
            "fencing_token": 0 if self.lock is None else self.lock.token,
            "purpose": None if lock is None else lock.purpose,
            "state": self.state,
            "holder": None if lock is None else lock.who,
        }


def acquire(
    repository: Repository, name: str, *, lease_ms: int = LEASE_MS, purpose: str = "", session_id: str = ""
) -> LockInfo:
    """Lock the label of a worktree, and note the nonce for it. A lock whose lease is over is taken over. Raises
    LeaseError (lock-conflict), UsageError, UnknownError (unknown-worktree)."""
    label = repository.standing(name).label
    held = repository.repo.labels.acquire_lock(label, lease_ms, purpose, session_id)
    return _noted(repository, name, held)


def steal(
    repository: Repository,
    name: str,
    *,
    lease_ms: int = LEASE_MS,
    purpose: str = "",
    session_id: str = "",
    force: bool = False,
    reason: str = "",
) -> LockInfo:
    """Take over a lock whose lease is over, or with `force` any: the old holder is refused from then on. Raises
    LeaseError (lock-conflict, lock-not-held) and as `acquire`."""
    label = repository.standing(name).label
    held = repository.repo.labels.steal_lock(label, lease_ms, purpose, session_id, force=force, message=reason)
    return _noted(repository, name, held)


def renew(repository: Repository, name: str, *, nonce: str | None = None, lease_ms: int = LEASE_MS) -> LockInfo:
    """Make the lease last for `lease_ms` from now. nonce: None: the one that was noted. Raises LeaseError
    (lock-not-held, lock-expired)."""
    label = repository.standing(name).label
    lock = repository.repo.labels.renew_lock(label, nonce or _note_of(repository, name), lease_ms)
    return LockInfo(name, lock, None, wall_clock())


def release(repository: Repository, name: str, *, nonce: str | None = None) -> LockInfo:
    """Give the lock back, and remove the note of it (a note of a lock that is lost, too). nonce: None: the one that was
    noted. Raises LeaseError (lock-not-held)."""
    label, used = repository.standing(name).label, nonce or _note_of(repository, name)
    try:
        lock = repository.repo.labels.release_lock(label, used)
    except LeaseError:
        _forget(repository, name, used)  # it is the key to nothing any more
        raise
    _forget(repository, name, used)
    return LockInfo(name, lock, None, wall_clock())


def status(repository: Repository, name: str) -> LockInfo:
    """The lock of a worktree's label, as everybody may see it."""
    return LockInfo(name, repository.repo.labels.lock(repository.standing(name).label), None, wall_clock())


def _noted(repository: Repository, name: str, held: Held) -> LockInfo:
    path = repository.layout.session(name)
    try:
        replace_file(path, held.nonce.encode() + b"\n", mode=_NONCE_MODE)
    except OSError as exc:
        with suppress(JvsError):  # nobody knows the nonce: do not keep everybody out until the lease is over
            repository.repo.labels.release_lock(held.lock.label, held.nonce)
        raise os_error(exc, f"noting the lock in {path}") from exc
    return LockInfo(name, held.lock, held.nonce, wall_clock())


def _forget(repository: Repository, name: str, nonce: str) -> None:
    """Remove the note of that nonce; another one stays."""
    if repository.layout.session_nonce(name) == nonce:
        with suppress(OSError):
            os.unlink(repository.layout.session(name))


def _note_of(repository: Repository, name: str) -> str:
    nonce = repository.layout.session_nonce(name)
    if nonce is None:
        raise LeaseError(f"no lock of {name} is noted as yours", code="lock-not-held", label=name)
    return nonce
