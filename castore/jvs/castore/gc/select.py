"""Trees without certain paths: which entries of a snapshot some patterns name, and what it is without them.

Patterns are matched against whole paths, level by level, in the syntax of `.jvsignore`. What matters of the way to a
directory is its *state*: how far each pattern has come. A page is looked at once for each state in which it is met,
however many snapshots share it, so that the cost is that of the different pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from jvs.castore.chunking import Reader
from jvs.castore.digest import Digest
from jvs.castore.ingest.ignore import Pattern, parse_ignore_file
from jvs.castore.manifest import DIRECTORY, FILE, INDEX, Directory, Entry, Tree
from jvs.castore.names import display
from jvs.castore.objects import ObjectStore
from jvs.castore.pages import NewPage
from jvs.castore.treesink import TreeSink
from jvs.errors import UsageError

State: TypeAlias = int
"""What of the patterns holds in a directory: a number given by `Selection`."""

OUTSIDE: Final = 0
"""The state below which nothing is named any more."""
INSIDE: Final = 1
"""The state below a directory that is named: everything is."""

_NOTHING: Final[dict[bytes, Entry | None]] = {}


class Selection:
    """Patterns over whole paths.

    start  the state of the root of a snapshot
    """

    def __init__(self, globs: Sequence[bytes]) -> None:
        """Raises UsageError (bad-path) for one that can match nothing."""
        self._patterns = [_pattern(glob) for glob in globs]
        self._states: dict[frozenset[tuple[int, int]], State] = {}
        self._positions: list[frozenset[tuple[int, int]]] = []
        for reserved in (frozenset[tuple[int, int]](), frozenset({(-1, -1)})):
            self._intern(reserved)
        self.start = self._intern(self._closed({(number, 0) for number in range(len(self._patterns))}))

    def step(self, state: State, name: bytes, *, is_directory: bool) -> tuple[bool, State]:
        """(whether the entry of that name is named, the state of the directory it may be)."""
        if state in (OUTSIDE, INSIDE):
            return state == INSIDE, state
        reached: set[tuple[int, int]] = set()
        for number, at in self._positions[state]:
            segments = self._patterns[number].segments
            if at == len(segments):
                continue
            segment = segments[at]
            if segment is None:
                reached.add((number, at))
            elif segment.fullmatch(name) is not None:
                reached.add((number, at + 1))
        for number, at in reached:
            pattern = self._patterns[number]
            if at == len(pattern.segments) and (is_directory or not pattern.directory_only):
                return True, INSIDE
        return False, self._intern(self._closed(reached)) if is_directory else OUTSIDE

    def names(self, path: Sequence[bytes]) -> bool:
        """Whether the file at that path is named."""
        state = self.start
        for depth, name in enumerate(path, 1):
            found, state = self.step(state, name, is_directory=depth < len(path))
            if found:
                return True
        return False

    def _closed(self, positions: set[tuple[int, int]]) -> frozenset[tuple[int, int]]:
        """Also what follows a `**`, which may stand for no level at all; without what has come to its end."""
        found = set(positions)
        for number, at in positions:
            segments = self._patterns[number].segments
            while at < len(segments) and segments[at] is None:
                at += 1
                found.add((number, at))
        return frozenset((number, at) for number, at in found if at < len(self._patterns[number].segments))

    def _intern(self, positions: frozenset[tuple[int, int]]) -> State:
        state = self._states.get(positions)
        if state is None:
            state = self._states[positions] = len(self._positions)
            self._positions.append(positions)
        return state


def _pattern(glob: bytes) -> Pattern:
    found = [] if b"\n" in glob or not glob.strip(b"/") else parse_ignore_file(b"/" + glob.lstrip(b"/"))
    if len(found) != 1:
        raise UsageError(
            f"{display(glob)} is no pattern of paths",
            code="bad-path",
            next="write for instance 'keys/*.pem' or '**/.env'",
        )
    return found[0]


class Listener(NamedTuple):
    """Told of every file, once for each page and state in which it is met (digest and size in bytes)."""

    named: Callable[[Digest, int], None]
    kept: Callable[[Digest, int], None]


class Namer(TreeSink):
    """A sink that only names what it is given: to know a snapshot without making it."""

    def put_page(self, page: NewPage, contents: Mapping[Digest, bytes], sources: Sequence[Digest]) -> None:
        """Keep nothing."""

    def stream(self, read: Reader) -> tuple[Digest, int]:
        """Nothing is streamed where entries are only removed."""
        raise NotImplementedError


class Rewriter:
    """Makes snapshots without what is named. What it makes goes to `sink`; what has nothing to be removed stays."""

    def __init__(self, sink: TreeSink, selection: Selection, listener: Listener, step: Callable[[int], None]) -> None:
        self._sink = sink
        self._objects: ObjectStore = sink.objects
        self._selection = selection
        self._listener = listener
        self._step = step
        self._changes: dict[tuple[Digest, State], Mapping[bytes, Entry | None]] = {}
        self._trees: dict[tuple[Digest, State], Tree] = {}
        self.removed = 0
        """Entries that were named, each once for every page and state."""

    def without(self, root: Digest) -> Digest:
        """The snapshot without what is named: itself when nothing is."""
        changes = self._visit(root, self._selection.start)
        return self._tree(root, self._selection.start, changes).digest if changes else root

    def look(self, root: Digest, state: State) -> None:
        """Visit a snapshot in a state that is given, for the listener alone."""
        self._visit(root, state)

    def _visit(self, digest: Digest, state: State) -> Mapping[bytes, Entry | None]:
        """What is to be changed of the entries of one directory (or of a page of one) so that nothing named is left."""
        stack = [(digest, state)]
        opened: set[tuple[Digest, State]] = set()
        while stack:
            place = stack[-1]
            if place in self._changes:
                stack.pop()
                continue
            if place not in opened:
                opened.add(place)
                waiting = [below for below in self._below(*place) if below not in self._changes]
                if waiting:
                    stack.extend(waiting)
                    continue
            stack.pop()
            self._changes[place] = self._settle(*place)
            if not len(self._changes) % 256:
                self._step(len(self._changes))
        return self._changes[digest, state]

    def _below(self, digest: Digest, state: State) -> Iterator[tuple[Digest, State]]:
        page = self._objects.page(digest)
        if page.tag == INDEX:
            yield from ((row.digest, state) for row in page.children)
        for entry in page.entries:
            if entry[1] == DIRECTORY:
                _, below = self._selection.step(state, entry[0], is_directory=True)
                yield entry[3], below

    def _settle(self, digest: Digest, state: State) -> Mapping[bytes, Entry | None]:
        page = self._objects.page(digest)
        changes: dict[bytes, Entry | None] = {}
        for row in page.children:
            changes.update(self._changes[row.digest, state])
        for entry in page.entries:
            named, below = self._selection.step(state, entry[0], is_directory=entry[1] == DIRECTORY)
            if entry[1] == FILE and entry[3]:
                (self._listener.named if named else self._listener.kept)(entry[4], entry[3])
            if named:
                self.removed += 1
                if state != INSIDE:
                    changes[entry[0]] = None
            elif entry[1] == DIRECTORY and (inner := self._changes[entry[3], below]):
                changes[entry[0]] = Directory(entry[0], DIRECTORY, entry[2], *self._tree(entry[3], below, inner))
        return changes or _NOTHING

    def _tree(self, digest: Digest, state: State, changes: Mapping[bytes, Entry | None]) -> Tree:
        tree = self._trees.get((digest, state))
        if tree is None:
            tree = self._trees[digest, state] = self._sink.edit(digest, changes)
        return tree


class Occurrence(NamedTuple):
    """An entry of a snapshot. root: the snapshot; path: joined by slashes; named: whether it is to be removed."""

    root: Digest
    path: bytes
    entry: Entry
    named: bool


def occurrences(objects: ObjectStore, selection: Selection, roots: Iterable[Digest]) -> Iterator[Occurrence]:
    """Every entry, at the first path at which its page is met in its state. Below what is named nothing is listed."""
    seen: set[tuple[Digest, State]] = set()
    for root in roots:
        stack: list[tuple[Digest, State, bytes]] = [(root, selection.start, b"")]
        while stack:
            digest, state, above = stack.pop()
            if (digest, state) in seen:
                continue
            seen.add((digest, state))
            page = objects.page(digest)
            stack.extend((row.digest, state, above) for row in reversed(page.children))
            for entry in page.entries:
                named, below = selection.step(state, entry[0], is_directory=entry[1] == DIRECTORY)
                yield Occurrence(root, above + entry[0], entry, named)
                if entry[1] == DIRECTORY and not named:
                    stack.append((entry[3], below, above + entry[0] + b"/"))
