"""What is written down of a session: in the header of its journal, and in the messages of its pins.

A push moves the label and pins the new base in one transaction, and only then is the journal replaced. A process that
is killed in between leaves a pin that is ahead of the journal; its message says what was pushed, as what, and from
which state, so that whoever resumes the session goes on from its own push.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from jvs.castore.binding import Binding
from jvs.castore.digest import DIGEST_SIZE, Digest
from jvs.errors import IntegrityError, UsageError
from jvs.labels.names import shown

MAX_NAME: Final = 100
"""Bytes of a session's name, at most."""
INFO: Final = "session"
"""The field of a journal's header that holds the record."""
_FORMAT: Final = 1
_UID_SIZE: Final = 8
_PIN_SIZE: Final = 16
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)
_MESSAGE = re.compile(
    r"session ([^ ]+) ([0-9a-f]{16})\.([0-9]{1,18})(?: ([^ ]+)@([0-9]{1,18}) from ([0-9a-f]{64}))?", re.ASCII
)


def check_session_name(name: str) -> str:
    """Return `name`; raises UsageError (bad-name) when no session may be called that: it is the name of a
    directory, and of no hidden one, and never reads as an option."""
    if _NAME.fullmatch(name) is None or len(name) > MAX_NAME:
        raise UsageError(f"{shown(name)} cannot be the name of a session", code="bad-name")
    return name


class Record(NamedTuple):
    """A session, beside its upper layer.

    uid        16 hex digits: another session of the same name has another one
    pushes     how many of its pushes moved a label; its pins are numbered by it
    pin        id of the pin of the base
    opened_at  when it was made, in ms; opened_by: the actor who made it
    until      from when on it may be removed, in ms; None: it stays until it is dropped
    """

    uid: str
    pushes: int
    pin: bytes
    opened_at: int
    opened_by: str
    until: int | None

    def expired(self, now_ms: int) -> bool:
        """Whether its time is over."""
        return self.until is not None and self.until <= now_ms


def new_uid() -> str:
    """A uid nobody has."""
    return os.urandom(_UID_SIZE).hex()


def encode(record: Record, origin: Binding) -> dict[str, Any]:
    """The `info` of an upper layer."""
    return {INFO: [_FORMAT, *record, origin.label, origin.generation, origin.ca_id, origin.entry_id]}


def decode(info: Mapping[str, Any]) -> tuple[Record, Binding]:
    """The inverse of `encode`. Raises IntegrityError."""
    try:
        version, uid, pushes, pin, at, who, until, label, generation, ca_id, entry_id = info[INFO]
        if version != _FORMAT:
            raise IntegrityError(
                "a session was written by another version of jvs", code="format-unsupported", format=version
            )
        numbers = (pushes, at, generation, *(() if until is None else (until,)))
        texts = (uid, who, *(() if label is None else (label,)))
        sizes = ((pin, _PIN_SIZE), (ca_id, DIGEST_SIZE), *(() if entry_id is None else ((entry_id, DIGEST_SIZE),)))
        whole = (
            all(type(number) is int and number >= 0 for number in numbers)
            and all(isinstance(text, str) for text in texts)
            and all(isinstance(raw, bytes) and len(raw) == size for raw, size in sizes)
        )
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise IntegrityError("the upper layer of a session has a malformed record of it")
    return Record(uid, pushes, pin, at, who, until), Binding(label, generation, ca_id, entry_id)


class Pushed(NamedTuple):
    """A push as the pin of its snapshot tells it. state: the snapshot of what the session was; where it was merged, the
    pin is of another one."""

    label: str
    generation: int
    state: Digest


class PinText(NamedTuple):
    """The message of a session's pin. number: of the push that it is of; 0: of what the session was opened from."""

    name: str
    uid: str
    number: int
    pushed: Pushed | None = None

    def __str__(self) -> str:
        text = f"session {self.name} {self.uid}.{self.number}"
        if self.pushed is None:
            return text
        label, generation, state = self.pushed
        return f"{text} {label}@{generation} from {state.hex()}"


def parse_pin(message: str) -> PinText | None:
    """What the message of a pin says, or None when it is no session's."""
    found = _MESSAGE.fullmatch(message)
    if found is None:
        return None
    name, uid, number, label, generation, state = found.groups()
    pushed = None if label is None else Pushed(label, int(generation), bytes.fromhex(state))
    return PinText(name, uid, int(number), pushed)
