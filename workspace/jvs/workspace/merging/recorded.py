"""Recorded resolutions: how somebody settled a conflict, used again when the same conflict comes back (git's rerere).

A conflict of lines is known by its regions, whichever side is ours; what was around them may have changed meanwhile.
Recorded are the text with markers and the text somebody made of it; a later conflict with the same regions is settled
by merging the change between the two into its own text, and only if that is clean and leaves no marker.

One folder per resolution in `STORE/recorded`; removing it forgets.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from jvs.castore.digest import keyed
from jvs.castore.local.descriptors import sync_data, sync_directory
from jvs.castore.local.failures import os_error
from jvs.castore.names import json_fields
from jvs.errors import UnknownError
from jvs.merge.content import Contents, Merged, Names, Options
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.text import TextDriver
from jvs.merge.lines import merge_lines
from jvs.workspace.results import Json, iso_time

FOLDER = "recorded"
MAX_SIZE = 4 << 20
"""Largest text, in bytes, that is recorded."""
MAX_KEPT = 10_000
"""Resolutions kept; beyond, the oldest are forgotten."""

_identity = keyed("jvs 2026-11 recorded conflict v1")
_NAMES = Names(b"ours", b"base", b"theirs")
_ID_DIGITS = 32


class Resolution(NamedTuple):
    """A recorded resolution. path: of the file it was recorded for; before, after: the texts."""

    id: str
    path: bytes
    at_ms: int
    before: bytes
    after: bytes

    def as_json(self) -> Json:
        """{id, path, at}."""
        return {"id": self.id, **json_fields(self.path), "at": iso_time(self.at_ms)}


class Recorded:
    """The resolutions of a store, as a `jvs.merge.model.Recorded`; `applied` notes what it was asked and had."""

    def __init__(self, store: str) -> None:
        self._folder = os.path.join(store, FOLDER)
        self.applied: list[tuple[bytes, str]] = []

    def __call__(self, path: bytes, contents: Contents) -> bytes | None:
        """What somebody made of this conflict before, or None."""
        if not os.path.isdir(self._folder):
            return None
        merged = _conflict(path, contents)
        found = None if merged is None else self._load(conflict_id(merged))
        if merged is None or found is None:
            return None
        settled = merge_lines(Contents(found.before, merged.data, found.after), Options())
        if settled.conflicts or has_markers(settled.data, merged.marker_size):
            return None
        self.applied.append((path, found.id))
        return settled.data

    def record(self, path: bytes, contents: Contents, resolved: bytes, at_ms: int) -> str | None:
        """Remember what somebody made of a conflict; its id, or None when it is none of lines, or too large."""
        merged = _conflict(path, contents)
        if merged is None or max(len(merged.data), len(resolved)) > MAX_SIZE:
            return None
        name = conflict_id(merged)
        try:
            self._write(Resolution(name, path, at_ms, merged.data, resolved))
        except OSError as exc:
            raise os_error(exc, "recording a resolution") from exc
        return name

    def list(self) -> list[Resolution]:
        """Every resolution, the newest first."""
        return [one for _, name in self._ages() if (one := self._load(name)) is not None]

    def get(self, prefix: str) -> Resolution:
        """The resolution whose id begins so. Raises UnknownError."""
        names = [name for _, name in self._ages() if prefix and name.startswith(prefix)]
        found = self._load(names[0]) if len(names) == 1 else None
        if found is None:
            what = "no recorded resolution has" if len(names) < 2 else f"{len(names)} recorded resolutions have"
            raise UnknownError(f"{what} an id that begins with {prefix}", next="jvs fs recorded")
        return found

    def _ages(self) -> Sequence[tuple[int, str]]:
        """(negative time in ns, id) of every resolution, the newest first; no content is read."""
        found = []
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                with suppress(OSError):  # one that is being forgotten, or no resolution
                    if not name.startswith("."):
                        found.append((-os.stat(os.path.join(self._folder, name, "after")).st_mtime_ns, name))
        return sorted(found)

    def forget(self, name: str) -> None:
        """Forget a resolution of that (whole) id."""
        shutil.rmtree(os.path.join(self._folder, name), ignore_errors=True)

    def _load(self, name: str) -> Resolution | None:
        if len(name) != _ID_DIGITS or name.strip("0123456789abcdef"):
            return None
        folder = os.path.join(self._folder, name)
        try:
            before, after, path = (_read(os.path.join(folder, part)) for part in ("before", "after", "path"))
            at_ms = os.stat(os.path.join(folder, "after")).st_mtime_ns // 1_000_000
        except OSError:
            return None
        return Resolution(name, path, at_ms, before, after)

    def _write(self, one: Resolution) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        fresh = os.path.join(self._folder, f".{one.id}.{os.urandom(4).hex()}")
        os.mkdir(fresh)
        for part, data in (("before", one.before), ("after", one.after), ("path", one.path)):
            with open(os.path.join(fresh, part), "wb", buffering=0) as file:
                file.write(data)
                sync_data(file.fileno())
        os.utime(os.path.join(fresh, "after"), ns=(one.at_ms * 1_000_000,) * 2)
        sync_directory(fresh)
        self.forget(one.id)
        try:
            os.rename(fresh, os.path.join(self._folder, one.id))
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(fresh)  # somebody recorded the same conflict at the same moment: one of the two counts
        sync_directory(self._folder)
        for _, old in self._ages()[MAX_KEPT:]:
            self.forget(old)


def conflict_id(merged: Merged) -> str:
    """What a conflict is known by: its regions."""
    regions = [_framed(one.ours) + _framed(one.theirs) for one in merged.conflicts]
    return _identity(b"".join(map(_framed, regions))).hex()[:_ID_DIGITS]


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def _conflict(path: bytes, contents: Contents) -> Merged | None:
    """The conflict of lines between these contents, under names that are always the same, and with that side first
    whose regions come first as bytes: it is the same conflict whichever side is ours."""
    driver = TextDriver()
    if max(len(side) for side in contents if side is not None) > MAX_SIZE or not driver.suits(path, contents):
        return None
    sides = contents
    for _ in range(2):
        try:
            merged = driver.merge(path, sides, Options(names=_NAMES))
        except GiveUp:
            return None
        if merged is None or not merged.conflicts or not merged.markers:
            return None
        if [one.ours for one in merged.conflicts] <= [one.theirs for one in merged.conflicts]:
            break
        sides = Contents(contents.base, contents.theirs, contents.ours)
    return merged


def has_markers(data: bytes, size: int) -> bool:
    """Whether some line is a conflict marker of that size: `<<<<<<<` or `>>>>>>>` and a name."""
    marks = (b"<" * size, b">" * size)
    return any(line.startswith(marks) and line[size : size + 1] in (b" ", b"", b"\r") for line in data.split(b"\n"))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_SIZE + 1)
