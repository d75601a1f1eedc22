"""Which small files of a snapshot the kernel is given before it asks for them.

Whoever searches, packs or copies a tree reads the files of a directory in the order of their names, each with a request
that he and the server wake each other for, which takes longer than all else. So when the files of a directory are seen
to be read one after the other, those that follow are stored into the kernel's cache without being asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, cast

from jvs.castore.backend import Kind
from jvs.castore.manifest import FILE
from jvs.overlay.nodes import Directory, FileNode
from jvs.overlay.state import State

_SMALL: Final = 64 << 10
"""Bytes of the largest file that is given."""
_BYTES: Final = 1 << 20
"""Bytes that are given at once, and what one file more has."""
_FILES: Final = 256
"""Files that are given at once."""
_FIRST: Final = 4
_name_of = itemgetter(0)
_SKIPPED: Final = 16
"""Entries that may be passed over by somebody who reads one after the other."""
_WATCHED: Final = 64
"""Directories of which it is remembered how far they were read."""


class Habit:
    """Whether whoever reads small files reads one after the other. A wrong guess costs time, nothing else, so threads
    may meet here."""

    def __init__(self) -> None:
        self._files = 0
        self._next: dict[object, int] = {}

    def read(self, directory: object, place: int, *, first: bool) -> int:
        """A file was asked for; how many entries behind it to give unasked. place: its own among the entries; first:
        whether it is the first file of the directory, which is no sign of anything."""
        expected = self._next.get(directory)
        if expected is not None and expected <= place < expected + _SKIPPED:
            self._files = min(max(_FIRST, self._files * 4), _FILES)
        elif not first:
            self._files //= 4
        self.given(directory, place + 1)
        return self._files

    def given(self, directory: object, place: int) -> None:
        """The kernel has the files of a directory up to this place."""
        if len(self._next) >= _WATCHED and directory not in self._next:
            self._next.clear()
        self._next[directory] = place


class Ahead:
    """Looks ahead in a tree that never changes."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._habit = Habit()

    def following(self, node: FileNode) -> Iterator[tuple[FileNode, bytes]]:
        """As `View.following`: small files of the same page, of those that anybody knows. Raises JvsError."""
        if not 0 < node.size <= _SMALL:
            return
        assert node.base is not None
        page = node.base.page
        directory = (id(node.parent), page)
        objects = self._state.objects
        entries = objects.page(page).entries
        at = bisect_left(entries, node.name, key=_name_of)
        first = all(entry[1] != FILE for entry in entries[:at])
        upto = at + 1
        left = _BYTES
        for entry in entries[upto : upto + self._habit.read(directory, at, first=first)]:
            upto += 1
            if entry[1] != FILE or not 0 < entry[3] <= _SMALL or objects.place(page, entry).kind != Kind.PART:
                continue
            other = self._state.held(cast(Directory, node.parent), entry[0])
            if isinstance(other, FileNode):
                yield other, objects.small_file(page, entry)
                left -= entry[3]
                if left <= 0:
                    break
        self._habit.given(directory, upto)
