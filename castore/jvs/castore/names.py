"""The one checker of entry names and of paths inside a snapshot (DESIGN 4.1).

Names are bytes: 1 to 255 of them, without `/` and NUL, not `.` or `..`, and not `.jvs` in any letter case (a pull
could otherwise overwrite a store). At the Python surface names are `str` with surrogateescape: every name round-trips.
"""

from __future__ import annotations

import base64
import unicodedata

from jvs.errors import ManifestError, UsageError

MAX_NAME = 255
MAX_TARGET = 4095
MAX_DEPTH = 2048
"""Deepest directory nesting any reader or writer follows; deeper trees are refused, not recursed into."""

_DOT, _SLASH = b"./"


def is_control_name(name: bytes) -> bool:
    """Whether `name` is `.jvs` in some letter case (as a case-folding file system might see it)."""
    if name[:2] not in (b".j", b".J") or len(name) > 8:
        return False
    return name.decode("utf-8", "surrogateescape").casefold() == ".jvs"


CONFLICTS_FILE = b".jvs-conflicts.json"
"""What a merge that is to be settled by hand leaves in its directory."""


WORKTREES_FOLDER = b".jvs-worktrees"
"""Where the worktrees of an adopted folder lie, which is its own main worktree."""


def is_left_alone(name: bytes) -> bool:
    """Whether neither a push nor a pull ever touches what has this name in a directory."""
    return is_control_name(name) or name in (CONFLICTS_FILE, WORKTREES_FOLDER)


def is_valid_name(name: bytes) -> bool:
    """Whether `name` may be an entry of a manifest."""
    # every name of every page read comes by here: the usual case is decided without a further call, and asking bytes
    # for a number is five times faster than asking for a byte string
    if not 0 < len(name) <= MAX_NAME or _SLASH in name or 0 in name:
        return False
    return name[0] != _DOT or not (name in (b".", b"..") or is_control_name(name))


def check_name(name: bytes) -> bytes:
    """Return `name`; raises ManifestError when no manifest may hold it."""
    if not is_valid_name(name):
        raise ManifestError(f"a manifest may not hold the name {display(name[:MAX_NAME])!r}")
    return name


def split_path(path: bytes | str) -> tuple[bytes, ...]:
    """Components of a path inside a snapshot; () is the root.

    Leading, trailing and doubled slashes are dropped (as shells produce them); `.`, `..` and other forbidden names
    raise UsageError (bad-path).
    """
    raw = to_bytes(path) if isinstance(path, str) else path
    parts = tuple(part for part in raw.split(b"/") if part)
    for part in parts:
        if not is_valid_name(part):
            raise UsageError(f"not a path inside a snapshot: {display(raw[:300])}", code="bad-path")
    if len(parts) > MAX_DEPTH:
        raise UsageError(f"path is more than {MAX_DEPTH} levels deep", code="bad-path")
    return parts


def to_bytes(text: str) -> bytes:
    """A name or path typed by somebody, as bytes; raises UsageError (bad-path) for text that stands for no bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:  # a lone surrogate, as JSON may hold
        raise UsageError(f"not a path: {text[:300]!r}", code="bad-path") from error


def to_text(raw: bytes) -> str:
    """A name or path as Python shows it (surrogateescape: `to_bytes` gives back the same bytes)."""
    return raw.decode("utf-8", "surrogateescape")


def display(raw: bytes) -> str:
    """A name or path for people: undecodable bytes as U+FFFD; control and format characters, and what some terminals
    take for the end of a line, escaped, never raw."""
    text = raw.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(
        ch if ch.isprintable() or unicodedata.category(ch) == "Zs" else ch.encode("unicode_escape").decode("ascii")
        for ch in text
    )


def shorten(text: str, limit: int = 300) -> str:
    """A path inside a message: of a long one the end, which tells most."""
    return text if len(text) <= limit else "..." + text[3 - limit :]


def json_fields(raw: bytes, key: str = "path") -> dict[str, str]:
    """`{key: text}`, and `{key}_b64` beside it when the bytes are not UTF-8."""
    try:
        return {key: raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {key: raw.decode("utf-8", "replace"), f"{key}_b64": base64.b64encode(raw).decode("ascii")}
