"""What can be asked of the pointer plane inside a transaction, and the errors that say "there is no such thing"."""

from __future__ import annotations

from collections.abc import Iterator

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import Digest
from jvs.errors import IndexDamagedError, UnknownError
from jvs.labels.model import (
    UID_SIZE,
    Entry,
    LabelInfo,
    decode_entry,
    decode_skeleton,
    glance,
    is_housekeeping,
    message_in,
)
from jvs.labels.names import check_label_name
from jvs.labels.purges import current, originals
from jvs.labels.records import tag_row
from jvs.labels.tables import (
    DELETED,
    LABELS,
    NAMES,
    SNAPSHOTS,
    TAGGED,
    TAGS,
    Head,
    TagRow,
    entries_between,
    entry_at,
    entry_by_id,
    entry_bytes,
    head_of,
    name_key,
    newest_deleted,
    newest_span,
    owner_of,
    place_of,
    span_key,
    split_entry_key,
    unpack_head,
    unpack_row,
)

NEAREST_SHOWN = 3
NEAREST_COMPARED = 4000
"""Most names compared with an unknown one: an error must not cost O(all labels) of fuzzy matching."""


def label_info(txn: ReadTxn, name: str) -> LabelInfo | None:
    """The live label `name`, or None.

    None is followed by an error, or by the creation of that label, so all that either looks up is checked here, where
    it holds up nobody: the first check of a table in a process reads all of it, and moves wait for one another.
    """
    head = head_of(txn, name)
    if head is not None:
        return _info(txn, name, head)
    txn.check_table(DELETED)
    txn.check_table(NAMES)
    return None


def live_head(txn: ReadTxn, name: str) -> Head:
    """The head of a label that must exist; raises UsageError (the name), UnknownError (unknown-label)."""
    head = head_of(txn, check_label_name(name))
    if head is None:
        raise unknown_label(txn, name)
    return head


def list_labels(txn: ReadTxn, prefix: str = "", after: str | None = None, limit: int | None = None) -> list[LabelInfo]:
    """Live labels by the bytes of their names: those that start with `prefix` and follow `after`, at most `limit`."""
    low = name_key(prefix)
    start = low if after is None else max(low, name_key(after) + b"\0")
    found: list[LabelInfo] = []
    if limit is not None and limit <= 0:
        return found
    for key, raw in txn.scan(LABELS, start, _after_prefix(low)):
        found.append(_info(txn, key.decode("utf-8"), unpack_head(raw)))
        if limit is not None and len(found) >= limit:
            break
    txn.check_table(LABELS)
    return found


def log_page(txn: ReadTxn, uid: bytes, first: int, last: int, count: int, *, newest_first: bool) -> list[Entry]:
    """At most `count` verified entries with first <= generation <= last, in the order asked for.

    `last` must be a generation of the label; so must `first`, or it is 0, the beginning. Raises IndexDamagedError when
    the entry at either end has vanished (`entries_between` misses those in the middle).
    """
    owner = owner_of(txn, uid)
    if owner is None:
        raise IndexDamagedError(f"the label {uid.hex()} has a reflog but no name")
    page: list[Entry] = []
    for generation, skeleton, body in entries_between(txn, uid, first, last, reverse=newest_first):
        entry = decode_entry(owner.name, skeleton, body)
        if entry.generation != generation or entry.uid != uid:
            raise IndexDamagedError(f"the entry at {owner.name}@{generation} is another one")
        page.append(entry)
        if len(page) >= count:
            break
    ended = len(page) < count
    newest, oldest = (page[:1], page[-1:]) if newest_first else (page[-1:], page[:1])
    whole = bool(page)
    if newest_first or ended:
        whole = whole and newest[0].generation == last
    if ended or not newest_first:
        whole = whole and (oldest[0].generation == first if first else oldest[0].prev is None)
    if not whole:
        raise IndexDamagedError(f"reflog entries of {owner.name} are missing", uid=uid.hex())
    return page


def nth_generation(txn: ReadTxn, head: Head, back: int, *, moves_only: bool = False) -> int | None:
    """The generation `back` entries before the head (0: the head's); None beyond the first. O(back).

    moves_only: entries of the collector do not count (the newest move is 0).

    Raises IndexDamagedError when the newest entry, or the first one where that matters, has vanished.
    """
    below: bytes | None = head.entry_id
    for generation, skeleton, _body in entries_between(txn, head.uid, 0, head.generation, reverse=True):
        if below == head.entry_id and generation != head.generation:
            break
        if not (moves_only and is_housekeeping(skeleton)):
            if back == 0:
                return generation
            back -= 1
        below = decode_skeleton(skeleton).prev
    if below is not None:
        raise IndexDamagedError(f"reflog entries before generation {head.generation} are missing", uid=head.uid.hex())
    return None


