"""The driver for Jupyter notebooks: by cell, sources by lines (docs/merge-drivers.md).

What comes out is a valid notebook, also where a conflict is left. Outputs and all that a kernel writes beside them are
no work of anybody's: where both sides ran a cell and got different things, they are cleared, and that is no conflict.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Final

from jvs.merge.content import Contents, Merged, Options, Region
from jvs.merge.drivers.align import pairs
from jvs.merge.drivers.giveup import GiveUp
from jvs.merge.drivers.json_driver import merge_documents, read_sides
from jvs.merge.drivers.json_merge import JsonMerge, Path, Piece, Slot, assemble
from jvs.merge.drivers.json_text import Member, Node, Value, pointer, read_value
from jvs.merge.drivers.notebook import check_notebook, source_of
from jvs.merge.lines import merge_lines

_MOST_COMPARED: Final = 10_000
"""Most pairs of cells without ids whose sources are compared, in one stretch of changed cells."""


class NotebookDriver:
    """Merges notebooks of format 4 by cell: by id where all have one (4.5), else by what is in them."""

    name = "ipynb"
    max_size = 16 << 20

    def suits(self, path: bytes, contents: Contents) -> bool:
        """By name."""
        return path[-6:].lower() == b".ipynb"

    def merge(self, path: bytes, contents: Contents, options: Options) -> Merged | None:
        """See `content.MergeDriver`."""
        documents = read_sides(contents)
        for document in documents:
            if document is not None:
                check_notebook(document.root.value)
        merged = merge_documents(self.name, documents, _NotebookMerge(options))
        try:
            check_notebook(read_value(merged.data.decode().removeprefix("\ufeff")))
        except GiveUp:
            return self._whole(contents, options)
        return merged

    def _whole(self, contents: Contents, options: Options) -> Merged:
        """One conflict over everything, where the parts do not make a notebook (a cell of two kinds, ids that meet)."""
        region = Region("the notebook", contents.base or b"", contents.ours, contents.theirs)
        if options.prefer == "none":
            return Merged(contents.ours, (region,), (), self.name)
        return Merged(contents.theirs if options.prefer == "theirs" else contents.ours, (), (region,), self.name)


class _NotebookMerge(JsonMerge):
    """The rules that notebooks have beyond those of JSON."""

    def __init__(self, options: Options) -> None:
        super().__init__(options.prefer)
        self._options = options

    def step(self, path: Path, name: Hashable, element: Member) -> str | int:
        """A cell with an id is shown by that."""
        return name if path == ("cells",) and isinstance(name, str) else element.key

    def where(self, path: Path) -> str:
        """`cell ID/member`, or the pointer outside of cells."""
        if path[:1] == ("cells",) and len(path) > 1:
            return f"cell {path[1]}{pointer(path[2:])}"
        return super().where(path)

    def special(self, path: Path, base: Node | None, ours: Node, theirs: Node) -> Piece | None:
        """What stands at the top of this module, and: a cell of two new kinds is one conflict, the newer minor version
        is taken, and of two new ids of a cell the lesser.
        """
        if path == ("nbformat_minor",):
            return max(_piece(ours), _piece(theirs), key=lambda piece: int(piece.value[0]))
        if len(path) < 2 or path[0] != "cells":
            return None
        if len(path) == 2 and _kinds_differ(base, ours, theirs):
            return self.clash(path, base, ours, theirs)
        part = path[2:]
        if part == ("source",):
            return self._source(path, base, ours, theirs)
        if part == ("id",) and base is None:  # a cell that both sides gave an id
            return min(_piece(ours), _piece(theirs), key=lambda piece: (piece.value, piece.text))
        if part in (("outputs",), ("metadata", "execution")):
            return _either(base, ours, theirs) or (Piece("[]", []) if part == ("outputs",) else Piece("{}", {}))
        return None

    def clash(self, path: Path, base: Node | None, ours: Node | None, theirs: Node | None) -> Piece | None:
        """What a kernel wrote is no conflict: it goes."""
        if path[:1] == ("cells",) and path[2:] in (("outputs",), ("execution_count",), ("metadata", "execution")):
            return Piece("null", None) if ours is not None and theirs is not None else None
        return super().clash(path, base, ours, theirs)

    def identities(
        self, path: Path, base: Sequence[Node], ours: Sequence[Node], theirs: Sequence[Node]
    ) -> tuple[list[Hashable], list[Hashable], list[Hashable]] | None:
        """Cells by id or by what is in them, tags by themselves, all else as in any JSON."""
        if path[:1] == ("cells",) and path[2:] == ("metadata", "tags"):
            tags = [[node.value for node in side] for side in (base, ours, theirs)]
            if all(all(isinstance(tag, str) for tag in side) and len(set(side)) == len(side) for side in tags):
                return tags[0], tags[1], tags[2]
        if path != ("cells",):
            return super().identities(path, base, ours, theirs)
        cells = [[node.value for node in side] for side in (base, ours, theirs)]
        if all("id" in cell for side in cells for cell in side):
            ids: list[list[Hashable]] = [[cell["id"] for cell in side] for side in cells]
            return ids[0], ids[1], ids[2]
        return list(range(len(base))), _aligned(cells[0], cells[1]), _aligned(cells[0], cells[2])

    def _source(self, path: Path, base: Node | None, ours: Node, theirs: Node) -> Piece:
        either = _either(base, ours, theirs)
        if either is not None:
            return either
        contents = Contents(_lines_of(base) if base is not None else None, _lines_of(ours), _lines_of(theirs))
        merged = merge_lines(contents, self._options, driver="ipynb")
        if merged.conflicts:  # there is room for markers in a source, but then it would be code that nobody wrote
            in_place = merge_lines(contents, self._options._replace(prefer="ours"), driver="ipynb").data
        else:
            in_place = merged.data
        for regions, said in ((self.conflicts, merged.conflicts), (self.settled, merged.settled)):
            regions += [Region(f"{self.where(path)}, {one.where}", one.base, one.ours, one.theirs) for one in said]
        return _written(in_place.decode().removesuffix("\n"), ours, theirs)


def _piece(node: Node) -> Piece:
    return Piece(node.text, node.value)


def _either(base: Node | None, ours: Node, theirs: Node) -> Piece | None:
    """One of the sides, where the other says the same or what the base says; None where both changed it."""
    if ours.value == theirs.value:
        return min(_piece(ours), _piece(theirs), key=lambda piece: (len(piece.text), piece.text))
    if base is not None and base.value in (ours.value, theirs.value):
        return _piece(theirs) if ours.value == base.value else _piece(ours)
    return None


def _kinds_differ(base: Node | None, ours: Node, theirs: Node) -> bool:
    """Whether the sides made a cell of different kinds, each another than it was."""
    kinds = ours.value["cell_type"], theirs.value["cell_type"]
    return kinds[0] != kinds[1] and (base is None or base.value["cell_type"] not in kinds)


def _lines_of(source: Node) -> bytes:
    """A source as lines, the last of which ends as well: else a line added below would seem to change it."""
    try:
        return source_of(source.value).encode() + b"\n"
    except UnicodeEncodeError:
        raise GiveUp("a source holds half a character") from None


def _written(source: str, ours: Node, theirs: Node) -> Piece:
    """A source as the sides write theirs: as a list of lines if one of them does, each line as it stands there."""
    if isinstance(ours.value, str) and isinstance(theirs.value, str):
        return Piece(json.dumps(source, ensure_ascii=False), source)
    sides = [side.container() if isinstance(side.value, list) else None for side in (ours, theirs)]
    known: list[dict[Value, Member]] = [
        {member.node.value: member for member in side.members} if side is not None else {} for side in sides
    ]
    parts = source.split("\n")
    lines = [part + "\n" for part in parts[:-1]] + parts[-1:] * bool(parts[-1])
    slots = []
    for line in lines:
        our, their = known[0].get(line), known[1].get(line)
        text = our.node.text if our is not None else their.node.text if their is not None else None
        piece = Piece(text if text is not None else json.dumps(line, ensure_ascii=False), line)
        slots.append(Slot(line, piece, (None, our, their)))
    return Piece(assemble("[]", slots, (None, *sides)), lines)


def _aligned(base: Sequence[Value], side: Sequence[Value]) -> list[Hashable]:
    """Names for cells without ids: the place of the base's cell that it is, or for a new one what is in it."""
    old = [(cell["cell_type"], source_of(cell["source"])) for cell in base]
    new = [(cell["cell_type"], source_of(cell["source"])) for cell in side]
    names: dict[int, Hashable] = {}
    old_at = new_at = 0
    for old_end, new_end in [*pairs(old, new), (len(old), len(new))]:
        gap = _similar(old[old_at:old_end], new[new_at:new_end])
        names.update({new_at + there: old_at + here for here, there in gap})
        names[new_end] = old_end
        old_at, new_at = old_end + 1, new_end + 1
    seen: Counter[tuple[str, str]] = Counter()
    result: list[Hashable] = []
    for number, content in enumerate(new):
        if number not in names:
            seen[content] += 1
        result.append(names[number] if number in names else (*content, seen[content]))
    return result


def _similar(old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """The cells of the same kind of which at least half of the lines are the same, in order; and a lone pair."""
    if len(old) == len(new) == 1 and old[0][0] == new[0][0]:
        return [(0, 0)]
    if len(old) * len(new) > _MOST_COMPARED:
        return []
    counted = [Counter(source.split("\n")) for _, source in new]
    found = []
    start = 0
    for here, (kind, source) in enumerate(old):
        lines = Counter(source.split("\n"))
        for there in range(start, len(new)):
            same = (lines & counted[there]).total()
            if new[there][0] == kind and 4 * same >= lines.total() + counted[there].total():
                found.append((here, there))
                start = there + 1
                break
    return found
