"""The one exception tree of jvs, and the one table that says what each failure means on every surface.

Every failure a caller can meet is a `JvsError` with a stable string `code`. `CODES` maps a code to the exit
status of the command line, the HTTP status of the server and the default "next" sentence, so the same failure
reads the same everywhere. Codes are append-only: never renamed, never reused for another meaning. Beside them stand
the names (`E_LOCK_CONFLICT` ...) that scripts written for the first JVS look for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple


class CodeInfo(NamedTuple):
    """What one error code means: exit status, HTTP status, the sentence that says what to do next, and the name that
    the first JVS had for it, if it knew such a failure."""

    exit: int
    http: int
    next: str | None = None
    error_code: str | None = None


CODES: dict[str, CodeInfo] = {
    # malformed operands: the caller can fix the call
    "usage": CodeInfo(2, 400, "jvs --help"),
    "bad-label-name": CodeInfo(
        2, 400, "choose a name such as main or agent/1 (letters, digits, . _ - and /)", "E_NAME_INVALID"
    ),
    "bad-name": CodeInfo(2, 400, "choose a name such as exp-1 (letters, digits, . _ and -)", "E_NAME_INVALID"),
    "bad-tag": CodeInfo(2, 400, "choose a tag such as v1.2 or best", "E_NAME_INVALID"),
    "bad-id": CodeInfo(2, 400, "jvs fs log LABEL"),
    "bad-revision": CodeInfo(2, 400, "jvs fs ls"),
    "ambiguous-revision": CodeInfo(2, 400, "type more digits of the id"),
    "bad-path": CodeInfo(2, 400, None, "E_PATH_ESCAPE"),
    "bad-message": CodeInfo(2, 400, "shorten the message to 4,096 bytes of UTF-8"),
    "bad-setting": CodeInfo(2, 400, "jvs fs init --help"),
    "not-a-directory": CodeInfo(2, 400, None),
    "bad-duration": CodeInfo(2, 400, "say it like 30d, 12h, 1y or 0"),
    "bad-policy": CodeInfo(2, 400, "jvs fs retention set keep-last 1 keep-within 30d keep-daily 7"),
    # well-formed, but nothing of that name
    "unknown-label": CodeInfo(5, 404, "jvs fs ls"),
    "unknown-revision": CodeInfo(5, 404, "jvs fs log LABEL"),
    "unknown-path": CodeInfo(5, 404, "jvs fs tree REV"),
    "unknown-source": CodeInfo(5, 404, None),
    "unknown-tag": CodeInfo(5, 404, "jvs fs log LABEL"),
    "unknown-pin": CodeInfo(5, 404, "jvs fs pins"),
    "unknown-snapshot": CodeInfo(5, 404, "jvs history"),
    "unknown-worktree": CodeInfo(5, 404, "jvs worktree list"),
    "unknown-ref": CodeInfo(5, 404, "jvs ref list"),
    "unknown-session": CodeInfo(5, 404, "jvs fs sessions"),
    "unknown-plan": CodeInfo(5, 404, "jvs fs gc plan", "E_GC_PLAN_MISMATCH"),
    "unknown-policy": CodeInfo(5, 404, "jvs fs retention show"),
    "unknown-engine": CodeInfo(5, 404, "choose juicefs-clone, reflink-copy or copy"),
    # the store itself
    "no-store": CodeInfo(10, 404, "jvs fs init", "E_NOT_REPO"),
    "not-a-store": CodeInfo(10, 404, "jvs fs init PATH", "E_NOT_REPO"),
    "foreign-store": CodeInfo(10, 403, "name it yourself: --store PATH"),
    "format-unsupported": CodeInfo(
        1, 500, "upgrade jvs: this store was written by a newer version", "E_FORMAT_UNSUPPORTED"
    ),
    "no-repository": CodeInfo(10, 404, "jvs init NAME", "E_NOT_REPO"),
    "network-filesystem": CodeInfo(1, 500, "put the store on a local disk: --store PATH"),
    "unsupported-platform": CodeInfo(1, 501, "run jvs on Linux or macOS"),
    "missing-extra": CodeInfo(1, 501, None),
    "read-only": CodeInfo(1, 403, "jvs serve (a writer on another host), or mount the file system read-write"),
    "no-space": CodeInfo(1, 507, "free some space, then run the same command again"),
    "io-error": CodeInfo(1, 500, "jvs fs verify --all"),
    "handle-failed": CodeInfo(1, 500, "open the store again; if it fails once more: jvs fs verify --all"),
    "forked": CodeInfo(1, 500, "open the store in the child process instead of inheriting it"),
    "locked": CodeInfo(11, 423, "wait for the other command to end, then run this one again", "E_REPO_BUSY"),
    # state
    "already-exists": CodeInfo(1, 409, None),
    "label-moved": CodeInfo(6, 409, "jvs fs log LABEL"),
    "detached": CodeInfo(1, 409, "jvs worktree fork NAME (keeps it), or: jvs restore HEAD (back to the newest)"),
    "not-in-reflog": CodeInfo(1, 400, "jvs fs reset LABEL REV --allow-unlogged"),
    "nothing-to-undo": CodeInfo(1, 409, "jvs fs log LABEL"),
    "unsaved-changes": CodeInfo(1, 409, "jvs fs pull REV DIR --autosave (or --discard)"),
    "interrupted-pull": CodeInfo(1, 409, "jvs fs pull REV DIR (it finishes what was interrupted)"),
    "unreadable": CodeInfo(1, 409, "make the files readable, or pass --skip-unreadable"),
    "name-collision": CodeInfo(1, 409, "pull into a file system that tells these names apart"),
    "unsafe-entry": CodeInfo(1, 403, None, "E_PATH_ESCAPE"),
    "merge-conflict": CodeInfo(7, 409, None),
    "no-merge-base": CodeInfo(1, 409, "give a base yourself: --base REV"),
    "no-merge": CodeInfo(1, 409, "jvs fs merge OURS THEIRS --out DIR"),
    "collected": CodeInfo(1, 410, "jvs fs log LABEL (that snapshot was collected; choose a kept one)"),
    "gc-busy": CodeInfo(1, 409, "jvs fs gc run"),
    "gc-plan-stale": CodeInfo(1, 409, "jvs fs gc plan", "E_GC_PLAN_MISMATCH"),
    "clock-jump": CodeInfo(1, 409, "--trust-clock"),
    "purged-content": CodeInfo(1, 409, "leave it out (.jvsignore), or push with --allow-purged"),
    "engine-unusable": CodeInfo(1, 409, "choose another engine: JVS_ENGINE=copy works everywhere"),
    "no-score": CodeInfo(1, 409, "jvs fs sessions (the attempts are there: jvs fs push --session NAME)"),
    "snapshot-in-use": CodeInfo(1, 409, "jvs fs reset LABEL REV"),
    "worktree-in-use": CodeInfo(1, 409, "jvs worktree list"),
    # the lock of a label
    "lock-conflict": CodeInfo(11, 423, "jvs lock status", "E_LOCK_CONFLICT"),
    "lock-not-held": CodeInfo(11, 409, "jvs lock acquire", "E_LOCK_NOT_HELD"),
    "lock-expired": CodeInfo(11, 409, "jvs lock acquire", "E_LOCK_EXPIRED"),
    "fencing-mismatch": CodeInfo(11, 409, "jvs lock status", "E_FENCING_MISMATCH"),
    # integrity
    "entry-damaged": CodeInfo(8, 500, "jvs doctor", "E_DESCRIPTOR_CORRUPT"),
    "lineage-broken": CodeInfo(8, 500, "jvs doctor", "E_LINEAGE_BROKEN"),
    "damaged": CodeInfo(8, 500, "jvs fs verify --all", "E_PAYLOAD_HASH_MISMATCH"),
    "object-missing": CodeInfo(8, 500, "jvs fs verify --all", "E_PARTIAL_SNAPSHOT"),
    "bad-manifest": CodeInfo(8, 422, "jvs fs verify --all", "E_PAYLOAD_HASH_MISMATCH"),
    "index-damaged": CodeInfo(8, 500, "jvs doctor --rebuild-index"),
    "index-rolled-back": CodeInfo(8, 500, "jvs doctor --repair"),
    "journal-damaged": CodeInfo(8, 500, "jvs doctor --repair", "E_AUDIT_CHAIN_BROKEN"),
    "interrupted": CodeInfo(130, 499, None),
    "internal": CodeInfo(1, 500, "report this with the output of --debug"),
}


class JvsError(Exception):
    """Base of every failure jvs reports.

    message  one line, for people: what happened, to what.
    next     a command to run or thing to do; the table's default when None.
    details  JSON-able facts for machines.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, next: str | None = None, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code  # type: ignore[misc]  # an instance may narrow its class's code
        self.next = next if next is not None else CODES[self.code].next
        self.details: Mapping[str, Any] = details

    @property
    def exit_status(self) -> int:
        """Exit status of the command line for this failure."""
        return CODES[self.code].exit

    @property
    def error_code(self) -> str | None:
        """The name that the first JVS had for this failure (`E_LOCK_CONFLICT`), if it had one."""
        return CODES[self.code].error_code


