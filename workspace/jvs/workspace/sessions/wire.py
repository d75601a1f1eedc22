"""What crosses the control socket: one JSON request, one JSON answer, each of bounded length."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Mapping
from typing import Any, Final, cast, get_args

from jvs.castore.digest import Digest
from jvs.castore.local.failures import os_error
from jvs.errors import (
    CODES,
    CollectedError,
    IntegrityError,
    JvsError,
    LabelMovedError,
    LockedError,
    NoSpaceError,
    StateError,
    UnknownError,
    UnsavedChangesError,
    UsageError,
)
from jvs.merge.model import Conflict, ConflictKind
from jvs.overlay.changes import Change
from jvs.workspace.merging.results import MergeResult, ShownConflict
from jvs.workspace.overlays import OverlayPush
from jvs.workspace.results import Json, PushResult, PushStats, optional_hex

MAX_REQUEST: Final = 64 << 10
MAX_ANSWER: Final = 16 << 20
MAX_CONFLICTS: Final = 1000
"""Conflicts that are told of one by one."""


class BrokenOffError(Exception):
    """The connection ended before the message did."""


def send(connection: socket.socket, value: Json) -> None:
    """Send a message; nothing can follow it. Raises OSError."""
    connection.sendall(json.dumps(value).encode())
    connection.shutdown(socket.SHUT_WR)


def receive(connection: socket.socket, limit: int) -> Json:
    """Receive the message of at most `limit` bytes that ends with the stream. Raises BrokenOffError, OSError."""
    data = bytearray()
    while len(data) <= limit and (piece := connection.recv(1 << 16)):
        data += piece
    try:
        value = json.loads(data) if len(data) <= limit else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BrokenOffError
    return value


def error_value(error: BaseException) -> Json:
    """A failure, to be raised again by `raise_error`."""
    if isinstance(error, OSError):
        error = os_error(error, "writing the session")
    if not isinstance(error, JvsError):
        error = StateError(f"{type(error).__name__}: {error}", code="internal")
    details = {key: value for key, value in error.details.items() if _is_plain(value)}
    return {"code": error.code, "message": error.message, "next": error.next, "details": details}


_BY_CODE: Final[dict[str, type[JvsError]]] = {
    one.code: one for one in (LabelMovedError, CollectedError, NoSpaceError, UnsavedChangesError)
}
_BY_EXIT: Final[dict[int, type[JvsError]]] = {2: UsageError, 5: UnknownError, 8: IntegrityError, 11: LockedError}


def error_of(value: Mapping[str, Any]) -> JvsError:
    """The failure that `error_value` was of, of the class that most failures with its code are of."""
    code = value.get("code")
    code = code if isinstance(code, str) and code in CODES else "internal"
    kind = _BY_CODE.get(code) or _BY_EXIT.get(CODES[code].exit, StateError)
    details = {str(key): one for key, one in dict(value.get("details") or {}).items()}
    next = value.get("next")
    return kind(str(value.get("message")), next=None if next is None else str(next), code=code, **details)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool | list | dict)


def push_value(done: OverlayPush) -> Json:
    """A push as it is told."""
    push, merge = done
    error = push.error
    return {
        **push.as_json(),
        "error": None if error is None else error_value(error),
        "merge": None if merge is None else _merge_value(merge),
    }


def push_of(value: Json) -> OverlayPush:
    """The push that was told. Of conflicts no more than path, kind and detail."""
    error = value["error"]
    stats = PushStats(**{name: value["stats"][name] for name in PushStats._fields})
    push = PushResult(
        str(value["status"]),
        value["label"],
        bytes.fromhex(value["ca_id"]),
        value["generation"],
        _digest(value["entry_id"]),
        _digest(value["current"]),
        value["current_generation"],
        stats,
        (),
        None if error is None else error_of(error),
    )
    merge = value["merge"]
    return OverlayPush(push, None if merge is None else _merge_of(merge, push.error))


_MERGE_DIGESTS: Final = ("ca_id", "ours", "theirs", "base", "entry_id")
_MERGE_PLAIN: Final = ("status", "bases", "fast_forward", "label", "generation", "total_conflicts", "attempts")


def _merge_value(merge: MergeResult) -> Json:
    conflicts = [
        {"path": bytes_text(b"/".join(one.conflict.path)), "kind": one.conflict.kind, "detail": one.conflict.detail}
        for one in merge.conflicts[:MAX_CONFLICTS]
    ]
    return {
        **{name: getattr(merge, name) for name in _MERGE_PLAIN},
        **{name: optional_hex(getattr(merge, name)) for name in _MERGE_DIGESTS},
        "notes": list(merge.notes),
        "conflicts": conflicts,
        "error": None if merge.error is None else error_value(merge.error),
    }


def _merge_of(value: Json, error: JvsError | None) -> MergeResult:
    digests = {name: _digest(value[name]) for name in _MERGE_DIGESTS}
    ours, theirs = digests["ours"], digests["theirs"]
    assert ours is not None
    assert theirs is not None
    conflicts = tuple(_conflict_of(one) for one in value["conflicts"])
    return MergeResult(
        str(value["status"]),
        digests["ca_id"],
        ours,
        theirs,
        digests["base"],
        value["bases"],
        value["fast_forward"],
        value["label"],
        value["generation"],
        digests["entry_id"],
        conflicts,
        value["total_conflicts"],
        notes=tuple(map(str, value["notes"])),
        attempts=value["attempts"],
        error=None if value["error"] is None else error,
    )


def _conflict_of(value: Json) -> ShownConflict:
    kind = value["kind"]
    assert kind in get_args(ConflictKind)
    path = tuple(text_bytes(value["path"]).split(b"/"))
    conflict = Conflict(path, cast(ConflictKind, kind), None, None, None, detail=str(value["detail"]))
    return ShownConflict(conflict, None, None, None, (), 0, 0)


def change_value(change: Change) -> list[Any]:
    """A change as it is told."""
    return [bytes_text(change.path), change.status, change.kind, change.whole]


def change_of(value: list[Any]) -> Change:
    """The change that was told."""
    path, status, kind, whole = value
    return Change(text_bytes(path), str(status), str(kind), bool(whole))


def _digest(value: str | None) -> Digest | None:
    return None if value is None else bytes.fromhex(value)


def bytes_text(raw: bytes) -> str:
    """Bytes as they are told."""
    return base64.b64encode(raw).decode("ascii")


def text_bytes(text: str) -> bytes:
    """The bytes that were told. Raises ValueError."""
    return base64.b64decode(text, validate=True)
