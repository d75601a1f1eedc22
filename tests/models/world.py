"""The modelled store: an index, labels, what collectors record, and the transactions on them (DESIGN 6).

Objects are bits. A tree numbers them children first, so "children first" is the lowest bit and "parents first" the
highest. What one function here changes is changed in one write transaction. Every rule can be left out: `without`
names the rules that are not kept, and `RULES` says what each is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

RULES = {
    "look-up": "a publish looks up every child of what it inserts, in the transaction that inserts it",
    "un-condemn children": "a publish un-condemns the children it finds condemned before it inserts their parent",
    "un-condemn root": "a move (pin, undelete, ...) un-condemns its root first",
    "root present": "a move (pin, undelete, ...) looks its root up in its own transaction",
    "tell": "a move (pin, undelete, ...) appends its root to the list of every collector that is marking",
    "register first": "a collector registers, in a transaction of its own, before it reads the roots",
    "drain": "after the flip, what is on the list is un-condemned before the sweep",
    "add born": "the flip adds what was inserted since the candidates were listed",
    "born beat marks": "the flip adds what was inserted since the registration even if it was marked before",
    "insert clears": "an insertion takes the name out of every flipped set",
    "parents first": "the sweep removes parents no later than children",
    "gone passed over": "a drain passes over what is gone, and goes on with the rest of its list",
    "re-read mark": "the sweep reads the condemned mark again in its transaction",
    "children first": "an un-condemn walk is applied children first",
    "generation": "an un-condemn walk starts again when condemn_gen has changed",
    "generation noted first": "condemn_gen is noted before the walk reads its first object, not after",
    "every set": "un-condemning takes the name out of every flipped set",
    "take-over drains": "whoever finishes a dead collector's flipped set first drains its list",
    "tops pinned": "a push of several transactions keeps its tops in its pin",
    "tops told": "a publish of such a push tells its tops to every collector that is marking",
    "all tops told": "a push of one transaction tells its tops too, not its root alone",
    "pin until move": "the pin of a push goes in the transaction of the move, not before",
    "tops covered only": "a publish removes from the pin only tops that lie directly below what it inserted",
    "reader pins": "a long reader pins what it reads",
    "new parts un-condemned": "a layout's replacement un-condemns the new parts, also those of a condemned page",
    "new parts told": "a layout's replacement tells its new parts, not its page, to every collector that is marking",
    "sequence number": "a layout is replaced only if it is still the one that was read",
    "voucher is current": "a base page vouches for parts only while its layout is the one that was read",
}


@dataclass(frozen=True)
class Tree:
    """What can lie in the store. `kids[x]`: the objects directly below object number x, as a mask.

    names     one letter each, children first
    layout    the number of the one object that is a layout, or None; `versions`: what may lie below it
    """

    names: str
    below: dict[str, str] = field(hash=False)
    layout: int | None = None
    versions: tuple[int, ...] = (0,)
    kids: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kids", tuple(self.mask(self.below.get(name, "")) for name in self.names))

    def mask(self, names: str) -> int:
        """The set of those objects."""
        return sum(1 << self.names.index(name) for name in names)

    def show(self, mask: int) -> str:
        """The names in a set."""
        return "".join(name for number, name in enumerate(self.names) if mask >> number & 1)

    def children(self, number: int, version: int) -> int:
        """What lies directly below an object while the layout is at `version`."""
        return self.versions[version] if number == self.layout else self.kids[number]

    def closure(self, mask: int, version: int) -> int:
        """Those objects and everything below them."""
        todo, seen = mask, 0
        while todo:
            bit = todo & -todo
            seen |= bit
            todo = (todo | self.children(bit.bit_length() - 1, version)) & ~seen
        return seen


CHAIN = Tree("cPR", {"P": "c", "R": "P"})
"""A root, a page, a chunk."""
FORK = Tree("cdPQR", {"P": "c", "Q": "d", "R": "PQ"})
"""A root with two pages."""
SHARED = Tree("cPRS", {"P": "c", "R": "P", "S": "P"})
"""Two snapshots that share a page."""
TWO = Tree("RS", {})
"""Two roots that share nothing."""
LAID = Tree("cdlP", {"P": "l"}, layout=2, versions=(1, 2, 1))
"""A page and its layout, which leads to the part c, then d; the third version leads to c again."""
VOUCHED = Tree("cdlPQ", {"P": "l", "Q": "d"}, layout=2, versions=(3, 1))
"""The same, and another page that needs d, which the first page's layout leads to only in its first version."""


