"""From `LABEL[@REV]/path`, `@CAID/path` to a revision and a path inside its tree."""

from __future__ import annotations

from typing import NamedTuple

from jvs.castore.backend import ReadTxn
from jvs.castore.digest import MIN_PREFIX, is_hex
from jvs.castore.names import split_path, to_text
from jvs.errors import UsageError
from jvs.labels import revisions
from jvs.labels.names import shown
from jvs.labels.revisions import Named, Revision
from jvs.labels.store import wall_clock


class Location(NamedTuple):
    """What a path of the file system names.

    prefix   the part of it that names the revision, as it was written
    inner    the path inside the tree: `a/b`, empty for the root
    label    the label that writing there moves; None: nothing is written there
    ca_id    the snapshot it means now
    time_ns  when the label became that; 0 for a bare id
    """

    prefix: str
    inner: str
    label: str | None
    ca_id: bytes
    time_ns: int
    generation: int | None
    entry_id: bytes | None

    def name(self, inner: str) -> str:
        """The name of another path in the same tree."""
        return f"{self.prefix}/{inner}" if inner else self.prefix


def locate(txn: ReadTxn, text: str) -> Location:
    """What `text` (without `jvs://`) names now: a few lookups, whatever the size of anything. Raises UnknownError,
    AmbiguousError, CollectedError, UsageError."""
    revision = _at_id(text) if text.startswith("@") else revisions.split_location(txn, text)
    found = revisions.resolve(txn, revision._replace(path=None), now_ms=wall_clock())
    inner = to_text(revision.path or b"")
    entry = found.entry
    label = found.label if isinstance(revision.base, Named) and revision.base.text == found.label else None
    return Location(
        _prefix(text, revision),
        inner,
        label,
        found.ca_id,
        0 if entry is None else entry.at_ms * 1_000_000,
        found.generation,
        None if entry is None else entry.id,
    )


def _at_id(text: str) -> Revision:
    digits, _, rest = text[1:].partition("/")
    if len(digits) < MIN_PREFIX or not is_hex(digits):
        raise UsageError(
            f"{shown(text)}: after jvs://@ comes the id of a snapshot", code="bad-id", next="jvs fs log LABEL"
        )
    return Revision(Named(digits), b"/".join(split_path(rest)))


def _prefix(text: str, revision: Revision) -> str:
    """How `text` writes the revision: all of it but as many components as the path has."""
    depth = len(split_path(revision.path or b""))
    parts = text.split("/")
    return "/".join(parts[: len(parts) - depth])
