"""The values of the pointer plane and the canonical bytes of a reflog entry (docs/labels.md has them byte by byte).

An entry is two byte strings. The *skeleton* is what the hash chain covers: `id = entry_digest(skeleton)`. The *body*
(message, actor, tags, meta) is in it as a digest over the body's bytes, which begin with 16 random ones: so a body can
be dropped (retention, purge), every id and link still verifies, and nobody can guess a dropped message from its
digest. Both are msgpack arrays in the one canonical encoding; decoding refuses whatever does not re-encode to the same
bytes.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgpack

from jvs.castore.digest import DIGEST_SIZE, Digest, body_digest, entry_digest
from jvs.errors import IntegrityError, UsageError
from jvs.labels.names import check_tag

OPS: Final = (
    "create",
    "push",
    "force",
    "reset",
    "merge",
    "autosave",
    "repoint",
    "rename",
    "delete",
    "undelete",
    "checkpoint",
    "purge",
)
"""Every operation this version writes. One it does not know is kept and verified, never refused."""

HOUSEKEEPING: Final = frozenset({"checkpoint", "purge"})
"""Ops of entries that the collector wrote: no move of anybody's, so they are not counted, undone or expected."""

WORKTREE: Final = "in"
"""Key of an entry's meta: the mark of the worktree that it was saved from, which stands there from then on (see
`positions`)."""

UID_SIZE: Final = 16
MAX_MESSAGE: Final = 4096
"""Longest message, in bytes of UTF-8."""
MAX_ACTOR: Final = 255
"""Longest actor, in bytes of UTF-8."""
MAX_ATTACHED: Final = 8192
"""Most bytes of tags and meta together, encoded: a journal record holds at most 16 KiB."""
MAX_PARENTS: Final = 64
MAX_META_DEPTH: Final = 16
MAX_OP: Final = 32

Spared: TypeAlias = Callable[[Digest], bool]
"""Whether what protects a snapshot stays although it has left its window: nobody was told yet that it would go."""

_SALT_SIZE = 16
_INT_LIMIT = 1 << 63
_OP_CHARS = "abcdefghijklmnopqrstuvwxyz0123456789-"


def nothing_spared(_ca_id: Digest) -> bool:
    """Whatever has left its window goes."""
    return False


class _Anything(enum.Enum):
    ANYTHING = "anything"


ANYTHING: Final = _Anything.ANYTHING
"""As an expectation: whatever the label is now, or nothing."""

Expect: TypeAlias = int | Digest | Literal[_Anything.ANYTHING] | None
"""What a label must be for a move to happen: None or 0: it must not exist; an int: its generation; 32 bytes: its
newest entry's id (which, like a generation, is immune to A-B-A) or its CA id; ANYTHING: no comparison."""


class Entry(NamedTuple):
    """One move of a label, as read from its reflog.

    label       name the label has now (its last name, if it is deleted)
    uid         16 bytes, the label's identity across renames
    generation  the label's generation after this move; strictly rising
    at_ms       Unix time in ms; never below the predecessor's
    from_, to   CA ids before and after; None: the label did not exist
    op          one of OPS, or one that a newer version wrote
    message, actor, tags, meta   the body; empty when `dropped`
    parents     entry ids (of any label) this content came from: the lineage
    depth       1 + the largest depth of the parents
    prev        id of the label's entry before this one: the history of the pointer
    id          digest of the skeleton
    dropped     the body was dropped (retention, purge); the id still verifies
    """

    label: str
    uid: bytes
    generation: int
    at_ms: int
    from_: Digest | None
    to: Digest | None
    op: str
    message: str
    actor: str
    tags: tuple[str, ...]
    parents: tuple[Digest, ...]
    depth: int
    meta: Mapping[str, Any]
    prev: Digest | None
    id: Digest
    dropped: bool


class LabelInfo(NamedTuple):
    """A label's head: what `ls` shows. `at_ms` and `message` are those of the newest entry that
    is not the collector's; `upstream` is the name of
    the label it was created from or last merged with, if that one still has a name."""

    name: str
    uid: bytes
    ca_id: Digest
    generation: int
    entry_id: Digest
    at_ms: int
    message: str
    upstream: str | None