class UsageError(JvsError):
    """A malformed operand; `code` says which kind."""

    code = "usage"


class UnknownError(JvsError):
    """Well-formed, but there is nothing of that name."""

    code = "unknown-revision"


class AmbiguousError(UsageError):
    """Several things match; `details["matches"]` lists them."""

    code = "ambiguous-revision"


class StoreError(JvsError):
    """The store cannot be used as asked (missing, foreign, read-only, full, failed)."""

    code = "io-error"


class NoStoreError(StoreError):
    """There is no store here."""

    code = "no-store"


class ReadOnlyError(StoreError):
    """The store cannot be written to by this process."""

    code = "read-only"


class NoSpaceError(StoreError):
    """The disk (or quota, or index map) is full; nothing was damaged."""

    code = "no-space"


class LockedError(StoreError):
    """Somebody else holds what this needs."""

    code = "locked"


class StateError(JvsError):
    """The request is fine, the present state does not allow it."""

    code = "already-exists"


class LabelMovedError(StateError):
    """A compare-and-set lost: `details` hold `label`, `current`, `current_generation`."""

    code = "label-moved"


class UnsavedChangesError(StateError):
    """A pull would have lost work: `details["paths"]` (first 20) and `details["count"]`."""

    code = "unsaved-changes"


class LeaseError(StateError):
    """The lock of a label stands in the way (lock-conflict), or is not what its holder thinks (lock-not-held,
    lock-expired, fencing-mismatch): `details` hold `label`, and of whoever holds it `session_id`, `who`, `purpose`,
    `expires_ms`, `fencing_token`."""

    code = "lock-conflict"