def bits(mask: int) -> Iterator[int]:
    """Each object of a set, lowest (a child) first."""
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit


NONE, MARKING, FLIPPED = range(3)

# What the store holds of one collector: its phase, the list of what it was told, its candidates or (once flipped) its
# condemned set, and what was inserted since it registered.
Record = tuple[int, int, int, int]
NOTHING: Record = (NONE, 0, 0, 0)

# A process: where it is, 1 while no flip has happened since its walk began (its condemn_gen is current), four numbers
# of its own, and its pin (the objects it names). A process that has ended or died has no pin.
Proc = tuple[int, int, int, int, int, int, int]
START: Proc = (0, 0, 0, 0, 0, 0, 0)
DEAD: Proc = (98, 0, 0, 0, 0, 0, 0)
DONE: Proc = (99, 0, 0, 0, 0, 0, 0)

State = tuple[int, int, int, tuple[Record, ...], tuple[Proc, ...]]


class World:
    """A state that can be changed: one step makes one, changes it, and freezes it."""

    __slots__ = ("index", "labels", "lost", "procs", "records", "tree", "version", "without")

    def __init__(self, state: State, tree: Tree, without: frozenset[str], lost: int = 0) -> None:
        """`lost`: what damage took, and what is below it; it may be missing."""
        self.index, self.version, self.labels, self.records, self.procs = state
        self.tree = tree
        self.without = without
        self.lost = lost

    def freeze(self) -> State:
        """The state as it is now, without what makes no difference.

        That is: the version of a layout that is not there, and what a collector that died while marking had recorded.
        """
        layout = self.tree.layout
        version = self.version if layout is not None and self.index >> layout & 1 else 0
        for number, proc in enumerate(self.procs):
            if proc == DEAD and self.records[number][0] == MARKING:
                self.set_record(number, (MARKING, 0, 0, 0))
        return (self.index, version, self.labels, self.records, self.procs)

    def keeps(self, rule: str) -> bool:
        """Whether a rule is kept in this run."""
        return rule not in self.without

    def children(self, bit: int) -> int:
        """What lies directly below an object now."""
        return self.tree.children(bit.bit_length() - 1, self.version)

    def pins(self) -> int:
        """What live pins name."""
        mask = 0
        for proc in self.procs:
            mask |= proc[6]
        return mask

    def condemned(self, *, undrained: bool = True) -> int:
        """Everything in any flipped set; unless `undrained`, without what a drain is going to take out of it."""
        mask = 0
        for record in self.records:
            if record[0] == FLIPPED:
                mask |= record[2] if undrained else record[2] & ~self.tree.closure(record[1], self.version)
        return mask

    def set_record(self, number: int, record: Record) -> None:
        """Change what the store holds of one collector."""
        self.records = (*self.records[:number], record, *self.records[number + 1 :])

    def tops(self, mask: int) -> int:
        """Those objects of a set that lie below no other of it."""
        below = 0
        for bit in bits(mask):
            below |= self.children(bit)
        return mask & ~below

    # -- transactions

    def tell(self, mask: int) -> None:
        """Append to the list of every collector that is marking."""
        if mask:
            self.records = tuple((r[0], r[1] | mask, *r[2:]) if r[0] == MARKING else r for r in self.records)

    def insert(self, bit: int) -> None:
        """Insert one object."""
        self.index |= bit
        clears = self.keeps("insert clears")
        self.records = tuple(
            (r[0], r[1], r[2], r[3] | bit) if r[0] == MARKING else (r[0], r[1], r[2] & ~bit, r[3]) if clears else r
            for r in self.records
        )

    def uncondemn(self, mask: int) -> None:
        """Take objects out of every flipped set."""
        left = mask
        records = []
        for record in self.records:
            if record[0] == FLIPPED and record[2] & left:
                records.append((record[0], record[1], record[2] & ~left, record[3]))
                if not self.keeps("every set"):
                    left = 0
            else:
                records.append(record)
        self.records = tuple(records)

    def relied_on(self, mask: int) -> tuple[int, int]:
        """Of objects that must be there: which are absent, which are condemned."""
        return mask & ~self.index, mask & self.index & self.condemned()

    def publish(self, wanted: int, version: int, vouched: int = 0) -> tuple[int, int]:
        """Insert those of `wanted` that are not there; returns the children that are absent, and the condemned.

        If there are any, nothing has been inserted. `version` is that of a layout inserted now; `vouched` is not
        looked up.
        """
        new = wanted & ~self.index
        layout = 0 if self.tree.layout is None else 1 << self.tree.layout
        for bit in bits(new):
            if layout and self.children(bit) & layout:
                new |= layout  # a page and its layout enter together; a layout left behind is replaced
        below = 0
        for bit in bits(new):
            below |= self.tree.children(bit.bit_length() - 1, version)
        absent, condemned = self.relied_on(below & ~new & ~vouched)
        if not self.keeps("look-up"):
            absent = 0
        if not self.keeps("un-condemn children"):
            condemned = 0
        if not absent and not condemned:
            if new & layout:
                self.version = version
            for bit in bits(new):
                self.insert(bit)
        return absent, condemned

    def root(self, mask: int) -> tuple[int, int]:
        """What stands in the way of making `mask` a root: absent, condemned. Nothing: it is told to those marking."""
        absent, condemned = self.relied_on(mask)
        if not self.keeps("root present"):
            absent = 0
        if not self.keeps("un-condemn root"):
            condemned = 0
        if not absent and not condemned and self.keeps("tell"):
            self.tell(mask)
        return absent, condemned

    def walk(self, mask: int) -> int:
        """The condemned objects that an un-condemn walk from `mask` comes upon, going down through them only."""
        condemned = self.condemned()
        todo, found = mask & condemned, 0
        while todo:
            bit = todo & -todo
            found |= bit
            todo = (todo | (self.children(bit) & condemned)) & ~found
        return found

    def flip(self, number: int, marked: int) -> None:
        """Publish a collector's candidates as condemned, and bump condemn_gen."""
        _, told, candidates, born = self.records[number]
        if self.keeps("add born"):
            candidates |= born if self.keeps("born beat marks") else born & ~marked
        self.set_record(number, (FLIPPED, told, candidates, 0))
        self.procs = tuple((p[0], 0, *p[2:]) if p[1] else p for p in self.procs)

    # -- what must hold in every state

    def problem(self, *, losses: bool = False, strict: bool = True) -> str | None:
        """What is wrong with this state, or None.

        losses  only what is lost counts, not a broken invariant
        strict  also between a flip and its drain nothing uncondemned has a condemned child
        """
        lost = self.tree.closure(self.labels | self.pins(), self.version) & ~self.index & ~self.lost
        if lost:
            return f"{self.tree.show(lost)} is reachable and missing"
        if losses:
            return None
        condemned = self.condemned(undrained=strict)
        for bit in bits(self.index):
            below = self.children(bit)
            if below & ~self.index & ~self.lost:
                return f"the index is not closed below {self.tree.show(bit)}"
            if not bit & condemned and below & condemned:
                return f"{self.tree.show(bit)} is not condemned and something below it is"
        return None
