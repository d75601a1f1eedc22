"""Save points: the reflog entries of a worktree's label, as JVS shows them, and what people may type to name one.

A *snapshot id* is computed from its entry: 26 characters of Crockford's base 32, lower case, of which the first 10 are
the time in ms and the other 16 the first 80 bits of the entry's id. So ids sort by time, nothing is stored for them,
and one is found by its 80 bits, or by bisection in a reflog, along which times never fall.

Not every entry is a save point. Those of the collector, renames and undeletes stand for the one before them. An entry
that created a label at exactly what its parent is (a fork) stands for that parent, so that a fork stands at the save
point it was made from, and its history goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import Digest
from jvs.errors import AmbiguousError, JvsError, UnknownError, UsageError
from jvs.labels.model import HOUSEKEEPING, MAX_MESSAGE, Entry, check_text, decode_skeleton, glance
from jvs.labels.names import AUTOSAVE, TAG_PREFIX, check_tag
from jvs.labels.reads import log_page, newest_with
from jvs.labels.records import tag_row
from jvs.labels.tables import (
    IDS,
    TAGGED,
    UIDS,
    entries_between,
    entry_at,
    entry_by_id,
    head_of,
    skeleton_of,
    span_key,
    split_entry_key,
)
from jvs.workspace.results import Json, iso_time

if TYPE_CHECKING:
    from jvs.workspace.repo import Repo

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH: Final = 26
SHORT_LENGTH: Final = 12
"""Characters of an id that people are shown: the time in ms and 10 bits more."""
MIN_TYPED: Final = 4
"""Least characters of an id that somebody may type."""
HEAD: Final = "HEAD"
NO_SAVE: Final = HOUSEKEEPING | {"rename", "undelete", "delete"}
"""Ops of entries that are no save points; what they stand for is before them."""
ENGINE: Final = "engine"
VERIFIED: Final = "verified"
"""Keys of an entry's meta: how the worktree's files are cloned; that what was written was read back and compared."""

_TIME_LENGTH: Final = 10
_TIME_BITS: Final = 48
_DIGEST_BITS: Final = 80
_DIGEST_BYTES: Final = _DIGEST_BITS // 8
_LISTED: Final = 20
_PAGE: Final = 256
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class SavePoint:
    """A save point. entry: the reflog entry it is; the other fields are those of its JSON.

    parent_id        the save point its content came from, or None
    autosave         it was made of unsaved work, on `autosave/WORKTREE`
    integrity_state  `verified` when what was written was read back before the label moved, else `unknown`
    """

    save_point_id: str
    parent_id: str | None
    workspace_name: str
    created_at: str
    message: str
    tags: tuple[str, ...]
    engine: str
    payload_root_hash: str
    descriptor_checksum: str
    integrity_state: str
    entry: Entry

    @property
    def autosave(self) -> bool:
        """Whether it was made of unsaved work, before something replaced it."""
        return self.entry.label.startswith(AUTOSAVE + "/")

    @property
    def short_id(self) -> str:
        """The characters of its id that people are shown."""
        return self.save_point_id[:SHORT_LENGTH]

    def as_json(self) -> Json:
        """{snapshot_id, parent_id?, worktree_name, created_at, note?, tags?, engine, payload_root_hash,
        descriptor_checksum, integrity_state}."""
        parent = {} if self.parent_id is None else {"parent_id": self.parent_id}
        note = {"note": self.message} if self.message else {}
        tags = {"tags": list(self.tags)} if self.tags else {}
        return {
            "snapshot_id": self.save_point_id,
            **parent,
            "worktree_name": self.workspace_name,
            "created_at": self.created_at,
            **note,
            **tags,
            "engine": self.engine,
            "payload_root_hash": self.payload_root_hash,
            "descriptor_checksum": self.descriptor_checksum,
            "integrity_state": self.integrity_state,
        }


def snapshot_id(at_ms: int, entry_id: Digest) -> str:
    """The id of the save point that the entry of that id, made at that time, is."""
    number = (at_ms & ((1 << _TIME_BITS) - 1)) << _DIGEST_BITS | int.from_bytes(entry_id[:_DIGEST_BYTES], "big")
    characters = [ALPHABET[number >> shift & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5)]
    return "".join(characters)


class IdRange(NamedTuple):
    """What ids begin with some characters: entries made from `low` to `high` ms whose id begins with these bits."""

    low: int
    high: int
    bits: int
    length: int

    def holds(self, at_ms: int, entry_id: Digest) -> bool:
        """Whether the id of that entry begins so."""
        start = int.from_bytes(entry_id[:_DIGEST_BYTES], "big") >> (_DIGEST_BITS - self.length)
        return self.low <= at_ms <= self.high and start == self.bits


def id_range(text: str) -> IdRange | None:
    """The ids that begin with `text`; None when none can (the letters, or 4 to 26 of them)."""
    text = text.lower()
    if not MIN_TYPED <= len(text) <= ID_LENGTH or text.strip(ALPHABET):
        return None
    number = 0
    for character in text:
        number = number << 5 | ALPHABET.index(character)
    # 26 characters have 130 bits, two more than there are: the first stands for 3
    missing = 5 * (ID_LENGTH - len(text))
    low, high = number << missing, ((number + 1) << missing) - 1
    if low >> (_TIME_BITS + _DIGEST_BITS):
        return None
    length = max(0, _DIGEST_BITS - missing)
    bits = (low >> (_DIGEST_BITS - length)) & ((1 << length) - 1) if length else 0
    return IdRange(low >> _DIGEST_BITS, high >> _DIGEST_BITS, bits, length)


class Stretch(NamedTuple):
    """Entries of one label that a history runs through: those up to `last`."""

    uid: bytes
    last: int


class SavePoints:
    """The save points of a store.

    engine  what is said of those that were made without a word about it
    names   of worktrees, by their labels, where these are not the same
    """

    def __init__(self, repo: Repo, engine: str = "copy", names: Mapping[str, str] | None = None) -> None:
        self._repo = repo
        self._engine = engine
        self._names = names or {}

    # -- from entries ----------------------------------------------------------------------------------------------

    def of(self, entry: Entry) -> SavePoint:
        """The save point that an entry stands for: itself, or one before it. Raises UnknownError when there is none
        (the entry deleted its label, say)."""
        with self._repo.store.read() as txn:
            found = standing_for(txn, entry)
            if found is None:
                raise UnknownError(
                    f"{entry.label}@{entry.generation} is no snapshot", code="unknown-snapshot", label=entry.label
                )
            return self._made(txn, found)

    def at(self, entry_id: Digest) -> SavePoint | None:
        """The save point that the entry of that id stands for; None when it is no longer known."""
        with self._repo.store.read() as txn:
            entry = entry_by_id(txn, entry_id)
            found = None if entry is None else standing_for(txn, entry)
            return None if found is None else self._made(txn, found)

    def latest(self, label: str) -> SavePoint | None:
        """The newest save point of a label (a fork's may be its parent's); None when there is none."""
        with self._repo.store.read() as txn:
            head = head_of(txn, label)
            entry = None if head is None else entry_by_id(txn, head.entry_id)
            found = None if entry is None else standing_for(txn, entry)
            return None if found is None else self._made(txn, found)

    def newer(self, label: str, generation: int) -> int:
        """How many save points a label has that are newer than that generation."""
        with self._repo.store.read() as txn:
            head = head_of(txn, label)
            if head is None or head.generation <= generation:
                return 0
            rows = entries_between(txn, head.uid, generation + 1, head.generation)
            return sum(glance(skeleton).op not in NO_SAVE for _, skeleton, _ in rows)

    def history(self, label: str) -> Iterator[SavePoint]:
        """The save points of a label, newest first, and where it was forked those of the label it came from, from
        there on; streamed. Those that retention dropped are left out."""
        with self._repo.store.read() as txn:
            stretches = lineage(txn, label)
        for stretch in stretches:
            yield from self._of_stretch(stretch)

    def _of_stretch(self, stretch: Stretch) -> Iterator[SavePoint]:
        last, again = stretch.last, False
        while True:
            with self._repo.store.read() as txn:
                page = log_page(txn, stretch.uid, 0, last, _PAGE, newest_first=True)
                found = [
                    self._made(txn, entry)
                    for entry in page[again:]
                    if not entry.dropped and is_save_point(txn, entry.op, entry.to, entry.parents)
                ]
            yield from found
            if len(page) < _PAGE:
                return
            last, again = page[-1].generation, True  # read twice, so that no gap between pages goes unseen

    def _made(self, txn: ReadTxn, entry: Entry) -> SavePoint:
        engine = entry.meta.get(ENGINE)
        assert entry.to is not None
        label = entry.label.removeprefix(AUTOSAVE + "/")
        return SavePoint(
            snapshot_id(entry.at_ms, entry.id),
            _parent_id(txn, entry),
            self._names.get(label, label),
            iso_time(entry.at_ms),
            entry.message,
            entry.tags,
            engine if isinstance(engine, str) else self._engine,
            (self._repo.standing(entry.to) or entry.to).hex(),
            entry.id.hex(),
            "verified" if entry.meta.get(VERIFIED) else "unknown",
            entry,
        )

    # -- from what people type -------------------------------------------------------------------------------------

    def find(self, target: str, label: str | None = None, head: Digest | None = None) -> SavePoint:
        """The save point that `target` names.

        HEAD; a whole id; the form of a revision (`autosave/main`, `main@3`, `tag:v1`, an entry id or a CA id);
        a tag or the beginning of an id (4 characters or more; 8 of an entry or CA id); a note, else the beginning of
        one; a label. What is found in the history of `label` goes before what is found elsewhere.
        head: the entry that HEAD means; without a `label` it may mean nothing.

        Raises UnknownError (unknown-snapshot), AmbiguousError with the `matches`, CollectedError, UsageError.
        """
        if target == HEAD and label is None and head is None:
            raise UsageError(
                "HEAD of which worktree? this is in none", next="cd into one (jvs worktree list), or name it: -w main"
            )
        if target == HEAD:
            found = None if head is None else self.at(head)
            if found is None:
                raise UnknownError(
                    "there is no snapshot yet", code="unknown-snapshot", next='jvs snapshot "as it came"'
                )
            return found
        ways: tuple[Callable[[ReadTxn], list[Entry]], ...] = (
            lambda txn: _by_whole_id(txn, target),
            lambda txn: _by_tag(txn, target, label) + _by_prefix(txn, target, label),
            lambda txn: _by_note(txn, target, label),
        )
        if "@" in target or target.startswith((TAG_PREFIX, AUTOSAVE + "/")) or _is_digest(target):
            revised = self._by_revision(target)
            if revised is not None:
                return revised
        for way in ways:
            with self._repo.store.read() as txn:
                matches = {entry.id: entry for entry in way(txn)}
                if len(matches) > 1:
                    raise _ambiguous(target, list(matches.values()))
                for entry in matches.values():
                    found_entry = standing_for(txn, entry)
                    if found_entry is not None:
                        return self._made(txn, found_entry)
        revised = self._by_revision(target)
        if revised is not None:
            return revised
        raise UnknownError(f"snapshot not found: no snapshot matches {target!r}", code="unknown-snapshot")

    def _by_revision(self, target: str) -> SavePoint | None:
        """What it is as a revision of `jvs fs`; None: it is none, or names nothing."""
        try:
            resolved = self._repo.resolve(target)
        except AmbiguousError:
            raise
        except (UsageError, UnknownError):
            return None
        if resolved.path:
            raise UsageError(f"{target} is a path in a snapshot, not a snapshot", code="bad-revision")
        entry = resolved.entry
        if entry is None:
            with self._repo.store.read() as txn:
                entry = newest_with(txn, resolved.ca_id)
        return None if entry is None else self.of(entry)


def is_save_point(txn: ReadTxn, op: str, to: Digest | None, parents: tuple[Digest, ...]) -> bool:
    """Whether an entry with these fields is a save point, and not one that only stands for another."""
    if to is None or op in NO_SAVE:
        return False
    return _forked_from(txn, op, to, parents) is None


def standing_for(txn: ReadTxn, entry: Entry) -> Entry | None:
    """The entry that is the save point `entry` stands for; None when there is none."""
    found: Entry | None = entry
    while found is not None:
        if found.op in NO_SAVE or found.to is None:
            if found.op == "delete":
                return None
            found = None if found.prev is None else _before(txn, found)
            continue
        forked = _forked_from(txn, found.op, found.to, found.parents)
        if forked is None:
            return found
        found = entry_by_id(txn, forked)
    return None


def _before(txn: ReadTxn, entry: Entry) -> Entry | None:
    """The entry below one that is no save point; an undelete stands for what was deleted."""
    below = None if entry.prev is None else entry_by_id(txn, entry.prev)
    if below is not None and entry.op == "undelete" and below.op == "delete" and below.prev is not None:
        return entry_by_id(txn, below.prev)
    return below


def lineage(txn: ReadTxn, label: str) -> list[Stretch]:
    """What the history of a label runs through: its own reflog, then that of the label it was forked from up to
    there, and so on. Empty when there is no such label."""
    head = head_of(txn, label)
    found: list[Stretch] = []
    stretch = None if head is None else Stretch(head.uid, head.generation)
    while stretch is not None and stretch not in found:
        found.append(stretch)
        _, skeleton, _ = next(entries_between(txn, stretch.uid, 0, stretch.last))
        first = decode_skeleton(skeleton)
        forked = None if first.to is None else _forked_from(txn, first.op, first.to, first.parents)
        above = None if forked is None else skeleton_of(txn, forked)
        stretch = None if above is None else Stretch(above.uid, above.generation)
    return found


def _forked_from(txn: ReadTxn, op: str, to: Digest, parents: tuple[Digest, ...]) -> Digest | None:
    """The entry that one that created a label at exactly the same content was made from."""
    if op != "create" or len(parents) != 1:
        return None
    parent = skeleton_of(txn, parents[0])
    return parents[0] if parent is not None and parent.to == to else None


def _parent_id(txn: ReadTxn, entry: Entry) -> str | None:
    parent = entry_by_id(txn, entry.parents[0]) if entry.parents else None
    found = None if parent is None else standing_for(txn, parent)
    return None if found is None else snapshot_id(found.at_ms, found.id)


# -- finding entries. Of each: those in the history of the label, else those of any label


def _by_whole_id(txn: ReadTxn, text: str) -> list[Entry]:
    wanted = id_range(text) if len(text) == ID_LENGTH else None
    if wanted is None:
        return []
    start = wanted.bits.to_bytes(_DIGEST_BYTES, "big")
    keys = (key for key, _ in txn.scan(IDS, start, start + b"\xff" * (33 - _DIGEST_BYTES)))
    found = [entry for key in keys if (entry := entry_by_id(txn, key)) is not None]
    return [entry for entry in found if wanted.holds(entry.at_ms, entry.id)]


def _by_prefix(txn: ReadTxn, text: str, label: str | None) -> list[Entry]:
    wanted = id_range(text)
    if wanted is None:
        return []
    own = [] if label is None else lineage(txn, label)
    for stretches in (own, (Stretch(uid, (1 << 63) - 2) for uid, _ in txn.scan(UIDS))):
        found: list[Entry] = []
        for stretch in stretches:
            found += _in_range(txn, stretch, wanted)
            if len(found) > _LISTED:
                break
        if found:
            return found
    return []


def _in_range(txn: ReadTxn, stretch: Stretch, wanted: IdRange) -> list[Entry]:
    """The save points of a stretch whose ids begin so, at most one more than are listed: found by bisection on time."""
    newest = next(entries_between(txn, stretch.uid, 0, stretch.last, reverse=True), None)
    if newest is None:
        return []
    low, high = 0, newest[0] + 1  # what is at or above `high` is too new; what is at `low` is not
    if glance(newest[1]).at_ms <= wanted.high:
        low = newest[0]
    while high - low > 1 and low != newest[0]:
        middle = (low + high) // 2
        row = next(entries_between(txn, stretch.uid, middle, high - 1), None)
        if row is not None and glance(row[1]).at_ms <= wanted.high:
            low = row[0]
        else:
            high = middle
    found: list[Entry] = []
    if not low:
        return found
    for generation, skeleton, _ in entries_between(txn, stretch.uid, 0, low, reverse=True):
        seen = decode_skeleton(skeleton)
        if seen.at_ms < wanted.low or len(found) > _LISTED:
            break
        entry = entry_at(txn, stretch.uid, generation) if is_save_point(txn, seen.op, seen.to, seen.parents) else None
        if entry is not None and wanted.holds(entry.at_ms, entry.id):
            found.append(entry)
    return found


def _by_tag(txn: ReadTxn, text: str, label: str | None) -> list[Entry]:
    try:
        row = tag_row(txn, check_tag(text))
    except JvsError:
        return []
    own = {} if label is None else {stretch.uid: stretch.last for stretch in lineage(txn, label)}
    found: list[Entry] = []
    ours: list[Entry] = []
    for _, place in txn.scan(TAGGED, span_key(text, row.floor + 1), span_key(text, row.last + 1)):
        uid, generation = split_entry_key(place)
        entry = entry_at(txn, uid, generation)
        if entry is not None and entry.to is not None:
            (ours if generation <= own.get(uid, 0) else found).append(entry)
    return ours or found


def _by_note(txn: ReadTxn, text: str, label: str | None) -> list[Entry]:
    """Those whose note is `text`; if there are none, those whose note begins so."""
    if not text:
        return []
    try:
        check_text(text, MAX_MESSAGE, "the note", "bad-message")
    except UsageError:
        return []
    own = [] if label is None else lineage(txn, label)
    for stretches in (own, list(_live_stretches(txn))):
        same: list[Entry] = []
        begun: list[Entry] = []
        needle = text.encode("utf-8")
        for stretch in stretches:
            for generation, _, body in entries_between(txn, stretch.uid, 0, stretch.last, reverse=True):
                if body is None or needle not in body:
                    continue
                entry = entry_at(txn, stretch.uid, generation)
                if entry is None or not is_save_point(txn, entry.op, entry.to, entry.parents):
                    continue
                if entry.message == text:
                    same.append(entry)
                elif entry.message.startswith(text):
                    begun.append(entry)
        if same or begun:
            return same or begun
    return []


def _live_stretches(txn: ReadTxn) -> Iterator[Stretch]:
    """The whole reflogs of all labels that are nobody's autosaves."""
    from jvs.labels.tables import LABELS, unpack_head

    for key, raw in txn.scan(LABELS):
        if not key.startswith(AUTOSAVE.encode() + b"/"):
            head = unpack_head(raw)
            yield Stretch(head.uid, head.generation)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= _HEX


def _ambiguous(target: str, matches: list[Entry]) -> AmbiguousError:
    listed: list[dict[str, Any]] = [
        {
            "kind": "snapshot",
            "id": snapshot_id(entry.at_ms, entry.id),
            "label": entry.label,
            "generation": entry.generation,
            "note": entry.message,
        }
        for entry in matches[:_LISTED]
    ]
    return AmbiguousError(
        f"{target} matches {len(matches):,} snapshots",
        next="type more of the id",
        matches=listed,
        count=len(matches),
    )
