"""A look ahead over a large directory that probably did not change, by two processes at once.

A push without changes is one `stat` per file and little else, most of it Python; two processes need half the time. The
stat index says what there should be, so it is cut into some hundred subtrees, which this process and a forked one take
from a common queue. A subtree that is wholly as the index has it is *clean* and the walk that follows passes over it;
all else the walk looks at as if nothing had happened here.

The forked process lists directories, answers, and leaves by `os._exit`: it uses nothing of the store. It is forked, not
spawned, because to start an interpreter takes half as long as it saves; and only while this process has no other
thread, which could hold a lock that nobody would release in the copy.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from jvs.castore.ingest.statindex import NO_RULES, Record, Slot, StatIndex, pack_rows, unpack_rows
from jvs.castore.ingest.walk import list_directory, open_directory

MIN_ENTRIES: Final = 20_000
"""A smaller tree is walked before a second process would have begun."""
UNITS: Final = 128
"""How many subtrees the work is cut into, at least, where there are as many."""
MAX_UNITS: Final = 4096
_DEPTH: Final = 64
_UNIT: Final = struct.Struct("<H")
_ANSWER: Final = struct.Struct("<H?QQ")
"""Unit, whether it is clean, directories in it (itself among them), names the ignore rules keep out."""


class Clean(NamedTuple):
    """A subtree that is as the index has it: how many directories it has (itself among them), and ignored names."""

    directories: int
    ignored: int


class _Unit(NamedTuple):
    names: tuple[str, ...]
    slot: Slot
    entries: int


def look_ahead(index: StatIndex, root: int) -> dict[Slot, Clean]:
    """The subtrees of the open directory `root` that are clean, by the place of their record. Empty where it is not
    worth it."""
    if index.top.tree.entries < MIN_ENTRIES:
        return {}
    units = _cut(index)
    if len(units) < 2:
        return {}
    return _run(index, root, units)


def _cut(index: StatIndex) -> list[_Unit]:
    """Subtrees of about equal size: the largest is replaced by those directly below it until there are enough."""
    units = list(_below(index, (), index.top))
    while units and len(units) < UNITS:
        largest = max(range(len(units)), key=lambda number: units[number].entries)
        unit = units[largest]
        below = list(_below(index, unit.names, index.record(unit.slot)))
        if not below or len(units) + len(below) > MAX_UNITS:
            break
        units[largest : largest + 1] = below
    return units if len(units) <= MAX_UNITS else []


def _below(index: StatIndex, names: tuple[str, ...], record: Record) -> Iterator[_Unit]:
    if not record.children:
        return
    directories = [row[0] for row in unpack_rows(record.rows) if len(row) == 2]
    for name, slot in zip(directories, record.children, strict=True):
        if slot is not None:
            yield _Unit((*names, name), slot, index.record(slot).tree.entries)


def _run(index: StatIndex, root: int, units: list[_Unit]) -> dict[Slot, Clean]:
    """Look at every unit, with a second process if there may be one."""
    found: dict[Slot, Clean] = {}
    queue, fill = os.pipe()
    answers, answer = os.pipe()
    pid = 0
    try:
        # fits into any pipe; two readers share it, as each takes one whole number at a time
        os.write(fill, b"".join(map(_UNIT.pack, range(len(units)))))
        os.close(fill)
        fill = -1
        if _may_fork():
            pid = os.fork()
            if pid == 0:
                _second(index, root, units, queue, answer)
        os.close(answer)
        answer = -1
        while number := os.read(queue, _UNIT.size):
            unit = units[_UNIT.unpack(number)[0]]
            clean = _look(index, root, unit)
            if clean is not None:
                found[unit.slot] = clean
        while pid and len(data := os.read(answers, _ANSWER.size)) == _ANSWER.size:
            which, is_clean, directories, ignored = _ANSWER.unpack(data)
            if is_clean:
                found[units[which].slot] = Clean(directories, ignored)
    finally:
        for fd in (queue, fill, answers, answer):
            if fd >= 0:
                os.close(fd)
        if pid:
            os.kill(pid, signal.SIGKILL)  # it is done, or nobody wants to know any more
            os.waitpid(pid, 0)
    return found


def _may_fork() -> bool:
    return threading.active_count() == 1 and (os.cpu_count() or 1) > 1


def _second(index: StatIndex, root: int, units: list[_Unit], queue: int, answer: int) -> None:
    """Body of the forked process; does not return."""
    try:
        while number := os.read(queue, _UNIT.size):
            (which,) = _UNIT.unpack(number)
            clean = _look(index, root, units[which])
            os.write(answer, _ANSWER.pack(which, clean is not None, *(clean or Clean(0, 0))))
    finally:
        os._exit(0)


def _look(index: StatIndex, root: int, unit: _Unit) -> Clean | None:
    """Whether a unit is clean; None when it is not, or when the walk had better look itself."""
    opened: list[int] = []
    try:
        fd = root
        for name in unit.names:
            fd = open_directory(name, fd)
            opened.append(fd)
        return _clean(index, index.record(unit.slot), fd)
    except OSError:
        return None
    finally:
        for fd in opened:
            os.close(fd)


def _clean(index: StatIndex, record: Record, fd: int, depth: int = 0) -> Clean | None:
    """Whether an open directory and everything below it are as its record and those below it say."""
    if record.rules != NO_RULES or record.flags or record.notes or depth > _DEPTH:
        return None
    listing = list_directory(fd)
    if pack_rows(listing.rows) != record.rows:
        return None
    directories, ignored = 1, record.ignored
    for name, slot in zip(listing.directories, record.children, strict=True):
        if slot is None:
            return None
        below = open_directory(name, fd)
        try:
            clean = _clean(index, index.record(slot), below, depth + 1)
        finally:
            os.close(below)
        if clean is None:
            return None
        directories += clean.directories
        ignored += clean.ignored
    return Clean(directories, ignored)
