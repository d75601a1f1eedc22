"""The second pass: what becomes of every spot, where its file is put, and which conflicts are left (DESIGN 8).

Renames come first: a spot whose file was moved by one side hands its versions on to the spot at the new path. Then
each spot is settled, the deepest first, so that it is known whether a directory is in the way of a file. Cases and
placements are those of git's `ort`; what git has no word for (modes of directories, empty directories) follows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jvs.castore.digest import file_digest
from jvs.castore.manifest import DIRECTORY, EMPTY_TREE, FILE, Entry, File, Tree
from jvs.merge.content import Contents, Merged, Names, Options, Region
from jvs.merge.model import (
    BASE,
    OURS,
    THEIRS,
    Conflict,
    ConflictKind,
    Decision,
    Path,
    Rule,
    Rules,
    Settled,
    Side,
)
from jvs.merge.reading import Trees, Version, entry_of
from jvs.merge.renames import Changes, Found, Pair
from jvs.merge.walk import SIDE_NAMES, Change, Node, Problem, Spot, Trouble, Walk

LINES = "text"
"""The driver whose merges `--explain` calls line merges."""


class Outcome(NamedTuple):
    """What merging the versions of one spot gave."""

    version: Version | None
    problems: tuple[Problem, ...] = ()
    rule: Rule = "one-sided"
    detail: str = ""


class Resolver:
    """Runs the second pass on what the first one left.

    virtual: how many merges this one is inside of, when its result is only to be the base of another; conflicts then
    keep their markers, which are longer the deeper, or the base's version, and nothing is moved aside.
    """

    def __init__(self, trees: Trees, walk: Walk, rules: Rules, virtual: int) -> None:
        self._trees = trees
        self._walk = walk
        self._rules = rules
        self._virtual = virtual
        self._prefer = 0 if rules.options.prefer == "none" else OURS if rules.options.prefer == "ours" else THEIRS
        self._left = rules.limits.regions
        self._disputed: set[Node] = set()
        self.conflicts: list[Conflict] = []
        self.settled: list[Settled] = []
        self.decisions: list[Decision] = []

    # -- renames ---------------------------------------------------------------------------------------------------

    def apply_renames(self, found: Found) -> None:
        """Hand the versions of moved files on to where they were moved."""
        pairs = found.pairs
        at = 0
        while at < len(pairs):
            pair = pairs[at]
            second = pairs[at + 1] if at + 1 < len(pairs) and pairs[at + 1].source == pair.source else None
            at += 1 if second is None else 2
            source = self._spot(pair.source, found.changes)
            if source is None:  # the other side left it as it was: nothing has to follow it
                continue
            if second is None:
                self._rename(pair, source, self._target(pair.target, found.changes))
            elif pair.target == second.target:
                target = self._target(pair.target, found.changes)
                target.versions[BASE] = source.versions[BASE]
                source.moved = True
                target.notes.append(f"both sides renamed {_text(pair.source)}")
            else:
                self._rename_twice(pair, second, source, found.changes)

    def _spot(self, path: Path, changes: tuple[Changes, Changes]) -> Spot | None:
        """The spot at the source of a rename, which may be a path that both sides removed."""
        spot = self._walk.spots.get(path)
        if spot is None and all(path in side for side in changes):
            spot = self._target(path, changes)
        return spot

    def _target(self, path: Path, changes: tuple[Changes, Changes]) -> Spot:
        """The spot at `path`, made of what each side says about it."""
        spot = self._walk.spots.get(path)
        if spot is None:
            base = self._trees.entry(BASE, path)
            entries = [base, *(side[path][1] if path in side else base for side in changes)]
            versions = [
                Version(side, path, one) if one is not None and one[1] != DIRECTORY else None
                for side, one in enumerate(entries)
            ]
            spot = self._walk.spots[path] = Spot(path, versions, None)
        return spot

    def _rename(self, pair: Pair, source: Spot, target: Spot) -> None:
        """One side moved the file of `source` to `target`."""
        mine = pair.side
        other = THEIRS if mine == OURS else OURS
        moved, kept = target.versions[mine], source.versions[other]
        assert moved is not None
        collides = target.versions[other] is not None
        retyped = kept is not None and kept.entry[1] != moved.entry[1]
        target.notes.append(f"{SIDE_NAMES[mine]} renamed {_text(pair.source)}")
        if collides and not retyped:
            if kept is None:
                target.troubles.append(self._deleted(pair, source, moved))
            else:
                sides: list[Version | None] = [source.versions[BASE], None, None]
                sides[mine], sides[other] = moved, kept
                outcome = self._merge(target.path, sides, 1 + 2 * self._virtual)
                assert outcome.version is not None
                target.versions[mine] = outcome.version._replace(stands_for=moved.shown)
                target.problems.extend(outcome.problems)
        else:
            target.versions[BASE] = source.versions[BASE]
            if retyped:
                source.versions[BASE] = None
            elif kept is None:
                target.troubles.append(self._deleted(pair, source, moved))
            else:
                target.versions[other] = kept
        if not retyped:
            source.moved = True

    def _deleted(self, pair: Pair, source: Spot, moved: Version) -> Trouble:
        sides: list[Version | None] = [source.versions[BASE], None, None]
        sides[pair.side] = moved
        return Trouble("rename/delete", f"renamed by {SIDE_NAMES[pair.side]}", _sides(sides))

    def _rename_twice(self, one: Pair, two: Pair, source: Spot, changes: tuple[Changes, Changes]) -> None:
        """Both sides moved one file, to different paths: both get the merged content."""
        assert (one.side, two.side) == (OURS, THEIRS)
        first, second = self._target(one.target, changes), self._target(two.target, changes)
        sides = [source.versions[BASE], first.versions[OURS], second.versions[THEIRS]]
        outcome = self._merge(source.path, sides, 1 + 2 * self._virtual)
        merged, mine, yours = outcome.version, sides[OURS], sides[THEIRS]
        assert merged is not None
        assert mine is not None
        assert yours is not None
        whole = any(problem.kind == "binary" for problem in outcome.problems)
        if self._prefer and not self._virtual:
            kept, gone = (first, second) if self._prefer == OURS else (second, first)
            kept.versions[self._prefer] = merged
            gone.versions[THEIRS if self._prefer == OURS else OURS] = None
            source.moved = True
            self.settled.append(Settled(source.path, "rename/rename"))
            self._decide(source.path, "prefer", "renamed by both sides, differently")
            return
        trouble = Trouble("rename/rename", "1to2", _sides(sides))
        first.versions[OURS] = merged._replace(stands_for=mine.shown)
        first.problems.extend(outcome.problems)
        second.problems.extend(outcome.problems)  # the same markers, and as much to look at, in both places
        if not whole:
            second.versions[THEIRS] = merged._replace(stands_for=yours.shown)
        first.troubles.append(trouble)
        second.troubles.append(trouble)
        source.troubles.append(trouble)

    # -- settling --------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Settle every spot and put what is left of it into the nodes."""
        for node in self._walk.nodes:
            self._keep(node)
        shared: dict[Trouble, tuple[list[Path], Conflict]] = {}
        for spot in sorted(self._walk.spots.values(), key=lambda spot: (-len(spot.path), spot.path)):
            self._settle(spot, shared)
        for placed, conflict in shared.values():
            self.conflicts.append(conflict._replace(placed=tuple(sorted(placed))))
        for node in self._walk.nodes:
            self._settle_directory(node)

    def _settle(self, spot: Spot, shared: dict[Trouble, tuple[list[Path], Conflict]]) -> None:
        if spot.moved:
            self._put(spot.path, None)
            self._decide(spot.path, "rename", "moved away")
            return
        versions = spot.versions
        _, ours, theirs = versions
        if ours is not None and theirs is not None and ours.entry[1] != theirs.entry[1]:
            self._settle_type(spot, shared)
            return
        if ours is not None and theirs is not None:
            outcome = self._merge(spot.path, versions, 2 * self._virtual)
        elif ours is None and theirs is None:
            outcome = Outcome(None, (), "identical")
        else:
            outcome = self._one_version(spot)
        if spot.troubles and self._prefer and not self._virtual:
            outcome = self._prefer_trouble(spot, outcome)
        path = self._step_aside(spot, outcome)
        if path is not None:
            self._put(path, outcome.version)
        elif spot.node is None or not spot.node.exists():
            self._put(spot.path, None)
        where = path or spot.path
        placed = () if path is None else (path,)
        problems = (*spot.problems, *outcome.problems)
        self._list(spot, problems, where, placed, shared)
        if problems or spot.troubles:
            rule: Rule = "prefer" if self._prefer and not problems else "conflict"
        elif spot.notes and outcome.rule in ("one-sided", "identical"):
            rule = "rename"
        else:
            rule = outcome.rule
        self._decide(where, rule, "; ".join([*spot.notes, *([outcome.detail] if outcome.detail else [])]))

    def _list(
        self,
        spot: Spot,
        problems: Sequence[Problem],
        where: Path,
        placed: tuple[Path, ...],
        shared: dict[Trouble, tuple[list[Path], Conflict]],
    ) -> None:
        """Note the conflicts of a spot whose file goes to `where`."""
        if self._virtual or not self._prefer:
            for trouble in spot.troubles:
                base = trouble.sides[BASE]
                at = base.path if base is not None and trouble.detail == "1to2" else where
                conflict = Conflict(at, trouble.kind, *trouble.sides, None, (), trouble.detail)
                shared.setdefault(trouble, ([], conflict))[0].extend(placed)
        for kind, merged, detail in problems:
            self.conflicts.append(Conflict(where, kind, *_sides(spot.versions), self._bounded(merged), placed, detail))

    def _one_version(self, spot: Spot) -> Outcome:
        """Only one side has a file here: added, or modified by one side and deleted by the other."""
        base = spot.versions[BASE]
        side = OURS if spot.versions[OURS] is not None else THEIRS
        version = spot.versions[side]
        assert version is not None
        if base is None:
            return Outcome(version, (), "one-sided", SIDE_NAMES[side])
        if self._virtual:
            return Outcome(base, (Problem("modify/delete"),), "conflict")
        if spot.troubles and _same_content(base, version):
            return Outcome(version)  # a rename/delete; that it was moved is no modification
        if self._prefer:
            self.settled.append(Settled(spot.path, "modify/delete"))
            return Outcome(version if self._prefer == side else None, (), "prefer", "modify/delete")
        detail = f"deleted by {SIDE_NAMES[THEIRS if side == OURS else OURS]}"
        return Outcome(version, (Problem("modify/delete", None, detail),), "conflict")

    def _prefer_trouble(self, spot: Spot, outcome: Outcome) -> Outcome:
        """rename/delete: the preferred side keeps its file, or its deletion."""
        for trouble in spot.troubles:
            self.settled.append(Settled(spot.path, trouble.kind))
        kept = spot.versions[self._prefer]
        return outcome._replace(version=outcome.version if kept is not None else None, rule="prefer")

    def _settle_type(self, spot: Spot, shared: dict[Trouble, tuple[list[Path], Conflict]]) -> None:
        """A file on one side, a symlink on the other: the file steps aside."""
        base, ours, theirs = spot.versions
        assert ours is not None
        assert theirs is not None
        if self._virtual:
            self._put(spot.path, base)
            self.conflicts.append(Conflict(spot.path, "type", *_sides(spot.versions)))
            return
        if self._prefer:
            self.settled.append(Settled(spot.path, "type"))
            version = spot.versions[self._prefer]
            path = self._step_aside(spot, Outcome(version))
            if path is not None:
                self._put(path, version)
            self._decide(spot.path, "prefer", "type")
            return
        file, link = (ours, theirs) if ours.entry[1] == FILE else (theirs, ours)
        aside = self._aside(spot.path, OURS if file is ours else THEIRS)
        self._put(aside, file)
        path = self._step_aside(spot, Outcome(link))
        assert path is not None
        self._put(path, link)
        self.conflicts.append(
            Conflict(spot.path, "type", *_sides(spot.versions), None, tuple(sorted((aside, path))), "")
        )
        self._list(spot, spot.problems, aside, (aside,), shared)
        self._decide(spot.path, "conflict", "type")

    def _step_aside(self, spot: Spot, outcome: Outcome) -> Path | None:
        """Where the file of a spot goes: its path, or beside it when a directory is there; None: there is no file."""
        node = spot.node
        if outcome.version is None:
            return None
        if node is None or not node.exists():
            return spot.path
        side = THEIRS if node.dirs[OURS] is not None else OURS
        sides = list(_sides(spot.versions))
        for number, directory in enumerate(node.dirs):
            if directory is not None:
                sides[number] = Side(spot.path, directory)
        if self._prefer and not self._virtual:
            self.settled.append(Settled(spot.path, "file/directory"))
            if self._prefer == side:
                node.dropped = True
                return spot.path
            return None
        aside = self._aside(spot.path, side)
        self.conflicts.append(Conflict(spot.path, "file/directory", sides[0], sides[1], sides[2], None, (aside,), ""))
        return aside

    def _settle_directory(self, node: Node) -> None:
        """Modes of directories; a directory one side removed while the other changed its mode."""
        base, ours, theirs = node.dirs
        if not node.path or (base is None and (ours is None or theirs is None)):
            return
        sides = [None if entry is None else Side(node.path, entry) for entry in node.dirs]
        if ours is not None and theirs is not None:
            if _merge_modes(base, ours, theirs) is None:
                self._dispute(Conflict(node.path, "mode", sides[0], sides[1], sides[2], None, (node.path,)))
            return
        if node in self._disputed and not node.dropped and not node.holds():
            self._dispute(Conflict(node.path, "modify/delete", sides[0], sides[1], sides[2], None, (node.path,)))

    def _keep(self, node: Node) -> None:
        """A directory that one side removed and whose mode the other changed is not lost without a word."""
        base, ours, theirs = node.dirs
        left = ours or theirs
        if base is not None and left is not None and (ours is None or theirs is None) and left.mode != base.mode:
            self._disputed.add(node)
            node.kept = self._virtual > 0 or self._prefer in (0, OURS if left is ours else THEIRS)

    def _dispute(self, conflict: Conflict) -> None:
        if self._prefer and not self._virtual:
            self.settled.append(Settled(conflict.path, conflict.kind))
            self._decide(conflict.path, "prefer", conflict.kind)
        else:
            self.conflicts.append(conflict)
            self._decide(conflict.path, "conflict", conflict.kind)

    def mode_of(self, node: Node) -> int:
        """The mode of a directory that is made anew."""
        base, ours, theirs = node.dirs
        if ours is not None and theirs is not None:
            mode = _merge_modes(base, ours, theirs)
            if mode is None:
                mode = (theirs if self._prefer == THEIRS else ours).mode
            return mode
        one = ours or theirs
        assert one is not None
        return one.mode

    # -- contents --------------------------------------------------------------------------------------------------

    def _merge(self, path: Path, versions: Sequence[Version | None], longer: int) -> Outcome:
        """Merge two versions of one kind, and their modes. longer: by how much conflict markers are longer."""
        base, ours, theirs = versions
        assert ours is not None
        assert theirs is not None
        if base is not None and base.entry[1] != ours.entry[1]:
            base = None
        if ours.entry[1] != FILE or theirs.entry[1] != FILE:
            return self._merge_links(path, base, ours, theirs)
        outcome = self._merge_files(path, base, ours, theirs, longer)
        assert outcome.version is not None
        entry = outcome.version.entry
        assert entry[1] == FILE
        mode = _merge_modes(None if base is None else base.entry, ours.entry, theirs.entry)
        problems = outcome.problems
        if mode is None:
            settled = (theirs if self._prefer == THEIRS else ours).entry
            assert settled[1] == FILE
            mode = settled.mode
            if self._prefer and not self._virtual:
                self.settled.append(Settled(path, "mode"))
            else:
                problems = (*problems, Problem("mode"))
        return outcome._replace(version=outcome.version._replace(entry=entry._replace(mode=mode)), problems=problems)

    def _merge_links(self, path: Path, base: Version | None, ours: Version, theirs: Version) -> Outcome:
        trivial = _trivial(base, ours, theirs)
        if trivial is not None:
            return trivial
        kind: ConflictKind = "add/add" if base is None else "content"
        if self._virtual:
            return Outcome(base, (Problem(kind, None, "symlink"),), "conflict")
        if self._prefer:
            self.settled.append(Settled(path, kind))
            return Outcome(ours if self._prefer == OURS else theirs, (), "prefer", "symlink")
        return Outcome(ours, (Problem(kind, None, "symlink"),), "conflict", "symlink")

    def _merge_files(self, path: Path, base: Version | None, ours: Version, theirs: Version, longer: int) -> Outcome:
        trivial = _trivial(base, ours, theirs)
        if trivial is not None:
            return trivial
        limit = self._rules.limits.content
        if max(_size(version) for version in (base, ours, theirs)) > limit:
            return self._whole(path, base, ours, theirs, f"larger than {limit} bytes")
        content = self._trees.content
        contents = Contents(None if base is None else content(base), content(ours), content(theirs))
        options = self._options(base, ours, theirs, longer)
        merged = self._rules.content(b"/".join(path), contents, options)
        if merged is None or (merged.conflicts and not merged.markers and self._virtual):
            return self._whole(path, base, ours, theirs, "")
        rule: Rule = "line merge" if merged.driver == LINES else "driver"
        if merged.conflicts and self._rules.recorded is not None and not self._virtual:
            recorded = self._rules.recorded(b"/".join(path), contents)
            if recorded is not None:
                merged = merged._replace(data=recorded, conflicts=(), settled=())
                rule = "recorded"
        kind: ConflictKind = "add/add" if base is None else "content"
        if merged.settled:
            rule = "prefer"
            self.settled.append(Settled(path, kind))
        version = _made(merged.data, contents, ours, theirs)
        problems: tuple[Problem, ...] = ()
        if merged.conflicts:
            rule = "conflict"
            problems = (Problem(kind, merged._replace(data=b"")),)
        return Outcome(version, problems, rule, merged.driver)

    def _options(self, base: Version | None, ours: Version, theirs: Version, longer: int) -> Options:
        options = self._rules.options
        if self._virtual:
            options = options._replace(prefer="none")
        if len({version.shown.path for version in (base, ours, theirs) if version is not None}) > 1:
            names = [
                name if version is None else name + b":" + b"/".join(version.shown.path)
                for name, version in zip(
                    (options.names.ours, options.names.base, options.names.theirs), (ours, base, theirs), strict=True
                )
            ]
            options = options._replace(names=Names(*names))
        return options._replace(marker_size=options.marker_size + longer)

    def _whole(self, path: Path, base: Version | None, ours: Version, theirs: Version, detail: str) -> Outcome:
        """Contents that cannot be merged."""
        if self._virtual:
            empty = File(path[-1], FILE, 0o644, 0, file_digest(b""))
            version = base or Version(OURS, path, empty, b"")
            return Outcome(version, (Problem("binary", None, detail),), "conflict")
        if self._prefer:
            self.settled.append(Settled(path, "binary"))
            return Outcome(ours if self._prefer == OURS else theirs, (), "prefer", "binary")
        return Outcome(ours, (Problem("binary", None, detail),), "conflict", detail or "binary")

    def _bounded(self, merged: Merged | None) -> Merged | None:
        """What a conflict says of its regions, as long as there is room."""
        if merged is None:
            return None
        self._left -= sum(_weight(region) for region in (*merged.conflicts, *merged.settled))
        return merged if self._left >= 0 else merged._replace(conflicts=(), settled=())

    # -- putting ---------------------------------------------------------------------------------------------------

    def _put(self, path: Path, version: Version | None) -> None:
        node = self._node(path[:-1])
        if version is None:
            if node is not None:
                node.changes[path[-1]] = None
            return
        assert node is not None, "whoever has the file has its directory"
        entry = version.entry._replace(name=path[-1])
        page = None
        if version.data is None and entry[1] == FILE and entry.size:
            page = self._trees.page(version)
        node.changes[path[-1]] = Change(entry, page, version.data)

    def _node(self, path: Path) -> Node | None:
        """The node of a directory of the merged tree (one that was taken whole becomes a node), or None."""
        node = self._walk.nodes[0]
        for depth, name in enumerate(path, 1):
            child = node.below.get(name)
            if child is None:
                if name in node.changes:
                    change = node.changes[name]
                    entry = None if change is None else change.entry
                elif node.start.digest != EMPTY_TREE.digest:
                    entry = entry_of(self._trees.objects.page, node.start.digest, name)
                else:
                    entry = None
                if entry is None or entry[1] != DIRECTORY:
                    return None
                node.changes.pop(name, None)
                child = Node(path[:depth], (None, entry, None), Tree(*entry[3:]))
                node.below[name] = child
                self._walk.nodes.append(child)
            node = child
        return node

    def _aside(self, path: Path, side: int) -> Path:
        """A path beside `path`, named after a side, that no tree has."""
        names = self._rules.options.names
        suffix = (names.ours if side == OURS else names.theirs).replace(b"/", b"_").replace(b"\0", b"_")
        parent = self._node(path[:-1])
        assert parent is not None, "something is in the way there"
        number = -1
        while True:
            tail = b"~" + suffix[:100] + (b"" if number < 0 else b"_%d" % number)
            name = path[-1][: 255 - len(tail)] + tail
            if name not in parent.changes and name not in parent.below and not self._has(path[:-1], name):
                return (*path[:-1], name)
            number += 1

    def _has(self, directory: Path, name: bytes) -> bool:
        return any(self._trees.entry(side, (*directory, name)) is not None for side in (BASE, OURS, THEIRS))

    def _decide(self, path: Path, rule: Rule, detail: str) -> None:
        if self._rules.explain:
            self.decisions.append(Decision(path, rule, detail))


