"""Which removed file became which added one, on one side of a merge (DESIGN 8).

Candidates are only the paths a side added or removed, found from the pruned difference to the base. In order, as git
does it: the same digest (a source with the same last name first); then files of the same last name, when it is unique
on both ends and they are at least 75 % similar; then the most similar pairs, at least 50 %. Only a file that the other
side changed or removed needs its new place known, so inexact renames are looked for from those alone.

Similarity is the share of bytes in lines (pieces of at most 64 bytes) that both have, of the larger file's size; of
files larger than `Limits.rename_file`, in chunks that both have.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from jvs.castore.diff import diff_trees
from jvs.castore.digest import EMPTY_DIGEST
from jvs.castore.manifest import DIRECTORY, FILE, SYMLINK, Entry, File, Symlink
from jvs.merge.model import BASE, OURS, THEIRS, Limits, Path, Suggestion
from jvs.merge.reading import Trees, Version

SCALE: Final = 60_000
MIN_SCORE: Final = SCALE // 2
"""Similarity of the least similar pair that is a rename."""
MIN_NAMED_SCORE: Final = SCALE * 3 // 4
"""The same for a pair that is only tried because of its last name."""
_PIECES: Final = re.compile(rb"[^\n]{0,63}\n|[^\n]{1,64}")
_BEST: Final = 4
"""Sources remembered for each target, as git does."""

Fingerprint = Mapping[bytes, int]
"""Bytes of a file by the piece they are in."""


class Pair(NamedTuple):
    """`side` moved the base's file at `source` to `target`."""

    side: int
    source: Path
    target: Path


class Found(NamedTuple):
    """The renames of both sides, ordered by source, then side; and what was not looked for."""

    pairs: list[Pair]
    changes: tuple[Changes, Changes]
    notes: list[str]


Changes = dict[Path, tuple[Entry | None, Entry | None]]
"""(entry in the base, entry in the side) of every path that a side changed."""


def find_renames(trees: Trees, limits: Limits, stranded: Sequence[tuple[int, Path]]) -> Found:
    """The renames of both sides that matter to their merge.

    stranded: (side, path) of entries that were added to a directory the other side removed; where that side moved
    the files of such a directory is of interest as well.
    """
    notes: list[str] = []
    changes = (_changes(trees, OURS, limits, notes), _changes(trees, THEIRS, limits, notes))
    pairs: list[Pair] = []
    for side in (OURS, THEIRS):
        mine, others = changes[side - 1], changes[2 - side]
        wanted = any(other != side for other, _ in stranded)
        pairs.extend(_Search(trees, side, mine, others, limits, notes).run(wanted=wanted))
    pairs.sort(key=lambda pair: (b"/".join(pair.source), pair.side))
    return Found(pairs, changes, notes)


def _changes(trees: Trees, side: int, limits: Limits, notes: list[str]) -> Changes:
    found = diff_trees(trees.objects.page, trees.roots[BASE], trees.roots[side])
    changes = {item.path: (item.before, item.after) for item in islice(found, limits.rename_paths)}
    if next(found, None) is not None:
        notes.append(f"renames were not looked for: a side changed more than {limits.rename_paths} paths")
        return {}
    return changes


def is_content(entry: Entry | None) -> bool:
    """Whether an entry is a file or a symlink."""
    return entry is not None and entry[1] != DIRECTORY


