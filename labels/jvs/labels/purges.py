"""What `jvs fs purge` writes down: which snapshots were replaced by others, and what content must not come back.

Old entries, pins and records stay as they are, and with them every hash; whoever looks up the snapshot of one asks
`current`, which goes on to the snapshot that took its place. A snapshot that was purged as a whole has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from jvs.castore import purged
from jvs.castore.backend import ReadTxn, WriteTxn
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import CollectedError, IntegrityError
from jvs.labels.model import UID_SIZE, decode_body, glance
from jvs.labels.tables import (
    PURGES,
    REPLACED,
    REPLACEMENTS,
    SNAPSHOTS,
    entries_between,
    head_of,
    owner_of,
    pack_row,
    unpack_row,
)

PURGE_OP: Final = "purge"
DONE_OP: Final = "purge.done"
CONTENT_OP: Final = "purge.content"
REPLACED_OP: Final = "purge.replaced"
ALLOWED_OP: Final = "purge.allowed"

ID_SIZE: Final = 16
MAX_PAIRS: Final = 128
"""Most snapshots one record replaces ..."""
MAX_DIGESTS: Final = 256
"""... and most digests one record lists."""


class PurgeRow(NamedTuple):
    """A purge: when it began, whether it is done, and a digest of what was asked for (by which it is resumed)."""

    at_ms: int
    done: bool
    what: bytes


def current(txn: ReadTxn, ca_id: Digest) -> Digest | None:
    """The snapshot that stands for `ca_id` now: itself, unless it was replaced. None: it was purged as a whole."""
    found: Digest | None = ca_id
    while found is not None and (row := txn.get(REPLACED, found)) is not None:
        found = row[ID_SIZE:] or None
    return found


def existing(txn: ReadTxn, ca_id: Digest) -> Digest:
    """`current`; raises CollectedError when there is none."""
    found = current(txn, ca_id)
    if found is None:
        raise CollectedError(f"snapshot {ca_id.hex()[:12]} was purged", next="jvs fs ls", ca_id=ca_id.hex())
    return found


def originals(txn: ReadTxn, ca_id: Digest) -> Iterator[Digest]:
    """Every snapshot for which `ca_id` stands, itself first."""
    waiting, seen = [ca_id], {ca_id}
    while waiting:
        found = waiting.pop()
        yield found
        for key, _ in txn.scan(REPLACEMENTS, found, found + b"\xff" * (DIGEST_SIZE + 1)):
            if key[DIGEST_SIZE:] not in seen:
                seen.add(key[DIGEST_SIZE:])
                waiting.append(key[DIGEST_SIZE:])


def unfinished(txn: ReadTxn, what: bytes) -> bytes | None:
    """The id of the purge of that which was begun and is not done."""
    for purge, raw in txn.scan(PURGES):
        row = PurgeRow(*unpack_row(raw, len(PurgeRow._fields)))
        if row.what == what and not row.done:
            return purge
    return None


def write_purge(txn: WriteTxn, purge: bytes, row: PurgeRow, said: Mapping[str, object]) -> None:
    """Journal and apply the beginning of a purge. said: actor, reason and what was named, for the audit; dropped with
    the record's body."""
    txn.journal(PURGE_OP, {"id": purge, "at_ms": row.at_ms, "what": row.what}, said)
    apply_purge(txn, purge, row)


def write_done(txn: WriteTxn, purge: bytes, counts: Mapping[str, int], actor: str) -> None:
    """Journal and apply the end of a purge."""
    txn.journal(DONE_OP, {"id": purge, **counts}, {"actor": actor})
    apply_done(txn, purge)


def write_content(txn: WriteTxn, purge: bytes, digests: Sequence[Digest], actor: str) -> None:
    """Journal and apply that these files and chunks (at most MAX_DIGESTS) must not come back."""
    txn.journal(CONTENT_OP, {"id": purge, "digests": list(digests)}, {"actor": actor})
    apply_content(txn, purge, digests)


def write_replaced(txn: WriteTxn, purge: bytes, pairs: Sequence[tuple[Digest, Digest | None]], actor: str) -> None:
    """Journal and apply that snapshots (at most MAX_PAIRS) are replaced by others (None: by nothing).

    The new ones become roots. Those that somebody else has replaced meanwhile stay as they are."""
    there = [(old, new) for old, new in pairs if txn.get(REPLACED, old) is None]
    for _, new in there:
        if new is not None:
            txn.require(new)
    if there:
        joined = [old + (new or b"") for old, new in there]
        txn.journal(REPLACED_OP, {"id": purge, "pairs": joined}, {"actor": actor})
        apply_replaced(txn, purge, joined)


