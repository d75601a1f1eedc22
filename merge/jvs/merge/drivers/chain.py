"""Which driver merges a file, and what happens when it cannot: the chain of drivers (DESIGN 8).

The attributes of the path choose (docs/merge-drivers.md): `merge=NAME` or NAME alone puts that driver first, with lines
of text behind it; `binary`, `-merge` and `merge=binary` ask none; `-NAME` leaves a driver out. Where they say nothing,
every built-in driver that suits the file is asked in order, text last.

A driver from somewhere else (entry points of the group `jvs.merge_drivers`) is only asked where an attribute names it:
what a merge gives must not depend on what else happens to be installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from jvs.merge.content import Contents, Merged, MergeDriver, Options
from jvs.merge.drivers.attributes import NO_SETTINGS, Settings
from jvs.merge.drivers.binary import BinaryDriver
from jvs.merge.drivers.giveup import GiveUp

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "jvs.merge_drivers"
"""The entry-point group: each entry point is a class (or function) that makes a driver when called with nothing."""

TEXT: Final = "text"
BINARY: Final = "binary"
ONE_SIDED: Final = "one-sided"
IDENTICAL: Final = "identical"
_MAX_REASON: Final = 300


class Decision(NamedTuple):
    """merged: as `merge_content` gives it. explain: which driver decided, and why those before it did not; one line."""

    merged: Merged | None
    explain: str


def merge_content(
    path: bytes,
    contents: Contents,
    options: Options,
    settings: Settings = NO_SETTINGS,
    drivers: Sequence[MergeDriver] | None = None,
) -> Merged | None:
    """What one file's contents become, or None when no driver can say it: then the whole file is the conflict.

    path      inside the tree; its last component may choose a driver
    settings  the attributes of the path
    drivers   to be asked instead of the built-in ones and those of the entry points, in order
    Raises nothing on account of the contents.
    """
    return decide(path, contents, options, settings, drivers).merged


def decide(
    path: bytes,
    contents: Contents,
    options: Options,
    settings: Settings = NO_SETTINGS,
    drivers: Sequence[MergeDriver] | None = None,
) -> Decision:
    """`merge_content`, with the reason."""
    trivial = _trivial(contents)
    if trivial is not None:
        return trivial
    size = max(len(side) for side in contents if side is not None)
    notes: list[str] = []
    for driver in _candidates(path, contents, settings, drivers, notes):
        name = driver.name
        if size > driver.max_size:
            notes.append(f"{name}: not asked: {size} bytes are more than its {driver.max_size}")
            continue
        try:
            merged = driver.merge(path, contents, options)
            if merged is not None and not isinstance(merged.data, bytes):
                raise TypeError("its result is not bytes")
        except GiveUp as reason:
            notes.append(f"{name}: gave up: {_line(str(reason))}")
        except Exception as error:  # a fault of the driver is no reason to lose the merge of all other files
            notes.append(f"{name}: failed: {_line(f'{type(error).__name__}: {error}')}")
        else:
            if merged is not None:
                return Decision(merged, "; ".join([*notes, f"{name}: {_outcome(merged)}"]))
            notes.append(f"{name}: gave up")
    return Decision(None, "; ".join([*notes, "whole file: a conflict"]))


def _trivial(contents: Contents) -> Decision | None:
    """The merge of sides of which at most one differs from the base, or which are the same: before any driver."""
    base, ours, theirs = contents
    if ours == theirs:
        return Decision(Merged(ours, (), (), IDENTICAL), "both sides are the same")
    if ours == base:
        return Decision(Merged(theirs, (), (), ONE_SIDED), "only theirs changed it")
    if theirs == base:
        return Decision(Merged(ours, (), (), ONE_SIDED), "only ours changed it")
    return None


def _candidates(
    path: bytes, contents: Contents, settings: Settings, drivers: Sequence[MergeDriver] | None, notes: list[str]
) -> Iterator[MergeDriver]:
    """The drivers to ask, in order. Adds to `notes` what is wrong with the attributes or with a driver."""
    given = built_in() if drivers is None else drivers
    known = {driver.name: driver for driver in given}
    others = drivers is None
    chosen = _chosen(settings, known, others=others)
    if chosen == BINARY:
        notes.append("binary: chosen by an attribute")
        return
    refused = {name for name in known if settings.get(name.encode()) is False}
    if chosen is not None and chosen not in refused:
        notes.append(f"{chosen}: chosen by an attribute")
        driver = known.get(chosen) or _load(chosen, notes, others=others)
        if driver is not None:
            yield driver
        if chosen != TEXT and TEXT in known and TEXT not in refused:
            yield known[TEXT]
        return
    for driver in given:
        if driver.name not in refused and _suits(driver, path, contents, notes):
            yield driver


def _chosen(settings: Settings, known: Mapping[str, MergeDriver], *, others: bool) -> str | None:
    """The name of the driver that the attributes ask for: NAME alone means `merge=NAME`, and the last one counts.

    others: a NAME alone may be that of a driver that is installed.
    """
    for attribute, value in reversed(list(settings.items())):
        name = attribute.decode("ascii", "replace")
        if name == "merge":
            if isinstance(value, bytes):
                return value.decode("utf-8", "replace")
            return None if value is None else TEXT if value else BINARY
        if value is True and (name in known or (others and name in installed())):
            return name
    return None


def _suits(driver: MergeDriver, path: bytes, contents: Contents, notes: list[str]) -> bool:
    try:
        return driver.suits(path, contents)
    except Exception as error:
        notes.append(f"{driver.name}: failed: {_line(f'{type(error).__name__}: {error}')}")
        return False


def _outcome(merged: Merged) -> str:
    said = f"merged, {len(merged.conflicts)} conflict(s)" if merged.conflicts else "merged"
    return f"{said}, {len(merged.settled)} settled" if merged.settled else said


def _line(text: str) -> str:
    """A reason fit for one line of output, whoever wrote it."""
    shown = "".join(char if char.isprintable() else " " for char in text[: _MAX_REASON + 1])
    return shown if len(shown) <= _MAX_REASON else shown[:_MAX_REASON] + "..."


@cache
def built_in() -> tuple[MergeDriver, ...]:
    """The built-in drivers in the order in which they are asked. Imported here: most merges need none."""
    from jvs.merge.drivers.csv_driver import CsvDriver
    from jvs.merge.drivers.json_driver import JsonDriver
    from jvs.merge.drivers.notebook_driver import NotebookDriver
    from jvs.merge.drivers.sqlite_driver import SqliteDriver
    from jvs.merge.drivers.text import TextDriver
    from jvs.merge.drivers.union import UnionDriver

    return (NotebookDriver(), JsonDriver(), CsvDriver(), SqliteDriver(), UnionDriver(), TextDriver(), BinaryDriver())


@cache
def installed() -> Mapping[str, EntryPoint]:
    """The entry points of other distributions' drivers, by name; of several the first, by where it leads."""
    from importlib.metadata import entry_points  # 20 ms, and `jvs --help` must not need it

    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.value, reverse=True)
    return {entry.name: entry for entry in found}


def _load(name: str, notes: list[str], *, others: bool) -> MergeDriver | None:
    """The driver of that name that some other distribution brings."""
    entry = installed().get(name) if others else None
    if entry is None:
        notes.append(f"{name}: there is no such driver")
        return None
    try:
        driver: MergeDriver = entry.load()()
    except Exception as error:
        notes.append(f"{name}: could not be loaded: {_line(f'{type(error).__name__}: {error}')}")
        return None
    return driver