class Skeleton(NamedTuple):
    """The part of an entry its id is the digest of; field order is the encoding's."""

    uid: bytes
    generation: int
    at_ms: int
    from_: Digest | None
    to: Digest | None
    op: str
    parents: tuple[Digest, ...]
    depth: int
    prev: Digest | None
    body: Digest

    def encode(self) -> bytes:
        """The canonical bytes."""
        return _pack(self)


class Body(NamedTuple):
    """The part of an entry that may be dropped; field order is the encoding's."""

    salt: bytes
    message: str
    actor: str
    tags: tuple[str, ...]
    meta: Mapping[str, Any]

    def encode(self) -> bytes:
        """The canonical bytes (map keys sorted)."""
        return _pack((self.salt, self.message, self.actor, self.tags, _canonical(self.meta)))


def new_body(message: str, actor: str, tags: Sequence[str], meta: Mapping[str, Any] | None) -> Body:
    """A body with fresh salt, repeated tags dropped. Raises UsageError (bad-message; usage for the rest) when
    something is too long or not writable."""
    check_text(message, MAX_MESSAGE, "the message", "bad-message")
    check_text(actor, MAX_ACTOR, "the actor", "usage")
    kept = tuple(dict.fromkeys(check_tag(tag) for tag in tags))
    try:
        plain = _canonical(dict(meta or {}))
        attached = len(_pack((kept, plain)))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"meta must be JSON of moderate size and depth: {error}") from None
    if attached > MAX_ATTACHED:
        raise UsageError(f"tags and meta have {attached:,} bytes; at most {MAX_ATTACHED:,} are allowed")
    return Body(os.urandom(_SALT_SIZE), message, actor, kept, plain)


def check_text(text: str, limit: int, what: str, code: str) -> None:
    """Raise UsageError with `code` unless `text` is UTF-8 of at most `limit` bytes; `what` it is, for people."""
    try:
        length = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise UsageError(f"{what} is not UTF-8", code=code) from None
    if length > limit:
        raise UsageError(f"{what} has {length:,} bytes; at most {limit:,} are allowed", code=code)


def decode_skeleton(raw: bytes) -> Skeleton:
    """The skeleton in `raw`; raises IntegrityError (entry-damaged) unless it is a canonical one."""
    fields = _unpack(raw, len(Skeleton._fields))
    uid, generation, at_ms, from_, to, op, parents, depth, prev, body = fields
    # What msgpack decodes to has exactly these types; comparing types also keeps a bool from passing for a number.
    sound = (
        type(uid) is bytes
        and len(uid) == UID_SIZE
        and type(generation) is int
        and 0 < generation < _INT_LIMIT
        and type(at_ms) is int
        and 0 <= at_ms < _INT_LIMIT
        and (from_ is None or (type(from_) is bytes and len(from_) == DIGEST_SIZE))
        and (to is None or (type(to) is bytes and len(to) == DIGEST_SIZE))
        and type(op) is str
        and 0 < len(op) <= MAX_OP
        and not op.strip(_OP_CHARS)
        and type(parents) is list
        and len(parents) <= MAX_PARENTS
        and not [parent for parent in parents if type(parent) is not bytes or len(parent) != DIGEST_SIZE]
        and type(depth) is int
        and 0 < depth < _INT_LIMIT
        and (prev is None or (type(prev) is bytes and len(prev) == DIGEST_SIZE))
        and type(body) is bytes
        and len(body) == DIGEST_SIZE
    )
    if not sound:
        raise _damaged("a reflog entry has a field that no entry may have")
    skeleton = Skeleton(uid, generation, at_ms, from_, to, op, tuple(parents), depth, prev, body)
    if skeleton.encode() != raw:
        raise _damaged("a reflog entry is not in the canonical encoding")
    return skeleton