class _Search:
    """Looks for the renames of one side."""

    def __init__(
        self, trees: Trees, side: int, mine: Changes, others: Changes, limits: Limits, notes: list[str]
    ) -> None:
        self._trees = trees
        self._side = side
        self._limits = limits
        self._notes = notes
        self._sources: dict[Path, File | Symlink] = {}
        self._targets: dict[Path, File | Symlink] = {}
        for path in sorted(mine, key=self._order):
            before, after = mine[path]
            if before is not None and before[1] != DIRECTORY and not is_content(after) and _has_content(before):
                self._sources[path] = before
            elif after is not None and after[1] != DIRECTORY and not is_content(before) and _has_content(after):
                self._targets[path] = after
        self._relevant = {path for path in self._sources if path in others}
        self._pairs: list[Pair] = []
        self._prints: dict[tuple[int, Path], Fingerprint] = {}
        self._read = 0

    def _order(self, path: Path) -> tuple[bool, bytes]:
        """Which of several equally good candidates comes first: one in directories that both sides changed, then by
        path (git takes them as it comes upon them, which is nearly this)."""
        one_sided = False
        for depth in range(1, len(path)):
            base, ours, theirs = (self._trees.directory(side, path[:depth]) for side in (BASE, OURS, THEIRS))
            if base in (ours, theirs):
                one_sided = True
                break
        return one_sided, b"/".join(path)

    def run(self, *, wanted: bool) -> list[Pair]:
        """All pairs; none when no source is relevant and it is not `wanted` to know anyway."""
        if not self._targets or not (self._relevant or wanted):
            return []
        self._exact()
        self._by_name()
        self._by_similarity()
        return self._pairs

    def _pair(self, source: Path, target: Path) -> None:
        self._pairs.append(Pair(self._side, source, target))
        del self._sources[source]
        del self._targets[target]
        self._relevant.discard(source)

    def _exact(self) -> None:
        by_content: dict[tuple[int, bytes], dict[Path, None]] = defaultdict(dict)
        by_name: dict[tuple[int, bytes, bytes], dict[Path, None]] = defaultdict(dict)
        for path, entry in self._sources.items():
            by_content[_content(entry)][path] = None
            by_name[*_content(entry), path[-1]][path] = None
        for target, entry in list(self._targets.items()):
            same = by_content.get(_content(entry))
            if same:
                named = by_name.get((*_content(entry), target[-1]))
                source = next(iter(named or same))
                del same[source]
                del by_name[*_content(entry), source[-1]][source]
                self._pair(source, target)

    def _by_name(self) -> None:
        sources, targets = _unique_names(self._sources), _unique_names(self._targets)
        for path in [path for path in self._sources if path in self._relevant]:
            target = targets.get(path[-1])
            if path[-1] in sources and target is not None and self._score(path, target) >= MIN_NAMED_SCORE:
                self._pair(path, target)

    def _by_similarity(self) -> None:
        sources = [path for path in self._sources if path in self._relevant]
        targets = list(self._targets)
        if not sources or not targets:
            return
        if len(sources) * len(targets) > self._limits.rename_matrix**2:
            self._notes.append(f"inexact renames were not looked for: {len(sources)} x {len(targets)} candidates")
            return
        pieces: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
        for at, path in enumerate(sources):
            for piece, size in self._fingerprint(BASE, path, self._sources[path]).items():
                pieces[piece].append((at, size))
        candidates: list[tuple[int, bool, int, int]] = []
        work = 0
        for number, target in enumerate(targets):
            common: dict[int, int] = defaultdict(int)
            for piece, size in self._fingerprint(self._side, target, self._targets[target]).items():
                there = pieces.get(piece, ())
                work += len(there)
                for at, other in there:
                    common[at] += min(size, other)
            if work > self._limits.rename_work:
                self._notes.append(f"inexact renames were not looked for to the end: {len(sources)} x {len(targets)}")
                break
            scores = [(self._scaled(sources[at], target, size), at) for at, size in common.items()]
            likely = [(score, sources[at][-1] == target[-1], -at) for score, at in scores if score >= MIN_SCORE]
            best = sorted(likely, reverse=True)[:_BEST]
            candidates.extend((score, named, -number, at) for score, named, at in best)
        for _score, _named, number, at in sorted(candidates, reverse=True):
            source, target = sources[-at], targets[-number]
            if source in self._sources and target in self._targets:
                self._pair(source, target)

    def _score(self, source: Path, target: Path) -> int:
        """How similar two files are, in parts of SCALE."""
        left = self._fingerprint(BASE, source, self._sources[source])
        right = self._fingerprint(self._side, target, self._targets[target])
        return self._scaled(source, target, shared(left, right))

    def _scaled(self, source: Path, target: Path, common: int) -> int:
        one, two = self._sources[source], self._targets[target]
        large = self._limits.rename_file
        if one[1] != FILE or two[1] != FILE or (one.size > large) != (two.size > large):
            return 0  # a digest of a chunk is no line
        return common * SCALE // max(one.size, two.size)

    def _fingerprint(self, side: int, path: Path, entry: File | Symlink) -> Fingerprint:
        if entry[1] != FILE:
            return {}
        known = self._prints.get((side, path))
        if known is None:
            version = Version(side, path, entry)
            if entry.size > self._limits.rename_file:
                known = self._trees.chunks(version)
            elif self._read + entry.size > self._limits.rename_bytes:
                if self._read <= self._limits.rename_bytes:
                    self._notes.append(f"inexact renames were not looked for beyond {self._limits.rename_bytes} bytes")
                    self._read = self._limits.rename_bytes + 1
                known = {}
            else:
                self._read += entry.size
                known = fingerprint(self._trees.content(version))
            self._prints[side, path] = known
        return known


def fingerprint(data: bytes) -> Fingerprint:
    """The lines of a file in pieces of at most 64 bytes, with the bytes each takes; CRLF counts as LF in a text."""
    if b"\r\n" in data and b"\0" not in data:
        data = data.replace(b"\r\n", b"\n")
    return {piece: len(piece) * count for piece, count in Counter(_PIECES.findall(data)).items()}


def shared(one: Fingerprint, two: Fingerprint) -> int:
    """Bytes that two files have in common."""
    if len(two) < len(one):
        one, two = two, one
    get = two.get
    return sum(min(size, get(piece, 0)) for piece, size in one.items())


def _content(entry: File | Symlink) -> tuple[int, bytes]:
    return (FILE, entry.digest) if entry[1] == FILE else (SYMLINK, entry.target)


def _has_content(entry: File | Symlink) -> bool:
    return entry[1] == SYMLINK or entry.digest != EMPTY_DIGEST


def _unique_names(paths: Iterable[Path]) -> dict[bytes, Path]:
    found: dict[bytes, Path | None] = {}
    for path in paths:
        found[path[-1]] = None if path[-1] in found else path
    return {name: path for name, path in found.items() if path is not None}


def suggest(trees: Trees, pairs: Sequence[Pair], stranded: Sequence[tuple[int, Path]]) -> list[Suggestion]:
    """Directories that one side moved while the other added to them; where most of its files went is where to."""
    added: dict[tuple[int, Path], list[Path]] = defaultdict(list)
    for side, path in stranded:
        added[THEIRS if side == OURS else OURS, path[:-1]].append(path)
    found: list[Suggestion] = []
    for (side, source), paths in sorted(added.items()):
        moved = Counter(
            pair.target[:-1] for pair in pairs if pair.side == side and pair.source[:-1] == source != pair.target[:-1]
        )
        if moved and trees.directory(side, source) is None:
            target = min(moved, key=lambda path: (-moved[path], path))
            found.append(Suggestion(side, source, target, tuple(sorted(paths))))
    return found
