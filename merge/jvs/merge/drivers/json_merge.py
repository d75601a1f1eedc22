"""Three JSON texts into one: values by key, each with the text it is written in (docs/merge-drivers.md has the rules).

What a side did not change in value it may still have written differently; space, quoting of keys and the like are
merged apart from the values, three-way, and never conflict: where each wrote its own way, the shorter one is taken.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from jvs.merge.content import Prefer, Region
from jvs.merge.drivers.align import chunks
from jvs.merge.drivers.json_text import Container, Member, Node, Value, pointer
from jvs.merge.drivers.weave import layout, weave

ROOT: Final = "(root)"
"""What the pointer to the whole document is shown as; as a pointer it is empty."""

Path: TypeAlias = tuple[str | int, ...]
"""The way to a value from the root: keys, and places (in ours where it is there) of elements."""


class Piece(NamedTuple):
    """A merged value and its text."""

    text: str
    value: Value


class Slot(NamedTuple):
    """A merged member or element, and how each side (base, ours, theirs) wrote what is around it."""

    key: Hashable
    piece: Piece
    sources: tuple[Member | None, Member | None, Member | None]


class JsonMerge:
    """Merges the values of three documents; collects what conflicts and what `prefer` settled.

    Where nobody settles a conflict, the merged value has ours in its place. The hooks `special` and `identities` are
    for formats that are JSON with more to know about it.
    """

    def __init__(self, prefer: Prefer) -> None:
        self.prefer = prefer
        self.conflicts: list[Region] = []
        self.settled: list[Region] = []

    def special(self, path: Path, base: Node | None, ours: Node, theirs: Node) -> Piece | None:
        """A merge of two different texts by rules of the format; None: by those of JSON."""
        return None

    def identities(
        self, path: Path, base: Sequence[Node], ours: Sequence[Node], theirs: Sequence[Node]
    ) -> tuple[list[Hashable], list[Hashable], list[Hashable]] | None:
        """What each element of an array is called on each side; None: they have no names.

        Elements that are objects on all sides, each with an `id` (or else a `name`) that is a string or a number and
        occurs once on its side, are called by that.
        """
        for key in ("id", "name"):
            named = _names(key, base), _names(key, ours), _names(key, theirs)
            if named[0] is not None and named[1] is not None and named[2] is not None:
                return named[0], named[1], named[2]
        return None

    def step(self, path: Path, name: Hashable, element: Member) -> str | int:
        """What the way to an element of the array at `path` ends with, when elements have names."""
        return element.key

    def where(self, path: Path) -> str:
        """How a place is shown."""
        return pointer(path) or ROOT

    def node(self, path: Path, base: Node | None, ours: Node, theirs: Node) -> Piece:
        """What a value becomes that both sides have."""
        our_text, their_text = ours.text, theirs.text
        if our_text == their_text:
            return Piece(our_text, ours.value)
        if base is not None:
            base_text = base.text
            if our_text == base_text:
                return Piece(their_text, theirs.value)
            if their_text == base_text:
                return Piece(our_text, ours.value)
        elif ours.value == theirs.value:
            return _shorter(Piece(our_text, ours.value), Piece(their_text, theirs.value))
        special = self.special(path, base, ours, theirs)
        if special is not None:
            return special
        kinds = {type(side.value) for side in (base, ours, theirs) if side is not None}
        if kinds == {dict}:
            return self._object(path, base, ours, theirs)
        if kinds == {list} and base is not None:
            return self._array(path, base, ours, theirs)
        if ours.value == theirs.value:
            return _shorter(Piece(our_text, ours.value), Piece(their_text, theirs.value))
        if base is not None and ours.value == base.value:
            return Piece(their_text, theirs.value)
        if base is not None and theirs.value == base.value:
            return Piece(our_text, ours.value)
        taken = self.clash(path, base, ours, theirs)
        assert taken is not None  # both sides have it
        return taken

    def clash(self, path: Path, base: Node | None, ours: Node | None, theirs: Node | None) -> Piece | None:
        """Note a conflict over one value; what stands in its place (None: nothing does, that side has none)."""
        texts = [side.text.encode() if side is not None else b"" for side in (base, ours, theirs)]
        taken = theirs if self.note(self.where(path), *texts) == "theirs" else ours
        return Piece(taken.text, taken.value) if taken is not None else None

    def note(self, where: str, base: bytes, ours: bytes, theirs: bytes) -> Prefer:
        """Note a conflict; the side that settles it, or "none"."""
        (self.conflicts if self.prefer == "none" else self.settled).append(Region(where, base, ours, theirs))
        return self.prefer

    def one(
        self, path: Path, base: Node | None, ours: Node | None, theirs: Node | None, *, known: bool
    ) -> Piece | None:
        """What a member or named element becomes that a side may lack. known: a base says what its lack means."""
        if ours is not None and theirs is not None:
            return self.node(path, base, ours, theirs)
        side = ours if ours is not None else theirs
        if side is None:
            return None
        if base is None:
            return Piece(side.text, side.value) if known else self.clash(path, base, ours, theirs)
        return None if side.value == base.value else self.clash(path, base, ours, theirs)

    def _object(self, path: Path, base: Node | None, ours: Node, theirs: Node) -> Piece:
        sides = (base.container() if base is not None else None, ours.container(), theirs.container())
        by_key = [_by_key(side) for side in sides]
        merged: dict[Any, Piece] = {}
        for key in _all(by_key):
            b, o, t = _nodes(by_key, key)
            piece = self.one((*path, key), b, o, t, known=base is not None)
            if piece is not None:
                merged[key] = piece
        order = weave([list(side) for side in by_key], merged.keys(), _rank).order
        slots = [Slot(key, merged[key], _sources(by_key, key)) for key in order]
        return Piece(assemble("{}", slots, sides), {key: merged[key].value for key in order})

    def _array(self, path: Path, base: Node, ours: Node, theirs: Node) -> Piece:
        sides = (base.container(), ours.container(), theirs.container())
        elements = [[member.node for member in side.members] for side in sides]
        names = self.identities(path, *elements)
        slots = self._named(path, sides, names) if names is not None else self._unnamed(path, sides)
        if slots is None:  # both sides put the elements into an order of their own
            taken = self.clash(path, base, ours, theirs)
            assert taken is not None
            return taken
        return Piece(assemble("[]", slots, sides), [slot.piece.value for slot in slots])

    def _named(self, path: Path, sides: tuple[Container, ...], names: tuple[list[Hashable], ...]) -> list[Slot] | None:
        """The elements of an array by their names; None when both sides reordered them differently."""
        by_name: list[dict[Any, Member]] = [
            dict(zip(name, side.members, strict=True)) for name, side in zip(names, sides, strict=True)
        ]
        everything = _all(by_name)
        if weave(names, everything.keys(), _rank).reordered:
            return None
        merged: dict[Any, Piece] = {}
        for name, member in everything.items():
            b, o, t = _nodes(by_name, name)
            piece = self.one((*path, self.step(path, name, member)), b, o, t, known=True)
            if piece is not None:
                merged[name] = piece
        for one, two in weave(names, merged.keys(), _rank).clashes:
            ours, theirs = ([name for name in run if name not in by_name[0]] for run in (one, two))
            if not ours or not theirs:
                continue  # an old element, about which the sides disagree otherwise: no question of order
            texts = [b", ".join(merged[name].text.encode() for name in run) for run in (ours, theirs)]
            for name in (
                theirs if self.note(f"{self.where(path)} {_range(by_name[1], ours)}", b"", *texts) != "theirs" else ours
            ):
                del merged[name]
        order = weave(names, merged.keys(), _rank).order
        return [Slot(name, merged[name], _sources(by_name, name)) for name in order]

    def _unnamed(self, path: Path, sides: tuple[Container, ...]) -> list[Slot]:
        """The elements of an array by where they stand among those that are the same on all sides."""
        known: dict[str, Hashable] = {}
        keys = [[_known(member.node, known) for member in side.members] for side in sides]
        slots: list[Slot] = []
        for same, *ranges in chunks(*keys):
            base, ours, theirs = (side.members[low:high] for side, (low, high) in zip(sides, ranges, strict=True))
            values = [key[low:high] for key, (low, high) in zip(keys, ranges, strict=True)]
            if same or values[1] == values[2]:
                slots += self._pairwise(path, base if same else [None] * len(ours), ours, theirs)
            elif values[0] == values[1]:
                slots += [_taken(member, 2) for member in theirs]
            elif values[0] == values[2]:
                slots += [_taken(member, 1) for member in ours]
            elif len(base) == len(ours) == len(theirs) == 1:
                slots += self._pairwise(path, base, ours, theirs)
            else:
                texts = [b", ".join(member.node.text.encode() for member in part) for part in (base, ours, theirs)]
                low, high = ranges[1]
                side = 2 if self.note(f"{self.where(path)} [{low}:{high}]", *texts) == "theirs" else 1
                slots += [_taken(member, side) for member in (ours, theirs)[side - 1]]
        return slots

    def _pairwise(
        self, path: Path, base: Sequence[Member | None], ours: Sequence[Member], theirs: Sequence[Member]
    ) -> list[Slot]:
        slots = []
        for b, o, t in zip(base, ours, theirs, strict=True):
            piece = self.node((*path, o.key), b.node if b is not None else None, o.node, t.node)
            slots.append(Slot(o.key, piece, (b, o, t)))
        return slots


def assemble(brackets: str, slots: Sequence[Slot], sides: Sequence[Container | None]) -> str:
    """The text of an object or array: each member with the space that the sides put around it."""
    opening, closing = brackets[0], brackets[1]
    if not slots:
        empty = [side.empty if side is not None and not side.members else None for side in sides]
        return opening + (layout(*empty) or "") + closing
    full = [side.members if side is not None and side.members else None for side in sides]
    first = layout(*(members[0].pre if members else None for members in full)) or ""
    last = layout(*(members[-1].post if members else None for members in full)) or ""
    between = layout(*(members[1].pre if members and len(members) > 1 else None for members in full))
    texts = [opening]
    for number, (_, piece, sources) in enumerate(slots):
        head = layout(*(source.head if source is not None else None for source in sources)) or ""
        if number == 0:
            pre = first
        else:
            texts.append(",")
            inner = (_unless_end(source, members, 0, "pre") for source, members in zip(sources, full, strict=True))
            found = layout(*inner)
            found = between if found is None else found
            pre = found if found is not None else first if "\n" in first or not head.endswith(" ") else " "
        texts += [pre, head, piece.text]
        if number == len(slots) - 1:
            texts.append(last)
        else:
            outer = (_unless_end(source, members, -1, "post") for source, members in zip(sources, full, strict=True))
            texts.append(layout(*outer) or "")
    return "".join([*texts, closing])


def _unless_end(source: Member | None, members: list[Member] | None, end: int, what: str) -> str | None:
    """The space around a member, unless it is the first (last) there, where it is that of the brackets."""
    if source is None or (members and members[end] is source):
        return None
    return source.pre if what == "pre" else source.post


def _shorter(one: Piece, two: Piece) -> Piece:
    return min(one, two, key=lambda piece: (len(piece.text), piece.text))


def _by_key(side: Container | None) -> dict[str | int, Member]:
    return {member.key: member for member in side.members} if side is not None else {}


def _sources(sides: Sequence[dict[Any, Member]], key: Any) -> tuple[Member | None, Member | None, Member | None]:
    return sides[0].get(key), sides[1].get(key), sides[2].get(key)


def _all(sides: Sequence[dict[Any, Member]]) -> dict[Any, Member]:
    """Everything that ours or theirs has, by key: as ours has it where it does."""
    return {**sides[1], **{key: member for key, member in sides[2].items() if key not in sides[1]}}


def _nodes(sides: Sequence[dict[Any, Member]], key: Any) -> tuple[Node | None, Node | None, Node | None]:
    base, ours, theirs = _sources(sides, key)
    return base and base.node, ours and ours.node, theirs and theirs.node


def _taken(member: Member, side: int) -> Slot:
    piece = Piece(member.node.text, member.node.value)
    return Slot(member.key, piece, (None, member, None) if side == 1 else (None, None, member))


def _names(key: str, elements: Sequence[Node]) -> list[Hashable] | None:
    """The values of `key` in the elements; None when they are no names."""
    names: list[Hashable] = []
    for element in elements:
        name = element.value.get(key) if isinstance(element.value, dict) else None
        if not isinstance(name, (str, tuple)):
            return None
        names.append(name)
    return names if len(set(names)) == len(names) else None


def _rank(key: Hashable) -> tuple[str, str]:
    """A total order of names, whatever they are: strings and numbers apart."""
    return (type(key).__name__, key) if isinstance(key, str) else (type(key).__name__, repr(key))


def _range(ours: dict[Any, Member], names: Sequence[Hashable]) -> str:
    return f"[{ours[names[0]].key}:{int(ours[names[-1]].key) + 1}]"


def _known(node: Node, known: dict[str, Hashable]) -> Hashable:
    """`_frozen`, once for each text."""
    text = node.text
    found = known.get(text)
    if found is None:
        found = known[text] = _frozen(node.value)
    return found


def _frozen(value: Value) -> Hashable:
    """A value as something that can be looked up; equal for equal values only."""
    if isinstance(value, dict):
        return ("{}", frozenset((key, _frozen(below)) for key, below in value.items()))
    if isinstance(value, list):
        return ("[]", *map(_frozen, value))
    if isinstance(value, tuple):
        return ("number", *value)
    return (type(value).__name__, value)
