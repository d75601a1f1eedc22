"""What merging the contents of one file takes and gives: the contract between trees and drivers (DESIGN 8).

A *driver* merges the bytes of one file; `trees` decides which files need one, `drivers` in which order they are asked.
Whatever they do is deterministic and symmetric under swapping the sides (but for the order inside markers).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

Prefer: TypeAlias = Literal["none", "ours", "theirs"]
"""Which side settles what content merging leaves; none: it stays a conflict."""

Style: TypeAlias = Literal["merge", "diff3"]
"""How a conflict is written into a text: both sides, or both sides with the base between them."""

MARKER_SIZE: Final = 7


class Names(NamedTuple):
    """What the sides are called behind the conflict markers."""

    ours: bytes = b"ours"
    base: bytes = b"base"
    theirs: bytes = b"theirs"


class Options(NamedTuple):
    """How to merge. `marker_size` is the least; it grows when a side's text holds markers of that size."""

    prefer: Prefer = "none"
    style: Style = "merge"
    names: Names = Names()
    marker_size: int = MARKER_SIZE


class Contents(NamedTuple):
    """The whole bytes of one file on three sides; `base` is None when the sides have no common version of it."""

    base: bytes | None
    ours: bytes
    theirs: bytes


class Region(NamedTuple):
    """One place where the sides changed the base differently.

    where  what to show: `lines 10-12` (of ours), `/a/b` (a JSON pointer), `row id=3, column price`, `cell 4f2a`
    base, ours, theirs   the bytes of each side there (a key that is not there on a side: empty)
    ours_lines, theirs_lines   half-open ranges of 0-based line numbers in ours and theirs; None: not lines
    """

    where: str
    base: bytes
    ours: bytes
    theirs: bytes
    ours_lines: tuple[int, int] | None = None
    theirs_lines: tuple[int, int] | None = None


class Merged(NamedTuple):
    """What a driver made of a file.

    data       the merged bytes; where a conflict is left: with conflict markers, or (`markers` False: the format has
               no room for them) with ours in its place
    conflicts  what is left for somebody to settle; () is a clean merge
    settled    what `prefer` settled
    driver     the name of the driver that made it
    markers    `data` holds conflict markers
    marker_size  their length, 0 without markers
    """

    data: bytes
    conflicts: tuple[Region, ...]
    settled: tuple[Region, ...]
    driver: str
    markers: bool = False
    marker_size: int = 0


class MergeDriver(Protocol):
    """Merges the contents of files of one format. Stateless; entry-point group `jvs.merge_drivers`.

    A driver never turns what it does not understand into a clean merge: it gives it up to the next driver.
    """

    name: str
    """What `.jvsattributes` calls it: `merge=NAME`, or NAME alone."""

    max_size: int
    """The largest side, in bytes, it is asked to merge; above that the next driver is."""

    def suits(self, path: bytes, contents: Contents) -> bool:
        """Whether to try it on a file no attribute says anything about (by name and by a look at the bytes)."""

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        """The merge, or None when it cannot be made this way (a side does not parse, keys are not unique, ...)."""
