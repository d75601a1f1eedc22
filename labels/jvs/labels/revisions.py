"""Revisions: what people and programs type to name a snapshot (DESIGN 5; docs/labels.md has the grammar).

    REV    = BASE [":" PATH]                 split at the first ":" outside braces
    BASE   = LABEL | ID                      an id: 64 hex digits, or 8 and more of them if only one thing starts so
           | LABEL "@{" N "}"                N moves before the head
           | LABEL "@{" WHEN "}"             what it was then; see `when`
           | LABEL "@" GENERATION            never moves
           | "tag:" TAG                      the newest entry that has it

`parse` is pure; `resolve` looks things up in one transaction, an exact label first, then ids. A prefix is matched
against entry ids and snapshots that were ever roots, never against the pages inside a snapshot.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from jvs.castore import names as paths
from jvs.castore.backend import Kind, ReadTxn, Table
from jvs.castore.digest import DIGEST_SIZE, MIN_PREFIX, Digest, is_hex
from jvs.errors import AmbiguousError, CollectedError, UnknownError, UsageError
from jvs.labels import reads
from jvs.labels.model import Entry, Expect, decode_skeleton
from jvs.labels.names import TAG_PREFIX, check_tag, label_name_fault, shown
from jvs.labels.purges import current, existing
from jvs.labels.tables import (
    DETACHED,
    ENTRIES,
    IDS,
    LABELS,
    REPLACEMENTS,
    SNAPSHOTS,
    Head,
    entries_between,
    entry_at,
    entry_by_id,
    head_of,
    name_key,
    newest_span,
    owner_of,
    place_of,
)

if TYPE_CHECKING:
    from datetime import tzinfo

MATCHES_SHOWN = 20
"""Most matches of an ambiguous prefix that are looked up and listed."""

_ROOTED = (SNAPSHOTS, DETACHED, REPLACEMENTS)
"""The tables whose keys begin with snapshots that were ever roots."""
_HEX_DIGITS = 2 * DIGEST_SIZE
_MAX_DIGITS = 18
_PAST = b"\xff" * 17
"""After a digest: past every key that begins with it (what follows it in a key has at most 16 bytes)."""


class Named(NamedTuple):
    """A label, an id, or the beginning of an id: which one, only the store knows."""

    text: str


class Back(NamedTuple):
    """LABEL@{N}: so many moves before the head."""

    label: str
    moves: int


class At(NamedTuple):
    """LABEL@{WHEN}: what the label was at that time."""

    label: str
    when: str


class Generation(NamedTuple):
    """LABEL@N."""

    label: str
    number: int


class Tagged(NamedTuple):
    """tag:TAG."""

    tag: str


Base: TypeAlias = Named | Back | At | Generation | Tagged


class Revision(NamedTuple):
    """A parsed revision; `path` is None without a ":", and b"" for the root (components joined by "/")."""

    base: Base
    path: bytes | None = None

    def __str__(self) -> str:
        """What `parse` turns into this again."""
        match self.base:
            case Named(text):
                base = text
            case Back(label, moves):
                base = f"{label}@{{{moves}}}"
            case At(label, when):
                base = f"{label}@{{{when}}}"
            case Generation(label, number):
                base = f"{label}@{number}"
            case Tagged(tag):
                base = TAG_PREFIX + tag
        return base if self.path is None else f"{base}:{paths.to_text(self.path)}"


class Resolved(NamedTuple):
    """What a revision names. `ca_id` is the snapshot (of the whole tree, also when there is a `path` into it); where
    that was purged (see `purges`), the one that took its place.

    label       the live label it was found through or belongs to, if any
    entry       the reflog entry, unless the revision was a bare CA id
    generation  the entry's
    path        as in Revision
    """

    ca_id: Digest
    label: str | None
    entry: Entry | None
    generation: int | None
    path: bytes | None

    @property
    def parents(self) -> tuple[Digest, ...]:
        """The parents of an entry made from this: [E] for an entry, none for a bare CA id."""
        return () if self.entry is None else (self.entry.id,)


class Absent(NamedTuple):
    """`--expected 0`: the label must not exist."""


class AtGeneration(NamedTuple):
    """`--expected N`."""

    number: int


Expected: TypeAlias = Absent | AtGeneration | Revision


def parse(text: str) -> Revision:
    """Parse a revision. Raises UsageError: bad-revision, bad-id or bad-path."""
    cut = _colon(text)
    if cut is None:
        return Revision(_parse_base(text, text))
    return Revision(_parse_base(text[:cut], text), _parse_path(text[cut + 1 :]))


def parse_expected(text: str) -> Expected:
    """Parse what `--expected` may be: digits are a generation (64 of them an id), 0 means "must not exist", the rest
    is a revision without a path."""
    if text.isascii() and text.isdigit() and len(text) != _HEX_DIGITS:
        number = _number(text, text)
        return AtGeneration(number) if number else Absent()
    revision = parse(text)
    if revision.path is not None:
        raise UsageError(f"{shown(text)} has a path; what is expected is a whole snapshot", code="bad-revision")
    return revision


def resolve(txn: ReadTxn, revision: Revision, *, now_ms: int, tz: tzinfo | None = None) -> Resolved:
    """Find what a revision names. `tz` is the time zone of times without one (None: the system's).

    Raises UnknownError (unknown-label, unknown-revision, unknown-tag) and AmbiguousError, whose details["matches"]
    list {"kind", "id", "label", "generation"} of each.
    """
    path = revision.path
    match revision.base:
        case Named(text):
            return _resolve_name(txn, text, path)
        case Back(label, moves):
            head = reads.live_head(txn, label)
            generation = reads.nth_generation(txn, head, moves, moves_only=True)
            if generation is None:
                message = f"{label} has fewer than {moves:,} moves before its head"
                raise UnknownError(message, next=f"jvs fs log {label}", label=label)
            return _at_generation(txn, label, head, generation, path)
        case At(label, when):
            return _resolve_time(txn, label, when, path, now_ms, tz)
        case Generation(label, number):
            return _resolve_generation(txn, label, number, path)
        case Tagged(tag):
            return _of_entry(txn, reads.newest_tagged(txn, tag), path)


def resolve_expected(txn: ReadTxn, expected: Expected, *, now_ms: int, tz: tzinfo | None = None) -> Expect:
    """The Expect that a parsed `--expected` means now: whatever names an entry is that entry (A-B-A is caught), a CA
    id is content."""
    match expected:
        case Absent():
            return None
        case AtGeneration(number):
            return number
        case Revision():
            found = resolve(txn, expected, now_ms=now_ms, tz=tz)
            return found.ca_id if found.entry is None else found.entry.id


def split_location(txn: ReadTxn, text: str) -> Revision:
    """The revision and path in `LABEL[@REV]/PATH`, as in `jvs://agent/1@{2}/dir/f` (given without `jvs://`).

    No label is a path prefix of another, so the one existing label that begins the text is meant; what is no label is
    an id or a tag up to the first slash. A "/" in a label may be written %2F.
    """
    parts = text.split("/")
    for end in range(1, len(parts) + 1):
        label, at, rest = "/".join(parts[:end]).partition("@")
        if at and rest.startswith("{") and "}" not in rest:
            continue  # a slash inside braces
        label = label.replace("%2F", "/").replace("%2f", "/")
        if label_name_fault(label) is None and txn.get(LABELS, name_key(label)) is not None:
            base = _parse_base(label + at + rest, text)
            return Revision(base, _parse_path("/".join(parts[end:])))
        if at:
            break
    txn.check_table(LABELS)
    first = parts[0].replace("%2F", "/").replace("%2f", "/")
    base = _parse_base(first, text)
    if not isinstance(base, Tagged) and not _is_id(base):
        raise reads.unknown_label(txn, base.text if isinstance(base, Named) else base.label)
    return Revision(base, _parse_path("/".join(parts[1:])))


def _is_id(base: Base) -> bool:
    return isinstance(base, Named) and len(base.text) >= MIN_PREFIX and is_hex(base.text)


def _colon(text: str) -> int | None:
    """Where the path's ":" is."""
    start = len(TAG_PREFIX) if text.startswith(TAG_PREFIX) else 0
    cut = text.find(":", start)
    brace = text.find("@{", start)
    if 0 <= brace < cut:
        closed = text.find("}", brace)
        cut = text.find(":", closed) if closed >= 0 else -1
    return cut if cut >= 0 else None


def _parse_path(text: str) -> bytes:
    try:
        return b"/".join(paths.split_path(text))
    except UnicodeEncodeError:
        raise UsageError(f"not a path inside a snapshot: {shown(text)}", code="bad-path") from None


def _parse_base(base: str, text: str) -> Base:
    if base.startswith(TAG_PREFIX):
        return Tagged(check_tag(base[len(TAG_PREFIX) :]))
    label, at, rest = base.partition("@")
    if not at:
        return Named(_checked_name(base, text, may_be_id=True))
    _checked_name(label, text, may_be_id=False)
    if rest.isascii() and rest.isdigit():
        return Generation(label, _number(rest, text))
    if not (rest.startswith("{") and rest.endswith("}") and rest.count("{") == rest.count("}") == 1):
        raise _malformed(text, "after @ comes a generation, or {N} or {TIME} in braces")
    inner = rest[1:-1].strip()
    if not inner:
        raise _malformed(text, "there is nothing in the braces")
    if inner.isascii() and inner.isdigit():
        return Back(label, _number(inner, text))
    if not inner.isprintable():
        raise _malformed(text, "a time has no such characters")
    return At(label, inner)


def _checked_name(name: str, text: str, *, may_be_id: bool) -> str:
    if not name:
        raise _malformed(text, "it names no label")
    digits = not name.strip("0123456789abcdefABCDEF") and len(name) >= MIN_PREFIX
    if digits and not may_be_id:
        raise _malformed(text, "@ goes with a label, not with an id")
    if digits and (not is_hex(name) or len(name) > _HEX_DIGITS):
        raise UsageError(
            f"{shown(name)} is not an id: {MIN_PREFIX} to {_HEX_DIGITS} lower-case hex digits are one", code="bad-id"
        )
    fault = None if digits else label_name_fault(name)
    if fault is not None:
        raise _malformed(text, fault)
    return name


def _number(digits: str, text: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _malformed(text, "that number is too large")
    return int(digits)


def _malformed(text: str, why: str) -> UsageError:
    return UsageError(f"{shown(text)} is not a revision: {why}", code="bad-revision")


def _resolve_name(txn: ReadTxn, text: str, path: bytes | None) -> Resolved:
    id_like = len(text) >= MIN_PREFIX and is_hex(text)  # no label may be called that
    if not id_like:
        head = reads.live_head(txn, text)
        return _at_generation(txn, text, head, head.generation, path)
    if len(text) == _HEX_DIGITS:
        return _resolve_id(txn, bytes.fromhex(text), path)
    return _resolve_prefix(txn, text, path)


def _resolve_id(txn: ReadTxn, digest: Digest, path: bytes | None) -> Resolved:
    # Kinds of id never coincide, so a page of that digest settles it without a look through all the ids there are.
    if place_of(txn, digest) is None and (
        txn.info(Kind.PAGE, digest) is not None
        or _starting_with(txn, digest.hex(), SNAPSHOTS)
        or current(txn, digest) != digest
    ):
        return Resolved(existing(txn, digest), None, None, None, path)
    entry = entry_by_id(txn, digest)
    if entry is None:
        txn.check_table(SNAPSHOTS)
        raise UnknownError(f"no entry and no snapshot has the id {digest.hex()}", next="jvs fs ls", id=digest.hex())
    return _of_entry(txn, entry, path)


def _resolve_prefix(txn: ReadTxn, prefix: str, path: bytes | None) -> Resolved:
    entries = _starting_with(txn, prefix, IDS)
    roots = sorted({root for table in _ROOTED for root in _starting_with(txn, prefix, table)})
    matches = [*entries, *roots]
    if len(matches) == 1:
        return _resolve_id(txn, matches[0], path)
    if not matches:
        for table in (IDS, *_ROOTED):
            txn.check_table(table)
        raise UnknownError(f"no entry and no snapshot has an id that begins with {prefix}", next="jvs fs ls", id=prefix)
    listed = [_match(txn, "entry", found) for found in entries] + [_match(txn, "snapshot", found) for found in roots]
    raise AmbiguousError(
        f"{prefix} is the beginning of {len(entries)} entry id(s) and {len(roots)} snapshot id(s)",
        prefix=prefix,
        matches=listed[:MATCHES_SHOWN],
    )


def _starting_with(txn: ReadTxn, prefix: str, table: Table) -> list[Digest]:
    """The different digests (at most MATCHES_SHOWN) that begin keys of `table` and begin with `prefix`."""
    start = bytes.fromhex(prefix.ljust(_HEX_DIGITS, "0"))
    stop = bytes.fromhex(prefix.ljust(_HEX_DIGITS, "f")) + _PAST
    found: list[Digest] = []
    while len(found) < MATCHES_SHOWN:
        key = next((key for key, _raw in txn.scan(table, start, stop)), None)
        if key is None:
            break
        found.append(key[:DIGEST_SIZE])
        start = found[-1] + _PAST  # not one by one: 100,000 labels may have had the same snapshot
    return found


def _match(txn: ReadTxn, kind: str, digest: Digest) -> dict[str, str | int | None]:
    """One line of an ambiguity: what it is, and a label that had it."""
    if kind == "entry":
        place = place_of(txn, digest)
    else:
        rows = ((key[DIGEST_SIZE:], raw) for key, raw in txn.scan(SNAPSHOTS, digest, digest + _PAST))
        place = next(((uid, int.from_bytes(raw, "big")) for uid, raw in rows), None)
    owner = None if place is None else owner_of(txn, place[0])
    return {
        "kind": kind,
        "id": digest.hex(),
        "label": None if owner is None else owner.name,
        "generation": None if place is None else place[1],
    }


def _resolve_time(txn: ReadTxn, label: str, when: str, path: bytes | None, now_ms: int, tz: tzinfo | None) -> Resolved:
    from jvs.labels.when import parse_when  # rarely needed, and not cheap to import

    head = reads.live_head(txn, label)
    at_ms = parse_when(when, now_ms, tz)
    generation = _generation_at(txn, head, at_ms)
    if generation is None:
        raise UnknownError(f"{label} did not exist yet at {when}", next=f"jvs fs log {label}", label=label)
    return _at_generation(txn, label, head, generation, path)


def _generation_at(txn: ReadTxn, head: Head, at_ms: int) -> int | None:
    """The newest generation not made after `at_ms`, by bisection: times never fall along a reflog."""
    if head.at_ms <= at_ms:
        return head.generation
    found, later = 0, head.generation  # nothing at or above `later` is old enough
    while later - found > 1:
        middle = (found + later) // 2
        row = next(entries_between(txn, head.uid, middle, later - 1), None)
        if row is not None and decode_skeleton(row[1]).at_ms <= at_ms:
            found = row[0]
        else:
            later = middle
    if found:
        neighbours = islice(entries_between(txn, head.uid, found, head.generation), 2)
        list(neighbours)  # refuses a gap right behind what was found
    return found or None


def _resolve_generation(txn: ReadTxn, label: str, number: int, path: bytes | None) -> Resolved:
    head = head_of(txn, label)
    span = newest_span(txn, label, at=number)
    covered = span is not None and (span.last is None or number <= span.last)
    if span is not None and covered and (head is None or span.uid != head.uid):
        raise _former(txn, label, number, span.uid)
    if head is None:
        raise reads.unknown_label(txn, label)
    return _at_generation(txn, label, head, number, path)


def _former(txn: ReadTxn, label: str, number: int, uid: bytes) -> UnknownError:
    """The error for a generation of a label that no longer has this name: it tells where it went."""
    owner = owner_of(txn, uid)
    renamed_to = owner.name if owner is not None and owner.live else None
    where = "a label since deleted" if renamed_to is None else f"the label that is now called {renamed_to}"
    next_step = f"jvs fs label --undelete {label}" if renamed_to is None else f"jvs fs pull {renamed_to}@{number}"
    return UnknownError(
        f"generation {number} of {label} belongs to {where}", next=next_step, label=label, renamed_to=renamed_to
    )


def _at_generation(txn: ReadTxn, label: str, head: Head, generation: int, path: bytes | None) -> Resolved:
    entry = entry_at(txn, head.uid, generation)
    if entry is None:
        txn.check_table(ENTRIES)
        raise UnknownError(
            f"{label} has no generation {generation}; it is at {head.generation}",
            next=f"jvs fs log {label}",
            label=label,
        )
    return _of_entry(txn, entry, path)


def _of_entry(txn: ReadTxn, entry: Entry, path: bytes | None) -> Resolved:
    if entry.to is None:
        raise UnknownError(
            f"{entry.label}@{entry.generation} is where the label was deleted: there is no content", label=entry.label
        )
    ca_id = existing(txn, entry.to)
    if entry.dropped and txn.info(Kind.PAGE, ca_id) is None:
        raise CollectedError(
            f"{entry.label}@{entry.generation} has left the retention window: its snapshot was collected",
            next=f"jvs fs log {entry.label}",
            label=entry.label,
            generation=entry.generation,
        )
    owner = owner_of(txn, entry.uid)
    label = owner.name if owner is not None and owner.live else None
    return Resolved(ca_id, label, entry, entry.generation, path)