def _trivial(base: Version | None, ours: Version, theirs: Version) -> Outcome | None:
    """Contents that are the same on two of three sides."""
    if _same_content(ours, theirs):
        return Outcome(ours, (), "identical")
    if base is not None and _same_content(base, ours):
        return Outcome(theirs, (), "one-sided", SIDE_NAMES[THEIRS])
    if base is not None and _same_content(base, theirs):
        return Outcome(ours, (), "one-sided", SIDE_NAMES[OURS])
    return None


def _same_content(one: Version, two: Version) -> bool:
    a, b = one.entry, two.entry
    if a[1] == FILE:
        return b[1] == FILE and a.digest == b.digest and a.size == b.size
    return b[1] != FILE and a.target == b.target


def _merge_modes(base: Entry | None, ours: Entry, theirs: Entry) -> int | None:
    """The merged mode of two files or two directories, None for a conflict."""
    before = None if base is None else base[2]
    one, two = ours[2], theirs[2]
    if one in (two, before):
        assert isinstance(two, int)
        return two
    assert isinstance(one, int)
    return one if two == before else None


def _made(data: bytes, contents: Contents, ours: Version, theirs: Version) -> Version:
    """The merged version; one of the sides when it came out the same."""
    for version, content in ((ours, contents.ours), (theirs, contents.theirs)):
        if data == content:
            return version
    return Version(OURS, ours.path, File(ours.path[-1], FILE, 0, len(data), file_digest(data)), data)


def _size(version: Version | None) -> int:
    return version.entry.size if version is not None and version.entry[1] == FILE else 0


def _sides(versions: Sequence[Version | None]) -> tuple[Side | None, Side | None, Side | None]:
    base, ours, theirs = (None if version is None else version.shown for version in versions)
    return base, ours, theirs


def _weight(region: Region) -> int:
    return len(region.base) + len(region.ours) + len(region.theirs)


def _text(path: Path) -> str:
    return b"/".join(path).decode("utf-8", "replace")