class CollectedError(StateError):
    """The snapshot was there once and has been collected."""

    code = "collected"


class PurgedContentError(StateError):
    """Content that was purged is not stored again unasked: `details` hold `path` and `digest`.

    name  of the file, as bytes: who knows its directory says the whole path
    """

    code = "purged-content"

    def __init__(self, message: str, *, name: bytes, path: str, digest: str) -> None:
        super().__init__(message, path=path, digest=digest)
        self.name = name


class IntegrityError(JvsError):
    """Stored data is not what it must be."""

    code = "damaged"


class MissingObjectError(IntegrityError):
    """The index holds no such object: `details` hold `kind` and `digest`."""

    code = "object-missing"


class ManifestError(IntegrityError):
    """Bytes that claim to be a manifest, layout or recipe and are not a canonical one."""

    code = "bad-manifest"


class IndexDamagedError(IntegrityError):
    """The LMDB index is damaged; packs and journal can rebuild it."""

    code = "index-damaged"


class MissingChildrenError(IntegrityError):
    """A publish found direct children absent from the index: `refs` names them; the caller writes them again."""

    code = "object-missing"

    def __init__(self, refs: Sequence[tuple[int, bytes]]) -> None:
        super().__init__(f"{len(refs)} object(s) this push builds on are no longer in the store")
        self.refs = tuple(refs)
