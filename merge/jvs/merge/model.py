"""What a merge of trees takes and gives: rules, conflicts, decisions. Values only (DESIGN 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

from jvs.castore.manifest import Entry, Tree
from jvs.merge.content import Contents, Merged, Options

Path: TypeAlias = tuple[bytes, ...]
"""Components of a path below the root; () is the root itself."""

BASE: Final = 0
OURS: Final = 1
THEIRS: Final = 2

ConflictKind: TypeAlias = Literal[
    "content",
    "add/add",
    "modify/delete",
    "rename/delete",
    "rename/rename",
    "file/directory",
    "mode",
    "type",
    "binary",
]
"""git's names. add/add: also a renamed file that meets an added one. type: a file on one side, a symlink on the other.
binary: contents that cannot be merged, because of their format or their size."""

Rule: TypeAlias = Literal[
    "pruned", "one-sided", "identical", "line merge", "driver", "rename", "recorded", "prefer", "conflict"
]
"""What decided a path.

pruned      a whole directory only one side changed, taken as it is without being read
one-sided   only one side changed the path
identical   both sides made the same change
line merge, driver   the contents of both sides were merged
rename      a side moved the file here, and the other side's changes follow it
recorded    a resolution that was recorded earlier
prefer      the preferred side settled what was left
conflict    nothing did
"""


class Limits(NamedTuple):
    """Where a merge stops trying; whatever is beyond is a conflict or no rename, and the result says so.

    content          largest side, in bytes, of a file whose contents are merged (larger: a conflict, kind binary)
    rename_matrix    inexact renames are looked for when sources x targets of a side are at most this squared
                     (as git's merge.renameLimit)
    rename_paths     renames are looked for on a side that changed at most this many paths
    rename_file      larger files are compared by shared chunks, up to this by lines
    rename_bytes     bytes of contents read to find the inexact renames of one side
    rename_work      comparisons of lines made for it
    regions          bytes of conflict regions kept in all conflicts together; beyond, a conflict has none
    """

    content: int = 64 << 20
    rename_matrix: int = 1_000
    rename_paths: int = 100_000
    rename_file: int = 4 << 20
    rename_bytes: int = 32 << 20
    rename_work: int = 20_000_000
    regions: int = 16 << 20


ContentMerger: TypeAlias = Callable[[bytes, Contents, Options], Merged | None]
"""(path, contents, options) -> the merge, or None when no driver can say it (`drivers.merge_content`)."""

Recorded: TypeAlias = Callable[[bytes, Contents], bytes | None]
"""(path, contents) -> the bytes somebody once made of this very conflict, or None."""


class Rules(NamedTuple):
    """How two trees are merged.

    content   merges the contents of one file
    options   what it is given; `options.prefer` also settles what no content can express, and `options.names` names
              the files that have to step aside (`notes.txt~ours`)
    recorded  asked before a conflict of contents is left
    explain   whether to list a decision for every path that a side touched
    """

    content: ContentMerger
    options: Options = Options()
    recorded: Recorded | None = None
    limits: Limits = Limits()
    explain: bool = False


class Side(NamedTuple):
    """What one side has: where in its tree, and the entry (its digest, mode, size)."""

    path: Path
    entry: Entry


class Conflict(NamedTuple):
    """Something that two sides did and that cannot both be had.

    path    where it is in the merged tree, or would be; of rename/rename (1to2) the path in the base
    kind    see `ConflictKind`
    base, ours, theirs   what each side has (None: nothing), at the path it has it
    merged  what content merging made of it, its `data` left out (it is in the merged tree at `placed[0]`)
    placed  the paths of the merged tree that hold what somebody has to look at: the text with markers, ours where
            there is no room for markers, or each side's version; () when nothing was left in the tree
    detail  more about the kind, for people: `1to2`, `2to1`, `larger than 67108864 bytes`
    """

    path: Path
    kind: ConflictKind
    base: Side | None
    ours: Side | None
    theirs: Side | None
    merged: Merged | None = None
    placed: tuple[Path, ...] = ()
    detail: str = ""


class Settled(NamedTuple):
    """A conflict that `prefer` settled."""

    path: Path
    kind: ConflictKind


class Decision(NamedTuple):
    """Which rule decided a path. below: and everything in it, which was never looked at."""

    path: Path
    rule: Rule
    detail: str = ""
    below: bool = False


class Suggestion(NamedTuple):
    """A side moved most of directory `source` to `target` while the other added `added` to it: never done by itself."""

    side: int
    source: Path
    target: Path
    added: tuple[Path, ...]


class TreeMerge(NamedTuple):
    """What became of a merge.

    tree         the merged tree, written to the sink (not yet published). With conflicts: what merged cleanly, and in
                 the conflicted places what `Conflict.placed` says
    conflicts    in path order; () is a clean merge
    settled      what `prefer` settled, in path order
    decisions    in path order, only with `Rules.explain`
    suggestions  moved directories
    notes        what was left out on account of a limit, for people
    """

    tree: Tree
    conflicts: tuple[Conflict, ...]
    settled: tuple[Settled, ...] = ()
    decisions: tuple[Decision, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is left for anybody to settle."""
        return not self.conflicts