def newest_tagged(txn: ReadTxn, tag: str) -> Entry:
    """What `tag:T` means; raises UnknownError (unknown-tag)."""
    row = tag_row(txn, tag)
    if row.last == row.floor:
        raise unknown_tag(tag)
    place = txn.get(TAGGED, span_key(tag, row.last))
    entry = None if place is None else entry_at(txn, *split_entry_key(place))
    if entry is None:
        raise IndexDamagedError(f"the newest entry tagged {tag} is not there")
    return entry


def unknown_tag(tag: str) -> UnknownError:
    """The error for a tag that no entry has."""
    return UnknownError(f"no entry has the tag {tag!r}", code="unknown-tag", tag=tag)


def list_tags(txn: ReadTxn) -> list[str]:
    """Every tag that some entry has, in order."""
    rows = ((key.decode("utf-8"), TagRow(*unpack_row(raw, 2))) for key, raw in txn.scan(TAGS))
    tags = [tag for tag, row in rows if row.last > row.floor]
    txn.check_table(TAGS)
    return tags


def existing_entry(txn: ReadTxn, entry_id: Digest) -> Entry:
    """The entry of that id; raises UnknownError (unknown-revision)."""
    entry = entry_by_id(txn, entry_id)
    if entry is None:
        raise UnknownError(f"no reflog entry has the id {entry_id.hex()}", id=entry_id.hex())
    return entry


def newest_with(txn: ReadTxn, ca_id: Digest) -> Entry | None:
    """The newest entry, of any label, that has this content: by time, then by id."""
    found = [
        entry
        for one in originals(txn, ca_id)
        for key, generation in txn.scan(SNAPSHOTS, one, one + b"\xff" * (UID_SIZE + 1))
        if (entry := entry_at(txn, key[len(ca_id) :], int.from_bytes(generation, "big"))) is not None
    ]
    return max(found, key=lambda entry: (entry.at_ms, entry.id), default=None)


def unknown_label(txn: ReadTxn, name: str) -> UnknownError:
    """The error for a label that is not there: says where it went, or which names are near.

    details: label, nearest (list), deleted (bool), renamed_to (str or None).
    """
    deleted = newest_deleted(txn, name) is not None
    span = newest_span(txn, name)
    owner = None if span is None else owner_of(txn, span.uid)
    renamed_to = owner.name if owner is not None and owner.live and owner.name != name else None
    nearest = _nearest(txn, name)
    hint, next_step = "", None
    if deleted:
        hint, next_step = "; it was deleted", f"jvs fs label --undelete {name}"
    elif renamed_to is not None:
        hint, next_step = f"; it was renamed to {renamed_to}", f"jvs fs log {renamed_to}"
    elif nearest:
        hint = f"; did you mean {' or '.join(nearest)}?"
    return UnknownError(
        f"there is no label {name}{hint}",
        code="unknown-label",
        next=next_step,
        label=name,
        nearest=nearest,
        deleted=deleted,
        renamed_to=renamed_to,
    )


def _nearest(txn: ReadTxn, name: str) -> list[str]:
    """The names most like `name`: of all of them, or of its neighbours in order when there are too many."""
    import difflib  # rarely needed, and not cheap to import

    key = name_key(name)
    if txn.count(LABELS) <= NEAREST_COMPARED:
        keys = [found for found, _raw in txn.scan(LABELS)]
    else:
        keys = _take(txn.scan(LABELS, key), NEAREST_COMPARED // 2)
        keys += _take(txn.scan(LABELS, b"", key, reverse=True), NEAREST_COMPARED // 2)
    return difflib.get_close_matches(name, [found.decode("utf-8") for found in keys], NEAREST_SHOWN)


def _take(rows: Iterator[tuple[bytes, bytes]], count: int) -> list[bytes]:
    return [key for key, _index in zip((key for key, _raw in rows), range(count), strict=False)]


def _info(txn: ReadTxn, name: str, head: Head) -> LabelInfo:
    found = entry_bytes(txn, head.uid, head.generation)
    if found is None:
        raise IndexDamagedError(f"the newest reflog entry of {name} is not there")
    skeleton, body, at_ms = *found, head.at_ms
    while is_housekeeping(skeleton):
        bones = decode_skeleton(skeleton)
        place = None if bones.prev is None else place_of(txn, bones.prev)
        below = None if place is None else entry_bytes(txn, *place)
        if below is None:
            raise IndexDamagedError(f"reflog entries of {name} are missing")
        (skeleton, body), at_ms = below, glance(below[0]).at_ms
    message = "" if body is None else message_in(body)
    upstream = None if head.upstream is None else owner_of(txn, head.upstream)
    if upstream is None and head.upstream is not None:
        raise IndexDamagedError(f"the label that {name} follows has lost its name")
    return LabelInfo(
        name=name,
        uid=head.uid,
        ca_id=current(txn, head.ca_id) or head.ca_id,
        generation=head.generation,
        entry_id=head.entry_id,
        at_ms=at_ms,
        message=message,
        upstream=upstream.name if upstream is not None and upstream.live else None,
    )


def _after_prefix(prefix: bytes) -> bytes | None:
    """The least key above every key that starts with `prefix`; None when there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