def decode_body(raw: bytes) -> Body:
    """The body in `raw`; raises IntegrityError (entry-damaged) unless it is a canonical one."""
    salt, message, actor, tags, meta = _unpack(raw, len(Body._fields))
    sound = (
        type(salt) is bytes
        and len(salt) == _SALT_SIZE
        and type(message) is str
        and type(actor) is str
        and type(tags) is list
        and not [tag for tag in tags if type(tag) is not str]
        and type(meta) is dict
    )
    if not sound:
        raise _damaged("the body of a reflog entry has a field that no body may have")
    body = Body(salt, message, actor, tuple(tags), meta)
    try:
        canonical = body.encode() == raw
    except (TypeError, ValueError):
        canonical = False
    if not canonical:
        raise _damaged("the body of a reflog entry is not in the canonical encoding")
    return body


def message_in(raw: bytes) -> str:
    """The message in a body that is shown in a list: without the checks that reading its entry makes."""
    message: str = _unpack(raw, len(Body._fields))[1]
    return message


class Glance(NamedTuple):
    """The fields of a skeleton that decide whether it is kept."""

    at_ms: int
    to: Digest | None
    op: str


def glance(raw: bytes) -> Glance:
    """A few fields of a skeleton, without the checks that reading its entry makes: for walks of whole reflogs. Raises
    IntegrityError when they are not of their types."""
    fields = _unpack(raw, len(Skeleton._fields))
    at_ms, to, op = fields[2], fields[4], fields[5]
    named = to is None or (type(to) is bytes and len(to) == DIGEST_SIZE)
    if type(at_ms) is not int or type(op) is not str or not named:
        raise _damaged("a reflog entry has a field that no entry may have")
    return Glance(at_ms, to, op)


def tags_in(raw: bytes) -> tuple[str, ...]:
    """The tags in a body, without the checks that reading its entry makes."""
    return tuple(_unpack(raw, len(Body._fields))[3])


def is_housekeeping(raw: bytes) -> bool:
    """Whether a skeleton is of an entry that the collector wrote."""
    # The digests in it could hold these bytes by chance, but nearly every skeleton is told apart without decoding.
    return (b"checkpoint" in raw or b"purge" in raw) and glance(raw).op in HOUSEKEEPING


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(what, code="entry-damaged")


def decode_entry(label: str, skeleton: bytes, body: bytes | None) -> Entry:
    """The entry of `label` in these bytes (`body` None: dropped). Its id is recomputed and its body checked against
    the digest in the skeleton; raises IntegrityError (entry-damaged)."""
    bones = decode_skeleton(skeleton)
    flesh = None
    if body is not None:
        if body_digest(body) != bones.body:
            raise _damaged(f"the body of {label}@{bones.generation} is not the one its entry names")
        flesh = decode_body(body)
    return join_entry(label, entry_digest(skeleton), bones, flesh)


def join_entry(label: str, entry_id: Digest, bones: Skeleton, flesh: Body | None) -> Entry:
    """The entry made of a skeleton and its body (None: dropped)."""
    shown = flesh if flesh is not None else Body(b"", "", "", (), {})
    return Entry(
        label=label,
        uid=bones.uid,
        generation=bones.generation,
        at_ms=bones.at_ms,
        from_=bones.from_,
        to=bones.to,
        op=bones.op,
        message=shown.message,
        actor=shown.actor,
        tags=shown.tags,
        parents=bones.parents,
        depth=bones.depth,
        meta=shown.meta,
        prev=bones.prev,
        id=entry_id,
        dropped=flesh is None,
    )


def _canonical(value: Any, depth: int = 0) -> Any:
    """`value` with the keys of every map sorted; raises ValueError or TypeError on what JSON cannot say."""
    if depth > MAX_META_DEPTH:
        raise ValueError(f"nested more than {MAX_META_DEPTH} deep")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} is not JSON")
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        if [key for key in value if not isinstance(key, str)]:
            raise TypeError("a key is not a string")
        return {key: _canonical(value[key], depth + 1) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_canonical(item, depth + 1) for item in value]
    raise TypeError(f"{type(value).__name__} is not JSON")


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _unpack(raw: bytes, fields: int) -> list[Any]:
    try:
        value = msgpack.unpackb(raw)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise _damaged(f"a reflog entry does not decode: {error}") from None
    if not isinstance(value, list) or len(value) != fields:
        raise _damaged("a reflog entry has the wrong number of fields")
    return value