def write_allowed(txn: WriteTxn, digests: Sequence[Digest], ca_id: Digest, actor: str) -> None:
    """Journal and apply that content was stored again on purpose, as part of the snapshot `ca_id`: it is on the list
    no more, and that snapshot stands for itself."""
    for start in range(0, max(len(digests), 1), MAX_DIGESTS):
        batch = list(digests[start : start + MAX_DIGESTS])
        txn.journal(ALLOWED_OP, {"ca_id": ca_id, "digests": batch}, {"actor": actor})
        apply_allowed(txn, batch, ca_id)


def apply_purge(txn: WriteTxn, purge: bytes, row: PurgeRow) -> None:
    """A purge begins."""
    txn.put(PURGES, purge, pack_row(row))


def apply_done(txn: WriteTxn, purge: bytes) -> None:
    """A purge is done. Raises IntegrityError when it never began."""
    raw = txn.get(PURGES, purge)
    if raw is None:
        raise IntegrityError(f"the purge {purge.hex()} ended, but never began")
    row = PurgeRow(*unpack_row(raw, len(PurgeRow._fields)))
    txn.put(PURGES, purge, pack_row(row._replace(done=True)))


def apply_content(txn: WriteTxn, purge: bytes, digests: Sequence[Digest]) -> None:
    """Put digests on the list of what was purged."""
    purged.add(txn, digests, purge)


def apply_replaced(txn: WriteTxn, purge: bytes, pairs: Sequence[bytes]) -> None:
    """Replace snapshots; each an old CA id and the new one, or nothing. Raises IntegrityError."""
    for pair in pairs:
        old, new = pair[:DIGEST_SIZE], pair[DIGEST_SIZE:]
        if len(old) != DIGEST_SIZE or len(new) not in (0, DIGEST_SIZE) or old == new:
            raise IntegrityError("a snapshot was replaced by what is none", code="journal-damaged")
        txn.put(REPLACED, old, purge + new)
        if new:
            txn.put(REPLACEMENTS, new + old, b"")


def apply_allowed(txn: WriteTxn, digests: Sequence[Digest], ca_id: Digest) -> None:
    """Take digests off the list, and let a snapshot stand for itself."""
    purged.remove(txn, digests)
    row = txn.get(REPLACED, ca_id)
    if row is not None:
        txn.delete(REPLACED, ca_id)
        txn.delete(REPLACEMENTS, row[ID_SIZE:] + ca_id)


def replaced(txn: ReadTxn, purge: bytes) -> Iterator[tuple[Digest, Digest | None]]:
    """(old, new) of every snapshot that a purge replaced."""
    for old, row in txn.scan(REPLACED):
        if row[:ID_SIZE] == purge:
            yield old, row[ID_SIZE:] or None


def labels_of(txn: ReadTxn, ca_id: Digest) -> Iterator[bytes]:
    """The uids of the labels that ever had a snapshot, or one for which it stands; live or not, some twice."""
    for one in originals(txn, ca_id):
        for key, _ in txn.scan(SNAPSHOTS, one, one + b"\xff" * (UID_SIZE + 1)):
            yield key[DIGEST_SIZE:]


def noted_in(txn: ReadTxn, uid: bytes, purge: bytes, since_ms: int) -> bool:
    """Whether a label's reflog has the entry of a purge that began at that time."""
    for _generation, skeleton, body in entries_between(txn, uid, 0, (1 << 63) - 1, reverse=True):
        bones = glance(skeleton)
        if bones.at_ms < since_ms:
            return False
        if bones.op == "purge" and body is not None and decode_body(body).meta.get("purge") == purge.hex():
            return True
    return False


def began(txn: ReadTxn, purge: bytes) -> int:
    """When a purge began, in ms."""
    raw = txn.get(PURGES, purge)
    return 0 if raw is None else PurgeRow(*unpack_row(raw, len(PurgeRow._fields))).at_ms


def standing_at(txn: ReadTxn, uid: bytes, ca_id: Digest) -> str | None:
    """The name of a label, if it lives and that snapshot stands for its head."""
    owner = owner_of(txn, uid)
    head = None if owner is None or not owner.live else head_of(txn, owner.name)
    stands = head is not None and current(txn, head.ca_id) == ca_id
    return owner.name if owner is not None and stands else None
