"""The first pass over three trees: descends only where all three differ, and decides what needs no second look.

What it leaves is a tree of `Node`s, the directories that are made anew, and the *spots*: the paths at which both sides
did different things to a file, or at least one side made something else of one.

The table, for one name (b, o, t: its entries in base, ours, theirs; None is absent, and an entry like any other):

    o = t             identical    o
    t = b             one-sided    o (a directory is taken whole: pruned)
    o = b             one-sided    t (likewise)
    all different     directories among them are merged in a node of their own, below;
                      files and symlinks among them are a spot; a file in one side's way of the other's directory is
                      both, and whether there is a conflict is known when the node is done
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, EMPTY_TREE, FILE, Directory, Entry, Tree
from jvs.castore.names import MAX_DEPTH
from jvs.castore.pages import diff_entries
from jvs.errors import ManifestError
from jvs.merge.content import Merged
from jvs.merge.model import BASE, OURS, THEIRS, ConflictKind, Decision, Path, Rule, Side
from jvs.merge.reading import Trees, Version, leaf_of

SIDE_NAMES = ("base", "ours", "theirs")

Triple = tuple[Entry | None, Entry | None, Entry | None]


class Change(NamedTuple):
    """An entry of a directory that is made anew. page: where the store has the bytes of a file; data: or they
    themselves."""

    entry: Entry
    page: Digest | None = None
    data: bytes | None = None


Directories = tuple[Directory | None, Directory | None, Directory | None]


class Node:
    """A directory that is made anew: `start` with `changes` (None: removed) and the directories `below`."""

    __slots__ = ("below", "changes", "dirs", "dropped", "kept", "path", "start")

    def __init__(self, path: Path, dirs: Directories, start: Tree) -> None:
        self.path = path
        self.dirs = dirs
        self.start = start
        self.changes: dict[bytes, Change | None] = {}
        self.below: dict[bytes, Node] = {}
        self.kept = False  # one side removed it, but the other changed its mode
        self.dropped = False  # the preferred side has a file in its place

    @property
    def stays(self) -> bool:
        """Whether the directory is there even when nothing is in it: neither side removed it."""
        base, ours, theirs = self.dirs
        return (ours is not None and theirs is not None) or base is None

    def exists(self) -> bool:
        """Whether the merged tree has this directory, as far as is known."""
        return not self.dropped and (self.kept or self.holds())

    def holds(self) -> bool:
        """Whether there is a reason for this directory beside its mode."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if node.stays or any(change is not None for change in node.changes.values()):
                return True
            waiting.extend(child for child in node.below.values() if not child.dropped)
            if any(child.kept and not child.dropped for child in node.below.values()):
                return True
        return False


class Trouble(NamedTuple):
    """A conflict that stands before the contents of a spot are looked at. sides: what each side has, and where."""

    kind: ConflictKind
    detail: str
    sides: tuple[Side | None, Side | None, Side | None]


class Problem(NamedTuple):
    """What is left after versions were merged. merged: what content merging made of them; detail: more about it."""

    kind: ConflictKind
    merged: Merged | None = None
    detail: str = ""


class Spot:
    """A path at which files or symlinks are to be merged: the versions of base, ours and theirs."""

    __slots__ = ("moved", "node", "notes", "path", "problems", "troubles", "versions")

    def __init__(self, path: Path, versions: list[Version | None], node: Node | None) -> None:
        self.path = path
        self.versions = versions
        self.node = node
        self.moved = False  # a rename took its content elsewhere
        self.troubles: list[Trouble] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []


class Walk:
    """Runs the first pass. nodes: parents before children, nodes[0] is the root."""

    def __init__(self, trees: Trees, *, explain: bool) -> None:
        self._trees = trees
        self._read = trees.objects.page
        self._explain = explain
        self.nodes: list[Node] = []
        self.spots: dict[Path, Spot] = {}
        self.decisions: list[Decision] = []
        self.both_lost = False
        """Whether both sides may have removed the same file (and one of them may have renamed it)."""
        self.stranded: list[tuple[int, Path]] = []
        """(side, path) of what was added to a directory that the other side removed."""
        self._waiting: list[Node] = []

    def run(self) -> None:
        """Walk the three trees, no two of which are the same."""
        tree = self._trees.objects.tree
        roots = [None if root is None else _directory(b"", tree(root)) for root in self._trees.roots]
        self._node((), (roots[0], roots[1], roots[2]))
        while self._waiting:
            node = self._waiting.pop()
            for name, triple in self._differing(node):
                self._decide(node, name, triple)

    def _node(self, path: Path, dirs: Directories) -> Node:
        """A node for directories not all of which are the same; walked later unless its content is decided."""
        if len(path) > MAX_DEPTH:
            raise ManifestError(f"a snapshot is more than {MAX_DEPTH} directories deep")
        base, ours, theirs = (None if directory is None else directory.digest for directory in dirs)
        start: Directory | None
        walked = False
        if ours is not None and theirs is not None:
            start = dirs[THEIRS] if ours == base else dirs[OURS]
            walked = ours not in (base, theirs) and theirs != base
        elif base is None:
            start = dirs[OURS] or dirs[THEIRS]
        else:  # one side removed it: nothing but what the other changed is left
            start = None
            walked = base not in (ours, theirs)
        node = Node(path, dirs, EMPTY_TREE if start is None else Tree(*start[3:]))
        self.nodes.append(node)
        if walked:
            self._waiting.append(node)
        if self._explain and (not walked or start is None):
            removed_by = None if base is None else OURS if ours is None else THEIRS if theirs is None else None
            side = removed_by or (OURS if start is dirs[OURS] else THEIRS)
            self.decisions.append(Decision(path, "pruned", SIDE_NAMES[side], True))
        return node

    def _differing(self, node: Node) -> Iterator[tuple[bytes, Triple]]:
        """The names for which the three sides of a node do not all say the same."""
        base, ours, theirs = (None if directory is None else directory.digest for directory in node.dirs)
        read = self._read
        if base is None:
            for name, mine, yours in diff_entries(read, ours, theirs):
                yield name, (None, mine, yours)
        elif theirs is None:
            for name, before, mine in diff_entries(read, base, ours):
                yield name, (before, mine, None)
        elif ours is None:
            for name, before, yours in diff_entries(read, base, theirs):
                yield name, (before, None, yours)
        else:
            left, right = diff_entries(read, base, ours), diff_entries(read, base, theirs)
            one, two = next(left, None), next(right, None)
            while one is not None or two is not None:
                if two is None or (one is not None and one[0] < two[0]):
                    assert one is not None
                    yield one[0], (one[1], one[2], one[1])
                    one = next(left, None)
                elif one is None or two[0] < one[0]:
                    yield two[0], (two[1], two[1], two[2])
                    two = next(right, None)
                else:
                    yield one[0], (one[1], one[2], two[2])
                    one, two = next(left, None), next(right, None)

    def _decide(self, node: Node, name: bytes, triple: Triple) -> None:
        base, ours, theirs = triple
        if ours == theirs:
            if base is not None and (ours is None or ours[1] == DIRECTORY):
                self.both_lost = True
            self._note(node, name, "identical", "", triple)
        elif theirs == base:
            self._take(node, name, OURS, triple)
        elif ours == base:
            self._take(node, name, THEIRS, triple)
        else:
            self._contest(node, name, triple)

    def _take(self, node: Node, name: bytes, side: int, triple: Triple) -> None:
        """Only `side` changed the name."""
        entry = triple[side]
        other = THEIRS if side == OURS else OURS
        if node.dirs[other] is None:
            self.stranded.append((side, (*node.path, name)))
        if side == THEIRS or node.dirs[THEIRS] is None:  # else the node starts from ours, and has it
            node.changes[name] = None if entry is None else self.change(entry, node.dirs[side])
        whole = any(one is not None and one[1] == DIRECTORY for one in triple)
        self._note(node, name, "pruned" if whole else "one-sided", SIDE_NAMES[side], triple)

    def change(self, entry: Entry, directory: Directory | None) -> Change:
        """The change that brings in an entry of a side's directory as it is."""
        if entry[1] != FILE or not entry.size:
            return Change(entry)
        assert directory is not None
        return Change(entry, leaf_of(self._read, directory.digest, entry.name))

    def _note(self, node: Node, name: bytes, rule: Rule, detail: str, triple: Triple) -> None:
        if self._explain:
            whole = any(one is not None and one[1] == DIRECTORY for one in triple)
            self.decisions.append(Decision((*node.path, name), rule, detail, whole))

    def _contest(self, node: Node, name: bytes, triple: Triple) -> None:
        """All three differ."""
        path = (*node.path, name)
        base, ours, theirs = (one if one is not None and one[1] == DIRECTORY else None for one in triple)
        child = None
        if ours is not None or theirs is not None:
            child = self._node(path, (base, ours, theirs))
            node.below[name] = child
        elif base is not None:
            self.both_lost = True
            if self._explain:
                self.decisions.append(Decision(path, "identical", "removed by both", True))
        versions = [
            Version(side, path, one) if one is not None and one[1] != DIRECTORY else None
            for side, one in enumerate(triple)
        ]
        if versions[OURS] is not None or versions[THEIRS] is not None:
            self.spots[path] = Spot(path, versions, child)
        elif versions[BASE] is not None:
            self.both_lost = True


def _directory(name: bytes, tree: Tree) -> Directory:
    return Directory(name, DIRECTORY, 0o755, *tree)
